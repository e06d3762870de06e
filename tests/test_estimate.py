"""What holds for every estimate: never slower with more, and alike for one strategy, a list or a mesh."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_built import DEVICE, PRICE, cluster, inner_product, network, number, table
from hypothesis import given, settings
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.breakdown import layer_breakdown
from paleo_opt.estimator.collectives import COLLECTIVES
from paleo_opt.estimator.cost_table import CONV_ALGORITHMS, compile_network
from paleo_opt.estimator.estimate import Estimates, Memos, Options, estimate
from paleo_opt.estimator.options import MODELS
from paleo_opt.estimator.places import make_places
from paleo_opt.estimator.reliability import Operations
from paleo_opt.estimator.strategy import Strategies, Strategy
from paleo_opt.hardware.cluster import Cluster, Level
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.graph import TrainingJob
from paleo_opt.network.load import load_network

NET = "alexnet_v2"  # its fully connected layers are marked for the hybrid split
FIELDS = (
    "forward_time_s", "backward_time_s", "update_time_s", "communication_time_s", "all_reduce_time_s", "compute_time_s",
    "step_time_s", "samples_per_s", "memory_bytes", "fits", "steps", "ideal_time_to_target_s", "time_to_target_s",
    "cost_usd", "energy_kwh", "mfu",
)  # fmt: skip

SPLITS = st.sampled_from([("data", 1), ("hybrid", 2), ("hybrid", 8), ("model", 2), ("model", 8)])
SHARED: dict[str, Any] = {
    "ppp_comp": st.floats(0.05, 1.0),
    "ppp_comm": st.floats(0.05, 1.0),
    "training": st.booleans(),
    "optimizer": st.sampled_from(["sgd", "momentum", "adam"]),
}
PALEO = st.builds(Options, model=st.just("paleo"), pipelined=st.booleans(), **SHARED)
ROOFLINE = st.builds(Options, platform=st.sampled_from([None, "caffe-2015", "cudnn-5.1-torch", "ngc-mxnet"]), **SHARED)
OPTIONS = ROOFLINE | PALEO
CLUSTERS = st.builds(
    cluster,
    inside=st.tuples(st.floats(1e9, 1e12), st.floats(0.0, 1e-4)),
    between=st.tuples(st.floats(1e8, 1e11), st.floats(0.0, 1e-3)),
    per_node=st.sampled_from([1, 4, 8]),
    fetch_group=st.sampled_from([None, 4]),
)


@st.composite
def strategies(draw: st.DrawFn) -> Strategy:
    split, tensor = draw(SPLITS)
    return Strategy(
        draw(CLUSTERS),
        gpus=tensor * draw(st.integers(1, 64)),
        micro_batch=draw(st.integers(1, 512)),
        accumulation=draw(st.integers(1, 16)),
        split=split,
        tensor=tensor,
        collective=draw(st.sampled_from(COLLECTIVES)),
        precision=draw(st.sampled_from(["fp32", "fp16"])),
    )


def step_time(strategy: Strategy, options: Options, algorithm: str = "gemm") -> float:
    return number(estimate(table(NET, algorithm), strategy, options).step_time_s)


def with_device(strategy: Strategy, **changes: Any) -> Strategy:
    return replace(strategy, cluster=replace(strategy.cluster, device=replace(strategy.cluster.device, **changes)))


def with_links(strategy: Strategy, faster: float = 1.0, quicker: float = 1.0) -> Strategy:
    levels = tuple(
        replace(level, bandwidth=level.bandwidth * faster, latency=level.latency / quicker)
        for level in strategy.cluster.levels
    )
    return replace(strategy, cluster=replace(strategy.cluster, levels=levels))


def no_more(faster: float, slower: float) -> bool:
    """At most as long, but for rounding."""
    return faster <= slower * (1 + 1e-12)


# -- never slower -----------------------------------------------------------------------------------------------------

FACTORS = st.floats(1.0, 100.0)


@given(strategy=strategies(), options=OPTIONS, factor=FACTORS)
def test_faster_links_are_never_slower(strategy: Strategy, options: Options, factor: float) -> None:
    before = step_time(strategy, options)
    assert no_more(step_time(with_links(strategy, faster=factor), options), before)
    assert no_more(step_time(with_links(strategy, quicker=factor), options), before)


@given(strategy=strategies(), options=OPTIONS, factor=FACTORS)
def test_a_faster_device_is_never_slower(strategy: Strategy, options: Options, factor: float) -> None:
    before = step_time(strategy, options)
    peak = {name: flops * factor for name, flops in DEVICE.peak.items()}
    assert no_more(step_time(with_device(strategy, peak=peak), options), before)
    assert no_more(step_time(with_device(strategy, memory_bandwidth=DEVICE.memory_bandwidth * factor), options), before)
    assert no_more(step_time(with_device(strategy, clock=DEVICE.clock * factor), options), before)


@given(strategy=strategies(), options=OPTIONS, share=st.floats(0.05, 1.0))
def test_a_better_platform_is_never_slower(strategy: Strategy, options: Options, share: float) -> None:
    before = step_time(strategy, options)
    assert options.ppp_comp is not None and options.ppp_comm is not None
    assert no_more(step_time(strategy, replace(options, ppp_comp=max(share, options.ppp_comp))), before)
    assert no_more(step_time(strategy, replace(options, ppp_comm=max(share, options.ppp_comm))), before)


@given(strategy=strategies(), options=PALEO)
def test_pipelining_is_never_slower_than_the_sum(strategy: Strategy, options: Options) -> None:
    summed, pipelined = (step_time(strategy, replace(options, pipelined=value)) for value in (False, True))
    assert no_more(pipelined, summed)
    assert no_more(summed, 2 * pipelined)  # nor can it hide more than half


@given(strategy=strategies(), options=OPTIONS, limit=st.floats(0.0, 1e11))
def test_the_chosen_algorithm_is_never_slower(strategy: Strategy, options: Options, limit: float) -> None:
    """Than any other that the platform has, under the default model."""
    options = replace(options, pipelined=False, workspace_limit=limit)
    if options.model == "roofline":
        options = replace(options, platform="cudnn-5.1-torch")  # which has all of them
    chosen = step_time(strategy, options, "auto")
    for algorithm in CONV_ALGORITHMS:
        assert no_more(chosen, step_time(strategy, options, algorithm))


@given(strategy=strategies(), options=OPTIONS, factor=st.integers(2, 8))
def test_samples_take_time(strategy: Strategy, options: Options, factor: int) -> None:
    """One pass of a·m samples is no slower than a passes of m, which are no slower than a steps of m."""
    one = replace(strategy, accumulation=1)
    step = step_time(one, options)
    accumulated = step_time(replace(one, accumulation=factor), options)
    at_once = step_time(replace(one, micro_batch=one.micro_batch * factor), options)
    assert no_more(step, at_once)
    assert no_more(at_once, accumulated)
    assert no_more(accumulated, factor * step)


@given(strategy=strategies(), options=OPTIONS)
def test_inference_is_never_slower_than_training(strategy: Strategy, options: Options) -> None:
    trained, run = (estimate(table(NET), strategy, replace(options, training=training)) for training in (True, False))
    assert no_more(number(run.step_time_s), number(trained.step_time_s))
    assert number(run.forward_time_s) == number(trained.forward_time_s)
    assert number(run.backward_time_s) == number(run.update_time_s) == number(run.all_reduce_time_s) == 0.0


@given(strategy=strategies(), options=OPTIONS, algorithm=st.sampled_from(CONV_ALGORITHMS))
def test_memory_is_never_negative(strategy: Strategy, options: Options, algorithm: str) -> None:
    memory = estimate(table(NET, algorithm), strategy, options).memory
    for use in ("parameters", "gradients", "optimizer", "activations", "workspace", "reserve"):
        assert number(getattr(memory, use)) >= 0.0
    assert number(memory.total) > 0.0


@given(strategy=strategies(), options=OPTIONS, more=st.integers(1, 1000))
def test_more_samples_at_once_never_take_less_memory(strategy: Strategy, options: Options, more: int) -> None:
    larger = replace(strategy, micro_batch=strategy.micro_batch + more)
    small, large = (number(estimate(table(NET), one, options).memory_bytes) for one in (strategy, larger))
    assert small < large


@given(strategy=strategies(), options=OPTIONS)
def test_the_parts_make_up_the_whole(strategy: Strategy, options: Options) -> None:
    found = estimate(table(NET), strategy, options)
    value = {name: number(getattr(found, name)) for name in FIELDS}
    exposed = number(found.exposed_all_reduce_time_s)
    step = value["forward_time_s"] + value["backward_time_s"] + value["update_time_s"] + exposed
    assert value["step_time_s"] == pytest.approx(step)
    assert value["step_time_s"] == pytest.approx(
        value["compute_time_s"] + value["update_time_s"] + number(found.exposed_communication_time_s)
    )
    assert 0.0 <= exposed <= value["all_reduce_time_s"] * (1 + 1e-12)
    assert value["samples_per_s"] * value["step_time_s"] == pytest.approx(strategy.global_batch)
    assert value["ideal_time_to_target_s"] == pytest.approx(value["steps"] * value["step_time_s"])
    assert value["time_to_target_s"] >= value["ideal_time_to_target_s"]
    assert value["cost_usd"] == pytest.approx(strategy.nodes * PRICE.on_demand * value["time_to_target_s"] / 3600)
    # Energy lies between that of devices that only wait and of devices that only compute.
    assert DEVICE.power is not None
    power, installed = options.power, strategy.nodes * strategy.cluster.devices_per_node
    idle = installed * DEVICE.power * (power.idle + power.node) * power.pue
    busy = idle + strategy.gpus * DEVICE.power * (power.busy - power.idle) * power.pue
    kilowatt_hours = value["time_to_target_s"] / 3.6e6
    assert idle * kilowatt_hours * 0.999 <= value["energy_kwh"] <= busy * kilowatt_hours * 1.001
    assert all(np.isfinite(list(value.values()))) and all(amount >= 0 for amount in value.values())


@pytest.mark.parametrize(
    "options",
    [Options(), Options(model="paleo"), Options(model="paleo", pipelined=True)],
    ids=["roofline", "paleo", "pipelined"],
)
@pytest.mark.parametrize("algorithm", ["gemm", "auto"])
@pytest.mark.parametrize(("split", "tensor"), [("data", 1), ("hybrid", 4), ("model", 4)])
def test_the_layers_make_up_the_computation(split: str, tensor: int, algorithm: str, options: Options) -> None:
    strategy = Strategy(cluster(), 8, 32, split=split, tensor=tensor)
    found = estimate(table(NET, algorithm), strategy, options)
    layers = layer_breakdown(table(NET, algorithm), strategy, options)
    total = sum(layer.forward_s + layer.backward_s for layer in layers)
    assert total == pytest.approx(number(found.compute_time_s))


# -- alike for one, a list and a mesh ---------------------------------------------------------------------------------

PLACES = (
    (cluster(), "fp32"),
    (cluster(inside=(5e10, 2e-6), between=(2.5e9, 3e-5), per_node=8), "fp16"),
    (cluster(per_node=1, fetch_group=4, price=None), "fp16"),
    (cluster(levels=(Level("a", 4, 1e11, 0.0), Level("b", 2, 1e10, 1e-5), Level("c", None, 1e9, 1e-4))), "bf16"),
)


def same(set_of: Estimates, index: int, one: Estimates) -> None:
    """Equal in every field to the last bit (and unknown in the same)."""
    for name in FIELDS:
        values = np.broadcast_to(getattr(set_of, name), set_of.strategies.shape).reshape(-1)
        assert np.array_equal(values[index], number(getattr(one, name)), equal_nan=True), name


def check_alike(drawn: Strategies, options: Options, algorithm: str, memos: Memos | None = None) -> None:
    compiled = table(NET, algorithm)
    found = estimate(compiled, drawn, options, memos)
    for index in range(int(np.prod(drawn.shape))):
        same(found, index, estimate(compiled, drawn.row(index), options))


@st.composite
def flat_lists(draw: st.DrawFn) -> Strategies:
    """A list of up to 60 strategies on several places; past 32 values are evaluated once each and gathered."""
    split, tensor = draw(SPLITS)
    size = draw(st.integers(1, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    collectives = tuple(draw(st.permutations(COLLECTIVES))[: draw(st.integers(1, len(COLLECTIVES)))])
    places = [PLACES[index] for index in draw(st.permutations(range(4)))[: draw(st.integers(1, 4))]]
    return Strategies(
        clusters=tuple(place[0] for place in places),
        precisions=tuple(place[1] for place in places),
        split=split,
        tensor=tensor,
        collectives=collectives,
        gpus=tensor * random.integers(1, 300, size),
        micro_batch=random.integers(1, 700, size),
        accumulation=random.integers(1, 30, size),
        collective=random.integers(0, len(collectives), size),
        place=random.integers(0, len(places), size),
    )


ALGORITHMS = st.sampled_from(["gemm", "auto", "fft"])


@settings(max_examples=25)
@given(drawn=flat_lists(), options=OPTIONS, algorithm=ALGORITHMS)
def test_a_flat_list_is_its_strategies(drawn: Strategies, options: Options, algorithm: str) -> None:
    check_alike(drawn, options, algorithm)


@settings(max_examples=25)
@given(drawn=flat_lists(), options=OPTIONS, order=st.permutations(COLLECTIVES), count=st.integers(1, 8))
def test_the_mesh_of_a_sweep_is_its_strategies(
    drawn: Strategies, options: Options, order: list[str], count: int
) -> None:
    """Collectives (C, 1) by plans (Q,), the fast path; in any order, and any part of them."""
    mesh = replace(drawn, collectives=tuple(order[:count]), collective=np.arange(count)[:, None])
    few = replace(mesh, **{name: getattr(mesh, name)[:6] for name in ("gpus", "micro_batch", "accumulation", "place")})
    check_alike(few, options, "gemm")
    # A subset of the collectives, not in their order.
    check_alike(replace(few, collective=np.array([count - 1, 0])[:, None]), options, "gemm")


def open_mesh(**columns: Any) -> Strategies:
    whole: dict[str, Any] = {
        "clusters": (PLACES[0][0],),
        "precisions": ("fp32",),
        "split": "hybrid",
        "tensor": 4,
        "collectives": COLLECTIVES,
        "gpus": np.array([4, 8, 64]),
        "micro_batch": np.array(16),
        "accumulation": np.array(2),
        "collective": np.array(3),
    }
    return Strategies(**(whole | columns))


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"gpus": np.array(8)},
        {"gpus": np.array(8), "micro_batch": np.array([1, 7, 16])},
        {"gpus": np.array(8), "collective": np.array([5, 0])},
        {"gpus": np.array(8), "collective": np.arange(8)[:, None]},
        {"gpus": np.array([8]), "collective": np.array([[4]])},
        {"collective": np.array([[4]])},
        {"collective": np.array([[7], [7], [1]])},
        {"collective": np.arange(8)[::-1, None]},
        {"collective": np.arange(8)[:, None, None], "micro_batch": np.array([[1], [2], [3]])},
        {"gpus": np.array([[4], [8]]), "micro_batch": np.arange(1, 50), "accumulation": np.array([[[1]], [[3]]])},
        {"gpus": np.array([[4], [8]]), "collective": np.array([2, 6])},
        {"clusters": (PLACES[0][0], PLACES[3][0]), "precisions": ("fp32", "bf16"), "place": np.array([1, 0, 1])},
        {"gpus": 4 * np.arange(1, 41), "collective": np.arange(8)[:, None]},
    ],
    ids=lambda columns: ", ".join(f"{name} {np.shape(column)}" for name, column in columns.items()) or "plain",
)
def test_shapes_of_columns(columns: dict[str, Any]) -> None:
    mesh = open_mesh(**columns)
    for model in MODELS:
        check_alike(mesh, Options(model=model), "gemm")
        check_alike(mesh, Options(model=model, training=False), "gemm")


@pytest.mark.parametrize("model", MODELS)
def test_tiles_of_a_sweep_share_what_they_remember(model: str) -> None:
    options = Options(model=model)
    random = np.random.default_rng(1)
    clusters, precisions = tuple(place[0] for place in PLACES), tuple(place[1] for place in PLACES)
    memos = Memos(make_places(clusters, precisions, options))
    for size in (3, 50, 0, 50):
        tile = open_mesh(
            clusters=clusters,
            precisions=precisions,
            gpus=4 * random.integers(1, 90, size),
            micro_batch=random.integers(1, 400, size),
            accumulation=random.integers(1, 9, size),
            place=random.integers(0, len(PLACES), size),
            collective=np.arange(8)[:, None],
        )
        check_alike(tile, options, "gemm", memos)


def test_an_empty_set_is_empty() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    empty = open_mesh(gpus=nothing, micro_batch=nothing, accumulation=nothing)
    assert estimate(table(NET), empty).time_to_target_s.size == 0


@pytest.mark.parametrize("count", [3, 40])
def test_large_numbers_cost_no_large_tables(count: int) -> None:
    huge = open_mesh(
        gpus=np.full(count, 10**7), micro_batch=np.full(count, 10**9), accumulation=np.arange(1, count + 1)
    )
    found = estimate(table(NET), huge)
    assert np.isfinite(found.step_time_s).all()
    same(found, 2, estimate(table(NET), huge.row(2)))


# -- time, money and energy to the target -----------------------------------------------------------------------------

JOB = TrainingJob("made up", 1000, "sgd", 90_000.0, 10_000, None, "none", ())


def to_target(job: TrainingJob | None, on: Cluster | None = None, gpus: int = 8) -> Estimates:
    compiled = compile_network(replace(network(inner_product(100, 100)), job=job))
    return estimate(compiled, Strategy(on or cluster(), gpus, 100))


def test_steps_are_whole() -> None:
    assert number(to_target(JOB).steps) == 113  # 90,000 / 800 = 112.5


def test_larger_batches_need_more_samples() -> None:
    """samples(B) = S (1 + B / B_crit): twice as many at the critical batch."""
    found = to_target(replace(JOB, critical_batch=800.0))
    assert found.samples is not None
    assert number(found.samples) == 180_000
    assert number(found.steps) == 225


def test_without_a_job_there_is_no_target() -> None:
    found = to_target(None)
    assert number(found.step_time_s) > 0
    for name in ("steps", "time_to_target_s", "cost_usd", "energy_kwh"):
        with pytest.raises(SpecError, match="has no `job`"):
            getattr(found, name)


def test_whole_nodes_are_paid() -> None:
    prices = [
        number(to_target(JOB, gpus=gpus).cost_usd / to_target(JOB, gpus=gpus).time_to_target_s) for gpus in (5, 8)
    ]
    assert prices == pytest.approx([2 * PRICE.on_demand / 3600] * 2)


def test_what_is_not_published_is_unknown() -> None:
    found = to_target(JOB, cluster(price=None, device=replace(DEVICE, power=None)))
    assert np.isnan(number(found.cost_usd))
    assert np.isnan(number(found.energy_kwh))


# -- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": 0}, "gpus must be at least 1"),
        ({"micro_batch": -3}, "micro_batch must be at least 1, not -3"),
        ({"split": "model", "tensor": 3}, "tensor 3 does not divide 8 GPUs"),
        ({"precision": "fp8"}, "round has no peak in fp8; it has fp32, fp16, bf16"),
        ({"collective": "ring"}, "did you mean"),
        ({"cluster": cluster(max_nodes=1)}, "has 4 GPUs, not 8"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_impossible_strategies_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(Strategy(cluster(), 8, 1), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "palio"}, "did you mean 'paleo'"),
        ({"ppp_comp": 0.0}, "ppp_comp is 0.0; expected above 0 and at most 1"),
        ({"ppp_comm": 62.0}, "ppp_comm is 62.0"),
        ({"ppp_comp": float("nan")}, "ppp_comp is nan"),
        ({"optimizer": "adamw"}, "did you mean 'adam'"),
        ({"updates": "asynchronus"}, "did you mean 'asynchronous'"),
        ({"pipelined": True}, "pipelined is of the paleo model"),
        ({"model": "paleo", "platform": "neon"}, "the paleo model has no platform"),
        ({"model": "paleo", "updates": "asynchronous"}, "the paleo model has no asynchronous updates"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_impossible_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Options(**changes)


def test_a_set_in_a_precision_that_the_device_lacks_is_refused() -> None:
    with pytest.raises(SpecError, match="round has no peak in fp8"):
        estimate(table(NET), open_mesh(precisions=("fp8",)))


def test_without_a_barrier_nobody_waits_for_the_slowest_and_gradients_grow_old() -> None:
    one = Strategy(load_cluster("ec2-p2.8xlarge"), 8, 32, collective="one_to_all", precision="fp32")
    table = compile_network(load_network("resnet50"))
    waiting, free = (estimate(table, one, Options(updates=name)) for name in ("synchronous", "asynchronous"))
    assert number(waiting.staleness) == 0.0
    assert number(free.staleness) == 7.0
    # Each worker's own push and pull is exposed; the servers are no bottleneck here.
    assert number(free.exposed_all_reduce_time_s) > 0.0
    lagging = Options(updates="asynchronous", operations=Operations(straggler_variation=0.2))
    assert number(estimate(table, one, lagging).running_time_s) == pytest.approx(number(free.running_time_s))


def test_asynchronous_updates_need_a_parameter_server() -> None:
    one = Strategy(load_cluster("ec2-p2.8xlarge"), 8, 32, collective="ring_all_reduce", precision="fp32")
    with pytest.raises(SpecError, match="parameter server"):
        estimate(compile_network(load_network("resnet50")), one, Options(updates="asynchronous"))
