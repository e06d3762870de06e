"""One place where a network may be split: a cluster and a number of its devices, with what is known of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from paleo_opt.errors import SpecError
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.layer_splits.costs import MOST_DEVICES
from paleo_opt.search.budgets import Budgets

#: What is known of a place.
STATES = SOLVED, NO_FIT, BEYOND, WORSE = ("solved", "does not fit", "beyond the budgets", "worse")


@dataclass(frozen=True)
class Figures:
    """What training takes at one place, or what it at least takes.

    Attributes:
        step_s: Of a step.
        dollars_per_million: Samples; NaN without a price.
        time_s, cost_usd, energy_kwh: To the target; NaN without a job, a price or a power.
    """

    step_s: float
    dollars_per_million: float
    time_s: float
    cost_usd: float
    energy_kwh: float


@dataclass(frozen=True)
class SplitPoint:
    """One place: a cluster and a number of its devices.

    Attributes:
        cluster: Where.
        gpus: Devices.
        state: ``solved``; ``does not fit`` a device's memory; ``beyond the budgets`` or ``worse`` than the best, as a
            lower bound says, and not solved.
        figures: Of the fastest splits, or the lower bounds of an unsolved place; None where nothing fits.
        memory_bytes: Of a device; NaN where it was not solved.
        data_parallel_s: Of a step of data parallelism; NaN where it was not solved.
        gap: By how much of itself the step could at most be improved; infinite where nothing is known.
        excess: By how much each budget is exceeded, relative to it.
        reason: Why nothing fits; empty where something does.
    """

    cluster: Cluster
    gpus: int
    state: str
    figures: Figures | None
    memory_bytes: float = math.nan
    data_parallel_s: float = math.nan
    gap: float = math.inf
    excess: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def feasible(self) -> bool:
        """Whether it was solved, and keeps to the budgets."""
        return self.state == SOLVED and all(excess <= 0.0 for excess in self.excess.values())


def as_text(point: SplitPoint) -> str:
    """A place as a study keeps it, but for what the point itself says."""
    given = {
        "state": point.state,
        "figures": None if point.figures is None else asdict(point.figures),
        "memory_bytes": point.memory_bytes,
        "data_parallel_s": point.data_parallel_s,
        "gap": point.gap,
        "excess": dict(point.excess),
        "reason": point.reason,
    }
    return json.dumps(given)


def read(cluster: Cluster, gpus: int, text: str) -> SplitPoint:
    """A place from `as_text` of it."""
    given = json.loads(text)
    figures = given.pop("figures")
    return SplitPoint(cluster, gpus, **given, figures=None if figures is None else Figures(**figures))


def places_of(
    clusters: Sequence[Cluster], gpus: Sequence[int] | None, budgets: Budgets
) -> tuple[tuple[Cluster, ...], tuple[tuple[int, ...], ...]]:
    """The clusters and the numbers of devices of each to consider.

    Args:
        clusters: Asked for.
        gpus: Asked for; by default one node, or under budgets the numbers that `recommend` considers, up to
            `MOST_DEVICES`.
        budgets: Of which that of GPUs counts here.

    Raises:
        SpecError: nothing is left.
    """
    most = MOST_DEVICES if budgets.gpus is None else min(budgets.gpus, MOST_DEVICES)
    found: list[tuple[int, ...]] = []
    for cluster in clusters:
        available = MOST_DEVICES if cluster.max_devices is None else cluster.max_devices
        if gpus is not None:
            sizes = [count for count in gpus if count <= available]
        elif budgets.texts:
            from paleo_opt.search.enumeration import gpu_counts
            from paleo_opt.search.space import load_space

            sizes = gpu_counts(load_space("default"), cluster, most)
        else:
            sizes = sorted({one.devices_per_node for one in clusters if one.devices_per_node <= available})
        found.append(tuple(count for count in dict.fromkeys(sizes) if budgets.gpus is None or count <= budgets.gpus))
    kept = [(cluster, sizes) for cluster, sizes in zip(clusters, found, strict=True) if sizes]
    if not kept:
        names = ", ".join(cluster.name for cluster in clusters)
        if gpus and budgets.gpus is not None and min(gpus) > budgets.gpus:
            raise SpecError(f"gpus {min(gpus):,}: more than the budget of {budgets.gpus:,}")
        raise SpecError(f"gpus {min(gpus or (1,)):,}: more than {names} have")
    return tuple(cluster for cluster, _ in kept), tuple(sizes for _, sizes in kept)
