"""Estimates of split transformers: what must hold of any, and many at once as each by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_built import number
from hypothesis import assume, given
from hypothesis import strategies as st

from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.estimate import Estimates, Memos, Options, estimate
from paleo_opt.estimator.places import make_places
from paleo_opt.estimator.split_rules import valid_splits
from paleo_opt.estimator.splits import CHOICES, RECOMPUTES, Split, Splits
from paleo_opt.estimator.strategy import Strategies, Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.load import load_network

TABLES = {
    name: compile_network(load_network(name))
    for name in (
        "gpt3_1.3b",
        "llama3_8b",
        "mixtral_8x7b",
        "gpt_oss_120b",
        "bert_large",
        "t5_large",
        "megatron_1.7b",
        "gpt3_175b",
        "llama3_70b",
    )
}
CLUSTERS = ("dgx-h100", "dgx-a100", "p5.48xlarge", "dgx-gb200")
PLATFORMS = ("pytorch", "megatron-core", "megatron-lm-2021", "torchtitan")


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, Strategy, Options]:
    """A network, one of the strategies it can have, and the software."""
    name = draw(st.sampled_from(sorted(TABLES)))
    sizes = TABLES[name].network.transformer
    assert sizes is not None
    tensor = draw(st.sampled_from([1, 2, 4, 8]))
    pipeline = draw(st.sampled_from([1, 1, 2, 4]))
    values: dict[str, Any] = {
        "tensor": tensor,
        "pipeline": pipeline,
        "context": draw(st.sampled_from([1, 1, 2, 4])),
        "expert": draw(st.sampled_from([1, 2, 8])) if sizes.experts else 1,
        "sequence_parallel": tensor > 1 and draw(st.booleans()),
        "virtual_stages": draw(st.sampled_from([1, 2])) if pipeline > 1 else 1,
    }
    values |= {name: draw(st.sampled_from(known)) for name, known in CHOICES.items() if name != "offload"}
    if values["virtual_stages"] > 1:
        values["schedule"] = "1f1b"
    split = Split(**values)
    gpus = split.model * draw(st.sampled_from([1, 2, 8, 32]))
    accumulation = pipeline * draw(st.sampled_from([1, 2, 8]))
    assume(bool(np.all(valid_splits(sizes, Splits.of([split]), np.array([gpus]), np.array([accumulation])))))
    strategy = Strategy(
        load_cluster(draw(st.sampled_from(CLUSTERS))),
        gpus,
        draw(st.sampled_from([1, 2, 8])),
        accumulation,
        precision=draw(st.sampled_from(["bf16", "fp16"])),
        collective=draw(st.sampled_from(["ring_all_reduce", "auto"])),
        blocks=split,
    )
    return name, strategy, Options(platform=draw(st.sampled_from(PLATFORMS)))


def step_s(name: str, strategy: Strategy, options: Options) -> float:
    return number(estimate(TABLES[name], strategy, options).step_time_s)


def with_device(cluster: Cluster, **factors: float) -> Cluster:
    """With some figures of the device multiplied."""
    device = cluster.device
    changed: dict[str, Any] = {name: getattr(device, name) * by for name, by in factors.items() if name != "peak"}
    if "peak" in factors:
        changed["peak"] = {name: rate * factors["peak"] for name, rate in device.peak.items()}
    return replace(cluster, device=replace(device, **changed))


def with_links(cluster: Cluster, factor: float) -> Cluster:
    levels = tuple(replace(level, bandwidth=level.bandwidth * factor) for level in cluster.levels)
    return replace(cluster, levels=levels)


@given(cases(), st.sampled_from(["links", "memory_bandwidth", "peak", "clock"]), st.sampled_from([1.3, 2.0, 10.0]))
def test_better_hardware_is_never_slower(case: tuple[str, Strategy, Options], what: str, factor: float) -> None:
    name, strategy, options = case
    cluster = strategy.cluster
    better = with_links(cluster, factor) if what == "links" else with_device(cluster, **{what: factor})
    found = step_s(name, replace(strategy, cluster=better), options)
    # How long communication may hide, and a host wait, is counted on the average of passes.
    allowed = 1e-9 if what == "links" else 0.02
    assert found <= step_s(name, strategy, options) * (1 + allowed)


@given(cases())
def test_the_parts_add_up_to_the_step(case: tuple[str, Strategy, Options]) -> None:
    name, strategy, options = case
    found = estimate(TABLES[name], strategy, options)
    assert sum(number(each) for each in found.parts.values()) == pytest.approx(number(found.step_time_s), rel=1e-9)
    assert all(number(each) >= 0.0 for each in found.parts.values())
    assert number(found.exposed_all_reduce_time_s) <= number(found.all_reduce_time_s) * (1 + 1e-9)


@given(cases())
def test_all_memory_is_in_use_or_free(case: tuple[str, Strategy, Options]) -> None:
    name, strategy, options = case
    memory = estimate(TABLES[name], strategy, options).memory
    uses = [number(getattr(memory, name)) for name in ("parameters", "gradients", "optimizer", "activations")]
    assert all(use > 0.0 for use in uses)
    assert number(memory.workspace) >= 0.0
    assert number(memory.reserve) >= Options().memory_reserve


@given(cases())
def test_what_is_recomputed_is_not_kept_and_takes_time(case: tuple[str, Strategy, Options]) -> None:
    name, strategy, options = case
    assert strategy.blocks is not None
    found = [
        estimate(TABLES[name], replace(strategy, blocks=replace(strategy.blocks, recompute=recompute)), options)
        for recompute in RECOMPUTES
    ]
    kept = [number(each.memory.activations) for each in found]
    assert kept == sorted(kept, reverse=True)
    again = [number(each.parts["recompute"]) for each in found]
    assert 0.0 == again[0] < again[1] < again[2] * (1 + 1e-9)
    steps = [number(each.step_time_s) for each in found]
    assert steps[0] <= steps[2] * (1 + 1e-9)


@given(cases())
def test_dividing_more_among_replicas_never_takes_more_memory(case: tuple[str, Strategy, Options]) -> None:
    name, strategy, options = case
    assert strategy.blocks is not None
    names = ("zero0", "zero1") if strategy.blocks.pipeline > 1 else ("zero0", "zero1", "zero2")
    total = [
        number(
            estimate(
                TABLES[name], replace(strategy, blocks=replace(strategy.blocks, sharding=sharding)), options
            ).memory.total
        )
        for sharding in names
    ]
    assert total == sorted(total, reverse=True)


@given(cases(), st.sampled_from([2, 3]))
def test_more_micro_batches_take_longer_but_less_each(case: tuple[str, Strategy, Options], times: int) -> None:
    name, strategy, options = case
    one = step_s(name, strategy, options)
    more = step_s(name, replace(strategy, accumulation=strategy.accumulation * times), options)
    assert one < more <= times * one * (1 + 1e-9)


@given(cases())
def test_inference_is_a_part_of_training(case: tuple[str, Strategy, Options]) -> None:
    name, strategy, options = case
    trained, inferred = (
        estimate(TABLES[name], strategy, options),
        estimate(TABLES[name], strategy, replace(options, training=False)),
    )
    assert 0.0 < number(inferred.step_time_s) < number(trained.step_time_s)
    assert number(inferred.memory.total) < number(trained.memory.total)


@given(st.sampled_from(["gpt3_175b", "llama3_70b"]), st.sampled_from([1, 2, 4]))
def test_low_precision_is_never_slower_for_large_products(name: str, micro_batch: int) -> None:
    blocks = Split(tensor=8, sequence_parallel=True, pipeline=2)
    steps = [
        step_s(name, Strategy(load_cluster("dgx-b200"), 64, micro_batch, 8, precision=kind, blocks=blocks), Options())
        for kind in ("bf16", "fp8", "nvfp4")
    ]
    assert steps == sorted(steps, reverse=True)


# -- many at once -----------------------------------------------------------------------------------------------------

SPLITS = (
    Split(), Split(sharding="zero3"), Split(tensor=2, sharding="zero1"), Split(tensor=4, sequence_parallel=True),
    Split(tensor=2, pipeline=2, recompute="full"), Split(pipeline=4, virtual_stages=2), Split(context=2),
    Split(pipeline=4, schedule="gpipe", assignment="even"), Split(context=4, context_method="all_to_all"),
    Split(tensor=2, pipeline=2, placement="pipeline-data-tensor"), Split(pipeline=2, sharding="fsdp"),
    Split(tensor=2, pipeline=2, placement="data-tensor-pipeline", recompute="selective"), Split(expert=4),
    Split(tensor=2, expert=4, pipeline=2, placement="tensor-pipeline-data"),
)  # fmt: skip
PLACES = (("dgx-h100", "bf16"), ("dgx-a100", "fp16"), ("dgx-gb200", "fp8"))
COLUMNS = ("gpus", "micro_batch", "accumulation", "collective", "place", "layout")
FIGURES = ("step_time_s", "memory_bytes", "bubble_time_s", "communication_time_s", "exposed_all_reduce_time_s")


def some(shape: str) -> Strategies:
    """All combinations in an arbitrary order: flat lists, or with the collectives as an axis in front, as sweeps do."""
    axes = [
        np.arange(len(SPLITS)), np.array([16, 32, 64]), np.array([1, 3]), np.array([4, 8]), np.arange(len(PLACES)),
        np.arange(2),
    ][: 6 if shape == "flat" else 5]  # fmt: skip
    columns = [column.reshape(-1) for column in np.meshgrid(*axes, indexing="ij")]
    order = np.random.default_rng(0).permutation(columns[0].size)
    layout, gpus, micro_batch, accumulation, place, *collective = (column[order] for column in columns)
    return Strategies(
        clusters=tuple(load_cluster(name) for name, _ in PLACES),
        precisions=tuple(precision for _, precision in PLACES),
        split="blocks",
        tensor=1,
        collectives=("ring_all_reduce", "auto"),
        gpus=gpus,
        micro_batch=micro_batch,
        accumulation=accumulation,
        collective=collective[0] if collective else np.arange(2)[:, None],
        place=place,
        splits=Splits.of(SPLITS),
        layout=layout,
    )


def figures(found: Estimates) -> dict[str, np.ndarray[Any, Any]]:
    named = {name: getattr(found, name) for name in FIGURES} | dict(found.parts)
    return {name: np.broadcast_to(values, found.strategies.shape).reshape(-1) for name, values in named.items()}


@pytest.fixture(scope="module")
def mixtral() -> CostTable:
    return compile_network(load_network("mixtral_8x7b"))


@pytest.mark.parametrize("shape", ["flat", "collectives in front"])
def test_many_are_each_by_itself(mixtral: CostTable, shape: str) -> None:
    strategies = some(shape)
    found = figures(estimate(mixtral, strategies))
    alone = compile_network(load_network("mixtral_8x7b"))  # that remembers nothing of them
    for index in np.random.default_rng(1).choice(np.prod(strategies.shape), 150, replace=False).tolist():
        one = figures(estimate(alone, strategies.row(index)))
        for name, values in found.items():
            assert values[index] == pytest.approx(one[name][0], rel=1e-9, abs=1e-15), (name, strategies.row(index))


@pytest.mark.parametrize("tile", [100, 333])
def test_tiles_of_a_sweep_are_the_whole(mixtral: CostTable, tile: int) -> None:
    strategies = some("flat")
    options = Options(platform="megatron-core")
    whole = figures(estimate(mixtral, strategies, options))
    memos = Memos(make_places(strategies.clusters, strategies.precisions, options))
    for start in range(0, strategies.gpus.size, tile):
        part = slice(start, start + tile)
        columns = {name: getattr(strategies, name)[part] for name in COLUMNS}
        found = figures(estimate(mixtral, replace(strategies, **columns), options, memos))
        for name, values in found.items():
            assert values == pytest.approx(whole[name][part], rel=1e-12, abs=1e-15), name


def test_a_strategy_looked_up_is_one_computed(mixtral: CostTable) -> None:
    places = PLACES[0]
    strategy = Strategy(load_cluster(places[0]), 64, 2, 8, precision=places[1], blocks=SPLITS[-1])
    first, again = (figures(estimate(mixtral, strategy)) for _ in range(2))
    assert {name: values[0] for name, values in first.items()} == {name: values[0] for name, values in again.items()}
