"""Collectives of the default model: terms worked out by hand, published machines, and what must hold of any."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_built import cluster
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.collectives import COLLECTIVES
from paleo_opt.estimator.communication import AUTO, OPERATIONS, chosen, communication_time
from paleo_opt.estimator.connections import Routes, make_connections, make_routes
from paleo_opt.estimator.parameter_server import asynchronous_updates, parameter_server_time
from paleo_opt.hardware.cluster import Cluster, Level
from paleo_opt.hardware.constant import Constant
from paleo_opt.hardware.load import load_cluster, load_link

EVERY = (*COLLECTIVES, AUTO, *OPERATIONS)
MB = 1e6


def constants(**changes: float) -> dict[str, Constant]:
    """All of the bandwidth at once, steps of 1 us, and nothing else; with changes."""
    given = {"attained": 1.0, "step": 1e-6, "startup": 0.0, "ramp": 0.0, "low_latency": 1.0} | changes
    return {name: Constant(value) for name, value in given.items()}


def nodes(
    per_node: int = 4, inside: Mapping[str, float] | None = None, between: Mapping[str, float] | None = None
) -> Cluster:
    """100 GB/s inside nodes and 10 GB/s a node between them: a MB takes 10 us and 100 us."""
    outside = Level("between nodes", None, 1e10, 1e-6, constants(**(between or {})))
    if per_node == 1:
        return cluster(per_node=1, levels=(outside,))
    first = Level("inside the node", per_node, 1e11, 1e-6, constants(**(inside or {})))
    return cluster(per_node=per_node, levels=(first, outside))


def group(on: Cluster, devices: float, apart: int = 1) -> Routes:
    return make_routes(make_connections([on]), np.array([0]), np.array([float(devices)]), apart)


def seconds(operation: str, on: Cluster, devices: float, size: float = MB, apart: int = 1) -> float:
    return float(communication_time(operation, group(on, devices, apart), size)[0])


# One device a node, 100 us a MB: (operation, devices, times 100 us, steps of 1 us).
FLAT = [
    ("one_to_all", 4, 6, 6),
    ("tree_all_reduce", 5, 6, 6),
    ("butterfly_all_reduce", 8, 3, 3),
    ("ring_all_reduce", 4, 1.5, 6),
    ("double_binary_tree", 8, 2, 6),
    ("double_binary_tree", 2, 1, 2),
    ("recursive_halving_doubling", 8, 1.75, 6),
    ("hierarchical", 4, 1.5, 6),
    ("reduce_scatter", 4, 0.75, 3),
    ("all_gather", 4, 0.75, 3),
    ("all_to_all", 4, 0.75, 2),
    ("broadcast", 4, 1, 3),
    ("point_to_point", 4, 1, 1),
]


@pytest.mark.parametrize(("operation", "devices", "transfers", "steps"), FLAT)
def test_one_level_has_the_published_terms(operation: str, devices: int, transfers: float, steps: int) -> None:
    expected = transfers * 100e-6 + steps * 1e-6
    assert seconds(operation, nodes(1), devices) == pytest.approx(expected, rel=1e-12)


def test_a_switch_that_reduces_passes_each_byte_once() -> None:
    """SHARP-like: the message over each connection once, two steps; without one in the switch, trees."""
    assert seconds("in_network", nodes(1, between={"in_network": 0.5}), 8) == pytest.approx(2 * 100e-6 + 2e-6)
    assert seconds("in_network", nodes(1), 8) == seconds("double_binary_tree", nodes(1), 8)


# Two nodes of four: 10 us a MB inside, 100 us a MB between.
TWO_LEVELS = [
    # 14/8 of the message over each connection; 14/8 of a turn: 6 edges inside and 2 between.
    ("ring_all_reduce", 175e-6 + 14e-6),
    # The message across once each way; chains of 3 up and down, and one exchange.
    ("double_binary_tree", 100e-6 + 6e-6 + 2e-6),
    # 2 · 3/4 inside, 2 · 1/2 between: of a quarter by each of four devices.
    ("hierarchical", 15e-6 + 100e-6 + 6e-6 + 2e-6),
    ("recursive_halving_doubling", 15e-6 + 100e-6 + 4e-6 + 2e-6),
    # All four devices of a node exchange the whole message with the other node's.
    ("butterfly_all_reduce", 2 * 10e-6 + 4 * 100e-6 + 3e-6),
    # The four workers of the other node over the master's node.
    ("one_to_all", 2 * 4 * 100e-6 + 14e-6),
    # Half of what four devices have leaves their node.
    ("all_to_all", 200e-6 + 2e-6 + 1e-6),
    ("point_to_point", 100e-6 + 1e-6),
]


@pytest.mark.parametrize(("operation", "expected"), TWO_LEVELS)
def test_two_levels(operation: str, expected: float) -> None:
    assert seconds(operation, nodes(4), 8) == pytest.approx(expected, rel=1e-12)


def test_groups_share_the_connection_of_a_node() -> None:
    """One device of each of 8 nodes, 4 such groups at once: a quarter of the node's connection, and no level inside."""
    assert seconds("ring_all_reduce", nodes(4), 8, apart=4) == pytest.approx(1.75 * 400e-6 + 14e-6)
    # Two of four devices in each of two nodes: half of it.
    routes = group(nodes(4), 4, apart=2)
    assert routes.joined.tolist() == [[2.0, 2.0]]
    assert routes.rate.tolist() == [[1e11, 5e9]]


