"""The cheapest choice for every node of a graph whose costs are of nodes and of pairs of neighbours.

A node with one neighbour is folded into it; one with two becomes an edge between them, the cheapest choice in between
for each pair of theirs (node elimination); edges between the same nodes are added up (edge elimination) [1]. A chain
or a series-parallel graph is gone by then and its optimum is exact. What is left of another graph, its kernel, falls
apart as soon as a few of its nodes, the cut, are fixed: all choices of the cut are tried where they are few [2].

References:
    [1] Jia, Lin, Qi, Aiken: Exploring Hidden Dimensions in Parallelizing Convolutional Neural Networks, ICML 2018,
        arXiv:1802.04924, algorithm 1.
    [2] Dechter: Enhancement schemes for constraint processing: backjumping, learning, and cutset decomposition,
        Artificial Intelligence 41(3), 1990.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Relative difference below which two sums are one: they are added in another order.
SAME = 1e-9
#: Choices of the cut that are tried one by one; more are left to a study.
MOST_CUTS = 4_096


@dataclass(frozen=True, eq=False)
class PairwiseCosts:
    """Costs of N nodes and of pairs of them.

    Attributes:
        nodes: Of each choice of each node. Shapes (K_i,).
        pairs: For (i, j), each once and i < j, of each pair of their choices. Shapes (K_i, K_j).
    """

    nodes: Sequence[Floats]
    pairs: Mapping[tuple[int, int], Floats]

    def total(self, chosen: Sequence[int]) -> float:
        """What one choice for every node costs."""
        of_nodes = sum(float(costs[chosen[node]]) for node, costs in enumerate(self.nodes))
        return of_nodes + sum(float(costs[chosen[i], chosen[j]]) for (i, j), costs in self.pairs.items())


@dataclass(frozen=True)
class Optimum:
    """The cheapest choice that was found.

    Attributes:
        cost: Its cost.
        chosen: For every node.
        exact: Whether no choice is cheaper.
        cut: Nodes whose choices were tried one by one; empty for a series-parallel graph.
        tried: How many choices of the cut were tried; 1 where there is none.
    """

    cost: float
    chosen: tuple[int, ...]
    exact: bool
    cut: tuple[int, ...] = ()
    tried: int = 1


@dataclass(eq=False)
class Memory:
    """What was computed from the very same arrays before: the modules of a network repeat."""

    known: dict[tuple[object, ...], tuple[tuple[Floats, ...], Floats]] = field(default_factory=dict)

    def of(self, what: str, arrays: tuple[Floats, ...], compute: Callable[[], Floats]) -> Floats:
        """``compute()``, once for the same ``arrays``, which are kept so that no other takes their place."""
        key = (what, *map(id, arrays))
        if key not in self.known:
            self.known[key] = (arrays, compute())
        return self.known[key][1]

    def turned(self, pair: Floats) -> Floats:
        """The transpose of a pair's costs."""
        return self.of("turn", (pair,), lambda: np.ascontiguousarray(pair.T))


def joined(first: Floats, between: Floats, second: Floats) -> Floats:
    """The least of first[a, b] + between[b] + second[b, c] over b. Shape (K_a, K_c)."""
    best = np.full((first.shape[0], second.shape[1]), np.inf)
    found = np.empty_like(best)
    with_node = np.ascontiguousarray((first + between).T)
    for column, row in zip(with_node, second, strict=True):
        np.add(column[:, None], row, out=found)
        np.minimum(best, found, out=best)
    return best


