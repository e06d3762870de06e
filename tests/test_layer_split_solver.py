"""Elimination over graphs, and branching over sums and memory: equal to trying everything."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paleo_opt.layer_splits.choice_elimination import descended, remaining
from paleo_opt.layer_splits.series_parallel import Kernel, Optimum, PairwiseCosts, cheapest, joined, kernel_of
from paleo_opt.layer_splits.step_time import gradient_buckets
from paleo_opt.layer_splits.study import kernel_problem
from paleo_opt.studies.run import run_study

Edges = list[tuple[int, int]]


def chain(nodes: int) -> Edges:
    return [(i, i + 1) for i in range(nodes - 1)]


#: A residual block, an inception module, two of them, and a graph that no elimination makes smaller.
LADDER: Edges = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (2, 4), (2, 5), (4, 5)]
INCEPTION: Edges = [(0, 1), (0, 2), (0, 3), (2, 4), (1, 5), (4, 5), (3, 5)]
COMPLETE: Edges = [(i, j) for i in range(5) for j in range(i + 1, 5)]


def costs_of(edges: Edges, sizes: list[int], seed: int) -> PairwiseCosts:
    draw = np.random.default_rng(seed)
    nodes = [draw.integers(0, 20, size).astype(float) for size in sizes]
    return PairwiseCosts(nodes, {(i, j): draw.integers(0, 20, (sizes[i], sizes[j])).astype(float) for i, j in edges})


def least(costs: PairwiseCosts) -> float:
    return min(costs.total(chosen) for chosen in product(*(range(node.size) for node in costs.nodes)))


@st.composite
def graphs(draw: st.DrawFn) -> PairwiseCosts:
    count = draw(st.integers(1, 6))
    sizes = draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return costs_of(edges, sizes, draw(st.integers(0, 10**6)))


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_any_graph_is_solved_as_by_trying_everything(costs: PairwiseCosts) -> None:
    found = cheapest(costs)
    assert isinstance(found, Optimum) and found.exact
    assert found.cost == least(costs) == costs.total(found.chosen)


@settings(max_examples=150, deadline=None)
@given(graphs(), st.integers(0, 10**6))
def test_what_is_left_out_is_in_no_cheaper_assignment(costs: PairwiseCosts, seed: int) -> None:
    draw = np.random.default_rng(seed)
    known = descended(costs, [int(draw.integers(node.size)) for node in costs.nodes])
    left = remaining(costs, costs.total(known))
    every = list(product(*(range(node.size) for node in costs.nodes)))
    gone = [chosen for chosen in every if left.index(chosen) is None]
    assert all(costs.total(chosen) > costs.total(known) for chosen in gone)
    found = cheapest(left.costs)
    assert isinstance(found, Optimum)
    assert found.cost == least(costs) == costs.total(left.chosen(found.chosen))
    for chosen in every:
        there = left.index(chosen)
        assert there is None or (left.chosen(there) == chosen and left.costs.total(there) == costs.total(chosen))


def test_where_one_choice_is_far_cheaper_the_others_are_left_out() -> None:
    costs = PairwiseCosts([np.array([0.0, 9.0]), np.array([9.0, 0.0])], {(0, 1): np.array([[1.0, 2.0], [0.0, 3.0]])})
    assert [of.tolist() for of in remaining(costs, 2.0).kept] == [[0], [1]]


@pytest.mark.parametrize(("edges", "nodes"), [(chain(6), 6), (LADDER, 6), (INCEPTION, 6)])
def test_chains_and_series_parallel_graphs_leave_nothing_to_try(edges: Edges, nodes: int) -> None:
    costs = costs_of(edges, [3] * nodes, 1)
    found = cheapest(costs, most_cuts=1)
    assert isinstance(found, Optimum) and (found.cut, found.tried) == ((), 1)
    assert found.cost == least(costs)


def test_a_complete_graph_is_cut_until_it_falls_apart() -> None:
    costs = costs_of(COMPLETE, [3] * 5, 2)
    kernel = kernel_of(costs)
    # Of five nodes that are all joined, a triangle is left when two are fixed, and that is series-parallel.
    assert (len(kernel.cut), kernel.choices) == (2, 9)
    assert kernel.solve((0, 0))[0] >= least(costs)


def test_by_hand() -> None:
    """Two layers with two splits each: each by itself would take its first, 1 + 1, but moving between them costs 5."""
    costs = PairwiseCosts([np.array([1.0, 2.0]), np.array([1.0, 3.0])], {(0, 1): np.array([[5.0, 0.5], [0.0, 9.0]])})
    found = cheapest(costs)
    assert isinstance(found, Optimum)
    assert (found.cost, found.chosen) == (3.0, (1, 0))


def test_a_layer_in_between_is_chosen_for_each_pair() -> None:
    first, between, second = np.array([[0.0, 4.0]]), np.array([3.0, 1.0]), np.array([[2.0, 7.0], [0.0, 0.0]])
    assert joined(first, between, second).tolist() == [[5.0, 5.0]]


def test_a_study_over_the_cut_solves_the_rest_exactly() -> None:
    costs = costs_of(COMPLETE, [4] * 5, 3)
    kernel = cheapest(costs, most_cuts=8)
    assert isinstance(kernel, Kernel)
    run = run_study(kernel_problem(kernel, [(0,) * 5]), trials=kernel.choices)
    # As many trials as choices, none twice.
    assert run.best == least(costs)
    assert run.finished[0].params == {f"node{node}": 0 for node in kernel.cut}


def test_buckets_are_filled_from_the_last_layer() -> None:
    parameters = [10, 0, 30, 0, 50, 0]
    assert gradient_buckets(parameters, 0.0) == [(4, 4), (2, 2), (0, 0)]
    assert gradient_buckets(parameters, 60.0) == [(2, 4), (0, 0)]
    assert gradient_buckets(parameters, float("inf")) == [(0, 4)]
