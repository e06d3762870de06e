"""The outer variables of a search, as fixed integer ranges, and the order that makes them easy to search.

Clusters are ordered by promise: what they would take if the work divided without loss. A sampler that learns from
neighbours then finds good clusters side by side, and the first few are worth trying before it starts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paleo_opt.estimator.strategy import Integers
from paleo_opt.hardware.device import ELEMENT_BYTES
from paleo_opt.search.blocks import Block
from paleo_opt.search.layouts import GROUPED
from paleo_opt.search.problem import SearchProblem

#: Strategies that a trial is to evaluate at most, on average over the space.
_TRIAL_SIZE = 1_000_000
#: How many values of each axis are tried first.
_STEPS = {"layout": 4, "tensor": 2, "pipeline": 4, "context": 2, "expert": 3}
#: Times that an activation is written or read in a step, about.
_TOUCHES = 6.0

#: An index for each of `OuterSpace.sizes`.
Point = tuple[int, ...]
#: A block, and the first and last (excluded) of some neighbouring rows.
Band = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class OuterSpace:
    """What a study chooses: a cluster, a layout, of a transformer a group of splits, and a band of GPU counts.

    Each is chosen by an index in a fixed range. Where a cluster has fewer layouts, or a group fewer numbers of GPUs,
    than the range, indices are mapped in proportion, and splits that cannot be had to the nearest that can: every
    value can be reached and none is refused.

    Attributes:
        clusters: For each cluster, the most promising first, the rows of each of its layouts and groups.
        axes: The number of values of the layout, and of each of `layouts.GROUPED` for a transformer.
        cells: For each cluster, which of its rows are meant by the indices of all axes. Shapes as of ``axes``.
        bands: Into how many contiguous bands the rows of a layout or group are divided.
    """

    clusters: tuple[tuple[Band, ...], ...]
    axes: Mapping[str, int]
    cells: tuple[Integers, ...]
    bands: int

    @staticmethod
    def of(problem: SearchProblem, blocks: Sequence[Block], strategies: int) -> OuterSpace:
        """The outer space of some blocks, which hold so many strategies in all."""
        of_cluster: dict[str, list[int]] = {}
        for index, block in enumerate(blocks):
            of_cluster.setdefault(block.cluster.name, []).append(index)
        promising = sorted(
            of_cluster.items(), key=lambda item: (promise(problem, [blocks[i] for i in item[1]]), item[0])
        )
        layouts = max(len(indices) for indices in of_cluster.values())
        groups = [_groups(block) for block in blocks]
        values = [np.unique(column) for column in np.concatenate([_coordinates(b) for b in blocks], axis=1)]
        axes = {"layout": layouts} | {name: v.size for name, v in zip(GROUPED, values, strict=False)}
        nearest: dict[tuple[object, ...], Integers] = {}
        clusters, cells = [], []
        for _, indices in promising:
            bands: list[Band] = []
            found = []
            for layout in range(layouts):
                index = indices[layout * len(indices) // layouts]
                key = blocks[index].alike, groups[index].tobytes()
                if key not in nearest:
                    nearest[key] = _nearest_groups(values, _coordinates(blocks[index]))
                found.append(nearest[key] + len(bands))
                if layout + 1 == layouts or indices[(layout + 1) * len(indices) // layouts] != index:
                    starts = groups[index].tolist()
                    bands += [(index, *ends) for ends in itertools.pairwise([*starts, blocks[index].gpus.size])]
            clusters.append(tuple(bands))
            cells.append(np.array(found))
        most = max(last - first for bands in clusters for _, first, last in bands)
        wanted = math.ceil(strategies / (sum(len(bands) for bands in clusters) * _TRIAL_SIZE))
        return OuterSpace(tuple(clusters), axes, tuple(cells), min(max(1, wanted), most))

    @property
    def sizes(self) -> dict[str, int]:
        """The number of values of each variable."""
        return {"cluster": len(self.clusters), **self.axes, "gpus": self.bands}

    @property
    def distinct(self) -> int:
        """How many different bands there are."""
        return sum(min(self.bands, last - first) for bands in self.clusters for _, first, last in bands)

    def band(self, point: Point) -> Band:
        """The rows of a point."""
        cluster, *inner, gpus = point
        block, first, last = self.clusters[cluster][int(self.cells[cluster][tuple(inner)])]
        rows = last - first
        start = gpus * rows // self.bands
        return block, first + start, first + max(start + 1, (gpus + 1) * rows // self.bands)

    def every(self) -> list[Point]:
        """One point for each band, of the most promising cluster first."""
        return self._once(
            (cluster, *inner, gpus)
            for cluster in range(len(self.clusters))
            for inner in np.ndindex(*self.axes.values())
            for gpus in range(self.bands)
        )

    def heuristics(self) -> list[Point]:
        """Layouts and splits of the most promising clusters, from one end to the other, with most GPUs."""
        inner = [
            sorted({step * (size - 1) // (steps - 1) for step in range(steps)})
            for size, steps in ((size, _STEPS[name]) for name, size in self.axes.items())
        ]
        clusters = range(min(4, len(self.clusters)))
        return self._once(
            (cluster, *place, self.bands - 1) for cluster in clusters for place in itertools.product(*inner)
        )

    def beside(self, best: Iterable[Point], seen: Iterable[Point]) -> list[Point]:
        """What differs from one of the best points in one variable, the nearest first, and was not seen."""
        near: list[tuple[int, Point]] = []
        for point in best:
            for place, (name, size) in enumerate(self.sizes.items()):
                for other in range(size):
                    # Layouts are in no order.
                    distance = 1 if name == "layout" else abs(other - point[place])
                    near.append((distance, (*point[:place], other, *point[place + 1 :])))
        known = {self.band(point) for point in seen}
        return [point for point in self._once(p for _, p in sorted(near)) if self.band(point) not in known]

    def _once(self, points: Iterable[Point]) -> list[Point]:
        found: dict[Band, Point] = {}
        for point in points:
            found.setdefault(self.band(point), point)
        return list(found.values())

    def in_words(self) -> str:
        """``76 clusters × 4 layouts``."""
        parts = [f"{len(self.clusters):,} cluster{'s'[: len(self.clusters) != 1]}"]
        for name, size in self.axes.items():
            if size > 1:
                parts.append(f"{size:,} layouts" if name == "layout" else f"{name} {size:,} ways")
        if self.bands > 1:
            parts.append(f"{self.bands:,} bands of GPU counts")
        return " × ".join(parts)


def _groups(block: Block) -> Integers:
    """The first row of each group of splits. Shape (groups,)."""
    group = block.groups
    return np.concatenate([[0], np.flatnonzero(group[1:] != group[:-1]) + 1]).astype(np.int64)


def _coordinates(block: Block) -> Integers:
    """The value of each of `GROUPED` for each group of rows; none for a network of layers. Shape (values, groups)."""
    if block.layouts is None:
        return np.zeros((0, 1), dtype=np.int64)
    splits, group = block.layouts.groups, block.groups[_groups(block)]
    return np.stack([getattr(splits, name)[group] for name in GROUPED])


def _nearest_groups(values: Sequence[Integers], coordinates: Integers) -> Integers:
    """Which group each combination of indices into ``values`` means: itself, or the nearest. Shape (values, …)."""
    shape = tuple(v.size for v in values)
    wanted = np.indices(shape).reshape(len(shape), math.prod(shape), 1)
    there = [np.searchsorted(v, column) for v, column in zip(values, coordinates, strict=True)]
    distance = sum((np.abs(w - t) for w, t in zip(wanted, there, strict=True)), start=np.zeros((1, 1), dtype=np.int64))
    found: Integers = distance.argmin(axis=1).reshape(shape)
    return found


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