@dataclass(eq=False)
class _Graph:
    """A graph that shrinks, and how to find the choices of the nodes that are gone."""

    nodes: dict[int, Floats]
    beside: dict[int, dict[int, Floats]]
    memory: Memory
    gone: list[tuple[int, Floats, dict[int, Floats]]] = field(default_factory=list)

    def copy(self) -> _Graph:
        beside = {node: dict(others) for node, others in self.beside.items()}
        return _Graph(dict(self.nodes), beside, self.memory, list(self.gone))

    def _take(self, node: int) -> tuple[Floats, dict[int, Floats]]:
        costs, others = self.nodes.pop(node), self.beside.pop(node)
        for other in others:
            del self.beside[other][node]
        return costs, others

    def fix(self, node: int, choice: int) -> float:
        """Leave ``node`` with one choice; what that costs by itself."""
        costs, others = self._take(node)
        for other, pair in others.items():
            self.nodes[other] = self.nodes[other] + pair[choice]
        return float(costs[choice])

    def shrink(self) -> None:
        """Fold every node of one neighbour and join over every node of two, until there is none."""
        changed = True
        while changed:
            changed = False
            for most in (1, 2):
                ready = [node for node, others in self.beside.items() if len(others) == most]
                for node in ready:
                    if len(self.beside.get(node, ())) == most:
                        self._fold(node) if most == 1 else self._join(node)
                        changed = True
                if changed:
                    break

    def _fold(self, node: int) -> None:
        costs, others = self._take(node)
        ((other, pair),) = others.items()
        of_other = self.nodes[other]
        self.gone.append((node, costs, others))
        self.nodes[other] = self.memory.of(
            "fold", (costs, pair, of_other), lambda: of_other + (costs[:, None] + pair).min(axis=0)
        )

    def _join(self, node: int) -> None:
        costs, others = self._take(node)
        (one, first), (two, second) = sorted(others.items())
        self.gone.append((node, costs, others))
        memory = self.memory
        between = memory.of("join", (first, costs, second), lambda: joined(memory.turned(first), costs, second))
        known = self.beside[one].get(two)
        if known is not None:
            other = between
            between = memory.of("add", (known, other), lambda: known + other)
        self.beside[one][two] = between
        self.beside[two][one] = memory.turned(between)

    def finish(self) -> tuple[float, dict[int, int]]:
        """The least cost of what is left, nodes without neighbours, and the choices of all that are or were there."""
        cost, chosen = 0.0, {}
        for node, costs in self.nodes.items():
            chosen[node] = int(costs.argmin())
            cost += float(costs[chosen[node]])
        return cost, chosen

    def recall(self, chosen: dict[int, int]) -> None:
        """Add the choices of the nodes that are gone."""
        for node, costs, others in reversed(self.gone):
            total = costs
            for other, pair in others.items():
                total = total + pair[:, chosen[other]]
            chosen[node] = int(total.argmin())


@dataclass(frozen=True, eq=False)
class Kernel:
    """A graph shrunk to its kernel, which falls apart when the nodes of ``cut`` are fixed.

    Attributes:
        costs: Of the whole graph.
        cut: Nodes; none for a series-parallel graph.
        counts: Choices of each.
    """

    costs: PairwiseCosts
    cut: tuple[int, ...]
    counts: tuple[int, ...]
    _graph: _Graph

    @property
    def choices(self) -> int:
        """How many choices of the cut there are."""
        return math.prod(self.counts)

    def solve(self, fixed: Sequence[int]) -> tuple[float, tuple[int, ...]]:
        """The least cost with these choices of the cut, exactly, and the choice of every node."""
        graph = self._graph.copy()
        cost, chosen = 0.0, dict(zip(self.cut, fixed, strict=True))
        for node, choice in chosen.items():
            cost += graph.fix(node, choice)
            graph.shrink()
        rest, found = graph.finish()
        chosen |= found
        graph.recall(chosen)
        return cost + rest, tuple(chosen[node] for node in range(len(self.costs.nodes)))


def kernel_of(costs: PairwiseCosts, memory: Memory | None = None) -> Kernel:
    """``costs`` shrunk, with a cut of nodes of many neighbours each."""
    memory = memory or Memory()
    beside: dict[int, dict[int, Floats]] = {node: {} for node in range(len(costs.nodes))}
    for (i, j), pair in costs.pairs.items():
        beside[i][j], beside[j][i] = pair, memory.turned(pair)
    graph = _Graph(dict(enumerate(costs.nodes)), beside, memory)
    graph.shrink()
    cut: list[int] = []
    # Which nodes fall away does not depend on the choices, so that one is as good as another to find the cut.
    left = {node: set(others) for node, others in graph.beside.items() if others}
    while left:
        node = max(left, key=lambda one: (len(left[one]), -costs.nodes[one].size, -one))
        cut.append(node)
        _remove(left, node)
        while thin := [one for one, others in left.items() if len(others) <= 2]:
            _remove(left, thin[0])
    return Kernel(costs, tuple(cut), tuple(costs.nodes[node].size for node in cut), graph)


def _remove(left: dict[int, set[int]], node: int) -> None:
    others = left.pop(node)
    for other in others:
        left[other].discard(node)
    if len(others) == 2:
        one, two = others
        left[one].add(two)
        left[two].add(one)


def cheapest(costs: PairwiseCosts, memory: Memory | None = None, most_cuts: int = MOST_CUTS) -> Optimum | Kernel:
    """The cheapest choice for every node, exactly; or the kernel where its cut has more than ``most_cuts`` choices."""
    kernel = kernel_of(costs, memory)
    if kernel.choices > most_cuts:
        return kernel
    best: tuple[float, tuple[int, ...]] | None = None
    for fixed in product(*(range(count) for count in kernel.counts)):
        found = kernel.solve(fixed)
        if best is None or found[0] < best[0]:
            best = found
    assert best is not None
    return Optimum(best[0], best[1], True, kernel.cut, kernel.choices)
