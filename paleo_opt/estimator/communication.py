r"""The time of collectives under the default model, over every level of a cluster (docs/equations.md, Communication).

An operation is a traffic: at each level the bytes that one unit's connection sends, and the steps that the operation
makes over it one after another. With V_l bytes at level l, of rate B_l, ramp R_l, and h_l steps of a_l seconds,

    small messages: startup + sum_l h_l a_l + max_l V_l / (q_l B_l)
    large messages: startup + sum_l h_l a_l + max_l (V_l / B_l + R_l)

and the operation takes the less of the two, as NCCL picks a protocol [1]: one sends flags with the data and attains
the share q_l of the bandwidth, the other streams through a pipeline that first has to fill. Where an algorithm works
through the levels one after another, the sum over them takes the place of the largest.

References:
    [1] NCCL, src/graph/tuning.cc: protocols LL, LL128 and Simple; rings, trees and NVLS by predicted time.
    [2] Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH, 2005.
    [3] Patarasuk, Yuan: Bandwidth optimal all-reduce algorithms for clusters of workstations, 2009.
    [4] Sanders, Speck, Träff: Two-tree algorithms for full bandwidth broadcast, reduction and scan, 2009.
    [5] Graham et al.: Scalable Hierarchical Aggregation Protocol (SHArP), 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.collectives import COLLECTIVES
from paleo_opt.estimator.connections import Floats, Routes

#: What `communication_time` knows besides the all-reduces of `COLLECTIVES` and ``auto``.
OPERATIONS = ("reduce_scatter", "all_gather", "all_to_all", "broadcast", "point_to_point")
#: Among which ``auto`` chooses.
AUTO_CHOICES = ("ring_all_reduce", "double_binary_tree", "in_network")
AUTO = "auto"


@dataclass(frozen=True, eq=False)
class Traffic:
    """What an algorithm does to the levels, for each byte of the message.

    Attributes:
        volume: Bytes that one unit's connection at a level sends, for each byte of the message. Shape (W, L).
        steps: Over a level, one after another. Shape (W, L).
        serial: Whether the levels work one after another, rather than at the same time.
        own: Share of the message that each device copies. Shape (W,) or 0.
        switched: Levels at which the switch reduces. Shape (W, L), or None.
    """

    volume: Floats
    steps: Floats
    serial: bool = False
    own: Floats | float = 0.0
    switched: NDArray[np.bool_] | None = None


def _rounds(units: Floats) -> Floats:
    """⌈log2 k⌉ of integers; exact."""
    rounds: Floats = np.frexp(units - 1.0)[1].astype(float)
    return np.where(units > 1, rounds, 0.0)


def _edges(routes: Routes) -> Floats:
    """Of a ring through the group that visits one unit after another: the edges that are at each level."""
    units = routes.devices[:, None] / routes.below
    inner = units - units / routes.joined
    outermost = routes.used & (np.cumsum(routes.used[:, ::-1], axis=1)[:, ::-1] == 1)
    return np.where(routes.used, np.where(outermost, units, inner), 0.0)


def _ring(routes: Routes, passes: float) -> Traffic:
    """A ring: every connection passes on (K - 1)/K of the message, in K - 1 steps, ``passes`` times [3]."""
    share = (routes.devices - 1.0) / routes.devices
    volume = np.where(routes.used, passes * share[:, None], 0.0)
    return Traffic(volume, passes * share[:, None] * _edges(routes), own=1.0 / routes.devices)


def _ring_all_reduce(routes: Routes) -> Traffic:
    return _ring(routes, 2.0)


def _double_binary_tree(routes: Routes) -> Traffic:
    """Two pipelined trees, half of the message each [4]: up and down, or across where there are two.

    Within a node that is joined to others, NCCL makes the tree a chain [1].
    """
    chained = routes.used[:, 1:].any(axis=1)
    steps = 2.0 * _rounds(routes.joined)
    steps[:, 0] = np.where(chained, 2.0 * (routes.joined[:, 0] - 1.0), steps[:, 0])
    return Traffic(np.where(routes.used, np.minimum(routes.joined, 3.0) - 1.0, 0.0), steps, own=1.0 / routes.devices)


def _in_network(routes: Routes) -> Traffic:
    """Switches reduce and multicast: the message crosses each of their connections once [5]; else trees."""
    switched = routes.used & (routes.switch_rate > 0)
    tree = _double_binary_tree(routes)
    return Traffic(np.where(switched, 1.0, tree.volume), np.where(switched, 2.0, tree.steps), switched=switched)


def _one_to_all(routes: Routes) -> Traffic:
    """Every worker exchanges the whole message with one master, over the master's connections."""
    others = 2.0 * (routes.devices[:, None] - routes.below)
    volume = np.where(routes.used, others, 0.0)
    outside = np.concatenate([volume[:, 1:], np.zeros_like(volume[:, :1])], axis=1)
    return Traffic(volume, np.where(routes.used, volume - outside, 0.0))


