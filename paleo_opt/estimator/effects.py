"""How much each constant of the model moves an estimate: d ln(figure) for one standard deviation of the constant.

All constants of all strategies of one layout are shifted in a single call of `estimate`: each strategy is estimated
again on a copy of its cluster for every constant, and the copies' names say which constant is shifted (`shift_of`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.estimate import Estimates, estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.splits import Splits
from paleo_opt.estimator.strategy import Strategies, Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.constant import Constant
from paleo_opt.hardware.link_constants import LINK_CONSTANTS, link_constant
from paleo_opt.hardware.platform import CONSTANTS

Floats = NDArray[np.float64]
#: What is asked of estimates: F figures, each above 0 or NaN.
Figures = Callable[[Estimates], Sequence[Floats]]

#: Of ln(platform percent of peak) where the PALEO model takes its default: from the quartiles of the rows that gave the
#: defaults (`options.DEFAULT_PPP_COMP`), (ln 0.75 - ln 0.30) / 1.35 of vector units and (ln 0.70 - ln 0.60) / 1.35 of
#: tensor cores; for links (`options.DEFAULT_PPP_COMM`), an eighth either way covers most of what was published.
PALEO_DEVIATIONS = {"vector": 0.68, "tensor": 0.11, "link": 0.12}


@dataclass(frozen=True)
class ModelConstant:
    """One constant that an estimate rests on.

    Attributes:
        name: As in `Options.shifts`: ``tensor``, ``platform.launch``, ``link.attained``, …
        owner: The device, platform or cluster whose constant it is; constants of two owners err independently.
        constant: Its value and deviation.
    """

    name: str
    owner: str
    constant: Constant

    @property
    def key(self) -> str:
        """``tensor@h100-sxm5-80gb``, as `Options.shifts` takes it."""
        return f"{self.name}@{self.owner}"


def model_constants(strategy: Strategy, options: Options) -> tuple[ModelConstant, ...]:
    """The uncertain constants of the model that a strategy's estimate may rest on; none under PALEO (`effects`)."""
    if options.model == "paleo":
        return ()
    cluster, device = strategy.cluster, strategy.cluster.device
    platform = options.platform_of(device)
    found = []
    if options.ppp_comp is None:
        unit = device.unit(strategy.precision)
        found += [ModelConstant(name, device.name, device.attained(name)) for name in (unit, "memory")]
    sends = options.training and strategy.gpus > 1
    idle = {name for name in ("winograd", "fft") if not any(name in has for has in platform.algorithms.values())}
    if not sends:
        idle |= {"communication", "overlap", "contention", "server"}
    if options.ppp_comm is not None:
        idle.add("communication")
    if strategy.collective != "one_to_all":
        idle.add("server")
    found += [
        ModelConstant(f"platform.{name}", platform.name, platform.constant(name))
        for name in CONSTANTS
        if name not in idle
    ]
    if strategy.gpus > 1:
        skipped = {"attained"} if options.ppp_comm is not None else set()
        found += [
            ModelConstant(f"link.{name}", cluster.name, constant)
            for name in LINK_CONSTANTS
            if name not in skipped and (constant := _link(cluster, name)).value > 0
        ]
    return tuple(item for item in found if item.constant.deviation > 0)


def _link(cluster: Cluster, name: str) -> Constant:
    """A constant of the outermost link, for all: their deviations are alike."""
    level = cluster.levels[-1]
    return link_constant(level.constants, name, level.latency)


@dataclass(frozen=True, eq=False)
class Effects:
    """What N strategies' figures do when constants are one standard deviation off.

    Attributes:
        keys: Of the K constants, each of one owner.
        effect: d ln(figure), of each of F figures. Shape (F, K, N).
        figure: As estimated. Shape (F, N).
    """

    keys: tuple[str, ...]
    effect: Floats
    figure: Floats

    @property
    def deviation(self) -> Floats:
        """Of ln(figure), from all constants together. Shape (F, N)."""
        found: Floats = np.sqrt((self.effect**2).sum(axis=1))
        return found


def step_time(estimates: Estimates) -> tuple[Floats]:
    """The figure that intervals are of."""
    return (estimates.step_time_s,)


def effects(
    table: CostTable, strategies: Sequence[Strategy], options: Options, figures: Figures = step_time
) -> Effects:
    """What each constant does to figures of each strategy, by one-sided differences.

    Shares are shifted down and times up, to where physics sets no bound. Under PALEO the shares of the step in
    computation and communication say it, of each figure alike.

    Args:
        table: The compiled network.
        strategies: N of them.
        options: The model's.
        figures: F of them, of estimates.
    """
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index, strategy in enumerate(strategies):
        groups[strategy.split, strategy.tensor].append(index)
    of_layout = _of_paleo if options.model == "paleo" else _of_roofline
    parts = [
        (members, *of_layout(table, [strategies[index] for index in members], options, figures))
        for members in groups.values()
    ]
    keys = tuple(dict.fromkeys(key for _, _, moved in parts for key in moved))
    count = parts[0][1].shape[0]
    value, effect = np.zeros((count, len(strategies))), np.zeros((count, len(keys), len(strategies)))
    for members, plain, moved in parts:
        value[:, members] = plain
        for row, key in enumerate(keys):
            if key in moved:
                effect[:, row, members] = moved[key]
    return Effects(keys, np.nan_to_num(effect), value)


