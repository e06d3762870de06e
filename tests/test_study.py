"""Running a study: which points it tries, when it ends, and what it keeps of each."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_cases import shards, valley

from paleo_opt.search.importance import shares_of
from paleo_opt.studies.problem import Outcome, Point, StudyProblem, Variable
from paleo_opt.studies.run import NOTHING_RUNS, Progress, run_study


def beside(best: list[Point], seen: list[Point]) -> list[Point]:
    """The untried neighbours of the best in x and y."""
    known = {tuple(point.values()) for point in seen}
    near = [{**p, name: p[name] + step} for p in best for name in ("x", "y") for step in (-1, 1)]
    return [p for p in near if tuple(p.values()) not in known and 0 <= p["x"] <= 99 and 0 <= p["y"] <= 9]


def test_every_point_is_tried_once_in_its_order() -> None:
    run = run_study(shards(12), trials=100)
    assert run.sampler == "enumeration" and run.ended == "tried every point"
    assert [trial.params["shard"] for trial in run.finished] == list(range(12))
    assert run.planned == len(run.finished) == 12
    assert run.best == 0.0 and run.best_trial is not None and run.best_trial.params == {"shard": 7}


def test_it_stops_where_the_optimum_is_known() -> None:
    run = run_study(shards(12), trials=100, stop_at=1.0)
    assert (run.met_at, run.ended, len(run.finished)) == (7, "met the optimum", 7)


def test_fewer_trials_than_points_are_as_many_as_were_asked_for() -> None:
    run = run_study(shards(12), trials=5)
    assert len(run.finished) == 5 and run.ended == "ran all its trials"


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_what_comes_first_is_tried_first_and_no_point_twice(seed: int) -> None:
    first = [{"x": 50, "y": 4, "z": 0.25}, {"x": 99, "y": 9, "z": 0.75}]
    run = run_study(valley(first=first), trials=30, seed=seed)
    points = [trial.params for trial in run.finished]
    assert points[:2] == first and run.first == 2
    assert len({tuple(sorted(point.items())) for point in points}) == len(points) == 30
    feasible = [trial.value for trial in run.finished if trial.params["x"] <= 80]
    assert run.best == min(value for value in feasible if value is not None)


def test_the_same_seed_gives_the_same_trials() -> None:
    runs = [run_study(valley(), trials=25, seed=seed) for seed in (3, 3, 4)]
    params = [[trial.params for trial in run.finished] for run in runs]
    assert params[0] == params[1] != params[2]


def test_what_is_beside_the_best_is_tried_in_the_end() -> None:
    run = run_study(valley(beside=beside), trials=100, seed=0)
    last = run.finished[75:]
    tried = [trial.params for trial in run.finished[:75]]
    best = min((t for t in run.finished[:75] if t.params["x"] <= 80), key=lambda trial: trial.value or 0.0).params
    expected = beside([best], tried)
    assert last[0].params in expected


def test_it_stalls_only_where_nothing_beside_the_best_is_untried() -> None:
    best = {"x": 37, "y": 3, "z": 0.5}
    ended = run_study(valley(first=[best], beside=lambda best, seen: []), trials=200)
    assert ended.ended.startswith("stalled: 100 trials brought nothing better") and len(ended.finished) == 101
    assert run_study(valley(first=[best]), trials=60).ended == "ran all its trials"


def test_what_cannot_be_better_is_not_solved() -> None:
    solved = []

    def solve(point: Point) -> Outcome:
        solved.append(point["shard"])
        return Outcome(abs(point["shard"] - 7.0))

    problem = StudyProblem(
        variables={"shard": Variable(0, 19)},
        solve=solve,
        identity={},
        every=[{"shard": shard} for shard in (7, *range(7), *range(8, 20))],
        bound=lambda point: 0.9 * abs(point["shard"] - 7.0),
    )
    run = run_study(problem, trials=20)
    assert solved == [7] and run.ended == "tried every point" and run.best == 0.0
    assert [trial.state for trial in run.finished[1:]] == [optuna.trial.TrialState.PRUNED] * 19
    assert run.finished[1].user_attrs["bound"] == 6.3


def test_what_cannot_run_is_infeasible_and_finite() -> None:
    problem = StudyProblem({"n": Variable(0, 5)}, lambda point: Outcome(np.inf), {}, every=[{"n": n} for n in range(6)])
    run = run_study(problem, trials=10)
    assert run.best is None and run.best_trial is None and run.ended == "tried every point"
    assert all(trial.value == NOTHING_RUNS and trial.constraints == {"runs": 1.0} for trial in run.finished)


def test_progress_tells_the_best_so_far() -> None:
    told: list[Progress] = []
    run_study(shards(9), trials=9, progress=told.append)
    assert [state.finished for state in told] == list(range(1, 10)) and {state.planned for state in told} == {9}
    assert [state.best for state in told] == [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0]
    assert told[-1].attributes["strategies"] == 10


def test_the_variable_that_matters_is_found_important() -> None:
    run = run_study(valley(solve=lambda point: Outcome((point["x"] - 37) ** 2 + 0.01 * point["y"])), trials=60)
    found = shares_of(run.study)
    assert found is not None and found.kind == "ped_anova"
    assert next(iter(found.of)) == "x" and sum(found.of.values()) == pytest.approx(1.0)
    assert shares_of(run_study(valley(), trials=5).study) is None


def test_an_interrupted_trial_is_tried_again() -> None:
    study = optuna.create_study()
    calls = 0

    def solve(point: Point) -> Outcome:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return Outcome(point["shard"])

    problem = StudyProblem({"shard": Variable(0, 4)}, solve, {}, every=[{"shard": shard} for shard in range(5)])
    with pytest.raises(KeyboardInterrupt):
        run_study(problem, trials=5, study=study)
    run = run_study(problem, trials=5, study=study)
    assert sorted(trial.params["shard"] for trial in run.finished) == list(range(5))
    assert run.failed == 1 and run.ended == "tried every point"
