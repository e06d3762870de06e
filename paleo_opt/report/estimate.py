"""The answer to ``estimate``: one configuration, what it takes, and what its time and memory go to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from paleo_opt import quantities
from paleo_opt.estimator.breakdown import LayerEstimate
from paleo_opt.estimator.convergence import job_relative_error, job_samples
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.estimate import Estimates
from paleo_opt.estimator.layer_cost import CONVOLUTIONS
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.pipeline_schedule import in_flight_micro_batches
from paleo_opt.estimator.prices import TERMS
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.network.graph import TrainingJob
from paleo_opt.report import terminal
from paleo_opt.report.intervals import Span, interval_text, spans, with_range
from paleo_opt.report.json_output import estimate_json, layer_json
from paleo_opt.report.layers import bound_text, layer_table, passes_of
from paleo_opt.report.step_parts import step_parts
from paleo_opt.report.strategy_text import strategy_parts
from paleo_opt.report.terminal import bold, dim, percent
from paleo_opt.report.units import amount_text, samples_word

_WIDE_BAR, _NARROW_BAR = 24, 12


def _cells(room: int) -> int:
    return _WIDE_BAR if room >= 92 else _NARROW_BAR


@dataclass(frozen=True, eq=False)
class EstimateAnswer:
    """What ``estimate`` answers.

    Attributes:
        table: The compiled network.
        strategy: The configuration.
        estimates: Of it alone.
        layers: Its breakdown.
        options: The model's constants.
        choices: What was chosen for the user, one sentence each.
    """

    table: CostTable
    strategy: Strategy
    estimates: Estimates
    layers: Sequence[LayerEstimate]
    options: Options
    choices: Sequence[str] = ()

    @cached_property
    def span(self) -> Span:
        """The estimate's intervals."""
        return spans(self.table, [self.strategy], [(self.estimates, 0)])[0]

    def to_json(self) -> dict[str, Any]:
        """The answer under the names of the contract."""
        options, cluster = self.options, self.strategy.cluster
        price, job = options.node_price(cluster), self.table.network.job
        return {
            "strategy": self.strategy.to_json(),
            "estimate": estimate_json(self.estimates, training=options.training, span=self.span),
            "layers": [layer_json(layer) for layer in self.layers],
            "inputs": {
                "network": self.table.network.name,
                "model": options.model,
                "platform": None if options.model == "paleo" else options.platform_of(cluster.device).name,
                "updates": options.updates,
                "conv_algorithm": self.table.algorithm_under(self.options.model),
                "ppp_comp": options.peak_share(cluster.device, self.strategy.precision)[0],
                "ppp_comm": options.link_share(cluster, self.strategy.gpus)[0],
                "pipelined": options.pipelined,
                "workspace_limit_bytes": options.workspace_limit,
                "training": options.training,
                "critical_batch": job and job.critical_batch,
                "critical_batch_source": job and job.law_source,
                "samples_error": job and float(job_relative_error(job, self.strategy.global_batch)),
                "given": dict(job.given) if job else {},
                "pricing": options.pricing,
                "price_usd_per_node_hour": price and price.dollars_per_hour,
                "price_date": price and price.date,
            },
        }


def model_text(answer: EstimateAnswer) -> str:
    """The model and its constants, with where each is from: ``PALEO model · GEMM · 49% of peak FLOP/s and …``."""
    strategy, options = answer.strategy, answer.options
    device, precision = strategy.cluster.device, strategy.precision
    share, origin = options.peak_share(device, precision)
    algorithm = answer.table.algorithm_under(answer.options.model)
    parts = [f"{options.model} model"]
    if any(layer.type in CONVOLUTIONS for layer in answer.table.network.layers):
        chosen = "fastest" if options.model == "paleo" else "its"
        parts.append(f"{chosen} convolution algorithms" if algorithm == "auto" else f"{algorithm} convolutions")
    parts.append(f"{percent(share)} of peak ({origin})")
    if options.model == "roofline":
        parts.insert(1, f"platform {options.platform_of(device).name}")
    if strategy.gpus > 1:
        share, origin = options.link_share(strategy.cluster, strategy.gpus)
        parts.append(f"{percent(share)} of link bandwidth ({origin})")
    if options.pipelined:
        parts.append("memory traffic behind arithmetic")
    return " · ".join(parts)


def _price_text(answer: EstimateAnswer) -> str:
    price = answer.options.node_price(answer.strategy.cluster)
    return "" if price is None else f"price of {price.date}"


