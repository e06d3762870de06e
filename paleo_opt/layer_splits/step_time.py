r"""The time of a step as the largest of sums over layers and edges.

``sequence`` is OptCNN's objective [1]: layers, what moves between them and the all-reduces, one after another. One sum:

    t = Σ_layers (passes · (forward + backward + exchange) + update + sync) + Σ_edges passes · redistribution

``hidden`` is that of the rest of the program (`synchronization.exposed_time`): all-reduces are sent one after another
during the last backward pass, each bucket of consecutive layers as soon as the gradients of all are there, and a step
ends with the later of the two. With layers numbered from the first, c the all-reduces, b the backward pass (with what
moves), k the contention, o the overlap and t_0 the sum above without sync, it is the largest of

    t_0 + k Σ_u c_u + (1 - k) (Σ_{u<=l} c_u - Σ_{u<f} b_u)      for each bucket of the layers f to l
    t_0 + k Σ_u c_u + (1 - k) (1 - o) Σ_u c_u

The buckets are those of data parallelism, whatever the split.

References:
    [1] Jia, Lin, Qi, Aiken: Exploring Hidden Dimensions in Parallelizing Convolutional Neural Networks, ICML 2018,
        arXiv:1802.04924.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paleo_opt.layer_splits.costs import SplitCosts
from paleo_opt.layer_splits.degrees import Floats
from paleo_opt.layer_splits.series_parallel import PairwiseCosts

#: Whether all-reduces hide behind the backward pass.
OBJECTIVES = ("hidden", "sequence")


@dataclass(frozen=True, eq=False)
class StepTime:
    """A step as the largest of F sums.

    Attributes:
        costs: Of layers and edges.
        edges: Pairs of layers, in the order of the last axis of ``moving``.
        sync: How often each sum counts each layer's all-reduce. Shape (F, layers).
        backward: Likewise its backward pass, besides once. Shape (F, layers).
        moving: Likewise each edge's backward redistribution. Shape (F, edges).
    """

    costs: SplitCosts
    edges: tuple[tuple[int, int], ...]
    sync: Floats
    backward: Floats
    moving: Floats

    def sums(self, chosen: Sequence[int]) -> Floats:
        """Each of the sums, for one split of each layer [s]. Shape (F,)."""
        costs, passes = self.costs, self.costs.passes
        nodes = list(zip(costs.nodes, chosen, strict=True))
        base = sum(float(passes * (n.forward + n.backward + n.exchange)[k] + n.update[k]) for n, k in nodes)
        edges = [(costs.edges[i, j], (chosen[i], chosen[j])) for i, j in self.edges]
        base += sum(passes * float(edge.time[at]) for edge, at in edges) + costs.fixed
        sync = np.array([float(node.sync[k]) for node, k in nodes])
        backward = np.array([float((node.backward + node.exchange / 2.0)[k]) for node, k in nodes])
        moving = np.array([float(edge.backward[at]) for edge, at in edges])
        found: Floats = base + self.sync @ sync + self.backward @ backward + self.moving @ moving
        return found

    def total(self, chosen: Sequence[int]) -> float:
        """Seconds of a step with one split of each layer."""
        return float(self.sums(chosen).max())

    def mixed(self, weights: Floats, price: float = 0.0) -> PairwiseCosts:
        """The sums times ``weights`` (which add up to 1), and ``price`` a byte of memory; without the fixed part.

        Layers and edges that are alike, and counted alike, share their arrays.
        """
        passes = self.costs.passes
        sync, backward, moving = (np.round(weights @ part, 12) for part in (self.sync, self.backward, self.moving))
        known: dict[tuple[int, float, float], Floats] = {}
        nodes = []
        for index, node in enumerate(self.costs.nodes):
            key = (id(node), float(sync[index]), float(backward[index]))
            if key not in known:
                known[key] = (
                    passes * (node.forward + node.backward + node.exchange)
                    + node.update
                    + sync[index] * node.sync
                    + backward[index] * (node.backward + node.exchange / 2.0)
                    + price * node.memory
                )
            nodes.append(known[key])
        pairs = {}
        for index, pair in enumerate(self.edges):
            edge = self.costs.edges[pair]
            key = (id(edge), float(moving[index]), 0.0)
            if key not in known:
                known[key] = passes * edge.time + moving[index] * edge.backward + price * edge.memory
            pairs[pair] = known[key]
        return PairwiseCosts(nodes, pairs)

    def changes(self, chosen: Sequence[int], layer: int) -> tuple[Floats, Floats]:
        """The sums [s] and the memory [bytes] with each split of ``layer``, the other layers as they are.

        Returns:
            Shapes (F, K) and (K,): differences from those of ``chosen``.
        """
        passes, node = self.costs.passes, self.costs.nodes[layer]
        backward = node.backward + node.exchange / 2.0
        alike = passes * (node.forward + node.backward + node.exchange) + node.update
        memory = node.memory
        sums = self.sync[:, layer, None] * node.sync + self.backward[:, layer, None] * backward
        for index, (i, j) in enumerate(self.edges):
            if layer in (i, j):
                edge = self.costs.edges[i, j]
                at = (slice(None), chosen[j]) if layer == i else (chosen[i], slice(None))
                alike = alike + passes * edge.time[at]
                memory = memory + edge.memory[at]
                sums = sums + self.moving[:, index, None] * edge.backward[at]
        sums, now = sums + alike, chosen[layer]
        return sums - sums[:, now, None], memory - memory[now]


def step_time(costs: SplitCosts, objective: str = "hidden") -> StepTime:
    """The step of ``costs`` under one of `OBJECTIVES`."""
    layers, edges = len(costs.layers), tuple(costs.edges)
    if objective == "sequence":
        return StepTime(costs, edges, np.ones((1, layers)), np.zeros((1, layers)), np.zeros((1, len(edges))))
    buckets = gradient_buckets([layer.parameters for layer in costs.layers], costs.bucket_parameters)
    sums = len(buckets) + 1
    own = 1.0 - costs.contention
    sync = np.full((sums, layers), costs.contention)
    backward, moving = np.zeros((sums, layers)), np.zeros((sums, len(edges)))
    target = np.array([j for _, j in edges], dtype=np.intp)
    for row, (first, last) in enumerate(buckets):
        sync[row, : last + 1] += own
        backward[row, :first] -= own
        moving[row] -= own * (target <= first)
    sync[-1] += own * (1.0 - costs.overlap)
    return StepTime(costs, edges, sync, backward, moving)


def gradient_buckets(parameters: Sequence[int], size: float) -> list[tuple[int, int]]:
    """The first and the last layer of each bucket, in the order of the backward pass.

    Args:
        parameters: Of each layer.
        size: Parameters after which a bucket is full: 0 for a bucket a layer, infinity for one in all.
    """
    buckets, last, full = [], -1, 0
    for index in range(len(parameters) - 1, -1, -1):
        if parameters[index] and last < 0:
            last = index
        full += parameters[index]
        if last >= 0 and full >= size:
            buckets.append((index, last))
            last, full = -1, 0
    if last >= 0:
        buckets.append((next(index for index, count in enumerate(parameters) if count), last))
    return buckets
