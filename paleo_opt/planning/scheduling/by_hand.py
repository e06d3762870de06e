"""Schedules by hand: place runs one by one where they fit, and improve a schedule run by run.

The list schedules bound the integer program from above and give it good starts; `improved` moves what it finds off its
grid: every run as early, and as cheaply, as the others leave room for.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from paleo_opt.planning.scheduling.problem import Candidate, Placement, PlanProblem, Run, Schedule

Order = tuple[float, ...]
_PASSES = 20


class Usage:
    """What is in use of one pool; answers when so many nodes are next free for so long."""

    def __init__(self, capacity: float, opens_s: int, closes_s: int | None) -> None:
        self._capacity, self._opens, self._closes = capacity, opens_s, closes_s
        self._taken: dict[int, tuple[int, int, int]] = {}
        self._profile: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def take(self, run: int, start: int, candidate: Candidate) -> None:
        """Hold the nodes of a run."""
        self._taken[run] = (start, start + candidate.duration_s, candidate.nodes)
        self._profile = None

    def free(self, run: int) -> None:
        """Let go of them."""
        if self._taken.pop(run, None) is not None:
            self._profile = None

    def _steps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Times at which use changes, and the use from each to the next."""
        if self._profile is None:
            taken = np.array(list(self._taken.values()), dtype=np.int64).reshape(-1, 3)
            times = np.concatenate((taken[:, 0], taken[:, 1]))
            changes = np.concatenate((taken[:, 2], -taken[:, 2]))
            points, where = np.unique(times, return_inverse=True)
            use = np.zeros(points.size, dtype=np.int64)
            np.add.at(use, where, changes)
            self._profile = points, np.cumsum(use)
        return self._profile

    @property
    def most(self) -> int:
        """The most nodes in use at once."""
        return int(max(self._steps()[1], default=0))

    def earliest(self, candidate: Candidate, not_before: int) -> int | None:
        """When ``candidate`` can next start; None where the pool is too small or closes before it could end."""
        if candidate.nodes > self._capacity:
            return None
        start = max(not_before, self._opens)
        if self._capacity != math.inf:
            points, use = self._steps()
            for blocked in np.flatnonzero(use + candidate.nodes > self._capacity).tolist():
                # Beyond its last point nothing is in use, so a blocked stretch always ends.
                if points[blocked + 1] <= start:
                    continue
                if points[blocked] >= start + candidate.duration_s:
                    break
                start = int(points[blocked + 1])
        if self._closes is not None and start + candidate.duration_s > self._closes:
            return None
        return start


def _usages(problem: PlanProblem, more: Sequence[int]) -> list[Usage]:
    return [
        Usage(pool.capacity(added), pool.opens_s, pool.closes_s)
        for pool, added in zip(problem.pools, more, strict=True)
    ]


def _preference(minimize: str, late: int, candidate: Candidate, end: int) -> Order:
    """What is better is smaller: lateness first, then the goal."""
    if minimize != "lateness":
        return (late, candidate.cents, end, candidate.nodes * candidate.duration_s)
    return (late, end, candidate.cents, candidate.nodes * candidate.duration_s)


def _best(
    run: Run, usages: Sequence[Usage], not_before: int, minimize: str, cents: float, end_by: float = math.inf
) -> tuple[Order, Placement] | None:
    """The best way to place a run for at most ``cents``, to end by ``end_by``."""
    found: tuple[Order, Placement] | None = None
    for index, candidate in enumerate(run.candidates):
        if candidate.cents > cents:
            continue
        start = usages[candidate.pool].earliest(candidate, not_before)
        if start is None or start + candidate.duration_s > end_by:
            continue
        end = start + candidate.duration_s
        order = _preference(minimize, max(0, end - run.deadline_s), candidate, end)
        if found is None or order < found[0]:
            found = order, Placement(index, start)
    return found


