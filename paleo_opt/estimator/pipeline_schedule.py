"""One training step of a pipeline, operation by operation: what each stage does when, and how long the step takes.

The order of operations is that of Megatron-LM. Stage s of p with v virtual stages each (chunks of the model; chunk c of
stage s is the (c·p + s)-th of the model) and m micro-batches first runs w forward passes, then one forward and one
backward pass in turn, then the backward passes that are left:

    1F1B [1]         w = p - s - 1
    interleaved [1]  w = 2(p - s - 1) + (v - 1)p, in groups of p micro-batches: a group through chunk 0, then chunk 1, …
    GPipe [2]        w = m

For stages alike and sends that take no time, a step's bubble is (p - 1)/(m·v) of its work [1].

References:
    [1] Narayanan et al., arXiv:2104.04473. [2] Huang et al., GPipe, arXiv:1811.06965.
    [3] Korthikanti et al., arXiv:2205.05198.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paleo_opt.errors import SpecError
from paleo_opt.estimator.splits import SCHEDULES
from paleo_opt.estimator.stage_times import StageTimes as StageTimes

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

#: What the events of a step are, in the order of their numbers.
KINDS = ("gather", "forward", "backward", "send_forward", "send_backward", "reduce", "update")
GATHER, FORWARD, BACKWARD, SEND_FORWARD, SEND_BACKWARD, REDUCE, UPDATE = range(len(KINDS))
#: Forward and backward passes at most; more would take minutes to draw and gigabytes to keep.
MOST_PASSES = 4_000_000


@dataclass(frozen=True, eq=False)
class StepTimeline:
    """The E events of one step, by stage; passes in the order in which their stage runs them.

    Attributes:
        times: What was run.
        stage: From 0. Shape (E,).
        kind: Index into `KINDS`. Shape (E,).
        micro_batch: From 0; -1 where the event is of none. Shape (E,).
        chunk: From 0, of those of the stage; -1 where the event is of none. Shape (E,).
        start_s: From the start of the step [s]. Shape (E,).
        duration_s: Seconds. Shape (E,).
        step_s: From the start of the step to the end of the last update [s].
    """

    times: StageTimes
    stage: Integers
    kind: Integers
    micro_batch: Integers
    chunk: Integers
    start_s: Floats
    duration_s: Floats
    step_s: float

    @property
    def end_s(self) -> Floats:
        """When each event ends [s]. Shape (E,)."""
        return self.start_s + self.duration_s

    @cached_property
    def held_s(self) -> Floats:
        """How long each stage does nothing but send. Shape (p,)."""
        sends = (self.kind == SEND_FORWARD) | (self.kind == SEND_BACKWARD)
        took = np.bincount(self.stage[sends], self.duration_s[sends], self.times.stages)
        held: Floats = (took * (1.0 - self.times.sends_overlap)).astype(np.float64)
        return held

    @cached_property
    def bubble_s(self) -> Floats:
        """How long each stage does nothing of its own, and so waits for others. Shape (p,)."""
        times = self.times
        own = times.work_s + self.held_s + times.gather_s + times.reduce_s + times.update_s
        return np.maximum(self.step_s - own, 0.0)


def warm_up_forwards(
    pipeline: ArrayLike, stage: ArrayLike, virtual_stages: ArrayLike, micro_batches: ArrayLike, schedule: ArrayLike
) -> Integers:
    """Forward passes through one chunk before the first backward pass follows one. Arguments broadcast.

    Args:
        pipeline: Stages p. A single one is no pipeline: its micro-batches go forward and back one by one.
        stage: From 0.
        virtual_stages: v.
        micro_batches: m.
        schedule: Names, or indices into `splits.SCHEDULES`.
    """
    p, s, v, m = (np.asarray(each, dtype=np.int64) for each in (pipeline, stage, virtual_stages, micro_batches))
    named = np.asarray(schedule)
    gpipe = named == (SCHEDULES.index("gpipe") if named.dtype.kind in "iu" else "gpipe")
    alternating = np.where(v > 1, 2 * (p - s - 1) + (v - 1) * p, p - s - 1)
    forwards: Integers = np.minimum(np.where(gpipe & (p > 1), m * v, alternating), m * v)
    return forwards


def in_flight_micro_batches(
    pipeline: ArrayLike, stage: ArrayLike, virtual_stages: ArrayLike, micro_batches: ArrayLike, schedule: ArrayLike
) -> Floats:
    """Micro-batches whose activations a stage keeps at most, in equivalents of one through the whole stage.

    p - s for 1F1B, m for GPipe; p(1 + (p - 1)/(p·v)) on the first stage where interleaved [3], if m is as large.

    Args:
        pipeline: As of `warm_up_forwards`; all broadcast.
        stage: From 0; the first keeps most.
        virtual_stages: v.
        micro_batches: m.
        schedule: Names, or indices into `splits.SCHEDULES`.
    """
    chunks = np.asarray(virtual_stages, dtype=np.int64)
    started = warm_up_forwards(pipeline, stage, virtual_stages, micro_batches, schedule) + 1
    equivalents: Floats = np.minimum(started / chunks, micro_batches)
    return equivalents


def step_timeline(times: StageTimes) -> StepTimeline:
    """Run one step: each pass starts when its stage is free and its input is there.

    A send starts when its pass ends, after those before it in its direction, and as far as it does not overlap takes
    the time of its sender; what a stage sends and receives at once, as Megatron-LM does, is so counted once.

    Raises:
        SpecError: more than `MOST_PASSES`.
    """
    p, chunks, m = times.stages, times.stages * times.virtual_stages, times.micro_batches
    passes = chunks * m
    if 2 * passes > MOST_PASSES:
        raise SpecError(
            f"a timeline of {chunks:,} chunks × {m:,} micro-batches has {2 * passes:,} passes; at most {MOST_PASSES:,}"
        )
    orders = [_order(times, stage) for stage in range(p)]
    # Pass (kind, chunk of the model, micro-batch) by number: kind · passes + chunk · m + micro-batch.
    gaps_s = np.full((2, chunks, m), times.send_s if p > 1 else 0.0)
    gaps_s[0, -1] = gaps_s[1, 0] = 0.0
    takes_s, sends_s = np.repeat(np.stack([times.forward_s, times.backward_s]), m), gaps_s.ravel()
    needs = np.concatenate([np.arange(passes) - m, np.arange(passes) + passes + m])
    needs[:m] = -1
    needs[2 * passes - m :] = np.arange(passes - m, passes)
    starts, free, there = _starts(orders, needs, takes_s, sends_s, times)

    order, start = np.concatenate(orders), np.concatenate(starts)
    direction, place = np.divmod(order, passes)
    of_model, micro_batch = np.divmod(place, m)
    stage, chunk = of_model % p, of_model // p
    sent = np.flatnonzero(sends_s[order])
    every, none = np.arange(p), np.full(p, -1)
    # Communication that is hidden ends with the passes that hide it.
    hidden = np.minimum(times.hidden_reduce_s, free - times.gather_s)
    updating = np.full(p, (free + times.reduce_s).max())
    # Each: stage, kind, micro-batch, chunk, start, duration.
    parts = [
        (stage, FORWARD + direction, micro_batch, chunk, start, takes_s[order]),
        (
            stage[sent], SEND_FORWARD + direction[sent], micro_batch[sent], chunk[sent],
            there[order[sent]] - sends_s[order[sent]], sends_s[order[sent]],
        ),
        (every, np.full(p, GATHER), none, none, np.zeros(p), times.gather_s),
        (every, np.full(p, REDUCE), none, none, free - hidden, hidden + times.reduce_s),
        (every, np.full(p, UPDATE), none, none, updating, times.update_s),
    ]  # fmt: skip
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    # What takes no time is no event, passes apart.
    real = (columns[5] > 0) | (columns[1] == FORWARD) | (columns[1] == BACKWARD)
    kept = np.flatnonzero(real)[np.argsort(columns[0][real], kind="stable")]
    step_s = float((updating + times.update_s).max())
    stage, kind, micro_batch, chunk, start, duration = (column[kept] for column in columns)
    return StepTimeline(times, stage, kind, micro_batch, chunk, start, duration, step_s)


def _order(times: StageTimes, stage: int) -> Integers:
    """The passes of a stage by number, in the order in which it runs them. Shape (2·m·v,)."""
    p, v, m = times.stages, times.virtual_stages, times.micro_batches
    total = m * v
    index = np.arange(total)
    warm = int(warm_up_forwards(p, stage, v, m, times.schedule))
    group = p if v > 1 else 1
    micro_batch = index // (group * v) * group + index % group
    chunk = index % (group * v) // group
    order = np.empty(2 * total, dtype=np.int64)
    order[np.where(index < warm, index, 2 * index - warm)] = (chunk * p + stage) * m + micro_batch
    backward = p * total + ((v - 1 - chunk) * p + stage) * m + micro_batch
    order[np.where(index < total - warm, warm + 2 * index + 1, total + index)] = backward
    return order


def _starts(
    orders: list[Integers], needs: Integers, takes_s: Floats, sends_s: Floats, times: StageTimes
) -> tuple[list[Floats], Floats, Floats]:
    """When each pass starts, when each stage has done all of its own, and when what each gives is there [s]."""
    held = 1.0 - times.sends_overlap
    half = takes_s.size // 2
    # Of each pass, not yet known: -1. The last is the input of the model.
    there = [-1.0] * takes_s.size + [0.0]
    rows = [
        (order.tolist(), needs[order].tolist(), takes_s[order].tolist(), sends_s[order].tolist()) for order in orders
    ]
    starts: list[list[float]] = [[] for _ in orders]
    free: list[float] = times.gather_s.tolist()
    lines = [[0.0, 0.0] for _ in orders]
    left = takes_s.size
    while left:
        before = left
        for stage, (passes, needed, takes, sends) in enumerate(rows):
            begun, now, line = starts[stage], free[stage], lines[stage]
            for index in range(len(begun), len(passes)):
                ready = there[needed[index]]
                if ready < 0.0:
                    break
                now = max(now, ready)
                begun.append(now)
                now += takes[index]
                this, send = passes[index], sends[index]
                arrived = now
                if send:
                    direction = this >= half
                    arrived = max(now, line[direction]) + send
                    line[direction] = arrived
                    now += held * send
                there[this] = arrived
                left -= 1
            free[stage] = now
        assert left < before, "the passes of a schedule wait for each other"
    return [np.array(each) for each in starts], np.array(free), np.array(there[:-1])
