"""Samples to the target against the global batch, and how well they are known.

Below the critical batch more samples a step save as many steps; far above it the steps stay the same and the further
samples are wasted. With x = B / B_crit and sharpness p

    samples(B) = S_min (1 + x^p)^(1/p)

joins the two: p = 1 is the law of gradient noise [1]_, samples(B) = S_min (1 + B / B_crit), which published points
follow unless they bend more sharply; p > 1 is the same pair of asymptotes (perfect scaling and maximal data
parallelism [2]_) blended as Churchill and Usagi do [3]_. In steps, N(B) = (N_min^p + (S_min / B)^p)^(1/p), where
N_min = S_min / B_crit is the number of steps that no batch goes below.

Every function takes numbers or arrays and broadcasts.

References
----------
.. [1] McCandlish et al. 2018, An Empirical Model of Large-Batch Training, arXiv:1812.06162, equation 2.11.
.. [2] Shallue et al. 2019, Measuring the Effects of Data Parallelism on Neural Network Training, arXiv:1811.03600.
.. [3] Churchill and Usagi 1972, A general expression for the correlation of rates of transfer and other phenomena,
   AIChE Journal 18(6), 1121-1128.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from paleo_opt.network.graph import TrainingJob

Floats = NDArray[np.float64]

#: 95% of a normal distribution lie within so many standard deviations.
NORMAL_95 = 1.959964
#: A table of the law pays from so many batches on.
_MANY = 10_000


def samples(global_batch: ArrayLike, least_samples: float, critical_batch: float, sharpness: float = 1.0) -> Floats:
    """Samples to the target.

    Args:
        global_batch: Samples per step, above 0.
        least_samples: S_min, at a small batch.
        critical_batch: B_crit, samples per step.
        sharpness: p, at least 1.
    """
    batch = np.asarray(global_batch)
    if sharpness == 1.0:
        return np.asarray(least_samples + (least_samples / critical_batch) * batch)
    if batch.size > _MANY and np.issubdtype(batch.dtype, np.integer) and (most := int(batch.max())) < batch.size:
        # Two powers for each batch there can be cost less than for each strategy.
        return np.asarray(samples(np.arange(most + 1.0), least_samples, critical_batch, sharpness)[batch])
    x = batch / critical_batch
    return np.asarray(least_samples * (1.0 + x**sharpness) ** (1.0 / sharpness))


def wasted_share(global_batch: ArrayLike, critical_batch: float, sharpness: float = 1.0) -> Floats:
    """The elasticity of the samples to the batch: -d ln samples / d ln B_crit = x^p / (1 + x^p), from 0 to 1.

    For p = 1 it is the share of the samples that a small batch would not have needed.
    """
    powered = (np.asarray(global_batch) / critical_batch) ** sharpness
    return np.asarray(powered / (1.0 + powered))


def relative_error(
    global_batch: ArrayLike,
    error: float,
    critical_batch: float,
    critical_batch_interval: tuple[float, float],
    sharpness: float = 1.0,
    reference_batch: float = 0.0,
) -> Floats:
    """Relative standard error of `samples`, to first order.

    Args:
        global_batch: Samples per step.
        error: Relative standard error at the reference batch; there B_crit does not matter.
        critical_batch: B_crit.
        critical_batch_interval: That holds B_crit with 95%; its logarithm is taken as normal.
        sharpness: p.
        reference_batch: Where the samples are known best.
    """
    low, high = critical_batch_interval
    deviation = math.log(high / low) / (2.0 * NORMAL_95)
    known = wasted_share(reference_batch, critical_batch, sharpness)
    return np.asarray(np.hypot(error, (wasted_share(global_batch, critical_batch, sharpness) - known) * deviation))


def job_samples(job: TrainingJob, global_batch: ArrayLike) -> Floats:
    """Samples to the target of ``job``; where they are given as a fixed amount, that at every batch."""
    if job.critical_batch is None:
        return np.asarray(job.samples_to_target)
    return samples(global_batch, job.samples_to_target, job.critical_batch, job.sharpness)


def job_relative_error(job: TrainingJob, global_batch: ArrayLike) -> Floats:
    """Relative standard error of `job_samples`; 0 for a fixed amount."""
    if job.critical_batch is None or job.critical_batch_interval is None:
        return np.asarray(job.samples_error)
    return relative_error(
        global_batch,
        job.samples_error,
        job.critical_batch,
        job.critical_batch_interval,
        job.sharpness,
        job.reference_batch,
    )
