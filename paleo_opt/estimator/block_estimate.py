r"""A step of a transformer split by tensor, sequence, context, expert, pipeline and data parallelism.

With m micro-batches, p stages of v parts each, x_s seconds of one micro-batch on stage s (forward, backward, computed
again, and what of its communication is exposed) and τ of one send between stages,

    T = m · max_s x_s + (Σ_s x_s - max_s x_s) / v + 2 τ (m v + p - 1) + gradients + gathering + update

The second term is the bubble of 1F1B, GPipe (v = 1) and the interleaved schedule (arXiv:2104.04473, section 2.2),
stages that wait for the slowest included. Gradients hide behind the backward pass of the last micro-batch as far as the
platform lets them; parameters that are sharded are gathered for each pass, behind the computation of the block before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.block_memory import block_memory, kept_by_block
from paleo_opt.estimator.block_table import BlockTable
from paleo_opt.estimator.block_times import GPUS, MICRO_ROWS, BlockTimes
from paleo_opt.estimator.kernel_table import Floats
from paleo_opt.estimator.memo import CodedMemo
from paleo_opt.estimator.memory import Memory
from paleo_opt.estimator.pipeline_step import exposed_gradients, sends_between, slowest_stage
from paleo_opt.estimator.places import Places
from paleo_opt.estimator.split_identities import SplitIdentities, identify, offloads
from paleo_opt.estimator.splits import Integers, Split, Splits
from paleo_opt.estimator.stage_gradients import GRADIENT_ROWS, gradient_times
from paleo_opt.estimator.strategy import Strategies
from paleo_opt.network.transformer_sizes import TransformerSizes

_ROW = {name: index for index, name in enumerate(MICRO_ROWS)}
#: What the seconds of a step are made of (`BlockStep.parts`); they add up to it.
PARTS = (
    "computation", "recompute", "tensor", "context", "expert", "pipeline", "bubble", "gradients", "parameters",
    "offload", "update",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class BlockMemos:
    """What `block_step` keeps between tiles of one sweep, and between questions about one network.

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
        _column: Rows of `MICRO_ROWS` and what was composed of them, by name; gathered when a report asks for them.
    """

    forward_s: Floats
    backward_s: Floats
    update_s: Floats
    bubble_s: Floats
    exposed_s: Floats
    sent_s: Floats
    memory: Memory
    _column: Callable[[str], Floats]

    @cached_property
    def parts(self) -> dict[str, Floats]:
        """Seconds of a step by `PARTS`; they add up to it."""
        column = self._column
        passes = column("micro_batches") / column("pipeline")
        blocks = passes * column("blocks")
        recompute = blocks * column("recompute")
        found = {
            "computation": self.forward_s + self.backward_s - recompute,
            "recompute": recompute,
            "tensor": blocks * column("tensor") + passes * column("ends"),
            "context": blocks * column("context"),
            "expert": blocks * column("expert"),
            "pipeline": column("sends"),
            "bubble": self.bubble_s,
            "gradients": column("gradients"),
            "parameters": column("parameters"),
            "offload": column("offload"),
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
    columns_given = np.broadcast_arrays(
        strategies.place, strategies.layout, strategies.gpus, strategies.micro_batch, strategies.accumulation
    )
    shape = columns_given[0].shape
    place, layout, gpus, micro, accumulation = (column.reshape(-1) for column in columns_given)

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
    slowest = slowest_stage(splits, layout, p, v, blocks, block, first, last, total)
    mean = total / p
    # Waiting for the slowest stage in every micro-batch, and for the first to arrive and the last to leave.
    bubble = m * (slowest - mean) + (total - slowest) / v

    sends, sent_between = sends_between(strategies, splits, layout, place, gpus, columns, rows, places, m, p, v)
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
        gradients, parameters, sent = exposed_gradients(
            identities.sharding[layout], sending.overlap[place] * np.isfinite(sending.bucket_parameters[place]),
            sending.gather_overlap[place], sending.contention[place], reduced, shape,
            scatter, gather, block_gather, tied, m,
            blocks / p * forward[columns], blocks / p * (backward + again)[columns],
        )  # fmt: skip
    else:
        gradients, parameters, sent, update = (np.zeros(()),) * 4
    moved = np.zeros(())
    if training and splits.offload.any():
        away = offloads(splits)
        if np.isnan(sending.host_link[place[(away[0] | away[1])[layout]]]).any():
            raise SpecError("offload needs a device whose link to the host is published (host_link in its file)")
        stage = blocks / p
        each, _ = kept_by_block(times, splits, layout, place, places)
        size = np.maximum(stage - 2.0, 0.0) * each * micro * places.weight_bytes[place]
        there = np.where(away[1][layout], size / sending.host_link[place], 0.0)
        # Out while the forward pass goes on, and in while the backward pass does.
        left = np.maximum(there - stage * forward[columns], 0.0)
        moved = m * (left + np.maximum(there - stage * (backward + again)[columns], 0.0))
    held = block_memory(
        times, splits, layout, place, places, gpus, micro, m, p, v, optimizer=optimizer, training=training,
        reserve=reserve,
    )  # fmt: skip

    def shaped(values: Floats) -> Floats:
        return values if values.ndim == 0 or values.shape == shape else values.reshape(shape)

    given = {
        "micro_batches": m, "pipeline": p, "blocks": np.asarray(blocks), "ends": ends, "sends": sends,
        "gradients": gradients, "parameters": parameters, "offload": moved,
    }  # fmt: skip

    def column(name: str) -> Floats:
        values = given[name] if name in given else row(name)
        return values.reshape(shape) if values.size == columns.size else values

    exposed = shaped(within + sends + moved) + gradients + shaped(parameters)
    communication = shaped(per_stage * blocks * row("sent") + per_stage * ends + sent_between) + sent
    return BlockStep(
        forward_s=shaped(forward_s),
        backward_s=shaped(backward_s),
        update_s=shaped(update),
        bubble_s=shaped(bubble),
        exposed_s=exposed,
        sent_s=communication,
        memory=Memory(**{name: shaped(np.asarray(value)) for name, value in held.items()}),
        _column=column,
    )