def test_small_messages_pay_start_up_and_large_ones_the_ramp() -> None:
    on = nodes(1, between={"startup": 5e-6, "ramp": 50e-6, "low_latency": 0.5})
    # 1 KB at half the rate, 100 MB in the time of its bytes and the pipeline's.
    assert seconds("point_to_point", on, 2, 1e3) == pytest.approx(5e-6 + 1e-6 + 0.2e-6)
    assert seconds("point_to_point", on, 2, 1e8) == pytest.approx(5e-6 + 1e-6 + 50e-6 + 10e-3)
    # Half of the bandwidth at ramp · bandwidth, start-up and step aside.
    half = 50e-6 * 1e10
    assert half / (seconds("point_to_point", on, 2, half) - 6e-6) == pytest.approx(5e9)


def test_the_automatic_choice_is_the_least_of_what_nccl_has() -> None:
    four = nodes(4)
    # Between two nodes a tree sends half of what a ring does; between many as much, in fewer steps.
    assert chosen(group(four, 8), 1e9) == ["double_binary_tree"]
    assert chosen(group(four, 4), 1e9) == ["ring_all_reduce"]
    switched = nodes(8, inside={"in_network": 0.9})
    assert chosen(group(switched, 8), 1e9) == ["in_network"]
    assert seconds(AUTO, switched, 8) == min(seconds(name, switched, 8) for name in ("ring_all_reduce", "in_network"))


def test_more_than_two_devices_crowd_the_host() -> None:
    on = nodes(8, inside={"crowding": 1.0})
    rates = [group(on, devices).rate[0, 0] for devices in (2, 4, 8)]
    assert rates == pytest.approx([1e11, 5e10, 2.5e10])


def test_published_all_reduces_of_large_messages() -> None:
    """nccl-tests of 2 GB and more on machines of which the shipped links have their constants.

    Seconds: DGX H100 and 2 p5.48xlarge, 2 p4de.24xlarge (awsome-distributed-training@7217859f), 8 HGX H100.
    """
    measured = [("dgx-h100", 8, 2**31, 7.939e-3), ("p5.48xlarge", 16, 2**31, 9.0745e-3),
                ("p4de.24xlarge", 16, 2**31, 51.406e-3), ("hgx-h100-3200gbps", 64, 2**33, 43.98e-3)]  # fmt: skip
    for name, devices, size, time in measured:
        assert seconds(AUTO, load_cluster(name), devices, size) == pytest.approx(time, rel=0.15), name


