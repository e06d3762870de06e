"""What a split transformer sends, waits for and keeps, against papers and by hand.

Links of round numbers and no latency, so that seconds are bytes over bandwidth.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hand_built import DEVICE, cluster, number

from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.estimate import Estimates, Options, estimate
from paleo_opt.estimator.splits import Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.constant import Constant
from paleo_opt.hardware.platform import CONSTANTS
from paleo_opt.network.load import load_network
from paleo_opt.network.transformer_sizes import TransformerSizes

FAST = replace(DEVICE, peak={"fp32": 1e14, "bf16": 1e15}, memory=1e13, memory_bandwidth=1e13)
INSIDE, BETWEEN = 1e11, 1e10
#: All of a link's bandwidth is attained, on a platform of which nothing was measured.
OPTIONS = Options(platform="pytorch", ppp_comm=1.0)
#: What hides there.
HIDDEN = {name: CONSTANTS[f"{name}_overlap"].prior.value for name in ("tensor", "pipeline", "expert")}
#: What the framework takes for a message between stages.
SEND = CONSTANTS["send"].prior.value


def links(inside: float = INSIDE, between: float = BETWEEN, per_node: int = 8) -> Cluster:
    """Nodes whose links take no time for a message of no bytes."""
    one = cluster((inside, 0.0), (between, 0.0), per_node, FAST)
    free = {"startup": Constant(0.0)}
    return replace(one, levels=tuple(replace(level, constants=free) for level in one.levels))


@cache
def table(name: str = "gpt3_1.3b", **overrides: int) -> CostTable:
    return compile_network(load_network(name, {f"transformer.{field}": str(of) for field, of in overrides.items()}))


def sizes_of(name: str) -> TransformerSizes:
    sizes = table(name).network.transformer
    assert sizes is not None
    return sizes


def estimated(
    gpus: int, passes: int = 8, of: CostTable | None = None, on: Cluster | None = None, **split: Any
) -> Estimates:
    blocks = Split(**split)
    strategy = Strategy(on or links(), gpus, 2, passes, precision="bf16", collective="ring_all_reduce", blocks=blocks)
    return estimate(of or table(), strategy, OPTIONS)


def part(name: str, gpus: int, **rest: Any) -> float:
    return number(estimated(gpus, **rest).parts[name])


def message(name: str = "gpt3_1.3b") -> float:
    """Bytes of the residual stream of one micro-batch of two samples, in 16 bits."""
    sizes = sizes_of(name)
    return 2.0 * 2 * sizes.sequence_length * sizes.hidden


# -- tensor and sequence parallelism ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("recompute", "all_reduces"), [("none", 4), ("selective", 4), ("full", 6)])
@pytest.mark.parametrize("tensor", [2, 4, 8])
@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_a_block_adds_up_two_outputs_in_each_pass(
    recompute: str, all_reduces: int, tensor: int, sequence_parallel: bool
) -> None:
    # Shoeybi et al., arXiv:1909.08053: two all-reduces forward and two backward, and one more pass where all is
    # computed again. Korthikanti et al., arXiv:2205.05198: all-gathers and reduce-scatters send as much.
    split = {"tensor": tensor, "recompute": recompute, "sequence_parallel": sequence_parallel}
    one = 2.0 * (tensor - 1) / tensor * message() / INSIDE
    blocks = sizes_of("gpt3_1.3b").layers * all_reduces * (1.0 - HIDDEN["tensor"])
    ends = 2  # of the embedding forward, of the projection to the vocabulary backward
    assert part("tensor", tensor, **split) == pytest.approx(8 * (blocks + ends) * one, rel=1e-6)


def test_tensor_parallelism_between_nodes_waits_for_their_links() -> None:
    inside, across = part("tensor", 8, tensor=8), part("tensor", 16, tensor=16)
    assert across > inside * INSIDE / BETWEEN / 2


# -- pipelines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "virtual", "schedule"),
    [(2, 1, "1f1b"), (4, 1, "1f1b"), (8, 1, "1f1b"), (4, 3, "1f1b"), (8, 3, "1f1b"), (2, 1, "gpipe"), (8, 1, "gpipe")],
)
def test_the_bubble_is_that_of_equal_stages(stages: int, virtual: int, schedule: str) -> None:
    # Narayanan et al., arXiv:2104.04473, section 2.2: (p - 1) / m, and (p - 1) / (v m) interleaved.
    even = table(vocab=128)  # next to nothing at the ends
    found = estimated(stages, 16, even, pipeline=stages, virtual_stages=virtual, schedule=schedule, assignment="even")
    work = number(found.forward_time_s + found.backward_time_s)
    assert number(found.bubble_time_s) / work == pytest.approx((stages - 1) / (16 * virtual), rel=0.05)


@pytest.mark.parametrize(("tensor", "sequence_parallel"), [(1, False), (8, True)])
@pytest.mark.parametrize("virtual", [1, 2])
def test_each_pass_is_sent_to_the_next_stage(tensor: int, sequence_parallel: bool, virtual: int) -> None:
    stages, passes = 4, 8
    split = {"tensor": tensor, "sequence_parallel": sequence_parallel, "virtual_stages": virtual}
    # Stages of one device each are neighbours inside of a node; those of eight are nodes, which have one connection.
    one = message() / (INSIDE if tensor == 1 else BETWEEN) + SEND
    sends = 2 * passes * virtual * (1.0 - HIDDEN["pipeline"]) + 2 * (stages - 1)
    found = part("pipeline", tensor * stages, passes=passes, pipeline=stages, **split)
    assert found == pytest.approx(sends * one, rel=1e-6)


def test_what_tensor_parallel_devices_all_have_is_sent_in_parts_and_gathered() -> None:
    # Narayanan et al., section 4.1; with sequence parallelism each has its part anyway.
    split = {"tensor": 8, "pipeline": 2}
    gathered = part("pipeline", 16, **split) - part("pipeline", 16, sequence_parallel=True, **split)
    sends = 2 * 8 * (1.0 - HIDDEN["pipeline"]) + 2
    assert gathered == pytest.approx(sends * 7 / 8 * message() / INSIDE, rel=1e-6)


@pytest.mark.parametrize("name", ["gpt3_1.3b", "llama3_8b", "mixtral_8x7b", "deepseekv3", "llama3.1_405b"])
@pytest.mark.parametrize("stages", [2, 4, 8])
def test_balanced_stages_are_never_slower_than_even_ones(name: str, stages: int) -> None:
    split = {"pipeline": stages, "tensor": 8, "sequence_parallel": True}
    steps = {
        assignment: number(estimated(8 * stages, 4 * stages, table(name), assignment=assignment, **split).step_time_s)
        for assignment in ("balanced", "even")
    }
    if sizes_of(name).layers % stages:
        # Even stages are then of no whole number of blocks; only the ends can make them slower.
        assert steps["balanced"] <= steps["even"] * (1 + stages / sizes_of(name).layers)
    else:
        assert steps["balanced"] <= steps["even"] * (1 + 1e-12)


def test_ends_lengthen_the_bubble_of_even_stages() -> None:
    narrow, wide = (estimated(8, 16, table(vocab=vocab), pipeline=8, assignment="even") for vocab in (128, 256_000))
    assert number(wide.bubble_time_s) > 2 * number(narrow.bubble_time_s)


def test_gpipe_takes_as_long_as_1f1b_and_keeps_all_micro_batches() -> None:
    even, names = table(vocab=128), ("1f1b", "gpipe")
    ours = {name: estimated(8, 32, even, pipeline=8, schedule=name, recompute="full") for name in names}
    assert number(ours["gpipe"].step_time_s) == pytest.approx(number(ours["1f1b"].step_time_s), rel=1e-12)
    kept = {name: number(of.memory.activations) for name, of in ours.items()}
    assert kept["gpipe"] == pytest.approx(32 / 8 * kept["1f1b"], rel=0.01)


@pytest.mark.parametrize(("stages", "virtual"), [(4, 1), (8, 1), (4, 2), (8, 3)])
def test_interleaved_stages_keep_more_micro_batches(stages: int, virtual: int) -> None:
    # Korthikanti et al., section 4.2.3: L/p blocks of p micro-batches, and (p - 1) / (p v) as many again interleaved.
    even, sizes = table(vocab=128), sizes_of("gpt3_1.3b")
    found = estimated(stages, 8 * stages, even, pipeline=stages, virtual_stages=virtual, recompute="full")
    ahead = sizes.layers * (1.0 + (stages - 1) / (stages * virtual) * (virtual > 1)) * message()
    ends = number(found.memory.activations) - ahead
    assert 0 <= ends <= 3 * 2 * stages * message()


# -- context parallelism ----------------------------------------------------------------------------------------------


def extra(name: str, slow: float, slower: float, **rest: Any) -> float:
    """Bytes that the difference of a part's seconds over two links stands for."""
    seconds = [part(name, on=links(bandwidth, bandwidth, 16), **rest) for bandwidth in (slow, slower)]
    return (seconds[1] - seconds[0]) / (1.0 / slower - 1.0 / slow)