def _binomial(routes: Routes) -> Traffic:
    """A tree that sends whole messages, up and down: 2 ⌈log2 k⌉ of them at each level [2]."""
    rounds = 2.0 * _rounds(routes.joined)
    return Traffic(rounds, rounds, serial=True)


def _butterfly(routes: Routes) -> Traffic:
    """Recursive doubling: ⌈log2 k⌉ exchanges of the whole message at each level, by all devices of a unit at once."""
    rounds = _rounds(routes.joined)
    return Traffic(rounds * np.where(routes.used, routes.below, 0.0), rounds, serial=True)


def _recursive_halving_doubling(routes: Routes) -> Traffic:
    """Reduce-scatter by halving from the nearest outwards, then all-gather by doubling [2]."""
    return Traffic(2.0 * (routes.joined - 1.0) / routes.joined, 2.0 * _rounds(routes.joined), serial=True)


def _hierarchical(routes: Routes) -> Traffic:
    """Ring reduce-scatters from the innermost level outwards, then ring all-gathers back."""
    return Traffic(2.0 * (routes.joined - 1.0) / routes.joined, 2.0 * (routes.joined - 1.0), serial=True)


def _one_pass(routes: Routes) -> Traffic:
    return _ring(routes, 1.0)


def _all_to_all(routes: Routes) -> Traffic:
    """Each device sends 1/K of its message to every other; what leaves a unit crosses its connection."""
    devices = routes.devices[:, None]
    volume = np.where(routes.used, routes.below * (devices - routes.below) / devices, 0.0)
    return Traffic(volume, _rounds(routes.joined), own=1.0 / routes.devices)


def _broadcast(routes: Routes) -> Traffic:
    """A pipelined chain from the first device to the last."""
    steps = np.where(routes.used, routes.devices[:, None] / routes.below * (1.0 - 1.0 / routes.joined), 0.0)
    return Traffic(np.where(routes.used, 1.0, 0.0), steps)


def _point_to_point(routes: Routes) -> Traffic:
    """One message to the next device of the group, at worst over its outermost level."""
    outermost = routes.used & (np.cumsum(routes.used[:, ::-1], axis=1)[:, ::-1] == 1)
    return Traffic(outermost * 1.0, outermost * 1.0)


_TRAFFIC: dict[str, Callable[[Routes], Traffic]] = {
    "one_to_all": _one_to_all,
    "tree_all_reduce": _binomial,
    "butterfly_all_reduce": _butterfly,
    "ring_all_reduce": _ring_all_reduce,
    "double_binary_tree": _double_binary_tree,
    "recursive_halving_doubling": _recursive_halving_doubling,
    "hierarchical": _hierarchical,
    "in_network": _in_network,
    "reduce_scatter": _one_pass,
    "all_gather": _one_pass,
    "all_to_all": _all_to_all,
    "broadcast": _broadcast,
    "point_to_point": _point_to_point,
}


