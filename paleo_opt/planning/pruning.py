"""Of the ways to run, those that a schedule can need: none that another beats in everything that counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

#: Ways to run kept per run and limited resource, and per run on all resources without limit together: more than a sweep
#: of the default space finds on a hundred nodes.
MOST_PER_RESOURCE = 40
MOST_WITHOUT_LIMIT = 100


def useful(
    resource: Integers, nodes: Integers, duration: Integers, cents: Integers, limited: NDArray[np.bool_]
) -> tuple[Integers, bool]:
    """The ways that a schedule can need, by index, and whether all such were kept.

    On nodes that are limited: what uses more nodes, or costs more, must be faster. On nodes without limit only money
    and time count, whatever the cluster. Where too many are left, they are thinned out evenly in the logarithm of time.

    Args:
        resource: Of each way. Shape (ways,), as all.
        nodes: Of it.
        duration: [s].
        cents: What it costs.
        limited: Whether its nodes are.
    """
    kept: list[Integers] = []
    whole = True
    for each in np.unique(resource[limited]).tolist():
        own = np.flatnonzero(limited & (resource == each))
        columns = np.stack([nodes[own], duration[own], cents[own]])
        no_worse = (columns[:, :, None] <= columns[:, None, :]).all(axis=0)
        beaten = (no_worse & ~no_worse.T).any(axis=0)
        front = own[~beaten]
        whole &= front.size <= MOST_PER_RESOURCE
        kept.append(thinned(front, duration, cents, MOST_PER_RESOURCE))
    free = np.flatnonzero(~limited)
    free = free[np.lexsort((cents[free], duration[free]))]
    if free.size:
        least = np.minimum.accumulate(cents[free])
        front = free[np.concatenate([[True], least[1:] < least[:-1]])]
        whole &= front.size <= MOST_WITHOUT_LIMIT
        kept.append(thinned(front, duration, cents, MOST_WITHOUT_LIMIT))
    return (np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)), bool(whole)


def thinned(ways: Integers, duration: Integers, cents: Integers, most: int) -> Integers:
    """At most ``most`` of them: the fastest, the slowest, the cheapest, and others evenly in the logarithm of time."""
    if ways.size <= most:
        return ways
    ordered = ways[np.lexsort((cents[ways], duration[ways]))]
    logs = np.log(duration[ordered])
    wanted = np.linspace(logs[0], logs[-1], most - 1)
    nearest = np.abs(logs[:, None] - wanted).argmin(axis=0)
    cheapest = int(np.lexsort((duration[ordered], cents[ordered]))[0])
    kept: Integers = ordered[np.unique(np.append(nearest, cheapest))]
    return kept
