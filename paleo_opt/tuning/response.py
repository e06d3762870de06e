"""What runs teach of the time of others: a Gaussian process on ln(measured / estimated).

    ln measured(x) = ln estimated(x) + c + g(x) + noise,    g ~ GP(0, k)
    k(x, x') = Σ_a s_a² κ_a(x, x') + s² Π_a κ_a(x, x')

over the free variables a: a main effect of each, and one of all together. c, by which every estimate is off alike, has
a flat prior (generalized least squares), so it never changes which point is best. κ is Matérn 5/2 of the distance
between numbers on their scale, and 1 or 0 for names. What a variable does that the estimator knows is expected to be
small (it is only the estimator's error), what an unknown knob does may be large. The deviations s, the length of κ and
the noise are those of largest posterior density under log-normal priors, found anew from all runs.

References:
    Rasmussen, Williams, Gaussian Processes for Machine Learning, 2006: sections 2.7 (explicit basis) and 5.4.1.
    Jones, Schonlau, Welch, Efficient Global Optimization of Expensive Black-Box Functions, 1998 (expected improvement).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers
from paleo_opt.tuning.points import Axis

#: Medians and deviations (of logarithms) of the priors: main effects that the estimator knows, and does not; of all
#: variables together; the length of κ on a scale of 0 to 1; the noise of a run.
_KNOWN, _UNKNOWN, _TOGETHER, _LENGTH, _NOISE = (0.15, 0.7), (0.3, 1.0), (0.1, 0.7), (0.7, 0.5), (0.02, 1.0)
_LEAST_NOISE = 0.002
_SWEEPS = 12
#: Points whose likeness to all runs is held at once.
AT_ONCE = 2048


def similarities(axes: Sequence[Axis], some: Integers, others: Integers, length: float) -> Floats:
    """κ of each axis between points given by their levels. Shape (axes, some, others)."""
    found = np.empty((len(axes), some.shape[0], others.shape[0]))
    for index, axis in enumerate(axes):
        first, second = some[:, index], others[:, index]
        if axis.positions:
            place = np.array(axis.positions)
            scaled = math.sqrt(5.0) * np.abs(place[first][:, None] - place[second][None, :]) / length
            found[index] = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
        else:
            found[index] = first[:, None] == second[None, :]
    return found


@dataclass(frozen=True, eq=False)
class Response:
    """The process given some runs.

    Attributes:
        axes: The free variables.
        levels: Of the runs. Shape (runs, axes).
        deviations: Of each axis's main effect, then of all together. Shape (axes + 1,).
        length: Of κ.
        noise: Deviation of one run.
        offset: c.
    """

    axes: tuple[Axis, ...]
    levels: Integers
    deviations: Floats
    length: float
    noise: float
    offset: float
    _factor: Floats
    _weights: Floats
    _ones: Floats

    def predict(self, levels: Integers) -> tuple[Floats, Floats]:
        """Mean and deviation of ln(measured / estimated) at points given by their levels. Shapes (points,)."""
        parts = [self._predict(levels[at : at + AT_ONCE]) for at in range(0, levels.shape[0], AT_ONCE)]
        mean, deviation = (np.concatenate(column) for column in zip(*parts, strict=True))
        return mean, deviation

    def _predict(self, levels: Integers) -> tuple[Floats, Floats]:
        cross = _kernel(similarities(self.axes, levels, self.levels, self.length), self.deviations)
        mean: Floats = self.offset + cross @ self._weights
        half = np.linalg.solve(self._factor, cross.T)
        own = float((self.deviations**2).sum())
        # The last term is what is not known of the offset.
        rest = 1.0 - half.T @ self._ones
        variance = own - (half**2).sum(axis=0) + rest**2 / float(self._ones @ self._ones)
        return mean, np.sqrt(np.maximum(variance, 1e-12))


def _kernel(similar: Floats, deviations: Floats) -> Floats:
    found: Floats = np.tensordot(deviations[:-1] ** 2, similar, axes=1) + deviations[-1] ** 2 * similar.prod(axis=0)
    return found


def fit_response(axes: Sequence[Axis], levels: Integers, logs: Floats) -> Response:
    """The process given runs.

    Args:
        axes: The free variables.
        levels: Of the runs. Shape (runs, axes).
        logs: ln(measured / estimated) of each. Shape (runs,).
    """
    priors = [*(_KNOWN if axis.modelled else _UNKNOWN for axis in axes), _TOGETHER, _LENGTH, _NOISE]
    medians = np.log([median for median, _ in priors])
    spread = np.array([deviation for _, deviation in priors])
    kept: dict[float, Floats] = {}

    def density(scaled: Floats) -> float:
        parameters = np.exp(medians + spread * scaled)
        length = float(parameters[-2])
        if length not in kept:
            kept[length] = similarities(axes, levels, levels, length)
        covariance = _kernel(kept[length], parameters[:-2]) + np.eye(logs.size) * (parameters[-1] + _LEAST_NOISE) ** 2
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:  # deviations beyond all bounds
            return -np.inf
        both = np.linalg.solve(factor, np.stack([logs, np.ones_like(logs)], axis=1))
        residual, ones = both[:, 0], both[:, 1]
        information = float(ones @ ones)
        squares = float(residual @ residual) - float(ones @ residual) ** 2 / information
        return -0.5 * (
            squares + 2.0 * float(np.log(np.diag(factor)).sum()) + math.log(information) + float(scaled @ scaled)
        )

    # A pattern search: few parameters, a smooth density, and the same answer every time.
    best = np.zeros(len(priors))
    value, step = density(best), 1.0
    for _ in range(_SWEEPS if logs.size > 1 else 0):
        moved = False
        for index in range(best.size):
            for direction in (step, -step):
                trial = best.copy()
                trial[index] += direction
                found = density(trial)
                if found > value:
                    best, value, moved = trial, found, True
                    break
        step = step if moved else step / 2.0
    parameters = np.exp(medians + spread * best)
    length, noise = float(parameters[-2]), float(parameters[-1] + _LEAST_NOISE)
    covariance = _kernel(similarities(axes, levels, levels, length), parameters[:-2]) + np.eye(logs.size) * noise**2
    factor: Floats = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    ones: Floats = np.asarray(np.linalg.solve(factor, np.ones_like(logs)), dtype=np.float64)
    residual = np.linalg.solve(factor, logs)
    offset = float(ones @ residual) / float(ones @ ones)
    weights: Floats = np.asarray(np.linalg.solve(factor.T, residual - offset * ones), dtype=np.float64)
    return Response(tuple(axes), levels, parameters[:-2], length, noise, offset, factor, weights, ones)


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """By how much points are expected to fall below ``best``, nothing where they do not. Shape of ``mean``."""
    gap = best - mean
    scaled = gap / deviation
    density = np.exp(-0.5 * scaled**2) / math.sqrt(2.0 * math.pi)
    found: Floats = np.maximum(gap * _below(scaled) + deviation * density, 0.0)
    return found


def _below(scaled: Floats) -> Floats:
    """The normal distribution; by Abramowitz and Stegun 7.1.26 to 1.5e-7, as scipy is slow to import."""
    x = np.abs(scaled) / math.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * x)
    powers = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    error = 1.0 - powers * np.exp(-(x**2))
    return np.asarray(0.5 * (1.0 + np.sign(scaled) * error))
