"""Which splits a transformer can have, as one list of rules and a mask of many splits.

Megatron-LM (arXiv:1909.08053, 2104.04473, 2205.05198) sets most of them: heads, features and positions are shared
evenly, stages hold whole blocks, and interleaved micro-batches come in rounds of as many as there are stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.splits import ASSIGNMENTS, CONTEXT_METHODS, SCHEDULES, SHARDINGS, Splits
from paleo_opt.network.transformer_sizes import TransformerSizes

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

_EVEN, _ALL_TO_ALL, _GPIPE = ASSIGNMENTS.index("even"), CONTEXT_METHODS.index("all_to_all"), SCHEDULES.index("gpipe")
#: The embedding and the projection to the vocabulary may be a part of a pipeline each (Llama 3, arXiv:2407.21783).
_ENDS = 2
_OF_REPLICAS = (SHARDINGS.index("zero2"), SHARDINGS.index("zero3"))


@dataclass(frozen=True, eq=False)
class Cases:
    """What the rules look at; arrays broadcast.

    Attributes:
        sizes: Of the transformer.
        splits: To judge.
        gpus: Devices in all, or None where that is open.
        accumulation: Micro-batches a step, or None where that is open.
    """

    sizes: TransformerSizes
    splits: Splits
    gpus: Integers | None
    accumulation: Integers | None

    @property
    def positions(self) -> tuple[int, ...]:
        """Lengths of the sequences that are divided."""
        lengths = (self.sizes.sequence_length, self.sizes.decoder_sequence_length)
        return tuple(length for length in lengths if length)

    @property
    def divided(self) -> tuple[int, ...]:
        """Inner features that tensor parallelism divides: of dense blocks, and of experts that stay whole on none."""
        sizes = self.sizes
        blocks = range(1, sizes.layers + 1)
        dense = (sizes.ffn,) if sizes.encoder_layers or not all(map(sizes.has_experts, blocks)) else ()
        return (*dense, sizes.shared_experts * sizes.expert_ffn) if sizes.shared_experts else dense


def blocks_of(sizes: TransformerSizes) -> int:
    """Blocks in all."""
    return sizes.layers + sizes.encoder_layers


def _uneven(values: Sequence[int], parts: Integers) -> Booleans:
    """Whether any of ``values`` is not shared evenly by ``parts``."""
    found = np.zeros(np.shape(parts), dtype=bool)
    for value in values:
        found = found | (value % parts != 0)
    return found


def _ill_grouped(kv_heads: int, parts: Integers) -> Booleans:
    """Whether heads of keys and values can neither be shared evenly nor be replicated evenly."""
    broken: Booleans = (kv_heads % parts != 0) & (parts % kv_heads != 0)
    return broken


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        field: Of `Split`: what to change where it is broken.
        broken: Where it is, by case.
        text: What is wrong, of one split: `str.format` of its fields, of the sizes and of ``gpus``, ``data``,
            ``accumulation``, ``blocks``, ``model``, ``positions`` and ``features``.
    """

    field: str
    broken: Callable[[Cases], Booleans]
    text: str


