"""What splits cost: shares, fetches and updates under ``hybrid`` and ``model``, by hand on networks of two layers."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_built import cluster, convolution, inner_product, network, number, table

from paleo_opt.errors import SpecError
from paleo_opt.estimator.compute import part_times, update_time
from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.estimate import Estimates, Options, estimate
from paleo_opt.estimator.parallelism import fetch_links, micro_batch_times
from paleo_opt.estimator.places import make_places
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.load import load_cluster

OPTIONS = Options(model="paleo", ppp_comp=1.0, ppp_comm=1.0)
PUBLISHED = Path(__file__).parent / "data" / "paleo" / "hybrid.csv"
#: The published implementation reads the GB of a link as 2^30 bytes where it fetches.
GIB_PER_GB = 2**30 / 1e9
BATCH = 64
# 4,096 values in, 4,096 out: 2 * 4096^2 FLOPs a sample, 64 MiB of weights.
WIDTH = 4096


def two_products(**of_second: str) -> CostTable:
    """Two products in a row; the second as given."""
    second = inner_product(WIDTH, WIDTH, parents=("fc",), **of_second)
    return compile_network(network(inner_product(WIDTH, WIDTH), replace(second, name="second")))


def flat(latency: float = 0.0, **changes: Any) -> Cluster:
    return cluster(between=(1e10, latency), per_node=1, **changes)


def run(compiled: CostTable, on: Cluster, gpus: int, **strategy: Any) -> Estimates:
    return estimate(compiled, Strategy(on, gpus, BATCH, **strategy), OPTIONS)


def product_time(batch: int, inputs: int, outputs: int) -> float:
    """Arithmetic at 1 TFLOP/s and three matrices at 100 GB/s."""
    return 2 * batch * inputs * outputs / 1e12 + 4 * (batch * inputs + inputs * outputs + batch * outputs) / 1e11


def fetch_time(values: float, latency: float = 0.0) -> float:
    """One message of single-precision values over 10 GB/s."""
    return 4 * values / (1e10 * GIB_PER_GB) + latency


def test_data_parallel_layers_fetch_nothing() -> None:
    found = run(two_products(split="model"), flat(), 4)
    assert number(found.forward_time_s) == pytest.approx(2 * product_time(BATCH, WIDTH, WIDTH))
    assert number(found.backward_time_s) == pytest.approx(4 * product_time(BATCH, WIDTH, WIDTH))
    assert number(found.communication_time_s) == number(found.all_reduce_time_s)


@pytest.mark.parametrize("latency", [0.0, 1e-4])
def test_model_split_divides_outputs_and_gathers_inputs(latency: float) -> None:
    """Each of 4 devices computes 1,024 outputs, from all inputs: 1 entry, then 3 gathers of the others' shares."""
    found = run(two_products(), flat(latency), 4, split="model", tensor=4)
    share = product_time(BATCH, WIDTH, WIDTH // 4)
    # The network's input comes to the layer behind it whole; every later product gathers from three others.
    entry, gathers = fetch_time(BATCH * WIDTH, latency), 3 * fetch_time(BATCH * WIDTH / 4, latency)
    fetches = entry + 2 * gathers
    assert number(found.forward_time_s) == pytest.approx(2 * share + fetches)
    assert number(found.backward_time_s) == pytest.approx(4 * share + fetches)
    assert number(found.communication_time_s) == pytest.approx(2 * fetches)
    # Every device holds its own parameters: nothing to reduce.
    assert number(found.all_reduce_time_s) == 0.0
    assert int(found.strategies.global_batch[0]) == BATCH


def test_model_split_of_two_groups_reduces_each_share() -> None:
    found = run(two_products(), flat(1e-5), 8, split="model", tensor=4, collective="ring_all_reduce")
    share = 2 * 4 * WIDTH * WIDTH / 4 / 1e10
    assert number(found.all_reduce_time_s) == pytest.approx(2 * (1 / 2) * share + 2 * 1e-5)
    assert int(found.strategies.global_batch[0]) == 2 * BATCH


@pytest.mark.parametrize("latency", [0.0, 1e-4])
def test_hybrid_runs_the_split_layer_once_per_worker(latency: float) -> None:
    """On 2 devices the second product is halved, and runs for both workers' samples."""
    found = run(two_products(split="model"), flat(latency), 2, split="hybrid", tensor=2, collective="tree_all_reduce")
    whole, half = product_time(BATCH, WIDTH, WIDTH), product_time(BATCH, WIDTH, WIDTH // 2)
    entry = fetch_time(BATCH * WIDTH)
    # Pipelining hides, of each but the first, as many bytes as there are values (a quarter, at full link speed).
    hidden = BATCH * WIDTH * (2 - 1) / (1e10 * GIB_PER_GB)
    waiting = 2 * (max(entry - hidden, 0) + latency) + hidden
    assert number(found.forward_time_s) == pytest.approx(whole + 2 * half + waiting)
    assert number(found.backward_time_s) == pytest.approx(2 * whole + 2 * 2 * half + waiting)
    assert number(found.communication_time_s - found.all_reduce_time_s) == pytest.approx(2 * waiting)
    # The first product is replicated and reduced; the halves are each on one device.
    assert number(found.all_reduce_time_s) == pytest.approx(2 * (4 * WIDTH * WIDTH / 1e10 + latency))
    assert int(found.strategies.global_batch[0]) == 2 * BATCH


def test_hidden_fetches_never_hide_computation() -> None:
    """Over a link so slow that more could be hidden than is fetched, the products still take their time."""
    compiled = two_products(split="model")
    for tensor in (2, 8, 64):
        found = run(compiled, flat(), tensor, split="hybrid", tensor=tensor)
        computed = product_time(BATCH, WIDTH, WIDTH) + tensor * product_time(BATCH, WIDTH, WIDTH // tensor)
        assert number(found.forward_time_s) >= computed
        assert number(found.compute_time_s) == pytest.approx(
            3 * product_time(BATCH, WIDTH, WIDTH) + 3 * tensor * product_time(BATCH, WIDTH, WIDTH // tensor)
        )


def test_a_replicated_layer_behind_a_split_one_collects_every_share() -> None:
    layers = (
        inner_product(WIDTH, WIDTH, split="model"),
        replace(inner_product(WIDTH, WIDTH, parents=("fc",)), name="second"),
    )
    compiled = compile_network(network(*layers))
    fetches = compiled.layout("hybrid", 4)
    assert [kind for kind, _ in fetches.divided_fetches] == ["entry"]
    assert [(kind, sizes.tolist()) for kind, sizes in fetches.replicated_fetches] == [("collect", [WIDTH / 4])]
    found = run(compiled, flat(), 4, split="hybrid", tensor=4)
    without = run(two_products(split="model"), flat(), 4, split="hybrid", tensor=4)
    assert number(found.forward_time_s) == pytest.approx(
        number(without.forward_time_s) + 4 * fetch_time(BATCH * WIDTH / 4)
    )


def test_fetch_groups_halve_the_bandwidth_cumulatively() -> None:
    """PALEO's two PCIe switches of four: from another switch the parents come at 1/2, 1/4, 1/8, 1/16 of the link."""
    found, grouped = (run(two_products(), flat(fetch_group=group), 8, split="model", tensor=8) for group in (None, 4))
    share = fetch_time(BATCH * WIDTH / 8)
    # The slowest device meets the other switch first: 2 + 4 + 8 + 16 for it, and its own three at 1/16.
    slowest = (2 + 4 + 8 + 16 + 3 * 16) * share
    extra = number(grouped.forward_time_s) - number(found.forward_time_s)
    assert extra == pytest.approx(2 * (slowest - 7 * share))


def test_shares_divide_up() -> None:
    """Ten outputs on 4 devices are 3, 3, 3 and 1: the largest share counts."""
    compiled = compile_network(network(inner_product(WIDTH, 10)))
    found = run(compiled, flat(), 4, split="model", tensor=4)
    fetches = fetch_time(BATCH * WIDTH) + 3 * fetch_time(BATCH * WIDTH / 4)
    assert number(found.forward_time_s) == pytest.approx(product_time(BATCH, WIDTH, 3) + fetches)


def test_peers_of_a_share_reduce_over_the_network() -> None:
    """Two nodes of 4 with tensor 4: the two holders of a share are on two nodes, and 4 shares cross at once."""
    on = cluster(inside=(1e11, 1e-6), between=(1e10, 1e-5), per_node=4)
    found = run(two_products(), on, 8, split="model", tensor=4, collective="ring_all_reduce")
    all_shares = 2 * 4 * WIDTH * WIDTH
    assert number(found.all_reduce_time_s) == pytest.approx(2 * (1 / 2) * all_shares / 1e10 + 2 * 1e-5)
    # With tensor 2 a node has two holders of each share: 4 workers, and 2 shares cross at once.
    found = run(two_products(), on, 8, split="model", tensor=2, collective="ring_all_reduce")
    assert number(found.all_reduce_time_s) == pytest.approx(2 * (3 / 4) * all_shares / 1e10 + 6 * 1e-5)
    # Within one node each device has its own link.
    found = run(two_products(), on, 4, split="model", tensor=2, collective="ring_all_reduce")
    assert number(found.all_reduce_time_s) == pytest.approx(2 * (1 / 2) * all_shares / 2 / 1e11 + 2 * 1e-6)


def test_peers_reduce_hierarchically() -> None:
    on = cluster(inside=(1e11, 1e-6), between=(1e10, 1e-5), per_node=4)
    found = run(two_products(), on, 8, split="model", tensor=2, collective="hierarchical")
    all_shares = 2 * 4 * WIDTH * WIDTH
    inside = 2 * ((1 / 2) * all_shares / 2 / 1e11 + 1e-6)
    between = 2 * (1 / 2) * all_shares / 1e10 + 2 * 1e-5
    assert number(found.all_reduce_time_s) == pytest.approx(inside + between)


def test_a_shared_connection_still_carries_no_more_than_a_device_sends() -> None:
    """Where the devices' own links are the slower ones, sharing the node's costs nothing."""
    on = cluster(inside=(1e9, 0.0), between=(1e10, 0.0), per_node=4)
    found = run(two_products(), on, 8, split="model", tensor=4, collective="ring_all_reduce")
    assert number(found.all_reduce_time_s) == pytest.approx(2 * 4 * WIDTH * WIDTH / 4 / 1e9)


def test_tensor_one_is_data_parallel() -> None:
    compiled, on = two_products(split="model"), flat(1e-5)
    for split in ("hybrid", "model"):
        split_one, data = run(compiled, on, 4, split=split), run(compiled, on, 4)
        assert number(split_one.step_time_s) == number(data.step_time_s)
        assert number(split_one.memory_bytes) == number(data.memory_bytes)


def test_channelwise_layers_fetch_nothing() -> None:
    """A split passes through pooling and dropout: each device pools the channels it computed."""
    compiled = table("alexnet_v2_1gpu")
    layout = compiled.layout("hybrid", 4)
    sizes = {kind: sizes.tolist() for kind, sizes in (*layout.divided_fetches, *layout.replicated_fetches)}
    # fc6 reads pool5 whole; fc7 gathers dropout6's 4,096 outputs; fc8 collects dropout7's.
    assert sizes == {"entry": [5 * 5 * 256], "gather": [4096 / 4], "collect": [4096 / 4]}


def test_a_network_without_marked_layers_has_no_hybrid() -> None:
    with pytest.raises(SpecError, match="marks no layer `split: model`"):
        compile_network(network(convolution())).layout("hybrid", 2)
    with pytest.raises(SpecError, match="did you mean 'model'"):
        table("alexnet_v2").layout("modle", 2)


def test_half_precision_halves_fetches() -> None:
    """The same share of a fetch is hidden in every precision."""
    compiled = two_products(split="model")
    fetched = []
    for precision in ("fp32", "fp16"):
        found = run(compiled, flat(), 4, split="hybrid", tensor=4, precision=precision)
        fetched.append(number(found.communication_time_s - found.all_reduce_time_s))
    assert fetched[1] == pytest.approx(fetched[0] / 2)


# -- the published figures, part by part ------------------------------------------------------------------------------

HYBRID = list(csv.DictReader(PUBLISHED.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("row", HYBRID, ids=lambda row: f"{row['workers']} {row['part']}")
def test_published_hybrid_parts(row: dict[str, str]) -> None:
    workers, replicated = int(row["workers"]), row["part"] == "data_parallel_layers"
    on = load_cluster(row["network"], device=row["device"])
    options = Options(model="paleo", ppp_comp=float(row["ppp_comp"]), ppp_comm=float(row["ppp_comm"]))
    layout = table("alexnet_v2_1gpu").layout("hybrid", workers)
    places, here = make_places((on,), ("fp32",), options), np.zeros(1, dtype=np.int64)
    rates, batch = places.rates, np.array([float(row["per_worker_batch"])])
    terms = (layout.replicated, layout.divided) if workers > 1 else (layout.replicated,)  # alone it splits nothing
    parts = [part_times(each, rates, batch, auto=False, workspace_limit=0.0, pipelined=False) for each in terms]
    links = fetch_links(places, here, workers)
    times = micro_batch_times(layout, batch, parts[0], parts[1] if workers > 1 else None, links, rates.clock)
    forward, backward, parameters = (
        (times.forward, times.backward, layout.replicated_parameters)
        if replicated
        else (times.divided_forward, times.divided_backward, layout.divided_parameters)
    )
    update = update_time(parameters, places.update_peak, places.memory_bandwidth, places.rates.clock, False)
    assert number(forward) * 1e3 == pytest.approx(float(row["forward_ms"]), rel=1e-6)
    assert number(backward) * 1e3 == pytest.approx(float(row["backward_ms"]), rel=1e-6)
    assert number(update) * 1e3 == pytest.approx(float(row["update_ms"]), rel=1e-6)
