"""Parameter servers under the default model: gradients pushed to where parameters are kept, parameters pulled back.

Inside a node the devices keep a share of the parameters each, whole tensors at a time [1], or the node's host keeps
them. Between nodes there are servers of their own, by default one on each node, over which the bytes are spread
evenly [2]. With K clients of a server that keeps the share r of S bytes, its connection of B bytes/s takes in
(K - 1) r S and sends as much, and its memory or processor takes in and applies K r S at A bytes/s:

    2 (K - 1) r S / B + K r S / A

The largest share is that of the largest tensor where tensors are whole: why fully connected layers scale badly.

References:
    [1] Chen et al.: MXNet, arXiv:1512.01274 (two levels: devices of a machine, then machines).
    [2] Li et al.: Scaling Distributed Machine Learning with the Parameter Server, OSDI 2014.
    [3] Dean et al.: Large Scale Distributed Deep Networks, NIPS 2012 (asynchronous updates).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paleo_opt.estimator.connections import Floats, Routes


def parameter_server_time(
    routes: Routes,
    size: Floats | float,
    largest: Floats | float = 0.0,
    servers: Floats | float | None = None,
    server_rate: Floats | float = np.inf,
    host: bool = False,
) -> Floats:
    """Seconds from the first push to the last pull of a synchronous update; 0 for one device with no host.

    Args:
        routes: Of W groups of workers (`connections.make_routes`).
        size: Gradients of one worker [bytes], scalar or shape (W,).
        largest: Share of them in the largest tensor, 0 to 1: no device keeps less of the tensors that it keeps.
        servers: Hosts between which the bytes are spread beyond the node; None for one on each node.
        server_rate: Gradients that one server takes in and applies [bytes/s]; of a host's processor and memory.
        host: Whether the parameters within a node are on its host, rather than on its devices.

    Returns:
        Shape (W,).
    """
    sizes = np.broadcast_to(np.asarray(size, dtype=float), routes.devices.shape)
    inside = _inside(routes, sizes, np.asarray(largest, dtype=float), np.asarray(server_rate, dtype=float), host)
    nodes = np.ceil(routes.devices / routes.joined[:, 0])
    kept = 1.0 / (nodes if servers is None else np.asarray(servers, dtype=float))
    outside = routes.used[:, 1:]
    if not outside.shape[1]:
        return inside
    # A server on a node's own host does not send to itself; one elsewhere serves every node.
    clients = nodes - 1.0 if servers is None else nodes
    # A node sends no more than all of its own gradients, however many the servers.
    loads = np.maximum(clients * kept, (clients / np.maximum(nodes, 1.0)))[:, None]
    over = np.where(outside, 2.0 * loads * sizes[:, None] / routes.rate[:, 1:], 0.0).max(axis=1)
    steps = np.where(outside, 2.0 * routes.step[:, 1:], 0.0).sum(axis=1)
    applied = nodes * kept * sizes / np.asarray(server_rate, dtype=float)
    joined = outside.any(axis=1) & (sizes > 0)
    time: Floats = inside + np.where(joined, over + steps + applied, 0.0)
    return time


def _inside(routes: Routes, sizes: Floats, largest: Floats, server_rate: Floats, host: bool) -> Floats:
    """Within a node, seconds."""
    workers, rate, step = routes.joined[:, 0], routes.rate[:, 0], routes.step[:, 0]
    if host:
        # Each over its own lanes, at the same time; the host takes in all of them.
        time: Floats = 2.0 * (sizes / rate + step) + workers * sizes / server_rate
        return np.where(sizes > 0, time, 0.0)
    kept = np.maximum(1.0 / workers, largest)
    shared: Floats = 2.0 * (workers - 1.0) * (kept * sizes / rate + step)
    return np.where((workers > 1) & (sizes > 0), shared, 0.0)


@dataclass(frozen=True, eq=False)
class AsynchronousUpdates:
    """Workers that do not wait for each other, all at the same rate.

    Attributes:
        updates_per_s: Gradients applied.
        staleness: Updates by others between a worker's pull and its push, on average.
        server_bound: Whether the servers, not the workers, set the rate.
    """

    updates_per_s: Floats
    staleness: Floats
    server_bound: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def asynchronous_updates(
    workers: Floats, compute_s: Floats | float, exchange_s: Floats | float, served_s: Floats | float
) -> AsynchronousUpdates:
    """Asynchronous updates [3]: the rate is that of the workers or of the servers, whichever is less.

    Each worker has one gradient on its way, so that every other worker's is applied once in its round, whoever is the
    bottleneck: the mean staleness is workers - 1.

    Args:
        workers: How many; broadcast with the others.
        compute_s: Of one worker's step.
        exchange_s: Of one worker's push and pull over its own connection, when no other is in its way.
        served_s: For which one update keeps the busiest server's connection or processor.
    """
    workers = np.asarray(workers, dtype=float)
    offered = workers / (np.asarray(compute_s, dtype=float) + exchange_s)
    served = np.asarray(served_s, dtype=float)
    most = np.divide(1.0, served, out=np.full(served.shape, np.inf), where=served > 0)
    updates: Floats = np.minimum(offered, most)
    return AsynchronousUpdates(updates, np.broadcast_to(workers - 1.0, updates.shape), most < offered)
