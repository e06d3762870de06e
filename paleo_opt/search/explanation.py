"""What limits a recommendation, and what one step more of each limit would buy.

A limit binds where relaxing it improves what is minimized. Budgets of time and money are relaxed over the rows that
were evaluated anyway; the budget of GPUs, the largest global batch and the memory by a few strategies beyond them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.splits import FIELDS, Splits
from paleo_opt.estimator.strategy import Integers, Strategy
from paleo_opt.search.blocks import Block, Plans
from paleo_opt.search.budgets import LIMITED, figure, ranked, within
from paleo_opt.search.enumeration import gpu_counts
from paleo_opt.search.layouts import Layouts
from paleo_opt.search.problem import Choice, SearchProblem, count_strategies
from paleo_opt.search.sweep import Limits, Rows, sweep
from paleo_opt.search.tiles import Together

#: A step of a budget of money, time or energy.
_STEP = 0.1
#: An improvement smaller than this is none.
_LEAST_GAIN = 0.005
#: Strategies beyond a limit that are looked at, at most.
_MOST = 10_000_000


@dataclass(frozen=True)
class Step:
    """One step beyond a limit, and what it buys.

    Attributes:
        limit: ``gpus``, ``time_s``, ``cost_usd``, ``energy_kwh``, ``global_batch`` or ``memory_bytes``.
        allowed: The limit.
        needed: What the step takes, beyond the limit.
        choice: What it buys.
        gain: By how much that lowers what is minimized, relative to the recommended.
    """

    limit: str
    allowed: float
    needed: float
    choice: Choice
    gain: float


def next_steps(problem: SearchProblem, blocks: Sequence[Block], rows: Rows, recommended: Choice) -> list[Step]:
    """One step beyond each limit that binds; a limit that does not bind has none.

    Args:
        problem: What was searched.
        blocks: Of the search.
        rows: All that were evaluated.
        recommended: The best of them that is feasible.
    """
    steps = [
        _next_gpus(problem, recommended),
        *(_next_budget(problem, blocks, rows, recommended, name) for name in LIMITED),
        _next_batch(problem, recommended),
        _next_memory(problem, recommended),
    ]
    return [step for step in steps if step is not None]


def _step(limit: str, allowed: float, needed: float, choice: Choice, recommended: Choice) -> Step | None:
    gain = 1.0 - choice.figure() / recommended.figure()
    return Step(limit, allowed, needed, choice, gain) if gain > _LEAST_GAIN else None


def _next_gpus(problem: SearchProblem, recommended: Choice) -> Step | None:
    """The next number of GPUs of the recommended cluster beyond the budget: a node more, where nodes are whole."""
    budget, cluster = problem.budgets.gpus, recommended.strategy.cluster
    if budget is None:
        return None
    beyond = [n for n in gpu_counts(problem.space, cluster, 2 * budget + cluster.devices_per_node) if n > budget]
    if not beyond:
        return None
    blocks = problem.blocks([cluster], beyond[0])
    blocks = [block.of_rows(np.flatnonzero(block.gpus == beyond[0])) for block in blocks]
    found = _best(problem, [block for block in blocks if block.gpus.size])
    return None if found is None else _step("gpus", budget, beyond[0], found, recommended)


def _next_batch(problem: SearchProblem, recommended: Choice) -> Step | None:
    """The recommended cluster at twice the largest global batch."""
    if problem.space.global_batch:
        return None
    limit = problem.batch_limit
    blocks = problem.blocks([recommended.strategy.cluster], problem.most_gpus, 2 * limit)
    found = _best(problem, blocks)
    if found is None or found.strategy.global_batch <= limit:
        return None
    return _step("global_batch", limit, found.strategy.global_batch, found, recommended)


def _best(problem: SearchProblem, blocks: Sequence[Block], limits: Limits | None = None) -> Choice | None:
    """The best strategy of some blocks within the budgets, or within other limits."""
    if not blocks or count_strategies(blocks) > _MOST:
        return None
    rows = sweep(problem.table, blocks, limits or problem.budgets.limits, problem.options, problem.goal)
    order = ranked(rows, blocks, problem.goal, rows.feasible > 0)
    return Choice(problem, rows.strategy(blocks, int(order[0]))) if order.size else None


def _next_budget(
    problem: SearchProblem, blocks: Sequence[Block], rows: Rows, recommended: Choice, name: str
) -> Step | None:
    """What a tenth more of one budget buys; where that is nothing, the least more of it that buys anything."""
    limit = getattr(problem.budgets, name)
    if limit is None:
        return None
    if problem.by_energy:
        # A row's best follows from the limits then, so rows of other limits have to be evaluated.
        wider = replace(problem.budgets.limits, **{name: limit * (1.0 + _STEP)})
        found = _best(problem, blocks, wider)
        return None if found is None else _step(name, limit, found.figure(LIMITED[name]), found, recommended)
    others = within(rows, replace(problem.budgets.limits, **{name: np.inf}))
    better = others & (figure(rows, problem.goal) < recommended.figure() * (1.0 - _LEAST_GAIN))
    needed = figure(rows, LIMITED[name])
    better &= needed > limit
    if not better.any():
        return None
    near = better & (needed <= limit * (1.0 + _STEP))
    if near.any():
        row = int(ranked(rows, blocks, problem.goal, near)[0])
    else:
        row = int(np.where(better, needed, np.inf).argmin())
    choice = Choice(problem, rows.strategy(blocks, row))
    return _step(name, limit, float(needed[row]), choice, recommended)


def _next_memory(problem: SearchProblem, recommended: Choice) -> Step | None:
    """The strategy with the recommended GPUs and layout that would be better, and misses the memory least.

    Of a transformer one with another micro-batch, or with less computed again.
    """
    strategy = recommended.strategy
    block = next(
        block
        for block in problem.blocks([strategy.cluster])
        if block.precision == strategy.precision
        and block.split == strategy.split
        and (block.layouts is not None or block.tensor == strategy.tensor)
    )
    block = replace(block.of_rows(block.rows_of(strategy)), collectives=(strategy.collective,))
    if block.size() > _MOST:
        return None
    together = Together.of(problem.table, [block], [0], problem.options)
    limits = problem.budgets.limits
    capacity = block.cluster.device.memory
    found, least = None, np.inf
    for plans in together.tiles():
        if block.layouts is not None:
            plans = plans.at(_alike_but_one(block.layouts, plans, strategy))
        estimates = together.estimate(plans, np.zeros(1, dtype=np.int64))
        names = ("time_to_target_s", "cost_usd", "energy_kwh", "memory_bytes")
        time, cost, energy, memory = (np.broadcast_to(getattr(estimates, name), plans.row.shape) for name in names)
        figures = {"time": time, "cost": cost, "energy": energy}[problem.goal]
        better = (memory > capacity) & (figures < recommended.figure() * (1.0 - _LEAST_GAIN))
        better &= ~(time > limits.time_s) & ~(cost > limits.cost_usd) & ~(energy > limits.energy_kwh)
        if better.any():
            place = int(np.lexsort((figures, np.where(better, memory, np.inf)))[0])
            if memory[place] < least:
                found, least = plans.at(np.array([place])), float(memory[place])
    if found is None:
        return None
    _, layout, micro_batch, accumulation = (int(column[0]) for column in found)
    choice = Choice(problem, block.strategy(strategy.gpus, layout, micro_batch, accumulation))
    return _step("memory_bytes", capacity, choice.memory_bytes, choice, recommended)


def _alike_but_one(layouts: Layouts, plans: Plans, strategy: Strategy) -> Integers:
    """Which plans differ from ``strategy`` in the micro-batch alone, or in what is computed again alone."""
    assert strategy.blocks is not None
    wanted = Splits.of([strategy.blocks])
    same = np.ones(len(layouts.splits), dtype=bool)
    for name in FIELDS:
        if name != "recompute":
            same &= getattr(layouts.splits, name) == getattr(wanted, name)
    recomputed = layouts.splits.recompute != wanted.recompute
    found: Integers = np.flatnonzero(
        same[plans.layout] & ((plans.micro_batch == strategy.micro_batch) | ~recomputed[plans.layout])
    )
    return found


def other_collectives(problem: SearchProblem, recommended: Choice) -> dict[str, float]:
    """By how much each other collective of the space would be slower in the recommended's place, relative to it."""
    strategy = recommended.strategy
    names = tuple(name for name in problem.space.collective if name != strategy.collective)
    if strategy.gpus == 1 or not names:
        return {}
    mesh = replace(strategy.as_strategies(), collectives=names, collective=np.arange(len(names))[:, None])
    times = np.broadcast_to(estimate(problem.table, mesh, problem.options).time_to_target_s, mesh.shape)
    return {name: float(time) / recommended.time_s - 1.0 for name, time in zip(names, times[:, 0], strict=True)}
