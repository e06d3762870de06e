"""Seconds of the gradients of a pipeline's first stage, which ends last: their exchange, gathering and the update."""

from __future__ import annotations

import numpy as np

from paleo_opt.estimator.block_times import BlockTimes
from paleo_opt.estimator.communication import AUTO, all_reduce_time, communication_time
from paleo_opt.estimator.connections import Routes
from paleo_opt.estimator.kernel_table import Floats
from paleo_opt.estimator.roofline import UPDATE_BYTES, update_times
from paleo_opt.estimator.split_identities import ZERO1, ZERO3, distances, offloads
from paleo_opt.estimator.splits import Integers

#: Rows of `gradient_times`, behind one for each collective: an all-reduce of the stage's gradients. A reduce-scatter of
#: gradients, an all-gather of parameters (both block by block where parameters are divided), an all-gather of one
#: block's, the sum of a tied embedding's gradients on the first and the last stage, the optimizer's update.
GRADIENT_ROWS = ("scatter", "gather", "block_gather", "tied", "update")


def gradient_times(times: BlockTimes, key: Integers, value: Floats) -> Floats:
    """An all-reduce by each collective, then `GRADIENT_ROWS`, for each (place · distinct splits + split, GPUs).

    Returns:
        Seconds. Shape (rows, n).
    """
    identities = times.identities
    distinct = identities.gradient_of.size

    def gradients(index: Integers, place: Integers, gpus: Floats) -> Floats:
        return _gradients(times, index, place, gpus)

    return times.once_each(gradients, identities.gradient_of[key % distinct], key // distinct, value)


def _gradients(times: BlockTimes, index: Integers, place: Integers, gpus: Floats) -> Floats:
    places, splits = times.places, times.identities.splits.at(index)
    attained, sending = places.attained, places.sending
    assert attained is not None and sending is not None

    def amount(name: str) -> Floats:
        return times.amounts(name)[index]

    apart = distances(splits, gpus)
    stages = splits.pipeline.astype(float)
    alone = stages == 1
    blocks = times.blocks / stages
    copies = gpus / (splits.tensor * stages)
    expert_copies = np.maximum(copies * splits.tensor / splits.expert, 1.0)
    ends = amount("first_parameters") + np.where(alone, amount("last_parameters"), 0.0)
    block, expert = amount("dense_parameters"), amount("expert_parameters")
    weight, gradient = places.weight_bytes[place], sending.gradient_bytes[place]
    routes = times.routes(place, copies, apart["context"])
    sharding = times.identities.sharding[index]
    by_block = sharding >= ZERO3

    def both(operation: str, route: Routes, per_block: Floats, once: Floats, size: Floats) -> Floats:
        """Of one message, or of one for each block and one for the ends."""
        whole = communication_time(operation, route, (blocks * per_block + once) * size)
        if not by_block.any():
            return whole
        each = communication_time(operation, route, per_block * size)
        rest = communication_time(operation, route, once * size)
        return np.where(by_block, blocks * each + rest, whole)

    reduced = all_reduce_time(times.collectives, routes, (blocks * block + ends) * gradient)
    scatter = both("reduce_scatter", routes, block, ends, gradient)
    gather = both("all_gather", routes, block, ends, weight)
    if (expert > 0).any():
        # Experts that are divided have fewer copies, further apart.
        of_experts = times.routes(place, expert_copies, apart["expert"] * splits.expert)
        none = np.zeros(gpus.size)
        reduced = reduced + all_reduce_time(times.collectives, of_experts, blocks * expert * gradient)
        scatter = scatter + both("reduce_scatter", of_experts, expert, none, gradient)
        gather = gather + both("all_gather", of_experts, expert, none, weight)
    block_gather = communication_time("all_gather", routes, block * weight)
    tied = np.where(alone, 0.0, amount("tied"))
    if tied.any():
        pair = times.routes(place, np.full(gpus.size, 2.0), apart["pipeline"] * np.maximum(stages - 1.0, 1.0))
        tied = communication_time(AUTO, pair, tied * gradient)
    divided = sharding >= ZERO1
    parameters = (blocks * block + ends) / np.where(divided, copies, 1.0)
    parameters = parameters + blocks * expert / np.where(divided, expert_copies, 1.0)
    tensors = amount("tensors").T
    update = attained.step_overhead[place] + update_times(
        parameters,
        blocks * tensors[0] + tensors[1] + alone * tensors[2],
        times.optimizer,
        places.element_bytes[place],
        attained.at(place),
    )
    away, _ = offloads(splits)
    if away.any():
        # Gradients go to the host, which updates, and weights come back (ZeRO-Offload, arXiv:2101.06840).
        there = parameters * (gradient + weight) / sending.host_link[place]
        hosts = parameters * UPDATE_BYTES[times.optimizer] / sending.host_update[place]
        update = np.where(away, attained.step_overhead[place] + there + hosts, update)
    return np.array([*reduced, scatter, gather, block_gather, tied, update])
