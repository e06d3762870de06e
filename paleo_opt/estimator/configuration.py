"""One strategy from what a user says of it: what is left out is chosen, and never silently impossible.

Left out, the micro-batch is the largest power of two that fits a device's memory within the largest global batch with
which the network was trained; under a given global batch, the largest divisor that fits. The collective is the fastest.
A transformer under the roofline model is split block by block: see `block_configuration`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.block_configuration import Batches, configure_blocks, gpus_of
from paleo_opt.estimator.collectives import AUTO, COLLECTIVES
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.options import usual_options
from paleo_opt.estimator.splits import BLOCKS
from paleo_opt.estimator.strategy import Integers, Strategy
from paleo_opt.estimator.synchronization import SERVERS
from paleo_opt.hardware.cluster import Cluster

#: The all-reduces that run on any network; ``in_network`` needs switches that add.
UNAIDED_COLLECTIVES = tuple(name for name in COLLECTIVES if name != "in_network")
#: Those that today's libraries offer: NCCL's ring, tree and two-level all-reduces.
COMMON_COLLECTIVES = ("ring_all_reduce", "double_binary_tree", "hierarchical")
#: Devices that may divide a layer: far beyond any real one, and what keeps a slip from taking all memory.
MOST_TENSOR = 256
_LARGEST_MICRO_BATCH = 2**20
_AT_ONCE = 24


def configure(
    table: CostTable,
    cluster: Cluster,
    *,
    gpus: int | None = None,
    micro_batch: int | None = None,
    global_batch: int | None = None,
    split: str | None = None,
    tensor: int | None = None,
    collective: str | None = None,
    precision: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    options: Options | None = None,
) -> Strategy:
    """The strategy of the given choices, the others made.

    Args:
        table: The compiled network.
        cluster: Where it runs.
        gpus: Devices; one node's.
        micro_batch: Samples per device and pass.
        global_batch: Samples per step; with ``micro_batch`` it sets the accumulation.
        split: ``data``, ``hybrid`` or ``model``; ``data``, or ``model`` where ``tensor`` is above 1.
        tensor: Devices that divide a split layer; all of them under ``hybrid`` and ``model``.
        collective: Of `COLLECTIVES`; the platform's, or where it is bound to none the fastest of `COMMON_COLLECTIVES`.
        precision: The device's best for training.
        fixed: Of a transformer under the roofline model: fields of `Split`, and ``data``.
        options: The model's constants.

    Raises:
        SpecError: choices that do not go together (a global batch that the workers cannot share evenly, more GPUs than
            the cluster has), or a split of blocks where there are none.
    """
    options = options or usual_options(table.network)
    if options.updates == "asynchronous":
        collective = collective or SERVERS
    precision = precision or cluster.device.training_precision
    if in_blocks(table, options):
        fixed = {**({} if tensor is None else {"tensor": tensor}), **(fixed or {})}
        if split == "data":
            fixed = _undivided(fixed)
        elif split not in (None, BLOCKS):
            raise SpecError(
                f"split {split!r} is of networks of layers; {table.network.name} is split by tensor, pipeline, context "
                "and expert"
            )
        job = table.network.job if options.training else None
        batches = Batches(micro_batch, global_batch, None if job is None else job.max_global_batch)
        found = configure_blocks(
            table,
            cluster,
            gpus or gpus_of(cluster, fixed),
            fixed,
            batches,
            collective or COMMON_COLLECTIVES[0],
            precision,
            options,
        )
        return found if collective else replace(found, collective=_fastest_collective(table, found, options))
    if fixed:
        raise SpecError(
            f"{', '.join(fixed)}: {table.network.name} has no blocks to split under the {options.model} model"
        )
    gpus = gpus or cluster.devices_per_node
    if split is None:
        split = "model" if tensor is not None and tensor > 1 else "data"
    if split == "data" and tensor is not None and tensor > 1:
        raise SpecError(f"tensor {tensor} divides no layer under the split data; expected the split hybrid or model")
    tensor = 1 if split == "data" else tensor or gpus
    if tensor > MOST_TENSOR:
        raise SpecError(f"tensor {tensor:,} under the split {split}; expected at most {MOST_TENSOR} devices to a layer")
    draft = Strategy(
        cluster,
        gpus,
        micro_batch or 1,
        split=split,
        tensor=tensor,
        collective=collective or COMMON_COLLECTIVES[0],
        precision=precision,
    )
    if global_batch is not None:
        draft = _with_global_batch(table, draft, global_batch, micro_batch, options)
    elif micro_batch is None:
        draft = replace(draft, micro_batch=largest_micro_batch(table, draft, options))
    return draft if collective else replace(draft, collective=_fastest_collective(table, draft, options))


def _undivided(fixed: Mapping[str, Any]) -> dict[str, Any]:
    """What is fixed where data parallelism alone divides the work. Raises `SpecError` where something else does."""
    alone = dict.fromkeys(("tensor", "context", "expert", "pipeline"), 1)
    for name in alone.keys() & fixed.keys():
        if fixed[name] != 1:
            raise SpecError(f"{name} {fixed[name]:,} divides a transformer, but split 'data' divides nothing")
    return {**alone, **fixed}


def in_blocks(table: CostTable, options: Options) -> bool:
    """Whether a network is split block by block: a transformer under the roofline model, its updates synchronous."""
    synchronous = options.model == "roofline" and options.updates == "synchronous"
    return table.network.transformer is not None and synchronous


def _fitting(table: CostTable, draft: Strategy, micro_batches: Integers, options: Options) -> Integers:
    """Those of ``micro_batches`` with which ``draft`` fits a device's memory."""
    strategies = replace(draft.as_strategies(), micro_batch=micro_batches)
    return micro_batches[np.broadcast_to(estimate(table, strategies, options).fits, micro_batches.shape)]