def _values(figures: Figures, estimates: Estimates) -> Floats:
    """Shape (F, strategies)."""
    shape = estimates.strategies.shape
    return np.array([np.broadcast_to(figure, shape).reshape(-1) for figure in figures(estimates)])


def _of_roofline(
    table: CostTable, strategies: Sequence[Strategy], options: Options, figures: Figures
) -> tuple[Floats, dict[str, Floats]]:
    """The figures, and by key what a deviation changes, of strategies of one layout. Shapes (F, N)."""
    count = len(strategies)
    needed = [{item.name: item for item in model_constants(strategy, options)} for strategy in strategies]
    names = list(dict.fromkeys(name for items in needed for name in items))
    every, owners = list(strategies), []
    shifts = dict(options.shifts)
    for name in names:
        copies: dict[int, Cluster] = {}
        for index, (strategy, items) in enumerate(zip(strategies, needed, strict=True)):
            if name in items:
                cluster = strategy.cluster
                if id(cluster) not in copies:
                    label = f"{name}#{len(copies)}"
                    shifts[f"{name}@{label}"] = 1.0 if _is_time(name) else -1.0
                    copies[id(cluster)] = replace(cluster, name=label, device=replace(cluster.device, name=label))
                every.append(_placed(strategy, copies[id(cluster)]))
                owners.append((name, index, items[name].key))
    estimated = estimate(table, gathered(every), replace(options, shifts=shifts))
    values = _values(figures, estimated)
    moved: dict[str, Floats] = {}
    for column, (name, index, key) in enumerate(owners, count):
        change = np.log(values[:, column] / values[:, index])
        moved.setdefault(key, np.zeros((len(values), count)))[:, index] = change if _is_time(name) else -change
    return values[:, :count], moved


def _is_time(name: str) -> bool:
    kind, _, bare = name.partition(".")
    meaning = LINK_CONSTANTS.get(bare) if kind == "link" else CONSTANTS.get(bare)
    return bare != "" and meaning is not None and meaning.unit != "share"


def _placed(strategy: Strategy, cluster: Cluster) -> Strategy:
    """The same on another cluster, whose limits it is known to keep."""
    moved = object.__new__(Strategy)
    moved.__dict__.update(strategy.__dict__ | {"cluster": cluster})
    return moved


def _of_paleo(
    table: CostTable, strategies: Sequence[Strategy], options: Options, figures: Figures
) -> tuple[Floats, dict[str, Floats]]:
    """As `_of_roofline`."""
    found = estimate(table, gathered(strategies), options)
    values = _values(figures, found)
    local, sent, step = _values(
        lambda of: (of.forward_time_s + of.backward_time_s, of.all_reduce_time_s, of.step_time_s), found
    )
    moved: dict[str, Floats] = {}
    for index, strategy in enumerate(strategies):
        device, cluster = strategy.cluster.device, strategy.cluster
        if options.ppp_comp is None and strategy.precision not in device.ppp_comp:
            effect = -PALEO_DEVIATIONS[device.unit(strategy.precision)] * local[index] / step[index]
            moved.setdefault(f"ppp_comp@{device.name}", np.zeros(values.shape))[:, index] = effect
        if options.ppp_comm is None and cluster.ppp_comm is None and strategy.gpus > 1:
            effect = -PALEO_DEVIATIONS["link"] * sent[index] / step[index]
            moved.setdefault(f"ppp_comm@{cluster.name}", np.zeros(values.shape))[:, index] = effect
    return values, moved


def gathered(strategies: Sequence[Strategy]) -> Strategies:
    """Strategies of one split as one set; of a transformer's blocks, each under its own."""
    at = [(id(strategy.cluster), strategy.precision) for strategy in strategies]
    places = dict(zip(at, strategies, strict=True))
    order = {key: place for place, key in enumerate(places)}
    collectives = list(dict.fromkeys(strategy.collective for strategy in strategies))
    first = strategies[0]
    blocks = [strategy.blocks for strategy in strategies if strategy.blocks is not None]
    layouts = {split: layout for layout, split in enumerate(dict.fromkeys(blocks))}
    return Strategies(
        clusters=tuple(strategy.cluster for strategy in places.values()),
        precisions=tuple(strategy.precision for strategy in places.values()),
        split=first.split,
        tensor=1 if blocks else first.tensor,
        collectives=tuple(collectives),
        gpus=np.array([strategy.gpus for strategy in strategies]),
        micro_batch=np.array([strategy.micro_batch for strategy in strategies]),
        accumulation=np.array([strategy.accumulation for strategy in strategies]),
        collective=np.array([collectives.index(strategy.collective) for strategy in strategies]),
        place=np.array([order[key] for key in at]),
        splits=Splits.of(list(layouts)) if blocks else None,
        layout=np.array([layouts[split] for split in blocks]) if blocks else np.zeros((), dtype=np.int64),
    )


def constants_deviation(table: CostTable, strategy: Strategy, options: Options) -> float:
    """Of ln(step time), from the uncertainty of the model's constants."""
    return float(effects(table, [strategy], options).deviation[0, 0])
