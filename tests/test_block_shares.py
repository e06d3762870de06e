"""One device's share of a transformer: its parameters, and what it keeps for the backward pass, against papers.

Activations: Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models, arXiv:2205.05198.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_shipped_transformers import NAMES

from paleo_opt.estimator.block_shares import share_of
from paleo_opt.estimator.block_table import BlockTable, compile_blocks
from paleo_opt.estimator.split_rules import valid_splits
from paleo_opt.estimator.splits import Split, Splits
from paleo_opt.network.load import load_network
from paleo_opt.network.transformer_sizes import TransformerSizes


def sizes_of(name: str, **overrides: int) -> TransformerSizes:
    sizes = load_network(name, {f"transformer.{field}": str(value) for field, value in overrides.items()}).transformer
    assert sizes is not None
    return sizes


def share(sizes: TransformerSizes, **split: Any) -> BlockTable:
    return compile_blocks(sizes, Split(**split))


def parameters(sizes: TransformerSizes, **split: Any) -> float:
    """Of one device, had it all blocks."""
    table = share(sizes, **split)
    blocks = sizes.layers + sizes.encoder_layers
    return blocks * (table.dense_parameters + table.expert_parameters) + table.first_parameters + table.last_parameters


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_one_device_has_all_parameters(name: str) -> None:
    sizes = sizes_of(name)
    # T5's first block alone has the bias of relative positions; here each counts it.
    buckets = sizes.position_buckets * sizes.heads * (sizes.layers + sizes.encoder_layers)
    assert parameters(sizes) == pytest.approx(load_network(name).parameters, rel=1e-12, abs=buckets)


def tensor_splits() -> Iterator[tuple[str, int]]:
    """Every shipped network, over as many devices as can divide it."""
    counts = (2, 4, 8, 16)
    splits = Splits.of([Split(tensor=count) for count in counts])
    for name in NAMES:
        yield from (
            (name, count) for count, valid in zip(counts, valid_splits(sizes_of(name), splits), strict=True) if valid
        )


@pytest.mark.parametrize(("name", "tensor"), list(tensor_splits()))
def test_tensor_parallel_shares_add_up_to_the_network(name: str, tensor: int) -> None:
    sizes = sizes_of(name)
    hidden, blocks = sizes.hidden, sizes.layers + sizes.encoder_layers
    added = tensor * parameters(sizes, tensor=tensor) - parameters(sizes)
    # On every device: normalizations and biases of sums (at most 14 vectors of features a block), routers, positions,
    # what projects latent attention, and heads of keys and values that are fewer than the devices.
    vectors = 14 * hidden * (blocks + 1)
    routers = sizes.experts * (2 * hidden + 1) * blocks  # and biases of experts' sums
    positions = (sizes.max_positions + sizes.token_types + 1) * hidden
    latent = (hidden + 1) * (sizes.q_lora_rank + sizes.kv_lora_rank + sizes.qk_rope_head_size) * blocks
    norms = (2 * sizes.head_size + sizes.q_lora_rank + sizes.kv_lora_rank) * blocks
    heads = max(0, tensor - sizes.kv_heads) * (sizes.head_size + sizes.value_head_size) * (hidden + 1) * blocks
    most = (tensor - 1) * (vectors + routers + positions + latent + norms) + heads
    if sizes.kind == "vision":
        patches = (sizes.image_size // sizes.patch_size) ** 2 + 2
        most += (tensor - 1) * (hidden + 1) * (sizes.patch_size**2 * sizes.channels + patches + sizes.classes)
    if sizes.kind == "encoder":
        most += (tensor - 1) * 3 * (hidden + 1) * hidden  # pooler and the head's own projection
    assert heads <= added <= most + tensor * sizes.vocab


@pytest.mark.parametrize("tensor", [1, 2, 4, 8])
def test_a_tensor_parallel_share_of_a_gpt_by_hand(tensor: int) -> None:
    sizes = sizes_of("gpt3_175b")
    hidden = sizes.hidden
    table = share(sizes, tensor=tensor)
    # 12 h² of weights and the 7 h biases of outputs that are divided; 2 h of outputs that are summed and 4 h of norms.
    assert table.dense_parameters == (12 * hidden**2 + 7 * hidden) / tensor + 6 * hidden
    assert table.first_parameters == sizes.vocab * hidden / tensor + sizes.sequence_length * hidden
    assert table.last_parameters == 2 * hidden
    assert table.tied == sizes.vocab * hidden / tensor


def test_heads_of_keys_that_are_fewer_than_devices_are_on_several() -> None:
    sizes = sizes_of("llama3_70b")  # 64 heads of 128, 8 of keys and values
    queries, pair = sizes.hidden * sizes.hidden, 2 * 128 * sizes.hidden
    each = [share(sizes, tensor=tensor).dense_parameters for tensor in (8, 16)]
    feed_forward, norms = 3 * sizes.hidden * sizes.ffn, 2 * sizes.hidden
    assert each == [(2 * queries + feed_forward) / tensor + pair + norms for tensor in (8, 16)]


@pytest.mark.parametrize("name", [name for name in NAMES if sizes_of(name).experts])
@pytest.mark.parametrize("expert", [2, 4, 8])
def test_experts_are_divided_and_the_rest_is_not(name: str, expert: int) -> None:
    sizes = sizes_of(name)
    whole, table = share(sizes), share(sizes, expert=expert)
    divided = table.expert_parameters * expert
    assert table.dense_parameters + divided == pytest.approx(whole.dense_parameters, rel=1e-12)
    mixtures = sum(sizes.has_experts(block) for block in range(1, sizes.layers + 1))
    weights = (3 if sizes.gated else 2) * sizes.hidden * sizes.expert_ffn * sizes.experts
    assert divided * sizes.layers == pytest.approx(mixtures * weights, rel=2e-3)  # biases are the rest


# -- activations ------------------------------------------------------------------------------------------------------

#: Table 3 of the paper: 22 B, 175 B, 530 B and 1 T; 2,048 positions, dropout 0.1.
SHAPES = {
    "22B": sizes_of("megatron_1t", layers=48, hidden=6144, heads=64, ffn=24576),
    "175B": sizes_of("megatron_1t", layers=96, hidden=12288, heads=96, ffn=49152),
    "530B": sizes_of("megatron_530b"),
    "1T": sizes_of("megatron_1t"),
}


def per_block(sizes: TransformerSizes, recompute: str, **split: Any) -> float:
    """Bytes that a block keeps of a sample in 16 bits, scores in memory."""
    table = share(sizes, **split)
    kept = {
        "none": table.kept + table.kept_scores,
        "selective": table.kept,
        "full": table.boundary,
    }[recompute]
    return 2.0 * kept


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("tensor", [1, 2, 4, 8])
def test_activations_of_a_block_are_those_of_korthikanti(name: str, tensor: int) -> None:
    sizes = SHAPES[name]
    sh, t = float(sizes.sequence_length * sizes.hidden), float(tensor)
    scores = 5.0 * sizes.heads * sizes.sequence_length / sizes.hidden
    # Equations 1 and 2; what recomputing the scores leaves of them (section 5); table 2.
    assert per_block(sizes, "none", tensor=tensor) == pytest.approx(sh * (10 + 24 / t + scores / t), rel=1e-12)
    assert per_block(sizes, "selective", tensor=tensor) == pytest.approx(sh * (10 + 24 / t), rel=1e-12)
    assert per_block(sizes, "full", tensor=tensor) == 2 * sh
    if tensor == 1:
        return
    # Equations 4 and 6: with sequence parallelism.
    split = {"tensor": tensor, "sequence_parallel": True}
    assert per_block(sizes, "none", **split) == pytest.approx(sh / t * (34 + scores), rel=1e-12)
    assert per_block(sizes, "selective", **split) == pytest.approx(34 * sh / t, rel=1e-12)
    assert per_block(sizes, "full", **split) == 2 * sh / t


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("22B", (66.84, 49.42, 16.18)),
        ("175B", (62.04, 56.53, 18.49)),
        ("530B", (58.31, 62.04, 20.27)),
        ("1T", (58.31, 62.04, 20.27)),
    ],
)
def test_activations_relative_to_tensor_parallelism_alone(name: str, published: tuple[float, ...]) -> None:
    # Figure 7: with sequence parallelism, with selective recomputation, with both [%].
    sizes = SHAPES[name]
    usual = per_block(sizes, "none", tensor=8)
    sequence = {"tensor": 8, "sequence_parallel": True}
    found = (
        per_block(sizes, "none", **sequence), per_block(sizes, "selective", tensor=8),
        per_block(sizes, "selective", **sequence),
    )  # fmt: skip
    assert [100 * each / usual for each in found] == pytest.approx(published, abs=1.6)


def test_context_parallel_devices_keep_their_share_of_positions() -> None:
    sizes = sizes_of("llama3.1_405b")
    whole, eighth = share(sizes, tensor=8), share(sizes, tensor=8, context=8)
    for amount in (
        "kept",
        "kept_attention",
        "kept_cheap",
        "boundary",
        "first_kept",
        "last_kept",
        "logits",
        "exchanged",
    ):
        assert getattr(eighth, amount) == pytest.approx(getattr(whole, amount) / 8, rel=1e-12), amount
    assert eighth.dense_parameters == whole.dense_parameters


@pytest.mark.parametrize("name", ["llama3_8b", "bert_large", "gpt_oss_120b"])
@pytest.mark.parametrize("context", [2, 4, 8])
def test_attention_of_a_ring_computes_as_many_pairs_on_every_device(name: str, context: int) -> None:
    sizes = sizes_of(name)

    def pairs(split: Split) -> list[int]:
        kinds = share_of(sizes, split).kinds
        return [layer.attention.computed_pairs for kind in kinds for layer in kind.layers if layer.attention]

    found = [context * each for each in pairs(Split(context=context))]
    assert found == pytest.approx(pairs(Split()), rel=0.01)
