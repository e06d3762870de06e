"""The exact front of a space without evaluating most of it: rows whose lower bounds some strategy beats are left out.

Rows are evaluated some at a time, those that promise most for their number of GPUs first. A row is left out once a
strategy was found that takes no more time and no more money (or GPUs) than the row's bounds say it must. What remains
when every row was evaluated or left out holds the whole front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers
from paleo_opt.search.blocks import Block
from paleo_opt.search.bounds import row_bounds
from paleo_opt.search.budgets import LIMITED, figure
from paleo_opt.search.pareto import pareto_front
from paleo_opt.search.problem import SearchProblem
from paleo_opt.search.row_fronts import NO_ROWS
from paleo_opt.search.rows import Rows, join
from paleo_opt.search.sweep import sweep

#: Strategies evaluated at once: at first, and in the end; what is left out by then need not be looked at.
_FIRST, _MOST = 2_000_000, 50_000_000


def bounded_rows(
    problem: SearchProblem, blocks: Sequence[Block], progress: Callable[[int], None] | None = None
) -> Rows:
    """Rows among which is the whole front of time against money (or GPUs, where nothing has a price).

    Args:
        problem: What is asked; its budgets hold.
        blocks: Of its space.
        progress: Called with the strategies that were evaluated or left out.

    Returns:
        The rows that were evaluated, as of `sweep.sweep`.
    """
    if not blocks:
        return NO_ROWS
    bounds = row_bounds(problem, blocks)
    place = np.repeat(np.arange(len(blocks)), [block.gpus.size for block in blocks])
    row = np.concatenate([np.arange(block.gpus.size) for block in blocks])
    gpus = np.concatenate([block.gpus for block in blocks])
    sizes = np.concatenate([block.row_sizes * len(block.collectives) for block in blocks])
    first = np.concatenate([each.time_s for each in bounds])
    cost = np.concatenate([each.cost_usd for each in bounds])
    priced = bool(np.isfinite(cost).any())
    second = np.where(np.isnan(cost), np.inf, cost) if priced else gpus.astype(float)
    left = np.isfinite(first) & np.isfinite(second) & (sizes > 0)
    for name, goal in LIMITED.items():
        limit = getattr(problem.budgets, name)
        if limit is not None:
            left &= ~(np.concatenate([each.figure(goal) for each in bounds]) > limit)
    order = np.argsort(_unlikeliness(first, second, gpus, left), kind="stable")
    done: list[Rows] = []
    front = np.zeros(0), np.zeros(0)
    most = _FIRST
    while True:
        left &= ~_beaten(first, second, *front)
        waiting = order[left[order]]
        if not waiting.size:
            break
        some = waiting[: int(np.searchsorted(np.cumsum(sizes[waiting]), most)) + 1]
        left[some] = False
        found = _evaluate(problem, blocks, place[some], row[some], progress)
        done.append(found)
        feasible = np.flatnonzero(found.feasible > 0)
        times = np.concatenate([front[0], found.time_s[feasible]])
        spent = figure(found, "cost") if priced else found.gpus.astype(float)
        spent = np.concatenate([front[1], spent[feasible]])
        kept = pareto_front(times, spent)
        front = times[kept], spent[kept]
        most = min(2 * most, _MOST)
    if progress is not None:
        progress(int(sizes.sum()) - sum(int(rows.strategies.sum()) for rows in done))
    return join([NO_ROWS, *done])


def _unlikeliness(first: Floats, second: Floats, gpus: Integers, left: NDArray[np.bool_]) -> Floats:
    """By how much the bounds of each row exceed the least of those with as many GPUs. Shape (rows,)."""
    product = np.where(left, np.log(np.where(left, first, 1.0)) + np.log(np.where(left, second, 1.0)), np.inf)
    counts, index = np.unique(gpus, return_inverse=True)
    least = np.full(counts.size, np.inf)
    np.minimum.at(least, index.reshape(-1), product)
    with np.errstate(invalid="ignore"):
        above: Floats = product - least[index.reshape(-1)]
    return np.where(left, above, np.inf)


def _beaten(first: Floats, second: Floats, front_first: Floats, front_second: Floats) -> NDArray[np.bool_]:
    """Whether a point of the front (its first figure ascending) is no worse than the bounds of each row."""
    if not front_first.size:
        return np.zeros(first.shape, dtype=bool)
    before = np.searchsorted(front_first, first, side="right") - 1
    found: NDArray[np.bool_] = (before >= 0) & (front_second[np.maximum(before, 0)] <= second)
    return found


def _evaluate(
    problem: SearchProblem,
    blocks: Sequence[Block],
    place: Integers,
    row: Integers,
    progress: Callable[[int], None] | None,
) -> Rows:
    """Some rows of some blocks; each row calls its block by its own index."""
    present = np.unique(place)
    some = [blocks[int(index)].of_rows(np.sort(row[place == index])) for index in present]
    found = sweep(problem.table, some, problem.budgets.limits, problem.options, progress=progress)
    return replace(found, block=present[found.block])
