"""The answer to ``show``: everything about one network, device, link, cluster, platform or search space, with its
sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from paleo_opt import quantities
from paleo_opt.hardware.cluster import Cluster, Link
from paleo_opt.hardware.constant import format_constant
from paleo_opt.hardware.device import Device
from paleo_opt.hardware.link_constants import LINK_CONSTANTS, link_constant
from paleo_opt.hardware.platform import AT_END, ATTAINABLE, CONSTANTS, EVERY_LAYER, FUSIBLE, Platform
from paleo_opt.hardware.platform_load import DEFAULT_PLATFORM, TRANSFORMER_PLATFORM
from paleo_opt.network.graph import Network, TrainingJob
from paleo_opt.report import terminal
from paleo_opt.report.terminal import Column, bold, percent, table
from paleo_opt.report.units import amount_text, price_text, shape_text, short_count

if TYPE_CHECKING:
    from paleo_opt.search.space import SearchSpace

#: One line of a description: what, and its figures (several make several lines).
Entry = tuple[str, str | Sequence[str]]


def _net(network: Network) -> list[Entry]:
    job = network.job
    entries: list[Entry] = [
        ("input", shape_text(network.input_shape)),
        ("layers", f"{len(network.layers):,}"),
        ("transformer", _transformer_text(network)),
        ("parameters", _parameters_text(network)),
        ("forward pass", f"{short_count(network.forward_flops)}FLOPs a sample"),
        ("defined by", network.source),
        ("file", network.file),
    ]
    if job is None:
        return [*entries, ("job", "none: there is no time, money or energy to target")]
    least = f"{short_count(job.samples_to_target)} samples"
    if network.transformer is not None and network.tokens_per_sample is not None:
        least = f"{short_count(job.samples_to_target * network.tokens_per_sample)} tokens = {least}"
    if job.dataset_samples is not None:
        least = f"{amount_text(job, job.samples_to_target)} = {least}"
    return [
        *entries,
        ("target", job.target),
        ("dataset", f"{job.dataset}, {job.dataset_samples:,} samples" if job.dataset_samples else job.dataset),
        ("optimizer", job.optimizer),
        ("to target", f"{least} with a small batch" if job.critical_batch else f"{least}, a fixed amount"),
        ("at a batch B", _law_text(job)),
        ("largest batch", f"{job.max_global_batch:,} samples, of those with which the target was reached"),
        ("critical batch", _critical_batch_text(job)),
        ("sources", job.sources),
    ]


def _parameters_text(network: Network) -> str:
    """All, and of a mixture of experts those that a token sees."""
    active = network.active_parameters
    return f"{network.parameters:,}" + ("" if active == network.parameters else f", of which a token sees {active:,}")


def _transformer_text(network: Network) -> str:
    """A transformer's sizes in one line; empty for other networks."""
    sizes = network.transformer
    if sizes is None:
        return ""
    blocks = f"{sizes.encoder_layers} + {sizes.layers}" if sizes.encoder_layers else f"{sizes.layers}"
    heads = f"{sizes.heads} heads of {sizes.head_size}"
    if sizes.latent:
        heads += f", latent attention of rank {sizes.kv_lora_rank}"
    elif sizes.kv_heads != sizes.heads:
        heads += f", {sizes.kv_heads} of keys and values"
    parts = [sizes.kind.replace("_", "-"), f"{blocks} blocks", f"{sizes.hidden:,} features", heads]
    if sizes.experts:
        shared = f" and {sizes.shared_experts} shared" if sizes.shared_experts else ""
        parts.append(f"{sizes.top_k} of {sizes.experts} experts of {sizes.expert_ffn:,}{shared}")
    else:
        parts.append(f"{'gated ' if sizes.gated else ''}feed-forward {sizes.ffn:,}")
    if sizes.vocab:
        parts.append(f"vocabulary {sizes.vocab:,}")
    return " · ".join(parts)


def _law_text(job: TrainingJob) -> str:
    """How the samples grow with the batch."""
    if job.critical_batch is None:
        return ""
    ratio = f"B / {job.critical_batch:,.0f}"
    growth = f"(1 + {ratio})"
    if job.sharpness != 1.0:
        growth = f"(1 + ({ratio})^{job.sharpness:.3g})^(1/{job.sharpness:.3g})"
    return f"{amount_text(job, job.samples_to_target)} × {growth}"


