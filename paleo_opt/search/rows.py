"""What a sweep finds: the best strategy of each row, as a struct of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers, Strategy
from paleo_opt.search.blocks import Block


@dataclass(frozen=True, eq=False)
class Rows:
    """The best strategy of each row, as a struct of arrays. Shapes (rows,).

    Attributes:
        block: Index of the block.
        gpus: Devices.
        group: Of the block's splits; 0 for a network of layers.
        strategies: Evaluated in the row.
        fitting: Of them, how many fit a device's memory.
        feasible: Of them, how many keep to the limits too.
        time_s: Of the best (see `solve`); infinite where none fits.
        cost_usd: Of that one; NaN where the cluster has no price.
        energy_kwh: Of that one; NaN where the device's power is not published.
        layout: Of that one: index into the block's splits; 0 for a network of layers.
        micro_batch: Of that one; 0 where none fits.
        accumulation: Likewise.
        collective: Index into the block's collectives.
        memory_bytes: Least memory of any strategy of the row; of a transformer perhaps a little less.
    """

    block: Integers
    gpus: Integers
    group: Integers
    strategies: Integers
    fitting: Integers
    feasible: Integers
    time_s: Floats
    cost_usd: Floats
    energy_kwh: Floats
    layout: Integers
    micro_batch: Integers
    accumulation: Integers
    collective: Integers
    memory_bytes: Floats

    def strategy(self, blocks: Sequence[Block], row: int) -> Strategy:
        """The best strategy of a row that has one."""
        columns = (self.gpus, self.layout, self.micro_batch, self.accumulation, self.collective)
        return blocks[int(self.block[row])].strategy(*(int(column[row]) for column in columns))

    def at(self, chosen: slice | Integers) -> Rows:
        """Some of the rows."""
        return Rows(**{field.name: getattr(self, field.name)[chosen] for field in fields(Rows)})


def join(parts: Sequence[Rows]) -> Rows:
    """The rows of several blocks, in their order."""
    return Rows(**{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)})
