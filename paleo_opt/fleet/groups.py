"""The nodes of a mixed fleet: how many of each kind there are, what joins them, and what they compute in.

Nodes of different kinds are joined by the slowest of their outer links: an exchange that all take part in is as slow as
the slowest pair of a node's inside with one of the outer links. Kinds of one provider can reach each other; between
providers, and between the systems of published measurements, there is a link only where the user names one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.options import Options
from paleo_opt.hardware.cluster import Cluster, Level, Link
from paleo_opt.hardware.device import ELEMENT_BYTES, Device
from paleo_opt.hardware.load import load_cluster, load_link
from paleo_opt.hardware.platform_load import DEFAULT_PLATFORM

#: Devices of one kind at most where nothing says how many nodes there are, as in the default search space.
MOST_DEVICES = 1024
#: Providers whose clusters are each a site of its own.
_APART = ("published", "any")
#: Tried in this order where a device alone would train in another precision than the others.
_PRECISIONS = ("bf16", "fp16", "tf32", "fp32")


@dataclass(frozen=True)
class Kind:
    """Nodes of one cluster, of which a fleet may take some.

    Attributes:
        cluster: What they are.
        most: Nodes at most; None for as many as the budgets allow.
    """

    cluster: Cluster
    most: int | None = None


@dataclass(frozen=True)
class Group:
    """The nodes of one kind in a fleet.

    Attributes:
        cluster: What they are.
        nodes: How many, at least one.
    """

    cluster: Cluster
    nodes: int

    @property
    def devices(self) -> int:
        """Devices of all of them."""
        return self.nodes * self.cluster.devices_per_node


def load_kinds(texts: Sequence[str], overrides: Mapping[str, str] | None = None) -> tuple[Kind, ...]:
    """The kinds written as ``CLUSTER:NODES``, or ``CLUSTER`` alone for as many as the budgets allow.

    Raises:
        SpecError: what is no such text, a cluster given twice, more nodes than there are, or what is wrong in its file.
    """
    kinds: list[Kind] = []
    for text in texts:
        name, colon, count = text.rpartition(":") if ":" in text else (text, "", "")
        digits = count.replace(",", "")
        if colon and not (digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 100_000):
            raise SpecError(f"--on {text[:80]!r}: expected CLUSTER:NODES, such as p4d.24xlarge:2, or CLUSTER alone")
        cluster = load_cluster(name, None, overrides or {})
        if any(kind.cluster.name == cluster.name for kind in kinds):
            raise SpecError(f"--on {cluster.name}: is given twice; expected its nodes in one: {cluster.name}:N")
        most = int(digits) if colon else None
        if most is not None and cluster.max_nodes is not None and most > cluster.max_nodes:
            raise SpecError(f"--on {text}: {cluster.name} has {cluster.max_nodes:,} nodes at most")
        kinds.append(Kind(cluster, most))
    return tuple(kinds)


def most_nodes(kind: Kind, gpus: int | None) -> int:
    """Nodes of a kind that a fleet may take, of at most ``gpus`` devices in all."""
    limits = [kind.most, kind.cluster.max_nodes]
    limits.append((MOST_DEVICES if gpus is None else gpus) // kind.cluster.devices_per_node)
    if kind.most is not None and gpus is None:
        limits.pop()
    return min(limit for limit in limits if limit is not None)


def common_precision(devices: Sequence[Device], asked: str | None = None) -> str:
    """The one precision of a fleet: gradients of one kind are added to those of the others.

    That in which each would train by itself where it is the same for all; else the first of bf16, fp16, tf32 and fp32
    that all have.

    Raises:
        SpecError: there is none, or a device lacks the one asked for.
    """
    if asked is not None:
        for device in devices:
            if asked not in device.peak:
                raise SpecError(
                    f"precision {asked}: {device.name} has no peak in it; it has {', '.join(device.peak)}"
                    f"{nearest(asked, ELEMENT_BYTES) if asked not in ELEMENT_BYTES else ''}"
                )
        return asked
    own = {device.training_precision for device in devices}
    if len(own) == 1:
        return own.pop()
    for precision in _PRECISIONS:
        if all(precision in device.peak for device in devices):
            return precision
    names = " and ".join(device.name for device in devices)
    raise SpecError(f"{names} have no precision in common, so their gradients cannot be added up")


def common_software(devices: Sequence[Device], options: Options) -> tuple[Options, str]:
    """``options`` with one platform for all, and what to tell of it: one job runs one software.

    The devices' own where they agree on one, else `DEFAULT_PLATFORM`.

    Raises:
        SpecError: another model than roofline, asynchronous updates, or inference.
    """
    if options.model != "roofline":
        raise SpecError(
            f"a fleet of several kinds needs --model roofline; {options.model} has no gradients that hide behind passes"
        )
    if options.updates != "synchronous" or not options.training:
        raise SpecError("a fleet of several kinds is for training with synchronous updates")
    if options.platform is not None or len({device.platform for device in devices}) == 1:
        return options, ""
    named = ", ".join(f"{device.name}: {device.platform or DEFAULT_PLATFORM}" for device in devices)
    said = f"all run {DEFAULT_PLATFORM}, as one job runs one software ({named}); --platform says otherwise"
    return replace(options, platform=DEFAULT_PLATFORM), said


def outer_levels(cluster: Cluster) -> tuple[Level, ...]:
    """The levels beyond a node, from the nodes outwards; empty where there are none."""
    return cluster.levels[1:] if cluster.devices_per_node > 1 else cluster.levels


def check_joined(clusters: Sequence[Cluster], link: Link | None) -> None:
    """Refuse kinds that nothing joins. Raises `SpecError`."""
    if len(clusters) < 2:
        return
    for cluster in clusters:
        if cluster.max_nodes == 1 or not outer_levels(cluster):
            raise SpecError(f"{cluster.name} has no link beyond its node, so nothing joins it to other nodes")
    providers = {(cluster.provider, cluster.name if cluster.provider in _APART else "") for cluster in clusters}
    if len(providers) > 1 and link is None:
        named = " and ".join(f"{cluster.name} ({cluster.provider})" for cluster in clusters)
        raise SpecError(f"no published link joins {named}; name one with --link (see: paleo-opt list links)")


def load_joining_link(name: str | None) -> Link | None:
    """The link named to join kinds; None where none is. Raises `SpecError`."""
    return None if name is None else load_link(name)


@dataclass(frozen=True, eq=False)
class Pairing:
    """One device in nodes whose inside is that of a kind and whose outer link is that of a kind.

    Attributes:
        computes: Index of the kind whose device it is.
        inside: Index of the kind whose inside of a node it is.
        outside: Index of the kind whose outer link it is; -1 for the link that was named.
        cluster: Such nodes.
    """

    computes: int
    inside: int
    outside: int
    cluster: Cluster


def make_pairings(clusters: Sequence[Cluster], link: Link | None) -> tuple[Pairing, ...]:
    """Every device in every pairing of an inside with an outer link; a kind's own is the kind's own cluster."""
    named = [] if link is None else [-1]
    found = []
    for computes, inside, outside in product(
        range(len(clusters)), range(len(clusters)), [*range(len(clusters)), *named]
    ):
        own = clusters[computes]
        if computes == inside == outside:
            found.append(Pairing(computes, inside, outside, replace(own, max_nodes=None)))
            continue
        within, beyond = clusters[inside], _levels_of(clusters, outside, link)
        if not beyond:
            continue
        levels = (*(within.levels[:1] if within.devices_per_node > 1 else ()), *beyond)
        mixed = replace(own, devices_per_node=within.devices_per_node, levels=levels, max_nodes=None)
        found.append(Pairing(computes, inside, outside, mixed))
    return tuple(found)


def _levels_of(clusters: Sequence[Cluster], outside: int, link: Link | None) -> tuple[Level, ...]:
    if outside >= 0:
        return outer_levels(clusters[outside])
    assert link is not None
    return (Level("between kinds of nodes", None, link.bandwidth, link.latency, link.constants),)
