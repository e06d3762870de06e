"""Blocks that are alike, evaluated together in tiles that stay in cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.block_fits import block_memory_bytes
from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.estimate import Estimates, Memos, estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.places import make_places
from paleo_opt.estimator.strategy import Integers, Strategies
from paleo_opt.search.blocks import Block, Keep, Plans, joined
from paleo_opt.search.split_rows import merged
from paleo_opt.search.transformer_block import TransformerBlock

#: Strategies evaluated at once: a few arrays of this size stay in the second-level cache.
TILE = 65_536
#: Of transformers, whose distinct splits cost more per tile than their strategies do in a larger one.
BLOCKS_TILE = 262_144
#: Sets of clusters and layouts whose intermediate values are kept.
_MOST_MEMOS = 64
_NO_LAYOUT = np.zeros((), dtype=np.int64)
#: What is kept between tiles has a slot for every (cluster, GPUs) and (cluster, micro-batch).
_MOST_SLOTS = 4_000_000


@dataclass(frozen=True, eq=False)
class Together:
    """Blocks that share their split, tensor and collectives, as one list of rows.

    Attributes:
        table: The compiled network.
        blocks: At least one.
        indices: Of the blocks, as the caller counts them.
        options: The model's constants.
        memos: What is kept between tiles.
        gpus: Of all rows. Shape (rows,).
        place: Which of the blocks each row is of. Shape (rows,).
        first_row: Of each block. Shape (blocks,).
    """

    table: CostTable
    blocks: tuple[Block, ...]
    indices: tuple[int, ...]
    options: Options
    memos: Memos
    gpus: Integers
    place: Integers
    first_row: Integers

    @staticmethod
    def of(
        table: CostTable, blocks: Sequence[Block], indices: Sequence[int], options: Options, share: int = 0
    ) -> Together:
        """Some blocks that are `Block.alike`; what is kept between tiles is each ``share``'s own."""
        lengths = np.array([block.gpus.size for block in blocks])
        return Together(
            table=table,
            blocks=tuple(blocks),
            indices=tuple(indices),
            options=options,
            memos=_kept_memos(table, blocks, options, share),
            gpus=np.concatenate([block.gpus for block in blocks]),
            place=np.repeat(np.arange(len(blocks)), lengths),
            first_row=np.cumsum(lengths) - lengths,
        )

    @property
    def collectives(self) -> int:
        """Of which each plan is a strategy."""
        return len(self.blocks[0].collectives)

    @property
    def block(self) -> Integers:
        """Index of the block of each row, as the caller counts them. Shape (rows,)."""
        return np.array(self.indices)[self.place]

    @property
    def group(self) -> Integers:
        """Of splits, of each row. Shape (rows,)."""
        return np.concatenate([block.groups for block in self.blocks])

    @cached_property
    def sizes(self) -> Integers:
        """Strategies of each row. Shape (rows,)."""
        return np.concatenate([block.row_sizes for block in self.blocks]) * self.collectives

    def estimate(self, plans: Plans, collective: Integers) -> Estimates:
        """What some plans cost; ``collective`` broadcasts with them."""
        return estimate(self.table, self._strategies(plans, collective), self.options, self.memos)

    def _strategies(self, plans: Plans, collective: Integers) -> Strategies:
        model = self.blocks[0]
        layouts = model.layouts
        return Strategies(
            clusters=tuple(block.cluster for block in self.blocks),
            precisions=tuple(block.precision for block in self.blocks),
            split=model.split,
            tensor=model.tensor,
            collectives=model.collectives,
            gpus=self.gpus[plans.row],
            micro_batch=plans.micro_batch,
            accumulation=plans.accumulation,
            collective=collective,
            place=self.place[plans.row],
            splits=None if layouts is None else layouts.splits,
            layout=_NO_LAYOUT if layouts is None else plans.layout,
        )

    def least_memory(self, plans: Plans) -> Floats:
        """Bytes per device of some plans of a transformer, without their times. Shape (plans,)."""
        return block_memory_bytes(self.table, self._strategies(plans, _NO_LAYOUT), self.options, self.memos)

    def tiles(self, least: Floats | None = None) -> Iterator[Plans]:
        """All plans, those of a row together, with rows of all blocks; a tile with its collectives is at most `TILE`.

        Args:
            least: Leaves out rows and splits of a transformer that even the smallest micro-batch does not fit, and
                takes note of the least memory of each row that was looked at [bytes]. Shape (rows,).
        """
        width = max(1, (TILE if self.blocks[0].layouts is None else BLOCKS_TILE) // self.collectives)
        held: list[Plans] = []
        count = 0
        for plans in self._plans(least):
            held.append(plans)
            count += plans.row.size
            if count >= width:
                yield from _cut(joined(held), width)
                held, count = [], 0
        if held:
            yield from _cut(joined(held), width)

    def _plans(self, least: Floats | None) -> Iterator[Plans]:
        """All plans, with rows of all blocks; of transformers those of a group of splits together: they are alike."""
        parts = [block.rows for block in self.blocks if isinstance(block, TransformerBlock)]
        if not parts:
            for block, first in zip(self.blocks, self.first_row.tolist(), strict=True):
                for plans in block.plans():
                    yield plans._replace(row=plans.row + first)
            return
        rows, order = merged(parts)
        keep = None if least is None else self._fitting(order, least)
        for plans in rows.plans(keep):
            yield plans._replace(row=order[plans.row])

    def _fitting(self, order: Integers, least: Floats) -> Keep:
        """Which rows and splits may have a plan that fits; ``order`` says which row of all blocks each is."""
        capacity = self.memos.places.capacity

        def keep(smallest: Plans) -> NDArray[np.bool_]:
            row = order[smallest.row]
            memory = self.least_memory(smallest._replace(row=row))
            np.minimum.at(least, row, memory)
            found: NDArray[np.bool_] = memory <= capacity[self.place[row]]
            return found

        return keep


def _cut(plans: Plans, width: int) -> Iterator[Plans]:
    size: int = plans.row.size
    pieces = max(1, -(-size // width))
    for piece in range(pieces):
        yield plans.at(slice(size * piece // pieces, size * (piece + 1) // pieces))


def _kept_memos(table: CostTable, blocks: Sequence[Block], options: Options, share: int) -> Memos:
    """What was computed for the same clusters and options before: a question sweeps a space several times."""
    clusters = tuple(block.cluster for block in blocks)
    precisions = tuple(block.precision for block in blocks)
    key = (share, blocks[0].alike, tuple(map(id, clusters)), precisions, id(options))
    if key not in table.memos:
        if len(table.memos) >= _MOST_MEMOS:
            table.memos.clear()
        # What the key names by its identity is kept with it.
        memos = Memos(make_places(clusters, precisions, options))
        table.memos[key] = (memos, clusters, options, blocks[0].layouts)
    found: Memos = table.memos[key][0]
    return found


def groups_of(blocks: Sequence[Block], most: int | None = None) -> list[list[int]]:
    """The indices of blocks that are evaluated together, in order; ``most`` at once, or as many as can be kept."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, block in enumerate(blocks):
        groups.setdefault(block.alike, []).append(index)
    found = []
    for indices in groups.values():
        widest = max(int(max(blocks[i].gpus.max(), blocks[i].micro_batch[-1])) for i in indices)
        together = most or max(1, _MOST_SLOTS // widest)
        found += [indices[start : start + together] for start in range(0, len(indices), together)]
    return found
