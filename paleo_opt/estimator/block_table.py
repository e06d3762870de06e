"""A transformer's share under one split, compiled: kernels of its average block and both ends, and what it keeps.

Blocks of several kinds (with and without experts, of an encoder and a decoder) count by their average: a pipeline's
stages hold mixtures of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from paleo_opt.estimator.block_shares import Share, exchanges, share_of
from paleo_opt.estimator.cost_table import kept_elements, parameter_tensors
from paleo_opt.estimator.kernel_table import Floats, KernelTable, compile_kernels
from paleo_opt.estimator.splits import Split
from paleo_opt.network.graph import Layer
from paleo_opt.network.transformer_sizes import TransformerSizes

#: Groups of layers whose times are needed apart: of the average block attention's own kernels, what is cheap to
#: compute again (normalizations and activations) and the rest; the ends.
GROUPS = ("core", "cheap", "rest", "first", "last")
_CHEAP = frozenset(("LayerNormalization", "RMSNormalization", "Activation", "GatedActivation"))


@dataclass(frozen=True, eq=False)
class BlockTable:
    """One device's share of a transformer. Elements are per sample; those of blocks are of the average one.

    Attributes:
        kernels: Of all distinct layers.
        weights: How often each row of ``kernels`` is in each of `GROUPS`. Shape (5, rows).
        kept: Elements kept for the backward pass with nothing computed again.
        kept_scores: Of them, scores and their masks, which fused attention never keeps.
        kept_attention: Besides the scores, what computing attention again spares: its output.
        kept_cheap: What computing the normalizations and activations again spares.
        kept_products: Outputs of products.
        largest_kept: As ``kept``, of the largest kind of block, scores included.
        boundary: Elements that enter a block on one device: what is kept under full recomputation.
        first_kept: Of the layers before the blocks.
        last_kept: Of those behind.
        logits: Elements of the largest layer behind the blocks.
        dense_parameters: Of a block, without divided experts.
        expert_parameters: Of a block's experts that are divided over devices.
        first_parameters: Before the blocks.
        last_parameters: Behind the blocks; with tied embeddings those of a copy of the embedding are in ``tied``.
        tied: Parameters that the last stage holds a copy of.
        tensors: Parameter tensors of a block, of the first and of the last layers. Shape (3,).
        tensor_exchanges: Sums over tensor-parallel devices in one pass of a block.
        exchanged: Elements of one such sum.
        heads: That attend on one device.
        kv: Elements of keys and values of the device's positions.
        queries: Elements of queries and of outputs of attention.
        expert_exchanges: Exchanges of tokens in one pass of a block: two where it has experts.
        dispatched: Elements that a device sends in one of them.
    """

    kernels: KernelTable
    weights: Floats
    kept: float
    kept_scores: float
    kept_attention: float
    kept_cheap: float
    kept_products: float
    largest_kept: float
    boundary: float
    first_kept: float
    last_kept: float
    logits: float
    dense_parameters: float
    expert_parameters: float
    first_parameters: float
    last_parameters: float
    tied: float
    tensors: Floats
    tensor_exchanges: float
    exchanged: float
    heads: float
    kv: float
    queries: float
    expert_exchanges: float
    dispatched: float

    @cached_property
    def alone(self) -> dict[str, Floats]:
        """Every amount as that of one split. Shapes (1,), and (1, 3) of ``tensors``."""
        return {one.name: np.array([getattr(self, one.name)]) for one in fields(self) if one.name != "kernels"}


def compile_blocks(sizes: TransformerSizes, split: Split) -> BlockTable:
    """The share of ``sizes`` under ``split``; of pipeline, data and recomputation it holds whatever these are."""
    share = share_of(sizes, split)
    layers: list[tuple[int, Layer]] = []
    groups: list[int] = []
    counts: list[float] = []
    total = sum(kind.count for kind in share.kinds)
    for kind in share.kinds:
        for layer in kind.layers:
            layers.append((len(layers), layer))
            groups.append(GROUPS.index(_group(layer)))
            counts.append(kind.count / total)
    for name, end in (("first", share.first), ("last", share.last)):
        for layer in end:
            layers.append((len(layers), layer))
            groups.append(GROUPS.index(name))
            counts.append(1.0)
    kernels = compile_kernels(layers, 1, share.readers, ("gemm",))
    weights = np.zeros((len(GROUPS), kernels.rows))
    for row, members in enumerate(kernels.members):
        for member in members:
            weights[groups[member], row] += counts[member]
    return BlockTable(
        kernels=kernels, weights=weights, tensors=_tensors(share, total), **_amounts(sizes, split, share, total)
    )


def _amounts(sizes: TransformerSizes, split: Split, share: Share, total: int) -> dict[str, float]:
    """All fields of a `BlockTable` but its kernels."""

    def average(amount: dict[str, float]) -> float:
        return sum(kind.count * amount[kind.name] for kind in share.kinds) / total

    kept = {kind.name: _kept(kind.layers) for kind in share.kinds}
    scores = {kind.name: _scores(kind.layers, sizes.dropout) for kind in share.kinds}
    outputs = {
        kind.name: float(sum(layer.output_size for layer in kind.layers if layer.attention is not None))
        for kind in share.kinds
    }
    divided = split.expert > 1
    experts = {kind.name: float(sum(_p(layer) for layer in kind.layers if layer.experts)) for kind in share.kinds}
    parameters = {kind.name: float(sum(map(_p, kind.layers))) for kind in share.kinds}
    rows = split.context * (split.tensor if split.sequence_parallel else 1)
    length = max(sizes.sequence_length, sizes.decoder_sequence_length) + (1 if sizes.kind == "vision" else 0)
    attention = next(layer.attention for kind in share.kinds for layer in kind.layers if layer.attention is not None)
    own = -(-length // split.context)
    dispatching = own / (split.tensor if divided else 1)
    mixture = sum(kind.count for kind in share.kinds if any(layer.experts for layer in kind.layers)) / total
    first, last = share.first, share.last
    return {
        "kept": average(kept),
        "kept_scores": average(scores),
        "kept_attention": average(outputs),
        "kept_products": average({kind.name: _kept_products(kind.layers) for kind in share.kinds}),
        "kept_cheap": average({kind.name: _kept_cheap(kind.layers) for kind in share.kinds}),
        "largest_kept": max(kept[name] + scores[name] for name in kept),
        "boundary": -(-length // rows) * float(sizes.hidden),
        "first_kept": _kept(first),
        "last_kept": _kept(last),
        "logits": float(max((layer.output_size for layer in last), default=0)),
        "dense_parameters": average(parameters) - (average(experts) if divided else 0.0),
        "expert_parameters": average(experts) if divided else 0.0,
        "first_parameters": float(sum(map(_p, first))),
        "last_parameters": float(sum(map(_p, last))),
        "tied": float(sum(layer.weights for layer in last if layer.tied)),
        "tensor_exchanges": sum(kind.count * exchanges(kind.layers, split) for kind in share.kinds) / total,
        "exchanged": float(own * sizes.hidden),
        "heads": float(attention.heads),
        "kv": float(own * attention.kv_heads * (attention.head_size + attention.value_head_size))
        * (split.context if split.context_method == "all_to_all" else 1),
        "queries": float(own * attention.heads * (attention.head_size + attention.value_head_size))
        * (split.context if split.context_method == "all_to_all" else 1),
        "expert_exchanges": 2.0 * mixture if divided else 0.0,
        "dispatched": float(dispatching * sizes.top_k * sizes.hidden),
    }


def _tensors(share: Share, total: int) -> Floats:
    in_blocks = sum(kind.count * sum(map(parameter_tensors, kind.layers)) for kind in share.kinds) / total
    return np.array([in_blocks, sum(map(parameter_tensors, share.first)), sum(map(parameter_tensors, share.last))])


def _group(layer: Layer) -> str:
    if layer.attention is not None:
        return "core"
    return "cheap" if layer.type in _CHEAP else "rest"


def _kept_cheap(layers: Iterable[Layer]) -> float:
    """Outputs of normalizations and activations, those between an expert's products included."""
    total = 0.0
    for layer in layers:
        if layer.type in _CHEAP:
            total += kept_elements(layer)
        elif layer.experts is not None:
            total += float(layer.output_shape[0] * layer.experts.top_k * layer.experts.ffn)
    return total


def _kept_products(layers: Iterable[Layer]) -> float:
    return float(sum(kept_elements(layer) for layer in layers if layer.type == "InnerProduct"))


def _p(layer: Layer) -> int:
    return layer.parameters


def _kept(layers: Iterable[Layer]) -> float:
    return float(sum(map(kept_elements, layers)))


def _scores(layers: Iterable[Layer], dropout: float) -> float:
    """Scores of all pairs behind the softmax; of a dropout the mask, of one byte, and the output too."""
    each = 2.5 if dropout else 1.0
    sizes = [layer.attention for layer in layers if layer.attention is not None]
    return float(sum(each * one.heads * one.queries * one.keys for one in sizes))
