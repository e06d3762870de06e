"""How often a recommendation stays the best when the constants that it rests on are drawn from their uncertainty.

Every draw sets each constant of each device, platform and cluster, independently, some standard deviations off. A
strategy's figure then changes by exp(Σ_k z_k · d ln(figure)/dσ_k), to first order (`effects`); so do the samples to the
target, whose uncertainty is the same for all strategies but for what a larger batch wastes.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.convergence import NORMAL_95, wasted_share
from paleo_opt.estimator.effects import effects
from paleo_opt.estimator.estimate import Estimates
from paleo_opt.estimator.strategy import Integers, Strategy
from paleo_opt.network.graph import TrainingJob
from paleo_opt.search.blocks import Block
from paleo_opt.search.layouts import GROUPED
from paleo_opt.search.problem import Choice, SearchProblem
from paleo_opt.search.runners_up import first_of_each
from paleo_opt.search.sweep import Rows

Floats = NDArray[np.float64]

DRAWS = 500
#: As good as the best.
CLOSE = 0.05
#: Strategies that compete: the best of each cluster and split, then the next best.
MOST_CANDIDATES = 32
_NAMED = 3


@dataclass(frozen=True, eq=False)
class Robustness:
    """How a recommendation fares over draws of the constants.

    Attributes:
        draws: How many.
        candidates: Strategies that competed, the recommended included.
        best_share: Of the draws in which none is better.
        close_share: Of those in which it keeps to the budgets and none is better by more than `CLOSE`.
        over_budget_share: Of those in which it exceeds a budget.
        otherwise: The best in the other draws, with the share of all draws; most first.
    """

    draws: int
    candidates: int
    best_share: float
    close_share: float
    over_budget_share: float
    otherwise: tuple[tuple[Choice, float], ...]


def competitors(rows: Rows, blocks: Sequence[Block], order: Integers) -> list[Strategy]:
    """The best row of each cluster and split, then the next best of all, the best first.

    Args:
        rows: That were searched.
        blocks: Of the search.
        order: Feasible rows, best first.
    """
    chosen: dict[int, None] = {int(order[0]): None}
    seen = set()
    for row in first_of_each(rows, order).tolist():
        block = blocks[int(rows.block[row])]
        kind = (block.cluster.name, block.precision, block.split, block.tensor)
        if kind not in seen and len(chosen) < MOST_CANDIDATES // 2:
            seen.add(kind)
            chosen[row] = None
    for row in order[: 2 * MOST_CANDIDATES].tolist():
        if len(chosen) >= MOST_CANDIDATES:
            break
        chosen[row] = None
    return [rows.strategy(blocks, row) for row in chosen]


def samples_effects(job: TrainingJob, batches: Floats) -> Floats:
    """d ln(samples) for a deviation of what is alike for all batches, and of the critical batch. Shape (2, N)."""
    if job.critical_batch is None or job.critical_batch_interval is None:
        return np.stack([np.full(batches.shape, float(job.samples_error)), np.zeros(batches.shape)])
    low, high = job.critical_batch_interval
    deviation = math.log(high / low) / (2.0 * NORMAL_95)
    known = wasted_share(job.reference_batch, job.critical_batch, job.sharpness)
    wasted = wasted_share(batches, job.critical_batch, job.sharpness)
    return np.stack([np.full(batches.shape, float(job.samples_error)), (known - wasted) * deviation])


def _devices(strategy: Strategy) -> tuple[int, ...]:
    """Over how many devices each thing is divided."""
    blocks = strategy.blocks
    return (strategy.tensor,) if blocks is None else tuple(getattr(blocks, name) for name in GROUPED)


def _figures(estimates: Estimates) -> tuple[Floats, Floats, Floats]:
    return estimates.time_to_target_s, estimates.cost_usd, estimates.energy_kwh


@dataclass(frozen=True, eq=False)
class Drawn:
    """What candidates take in each draw. Shapes (draws, candidates).

    Attributes:
        keys: Of the constants drawn.
        deviations: Of each constant in each draw, in standard deviations. Shape (draws, constants).
        time_s: To the target.
        cost_usd: Likewise; NaN without a price.
        energy_kwh: Likewise; NaN without a published power.
    """

    keys: tuple[str, ...]
    deviations: Floats
    time_s: Floats
    cost_usd: Floats
    energy_kwh: Floats


def draw(problem: SearchProblem, candidates: Sequence[Strategy], draws: int, seed: int) -> Drawn:
    """Draw the constants, and estimate the candidates under each draw to first order."""
    found = effects(problem.table, candidates, problem.options, _figures)
    batches = np.array([float(strategy.global_batch) for strategy in candidates])
    of_samples = samples_effects(problem.job, batches)
    deviations = np.random.default_rng(seed).standard_normal((draws, len(found.keys) + 2))
    time, cost, energy = (
        figure * np.exp(deviations @ np.concatenate([effect, of_samples]))
        for figure, effect in zip(found.figure, found.effect, strict=True)
    )
    return Drawn((*found.keys, "samples", "critical_batch"), deviations, time, cost, energy)


def robustness(problem: SearchProblem, candidates: Sequence[Strategy], draws: int, seed: int) -> Robustness:
    """How often the first of ``candidates`` stays the best."""
    drawn = draw(problem, candidates, draws, seed)
    limits = problem.budgets.limits
    kept = drawn.time_s <= limits.time_s
    for value, limit in ((drawn.cost_usd, limits.cost_usd), (drawn.energy_kwh, limits.energy_kwh)):
        if np.isfinite(limit):
            kept &= value <= limit
    figure = {"time": drawn.time_s, "cost": drawn.cost_usd, "energy": drawn.energy_kwh}[problem.goal]
    figure = np.where(kept & np.isfinite(figure), figure, np.inf)
    least = figure.min(axis=1)
    possible = np.isfinite(figure[:, 0])
    best = possible & (figure[:, 0] <= least * (1.0 + 1e-9))
    # Strategies that differ in their batches alone are one to a reader: the one that wins most stands for them.
    kinds: dict[tuple[object, ...], Counter[int]] = defaultdict(Counter)
    for index in figure.argmin(axis=1)[~best & np.isfinite(least)].tolist():
        strategy = candidates[index]
        kinds[strategy.cluster.name, strategy.gpus, strategy.split, _devices(strategy)][index] += 1
    winners = sorted(kinds.values(), key=lambda of: -of.total())[:_NAMED]
    return Robustness(
        draws=draws,
        candidates=len(candidates),
        best_share=float(best.mean()),
        close_share=float((possible & (figure[:, 0] <= least * (1.0 + CLOSE))).mean()),
        over_budget_share=float((~kept[:, 0]).mean()),
        otherwise=tuple((Choice(problem, candidates[of.most_common(1)[0][0]]), of.total() / draws) for of in winners),
    )
