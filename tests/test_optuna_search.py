"""The Optuna search: exact, the same for the same seed, never better than the sweep, and within fixed ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import CLUSTERS, NETWORK, SPACE, cluster

from paleo_opt.search import outer
from paleo_opt.search.blocks import Block
from paleo_opt.search.budgets import figure, parse_budgets
from paleo_opt.search.optuna_search import SearchSummary, search
from paleo_opt.search.outer import OuterSpace
from paleo_opt.search.problem import SearchProblem, count_strategies, load_problem
from paleo_opt.search.sweep import Rows, sweep


def swept(problem: SearchProblem) -> tuple[list[Block], Rows]:
    blocks = problem.blocks()
    return blocks, sweep(problem.table, blocks, problem.budgets.limits, problem.options)


def make_problem(*texts: str, goal: str | None = None, **changes: Any) -> SearchProblem:
    """Clusters of every speed, price and distance, so that no order of them is right for all budgets."""
    many = [
        cluster(
            f"cluster {number:02}",
            speed=1.0 + (7 * number) % 11,
            dollars=1.0 + (5 * number) % 13,
            memory=(1.0 + number % 5 / 4) * 1e9,
            between=(10.0 ** (8 + number % 3), 10.0 ** (-3 - number % 4)),
            max_nodes=1 + number % 4,
        )
        for number in range(40)
    ]
    budgets = parse_budgets(texts)
    return load_problem(NETWORK, budgets, goal or budgets.default_goal, **({"on": many, "space": SPACE} | changes))


def told(study: optuna.Study | None) -> list[tuple[Any, ...]]:
    """What each finished trial chose and found."""
    assert study is not None
    return [(t.params, t.values, t.constraints, t.user_attrs) for t in study.trials if t.state.is_finished()]


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the space were too large to be swept: parts of few strategies, more than trials."""
    monkeypatch.setattr(outer, "MOST_SWEPT", 0)
    monkeypatch.setattr(outer, "PART", 40)


CASES = [
    (("16gpus",), "time"),
    (("16gpus",), "cost"),
    (("$2",), "time"),
    (("30min",), "cost"),
    (("$3", "20min"), "energy"),
    (("8gpus", "1.5kWh"), "time"),
]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("texts", "goal"), CASES)
@pytest.mark.usefixtures("many_parts")
def test_it_meets_the_sweep(texts: tuple[str, ...], goal: str, seed: int) -> None:
    problem = make_problem(*texts, goal=goal)
    blocks, rows = swept(problem)
    summary, _ = search(problem, blocks, rows, seed=seed)
    assert summary.sampler == "TPE"
    assert summary.gap_to_sweep == 0.0
    assert summary.met_at == summary.trials <= 100
    assert summary.best == pytest.approx(figure(rows, goal)[rows.feasible > 0].min(), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("network", "texts", "goal"), [
    ("vgg16", ["64gpus"], None),
    ("vgg16", ["$20"], None),
    ("inception_v3", ["$500", "12h"], "cost"),
    ("alexnet", ["$3"], None),
])  # fmt: skip
def test_it_meets_the_sweep_of_the_shipped_space(network: str, texts: list[str], goal: str | None, seed: int) -> None:
    budgets = parse_budgets(texts)
    problem = load_problem(network, budgets, goal or budgets.default_goal)
    blocks, rows = swept(problem)
    summary, _ = search(problem, blocks, rows, seed=seed)
    assert summary.gap_to_sweep == 0.0 and summary.trials <= 100


@pytest.mark.usefixtures("many_parts")
def test_the_same_seed_gives_the_same_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OuterSpace, "heuristics", lambda self: [])  # leave it to the sampler
    problem = make_problem("16gpus", "$3")
    blocks, rows = swept(problem)
    first, again, other = (search(problem, blocks, rows, seed=seed)[0] for seed in (3, 3, 4))
    assert told(first.study) == told(again.study)
    assert told(first.study) != told(other.study)


def test_looked_up_and_solved_rows_agree() -> None:
    problem = make_problem("16gpus", "$3")
    blocks, rows = swept(problem)
    looked_up, _ = search(problem, blocks, rows, seed=5)
    solved, evaluated = search(problem, blocks, seed=5)
    assert solved.gap_to_sweep is None and solved.met_at is None and solved.trials == 40
    assert solved.best == pytest.approx(looked_up.best, rel=1e-9)
    for one, two in zip(told(looked_up.study), told(solved.study), strict=False):
        assert one[0] == two[0]
        assert one[1] == pytest.approx(two[1], rel=1e-9)
        assert one[2] == pytest.approx(two[2], rel=1e-9, abs=1e-12)
        assert one[3] == two[3]
    # What the trials evaluated are rows like the sweep's, each once.
    keys = list(zip(evaluated.block.tolist(), evaluated.gpus.tolist(), strict=True))
    assert len(keys) == len(set(keys)) == rows.block.size
    assert evaluated.strategies.sum() == rows.strategies.sum()


