"""Fit samples(B) = S_min (1 + (B / B_crit)^p)^(1/p) to measured points, with its uncertainty.

The points are means of runs with different hyper-parameters, teams and years. Their scatter about the law (4% for
ResNet-50) is several times the standard error of each mean, so all count alike: what is minimized is the sum of squared
relative residuals. The covariance is that of the linearized least squares in the logarithms of the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from scipy.special import stdtrit

from paleo_opt.errors import SpecError
from paleo_opt.estimator.convergence import NORMAL_95, Floats, samples, wasted_share
from paleo_opt.network.job import DEFAULT_ERROR, LAWS

#: A larger batch may need so much less than a smaller one, and be noise still: between batches next to each other, the
#: published means fall by up to 8% (ResNet-50 from 2,048 to 3,264).
NOISE = 0.1
#: p beyond which the law is a corner.
_SHARPEST = 10.0
#: B_crit is looked for within this factor of the largest and the smallest batch.
_REACH = 100.0


@dataclass(frozen=True)
class ConvergenceFit:
    """A fitted law.

    Attributes:
        batches: Of the points. Shape (n,).
        measured: Samples to the target at each. Shape (n,).
        law: ``linear`` (p = 1) or ``knee`` (p fitted).
        least_samples: S_min.
        critical_batch: B_crit.
        sharpness: p.
        scatter: Relative standard deviation of the points about the law; `DEFAULT_ERROR` where there are no more points
            than parameters.
        covariance: Of ln S_min, ln B_crit and, for the knee, ln p. Shape (2, 2) or (3, 3).
        within: Whether B_crit lies within the range searched; if not, the points do not show it.
    """

    batches: Floats
    measured: Floats
    law: str
    least_samples: float
    critical_batch: float
    sharpness: float
    scatter: float
    covariance: Floats
    within: bool

    def predict(self, global_batch: ArrayLike) -> Floats:
        """Samples to the target."""
        return samples(global_batch, self.least_samples, self.critical_batch, self.sharpness)

    @property
    def residuals(self) -> Floats:
        """Predicted over measured, less 1. Shape (n,)."""
        return np.asarray(self.predict(self.batches) / self.measured - 1.0)

    @property
    def freedom(self) -> int:
        """Points less parameters."""
        return int(self.batches.size - self.covariance.shape[0])

    @property
    def quantile(self) -> float:
        """Standard errors either way that hold 95%: Student's t, since the scatter itself is estimated."""
        return float(stdtrit(self.freedom, 0.975)) if self.freedom > 0 else NORMAL_95

    def law_error(self, global_batch: ArrayLike) -> Floats:
        """Relative standard error of the law itself at a batch: of the parameters, with their covariance."""
        gradient = _gradient(np.asarray(global_batch, dtype=float), self.critical_batch, self.sharpness)
        gradient = gradient[..., : self.covariance.shape[0]]
        return np.asarray(np.sqrt(np.einsum("...i,ij,...j->...", gradient, self.covariance, gradient)))

    def relative_error(self, global_batch: ArrayLike) -> Floats:
        """Relative standard error of a prediction: of the law, and of a measurement about it."""
        return np.asarray(np.hypot(self.scatter, self.law_error(global_batch)))

    @property
    def reference_batch(self) -> float:
        """Where the law's error does not depend on that of B_crit (p held): their covariance is 0."""
        share = float(np.clip(self.covariance[0, 1] / self.covariance[1, 1], 0.0, 0.99))
        return float(self.critical_batch * (share / (1.0 - share)) ** (1.0 / self.sharpness))

    def critical_batch_interval(self) -> tuple[float, float]:
        """What holds B_crit with 95%, by Student's t; at most a factor of 100 either way."""
        factor = np.exp(np.minimum(self.quantile * np.sqrt(self.covariance[1, 1]), np.log(_REACH)))
        return float(self.critical_batch / factor), float(self.critical_batch * factor)


def _gradient(batch: Floats, critical_batch: float, sharpness: float) -> Floats:
    """Of ln samples with respect to ln S_min, ln B_crit and ln p. Shape (*batch, 3)."""
    share = wasted_share(batch, critical_batch, sharpness)
    log_x = np.log(np.maximum(batch / critical_batch, 1e-300))
    bend = share * log_x - np.logaddexp(0.0, sharpness * log_x) / sharpness
    return np.stack([np.ones_like(share), -share, bend], axis=-1)


