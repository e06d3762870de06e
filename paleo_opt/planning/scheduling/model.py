"""The schedule as a time-indexed mixed-integer program: one integer variable per (runs, way to run, start).

Two programs of the same form bracket the truth. The *exact* one lets runs start at the points of a grid alone, with
their true durations, so each of its solutions is a schedule. The *relaxed* one rounds starts and durations down to the
grid: intervals that were disjoint stay disjoint, and intervals that all overlap have an instant in common, so every
schedule whatever, on any grid, is one of its solutions. Its optimum is a bound that no schedule can beat, and where it
has no solution, there is no schedule.

After Pritsker, Watters, Wolfe: Multiproject Scheduling with Limited Resources, Management Science 16(1), 1969.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paleo_opt.planning.scheduling.columns import Columns, Group, Integers, group_runs, make_columns
from paleo_opt.planning.scheduling.problem import PRIORITIES, WEIGHTS, Placement, PlanProblem, Schedule

Floats = NDArray[np.float64]
#: Places at which a program says that a run waits for another, beside the sum over all starts.
_CUTS = 12


@dataclass(frozen=True, eq=False)
class Model:
    """A program: its variables are the columns, then the nodes added to each pool.

    Attributes:
        problem: What it schedules.
        groups: Of runs.
        columns: The variables that place them.
        grid_s: Distance of its points [s].
        relaxed: Whether it is the relaxed program.
    """

    problem: PlanProblem
    groups: tuple[Group, ...]
    columns: Columns
    grid_s: int
    relaxed: bool

    @property
    def variables(self) -> int:
        """How many there are."""
        return self.columns.count + len(self.problem.pools)

    # -- objectives ------------------------------------------------------------------------------------------

    def objective(self, name: str) -> Floats:
        """Coefficients of ``cost`` [cents], ``finish`` [h], ``early``, ``nodes`` or the lateness of a priority [h]."""
        more: Floats = np.zeros(len(self.problem.pools))
        columns = self.columns
        if name == "cost":
            of_columns = columns.cents.astype(float)
            more = np.array([pool.usd_per_more * 100 for pool in self.problem.pools])
        elif name == "finish":
            of_columns = columns.end / 3600.0
        elif name == "early":
            weight = np.array([WEIGHTS[self.problem.runs[group.runs[0]].priority] for group in self.groups])
            of_columns = weight[columns.group] * columns.end / 3600.0
        elif name == "nodes":
            of_columns, more = np.zeros(columns.count), np.array([float(pool.counted) for pool in self.problem.pools])
        else:
            priority = np.array([self.problem.runs[group.runs[0]].priority for group in self.groups])
            wanted = priority[columns.group] == PRIORITIES.index(name)
            of_columns = np.where(wanted, columns.late, 0) / 3600.0
        return np.concatenate([of_columns, more])

    # -- constraints -----------------------------------------------------------------------------------------

    @cached_property
    def constraints(self) -> tuple[Any, Floats, Floats]:
        """A sparse matrix with the least and the most of each of its rows."""
        from scipy.sparse import csr_array

        rows = _Rows()
        for index, group in enumerate(self.groups):
            columns = np.flatnonzero(self.columns.group == index)
            rows.add(columns, np.ones(columns.size), len(group.runs), len(group.runs))
        for index in range(len(self.problem.pools)):
            self._capacity(rows, index)
        self._waiting(rows)
        if self.problem.budget_usd is not None:
            cost = self.objective("cost")
            used = np.flatnonzero(cost)
            rows.add(used, cost[used], -np.inf, self.problem.budget_cents)
        value, row, column, low, high = rows.arrays()
        matrix = csr_array((value, (row, column)), shape=(low.size, self.variables))
        return matrix, low, high

    def _capacity(self, rows: _Rows, index: int) -> None:
        """At every start, the nodes in use are at most those that are there: use rises at starts alone."""
        pool, columns = self.problem.pools[index], self.columns
        if pool.nodes is None:
            return
        here = np.flatnonzero((columns.pool == index) & (columns.busy > columns.start))
        starts = np.unique(columns.start[here])
        first = np.searchsorted(starts, columns.start[here])
        last = np.searchsorted(starts, columns.busy[here])
        length = last - first
        row = np.repeat(first, length) + np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        own, value = np.repeat(here, length), np.repeat(columns.nodes[here], length).astype(float)
        if pool.most_more:
            row = np.concatenate([row, np.arange(starts.size)])
            own = np.concatenate([own, np.full(starts.size, columns.count + index)])
            value = np.concatenate([value, np.full(starts.size, -1.0)])
        rows.add_many(row, own, value, starts.size, -np.inf, float(pool.nodes))

    def _waiting(self, rows: _Rows) -> None:
        """A run starts when those it waits for are done: in the sum over starts, and at some instants."""
        columns = self.columns
        of_run = {group.runs[0]: index for index, group in enumerate(self.groups)}
        for index, run in enumerate(self.problem.runs):
            own = np.flatnonzero(columns.group == of_run[index]) if run.after else np.zeros(0, dtype=np.int64)
            for before in run.after:
                other = np.flatnonzero(columns.group == of_run[before])
                both = np.concatenate([own, other])
                value = np.concatenate([columns.start[own], -columns.done[other]]) / 3600.0
                rows.add(both, value, 0.0, np.inf)
                starts = np.unique(columns.start[own])
                for at in starts[np.unique(np.linspace(0, starts.size - 1, _CUTS).astype(int))]:
                    begun, done = own[columns.start[own] <= at], other[columns.done[other] <= at]
                    value = np.concatenate([np.ones(begun.size), -np.ones(done.size)])
                    rows.add(np.concatenate([begun, done]), value, -np.inf, 0.0)

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        """The least and the most of each variable."""
        size = np.array([len(group.runs) for group in self.groups])[self.columns.group]
        most = np.concatenate([size, [pool.most_more for pool in self.problem.pools]]).astype(float)
        return np.zeros(self.variables), most

    # -- solutions -------------------------------------------------------------------------------------------

    def schedule(self, values: Floats) -> Schedule:
        """What a solution of the exact program says."""
        counts = np.rint(values).astype(np.int64)
        placements: dict[int, Placement] = {}
        free = [list(group.runs) for group in self.groups]
        used = np.flatnonzero(counts[: self.columns.count])
        for column in used[np.lexsort((self.columns.end[used],))].tolist():
            placement = Placement(int(self.columns.candidate[column]), int(self.columns.start[column]))
            for _ in range(int(counts[column])):
                placements[free[int(self.columns.group[column])].pop(0)] = placement
        more = tuple(counts[self.columns.count :].tolist())
        return Schedule(self.problem, tuple(placements[run] for run in range(len(placements))), more)


class _Rows:
    """Rows of a sparse matrix as they are found."""

    def __init__(self) -> None:
        self._value: list[Floats] = []
        self._row: list[Integers] = []
        self._column: list[Integers] = []
        self._low: list[Floats] = []
        self._high: list[Floats] = []
        self._count = 0

    def add(self, column: Integers, value: Floats, low: float, high: float) -> None:
        """One row."""
        self.add_many(np.zeros(column.size, dtype=np.int64), column, value, 1, low, high)

    def add_many(self, row: Integers, column: Integers, value: Floats, count: int, low: float, high: float) -> None:
        """``count`` rows with the same bounds; ``row`` counts from 0."""
        self._row.append(row + self._count)
        self._column.append(column)
        self._value.append(value)
        self._low.append(np.full(count, low))
        self._high.append(np.full(count, high))
        self._count += count

    def arrays(self) -> tuple[Floats, Integers, Integers, Floats, Floats]:
        """Values, rows, columns, and the bounds of the rows."""
        row: Integers = np.concatenate(self._row)
        column: Integers = np.concatenate(self._column)
        value: Floats = np.concatenate(self._value)
        low: Floats = np.concatenate(self._low)
        high: Floats = np.concatenate(self._high)
        return value, row, column, low, high


def build(
    problem: PlanProblem,
    hard: Sequence[bool],
    grid_s: int,
    last_s: int,
    relaxed: bool = False,
    hints: Sequence[Schedule] = (),
    for_cost: bool = True,
) -> Model | None:
    """The program on one grid; None where some run has no place in it at all.

    Args:
        problem: What to schedule.
        hard: For each run, whether it must end by its deadline.
        grid_s: Distance of the points of the grid [s].
        last_s: No run whose deadline may be missed ends after this [s].
        relaxed: Build the relaxed program.
        hints: Schedules of the same problem, whose starts the exact program considers too.
        for_cost: Nothing but money is minimized.
    """
    groups = tuple(group_runs(problem, hard))
    columns = make_columns(problem, groups, problem.latest_ends(hard), grid_s, last_s, relaxed, hints, for_cost)
    return None if columns is None else Model(problem, groups, columns, grid_s, relaxed)
