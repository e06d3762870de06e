"""What each dollar buys: the exact front of cost against time, its ends and its knee, and how it moves.

Every strategy of the space is evaluated, as for `recommend`; the recommendation is one point of what is found here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.strategy import Integers
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.network.graph import Network
from paleo_opt.search.blocks import Block
from paleo_opt.search.budgets import Budgets, check_goal, figure, parse_budgets, select
from paleo_opt.search.optuna_search import TRIALS, search
from paleo_opt.search.pareto import knee, pareto_front
from paleo_opt.search.problem import MOST_SWEPT, Choice, Fixed, SearchProblem, count_strategies, load_problem
from paleo_opt.search.recommend import Recommendation, recommend
from paleo_opt.search.row_fronts import NO_ROWS, pareto_front_of_three, row_fronts
from paleo_opt.search.space import SearchSpace
from paleo_opt.search.sweep import Rows, sweep

if TYPE_CHECKING:
    from paleo_opt.search.shifts import Shift

__all__ = ["Front", "Tradeoff", "find_front", "tradeoff"]


@dataclass(frozen=True, eq=False)
class Front:
    """The front of one problem, among all its feasible points. P points, F of them on the front, fastest first.

    Attributes:
        problem: Whose front it is.
        blocks: Of its space.
        points: The feasible points: the fastest strategy of each block and number of GPUs; where energy counts, every
            strategy that no other of the same block and GPUs beats in time and energy.
        against: The figure beside time: ``cost_usd``, or ``gpus`` where nothing has a price.
        with_energy: Whether energy is the third figure.
        places: Of the front, among the points. Shape (F,).
        seconds: Finding it took.
        proved: Whether every strategy was evaluated.
    """

    problem: SearchProblem
    blocks: Sequence[Block]
    points: Rows
    against: str
    with_energy: bool
    places: Integers
    seconds: float
    proved: bool = True

    @property
    def size(self) -> int:
        """Points on the front."""
        return int(self.places.size)

    @cached_property
    def second(self) -> Floats:
        """Cost [$] of every point, or its GPUs where nothing has a price. Shape (P,)."""
        return figure(self.points, "cost") if self.against == "cost_usd" else self.points.gpus.astype(float)

    @cached_property
    def time_s(self) -> Floats:
        """To the target, of the front. Shape (F,)."""
        return self.points.time_s[self.places]

    @cached_property
    def spent(self) -> Floats:
        """Cost [$] of the front, or GPUs. Shape (F,)."""
        return self.second[self.places]

    @cached_property
    def energy_kwh(self) -> Floats:
        """Of the front; NaN where the device's power is not published. Shape (F,)."""
        return self.points.energy_kwh[self.places]

    @cached_property
    def line(self) -> Integers:
        """Those of the front, as indices of it, that no other beats in time and cost alone; all without energy."""
        return pareto_front(self.time_s, self.spent)

    @cached_property
    def per_hour_saved(self) -> Floats:
        """What each hour saved costs against the next slower point of `line` [$, or GPUs]. Shape (F,).

        NaN for the slowest of the line, which saves nothing, and for points of the front that energy alone puts there.
        """
        found = np.full(self.size, np.nan)
        line = self.line
        if line.size > 1:
            hours = np.diff(self.time_s[line]) / 3600.0
            found[line[:-1]] = -np.diff(self.spent[line]) / hours
        return found

    @cached_property
    def knee(self) -> int | None:
        """The place on the front where time against cost bends most; None where it is nearly straight."""
        bend = knee(self.time_s[self.line], self.spent[self.line])
        return None if bend is None else int(self.line[bend])

    @property
    def fastest(self) -> int:
        """The place on the front of the fastest."""
        return 0

    @property
    def cheapest(self) -> int:
        """The place on the front of the cheapest (or of the fewest GPUs)."""
        return int(self.line[-1])

    @cached_property
    def most_frugal(self) -> int | None:
        """The place on the front of the least energy, where energy counts."""
        return int(np.argmin(self.energy_kwh)) if self.with_energy else None

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """The front's strategies."""
        return tuple(Choice(self.problem, self.points.strategy(self.blocks, int(place))) for place in self.places)

    def best(self, goal: str) -> int | None:
        """The place on the front of the least of a goal, or None where no point is there."""
        if not self.size:
            return None
        if goal == "energy":
            return self.most_frugal
        return self.cheapest if goal == "cost" and self.against == "cost_usd" else self.fastest


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """The answer to ``pareto``.

    Attributes:
        recommendation: What `recommend` answers to the same question.
        front: The exact front.
        request: What was asked beside the budgets, by the names of `tradeoff`'s arguments.
    """

    recommendation: Recommendation
    front: Front
    request: Mapping[str, Any]

    @property
    def problem(self) -> SearchProblem:
        """What was asked."""
        return self.front.problem

    @cached_property
    def shifts(self) -> tuple[Shift, ...]:
        """How the front moves with prices, with the links and with other terms of rent; computed when first read."""
        from paleo_opt.search.shifts import find_shifts

        return find_shifts(self.front)

    @cached_property
    def recommended(self) -> int | None:
        """The place of the recommended strategy on the front; None where it is not there."""
        wanted = self.recommendation.recommended.strategy
        return next((place for place, choice in enumerate(self.front.choices) if choice.strategy == wanted), None)


