"""Recommend: the best strategy within the budgets, the proof, the runners-up, the front, and what limits it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.estimate import Options
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.network.graph import Network
from paleo_opt.quantities import format_count, format_time
from paleo_opt.search.blocks import Block
from paleo_opt.search.budgets import Budgets, check_goal, figure, parse_budgets, ranked
from paleo_opt.search.explanation import Step, next_steps, other_collectives
from paleo_opt.search.importance import Importance, importance_of, shares_of
from paleo_opt.search.infeasible import check_not_empty, nothing_feasible
from paleo_opt.search.optuna_search import NO_SEARCH, TRIALS, SearchSummary, search
from paleo_opt.search.pareto import knee, pareto_front
from paleo_opt.search.problem import MOST_SWEPT, Choice, Fixed, SearchProblem, count_strategies, load_problem
from paleo_opt.search.robustness import DRAWS, Robustness, competitors, robustness
from paleo_opt.search.runners_up import runners_up
from paleo_opt.search.sharded_sweep import SHARD, shared_sweep
from paleo_opt.search.space import SearchSpace
from paleo_opt.search.sweep import Rows, sweep

if TYPE_CHECKING:
    from paleo_opt.studies.kept import Kept
    from paleo_opt.studies.run import Progress

SUPERLATIVES = {"time": "fastest", "cost": "cheapest", "energy": "most frugal"}


@dataclass(frozen=True)
class Certificate:
    """What is proved of a recommendation.

    Attributes:
        kind: ``sweep`` where every strategy of the space was evaluated; ``bounds`` where lower bounds prove that those
            that were not are no better; else ``none``.
        strategies: In the space, within the budget of GPUs.
        evaluated: Of them.
        fitting: Of those evaluated, how many fit a device's memory.
        feasible: Of those, how many keep to the budgets too.
        seconds: Evaluating them took.
        optimal: Whether no strategy of the space is better.
    """

    kind: str
    strategies: int
    evaluated: int
    fitting: int
    feasible: int
    seconds: float
    optimal: bool


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The answer to ``recommend``.

    Attributes:
        problem: What was asked.
        recommended: The best strategy within every budget.
        alternatives: The next best, each on another cluster or with another layout or number of GPUs.
        front: The exact front of time against ``against``, fastest first, within the budgets.
        against: ``cost_usd``, or ``gpus`` where nothing has a price.
        knee: Where the front bends most; None where it is nearly straight.
        cheapest: Within the budgets; None where nothing has a price.
        fastest: Within the budgets.
        certificate: What is proved.
        search: What the study did.
        steps: What one step beyond each binding limit would buy.
        collectives: By how much the other collectives would be slower.
        importance: How much each variable matters; None where the trials were too few to say.
        robustness: How often it stays the best when the constants are drawn from their uncertainty; None without draws.
    """

    problem: SearchProblem
    recommended: Choice
    alternatives: tuple[Choice, ...]
    front: tuple[Choice, ...]
    against: str
    knee: Choice | None
    cheapest: Choice | None
    fastest: Choice
    certificate: Certificate
    search: SearchSummary
    steps: tuple[Step, ...]
    collectives: Mapping[str, float]
    importance: Importance | None = None
    robustness: Robustness | None = None

    @property
    def message(self) -> str:
        """Why the search stopped, and what is proved, in words."""
        certificate, study = self.certificate, self.search
        best, count = SUPERLATIVES[self.problem.goal], format_count
        if not certificate.optimal:
            return (
                f"the {best} of {count(certificate.evaluated)} strategies that {count(study.trials)} "
                f"trial{'s'[: study.trials != 1]} evaluated; "
                f"not proved: the space has {count(certificate.strategies)}, too many unless asked (--sweep)"
            )
        if certificate.kind == "bounds":
            return (
                f"the {best} of {count(certificate.strategies)} strategies: {count(certificate.evaluated)} evaluated "
                f"in {format_time(certificate.seconds)}, and lower bounds prove the others no better"
            )
        proof = (
            f"the {best} of {count(certificate.strategies)} strategies, all evaluated in "
            f"{format_time(certificate.seconds)}"
        )
        if study.met_at is not None:
            return f"{proof}; Optuna met it at trial {count(study.met_at)} of {count(study.planned)}"
        return f"{proof}; Optuna did not meet it in {count(study.trials)} trials" if study.trials else proof


