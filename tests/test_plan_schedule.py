"""Schedules against enumeration of all of them, and what must hold of any."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plan_cases import HOUR, LAST, best_by_enumeration, problems

from paleo_opt.planning.scheduling.by_hand import best_by_hand, improved, order_of
from paleo_opt.planning.scheduling.check import check_schedule
from paleo_opt.planning.scheduling.columns import group_runs
from paleo_opt.planning.scheduling.model import build
from paleo_opt.planning.scheduling.parts import parts
from paleo_opt.planning.scheduling.problem import Candidate, PlanProblem, Pool, Run
from paleo_opt.planning.scheduling.program import grids, run_program
from paleo_opt.planning.scheduling.solution import Solution
from paleo_opt.planning.scheduling.solve import solve


def value_of(solution: Solution) -> tuple[float, ...]:
    schedule = solution.schedule
    assert schedule is not None
    return (*schedule.lateness, schedule.cents if solution.minimize == "cost" else schedule.finish_s)


@pytest.mark.parametrize("minimize", ["cost", "lateness"])
@settings(max_examples=25)
@given(problem=problems())
def test_the_best_of_all_schedules_is_found(minimize: str, problem: PlanProblem) -> None:
    best = best_by_enumeration(problem, minimize)
    solution = solve(problem, minimize)
    if best is None:
        assert solution.schedule is None or any(p.start_s > LAST * HOUR for p in solution.schedule.placements)
        return
    assert solution.schedule is not None
    assert check_schedule(solution.schedule).holds
    assert value_of(solution) == best
    if solution.impossible:
        assert solution.schedule.late
    if solution.least is not None and solution.feasible:
        assert solution.least <= solution.schedule.cents
        assert solution.proved == (solution.least == solution.schedule.cents)


@settings(max_examples=12)
@given(problem=problems(), more=st.integers(1, 3))
def test_more_nodes_never_make_it_later_or_dearer(problem: PlanProblem, more: int) -> None:
    pools = (replace(problem.pools[0], nodes=(problem.pools[0].nodes or 0) + more), *problem.pools[1:])
    before, after = solve(problem), solve(replace(problem, pools=pools))
    assume(before.schedule is not None)
    assert value_of(after) <= value_of(before)


@settings(max_examples=12)
@given(problem=problems(), hours=st.integers(1, 3))
def test_later_deadlines_and_more_money_never_hurt(problem: PlanProblem, hours: int) -> None:
    runs = tuple(replace(run, deadline_s=run.deadline_s + hours * HOUR) for run in problem.runs)
    before = solve(problem)
    assume(before.schedule is not None)
    assert value_of(solve(replace(problem, runs=runs))) <= value_of(before)
    if problem.budget_usd is not None:
        assert value_of(solve(replace(problem, budget_usd=problem.budget_usd + 10))) <= value_of(before)


@settings(max_examples=12)
@given(problem=problems(), factor=st.integers(2, 5))
def test_the_unit_of_money_and_of_time_does_not_matter(problem: PlanProblem, factor: int) -> None:
    def scaled(candidate: Candidate) -> Candidate:
        cents = candidate.cents * factor
        return replace(candidate, cost_usd=cents / 100, duration_s=candidate.duration_s * 2)

    runs = tuple(
        replace(
            run,
            release_s=run.release_s * 2,
            deadline_s=run.deadline_s * 2,
            candidates=tuple(map(scaled, run.candidates)),
        )
        for run in problem.runs
    )
    pools = tuple(
        replace(
            pool,
            usd_per_more=pool.usd_per_more * factor,
            opens_s=pool.opens_s * 2,
            closes_s=None if pool.closes_s is None else pool.closes_s * 2,
        )
        for pool in problem.pools
    )
    budget = None if problem.budget_usd is None else problem.budget_usd * factor
    before, after = solve(problem), solve(PlanProblem(runs, pools, budget))
    assert (before.schedule is None) == (after.schedule is None)
    if before.schedule is not None and after.schedule is not None:
        assert after.schedule.cents == before.schedule.cents * factor
        assert after.schedule.lateness == tuple(late * 2 for late in before.schedule.lateness)


@settings(max_examples=40)
@given(problem=problems(), minimize=st.sampled_from(["cost", "lateness"]))
def test_improving_by_hand_never_makes_it_worse(problem: PlanProblem, minimize: str) -> None:
    schedule = best_by_hand(problem, minimize)
    assume(schedule is not None)
    assert schedule is not None
    better = improved(schedule, minimize)
    assert check_schedule(better).holds
    assert order_of(better, minimize) <= order_of(schedule, minimize)


@settings(max_examples=40)
@given(problem=problems())
def test_the_relaxed_program_is_below_the_exact_one_on_every_grid(problem: PlanProblem) -> None:
    problem = replace(problem, budget_usd=None)
    hard = [True] * len(problem.runs)
    exact = build(problem, hard, HOUR, 0)
    found = None if exact is None else run_program(exact, "cost", 10.0)[0]
    for grid in (HOUR // 2, HOUR, 3 * HOUR, 7 * HOUR // 2):
        relaxed = build(problem, hard, grid, 0, relaxed=True)
        bound = None if relaxed is None else run_program(relaxed, "cost", 10.0)[0]
        if bound is None or bound.infeasible:
            assert found is None or found.infeasible
        elif found is not None and not found.infeasible:
            assert bound.bound <= found.value + 1e-6


def test_the_same_problem_gives_the_same_schedule() -> None:
    runs = tuple(
        Run(f"r{i}", 0, (4 + i % 3) * HOUR, (Candidate(0, 1, (1 + i % 3) * HOUR), Candidate(1, 1, HOUR, 3.0 + i)))
        for i in range(8)
    )
    problem = PlanProblem(runs, (Pool("fleet", "fleet", 2), Pool("rent", "rent", None)))
    first = solve(problem).schedule
    assert first is not None
    assert not first.late
    assert solve(problem).schedule == first


def test_runs_that_never_touch_are_parts() -> None:
    pools = (Pool("fleet", "fleet", 1), Pool("rent", "rent", None))
    here, rented = Candidate(0, 1, HOUR), Candidate(1, 1, HOUR, 1.0)
    runs = (
        Run("a", 0, 2 * HOUR, (here,)),
        Run("b", HOUR, 3 * HOUR, (here,)),
        Run("c", 3 * HOUR, 5 * HOUR, (here,)),
        Run("d", 0, 9 * HOUR, (rented,)),
        Run("e", 6 * HOUR, 9 * HOUR, (rented,), after=(3,)),
    )
    problem = PlanProblem(runs, pools)
    assert parts(problem, problem.latest_ends()) == [(0, 1), (2,), (3, 4)]
    assert parts(replace(problem, budget_usd=1.0), problem.latest_ends()) == [(0, 1, 2, 3, 4)]
    assert len(group_runs(problem, [True] * 5)) == 5


def test_runs_alike_share_their_variables() -> None:
    alike = [Run(f"copy {i}", 0, 9 * HOUR, (Candidate(0, 1, HOUR),)) for i in range(6)]
    problem = PlanProblem(tuple(alike), (Pool("fleet", "fleet", 2),))
    assert [group.runs for group in group_runs(problem, [True] * 6)] == [(0, 1, 2, 3, 4, 5)]
    solution = solve(problem, "lateness")
    assert solution.schedule is not None
    assert sorted(placement.start_s // HOUR for placement in solution.schedule.placements) == [0, 0, 1, 1, 2, 2]


def test_a_gap_is_never_called_optimal() -> None:
    solution = Solution(None, "cost", least=None)
    assert not solution.proved
    assert not solution.feasible
    found = solve(PlanProblem((Run("a", 0, HOUR, (Candidate(0, 1, HOUR),)),), (Pool("f", "fleet", 1),)))
    assert found.proved
    assert found.gap == 0
    assert not replace(found, least=None).proved
    assert replace(found, least=None).gap != replace(found, least=None).gap


def test_grids_are_as_fine_as_the_programs_are_small() -> None:
    runs = tuple(Run(f"r{i}", i * HOUR, (i + 200) * HOUR, (Candidate(0, 1 + i % 2, 5 * HOUR),)) for i in range(40))
    problem = PlanProblem(runs, (Pool("fleet", "fleet", 4),))
    found = grids(problem, [True] * 40)
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]


def test_a_purchase_is_made_where_it_is_cheaper_than_rent() -> None:
    runs = tuple(
        Run(f"r{i}", i * HOUR, (i + 1) * HOUR, (Candidate(0, 1, HOUR), Candidate(1, 1, HOUR, 4.0))) for i in range(5)
    )
    bought, rent = Pool("bought", "buy", 0, most_more=3, usd_per_more=15.0), Pool("rent", "rent", None)
    solution = solve(PlanProblem(runs, (bought, rent)))
    assert solution.proved
    assert solution.schedule is not None
    assert (solution.schedule.cost_usd, solution.schedule.more) == (15.0, (1, 0))
    dearer = solve(PlanProblem(runs, (replace(bought, usd_per_more=21.0), rent)))
    assert dearer.schedule is not None
    assert (dearer.schedule.cost_usd, dearer.schedule.more) == (20.0, (0, 0))


def test_the_important_are_in_time_first() -> None:
    runs = tuple(Run(f"p{priority}", 0, HOUR, (Candidate(0, 1, HOUR),), priority) for priority in (3, 1, 0, 2))
    solution = solve(PlanProblem(runs, (Pool("fleet", "fleet", 1),)))
    assert solution.impossible
    assert solution.schedule is not None
    assert [placement.start_s // HOUR for placement in solution.schedule.placements] == [3, 1, 0, 2]
    assert solution.schedule.lateness == (0, HOUR, 2 * HOUR, 3 * HOUR)
