"""What the figures rest on: the model's constants, the job, prices and hardware, each with its source and date."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields

from paleo_opt.estimator.convergence import NORMAL_95, job_relative_error
from paleo_opt.estimator.layer_cost import CONVOLUTIONS
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import Operations
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.device import Device
from paleo_opt.network.graph import TrainingJob
from paleo_opt.quantities import format_bandwidth, format_count, format_flops, format_memory, format_money, format_time
from paleo_opt.report.html.markup import linked, pairs, table, text
from paleo_opt.report.json_output import estimate_json
from paleo_opt.report.terminal import percent
from paleo_opt.report.units import price_text
from paleo_opt.search.tradeoff import Tradeoff


def assumptions(answer: Tradeoff) -> str:
    """The constants of the model and of operations, and what was left out."""
    problem, choice = answer.problem, answer.recommendation.recommended
    options, strategy = problem.options, choice.strategy
    device, precision = strategy.cluster.device, strategy.precision
    share, share_origin = options.peak_share(device, precision)
    links, links_origin = options.link_share(strategy.cluster, strategy.gpus)
    figures, job = estimate_json(choice.estimates), problem.job
    samples = figures["samples_to_target"]
    error = float(job_relative_error(job, strategy.global_batch))
    within = f", ±{percent(NORMAL_95 * error)} (95%)" if error else ""
    convolutions = []
    if any(layer.type in CONVOLUTIONS for layer in problem.network.layers):
        convolutions = [f"{problem.table.algorithm_under(options.model)} convolutions"]
    entries = [
        ("model", text(", ".join([options.model, *convolutions]))),
        *_platform(options, device),
        ("share of peak attained", f"{percent(share)} in {text(precision)} ({share_origin})"),
        ("share of link bandwidth attained", f"{percent(links)} ({links_origin})"),
        ("target", text(job.target)),
        ("samples to the target", f"{samples / 1e6:,.4g} M at a global batch of {strategy.global_batch:,}{within}"),
        *_law(job),
        ("largest global batch", f"{problem.batch_limit:,} samples"),
        ("optimizer", text(options.optimizer or job.optimizer)),
        ("terms of rent", text(options.pricing.replace("_", " "))),
        *_operations(options),
        *(("note", text(note)) for note in problem.notes),
    ]
    return pairs(entries)


def _platform(options: Options, device: Device) -> list[tuple[str, str]]:
    """The software, where the model knows one."""
    if options.model == "paleo":
        return []
    platform = options.platform_of(device)
    return [("platform", f"{text(platform.name)}: {text(platform.description)}")]


def _law(job: TrainingJob) -> list[tuple[str, str]]:
    """How the samples grow with the global batch."""
    if job.critical_batch is None:
        return [("a larger batch", "takes the same samples: a fixed amount")]
    spread = ""
    if job.critical_batch_interval is not None:
        spread = f", 95%: {job.critical_batch_interval[0]:,.0f} to {job.critical_batch_interval[1]:,.0f}"
    return [("critical batch", f"{job.critical_batch:,.0f} samples ({text(job.law_source)}{spread})")]


def _given(value: float | None, form: Callable[[float], str], none: str) -> str:
    """A constant for a reader; ``none`` where it is left out, zero or infinite."""
    return text(form(value)) if value is not None and 0 < value < math.inf else none


def _operations(options: Options) -> list[tuple[str, str]]:
    """What running adds to the ideal, and what is drawn. Constants that have no words yet go by their names."""
    found, power = options.operations, options.power
    worded = {
        "device_mtbf_s": (
            "between failures of one device",
            _given(found.device_mtbf_s, format_time, "none: nothing fails")
            + _source(found, "device_mtbf_s", ": 419 interruptions of 16,384 GPUs in 54 days (arXiv:2407.21783)"),
        ),
        "restart_s": (
            "from a failure to training again",
            _given(found.restart_s, format_time, "no time")
            + _source(found, "restart_s", ": back within 15 minutes (arXiv:2402.15627)"),
        ),
        "checkpoint_bandwidth": (
            "a node writes its share of a checkpoint at",
            _given(found.checkpoint_bandwidth, format_bandwidth, "any rate")
            + _source(found, "checkpoint_bandwidth", ": 2 TB/s of storage for 2,048 nodes (arXiv:2407.21783)"),
        ),
        "straggler_variation": (
            "variation of one worker's step",
            _given(found.straggler_variation, lambda value: f"{value:.3g} of its mean", "none"),
        ),
        "spot_interruptions": (
            "interruptions of a spot node",
            _given(
                found.spot_interruptions, lambda value: f"{value:.3g} an hour, where its price does not say", "none"
            ),
        ),
        "input_rate": (
            "a node reads",
            _given(found.input_rate, lambda value: f"{value:,.6g} samples/s", "any number of samples/s"),
        ),
        "queue_s": ("waiting for the nodes", _given(found.queue_s, format_time, "none")),
        "storage_usd_per_month": (
            "storage",
            _given(found.storage_usd_per_month, lambda v: f"{format_money(v)} a month", "none"),
        ),
        "egress_usd": ("egress", _given(found.egress_usd, format_money, "none")),
        "busy": ("a device that computes draws", f"{percent(power.busy)} of its TDP"),
        "idle": ("a device that waits draws", f"{percent(power.idle)} of its TDP"),
        "node": ("the rest of a node draws", f"{percent(power.node)} of its devices' TDP"),
        "pue": ("the building's PUE", f"{power.pue:.3g}"),
        "carbon_g_per_kwh": (
            "the grid's carbon",
            _given(power.carbon_g_per_kwh, lambda v: f"{v:.4g} g/kWh", "not counted"),
        ),
    }
    for group in (found, power):
        for field in fields(group):
            if field.name not in worded:
                worded[field.name] = (field.name.replace("_", " "), text(getattr(group, field.name)))
    return list(worded.values())


def _source(operations: Operations, name: str, source: str) -> str:
    """Where a default is from; nothing where the user gave another."""
    return source if getattr(operations, name) == getattr(Operations(), name) else " (given)"


def sources(answer: Tradeoff) -> str:
    """Where the network, its job, the devices and the prices are from: those of the front, and of the recommended."""
    problem, front = answer.problem, answer.front
    network = problem.network
    clusters: dict[str, Cluster] = {}
    for choice in (answer.recommendation.recommended, *front.choices):
        clusters.setdefault(choice.strategy.cluster.name, choice.strategy.cluster)
    entries = [("network", linked(network.source))]
    entries += [("training job", linked(source)) for source in problem.job.sources]
    rows = []
    devices = {cluster.device.name: cluster.device for cluster in clusters.values()}
    for cluster in clusters.values():
        price = problem.options.node_price(cluster)
        nodes = "no limit" if cluster.max_nodes is None else format_count(cluster.max_nodes)
        rows.append(
            [
                text(cluster.name),
                text(cluster.provider),
                f"{cluster.devices_per_node} × {text(cluster.device.name)}",
                nodes,
                "–" if price is None else text(f"{price_text(price.dollars_per_hour)} {price.terms}"),
                "–" if price is None else text(f"{price.date}, {price.where}"),
                linked(cluster.source if price is None else price.source),
            ]
        )
    headings = ["cluster", "provider", "a node", "nodes", "a node-hour", "price of", "source"]
    shown = table(headings, rows, (), "sources cards")
    hardware = [
        (
            device.name,
            f"{text(format_flops(device.peak[device.training_precision]))} {text(device.training_precision)}, "
            f"{text(format_memory(device.memory))}: {linked(device.source)}",
        )
        for device in devices.values()
    ]
    return pairs(entries) + shown + pairs(hardware)
