"""Every collective: its published terms by hand, and one suite that all of them pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hand_built import cluster, inner_product, network, number, pooling
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator import collectives
from paleo_opt.estimator.collectives import COLLECTIVES, FLAT_ALL_REDUCES
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster, Level

#: 25 million parameters: a message of 100 MB in fp32.
TABLE = compile_network(network(inner_product(5000, 5000)))
SIZE = 100e6


def all_reduce(on: Cluster, name: str, workers: int, **options: Any) -> float:
    """Seconds of the gradients' all-reduce as an estimate has them."""
    found = estimate(TABLE, Strategy(on, workers, 1, collective=name), Options(model="paleo", **options))
    return number(found.all_reduce_time_s)


# Over 10 GB/s and 10 us the whole message takes T = 10 ms: (name, workers, times T, times alpha).
TERMS = [
    ("one_to_all", 2, 2, 2),
    ("one_to_all", 4, 6, 6),
    ("one_to_all", 128, 254, 254),
    ("tree_all_reduce", 2, 2, 2),
    ("tree_all_reduce", 4, 4, 4),
    ("tree_all_reduce", 5, 6, 6),
    ("tree_all_reduce", 128, 14, 14),
    ("butterfly_all_reduce", 2, 1, 1),
    ("butterfly_all_reduce", 4, 2, 2),
    ("butterfly_all_reduce", 6, 3, 3),
    ("butterfly_all_reduce", 128, 7, 7),
    ("ring_all_reduce", 2, 1, 2),
    ("ring_all_reduce", 4, 1.5, 6),
    ("ring_all_reduce", 5, 1.6, 8),
    ("ring_all_reduce", 128, 254 / 128, 254),
    ("double_binary_tree", 2, 2, 2),
    ("double_binary_tree", 4, 2, 4),
    ("double_binary_tree", 128, 2, 14),
    ("recursive_halving_doubling", 2, 1, 2),
    ("recursive_halving_doubling", 4, 1.5, 4),
    ("recursive_halving_doubling", 128, 254 / 128, 14),
    ("in_network", 2, 1, 2),
    ("in_network", 4, 1, 2),
    ("in_network", 128, 1, 2),
    # Nodes of one device: nothing to do inside, a ring between them.
    ("hierarchical", 2, 1, 2),
    ("hierarchical", 4, 1.5, 6),
    ("hierarchical", 128, 254 / 128, 254),
]


@pytest.mark.parametrize(("name", "workers", "bandwidth_terms", "latency_terms"), TERMS)
def test_published_terms(name: str, workers: int, bandwidth_terms: float, latency_terms: float) -> None:
    flat = cluster(between=(1e10, 1e-5), per_node=1)
    expected = bandwidth_terms * 10e-3 + latency_terms * 1e-5
    assert all_reduce(flat, name, workers) == pytest.approx(expected, rel=1e-12)


def test_the_terms_cover_every_collective() -> None:
    assert {name for name, *_ in TERMS} == set(COLLECTIVES)


def test_hierarchical_by_hand() -> None:
    """Two nodes of four: 1 ms and 1 us inside, 10 ms and 10 us between."""
    two_nodes = cluster(inside=(1e11, 1e-6), between=(1e10, 1e-5), per_node=4)
    inside = 2 * (3 / 4 * 1e-3 + 3 * 1e-6)  # reduce-scatter, then all-gather
    between = 2 * (1 / 2) * 10e-3 + 2 * 1 * 1e-5  # a ring of two nodes
    assert all_reduce(two_nodes, "hierarchical", 8) == pytest.approx(inside + between, rel=1e-12)
    # In one node there is nothing between nodes.
    assert all_reduce(two_nodes, "hierarchical", 4) == pytest.approx(inside, rel=1e-12)


def test_the_slowest_link_on_the_path_bounds() -> None:
    levels = (Level("node", 4, 1e11, 1e-6), Level("rack", 8, 1e10, 1e-5), Level("beyond", None, 2e10, 5e-6))
    deep = cluster(levels=levels)
    # 32 devices in a rack; beyond it the rack's slower link and larger latency still count.
    for workers, transfer, latency in [(4, 1e-3, 1e-6), (8, 10e-3, 1e-5), (32, 10e-3, 1e-5), (64, 10e-3, 1e-5)]:
        rounds = int(np.log2(workers))
        assert all_reduce(deep, "butterfly_all_reduce", workers) == pytest.approx(rounds * (transfer + latency))


