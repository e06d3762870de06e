"""A tuning as a study: to solve a point is to run the command there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from paleo_opt import __version__
from paleo_opt.studies.problem import Outcome, Point, StudyProblem
from paleo_opt.tuning.command import CommandTemplate
from paleo_opt.tuning.points import Points
from paleo_opt.tuning.runs import DONE, FAILED, OUT_OF_MEMORY, TIMED_OUT, Run, Runner

#: More points than these are not listed for the study, which then ends by its trials and time alone.
_MOST_LISTED = 20_000


class OutOfTime(Exception):
    """No time is left in all; the run that was on is to be run again."""


class Measure(Protocol):
    """What runs a point: the command, or a recording of it."""

    def __call__(self, values: Mapping[str, Any], name: str) -> Run:
        """Run with the values of all placeholders; ``name`` tells runs apart. Raises `OutOfTime`."""
        ...


@dataclass(frozen=True)
class Command:
    """Runs the command.

    Attributes:
        template: Of it.
        runner: Which runs it.
        until: When all runs are to be over, by `time.monotonic`; None for never.
    """

    template: CommandTemplate
    runner: Runner
    until: float | None = None

    def line(self, values: Mapping[str, Any], name: str) -> str:
        """The command line of one run."""
        return self.template.fill({**values, "run": name, "report": self.runner.log_files(name)[2]})

    def __call__(self, values: Mapping[str, Any], name: str) -> Run:
        """Run it. Raises `OutOfTime`."""
        left = None if self.until is None else self.until - time.monotonic()
        if left is not None and left <= 0:
            raise OutOfTime
        found = self.runner.run(self.line(values, name), name, left)
        if found is None:
            raise OutOfTime
        return found


@dataclass
class Solver:
    """Solves points of a tuning.

    Attributes:
        points: What can be run.
        measure: Which runs them.
        repeats: Runs of each point; their median counts.
        name: Of the run of a point's number, for its files.
        expected: Seconds of a step expected of a point's number just before it runs, or None.
        unusable: Why no run can do better, once one has shown it.
    """

    points: Points
    measure: Measure
    repeats: int
    name: Callable[[int], str]
    expected: Callable[[int], float | None]
    unusable: str = field(default="")

    def __call__(self, point: Point) -> Outcome:
        """Run a point. Raises `OutOfTime`."""
        number = self.points.find(point)
        if number is None:
            return Outcome(np.inf, _excess(FAILED), {"status": FAILED, "reason": "there is no such strategy"})
        values, name = self.points.values(number), self.name(number)
        strategy = self.points.candidates.strategy(number // self.points.combinations)
        times, peaks, seconds, run = [], [], 0.0, None
        for repeat in range(self.repeats):
            run = self.measure(values, name if self.repeats == 1 else f"{name}-{repeat + 1}")
            seconds += run.seconds
            if run.report is None:
                break
            times.append(run.report.step_time_s(strategy.global_batch))
            peaks += [run.report.memory_bytes] if run.report.memory_bytes is not None else []
        assert run is not None
        if run.unusable:
            self.unusable = run.reason
        attributes: dict[str, Any] = {
            "status": run.status,
            "reason": run.reason,
            "strategy": strategy.to_json(),
            "knobs": self.points.knob_values(number),
            "predicted_step_time_s": float(self.points.predicted(np.array([number]))[0]),
            "expected_step_time_s": self.expected(number),
            "predicted_memory_bytes": float(self.points.candidates.memory_bytes[number // self.points.combinations]),
            "seconds": seconds,
            "log": name,
        }
        if run.status != DONE:
            return Outcome(np.inf, _excess(run.status), attributes)
        step = statistics.median(times)
        attributes |= {"step_time_s": step, "measurements_s": times}
        if peaks:
            attributes["memory_bytes"] = max(peaks)
        return Outcome(step * float(self.points.weight[number // self.points.combinations]), _excess(DONE), attributes)


def _excess(status: str) -> dict[str, float]:
    """The study's constraints: memory, the time of a trial, and that the command runs at all."""
    return {
        "memory": float(status == OUT_OF_MEMORY),
        "time": float(status == TIMED_OUT),
        "runs": float(status == FAILED),
    }


def study_problem(points: Points, solver: Callable[[Point], Outcome], identity: Mapping[str, Any]) -> StudyProblem:
    """The study of a tuning; ``identity`` is the question's, without what follows from the points."""
    every = None
    if len(points) <= _MOST_LISTED:
        order = np.argsort(np.repeat(points.candidates.step_time_s * points.weight, points.combinations), kind="stable")
        names, levels = list(points.variables), points.levels(order)
        every = [dict(zip(names, row, strict=True)) for row in levels.tolist()]
    return StudyProblem(
        variables=points.variables,
        solve=solver,
        identity={
            **identity,
            "kind": "tune",
            "points": len(points),
            "values": {axis.name: [str(value) for value in axis.values] for axis in points.axes},
            "objective": points.objective,
            "version": __version__,
        },
        every=every,
    )
