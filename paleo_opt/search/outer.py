"""What a trial of a study is: the rows of one cluster, or a part of them, the most promising first.

A space that can be swept has at most `POINTS` points, so that as many trials try each and the search is exact whatever
its seed. A larger one has parts of about `PART` strategies, made by the lower bounds of their rows (`bounds`): the
first part of a cluster holds the rows that promise most, and a point whose bound is above what was found needs no look.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers
from paleo_opt.hardware.device import ELEMENT_BYTES
from paleo_opt.search.blocks import Block
from paleo_opt.search.bounds import RowBounds, row_bounds
from paleo_opt.search.budgets import LIMITED
from paleo_opt.search.problem import MOST_SWEPT, SearchProblem

#: Points at most of a space that can be swept.
POINTS = 100
#: Strategies of a part: about a second. Of a space that can be swept, at least.
PART, LEAST_PART = 10_000_000, 1_000
#: Times that an activation is written or read in a step, about.
_TOUCHES = 6.0
#: The bound of rows that cannot keep to the budgets; finite, so that they can be left out.
_BEYOND = 1e300

#: An index for each of `OuterSpace.sizes`.
Point = tuple[int, ...]
#: What points that mean the same have in common: a group of clusters, and one of its parts.
Band = tuple[int, int]
#: Of a block, by its index, some rows in order.
Part = tuple[tuple[int, Integers], ...]


@dataclass(frozen=True, eq=False)
class OuterSpace:
    """What a study chooses: a cluster, and where it has several parts one of them.

    Each is chosen by an index in a fixed range. Where a cluster has fewer parts than the range, indices are mapped in
    proportion: every part can be reached and no index is refused.

    Attributes:
        parts: For each cluster, the most promising first, its rows in parts, likewise.
        bounds: The least that any strategy of each part can take of what is minimized; minus infinity where that was
            not computed, `_BEYOND` where none can keep to the budgets.
        excess: By how much the best of each part exceeds a budget at least (1 where it may keep to all), as ``bounds``.
        strategies: Of each part.
        clusters: Names at each index; more than one where there are more clusters than `POINTS`.
        pruned: Whether points may be left out by their bounds. Where each can be tried that is done, as the front of
            time and money is more than its end.
    """

    parts: tuple[tuple[Part, ...], ...]
    bounds: tuple[Floats, ...]
    excess: tuple[Floats, ...]
    strategies: tuple[Integers, ...]
    clusters: tuple[tuple[str, ...], ...]
    pruned: bool = False

    @staticmethod
    def of(problem: SearchProblem, blocks: Sequence[Block], strategies: int) -> OuterSpace:
        """The outer space of some blocks, which hold so many strategies in all."""
        groups, names = _in_order(problem, blocks)
        if strategies <= MOST_SWEPT:
            # Each cluster has one part more than its share at most: no more than `POINTS` in all.
            spare = POINTS - len(groups)
            size = max(strategies / spare, LEAST_PART) if spare else math.inf
        else:
            size = PART
        sizes = [_row_sizes(blocks, indices) for indices in groups]
        counts = [max(1, math.ceil(int(column.sum()) / size)) for column in sizes]
        bounded = max(counts) > 1
        known = row_bounds(problem, blocks) if bounded else []
        found = [
            _parts(problem, blocks, indices, column, count, known)
            for indices, column, count in zip(groups, sizes, counts, strict=True)
        ]
        if bounded:
            # What the bounds say is better than the promise of a whole cluster.
            order = sorted(range(len(found)), key=lambda i: (found[i][2][0], found[i][1].min(), names[i]))
            found, names = [found[i] for i in order], [names[i] for i in order]
        parts, bounds, excess, counted = zip(*found, strict=True)
        return OuterSpace(parts, bounds, excess, counted, tuple(names), pruned=strategies > MOST_SWEPT)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The number of values of each variable."""
        return {"cluster": len(self.parts), "part": max(len(parts) for parts in self.parts)}

    @property
    def distinct(self) -> int:
        """How many different parts there are."""
        return sum(len(parts) for parts in self.parts)

    def band(self, point: Point) -> Band:
        """What a point means; two that mean the same have the same."""
        cluster, index = point
        return cluster, index * len(self.parts[cluster]) // self.sizes["part"]

    def rows(self, band: Band) -> Part:
        """The rows of a part."""
        cluster, part = band
        return self.parts[cluster][part]

    def bound(self, point: Point) -> float:
        """No feasible strategy of a point takes less of what is minimized; minus infinity where it is to be tried."""
        cluster, part = self.band(point)
        return float(self.bounds[cluster][part]) if self.pruned else -math.inf

    def least_left(self, tried: Iterable[Point]) -> float:
        """No feasible strategy of any other point takes less; infinite where no point is left."""
        known = {self.band(point) for point in tried}
        return min((self.bound(point) for point in self._ordered if self.band(point) not in known), default=np.inf)

    @cached_property
    def _ordered(self) -> tuple[Point, ...]:
        """One point for each part, the most promising first."""
        most = self.sizes["part"]
        found = []
        for cluster, parts in enumerate(self.parts):
            for part in range(len(parts)):
                # The first index that is mapped to this part.
                point = (cluster, -(-part * most // len(parts)))
                rank = (float(self.excess[cluster][part]), float(self.bounds[cluster][part]))
                found.append((*rank, part, cluster, point))
        return tuple(point for *_, point in sorted(found))

    def every(self) -> list[Point]:
        """One point for each part, the most promising first."""
        return list(self._ordered)

    def heuristics(self) -> list[Point]:
        """What is worth a try before any sampler is asked: points in the order of their bounds."""
        return self.every()

    def beside(self, best: Iterable[Point], seen: Iterable[Point]) -> list[Point]:
        """What differs from one of the best points in one variable, the nearest first, and was not seen."""
        near: list[tuple[int, Point]] = []
        for point in best:
            for place, size in enumerate(self.sizes.values()):
                near += [
                    (abs(other - point[place]), (*point[:place], other, *point[place + 1 :])) for other in range(size)
                ]
        known = {self.band(point) for point in seen}
        found: dict[Band, Point] = {}
        for _, point in sorted(near):
            if self.band(point) not in known:
                found.setdefault(self.band(point), point)
        return list(found.values())

    def in_words(self) -> str:
        """``76 clusters × up to 3 parts``."""
        count, most = sum(len(names) for names in self.clusters), self.sizes["part"]
        together = max(len(names) for names in self.clusters)
        text = f"{count:,} cluster{'s'[: count != 1]}"
        if together > 1:
            text += f", up to {together} at once"
        if most > 1:
            text += f" × {'up to ' * (len(self.parts) > 1)}{most:,} parts"
        return text


def _in_order(problem: SearchProblem, blocks: Sequence[Block]) -> tuple[list[list[int]], list[tuple[str, ...]]]:
    """The indices of the blocks of each cluster, the most promising first, and its name; neighbours where too many."""
    of_cluster: dict[str, list[int]] = {}
    for index, block in enumerate(blocks):
        of_cluster.setdefault(block.cluster.name, []).append(index)
    order = sorted(of_cluster, key=lambda name: (promise(problem, [blocks[i] for i in of_cluster[name]]), name))
    together = math.ceil(len(order) / POINTS)
    names = [tuple(order[start : start + together]) for start in range(0, len(order), together)]
    return [[index for name in some for index in of_cluster[name]] for some in names], names


def _row_sizes(blocks: Sequence[Block], indices: Sequence[int]) -> Integers:
    """Strategies of all rows of some blocks, one behind the other. Shape (rows,)."""
    return np.concatenate([blocks[i].row_sizes * len(blocks[i].collectives) for i in indices])


def _parts(
    problem: SearchProblem,
    blocks: Sequence[Block],
    indices: Sequence[int],
    sizes: Integers,
    count: int,
    known: Sequence[RowBounds],
) -> tuple[tuple[Part, ...], Floats, Floats, Integers]:
    """The parts of some blocks, their bounds, excesses and strategies; without bounds, a single part."""
    if not known:
        whole: Part = tuple((index, np.arange(blocks[index].gpus.size)) for index in indices)
        return (whole,), np.full(1, -np.inf), np.ones(1), np.array([sizes.sum()])
    bounds, excess = _bounds(problem, [known[index] for index in indices])
    order = np.lexsort((bounds, excess))
    done = np.cumsum(sizes[order])
    # Each row belongs to the part in which its first strategy lies.
    part = (done - sizes[order]) * count // max(int(done[-1]), 1)
    starts = np.concatenate(([0], np.flatnonzero(part[1:] != part[:-1]) + 1))
    place = np.repeat(np.array(indices), [blocks[index].gpus.size for index in indices])
    row = np.concatenate([np.arange(blocks[index].gpus.size) for index in indices])
    parts = []
    for rows in np.split(order, starts[1:]):
        rows = np.sort(rows)
        parts.append(tuple((int(index), row[rows[place[rows] == index]]) for index in np.unique(place[rows])))
    return (
        tuple(parts),
        np.minimum.reduceat(np.where(excess > 1.0, _BEYOND, bounds)[order], starts),
        excess[order][starts],
        np.add.reduceat(sizes[order], starts),
    )


def _bounds(problem: SearchProblem, known: Sequence[RowBounds]) -> tuple[Floats, Floats]:
    """Of all rows: the least of what is minimized, and by how much they exceed a budget at least. Shapes (rows,)."""
    least = np.concatenate([each.figure(problem.goal) for each in known])
    excess = np.ones(least.shape)
    for name, goal in LIMITED.items():
        limit = getattr(problem.budgets, name)
        if limit is not None:
            excess = np.fmax(excess, np.concatenate([each.figure(goal) for each in known]) / limit)
    return np.where(np.isfinite(least), least, _BEYOND), np.where(np.isfinite(excess), excess, _BEYOND)


def promise(problem: SearchProblem, blocks: Sequence[Block]) -> tuple[float, float]:
    """What a cluster would take if the work divided over its devices without loss; the smaller the better.

    Returns:
        By how much it would exceed the budgets (1 where it keeps to them), and what is minimized.
    """
    block = blocks[0]
    cluster, device, budgets = block.cluster, block.cluster.device, problem.budgets
    ppp, element = problem.options.device_ppp(device, block.precision), ELEMENT_BYTES[block.precision]
    layout = problem.table.layout()
    seconds = 3.0 * layout.forward_flops / (ppp * device.peak[block.precision])
    seconds += _TOUCHES * layout.activations * element / (ppp * device.memory_bandwidth)
    work = seconds * problem.job.samples_to_target  # device-seconds
    time = work / max(int(block.gpus[-1]) for block in blocks)
    price, power = problem.options.node_price(cluster), device.power
    cost = math.inf if price is None else work / cluster.devices_per_node * price.dollars_per_hour / 3600.0
    energy = math.inf if power is None else work * power / 3.6e6
    excess = [
        value / limit
        for value, limit in ((time, budgets.time_s), (cost, budgets.cost_usd), (energy, budgets.energy_kwh))
        if limit is not None
    ]
    return max([1.0, *excess]), {"time": time, "cost": cost, "energy": energy}[problem.goal]
