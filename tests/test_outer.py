"""What trials choose: every row once, few enough points to try each, and bounds that nothing beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_cases import NETWORK, SPACE, cluster

from paleo_opt.estimator.options import Options
from paleo_opt.search import outer
from paleo_opt.search.blocks import Block
from paleo_opt.search.bounds import row_bounds
from paleo_opt.search.budgets import GOALS, figure, parse_budgets
from paleo_opt.search.optuna_search import search
from paleo_opt.search.outer import POINTS, OuterSpace
from paleo_opt.search.problem import MOST_SWEPT, SearchProblem, count_strategies, load_problem
from paleo_opt.search.rows import Rows
from paleo_opt.search.sweep import Limits, sweep
from paleo_opt.studies.kept import Kept


def make(network: Any, space: Any, *texts: str, goal: str | None = None, **changes: Any) -> SearchProblem:
    budgets = parse_budgets(texts)
    return load_problem(network, budgets, goal or budgets.default_goal, space=space, **changes)


def outer_space(problem: SearchProblem, blocks: Sequence[Block]) -> OuterSpace:
    return OuterSpace.of(problem, blocks, count_strategies(blocks))


def of_blocks(rows: Rows, blocks: Sequence[Block]) -> list[Rows]:
    """The rows of each block."""
    return [rows.at(np.flatnonzero(rows.block == index)) for index in range(len(blocks))]


def assert_partition(space: OuterSpace, blocks: Sequence[Block]) -> None:
    """Every row of every block is in one part, and every part has a point."""
    times = [np.zeros(block.gpus.size, dtype=int) for block in blocks]
    bands = [space.band(point) for point in space.every()]
    assert len(set(bands)) == len(bands) == space.distinct
    for band in bands:
        for index, rows in space.rows(band):
            assert (np.diff(rows) > 0).all()
            times[index][rows] += 1
    assert all((column == 1).all() for column in times)
    of_sizes = [range(size) for size in space.sizes.values()]
    assert all(value in values for point in space.every() for value, values in zip(point, of_sizes, strict=True))


@pytest.mark.parametrize(("network", "space", "budget"), [
    ("alexnet", "default", "64gpus"),
    ("alexnet", "fine", "1024gpus"),
    ("rnn_timit", "paleo", "128gpus"),
    ("resnet50", "calculon", "64gpus"),
    ("vit_base", "default", "1024gpus"),
    ("t5_base", "paleo", "1024gpus"),
    ("gpt3_175b", "default", "1024gpus"),
    ("gpt3_175b", "calculon", "4096gpus"),
    ("llama3.1_405b", "default", "1024gpus"),
])  # fmt: skip
def test_a_space_that_can_be_swept_has_few_points(network: str, space: str, budget: str) -> None:
    problem = make(network, space, budget)
    blocks = problem.blocks()
    found = outer_space(problem, blocks)
    assert count_strategies(blocks) <= MOST_SWEPT
    assert found.distinct <= POINTS
    # Each cluster is at least one point of its own.
    assert found.sizes["cluster"] == len({block.cluster.name for block in blocks}) <= found.distinct
    assert_partition(found, blocks)


def test_a_larger_space_has_parts_of_about_a_second() -> None:
    problem = make("qwen3_30b_a3b", "default", "1024gpus")
    blocks = problem.blocks()
    found = outer_space(problem, blocks)
    assert count_strategies(blocks) > MOST_SWEPT
    assert max(sizes.max() for sizes in found.strategies) < 1.5 * outer.PART
    assert sum(sizes.sum() for sizes in found.strategies) == count_strategies(blocks)
    assert_partition(found, blocks)
    # In the order of what is promised: nothing that comes later can be better than its bound.
    bounds = [found.bound(point) for point in found.every()]
    assert bounds == sorted(bounds)
    assert found.least_left(()) == bounds[0]
    assert found.least_left(found.every()[:3]) == bounds[3]
    assert found.least_left(found.every()) == np.inf


def test_more_clusters_than_points_are_tried_some_at_once() -> None:
    many = [cluster(f"cluster {number:03}", 1.0 + number % 7, 1.0 + number % 5) for number in range(2 * POINTS + 1)]
    problem = make(NETWORK, SPACE, "16gpus", on=many)
    blocks = problem.blocks()
    found = outer_space(problem, blocks)
    assert found.distinct <= POINTS
    assert sorted(name for names in found.clusters for name in names) == sorted(one.name for one in many)
    assert_partition(found, blocks)
    assert "201 clusters, up to 3 at once" in found.in_words()


#: Networks of layers and transformers, dense and of experts, of one and two stacks, on slow and fast links.
BOUNDED = [
    ("resnet18", "paleo", {"on": ["p3.16xlarge", "dgx-h100"]}),
    ("vgg16", "default", {"on": ["p3.16xlarge", "g6.xlarge"]}),
    ("rnn_timit", "default", {"on": ["p3.16xlarge"]}),
    ("gpt3_1.3b", "default", {"on": ["dgx-h100", "p3.16xlarge"]}),
    ("gpt3_175b", "calculon", {}),
    ("t5_base", "paleo", {"on": ["dgx-a100"]}),
    ("qwen3_30b_a3b", "default", {"on": ["dgx-h100"]}),
]


@pytest.mark.parametrize(("network", "space", "changes"), BOUNDED)
def test_no_strategy_beats_the_bound_of_its_row(network: str, space: str, changes: dict[str, Any]) -> None:
    problem = make(network, space, "64gpus", **changes)
    blocks = problem.blocks()
    bounds = row_bounds(problem, blocks)
    for goal in GOALS:
        rows = sweep(problem.table, blocks, Limits(), problem.options, goal)
        best = np.concatenate([figure(own, goal) for own in of_blocks(rows, blocks)])
        least = np.concatenate([bound.figure(goal) for bound in bounds])
        known = np.isfinite(best)
        if goal != "time" and not known.any():
            continue  # without a price or a power
        assert (least[known] <= best[known]).all()
        # It says something: of the best row it is at least a third.
        assert least[best.argmin()] > best.min() / 3


@pytest.mark.parametrize("options", [
    Options(model="paleo"),
    Options(updates="asynchronous"),
    Options(training=False),
    replace(Options(), pricing="spot"),
])  # fmt: skip
def test_the_bounds_hold_under_other_models(options: Options) -> None:
    problem = make("alexnet_v2", "default", "32gpus", options=options, on=["p3.16xlarge", "dgx-h100"])
    blocks = problem.blocks()
    rows = sweep(problem.table, blocks, Limits(), problem.options)
    for own, bound in zip(of_blocks(rows, blocks), row_bounds(problem, blocks), strict=True):
        known = np.isfinite(own.time_s)
        assert known.any()
        assert (bound.time_s[known] <= own.time_s[known]).all()


@pytest.mark.parametrize(("network", "texts", "goal"), [
    ("resnet50", ["64gpus"], "time"),
    ("alexnet", ["$3"], "time"),
    ("vgg16", ["12h", "128gpus"], "cost"),
    ("gpt3_1.3b", ["16gpus"], "cost"),
    ("t5_base", ["$500000", "128gpus"], "time"),
])  # fmt: skip
def test_the_best_of_a_large_space_is_found_and_proved(
    monkeypatch: pytest.MonkeyPatch, network: str, texts: list[str], goal: str
) -> None:
    problem = make(network, "default", *texts, goal=goal)
    blocks = problem.blocks()
    rows = sweep(problem.table, blocks, problem.budgets.limits, problem.options, goal)
    optimum = figure(rows, goal)[rows.feasible > 0].min()
    monkeypatch.setattr(outer, "MOST_SWEPT", 0)
    monkeypatch.setattr(outer, "PART", max(100, count_strategies(blocks) // 1000))
    for seed in range(2):
        summary, evaluated = search(problem, blocks, seed=seed)
        assert summary.best == pytest.approx(optimum, rel=1e-9)
        assert evaluated.strategies.sum() < rows.strategies.sum() / 3
        assert summary.proved


@pytest.mark.parametrize("trials", [1, 30])
def test_a_kept_study_leaves_out_what_cannot_be_better(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trials: int
) -> None:
    problem = make("resnet50", "default", "64gpus")
    blocks = problem.blocks()
    monkeypatch.setattr(outer, "MOST_SWEPT", 0)
    monkeypatch.setattr(outer, "PART", 2000)
    kept = Kept(str(tmp_path / "studies.log"), "one")
    summary, evaluated = search(problem, blocks, trials=trials, kept=kept)
    again, _ = search(problem, blocks, trials=trials)
    assert summary.best == pytest.approx(again.best, rel=1e-9)
    assert summary.trials == trials and summary.proved == (trials > 1)
    assert 0 < evaluated.strategies.sum() < count_strategies(blocks)


@pytest.mark.parametrize(("network", "space", "texts"), [
    ("resnet50", "default", ["64gpus"]),
    ("vgg16", "paleo", ["$500"]),
    ("gpt3_1.3b", "paleo", ["256gpus", "$2M"]),
])  # fmt: skip
def test_trying_each_point_meets_the_sweep(network: str, space: str, texts: list[str]) -> None:
    problem = make(network, space, *texts)
    blocks = problem.blocks()
    rows = sweep(problem.table, blocks, problem.budgets.limits, problem.options, problem.goal)
    summary, _ = search(problem, blocks, rows)
    assert summary.sampler == "enumeration" and summary.gap_to_sweep == 0.0
    assert summary.met_at is not None and summary.met_at <= summary.planned <= POINTS