@pytest.mark.parametrize("name", ["llama3_8b", "gpt3_1.3b"])
@pytest.mark.parametrize("context", [2, 8])
def test_keys_and_values_go_round_the_ring(name: str, context: int) -> None:
    # Liu et al., arXiv:2310.01889: each device passes on keys and values of all others; backward with their gradients.
    sizes, split = sizes_of(name), {"context": context, "of": table(name)}
    around = (context - 1) / context * message(name) * 2 * sizes.kv_heads / sizes.heads
    sent = extra("context", 1e7, 5e6, gpus=context, **split)
    assert sent == pytest.approx(8 * sizes.layers * 3 * around, rel=1e-6)


def test_a_ring_hides_behind_attention_that_takes_longer() -> None:
    # Section 3.2: where attention of a block takes longer than its transfer nothing waits.
    long = compile_network(load_network("llama3_8b", {"transformer.sequence_length": "131072"}))
    seconds = [part("context", 8, of=long, on=links(bandwidth), context=8) for bandwidth in (1e12, 1e10)]
    assert seconds[0] == 0.0
    assert seconds[1] > 0.0


@pytest.mark.parametrize("context", [2, 8])
def test_positions_are_exchanged_for_heads(context: int) -> None:
    # Jacobs et al., arXiv:2309.14509, section 3: queries, keys, values there and outputs back, 4 N h / P in all.
    sizes = sizes_of("gpt3_1.3b")
    one = 4 * message() / context * (context - 1) / context
    found = part("context", context, context=context, context_method="all_to_all")
    assert found == pytest.approx(8 * sizes.layers * 2 * one / INSIDE, rel=1e-6)


