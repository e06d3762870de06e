"""Solve what cannot be in time: the least lateness of each priority in turn, then the goal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from paleo_opt.planning.scheduling.by_hand import best_by_hand, rearranged
from paleo_opt.planning.scheduling.in_time import Pieces
from paleo_opt.planning.scheduling.model import Floats, build
from paleo_opt.planning.scheduling.parts import joined, part_of, parts
from paleo_opt.planning.scheduling.problem import PRIORITIES, PlanProblem, Schedule
from paleo_opt.planning.scheduling.program import LATE_SIZES, Clock, Stage, grids, last_end, run_program
from paleo_opt.planning.scheduling.solution import GOALS, Solution, best_of


def solve_late(problem: PlanProblem, minimize: str, clock: Clock, pieces: Pieces) -> Solution:
    """The schedule that is least late, by priority, and best by the goal among those.

    Of ``pieces``, solutions of parts, those that are in time and are not touched by what is late stay as they are.
    """
    latest = problem.latest_ends()
    in_time = {group: each.schedule for group, each in pieces if each.feasible}
    soft = [True] * len(problem.runs)
    for group in in_time:
        for run in group:
            soft[run] = False
    hand = best_by_hand(problem, minimize)
    last = float(last_end(problem, hand))
    while True:
        # What is late runs on, and touches what comes after it.
        groups = parts(problem, [last if soft[run] else end for run, end in enumerate(latest)])
        touched = [run for group in groups if any(soft[i] for i in group) for run in group]
        if all(soft[run] for run in touched):
            break
        for run in touched:
            soft[run] = True
    stages: list[Stage] = []
    schedules: list[tuple[Sequence[int], Schedule]] = []
    coarsest, widest = 0, 0.0
    for group in groups:
        kept = in_time.get(group)
        if kept is not None:
            schedules.append((group, kept))
            continue
        found, grid, gap = _part_least_late(part_of(problem, group), minimize, clock, stages)
        if found is None:
            return Solution(hand, minimize, stages=tuple(stages))
        schedules.append((group, found))
        # Not known where it is not known of one part.
        coarsest, widest = max(coarsest, grid), gap if math.isnan(gap) else max(gap, widest)
    best = best_of([joined(problem, schedules), hand], minimize)
    return Solution(best, minimize, grid_s=coarsest or None, grid_gap=widest, stages=tuple(stages))


def _part_least_late(
    problem: PlanProblem, minimize: str, clock: Clock, stages: list[Stage]
) -> tuple[Schedule | None, int, float]:
    """One part, late: the lateness of each priority in turn, then the goal.

    Returns the schedule with the finest grid on which its lateness was solved [s] and the widest gap there.
    """
    best = best_by_hand(problem, minimize)
    present = sorted({run.priority for run in problem.runs})
    # Priorities that are in time when scheduled by hand, and are more important than any that is not, stay in time.
    kept: list[int] = []
    for priority in present:
        if best is None or best.lateness[priority]:
            break
        kept.append(priority)
    hard = [run.priority in kept for run in problem.runs]
    last = last_end(problem, best)
    objectives = [PRIORITIES[priority] for priority in present if priority not in kept]
    if minimize != "deadlines":
        objectives.append(GOALS[minimize])
    finest, widest = 0, math.nan
    for grid in grids(problem, hard, last, False, LATE_SIZES):
        before = best
        if clock.over:
            break
        model = build(problem, hard, grid, last, hints=[best] if best is not None else [], for_cost=False)
        if model is None:
            continue
        gaps: list[float] = []
        held: list[tuple[Floats, float]] = []
        solution: Floats | None = None
        for place, objective in enumerate(objectives):
            stage, values = run_program(model, objective, clock.share(0.5 / (len(objectives) - place)), held)
            stages.append(stage)
            if objective in PRIORITIES:
                gaps.append(stage.gap)
            if values is None:
                break
            solution = values
            coefficients = model.objective(objective)
            held.append((coefficients, float(coefficients @ values)))
        if solution is not None:
            best = best_of([best, rearranged(model.schedule(solution), minimize)], minimize)
        gap = math.nan if any(math.isnan(each) for each in gaps) else max(gaps, default=0.0)
        # A finer grid on which the time ran out takes nothing from what is solved on a coarser one.
        if gap == 0 or widest != 0:
            finest, widest = grid, gap
        if gap == 0 and before is not None and best is not None and best.lateness == before.lateness:
            break
    return best, finest, widest
