"""Which point to run next, from the runs so far: expected improvement, times the chances that it fits and succeeds.

Nothing is kept between runs: all follows from them, so that a resumed study goes on as if it had not stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers
from paleo_opt.tuning.memory_belief import (
    VETO,
    MemoryBelief,
    MemoryEvent,
    memory_belief,
    ruled_out,
)  # fmt: skip
from paleo_opt.tuning.points import Points
from paleo_opt.tuning.response import AT_ONCE, Response, expected_improvement, fit_response, similarities
from paleo_opt.tuning.runs import DONE, OUT_OF_MEMORY

#: Of more points than this a random part is considered at a time, with what lies beside the best.
MOST_AT_ONCE = 20_000
#: The first runs are of points that fit at least so surely.
_SURE = 0.5
#: How far a failure reaches on a scale of 0 to 1, and how often its blame is passed on.
_FAILURE_LENGTH, _BLAMES = 0.3, 3
#: By how much a combination of knobs but the first must seem better to be the first run.
_NOT_FIRST = 1.2


@dataclass(frozen=True)
class Observation:
    """One run.

    Attributes:
        point: Its number.
        status: One of `runs.STATUSES`.
        step_time_s: Measured; None where it failed.
        memory_bytes: Peak reported, or None.
    """

    point: int
    status: str
    step_time_s: float | None = None
    memory_bytes: float | None = None


@dataclass(frozen=True)
class Proposal:
    """A point to run.

    Attributes:
        point: Its number.
        expected_step_time_s: From the estimate and the runs so far.
        deviation: Of its logarithm; None before any run.
        improvement: Expected, as a share of the best so far; None before any run.
    """

    point: int
    expected_step_time_s: float
    deviation: float | None
    improvement: float | None


@dataclass(frozen=True, eq=False)
class Guide:
    """What the runs so far teach.

    Attributes:
        points: What can be run.
        observations: The runs, in order.
        seed: Of the part considered, where the points are many.
    """

    points: Points
    observations: tuple[Observation, ...]
    seed: int = 0

    @cached_property
    def measured(self) -> list[Observation]:
        """The runs that went through."""
        return [run for run in self.observations if run.status == DONE and run.step_time_s is not None]

    @cached_property
    def events(self) -> list[MemoryEvent]:
        """What the runs showed of memory."""
        size = self.points.combinations
        return [
            MemoryEvent(run.point // size, run.point % size, run.status == DONE, run.memory_bytes)
            for run in self.observations
            if run.status in (DONE, OUT_OF_MEMORY)
        ]

    @cached_property
    def memory(self) -> MemoryBelief:
        """What is known of memory."""
        candidates = self.points.candidates
        return memory_belief(self.events, candidates.fixed_bytes, candidates.varying_bytes, candidates.capacity)

    @property
    def fits(self) -> Floats:
        """With which probability each strategy fits. Shape (strategies,)."""
        return self.memory.fits

    @cached_property
    def response(self) -> Response | None:
        """What the runs teach of time; None before any."""
        if not self.measured:
            return None
        some = np.array([run.point for run in self.measured])
        times = np.array([run.step_time_s for run in self.measured])
        logs = np.log(times / self.points.predicted(some))
        return fit_response(self.points.axes, self.points.levels(some), logs)

    def vetoed(self, points: Integers) -> NDArray[np.bool_]:
        """Whether points are not to be run for want of memory. Shape (points,)."""
        strategy, combination = np.divmod(points, self.points.combinations)
        found: NDArray[np.bool_] = self.fits[strategy] < VETO
        needed = self.points.candidates.memory_bytes
        for knobs, limit in ruled_out(self.events, needed).items():
            found |= (combination == knobs) & (needed[strategy] >= limit)
        return found

    def count_vetoed(self) -> int:
        """Strategies that are not run for want of memory, whatever their knobs."""
        found = self.fits < VETO
        if self.points.combinations == 1:
            found = self.vetoed(np.arange(len(self.points.candidates)))
        return int(found.sum())

    def expect(self, points: Integers) -> tuple[Floats, Floats]:
        """Seconds of a step of points, and the deviation of their logarithm (0 before any run). Shapes (points,)."""
        predicted = self.points.predicted(points)
        if self.response is None:
            return predicted, np.zeros(points.shape)
        mean, deviation = self.response.predict(self.points.levels(points))
        return predicted * np.exp(mean), deviation

    def succeeds(self, points: Integers) -> Floats:
        """How likely points are to run at all, whatever their memory. Shape (points,).

        Of each variable, a value is judged by the runs of values like it, (1 + successes) / (1 + successes + failures);
        a failure counts against the value that was most suspect already. What counts is the worst value of a point,
        squared: a value with which nothing ran twice is hardly tried a third time. Runs that ended without memory
        count against knobs alone, as `MemoryBelief` has judged the rest.
        """
        failed = [run for run in self.observations if run.status != DONE]
        if not failed:
            return np.ones(points.shape)
        axes, levels = self.points.axes, self.points.levels(points)

        def like(runs: Sequence[Observation], some: Integers) -> Floats:
            others = self.points.levels(np.array([run.point for run in runs], dtype=np.int64))
            return similarities(axes, some, others, _FAILURE_LENGTH)

        def total(runs: Sequence[Observation], weights: Floats) -> Floats:
            parts = [
                (like(runs, levels[at : at + AT_ONCE]) * weights[:, None, :]).sum(axis=2)
                for at in range(0, levels.shape[0], AT_ONCE)
            ]
            return np.concatenate(parts, axis=1)

        own = self.points.levels(np.array([run.point for run in failed]))
        blame = np.array([[not axis.modelled or run.status != OUT_OF_MEMORY for run in failed] for axis in axes])
        blame = blame.astype(np.float64)
        among, ran = like(failed, own), like(self.measured, own).sum(axis=2)
        for _ in range(_BLAMES):
            doubt = 1.0 - (1.0 + ran) / (1.0 + ran + (among * blame[:, None, :]).sum(axis=2))
            blame *= doubt / np.maximum(doubt.max(axis=0), 1e-12)
        against = total(failed, blame)
        good = 1.0 + total(self.measured, np.ones((len(axes), len(self.measured))))
        found: Floats = (good / (good + against)).min(axis=0) ** 2
        return found

    def considered(self, also: Integers) -> Integers:
        """The points among which the next is chosen; all, where they are few."""
        if len(self.points) <= MOST_AT_ONCE:
            return np.arange(len(self.points))
        size = self.points.combinations
        random = np.random.default_rng([self.seed, len(self.observations)])
        fastest = np.argsort(self.points.candidates.step_time_s * self.points.weight, kind="stable")
        some = fastest[: max(1, MOST_AT_ONCE // (4 * min(size, 16)))]
        with_knobs = some[:, None] * size + random.integers(0, size, (1, min(size, 16)))
        anything = random.integers(0, len(self.points), MOST_AT_ONCE // 2)
        return np.unique(np.concatenate([with_knobs.ravel(), some * size + self.points.start, anything, also]))

    def beside_best(self, count: int = 5) -> Integers:
        """All that differs from the best runs in at most one variable. Shape (points,)."""
        size, order = self.points.combinations, sorted(self.measured, key=self._objective)[:count]
        found = [np.zeros(0, dtype=np.int64)]
        if not order:
            return found[0]
        every = self.points.levels(np.arange(len(self.points.candidates)) * size)
        fields = [index for index, axis in enumerate(self.points.axes) if axis.modelled]
        for run in order:
            own = self.points.levels(np.array([run.point]))
            near = np.flatnonzero((every[:, fields] != own[:, fields]).sum(axis=1) <= 1)
            found.append(near * size + run.point % size)
            step = size
            for knob in self.points.knobs:
                step //= len(knob.levels)
                level = run.point % size // step % len(knob.levels)
                found.append(run.point + (np.arange(len(knob.levels)) - level) * step)
        return np.concatenate(found)

    def _objective(self, run: Observation) -> float:
        assert run.step_time_s is not None
        return run.step_time_s * float(self.points.weight[run.point // self.points.combinations])

    def propose(self, taken: Sequence[int] = ()) -> Proposal | None:
        """The next point; None where every point left was run or is vetoed.

        Args:
            taken: Points that another process is running.
        """
        points = self.considered(self.beside_best())
        left = ~np.isin(points, [*(run.point for run in self.observations), *taken]) & ~self.vetoed(points)
        points = points[left]
        if not points.size:
            return None
        strategy, combination = np.divmod(points, self.points.combinations)
        time, deviation = self.expect(points)
        value = time * self.points.weight[strategy]
        fits, succeeds = self.fits[strategy], self.succeeds(points)
        if not self.measured:
            # Until a run has gone through: as estimated, with the knobs that come first, and surely in memory.
            score = value / succeeds * np.where(combination == self.points.start, 1.0, _NOT_FIRST)
            order = np.lexsort((score, fits < _SURE))
            first = int(order[0])
            return Proposal(int(points[first]), float(time[first]), None, None)
        best = self._best_expected()
        improvement = expected_improvement(np.log(value), deviation, np.log(best)) * fits * succeeds
        # Where nothing is expected to be better, the point most likely to be as good.
        score = np.where(improvement > 0, np.log(np.maximum(improvement, 1e-300)), -1e3 - np.log(value / best))
        chosen = int(score.argmax())
        return Proposal(int(points[chosen]), float(time[chosen]), float(deviation[chosen]), float(improvement[chosen]))

    def _best_expected(self) -> float:
        """The least of what is minimized among the runs, their noise smoothed."""
        some = np.array([run.point for run in self.measured])
        time, _ = self.expect(some)
        return float((time * self.points.weight[some // self.points.combinations]).min())

    def best(self) -> Observation | None:
        """The run with the least of what is minimized; None where none went through."""
        return min(self.measured, key=self._objective, default=None)
