"""Evaluate every strategy of a finite space, exactly, in tiles that stay in cache.

A row is one choice of the outer variables: a block (cluster, precision, split) and a number of GPUs; of a transformer
also its tensor, pipeline, context and expert parallelism. A row remembers its best strategy, and how many were
evaluated, fit, and kept to the limits. Within a row money grows with time, so its fastest strategy is its cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.estimates import MONTH_S
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.places import Places
from paleo_opt.estimator.strategy import Integers
from paleo_opt.search.blocks import Block, Plans
from paleo_opt.search.rows import Rows as Rows
from paleo_opt.search.rows import join as join
from paleo_opt.search.shares import one_at_a_time, run, shared_out
from paleo_opt.search.tiles import Together, groups_of

#: Ranks what breaks a limit behind all that keeps to it, and still by its figure.
_PENALTY = 1e15


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


def _longest_times(places: Places, place: Integers, gpus: Integers, limits: Limits, options: Options) -> Floats:
    """The time at which each row meets its limit of time or money [s]; none is allowed where the price is unknown.

    Within a row money is a rate times the running time, so a limit of money is one of time.
    """
    longest = np.full(gpus.shape, limits.time_s)
    if np.isfinite(limits.cost_usd):
        operations = options.operations
        nodes = -(-gpus // places.devices_per_node[place])
        rate = nodes * places.dollars[place] + operations.storage_usd_per_month / MONTH_S
        with np.errstate(divide="ignore", invalid="ignore"):
            affordable = (limits.cost_usd - operations.egress_usd) / rate + operations.queue_s
        longest = np.minimum(longest, np.where(np.isnan(affordable), -1.0, affordable))
    return longest


def _solve(
    together: Together, limits: Limits, options: Options, goal: str, progress: Callable[[int], None] | None
) -> Rows:
    """Evaluate every strategy of some blocks."""
    gpus, collectives = together.gpus, together.collectives
    longest = _longest_times(together.memos.places, together.place, gpus, limits, options)
    limited = bool(np.isfinite(longest).any())
    # A device that waits draws less than one that computes: only energy is not in proportion to time.
    by_energy = goal == "energy" or bool(np.isfinite(limits.energy_kwh))

    rows = gpus.size
    best, memory = np.full(rows, np.inf), np.full(rows, np.inf)
    best_plan = np.zeros((3, rows), dtype=np.int64)
    best_collective = np.zeros(rows, dtype=np.int64)
    fitting, feasible = (np.zeros(rows, dtype=np.int64) for _ in range(2))
    every = np.arange(collectives)[:, None]
    left = int(together.sizes.sum())
    for plans in together.tiles(memory):
        row = plans.row
        estimates = together.estimate(plans, every)
        fits = estimates.fits
        # One collective alone leaves its axis out.
        score = np.broadcast_to(estimates.time_to_target_s, (collectives, row.size))

        # The plans of a row are side by side: each row of the tile is one run of them.
        starts = np.concatenate(([0], np.flatnonzero(row[1:] != row[:-1]) + 1))
        present, runs = row[starts], np.diff(np.concatenate((starts, [row.size])))
        fit_counts = np.add.reduceat(fits, starts, dtype=np.int64) * collectives
        fitting[present] += fit_counts
        if by_energy or limited:
            kept = score <= np.where(fits, longest[row], -1.0)
            if by_energy:
                energy = np.broadcast_to(np.nan_to_num(estimates.energy_kwh, nan=np.inf), score.shape)
                kept &= energy <= limits.energy_kwh
                score = energy if goal == "energy" else score
                score = np.where(kept, score, score * _PENALTY)
            feasible[present] += np.add.reduceat(np.count_nonzero(kept, axis=0), starts)
        else:
            feasible[present] += fit_counts
        memory[present] = np.minimum(memory[present], np.minimum.reduceat(estimates.memory_bytes, starts))

        of_plan = np.where(fits, score.min(axis=0), np.inf)
        row_best = np.minimum.reduceat(of_plan, starts)
        improved = row_best < best[present]
        if improved.any():
            hits = np.flatnonzero(of_plan == np.repeat(row_best, runs))
            first = hits[np.searchsorted(hits, starts[improved])]
            where = present[improved]
            best[where] = row_best[improved]
            best_plan[:, where] = np.array(plans.at(first)[1:])
            best_collective[where] = score[:, first].argmin(axis=0)
        if progress is not None:
            progress(row.size * collectives)
            left -= row.size * collectives
    if progress is not None and left:
        progress(left)  # what was left out, as it cannot fit

    time, cost, energy_kwh = np.full(rows, np.inf), np.full(rows, np.inf), np.full(rows, np.inf)
    found = np.flatnonzero(np.isfinite(best))
    if found.size:
        chosen = together.estimate(Plans(found, *best_plan[:, found]), best_collective[found])
        time[found], cost[found], energy_kwh[found] = chosen.time_to_target_s, chosen.cost_usd, chosen.energy_kwh
    layout, micro_batch, accumulation = best_plan
    return Rows(
        block=together.block,
        gpus=gpus,
        group=together.group,
        strategies=together.sizes,
        fitting=fitting,
        feasible=feasible,
        time_s=time,
        cost_usd=cost,
        energy_kwh=energy_kwh,
        layout=layout,
        micro_batch=micro_batch,
        accumulation=accumulation,
        collective=best_collective,
        memory_bytes=memory,
    )


def solve_block(
    table: CostTable, block: Block, index: int, limits: Limits, options: Options, goal: str = "time"
) -> Rows:
    """Evaluate every strategy of one block, as `sweep`; ``index`` is what its rows call it."""
    return _solve(Together.of(table, [block], [index], options), limits, options, goal, None)


def sweep(
    table: CostTable,
    blocks: Sequence[Block],
    limits: Limits,
    options: Options,
    goal: str = "time",
    progress: Callable[[int], None] | None = None,
) -> Rows:
    """Evaluate every strategy of every block, blocks of one layout together.

    Args:
        table: The compiled network, with a training job.
        blocks: What to evaluate, at least one.
        limits: What is feasible. The best of a row is the best feasible, or where there is none the best that fits.
        options: The model's constants.
        goal: ``time``, ``cost`` or ``energy``. Within a row money grows with time, so the first two are one.
        progress: Called after each tile with the strategies it held.

    Returns:
        The rows in the order of the blocks' layouts, then of the blocks.

    Raises:
        SpecError: as `estimate.estimate`.
    """
    progress = one_at_a_time(progress)
    parts = []
    for some in groups_of(blocks):
        shares = shared_out([blocks[index] for index in some], some)
        together = [Together.of(table, *share, options, number) for number, share in enumerate(shares)]
        parts.append(run([partial(_solve, each, limits, options, goal, progress) for each in together]))
    return join(parts)
