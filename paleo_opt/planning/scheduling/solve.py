"""Solve a schedule: by hand first, then as integer programs, and say what is proved of it.

Deadlines come first. Where all can be met, the goal (money, or ending early) is minimized among the schedules that meet
them; where they cannot, the lateness of the most important runs is minimized first, then that of the next, then the
goal. Runs that never touch are solved apart.
"""

from __future__ import annotations

from dataclasses import replace

from paleo_opt.planning.scheduling.in_time import solve_in_time, together
from paleo_opt.planning.scheduling.late import solve_late
from paleo_opt.planning.scheduling.problem import PlanProblem, to_cents
from paleo_opt.planning.scheduling.program import Clock
from paleo_opt.planning.scheduling.solution import Solution


def solve(problem: PlanProblem, minimize: str = "cost", time_limit: float = 30.0) -> Solution:
    """The best schedule found, with what is proved of it.

    Args:
        problem: What to schedule.
        minimize: ``cost``, ``lateness`` (end early), ``nodes`` (added to the pools) or ``deadlines`` (nothing else);
            deadlines come first in all.
        time_limit: For the integer programs [s].
    """
    clock = Clock(time_limit)
    if not _can_bind(problem):
        problem = replace(problem, budget_usd=None)
    # A budget ties everything together; often it does not bind, and the parts can be solved without.
    pieces = solve_in_time(replace(problem, budget_usd=None), minimize, clock)
    found = together(problem, minimize, pieces)
    if found.feasible and found.schedule is not None and found.schedule.within_budget:
        return replace(found, seconds=clock.spent)
    stages, impossible = found.stages, found.impossible
    if found.feasible and found.least is not None and minimize == "cost" and found.least > problem.budget_cents:
        impossible = True
    if found.feasible and not impossible:
        bound = solve_in_time(problem, minimize, clock, whole=True)[0][1]
        stages += bound.stages
        if bound.feasible:
            return replace(bound, stages=stages, seconds=clock.spent)
        impossible = bound.impossible
    late = solve_late(problem, minimize, clock, pieces if problem.budget_usd is None else [])
    return replace(late, impossible=impossible, stages=stages + late.stages, seconds=clock.spent)


def _can_bind(problem: PlanProblem) -> bool:
    """Whether the budget can be exceeded at all."""
    dearest = sum(max(candidate.cents for candidate in run.candidates) for run in problem.runs)
    added = sum(to_cents(pool.usd_per_more * pool.most_more) for pool in problem.pools)
    return dearest + added > problem.budget_cents
