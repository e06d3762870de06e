r"""A step of a transformer split by tensor, sequence, context, expert, pipeline and data parallelism.

With m micro-batches, p stages of v parts each, x_s seconds of one micro-batch on stage s (forward, backward, computed
again, and what of its communication is exposed) and τ of one send between stages,

    T = m · max_s x_s + (Σ_s x_s - max_s x_s) / v + 2 τ (m v + p - 1) + gradients + gathering + update

The second term is the bubble of 1F1B, GPipe (v = 1) and the interleaved schedule (arXiv:2104.04473, section 2.2),
stages that wait for the slowest included. Gradients hide behind the backward pass of the last micro-batch as far as the
platform lets them; parameters that are sharded are gathered for each pass, behind the computation of the block before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from paleo_opt.estimator.block_table import BlockTable
from paleo_opt.estimator.block_times import GPUS, MICRO_ROWS, BlockTimes
from paleo_opt.estimator.kernel_table import Floats
from paleo_opt.estimator.memo import CodedMemo
from paleo_opt.estimator.memory import OPTIMIZER_STATES, Memory
from paleo_opt.estimator.places import Places
from paleo_opt.estimator.split_identities import (
    ZERO1,
    ZERO2,
    ZERO3,
    SplitIdentities,
    between_stages,
    effective_sharding,
    identify,
)
from paleo_opt.estimator.splits import ASSIGNMENTS, RECOMPUTES, SCHEDULES, Integers, Split, Splits
from paleo_opt.estimator.stage_gradients import GRADIENT_ROWS, gradient_times
from paleo_opt.estimator.strategy import Strategies
from paleo_opt.network.transformer_sizes import TransformerSizes

_ROW = {name: index for index, name in enumerate(MICRO_ROWS)}
_LEVELS = len(MICRO_ROWS)
_SELECTIVE, _FULL = RECOMPUTES.index("selective"), RECOMPUTES.index("full")
#: Of an output of the projection to the vocabulary, besides what is kept of it in 16 bits: itself, the logarithm of its
#: softmax and its gradient in 32 bits, as frameworks compute the loss, less what is kept twice.
_LOSS_BYTES = 10.0
#: What the seconds of a step are made of (`BlockStep.parts`); they add up to it.
PARTS = (
    "computation", "recompute", "tensor", "context", "expert", "pipeline", "bubble", "gradients", "parameters",
    "update",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class BlockMemos:
    """What `estimate_blocks` keeps between tiles of one sweep, and between questions about one network.

    Attributes:
        identities: Of the splits of the sweep, with the object they are of.
        micro: Of `BlockTimes.micro_batch`.
        gradients: Of `stage_gradients.gradient_times`.
    """

    splits: Splits
    identities: SplitIdentities
    micro: CodedMemo = field(default_factory=CodedMemo)
    gradients: CodedMemo = field(default_factory=CodedMemo)


def make_block_memos(splits: Splits) -> BlockMemos:
    """Empty ones."""
    return BlockMemos(splits, identify(splits))


@dataclass(frozen=True, eq=False)
class BlockStep:
    """Steps of some strategies, as arrays that broadcast to their shape [s].

    Attributes:
        forward_s: Computation forward of all micro-batches, on the average stage.
        backward_s: Likewise backward, with what is computed again.
        update_s: Of the optimizer.
        bubble_s: Waiting for other stages.
        exposed_s: Communication that lengthens the step.
        sent_s: All communication, hidden or not.
        memory: Of the fullest device.
        seconds: Of `PARTS`; evaluated when first asked for.
    """

    forward_s: Floats
    backward_s: Floats
    update_s: Floats
    bubble_s: Floats
    exposed_s: Floats
    sent_s: Floats
    memory: Memory
    _columns: Mapping[str, Floats]

    @cached_property
    def parts(self) -> dict[str, Floats]:
        """Seconds of a step by `PARTS`; they add up to it."""
        c = self._columns
        blocks = c["micro_batches"] * c["blocks"] / c["pipeline"]
        recompute = blocks * c["recompute"]
        found = {
            "computation": self.forward_s + self.backward_s - recompute,
            "recompute": recompute,
            "tensor": blocks * c["tensor"] + c["micro_batches"] / c["pipeline"] * c["ends"],
            "context": blocks * c["context"],
            "expert": blocks * c["expert"],
            "pipeline": c["sends"],
            "bubble": self.bubble_s,
            "gradients": c["gradients"],
            "parameters": c["parameters"],
            "update": self.update_s,
        }
        shape = np.broadcast_shapes(*(np.shape(value) for value in found.values()))
        return {name: np.broadcast_to(value, shape) for name, value in found.items()}


def block_step(
    sizes: TransformerSizes,
    strategies: Strategies,
    places: Places,
    *,
    optimizer: str,
    training: bool,
    reserve: float,
    tables: dict[Split, BlockTable],
    known: dict[tuple[Any, ...], Floats],
    memos: BlockMemos | None = None,
) -> BlockStep:
    """A step of each of some strategies.

    Args:
        sizes: Of the transformer.
        strategies: With splits.
        places: Of their clusters, under the roofline model.
        optimizer: A key of `OPTIMIZER_STATES`.
        training: False for the forward pass only.
        reserve: Bytes that the platform keeps.
        tables: Compiled shares, added to.
        known: Times of single strategies on the same places, added to.
        memos: Kept for tiles of one sweep.
    """
    splits, sending = strategies.splits, places.sending
    assert splits is not None and sending is not None
    if memos is None or memos.splits is not splits:
        memos = make_block_memos(splits)
    identities = memos.identities
    times = BlockTimes(sizes, places, identities, strategies.collectives, optimizer, training, tables, known)
    count = len(strategies.clusters)
    place, layout, gpus, micro = np.broadcast_arrays(
        strategies.place, strategies.layout, strategies.gpus, strategies.micro_batch
    )
    shape = place.shape
    place, layout, gpus, micro = (column.reshape(-1) for column in (place, layout, gpus, micro))
    accumulation = np.broadcast_to(strategies.accumulation, shape).reshape(-1)

    distinct = identities.micro_of.size
    value = micro
    if identities.by_gpus.any():
        value = micro + np.where(identities.by_gpus[layout], gpus, 0) * GPUS
    columns = memos.micro.columns(
        count * distinct, place * distinct + identities.micro[layout], value, times.micro_batch
    )
    rows = memos.micro.rows
    distinct = identities.gradient_of.size

    def of_gradients(key: Integers, value: Floats) -> Floats:
        return gradient_times(times, key, value)

    of_stage = memos.gradients.columns(
        count * distinct, place * distinct + identities.gradient[layout], gpus, of_gradients
    )
    stage_rows = memos.gradients.rows

    def row(name: str) -> Floats:
        found: Floats = rows[_ROW[name]][columns]
        return found

    m = accumulation.astype(float)
    p, v = splits.pipeline[layout].astype(float), splits.virtual_stages[layout].astype(float)
    blocks = float(times.blocks)
    # Of one block and of each end, all that a micro-batch takes; summed where they are few.
    forward, backward, again = (rows[_ROW[name]] for name in ("forward", "backward", "recompute"))
    talk = rows[_ROW["tensor"]] + rows[_ROW["context"]] + rows[_ROW["expert"]]
    block = (forward + backward + again + talk)[columns]
    first = (rows[_ROW["first_forward"]] + rows[_ROW["first_backward"]] + rows[_ROW["first_tensor"]])[columns]
    last = (rows[_ROW["last_forward"]] + rows[_ROW["last_backward"]] + rows[_ROW["last_tensor"]])[columns]
    total = blocks * block + first + last
    slowest = _slowest_stage(splits, layout, p, v, blocks, block, first, last, total)
    mean = total / p
    # Waiting for the slowest stage in every micro-batch, and for the first to arrive and the last to leave.
    bubble = m * (slowest - mean) + (total - slowest) / v

    sends, sent_between = _sends(strategies, splits, layout, place, gpus, columns, rows, places, m, p, v)
    ends_f = rows[_ROW["first_forward"]] + rows[_ROW["last_forward"]]
    ends_b = rows[_ROW["first_backward"]] + rows[_ROW["last_backward"]]
    per_stage = m / p
    forward_s = per_stage * (blocks * forward + ends_f)[columns]
    backward_s = per_stage * (blocks * (backward + again) + ends_b)[columns]
    ends = (rows[_ROW["first_tensor"]] + rows[_ROW["last_tensor"]])[columns]
    within = per_stage * (blocks * talk[columns] + ends)

    collectives = len(strategies.collectives)
    if training:
        chosen = strategies.collective
        if chosen.size == 1:
            reduced = stage_rows[int(chosen.reshape(-1)[0])][of_stage].reshape(shape)
        else:
            reduced = stage_rows[:collectives][chosen, of_stage.reshape(shape)]
        scatter, gather, block_gather, tied, update = (
            stage_rows[collectives + index][of_stage] for index in range(len(GRADIENT_ROWS))
        )
        gradients, parameters, sent = _gradients(
            splits, layout, sending.overlap[place] * np.isfinite(sending.bucket_parameters[place]),
            sending.gather_overlap[place], sending.contention[place], reduced, shape,
            scatter, gather, block_gather, tied, m,
            blocks / p * forward[columns], blocks / p * (backward + again)[columns],
        )  # fmt: skip
    else:
        gradients, parameters, sent, update = (np.zeros(()),) * 4
    held = _memory(
        times, splits, layout, place, places, gpus, micro, m, p, v, optimizer=optimizer, training=training,
        reserve=reserve,
    )  # fmt: skip

    def shaped(values: Floats) -> Floats:
        return values if values.ndim == 0 or values.shape == shape else values.reshape(shape)

    exposed = shaped(within + sends) + gradients + shaped(parameters)
    communication = shaped(per_stage * blocks * row("sent") + per_stage * ends + sent_between) + sent
    return BlockStep(
        forward_s=shaped(forward_s),
        backward_s=shaped(backward_s),
        update_s=shaped(update),
        bubble_s=shaped(bubble),
        exposed_s=exposed,
        sent_s=communication,
        memory=Memory(**{name: shaped(np.asarray(value)) for name, value in held.items()}),
        _columns=_LazyColumns(
            rows, columns, shape,
            {"micro_batches": m, "pipeline": p, "blocks": np.asarray(blocks), "ends": ends, "sends": sends,
             "gradients": gradients, "parameters": parameters},
        ),
    )  # fmt: skip


class _LazyColumns(Mapping[str, Floats]):
    """Rows gathered only when a report asks for them."""

    def __init__(self, rows: Floats, columns: Integers, shape: tuple[int, ...], given: Mapping[str, Floats]) -> None:
        self._rows, self._columns, self._shape, self._given = rows, columns, shape, given

    def __getitem__(self, name: str) -> Floats:
        found = self._given[name] if name in self._given else self._rows[_ROW[name]][self._columns]
        return found.reshape(self._shape) if found.size == self._columns.size else found

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter((*self._given, *_ROW))

    def __len__(self) -> int:
        return len(self._given) + len(_ROW)


def _slowest_stage(
    splits: Splits, layout: Integers, p: Floats, v: Floats, blocks: float, block: Floats, first: Floats, last: Floats,
    total: Floats,
) -> Floats:  # fmt: skip
    """Seconds of one micro-batch on the slowest stage.

    Balanced: with x the time of the slowest stage in blocks, e and h those of the ends, ⌊x⌋ (p - 2) + ⌊x - e⌋ + ⌊x - h⌋
    blocks find a place; the least x that places all of them has the fraction of 0, e or h. Interleaved stages have
    parts of as many blocks; where that leaves room, the part with an end has fewer.
    """
    ends = np.maximum(first, last)
    even = blocks / p * block + ends
    balanced = (splits.assignment == ASSIGNMENTS.index("balanced"))[layout]
    if balanced.any():
        e, h = first / block, last / block
        best = np.full(p.shape, np.inf)
        for fraction in (0.0, e - np.floor(e), h - np.floor(h)):
            lost = np.floor(fraction - e) + np.floor(fraction - h)
            whole = np.ceil((blocks - lost) / p - 1e-9)
            best = np.minimum(best, np.maximum(whole + fraction, np.maximum(e, h)))
        found = best * block
        interleaved = v > 1
        if interleaved.any():
            each = np.ceil(blocks / (p * v))
            room = each * p * v - blocks
            at_last = np.minimum(np.minimum(np.ceil(h), each), room)
            at_first = np.minimum(np.minimum(np.ceil(e), each), room - at_last)
            most = each * v + np.maximum(np.maximum(h - at_last, e - at_first), 0.0)
            found = np.where(interleaved, most * block, found)
        even = np.where(balanced, found, even)
    return np.where(p == 1, total, even)


def _sends(
    strategies: Strategies, splits: Splits, layout: Integers, place: Integers, gpus: Integers, columns: Integers,
    rows: Floats, places: Places, m: Floats, p: Floats, v: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Exposed, and all, seconds of sends between stages in a step."""
    sending = places.sending
    assert sending is not None
    if not (splits.pipeline > 1).any():
        return np.zeros(()), np.zeros(())
    one = send_time(splits, layout, place, gpus, columns, rows, places) * (p > 1)
    steady, ends = 2.0 * m * v * one, 2.0 * (p - 1.0) * one
    return steady * (1.0 - sending.pipeline_overlap[place]) + ends, steady + ends