def test_nobody_to_talk_to_or_nothing_to_say_takes_no_time() -> None:
    for operation in EVERY:
        assert seconds(operation, nodes(4), 1) == 0
        assert seconds(operation, nodes(4), 8, 0.0) == 0


CLUSTERS = st.builds(
    lambda per_node, inside, between: nodes(per_node, inside, between),
    st.sampled_from([1, 2, 4, 8]),
    st.fixed_dictionaries({}, optional={"ramp": st.floats(0, 1e-3), "low_latency": st.floats(0.1, 1),
                                        "in_network": st.floats(0.1, 1), "crowding": st.floats(0, 2)}),
    st.fixed_dictionaries({}, optional={"ramp": st.floats(0, 1e-3), "startup": st.floats(0, 1e-4),
                                        "attained": st.floats(0.1, 1), "in_network": st.floats(0.1, 1)}),
)  # fmt: skip
GROUPS = st.tuples(st.integers(2, 300), st.sampled_from([1, 2, 4, 8]))


@given(CLUSTERS, GROUPS, st.sampled_from(EVERY), st.floats(1, 1e10), st.floats(1, 1000))
def test_more_bytes_are_never_faster(
    on: Cluster, of: tuple[int, int], operation: str, size: float, factor: float
) -> None:
    devices, apart = of
    less, more = (seconds(operation, on, devices, s, apart) for s in (size, size * factor))
    assert 0 < less <= more * (1 + 1e-12)


@given(CLUSTERS, GROUPS, st.sampled_from(EVERY), st.floats(1, 1e10), st.floats(1, 1000), st.integers(0, 1))
def test_more_bandwidth_is_never_slower(
    on: Cluster, of: tuple[int, int], operation: str, size: float, factor: float, at: int
) -> None:
    devices, apart = of
    at = min(at, len(on.levels) - 1)
    faster = replace(on.levels[at], bandwidth=on.levels[at].bandwidth * factor)
    improved = replace(on, levels=(*on.levels[:at], faster, *on.levels[at + 1 :]))
    before, after = (seconds(operation, each, devices, size, apart) for each in (on, improved))
    assert after <= before * (1 + 1e-12)


@given(CLUSTERS, GROUPS, st.floats(1, 1e10))
def test_the_automatic_choice_is_never_worse_than_a_ring(on: Cluster, of: tuple[int, int], size: float) -> None:
    devices, apart = of
    assert seconds(AUTO, on, devices, size, apart) <= seconds("ring_all_reduce", on, devices, size, apart)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 600), st.floats(0, 1e9)), min_size=1, max_size=8))
def test_many_groups_at_once_are_as_each_by_itself(asked: list[tuple[int, int, float]]) -> None:
    clusters = [load_cluster("p5.48xlarge"), load_cluster("gce-k80x8")]
    connections = make_connections(clusters)
    place, devices, size = (np.array(column) for column in zip(*asked, strict=True))
    devices = np.where(place == 1, np.minimum(devices, 8), devices).astype(float)
    for operation in EVERY:
        together = communication_time(operation, make_routes(connections, place, devices), size)
        alone = [
            communication_time(operation, make_routes(connections, place[[i]], devices[[i]]), size[[i]])[0]
            for i in range(len(place))
        ]
        assert together == pytest.approx(alone, rel=1e-12)
        routes = make_routes(connections, place, devices)
        both = communication_time(operation, routes, np.stack([size, 2 * size]))
        assert both[1] == pytest.approx(communication_time(operation, routes, 2 * size))


# -- constants of links --------------------------------------------------------------------------------------


def test_a_level_has_the_constants_of_its_link() -> None:
    link = load_link("nvlink4")
    assert load_cluster("p5.48xlarge").levels[0].constants == link.constants
    assert {"attained", "step", "in_network"} <= set(link.constants)


