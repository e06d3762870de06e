"""What a node costs an hour, on each of the terms it can be had on."""

from __future__ import annotations

from dataclasses import dataclass

from paleo_opt.estimator.energy import PowerModel
from paleo_opt.hardware.cluster import Cluster

#: The terms of `PRICINGS` in words.
TERMS = {
    "on_demand": "on demand",
    "reserved_1y": "reserved for a year",
    "spot": "spot",
    "owned": "owned",
}


@dataclass(frozen=True)
class NodePrice:
    """The price of one node.

    Attributes:
        dollars_per_hour: Of a whole node.
        terms: In words: ``on demand``.
        where: Region, or ``own site``.
        date: When it was read.
        source: Where from.
    """

    dollars_per_hour: float
    terms: str
    where: str
    date: str
    source: str


def owned_dollars_per_hour(cluster: Cluster, power: PowerModel) -> float | None:
    """A node of one's own: capital written off over the hours it works, hosting, and electricity at full load.

    capital / (lifetime · utilization) + hosting / utilization + TDP · devices · (busy + node) · PUE · tariff; None
    where the cluster has no ``ownership`` or the device no published power.
    """
    owned, watts = cluster.ownership, cluster.device.power
    if owned is None or watts is None:
        return None
    hours = owned.lifetime_s / 3600.0 * owned.utilization
    drawn = watts * cluster.devices_per_node * (power.busy + power.node) * power.pue
    return owned.capital / hours + owned.hosting / owned.utilization + drawn * 3600.0 * owned.electricity


def node_price(cluster: Cluster, pricing: str, power: PowerModel) -> NodePrice | None:
    """The price of a node on the terms of ``pricing``, one of `hardware.cluster.PRICINGS`; None where not known."""
    if pricing == "owned":
        hourly = owned_dollars_per_hour(cluster, power)
        if hourly is None or cluster.ownership is None:
            return None
        return NodePrice(hourly, TERMS[pricing], "own site", cluster.ownership.date, cluster.ownership.source)
    price = cluster.price
    found: float | None = None if price is None else getattr(price, pricing)
    if price is None or found is None:
        return None
    return NodePrice(found, TERMS[pricing], price.region, price.date, price.source)
