r"""The global batch during training: one batch, or a few phases of growing batches, at exactly least time.

Progress x goes from 0 to 1 as a small batch would spend its samples. With the linear law of gradient noise [1], where
the critical batch may grow by a factor g from the start to the end,

    samples of a phase = S_min ∫ (1 + B / B_crit(x)) dx,    B_crit(x) = B_0 g^x,

and B_0 such that one batch throughout takes S_min (1 + B / B_crit), what the network's file says: the harmonic mean of
B_crit(x) is B_crit. A step of B samples takes t_B, so that with u = 1 / B_crit(x) progress costs

    t_B / B + t_B u    seconds for each sample of S_min:

a straight line in u for every batch. At each x the best batch is on the lower envelope of the lines, and so is, by its
mean u, that of every phase of a schedule with few phases. Between the lines a and b of neighbouring phases the best
boundary is where they cross. The time of a schedule is then a sum over its neighbours, and the best one with at most K
phases follows by dynamic programming over the lines of the envelope. Where B_crit does not grow, u is one number and
so is the best batch: no schedule beats it, with or without a budget of money, which on given nodes is one of time.

References:
    [1] McCandlish et al. 2018, An Empirical Model of Large-Batch Training, arXiv:1812.06162: equation 2.11; the noise
        scale grows as the loss falls (section 3), and adaptive batches (appendix D).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError
from paleo_opt.estimator.convergence import job_samples
from paleo_opt.network.graph import TrainingJob

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: Closer than this to 1, growth is none.
_NO_GROWTH = 1e-6
MOST_GROWTH = 1e6


@dataclass(frozen=True)
class Phase:
    """A stretch of the training with one global batch.

    Attributes:
        batch: Index of it.
        start: Progress at which it starts, from 0.
        end: Progress at which it ends, up to 1.
        samples: That it takes.
    """

    batch: int
    start: float
    end: float
    samples: float


@dataclass(frozen=True)
class Schedule:
    """The phases of a training, in order.

    Attributes:
        phases: At least one.
        time_s: Samples over samples/s, summed; whole steps are not counted.
    """

    phases: tuple[Phase, ...]
    time_s: float


@dataclass(frozen=True)
class CriticalBatch:
    """The critical batch along the training.

    Attributes:
        mean: B_crit, the harmonic mean over the training.
        growth: From the start to the end, at least 1.
    """

    mean: float
    growth: float = 1.0

    @property
    def constant(self) -> bool:
        """Whether it does not grow."""
        return self.growth - 1.0 < _NO_GROWTH

    def inverse(self, progress: Floats | float) -> Floats:
        """1 / B_crit(x)."""
        if self.constant:
            return np.full(np.shape(progress), 1.0 / self.mean)
        log = math.log(self.growth)
        first = log / (1.0 - 1.0 / self.growth) / self.mean
        return np.asarray(first * np.power(self.growth, -np.asarray(progress, dtype=float)))

    def inverse_until(self, progress: Floats | float) -> Floats:
        """∫ from 0 of 1 / B_crit(x) dx; 1 / B_crit up to 1."""
        x = np.asarray(progress, dtype=float)
        if self.constant:
            return np.asarray(x / self.mean)
        return np.asarray((1.0 - np.power(self.growth, -x)) / (1.0 - 1.0 / self.growth) / self.mean)

    def progress_at(self, inverse: Floats) -> Floats:
        """Where 1 / B_crit(x) is ``inverse``, from 0 to 1."""
        first = float(self.inverse(0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            x = np.log(first / inverse) / math.log(self.growth)
        return np.clip(np.where(inverse > 0, x, 1.0), 0.0, 1.0)


def check_growth(job: TrainingJob, growth: float) -> None:
    """Refuse a critical batch that grows where there is none, or whose law is not linear. Raises `SpecError`."""
    if not 1.0 <= growth <= MOST_GROWTH:
        raise SpecError(f"critical-batch growth is {growth:g}; expected from 1 (none) to {MOST_GROWTH:g}")
    if growth - 1.0 < _NO_GROWTH:
        return
    if job.critical_batch is None:
        raise SpecError("the samples to the target are a fixed amount, so there is no critical batch that could grow")
    if job.sharpness != 1.0:
        raise SpecError(
            f"the law of the samples bends more sharply than linear (sharpness {job.sharpness:g}), and its critical "
            "batch has no known growth; expected law linear"
        )


def best_schedule(
    job: TrainingJob, batches: Integers, step_s: Floats, phases: int = 1, growth: float = 1.0
) -> Schedule:
    """The fastest schedule of at most ``phases`` phases.

    Args:
        job: Whose law of samples holds.
        batches: Global batches to choose from. Shape (n,).
        step_s: Seconds of a step with each, ascending with the batch or not. Shape (n,).
        phases: At most.
        growth: Of the critical batch from the start to the end.

    Raises:
        SpecError: as `check_growth`.
    """
    check_growth(job, growth)
    if job.critical_batch is None or growth - 1.0 < _NO_GROWTH or phases == 1:
        samples = np.broadcast_to(job_samples(job, batches), batches.shape)
        times = samples / batches * step_s
        best = int(times.argmin())
        return Schedule((Phase(best, 0.0, 1.0, float(samples[best])),), float(times[best]))
    critical = CriticalBatch(job.critical_batch, growth)
    lines = envelope(step_s / batches, step_s, float(critical.inverse(0.0)), float(critical.inverse(1.0)))
    start, slope = (step_s / batches)[lines], step_s[lines]

    def spent(line: Floats | int | slice, progress: Floats | float) -> Floats:
        """Seconds for each sample of S_min from 0 to some progress, with one line throughout."""
        return np.asarray(start[line] * progress + slope[line] * critical.inverse_until(progress))

    count = lines.size
    one, other = (axis.ravel() for axis in np.indices((count, count)))
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = critical.progress_at((start[one] - start[other]) / (slope[other] - slope[one]))
    # What going over from one line to the other at their crossing saves until then; never backwards.
    saved = np.where(
        one < other, start[one] * crossing + slope[one] * critical.inverse_until(crossing)
        - start[other] * crossing - slope[other] * critical.inverse_until(crossing), np.inf,
    ).reshape(count, count)  # fmt: skip
    whole = spent(slice(None), 1.0)
    least = np.zeros(count)
    steps: list[Integers] = []
    for _ in range(phases - 1):
        through = least[:, None] + saved
        before = np.where(through.min(axis=0) < least - 1e-15, through.argmin(axis=0), np.arange(count))
        steps.append(before)
        least = np.minimum(least, through.min(axis=0))
    line = int((least + whole).argmin())
    time_s = float((least + whole)[line]) * job.samples_to_target
    path = [line]
    for before in reversed(steps):
        if int(before[path[-1]]) != path[-1]:
            path.append(int(before[path[-1]]))
    path.reverse()
    ends: list[float] = [*(float(crossing.reshape(count, count)[a, b]) for a, b in itertools.pairwise(path)), 1.0]
    found: list[Phase] = []
    begin = 0.0
    for index, end in zip(path, ends, strict=True):
        batch = int(lines[index])
        noise = float(critical.inverse_until(end) - critical.inverse_until(begin))
        taken = job.samples_to_target * (end - begin + float(batches[batch]) * noise)
        found.append(Phase(batch, begin, end, taken))
        begin = end
    return Schedule(tuple(phase for phase in found if phase.end > phase.start), time_s)


def envelope(start: Floats, slope: Floats, highest: float, lowest: float) -> Integers:
    """The lines ``start + slope · u`` that are lowest somewhere in [lowest, highest], from the highest u downwards.

    Args:
        start: Shape (n,).
        slope: Shape (n,).
        highest: Largest u.
        lowest: Smallest u.
    """
    found = []
    u = highest
    line = int(np.lexsort((slope, start + slope * u))[0])
    while True:
        found.append(line)
        steeper = np.flatnonzero((slope > slope[line]) & (start < start[line]))
        if not steeper.size:
            break
        # Going down in u, the first steeper line to be as low takes over.
        crossing = (start[line] - start[steeper]) / (slope[steeper] - slope[line])
        first = steeper[np.lexsort((-slope[steeper], -crossing))[0]]
        u = float(crossing.max())
        if u <= lowest:
            break
        line = int(first)
    return np.array(found, dtype=np.int64)


def phase_steps(schedule: Schedule, batches: Integers) -> tuple[int, ...]:
    """Whole steps of each phase."""
    return tuple(max(1, math.ceil(phase.samples / int(batches[phase.batch]) - 1e-9)) for phase in schedule.phases)
