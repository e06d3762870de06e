"""The Optuna search: a trial is a cluster, or a part of its rows, solved exactly.

Optuna chooses the outer variables of `outer`, each an integer with a fixed name and range: the ``cluster`` and, where
that is too large to solve at once, the ``part`` of its rows. All that is inside (numbers of GPUs, splits, micro-batch,
accumulation, collective) is solved exactly by the sweep's own code. Trials of one number of GPUs or one split each were
tried too: TPE then missed the optimum in most of 10 seeds at 100 trials under budgets of money, and by 4.5% among the
splits of a large transformer (docs/search.md).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from paleo_opt import __version__
from paleo_opt.estimator.cost_table import Floats
from paleo_opt.search.blocks import Block
from paleo_opt.search.budgets import budget_text, figure, ranked, select
from paleo_opt.search.outer import Band, OuterSpace
from paleo_opt.search.outer import Point as Place
from paleo_opt.search.packed_rows import pack, unpack
from paleo_opt.search.problem import SearchProblem, count_strategies
from paleo_opt.search.sweep import Rows, join, solve_block
from paleo_opt.studies.problem import Outcome, Point, StudyProblem, Variable

if TYPE_CHECKING:
    import optuna

    from paleo_opt.studies.kept import Kept
    from paleo_opt.studies.run import Progress

TRIALS = 100
#: Stands for a figure that is unknown where an excess is asked for; finite, as samplers need it.
_UNKNOWN = 1e30
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
        ended: Why it ended, in a few words.
        proved: Whether no strategy of the space is better than ``best``: every point was solved, or its lower bound is
            no better.
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
    ended: str = ""
    proved: bool = False


NO_SEARCH = SearchSummary("none", "left out", 0, 0, 0, None, None, None, 0.0, None)


@dataclass(frozen=True, eq=False)
class NestedSearch:
    """The search of a space's blocks: what is outside a trial, and the rows inside each.

    Attributes:
        problem: What is minimized, within which budgets.
        blocks: All blocks of the space.
        outer: What a trial chooses.
        swept: The rows of a sweep of these blocks, which trials then look up; None to have each solve its own.
        packed: Whether trials keep their rows as text, for another process or a later one.
        solved: The rows of each band that this process has solved.
    """

    problem: SearchProblem
    blocks: Sequence[Block]
    outer: OuterSpace
    swept: Rows | None = None
    packed: bool = False
    solved: dict[Band, Rows] = field(default_factory=dict)

    def study_problem(self, trials: int) -> StudyProblem:
        """As a study of so many trials."""
        outer = self.outer
        few = outer.distinct <= trials
        return StudyProblem(
            variables={name: Variable(0, size - 1) for name, size in outer.sizes.items()},
            solve=self.solve,
            identity=identity(self.problem, self.blocks) | {"variables": dict(outer.sizes)},
            first=() if few else self._points(outer.heuristics()[: trials - trials // 4]),
            every=self._points(outer.every()) if few else None,
            beside=lambda best, seen: self._points(outer.beside(map(_place, best), map(_place, seen))),
            key=lambda point: outer.band(_place(point)),
            bound=lambda point: outer.bound(_place(point)),
        )

    def _points(self, places: Sequence[Place]) -> list[Point]:
        return [dict(zip(self.outer.sizes, place, strict=True)) for place in places]

    @cached_property
    def _starts(self) -> dict[int, int]:
        """The first row of each block in the sweep: its rows stand together, the blocks in an order of their own."""
        assert self.swept is not None
        blocks, firsts = np.unique(self.swept.block, return_index=True)
        return dict(zip(blocks.tolist(), firsts.tolist(), strict=True))

    def optimum(self) -> float:
        """Of the sweep; minus infinity without one, infinity where nothing is feasible."""
        if self.swept is None:
            return -np.inf
        return float(figure(self.swept, self.problem.goal)[self.swept.feasible > 0].min(initial=np.inf))

    def rows(self, band: Band) -> Rows:
        """The rows of a band, each with its best strategy."""
        if band not in self.solved:
            part = self.outer.rows(band)
            if self.swept is not None:
                # The sweep has solved them; solving them again would give the same figures.
                found = select(self.swept, np.concatenate([self._starts[index] + rows for index, rows in part]))
            else:
                problem, limits = self.problem, self.problem.budgets.limits
                some = [(index, self.blocks[index].of_rows(rows)) for index, rows in part]
                found = join(
                    [
                        solve_block(problem.table, block, index, limits, problem.options, problem.goal)
                        for index, block in some
                    ]
                )
            self.solved[band] = found
        return self.solved[band]

    def solve(self, point: Point) -> Outcome:
        """The best strategy of a point, or where none is feasible the one that comes nearest."""
        rows = self.rows(self.outer.band(_place(point)))
        found = outcome_of(self.problem, self.blocks, rows)
        return replace(found, result=pack(rows)) if self.packed else found


def outcome_of(problem: SearchProblem, blocks: Sequence[Block], rows: Rows) -> Outcome:
    """The best of some rows, or where none is feasible the one that comes nearest."""
    feasible = rows.feasible > 0
    excess = _excess(problem, blocks, rows)
    if feasible.any():
        best = int(ranked(rows, blocks, problem.goal, feasible)[0])
    else:
        best = int(np.max(list(excess.values()), axis=0).argmin())
    # The sweep's count says what is feasible; rounding may make a limit that is just met look exceeded.
    limits = {
        name: float(min(values[best], 0.0) if feasible[best] else values[best]) for name, values in excess.items()
    }
    value = float(figure(rows, problem.goal)[best])
    attributes: dict[str, Any] = {"strategies": int(rows.strategies.sum())}
    if np.isfinite(value):
        attributes["strategy"] = rows.strategy(blocks, best).to_json()
        figures = {name: float(getattr(rows, name)[best]) for name in ("time_s", "cost_usd", "energy_kwh")}
        attributes |= {name: value for name, value in figures.items() if np.isfinite(value)}
    return Outcome(value, limits, attributes)


def _excess(problem: SearchProblem, blocks: Sequence[Block], rows: Rows) -> dict[str, Floats]:
    """By how much each row exceeds each limit, relative to it; at most 0 where it keeps to it. Shapes (rows,)."""
    capacity = np.array([block.cluster.device.memory for block in blocks])[rows.block]
    excess = {"memory": rows.memory_bytes / capacity - 1.0}
    for goal, name in (("time", "time_s"), ("cost", "cost_usd"), ("energy", "energy_kwh")):
        limit = getattr(problem.budgets, name)
        if limit is not None:
            values = figure(rows, goal)
            excess[name] = np.where(np.isfinite(values), values, _UNKNOWN) / limit - 1.0
    return excess


def _place(point: Point) -> Place:
    return tuple(int(value) for value in point.values())


def identity(problem: SearchProblem, blocks: Sequence[Block]) -> dict[str, Any]:
    """What two processes that search the same space have in common, as JSON."""
    budgets = problem.budgets
    names = ("gpus", "cost_usd", "time_s", "energy_kwh")
    given = {name: getattr(budgets, name) for name in names}
    return {
        "network": problem.network.name,
        "goal": problem.goal,
        "budget": " and ".join(budget_text(name, size) for name, size in given.items() if size is not None),
        "space": problem.space.name,
        "clusters": sorted(cluster.name for cluster in problem.clusters),
        "strategies": count_strategies(blocks),
        "paleo-opt": __version__,
        "question": _digest(problem),
    }


def _digest(problem: SearchProblem) -> str:
    """Of all that an answer follows from: specs, options, limits. The same on every machine."""
    names = ("network", "clusters", "options", "budgets", "space", "fixed", "goal", "batch_limit", "most_gpus")
    text = repr([getattr(problem, name) for name in names])
    # Where a spec was read from is another matter.
    return hashlib.sha256(re.sub(r"\bfile=('[^']*'|\"[^\"]*\")", "", text).encode()).hexdigest()[:16]


def search(
    problem: SearchProblem,
    blocks: Sequence[Block],
    swept: Rows | None = None,
    *,
    trials: int = TRIALS,
    seed: int = 0,
    kept: Kept | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[SearchSummary, Rows]:
    """Search the blocks with Optuna.

    Args:
        problem: What is minimized, within which budgets.
        blocks: All blocks of the space.
        swept: The rows of a sweep of these blocks. The study then looks its rows up, and stops at the trial that meets
            their optimum; without, every trial solves its own.
        trials: Most trials, at least 1.
        seed: Of the sampler; the same seed gives the same trials.
        kept: Where the study is kept, to be resumed and shared; None for memory.
        progress: Called after each trial.

    Returns:
        What the study did, and every row that it evaluated.

    Raises:
        SpecError: the study cannot be kept there, or is of something else.
    """
    from paleo_opt.studies.run import RESULT, meets, run_study
    from paleo_opt.studies.run_kept import run_kept

    strategies = int(swept.strategies.sum()) if swept is not None else count_strategies(blocks)
    nested = NestedSearch(problem, blocks, OuterSpace.of(problem, blocks, strategies), swept, packed=kept is not None)
    searched, optimum = nested.study_problem(trials), nested.optimum()
    if kept is None:
        run = run_study(searched, trials=trials, seed=seed, stop_at=optimum, progress=progress)
        rows = join(list(nested.solved.values()))
    else:
        run = run_kept(searched, kept, trials=trials, seed=seed, stop_at=optimum, progress=progress)
        # What was left out by its bound has no rows.
        solved = [trial for trial in run.finished if RESULT in trial.system_attrs]
        results = {searched.key(trial.params): trial.system_attrs[RESULT] for trial in solved}
        rows = join([unpack(text) for text in results.values()])
    gap = None if swept is None or run.best is None else max(0.0, run.best / optimum - 1.0)
    few = searched.every is not None
    reason = f"{nested.outer.in_words()}, " + (_FEW if few else f"{_MANY}; the first {run.first} trials are heuristics")
    # Points that were solved, or whose bound is above the best, hold nothing better; nor may any other.
    tried = [_place({name: trial.params[name] for name in nested.outer.sizes}) for trial in run.finished]
    summary = SearchSummary(
        sampler=run.sampler,
        reason=reason,
        seed=seed,
        trials=len(run.finished),
        planned=run.planned,
        met_at=run.met_at,
        best=run.best,
        gap_to_sweep=0.0 if run.best is not None and meets(run.best, optimum) else gap,
        seconds=run.seconds,
        study=run.study,
        ended=run.ended,
        proved=run.best is not None and nested.outer.least_left(tried) >= run.best,
    )
    return summary, rows
