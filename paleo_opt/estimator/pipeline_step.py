"""What a step of a split transformer waits for: its slowest stage, sends between stages, and gradients.

Pipelines: Narayanan et al., arXiv:2104.04473, section 2.2. Sharded gradients and parameters: Rajbhandari et al.,
arXiv:1910.02054; Zhao et al., arXiv:2304.11277.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from paleo_opt.estimator.block_times import MICRO_ROWS
from paleo_opt.estimator.kernel_table import Floats
from paleo_opt.estimator.places import Places
from paleo_opt.estimator.split_identities import ZERO1, ZERO2, ZERO3, between_stages
from paleo_opt.estimator.splits import ASSIGNMENTS, Integers, Splits
from paleo_opt.estimator.strategy import Strategies

_LEVELS = len(MICRO_ROWS)


def slowest_stage(
    splits: Splits, layout: Integers, p: Floats, v: Floats, blocks: float, block: Floats, first: Floats, last: Floats,
    total: Floats,
) -> Floats:  # fmt: skip
    """Seconds of one micro-batch on the slowest stage.

    Balanced: with x the time of the slowest stage in blocks, e and h those of the ends, ⌊x⌋ (p - 2) + ⌊x - e⌋ + ⌊x - h⌋
    blocks find a place; the least x that places all of them has the fraction of 0, e or h. Interleaved stages have
    parts of as many blocks; where that leaves room, the part with an end has fewer.
    """
    if (p == 1).all():
        return total
    ends = np.maximum(first, last)
    even = blocks / p * block + ends
    balanced = (splits.assignment == ASSIGNMENTS.index("balanced"))[layout]
    if balanced.any():
        e, h = first / block, last / block
        found, interleaved = np.zeros(()), v > 1
        if not interleaved.all():
            best = np.full(p.shape, np.inf)
            for fraction in (0.0, e - np.floor(e), h - np.floor(h)):
                lost = np.floor(fraction - e) + np.floor(fraction - h)
                whole = np.ceil((blocks - lost) / p - 1e-9)
                best = np.minimum(best, np.maximum(whole + fraction, np.maximum(e, h)))
            found = best * block
        if interleaved.any():
            each = np.ceil(blocks / (p * v))
            room = each * p * v - blocks
            at_last = np.minimum(np.minimum(np.ceil(h), each), room)
            at_first = np.minimum(np.minimum(np.ceil(e), each), room - at_last)
            most = each * v + np.maximum(np.maximum(h - at_last, e - at_first), 0.0)
            found = np.where(interleaved, most * block, found)
        even = np.where(balanced, found, even)
    return np.where(p == 1, total, even)


def sends_between(
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


def exposed_gradients(
    sharding: Integers, overlap: Floats, gather_overlap: Floats, contention: Floats, reduced: Floats,
    shape: tuple[int, ...], scatter: Floats, gather: Floats, block_gather: Floats, tied: Floats, m: Floats,
    forward: Floats, backward: Floats,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """Exposed seconds of gradients and of gathered parameters, and all that is sent for both."""
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
    own = np.where(replicated, 0.0, left)
    if (sharding >= ZERO3).any():
        # Both the parameters of the backward pass and its gradients hide behind that one pass.
        both = np.maximum(gather + scatter, 1e-300)
        behind = np.maximum(gather * (1.0 - gather_overlap) + scatter * (1.0 - overlap), both - backward)
        behind = behind + (both - behind) * contention
        divided = sharding >= ZERO3
        own = np.where(divided, m * (left + behind * (gather / both)) + block_gather, own)
        exposed = np.where(like(divided), like(behind * (scatter / both)), exposed)
    total = sent * like(once) + like(np.where(replicated, 0.0, passes * gather) + tied)
    return exposed * like(once) + like(tied), own, total
