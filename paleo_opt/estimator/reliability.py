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
    [6] Blom: Statistical Estimates and Transformed Beta-Variables, 1958: expected order statistics of normal samples.
    [7] Abramowitz, Stegun: Handbook of Mathematical Functions, 26.2.23: the normal quantile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Operations:
    """What running a job in practice adds to its ideal time and money.

    Attributes:
        input_rate: Samples/s that one node can read, decode and feed; None sets no limit.
        device_mtbf_s: Mean time between interruptions of one device [s]; infinite for none. Default: [3].
        restart_s: From an interruption to training again, without the work done anew [s]. Default: [4].
        checkpoint_bandwidth: Bytes/s at which a job writes a checkpoint. Default: an assumption, one busy file server.
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


def normal_quantile(probability: Floats) -> Floats:
    """The standard normal quantile for probabilities from a half to 1 (excluded), to 4.5e-4 [7]."""
    t = np.sqrt(-2.0 * np.log(1.0 - probability))
    top = 2.515517 + t * (0.802853 + t * 0.010328)
    bottom = 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))
    return np.asarray(np.maximum(t - top / bottom, 0.0))


def slowest_worker(workers: Floats, variation: float) -> Floats:
    """Expected time of the slowest of ``workers``, over the mean: 1 + variation · E[max of K normals].

    E[max] by Blom's approximation [6], the quantile at (K - 3/8) / (K + 1/4); exactly 1 for one worker.
    """
    if variation == 0.0:
        return np.ones_like(workers)
    highest = np.where(workers > 1, normal_quantile((workers - 0.375) / (workers + 0.25)), 0.0)
    return np.asarray(1.0 + variation * highest)


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