# -- experts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mixtral_8x7b", "qwen3_30b_a3b"])
@pytest.mark.parametrize("expert", [2, 8])
def test_tokens_go_to_their_experts_and_back(name: str, expert: int) -> None:
    # Lepikhin et al., GShard, arXiv:2006.16668: two all-to-alls in each pass, of a copy for each expert chosen.
    sizes = sizes_of(name)
    one = sizes.top_k * message(name) * (expert - 1) / expert / INSIDE
    found = part("expert", 8, of=table(name), expert=expert)
    assert found == pytest.approx(8 * sizes.layers * 4 * one * (1.0 - HIDDEN["expert"]), rel=1e-6)


# -- data parallelism -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sharding", "volume"), [("zero0", 2), ("zero1", 2), ("zero2", 2), ("zero3", 3), ("fsdp", 3)])
def test_what_data_parallel_devices_send(sharding: str, volume: int) -> None:
    # Rajbhandari et al., arXiv:1910.02054, section 7: 2 Ψ, and 3 Ψ where parameters are divided too.
    found = estimated(8, 1, sharding=sharding)
    bytes_ = volume * 7 / 8 * 2.0 * table().network.parameters
    assert number(found.communication_time_s) == pytest.approx(bytes_ / INSIDE, rel=1e-6)


def test_parameters_of_a_pipeline_are_gathered_once_a_step() -> None:
    seconds = [number(estimated(16, 8, pipeline=2, sharding=name).communication_time_s) for name in ("zero1", "fsdp")]
    assert seconds[0] == seconds[1]


def test_sharded_gradients_are_added_up_in_each_micro_batch() -> None:
    once, again = (number(estimated(8, passes, sharding="zero3").communication_time_s) for passes in (1, 4))
    assert again == pytest.approx(4 * once, rel=1e-9)


@pytest.mark.parametrize(
    ("sharding", "published"), [("zero0", 120.0), ("zero1", 31.4), ("zero2", 16.6), ("zero3", 1.9)]
)
def test_memory_of_parameters_and_their_state(sharding: str, published: float) -> None:
    # Rajbhandari et al., figure 1: 7.5 B parameters over 64 devices [GB], with Adam in mixed precision.
    big = table("megatron_7.5b")
    memory = estimated(64, 1, big, sharding=sharding).memory
    found = number(memory.parameters + memory.gradients + memory.optimizer)
    sizes = big.network.transformer
    if sharding == "zero3" and sizes is not None:
        # Besides, two blocks are gathered, and the gradients of one are not yet divided.
        found -= (2 * 2 + 2) * (12 * sizes.hidden**2 + 13 * sizes.hidden)
    assert found / 1e9 == pytest.approx(published, rel=0.03)
    parameters = big.network.parameters
    divided = {"zero0": 16.0, "zero1": 4.0 + 12 / 64, "zero2": 2.0 + 14 / 64, "zero3": 16 / 64}[sharding]
    assert found == pytest.approx(divided * parameters, rel=1e-6)