def _headline(answer: EstimateAnswer, figures: dict[str, Any]) -> list[str]:
    """The figures that one asks for first."""
    network = answer.table.network

    def ranged(name: str, form: Callable[[float], str]) -> str:
        return with_range(figures[name], answer.span.of(name, figures[name]), form)

    parts = [
        f"{'step' if answer.options.training else 'forward pass'} {ranged('step_time_s', quantities.format_time)}",
        f"{_rate(figures['samples_per_s'])} {samples_word(network)}/s",
        f"MFU {percent(figures['mfu'])}",
    ]
    if network.job is not None and figures["time_to_target_s"] is not None:
        amount = amount_text(network.job, figures["samples_to_target"])
        parts.append(f"{amount} in {ranged('time_to_target_s', quantities.format_time)}")
        cost, energy = figures["cost_usd"], figures["energy_kwh"]
        if cost == cost:
            parts.append(ranged("cost_usd", quantities.format_money))
        if energy == energy:
            parts.append(quantities.format_energy(energy * 3.6e6))
    return parts


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time_lines(answer: EstimateAnswer, figures: dict[str, Any], room: int) -> list[str]:
    """Where the step goes, part by part."""
    step = figures["step_time_s"]
    shown = [
        (part.name, part.seconds, part.note) for part in step_parts(figures, answer.strategy, answer.options.training)
    ]
    times = [quantities.format_time(time) for _, time, _ in shown]
    wide = max(len(time) for time in times)
    lines, cells = [], _cells(room)
    for (name, seconds, note), time in zip(shown, times, strict=True):
        part = seconds / step
        line = f"  {name:<12}{time:>{wide}}  {percent(part):>6}  {terminal.bar(part, cells):<{cells}}"
        lines += terminal.wrapped_after(line, note, room)
    return lines


def _memory_lines(answer: EstimateAnswer, figures: dict[str, Any], room: int) -> list[str]:
    """What fills a device's memory, against its capacity."""
    used, capacity = figures["memory_bytes"], figures["device_memory_bytes"]
    gap = quantities.format_memory(abs(capacity - used))
    verdict = f"{gap} free" if figures["fits"] else bold(f"{gap} too many")
    lines = [
        f"  {quantities.format_memory(used)} of {quantities.format_memory(capacity)}  "
        f"{terminal.gauge(used / capacity, _cells(room))} {percent(used / capacity)}  {verdict}"
    ]
    sizes = figures["memory"]
    optimizer = answer.options.optimizer or answer.table.network.usual_optimizer
    names = {"optimizer": f"optimizer ({optimizer})"}
    split = answer.strategy.blocks
    if split is not None:
        names["workspace"] = "workspace and logits"
        if split.pipeline > 1 and answer.options.training:
            ahead = (split.pipeline, 0, split.virtual_stages, answer.strategy.accumulation, split.schedule)
            names["activations"] = f"activations (up to {float(in_flight_micro_batches(*ahead)):.3g} micro-batches)"
    parts = [f"{names.get(name, name)} {quantities.format_memory(size)}" for name, size in sizes.items() if size]
    return [*lines, *terminal.joined(parts, room, "  ")]


def _target_lines(answer: EstimateAnswer, figures: dict[str, Any], room: int) -> list[str]:
    job, strategy = answer.table.network.job, answer.strategy
    if job is None or figures["time_to_target_s"] is None:
        return []
    steps, samples = figures["steps"], figures["samples_to_target"]
    amount = f"{samples / 1e6:,.4g} M" if samples >= 1e6 else f"{samples:,.0f}"
    text = (
        f"{quantities.format_count(steps)} steps × {strategy.global_batch:,} = "
        f"{amount} samples{f' of {job.dataset}' if job.dataset else ''}"
        f"{f' to {job.target}' if job.target else ', as given'}"
    )
    lines = terminal.wrapped(text, room, "    ", "  ")
    lines += terminal.wrapped(_growth_text(job, strategy.global_batch), room, "    ", "  ")
    lines += _expected_lines(figures, room)
    price = answer.options.node_price(strategy.cluster)
    if price is not None:
        lines += terminal.wrapped(
            f"{strategy.nodes:,} node{'s'[: strategy.nodes != 1]} × ${price.dollars_per_hour:,.6g} an hour "
            f"{price.terms} ({price.where}, {price.date})",
            room,
            "    ",
            "  ",
        )
    return lines


def _growth_text(job: TrainingJob, global_batch: int) -> str:
    """What the batch adds to the samples, where that is known from, and how well."""
    if job.critical_batch is None:
        return ""
    more = float(job_samples(job, global_batch)) / job.samples_to_target - 1.0
    error = float(job_relative_error(job, global_batch))
    return (
        f"{percent(more)} more samples than a small batch needs, ± {percent(error)}: critical batch "
        f"{job.critical_batch:,.0f}, {job.law_source}"
    )


