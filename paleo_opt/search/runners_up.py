"""The alternatives of a recommendation: the best rows that differ from one another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from paleo_opt.estimator.strategy import Integers
from paleo_opt.search.blocks import Block
from paleo_opt.search.sweep import Rows


def runners_up(rows: Rows, blocks: Sequence[Block], order: Integers, top: int) -> list[int]:
    """The best rows after the first that differ from one another, best first.

    The best rows of all would mostly be one cluster with a node more or less: first comes the best of each cluster and
    layout; then, up to half of all, other splits of a transformer with the same GPUs as the best; then numbers of GPUs
    that differ by a quarter, then any others.

    Args:
        rows: That were searched.
        blocks: Of the search.
        order: Feasible rows, best first.
        top: How many at most.
    """
    best = int(order[0])
    chosen = [best]
    firsts = first_of_each(rows, order)
    kinds = [(blocks[block].cluster.name, blocks[block].split) for block in rows.block[firsts].tolist()]
    gpus = rows.gpus[firsts].tolist()
    alike: dict[tuple[str, str], list[int]] = {kinds[0]: [gpus[0]]}

    def take(ratio: float) -> None:
        for row, kind, count in zip(firsts.tolist(), kinds, gpus, strict=True):
            if len(chosen) > top:
                break
            others = alike.setdefault(kind, [])
            if all(max(count, other) >= ratio * min(count, other) for other in others):
                chosen.append(row)
                others.append(count)

    take(math.inf)
    other_splits = order[(rows.block[order] == rows.block[best]) & (rows.gpus[order] == rows.gpus[best])][1:]
    chosen += other_splits[: max(0, min(top + 1 - len(chosen), (top + 1) // 2))].tolist()
    take(4 / 3)
    take(1.0 + 1e-9)
    place = {row: index for index, row in enumerate(order.tolist())}
    return sorted(chosen[1:], key=place.__getitem__)


def first_of_each(rows: Rows, order: Integers) -> Integers:
    """The first row in ``order`` of each block and number of GPUs, in that order: of a transformer its best split."""
    key = rows.block[order] * (int(rows.gpus.max(initial=0)) + 1) + rows.gpus[order]
    found: Integers = order[np.sort(np.unique(key, return_index=True)[1])]
    return found
