"""Solve what can be in time: part by part, on finer and finer grids, until the best schedule is proved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from paleo_opt.planning.scheduling.by_hand import best_by_hand, rearranged
from paleo_opt.planning.scheduling.model import Floats, Model, build
from paleo_opt.planning.scheduling.parts import joined, part_of, parts
from paleo_opt.planning.scheduling.problem import Candidate, PlanProblem, Schedule
from paleo_opt.planning.scheduling.program import SIZES, Clock, Stage, grids, run_program
from paleo_opt.planning.scheduling.solution import GOALS, TOLERANCE, WHOLE, Solution, best_of

#: Ends do not get much earlier on a finer grid than this [s].
_FINE_ENOUGH = 1800
#: Where a finer grid gained less than this share of the sum of the ends, the next will hardly gain more.
_WORTH = 1e-4
#: Where only the order among equals is at stake, this is good enough.
_EARLY_GAP = 1e-3
_EARLY_VARIABLES = 80
#: The runs of each part, with its solution.
Pieces = list[tuple[tuple[int, ...], Solution]]


def solve_in_time(problem: PlanProblem, minimize: str, clock: Clock, whole: bool = False) -> Pieces:
    """For each part, or for all runs together, the best schedule that meets every deadline.

    Where a part has none, what is best by hand.
    """
    latest = problem.latest_ends()
    groups = [tuple(range(len(problem.runs)))] if whole else sorted(parts(problem, latest), key=len)
    return [
        (group, _part_in_time(part_of(problem, group, latest), minimize, clock, 1 / (len(groups) - place)))
        for place, group in enumerate(groups)
    ]


def together(problem: PlanProblem, minimize: str, pieces: Pieces) -> Solution:
    """The solutions of all parts together; without a schedule where some part is not in time."""
    solved = [each for _, each in pieces]
    coarsest = max((each.grid_s for each in solved if each.grid_s is not None), default=None)
    least = [each.least for each in solved]
    schedule = None
    if all(each.feasible for each in solved):
        schedules = [(group, each.schedule) for group, each in pieces if each.schedule is not None]
        schedule = joined(problem, schedules)
    return Solution(
        schedule=schedule,
        minimize=minimize,
        impossible=any(each.impossible for each in solved),
        least=None if None in least else sum(value for value in least if value is not None),
        grid_s=coarsest,
        grid_gap=_joint_gap(solved),
        stages=tuple(stage for each in solved for stage in each.stages),
    )


def _joint_gap(solved: Sequence[Solution]) -> float:
    """The gap on the grids of all parts together; parts that need no program have none."""
    gaps = [each.grid_gap for each in solved if each.grid_s is not None]
    if any(math.isnan(gap) for gap in gaps):
        return math.nan
    values = [float(each.goal) for each in solved]
    if not sum(values):
        return max(gaps, default=0.0)
    return sum(
        (0.0 if each.grid_s is None else each.grid_gap) * value for each, value in zip(solved, values, strict=True)
    ) / sum(values)


def _part_in_time(problem: PlanProblem, minimize: str, clock: Clock, share: float) -> Solution:
    """One part: by hand, then on finer and finer grids, each bounded by the relaxed program, until it is proved."""
    best = best_by_hand(problem, minimize)
    own, hard, for_cost = Clock(clock.share(share)), [True] * len(problem.runs), minimize != "lateness"
    stages: list[Stage] = []
    least = _trivial_bound(problem, minimize)
    found = Solution(best, minimize, least is None, least if minimize in WHOLE else None)
    before: float | None = None
    for grid in grids(problem, hard, for_cost=for_cost):
        if found.impossible or found.proved or own.over or (minimize == "deadlines" and found.feasible):
            break
        if minimize in WHOLE or not found.feasible:
            found = _bounded(found, problem, grid, own.share(0.4), stages)
            if found.impossible or found.proved:
                break
        hints = [found.schedule] if found.schedule is not None else []
        model = build(problem, hard, grid, 0, hints=hints, for_cost=for_cost)
        if model is None:
            continue
        stage, values = run_program(model, GOALS[minimize], own.share(0.8), _cutoff(model, minimize, found))
        stages.append(stage)
        schedule = None if values is None else rearranged(model.schedule(values), minimize)
        found = replace(found, schedule=best_of([found.schedule, schedule], minimize))
        # A finer grid on which the time ran out takes nothing from what is proved on a coarser one.
        if stage.gap == 0 or found.grid_gap != 0:
            found = replace(found, grid_s=grid, grid_gap=stage.gap)
        gain = before - found.goal if stage.gap == 0 and before is not None else math.inf
        if not for_cost and (gain <= _WORTH * found.goal or (stage.gap == 0 and grid <= _FINE_ENOUGH)):
            break
        before = found.goal if found.feasible else None
    if minimize in WHOLE and found.feasible and found.schedule is not None and len(problem.runs) > 1:
        found = replace(found, schedule=_early(problem, found.schedule, minimize, own, stages))
    return replace(found, stages=tuple(stages))


def _early(problem: PlanProblem, known: Schedule, minimize: str, clock: Clock, stages: list[Stage]) -> Schedule:
    """Among schedules as good as ``known``, one whose important runs end early: not proved, but worth having."""
    hard = [True] * len(problem.runs)
    size = min(SIZES[1], _EARLY_VARIABLES * len(problem.runs))
    grid = grids(problem, hard, for_cost=False, most_variables=(size,))[0]
    model = build(problem, hard, grid, 0, hints=[known], for_cost=False)
    if model is None:
        return known
    value = known.nodes_added if minimize == "nodes" else known.cents
    held = [(model.objective(GOALS[minimize]), float(value))]
    stage, values = run_program(model, "early", clock.share(0.5), held, _EARLY_GAP)
    stages.append(stage)
    return (
        known if values is None else best_of([known, rearranged(model.schedule(values), minimize)], minimize) or known
    )


def _trivial_bound(problem: PlanProblem, minimize: str) -> int | None:
    """What all runs take at least, each by itself; None where one cannot be in time even so."""
    total = 0
    for run, start, end in zip(problem.runs, problem.earliest_starts, problem.latest_ends(), strict=True):
        in_time = [c.cents for c in run.candidates if _fits(problem, c, start, end)]
        if not in_time:
            return None
        total += min(in_time)
    return total if minimize == "cost" else 0


def _fits(problem: PlanProblem, candidate: Candidate, start: float, end: float) -> bool:
    pool = problem.pools[candidate.pool]
    closes = math.inf if pool.closes_s is None else pool.closes_s
    return candidate.nodes <= pool.capacity(pool.most_more) and max(start, pool.opens_s) + candidate.duration_s <= min(
        end, closes
    )


def _bounded(found: Solution, problem: PlanProblem, grid: int, seconds: float, stages: list[Stage]) -> Solution:
    """``found`` with what the relaxed program on one grid proves."""
    model = build(problem, [True] * len(problem.runs), grid, 0, relaxed=True)
    if model is None:
        return replace(found, impossible=True)
    stage, _ = run_program(model, "nodes" if found.minimize == "nodes" else "cost", seconds)
    stages.append(stage)
    if stage.infeasible:
        return replace(found, impossible=True)
    if found.minimize not in WHOLE or not math.isfinite(stage.bound):
        return found
    # Cents and nodes are whole, so a bound that is not rounds up.
    return replace(found, least=max(found.least or 0, math.ceil(stage.bound - max(1e-4, TOLERANCE * stage.bound))))


def _cutoff(model: Model, minimize: str, found: Solution) -> list[tuple[Floats, float]]:
    """That nothing worse than what is known is of interest."""
    if not found.feasible or minimize not in WHOLE:
        return []
    return [(model.objective(GOALS[minimize]), float(found.value))]
