"""How a front moves: with prices a fifth lower or higher, links half or twice as fast, and other terms of rent.

Each is the same question asked again of changed clusters; every strategy is evaluated anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from paleo_opt.estimator.prices import TERMS
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.search.front import Front, find_front
from paleo_opt.search.problem import Choice, SearchProblem, count_strategies

#: A larger space is not evaluated again for each shift.
MOST_SHIFTED = 20_000_000
PRICE_FACTORS = (0.8, 1.2)
LINK_FACTORS = (0.5, 2.0)


@dataclass(frozen=True, eq=False)
class Shift:
    """The front of one changed world.

    Attributes:
        name: Of what is changed, for a reader: ``prices +20%``, ``links × 0.5``, ``spot``.
        kind: ``price``, ``links`` or ``pricing``.
        factor: By which prices or bandwidths are multiplied; 1 where the terms of rent change.
        front: As it is then; of no points where nothing is feasible.
    """

    name: str
    kind: str
    factor: float
    front: Front

    @property
    def best(self) -> Choice | None:
        """What would be recommended then; None where nothing is feasible."""
        place = self.front.best(self.front.problem.goal)
        return None if place is None else self.front.choices[place]

    @property
    def clusters(self) -> int:
        """Clusters that are considered then."""
        return len(self.front.problem.clusters)


def with_prices(cluster: Cluster, factor: float) -> Cluster:
    """``cluster`` with every price multiplied."""

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * factor

    price, owned = cluster.price, cluster.ownership
    if price is not None:
        price = replace(
            price,
            on_demand=price.on_demand * factor,
            reserved_1y=scaled(price.reserved_1y),
            spot=scaled(price.spot),
        )
    if owned is not None:
        owned = replace(
            owned,
            capital=owned.capital * factor,
            hosting=owned.hosting * factor,
            electricity=owned.electricity * factor,
        )
    return replace(cluster, price=price, ownership=owned)


def with_links(cluster: Cluster, factor: float) -> Cluster:
    """``cluster`` with the bandwidth of all its links multiplied, inside the node and between nodes."""
    levels = tuple(replace(level, bandwidth=level.bandwidth * factor) for level in cluster.levels)
    return replace(cluster, levels=levels)


def _changed(problem: SearchProblem, change: Callable[[Cluster, float], Cluster], factor: float) -> SearchProblem:
    return replace(problem, clusters=tuple(change(cluster, factor) for cluster in problem.clusters))


def _on_terms(problem: SearchProblem, pricing: str) -> SearchProblem | None:
    """The problem on other terms of rent, on the clusters that have them; None where none has."""
    options = replace(problem.options, pricing=pricing)
    clusters = tuple(cluster for cluster in problem.clusters if options.node_price(cluster) is not None)
    return replace(problem, options=options, clusters=clusters) if clusters else None


def find_shifts(front: Front) -> tuple[Shift, ...]:
    """The shifts that mean something for a front; none where the space is too large to evaluate again for each."""
    problem = front.problem
    if not front.proved or front.left_out or count_strategies(front.blocks) > MOST_SHIFTED:
        return ()
    changes = [(f"links × {factor:g}", "links", factor, with_links) for factor in LINK_FACTORS]
    if front.against == "cost_usd":
        changes = [
            *((f"prices {'+' if by > 1 else '−'}{abs(by - 1):.0%}", "price", by, with_prices) for by in PRICE_FACTORS),
            *changes,
        ]
    found = [(name, kind, factor, _changed(problem, change, factor)) for name, kind, factor, change in changes]
    for pricing, name in TERMS.items():
        changed = None if pricing == problem.options.pricing else _on_terms(problem, pricing)
        if changed is not None:
            found.append((name, "pricing", 1.0, changed))
    return tuple(Shift(name, kind, factor, find_front(changed)) for name, kind, factor, changed in found)
