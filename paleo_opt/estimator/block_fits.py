"""Memory of a split transformer alone, without its times: what a sweep looks at first."""

from __future__ import annotations

import numpy as np

from paleo_opt.estimator.block_memory import block_memory
from paleo_opt.estimator.block_times import BlockTimes
from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.estimate import Memos
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.strategy import Strategies


def block_memory_bytes(table: CostTable, strategies: Strategies, options: Options, memos: Memos) -> Floats:
    """Bytes on the fullest device, as of `estimate`; strategies of one axis. Shape (n,)."""
    sizes, splits, places = table.network.transformer, strategies.splits, memos.places
    assert sizes is not None and splits is not None
    optimizer = options.optimizer or table.network.usual_optimizer
    times = BlockTimes(
        sizes, places, memos.of_splits(splits).identities, strategies.collectives, optimizer, options.training,
        table.block_tables,
    )  # fmt: skip
    layout, micro = strategies.layout, strategies.micro_batch
    found = block_memory(
        times, splits, layout, strategies.place, places, strategies.gpus, micro,
        strategies.accumulation.astype(float),
        splits.pipeline[layout].astype(float),
        splits.virtual_stages[layout].astype(float),
        optimizer=optimizer, training=options.training, reserve=options.memory_reserve,
    )  # fmt: skip
    total: Floats = np.broadcast_to(sum(found.values(), start=np.zeros(())), micro.shape)
    return total
