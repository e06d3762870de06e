"""Run a study that is kept: wait for the trials of other processes, and for a database that is restarted."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import replace

import numpy as np
import optuna

from paleo_opt.errors import SpecError
from paleo_opt.studies.kept import Kept, join
from paleo_opt.studies.lost_trials import fail_lost, hand_back
from paleo_opt.studies.problem import Outcome, Point, StudyProblem
from paleo_opt.studies.run import ENDED, OPTIMUM, PLANNED, SEED, Progress, StudyRun, run_study
from paleo_opt.studies.storage import is_storage_error, reason, shown

#: Seconds without a database after which a process gives up.
PATIENCE = 600.0
#: Seconds between looks at a study whose last trials others are running, and between attempts to reach a database.
_IDLE, _LONGEST_WAIT = 0.5, 15.0


def run_kept(
    problem: StudyProblem,
    kept: Kept,
    *,
    trials: int,
    seed: int = 0,
    stop_at: float = -np.inf,
    most: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
    patience: float = PATIENCE,
) -> StudyRun:
    """Run a kept study to its end, with whoever else runs it.

    Args:
        problem: What is searched.
        kept: Where.
        trials: Planned, of all processes together.
        seed: Of the sampler.
        stop_at: A value known to be the optimum.
        most: Trials that this process runs at most; None for all.
        progress: Called after each trial of this process.
        say: Told when the database is lost and found again.
        patience: Seconds without the database after which this process gives up.

    Raises:
        SpecError: the study cannot be kept there, is of something else, or its database stays away.
    """
    problem = replace(problem, solve=_remembering(problem))
    attributes = {PLANNED: trials, SEED: seed, OPTIMUM: stop_at if np.isfinite(stop_at) else None}
    study = join(kept, problem.identity, attributes, problem.every or ())
    lost_at: float | None = None
    wait = _IDLE
    done = 0
    while True:
        try:
            if lost_at is not None:
                study = join(kept, problem.identity, attributes, problem.every or ())
                hand_back(study)
                if say is not None:
                    say(f"{shown(kept.storage)} is back after {time.monotonic() - lost_at:.0f} s")
                lost_at, wait = None, _IDLE
            before = len(study.get_trials(deepcopy=False))
            # Processes that start at once are to propose different points.
            run = run_study(
                problem,
                trials=trials,
                seed=seed + before,
                stop_at=stop_at,
                study=study,
                most=None if most is None else most - done,
                progress=progress,
            )
            done += run.own
            if run.ended or done == most:
                if run.ended and study.user_attrs.get(ENDED) != run.ended:
                    study.set_user_attr(ENDED, run.ended)
                return run
            fail_lost(study)
            time.sleep(_IDLE)
        except optuna.exceptions.UpdateFinishedTrialError:
            pass  # this process was taken for lost, and the trial given to another
        except Exception as error:
            if isinstance(error, ValueError) and str(error).startswith("Cannot tell"):
                continue  # SQLite let another process take the same trial, and that one was first
            if not is_storage_error(error):
                raise
            now = time.monotonic()
            if lost_at is None:
                lost_at = now
                if say is not None:
                    say(f"{shown(kept.storage)}: {reason(error)}; trying again for {patience:.0f} s")
            if now - lost_at > patience:
                raise SpecError(f"--storage {shown(kept.storage)}: {reason(error)}, for {patience:.0f} s") from None
            time.sleep(wait)
            wait = min(2.0 * wait, _LONGEST_WAIT)


def _remembering(problem: StudyProblem) -> Callable[[Point], Outcome]:
    """``solve`` that need not solve again what it solved last, when that could not be kept."""
    last: list[tuple[Hashable, Outcome]] = []

    def solve(point: Point) -> Outcome:
        key = problem.key(point)
        if not last or last[0][0] != key:
            last[:] = [(key, problem.solve(point))]
        return last[0][1]

    return solve
