"""From a search space to blocks of valid strategies.

A block is one cluster, precision and layout of splits; of a transformer, one cluster and precision. Its rows are
numbers of GPUs, and of a transformer those with each group of splits. Its plans are all (row, split, micro-batch,
accumulation) whose global batch is allowed, counted out so that no invalid one is ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.strategy import Integers, Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.search.layouts import Layouts

#: Plans held at once; a tile of a sweep is a slice of them.
_PLANS_AT_ONCE = 1_000_000


class Plans(NamedTuple):
    """Plans as columns, in order of their rows. Shapes (plans,).

    Attributes:
        row: Of the block.
        layout: Of its splits; 0 for a network of layers.
        micro_batch: Samples per device and pass.
        accumulation: Passes per step.
    """

    row: Integers
    layout: Integers
    micro_batch: Integers
    accumulation: Integers

    def at(self, some: slice | Integers) -> Plans:
        """Some of them."""
        return Plans(*(column[some] for column in self))


#: Which plans to keep. Shape (plans,).
Keep = Callable[[Plans], NDArray[np.bool_]]


def joined(parts: Sequence[Plans]) -> Plans:
    """Plans one behind the other."""
    return parts[0] if len(parts) == 1 else Plans(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True, eq=False)
class Block:
    """All strategies of one cluster, precision and layout of splits.

    Attributes:
        cluster: Where.
        precision: Of arithmetic.
        split: ``data``, ``hybrid`` or ``model``; ``blocks`` of a transformer, whose splits have each their own layout.
        tensor: Devices that divide a split layer; 1 under ``blocks``.
        gpus: Of the rows: numbers of GPUs, ascending, each a multiple of ``tensor``. Shape (rows,).
        micro_batch: Ascending.
        accumulation: Ascending; ignored where ``global_batch`` is not empty, and under ``blocks``.
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
    def layouts(self) -> Layouts | None:
        """The splits of a transformer's blocks; None for a network of layers."""
        return None

    @property
    def groups(self) -> Integers:
        """The group of splits of each row; 0 for a network of layers. Shape (rows,)."""
        return np.zeros(self.gpus.shape, dtype=np.int64)

    @property
    def alike(self) -> tuple[object, ...]:
        """Blocks that have the same of this are evaluated together."""
        return self.split, self.tensor, self.collectives, id(self.layouts)

    @property
    def rows_key(self) -> tuple[object, ...]:
        """Blocks of one space that have the same of this have as many strategies in each row."""
        return self.gpus.tobytes(), self.tensor if self.split == "model" else 1

    @property
    def data(self) -> Integers:
        """Devices, or groups of them, that each work on their own samples. Shape (rows,)."""
        return self.gpus // self.tensor if self.split == "model" else self.gpus

    def of_rows(self, rows: slice | Integers) -> Self:
        """The block with some of its rows."""
        return replace(self, gpus=self.gpus[rows])

    def rows_of(self, strategy: Strategy) -> Integers:
        """The rows that a strategy of this block's cluster, precision and layout may be in."""
        return np.flatnonzero(self.gpus == strategy.gpus)

    def strategy(self, gpus: int, layout: int, micro_batch: int, accumulation: int, collective: int = 0) -> Strategy:
        """One strategy; ``layout`` is of the splits, ``collective`` of the names."""
        return Strategy(
            cluster=self.cluster,
            gpus=gpus,
            micro_batch=micro_batch,
            accumulation=accumulation,
            split=self.split,
            tensor=self.tensor,
            collective=self.collectives[collective],
            precision=self.precision,
            blocks=None if self.layouts is None else self.layouts.splits.row(layout),
        )

    def plan_counts(self) -> Integers:
        """Plans of each row and micro-batch. Shape (rows, micro-batches)."""
        per_pass = self.data[:, None] * self.micro_batch
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

    @property
    def row_sizes(self) -> Integers:
        """Plans of each row, counted without making them. Shape (rows,)."""
        found: Integers = self.plan_counts().sum(axis=1)
        return found

    def plans(self, keep: Keep | None = None) -> Iterator[Plans]:
        """The plans in order of their rows, some rows at a time; ``keep`` is of transformers' splits."""
        counts = self.plan_counts()
        for first, last in runs(counts.sum(axis=1), _PLANS_AT_ONCE):
            row, micro_batch, accumulation = self._plans_of(first, last, counts[first:last])
            yield Plans(row, np.zeros(row.shape, dtype=np.int64), micro_batch, accumulation)

    def _plans_of(self, first: int, last: int, counts: Integers) -> tuple[Integers, Integers, Integers]:
        if self.global_batch.size:
            per_pass = self.data[first:last, None] * self.micro_batch
            allowed = self.global_batch[self.global_batch <= self.batch_limit]
            row, micro, batch = np.nonzero(allowed % per_pass[:, :, None] == 0)
            return row + first, self.micro_batch[micro], allowed[batch] // per_pass[row, micro]
        flat = counts.reshape(-1)
        pair = np.repeat(np.arange(flat.size), flat)
        # Within each pair the accumulations count up from the smallest.
        place = np.arange(pair.size) - np.repeat(np.cumsum(flat) - flat, flat)
        row, micro = np.divmod(pair, self.micro_batch.size)
        return row + first, self.micro_batch[micro], self.accumulation[place]


def runs(sizes: Integers, most: int) -> Iterator[tuple[int, int]]:
    """First and last (excluded) of neighbours whose sizes add up to ``most`` or little more; at least one each."""
    ends = np.cumsum(sizes)
    first = 0
    while first < sizes.size:
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + most, side="right")))
        yield first, last
        first = last
