"""The questions of benchmarks/search.py, their exact answers, and what is measured of a search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError
from paleo_opt.network.load import load_network
from paleo_opt.search.blocks import Block
from paleo_opt.search.bounded_front import bounded_rows
from paleo_opt.search.budgets import figure, parse_budgets
from paleo_opt.search.front import find_front, front_of
from paleo_opt.search.optuna_search import NestedSearch, OuterSpace
from paleo_opt.search.problem import MOST_SWEPT, SearchProblem, count_strategies, load_problem
from paleo_opt.search.rows import Rows, join
from paleo_opt.search.sweep import sweep

Floats = NDArray[np.float64]
#: The reference point of hypervolumes is so many times the worst of the exact front, in both figures.
REFERENCE = 1.1
#: Figures closer than this are one.
SAME = 1e-9


@dataclass(frozen=True)
class Question:
    """One case of the benchmark: the GPUs are the budget, ``goal`` is minimized."""

    net: str
    space: str
    gpus: int
    goal: str

    def problem(self) -> SearchProblem:
        """What is searched."""
        return load_problem(self.net, parse_budgets([f"{self.gpus}gpus"]), self.goal, space=self.space)


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of a question.

    Attributes:
        strategies: In its space.
        how: ``sweep``, or ``bounds`` where every strategy was evaluated or proved to be worse.
        optimum: The least of what is minimized.
        front: Time and money (or GPUs) of the exact front, time ascending. Shape (2, points).
        priced: Whether the front is of money.
        rows: Of the sweep.
        evaluated: Strategies that the front took.
        seconds: And how long.
    """

    strategies: int
    how: str
    optimum: float
    front: Floats
    priced: bool
    rows: Rows | None
    evaluated: int
    seconds: float


def refused(net: str, space: str, gpus: int, goal: str) -> str | None:
    """Why a question cannot be asked; None where it can."""
    try:
        blocks = Question(net, space, gpus, goal).problem().blocks()
    except SpecError as error:
        # The network has no job, or no cluster of the space has a price.
        return str(error).split(": ", 1)[-1].split(";")[0]
    if not blocks:
        return "no global batch of the space is within what the network trains with"
    return None


def default_gpus(net: str) -> int:
    return 64 if load_network(net).transformer is None else 1024


def figures(rows: Rows, priced: bool) -> Floats:
    """Time and money (or GPUs) of the feasible rows. Shape (2, rows)."""
    kept = rows.feasible > 0
    return np.stack([rows.time_s, figure(rows, "cost") if priced else rows.gpus.astype(float)])[:, kept]


def find_truth(problem: SearchProblem, blocks: Sequence[Block], known: Truth | None = None) -> Truth:
    """The exact answers; ``known`` are those of the other goal, whose rows are the same on the same clusters."""
    start, strategies = time.perf_counter(), count_strategies(blocks)
    # Where money is minimized, clusters without a price are left out.
    if known is not None and known.strategies == strategies:
        ends = {"time": known.front[0, 0], "cost": known.front[1, -1]}
        return replace(known, optimum=float(ends[problem.goal]))
    if strategies <= MOST_SWEPT:
        rows = sweep(problem.table, blocks, problem.budgets.limits, problem.options, problem.goal)
        front = front_of(problem, blocks, rows, start)
        optimum, how, kept = float(figure(rows, problem.goal)[rows.feasible > 0].min()), "sweep", rows
        evaluated = strategies
    else:
        rows = bounded_rows(problem, blocks)
        front = front_of(problem, blocks, rows, start)
        # Both ends of the front are its fastest and its cheapest.
        optimum = float(front.time_s[0] if problem.goal == "time" else front.spent[-1])
        how, kept, evaluated = "bounds", None, int(rows.strategies.sum())
    priced = front.against == "cost_usd"
    points = np.stack([front.time_s, front.spent])
    return Truth(strategies, how, optimum, points, priced, kept, evaluated, time.perf_counter() - start)


def hypervolume(points: Floats, reference: Floats) -> float:
    """Area between points and a reference point, on logarithmic axes. ``points``: shape (2, n)."""
    inside = points[:, (points < reference[:, None]).all(axis=0)]
    if not inside.size:
        return 0.0
    first, second = np.log(inside[:, np.lexsort((inside[1], inside[0]))])
    lowest = np.minimum.accumulate(second)
    right = np.append(first[1:], np.log(reference[0]))
    return float(((right - first) * (np.log(reference[1]) - lowest)).sum())


def reference_point(truth: Truth) -> Floats:
    return REFERENCE * truth.front.max(axis=1)


def ratio(points: Floats, truth: Truth) -> float:
    """Hypervolume of what was found over that of the exact front."""
    at = reference_point(truth)
    return hypervolume(points, at) / hypervolume(truth.front, at)


def gap(best: float, truth: Truth) -> float:
    """Of the best over the optimum; infinite where nothing feasible was found."""
    found = best / truth.optimum - 1.0
    return 0.0 if abs(found) <= SAME else found


@dataclass(frozen=True)
class Measured:
    """One search after so many trials."""

    sampler: str
    seed: int
    trials: int
    gap: float
    hypervolume: float
    evaluated: int
    seconds: float


class Ours:
    """The search of `recommend`, run to its last trial; what a seed has solved the next looks up."""

    def __init__(self, problem: SearchProblem, blocks: Sequence[Block], truth: Truth) -> None:
        start = time.perf_counter()
        outer = OuterSpace.of(problem, blocks, truth.strategies)
        self.nested = NestedSearch(problem, blocks, outer, truth.rows)
        self.truth, self.ready = truth, time.perf_counter() - start

    def run(self, seed: int, checkpoints: Sequence[int]) -> list[Measured]:
        """One study of the largest of ``checkpoints`` trials, measured at each."""
        from paleo_opt.studies.run import run_study

        start, truth = time.perf_counter(), self.truth
        most, found = max(checkpoints), []
        trials = run_study(self.nested.study_problem(most), trials=most, seed=seed).finished
        # A space that can be swept is: trials then look rows up.
        seconds = time.perf_counter() - start + self.ready + (truth.seconds if truth.rows is not None else 0.0)
        for count in checkpoints:
            some = [trial for trial in trials[:count] if "strategies" in trial.user_attrs]
            feasible = [trial.value for trial in some if all(excess <= 0 for excess in trial.constraints.values())]
            places = (tuple(trial.params[name] for name in self.nested.outer.sizes) for trial in some)
            bands = dict.fromkeys(self.nested.outer.band(place) for place in places)
            rows = join([self.nested.solved[band] for band in bands])
            measured = ratio(figures(rows, truth.priced), truth)
            best = min((value for value in feasible if value is not None), default=np.inf)
            found.append(Measured("ours", seed, count, gap(best, truth), measured, int(rows.strategies.sum()), seconds))
        return found


def our_front(problem: SearchProblem, blocks: Sequence[Block], truth: Truth) -> Measured:
    """The front of `pareto`: by a sweep, or of a larger space by bounds."""
    start = time.perf_counter()
    if truth.rows is not None:
        front = find_front(problem, blocks)
        points, evaluated = np.stack([front.time_s, front.spent]), truth.strategies
    else:
        points, evaluated = truth.front, truth.evaluated
    seconds = truth.seconds if truth.rows is None else time.perf_counter() - start
    return Measured("front", 0, 0, 0.0, ratio(points, truth), evaluated, seconds)
