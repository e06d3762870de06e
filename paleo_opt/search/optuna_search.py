"""The Optuna search: a trial is a block, or a band of one, solved exactly.

Optuna chooses the outer variables, each an integer with a fixed name and range: the ``cluster``, the ``layout`` of
splits, of a transformer ``tensor``, ``pipeline``, ``context`` and ``expert``, and, where these are too large to solve
at once, the band of ``gpus``. All that is inside (the GPUs of the band, micro-batch, accumulation, collective, and what
else there is to a split) is solved exactly by the sweep's own code. Trials of one number of GPUs each were tried too:
under budgets of money TPE then missed the optimum in most of 10 seeds at 100 trials, by up to a factor of 100.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.search.blocks import Block
from paleo_opt.search.budgets import figure, ranked, select
from paleo_opt.search.outer import OuterSpace, Point
from paleo_opt.search.problem import SearchProblem, count_strategies
from paleo_opt.search.sweep import Rows, join, solve_block

if TYPE_CHECKING:
    import optuna

TRIALS = 100
#: Stands for the figure of a trial in which nothing fits; finite, as samplers need it.
_NOTHING_FITS = 1e30
#: Figures closer than this are one: sums over layers are rounded in another order for one row than for many.
_SAME = 1e-9
_FEW, _MANY = "few enough to try each", "too many to try each"


@dataclass(frozen=True, eq=False)
class SearchSummary:
    """What a study did.

    Attributes:
        sampler: ``enumeration``, ``TPE``, or ``none`` where there was no study.
        reason: Why that one, in a few words, and how many of the first trials are heuristics rather than the sampler's.
        seed: Of the sampler.
        trials: Run.
        planned: Most that would have run.
        met_at: The trial, from 1, that met the sweep's optimum; None where none did or there was no sweep.
        best: Least of what is minimized in a feasible trial; None where none was feasible.
        gap_to_sweep: ``best`` over the sweep's optimum, less 1; None without a sweep.
        seconds: The study took.
        study: Optuna's own; None where there was none.
    """

    sampler: str
    reason: str
    seed: int
    trials: int
    planned: int
    met_at: int | None
    best: float | None
    gap_to_sweep: float | None
    seconds: float
    study: optuna.Study | None


NO_SEARCH = SearchSummary("none", "left out", 0, 0, 0, None, None, None, 0.0, None)


class _Trials:
    """The objective of a study: solves, or looks up, the rows of a trial and reports their best."""

    def __init__(self, problem: SearchProblem, blocks: Sequence[Block], outer: OuterSpace, swept: Rows | None) -> None:
        self.problem, self.blocks, self.outer, self.swept = problem, blocks, outer, swept
        self.solved: dict[tuple[int, int, int], Rows] = {}
        self.seen: list[Point] = []
        self.feasible: dict[Point, float] = {}
        self.met_at: int | None = None
        self.optimum = -np.inf
        if swept is not None:
            self.optimum = float(figure(swept, problem.goal)[swept.feasible > 0].min(initial=np.inf))
            # The rows of a block stand together, the blocks in an order of their own.
            self._starts = dict(
                zip(*(column.tolist() for column in np.unique(swept.block, return_index=True)), strict=True)
            )

    def rows(self, index: int, first: int, last: int) -> Rows:
        """Rows ``first`` to ``last`` (excluded) of a block, each with its best strategy."""
        key = (index, first, last)
        if key not in self.solved:
            if self.swept is not None:
                # The sweep has solved them; solving them again would give the same figures.
                found = select(self.swept, slice(self._starts[index] + first, self._starts[index] + last))
            else:
                block = self.blocks[index].of_rows(slice(first, last))
                problem = self.problem
                found = solve_block(problem.table, block, index, problem.budgets.limits, problem.options, problem.goal)
            self.solved[key] = found
        return self.solved[key]

    def __call__(self, trial: optuna.Trial) -> float:
        sizes = self.outer.sizes
        point = tuple(trial.suggest_int(name, 0, size - 1) for name, size in sizes.items())
        self.seen.append(point)
        rows = self.rows(*self.outer.band(point))
        feasible = rows.feasible > 0
        excess = self._excess(rows)
        if feasible.any():
            best = int(ranked(rows, self.blocks, self.problem.goal, feasible)[0])
        else:
            best = int(np.max(list(excess.values()), axis=0).argmin())
        for name, values in excess.items():
            # The sweep's count says what is feasible; rounding may make a limit that is just met look exceeded.
            trial.set_constraint(name, float(min(values[best], 0.0) if feasible[best] else values[best]))
        trial.set_user_attr("strategies", int(rows.strategies.sum()))
        value = float(figure(rows, self.problem.goal)[best])
        if not np.isfinite(value):
            return _NOTHING_FITS
        trial.set_user_attr("strategy", rows.strategy(self.blocks, best).to_json())
        if feasible[best]:
            self.feasible.setdefault(point, value)
            if value <= self.optimum * (1.0 + _SAME):
                self.met_at = trial.number + 1
                trial.study.stop()
        return value

    def _excess(self, rows: Rows) -> dict[str, Floats]:
        """By how much each row exceeds each limit, relative to it; at most 0 where it keeps to it. Shapes (rows,)."""
        capacity = np.array([block.cluster.device.memory for block in self.blocks])[rows.block]
        excess = {"memory": rows.memory_bytes / capacity - 1.0}
        for goal, field in (("time", "time_s"), ("cost", "cost_usd"), ("energy", "energy_kwh")):
            limit = getattr(self.problem.budgets, field)
            if limit is not None:
                values = figure(rows, goal)
                excess[field] = np.where(np.isfinite(values), values, _NOTHING_FITS) / limit - 1.0
        return excess

    def best(self, count: int) -> list[Point]:
        """The best feasible points so far."""
        return sorted(self.feasible, key=lambda point: (self.feasible[point], point))[:count]


def search(
    problem: SearchProblem, blocks: Sequence[Block], swept: Rows | None = None, *, trials: int = TRIALS, seed: int = 0
) -> tuple[SearchSummary, Rows]:
    """Search the blocks with Optuna.

    Args:
        problem: What is minimized, within which budgets.
        blocks: All blocks of the space.
        swept: The rows of a sweep of these blocks. The study then looks its rows up, and stops at the trial that meets
            their optimum; without, every trial solves its own.
        trials: Most trials, at least 1.
        seed: Of the sampler; the same seed gives the same trials.

    Returns:
        What the study did, and every row that it evaluated.
    """
    import optuna

    start = time.perf_counter()
    strategies = int(swept.strategies.sum()) if swept is not None else count_strategies(blocks)
    outer = OuterSpace.of(problem, blocks, strategies)
    objective = _Trials(problem, blocks, outer, swept)
    few = outer.distinct <= trials
    polish = trials // 4
    heuristics = outer.heuristics()[: trials - polish]
    with _quiet():
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=False)
        study = optuna.create_study(direction="minimize", sampler=sampler)

        def run(count: int, points: Sequence[Point] = ()) -> None:
            """So many more trials, of ``points`` first, unless the optimum was met."""
            if objective.met_at is None and count > 0:
                for point in points:
                    study.enqueue_trial(dict(zip(outer.sizes, point, strict=True)))
                study.optimize(objective, n_trials=count)

        if few:
            run(outer.distinct, outer.every())
        else:
            run(trials - polish, heuristics)
            run(polish, outer.beside(objective.best(3), objective.seen)[:polish])
    found = objective.best(1)
    best = objective.feasible[found[0]] if found else None
    gap = None if swept is None or best is None else max(0.0, best / objective.optimum - 1.0)
    summary = SearchSummary(
        sampler="enumeration" if few else "TPE",
        reason=f"{outer.in_words()}, "
        + (_FEW if few else f"{_MANY}; the first {len(heuristics)} trials are heuristics"),
        seed=seed,
        trials=len(objective.seen),
        planned=min(trials, outer.distinct),
        met_at=objective.met_at,
        best=best,
        gap_to_sweep=0.0 if gap is not None and gap <= _SAME else gap,
        seconds=time.perf_counter() - start,
        study=study,
    )
    return summary, join(list(objective.solved.values()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's own messages off, and as they were afterwards."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