def fit(batches: ArrayLike, measured: ArrayLike, law: str = "linear", sharpness: float | None = None) -> ConvergenceFit:
    """Fit the law to points.

    Args:
        batches: Global batches. Shape (n,), n at least 2, of at least two different ones (four to fit the knee's p).
        measured: Samples to the target at each. Shape (n,).
        law: ``linear`` or ``knee``.
        sharpness: Holds p of the knee.

    Raises:
        SpecError: too few points, or samples that fall with the batch (`check_points`).
    """
    batch, target = np.asarray(batches, dtype=float), np.asarray(measured, dtype=float)
    fitted_sharpness = law == "knee" and sharpness is None
    check_points(batch, target, 4 if fitted_sharpness else 2)
    held = 1.0 if law == "linear" else sharpness

    def relative(logs: Floats) -> Floats:
        with np.errstate(over="ignore"):
            predicted = samples(batch, float(np.exp(logs[0])), float(np.exp(logs[1])), held or float(np.exp(logs[2])))
        return np.asarray(predicted / target - 1.0)

    low = [np.log(target.min() / 1e6), np.log(batch.min() / _REACH)]
    high = [np.log(target.max() * 2.0), np.log(batch.max() * _REACH)]
    if held is None:
        low, high = [*low, 0.0], [*high, np.log(_SHARPEST)]
    best = None
    for critical in (batch.min(), float(np.median(batch)), 2.0 * batch.max()):
        for power in (1.2, 2.5) if held is None else (1.0,):
            start = [np.log(target.min()), np.log(critical), np.log(power)][: len(low)]
            found = least_squares(relative, start, bounds=(low, high), xtol=1e-12, ftol=1e-12, gtol=1e-12)
            best = found if best is None or found.cost < best.cost else best
    assert best is not None
    least, critical = float(np.exp(best.x[0])), float(np.exp(best.x[1]))
    power = held or float(np.exp(best.x[2]))
    freedom = batch.size - len(low)
    scatter = float(np.sqrt(2.0 * best.cost / freedom)) if freedom > 0 else DEFAULT_ERROR
    # Near the optimum a relative residual moves as the logarithm of the law does.
    gradient = _gradient(batch, critical, power)[:, : len(low)]
    return ConvergenceFit(
        batches=batch,
        measured=target,
        law=law,
        least_samples=least,
        critical_batch=critical,
        sharpness=power,
        scatter=scatter,
        covariance=np.asarray(scatter**2 * np.linalg.pinv(gradient.T @ gradient)),
        within=bool(low[1] + 1e-3 < best.x[1] < high[1] - 1e-3),
    )


def check_points(batches: Floats, measured: Floats, least: int = 2) -> None:
    """Refuse points from which no law follows.

    Raises:
        SpecError: fewer than ``least`` different batches, or a batch that needs less than a smaller one by more than
            `NOISE`.
    """
    distinct = np.unique(batches)
    if distinct.size < least:
        raise SpecError(
            f"has {distinct.size} different batch{'es'[: 2 * (distinct.size != 1)]}; expected at least {least}"
        )
    means = np.array([measured[batches == batch].mean() for batch in distinct])
    for index in range(1, distinct.size):
        before = int(means[:index].argmax())
        if means[index] < (1.0 - NOISE) * means[before]:
            raise SpecError(
                f"decreases: {means[index]:,.6g} samples at batch {distinct[index]:,.6g}, "
                f"{means[before]:,.6g} at {distinct[before]:,.6g}; a larger batch needs no fewer"
            )


def leave_one_batch_out(
    batches: ArrayLike, measured: ArrayLike, law: str = "linear", sharpness: float | None = None
) -> Floats:
    """Predicted over measured, less 1, of each point by a fit to the points of all other batches. Shape (n,)."""
    batch, target = np.asarray(batches, dtype=float), np.asarray(measured, dtype=float)
    errors = np.empty(batch.size)
    for left_out in np.unique(batch):
        rest = batch != left_out
        found = fit(batch[rest], target[rest], law, sharpness)
        errors[~rest] = found.predict(batch[~rest]) / target[~rest] - 1.0
    return errors


def choose_law(batches: ArrayLike, measured: ArrayLike) -> str:
    """The law that predicts batches left out best: the knee only where it lowers the root mean square by a tenth.

    Five batches are needed to tell; with fewer it is ``linear``.
    """
    if np.unique(np.asarray(batches, dtype=float)).size < 5:
        return "linear"
    linear, knee = (np.sqrt(np.mean(leave_one_batch_out(batches, measured, law) ** 2)) for law in LAWS)
    return "knee" if knee < 0.9 * linear else "linear"
