"""Speedup and efficiency against the number of workers, for each collective (PALEO).

Weak scaling keeps the batch of each worker; strong scaling keeps the batch of all, each worker taking ⌈batch / workers⌉
as PALEO does. The speedup is in throughput over one worker, so under both it is ``workers`` where nothing is lost.
A transformer whose blocks are split scales by whole groups of the devices that work on the same samples: its speedup is
over one such group, which counts as its devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.configuration import UNAIDED_COLLECTIVES, largest_micro_batch
from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.estimate import Estimates, estimate
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.estimator.prices import NodePrice
from paleo_opt.estimator.splits import BLOCKS, Split, Splits
from paleo_opt.estimator.strategy import Integers, Strategies, Strategy
from paleo_opt.hardware.cluster import Cluster

KINDS = ("weak", "strong")
_MOST_BY_DEFAULT = 128


@dataclass(frozen=True, eq=False)
class Scaling:
    """How a network scales over the data-parallel workers of a cluster. C collectives, W numbers of workers.

    Attributes:
        kind: ``weak`` or ``strong``.
        cluster: Where.
        precision: Of arithmetic and activations.
        collectives: Their names. Length C.
        workers: Devices. Shape (W,).
        nodes: Whole nodes they take. Shape (W,).
        micro_batch: Samples per worker. Shape (W,).
        global_batch: Samples per step, all workers together. Shape (W,).
        compute_time_s: Forward, backward and update of one step [s]. Shape (W,).
        step_time_s: Shape (C, W) [s].
        samples_per_s: Throughput. Shape (C, W).
        speedup: Throughput over that of one worker. Shape (C, W).
        efficiency: Speedup over workers. Shape (C, W).
        time_to_target_s: NaN without a training job [s]. Shape (C, W).
        cost_usd: NaN without a job or price [$]. Shape (C, W).
        memory_bytes: Per device. Shape (W,).
        fits: Whether a device holds it. Shape (W,).
        baseline_fits: Whether one worker would hold the batch that the speedup is relative to.
        price: Of a node, on the terms of the options; None where not known.
        table: The compiled network.
        estimates: Of every collective by one worker (or group) and then by ``workers``. Shape (C, 1 + W).
        blocks: How a transformer's blocks are split; None where layers are replicated.
    """

    kind: str
    cluster: Cluster
    precision: str
    collectives: tuple[str, ...]
    workers: Integers
    nodes: Integers
    micro_batch: Integers
    global_batch: Integers
    compute_time_s: Floats
    step_time_s: Floats
    samples_per_s: Floats
    speedup: Floats
    efficiency: Floats
    time_to_target_s: Floats
    cost_usd: Floats
    memory_bytes: Floats
    fits: NDArray[np.bool_]
    baseline_fits: bool
    price: NodePrice | None
    table: CostTable
    estimates: Estimates
    blocks: Split | None = None


def default_workers(cluster: Cluster, group: int = 1) -> tuple[int, ...]:
    """1, 2, 4, … up to 128 or the size of the cluster; of whole groups at least 16."""
    largest = max(_MOST_BY_DEFAULT, 16 * group)
    most = min(largest, cluster.max_devices or largest) // group
    powers = [2**power for power in range(most.bit_length())]
    return tuple(group * count for count in ((*powers, most) if powers and powers[-1] != most else powers))


def scaling(
    table: CostTable,
    cluster: Cluster,
    workers: Sequence[int] = (),
    *,
    kind: str = "weak",
    micro_batch: int | None = None,
    global_batch: int | None = None,
    collectives: Sequence[str] = UNAIDED_COLLECTIVES,
    precision: str | None = None,
    blocks: Split | None = None,
    options: Options | None = None,
) -> Scaling:
    """Evaluate every collective at every number of workers.

    Args:
        table: The compiled network.
        cluster: Where it runs.
        workers: Numbers of devices; `default_workers`.
        kind: ``weak`` or ``strong``.
        micro_batch: Samples per worker under weak scaling; the largest power of two that fits a device's memory, within
            the job's largest global batch.
        global_batch: Samples of all workers under strong scaling; what one worker can hold, as above.
        collectives: Names.
        precision: The device's best for training.
        blocks: How a transformer's blocks are split, the same at every number of devices: then ``micro_batch`` is given
            under both, a group's batch is four micro-batches a stage under weak scaling (one without a pipeline), and
            the global batch by default the job's largest under strong scaling.
        options: The model's constants.

    Raises:
        SpecError: an unknown kind, a batch of the other kind, more workers than the cluster has, or no whole groups.
    """
    options = options or usual_options(table.network)
    if kind not in KINDS:
        raise SpecError(f"scaling {kind!r}{nearest(kind, KINDS)}")
    if kind == "weak" and global_batch is not None:
        raise SpecError("weak scaling keeps the batch of each worker; expected a micro-batch, not a global batch")
    if kind == "strong" and micro_batch is not None and blocks is None:
        raise SpecError("strong scaling keeps the batch of all workers; expected a global batch, not a micro-batch")
    group = 1 if blocks is None else blocks.model
    chosen = tuple(sorted(set(workers or default_workers(cluster, group))))
    _check_groups(chosen, group, cluster)
    collectives = tuple(dict.fromkeys(collectives))
    precision = precision or cluster.device.training_precision
    most = Strategy(cluster, chosen[-1], 1, precision=precision)  # refuses more devices than there are
    alone = Strategy(cluster, 1, 1, precision=precision)
    gpus = np.array((group, *chosen))
    accumulation = np.ones(1, dtype=np.int64)
    if blocks is not None:
        each, accumulation = _group_batch(table, gpus // group, blocks, kind, micro_batch, global_batch)
        total = gpus // group * each * accumulation
    elif kind == "weak":
        each = micro_batch or largest_micro_batch(table, most, options)
        total = np.array((1, *chosen)) * each
    else:
        total = np.full(len(chosen) + 1, global_batch or largest_micro_batch(table, alone, options))

    # The first column is one worker, or group of them, which the others are compared with.
    strategies = Strategies(
        clusters=(cluster,),
        precisions=(precision,),
        split="data" if blocks is None else BLOCKS,
        tensor=1,
        collectives=collectives,
        gpus=gpus,
        micro_batch=-(-total // gpus) if blocks is None else np.full(gpus.shape, each),
        accumulation=accumulation,
        collective=np.arange(len(collectives))[:, None],
        splits=None if blocks is None else Splits.of([blocks]),
    )
    estimates = estimate(table, strategies, options)
    shape = strategies.shape
    step = np.broadcast_to(estimates.step_time_s, shape)
    throughput = total / step
    speedup = group * throughput / throughput[:, :1]
    time, cost = np.full(shape, np.nan), np.full(shape, np.nan)
    if estimates.samples is not None and options.training:
        # Under strong scaling the last worker's batch may be short; the steps follow from the batch itself.
        padded = estimates.steps
        steps = np.broadcast_to(padded, gpus.shape)[:1] if kind == "strong" else padded
        time = np.broadcast_to(estimates.time_to_target_s * (steps / padded), shape)
        cost = np.broadcast_to(estimates.cost_usd * (steps / padded), shape)
    local = estimates.forward_time_s + estimates.backward_time_s + estimates.update_time_s + estimates.bubble_time_s
    fits = np.broadcast_to(estimates.fits, gpus.shape)
    return Scaling(
        kind=kind,
        cluster=cluster,
        precision=precision,
        collectives=collectives,
        workers=gpus[1:],
        nodes=strategies.nodes[1:],
        micro_batch=strategies.micro_batch[1:],
        global_batch=total[1:],
        compute_time_s=np.broadcast_to(local, gpus.shape)[1:],
        step_time_s=step[:, 1:],
        samples_per_s=throughput[:, 1:],
        speedup=speedup[:, 1:],
        efficiency=speedup[:, 1:] / gpus[1:],
        time_to_target_s=time[:, 1:],
        cost_usd=cost[:, 1:],
        memory_bytes=np.broadcast_to(estimates.memory_bytes, gpus.shape)[1:],
        fits=fits[1:],
        baseline_fits=bool(fits[0]),
        price=options.node_price(cluster),
        table=table,
        estimates=estimates,
        blocks=blocks,
    )


def _check_groups(workers: Sequence[int], group: int, cluster: Cluster) -> None:
    """Refuse numbers of devices that are no whole groups. Raises `SpecError`."""
    odd = next((count for count in workers if count % group), None)
    if odd is not None:
        below, above = odd // group * group, -(-odd // group) * group
        near = f"{below:,} and {above:,}" if below else f"{above:,}"
        raise SpecError(f"{odd:,} workers are no whole groups of {group:,} that work on the same samples; near: {near}")
    if not workers:
        raise SpecError(f"{cluster.name} has {cluster.max_devices:,} GPUs, fewer than the {group:,} of the split")


def _group_batch(
    table: CostTable, groups: Integers, blocks: Split, kind: str, micro_batch: int | None, global_batch: int | None
) -> tuple[int, Integers]:
    """Samples of a micro-batch, and micro-batches a step for each number of groups."""
    each, job = micro_batch or 1, table.network.job
    stages = blocks.pipeline
    passes = np.full(groups.shape, 4 * stages if stages > 1 else 1)
    if kind == "strong":
        whole = global_batch or (job.max_global_batch if job is not None else int(groups[-1]) * each * int(passes[0]))
        passes = -(-whole // (groups * each))
    rounds = stages if blocks.virtual_stages > 1 else 1
    return each, -(-passes // rounds) * rounds
