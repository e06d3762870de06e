"""The outer variables of a search, as fixed integer ranges, and the order that makes them easy to search.

Clusters are ordered by promise: what they would take if the work divided without loss. A sampler that learns from
neighbours then finds good clusters side by side, and the first few are worth trying before it starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paleo_opt.hardware.device import ELEMENT_BYTES
from paleo_opt.search.blocks import Block
from paleo_opt.search.problem import SearchProblem

#: Strategies that a trial is to evaluate at most, on average over the space.
_TRIAL_SIZE = 1_000_000
#: Times that an activation is written or read in a step, about.
_TOUCHES = 6.0

Point = tuple[int, int, int]


@dataclass(frozen=True)
class OuterSpace:
    """What a study chooses: a cluster, a layout, a band of GPU counts, each by an index in a fixed range.

    Where a cluster has fewer layouts, or a block fewer numbers of GPUs, than the range, indices are mapped in
    proportion: every value can be reached and none is refused.

    Attributes:
        clusters: The blocks of each cluster, one per layout; the most promising cluster first.
        rows: Numbers of GPUs of each block.
        layouts: Most layouts of any cluster.
        bands: Into how many contiguous bands a block is divided.
    """

    clusters: tuple[tuple[int, ...], ...]
    rows: tuple[int, ...]
    layouts: int
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
        rows = tuple(block.gpus.size for block in blocks)
        bands = math.ceil(strategies / (len(blocks) * _TRIAL_SIZE))
        return OuterSpace(
            clusters=tuple(tuple(indices) for _, indices in promising),
            rows=rows,
            layouts=max(len(indices) for indices in of_cluster.values()),
            bands=min(max(1, bands), max(rows)),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """The number of values of each variable."""
        return {"cluster": len(self.clusters), "layout": self.layouts, "gpus": self.bands}

    @property
    def distinct(self) -> int:
        """How many different bands there are."""
        return sum(min(self.bands, rows) for rows in self.rows)

    def band(self, point: Point) -> tuple[int, int, int]:
        """The block of a point, and its first and last (excluded) number of GPUs."""
        cluster, layout, gpus = point
        blocks = self.clusters[cluster]
        block = blocks[layout * len(blocks) // self.layouts]
        first = gpus * self.rows[block] // self.bands
        return block, first, max(first + 1, (gpus + 1) * self.rows[block] // self.bands)

    def every(self) -> list[Point]:
        """One point for each band, of the most promising cluster first."""
        found: dict[tuple[int, int, int], Point] = {}
        for cluster in range(len(self.clusters)):
            for layout in range(self.layouts):
                for gpus in range(self.bands):
                    found.setdefault(self.band((cluster, layout, gpus)), (cluster, layout, gpus))
        return list(found.values())

    def heuristics(self) -> list[Point]:
        """Every layout of the most promising clusters, with most GPUs."""
        layouts = sorted({layout * (self.layouts - 1) // 3 for layout in range(4)})
        clusters = range(min(4, len(self.clusters)))
        return self._once((cluster, layout, self.bands - 1) for cluster in clusters for layout in layouts)

    def beside(self, best: Iterable[Point], seen: Iterable[Point]) -> list[Point]:
        """What differs from one of the best points in one variable, the nearest first, and was not seen."""
        near: list[tuple[int, Point]] = []
        for cluster, layout, gpus in best:
            near += [(1, (cluster, other, gpus)) for other in range(self.layouts)]
            near += [(abs(other - gpus), (cluster, layout, other)) for other in range(self.bands)]
            near += [(abs(other - cluster), (other, layout, gpus)) for other in range(len(self.clusters))]
        known = {self.band(point) for point in seen}
        return [point for point in self._once(p for _, p in sorted(near)) if self.band(point) not in known]

    def _once(self, points: Iterable[Point]) -> list[Point]:
        found: dict[tuple[int, int, int], Point] = {}
        for point in points:
            found.setdefault(self.band(point), point)
        return list(found.values())

    def in_words(self) -> str:
        """``76 clusters × 4 layouts``."""
        parts = [f"{len(self.clusters):,} cluster{'s'[: len(self.clusters) != 1]}"]
        if self.layouts > 1:
            parts.append(f"{self.layouts:,} layouts")
        if self.bands > 1:
            parts.append(f"{self.bands:,} bands of GPU counts")
        return " × ".join(parts)


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
