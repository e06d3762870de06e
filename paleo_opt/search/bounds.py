"""Lower bounds on what the strategies of a row take: the same model over links that cost nothing.

Communication only ever adds to a step, so no strategy of a row is faster than the fastest of its computations, spread
over its devices without loss, with the bubble of its pipeline at the most micro-batches and virtual stages that the
row can have:

    T >= S(B) / (data · b) · x(b) / p · (1 + (p - 1) / (v m)) · stragglers · interruptions

with S(B) samples to the target at the smallest global batch B = data · b, and x(b) seconds of one micro-batch of b
samples through all blocks, nothing computed again that need not be. Money and energy follow from the time as they do in
the estimates. Everything is looked up by device, so that the bounds of a space cost little beside its sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.convergence import job_samples
from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.energy import computing_watts, waiting_watts
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.estimates import MONTH_S, slowdowns_of
from paleo_opt.estimator.memory import OPTIMIZER_STATES
from paleo_opt.estimator.places import make_places
from paleo_opt.estimator.strategy import Integers, Strategies
from paleo_opt.hardware.cluster import Cluster, Level
from paleo_opt.hardware.constant import Constant
from paleo_opt.search.blocks import Block
from paleo_opt.search.layouts import Layouts
from paleo_opt.search.problem import SearchProblem
from paleo_opt.search.transformer_block import TransformerBlock

#: Sums are rounded in another order here than in a sweep.
_ROUNDING = 1.0 - 1e-9
#: How the computation of a micro-batch is shared by the devices of a stage.
_SHARED = ("tensor", "sequence_parallel", "context", "context_method", "expert")
_NO_TIME = {name: Constant(0.0) for name in ("step", "startup", "ramp")}


@dataclass(frozen=True, eq=False)
class RowBounds:
    """The least that any strategy of each row can take; infinite where there is none. Shapes (rows,).

    Attributes:
        time_s: To the target.
        cost_usd: To the target; NaN where the cluster has no price.
        energy_kwh: To the target; NaN where the device's power is not published.
    """

    time_s: Floats
    cost_usd: Floats
    energy_kwh: Floats

    def figure(self, goal: str) -> Floats:
        """Of what is minimized. Shape (rows,)."""
        return {"time": self.time_s, "cost": self.cost_usd, "energy": self.energy_kwh}[goal]


def row_bounds(problem: SearchProblem, blocks: Sequence[Block]) -> list[RowBounds]:
    """The bounds of the rows of each block."""
    alike: dict[tuple[object, ...], list[Block]] = {}
    for block in blocks:
        alike.setdefault((block.alike, block.micro_batch.tobytes()), []).append(block)
    seconds: dict[tuple[object, ...], Floats] = {}
    for key, some in alike.items():
        # Clusters of one device compute alike.
        devices = {(id(block.cluster.device), block.precision): block for block in some}
        computed = _seconds(problem, list(devices.values()), some[0].micro_batch[: _tried(some)])
        seconds |= {(key, *device): row for device, row in zip(devices, computed, strict=True)}
    found = []
    for block in blocks:
        key = ((block.alike, block.micro_batch.tobytes()), id(block.cluster.device), block.precision)
        found.append(_bounds(problem, block, seconds[key]))
    return found


def _tried(blocks: Sequence[Block]) -> int:
    """How many of their micro-batches, from the smallest, any row of some blocks considers."""
    return max(int(np.flatnonzero(_considered(block).any(axis=0))[-1]) + 1 for block in blocks)


def _considered(block: Block) -> NDArray[np.bool_]:
    """Which micro-batches each row considers, as far as their size says. Shape (rows, micro-batches)."""
    within: NDArray[np.bool_] = block.data[:, None] * block.micro_batch <= block.batch_limit
    return within & block.rows.small_enough if isinstance(block, TransformerBlock) else within


def _without_links(cluster: Cluster) -> Cluster:
    """The same devices, as if messages took no time."""
    perfect = [Level(level.name, level.size, np.inf, 0.0, _NO_TIME) for level in cluster.levels]
    return replace(cluster, levels=tuple(perfect))


def _seconds(problem: SearchProblem, blocks: Sequence[Block], micro_batch: Integers) -> Floats:
    """Of all computation of one micro-batch. Shape (blocks, groups of splits, micro-batches)."""
    layouts = blocks[0].layouts
    if layouts is None:
        return _computation(problem, blocks, np.full(1, blocks[0].tensor), np.zeros(1, dtype=np.int64), micro_batch)
    splits = layouts.splits
    # Of each way to share the computation, the first split that computes least again.
    columns = [getattr(splits, name) for name in _SHARED]
    share = np.unique(np.stack(columns), axis=1, return_inverse=True)[1].reshape(-1)
    order = np.lexsort((splits.recompute, share))
    first = order[np.searchsorted(share[order], np.arange(share.max() + 1))]
    of_stage = _computation(problem, blocks, splits.model[first], first, micro_batch)
    every = of_stage * splits.pipeline[first][:, None]
    group = np.repeat(np.arange(layouts.starts.size - 1), np.diff(layouts.starts))
    group, share = np.unique(np.stack([group, share]), axis=1)
    starts = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    least: Floats = np.minimum.reduceat(every[:, share], starts, axis=1)
    return least


def _computation(
    problem: SearchProblem, blocks: Sequence[Block], gpus: Integers, layout: Integers, micro_batch: Integers
) -> Floats:
    """Of one micro-batch on the average stage, over links that cost nothing. Shape (blocks, layouts, micro-batches)."""
    first = blocks[0]
    shape = (len(blocks), layout.size, micro_batch.size)
    place, which, micro = (index.reshape(-1) for index in np.indices(shape))
    strategies = Strategies(
        clusters=tuple(_without_links(block.cluster) for block in blocks),
        precisions=tuple(block.precision for block in blocks),
        split=first.split,
        tensor=first.tensor,
        collectives=first.collectives[:1],
        gpus=gpus[which],
        micro_batch=micro_batch[micro],
        accumulation=np.ones(place.size, dtype=np.int64),
        collective=np.zeros((), dtype=np.int64),
        place=place,
        splits=None if first.layouts is None else first.layouts.splits,
        layout=np.zeros((), dtype=np.int64) if first.layouts is None else layout[which],
    )
    found = estimate(problem.table, strategies, problem.options)
    return np.broadcast_to(found.forward_time_s + found.backward_time_s, place.shape).reshape(shape)


def _pipelines(layouts: Layouts | None) -> tuple[Integers, Integers]:
    """Stages of each group of splits, and the most virtual stages of any of its splits. Shapes (groups,)."""
    if layouts is None:
        return np.ones(1, dtype=np.int64), np.ones(1, dtype=np.int64)
    return layouts.groups.pipeline, np.maximum.reduceat(layouts.splits.virtual_stages, layouts.starts[:-1])


def _bounds(problem: SearchProblem, block: Block, seconds: Floats) -> RowBounds:
    options, operations = problem.options, problem.options.operations
    group, gpus, micro = block.groups, block.gpus, block.micro_batch[: seconds.shape[1]]
    stages, virtual = (column[group][:, None] for column in _pipelines(block.layouts))
    per_pass = block.data[:, None] * micro
    most = np.maximum(block.batch_limit // per_pass, 1)
    each = job_samples(problem.job, per_pass) / (per_pass * stages)
    computing = np.where(_considered(block)[:, : micro.size], each * seconds[group], np.inf)
    busy = computing.min(axis=1, initial=np.inf)
    stepping = (computing * (1.0 + (stages - 1) / (virtual * most))).min(axis=1, initial=np.inf)

    places = make_places((block.cluster,), (block.precision,), options)
    optimizer = options.optimizer or problem.network.usual_optimizer
    checkpoint = 4.0 * problem.network.parameters * (1 + OPTIMIZER_STATES[optimizer])
    place = np.zeros(gpus.shape, dtype=np.int64)
    slowest, longer = slowdowns_of(places, place, gpus.astype(float), checkpoint, operations)
    if options.updates == "asynchronous":
        slowest = np.ones_like(slowest)
    running = stepping * slowest * longer * _ROUNDING
    nodes = -(-gpus // block.cluster.devices_per_node)
    rate = nodes * places.dollars[0] + operations.storage_usd_per_month / MONTH_S
    tdp = places.watts
    installed = nodes * block.cluster.devices_per_node
    joules = waiting_watts(options.power, installed, tdp) * running
    joules = joules + computing_watts(options.power, gpus, tdp) * busy * longer * _ROUNDING
    return RowBounds(running + operations.queue_s, rate * running + operations.egress_usd, joules / 3.6e6)