@pytest.mark.usefixtures("many_parts")
def test_what_cannot_be_better_is_left_out() -> None:
    problem = make_problem("16gpus", "$3")
    blocks, rows = swept(problem)
    summary, evaluated = search(problem, blocks)
    assert summary.best == pytest.approx(rows.time_s[rows.feasible > 0].min(), rel=1e-9)
    assert evaluated.strategies.sum() < rows.strategies.sum() / 2
    assert summary.study is not None
    pruned = [trial for trial in summary.study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert pruned and all(trial.user_attrs["bound"] > summary.best for trial in pruned)


@settings(max_examples=15)
@given(money=st.floats(0.8, 6.0), minutes=st.floats(5.0, 60.0), seed=st.integers(0, 2**32 - 1))
def test_it_is_never_better_than_the_sweep(money: float, minutes: float, seed: int) -> None:
    problem = make_problem(f"${money:.3f}", f"{minutes:.2f}min", goal="time", on=CLUSTERS)
    blocks, rows = swept(problem)
    summary, _ = search(problem, blocks, rows, trials=12, seed=seed)
    feasible = rows.feasible > 0
    if not feasible.any():
        assert summary.best is None and summary.gap_to_sweep is None
    elif summary.best is not None:
        assert summary.best >= rows.time_s[feasible].min() * (1 - 1e-9)
        assert summary.gap_to_sweep is not None and summary.gap_to_sweep >= 0.0


def test_few_outer_choices_are_all_tried() -> None:
    problem = make_problem("16gpus", on=CLUSTERS)
    blocks, rows = swept(problem)
    summary, evaluated = search(problem, blocks)
    assert summary.sampler == "enumeration" and summary.trials == len(CLUSTERS) == summary.planned
    assert evaluated.strategies.sum() == rows.strategies.sum()
    assert summary.best == pytest.approx(rows.time_s.min(), rel=1e-9)


@pytest.mark.usefixtures("many_parts")
def test_names_and_ranges_never_change() -> None:
    problem = make_problem("16gpus", "$1")
    blocks, _ = swept(problem)
    summary, _ = search(problem, blocks, trials=60)
    assert summary.study is not None
    ranges = {tuple(sorted((n, d.high) for n, d in t.distributions.items())) for t in summary.study.trials}
    assert len(ranges) == 1
    ((cluster_range, part_range),) = ranges
    assert cluster_range == ("cluster", 39) and part_range[0] == "part" and part_range[1] > 0
    solved = [trial for trial in summary.study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    for trial in solved:
        assert np.isfinite(trial.value)
        assert set(trial.constraints) == {"memory", "cost_usd"}
        assert ("strategy" in trial.user_attrs) == (trial.constraints["memory"] <= 0)


def test_what_nothing_fits_into_is_finite_and_infeasible() -> None:
    problem = make_problem("16gpus", on=[cluster("tiny", 1.0, 1.0, memory=0.7e9)])
    blocks, rows = swept(problem)
    for given_rows in (rows, None):
        summary, _ = search(problem, blocks, given_rows, trials=5)
        assert summary.best is None and summary.met_at is None
        assert summary.study is not None
        for trial in summary.study.trials:
            assert np.isfinite(trial.value) and trial.constraints["memory"] > 0
            assert "strategy" not in trial.user_attrs


@pytest.mark.parametrize("size", [1, 7, 40, 10**6])
def test_every_row_can_be_reached(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(outer, "MOST_SWEPT", 0)
    monkeypatch.setattr(outer, "PART", size)
    problem = make_problem("16gpus", on=[*CLUSTERS, cluster("one", 1.0, 1.0, per_node=1)])
    blocks = problem.blocks()
    space = OuterSpace.of(problem, blocks, count_strategies(blocks))
    points = space.every()
    bands = [space.band(point) for point in points]
    assert len(bands) == len(set(bands)) == space.distinct
    rows = [(block, row) for band in bands for block, some in space.rows(band) for row in some.tolist()]
    reached = set(rows)
    assert len(rows) == len(reached)
    assert reached == {(index, row) for index, block in enumerate(blocks) for row in range(block.gpus.size)}
    assert all(0 <= value < size for point in points for value, size in zip(point, space.sizes.values(), strict=True))
    beside = space.beside(points[:1], points[:1])
    assert points[0] not in beside
    assert all(sum(a != b for a, b in zip(points[0], other, strict=True)) == 1 for other in beside)


def test_strategies_are_counted_without_making_them() -> None:
    problem = make_problem("16gpus")
    blocks, rows = swept(problem)
    assert count_strategies(blocks) == sum(block.size() for block in blocks) == rows.strategies.sum()


def test_optunas_messages_are_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        problem = make_problem("16gpus", on=CLUSTERS)
        search(problem, problem.blocks(), trials=3)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(before)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("many_parts")
def test_the_sampler_searches_without_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the heuristics, and without leaving anything out by its bound, what it finds is still good."""
    monkeypatch.setattr(OuterSpace, "heuristics", lambda self: [])
    monkeypatch.setattr(OuterSpace, "bound", lambda self, point: -np.inf)
    gaps: list[float] = []
    for seed in range(3):
        problem = make_problem("16gpus", "$3")
        blocks, rows = swept(problem)
        summary: SearchSummary = search(problem, blocks, rows, seed=seed)[0]
        assert summary.gap_to_sweep is not None
        gaps.append(summary.gap_to_sweep)
    assert sorted(gaps)[1] < 0.1


def test_a_trial_that_was_stopped_leaves_none_waiting_in_the_count() -> None:
    problem = make_problem("16gpus", on=CLUSTERS)
    blocks, rows = swept(problem)
    summary, _ = search(problem, blocks, rows)
    assert summary.study is not None
    finished: Sequence[Any] = [trial for trial in summary.study.trials if trial.state.is_finished()]
    assert summary.trials == len(finished) == summary.met_at
