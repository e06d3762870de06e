"""What each dollar buys: the exact front of cost against time, its ends and its knee, and how it moves.

Every strategy of the space is evaluated, as for `recommend`; the recommendation is one point of what is found here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from paleo_opt.estimator.options import Options
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.network.graph import Network
from paleo_opt.search.bounded_front import bounded_rows
from paleo_opt.search.budgets import Budgets, check_goal, parse_budgets
from paleo_opt.search.front import Front, find_front, front_of
from paleo_opt.search.optuna_search import TRIALS, search
from paleo_opt.search.problem import MOST_SWEPT, Fixed, SearchProblem, count_strategies, load_problem
from paleo_opt.search.recommend import Recommendation, recommend
from paleo_opt.search.sharded_sweep import SHARD
from paleo_opt.search.shifts import Shift, find_shifts
from paleo_opt.search.space import SearchSpace

__all__ = ["Front", "Tradeoff", "find_front", "pareto", "tradeoff"]

if TYPE_CHECKING:
    from paleo_opt.studies.kept import Kept
    from paleo_opt.studies.run import Progress


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """The answer to ``pareto``.

    Attributes:
        recommendation: What `recommend` answers to the same question.
        front: The exact front.
        request: What was asked beside the budgets, by the names of `pareto`'s arguments.
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
        return find_shifts(self.front)

    @cached_property
    def recommended(self) -> int | None:
        """The place of the recommended strategy on the front; None where it is not there."""
        wanted = self.recommendation.recommended.strategy
        return next((place for place, choice in enumerate(self.front.choices) if choice.strategy == wanted), None)


def pareto(
    network: str | Network,
    *,
    budgets: Sequence[str] | Budgets = (),
    on: Sequence[str | Cluster] = (),
    minimize: str | None = None,
    space: str | SearchSpace = "default",
    options: Options | None = None,
    conv_algorithm: str | None = None,
    precision: str | None = None,
    global_batch: int | None = None,
    micro_batch: int | None = None,
    tensor: int | None = None,
    split: str | None = None,
    collective: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    device: str | None = None,
    overrides: Mapping[str, str] | None = None,
    trials: int | None = None,
    seed: int = 0,
    top: int = 5,
    draws: int = 0,
    progress: Callable[[int, int], None] | None = None,
    kept: Kept | None = None,
    study_progress: Callable[[Progress], None] | None = None,
    exhaustive: bool = False,
    shard_size: int = SHARD,
) -> Tradeoff:
    """The exact front of cost against time for training ``network`` within every budget.

    Of a space too large to evaluate, what lower bounds prove to be beaten is left out. Energy is a third figure where
    it is what is minimized; of a space too large that front is of what the study tried. Takes what `recommend` takes.
    Where ``trials`` is left out, an Optuna study is run where the space is too large to evaluate, and nowhere else;
    ``draws`` are none unless given.

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
        "fixed": dict(fixed or {}),
        "device": device,
        "seed": seed,
        "top": top,
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
        fixed=Fixed(precision, global_batch, micro_batch, tensor, split, collective, fixed or {}),
        overrides=overrides,
    )
    blocks = problem.blocks()
    strategies = count_strategies(blocks)
    sweepable = exhaustive or strategies <= MOST_SWEPT
    # The space is swept twice: for the recommendation, and for the front.
    first, second = _two_passes(strategies, progress)
    if trials is None:
        trials = 0 if sweepable and kept is None else TRIALS
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
        fixed=fixed,
        device=device,
        overrides=overrides,
        trials=trials,
        seed=seed,
        top=top,
        draws=draws,
        progress=first,
        kept=kept,
        study_progress=study_progress,
        exhaustive=exhaustive,
        shard_size=shard_size,
    )
    if sweepable:
        return Tradeoff(recommendation, find_front(problem, blocks, second), request)
    start = time.perf_counter()
    if problem.goal != "energy":
        rows = bounded_rows(problem, blocks)
        left_out = strategies - int(rows.strategies.sum())
        return Tradeoff(recommendation, front_of(problem, blocks, rows, start, left_out=left_out), request)
    rows = search(problem, blocks, trials=trials, seed=seed, kept=kept)[1]
    return Tradeoff(recommendation, front_of(problem, blocks, rows, start, proved=False), request)


def _two_passes(
    strategies: int, progress: Callable[[int, int], None] | None
) -> tuple[Callable[[int, int], None] | None, Callable[[int], None] | None]:
    """``progress`` of two sweeps of so many strategies, as one that runs to twice as many."""
    if progress is None:
        return None, None
    done = strategies

    def first(count: int, total: int) -> None:
        progress(count, 2 * total)

    def second(count: int) -> None:
        nonlocal done
        done += count
        progress(done, 2 * strategies)

    return first, second


#: The same by the name of what it returns.
tradeoff = pareto