def test_ppp_comm_divides_the_bandwidth_alone() -> None:
    flat = cluster(per_node=1)
    for name in COLLECTIVES:
        latency = all_reduce(flat, name, 8) - all_reduce(cluster(between=(1e10, 0.0), per_node=1), name, 8)
        bandwidth = all_reduce(flat, name, 8) - latency
        assert all_reduce(flat, name, 8, ppp_comm=0.5) == pytest.approx(2 * bandwidth + latency)


def test_half_precision_halves_the_message() -> None:
    flat = cluster(between=(1e10, 0.0), per_node=1)
    half = Strategy(flat, 4, 1, collective="ring_all_reduce", precision="fp16")
    whole = all_reduce(flat, "ring_all_reduce", 4)
    found = estimate(TABLE, half, Options(model="paleo"))
    assert number(found.all_reduce_time_s) == pytest.approx(whole / 2)


def test_building_blocks_make_up_an_all_reduce() -> None:
    """A ring all-reduce is a reduce-scatter and an all-gather; both, and an all-to-all, are nothing for one worker."""
    workers, transfer, latency = np.array([1.0, 2.0, 4.0, 7.0]), np.full(4, 10e-3), np.full(4, 1e-5)
    parts = collectives.reduce_scatter(workers, transfer, latency) + collectives.all_gather(workers, transfer, latency)
    assert parts == pytest.approx(collectives.ring_all_reduce(workers, transfer, latency))
    exchanged = [0.0, 5e-3 + 1e-5, 7.5e-3 + 3e-5, 6 / 7 * 10e-3 + 6e-5]
    assert collectives.all_to_all(workers, transfer, latency) == pytest.approx(exchanged)
    sent = [0.0, 10e-3 + 1e-5, 10e-3 + 1e-5, 10e-3 + 1e-5]
    assert collectives.point_to_point(workers, transfer, latency) == pytest.approx(sent)


# -- one suite for all -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLLECTIVES)
def test_one_worker_sends_nothing(name: str) -> None:
    assert all_reduce(cluster(), name, 1) == 0.0


@pytest.mark.parametrize("name", COLLECTIVES)
def test_doubling_the_workers_is_never_faster(name: str) -> None:
    times = [all_reduce(cluster(), name, 2**power) for power in range(11)]
    assert times == sorted(times)


@pytest.mark.parametrize("name", COLLECTIVES)
def test_nobody_beats_the_wire(name: str) -> None:
    """Each worker's link moves at least the share of the message that it lacks, half of an all-reduce."""
    for workers in (2, 3, 8, 100):
        assert all_reduce(cluster(per_node=1), name, workers) >= (workers - 1) / workers * 10e-3


@pytest.mark.parametrize("name", COLLECTIVES)
@given(
    workers=st.integers(1, 10_000),
    bandwidth=st.floats(1e8, 1e12),
    latency=st.floats(0.0, 1e-3),
    more=st.floats(1.0, 100.0),
)
def test_better_links_are_never_slower(name: str, workers: int, bandwidth: float, latency: float, more: float) -> None:
    slow, fast, quick = (
        all_reduce(cluster(between=link), name, workers)
        for link in ((bandwidth, latency), (bandwidth * more, latency), (bandwidth, latency / more))
    )
    assert 0.0 <= fast <= slow
    assert 0.0 <= quick <= slow


@pytest.mark.parametrize("name", FLAT_ALL_REDUCES)
def test_rounds_are_exact_at_powers_of_two(name: str) -> None:
    """No rounding of a logarithm adds a round: the latency term at 2^k workers is that of k rounds."""
    workers = np.exp2(np.arange(0.0, 40.0))
    times = FLAT_ALL_REDUCES[name](workers, np.zeros_like(workers), np.ones_like(workers))
    rounds = np.arange(0, 40)
    per_worker = {"one_to_all": 2 * (workers - 1), "ring_all_reduce": 2 * (workers - 1), "in_network": 2 * (rounds > 0)}
    expected = per_worker.get(name, rounds if name == "butterfly_all_reduce" else 2 * rounds)
    assert np.array_equal(times, expected)


def test_unknown_collectives_are_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="ring_all_reduce"):
        Strategy(cluster(), 2, 1, collective="ring_allreduce")


def test_inference_sends_no_gradients() -> None:
    found = estimate(TABLE, Strategy(cluster(), 8, 1), Options(training=False))
    assert number(found.all_reduce_time_s) == 0.0


def test_nothing_is_sent_where_nothing_is_trained() -> None:
    """A network without parameters waits for nobody, whatever the latency."""
    empty = compile_network(network(pooling()))
    found = estimate(empty, Strategy(cluster(), 8, 1))
    assert number(found.all_reduce_time_s) == 0.0
