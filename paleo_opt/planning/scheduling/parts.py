"""Parts of a scheduling problem that do not touch: runs whose windows never overlap on shared nodes.

A plan of a quarter is mostly many small problems one after the other; solved one by one they are exact on a finer grid,
in less time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from paleo_opt.planning.scheduling.problem import PlanProblem, Run, Schedule


def parts(problem: PlanProblem, ends: Sequence[float]) -> list[tuple[int, ...]]:
    """The runs in groups of which none touches another, where each must end by ``ends``; one group where all do.

    Runs touch where they may use the same limited nodes at the same time, or where one waits for another that may end
    after the first could start. A budget, and nodes that may be added, are shared by all.
    """
    everything = [tuple(range(len(problem.runs)))]
    if problem.budget_usd is not None or any(pool.most_more for pool in problem.pools):
        return everything
    leader = list(range(len(problem.runs)))

    def find(member: int) -> int:
        while leader[member] != member:
            leader[member] = leader[leader[member]]
            member = leader[member]
        return member

    spans = list(zip(map(float, problem.earliest_starts), ends, strict=True))
    for pool, each in enumerate(problem.pools):
        if each.nodes is None:
            continue
        users = [i for i, run in enumerate(problem.runs) if any(c.pool == pool for c in run.candidates)]
        users.sort(key=lambda i: spans[i])
        last, reach = -1, -math.inf
        for user in users:
            if spans[user][0] < reach:
                leader[find(user)] = find(last)
            if spans[user][1] > reach:
                last, reach = user, spans[user][1]
    for index, run in enumerate(problem.runs):
        for before in run.after:
            if spans[before][1] > spans[index][0]:
                leader[find(index)] = find(before)
    groups: dict[int, list[int]] = {}
    for index in range(len(problem.runs)):
        groups.setdefault(find(index), []).append(index)
    return [tuple(group) for group in groups.values()]


def part_of(problem: PlanProblem, group: Sequence[int], ends: Sequence[float] | None = None) -> PlanProblem:
    """The problem of some runs alone.

    What they wait for outside of it has ended before they may start; where ``ends`` are given, each run must end by its
    own, so that what waits for it outside can start.
    """
    place = {run: index for index, run in enumerate(group)}
    runs: list[Run] = []
    for index in group:
        run = problem.runs[index]
        inside = tuple(place[before] for before in run.after if before in place)
        if len(inside) < len(run.after):
            run = replace(run, release_s=problem.earliest_starts[index])
        if ends is not None:
            run = replace(run, deadline_s=min(run.deadline_s, int(ends[index])))
        runs.append(replace(run, after=inside))
    return replace(problem, runs=tuple(runs))


def joined(problem: PlanProblem, schedules: Sequence[tuple[Sequence[int], Schedule]]) -> Schedule:
    """The schedule of all runs, of those of the parts. Nodes are added in one part only, or alike in all."""
    placements = {run: at for group, schedule in schedules for run, at in zip(group, schedule.placements, strict=True)}
    more = tuple(max(counts) for counts in zip(*(schedule.more for _, schedule in schedules), strict=True))
    return Schedule(problem, tuple(placements[run] for run in range(len(problem.runs))), more)