def list_schedule(
    problem: PlanProblem, more: Sequence[int], minimize: str, rank: Callable[[int], Order]
) -> Schedule | None:
    """Place the runs in the order of ``rank``, each after those it waits for, as well as what is left allows.

    None where some run finds no place at all (its pools close, or the budget is spent).
    """
    usages = _usages(problem, more)
    placements: dict[int, Placement] = {}
    waiting = [len(run.after) for run in problem.runs]
    ready = [(rank(index), index) for index, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    left = problem.budget_cents - Schedule(problem, (), tuple(more)).more_cents
    # What the runs that are not placed yet cannot do without.
    least = [min(candidate.cents for candidate in run.candidates) for run in problem.runs]
    needed = sum(least)
    while ready:
        _, index = heapq.heappop(ready)
        run = problem.runs[index]
        ends = [placements[before].start_s + _candidate(problem, before, placements).duration_s for before in run.after]
        needed -= least[index]
        best = _best(run, usages, max([run.release_s, *ends]), minimize, left - needed)
        if best is None:
            return None
        placements[index] = best[1]
        candidate = run.candidates[best[1].candidate]
        left -= candidate.cents
        usages[candidate.pool].take(index, best[1].start_s, candidate)
        for follower in problem.followers[index]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heapq.heappush(ready, (rank(follower), follower))
    return Schedule(problem, tuple(placements[index] for index in range(len(problem.runs))), tuple(more))


def _candidate(problem: PlanProblem, run: int, placements: dict[int, Placement]) -> Candidate:
    return problem.runs[run].candidates[placements[run].candidate]


def improved(schedule: Schedule, minimize: str) -> Schedule:
    """The same schedule with every run moved to where it is better off, until none is; never later, never dearer.

    Nodes that were added and are not used are given back.
    """
    problem = schedule.problem
    usages = _usages(problem, schedule.more)
    placements = dict(enumerate(schedule.placements))
    for index, placement in placements.items():
        candidate = _candidate(problem, index, placements)
        usages[candidate.pool].take(index, placement.start_s, candidate)
    left = problem.budget_cents - schedule.cents
    for _ in range(_PASSES):
        changed = False
        for index in sorted(placements, key=lambda run: (placements[run].start_s, run)):
            run, before = problem.runs[index], placements[index]
            old = run.candidates[before.candidate]
            usages[old.pool].free(index)
            ends = [placements[i].start_s + _candidate(problem, i, placements).duration_s for i in run.after]
            end_by = min((placements[follower].start_s for follower in problem.followers[index]), default=math.inf)
            best = _best(run, usages, max([run.release_s, *ends]), minimize, old.cents + left, end_by)
            end = before.start_s + old.duration_s
            now = _preference(minimize, max(0, end - run.deadline_s), old, end)
            if best is not None and best[0] < now:
                left += old.cents - run.candidates[best[1].candidate].cents
                placements[index], changed = best[1], True
            placement = placements[index]
            candidate = _candidate(problem, index, placements)
            usages[candidate.pool].take(index, placement.start_s, candidate)
        if not changed:
            break
    more = [
        max(0, usage.most - (pool.nodes or 0)) if added else 0
        for usage, pool, added in zip(usages, problem.pools, schedule.more, strict=True)
    ]
    return replace(schedule, placements=tuple(placements[i] for i in range(len(placements))), more=tuple(more))


def rearranged(schedule: Schedule, minimize: str) -> Schedule:
    """The best of the list schedules in which no run costs more than in ``schedule``, or ``schedule`` itself, improved.

    A program cares for its goal alone; among schedules as good by it, one whose runs end early is the better plan.
    """
    problem = schedule.problem
    kept: list[list[int]] = []
    for index, run in enumerate(problem.runs):
        most = schedule.candidate(index).cents
        kept.append([place for place, candidate in enumerate(run.candidates) if candidate.cents <= most])
    runs = tuple(
        replace(run, candidates=tuple(run.candidates[place] for place in places))
        for run, places in zip(problem.runs, kept, strict=True)
    )
    limited = replace(problem, runs=runs)
    found = [improved(schedule, minimize)]
    for rank in ranks(problem):
        listed = list_schedule(limited, schedule.more, "lateness", rank)
        if listed is not None:
            placements = tuple(
                Placement(places[placement.candidate], placement.start_s)
                for places, placement in zip(kept, listed.placements, strict=True)
            )
            found.append(improved(Schedule(problem, placements, listed.more), minimize))
    return min(found, key=lambda each: order_of(each, minimize))


def ranks(problem: PlanProblem) -> list[Callable[[int], Order]]:
    """Orders in which to place runs."""
    runs, latest, least = problem.runs, problem.latest_ends(), problem.least_durations
    return [
        lambda i: (runs[i].priority, latest[i], runs[i].release_s),
        lambda i: (latest[i], runs[i].priority, runs[i].release_s),
        lambda i: (latest[i] - least[i], runs[i].priority),
        lambda i: (runs[i].release_s, runs[i].priority, latest[i]),
        lambda i: (runs[i].priority, -least[i], latest[i]),
    ]


def order_of(schedule: Schedule, minimize: str) -> Order:
    """How good a whole schedule is; smaller is better."""
    more, cents, finish, early = schedule.nodes_added, schedule.cents, schedule.finish_s, schedule.weighted_finish_s
    goals = {"lateness": (finish, cents), "nodes": (more, cents, early)}
    return (*schedule.lateness, *goals.get(minimize, (cents, early)))


def best_by_hand(problem: PlanProblem, minimize: str, goals: Iterable[str] = ("cost", "lateness")) -> Schedule | None:
    """The best of the list schedules, improved; None where none keeps to the budget."""
    found: list[Schedule] = []
    for more in _additions(problem):
        for goal in goals:
            for rank in ranks(problem):
                schedule = list_schedule(problem, more, goal, rank)
                if schedule is not None:
                    found.append(improved(schedule, minimize))
        if any(not schedule.late for schedule in found) and minimize != "lateness":
            break
    return min(found, key=lambda schedule: order_of(schedule, minimize), default=None)


def _additions(problem: PlanProblem) -> list[tuple[int, ...]]:
    """Numbers of nodes to add that are worth a try: none, then of one pool alone, then of all, more and more."""
    none = [0] * len(problem.pools)
    found = [tuple(none)]
    sizes = sorted(
        {2**power for power in range(21)} & set(range(1, 1 + max((p.most_more for p in problem.pools), default=0)))
    )
    for size in sizes:
        some = [min(size, pool.most_more) for pool in problem.pools]
        found += [
            tuple(some[i] if i == index else 0 for i in range(len(none)))
            for index, pool in enumerate(problem.pools)
            if pool.most_more
        ]
        found.append(tuple(some))
    return list(dict.fromkeys(found))
