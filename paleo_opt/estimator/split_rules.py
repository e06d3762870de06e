"""Which splits a transformer can have, as one list of rules: a mask of many splits, or what is wrong with one.

Megatron-LM (arXiv:1909.08053, 2104.04473, 2205.05198) sets most of them: heads, features and positions are shared
evenly, stages hold whole blocks, and interleaved micro-batches come in rounds of as many as there are stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import Problem, SpecError
from paleo_opt.estimator.splits import ASSIGNMENTS, CHOICES, CONTEXT_METHODS, SCHEDULES, SHARDINGS, Split, Splits
from paleo_opt.hardware.device import Device
from paleo_opt.network.graph import Network
from paleo_opt.network.transformer_sizes import TransformerSizes

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

#: Beyond this no value of a split is tried as the nearest valid one.
_MOST_TRIED = 1 << 16
_EVEN, _ALL_TO_ALL, _GPIPE = ASSIGNMENTS.index("even"), CONTEXT_METHODS.index("all_to_all"), SCHEDULES.index("gpipe")
#: The embedding and the projection to the vocabulary may be a part of a pipeline each (Llama 3, arXiv:2407.21783).
_ENDS = 2
_OF_REPLICAS = (SHARDINGS.index("zero2"), SHARDINGS.index("zero3"))


@dataclass(frozen=True, eq=False)
class _Cases:
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


def _blocks(sizes: TransformerSizes) -> int:
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
class _Rule:
    """One rule.

    Attributes:
        field: Of `Split`: what to change where it is broken.
        broken: Where it is, by case.
        text: What is wrong, of one split: `str.format` of its fields, of the sizes and of ``gpus``, ``data``,
            ``accumulation``, ``blocks``, ``model``, ``positions`` and ``features``.
    """

    field: str
    broken: Callable[[_Cases], Booleans]
    text: str


def _ungrouped_experts(cases: _Cases) -> Booleans:
    """Experts are spread over devices of one stage: over all that share its blocks, whatever these divide."""
    if cases.gpus is None:
        return np.zeros(cases.splits.expert.shape, dtype=bool)
    splits = cases.splits
    has_experts = (splits.expert > 1) & (cases.sizes.experts > 0) & (cases.gpus % splits.model == 0)
    broken: Booleans = has_experts & ((cases.gpus // splits.pipeline) % splits.expert != 0)
    return broken


def _out_of_step(cases: _Cases) -> Booleans:
    if cases.accumulation is None:
        return np.zeros(cases.splits.pipeline.shape, dtype=bool)
    broken: Booleans = (cases.splits.virtual_stages > 1) & (cases.accumulation % cases.splits.pipeline != 0)
    return broken


RULES = (
    _Rule("tensor", lambda c: _uneven((c.sizes.heads,), c.splits.tensor), "does not divide the {heads:,} heads"),
    _Rule(
        "tensor",
        lambda c: _ill_grouped(c.sizes.kv_heads, c.splits.tensor),
        "neither divides the {kv_heads:,} heads of keys and values nor is a multiple of them",
    ),
    _Rule(
        "tensor",
        lambda c: _uneven(c.divided, c.splits.tensor),
        "does not divide the {features} inner features of the feed-forward network",
    ),
    _Rule(
        "tensor",
        lambda c: (c.splits.expert == 1) & (c.sizes.experts > 0) & (max(1, c.sizes.expert_ffn) % c.splits.tensor != 0),
        "does not divide the {expert_ffn:,} inner features of an expert; or spread the experts (--expert)",
    ),
    _Rule(
        "sequence_parallel",
        lambda c: (c.splits.sequence_parallel > 0) & (c.splits.tensor == 1),
        "divides positions over tensor-parallel devices; tensor is 1",
    ),
    _Rule(
        "sequence_parallel",
        lambda c: (c.splits.sequence_parallel > 0) & _uneven(c.positions, c.splits.tensor * c.splits.context),
        "cannot share {positions} positions evenly by tensor {tensor:,} × context {context:,}",
    ),
    _Rule("context", lambda c: _uneven(c.positions, c.splits.context), "does not divide {positions} positions"),
    _Rule(
        "context",
        lambda c: (
            (c.splits.context_method == _ALL_TO_ALL) & (c.sizes.heads % (c.splits.context * c.splits.tensor) != 0)
        ),
        "× tensor {tensor:,} does not divide the {heads:,} heads, which all_to_all exchanges for positions",
    ),
    _Rule(
        "context",
        lambda c: (
            (c.splits.context_method == _ALL_TO_ALL)
            & _ill_grouped(c.sizes.kv_heads, c.splits.context * c.splits.tensor)
        ),
        "× tensor {tensor:,} neither divides the {kv_heads:,} heads of keys and values, which all_to_all exchanges "
        "for positions, nor is a multiple of them",
    ),
    _Rule(
        "pipeline",
        lambda c: (c.splits.pipeline > 1) & (c.sizes.encoder_layers > 0),
        "is of networks of one stack of blocks; this one has an encoder and a decoder",
    ),
    _Rule(
        "pipeline",
        lambda c: c.splits.pipeline > _blocks(c.sizes),
        "is more stages than the {blocks:,} blocks",
    ),
    _Rule(
        "virtual_stages",
        lambda c: (
            (c.splits.pipeline <= _blocks(c.sizes))
            & (c.splits.pipeline * c.splits.virtual_stages > _blocks(c.sizes) + _ENDS)
        ),
        "× pipeline {pipeline:,} is more parts than the {blocks:,} blocks with the ends before and behind them",
    ),
    _Rule(
        "assignment",
        lambda c: (
            (c.splits.assignment == _EVEN)
            & (c.splits.pipeline * c.splits.virtual_stages <= _blocks(c.sizes) + _ENDS)
            & (_blocks(c.sizes) % (c.splits.pipeline * c.splits.virtual_stages) != 0)
        ),
        "cannot share {blocks:,} blocks by pipeline {pipeline:,} × virtual stages {virtual_stages:,}",
    ),
    _Rule(
        "virtual_stages",
        lambda c: (c.splits.virtual_stages > 1) & ((c.splits.pipeline == 1) | (c.splits.schedule == _GPIPE)),
        "are of a pipeline of 2 or more stages under the schedule 1f1b",
    ),
    _Rule(
        "virtual_stages",
        _out_of_step,
        "need micro-batches in rounds of the {pipeline:,} stages; a step has {accumulation:,}",
    ),
    _Rule(
        "expert",
        lambda c: (c.splits.expert > 1) & (c.sizes.experts == 0),
        "divides experts, and the network has none: every block is dense",
    ),
    _Rule(
        "expert",
        lambda c: (c.sizes.experts > 0) & (c.sizes.experts % c.splits.expert != 0),
        "does not divide the {experts:,} experts",
    ),
    _Rule("expert", _ungrouped_experts, "does not divide the {stage:,} GPUs of a stage"),
    _Rule(
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
    cases = _Cases(sizes, splits, None if gpus is None else np.asarray(gpus), accumulation)
    valid: Booleans = np.ones((), dtype=bool)
    for rule in RULES:
        valid = valid & ~rule.broken(cases)
    return valid if cases.gpus is None else valid & (cases.gpus % splits.model == 0)


def check_split(
    network: Network,
    split: Split,
    gpus: int | None = None,
    *,
    accumulation: int | None = None,
    device: Device | None = None,
    precision: str | None = None,
) -> None:
    """Refuse a split that cannot be had, with every reason and the nearest that can.

    Args:
        network: A transformer.
        split: To judge.
        gpus: Devices in all, or None where that is open.
        accumulation: Micro-batches a step, or None where that is open.
        device: That computes in ``precision``, where both are given.
        precision: Of arithmetic.

    Raises:
        SpecError: the network is no transformer, or what is wrong, a problem each.
    """
    sizes = network.transformer
    if sizes is None:
        raise SpecError(f"{network.name} is no transformer: it has no blocks to divide by tensor, pipeline or context")
    cases = _Cases(
        sizes,
        Splits.of([split]),
        None if gpus is None else np.array([gpus]),
        None if accumulation is None else np.array([accumulation]),
    )
    problems = []
    if device is not None and precision is not None and precision not in device.peak:
        problems.append(
            Problem(f"{precision} is not among those of {device.name}: {', '.join(device.peak)}", field="--precision")
        )
    if gpus is not None and gpus % split.model:
        below, above = gpus // split.model * split.model, -(-gpus // split.model) * split.model
        near = f"{below:,} and {above:,}" if below else f"{above:,}"
        text = f"tensor {split.tensor:,} × context {split.context:,} × pipeline {split.pipeline:,} = {split.model:,}"
        problems.append(Problem(f"{text} does not divide {gpus:,} GPUs; the nearest that it does: {near}"))
    words = _words(cases, split)
    broken: dict[str, list[_Rule]] = {}
    for rule in RULES:
        if bool(rule.broken(cases)[0]):
            broken.setdefault(rule.field, []).append(rule)
    for field, rules in broken.items():
        value = getattr(split, field)
        said = "" if isinstance(value, bool) else f" {value:,}" if isinstance(value, int) else f" {value}"
        reasons = ", and ".join(rule.text.format(**words) for rule in rules)
        problems.append(Problem(f"{field.replace('_', ' ')}{said} {reasons}{_nearest(field, rules, cases, split)}"))
    if problems:
        raise SpecError(problems)


def _words(cases: _Cases, split: Split) -> dict[str, Any]:
    """What the texts of `RULES` name."""
    sizes = {name: getattr(cases.sizes, name) for name in ("heads", "kv_heads", "expert_ffn", "experts")}
    return sizes | {
        "tensor": split.tensor,
        "context": split.context,
        "pipeline": split.pipeline,
        "virtual_stages": split.virtual_stages,
        "blocks": _blocks(cases.sizes),
        "positions": " and ".join(f"{length:,}" for length in dict.fromkeys(cases.positions)),
        "features": " and ".join(f"{width:,}" for width in dict.fromkeys(cases.divided)),
        "stage": 0 if cases.gpus is None else int(cases.gpus[0]) // split.pipeline,
        "accumulation": 0 if cases.accumulation is None else int(cases.accumulation[0]),
    }


def _nearest(field: str, broken: Sequence[_Rule], cases: _Cases, split: Split) -> str:
    """``; the nearest valid: 8 and 16``: values of a field that break no rule, or at least none of the broken ones."""
    value, known = getattr(split, field), CHOICES.get(field)
    if isinstance(value, bool):
        return ""
    sizes = cases.sizes
    most = max(sizes.heads, _blocks(sizes), sizes.experts) if cases.gpus is None else int(cases.gpus[0])
    tried = np.arange(len(known)) if known else np.arange(1, min(max(most, value), _MOST_TRIED) + 1)
    others = replace(cases, splits=replace(cases.splits, **{field: tried}))
    fine = ~np.logical_or.reduce([np.broadcast_to(rule.broken(others), tried.shape) for rule in broken])
    valid = fine & valid_splits(sizes, others.splits, cases.gpus, cases.accumulation)
    values = tried[valid if valid.any() else fine]
    if known:
        return f"; expected {' or '.join(known[int(index)] for index in values)}" if values.size else ""
    near = [*values[values < value][-1:], *values[values > value][:1]]
    return f"; the nearest valid: {' and '.join(f'{int(number):,}' for number in near)}" if near else ""
