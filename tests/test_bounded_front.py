"""Exact fronts without evaluating most of a space: the same points as those of a sweep."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import CLUSTERS, NETWORK, SPACE
from tradeoff_cases import small

from paleo_opt.report.pareto import message
from paleo_opt.search import bounded_front
from paleo_opt.search.bounded_front import bounded_rows
from paleo_opt.search.budgets import parse_budgets
from paleo_opt.search.front import find_front, front_of
from paleo_opt.search.problem import SearchProblem, count_strategies, load_problem


def make(network: Any, space: Any, *texts: str, **changes: Any) -> SearchProblem:
    return load_problem(network, parse_budgets(texts), "time", space=space, **changes)


def assert_same(problem: SearchProblem) -> int:
    """The front is that of a sweep; returns how many strategies it took."""
    blocks = problem.blocks()
    rows = bounded_rows(problem, blocks)
    found = front_of(problem, blocks, rows, time.perf_counter())
    swept = find_front(problem, blocks)
    np.testing.assert_allclose(found.time_s, swept.time_s, rtol=1e-9)
    np.testing.assert_allclose(found.spent, swept.spent, rtol=1e-9)
    return int(rows.strategies.sum())


@pytest.mark.parametrize(("network", "space", "texts", "changes"), [
    ("resnet50", "default", ["256gpus"], {}),
    ("vgg16", "default", ["$500", "12h"], {}),
    ("alexnet", "paleo", ["16gpus"], {}),
    ("gpt3_1.3b", "default", ["64gpus"], {"on": ["p5.48xlarge", "p4d.24xlarge", "p3.16xlarge"]}),
    ("gpt3_175b", "calculon", ["512gpus"], {}),  # without a price: time against GPUs
    ("t5_base", "default", ["64gpus", "1000kWh"], {}),
])  # fmt: skip
def test_it_is_the_front_of_a_sweep(
    monkeypatch: pytest.MonkeyPatch, network: str, space: str, texts: list[str], changes: dict[str, Any]
) -> None:
    problem = make(network, space, *texts, **changes)
    total = count_strategies(problem.blocks())
    monkeypatch.setattr(bounded_front, "_FIRST", max(100, total // 200))
    assert assert_same(problem) < total


@settings(max_examples=20, deadline=None)
@given(gpus=st.integers(1, 16), money=st.floats(0.8, 20.0), minutes=st.floats(5.0, 200.0), first=st.integers(1, 200))
def test_it_is_the_front_under_any_budgets(gpus: int, money: float, minutes: float, first: int) -> None:
    problem = make(NETWORK, SPACE, f"{gpus}gpus", f"${money:.3f}", f"{minutes:.2f}min", on=CLUSTERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded_front, "_FIRST", first)
        assert_same(problem)


def test_progress_reaches_every_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_front, "_FIRST", 100)
    problem = make("resnet50", "default", "64gpus")
    blocks, done = problem.blocks(), []
    bounded_rows(problem, blocks, done.append)
    assert sum(done) == count_strategies(blocks)


def test_pareto_proves_the_front_of_a_space_too_large_to_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = small()
    for name in ("paleo_opt.search.tradeoff.MOST_SWEPT", "paleo_opt.search.recommend.MOST_SWEPT"):
        monkeypatch.setattr(name, 10)
    monkeypatch.setattr(bounded_front, "_FIRST", 20)
    found = small(trials=8)
    assert found.front.proved and found.front.left_out > 0
    np.testing.assert_allclose(found.front.time_s, swept.front.time_s, rtol=1e-9)
    np.testing.assert_allclose(found.front.spent, swept.front.spent, rtol=1e-9)
    text = message(found)
    assert "lower bounds" in text and f"{swept.recommendation.certificate.strategies:,}" in text
