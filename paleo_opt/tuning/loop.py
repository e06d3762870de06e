"""The loop of a tuning: propose, run, learn, until the trials, the time or the points are over."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from paleo_opt.errors import InfeasibleError, SpecError
from paleo_opt.quantities import format_memory
from paleo_opt.tuning.command import CommandTemplate
from paleo_opt.tuning.found import Trial, Tuning, told_trials
from paleo_opt.tuning.guide import Guide
from paleo_opt.tuning.points import Points
from paleo_opt.tuning.runs import FAILED, Runner
from paleo_opt.tuning.solve import Command, OutOfTime, Solver, study_problem

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from paleo_opt.studies.kept import Kept

TRIALS = 20
#: The loop ends where the best run left is expected to gain no more than this share, once so many have gone through
#: beside one for each variable.
LEAST_GAIN = 0.001
_FEW = 3
#: So many runs that failed, none of which went through, and the command is given up.
GIVE_UP = 5
#: Why a tuning ended that was interrupted (Ctrl-C, SIGTERM); the command that ran is ended with all it started.
INTERRUPTED = "interrupted"


def run_tuning(
    points: Points,
    template: CommandTemplate,
    runner: Runner,
    *,
    identity: Mapping[str, Any],
    trials: int = TRIALS,
    total_time_s: float | None = None,
    repeats: int = 1,
    least_gain: float = LEAST_GAIN,
    seed: int = 0,
    kept: Kept | None = None,
    progress: Callable[[Trial], None] | None = None,
) -> Tuning:
    """Run the points that the guide proposes.

    Args:
        points: What can be run.
        template: The command.
        runner: Which runs it.
        identity: What two calls that share a study must have in common: the question.
        trials: Runs at most, those of earlier calls included.
        total_time_s: After which no run is begun, and one that is on is ended.
        repeats: Of each run; their median counts.
        least_gain: The loop ends where no run that is left is expected to gain more than this share; 0 for never.
        seed: Of the guide.
        kept: Where the study is kept; None for memory.
        progress: Called after each run.

    Raises:
        SpecError: the shell does not find the command, or `GIVE_UP` runs failed one after the other from the first.
        InfeasibleError: no run went through for want of memory or time.
        KeyboardInterrupt: it was interrupted before any run went through; later, what was found is returned.
    """
    import optuna

    from paleo_opt.studies.kept import join
    from paleo_opt.studies.run import PLANNED, quiet, run_study
    from paleo_opt.studies.sampler import point_of
    from paleo_opt.tuning.sampler import GuidedSampler, observations

    start = time.monotonic()
    until = None if total_time_s is None else start + total_time_s
    points.check()
    solver = Solver(points, Command(template, runner, until), repeats, lambda number: "", lambda number: None)
    problem = study_problem(points, solver, identity)
    with quiet():
        if kept is None:
            study = optuna.create_study(direction="minimize")
        else:
            study = join(kept, problem.identity, {PLANNED: trials})
    sampler = GuidedSampler(problem, points, seed)

    def running(number: int) -> int:
        """The trial that runs a point."""
        states = (optuna.trial.TrialState.RUNNING,)
        trials = [(t.number, point_of(problem, t)) for t in study.get_trials(deepcopy=False, states=states)]
        return max((t for t, point in trials if point is not None and points.find(point) == number), default=0)

    def expected(number: int) -> float | None:
        proposal = sampler.proposed.get(running(number))
        return None if proposal is None else proposal.expected_step_time_s

    solver.name = lambda number: f"run-{running(number) + 1:04d}"
    solver.expected = expected
    vetoed = Guide(points, ()).count_vetoed()
    known = {trial.number for trial in _trials(study)}
    ended = ""
    while not ended:
        if until is not None and time.monotonic() >= until:
            ended = "the time is over"
            break
        waiting = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
        if not waiting:
            ended = _nothing_left(Guide(points, observations(problem, points, _trials(study)), seed), least_gain)
            if ended:
                break
        try:
            with _terminable():
                run = run_study(problem, trials=trials, seed=seed, study=study, sampler=sampler, most=1)
        except OutOfTime:
            ended = "the time is over"
            break
        except KeyboardInterrupt:
            ended = INTERRUPTED
            break
        ended = run.ended or ("" if run.own else "others run what is left")
        told = told_trials(study, points, known)
        if progress is not None and run.own and told:
            progress(told[-1])
        _give_up(told, solver.unusable)
    told = told_trials(study, points, known)
    found = Tuning(
        points=points,
        template=template,
        trials=told,
        guide=Guide(points, observations(problem, points, _trials(study)), seed),
        ended=ended,
        vetoed_at_first=vetoed,
        seconds=time.monotonic() - start,
        study=study,
    )
    if found.best is None and ended == INTERRUPTED:
        raise KeyboardInterrupt
    if found.best is None:
        raise InfeasibleError(_nothing_ran(found))
    return found


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """While a command runs, SIGTERM ends it as Ctrl-C does, rather than leave it running alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _trials(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False)


def _nothing_left(guide: Guide, least_gain: float) -> str:
    """Why nothing that is left is worth a run; empty where something is."""
    proposal = guide.propose()
    if proposal is None:
        return "all that is left was run or does not fit"
    enough = len(guide.measured) >= _FEW + len(guide.points.axes)
    if enough and proposal.improvement is not None and proposal.improvement < least_gain:
        return f"no run that is left is expected to gain {100 * least_gain:.3g}%"
    return ""


def _give_up(told: Sequence[Trial], unusable: str) -> None:
    """Stop where the command itself is wrong. Raises `SpecError`."""
    if unusable:
        raise SpecError(f"--command: {unusable}")
    if len(told) >= GIVE_UP and all(trial.status == FAILED for trial in told):
        raise SpecError(f"--command: the first {len(told)} runs all failed, the last with {told[-1].reason}")


def _nothing_ran(found: Tuning) -> str:
    """Why nothing can be recommended."""
    candidates = found.points.candidates
    if found.trials:
        return f"none of {len(found.trials)} runs went through; the last: {found.trials[-1].reason}"
    if found.vetoed_at_first < len(candidates):
        return f"no run: {found.ended}"
    excess = candidates.memory_bytes / candidates.capacity
    nearest = int(excess.argmin())
    needed, capacity = float(candidates.memory_bytes[nearest]), float(candidates.capacity[nearest])
    return (
        f"none of {len(candidates):,} strategies is thought to fit: the nearest needs {format_memory(needed)} of "
        f"{format_memory(capacity)} a device as estimated; let the command name more ({{sharding}}, {{recompute}}, "
        "{tensor}…), or fix them by their options"
    )
