"""The exact front of time, money and energy, from every strategy of a space.

Within a row (a block and a number of GPUs) money grows with time, so the fastest strategy is the cheapest and a sweep
needs to keep that one alone. Energy does not: a device that waits for a link draws less than one that computes. Here
every row keeps all its strategies that no other beats in both time and energy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.strategy import Integers
from paleo_opt.search.blocks import Block
from paleo_opt.search.rows import Rows, join
from paleo_opt.search.shares import one_at_a_time, run, shared_out
from paleo_opt.search.sweep import Limits
from paleo_opt.search.tiles import Together, groups_of

#: Blocks evaluated together at most: what is kept between tiles grows with them.
_TOGETHER = 100
_NONE, _NO_FIGURES = np.zeros(0, dtype=np.int64), np.zeros(0)
NO_ROWS = Rows(
    *(_NONE, _NONE, _NONE, _NONE, _NONE, _NONE),
    *(_NO_FIGURES, _NO_FIGURES, _NO_FIGURES),
    *(_NONE, _NONE, _NONE, _NONE),
    _NO_FIGURES,
)


@dataclass(frozen=True, eq=False)
class _Found:
    """Strategies of one block as columns; shapes (strategies,)."""

    row: Integers
    layout: Integers
    micro_batch: Integers
    accumulation: Integers
    collective: Integers
    time_s: Floats
    cost_usd: Floats
    energy_kwh: Floats
    memory_bytes: Floats

    def where(self, chosen: Integers) -> _Found:
        """Some of them."""
        return _Found(*(column[chosen] for column in vars(self).values()))


def _promising(row: Integers, time: Floats, energy: Floats) -> Integers:
    """Indices of what the fastest of the same row does not beat: most of what is beaten at all, without sorting."""
    starts = np.concatenate(([0], np.flatnonzero(row[1:] != row[:-1]) + 1))
    lengths = np.diff(np.concatenate((starts, [row.size])))
    fastest = time == np.repeat(np.minimum.reduceat(time, starts), lengths)
    least = np.repeat(np.minimum.reduceat(np.where(fastest, energy, np.inf), starts), lengths)
    return np.flatnonzero(fastest | (energy < least))


def unbeaten(row: Integers, time: Floats, energy: Floats) -> Integers:
    """Indices of what no other of the same row beats in time or energy without losing in the other.

    Of points equal in both the first is kept. An energy that is not known counts as the same for all.
    """
    energy = np.where(np.isnan(energy), 0.0, energy)
    order = np.lexsort((energy, time, row))
    # Whole numbers in place of energies, each row below the one before: its running least then starts anew.
    rank = np.unique(energy, return_inverse=True)[1].astype(np.int64)[order]
    key = rank - row[order] * (rank.size + 1)
    least_before = np.minimum.accumulate(np.concatenate(([np.iinfo(np.int64).max], key[:-1])))
    kept: Integers = np.sort(order[key < least_before])
    return kept


def _solve(together: Together, limits: Limits, progress: Callable[[int], None] | None) -> Rows:
    """The fronts of all rows of some blocks that share their split, tensor and collectives."""
    gpus, every = together.gpus, np.arange(together.collectives)[:, None]
    fitting, within = (np.zeros(gpus.size, dtype=np.int64) for _ in range(2))
    left = int(together.sizes.sum())
    parts: list[_Found] = []
    for plans in together.tiles(np.full(gpus.size, np.inf)):
        row = plans.row
        estimates, shape = together.estimate(plans, every), (every.size, row.size)
        figures = (estimates.time_to_target_s, estimates.cost_usd, estimates.energy_kwh, estimates.memory_bytes)
        time, cost, energy, memory = (np.broadcast_to(values, shape) for values in figures)
        fits = np.broadcast_to(estimates.fits, shape)
        feasible = fits & _within(time, cost, energy, limits)
        for count, counted in ((fitting, fits), (within, feasible)):
            count += np.bincount(row, weights=counted.sum(axis=0), minlength=gpus.size).astype(np.int64)
        if progress is not None:
            progress(feasible.size)
            left -= feasible.size
        plan, collective = np.nonzero(feasible.T)
        if plan.size:
            kept = _promising(row[plan], time[collective, plan], energy[collective, plan])
            plan, collective = plan[kept], collective[kept]
            values = [figure[collective, plan] for figure in (time, cost, energy, memory)]
            found = _Found(*plans.at(plan), collective, *values)
            parts.append(found.where(unbeaten(found.row, found.time_s, found.energy_kwh)))
    if progress is not None and left:
        progress(left)  # what was left out, as it cannot fit
    if not parts:
        return NO_ROWS
    found = _Found(*(np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True)))
    found = found.where(unbeaten(found.row, found.time_s, found.energy_kwh))
    row = found.row
    return Rows(
        block=together.block[row],
        gpus=gpus[row],
        group=together.group[row],
        strategies=together.sizes[row],
        fitting=fitting[row],
        feasible=within[row],
        time_s=found.time_s,
        cost_usd=found.cost_usd,
        energy_kwh=found.energy_kwh,
        layout=found.layout,
        micro_batch=found.micro_batch,
        accumulation=found.accumulation,
        collective=found.collective,
        memory_bytes=found.memory_bytes,
    )


def _within(
    time: Floats, cost: Floats, energy: Floats, limits: Limits
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """What keeps to the limits; a figure that is not known keeps to none."""
    kept = time <= limits.time_s
    if np.isfinite(limits.cost_usd):
        kept = kept & (cost <= limits.cost_usd)
    if np.isfinite(limits.energy_kwh):
        kept = kept & (energy <= limits.energy_kwh)
    return kept


def row_fronts(
    table: CostTable,
    blocks: Sequence[Block],
    limits: Limits,
    options: Options,
    progress: Callable[[int], None] | None = None,
) -> Rows:
    """Evaluate every strategy; keep those feasible ones that no other of their block and GPUs beats in time and energy.

    ``progress`` is called after each tile with the strategies it held.

    Returns:
        As of `sweep.sweep`, but feasible strategies alone, and as many of one block and number of GPUs as are on its
        front; each carries the counts of its block and GPUs.
    """
    progress = one_at_a_time(progress)
    parts = []
    for some in groups_of(blocks, _TOGETHER):
        shares = shared_out([blocks[index] for index in some], some)
        together = [Together.of(table, *share, options, number) for number, share in enumerate(shares)]
        parts.append(run([partial(_solve, each, limits, progress) for each in together]))
    return join([NO_ROWS, *parts])


def pareto_front_of_three(first: Floats, second: Floats, third: Floats) -> Integers:
    """The points that no other beats in one of three figures without losing in another. Shapes (points,).

    Returns:
        Indices of the front, ``first`` ascending. Of points that are equal in all three, the first is kept; a point
        with a figure that is not finite is never on the front.
    """
    finite = np.flatnonzero(np.isfinite(first) & np.isfinite(second) & np.isfinite(third))
    order = finite[np.lexsort((third[finite], second[finite], first[finite]))]
    front: list[int] = []
    # The least third figure so far, by the second: seconds ascend, thirds descend.
    seconds: list[float] = []
    thirds: list[float] = []
    for index, b, c in zip(order.tolist(), second[order].tolist(), third[order].tolist(), strict=True):
        place = bisect_right(seconds, b)
        if place and thirds[place - 1] <= c:
            continue
        front.append(index)
        last = place
        while last < len(thirds) and thirds[last] >= c:
            last += 1
        if place and seconds[place - 1] == b:
            place -= 1
        seconds[place:last], thirds[place:last] = [b], [c]
    return np.array(front, dtype=np.int64)
