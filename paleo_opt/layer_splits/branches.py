"""Branch and bound over the splits of layers, each bound by Lagrange's relaxation.

A branch is some of the splits of each layer. Its bound is the largest, over weights of the sums of a step and a price
of memory, of a minimum that elimination finds exactly; cutting planes [1] find those weights. Where the assignments
that the bound rests on differ in a layer, its splits are divided between two branches, those with more synchronization
(or memory, or time) and those with less [2].

References:
    [1] Kelley: The cutting-plane method for solving convex programs, Journal of SIAM 8(4), 1960.
    [2] Land, Doig: An automatic method of solving discrete programming problems, Econometrica 28(3), 1960.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from paleo_opt.layer_splits.degrees import Floats
from paleo_opt.layer_splits.series_parallel import SAME, Optimum, PairwiseCosts
from paleo_opt.layer_splits.step_time import StepTime

#: Cutting planes of a branch at most, and the least relative gain of its bound that is worth another.
_MOST_PLANES, _GAIN = 40, 1e-10
#: Memory may be worth so many times the fastest step for each time it is full.
_DEAREST = 1e3
#: Graphs are solved until their pairs and triples of splits number so many: a second or two.
MOST_WORK = 3e8
Chosen = tuple[int, ...]
#: Splits that are left, of the layers of which some are not.
Masks = Mapping[int, NDArray[np.bool_]]


class Minimizer(Protocol):
    """What solves a graph."""

    def minimum(self, costs: PairwiseCosts) -> Optimum:
        """The cheapest assignment."""


@dataclass(order=True)
class _Branch:
    bound: float
    number: int
    masks: Masks = field(compare=False)
    support: tuple[Chosen, ...] = field(compare=False)
    planes: tuple[Chosen, ...] = field(compare=False)


@dataclass(eq=False)
class Branches:
    """The search for the fastest assignment that fits.

    Attributes:
        step: What is minimized.
        capacity: Bytes of a device.
        solver: What solves a graph, exactly.
        best: The fastest that was considered and fits; None before.
    """

    step: StepTime
    capacity: float
    solver: Minimizer
    best: Chosen | None = None
    _best_time: float = np.inf
    _known: dict[Chosen, tuple[Floats, float]] = field(default_factory=dict)
    _work: float = 0.0

    def __post_init__(self) -> None:
        sizes = [node.sync.size for node in self.step.costs.nodes]
        # What one graph takes: its pairs, and its triples where a layer has two neighbours that meet again.
        pairs = [sizes[i] * sizes[j] for i, j in self.step.edges]
        branching = len(pairs) - len(sizes) + 1
        self._graph_work = float(sum(pairs)) + branching * float(max(sizes)) ** 3

    def consider(self, chosen: Chosen) -> None:
        """Keep ``chosen``, improved layer by layer, where it fits and is the fastest so far."""
        if self.step.costs.memory_of(chosen) > self.capacity:
            return
        better = polished(self.step, chosen, self.capacity)
        time = self.step.total(better)
        if time < self._best_time:
            self.best, self._best_time = better, time

    def run(self, seen: Iterable[Chosen]) -> float:
        """Search until the best is proved or `MOST_WORK` is done; the time below which nothing that fits is [s]."""
        branches = [self._bounded({}, tuple(seen), -np.inf, 0)]
        number = 0
        while branches and branches[0].bound < self._best_time * (1.0 - SAME):
            if self._work > MOST_WORK:
                return branches[0].bound
            branch = heapq.heappop(branches)
            halves = self._halves(branch)
            if not halves:
                return branch.bound
            for masks in halves:
                number += 1
                planes = tuple(one for one in branch.planes if _within(one, masks))
                child = self._bounded(masks, planes, branch.bound, number)
                if child.bound < self._best_time * (1.0 - SAME):
                    heapq.heappush(branches, child)
        return self._best_time

    def _bounded(self, masks: Masks, planes: tuple[Chosen, ...], bound: float, number: int) -> _Branch:
        costs = self.step.costs
        workspace = max(
            float(node.workspace[masks[index]].min() if index in masks else node.workspace.min())
            for index, node in enumerate(costs.nodes)
        )
        room = self.capacity - costs.reserve - workspace
        support: tuple[Chosen, ...] = ()
        listed = list(dict.fromkeys(planes))
        weights, price = np.full(self.step.sync.shape[0], 1.0 / self.step.sync.shape[0]), 0.0
        most = np.inf
        for _ in range(_MOST_PLANES):
            if listed:
                sums, over = (np.array(part) for part in zip(*map(self._plane, listed), strict=True))
                weights, price, most, active = _highest(sums, over - room, max(room, 1.0))
                support = tuple(one for one, held in zip(listed, active, strict=True) if held) or tuple(listed)
            # Either the branch holds nothing better, or no other weights would say more.
            if self._best_time - bound <= SAME * self._best_time or (listed and most - bound <= _GAIN * abs(most)):
                break
            found = self.solver.minimum(masked(self.step.mixed(weights, price), masks))
            self._work += self._graph_work
            bound = max(bound, found.cost + costs.fixed - price * room)
            self.consider(found.chosen)
            if found.chosen in listed:
                break
            listed.append(found.chosen)
        return _Branch(bound, number, masks, support, tuple(listed))

    def _plane(self, chosen: Chosen) -> tuple[Floats, float]:
        if chosen not in self._known:
            self._known[chosen] = (self.step.sums(chosen), self.step.costs.memory.total(chosen))
        return self._known[chosen]

    def _halves(self, branch: _Branch) -> list[Masks]:
        """``branch`` divided where its support differs most; nothing where it does not."""
        best: tuple[float, int, Floats, float] | None = None
        time = self._best_time
        for index, node in enumerate(self.step.costs.nodes):
            held = sorted({chosen[index] for chosen in branch.support})
            columns: tuple[tuple[Floats, float], ...] = (
                (node.sync, time), (node.forward + node.backward, time), (node.memory, self.capacity),
                (node.workspace, self.capacity), (np.arange(float(node.sync.size)), 1e12),
            )  # fmt: skip
            for values, scale in columns:
                low, high = float(values[held].min()), float(values[held].max())
                spread = (high - low) / scale
                if spread > 0.0 and (best is None or spread > best[0]):
                    best = (spread, index, values, (low + high) / 2.0)
        best = best or self._by_workspace(branch) or self._one_apart(branch)
        if best is None:
            return []
        _, index, values, middle = best
        left = branch.masks.get(index, np.ones(values.size, dtype=bool))
        return [{**branch.masks, index: left & part} for part in (values <= middle, values > middle)]

    def _by_workspace(self, branch: _Branch) -> tuple[float, int, Floats, float] | None:
        """Where one assignment is left that does not fit for its workspace: the layer that has most, and less of it."""
        nodes = self.step.costs.nodes
        for chosen in branch.support[:1]:
            index = max(range(len(nodes)), key=lambda one: float(nodes[one].workspace[chosen[one]]))
            values = nodes[index].workspace
            left = branch.masks.get(index, np.ones(values.size, dtype=bool))
            below = values[left & (values < values[chosen[index]])]
            if below.size:
                return 1.0, index, values, float(below.max() + values[chosen[index]]) / 2.0
        return None

    def _one_apart(self, branch: _Branch) -> tuple[float, int, Floats, float] | None:
        """Where rounding alone is left: the split of one layer, and all others of it."""
        chosen = branch.support[0]
        for index, node in enumerate(self.step.costs.nodes):
            if branch.masks.get(index, np.ones(node.sync.size, dtype=bool)).sum() > 1:
                return 1.0, index, (np.arange(node.sync.size) == chosen[index]).astype(float), 0.5
        return None


def _within(chosen: Chosen, masks: Masks) -> bool:
    return all(mask[chosen[index]] for index, mask in masks.items())


def masked(costs: PairwiseCosts, masks: Masks) -> PairwiseCosts:
    """``costs`` with infinite ones for the splits that are not left."""
    nodes = list(costs.nodes)
    for index, mask in masks.items():
        nodes[index] = np.where(mask, nodes[index], np.inf)
    return PairwiseCosts(nodes, costs.pairs)


def _highest(sums: Floats, over: Floats, room: float) -> tuple[Floats, float, float, Sequence[bool]]:
    """Weights of the sums and a price of memory whose bound is highest, as far as the assignments seen can tell.

    Args:
        sums: Of each assignment [s]. Shape (assignments, F).
        over: By how much each exceeds the room [bytes]. Shape (assignments,).
        room: Bytes.

    Returns:
        Weights, shape (F,), the price [s a byte], the bound [s], and on which assignments it rests.
    """
    count, functions = sums.shape
    if functions == 1 and (over <= 0.0).all():
        least = int(sums[:, 0].argmin())
        return np.ones(1), 0.0, float(sums[least, 0]), [index == least for index in range(count)]
    from scipy.optimize import linprog

    scale = float(sums.min())
    # Maximize b, with b <= sum_f m_f t_f + p over for each assignment, sum_f m_f = 1.
    rows = np.concatenate([-sums / scale, -(over / room)[:, None], np.ones((count, 1))], axis=1)
    total = np.concatenate([np.ones(functions), [0.0, 0.0]])[None]
    limits = [(0.0, 1.0)] * functions + [(0.0, _DEAREST), (None, None)]
    goal = np.concatenate([np.zeros(functions + 1), [-1.0]])
    found = linprog(
        goal, A_ub=rows, b_ub=np.zeros(count), A_eq=total, b_eq=[1.0], bounds=limits, method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )  # fmt: skip
    weights = np.clip(found.x[:functions], 0.0, None)
    active = [bool(value < -1e-9) for value in found.ineqlin.marginals]
    return weights / weights.sum(), float(found.x[functions]) * scale / room, float(found.x[-1]) * scale, active


def polished(step: StepTime, chosen: Chosen, capacity: float) -> Chosen:
    """``chosen``, which fits, with the splits of single layers changed as long as that saves time and still fits."""
    costs, now, changed = step.costs, list(chosen), True
    sums = step.sums(now)
    while changed:
        changed = False
        for layer, node in enumerate(costs.nodes):
            more, added = step.changes(now, layer)
            spare = capacity - costs.memory_of(tuple(now))
            added = added + np.maximum(node.workspace - node.workspace[now[layer]], 0.0)
            times = np.where(added <= spare, (sums[:, None] + more).max(axis=0), np.inf)
            choice = int(times.argmin())
            if times[choice] < times[now[layer]] * (1.0 - SAME):
                sums, changed = sums + more[:, choice], True
                now[layer] = choice
    return tuple(now)
