"""Links and clusters: devices per node, the levels of interconnect, and what a node costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paleo_opt.hardware.constant import Constant
from paleo_opt.hardware.device import Device


@dataclass(frozen=True)
class Link:
    """One kind of link.

    Attributes:
        name: As in its file.
        description: What it is.
        bandwidth: Bytes/s per direction.
        latency: Seconds of one message.
        source: Where the numbers are from.
        constants: What it attains under the default model, by name of `LINK_CONSTANTS`; those that its file gives.
    """

    name: str
    description: str
    bandwidth: float
    latency: float
    source: str
    constants: Mapping[str, Constant] = field(default_factory=dict, hash=False)
    file: str = ""


@dataclass(frozen=True)
class Level:
    """One level of a cluster's interconnect; the first joins devices into a node, the next nodes, and so on.

    Attributes:
        name: For readers: ``inside the node``, ``between nodes``, ``beyond the switch``.
        size: How many units of the level below it joins (devices for the first level); None is without limit.
        bandwidth: Bytes/s per direction of one unit's connection: a device's at the first level, a whole node's
            (all its network cards together) at the second.
        latency: Seconds of one message.
        constants: Its link's, or its own (see `Link`).
    """

    name: str
    size: int | None
    bandwidth: float
    latency: float
    constants: Mapping[str, Constant] = field(default_factory=dict, hash=False)


#: The terms on which nodes are had.
PRICINGS = ("on_demand", "reserved_1y", "spot", "owned")


@dataclass(frozen=True)
class Price:
    """What one node costs an hour.

    Attributes:
        on_demand: Dollars an hour.
        reserved_1y: Dollars an hour with a one-year commitment, or None.
        spot: Dollars an hour, interruptible, or None.
        spot_interruptions: Of one spot node an hour, where a source says; else None.
        region: Where.
        date: When these prices were read; a price without a date is refused.
        source: Where from.
    """

    on_demand: float
    reserved_1y: float | None
    spot: float | None
    region: str
    date: str
    source: str
    spot_interruptions: float | None = None


@dataclass(frozen=True)
class Ownership:
    """What one node of one's own costs.

    Attributes:
        capital: Dollars of a node with its share of network and racks.
        lifetime_s: Over which it is written off [s].
        utilization: Share of that time in which it does paid work (0 to 1].
        electricity: Dollars a joule.
        hosting: Dollars an hour for space, staff and spares.
        date: When these were true.
        source: Where from.
    """

    capital: float
    lifetime_s: float
    utilization: float
    electricity: float
    hosting: float
    date: str
    source: str


@dataclass(frozen=True)
class Cluster:
    """Nodes of identical devices and the links between them.

    Attributes:
        name: As in its file.
        description: One line.
        provider: ``AWS``, ``GCP``, ``Azure``, ``Lambda``, ``on premises``, ``published``.
        device: What each node holds.
        devices_per_node: How many; whole nodes are rented and paid.
        levels: From inside the node outwards; at least one.
        max_nodes: How many nodes there are, or None where no limit is published.
        price: None where none is published (then it has no cost, and is refused under a money budget).
        ppp_comm: Platform percent of peak of its links, where a source gives one.
        fetch_group: PALEO's 2017 rule for hybrid parallelism: a fetch from another group of this many devices halves
            its bandwidth, cumulatively; None for no such groups.
        source: Where the numbers are from.
        ownership: What a node of one's own costs, or None.
    """

    name: str
    description: str
    provider: str
    device: Device
    devices_per_node: int
    levels: tuple[Level, ...]
    max_nodes: int | None
    price: Price | None
    source: str
    ppp_comm: float | None = None
    fetch_group: int | None = None
    file: str = ""
    ownership: Ownership | None = None

    @property
    def max_devices(self) -> int | None:
        """Devices of the whole cluster, or None where there is no published limit."""
        return None if self.max_nodes is None else self.max_nodes * self.devices_per_node


def single_device_cluster(device: Device) -> Cluster:
    """One device by itself: no links, no price."""
    return Cluster(
        name=device.name,
        description=f"{device.description}, one by itself",
        provider="any",
        device=device,
        devices_per_node=1,
        # Nothing is sent; a link without limit keeps the formulas whole.
        levels=(Level("none", 1, 1e300, 0.0),),
        max_nodes=1,
        price=None,
        source=device.source,
        file=device.file,
    )
