"""Choices that no cheapest assignment has, found before it is searched for.

With every other node at its cheapest choice and its edges free, a choice k of node i costs at least

    L_i(k) = Σ_j min c_j + Σ_e min c_e + (c_i(k) - min c_i)
             + Σ_{e=(i,j)} (min_x (c_j(x) - min c_j + c_e(k, x)) - min c_e)

Where that is above the cost of an assignment that is known, k goes: it is in no better one. What goes at one node
raises the least of its neighbours, so that it is done again as long as much goes [1].

References:
    [1] Desmet, De Maeyer, Hazes, Lasters: The dead-end elimination theorem and its use in protein side-chain
        positioning, Nature 356, 1992; here with a known assignment, as in branch and bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.layer_splits.series_parallel import SAME, Floats, PairwiseCosts

#: Rounds at most, and the share of all choices that has to go for another.
_MOST_ROUNDS, _WORTH = 4, 0.02
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Remaining:
    """What is left of a graph.

    Attributes:
        costs: Of the choices that are left.
        kept: Their indices, of each node.
    """

    costs: PairwiseCosts
    kept: tuple[Indices, ...]

    def chosen(self, choices: Sequence[int]) -> tuple[int, ...]:
        """An assignment of what is left as one of the whole graph."""
        return tuple(int(of[choice]) for of, choice in zip(self.kept, choices, strict=True))

    def index(self, chosen: Sequence[int]) -> tuple[int, ...] | None:
        """An assignment of the whole graph as one of what is left; None where part of it is gone."""
        found = [int(np.searchsorted(of, choice)) for of, choice in zip(self.kept, chosen, strict=True)]
        there = all(at < of.size and of[at] == choice for of, at, choice in zip(self.kept, found, chosen, strict=True))
        return tuple(found) if there else None


def remaining(costs: PairwiseCosts, most: float) -> Remaining:
    """``costs`` without the choices that are only in assignments that cost more than ``most``.

    Nodes and edges that shared their arrays still do, where the same choices are left.
    """
    left = Remaining(costs, tuple(np.arange(one.size) for one in costs.nodes))
    limit = most + SAME * abs(most)
    if not np.isfinite(limit) or any(not np.isfinite(one.min()) for one in costs.nodes):
        return left
    for _ in range(_MOST_ROUNDS):
        before = sum(one.size for one in left.costs.nodes)
        left = _round(left, limit)
        if before - sum(one.size for one in left.costs.nodes) < _WORTH * before:
            break
    return left


def _round(left: Remaining, limit: float) -> Remaining:
    nodes, pairs = left.costs.nodes, left.costs.pairs
    excess: dict[int, Floats] = {id(one): one - one.min() for one in nodes}
    least = {id(pair): float(pair.min()) for pair in pairs.values()}
    base = sum(float(one.min()) for one in nodes) + sum(least[id(pair)] for pair in pairs.values())
    bounds = [base + excess[id(one)] for one in nodes]
    known: dict[tuple[int, int, int], Floats] = {}
    for (i, j), pair in pairs.items():
        for axis, (node, other) in enumerate(((i, j), (j, i))):
            key = (id(pair), id(nodes[other]), axis)
            if key not in known:
                beside = excess[id(nodes[other])]
                total = pair + (beside if axis == 0 else beside[:, None])
                known[key] = total.min(axis=1 - axis) - least[id(pair)]
            bounds[node] = bounds[node] + known[key]
    stays = [np.flatnonzero(bound <= limit) for bound in bounds]
    # An assignment that costs no more than the limit is left, or there was none.
    if not all(one.size for one in stays):
        return left
    known_nodes: dict[tuple[int, bytes], Floats] = {}
    known_pairs: dict[tuple[int, bytes, bytes], Floats] = {}
    names = [one.tobytes() for one in stays]
    for index, one in enumerate(nodes):
        known_nodes.setdefault((id(one), names[index]), one[stays[index]])
    for (i, j), pair in pairs.items():
        key_of = (id(pair), names[i], names[j])
        if key_of not in known_pairs:
            known_pairs[key_of] = pair[np.ix_(stays[i], stays[j])]
    return Remaining(
        PairwiseCosts(
            [known_nodes[id(one), names[index]] for index, one in enumerate(nodes)],
            {(i, j): known_pairs[id(pair), names[i], names[j]] for (i, j), pair in pairs.items()},
        ),
        tuple(of[at] for of, at in zip(left.kept, stays, strict=True)),
    )


def conditional(costs: PairwiseCosts, chosen: Sequence[int], node: int) -> Floats:
    """What each choice of ``node`` costs with its edges, all other nodes as in ``chosen``. Shape (K_node,)."""
    total = costs.nodes[node]
    for (i, j), pair in costs.pairs.items():
        if node in (i, j):
            total = total + (pair[:, chosen[j]] if node == i else pair[chosen[i]])
    return total


def descended(costs: PairwiseCosts, chosen: Sequence[int]) -> tuple[int, ...]:
    """``chosen`` with the choices of single nodes changed as long as that costs less."""
    now, changed = list(chosen), True
    beside: list[list[tuple[int, Floats, bool]]] = [[] for _ in costs.nodes]
    for (i, j), pair in costs.pairs.items():
        beside[i].append((j, pair, True))
        beside[j].append((i, pair, False))
    while changed:
        changed = False
        for node, own in enumerate(costs.nodes):
            total = own
            for other, pair, is_first in beside[node]:
                total = total + (pair[:, now[other]] if is_first else pair[now[other]])
            best = int(total.argmin())
            if total[best] < total[now[node]] * (1.0 - SAME):
                now[node], changed = best, True
    return tuple(now)
