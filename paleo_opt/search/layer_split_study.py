"""Studies of splits by layer: of a kernel's cut, and of where to run and in how many passes.

Each trial solves all that is inside its point exactly: the rest of the graph, or the whole of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paleo_opt.errors import InfeasibleError, SpecError, nearest
from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.layer_splits.split_layers import LayerSplits, dollars_per_million, split_layers
from paleo_opt.network.graph import Network
from paleo_opt.search.series_parallel import Kernel
from paleo_opt.search.study_problem import Outcome, Point, StudyProblem, Variable

if TYPE_CHECKING:
    from paleo_opt.search.study import Progress


def _name(node: int) -> str:
    return f"node{node}"


def kernel_problem(kernel: Kernel, first: Sequence[Sequence[int]] = ()) -> StudyProblem:
    """The choices of the cut of ``kernel``; what is left then falls apart and is solved exactly.

    Args:
        kernel: Of a graph that is not series-parallel.
        first: Choices of every node, from which to start.
    """

    def solve(point: Point) -> Outcome:
        cost, _ = kernel.solve([int(point[_name(node)]) for node in kernel.cut])
        return Outcome(cost)

    def points(choices: Sequence[int]) -> Mapping[str, float]:
        return {_name(node): float(choices[node]) for node in kernel.cut}

    def beside(best: Sequence[Point], seen: Sequence[Point]) -> Sequence[Point]:
        tried = {tuple(point.values()) for point in seen}
        near = [
            {**point, name: float(other)}
            for point in best
            for name, count in zip(point, kernel.counts, strict=True)
            for other in range(count)
        ]
        return [point for point in near if tuple(point.values()) not in tried]

    unique = {tuple(points(choices).values()): points(choices) for choices in first}
    return StudyProblem(
        variables={_name(node): Variable(0, count - 1) for node, count in zip(kernel.cut, kernel.counts, strict=True)},
        solve=solve,
        identity={"cut": list(kernel.cut), "choices": list(kernel.counts)},
        first=tuple(unique.values()),
        beside=beside,
    )


@dataclass(frozen=True, eq=False)
class SplitPoint:
    """One place where a network was split layer by layer.

    Attributes:
        cluster: Where.
        gpus: Devices.
        answer: The fastest splits, or None where none fits.
        dollars_per_million: Samples; NaN without a price.
        reason: Why none fits; empty where one does.
    """

    cluster: Cluster
    gpus: int
    answer: LayerSplits | None
    dollars_per_million: float
    reason: str = ""


@dataclass(frozen=True, eq=False)
class SplitSearch:
    """The answer of `search_splits`.

    Attributes:
        minimize: ``time`` or ``cost``.
        points: All that were tried, the best first.
        possible: How many there are.
    """

    minimize: str
    points: tuple[SplitPoint, ...]
    possible: int

    @property
    def every(self) -> bool:
        """Whether every point was tried."""
        return len(self.points) == self.possible

    @property
    def best(self) -> LayerSplits:
        """The splits of the best point."""
        answer = self.points[0].answer
        assert answer is not None
        return answer


def search_splits(
    network: Network | CostTable,
    clusters: Sequence[Cluster],
    gpus: Sequence[int],
    global_batch: int,
    *,
    minimize: str = "time",
    trials: int = 200,
    seed: int = 0,
    options: Options | None = None,
    progress: Callable[[Progress], None] | None = None,
    **asked: Any,
) -> SplitSearch:
    """Where to run, on how many devices: a study whose trials each find the fastest split of every layer.

    Args:
        network: What is trained, or its compiled table.
        clusters: Where it may run.
        gpus: Numbers of devices.
        global_batch: Samples of a step, the same everywhere.
        minimize: ``time`` of a step, or ``cost`` of a sample.
        trials: At most; every point is tried where there are no more.
        seed: Of the study.
        options: The model's constants.
        progress: Called after each trial.
        asked: Further arguments of `split_layers`.

    Raises:
        SpecError: another goal, no price where cost is minimized, or what `split_layers` refuses everywhere.
        InfeasibleError: no split fits anywhere.
    """
    table = network if isinstance(network, CostTable) else compile_network(network)
    options = options or usual_options(table.network)
    if minimize not in ("time", "cost"):
        raise SpecError(f"minimize {minimize!r}{nearest(minimize, ('time', 'cost'))}")
    priced = [cluster for cluster in clusters if minimize == "time" or options.node_price(cluster) is not None]
    if not priced:
        raise SpecError(f"{', '.join(cluster.name for cluster in clusters)}: no price to minimize the cost by")
    possible = [
        {"cluster": float(place), "gpus": float(size)}
        for place, cluster in enumerate(priced)
        for size, devices in enumerate(gpus)
        if cluster.max_devices is None or devices <= cluster.max_devices
    ]
    if not possible:
        raise SpecError(f"gpus {min(gpus):,}: more than {', '.join(cluster.name for cluster in priced)} have")
    solved: dict[tuple[int, int], SplitPoint] = {}

    def solve(point: Point) -> Outcome:
        place, size = int(point["cluster"]), int(point["gpus"])
        cluster, devices = priced[place], gpus[size]
        try:
            answer = split_layers(table, cluster, devices, global_batch, options=options, seed=seed, **asked)
        except InfeasibleError as error:
            solved[place, size] = SplitPoint(cluster, devices, None, math.nan, str(error))
            return Outcome(math.inf)
        dollars = dollars_per_million(answer, options)
        solved[place, size] = SplitPoint(cluster, devices, answer, dollars)
        told = {"step_time_s": answer.best.step_time_s, "memory_bytes": answer.best.memory_bytes}
        return Outcome(answer.best.step_time_s if minimize == "time" else dollars, attributes=told)

    problem = StudyProblem(
        variables={"cluster": Variable(0, len(priced) - 1), "gpus": Variable(0, len(gpus) - 1)},
        solve=solve,
        identity={
            "network": table.network.name, "clusters": [one.name for one in priced], "gpus": list(gpus),
            "global_batch": global_batch, "minimize": minimize,
        },
        every=possible,
    )  # fmt: skip
    if len(possible) == 1:
        solve(possible[0])
    else:
        from paleo_opt.search.study import run_study

        run_study(problem, trials=trials, seed=seed, progress=progress)

    def value(point: SplitPoint) -> float:
        if point.answer is None:
            return math.inf
        return point.answer.best.step_time_s if minimize == "time" else point.dollars_per_million

    points = sorted(solved.values(), key=value)
    if points[0].answer is None:
        raise InfeasibleError("\n".join(dict.fromkeys(point.reason for point in points)))
    return SplitSearch(minimize, tuple(points), len(possible))
