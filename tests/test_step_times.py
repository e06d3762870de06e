"""What a strategy's stages do in a step: the same seconds as its estimate, and blocks where they should be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.pipeline_schedule import step_timeline
from paleo_opt.estimator.split_refusals import check_split
from paleo_opt.estimator.splits import Split
from paleo_opt.estimator.step_times import chunk_blocks, step_times
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.load import load_network


@pytest.fixture(scope="module")
def gpt() -> CostTable:
    return compile_network(load_network("gpt3_175b"))


def on_h100(gpus: int, passes: int, micro_batch: int = 1, **split: Any) -> Strategy:
    cluster = load_cluster("dgx-h100")
    return Strategy(cluster, gpus, micro_batch, passes, precision="bf16", blocks=Split(**split))


def step_s(table: CostTable, strategy: Strategy, options: Options | None = None) -> float:
    return float(np.ravel(estimate(table, strategy, options).step_time_s)[0])


@pytest.mark.parametrize("split", [
    {"pipeline": 8}, {"pipeline": 8, "schedule": "gpipe"}, {"pipeline": 8, "virtual_stages": 6},
    {"pipeline": 4, "sharding": "zero1", "recompute": "full"}, {"pipeline": 2, "context": 2},
    {"pipeline": 16, "assignment": "even", "recompute": "selective"},
    {"pipeline": 4, "sharding": "fsdp"},
    {"pipeline": 8, "sequence_parallel": False, "placement": "pipeline-tensor-data"},
])  # fmt: skip
def test_pass_by_pass_a_pipeline_takes_what_its_estimate_says(gpt: CostTable, split: dict[str, Any]) -> None:
    strategy = on_h100(128, 32, **({"tensor": 8, "sequence_parallel": True} | split))
    check_split(gpt.network, strategy.blocks, 128, accumulation=32)
    timeline = step_timeline(step_times(gpt, strategy))
    # Stages wait for their neighbours only, which the estimate's closed form rounds up.
    assert timeline.step_s == pytest.approx(step_s(gpt, strategy), rel=0.01)


@pytest.mark.parametrize("sharding", ["zero0", "zero1", "zero2", "zero3", "fsdp"])
@pytest.mark.parametrize("recompute", ["none", "full"])
def test_without_a_pipeline_a_step_is_its_estimate(gpt: CostTable, sharding: str, recompute: str) -> None:
    strategy = on_h100(64, 4, tensor=8, sequence_parallel=True, sharding=sharding, recompute=recompute)
    timeline = step_timeline(step_times(gpt, strategy))
    assert timeline.step_s == pytest.approx(step_s(gpt, strategy), rel=1e-9)


def test_the_parts_of_passes_are_those_of_the_estimate(gpt: CostTable) -> None:
    strategy = on_h100(128, 32, tensor=8, sequence_parallel=True, pipeline=4, context=2, recompute="full")
    times, parts = step_times(gpt, strategy), estimate(gpt, strategy).blocks
    assert parts is not None
    for name in ("computation", "recompute", "tensor", "context"):
        assert times.parts_s[name] == pytest.approx(float(np.ravel(parts.parts[name])[0]), rel=1e-9)
    assert sum(times.parts_s.values()) == pytest.approx(float(times.work_s.mean()), rel=1e-9)


def test_sharded_parameters_are_gathered_in_each_pass_and_a_sharded_optimizer_s_once(gpt: CostTable) -> None:
    each = {name: step_times(gpt, on_h100(64, 4, tensor=8, sharding=name)) for name in ("zero0", "zero1", "zero3")}
    assert [float(times.gather_s[0]) > 0 for times in each.values()] == [False, True, False]
    assert ["parameters" in times.forward_parts for times in each.values()] == [False, False, True]


@pytest.mark.parametrize("passes", [1, 5])
@pytest.mark.parametrize("options", [Options(), Options(model="paleo")], ids=["roofline", "paleo"])
def test_a_network_of_layers_takes_what_its_estimate_says(passes: int, options: Options) -> None:
    table = compile_network(load_network("vgg16"))
    strategy = Strategy(load_cluster("p4d.24xlarge"), 32, 16, passes)
    times = step_times(table, strategy, options)
    assert (times.stages, times.micro_batches) == (1, passes)
    assert step_timeline(times).step_s == pytest.approx(step_s(table, strategy, options), rel=1e-9)
    sent = times.reduce_s + times.hidden_reduce_s
    assert sent == pytest.approx(np.ravel(estimate(table, strategy, options).all_reduce_time_s), rel=1e-9)


def test_what_has_no_training_step_of_all_devices_is_refused() -> None:
    table = compile_network(load_network("vgg16"))
    strategy = Strategy(load_cluster("p4d.24xlarge"), 32, 16)
    with pytest.raises(SpecError, match="a timeline is of a training step"):
        step_times(table, strategy, Options(training=False))
    with pytest.raises(SpecError, match="under asynchronous updates each has its own"):
        step_times(table, replace(strategy, collective="one_to_all"), Options(updates="asynchronous"))


def slowest(chunks: np.ndarray[Any, Any], stages: int, first: float, last: float) -> float:
    loads = chunks.reshape(-1, stages).sum(axis=0)
    loads[0] += first
    loads[-1] += last
    return float(loads.max())


def test_blocks_go_where_least_else_is_done() -> None:
    # A projection that takes as long as two and a half blocks; 16 blocks on 4 stages.
    assert chunk_blocks(16, 4, 1, "balanced", 1.0, 0.0, 2.5).tolist() == [4, 5, 5, 2]
    assert chunk_blocks(16, 4, 1, "even", 1.0, 0.0, 2.5).tolist() == [4, 4, 4, 4]
    assert chunk_blocks(16, 4, 2, "balanced", 1.0, 0.0, 0.0).tolist() == [2] * 8


ENDS = st.floats(0.0, 4.0, allow_subnormal=False)


@given(st.integers(2, 4), st.integers(0, 8), ENDS, ENDS)
def test_no_other_place_of_the_blocks_makes_the_slowest_stage_faster(
    stages: int, more: int, first: float, last: float
) -> None:
    blocks = stages + more
    chunks = chunk_blocks(blocks, stages, 1, "balanced", 1.0, first, last)
    assert chunks.sum() == blocks
    # By counting: with at most x in each stage, this many blocks find a place.
    found = slowest(chunks, stages, first, last)
    below = found - 1e-9
    room = [np.floor(below - start) for start in (first, last)] + [np.floor(below)] * (stages - 2)
    assert sum(max(each, 0) for each in room) < blocks or below < max(first, last)


@given(st.integers(2, 4), st.integers(2, 3), st.integers(0, 8), ENDS, ENDS)
def test_interleaved_chunks_are_alike_but_where_the_ends_leave_no_room(
    stages: int, virtual: int, more: int, first: float, last: float
) -> None:
    size = stages * virtual
    blocks = size + more
    chunks, each = chunk_blocks(blocks, stages, virtual, "balanced", 1.0, first, last), -(-blocks // size)
    assert chunks.sum() == blocks
    assert chunks.min() >= 0
    assert chunks.max() <= each
    assert chunks[0] >= each - np.ceil(first)
    assert chunks[-1] >= each - np.ceil(last)
    if each * size - blocks <= np.ceil(last):
        assert (chunks[:-1] == each).all()  # the end with the loss makes room first


@pytest.mark.parametrize(
    ("network", "pipeline", "virtual"),
    [
        ("gpt3_175b", 8, 6),
        ("gpt3_175b", 8, 1),
        ("llama3.1_405b", 16, 8),
        ("llama3.1_405b", 8, 4),
        ("llama3.1_405b", 8, 1),
    ],
)
def test_the_slowest_stage_is_that_of_the_estimate(network: str, pipeline: int, virtual: int) -> None:
    table, passes = compile_network(load_network(network)), 4 * pipeline
    split = {"tensor": 8, "sequence_parallel": True, "pipeline": pipeline, "virtual_stages": virtual}
    strategy = on_h100(8 * pipeline, passes, **split)
    work = step_times(table, strategy).work_s
    bubble = float(np.ravel(estimate(table, strategy).bubble_time_s)[0])
    # Waiting for the slowest stage with every micro-batch, for the first to arrive and the last to leave with one.
    slow, total = work.max(), work.sum()
    assert bubble == pytest.approx(slow - total / pipeline + (total - slow) / passes / virtual, rel=1e-6)
