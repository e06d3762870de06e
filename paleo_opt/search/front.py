"""The exact front of cost against time, or of cost, time and energy, over everything feasible."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers
from paleo_opt.search.blocks import Block
from paleo_opt.search.budgets import figure, select
from paleo_opt.search.pareto import knee, pareto_front
from paleo_opt.search.problem import Choice, SearchProblem
from paleo_opt.search.row_fronts import NO_ROWS, pareto_front_of_three, row_fronts, unbeaten
from paleo_opt.search.sweep import Rows, sweep


@dataclass(frozen=True, eq=False)
class Front:
    """The front of one problem, among all its feasible points. P points, F of them on the front, fastest first.

    Attributes:
        problem: Whose front it is.
        blocks: Of its space.
        points: The feasible points: the fastest strategy of each block and number of GPUs; where energy counts, every
            strategy that no other of the same block and GPUs beats in time and energy.
        against: The figure beside time: ``cost_usd``, or ``gpus`` where nothing has a price.
        with_energy: Whether energy is the third figure.
        places: Of the front, among the points. Shape (F,).
        seconds: Finding it took.
        proved: Whether no strategy of the space can be missing.
        left_out: Strategies that were not evaluated, as lower bounds prove them to be beaten (`bounded_front`).
    """

    problem: SearchProblem
    blocks: Sequence[Block]
    points: Rows
    against: str
    with_energy: bool
    places: Integers
    seconds: float
    proved: bool = True
    left_out: int = 0

    @property
    def size(self) -> int:
        """Points on the front."""
        return int(self.places.size)

    @cached_property
    def second(self) -> Floats:
        """Cost [$] of every point, or its GPUs where nothing has a price. Shape (P,)."""
        return figure(self.points, "cost") if self.against == "cost_usd" else self.points.gpus.astype(float)

    @cached_property
    def time_s(self) -> Floats:
        """To the target, of the front. Shape (F,)."""
        return self.points.time_s[self.places]

    @cached_property
    def spent(self) -> Floats:
        """Cost [$] of the front, or GPUs. Shape (F,)."""
        return self.second[self.places]

    @cached_property
    def energy_kwh(self) -> Floats:
        """Of the front; NaN where the device's power is not published. Shape (F,)."""
        return self.points.energy_kwh[self.places]

    @cached_property
    def line(self) -> Integers:
        """Those of the front, as indices of it, that no other beats in time and cost alone; all without energy."""
        return pareto_front(self.time_s, self.spent)

    @cached_property
    def per_hour_saved(self) -> Floats:
        """What each hour saved costs against the next slower point of `line` [$, or GPUs]. Shape (F,).

        NaN for the slowest of the line, which saves nothing, and for points of the front that energy alone puts there.
        """
        found = np.full(self.size, np.nan)
        line = self.line
        if line.size > 1:
            hours = np.diff(self.time_s[line]) / 3600.0
            found[line[:-1]] = -np.diff(self.spent[line]) / hours
        return found

    @cached_property
    def knee(self) -> int | None:
        """The place on the front where time against cost bends most; None where it is nearly straight."""
        bend = knee(self.time_s[self.line], self.spent[self.line])
        return None if bend is None else int(self.line[bend])

    @property
    def fastest(self) -> int:
        """The place on the front of the fastest."""
        return 0

    @property
    def cheapest(self) -> int:
        """The place on the front of the cheapest (or of the fewest GPUs)."""
        return int(self.line[-1])

    @cached_property
    def most_frugal(self) -> int | None:
        """The place on the front of the least energy, where energy counts."""
        return int(np.argmin(self.energy_kwh)) if self.with_energy else None

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """The front's strategies."""
        return tuple(Choice(self.problem, self.points.strategy(self.blocks, int(place))) for place in self.places)

    def best(self, goal: str) -> int | None:
        """The place on the front of the least of a goal, or None where no point is there."""
        if not self.size:
            return None
        if goal == "energy":
            return self.most_frugal
        return self.cheapest if goal == "cost" and self.against == "cost_usd" else self.fastest


def find_front(
    problem: SearchProblem,
    blocks: Sequence[Block] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Front:
    """Evaluate every strategy of a problem's space and find the front; of no points where nothing is feasible.

    Args:
        problem: What is asked.
        blocks: Of its space, where they are made already.
        progress: Called after each tile with the strategies it held.

    Raises:
        SpecError: as `estimate.estimate`.
    """
    blocks = problem.blocks() if blocks is None else blocks
    start = time.perf_counter()
    limits = problem.budgets.limits
    if not blocks:
        return front_of(problem, blocks, NO_ROWS, start)
    if problem.goal == "energy":
        points = row_fronts(problem.table, blocks, limits, problem.options, progress)
    else:
        points = sweep(problem.table, blocks, limits, problem.options, progress=progress)
    return front_of(problem, blocks, points, start)


def front_of(
    problem: SearchProblem,
    blocks: Sequence[Block],
    rows: Rows,
    start: float,
    *,
    proved: bool = True,
    left_out: int = 0,
) -> Front:
    """The front of the feasible among some rows; ``start`` is when finding them began (`time.perf_counter`)."""
    feasible = np.flatnonzero(rows.feasible > 0)
    with_energy = problem.goal == "energy"
    # Of a transformer's many groups of splits, those that no other with the same GPUs beats.
    key = rows.block[feasible] * (int(rows.gpus.max(initial=0)) + 1) + rows.gpus[feasible]
    energy = rows.energy_kwh[feasible] if with_energy else np.zeros(feasible.size)
    points = select(rows, feasible[unbeaten(key, rows.time_s[feasible], energy)])
    cost = figure(points, "cost")
    against = "cost_usd" if np.isfinite(cost).any() else "gpus"
    second = cost if against == "cost_usd" else points.gpus.astype(float)
    if with_energy:
        places = pareto_front_of_three(points.time_s, second, figure(points, "energy"))
    else:
        places = pareto_front(points.time_s, second)
    seconds = time.perf_counter() - start
    return Front(problem, blocks, points, against, with_energy, places, seconds, proved, left_out)
