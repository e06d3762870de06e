r"""Contiguous layers as the stages of a pipeline on devices of different speed, at exactly least time of a step.

With c_s(i, j) what a micro-batch holds stage s up that has the units i to j - 1, and d_s(i, j) what the first of them
takes on its way through, a step of m micro-batches takes

    T = (m - 1) max_s c_s + Σ_s d_s

(1F1B, stages that wait for the slowest; arXiv:2104.04473, section 2.2). For a limit M of the slowest stage the least
sum is a shortest path over the cuts, stage by stage (Narayanan et al., PipeDream, SOSP 2019, section 3.1; Li et al.,
AMP, arXiv:2210.07297, for devices of different kinds). It only falls as M grows, so that halving the range of M and
leaving out what cannot be better, by (m - 1) M at its lower end and the sum at its upper end, finds the least T of all
partitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Partition:
    """Which units each stage has.

    Attributes:
        cuts: Where each stage begins, and the number of units; ascending.
        time_s: T.
        slowest_s: max c.
        sum_s: Σ d.
    """

    cuts: tuple[int, ...]
    time_s: float
    slowest_s: float
    sum_s: float


def least_sum(held: Floats, through: Floats, limit: float) -> tuple[float, tuple[int, ...]]:
    """The least Σ d of partitions whose max c is at most ``limit``, and its cuts; infinite where there is none.

    Args:
        held: c of each stage with units i to j - 1. Shape (stages, units + 1, units + 1); infinite where not allowed.
        through: d, likewise.
        limit: M.
    """
    stages, size, _ = held.shape
    best = np.full(size, np.inf)
    best[0] = 0.0
    chosen = []
    for stage in range(stages):
        reached = best[:, None] + np.where(held[stage] <= limit, through[stage], np.inf)
        before = reached.argmin(axis=0)
        best = reached[before, np.arange(size)]
        chosen.append(before)
    if not np.isfinite(best[-1]):
        return np.inf, ()
    cuts = [size - 1]
    for before in reversed(chosen):
        cuts.append(int(before[cuts[-1]]))
    return float(best[-1]), tuple(reversed(cuts))


def slowest_of(held: Floats, cuts: tuple[int, ...]) -> float:
    """max c of a partition."""
    return max(float(held[stage, cuts[stage], cuts[stage + 1]]) for stage in range(held.shape[0]))


def best_partition(held: Floats, through: Floats, micro_batches: int) -> Partition | None:
    """The partition with the least T; None where memory allows none. Arguments as of `least_sum`."""
    widest, cuts = least_sum(held, through, np.inf)
    if not cuts:
        return None
    often = micro_batches - 1

    def partition(total: float, cuts: tuple[int, ...]) -> Partition:
        slowest = slowest_of(held, cuts)
        return Partition(cuts, often * slowest + total, slowest, total)

    best = partition(widest, cuts)
    if not often:
        return best
    limits = np.unique(held[np.isfinite(held) & (held <= best.slowest_s)])
    known: dict[int, tuple[float, tuple[int, ...]]] = {limits.size - 1: (widest, cuts)}

    def at(index: int) -> tuple[float, tuple[int, ...]]:
        nonlocal best
        if index not in known:
            known[index] = least_sum(held, through, float(limits[index]))
            if known[index][1]:
                found = partition(*known[index])
                if found.time_s < best.time_s:
                    best = found
        return known[index]

    # Ranges of limits, each from just above its first to its last.
    ranges = [(-1, limits.size - 1)]
    while ranges:
        low, high = ranges.pop()
        if high - low <= 1:
            continue
        total, _ = at(high)
        # What is left in between is no better than this.
        if not np.isfinite(total) or often * float(limits[low + 1]) + total >= best.time_s:
            continue
        middle = (low + high) // 2
        at(middle)
        ranges += [(low, middle), (middle, high)]
    return best
