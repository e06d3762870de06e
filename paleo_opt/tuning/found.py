"""What a tuning found: its runs, the best of them, and how well they were foreseen."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from paleo_opt.tuning.command import CommandTemplate
from paleo_opt.tuning.guide import Guide, Proposal
from paleo_opt.tuning.points import Points
from paleo_opt.tuning.runs import DONE

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Trial:
    """One run as it is told.

    Attributes:
        number: From 1, in order.
        status: One of `runs.STATUSES`.
        reason: Why it failed; empty where it did not.
        point: Its number among the points.
        step_time_s: Measured; None where it failed.
        predicted_step_time_s: As estimated before any run.
        expected_step_time_s: As estimated and corrected by the runs before it; None for a run that was not proposed.
        measurements_s: Of each repeat.
        memory_bytes: Peak reported; None where it was not.
        predicted_memory_bytes: As estimated.
        seconds: It took.
        log: Stem of its log files.
        value: What is minimized; None where it failed.
        here: Whether this call ran it, rather than an earlier one.
    """

    number: int
    status: str
    reason: str
    point: int
    step_time_s: float | None
    predicted_step_time_s: float
    expected_step_time_s: float | None
    measurements_s: tuple[float, ...]
    memory_bytes: float | None
    predicted_memory_bytes: float
    seconds: float
    log: str
    value: float | None
    here: bool


@dataclass(frozen=True, eq=False)
class Tuning:
    """What a tuning found.

    Attributes:
        points: What could be run.
        template: The command.
        trials: All runs of the study.
        guide: What they teach.
        ended: Why it ended, in a few words.
        vetoed_at_first: Strategies that the estimate ruled out before any run.
        seconds: This call took.
        study: Optuna's own.
    """

    points: Points
    template: CommandTemplate
    trials: tuple[Trial, ...]
    guide: Guide
    ended: str
    vetoed_at_first: int
    seconds: float
    study: optuna.Study

    @cached_property
    def done(self) -> list[Trial]:
        """The runs that went through."""
        return [trial for trial in self.trials if trial.status == DONE]

    @cached_property
    def best(self) -> Trial | None:
        """The run with the least of what is minimized; None where none went through."""
        return min((t for t in self.done if t.value is not None), key=lambda trial: trial.value or 0.0, default=None)

    def command(self, trial: Trial) -> str:
        """The command line of a run, to be run again."""
        return self.template.fill({**self.points.values(trial.point), "report": "report.txt", "run": "again"})

    @cached_property
    def error_before(self) -> float | None:
        """Median of |estimated / measured - 1|; None without a run."""
        return _median([t.predicted_step_time_s / t.step_time_s for t in self.done if t.step_time_s])

    @cached_property
    def error_expected(self) -> float | None:
        """Likewise of what was expected of each run from those before it, the first left out; None without any."""
        later = [t for t in self.done[1:] if t.step_time_s and t.expected_step_time_s is not None]
        return _median([(t.expected_step_time_s or 0.0) / (t.step_time_s or 1.0) for t in later])

    @property
    def correction(self) -> float | None:
        """Measured over estimated, of the best; None without a run."""
        return None if self.best is None else (self.best.step_time_s or 0.0) / self.best.predicted_step_time_s

    @cached_property
    def next(self) -> Proposal | None:
        """What would be run next; None where nothing is left."""
        return self.guide.propose()


def _median(ratios: Sequence[float]) -> float | None:
    return statistics.median(abs(ratio - 1.0) for ratio in ratios) if ratios else None


def told_trials(study: optuna.Study, points: Points, known: set[int]) -> tuple[Trial, ...]:
    """The finished trials of a study."""
    finished = [trial for trial in study.get_trials(deepcopy=False) if "status" in trial.user_attrs]
    return tuple(
        _trial(index + 1, trial, points, trial.number not in known)
        for index, trial in enumerate(finished)
        if trial.state.is_finished()
    )


def _trial(number: int, trial: FrozenTrial, points: Points, here: bool) -> Trial:
    attributes = trial.user_attrs
    point = points.find(trial.params)
    ran = attributes["status"] == DONE
    return Trial(
        number=number,
        status=attributes["status"],
        reason=attributes["reason"],
        point=-1 if point is None else point,
        step_time_s=attributes.get("step_time_s"),
        predicted_step_time_s=attributes.get("predicted_step_time_s", np.nan),
        expected_step_time_s=attributes.get("expected_step_time_s"),
        measurements_s=tuple(attributes.get("measurements_s", ())),
        memory_bytes=attributes.get("memory_bytes"),
        predicted_memory_bytes=attributes.get("predicted_memory_bytes", np.nan),
        seconds=attributes.get("seconds", 0.0),
        log=attributes.get("log", ""),
        value=trial.value if ran else None,
        here=here,
    )
