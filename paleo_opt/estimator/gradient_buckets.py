"""Which gradients are sent together, and how far the backward pass is when they are complete.

Layers finish their backward pass in reverse order. Consecutive ones fill a bucket until it has the platform's size, as
PyTorch's DistributedDataParallel does [1]; platforms that send each layer's gradients by themselves have a bucket a
layer, and those that send all at the end have one. At most `MOST_BUCKETS` are kept apart: neighbours beyond are one
group of several messages, complete with its last.

References:
    [1] Li et al.: PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020, arXiv:2006.15704.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from paleo_opt.estimator.cost_table import Floats, Layout
from paleo_opt.estimator.kernel_table import KernelTable
from paleo_opt.network.graph import Layer

MOST_BUCKETS = 8


@dataclass(frozen=True, eq=False)
class GradientBuckets:
    """B groups of messages, in the order of the backward pass.

    Attributes:
        parameters: Of one message of the group, on one device. Shape (B,).
        messages: Of the group. Shape (B,).
        divided: Whether they are of split layers. Shape (B,).
        largest: Share of all parameters in the largest tensor.
        replicated_done: How many layers of each row of the replicated layers are done when the group is complete.
            Shape (B, rows).
        divided_done: Likewise of the split layers. Shape (B, rows).
    """

    parameters: Floats
    messages: Floats
    divided: Floats
    largest: float
    replicated_done: Floats
    divided_done: Floats


@lru_cache(maxsize=1024)
def gradient_buckets(layout: Layout, bucket_parameters: float) -> GradientBuckets:
    """The buckets of a network's gradients under one layout of splits.

    Args:
        layout: Compiled.
        bucket_parameters: Parameters after which a bucket is full: 0 for a bucket a layer, infinity for one in all.
    """
    replicated, divided = layout.replicated_kernels, layout.divided_kernels
    row_of = {**_rows(replicated, False), **_rows(divided, True)}
    layers = dict((*layout.replicated_layers, *layout.divided_layers))
    done = (np.zeros(replicated.rows), np.zeros(divided.rows))
    # Each: parameters of a device, whether split, layers done.
    full: list[tuple[float, bool, Floats, Floats]] = []
    open_parameters = {False: 0.0, True: 0.0}

    def close(split: bool) -> None:
        if open_parameters[split]:
            full.append((open_parameters[split], split, done[0].copy(), done[1].copy()))
            open_parameters[split] = 0.0

    for index in sorted(layers, reverse=True):
        is_divided, row = row_of[index]
        done[is_divided][row] += 1.0
        open_parameters[is_divided] += layers[index].parameters / (layout.tensor if is_divided else 1)
        if open_parameters[is_divided] >= bucket_parameters:
            close(is_divided)
    close(True)
    close(False)
    groups = _grouped(full)
    return GradientBuckets(
        parameters=np.array([sum(each[0] for each in group) / len(group) for group in groups]),
        messages=np.array([float(len(group)) for group in groups]),
        divided=np.array([float(group[-1][1]) for group in groups]),
        largest=_largest(list(layers.values())),
        replicated_done=np.array([group[-1][2] for group in groups]).reshape(len(groups), replicated.rows),
        divided_done=np.array([group[-1][3] for group in groups]).reshape(len(groups), divided.rows),
    )


def _largest(layers: Sequence[Layer]) -> float:
    """Share of all parameters in the largest tensor."""
    whole = sum(layer.parameters for layer in layers)
    return max(layer.weights for layer in layers) / whole if whole else 0.0


def _rows(table: KernelTable, divided: bool) -> dict[int, tuple[bool, int]]:
    return {index: (divided, row) for row, members in enumerate(table.members) for index in members}


def _grouped(buckets: list[tuple[float, bool, Floats, Floats]]) -> list[list[tuple[float, bool, Floats, Floats]]]:
    """About `MOST_BUCKETS` runs of neighbours of one kind and like bytes; the last, which nothing hides, alone."""
    if len(buckets) <= MOST_BUCKETS:
        return [[bucket] for bucket in buckets]
    rest = sum(bucket[0] for bucket in buckets[:-1])
    groups: list[list[tuple[float, bool, Floats, Floats]]] = []
    room = 0.0
    for bucket in buckets[:-1]:
        left = MOST_BUCKETS - 1 - len(groups)
        if not groups or groups[-1][-1][1] != bucket[1] or (bucket[0] > room and left > 0):
            # An even share of what is left, so that one large bucket does not crowd the others together.
            groups.append([])
            room = rest / max(left, 1)
        groups[-1].append(bucket)
        room, rest = room - bucket[0], rest - bucket[0]
    return [*groups, [buckets[-1]]]
