"""Evaluate every strategy of a finite space, exactly, in tiles that stay in cache.

A row is one choice of the outer variables: a block (cluster, precision, split) and a number of GPUs. Within a row the
money and the energy of a strategy are proportional to its time, so its fastest strategy is also its cheapest, and
what a row needs to remember is that one, with how many were evaluated, fit, and kept to the limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.estimate import Memos, Options, estimate
from paleo_opt.estimator.strategy import Integers, Strategy
from paleo_opt.search.blocks import Block

#: Strategies evaluated at once: a few arrays of this size stay in the second-level cache.
TILE = 65_536


@dataclass(frozen=True)
class Limits:
    """What a strategy may take; infinite where there is no budget.

    Attributes:
        time_s: To the target.
        cost_usd: To the target.
        energy_kwh: To the target.
    """

    time_s: float = np.inf
    cost_usd: float = np.inf
    energy_kwh: float = np.inf


@dataclass(frozen=True, eq=False)
class Rows:
    """The best strategy of each row, as a struct of arrays. Shapes (rows,).

    Attributes:
        block: Index of the block.
        gpus: Devices.
        strategies: Evaluated in the row.
        fitting: Of them, how many fit a device's memory.
        feasible: Of them, how many keep to the limits too.
        time_s: Of the fastest that fits; infinite where none does.
        cost_usd: Of that one; NaN where the cluster has no price.
        energy_kwh: Of that one; NaN where the device's power is not published.
        micro_batch: Of that one; 0 where none fits.
        accumulation: Likewise.
        collective: Index into the block's collectives.
        memory_bytes: Least memory of any strategy of the row.
    """

    block: Integers
    gpus: Integers
    strategies: Integers
    fitting: Integers
    feasible: Integers
    time_s: Floats
    cost_usd: Floats
    energy_kwh: Floats
    micro_batch: Integers
    accumulation: Integers
    collective: Integers
    memory_bytes: Floats

    def strategy(self, blocks: Sequence[Block], row: int) -> Strategy:
        """The best strategy of a row that has one."""
        block = blocks[int(self.block[row])]
        return Strategy(
            cluster=block.cluster,
            gpus=int(self.gpus[row]),
            micro_batch=int(self.micro_batch[row]),
            accumulation=int(self.accumulation[row]),
            split=block.split,
            tensor=block.tensor,
            collective=block.collectives[int(self.collective[row])],
            precision=block.precision,
        )


def join(parts: Sequence[Rows]) -> Rows:
    """The rows of several blocks, in their order."""
    return Rows(**{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)})


def _rates(block: Block) -> tuple[Floats, Floats]:
    """Dollars and kWh a second of each row; NaN where the price or the power is not published."""
    price, power = block.cluster.price, block.cluster.device.power
    nodes = -(-block.gpus // block.cluster.devices_per_node)
    dollars = nodes * np.float64(np.nan if price is None else price.on_demand / 3600.0)
    kilowatt_hours = block.gpus * np.float64(np.nan if power is None else power / 3.6e6)
    return dollars, kilowatt_hours


def longest_times(block: Block, limits: Limits) -> Floats:
    """The time at which each row meets its first limit [s]; none is allowed where a limited figure is unknown."""
    dollars, kilowatt_hours = _rates(block)
    longest = np.full(block.gpus.shape, limits.time_s)
    for limit, rate in ((limits.cost_usd, dollars), (limits.energy_kwh, kilowatt_hours)):
        if np.isfinite(limit):
            longest = np.minimum(longest, np.where(np.isnan(rate), -1.0, limit / rate))
    return longest


def solve_block(table: CostTable, block: Block, index: int, limits: Limits, options: Options) -> Rows:
    """Evaluate every strategy of a block.

    Args:
        table: The compiled network, with a training job.
        block: What to evaluate.
        index: Of the block, as noted in the rows.
        limits: For counting what is feasible; the best of a row is found whether or not it keeps to them.
        options: The model's constants.
    """
    rows, collectives = block.gpus.size, len(block.collectives)
    longest = longest_times(block, limits)
    limited = bool(np.isfinite(longest).any())
    capacity = block.cluster.device.memory
    best = np.full(rows, np.inf)
    best_micro, best_accumulation, best_collective = (np.zeros(rows, dtype=np.int64) for _ in range(3))
    counts, fitting, feasible = (np.zeros(rows, dtype=np.int64) for _ in range(3))
    memory = np.full(rows, np.inf)
    memos = Memos()
    width = max(1, TILE // collectives)
    for plan_row, plan_micro, plan_accumulation in block.plans():
        for start in range(0, plan_row.size, width):
            tile = slice(start, start + width)
            row, micro, accumulation = plan_row[tile], plan_micro[tile], plan_accumulation[tile]
            estimates = estimate(table, block.strategies(row, micro, accumulation), options, memos)
            time = estimates.time_to_target_s
            needed = np.broadcast_to(estimates.memory_bytes, row.shape)
            fits = needed <= capacity
            fastest = np.where(fits, time.min(axis=0), np.inf)

            # Plans are sorted by row: each row of the tile is one run of them.
            starts = np.concatenate(([0], np.flatnonzero(row[1:] != row[:-1]) + 1))
            present, lengths = row[starts], np.concatenate((starts[1:], [row.size])) - starts
            counts[present] += lengths * collectives
            fit_counts = np.add.reduceat(fits, starts, dtype=np.int64) * collectives
            fitting[present] += fit_counts
            if limited:
                allowed = np.where(fits, longest[row], -1.0)
                kept = np.add.reduceat(np.count_nonzero(time <= allowed, axis=0), starts)
                feasible[present] += kept
            else:
                feasible[present] += fit_counts
            memory[present] = np.minimum(memory[present], np.minimum.reduceat(needed, starts))

            row_best = np.minimum.reduceat(fastest, starts)
            improved = row_best < best[present]
            if improved.any():
                hits = np.flatnonzero(fastest == np.repeat(row_best, lengths))
                first = hits[np.searchsorted(hits, starts[improved])]
                where = present[improved]
                best[where] = row_best[improved]
                best_micro[where], best_accumulation[where] = micro[first], accumulation[first]
                best_collective[where] = time[:, first].argmin(axis=0)
    dollars, kilowatt_hours = _rates(block)
    with np.errstate(invalid="ignore"):
        return Rows(
            block=np.full(rows, index),
            gpus=block.gpus,
            strategies=counts,
            fitting=fitting,
            feasible=feasible,
            time_s=best,
            cost_usd=dollars * best,
            energy_kwh=kilowatt_hours * best,
            micro_batch=best_micro,
            accumulation=best_accumulation,
            collective=best_collective,
            memory_bytes=memory,
        )


def sweep(table: CostTable, blocks: Sequence[Block], limits: Limits, options: Options) -> Rows:
    """Evaluate every strategy of every block. Raises as `estimate.estimate`; ValueError where there is no block."""
    return join([solve_block(table, block, index, limits, options) for index, block in enumerate(blocks)])