def _critical_batch_text(job: TrainingJob) -> str:
    """B_crit, where it is from and how well it is known."""
    if job.critical_batch is None or job.critical_batch_interval is None:
        return "none: the amount is fixed"
    low, high = job.critical_batch_interval
    origin = f"{job.law_source} to {len(job.points)} points" if job.points else job.law_source
    return (
        f"{job.critical_batch:,.0f} samples, {origin}, between {low:,.0f} and {high:,.0f} with 95%; samples "
        f"± {percent(job.samples_error)} where they are known best"
    )


def _by_type(network: Network, room: int) -> list[str]:
    """What the layers of each type add up to, those with the most FLOPs first."""
    sums: dict[str, list[int]] = {}
    for layer in network.layers:
        entry = sums.setdefault(layer.type, [0, 0, 0])
        for index, value in enumerate((1, layer.parameters, layer.forward_flops)):
            entry[index] += value
    columns = (Column("type", right=False), Column("layers"), Column("params"), Column("FLOPs/sample"), Column("share"))
    rows = [
        [kind, f"{count:,}", short_count(parameters), short_count(flops), percent(flops / (network.forward_flops or 1))]
        for kind, (count, parameters, flops) in sorted(sums.items(), key=lambda item: -item[1][2])
    ]
    return ["", *table(columns, rows, room, "  ")]


def _device(device: Device) -> list[Entry]:
    peaks = [f"{quantities.format_flops(peak)} {precision}" for precision, peak in device.peak.items()]
    return [
        ("peak", " · ".join(peaks)),
        ("trains in", device.training_precision),
        (
            "memory",
            f"{quantities.format_memory(device.memory)} at {quantities.format_bandwidth(device.memory_bandwidth)}",
        ),
        ("clock", f"{device.clock / 1e6:,.0f} MHz"),
        ("multiprocessors", f"{device.multiprocessors:,}" if device.multiprocessors else "not published"),
        ("power", f"{device.power:,.0f} W" if device.power else "not published"),
        ("to the host", quantities.format_bandwidth(device.host_link) if device.host_link else "not published"),
        ("PPP", ", ".join(f"{percent(share)} {name}" for name, share in device.ppp_comp.items()) or "not published"),
        ("attains", [f"{name} {_attained(device, name)}" for name in ATTAINABLE if name in device.parts]),
        (
            "platform",
            device.platform or f"{DEFAULT_PLATFORM}, for transformers {TRANSFORMER_PLATFORM}; its file names none",
        ),
        ("source", device.source),
        ("file", device.file),
    ]


def _attained(device: Device, name: str) -> str:
    origin = "measured" if name in device.attainable else "prior"
    return f"{format_constant(device.attained(name), ATTAINABLE[name])}, {origin}; {ATTAINABLE[name].text}"


def _platform(platform: Platform) -> list[Entry]:
    buckets = f"together in buckets of {quantities.format_memory(platform.bucket_bytes)}"
    if platform.bucket_bytes == EVERY_LAYER:
        buckets = "layer by layer"
    elif platform.bucket_bytes == AT_END:
        buckets = "after the whole backward pass"
    each = "one matrix product for each image of a batch" if platform.per_image else "one kernel for a batch"
    return [
        *(
            (step.replace("_", " "), f"convolutions by {', '.join(names)}")
            for step, names in platform.algorithms.items()
        ),
        ("gemm is", each),
        ("fuses", ", ".join(name for name in FUSIBLE if name in platform.fused) or "nothing"),
        ("gradients", f"sent {buckets}"),
        ("collective", platform.collective),
        ("servers", f"parameters of a node on its {platform.servers}"),
        ("software", " · ".join(platform.software)),
        ("source", platform.source),
        ("file", platform.file),
    ]


def _platform_constants(platform: Platform, room: int) -> list[str]:
    """Every constant, how well it is known and where it is from."""
    values = {name: format_constant(platform.constant(name), meaning) for name, meaning in CONSTANTS.items()}
    wide, wide_value = (max(map(len, texts)) + 2 for texts in (values, values.values()))
    lines = [""]
    for name, value in values.items():
        head = f"  {name:<{wide}}{value:<{wide_value}}{platform.origin(name):<8}"
        lines += terminal.wrapped(CONSTANTS[name].text, room, " " * len(head), head)
    return lines


