"""Of the ways to run, those that a schedule can need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from paleo_opt.planning.jobs import Resource
from paleo_opt.planning.scheduling.problem import Candidate

#: Ways to run kept per run and pool, and per run on all pools without limit together.
MOST_PER_POOL = 10
MOST_WITHOUT_LIMIT = 24


def pruned(
    candidates: Sequence[Candidate], resources: Sequence[Resource], pools: Mapping[int, int]
) -> tuple[Candidate, ...]:
    """The candidates that a schedule can need, on the pools they are offered on.

    On nodes that are limited: what uses more nodes, or costs more, must be faster. On nodes without limit only money
    and time count, whatever the cluster. Where many are left, they are thinned out evenly in the logarithm of time.

    Args:
        candidates: Of one run, by resource.
        resources: All.
        pools: Index of the pool of each resource that may be used.
    """
    limited: dict[int, list[Candidate]] = {}
    free: list[Candidate] = []
    for candidate in candidates:
        if candidate.pool in pools:
            own = limited.setdefault(candidate.pool, []) if resources[candidate.pool].nodes is not None else free
            own.append(candidate)
    kept: list[Candidate] = []
    for own in limited.values():
        front = [
            c
            for c in own
            if not any(
                (o.nodes, o.duration_s, o.cents) != (c.nodes, c.duration_s, c.cents)
                and o.nodes <= c.nodes
                and o.duration_s <= c.duration_s
                and o.cents <= c.cents
                for o in own
            )
        ]
        kept += thinned(front, MOST_PER_POOL)
    best = math.inf
    front = []
    for candidate in sorted(free, key=lambda c: (c.duration_s, c.cents)):
        if candidate.cents < best:
            best = candidate.cents
            front.append(candidate)
    kept += thinned(front, MOST_WITHOUT_LIMIT)
    return tuple(replace(candidate, pool=pools[candidate.pool]) for candidate in kept)


def thinned(candidates: Sequence[Candidate], most: int) -> list[Candidate]:
    """At most ``most`` of them: the fastest, the slowest, the cheapest, and others evenly in the logarithm of time."""
    if len(candidates) <= most:
        return list(candidates)
    ordered = sorted(candidates, key=lambda c: (c.duration_s, c.cents, c.nodes))
    cheapest = min(range(len(ordered)), key=lambda i: (ordered[i].cents, ordered[i].duration_s))
    logs = np.log([c.duration_s for c in ordered])
    wanted = np.linspace(logs[0], logs[-1], most - 1)
    chosen = {0, len(ordered) - 1, cheapest, *(int(np.abs(logs - value).argmin()) for value in wanted)}
    return [ordered[i] for i in sorted(chosen)]
