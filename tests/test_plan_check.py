"""The checker finds what is wrong with a corrupted schedule, and nothing wrong with a sound one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plan_cases import HOUR, problems

from paleo_opt.planning.scheduling.by_hand import best_by_hand
from paleo_opt.planning.scheduling.check import check_schedule
from paleo_opt.planning.scheduling.problem import Candidate, Placement, PlanProblem, Pool, Run, Schedule


def moved(schedule: Schedule, run: int, seconds: int) -> Schedule:
    placements = list(schedule.placements)
    placements[run] = replace(placements[run], start_s=placements[run].start_s + seconds)
    return replace(schedule, placements=tuple(placements))


def naive(schedule: Schedule) -> bool:
    """Whether a schedule holds, hour by hour: all times of these cases are half hours."""
    problem = schedule.problem
    for index, run in enumerate(problem.runs):
        start, end = schedule.placements[index].start_s, schedule.end_s(index)
        pool = problem.pools[schedule.candidate(index).pool]
        closes = float("inf") if pool.closes_s is None else pool.closes_s
        if start < max(run.release_s, pool.opens_s) or end > closes:
            return False
        if any(schedule.end_s(before) > start for before in run.after):
            return False
    for place, pool in enumerate(problem.pools):
        for instant in range(0, 40 * HOUR, HOUR // 2):
            used = sum(
                schedule.candidate(i).nodes
                for i in range(len(problem.runs))
                if schedule.candidate(i).pool == place and schedule.placements[i].start_s <= instant < schedule.end_s(i)
            )
            if pool.nodes is not None and used > pool.nodes + schedule.more[place]:
                return False
    return schedule.within_budget


@settings(max_examples=100)
@given(problem=problems(), data=st.data())
def test_a_run_moved_is_found_where_it_breaks_anything(problem: PlanProblem, data: st.DataObject) -> None:
    schedule = best_by_hand(problem, "cost")
    assume(schedule is not None)
    assert schedule is not None
    assert check_schedule(schedule).holds
    assert naive(schedule)
    run = data.draw(st.integers(0, len(problem.runs) - 1))
    broken = moved(schedule, run, data.draw(st.integers(-6, 6)) * HOUR // 2)
    assert check_schedule(broken).holds == naive(broken)
    assert check_schedule(broken).late == broken.late


FLEET = Pool("fleet", "fleet", 2, opens_s=HOUR, closes_s=9 * HOUR)
BOUGHT = Pool("bought", "buy", 0, most_more=1, usd_per_more=100.0)
RUNS = (
    Run("first", HOUR, 3 * HOUR, (Candidate(0, 2, HOUR), Candidate(1, 1, HOUR))),
    Run("second", HOUR, 4 * HOUR, (Candidate(0, 1, HOUR, 5.0),), after=(0,)),
)
PROBLEM = PlanProblem(RUNS, (FLEET, BOUGHT), budget_usd=20.0)
SOUND = Schedule(PROBLEM, (Placement(0, HOUR), Placement(0, 2 * HOUR)), (0, 0))


def test_a_sound_schedule_holds() -> None:
    check = check_schedule(SOUND)
    assert check.holds
    assert (check.runs, check.instants, check.waits, check.late, check.cents) == (2, 2, 1, (), 500)


@pytest.mark.parametrize(("broken", "message"), [
    (moved(SOUND, 0, -60), "first: starts 60 s before it may"),
    (moved(SOUND, 0, -60), "first: runs while fleet is not there"),
    (moved(SOUND, 1, 7 * HOUR), "second: runs while fleet is not there"),
    (moved(SOUND, 1, -60), "second: starts before first has ended"),
    (moved(SOUND, 1, -60), "fleet: 3 nodes in use at 7140 s, of 2"),
    (replace(SOUND, placements=(Placement(1, HOUR), Placement(0, 2 * HOUR))), "bought: 1 nodes in use at 3600 s, of 0"),
    (replace(SOUND, placements=(Placement(2, HOUR), Placement(0, 2 * HOUR))), "first: there is no way 2 to run it"),
    (replace(SOUND, placements=(Placement(0, HOUR),)), "1 placements of 2 runs"),
    (replace(SOUND, more=(0, 2)), "bought: 2 nodes added, of 1 that can be"),
    (replace(SOUND, more=(0, 1)), "costs $105.00, of $20.00"),
])  # fmt: skip
def test_what_is_wrong_is_said(broken: Schedule, message: str) -> None:
    check = check_schedule(broken)
    assert not check.holds
    assert message in check.violations


def test_lateness_is_reported_and_no_violation() -> None:
    check = check_schedule(moved(SOUND, 1, 2 * HOUR))
    assert check.holds
    assert check.late == (1,)
