"""Studies of splits by layer: of a kernel's cut, and of where to run and in how many passes.

Each trial solves all that is inside its point exactly: the rest of the graph, or the whole of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paleo_opt.errors import InfeasibleError, SpecError, nearest
from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.layer_splits.choice_elimination import conditional, descended
from paleo_opt.layer_splits.places import SplitPlaces
from paleo_opt.layer_splits.point import BEYOND, NO_FIT, SOLVED, WORSE, SplitPoint, places_of
from paleo_opt.layer_splits.series_parallel import Kernel
from paleo_opt.layer_splits.split_layers import LayerSplits
from paleo_opt.network.graph import Network
from paleo_opt.search.budgets import LIMITED, budget_text, parse_budgets
from paleo_opt.studies.problem import Outcome, Point, StudyProblem, Variable

if TYPE_CHECKING:
    from paleo_opt.studies.kept import Kept
    from paleo_opt.studies.run import Progress, StudyRun

GOALS = ("time", "cost")
#: Assignments drawn at random from which a study of a kernel starts, besides those that are given.
_STARTS = 24


def _name(node: int) -> str:
    return f"node{node}"


def kernel_problem(kernel: Kernel, first: Sequence[Sequence[int]] = ()) -> StudyProblem:
    """The choices of the cut of ``kernel``; what is left then falls apart and is solved exactly.

    The study starts from ``first``, and from what changing the choices of single nodes makes of them and of choices at
    random; beside a point are those that differ in one node of the cut, first what costs least with all else as it is.

    Args:
        kernel: Of a graph that is not series-parallel.
        first: Choices of every node, from which to start.
    """
    costs = kernel.costs

    def solve(point: Point) -> Outcome:
        cost, _ = kernel.solve([int(point[_name(node)]) for node in kernel.cut])
        return Outcome(cost)

    def points(choices: Sequence[int]) -> Mapping[str, float]:
        return {_name(node): float(choices[node]) for node in kernel.cut}

    def beside(best: Sequence[Point], seen: Sequence[Point]) -> Sequence[Point]:
        tried, near = {tuple(point.values()) for point in seen}, []
        for point in best:
            cost, chosen = kernel.solve([int(point[_name(node)]) for node in kernel.cut])
            for node in kernel.cut:
                others = conditional(costs, chosen, node)
                changed = cost + others - others[chosen[node]]
                near += [(float(each), {**point, _name(node): float(at)}) for at, each in enumerate(changed)]
        near.sort(key=lambda pair: pair[0])
        return [point for _, point in near if tuple(point.values()) not in tried]

    draw = np.random.default_rng(0)
    drawn = [[int(draw.integers(of.size)) for of in costs.nodes] for _ in range(_STARTS)]
    better = sorted({descended(costs, chosen) for chosen in (*first, *drawn)}, key=costs.total)
    unique = {tuple(points(choices).values()): points(choices) for choices in (*first, *better)}
    return StudyProblem(
        variables={_name(node): Variable(0, count - 1) for node, count in zip(kernel.cut, kernel.counts, strict=True)},
        solve=solve,
        identity={"cut": list(kernel.cut), "choices": list(kernel.counts)},
        first=tuple(unique.values()),
        beside=beside,
    )


@dataclass(frozen=True, eq=False)
class SplitSearch:
    """The answer of `search_splits`.

    Attributes:
        places: What was asked.
        points: All that the study finished, the best first, then what is not solved or does not fit.
        possible: How many there are.
        best: The splits of the best point.
    """

    places: SplitPlaces
    points: tuple[SplitPoint, ...]
    possible: int
    best: LayerSplits

    @property
    def minimize(self) -> str:
        """``time`` or ``cost``."""
        return self.places.minimize

    @property
    def every(self) -> bool:
        """Whether every point was solved or proved to be no better."""
        return len(self.points) == self.possible

    @property
    def states(self) -> Counter[str]:
        """How many points were solved, do not fit, or were left for a lower bound."""
        return Counter(point.state for point in self.points)


def make_places(
    network: Network | CostTable,
    clusters: Sequence[Cluster],
    gpus: Sequence[int] | None,
    global_batch: int,
    *,
    budgets: Sequence[str] = (),
    minimize: str | None = None,
    seed: int = 0,
    options: Options | None = None,
    **asked: Any,
) -> SplitPlaces:
    """What `search_splits` is asked, checked; its arguments.

    Raises:
        SpecError: what does not go together.
    """
    table = network if isinstance(network, CostTable) else compile_network(network)
    options = options or usual_options(table.network)
    limits = parse_budgets(budgets)
    minimize = minimize or limits.default_goal
    if minimize not in GOALS:
        raise SpecError(f"minimize {minimize!r}{nearest(minimize, GOALS)}")
    if not clusters:
        raise SpecError("--on is missing; expected a cluster (see: paleo-opt list clusters)")
    given = [name for name in LIMITED if getattr(limits, name) is not None]
    if given and table.network.job is None:
        what = {"time_s": "time", "cost_usd": "money", "energy_kwh": "energy"}[given[0]]
        raise SpecError(f"{table.network.name} has no job, so there is no {what} to a target; expected --samples N")
    names = ", ".join(cluster.name for cluster in clusters)
    if minimize == "cost" or limits.cost_usd is not None:
        clusters = [cluster for cluster in clusters if options.node_price(cluster) is not None]
        if not clusters:
            what = "minimize the cost by" if minimize == "cost" else "hold against the budget"
            raise SpecError(f"{names}: no price to {what}")
    if limits.energy_kwh is not None:
        clusters = [cluster for cluster in clusters if cluster.device.power is not None]
        if not clusters:
            raise SpecError(f"{names}: no power of the devices to hold against the budget")
    kept, sizes = places_of(clusters, gpus, limits)
    return SplitPlaces(table, kept, sizes, global_batch, minimize, limits, options, seed, asked)


def search_splits(
    network: Network | CostTable,
    clusters: Sequence[Cluster],
    gpus: Sequence[int] | None,
    global_batch: int,
    *,
    budgets: Sequence[str] = (),
    minimize: str | None = None,
    trials: int = 200,
    seed: int = 0,
    options: Options | None = None,
    kept: Kept | None = None,
    progress: Callable[[Progress], None] | None = None,
    **asked: Any,
) -> SplitSearch:
    """Where to run, on how many devices: a study whose trials each find the fastest split of every layer.

    The figures of each place are kept with its trial, as text. The splits themselves are not: where another process
    found those of the best place, it is solved again, which gives the same.

    Args:
        network: What is trained, or its compiled table.
        clusters: Where it may run.
        gpus: Numbers of devices; None for one node, or under budgets for all that `recommend` considers (at most
            `MOST_DEVICES`).
        global_batch: Samples of a step, the same everywhere.
        budgets: Texts such as ``64gpus``, ``$500``, ``12h`` and ``200kWh``; all hold. Under budgets a place is left
            unsolved where a lower bound says that it is worse than the best, or beyond a budget; else all are solved.
        minimize: ``time`` or ``cost``: to the target where the network has a job, else of a step and of a sample; by
            default as `Budgets.default_goal`.
        trials: At most; every point is tried where there are no more.
        seed: Of the studies.
        options: The model's constants and terms.
        kept: Where the study is kept; None for memory.
        progress: Called after each trial.
        asked: Further arguments of `split_layers`.

    Raises:
        SpecError: another goal, no price where cost is minimized, or what `split_layers` refuses everywhere.
        InfeasibleError: no split fits anywhere, or none keeps to the budgets; says what is nearest.
    """
    places = make_places(
        network, clusters, gpus, global_batch, budgets=budgets, minimize=minimize, seed=seed, options=options,
        trials=trials, **asked,
    )  # fmt: skip
    run = _run(places, trials, seed, kept, progress)
    points = _finished(places, run)
    if not points[0].feasible:
        raise InfeasibleError(_nothing(places, points))
    best = points[0]
    return SplitSearch(
        places, tuple(points), len(places.points), places.answer(places.clusters.index(best.cluster), best.gpus)
    )


def _run(
    places: SplitPlaces, trials: int, seed: int, kept: Kept | None, progress: Callable[[Progress], None] | None
) -> StudyRun | None:
    """The study; None for one place in memory, for which Optuna need not be there."""
    problem = places.study_problem()
    if kept is not None:
        from paleo_opt.studies.run_kept import run_kept

        return run_kept(problem, kept, trials=trials, seed=seed, progress=progress)
    if len(places.points) == 1:
        return None
    from paleo_opt.studies.run import run_study

    return run_study(problem, trials=trials, seed=seed, progress=progress)


def _finished(places: SplitPlaces, run: StudyRun | None) -> list[SplitPoint]:
    """The places that a study has finished, the best first."""
    if run is None:
        (only,) = places.points
        points = [places.read(only, places.solve(only).result)]
    else:
        from optuna.trial import TrialState

        from paleo_opt.studies.run import RESULT
        from paleo_opt.studies.sampler import point_of

        problem, points = places.study_problem(), []
        for trial in run.finished:
            point = point_of(problem, trial)
            assert point is not None
            if trial.state == TrialState.PRUNED:
                index, gpus = places.place(point)
                points.append(SplitPoint(places.clusters[index], gpus, WORSE, places.least(index, gpus)))
            else:
                points.append(places.read(point, trial.system_attrs[RESULT]))
    order = (SOLVED, WORSE, BEYOND, NO_FIT)

    def rank(point: SplitPoint) -> tuple[bool, int, float]:
        value = 0.0 if point.figures is None else places.value(point.figures)
        return not point.feasible, order.index(point.state), value

    return sorted(points, key=rank)


def _nothing(places: SplitPlaces, points: Sequence[SplitPoint]) -> str:
    """Why no place will do, and which comes nearest."""
    # A bound says by how much a place is beyond a budget at least: the nearest is found by solving few of them.
    nearest_point: SplitPoint | None = None
    fitting = [point for point in points if point.figures is not None]
    for point in sorted(fitting, key=_beyond):
        if nearest_point is not None and _beyond(point) >= _beyond(nearest_point):
            break
        if point.state != SOLVED:
            point = places.solved(places.clusters.index(point.cluster), point.gpus)
        if point.figures is not None and (nearest_point is None or _beyond(point) < _beyond(nearest_point)):
            nearest_point = point
    if nearest_point is None:
        return "\n".join(dict.fromkeys(point.reason for point in points if point.reason))
    figures = nearest_point.figures
    assert figures is not None
    counts = Counter(point.state for point in points)
    told = [
        f"{counts[state]:,} {words}"
        for state, words in ((SOLVED, "solved"), (BEYOND, "beyond by lower bounds alone"), (NO_FIT, "too small for it"))
        if counts[state]
    ]
    over = nearest_point.excess
    sizes = ", ".join(f"{budget_text(name, getattr(figures, name))} ({_over(over[name])})" for name in over)
    where = f"{nearest_point.gpus:,} GPU{'s'[: nearest_point.gpus != 1]} of {nearest_point.cluster.name}"
    budgets = " and ".join(places.budgets.in_words())
    batch = f"{places.global_batch:,}"
    return (
        f"nothing within {budgets}: {_none_of(len(points))} {places.table.network.name} at "
        f"a global batch of {batch} ({', '.join(told)})\n"
        f"nearest: {where}, each layer split in its own way: {sizes}"
    )


def _beyond(point: SplitPoint) -> float:
    return max(point.excess.values(), default=0.0)


def _none_of(count: int) -> str:
    """``none of 22 places (a cluster and a number of GPUs) trains``."""
    return "the one place does not train" if count == 1 else f"none of {count:,} places (cluster and GPUs) trains"


def _over(excess: float) -> str:
    """``+12%``, ``180 times as much``."""
    return f"{excess:+.0%}" if excess < 9.0 else f"{excess + 1.0:,.0f} times as much"