def test_without_constants_a_step_is_the_latency() -> None:
    connections = make_connections([cluster(between=(1e10, 3e-6), per_node=1)])
    assert connections.step[0, 1] == 3e-6
    assert connections.in_network[0, 1] == 0
    assert connections.attained[0, 1] == pytest.approx(0.8)


def test_constants_move_with_their_deviation() -> None:
    on = replace(nodes(1), levels=(Level("n", None, 1e10, 1e-6, {"attained": Constant(0.5, 0.1)}),))
    moved = make_connections([on], {"link.attained": -1.0})
    assert moved.attained[0, 1] == pytest.approx(0.5 * np.exp(-0.1))


LINK = "name: mine\ndescription: d\nbandwidth: 10GB/s\nlatency: 1us\nsource: s\n"


def test_a_bad_constant_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{LINK}attained: 1.4\nstep: 3 parsecs\natained: 0.8\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_link(str(path))
    found = {problem.field: problem.message for problem in caught.value.problems}
    assert "expected from 0.01 to 1" in found["attained"]
    assert "step" in found and "did you mean 'attained'" in found["atained"]


# -- parameter servers ---------------------------------------------------------------------------------------


def test_the_busiest_server_bounds_a_node() -> None:
    """Of 4 devices each keeps a quarter, or one keeps the largest tensor, 60% of the bytes: 2 · 3 pushes and pulls."""
    routes = group(nodes(4), 4)
    assert parameter_server_time(routes, MB)[0] == pytest.approx(2 * 3 * (0.25 * 10e-6 + 1e-6))
    assert parameter_server_time(routes, MB, largest=0.6)[0] == pytest.approx(2 * 3 * (0.6 * 10e-6 + 1e-6))
    # On the host: each over its own lanes; 4 MB taken in at 1 GB/s.
    host = parameter_server_time(routes, MB, server_rate=1e9, host=True)[0]
    assert host == pytest.approx(2 * (10e-6 + 1e-6) + 4e-3)


def test_servers_on_every_node_do_not_slow_with_more_nodes() -> None:
    flat = nodes(1)
    times = [parameter_server_time(group(flat, n), MB, server_rate=1e9)[0] for n in (2, 8, 64)]
    # Each node sends and receives all but its own share, twice, and takes in n shares of 1/n.
    assert times == pytest.approx([2 * 100e-6 * (n - 1) / n + 2e-6 + 1e-3 for n in (2, 8, 64)])
    # A single server takes in every worker's.
    alone = parameter_server_time(group(flat, 64), MB, servers=1.0, server_rate=1e9)[0]
    assert alone == pytest.approx(2 * 64 * 100e-6 + 2e-6 + 64e-3)


def test_asynchronous_workers_are_bound_by_themselves_or_the_server() -> None:
    found = asynchronous_updates(np.array([1.0, 4.0, 100.0]), 0.9, 0.1, 0.05)
    assert found.updates_per_s == pytest.approx([1.0, 4.0, 20.0])
    assert found.staleness.tolist() == [0.0, 3.0, 99.0]
    assert found.server_bound.tolist() == [False, False, True]


# -- the benchmark that shows the error ----------------------------------------------------------------------


def test_the_benchmark_reads_its_tables(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import collectives as benchmark  # type: ignore[import-not-found]

    header = ["system", "nccl_version", "op_name", "dtype", "num_gpus", "bytes", "latency_ms"]
    with (tmp_path / "nccl_aiconfigurator.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [
                header,
                ["h200_sxm", "2.26.2", "all_gather", "half", 8, 536870912, 1.391],
                ["abacus", "1", "x", "y", 2, 1, 1],
            ]
        )
    rows = benchmark.read_rows(tmp_path)
    assert [(row.operation, row.gpus, row.fitted) for row in rows] == [("all_gather", 8, True)]
    assert benchmark.predict(rows) == pytest.approx([1.391e-3], rel=0.15)