def send_time(
    splits: Splits, layout: Integers, place: Integers, gpus: Integers, columns: Integers, rows: Floats, places: Places
) -> Floats:
    """Seconds of one send between neighbouring stages, by the level of the interconnect that lies between them.

    Args:
        splits: S of them.
        layout: Index into ``splits``. Shape (n,).
        place: Index into ``places``. Shape (n,).
        gpus: Devices. Shape (n,).
        columns: Of ``rows``. Shape (n,).
        rows: Of `BlockTimes.micro_batch`.
        places: Of the clusters.
    """
    assert places.sending is not None
    span = between_stages(splits, gpus, layout) * splits.pipeline[layout]
    reach = places.sending.connections.reach
    level = np.zeros(span.shape, dtype=np.int64)
    for outer in range(reach.shape[1] - 1):
        level += span > reach[place, outer]
    found: Floats = rows[_LEVELS + level, columns]
    return found


def _gradients(
    splits: Splits, layout: Integers, overlap: Floats, gather_overlap: Floats, contention: Floats, reduced: Floats,
    shape: tuple[int, ...], scatter: Floats, gather: Floats, block_gather: Floats, tied: Floats, m: Floats,
    forward: Floats, backward: Floats,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """Exposed seconds of gradients and of gathered parameters, and all that is sent for both."""
    sharding = effective_sharding(splits)[layout]
    replicated = sharding < ZERO1
    once = np.where(sharding < ZERO2, 1.0, m)  # gradients that are divided are added up in every micro-batch
    # Replicated gradients are all-reduced, those of a divided optimizer scattered.
    flat = reduced.shape == shape or reduced.size == sharding.size

    def like(values: Any) -> Any:
        return values.reshape(shape) if flat and values.size == sharding.size else values

    sent = np.where(like(replicated), reduced, like(scatter))
    hideable = like(backward)
    exposed = np.maximum(sent * (1.0 - like(overlap)), sent - hideable)
    exposed = exposed + (sent - exposed) * like(contention)
    passes = np.where(sharding >= ZERO3, 2.0 * m, 1.0)
    left = np.maximum(gather * (1.0 - gather_overlap), gather - forward)
    left = left + (gather - left) * contention
    own = np.where(replicated, 0.0, passes * left + np.where(sharding >= ZERO3, block_gather, 0.0))
    total = sent * like(once) + like(np.where(replicated, 0.0, passes * gather) + tied)
    return exposed * like(once) + like(tied), own, total


def _memory(
    times: BlockTimes, splits: Splits, layout: Integers, place: Integers, places: Places, gpus: Integers,
    micro: Integers, m: Floats, p: Floats, v: Floats, *, optimizer: str, training: bool, reserve: float,
) -> dict[str, Floats]:  # fmt: skip
    """Bytes by use on the fullest of the first, the second and the last stage's devices."""
    sending = places.sending
    assert sending is not None
    blocks = float(times.blocks)
    weight, gradient = places.weight_bytes[place], sending.gradient_bytes[place]
    fused = sending.fused_attention[place]
    batch = micro.astype(float)
    # Per split, then gathered: a few columns for all strategies.
    dense, expert, first, last, tied = (
        times.amounts(name)
        for name in ("dense_parameters", "expert_parameters", "first_parameters", "last_parameters", "tied")
    )
    stages = splits.pipeline.astype(float)
    per_stage = np.ceil(blocks / stages)
    last = last + np.where(stages > 1, tied, 0.0)
    ends = np.where(stages > 1, np.maximum(first, last), first + last)
    whole, whole_expert = (per_stage * dense + ends)[layout], (per_stage * expert)[layout]
    copies = gpus / (splits.tensor * splits.pipeline)[layout]
    expert_copies = np.maximum(copies * (splits.tensor / splits.expert)[layout], 1.0)
    sharding = effective_sharding(splits)[layout]

    def shared(least: int) -> Floats:
        divided = sharding >= least
        return whole / np.where(divided, copies, 1.0) + whole_expert / np.where(divided, expert_copies, 1.0)

    one_block = np.where(sharding >= ZERO3, 2.0 * (dense + expert)[layout], 0.0)
    parameters = (shared(ZERO3) + one_block) * weight
    if not training:
        kept = times.amounts("largest_kept")[layout] * batch * weight
        zero = np.zeros(())
        workspace = times.amounts("logits")[layout] * batch * weight
        return {
            "parameters": parameters,
            "gradients": zero,
            "optimizer": zero,
            "activations": kept,
            "workspace": workspace,
            "reserve": np.asarray(reserve),
        }
    gradients = (shared(ZERO2) + np.where(sharding >= ZERO3, one_block / 2.0, 0.0)) * gradient
    # 32-bit gradients are kept beside none of 16 bits; the master copy is the optimizer's.
    states = (OPTIMIZER_STATES[optimizer] + (weight < 4.0)) * 4.0
    state = shared(ZERO1) * states

    recompute = splits.recompute
    kept, scores = times.amounts("kept"), times.amounts("kept_scores")
    cheap = times.amounts("kept_attention") + times.amounts("kept_cheap")
    boundary, largest = times.amounts("boundary"), times.amounts("largest_kept")
    scored = kept + scores
    each_fused = np.where(recompute == _FULL, boundary, np.where(recompute == _SELECTIVE, kept - cheap, kept))
    each_scored = np.where(recompute == _FULL, boundary, np.where(recompute == _SELECTIVE, kept, scored))
    again_fused = np.where(recompute == _FULL, largest - scores, 0.0)
    again_scored = np.where(recompute == _FULL, largest, np.where(recompute == _SELECTIVE, scores, 0.0))
    if fused.all():
        each, again = each_fused[layout], again_fused[layout]
    else:
        each = np.where(fused, each_fused[layout], each_scored[layout])
        again = np.where(fused, again_fused[layout], again_scored[layout])
    again_products = 1.0 - sending.kept_products[place]
    if again_products.any():
        products = np.where(recompute == _SELECTIVE, times.amounts("kept_products"), 0.0)[layout]
        each = each - np.where(fused, again_products * products, 0.0)
    gpipe = (splits.schedule == SCHEDULES.index("gpipe"))[layout]
    # Interleaved: the first stage starts (2 (p - 1) + (v - 1) p + 1) / v micro-batches before its first backward.
    ahead = np.where(v > 1, (2.0 * (p - 1.0) + (v - 1.0) * p + 1.0) / v, p)
    ahead = np.where(gpipe, m, np.minimum(ahead, m))
    behind = np.where(gpipe, m, np.minimum(np.where(v > 1, ((v - 1.0) * p + 1.0) / v, 1.0), m))
    first_kept, last_kept = times.amounts("first_kept")[layout], times.amounts("last_kept")[layout]
    logits = times.amounts("logits")[layout]
    held = per_stage[layout] * each
    inside = held * ahead + first_kept * ahead
    end = held * behind + last_kept
    alone = p == 1
    work_end = logits * _LOSS_BYTES
    at_end = alone | (end * weight + work_end > inside * weight)
    activations = np.where(alone, held + first_kept + last_kept, np.where(at_end, end, inside))
    workspace = again * weight + np.where(at_end, work_end, 0.0)
    found = {
        "parameters": parameters,
        "gradients": gradients,
        "optimizer": state,
        "activations": activations * batch * weight,
        "workspace": workspace * batch,
    }
    used = sum(found.values())
    found["reserve"] = reserve + sending.fragmentation[place] * used
    return found
