"""Fit constants to measured times: robust least squares in logarithms, with priors, bounds and uncertainty.

With parameters θ = ln(constant), predicted times p(θ) and measured m of rows of weight w, what is minimized is

    Σ w ρ((ln p(θ) - ln m)² / σ²) + Σ ((θ - θ0) / d)²,    ρ(z) = 2 (√(1 + z) - 1),

θ0 and d being each prior's value and deviation, and σ the scatter of the rows about the model: 1.4826 times the median
absolute residual of the row's class, as the model meets some operations better than others. It is found by fitting
more than once; classes of few rows lean on the scatter of all. The covariance is that of the linearized problem at the
minimum, (JᵀJ)⁻¹ over rows and priors together; the bootstrap draws the rows anew, with replacement, and checks it.

Reference: Triggs et al.: Bundle Adjustment, a Modern Synthesis, 2000 (robust weights, Gauss-Newton covariance).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.hardware.constant import Constant

Floats = NDArray[np.float64]
#: The least scatter that is believed: of a table that the model meets exactly, the next will be off by more.
LEAST_SCATTER = 0.02
_FIRST_SCATTER = 0.1
#: Of scatter and constants in turn, until the scatter changes by less than this.
_MOST_ROUNDS, _SETTLED = 6, 0.05
_LEANING = 4.0
#: A deviation that rows shrank by less than this share says that they do not tell the constant.
_SHRUNK = 0.7
#: Steps to the minimum; far more than it takes.
_MOST_STEPS = 50
#: Constants whose errors are correlated more than this are told only together.
CORRELATED = 0.95


@dataclass(frozen=True)
class Parameter:
    """A constant to be fitted.

    Attributes:
        name: For messages.
        prior: Its value, and the deviation of its logarithm, before these rows.
        low: Least that physics allows; above 0.
        high: Most that physics allows.
    """

    name: str
    prior: Constant
    low: float
    high: float


@dataclass(frozen=True)
class Fitted:
    """A parameter after the fit.

    Attributes:
        parameter: What was fitted.
        value: Where the minimum is.
        deviation: Of its logarithm: the larger of the covariance's and the bootstrap's.
        bootstrap: The bootstrap's; None without one.
        verdict: ``identified``, ``kept its prior`` (the rows hardly say anything of it), ``at its bound``, or
            ``only with NAME`` (the rows tell a combination of the two).
    """

    parameter: Parameter
    value: float
    deviation: float
    bootstrap: float | None
    verdict: str

    @property
    def identified(self) -> bool:
        """Whether the rows tell it."""
        return self.verdict == "identified"


@dataclass(frozen=True, eq=False)
class Fit:
    """The constants, and how near they bring the rows.

    Attributes:
        fitted: In the order of the parameters.
        correlation: Of their logarithms. Shape (parameters, parameters).
        scatter: Of all rows about the model: 1.4826 times the median of abs(ln(predicted / measured)).
        before: ln(predicted / measured) at the priors. Shape (rows,).
        after: At the minimum. Shape (rows,).
    """

    fitted: tuple[Fitted, ...]
    correlation: Floats
    scatter: float
    before: Floats
    after: Floats


def fit(
    residuals: Callable[[Floats], Floats],
    parameters: Sequence[Parameter],
    classes: Sequence[str] | None = None,
    noise: Floats | None = None,
    bootstrap: int = 0,
    seed: int = 0,
) -> Fit:
    """Fit ``parameters`` to rows.

    Args:
        residuals: From the parameters' values to ln(predicted / measured) of each row. (parameters,) to (rows,).
        parameters: What to fit; at least one.
        classes: Of each row: those of one class scatter alike; all of one where None.
        noise: Of each row's own measurement, as deviation of its logarithm, on top of its class's scatter; none where
            None. Shape (rows,).
        bootstrap: How often to draw the rows anew; 0 for not at all.
        seed: Of the bootstrap.
    """
    theta0 = np.log([parameter.prior.value for parameter in parameters])
    before = residuals(np.exp(theta0))
    classes = [""] * before.size if classes is None else classes
    noise = np.zeros(before.size) if noise is None else noise
    weights = np.ones(before.size)
    # σ and θ depend on each other. Far from the minimum σ would take the priors' error for scatter, so it starts small.
    theta, scatter = theta0, np.full(before.size, _FIRST_SCATTER)
    for _ in range(_MOST_ROUNDS):
        theta = _minimum(residuals, parameters, theta, weights, scatter)
        found = np.hypot(_scatters(residuals(np.exp(theta)), classes), noise)
        settled = bool(np.abs(np.log(found / scatter)).max() < _SETTLED)
        scatter = found
        if settled:
            break
    after = residuals(np.exp(theta))
    covariance = _covariance(_jacobian(residuals, theta), after, scatter, parameters)
    deviation = np.sqrt(np.diag(covariance))
    drawn = _bootstrap(residuals, parameters, theta, weights, scatter, bootstrap, seed) if bootstrap else None
    correlation = covariance / np.outer(deviation, deviation)
    fitted = []
    for index, parameter in enumerate(parameters):
        spread = None if drawn is None else float(drawn[:, index].std())
        fitted.append(
            Fitted(
                parameter,
                float(np.exp(theta[index])),
                max(float(deviation[index]), spread or 0.0),
                spread,
                _verdict(index, parameters, theta, deviation, correlation),
            )
        )
    return Fit(tuple(fitted), correlation, _scatter(after), before, after)


def _scatter(errors: Floats) -> float:
    """A robust standard deviation about 0."""
    return 1.4826 * float(np.median(np.abs(errors)))


def _scatters(errors: Floats, classes: Sequence[str]) -> Floats:
    """Of each row the scatter of its class, at least `LEAST_SCATTER`. Shape (rows,).

    A class's variance counts as its rows, that of all rows as `_LEANING` more.
    """
    of_all = _scatter(errors)
    names = np.array(classes)
    found = np.empty(errors.size)
    for name in dict.fromkeys(classes):
        rows = names == name
        own, count = _scatter(errors[rows]), int(rows.sum())
        found[rows] = np.sqrt((count * own**2 + _LEANING * of_all**2) / (count + _LEANING))
    return np.maximum(found, LEAST_SCATTER)


def _minimum(
    residuals: Callable[[Floats], Floats],
    parameters: Sequence[Parameter],
    start: Floats,
    weights: Floats,
    scatter: Floats,
) -> Floats:
    """θ at the minimum, from ``start``."""
    from scipy.optimize import least_squares

    center = np.log([parameter.prior.value for parameter in parameters])
    width = np.array([parameter.prior.deviation for parameter in parameters])
    low, high = (np.log([getattr(parameter, end) for parameter in parameters]) for end in ("low", "high"))
    rows = weights.size

    def both(theta: Floats) -> Floats:
        return np.concatenate([residuals(np.exp(theta)) / scatter, (theta - center) / width])

    def loss(z: Floats) -> Floats:
        # Soft for the rows, of which some are outliers; square for the priors.
        rho = np.ones((3, z.size))
        rho[0], rho[2] = z, 0.0
        root = np.sqrt(1.0 + z[:rows])
        rho[0, :rows] = 2.0 * weights * (root - 1.0)
        rho[1, :rows] = weights / root
        rho[2, :rows] = -0.5 * weights / root**3
        return rho

    inside = np.clip(start, low + 1e-6, high - 1e-6)
    found = least_squares(
        both, inside, bounds=(low, high), loss=loss, diff_step=1e-4, x_scale=width, xtol=1e-5, ftol=1e-6,
        max_nfev=_MOST_STEPS,
    )  # fmt: skip
    theta: Floats = found.x
    return theta


def _jacobian(residuals: Callable[[Floats], Floats], theta: Floats) -> Floats:
    """Of the rows by θ, central differences. Shape (rows, parameters)."""
    step = 1e-3
    columns = []
    for index in range(theta.size):
        shift = np.zeros(theta.size)
        shift[index] = step
        columns.append((residuals(np.exp(theta + shift)) - residuals(np.exp(theta - shift))) / (2.0 * step))
    return np.array(columns).T.reshape(-1, theta.size)


def _covariance(jacobian: Floats, errors: Floats, scatter: Floats, parameters: Sequence[Parameter]) -> Floats:
    """(JᵀWJ + P)⁻¹ with the robust weights W and the priors' P, W scaled by the rows' χ² where that is above 1."""
    z = (errors / scatter) ** 2
    robust: Floats = 1.0 / np.sqrt(1.0 + z)
    priors = np.diag([parameter.prior.deviation**-2 for parameter in parameters])
    excess = max(1.0, float((robust * z).sum() / max(z.size - len(parameters), 1)))
    information = (jacobian.T * (robust / scatter**2)) @ jacobian / excess
    return np.asarray(np.linalg.inv(information + priors), dtype=np.float64)


def _bootstrap(
    residuals: Callable[[Floats], Floats],
    parameters: Sequence[Parameter],
    theta: Floats,
    weights: Floats,
    scatter: Floats,
    times: int,
    seed: int,
) -> Floats:
    """θ of rows drawn with replacement. Shape (times, parameters)."""
    random = np.random.default_rng(seed)
    found = np.empty((times, theta.size))
    for index in range(times):
        drawn = np.bincount(random.integers(0, weights.size, weights.size), minlength=weights.size)
        found[index] = _minimum(residuals, parameters, theta, weights * drawn, scatter)
    return found


def _verdict(index: int, parameters: Sequence[Parameter], theta: Floats, deviation: Floats, correlation: Floats) -> str:
    parameter = parameters[index]
    others = np.abs(correlation[index])
    others[index] = 0.0
    partner = int(others.argmax())
    value = float(np.exp(theta[index]))
    if deviation[index] > _SHRUNK * parameter.prior.deviation and others[partner] <= CORRELATED:
        return "kept its prior"
    if others[partner] > CORRELATED:
        return f"only with {parameters[partner].name}"
    if min(value / parameter.low, parameter.high / value) < 1.0 + 1e-3:
        return "at its bound"
    return "identified"