def _time(traffic: Traffic, routes: Routes, size: Floats) -> Floats:
    """Seconds of a traffic of ``size`` bytes, shape (..., W). Shape (..., W)."""
    rate, ramp = routes.rate, routes.ramp
    without = np.zeros(routes.devices.shape)
    if traffic.switched is not None:
        rate = np.where(traffic.switched, routes.switch_rate, rate)
        # Reduced and multicast one after the other: two pipelines to fill.
        ramp = np.where(traffic.switched, 2.0 * ramp, ramp)
        # Switches have no protocol for small messages.
        without[traffic.switched.any(axis=1)] = np.inf
    seconds = traffic.volume / rate
    flagged = seconds / routes.low_latency
    filling = np.where(traffic.volume > 0, ramp, 0.0)
    combine = np.add if traffic.serial else np.maximum
    small, large = np.broadcast_to(without, size.shape), np.zeros(size.shape)
    # Level by level: a reduction over so short an axis would take numpy several times as long.
    for level in range(seconds.shape[1]):
        small = combine(small, size * flagged[:, level])
        large = combine(large, size * seconds[:, level] + filling[:, level])
    steps = (traffic.steps * routes.step).sum(axis=1)
    time: Floats = routes.startup + steps + size * (traffic.own * routes.copy) + np.minimum(small, large)
    return np.where((routes.devices > 1) & (size > 0), time, 0.0)


def communication_time(operation: str, routes: Routes, size: Floats | float) -> Floats:
    """Seconds of one operation by each group; 0 for a group of one device, or of no bytes.

    Args:
        operation: An all-reduce of `COLLECTIVES`, ``auto``, or out of `OPERATIONS`.
        routes: Of W groups (`connections.make_routes`).
        size: Bytes: of the message that every device has whole before or after (all-reduce, broadcast, reduce-scatter,
            all-gather), that a device sends in all, its own part included (all-to-all), or that one sends
            (point-to-point). A scalar, shape (W,), or (..., W) for several messages of each.

    Returns:
        Shape (..., W).

    Raises:
        KeyError: no such operation.
    """
    sizes = _sizes(routes, size)
    if operation == AUTO:
        times: Floats = np.min([time for _, time in _choices(routes, sizes)], axis=0)
        return times
    return _time(_TRAFFIC[operation](routes), routes, sizes)


def _sizes(routes: Routes, size: Floats | float) -> Floats:
    sizes = np.asarray(size, dtype=float)
    return np.broadcast_to(sizes, np.broadcast_shapes(sizes.shape, routes.devices.shape))


def _choices(routes: Routes, sizes: Floats) -> list[tuple[str, Floats]]:
    """What NCCL chooses among, with its time: trees only between nodes, the switch only where one reduces."""
    tree = routes.used[:, 1:].any(axis=1) | (routes.devices < 2)
    switch = (routes.used & (routes.switch_rate > 0)).any(axis=1) & (routes.devices > 2)
    allowed = {"ring_all_reduce": np.ones_like(tree), "double_binary_tree": tree, "in_network": switch}
    return [
        (name, np.where(allowed[name], communication_time(name, routes, sizes), np.inf))
        for name in AUTO_CHOICES
        if allowed[name].any()
    ]


def chosen(routes: Routes, size: Floats | float) -> list[str]:
    """The all-reduce that ``auto`` stands for, by group. Arguments as in `communication_time`."""
    choices = _choices(routes, np.broadcast_to(np.asarray(size, dtype=float), routes.devices.shape))
    best = np.argmin([time for _, time in choices], axis=0)
    return [choices[index][0] for index in best]


def all_reduce_time(collectives: Sequence[str], routes: Routes, size: Floats | float) -> Floats:
    """Seconds of an all-reduce by each of some collectives and groups, as `collectives.all_reduce` has it for PALEO.

    Args:
        collectives: Out of `COLLECTIVES`, or ``auto``; C of them.
        routes: Of W groups.
        size: Bytes of the message, a scalar, shape (W,) or (..., W).

    Returns:
        Shape (C, ..., W).
    """
    assert all(name in (*COLLECTIVES, AUTO) for name in collectives)
    return np.stack([communication_time(name, routes, size) for name in collectives])