def _expected_lines(figures: dict[str, Any], room: int) -> list[str]:
    """What the expected time adds to the ideal, where a reader would see the difference."""
    ideal, running, total = (
        figures[f"{name}_s"] for name in ("ideal_time_to_target", "running_time", "time_to_target")
    )
    parts = []
    if running > ideal * 1.0005:
        more = percent(running / ideal - 1.0)
        parts.append(f"{more} more than the ideal {quantities.format_time(ideal)}: stragglers, checkpoints, failures")
    if total > running:
        parts.append(f"{quantities.format_time(total - running)} waiting for the nodes")
    if figures["carbon_kg"] == figures["carbon_kg"]:
        parts.append(f"{figures['carbon_kg']:,.3g} kg CO2")
    return terminal.wrapped(" · ".join(parts), room, "    ", "  ") if parts else []


def _notes(answer: EstimateAnswer, figures: dict[str, Any]) -> list[str]:
    """What the reader must know to trust the figures."""
    job, strategy = answer.table.network.job, answer.strategy
    notes = [*answer.choices]
    if answer.options.training:
        if answer.options.updates == "asynchronous":
            notes.append(
                f"asynchronous updates: a gradient is {figures['staleness']:,.0f} updates old on average; the samples "
                "to the target are those of synchronous training, and staleness needs more"
            )
        if job is None:
            notes.append("the network's file has no job, so there is no time, money or energy to target")
        elif strategy.global_batch > job.max_global_batch:
            notes.append(
                f"a global batch of {strategy.global_batch:,} is above {job.max_global_batch:,}, the largest with "
                "which the target was reached"
            )
        if job is not None and answer.options.node_price(strategy.cluster) is None:
            notes.append(f"{strategy.cluster.name} has no price {TERMS[answer.options.pricing]}")
    notes.append(model_text(answer))
    return notes


def _slowest(answer: EstimateAnswer, figures: dict[str, Any]) -> list[str]:
    """The three slowest layers and what bounds them."""
    step, passes = figures["step_time_s"], passes_of(answer.strategy)

    def seconds(layer: LayerEstimate) -> float:
        return (layer.forward_s + layer.backward_s) * layer.count * passes

    ranked = sorted(answer.layers, key=seconds, reverse=True)[:3]
    return [
        f"{layer.name} {percent(seconds(layer) / step)} ({bound_text(layer)})" for layer in ranked if seconds(layer)
    ]


def render(answer: EstimateAnswer, with_layers: bool = False, room: int | None = None) -> str:
    """The answer as text of at most ``room`` columns (the terminal's width): figures, time, memory, target, notes."""
    room = room or terminal.width()
    figures = estimate_json(answer.estimates, training=answer.options.training)
    kind = "training" if answer.options.training else "inference"
    lines = [terminal.ends(f"{answer.table.network.name} · {kind}, one configuration", dim(_price_text(answer)), room)]
    where = terminal.joined(strategy_parts(answer.strategy), room, "  ")
    lines += [bold("→" + where[0][1:]), *map(bold, where[1:])]
    if not figures["fits"]:
        used, capacity = figures["memory_bytes"], figures["device_memory_bytes"]
        warning = f"does not fit: {quantities.format_memory(used)} on devices of {quantities.format_memory(capacity)}"
        lines += [bold(line) for line in terminal.wrapped(f"{warning}; the figures are as if it did", room, "  ", "  ")]
    lines += terminal.joined(_headline(answer, figures), room, "  ", "   ")
    lines += [dim(line) for line in terminal.wrapped(interval_text(answer.span), room, "  ", "  ")]
    lines += ["", "step" if answer.options.training else "forward pass", *_time_lines(answer, figures, room)]
    slowest = _slowest(answer, figures)
    if slowest and not with_layers:
        lines += terminal.wrapped(f"slowest layers: {' · '.join(slowest)} (all with --layers)", room, "    ", "  ")
    lines += ["memory of a device", *_memory_lines(answer, figures, room)]
    target = _target_lines(answer, figures, room)
    if target:
        lines += ["target", *target]
    lines += [""]
    for note in _notes(answer, figures):
        lines += [dim(line) for line in terminal.wrapped(note, room, "  ")]
    if with_layers:
        lines += ["", *layer_table(answer.layers, figures["step_time_s"], answer.strategy, room)]
    return "\n".join(lines)
