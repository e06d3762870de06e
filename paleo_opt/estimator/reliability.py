r"""From ideal to expected time: stragglers, checkpoints, failures and restarts.

A synchronous step ends with its slowest worker. A run that is interrupted on average every M seconds loses the work
since its last checkpoint; saving one every τ seconds costs C each time. Plain functions of numbers or arrays.

References:
    [1] Young: A first order approximation to the optimum checkpoint interval, CACM 17(9), 1974.
    [2] Daly: A higher order estimate of the optimum checkpoint interval for restart dumps, FGCS 22(3), 2006.
    [3] Llama team: The Llama 3 Herd of Models, arXiv:2407.21783, section 3.3.4: 419 unexpected interruptions of 16,384
        GPUs in 54 days.
    [4] Jiang et al.: MegaScale, arXiv:2402.15627, section 6.3: back to the point of failure within 15 minutes.
    [5] Thorpe et al.: Bamboo, NSDI 2023: about a tenth of the spot nodes of a cluster preempted an hour.
    [6] David, Nagaraja: Order Statistics, 3rd edition, 2003, section 3.1: moments by the distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError

Floats = NDArray[np.float64]
#: The normal distribution is summed up from -10 to 10 standard deviations.
_REACH, _MESH, _AT_ONCE = 10.0, 0.02, 1024


@dataclass(frozen=True)
class Operations:
    """What running a job in practice adds to its ideal time and money.

    Attributes:
        input_rate: Samples/s that one node can read, decode and feed; None sets no limit.
        device_mtbf_s: Mean time between interruptions of one device [s]; infinite for none. Default: [3].
        restart_s: From an interruption to training again, without the work done anew [s]. Default: [4].
        checkpoint_bandwidth: Bytes/s at which each node writes its share of a checkpoint. Default: [3], section 3.3.1:
            storage that sustains 2 TB/s for 2,048 nodes.
        straggler_variation: Coefficient of variation of one worker's time for a step; 0 for none.
        spot_interruptions: Of one spot node an hour, where its price does not say. Default: [5].
        queue_s: Waiting for the nodes before the job starts [s].
        storage_usd_per_month: Of the dataset and the checkpoints, while the job runs.
        egress_usd: Of moving data, once.
    """

    input_rate: float | None = None
    device_mtbf_s: float = 16_384 * 54 * 86_400 / 419
    restart_s: float = 900.0
    checkpoint_bandwidth: float = 1e9
    straggler_variation: float = 0.0
    spot_interruptions: float = 0.1
    queue_s: float = 0.0
    storage_usd_per_month: float = 0.0
    egress_usd: float = 0.0

    def __post_init__(self) -> None:
        for name in ("device_mtbf_s", "checkpoint_bandwidth"):
            if not getattr(self, name) > 0:
                raise SpecError(f"{name} is {getattr(self, name)}; expected above zero")
        if self.input_rate is not None and not self.input_rate > 0:
            raise SpecError(f"input_rate is {self.input_rate}; expected above zero")
        for name in (
            "restart_s",
            "straggler_variation",
            "spot_interruptions",
            "queue_s",
            "storage_usd_per_month",
            "egress_usd",
        ):
            if not 0 <= getattr(self, name) < np.inf:
                raise SpecError(f"{name} is {getattr(self, name)}; expected at least zero")


#: Nothing fails, waits or lags: the ideal time of the model alone.
IDEAL = Operations(device_mtbf_s=np.inf, spot_interruptions=0.0)


@cache
def _normal() -> tuple[Floats, Floats]:
    """Points of the standard normal distribution, and ln of the probability to be below each."""
    x = np.arange(-_REACH, _REACH + _MESH / 2.0, _MESH)
    return x, np.log([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in x.tolist()])


def largest_normal(count: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the largest of ``count`` standard normal values. Shapes as ``count``.

    With F = Φ^K the distribution of the largest, E = ∫_0^∞ (1 - F) dx - ∫_-∞^0 F dx, and E[x²] = 2 ∫_0^∞ x (1 - F) dx -
    2 ∫_-∞^0 x F dx [6]: sums over a fine mesh, within 1e-9 up to 10^7 values.
    """
    x, below = _normal()
    counts, where = np.unique(np.asarray(count, dtype=float), return_inverse=True)
    mean, square = np.empty(counts.size), np.empty(counts.size)
    for start in range(0, counts.size, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        distribution = np.exp(counts[some, None] * below)
        beyond = np.where(x > 0, 1.0 - distribution, -distribution)
        beyond[:, x.size // 2] = 0.5 - distribution[:, x.size // 2]  # half of the cell at 0 is on either side
        mean[some] = beyond.sum(axis=1) * _MESH
        square[some] = 2.0 * (beyond * x).sum(axis=1) * _MESH + _MESH**2 / 6.0  # the integrand has a kink at 0
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    shape = np.shape(count)
    return mean[where].reshape(shape), deviation[where].reshape(shape)


def slowest_worker(workers: Floats, variation: float) -> Floats:
    """Expected time of the slowest of ``workers``, over the mean: 1 + variation · E[max of K normals]; 1 for one."""
    if variation == 0.0:
        return np.ones_like(workers)
    return np.asarray(1.0 + variation * np.where(workers > 1, largest_normal(workers)[0], 0.0))


def slowest_worker_deviation(workers: int, variation: float) -> float:
    """Standard deviation of the time of the slowest of ``workers``, over the mean; that of n steps is √n times less."""
    return variation * float(largest_normal(np.array(float(workers)))[1]) if variation else 0.0


def checkpoint_interval(checkpoint_s: Floats, mtbf_s: Floats) -> Floats:
    """The optimal time between checkpoints [s], Daly's higher-order estimate ([2], equation 37).

    τ = √(2 C M) (1 + ⅓ √(C / 2M) + C / 18M) - C where C < 2 M, else M. Young's √(2 C M) [1] is its leading term.
    Infinite where nothing fails.
    """
    finite = np.isfinite(mtbf_s)
    mtbf = np.where(finite, mtbf_s, 1.0)
    ratio = checkpoint_s / (2.0 * mtbf)
    daly = np.sqrt(2.0 * checkpoint_s * mtbf) * (1.0 + np.sqrt(ratio) / 3.0 + ratio / 9.0) - checkpoint_s
    interval = np.where(checkpoint_s < 2.0 * mtbf, daly, mtbf)
    return np.where(finite, interval, np.inf)


def interrupted(mtbf_s: Floats, checkpoint_s: Floats, restart_s: float) -> Floats:
    """Expected running time over the time of the work itself, at the optimal checkpoint interval; at least 1.

    Daly's complete model ([2], equation 20): M e^{R/M} (e^{(τ+C)/M} - 1) / τ, with exponential failures that may strike
    during checkpoints and restarts too. Infinite where failures come faster than any work gets done.
    """
    mtbf_s, checkpoint_s = np.broadcast_arrays(np.asarray(mtbf_s, dtype=float), np.asarray(checkpoint_s, dtype=float))
    result = np.ones(mtbf_s.shape)
    fails = np.isfinite(mtbf_s)
    if fails.any():
        mtbf = mtbf_s[fails]
        checkpoint = np.maximum(checkpoint_s[fails], 1e-3)  # never free: an interval of zero divides by itself
        interval = checkpoint_interval(checkpoint, mtbf)
        with np.errstate(over="ignore"):
            result[fails] = mtbf * np.exp(restart_s / mtbf) * np.expm1((interval + checkpoint) / mtbf) / interval
    return np.maximum(result, 1.0)