def largest_micro_batch(table: CostTable, draft: Strategy, options: Options, most: int | None = None) -> int:
    """The largest power of two that fits memory, with at most ``most`` samples a step; 1 where none does.

    ``most`` is by default the largest global batch of the network's training job.
    """
    job = table.network.job
    if most is None and job is not None and options.training:
        most = job.max_global_batch
    most_each = _LARGEST_MICRO_BATCH if most is None else max(1, most // draft.data)
    powers = 2 ** np.arange(min(most_each, _LARGEST_MICRO_BATCH).bit_length())
    fitting = _fitting(table, draft, powers, options)
    return int(fitting.max()) if fitting.size else 1


def _nearest_multiples(value: int, unit: int) -> str:
    below, above = value // unit * unit, -(-value // unit) * unit
    return f"{below:,} and {above:,}" if below else f"{above:,}"


def _with_global_batch(
    table: CostTable, draft: Strategy, global_batch: int, micro_batch: int | None, options: Options
) -> Strategy:
    """``draft`` with ``global_batch`` samples a step, in as few passes as memory allows where that is open."""
    unit = draft.data * (micro_batch or 1)
    if global_batch % unit:
        passes = f"{draft.data:,} workers"
        if micro_batch is not None:
            passes += f" × a micro-batch of {micro_batch:,}"
        raise SpecError(
            f"a global batch of {global_batch:,} is not a whole number of passes of {passes} = {unit:,} samples; "
            f"the nearest that are: {_nearest_multiples(global_batch, unit)}"
        )
    if micro_batch is None:
        each = global_batch // draft.data
        small = [value for value in range(1, math.isqrt(each) + 1) if each % value == 0]
        divisors = np.array(sorted({*small, *(each // value for value in small)}, reverse=True))
        micro_batch = 1
        for start in range(0, divisors.size, _AT_ONCE):
            fitting = _fitting(table, draft, divisors[start : start + _AT_ONCE], options)
            if fitting.size:
                micro_batch = int(fitting.max())
                break
    return replace(draft, micro_batch=micro_batch, accumulation=global_batch // (draft.data * micro_batch))


def _fastest_collective(table: CostTable, draft: Strategy, options: Options) -> str:
    names = offered_collectives(draft, options)
    strategies = replace(draft.as_strategies(), collectives=names, collective=np.arange(len(names)))
    times = estimate(table, strategies, options).step_time_s
    return names[int(np.broadcast_to(times, strategies.shape).argmin())]


def offered_collectives(strategy: Strategy, options: Options) -> tuple[str, ...]:
    """`COMMON_COLLECTIVES`, or the one that the strategy's platform is bound to, such as a parameter server."""
    own = AUTO if options.model == "paleo" else options.platform_of(strategy.cluster.device).collective
    return COMMON_COLLECTIVES if own == AUTO else (own,)
