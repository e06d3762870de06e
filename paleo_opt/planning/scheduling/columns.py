"""The variables of a program: which runs, in which way, from when; as few as a best schedule can need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.planning.scheduling.problem import Candidate, PlanProblem, Schedule

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Runs that are alike in everything, which one set of integer variables places together.

    Attributes:
        runs: By index.
        hard: Whether they must end by their deadlines.
    """

    runs: tuple[int, ...]
    hard: bool


def group_runs(problem: PlanProblem, hard: Sequence[bool]) -> list[Group]:
    """Runs that are alike and that nothing waits for, together; the others alone."""
    alike: dict[object, list[int]] = {}
    for index, run in enumerate(problem.runs):
        free = not run.after and not problem.followers[index]
        key = (run.release_s, run.deadline_s, run.priority, run.candidates) if free else index
        alike.setdefault(key, []).append(index)
    return [Group(tuple(runs), hard[runs[0]]) for runs in alike.values()]


@dataclass(frozen=True, eq=False)
class Columns:
    """The variables. Shapes (columns,).

    Attributes:
        group: Index.
        candidate: Index among those of the group's runs.
        pool: Index.
        nodes: In use from ``start`` to ``busy``.
        start: The run starts [s].
        busy: The nodes are free again [s]; ``start`` where it counts for no capacity.
        done: Those that wait can start [s].
        late: Misses the deadline by [s].
        end: [s].
        cents: Costs.
    """

    group: Integers
    candidate: Integers
    pool: Integers
    nodes: Integers
    start: Integers
    busy: Integers
    done: Integers
    late: Integers
    end: Integers
    cents: Integers

    @property
    def count(self) -> int:
        """How many."""
        return int(self.group.size)


def _matters(problem: PlanProblem, run: int) -> bool:
    """Whether it matters when a run starts on a pool without limit: only where another waits."""
    return bool(problem.runs[run].after or problem.followers[run])


def _candidates(problem: PlanProblem, run: int, cheapest: bool) -> list[tuple[int, Candidate]]:
    """The candidates that a program needs.

    Where money alone matters and nothing waits, of those on pools without limit the cheapest that is in time will do.
    """
    every = list(enumerate(problem.runs[run].candidates))
    if not cheapest or _matters(problem, run):
        return every
    free: list[tuple[int, Candidate]] = []
    kept: list[tuple[int, Candidate]] = []
    for index, candidate in every:
        pool = problem.pools[candidate.pool]
        if pool.nodes is not None or pool.opens_s or pool.closes_s is not None:
            kept.append((index, candidate))
        elif problem.runs[run].release_s + candidate.duration_s <= problem.runs[run].deadline_s:
            free.append((index, candidate))
    return kept + sorted(free, key=lambda pair: (pair[1].cents, pair[1].duration_s))[:1]


def _starts(
    problem: PlanProblem, run: int, candidate: Candidate, grid: int, last: int, relaxed: bool, hints: Sequence[int]
) -> Integers:
    """The starts to consider of one way to run, on the grid from its earliest to ``last`` [s], ascending."""
    pool = problem.pools[candidate.pool]
    first = max(problem.earliest_starts[run], pool.opens_s)
    if pool.closes_s is not None:
        last = min(last, pool.closes_s - candidate.duration_s)
    if last < first:
        return np.zeros(0, dtype=np.int64)
    if pool.nodes is None and not _matters(problem, run):
        return np.array([first // grid * grid if relaxed else first], dtype=np.int64)
    if relaxed:
        return np.arange(first // grid, last // grid + 1, dtype=np.int64) * grid
    points = np.arange(-(-first // grid), last // grid + 1, dtype=np.int64) * grid
    extra = [first, *(hint for hint in hints if first <= hint <= last)]
    return np.unique(np.concatenate([points, np.array(extra, dtype=np.int64)]))


def make_columns(
    problem: PlanProblem,
    groups: Sequence[Group],
    latest: Sequence[float],
    grid_s: int,
    last_s: int,
    relaxed: bool,
    hints: Sequence[Schedule],
    for_cost: bool,
) -> Columns | None:
    """The variables of a program; None where some run has no place at all.

    Args:
        problem: What to schedule.
        groups: Its runs.
        latest: By when each run must end [s].
        grid_s: Distance of the points of the grid [s].
        last_s: No run whose deadline may be missed ends after this [s].
        relaxed: Of the relaxed program.
        hints: Schedules whose starts are considered too.
        for_cost: Nothing but money is minimized.
    """
    parts: list[tuple[Integers, ...]] = []
    for index, group in enumerate(groups):
        run_index = group.runs[0]
        run = problem.runs[run_index]
        own = [hint.placements[i].start_s for hint in hints for i in group.runs]
        before = len(parts)
        for which, candidate in _candidates(problem, run_index, group.hard and for_cost):
            duration = candidate.duration_s
            last = int(min(latest[run_index], max(last_s, run.deadline_s))) - duration
            start = _starts(problem, run_index, candidate, grid_s, last, relaxed, own)
            if not start.size:
                continue
            true_start = np.maximum(start, problem.earliest_starts[run_index]) if relaxed else start
            length = duration // grid_s * grid_s if relaxed else duration
            limited = problem.pools[candidate.pool].nodes is not None
            end = true_start + duration
            parts.append(
                (
                    np.full(start.size, index),
                    np.full(start.size, which),
                    np.full(start.size, candidate.pool),
                    np.full(start.size, candidate.nodes),
                    start,
                    start + length if limited else start,
                    start + length,
                    np.maximum(end - run.deadline_s, 0),
                    end,
                    np.full(start.size, candidate.cents),
                )
            )
        if len(parts) == before:
            return None
    return Columns(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def size(
    problem: PlanProblem, hard: Sequence[bool], grid_s: int, last_s: int, for_cost: bool = True
) -> tuple[int, int]:
    """Variables and (about) entries of the matrix that `build` would make, counted without making them."""
    variables = entries = 0
    latest = problem.latest_ends(hard)
    for group in group_runs(problem, hard):
        run = group.runs[0]
        for _, candidate in _candidates(problem, run, group.hard and for_cost):
            pool = problem.pools[candidate.pool]
            last = int(min(latest[run], max(last_s, problem.runs[run].deadline_s)))
            span = last - candidate.duration_s - max(problem.earliest_starts[run], pool.opens_s)
            if span < 0:
                continue
            starts = 1 if pool.nodes is None and not _matters(problem, run) else span // grid_s + 2
            variables += starts
            entries += starts * (1 + (0 if pool.nodes is None else 1 + candidate.duration_s // grid_s))
    return variables, entries
