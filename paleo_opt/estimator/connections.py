"""What groups of devices have to communicate over, as arrays: the levels of a cluster and what their links attain.

A group is ``devices`` devices, every ``apart``-th of a stretch that is packed onto few nodes. Tensor-parallel groups
are 1 apart, the data-parallel groups beside them ``tensor`` apart, and so on; the ``apart`` groups of one stretch
communicate at the same time and share the connections of the units (nodes, racks) that they all have devices in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.attained import NO_SHIFTS, shift_of, shifted
from paleo_opt.hardware.cluster import Cluster, Level
from paleo_opt.hardware.link_constants import LINK_CONSTANTS, link_constant

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: Takes the place of the level inside nodes of one device, so that the first level is always that.
_NO_NODE = (Level("inside the node", 1, np.inf, 0.0),)
#: Bytes/s beyond any link, that times nothing is nothing.
_UNLIMITED = 1e30


@dataclass(frozen=True, eq=False)
class Connections:
    """What the levels of P clusters attain. Shapes (P, L), from inside the node outwards; short ones repeat their last.

    The first is always that inside the node, also where a node has one device.

    Attributes:
        reach: Devices that a level joins, with those below it; no limit at the last.
        bandwidth: Of one unit's connection, unreduced [bytes/s].
        attained: Share of it by the largest messages.
        step: Seconds of one step of small messages.
        startup: Seconds of an operation whose innermost level this is.
        ramp: Seconds of filling the pipeline of large messages.
        low_latency: Share of the attained bandwidth by the protocol for small messages.
        in_network: Share of the bandwidth by reduction in the switch; 0 where it has none.
        copy: Seconds a byte of copying a device's own share.
        crowding: Exponent by which more than two devices lose bandwidth.
    """

    reach: Floats
    bandwidth: Floats
    attained: Floats
    step: Floats
    startup: Floats
    ramp: Floats
    low_latency: Floats
    in_network: Floats
    copy: Floats
    crowding: Floats


@dataclass(frozen=True, eq=False)
class Routes:
    """The connections of W groups. Shapes (W,) for ``devices``, ``startup`` and ``copy``, else (W, L).

    Attributes:
        devices: In each group, at least 1.
        below: Of them, in one of the units that a level joins.
        joined: Units of the group that a level joins; 1 where the group does not use the level.
        rate: Bytes/s of one unit's connection, of one of the groups that share it.
        switch_rate: Likewise by reduction in the switch; 0 where it has none.
        step, ramp, low_latency: As in `Connections`.
        startup: Seconds of an operation.
        copy: Seconds a byte.
    """

    devices: Floats
    below: Floats
    joined: Floats
    rate: Floats
    switch_rate: Floats
    step: Floats
    ramp: Floats
    low_latency: Floats
    startup: Floats
    copy: Floats

    @property
    def used(self) -> NDArray[np.bool_]:
        """The levels that a group communicates over. Shape (W, L)."""
        return self.joined > 1

    def slower(self, factor: Floats | float) -> Routes:
        """The same with each rate multiplied by ``factor`` (0 to 1), a scalar or shape (W,)."""
        share = np.asarray(factor, dtype=float)[..., None]
        return Routes(
            self.devices, self.below, self.joined, self.rate * share, self.switch_rate * share, self.step, self.ramp,
            self.low_latency, self.startup, self.copy,
        )  # fmt: skip


def make_connections(clusters: Sequence[Cluster], shifts: Mapping[str, float] = NO_SHIFTS) -> Connections:
    """The arrays of some clusters.

    Args:
        clusters: P of them.
        shifts: For names of `LINK_CONSTANTS` behind ``link.``, how many standard deviations they are off their value;
            behind ``@`` the name of the one cluster that is meant.
    """
    listed = [(*_NO_NODE[cluster.devices_per_node > 1 :], *cluster.levels) for cluster in clusters]
    count = max(len(levels) for levels in listed)
    rows = []
    for cluster, levels in zip(clusters, listed, strict=True):
        reach = 1.0
        for index, level in enumerate(levels + levels[-1:] * (count - len(levels))):
            reach *= level.size or np.inf
            own = [
                shifted(
                    link_constant(level.constants, name, level.latency),
                    meaning,
                    shift_of(shifts, f"link.{name}", cluster.name),
                )
                for name, meaning in LINK_CONSTANTS.items()
            ]
            limit = np.inf if index >= len(levels) - 1 else reach
            rows.append((limit, min(level.bandwidth, _UNLIMITED), *own))
    columns = dict(zip(("reach", "bandwidth", *LINK_CONSTANTS), np.array(rows, dtype=float).T, strict=True))
    copy = columns["copy"]
    columns["copy"] = np.divide(1.0, copy, out=np.zeros_like(copy), where=copy > 0)
    return Connections(**{name: column.reshape(len(clusters), count) for name, column in columns.items()})


def make_routes(
    connections: Connections,
    place: Integers,
    devices: Floats,
    apart: Integers | Floats | int = 1,
    attained: float | None = None,
) -> Routes:
    """The connections of some groups.

    Args:
        connections: Of P places.
        place: Of each group. Shape (W,).
        devices: In each group. Shape (W,).
        apart: Between two of its devices, in devices; a scalar or shape (W,).
        attained: Takes the place of every link's attained share (``--ppp-comm``).
    """
    devices = np.asarray(devices, dtype=float)[:, None]
    apart = np.broadcast_to(np.asarray(apart, dtype=float), devices.shape[:1])[:, None]
    reach = connections.reach[place]
    unit = np.concatenate([np.ones_like(devices), reach[:, :-1]], axis=1)
    within = np.clip(np.floor(reach / apart), 1.0, devices)
    below = np.concatenate([np.ones_like(devices), within[:, :-1]], axis=1)
    joined = np.ceil(within / below)
    # Of the connection of a unit: one for each group with devices in it.
    sharing = np.minimum(apart, unit)
    crowd = np.maximum(joined * np.where(unit > 1, 1.0, np.minimum(apart, reach)) / 2.0, 1.0)
    bandwidth = connections.bandwidth[place] * crowd ** -connections.crowding[place] / sharing
    innermost = np.argmax(joined > 1, axis=1)
    each = np.arange(len(devices))
    return Routes(
        devices=devices[:, 0],
        below=below,
        joined=joined,
        rate=bandwidth * (connections.attained[place] if attained is None else attained),
        switch_rate=bandwidth * connections.in_network[place],
        step=connections.step[place],
        ramp=connections.ramp[place],
        low_latency=connections.low_latency[place],
        startup=connections.startup[place][each, innermost],
        copy=connections.copy[place][each, innermost],
    )
