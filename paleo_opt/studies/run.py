"""Run a study: trials of a `StudyProblem` until every point was tried, the optimum was met, or nothing gets better.

A trial chooses a point and solves it exactly. All that decides what comes next stands in the study itself, so that a
study in a file or a database is resumed by running it again, and shared by running it in several processes.
"""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from paleo_opt.studies.problem import StudyProblem, Variable, nothing_beside
from paleo_opt.studies.sampler import PointSampler, best_points, counts, is_feasible, point_of

#: Stands for the value of a trial in which nothing can run; finite, as samplers need it.
NOTHING_RUNS = 1e30
#: Figures closer than this are one: sums over layers are rounded in another order for one row than for many.
SAME = 1e-9
#: Keys of a trial's attributes: who runs it, and (hidden from readers) its `Outcome.result`.
WORKER, RESULT = "worker", "paleo-opt:result"
#: Of a study: what it is compared by, how many trials are planned, its seed, what meets the optimum, why it ended.
PLANNED, SEED, OPTIMUM, ENDED = "trials", "seed", "optimum", "ended"
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
#: A study in which this share of the planned trials, and at least so many, brought nothing better has stalled.
_STALL_SHARE, _LEAST_STALL = 0.5, 25


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes:
        finished: Trials, of all processes.
        planned: At most.
        best: Least value of a feasible trial; None where none was.
        attributes: Of that trial.
    """

    finished: int
    planned: int
    best: float | None
    attributes: dict[str, object]


@dataclass(frozen=True, eq=False)
class StudyRun:
    """What a study has done.

    Attributes:
        study: Optuna's own.
        sampler: ``enumeration`` where every point is tried, else ``TPE``.
        finished: Trials of all processes, in order: solved, or pruned by their bound.
        planned: Most that were to be run.
        failed: Trials that were lost, with the processes that ran them, or interrupted.
        first: Of the finished, how many tried the points that come before the sampler's.
        met_at: The trial, from 1, that met ``stop_at``; None where none did.
        best: Least value of a feasible trial; None where none was.
        ended: Why it ended; empty where it was interrupted and goes on elsewhere.
        own: Trials that this process finished.
        seconds: This process spent on it.
    """

    study: optuna.Study
    sampler: str
    finished: tuple[FrozenTrial, ...]
    planned: int
    failed: int
    first: int
    met_at: int | None
    best: float | None
    ended: str
    own: int
    seconds: float

    @property
    def best_trial(self) -> FrozenTrial | None:
        """The first of the best feasible trials."""
        return _best(self.finished)


def _best(finished: Sequence[FrozenTrial]) -> FrozenTrial | None:
    feasible = [trial for trial in finished if is_feasible(trial)]
    return min(feasible, key=lambda trial: (trial.value, trial.number)) if feasible else None


def run_study(
    problem: StudyProblem,
    *,
    trials: int,
    seed: int = 0,
    stop_at: float = -np.inf,
    study: optuna.Study | None = None,
    sampler: optuna.samplers.BaseSampler | None = None,
    most: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> StudyRun:
    """Run the trials that a study still lacks.

    Args:
        problem: What is searched.
        trials: Planned, of all processes together; fewer where the points are fewer.
        seed: Of the sampler; the same seed gives the same trials where one process runs them.
        stop_at: A value known to be the optimum: the study ends when a feasible trial meets it.
        study: A stored one (`kept.join`); None for one in memory.
        sampler: In place of `PointSampler`.
        most: Trials that this process runs at most; None for all.
        progress: Called after each trial of this process.
    """
    start = time.perf_counter()
    shared = study is not None
    with quiet():
        if study is None:
            study = optuna.create_study(direction="minimize")
        points = None if problem.every is None else len({problem.key(point) for point in problem.every})
        planned = trials if points is None else min(trials, points)
        study.sampler = sampler or PointSampler(problem, planned, seed, shared)
        done = 0

        def after(study: optuna.Study, trial: FrozenTrial) -> None:
            nonlocal done
            done += trial.state in _FINISHED
            # Read once: a database takes its time over it.
            every = study.get_trials(deepcopy=False)
            if progress is not None:
                finished = _finished(every)
                best = _best(finished)
                value, attributes = (None, {}) if best is None else (best.value, dict(best.user_attrs))
                progress(Progress(len(finished), planned, value, attributes))
            if done == most or why_ended(every, problem, planned, stop_at) or not _more(every, problem, planned):
                study.stop()

        every = study.get_trials(deepcopy=False)
        if not why_ended(every, problem, planned, stop_at) and _more(every, problem, planned) and most != 0:
            study.optimize(_objective(problem, shared), callbacks=[after])
            every = study.get_trials(deepcopy=False)
        ended, finished = why_ended(every, problem, planned, stop_at), _finished(every)
    known = {problem.key(point) for point in problem.first}
    best = _best(finished)
    met = [t for t in finished if is_feasible(t) and t.value is not None and meets(t.value, stop_at)]
    return StudyRun(
        study=study,
        sampler="enumeration" if planned == points else "TPE",
        finished=tuple(finished),
        planned=planned,
        failed=sum(trial.state == TrialState.FAIL for trial in every),
        first=sum(
            point is not None and problem.key(point) in known
            for point in (point_of(problem, trial) for trial in finished[: len(problem.first)])
        ),
        met_at=finished.index(met[0]) + 1 if met else None,
        best=None if best is None else best.value,
        ended=ended,
        own=done,
        seconds=time.perf_counter() - start,
    )


def meets(value: float, optimum: float) -> bool:
    """Whether a value is the optimum, but for rounding."""
    return value <= optimum + SAME * abs(optimum) if np.isfinite(optimum) else False


def _finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state in _FINISHED]


def _more(trials: Sequence[FrozenTrial], problem: StudyProblem, planned: int) -> bool:
    """Whether this process could start a trial that is neither done nor being done."""
    if any(trial.state == TrialState.WAITING for trial in trials):
        return True
    taken = [trial for trial in trials if trial.state != TrialState.FAIL]
    if len(taken) >= planned:
        return False
    if problem.every is None:
        return True
    points = [point_of(problem, trial) for trial in trials if counts(trial)]
    unknown = sum(point is None for point in points)
    tried = {problem.key(point) for point in points if point is not None}
    return len({problem.key(point) for point in problem.every} - tried) > unknown


def why_ended(trials: Sequence[FrozenTrial], problem: StudyProblem, planned: int, stop_at: float = -np.inf) -> str:
    """Why a study of these trials is over, in a few words; empty where it is not."""
    finished = _finished(trials)
    best = _best(finished)
    if best is not None and best.value is not None and meets(best.value, stop_at):
        return "met the optimum"
    if problem.every is not None:
        points = [(trial, point_of(problem, trial)) for trial in trials if counts(trial)]
        over = {problem.key(point) for trial, point in points if point is not None and trial.state.is_finished()}
        if all(problem.key(point) in over for point in problem.every):
            return "tried every point"
    if len(finished) >= planned:
        return "ran all its trials"
    if problem.every is None and best is not None and problem.beside is not nothing_beside:
        since = len(finished) - 1 - finished.index(best)
        if len(finished) > len(problem.first) and since >= max(_LEAST_STALL, _STALL_SHARE * planned):
            chosen = [(trial, point_of(problem, trial)) for trial in finished]
            known = [(trial, point) for trial, point in chosen if point is not None]
            if not problem.beside(best_points(known), [point for _, point in known]):
                return f"stalled: {since:,} trials brought nothing better, and nothing beside the best is untried"
    return ""


def _objective(problem: StudyProblem, shared: bool) -> Callable[[optuna.Trial], float]:
    name = this_process()

    def objective(trial: optuna.Trial) -> float:
        if shared:
            trial.set_user_attr(WORKER, name)
        point = {name: _suggested(trial, name, variable) for name, variable in problem.variables.items()}
        bound = problem.bound(point)
        if np.isfinite(bound):
            best = _best(_finished(trial.study.get_trials(deepcopy=False)))
            if best is not None and best.value is not None and bound > best.value:
                trial.set_user_attr("bound", bound)
                raise optuna.TrialPruned
        outcome = problem.solve(point)
        runs = bool(np.isfinite(outcome.value))
        for limit, excess in (outcome.excess or {"runs": 0.0 if runs else 1.0}).items():
            trial.set_constraint(limit, float(min(excess, NOTHING_RUNS)))
        for key, value in outcome.attributes.items():
            trial.set_user_attr(key, value)
        if outcome.result:
            trial.storage.set_trial_system_attr(trial._trial_id, RESULT, outcome.result)
        return outcome.value if runs else NOTHING_RUNS

    return objective


def _suggested(trial: optuna.Trial, name: str, variable: Variable) -> float:
    if variable.integer:
        return trial.suggest_int(name, int(variable.low), int(variable.high), log=variable.log)
    return trial.suggest_float(name, variable.low, variable.high, log=variable.log)


def this_process() -> str:
    """What a trial calls the process that runs it: ``host pid``."""
    return f"{socket.gethostname()} {os.getpid()}"


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's own messages off, and as they were afterwards; its notes of what is experimental too."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