def recommend(
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
    draws: int = DRAWS,
    progress: Callable[[int, int], None] | None = None,
    kept: Kept | None = None,
    study_progress: Callable[[Progress], None] | None = None,
    exhaustive: bool = False,
    shard_size: int = SHARD,
) -> Recommendation:
    """The best strategy for training ``network`` within every budget.

    Args:
        network: A name, a file, or a network with a training job.
        budgets: Such as ``["64gpus", "$500", "12h"]``; all hold.
        on: Clusters to consider, names, files or clusters; empty for the space's.
        minimize: ``time``, ``cost`` or ``energy``; by default time, or cost where the only budget is time.
        space: A search space's name or file, or a space.
        options: The model's constants.
        conv_algorithm: As for `compile_network`.
        precision: Fixes the precision.
        global_batch: Fixes the samples per step.
        micro_batch: Fixes the samples per device and pass.
        tensor: Fixes the devices that divide a split layer.
        split: Fixes ``data``, ``hybrid`` or ``model``.
        collective: Fixes the collective.
        fixed: Fixes fields of a transformer's `Split`, and ``data``, each with its value (`fixed.SPLIT_FIELDS`).
        device: In place of the named clusters' devices; where none is named, picks the clusters that have it.
        overrides: Field to text: ``net.FIELD``, ``space.FIELD``, ``device.FIELD``; any other is a cluster's.
        trials: Most trials of the Optuna study; 0 leaves it out.
        seed: Of its sampler, and of the draws.
        top: How many alternatives to return at most.
        draws: Of the constants, for `Recommendation.robustness`; 0 leaves it out.
        progress: Called during the sweep with the strategies done and in all.
        kept: Where the study is kept, to be resumed and shared; None for memory.
        study_progress: Called after each of its trials.
        exhaustive: Evaluate every strategy, however many; where ``kept`` is given in shards, each a trial of that
            study, with every process that joins it.
        shard_size: Strategies of a shard, about.

    Raises:
        SpecError: bad input.
        InfeasibleError: nothing fits memory and keeps to the budgets. Where there was something to evaluate it is a
            `NothingFeasibleError`, with what comes nearest.
    """
    if not isinstance(budgets, Budgets):
        budgets = parse_budgets(budgets)
    trials = TRIALS if trials is None else trials
    for name, value in (("trials", trials), ("top", top), ("draws", draws)):
        if value < 0:
            raise SpecError(f"{name} is {value}; expected at least 0")
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
    check_not_empty(problem, blocks)
    strategies = count_strategies(blocks)
    fast = None
    if exhaustive or strategies <= MOST_SWEPT:
        start = time.perf_counter()
        if exhaustive and kept is not None:
            rows, fast = shared_sweep(problem, blocks, kept, study_progress, shard_size)
            kept = None  # of the sweep; the study below takes no time
        else:
            done = _counted(strategies, progress)
            rows = sweep(problem.table, blocks, budgets.limits, problem.options, problem.goal, done)
        seconds, swept = time.perf_counter() - start, True
        if not rows.feasible.any():
            raise nothing_feasible(problem, blocks, rows)
        # The study searches by itself; the sweep proves what it finds, and lets it stop there.
        study = NO_SEARCH
        if trials:
            study = search(problem, blocks, rows, trials=trials, seed=seed, kept=kept, progress=study_progress)[0]
    elif trials:
        start = time.perf_counter()
        study, rows = search(problem, blocks, trials=trials, seed=seed, kept=kept, progress=study_progress)
        seconds, swept = time.perf_counter() - start, False
        if not rows.feasible.any():
            raise nothing_feasible(problem, blocks, rows, proved=False)
    else:
        raise SpecError(
            f"trials is 0, but the space has {format_count(strategies)} strategies, too many to try each; "
            "expected at least 1"
        )
    evaluated = int(rows.strategies.sum())
    kind = "sweep" if swept else "bounds" if study.proved else "none"
    certificate = Certificate(
        kind=kind,
        strategies=strategies,
        evaluated=evaluated,
        fitting=int(rows.fitting.sum()),
        feasible=int(rows.feasible.sum()),
        seconds=seconds,
        optimal=kind != "none",
    )
    found = _answer(problem, blocks, rows, certificate, study, top, fast)
    if not draws:
        return found
    rivals = competitors(rows, blocks, ranked(rows, blocks, problem.goal, rows.feasible > 0))
    return replace(found, robustness=robustness(problem, rivals, draws, seed))


def _counted(total: int, progress: Callable[[int, int], None] | None) -> Callable[[int], None] | None:
    """``progress`` as the sweep calls it, tile by tile."""
    if progress is None:
        return None
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return add


def _answer(
    problem: SearchProblem,
    blocks: Sequence[Block],
    rows: Rows,
    certificate: Certificate,
    study: SearchSummary,
    top: int,
    fast: Rows | None = None,
) -> Recommendation:
    """Put together what follows from the rows; ``fast`` where those of the fastest strategies are known too."""
    order = ranked(rows, blocks, problem.goal, rows.feasible > 0)
    recommended = Choice(problem, rows.strategy(blocks, int(order[0])))
    alternatives = [Choice(problem, rows.strategy(blocks, row)) for row in runners_up(rows, blocks, order, top)]
    # The front is of the fastest strategy of each row, which within a row is the cheapest, not the most frugal.
    if fast is None:
        fast = rows
        if problem.goal == "energy" and certificate.kind == "sweep":
            fast = sweep(problem.table, blocks, problem.budgets.limits, problem.options)

    def choice(row: int) -> Choice:
        return Choice(problem, fast.strategy(blocks, row))

    feasible = fast.feasible > 0
    times = np.where(feasible, fast.time_s, np.inf)
    costs = np.where(feasible, figure(fast, "cost"), np.inf)
    priced = bool(np.isfinite(costs).any())
    other = costs if priced else fast.gpus.astype(float)
    front = pareto_front(times, other)
    bend = knee(times[front], other[front])
    return Recommendation(
        problem=problem,
        recommended=recommended,
        alternatives=tuple(alternatives),
        front=tuple(choice(int(row)) for row in front),
        against="cost_usd" if priced else "gpus",
        knee=None if bend is None else choice(int(front[bend])),
        cheapest=choice(int(ranked(fast, blocks, "cost", feasible)[0])) if priced else None,
        fastest=choice(int(ranked(fast, blocks, "time", feasible)[0])),
        certificate=certificate,
        search=study,
        steps=tuple(next_steps(problem, blocks, rows, recommended)),
        collectives=other_collectives(problem, recommended),
        importance=importance_of(rows, blocks, problem.goal) if certificate.kind == "sweep" else shares_of(study.study),
    )
