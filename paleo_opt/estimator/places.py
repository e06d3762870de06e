"""Where strategies run, as arrays: what each cluster's device and links attain in one precision.

A place is one cluster in one precision. A set of strategies names its places once and indexes them, so that one
evaluation covers every cluster of a space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError
from paleo_opt.estimator.attained import Attained, make_attained
from paleo_opt.estimator.collectives import Paths
from paleo_opt.estimator.compute import Rates
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.synchronization import Sending, make_sending
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.device import ELEMENT_BYTES
from paleo_opt.hardware.platform import Platform

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Places:
    """P places. Shapes (P,), and (P, levels) for the three of the levels; a place with fewer repeats its last.

    Attributes:
        rates: FLOP/s and elements/s at platform percent of peak, and the clock, of the device.
        peak: FLOP/s of the device in the precision, unreduced.
        update_peak: FLOP/s of the optimizer's update: fp32 where the device has it.
        memory_bandwidth: Bytes/s, unreduced.
        element_bytes: Bytes of one activation.
        weight_bytes: Bytes of one weight or gradient, never under two.
        capacity: Bytes of device memory.
        devices_per_node: Devices in a node.
        dollars: Price of a node-second on the terms of the options; NaN where there is none.
        interruptions: Of one node a second, besides failures of devices: of spot nodes only.
        watts: Power of a device; NaN where it is not published.
        ppp_comm: Platform percent of peak of the links.
        fetch_group: PALEO's group of devices for fetches; 0 for none.
        reach: Devices that each level joins, with those below it, from inside the node outwards.
        bandwidth: Of one unit's connection at that level [bytes/s].
        slowest: Smallest bandwidth up to that level [bytes/s].
        latency: Largest latency up to that level [s].
        attained: What the devices attain with their platforms, under the roofline model; else None.
        sending: How their platforms send gradients, likewise.
        alike: The first place with the same device, precision and platform.
    """

    rates: Rates
    peak: Floats
    update_peak: Floats
    memory_bandwidth: Floats
    element_bytes: Floats
    weight_bytes: Floats
    capacity: Floats
    devices_per_node: Integers
    dollars: Floats
    interruptions: Floats
    watts: Floats
    ppp_comm: Floats
    fetch_group: Integers
    reach: Floats
    bandwidth: Floats
    slowest: Floats
    latency: Floats
    attained: Attained | None
    sending: Sending | None
    alike: Integers

    def paths(self, place: Integers, devices: Floats, apart: int = 1) -> Paths:
        """The links that bound a path through ``devices`` devices, packed onto few nodes, at each place. Both (W,).

        Every one is on the path; or every ``apart``-th, on one of ``apart`` paths that share the nodes' connections.
        """
        last = self.reach.shape[1] - 1
        stretch = np.minimum((self.reach[place] < devices[:, None]).sum(axis=1), last)
        slowest = self.slowest
        if apart > 1:
            unit = np.concatenate([np.ones((self.reach.shape[0], 1)), self.reach[:, :-1]], axis=1)
            slowest = np.minimum.accumulate(self.bandwidth / np.minimum(apart, unit), axis=1)
        return Paths(
            workers=devices / apart,
            devices_per_node=np.maximum(1, self.devices_per_node[place] // apart),
            bandwidth=slowest[place, stretch],
            latency=self.latency[place, stretch],
            inside_bandwidth=self.bandwidth[place, 0],
            inside_latency=self.latency[place, 0],
        )


def _interruptions(cluster: Cluster, options: Options) -> float:
    if options.pricing != "spot":
        return 0.0
    stated = None if cluster.price is None else cluster.price.spot_interruptions
    return (options.operations.spot_interruptions if stated is None else stated) / 3600.0


class _Same:
    """Equal to another where both hold the very same object; what is held cannot be hashed by its fields."""

    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held

    def __hash__(self) -> int:
        return id(self.held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.held is other.held


def make_places(clusters: Sequence[Cluster], precisions: Sequence[str], options: Options) -> Places:
    """The arrays of some clusters, each in its precision; those of the last few calls are kept.

    Raises:
        SpecError: a device has no peak in its precision.
    """
    # A platform's file may change under the same options.
    platforms = [options.platform_of(cluster.device) for cluster in clusters] if options.model == "roofline" else []
    return _make_places(tuple(map(_Same, clusters)), tuple(precisions), _Same(options), tuple(map(_Same, platforms)))


@lru_cache(maxsize=32)
def _make_places(
    held: tuple[_Same, ...], precisions: tuple[str, ...], held_options: _Same, platforms: tuple[_Same, ...]
) -> Places:
    clusters = [one.held for one in held if isinstance(one.held, Cluster)]
    software = [one.held for one in platforms if isinstance(one.held, Platform)]
    options = held_options.held
    assert isinstance(options, Options)
    rows = []
    levels = max(len(cluster.levels) for cluster in clusters)
    stretches = []
    for cluster, precision in zip(clusters, precisions, strict=True):
        device = cluster.device
        if precision not in device.peak:
            raise SpecError(f"{device.name} has no peak in {precision}; it has {', '.join(device.peak)}")
        price = options.node_price(cluster)
        ppp, element = options.device_ppp(device, precision), float(ELEMENT_BYTES[precision])
        rows.append(
            (
                ppp * device.peak[precision],
                ppp * device.memory_bandwidth / element,
                1.0 / device.clock,
                device.peak[precision],
                device.peak.get("fp32", max(device.peak.values())),
                device.memory_bandwidth,
                element,
                max(element, 2.0),
                device.memory,
                cluster.devices_per_node,
                np.nan if price is None else price.dollars_per_hour / 3600.0,
                _interruptions(cluster, options),
                np.nan if device.power is None else device.power,
                options.cluster_ppp(cluster),
                cluster.fetch_group or 0,
            )
        )
        reach, slowest, longest = 1.0, np.inf, 0.0
        for level in cluster.levels + cluster.levels[-1:] * (levels - len(cluster.levels)):
            reach *= level.size or np.inf
            slowest, longest = min(slowest, level.bandwidth), max(longest, level.latency)
            stretches.append((reach, level.bandwidth, slowest, longest))
    columns = np.array(rows).T
    flops, elements, clock, peak, update_peak, memory_bandwidth, element_bytes, weight_bytes = columns[:8]
    capacity, devices_per_node, dollars, interruptions, watts, ppp_comm, fetch_group = columns[8:]
    of_levels = np.array(stretches).T.reshape(4, len(clusters), levels)
    return Places(
        rates=Rates(flops, elements, clock),
        peak=peak,
        update_peak=update_peak,
        memory_bandwidth=memory_bandwidth,
        element_bytes=element_bytes,
        weight_bytes=weight_bytes,
        capacity=capacity,
        devices_per_node=devices_per_node.astype(np.int64),
        dollars=dollars,
        interruptions=interruptions,
        watts=watts,
        ppp_comm=ppp_comm,
        fetch_group=fetch_group.astype(np.int64),
        reach=of_levels[0],
        bandwidth=of_levels[1],
        slowest=of_levels[2],
        latency=of_levels[3],
        attained=make_attained(
            [cluster.device for cluster in clusters], precisions, software, options.ppp_comp, options.shifts
        )
        if software
        else None,
        sending=make_sending(clusters, software, weight_bytes, options) if software else None,
        alike=_alike(clusters, precisions),
    )


def _alike(clusters: Sequence[Cluster], precisions: Sequence[str]) -> Integers:
    """For each place the first one that computes as it does: another cluster of the same device."""
    first: dict[tuple[int, str], int] = {}
    pairs = [(id(cluster.device), precision) for cluster, precision in zip(clusters, precisions, strict=True)]
    return np.array([first.setdefault(pair, index) for index, pair in enumerate(pairs)], dtype=np.int64)