def _ungrouped_experts(cases: Cases) -> Booleans:
    """Experts are spread over devices of one stage: over all that share its blocks, whatever these divide."""
    if cases.gpus is None:
        return np.zeros(cases.splits.expert.shape, dtype=bool)
    splits = cases.splits
    has_experts = (splits.expert > 1) & (cases.sizes.experts > 0) & (cases.gpus % splits.model == 0)
    broken: Booleans = has_experts & ((cases.gpus // splits.pipeline) % splits.expert != 0)
    return broken


def _out_of_step(cases: Cases) -> Booleans:
    if cases.accumulation is None:
        return np.zeros(cases.splits.pipeline.shape, dtype=bool)
    broken: Booleans = (cases.splits.virtual_stages > 1) & (cases.accumulation % cases.splits.pipeline != 0)
    return broken


RULES = (
    Rule("tensor", lambda c: _uneven((c.sizes.heads,), c.splits.tensor), "does not divide the {heads:,} heads"),
    Rule(
        "tensor",
        lambda c: _ill_grouped(c.sizes.kv_heads, c.splits.tensor),
        "neither divides the {kv_heads:,} heads of keys and values nor is a multiple of them",
    ),
    Rule(
        "tensor",
        lambda c: _uneven(c.divided, c.splits.tensor),
        "does not divide the {features} inner features of the feed-forward network",
    ),
    Rule(
        "tensor",
        lambda c: (c.splits.expert == 1) & (c.sizes.experts > 0) & (max(1, c.sizes.expert_ffn) % c.splits.tensor != 0),
        "does not divide the {expert_ffn:,} inner features of an expert; or spread the experts (--expert)",
    ),
    Rule(
        "sequence_parallel",
        lambda c: (c.splits.sequence_parallel > 0) & (c.splits.tensor == 1),
        "divides positions over tensor-parallel devices; tensor is 1",
    ),
    Rule(
        "sequence_parallel",
        lambda c: (c.splits.sequence_parallel > 0) & _uneven(c.positions, c.splits.tensor * c.splits.context),
        "cannot share {positions} positions evenly by tensor {tensor:,} × context {context:,}",
    ),
    Rule("context", lambda c: _uneven(c.positions, c.splits.context), "does not divide {positions} positions"),
    Rule(
        "context",
        lambda c: (
            (c.splits.context_method == _ALL_TO_ALL) & (c.sizes.heads % (c.splits.context * c.splits.tensor) != 0)
        ),
        "× tensor {tensor:,} does not divide the {heads:,} heads, which all_to_all exchanges for positions",
    ),
    Rule(
        "context",
        lambda c: (
            (c.splits.context_method == _ALL_TO_ALL)
            & _ill_grouped(c.sizes.kv_heads, c.splits.context * c.splits.tensor)
        ),
        "× tensor {tensor:,} neither divides the {kv_heads:,} heads of keys and values, which all_to_all exchanges "
        "for positions, nor is a multiple of them",
    ),
    Rule(
        "pipeline",
        lambda c: (c.splits.pipeline > 1) & (c.sizes.encoder_layers > 0),
        "is of networks of one stack of blocks; this one has an encoder and a decoder",
    ),
    Rule(
        "pipeline",
        lambda c: c.splits.pipeline > blocks_of(c.sizes),
        "is more stages than the {blocks:,} blocks",
    ),
    Rule(
        "virtual_stages",
        lambda c: (
            (c.splits.pipeline <= blocks_of(c.sizes))
            & (c.splits.pipeline * c.splits.virtual_stages > blocks_of(c.sizes) + _ENDS)
        ),
        "× pipeline {pipeline:,} is more parts than the {blocks:,} blocks with the ends before and behind them",
    ),
    Rule(
        "assignment",
        lambda c: (
            (c.splits.assignment == _EVEN)
            & (c.splits.pipeline * c.splits.virtual_stages <= blocks_of(c.sizes) + _ENDS)
            & (blocks_of(c.sizes) % (c.splits.pipeline * c.splits.virtual_stages) != 0)
        ),
        "cannot share {blocks:,} blocks by pipeline {pipeline:,} × virtual stages {virtual_stages:,}",
    ),
    Rule(
        "virtual_stages",
        lambda c: (c.splits.virtual_stages > 1) & ((c.splits.pipeline == 1) | (c.splits.schedule == _GPIPE)),
        "are of a pipeline of 2 or more stages under the schedule 1f1b",
    ),
    Rule(
        "virtual_stages",
        _out_of_step,
        "need micro-batches in rounds of the {pipeline:,} stages; a step has {accumulation:,}",
    ),
    Rule(
        "expert",
        lambda c: (c.splits.expert > 1) & (c.sizes.experts == 0),
        "divides experts, and the network has none: every block is dense",
    ),
    Rule(
        "expert",
        lambda c: (c.sizes.experts > 0) & (c.sizes.experts % c.splits.expert != 0),
        "does not divide the {experts:,} experts",
    ),
    Rule("expert", _ungrouped_experts, "does not divide the {stage:,} GPUs of a stage"),
    Rule(
        "sharding",
        lambda c: (c.splits.pipeline > 1) & np.isin(c.splits.sharding, _OF_REPLICAS),
        "divides gradients, which every micro-batch of a pipeline of {pipeline:,} stages would have to gather",
    ),
)  # fmt: skip


def valid_splits(
    sizes: TransformerSizes, splits: Splits, gpus: Integers | int | None = None, accumulation: Integers | None = None
) -> Booleans:
    """Which splits can be had.

    Args:
        sizes: Of the transformer.
        splits: Shape (S,), or any that broadcast.
        gpus: Devices in all, which a split must divide; broadcasts with the splits; None leaves it open.
        accumulation: Micro-batches a step; broadcasts too; None leaves it open.

    Returns:
        Shape of all of these together.
    """
    cases = Cases(sizes, splits, None if gpus is None else np.asarray(gpus), accumulation)
    valid: Booleans = np.ones((), dtype=bool)
    for rule in RULES:
        valid = valid & ~rule.broken(cases)
    return valid if cases.gpus is None else valid & (cases.gpus % splits.model == 0)
