"""Time of one micro-batch's forward and backward pass under a layout of splits (PALEO [1]).

Replicated layers run on every worker with its own samples. Split layers divide their outputs over ``tensor`` devices
and read what they need of the others' shares: a fetch, one message per device. In the hybrid layout ("One weird
trick": convolutions data-parallel, fully connected layers model-parallel) the split layers run once for each worker's
samples, and all but one of the fetches of the samples are hidden behind that work.

References:
    [1] Qi, Sparks, Talwalkar: Paleo, ICLR 2017.
    [2] Krizhevsky: One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.compute import PartTimes, in_order
from paleo_opt.estimator.connections import make_routes
from paleo_opt.estimator.cost_table import Fetches, Floats, Layout
from paleo_opt.estimator.places import Integers, Places
from paleo_opt.hardware.device import ELEMENT_BYTES

#: The published implementation reads a link's GB as 2^30 bytes in fetches (and as 10^9 in collectives).
_FETCH_GIGABYTE = 2.0**30 / 1e9


@dataclass(frozen=True, eq=False)
class MicroBatchTimes:
    """Seconds of one micro-batch on one device, per micro-batch size. Shapes (batches,).

    Attributes:
        forward: Of replicated layers, with their fetches.
        backward: Likewise.
        divided_forward: Of split layers, over all samples that the device works on, with the fetches not hidden.
        divided_backward: Likewise.
        fetch: The part of all four that waits for other devices' activations.
        workspace: Elements of the largest workspace.
    """

    forward: Floats
    backward: Floats
    divided_forward: Floats
    divided_backward: Floats
    fetch: Floats
    workspace: Floats


@cache
def _slowdowns(kind: str, tensor: int, group: int | None) -> dict[float, int]:
    """How much slower than the link the messages of a fetch are, and how many are that slow.

    A fetch reads from several devices in turn; [1] halves its bandwidth, cumulatively, for each parent in another
    group of ``group`` devices. Of the devices that gather, the slowest counts.
    """
    if kind == "entry":
        return {1.0: 1}
    if group is None:
        return {1.0: tensor - 1 if kind == "gather" else tensor}

    def messages(device: int, sources: Sequence[int]) -> list[float]:
        slow, result = 1.0, []
        for source in sources:
            if source // group != device // group:
                slow *= 2.0
            result.append(slow)
        return result

    if kind == "collect":
        return Counter(messages(0, range(tensor)))
    per_device = [messages(device, [s for s in range(tensor) if s != device]) for device in range(0, tensor, group)]
    per_device.append(messages(tensor - 1, range(tensor - 1)))
    return Counter(max(per_device, key=sum))


@dataclass(frozen=True, eq=False)
class FetchLinks:
    """The links that the devices of a split layer fetch over, beside the batches. Shapes (batches,).

    Attributes:
        elements: Elements/s at platform percent of peak.
        hidden: Values/s of what pipelining hides; [1] counts a byte for each fp32 value, at full peak.
        latency: Seconds of one message.
        group: Devices of a group, beyond which a fetch is slower; 0 for no groups.
    """

    elements: Floats
    hidden: Floats
    latency: Floats
    group: NDArray[np.int64]


def fetch_links(places: Places, place: Integers, tensor: int) -> FetchLinks:
    """The links between ``tensor`` devices at each place."""
    if places.sending is not None:
        sending = places.sending
        routes = make_routes(sending.connections, place, np.full(place.shape, float(tensor)), attained=sending.attained)
        rate = np.where(routes.used, routes.rate, np.inf).min(axis=1) * sending.share[place]
        elements = rate / places.element_bytes[place]
        return FetchLinks(elements, elements, routes.step.max(axis=1), places.fetch_group[place])
    paths = places.paths(place, np.full(place.shape, float(tensor)))
    bandwidth = paths.bandwidth * _FETCH_GIGABYTE
    return FetchLinks(
        elements=places.ppp_comm[place] * bandwidth / places.element_bytes[place],
        hidden=bandwidth * (ELEMENT_BYTES["fp32"] / places.element_bytes[place]),
        latency=paths.latency,
        group=places.fetch_group[place],
    )


def _fetch_time(
    fetches: Fetches, tensor: int, links: FetchLinks, batch: Floats, clock: Floats | float
) -> tuple[Floats, Floats]:
    """Seconds of the fetches of one pass: moving the messages, each at least one clock, and their latencies.

    Shapes (batches,).
    """
    total, messages = np.zeros_like(batch), np.zeros_like(batch)
    groups = set(links.group.tolist())
    for group in groups:
        time, count = np.zeros_like(batch), 0
        for kind, sizes in fetches:
            for slowdown, number in _slowdowns(kind, tensor, group or None).items():
                time += number * in_order(np.maximum(sizes[:, None] * batch * slowdown / links.elements, clock))
                count += number * sizes.size
        of_group = links.group == group
        total, messages = np.where(of_group, time, total), np.where(of_group, count, messages)
    return total, messages * links.latency


def micro_batch_times(
    layout: Layout,
    batch: Floats,
    whole: PartTimes,
    share: PartTimes | None = None,
    links: FetchLinks | None = None,
    clock: Floats | float = 0.0,
) -> MicroBatchTimes:
    """Time of the passes of one micro-batch of each size.

    Args:
        layout: Of splits, compiled.
        batch: Samples per device and pass. Shape (batches,).
        whole: Of the replicated layers.
        share: Of one device's share of the split layers; needed, as ``links``, where ``layout.tensor`` is above 1.
        links: Between the devices of a split layer.
        clock: Seconds, the least that a message takes.
    """
    none = np.zeros_like(batch)
    if layout.tensor == 1 or links is None or share is None:
        return MicroBatchTimes(whole.forward, whole.backward, none, none, none, whole.workspace)
    workspace = np.maximum(whole.workspace, share.workspace)
    divided_forward, divided_backward = share.forward, share.backward
    collect = sum(_fetch_time(layout.replicated_fetches, layout.tensor, links, batch, clock))
    gather, latency = _fetch_time(layout.divided_fetches, layout.tensor, links, batch, clock)
    if layout.split == "hybrid":
        # Once per worker's samples; pipelining hides all but one of the first fetch of each, no latency, and never the
        # computation.
        hidden = layout.entry_elements * batch * (layout.tensor - 1) / links.hidden
        passes = [
            np.maximum(time + gather - hidden, time) * layout.tensor + hidden + layout.tensor * latency
            for time in (divided_forward, divided_backward)
        ]
        waiting = passes[0] + passes[1] - layout.tensor * (divided_forward + divided_backward)
        divided_forward, divided_backward = passes
    else:
        gather = gather + latency
        divided_forward, divided_backward = divided_forward + gather, divided_backward + gather
        waiting = 2.0 * gather
    return MicroBatchTimes(
        whole.forward + collect,
        whole.backward + collect,
        divided_forward,
        divided_backward,
        waiting + 2.0 * collect,
        workspace,
    )
