"""Time of one micro-batch's forward and backward pass under a layout of splits (PALEO, section 4.2 and 5.3).

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

from paleo_opt.estimator.collectives import slowest_link
from paleo_opt.estimator.compute import Rates, layer_times, pass_times
from paleo_opt.estimator.cost_table import Fetches, Floats, Layout
from paleo_opt.hardware.cluster import Cluster

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


def _fetch_time(
    fetches: Fetches,
    layout: Layout,
    cluster: Cluster,
    batch: Floats,
    element_bytes: float,
    ppp_comm: float,
) -> Floats:
    """Seconds that the fetches of one pass take, each message at least one clock. Shape (batches,)."""
    total = np.zeros_like(batch)
    if not fetches:
        return total
    bandwidth, latency = slowest_link(cluster, layout.tensor)
    rate = ppp_comm * bandwidth * _FETCH_GIGABYTE / element_bytes
    clock = 1.0 / cluster.device.clock
    for kind, sizes in fetches:
        for slowdown, messages in _slowdowns(kind, layout.tensor, cluster.fetch_group).items():
            transfer = np.maximum(sizes[:, None] * batch * (slowdown / rate), clock)
            total += messages * (transfer.sum(axis=0) + latency * sizes.size)
    return total


def micro_batch_times(
    layout: Layout,
    cluster: Cluster,
    rates: Rates,
    batch: Floats,
    *,
    auto: bool,
    workspace_limit: float,
    pipelined: bool,
    element_bytes: float,
    ppp_comm: float,
) -> MicroBatchTimes:
    """Time of the passes of one micro-batch of each size.

    Args:
        layout: Of splits, compiled.
        cluster: For its links.
        rates: Of its device.
        batch: Samples per device and pass. Shape (batches,).
        auto: Whether each convolution takes its fastest algorithm.
        workspace_limit: Elements a convolution algorithm may use.
        pipelined: Whether memory traffic hides behind arithmetic.
        element_bytes: Bytes of one activation.
        ppp_comm: Share of a link's bandwidth that is attained.
    """
    whole = layer_times(layout.replicated, rates, batch, auto, workspace_limit, pipelined)
    forward, backward = pass_times(whole, layout.replicated.count, pipelined)
    workspace = whole.workspace.max(axis=(0, 1))
    none = np.zeros_like(batch)
    if layout.tensor == 1:
        return MicroBatchTimes(forward, backward, none, none, none, workspace)

    share = layer_times(layout.divided, rates, batch, auto, workspace_limit, pipelined)
    divided_forward, divided_backward = pass_times(share, layout.divided.count, pipelined)
    workspace = np.maximum(workspace, share.workspace.max(axis=(0, 1)))
    collect = _fetch_time(layout.replicated_fetches, layout, cluster, batch, element_bytes, ppp_comm)
    gather = _fetch_time(layout.divided_fetches, layout, cluster, batch, element_bytes, ppp_comm)
    if layout.split == "hybrid":
        # Once per worker's samples; pipelining hides all but one of the first fetch of each, and never the computation.
        bandwidth, _ = slowest_link(cluster, layout.tensor)
        hidden = layout.entry_elements * batch * ((layout.tensor - 1) / (bandwidth * _FETCH_GIGABYTE))
        passes = [
            np.maximum(time + gather - hidden, time) * layout.tensor + hidden
            for time in (divided_forward, divided_backward)
        ]
        waiting = passes[0] + passes[1] - layout.tensor * (divided_forward + divided_backward)
        divided_forward, divided_backward = passes
    else:
        divided_forward, divided_backward = divided_forward + gather, divided_backward + gather
        waiting = 2.0 * gather
    return MicroBatchTimes(
        forward + collect,
        backward + collect,
        divided_forward,
        divided_backward,
        waiting + 2.0 * collect,
        workspace,
    )
