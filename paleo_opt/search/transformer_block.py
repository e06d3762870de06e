"""A block of strategies of a transformer: all its splits and batches in one precision on one cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from paleo_opt.estimator.strategy import Integers, Strategy
from paleo_opt.search.blocks import Block, Keep, Plans
from paleo_opt.search.layouts import GROUPED, Layouts
from paleo_opt.search.split_rows import SplitRows


@dataclass(frozen=True, eq=False, kw_only=True)
class TransformerBlock(Block):
    """All strategies of a transformer in one precision on one cluster.

    Attributes:
        rows: Numbers of GPUs with groups of splits; ascending by group, then by GPUs.
    """

    rows: SplitRows

    @property
    def layouts(self) -> Layouts:
        """Its splits."""
        return self.rows.layouts

    @property
    def groups(self) -> Integers:
        """The group of splits of each row. Shape (rows,)."""
        return self.rows.group

    @property
    def rows_key(self) -> tuple[object, ...]:
        """Blocks of one space that have the same of this have as many strategies in each row."""
        return self.gpus.tobytes(), self.groups.tobytes()

    @property
    def data(self) -> Integers:
        """Groups of devices that each work on their own samples. Shape (rows,)."""
        return self.rows.data

    @property
    def row_sizes(self) -> Integers:
        """Plans of each row, counted without making them. Shape (rows,)."""
        return self.rows.sizes

    def size(self) -> int:
        """Strategies in the block."""
        return int(self.row_sizes.sum()) * len(self.collectives)

    def plans(self, keep: Keep | None = None) -> Iterator[Plans]:
        """As `SplitRows.plans`."""
        return self.rows.plans(keep)

    def rows_of(self, strategy: Strategy) -> Integers:
        """The rows that a strategy of this block's cluster and precision may be in."""
        assert strategy.blocks is not None
        groups = self.layouts.groups
        same = self.gpus == strategy.gpus
        for name in GROUPED:
            same &= getattr(groups, name)[self.groups] == getattr(strategy.blocks, name)
        return np.flatnonzero(same)

    def of_rows(self, rows: slice | Integers) -> Self:
        """The block with some of its rows."""
        some = self.rows.at(rows)
        return replace(self, rows=some, gpus=some.gpus)
