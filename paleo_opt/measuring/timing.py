"""Time a call: warm-up, then repeats until the median is known well enough or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

#: Relative standard error of the median at which a measurement ends.
ENOUGH = 0.01
#: One timed run lasts at least this long; shorter calls are repeated within it.
_LEAST_RUN_S = 5e-4
_FEWEST, _MOST = 7, 200
#: Timed however long they take.
LEAST_SAMPLES = 3
#: The median absolute deviation times this is a normal's standard deviation.
MAD_TO_DEVIATION = 1.4826


@dataclass(frozen=True)
class Timing:
    """How long a call takes.

    Attributes:
        seconds: Median.
        spread: Scaled median absolute deviation over the median.
        repeats: Timed runs.
    """

    seconds: float
    spread: float
    repeats: int


def timing_of(samples: list[float]) -> Timing:
    """The median and spread of some runs [s]."""
    middle = median(samples)
    spread = MAD_TO_DEVIATION * median(abs(sample - middle) for sample in samples)
    return Timing(middle, spread / middle, len(samples))


def settled(samples: list[float]) -> bool:
    """Whether the median of ``samples`` is known to `ENOUGH`: its standard error is 1.25 deviations over √n."""
    if len(samples) < _FEWEST:
        return False
    found = timing_of(samples)
    return 1.2533 * found.spread / len(samples) ** 0.5 <= ENOUGH or len(samples) >= _MOST


def calls_of_run(seconds: float) -> int:
    """Calls of one timed run, where one takes so long."""
    return max(1, round(_LEAST_RUN_S / max(seconds, 1e-9)))


def time_call(call: Callable[[], object], finish: Callable[[], object], limit_s: float) -> Timing:
    """Time ``call``.

    Args:
        call: What to time.
        finish: Waits until all of it is done (a GPU's kernels run on after the call).
        limit_s: Seconds this may take, warm-up included; `LEAST_SAMPLES` runs come first.
    """
    end = time.perf_counter() + limit_s

    def run(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            call()
        finish()
        return (time.perf_counter() - start) / times

    run(1)  # allocates, loads libraries, chooses algorithms
    inner = calls_of_run(run(1))
    samples = [run(inner)]
    while (time.perf_counter() < end or len(samples) < LEAST_SAMPLES) and not settled(samples):
        samples.append(run(inner))
    return timing_of(samples)
