"""Sending gradients under the default model: each bucket's collective, and what the backward pass hides of it.

Bucket b is complete ``lead_b`` before the backward pass ends, and is sent after those before it. What is left when the
pass ends is exposed: max(0, max_b(Σ_{j≥b} c_j - lead_b)), with c_j the time of bucket j's collective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.attained import shift_of, shifted
from paleo_opt.estimator.communication import all_reduce_time
from paleo_opt.estimator.compute import PartTimes, in_order
from paleo_opt.estimator.connections import Connections, Integers, Routes, make_connections, make_routes
from paleo_opt.estimator.cost_table import Floats, Layout
from paleo_opt.estimator.gradient_buckets import GradientBuckets, gradient_buckets
from paleo_opt.estimator.parameter_server import parameter_server_time
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.platform import CONSTANTS, Platform

if TYPE_CHECKING:
    from paleo_opt.estimator.options import Options

#: The collective that is a parameter server.
SERVERS = "one_to_all"


@dataclass(frozen=True, eq=False)
class Sending:
    """How P places send gradients. Shapes (P,).

    Attributes:
        connections: What the levels of the clusters attain.
        bucket_parameters: Parameters after which a bucket is full.
        share: Of what the links attain, by the platform.
        attained: Takes the place of both shares; None for the links' own.
        overlap: Share of the communication that may hide.
        contention: Share of what hides that lengthens the computation behind it.
        server_rate: Gradients that one parameter server takes in and applies [bytes/s].
        host: Whether parameter servers are on the hosts of nodes, rather than on their devices.
        tensor_overlap: Share of tensor-parallel communication that hides.
        pipeline_overlap: Share of what pipeline stages send that hides.
        expert_overlap: Share of the exchanges of experts that hides.
        gather_overlap: Share of gathered parameters that may hide.
        dispatch: Host's time for a kernel [s].
        send: Framework's time for a message between pipeline stages [s].
        fragmentation: Share of the memory in use that no tensor has, besides.
        gradient_bytes: Of one gradient that is added up.
        host_link: Of a device to its host, in each direction [bytes/s]; NaN where it is not published.
        host_update: At which the host goes through a device's share of the optimizer's state [bytes/s].
        fused_attention: Whether attention keeps no scores.
        kept_products: Share of the products whose outputs selective recomputation keeps.
    """

    connections: Connections
    bucket_parameters: Floats
    share: Floats
    attained: float | None
    overlap: Floats
    contention: Floats
    server_rate: Floats
    host: NDArray[np.bool_]
    tensor_overlap: Floats
    pipeline_overlap: Floats
    expert_overlap: Floats
    gather_overlap: Floats
    dispatch: Floats
    send: Floats
    fragmentation: Floats
    gradient_bytes: Floats
    host_link: Floats
    host_update: Floats
    fused_attention: NDArray[np.bool_]
    kept_products: Floats


def make_sending(
    clusters: Sequence[Cluster], platforms: Sequence[Platform], weight_bytes: Floats, options: Options
) -> Sending:
    """How some clusters send gradients of ``weight_bytes`` each, with the platform of each."""

    def constants(name: str) -> Floats:
        return np.array(
            [
                shifted(
                    platform.constant(name),
                    CONSTANTS[name],
                    shift_of(options.shifts, f"platform.{name}", cluster.device.name, platform.name),
                )
                for cluster, platform in zip(clusters, platforms, strict=True)
            ]
        )

    given = options.ppp_comm is not None
    return Sending(
        connections=make_connections(clusters, options.shifts),
        bucket_parameters=np.array([platform.bucket_bytes for platform in platforms]) / weight_bytes,
        share=np.ones(len(clusters)) if given else constants("communication"),
        attained=options.ppp_comm,
        overlap=constants("overlap"),
        contention=constants("contention"),
        server_rate=constants("server"),
        host=np.array([platform.servers == "host" for platform in platforms]),
        tensor_overlap=constants("tensor_overlap"),
        pipeline_overlap=constants("pipeline_overlap"),
        expert_overlap=constants("expert_overlap"),
        gather_overlap=constants("gather_overlap"),
        dispatch=constants("dispatch"),
        send=constants("send"),
        fragmentation=constants("fragmentation"),
        gradient_bytes=np.array(
            [
                weight if platform.gradient_bytes is None else platform.gradient_bytes
                for weight, platform in zip(weight_bytes, platforms, strict=True)
            ]
        ),
        host_link=np.array([cluster.device.host_link or np.nan for cluster in clusters]),
        host_update=constants("host_update"),
        fused_attention=np.array(["attention" in platform.fused for platform in platforms]),
        kept_products=np.array([platform.kept_products for platform in platforms]),
    )


def _by_bucket_size(layout: Layout, sending: Sending, at: Integers) -> list[tuple[GradientBuckets, Integers]]:
    """The buckets, and which of the places ``at`` have them; few platforms differ in them."""
    sizes = sending.bucket_parameters[at]
    return [(gradient_buckets(layout, size), np.flatnonzero(sizes == size)) for size in set(sizes.tolist())]


def most_buckets(layout: Layout, sending: Sending) -> int:
    """Of all places."""
    return max(1, *(gradient_buckets(layout, size).messages.size for size in set(sending.bucket_parameters.tolist())))


def bucket_leads(
    layout: Layout, sending: Sending, at: Integers, whole: PartTimes, share: PartTimes | None, backward: Floats
) -> Floats:
    """How long before the end of the backward pass each bucket is complete [s]; infinite for those a place lacks.

    Args:
        layout: Of splits, compiled.
        sending: Of the places.
        at: Place of each batch. Shape (batches,).
        whole: Of the replicated layers.
        share: Of one device's share of the split layers, or None.
        backward: Of one micro-batch, with what it waits for [s]. Shape (batches,).

    Returns:
        Shape (buckets, batches).
    """
    leads = np.full((most_buckets(layout, sending), at.size), np.inf)
    runs = layout.tensor if layout.split == "hybrid" else 1
    for buckets, columns in _by_bucket_size(layout, sending, at):
        for index in range(buckets.messages.size):
            done = _elapsed(buckets.replicated_done[index], whole, columns)
            if share is not None:
                done = done + runs * _elapsed(buckets.divided_done[index], share, columns)
            leads[index, columns] = np.maximum(backward[columns] - done, 0.0)
    return leads


def _elapsed(done: Floats, part: PartTimes, columns: Integers) -> Floats:
    """Backward time of the layers that are done [s]."""
    assert part.backward_rows is not None
    if not done.size:
        return np.zeros(columns.size)
    return in_order(done[:, None] * part.backward_rows[:, columns])


def bucket_tails(
    layout: Layout, sending: Sending, at: Integers, gpus: Floats, weight_bytes: Floats, collectives: Sequence[str]
) -> Floats:
    """From the start of each bucket's collective to the end of the last's, sent one after another [s].

    Args:
        layout: Of splits, compiled.
        sending: Of the places.
        at: Places. Shape (n,).
        gpus: Devices. Shape (n,).
        weight_bytes: Of one gradient at each place. Shape (n,).
        collectives: C names.

    Returns:
        Shape (buckets, C, n).
    """
    times = np.zeros((most_buckets(layout, sending), len(collectives), at.size))
    for buckets, columns in _by_bucket_size(layout, sending, at):
        place, devices = at[columns], gpus[columns]
        sizes = buckets.parameters[:, None] * weight_bytes[columns]
        for divided, apart in ((False, 1), (True, layout.tensor)):
            rows = np.flatnonzero(buckets.divided == divided)
            if not rows.size:
                continue
            # The devices that hold the same share of a split layer are ``tensor`` apart.
            routes = make_routes(sending.connections, place, devices / apart, apart, sending.attained)
            routes = routes.slower(sending.share[place])
            found = all_reduce_time(collectives, routes, sizes[rows])
            if SERVERS in collectives:
                found[collectives.index(SERVERS)] = _served(sending, buckets, place, routes, sizes[rows])
            times[rows[:, None], :, columns] = (found * buckets.messages[rows, None]).transpose(1, 2, 0)
    tails: Floats = np.cumsum(times[::-1], axis=0)[::-1]
    return tails


def _served(sending: Sending, buckets: GradientBuckets, place: Integers, routes: Routes, sizes: Floats) -> Floats:
    """Seconds of a parameter server for each message. Shape (messages, places)."""
    rate, host = sending.server_rate[place], sending.host[place]
    return np.stack(
        [
            np.where(
                host,
                parameter_server_time(routes, size, server_rate=rate, host=True),
                parameter_server_time(routes, size, buckets.largest, server_rate=rate),
            )
            for size in sizes
        ]
    )


def exchange_time(layout: Layout, sending: Sending, at: Integers, gpus: Floats, weight_bytes: Floats) -> Floats:
    """One worker's push and pull of all gradients when no other is in its way [s]. Shape (n,)."""
    routes = make_routes(sending.connections, at, gpus / layout.tensor, layout.tensor, sending.attained)
    routes = routes.slower(sending.share[at])
    size = (layout.replicated_parameters + layout.divided_parameters / layout.tensor) * weight_bytes
    crossing = np.where(routes.used, size[:, None] / routes.rate + routes.step, 0.0).max(axis=1)
    time: Floats = 2.0 * crossing
    return time


def exposed_time(tails: Sequence[Floats], leads: Sequence[Floats], overlap: Floats, contention: Floats) -> Floats:
    """By how much sending lengthens a step [s]; all broadcast together.

    Args:
        tails: Of each bucket.
        leads: Of each bucket.
        overlap: Share of the whole that may hide.
        contention: Share of what hides that lengthens the computation.
    """
    exposed = tails[0] - leads[0]
    for tail, lead in zip(tails[1:], leads[1:], strict=True):
        exposed = np.maximum(exposed, tail - lead)
    exposed = np.maximum(exposed, (1.0 - overlap) * tails[0])
    lengthened: Floats = exposed + contention * (tails[0] - exposed)
    return lengthened