def _link(link: Link) -> list[Entry]:
    return [
        (
            "bandwidth",
            f"{quantities.format_bandwidth(link.bandwidth)} = {link.bandwidth * 8e-9:,.4g} Gb/s, each direction",
        ),
        ("latency", quantities.format_time(link.latency) if link.latency else "none"),
        *_link_constants(link),
        ("source", link.source),
        ("file", link.file),
    ]


def _link_constants(link: Link) -> list[Entry]:
    """What it attains under the default model, and from where."""
    entries: list[Entry] = []
    for name, meaning in LINK_CONSTANTS.items():
        constant = link_constant(link.constants, name, link.latency)
        if constant.value or name in link.constants:
            assumed = "" if name in link.constants else ", assumed"
            entries.append((name, f"{format_constant(constant, meaning)}{assumed}"))
    return entries


def _cluster(cluster: Cluster) -> list[Entry]:
    device, price, nodes = cluster.device, cluster.price, cluster.max_nodes
    size = (
        "no published limit"
        if nodes is None
        else f"{nodes:,} × {cluster.devices_per_node} = {cluster.max_devices:,} devices"
    )
    precision = device.training_precision
    entries: list[Entry] = [
        ("provider", cluster.provider),
        ("a node", f"{cluster.devices_per_node} × {device.name}, {device.description}"),
        (
            "a device",
            f"{quantities.format_flops(device.peak[precision])} {precision}, {quantities.format_memory(device.memory)} "
            f"at {quantities.format_bandwidth(device.memory_bandwidth)}",
        ),
        ("nodes", size),
    ]
    for level in cluster.levels:
        joins = "" if level.size is None else f", joins {level.size:,}"
        latency = quantities.format_time(level.latency) if level.latency else "no latency"
        entries.append((level.name, f"{quantities.format_bandwidth(level.bandwidth)}, {latency}{joins}"))
    if cluster.ppp_comm is not None:
        entries.append(("PPP of links", percent(cluster.ppp_comm)))
    if price is None:
        entries.append(("price", "none published"))
    else:
        others = {"reserved for a year": price.reserved_1y, "spot": price.spot}
        each = price_text(price.on_demand / cluster.devices_per_node)
        rates = [f"{price_text(price.on_demand)} a node-hour on demand ({each} a device)"]
        rates += [f"{price_text(rate)} {name}" for name, rate in others.items() if rate is not None]
        entries += [
            ("price", ", ".join(rates)),
            ("price of", f"{price.date}, {price.region}"),
            ("price from", price.source),
        ]
    return [*entries, ("source", cluster.source), ("file", cluster.file)]


def _space(space: SearchSpace) -> list[Entry]:
    entries: list[Entry] = []
    for field in fields(space):
        value = getattr(space, field.name)
        if field.name in ("name", "description") or value in ((), None):
            continue
        if isinstance(value, tuple):
            run = len(value) > 12 and all(isinstance(item, int) for item in value)
            value = (
                f"{len(value)} from {value[0]:,} to {value[-1]:,}" if run else ", ".join(f"{item}" for item in value)
            )
        entries.append((field.name.replace("_", "-"), f"{value:,}" if isinstance(value, int) else str(value)))
    return entries


_ENTRIES: dict[str, Callable[[Any], list[Entry]]] = {
    "net": _net,
    "device": _device,
    "link": _link,
    "cluster": _cluster,
    "platform": _platform,
    "space": _space,
}


#: Below the entries.
_TABLES: dict[str, Callable[[Any, int], list[str]]] = {"net": _by_type, "platform": _platform_constants}


def render(kind: str, spec: Any, room: int | None = None) -> str:
    """Everything about ``spec``, of a ``kind`` that is a key of `catalog.FOLDERS`."""
    room = room or terminal.width()
    entries = [entry for entry in _ENTRIES[kind](spec) if entry[1]]
    wide = 2 + max(len(name) for name, _ in entries) + 2
    lines = terminal.wrapped(
        f"{bold(spec.name)} · {kind}" + (f" · {spec.description}" if spec.description else ""), room, "  "
    )
    for name, value in entries:
        for number, text in enumerate([value] if isinstance(value, str) else value):
            label = f"  {name if number == 0 else '':<{wide - 2}}"
            body = terminal.wrapped(text, room - wide) or [""]
            lines += [label + body[0], *(" " * wide + line for line in body[1:])]
    if kind in _TABLES:
        lines += _TABLES[kind](spec, room)
    return "\n".join(lines)