def find_front(problem: SearchProblem, blocks: Sequence[Block] | None = None) -> Front:
    """Evaluate every strategy of a problem's space and find the front; of no points where nothing is feasible.

    Raises:
        SpecError: as `estimate.estimate`.
    """
    blocks = problem.blocks() if blocks is None else blocks
    start = time.perf_counter()
    limits = problem.budgets.limits
    if not blocks:
        return _front(problem, blocks, NO_ROWS, start)
    if problem.goal == "energy":
        points = row_fronts(problem.table, blocks, limits, problem.options)
    else:
        points = sweep(problem.table, blocks, limits, problem.options)
    return _front(problem, blocks, points, start)


def _front(problem: SearchProblem, blocks: Sequence[Block], rows: Rows, start: float, proved: bool = True) -> Front:
    """The front of the feasible among some rows."""
    points = select(rows, np.flatnonzero(rows.feasible > 0))
    cost = figure(points, "cost")
    against = "cost_usd" if np.isfinite(cost).any() else "gpus"
    second = cost if against == "cost_usd" else points.gpus.astype(float)
    with_energy = problem.goal == "energy"
    if with_energy:
        places = pareto_front_of_three(points.time_s, second, figure(points, "energy"))
    else:
        places = pareto_front(points.time_s, second)
    return Front(problem, blocks, points, against, with_energy, places, time.perf_counter() - start, proved)


def tradeoff(
    network: str | Network,
    *,
    budgets: Sequence[str] | Budgets = (),
    on: Sequence[str | Cluster] = (),
    minimize: str | None = None,
    space: str | SearchSpace = "default",
    options: Options | None = None,
    conv_algorithm: str = "gemm",
    precision: str | None = None,
    global_batch: int | None = None,
    micro_batch: int | None = None,
    tensor: int | None = None,
    split: str | None = None,
    collective: str | None = None,
    device: str | None = None,
    overrides: Mapping[str, str] | None = None,
    trials: int | None = None,
    seed: int = 0,
    top: int = 5,
) -> Tradeoff:
    """The exact front of cost against time for training ``network`` within every budget.

    Energy is a third figure where it is what is minimized. Takes what `recommend` takes; only ``trials`` differs: left
    out, an Optuna study is run where the space is too large to evaluate, and nowhere else.

    Raises:
        SpecError: bad input.
        InfeasibleError: nothing fits memory and keeps to the budgets.
    """
    if not isinstance(budgets, Budgets):
        budgets = parse_budgets(budgets)
    request = {
        "network": network,
        "on": tuple(on),
        "minimize": minimize,
        "space": space,
        "conv_algorithm": conv_algorithm,
        "precision": precision,
        "global_batch": global_batch,
        "micro_batch": micro_batch,
        "tensor": tensor,
        "split": split,
        "collective": collective,
        "device": device,
        "seed": seed,
    }
    problem = load_problem(
        network,
        budgets,
        check_goal(minimize or budgets.default_goal),
        on=on,
        device=device,
        space=space,
        options=options,
        conv_algorithm=conv_algorithm,
        fixed=Fixed(precision, global_batch, micro_batch, tensor, split, collective),
        overrides=overrides,
    )
    blocks = problem.blocks()
    sweepable = count_strategies(blocks) <= MOST_SWEPT
    if trials is None:
        trials = 0 if sweepable else TRIALS
    # Says what is wrong with the question, or why nothing is feasible.
    recommendation = recommend(
        network,
        budgets=budgets,
        on=on,
        minimize=minimize,
        space=space,
        options=options,
        conv_algorithm=conv_algorithm,
        precision=precision,
        global_batch=global_batch,
        micro_batch=micro_batch,
        tensor=tensor,
        split=split,
        collective=collective,
        device=device,
        overrides=overrides,
        trials=trials,
        seed=seed,
        top=top,
    )
    if sweepable:
        return Tradeoff(recommendation, find_front(problem, blocks), request)
    start = time.perf_counter()
    rows = search(problem, blocks, trials=trials, seed=seed)[1]
    return Tradeoff(recommendation, _front(problem, blocks, rows, start, proved=False), request)
