"""The strategies of a transformer on one cluster: every split of its blocks, with every batch that it can take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.strategy import Integers, Strategy
from paleo_opt.search.blocks import Block, Keep, Plans, runs
from paleo_opt.search.layouts import GROUPED, Layouts

#: Plans made at once: whole rows, to about this many.
_PLANS_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class _Batches:
    """What each row can take in one step. V is 2: without and with virtual stages.

    Attributes:
        counts: Pairs of micro-batch and accumulation. Shape (rows, V).
        starts: Where each row's and V's pairs start. Shape (rows, V).
        micro_batch: Of all pairs, by row, then V, then micro-batch. Shape (pairs,).
        accumulation: Likewise.
        fewest: The smallest accumulation of each row and V; 0 where there is none. Shape (rows, V).
    """

    counts: Integers
    starts: Integers
    micro_batch: Integers
    accumulation: Integers
    fewest: Integers


@dataclass(frozen=True, eq=False, kw_only=True)
class TransformerBlock(Block):
    """All strategies of a transformer in one precision on one cluster.

    Attributes:
        split_layouts: Its splits.
        group: Of splits, of each row; ascending, and within a group the GPUs. Shape (rows,).
        micro_batch_tokens: As of `SplitSpace`.
        batch_halvings: Likewise.
    """

    split_layouts: Layouts
    group: Integers
    micro_batch_tokens: int | None
    batch_halvings: int

    @property
    def layouts(self) -> Layouts:
        """Its splits."""
        return self.split_layouts

    @property
    def groups(self) -> Integers:
        """The group of splits of each row. Shape (rows,)."""
        return self.group

    @property
    def rows_key(self) -> tuple[object, ...]:
        """Blocks of one space that have the same of this have as many strategies in each row."""
        return self.gpus.tobytes(), self.group.tobytes()

    @property
    def data(self) -> Integers:
        """Groups of devices that each work on their own samples. Shape (rows,)."""
        groups = self.layouts.groups
        found: Integers = self.gpus // groups.model[self.group]
        return found

    def rows_of(self, strategy: Strategy) -> Integers:
        """The rows that a strategy of this block's cluster and precision may be in."""
        assert strategy.blocks is not None
        groups = self.layouts.groups
        same = self.gpus == strategy.gpus
        for name in GROUPED:
            same &= getattr(groups, name)[self.group] == getattr(strategy.blocks, name)
        return np.flatnonzero(same)

    def of_rows(self, rows: slice | Integers) -> Self:
        """The block with some of its rows."""
        return replace(self, gpus=self.gpus[rows], group=self.group[rows])

    @cached_property
    def _batches(self) -> _Batches:
        """What each row can take in one step."""
        per_pass = self.data[:, None] * self.micro_batch
        stages = self.layouts.groups.pipeline[self.group]
        # Interleaved micro-batches come in rounds of as many as there are stages.
        rounds = np.stack([np.ones_like(stages), stages], axis=1)[:, :, None, None]
        if self.global_batch.size:
            wanted = self.global_batch[self.global_batch <= self.batch_limit]
            accumulation, rest = np.divmod(wanted, per_pass[:, None, :, None])
            valid = (rest == 0) & (accumulation % rounds == 0)
        else:
            wanted = np.unique(self.batch_limit >> np.arange(self.batch_halvings + 1))
            accumulation = wanted // per_pass[:, None, :, None] // rounds * rounds
            valid = accumulation > 0
            valid[..., 1:] &= accumulation[..., 1:] > accumulation[..., :-1]
        valid &= self._small_enough[:, None, :, None]
        row, variant, micro, batch = np.nonzero(valid)
        counts = valid.sum(axis=(2, 3))
        fewest = np.where(valid, accumulation, np.iinfo(np.int64).max).min(axis=(2, 3))
        return _Batches(
            counts=counts,
            starts=(np.cumsum(counts) - counts.reshape(-1)).reshape(counts.shape),
            micro_batch=self.micro_batch[micro],
            accumulation=np.broadcast_to(accumulation, valid.shape)[row, variant, micro, batch],
            fewest=np.where(counts > 0, fewest, 0),
        )

    @property
    def _small_enough(self) -> NDArray[np.bool_]:
        """Which micro-batches each row considers. Shape (rows, micro-batches)."""
        if self.micro_batch_tokens is None:
            return np.ones((self.gpus.size, self.micro_batch.size), dtype=bool)
        context = self.layouts.groups.context[self.group]
        most = self.micro_batch_tokens * context // self.layouts.sequence_length
        found: NDArray[np.bool_] = self.micro_batch <= np.maximum(most, self.micro_batch[0])[:, None]
        return found

    @cached_property
    def _alone(self) -> NDArray[np.bool_]:
        """Whether a row divides nothing among data-parallel devices. Shape (rows,)."""
        found: NDArray[np.bool_] = self.data * self.layouts.groups.context[self.group] == 1
        return found

    @cached_property
    def row_sizes(self) -> Integers:
        """Plans of each row, counted without making them. Shape (rows,)."""
        layouts = self.layouts
        # Splits of each group by whether they have virtual stages; all, and those that are told apart alone.
        some = np.stack([np.ones_like(layouts.alone), layouts.alone])[:, None] & (
            layouts.interleaved == np.arange(2)[:, None]
        )
        found = np.add.reduceat(some, layouts.starts[:-1], axis=2, dtype=np.int64)
        splits = found[self._alone.astype(np.int64), :, self.group]
        sizes: Integers = (splits * self._batches.counts).sum(axis=1)
        return sizes

    def size(self) -> int:
        """Strategies in the block."""
        return int(self.row_sizes.sum()) * len(self.collectives)

    def plans(self, keep: Keep | None = None) -> Iterator[Plans]:
        """The plans in order of their rows, some rows at a time: by split, then micro-batch, then accumulation.

        ``keep`` is asked of each row and split with its smallest micro-batch and its smallest accumulation, which need
        least memory, whether to make the plans of that row and split.
        """
        layouts, batches = self.layouts, self._batches
        lengths = np.diff(layouts.starts)[self.group]
        for first, last in runs(self.row_sizes, _PLANS_AT_ONCE):
            row = np.repeat(np.arange(first, last), lengths[first:last])
            ends = np.cumsum(lengths[first:last])
            layout = np.arange(row.size) + np.repeat(layouts.starts[self.group[first:last]] - ends, lengths[first:last])
            layout += lengths[row]
            variant = layouts.interleaved[layout]
            counts = batches.counts[row, variant]
            kept = np.flatnonzero((counts > 0) & (~self._alone[row] | layouts.alone[layout]))
            row, layout, variant, counts = row[kept], layout[kept], variant[kept], counts[kept]
            start = batches.starts[row, variant]
            if keep is not None:
                pairs = Plans(row, layout, batches.micro_batch[start], batches.fewest[row, variant])
                kept = np.flatnonzero(keep(pairs))
                row, layout, start, counts = row[kept], layout[kept], start[kept], counts[kept]
            if not row.size:
                continue
            pair = np.repeat(start - (np.cumsum(counts) - counts), counts)
            pair += np.arange(pair.size)
            yield Plans(
                row=np.repeat(row, counts),
                layout=np.repeat(layout, counts),
                micro_batch=batches.micro_batch[pair],
                accumulation=batches.accumulation[pair],
            )


def grouped_rows(layouts: Layouts, counts: Integers, data: int | None, batch_limit: int) -> tuple[Integers, Integers]:
    """The rows of a cluster: each group of splits with each number of GPUs that it can have. Shapes (rows,).

    Args:
        layouts: The splits.
        counts: Numbers of GPUs, ascending.
        data: The only number of data-parallel groups, or None for any.
        batch_limit: The largest global batch: not more data-parallel groups than that.

    Returns:
        Group and GPUs of each row, ascending.
    """
    groups = layouts.groups
    model = groups.model[:, None]
    valid = (counts % model == 0) & (counts // model <= batch_limit)
    # Experts are spread over the devices of one stage.
    valid &= counts // groups.pipeline[:, None] % groups.expert[:, None] == 0
    if data is not None:
        valid &= counts // model == data
    group, column = np.nonzero(valid)
    return group, counts[column]
