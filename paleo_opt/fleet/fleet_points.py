"""The points of a fleet's study: which there are, which are tried first, and which are beside one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from paleo_opt.fleet.bucket_ranges import middles
from paleo_opt.fleet.fleet_problem import BUCKET, LEAST_BUCKET, MOST_BUCKET, WAY, FleetProblem
from paleo_opt.fleet.plan import DATA
from paleo_opt.studies.problem import Point

#: Node counts of one kind alone that are tried first: all up to so many, then in doublings.
_ALL_ALONE = 8
#: Shares of the nodes of each kind that are tried first.
_SCALES = (1.0, 0.5, 0.25)
#: Different groupings of the gradients that are beside one.
_BUCKET_STEPS = (1, -1, 2, -2)


def key(problem: FleetProblem, point: Point) -> tuple[float, ...]:
    """What two points that mean the same have in common: buckets that group the gradients alike are one."""
    size = point.get(BUCKET)
    found = tuple(value for name, value in point.items() if name != BUCKET)
    return found if size is None else (*found, float(problem.bucket_ends(point).searchsorted(size)))


def fits_gpus(problem: FleetProblem, nodes: Sequence[int]) -> bool:
    """Whether some nodes are within the budget of GPUs, and any at all."""
    devices = sum(group.devices for group in problem.groups(nodes))
    return devices > 0 and (problem.budgets.gpus is None or devices <= problem.budgets.gpus)


def every_point(problem: FleetProblem, most: int = 100_000) -> list[Point] | None:
    """Every point within the budget of GPUs, the most devices first; None where they are too many, or continuous."""
    if "bucket" in problem.knobs or math.prod(count + 1 for count in problem.most) > most:
        return None
    counts = [nodes for nodes in itertools.product(*(range(m + 1) for m in problem.most)) if fits_gpus(problem, nodes)]
    counts.sort(key=lambda nodes: -sum(group.devices for group in problem.groups(nodes)))
    return [
        problem.point(nodes, way)
        for way, name in enumerate(problem.ways)
        for nodes in counts
        # A single node is no pipeline.
        if name == DATA or sum(nodes) > 1
    ]


def alone_points(problem: FleetProblem) -> list[Point]:
    """Each kind alone: every number of nodes up to 8, then doublings, and the most."""
    found: list[Point] = []
    for index, most in enumerate(problem.most):
        counts = {*range(1, min(most, _ALL_ALONE) + 1), *(2**power for power in range(most.bit_length())), most}
        for count in sorted((count for count in counts if 1 <= count <= most), reverse=True):
            nodes = [count if other == index else 0 for other in range(len(problem.most))]
            found += [problem.point(nodes, way) for way in range(len(problem.ways)) if fits_gpus(problem, nodes)]
    return found


def first_points(problem: FleetProblem) -> list[Point]:
    """Points worth trying before any sampler, without those that a bound says are beyond a budget.

    All nodes of every choice of kinds, half and a quarter of them, all kinds first; then unlike shares of all kinds,
    and each kind alone.
    """
    kinds = [index for index, most in enumerate(problem.most) if most]
    shares = [dict.fromkeys(some, scale) for scale in _SCALES for some in _choices(kinds)]
    shares += [dict(zip(kinds, some, strict=True)) for some in itertools.product(_SCALES, repeat=len(kinds))]
    mixed = []
    for share in shares:
        nodes = [max(1, round(share[i] * most)) if i in share else 0 for i, most in enumerate(problem.most)]
        devices = sum(group.devices for group in problem.groups(nodes))
        if problem.budgets.gpus is not None and devices > problem.budgets.gpus:
            nodes = [int(count * problem.budgets.gpus / devices) for count in nodes]
        if fits_gpus(problem, nodes):
            # A single node is no pipeline.
            ways = [way for way, name in enumerate(problem.ways) if name == DATA or sum(nodes) > 1]
            mixed += [problem.point(nodes, way) for way in ways]
    found: dict[tuple[float, ...], Point] = {}
    for point in [*mixed, *alone_points(problem)]:
        found.setdefault(key(problem, point), point)
    return [point for point in found.values() if not problem.beyond_budget(point)]


def _choices(kinds: Sequence[int]) -> list[tuple[int, ...]]:
    """Some of the kinds, the most first."""
    return [some for count in range(len(kinds), 0, -1) for some in itertools.combinations(kinds, count)]


def neighbours(problem: FleetProblem, point: Point) -> list[Point]:
    """Points beside one: a node more or less of a kind, one kind's for another's, the other way, the bucket."""
    nodes, way, bucket = problem.nodes_of(point), int(point[WAY]), point.get(BUCKET)
    found: list[Point] = []

    def add(counts: Sequence[int], which: int, size: float | None) -> None:
        if any(counts) and all(0 <= count <= most for count, most in zip(counts, problem.most, strict=True)):
            found.append(problem.point(counts, which, size))

    for index in range(len(nodes)):
        for step in (1, -1):
            counts = list(nodes)
            counts[index] += step
            add(counts, way, bucket)
            for other in range(len(nodes)):
                if other != index:
                    swapped = list(counts)
                    swapped[other] -= step
                    add(swapped, way, bucket)
    for which in range(len(problem.ways)):
        if which != way:
            add(nodes, which, bucket)
    if bucket is not None:
        ends = problem.bucket_ends(point)
        sizes = middles(ends, LEAST_BUCKET)
        at = int(ends.searchsorted(bucket))
        beside = [sizes[other] for step in _BUCKET_STEPS if 0 <= (other := at + step) < sizes.size]
        for size in (*beside, 0.5 * bucket, 2.0 * bucket):
            if LEAST_BUCKET <= size <= MOST_BUCKET:
                add(nodes, way, float(size))
    return found
