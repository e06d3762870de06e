"""The questions that a sensitivity asks: one estimate again, with each constant at both ends of what it may be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from paleo_opt.estimator.convergence import NORMAL_95
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.effects import PALEO_DEVIATIONS, model_constants
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import Operations
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster, Price
from paleo_opt.hardware.constant import Constant, Meaning, format_value
from paleo_opt.hardware.link_constants import LINK_CONSTANTS, link_constant
from paleo_opt.hardware.platform import ATTAINABLE, CONSTANTS
from paleo_opt.network.graph import TrainingJob
from paleo_opt.quantities import format_bandwidth, format_count, format_time

#: 10% and 90% of a normal distribution.
ENDS = 1.2815516
#: How far a constant of which no deviation is known is moved, up and down.
PLAIN_CHANGE = 0.1
Question = tuple[CostTable, Strategy, Options]


@dataclass(frozen=True)
class Variation:
    """A constant, with the question asked again at both of its ends.

    Attributes:
        constant: Its name.
        text: What it is.
        owner: Whose constant it is.
        value: As a reader would write it.
        deviation: Of ln(value), or None.
        ends: The value at both ends.
        at: The questions there.
    """

    constant: str
    text: str
    owner: str
    value: str
    deviation: float | None
    ends: tuple[str, str]
    at: tuple[Question, Question]


def variations(table: CostTable, strategy: Strategy, options: Options, goal: str) -> Iterator[Variation]:
    """Of every constant that a figure rests on; ``goal`` as in `tornado.FIGURES`."""
    yield from _of_paleo(table, strategy, options) if options.model == "paleo" else _of_model(table, strategy, options)
    yield from _of_links(table, strategy, options)
    if goal != "step":
        yield from _of_samples(table, strategy, options)
        yield from _of_operations(table, strategy, options)
    if goal == "cost":
        yield from _of_price(table, strategy, options)
    if goal == "energy":
        yield from _of_power(table, strategy, options)


def _of_model(table: CostTable, strategy: Strategy, options: Options) -> Iterator[Variation]:
    """The constants of the device and of its platform."""
    for item in model_constants(strategy, options):
        kind, _, bare = item.name.partition(".")
        if kind == "link":
            continue  # level by level
        meaning = CONSTANTS[bare] if bare else ATTAINABLE[kind]
        low, high = (_bounded(item.constant, meaning, z) for z in (-ENDS, ENDS))
        shifted = tuple(
            (table, strategy, replace(options, shifts={**options.shifts, item.key: z})) for z in (-ENDS, ENDS)
        )
        yield Variation(
            item.name, meaning.text, item.owner, format_value(item.constant.value, meaning), item.constant.deviation,
            (format_value(low, meaning), format_value(high, meaning)), (shifted[0], shifted[1]),
        )  # fmt: skip


def _bounded(constant: Constant, meaning: Meaning, z: float) -> float:
    return min(max(constant.quantile(z), meaning.low), meaning.high)


def _of_paleo(table: CostTable, strategy: Strategy, options: Options) -> Iterator[Variation]:
    """The platform percents of peak."""
    device, cluster = strategy.cluster.device, strategy.cluster
    known = {
        "ppp_comp": options.ppp_comp is not None or strategy.precision in device.ppp_comp,
        "ppp_comm": options.ppp_comm is not None or cluster.ppp_comm is not None,
    }
    values = {"ppp_comp": options.device_ppp(device, strategy.precision), "ppp_comm": options.cluster_ppp(cluster)}
    units = {"ppp_comp": device.unit(strategy.precision), "ppp_comm": "link"}
    texts = {"ppp_comp": "share of the peak FLOP/s and memory bandwidth", "ppp_comm": "share of the links' bandwidth"}
    for name, value in values.items():
        if name == "ppp_comm" and strategy.gpus == 1:
            continue
        deviation = None if known[name] else PALEO_DEVIATIONS[units[name]]
        low, high = (min(value * factor, 1.0) for factor in _factors(deviation))
        at = tuple((table, strategy, replace(options, **{name: end})) for end in (low, high))  # type: ignore[arg-type]
        owner = device.name if name == "ppp_comp" else cluster.name
        yield Variation(
            name, texts[name], owner, f"{value:.4g}", deviation, (f"{low:.4g}", f"{high:.4g}"), (at[0], at[1])
        )


def _factors(deviation: float | None) -> tuple[float, float]:
    if deviation is None:
        return 1.0 - PLAIN_CHANGE, 1.0 + PLAIN_CHANGE
    return math.exp(-ENDS * deviation), math.exp(ENDS * deviation)


def _of_links(table: CostTable, strategy: Strategy, options: Options) -> Iterator[Variation]:
    """Of every level of links that the strategy uses: what it attains, or under PALEO its bandwidth and latency."""
    cluster, reach = strategy.cluster, 1.0
    for index, level in enumerate(cluster.levels):
        below, reach = reach, reach * (level.size or math.inf)
        if strategy.gpus <= below or level.size == 1:
            continue
        changes: dict[str, tuple[str, str, float | None, list[str], list[Cluster]]] = {}
        if options.model == "paleo":
            for name, form in (("bandwidth", format_bandwidth), ("latency", format_time)):
                value = getattr(level, name)
                ends = [value * factor for factor in _factors(None)]
                moved = [_with_level(cluster, index, **{name: end}) for end in ends]
                changes[name] = (f"{name} of its links", form(value), None, list(map(form, ends)), moved)
        else:
            for name, meaning in LINK_CONSTANTS.items():
                constant = link_constant(level.constants, name, level.latency)
                if not constant.deviation or (name == "attained" and options.ppp_comm is not None):
                    continue
                ends = [_bounded(constant, meaning, z) for z in (-ENDS, ENDS)]
                moved = [
                    _with_level(cluster, index, constants={**level.constants, name: Constant(end)}) for end in ends
                ]
                texts = [format_value(end, meaning) for end in ends]
                changes[name] = (
                    meaning.text, format_value(constant.value, meaning), constant.deviation, texts, moved,
                )  # fmt: skip
        for name, (text, value, deviation, texts, moved) in changes.items():
            at = [(table, replace(strategy, cluster=other), options) for other in moved]
            yield Variation(
                f"{level.name}.{name}", text, cluster.name, value, deviation, (texts[0], texts[1]), (at[0], at[1])
            )


def _with_level(cluster: Cluster, index: int, **changes: object) -> Cluster:
    levels = list(cluster.levels)
    levels[index] = replace(levels[index], **changes)  # type: ignore[arg-type]
    return replace(cluster, levels=tuple(levels))


def _of_samples(table: CostTable, strategy: Strategy, options: Options) -> Iterator[Variation]:
    """The samples to the target, and the critical batch; a fixed amount is exact."""
    job = table.network.job
    assert job is not None

    def asked(**changes: float) -> Question:
        network = replace(table.network, job=_with(job, **changes))
        return replace(table, network=network), strategy, options

    if job.samples_error > 0:
        ends = [job.samples_to_target * factor for factor in _factors(job.samples_error)]
        texts = [f"{end / 1e6:,.4g} M" for end in ends]
        yield Variation(
            "samples_to_target", "samples to the target at a small batch", table.network.name,
            f"{job.samples_to_target / 1e6:,.4g} M", job.samples_error, (texts[0], texts[1]),
            (asked(samples_to_target=ends[0]), asked(samples_to_target=ends[1])),
        )  # fmt: skip
    if job.critical_batch is not None and job.critical_batch_interval is not None:
        low, high = job.critical_batch_interval
        deviation = math.log(high / low) / (2.0 * NORMAL_95)
        ends = [job.critical_batch * factor for factor in _factors(deviation)]
        yield Variation(
            "critical_batch", "global batch above which more samples save few steps", table.network.name,
            format_count(job.critical_batch), deviation, (format_count(ends[0]), format_count(ends[1])),
            (asked(critical_batch=ends[0]), asked(critical_batch=ends[1])),
        )  # fmt: skip


def _with(job: TrainingJob, **changes: float) -> TrainingJob:
    return replace(job, **changes)  # type: ignore[arg-type]


_OPERATIONS = {
    "device_mtbf_s": ("time between failures of one device", format_time),
    "restart_s": ("from an interruption to training again", format_time),
    "checkpoint_bandwidth": ("at which a node writes its share of a checkpoint", format_bandwidth),
    "straggler_variation": ("variation of one worker's time for a step", lambda value: f"{value:.3g}"),
    "input_rate": ("samples/s that one node can feed", format_count),
    "spot_interruptions": ("of a spot node an hour", lambda value: f"{value:.3g}"),
    "queue_s": ("waiting for the nodes", format_time),
}


def _of_operations(table: CostTable, strategy: Strategy, options: Options) -> Iterator[Variation]:
    """What running adds; of none of it is known how well it is known."""
    operations: Operations = options.operations
    for name, (text, form) in _OPERATIONS.items():
        value = getattr(operations, name)
        if value is None or not 0 < value < math.inf:
            continue
        ends = [value * factor for factor in _factors(None)]
        at = [(table, strategy, replace(options, operations=replace(operations, **{name: end}))) for end in ends]
        yield Variation(name, text, "operations", form(value), None, (form(ends[0]), form(ends[1])), (at[0], at[1]))


def _of_price(table: CostTable, strategy: Strategy, options: Options) -> Iterator[Variation]:
    """The price of a node."""
    cluster = strategy.cluster
    price = options.node_price(cluster)
    if price is None or options.pricing == "owned":
        return
    assert cluster.price is not None
    ends = _factors(None)
    at = [
        (table, replace(strategy, cluster=replace(cluster, price=_scaled(cluster.price, factor))), options)
        for factor in ends
    ]
    texts = [f"${price.dollars_per_hour * factor:,.6g}/h" for factor in (1.0, *ends)]
    yield Variation("price", "of a node", cluster.name, texts[0], None, (texts[1], texts[2]), (at[0], at[1]))


def _scaled(price: Price, factor: float) -> Price:
    def times(value: float | None) -> float | None:
        return None if value is None else value * factor

    return replace(
        price, on_demand=price.on_demand * factor, reserved_1y=times(price.reserved_1y), spot=times(price.spot)
    )


def _of_power(table: CostTable, strategy: Strategy, options: Options) -> Iterator[Variation]:
    """The power model's shares, each 10% off."""
    power = options.power
    for name in ("busy", "idle", "node", "pue"):
        value = getattr(power, name)
        ends = [value * factor for factor in _factors(None)]
        if name == "pue":
            ends = [max(1.0, end) for end in ends]
        at = [(table, strategy, replace(options, power=replace(power, **{name: end}))) for end in ends]
        texts = [f"{end:.3g}" for end in (value, *ends)]
        yield Variation(name, _POWER[name], "power", texts[0], None, (texts[1], texts[2]), (at[0], at[1]))


_POWER = {
    "busy": "share of its TDP that a computing device draws",
    "idle": "share of its TDP that a waiting device draws",
    "node": "the rest of the node, as a share of its devices' TDP",
    "pue": "of the building",
}
