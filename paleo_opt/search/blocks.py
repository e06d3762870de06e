"""From a search space to blocks of valid strategies.

A block is one cluster, precision and layout of splits. Its rows are the numbers of GPUs; its plans are all (GPUs,
micro-batch, accumulation) whose global batch is allowed, counted out so that no invalid one is ever made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.strategy import Integers
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.search.space import SearchSpace

#: Plans held at once; a tile of a sweep is a slice of them.
_PLANS_AT_ONCE = 1_000_000


@dataclass(frozen=True, eq=False)
class Block:
    """All strategies of one cluster, precision and layout of splits.

    Attributes:
        cluster: Where.
        precision: Of arithmetic.
        split: ``data``, ``hybrid`` or ``model``.
        tensor: Devices that divide a split layer.
        gpus: The rows: numbers of GPUs, ascending, each a multiple of ``tensor``. Shape (rows,).
        micro_batch: Ascending.
        accumulation: Ascending; ignored where ``global_batch`` is not empty.
        global_batch: The only global batches allowed, or empty for all up to ``batch_limit``.
        batch_limit: The largest global batch.
        collectives: Names.
    """

    cluster: Cluster
    precision: str
    split: str
    tensor: int
    gpus: Integers
    micro_batch: Integers
    accumulation: Integers
    global_batch: Integers
    batch_limit: int
    collectives: tuple[str, ...]

    @property
    def _data(self) -> Integers:
        return self.gpus // self.tensor if self.split == "model" else self.gpus

    def plan_counts(self) -> Integers:
        """Plans of each row and micro-batch. Shape (rows, micro-batches)."""
        per_pass = self._data[:, None] * self.micro_batch
        if self.global_batch.size:
            allowed = self.global_batch[self.global_batch <= self.batch_limit]
            counts: Integers = np.zeros(per_pass.shape, dtype=np.int64)
            for batch in allowed:
                counts += batch % per_pass == 0
            return counts
        return np.searchsorted(self.accumulation, self.batch_limit // per_pass, side="right").astype(np.int64)

    def size(self) -> int:
        """Strategies in the block."""
        return int(self.plan_counts().sum()) * len(self.collectives)

    def plans(self) -> Iterator[tuple[Integers, Integers, Integers]]:
        """The plans in order of their rows, some rows at a time: row, micro-batch, accumulation. Shapes (plans,)."""
        counts = self.plan_counts()
        ends = np.cumsum(counts.sum(axis=1))
        first = 0
        while first < self.gpus.size:
            done = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + _PLANS_AT_ONCE, side="right")))
            yield self._plans_of(first, last, counts[first:last])
            first = last

    def _plans_of(self, first: int, last: int, counts: Integers) -> tuple[Integers, Integers, Integers]:
        if self.global_batch.size:
            per_pass = self._data[first:last, None] * self.micro_batch
            allowed = self.global_batch[self.global_batch <= self.batch_limit]
            row, micro, batch = np.nonzero(allowed % per_pass[:, :, None] == 0)
            return row + first, self.micro_batch[micro], allowed[batch] // per_pass[row, micro]
        flat = counts.reshape(-1)
        pair = np.repeat(np.arange(flat.size), flat)
        # Within each pair the accumulations count up from the smallest.
        place = np.arange(pair.size) - np.repeat(np.cumsum(flat) - flat, flat)
        row, micro = np.divmod(pair, self.micro_batch.size)
        return row + first, self.micro_batch[micro], self.accumulation[place]


def gpu_counts(space: SearchSpace, cluster: Cluster, most: int) -> list[int]:
    """The numbers of GPUs of ``cluster`` to consider, ascending, none above ``most`` or than there are.

    Inside the first node its divisors; then whole nodes: all up to ``nodes_per_octave``, as many in each doubling, and
    the most there can be.
    """
    if cluster.max_devices is not None:
        most = min(most, cluster.max_devices)
    if space.gpus is not None:
        return [count for count in space.gpus if count <= most]
    per_node = cluster.devices_per_node
    counts = [count for count in range(1, per_node + 1) if per_node % count == 0]
    nodes, step = 2, 1
    while nodes * per_node <= most:
        counts.append(nodes * per_node)
        if nodes >= space.nodes_per_octave * step * 2:
            step *= 2
        nodes += step - nodes % step if nodes % step else step
    counts = [count for count in counts if count <= most]
    largest = most // per_node * per_node
    return counts if not counts or counts[-1] >= largest else [*counts, largest]


def make_blocks(
    space: SearchSpace, table: CostTable, clusters: Sequence[Cluster], most_gpus: int, batch_limit: int
) -> list[Block]:
    """Every block of ``space`` that has a strategy, for a network on ``clusters``.

    Args:
        space: What to consider.
        table: The compiled network; a layout it cannot have is left out.
        clusters: Where.
        most_gpus: The budget of GPUs, or the space's largest.
        batch_limit: The largest sensible global batch.
    """
    blocks = []
    layouts = [("data", 1)] if "data" in space.split else []
    layouts += [
        (split, tensor) for split in space.split if split != "data" and split in table.splits for tensor in space.tensor
    ]
    micro_batch = np.array([size for size in space.micro_batch if size <= batch_limit], dtype=np.int64)
    accumulation = np.array(space.accumulation)
    global_batch = np.array(space.global_batch, dtype=np.int64)
    for cluster in clusters:
        counts = np.array(gpu_counts(space, cluster, most_gpus), dtype=np.int64)
        precisions = (
            (cluster.device.training_precision,)
            if space.precision == ("training",)
            else tuple(name for name in space.precision if name in cluster.device.peak)
        )
        for precision in precisions:
            for split, tensor in layouts:
                gpus = counts[counts % tensor == 0]
                block = Block(
                    cluster=cluster,
                    precision=precision,
                    split=split,
                    tensor=tensor,
                    gpus=gpus,
                    micro_batch=micro_batch,
                    accumulation=accumulation,
                    global_batch=global_batch,
                    batch_limit=batch_limit,
                    collectives=space.collective,
                )
                if gpus.size and block.plan_counts().any():
                    blocks.append(block)
    return blocks
