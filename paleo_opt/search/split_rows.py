"""The plans of a transformer: every split of its blocks on every number of GPUs, with every batch that it can take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.strategy import Integers
from paleo_opt.search.blocks import Keep, Plans, runs
from paleo_opt.search.layouts import Layouts

#: Plans made at once: whole rows, to about this many; and rows whose batches are made at once.
_PLANS_AT_ONCE = 262_144
_ROWS_AT_ONCE = 4_096


@dataclass(frozen=True, eq=False)
class _Batches:
    """What each row can take in one step. V is 2: without and with virtual stages. M micro-batches.

    Attributes:
        counts: Accumulations. Shape (rows, V, M).
        starts: Where those of each row, V and micro-batch start. Shape (rows, V, M).
        accumulation: All of them. Shape (accumulations,).
        fewest: The smallest; 0 where there is none. Shape (rows, V, M).
    """

    counts: Integers
    starts: Integers
    accumulation: Integers
    fewest: Integers


@dataclass(frozen=True, eq=False)
class SplitRows:
    """Rows: a number of GPUs with a group of splits each.

    Attributes:
        layouts: The splits.
        gpus: Of each row. Shape (rows,).
        group: Of splits, of each row. Shape (rows,).
        micro_batch: Ascending.
        global_batch: The only global batches allowed, ascending; or empty for the largest and its halves.
        batch_limit: The largest global batch.
        micro_batch_tokens: As of `SplitSpace`.
        batch_halvings: Likewise.
    """

    layouts: Layouts
    gpus: Integers
    group: Integers
    micro_batch: Integers
    global_batch: Integers
    batch_limit: int
    micro_batch_tokens: int | None
    batch_halvings: int

    @property
    def data(self) -> Integers:
        """Groups of devices that each work on their own samples. Shape (rows,)."""
        found: Integers = self.gpus // self.layouts.groups.model[self.group]
        return found

    def at(self, rows: slice | Integers) -> SplitRows:
        """Some of them."""
        return replace(self, gpus=self.gpus[rows], group=self.group[rows])

    @cached_property
    def sizes(self) -> Integers:
        """Plans of each row, counted without making them. Shape (rows,)."""
        parts = (slice(start, start + _ROWS_AT_ONCE) for start in range(0, self.gpus.size, _ROWS_AT_ONCE))
        return np.concatenate([part._sizes(part._batches()) for part in map(self.at, parts)])

    def _sizes(self, batches: _Batches) -> Integers:
        layouts = self.layouts
        # Splits of each group by whether they have virtual stages; all, and those that are told apart alone.
        some = np.stack([np.ones_like(layouts.alone), layouts.alone])[:, None] & (
            layouts.interleaved == np.arange(2)[:, None]
        )
        splits = np.add.reduceat(some, layouts.starts[:-1], axis=2, dtype=np.int64)
        found: Integers = (splits[self._alone.astype(np.int64), :, self.group] * batches.counts.sum(axis=2)).sum(axis=1)
        return found

    def plans(self, keep: Keep | None = None) -> Iterator[Plans]:
        """The plans in order of the rows, some rows at a time: by split, then micro-batch, then accumulation.

        ``keep`` is asked whether to make plans: of a row and split by the smallest micro-batch and accumulation of any
        of them, then of each micro-batch by its smallest accumulation. These need least memory.
        """
        for start in range(0, self.gpus.size, _ROWS_AT_ONCE):
            some = self.at(slice(start, start + _ROWS_AT_ONCE))
            batches = some._batches()
            for first, last in runs(some._sizes(batches), _PLANS_AT_ONCE):
                plans = some._plans(batches, start, first, last, keep)
                if plans.row.size:
                    yield plans

    def _plans(self, batches: _Batches, offset: int, first: int, last: int, keep: Keep | None) -> Plans:
        """The plans of rows ``first`` to ``last`` (excluded), which are ``offset`` further for the caller."""
        layouts = self.layouts
        begin, end = layouts.starts[self.group[first:last]], layouts.starts[self.group[first:last] + 1]
        lengths = end - begin
        row = np.repeat(np.arange(first, last), lengths)
        layout = np.arange(row.size) + np.repeat(end - np.cumsum(lengths), lengths)
        possible = batches.counts.max(axis=2) > 0
        kept = np.flatnonzero(possible[row, layouts.interleaved[layout]] & (~self._alone[row] | layouts.alone[layout]))
        row, layout = row[kept], layout[kept]
        variant = layouts.interleaved[layout]

        def looked_at(row: Integers, layout: Integers, micro: Integers, accumulation: Integers) -> Integers:
            if keep is None or not row.size:
                return np.arange(row.size)
            return np.flatnonzero(keep(Plans(row + offset, layout, self.micro_batch[micro], accumulation)))

        smallest = (batches.counts > 0).argmax(axis=2)[row, variant]
        # A larger micro-batch may come with a smaller accumulation.
        fewest = np.where(batches.counts > 0, batches.fewest, np.iinfo(np.int64).max).min(axis=2)
        kept = looked_at(row, layout, smallest, fewest[row, variant])
        row, layout, variant = row[kept], layout[kept], variant[kept]
        pair, micro = np.nonzero(batches.counts[row, variant])
        row, layout, variant = row[pair], layout[pair], variant[pair]
        kept = looked_at(row, layout, micro, batches.fewest[row, variant, micro])
        row, layout, variant, micro = row[kept], layout[kept], variant[kept], micro[kept]
        counts = batches.counts[row, variant, micro]
        place = np.repeat(batches.starts[row, variant, micro] - (np.cumsum(counts) - counts), counts)
        place += np.arange(place.size)
        return Plans(
            row=np.repeat(row + offset, counts),
            layout=np.repeat(layout, counts),
            micro_batch=np.repeat(self.micro_batch[micro], counts),
            accumulation=batches.accumulation[place],
        )

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
        valid &= self.small_enough[:, None, :, None]
        counts = valid.sum(axis=3)
        accumulation = np.broadcast_to(accumulation, valid.shape)
        most = np.iinfo(np.int64).max
        fewest = np.where(valid, accumulation, most).min(axis=3, initial=most)
        return _Batches(
            counts=counts,
            starts=(np.cumsum(counts) - counts.reshape(-1)).reshape(counts.shape),
            accumulation=accumulation[valid],
            fewest=np.where(counts > 0, fewest, 0),
        )

    @property
    def small_enough(self) -> NDArray[np.bool_]:
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


def merged(parts: Sequence[SplitRows]) -> tuple[SplitRows, Integers]:
    """The rows of several clusters, those of one group together, and where each was in the row of all parts."""
    gpus, group = (np.concatenate([getattr(part, name) for part in parts]) for name in ("gpus", "group"))
    order = np.argsort(group, kind="stable")
    return replace(parts[0], gpus=gpus[order], group=group[order]), order
