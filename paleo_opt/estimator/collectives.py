r"""The time of one collective: latency and bandwidth terms of Thakur et al. [1] and of the PALEO paper [2].

With K workers, n bytes, a link of β bytes/s and α seconds, and T = n / β the time to move the whole message across one
link once. In PALEO (2017) α = 0 and only the first three all-reduces exist.

References:
    [1] Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH, 2005.
    [2] Qi, Sparks, Talwalkar: Paleo, ICLR 2017.
    [3] Patarasuk, Yuan: Bandwidth optimal all-reduce algorithms for clusters of workstations, 2009.
    [4] Sanders, Speck, Träff: Two-tree algorithms for full bandwidth broadcast, reduction and scan, 2009.
    [5] Graham et al.: Scalable Hierarchical Aggregation Protocol (SHArP), 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = Callable[[Floats, Floats, Floats], Floats]


def _rounds(workers: Floats) -> Floats:
    """⌈log2 K⌉ of integers, the bits of K - 1: exact, where a logarithm may round up past a power of two."""
    rounds: Floats = np.frexp(workers - 1.0)[1].astype(float)
    return rounds


def one_to_all(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """Parameter server, bound by the master's link: 2 (K - 1) (T + α) [2]."""
    return 2.0 * (workers - 1.0) * (transfer + latency)


def tree_all_reduce(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """Binomial tree, up and down: 2 ⌈log2 K⌉ (T + α) [2]."""
    return 2.0 * _rounds(workers) * (transfer + latency)


def butterfly_all_reduce(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """Butterfly (recursive doubling): ⌈log2 K⌉ (T + α) [2]."""
    return _rounds(workers) * (transfer + latency)


def ring_all_reduce(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """Ring: 2 (K - 1)/K T + 2 (K - 1) α [3]."""
    return 2.0 * (workers - 1.0) / workers * transfer + 2.0 * (workers - 1.0) * latency


def double_binary_tree(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """Two pipelined trees, each half of the message: 2 T + 2 ⌈log2 K⌉ α [4]; nothing for one worker."""
    return np.where(workers > 1, 2.0 * transfer + 2.0 * _rounds(workers) * latency, 0.0)


def recursive_halving_doubling(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """Rabenseifner: reduce-scatter by halving, all-gather by doubling: 2 (K - 1)/K T + 2 ⌈log2 K⌉ α [1]."""
    return 2.0 * (workers - 1.0) / workers * transfer + 2.0 * _rounds(workers) * latency


def in_network(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """Reduction in the switch (SHARP): T + 2 α [5]; nothing for one worker."""
    return np.where(workers > 1, transfer + 2.0 * latency, 0.0)


def reduce_scatter(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """Ring reduce-scatter: (K - 1)/K T + (K - 1) α [3]."""
    return (workers - 1.0) / workers * transfer + (workers - 1.0) * latency


def all_gather(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """Ring all-gather of a message of n bytes in all: (K - 1)/K T + (K - 1) α [1]."""
    return (workers - 1.0) / workers * transfer + (workers - 1.0) * latency


def all_to_all(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """Pairwise exchange of n bytes per worker: (K - 1)/K T + (K - 1) α [1]."""
    return (workers - 1.0) / workers * transfer + (workers - 1.0) * latency


def point_to_point(workers: Floats, transfer: Floats, latency: Floats) -> Floats:
    """One message to one neighbour: T + α; nothing for one worker."""
    return np.where(workers > 1, transfer + latency, 0.0)


#: All-reduces over one level, in the order a space lists them. ``hierarchical`` is composed of them by `all_reduce`.
FLAT_ALL_REDUCES: dict[str, Times] = {
    "one_to_all": one_to_all,
    "tree_all_reduce": tree_all_reduce,
    "butterfly_all_reduce": butterfly_all_reduce,
    "ring_all_reduce": ring_all_reduce,
    "double_binary_tree": double_binary_tree,
    "recursive_halving_doubling": recursive_halving_doubling,
    "in_network": in_network,
}
COLLECTIVES = (*FLAT_ALL_REDUCES, "hierarchical")
#: What a library chooses by itself, by its own predicted times; of the roofline model.
AUTO = "auto"
NAMED_COLLECTIVES = (*COLLECTIVES, AUTO)
#: The all-reduces of the published PALEO.
PALEO_COLLECTIVES = ("one_to_all", "tree_all_reduce", "butterfly_all_reduce")


@dataclass(frozen=True, eq=False)
class Paths:
    """The links that bound a path through some devices. Shapes (W,).

    Attributes:
        workers: Devices on the path.
        devices_per_node: Of them, in one node.
        bandwidth: Slowest of the levels that the path spans [bytes/s].
        latency: Largest of those levels [s].
        inside_bandwidth: Of the first level [bytes/s].
        inside_latency: Of the first level [s].
    """

    workers: Floats
    devices_per_node: NDArray[np.int64]
    bandwidth: Floats
    latency: Floats
    inside_bandwidth: Floats
    inside_latency: Floats


def hierarchical(paths: Paths, size: Floats | float, ppp_comm: Floats | float) -> Floats:
    """Reduce-scatter inside the node, ring all-reduce of 1/G between nodes, all-gather inside [seconds].

    Each of the G devices of a node sends its share over 1/G of the node's connection, so between the nodes the whole
    message crosses the node's connection once.
    """
    inside = np.minimum(paths.workers, paths.devices_per_node)
    nodes = np.ceil(paths.workers / paths.devices_per_node)
    transfer = np.asarray(size / (ppp_comm * paths.inside_bandwidth))
    between = np.asarray(size / (ppp_comm * paths.bandwidth))
    # The all-gather takes as long as the reduce-scatter.
    return 2.0 * reduce_scatter(inside, transfer, paths.inside_latency) + ring_all_reduce(nodes, between, paths.latency)


def all_reduce(collectives: Sequence[str], paths: Paths, size: Floats | float, ppp_comm: Floats | float) -> Floats:
    """Time of an all-reduce of ``size`` bytes [s], per collective and path.

    Args:
        collectives: Names out of `COLLECTIVES`; C of them.
        paths: Through the workers, W of them.
        size: Bytes of the message, scalar or shape (W,).
        ppp_comm: Share of a link's bandwidth that the platform attains, scalar or shape (W,).

    Returns:
        Shape (C, W).
    """
    transfer = size / (ppp_comm * paths.bandwidth)
    times = np.empty((len(collectives), *paths.workers.shape))
    for row, name in enumerate(collectives):
        if name == "hierarchical":
            times[row] = hierarchical(paths, size, ppp_comm)
        else:
            times[row] = FLAT_ALL_REDUCES[name](paths.workers, transfer, paths.latency)
    return times
