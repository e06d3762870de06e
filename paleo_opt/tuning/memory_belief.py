"""What runs teach of memory: by how much the estimate of what varies is off, and where the limit seems to be.

Of a strategy whose parameters, gradients, optimizer state and reserve need F bytes and whose rest (activations,
workspace) is estimated as V, of C bytes of a device, two things may be so:

- F + φ V are needed, with one φ for all: it fits where φ ≤ (C - F) / V, its critical φ. Before any run ln φ is normal
  around 0. A run that ended without memory says that φ is above its critical φ, one that went through that it is not,
  one that reported its peak what φ is.
- Or memory ends elsewhere, for reasons that the estimate has no part in: then the strategies are only ordered by it,
  and before any run the limit is as likely to lie between any two neighbours. This is unlikely until runs that no φ
  explains have been seen.

Single runs may end for other reasons still (another process, a knob), so each is believed but for a small share.
Whatever is believed, nothing is tried again with the knobs of a run that ended without memory that needs as much or
more, unless a run that needs as much as that one has gone through since.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.cost_table import Floats

#: Deviation of ln φ before any run: an estimate of activations may be off by a third either way.
_SPREAD = 0.3
#: Share of runs whose end has other reasons than φ.
_OTHERWISE = 0.02
#: That memory ends elsewhere, before any run.
_ELSEWHERE = 0.05
#: Deviation of ln φ of a reported peak: allocators round, and keep what is free.
_PEAK = 0.1
#: And share of them that tell something else (another device, what others use).
_NO_PEAK = 0.001
#: A strategy that fits with less than this probability is not run.
VETO = 0.05
_GRID = np.linspace(-2.0, 3.0, 1001)


@dataclass(frozen=True)
class MemoryEvent:
    """What a run showed.

    Attributes:
        strategy: Which.
        knobs: Combination of its knobs.
        ran: Whether it went through; else it ended without memory.
        peak_bytes: Reported; None where it was not.
    """

    strategy: int
    knobs: int
    ran: bool
    peak_bytes: float | None = None


@dataclass(frozen=True, eq=False)
class MemoryBelief:
    """What is known of memory.

    Attributes:
        probability: Of each value of ln φ on a grid, where there is a φ.
        elsewhere: That there is none, and memory ends elsewhere.
        fits: With which probability each strategy fits, both taken together. Shape (strategies,).
    """

    probability: Floats
    elsewhere: float
    fits: Floats

    @property
    def factor(self) -> float:
        """The median of φ."""
        return float(np.exp(_GRID[np.searchsorted(np.cumsum(self.probability), 0.5)]))


def memory_belief(events: Sequence[MemoryEvent], fixed: Floats, varying: Floats, capacity: Floats) -> MemoryBelief:
    """What is known after some runs; the columns are bytes of all strategies. Shapes (strategies,)."""
    critical = (capacity - fixed) / np.maximum(varying, 1.0)
    with np.errstate(divide="ignore"):
        limit = np.log(np.maximum(critical, 0.0))
    order, rank = np.unique(fixed + varying, return_inverse=True)
    # The limit lies below the strategy of this rank; behind the last, all fit.
    ranks = np.arange(order.size + 1)
    logs, places = -0.5 * (_GRID / _SPREAD) ** 2, np.full(ranks.size, -np.log(ranks.size))
    logs -= np.log(np.exp(logs).sum())
    for event in events:
        at = event.strategy
        logs = logs + _likely((limit[at] >= _GRID) == event.ran)
        places = places + _likely((rank[at] < ranks) == event.ran)
        if event.ran and event.peak_bytes is not None and event.peak_bytes > fixed[at] and varying[at] > 0:
            off = _GRID - math.log((event.peak_bytes - float(fixed[at])) / float(varying[at]))
            before = np.logaddexp.reduce(logs)
            logs = logs + np.log(np.exp(-0.5 * (off / _PEAK) ** 2) + _NO_PEAK)
            logs += before - np.logaddexp.reduce(logs)  # it tells φ, not whether there is one
    alike, apart = float(np.logaddexp.reduce(logs)), float(np.logaddexp.reduce(places))
    odds = math.log(_ELSEWHERE / (1.0 - _ELSEWHERE)) + apart - alike
    elsewhere = 1.0 / (1.0 + math.exp(-min(max(odds, -500.0), 500.0)))
    probability, place = np.exp(logs - alike), np.exp(places - apart)
    below = np.concatenate([[0.0], np.cumsum(probability)])
    by_factor = np.minimum(below[np.searchsorted(_GRID, limit, side="right")], 1.0)
    by_place = np.cumsum(place[::-1])[::-1][1:][rank]
    # What cannot fit whatever varies does not fit, wherever else memory may end.
    fits = np.where(critical > 0, (1.0 - elsewhere) * by_factor + elsewhere * np.minimum(by_place, 1.0), 0.0)
    return MemoryBelief(probability, elsewhere, fits)


def _likely(agrees: NDArray[np.bool_]) -> Floats:
    found: Floats = np.log(np.where(agrees, 1.0 - _OTHERWISE, _OTHERWISE))
    return found


def ruled_out(events: Sequence[MemoryEvent], needed: Floats) -> dict[int, float]:
    """For combinations of knobs, the least estimate of memory that is not tried again; those left out have no limit.

    Args:
        events: The runs, in order.
        needed: Bytes of each strategy as estimated. Shape (strategies,).
    """
    limit: dict[int, float] = {}
    for event in events:
        here = float(needed[event.strategy])
        if not event.ran:
            limit[event.knobs] = min(limit.get(event.knobs, np.inf), here)
        elif here >= limit.get(event.knobs, np.inf):
            del limit[event.knobs]
    return limit
