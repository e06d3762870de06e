r"""Intervals that hold the truth four times in five, from what estimates of measured rows were off.

A residual is r = ln(measured time / predicted time). It is taken as a sum of effects, one for each of `LEVELS`, each
nested in the one before (a device's within its platform's, …), plus the row's own:

    r = mean + u_family + u_class + u_platform + u_device + u_scale + u_network + e,   u_level ~ N(0, tau_level^2)

The variances tau^2 and those of e are estimated from the rows; the effects of an estimate are then their best linear
unbiased predictions [1]: near to many rows it has their mean and scatter, and for every level of which nothing was
measured the variance between groups of that level is added. Rows weigh by how near they are (`nearness`). The scatter
of few rows is shrunk towards that of all [2], and the quantiles are Student's.

References:
    [1] Robinson: That BLUP is a good thing, Statistical Science 6(1), 1991.
    [2] Smyth: Linear models and empirical Bayes methods, Stat. Appl. Genet. Mol. Biol. 3(1), 2004, equation 3.
    [3] Hill: Algorithm 396: Student's t-quantiles, CACM 13(10), 1970.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paleo_opt.validation.basis import basis_of
from paleo_opt.validation.residuals import LEVELS, NO_WIDENING, Features, Residuals

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

COVERAGE = 0.8
#: Standard deviations of a normal distribution on either side that hold `COVERAGE`.
NORMAL_80 = 1.2815516
#: The scatter of a larger group counts as so many rows of a group's own.
_PRIOR_ROWS = 4.0
#: Nothing is known better than so (of ln), be it measured ever so often: runs differ by themselves.
LEAST_DEVIATION = 0.02
#: Of the mean of all residuals about zero, before anything is measured.
_PRIOR_MEAN_DEVIATION = 1.0
#: An effect, or a row's own, counts as at most so many times the median of its kind: outliers widen, within reason.
_WINSOR = 9.0
#: The weight of a row that does not count, far below any that does.
_NOTHING = 1e-12
#: Rows that say how wide an interval must be, at least; and by how much they may change it at most.
_FEWEST_HELD_OUT, _LEAST_WIDENING = 10, 0.8
_MOST_WIDENING = 3.0


@dataclass(frozen=True)
class Interval:
    """What a time may be, as factors of its estimate.

    Attributes:
        low: At most 1.
        high: At least 1.
        deviation: Of ln(time); about the half width over 1.28.
        rows: Measured near it, on which it rests.
        basis: In words.
    """

    low: float
    high: float
    deviation: float
    rows: int
    basis: str


def half_width(freedom: float) -> float:
    """Student's t quantile that leaves 10% above it: within 0.3% from 3 degrees of freedom, by Hill's expansion [3].

    t = z + (z^3 + z) / 4v + (5 z^5 + 16 z^3 + 3 z) / 96 v^2 + (3 z^7 + 19 z^5 + 17 z^3 - 15 z) / 384 v^3
    """
    z = NORMAL_80
    terms = (
        (z**3 + z) / 4.0,
        (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0,
        (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def nearness(residuals: Residuals, features: Features) -> Floats:
    """How much each row counts: exp(-d^2 / 2). Shape (rows,).

    d^2 sums ((ln of the ratio of GPUs) / ln 8)^2, (the same of micro-batches, of ln 8)^2, (the difference of the
    communication's shares of the step / 0.3)^2, and 1/2 where the quantity (a step, its forward or its backward part)
    or the precision differs.
    """
    squared = (np.log(residuals.gpus / features.gpus) / math.log(8.0)) ** 2
    squared += (np.log(residuals.micro_batch / features.micro_batch) / math.log(8.0)) ** 2
    squared += ((residuals.communication - features.communication) / 0.3) ** 2
    squared += 0.5 * (residuals.part != features.part) + 0.5 * (residuals.precision != features.precision)
    weights: Floats = np.exp(-0.5 * squared)
    return weights


def _pooled(squares: NDArray[Any], freedom: Floats) -> float:
    """A variance from sums of squares with so many degrees of freedom each, their outliers cut."""
    known = freedom > 0
    if not known.any():
        return 0.0
    each = squares[known] / freedom[known]
    cut = np.minimum(each, _WINSOR * np.median(each)) if np.median(each) > 0 else each
    return float((cut * freedom[known]).sum() / freedom[known].sum())


@dataclass(frozen=True, eq=False)
class _Messages:
    """What the rows below each group say of it. Lists by level, 0 the root; shapes (groups,).

    Attributes:
        mean: Of each group's effect.
        variance: Of that mean.
        scatter: Variance of a row about its innermost group.
        freedom: Degrees of freedom of that.
    """

    mean: list[Floats]
    variance: list[Floats]
    scatter: Floats
    freedom: Floats


@lru_cache(maxsize=64)
def _of_platforms(residuals: Residuals, pooled: float) -> Floats:
    """The scatter of a platform's rows, itself drawn towards that of all, for each innermost group."""
    groups, parents = residuals.groups
    inner, value = groups[-1], residuals.value
    members = np.bincount(inner).astype(float)
    squares = np.bincount(inner, (value - (np.bincount(inner, value) / members)[inner]) ** 2)
    platform = np.arange(members.size)
    for level in range(len(LEVELS), LEVELS.index("platform") + 1, -1):
        platform = parents[level][platform]
    squares, freedom = np.bincount(platform, squares), np.bincount(platform, members - 1.0)
    found: Floats = ((_PRIOR_ROWS * pooled + squares) / (_PRIOR_ROWS + freedom))[platform]
    return found


def _innermost(residuals: Residuals, weights: Floats, pooled: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, its variance, scatter and its degrees of freedom of the innermost groups, by weighted rows."""
    groups, parents = residuals.groups
    inner, count, value = groups[-1], parents[-1].size, residuals.value
    weight = np.bincount(inner, weights, count)
    mean = np.bincount(inner, weights * value, count) / weight
    squares = np.bincount(inner, weights * (value - mean[inner]) ** 2, count)
    # Rows weigh at most 1, so that their sum counts how many there are.
    freedom, squares = np.maximum(weight - 1.0, 0.0), np.where(weight > 1.0, squares, 0.0)
    prior = _of_platforms(residuals, pooled)
    scatter = (_PRIOR_ROWS * prior + squares) / (_PRIOR_ROWS + freedom)
    return mean, scatter / weight, scatter, _PRIOR_ROWS + freedom


def _outwards(residuals: Residuals, level: int, mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """From the groups of a level, their effects' variance included, to those of the level above."""
    parent, size = residuals.groups[1][level], residuals.groups[1][level - 1].size
    precision = 1.0 / variance
    total = np.bincount(parent, precision, size)
    return np.bincount(parent, precision * mean, size) / total, 1.0 / total


@lru_cache(maxsize=64)
def _variances(residuals: Residuals) -> tuple[float, tuple[float, ...]]:
    """The scatter of rows about their innermost group, and tau^2 by level, the root's first; by moments."""
    groups, parents = residuals.groups
    inner, value = groups[-1], residuals.value
    members = np.bincount(inner).astype(float)
    squares = np.bincount(inner, (value - (np.bincount(inner, value) / members)[inner]) ** 2)
    pooled = max(_pooled(squares, members - 1.0), LEAST_DEVIATION**2)
    mean, variance, _, _ = _innermost(residuals, np.ones_like(value), pooled)
    between: list[float] = []
    for level in range(len(groups) - 1, 0, -1):
        parent = parents[level]
        members = np.bincount(parent).astype(float)
        squares = np.bincount(parent, (mean - (np.bincount(parent, mean) / members)[parent]) ** 2)
        noise = np.bincount(parent, variance) / members * (members - 1.0)
        tau = max(_pooled(squares, members - 1.0) - _pooled(noise, members - 1.0), 0.0)
        between.insert(0, tau)
        mean, variance = _outwards(residuals, level, mean, variance + tau)
    return pooled, (_PRIOR_MEAN_DEVIATION**2, *between)


def _messages(residuals: Residuals, weights: Floats) -> _Messages:
    pooled, between = _variances(residuals)
    mean, variance, scatter, freedom = _innermost(residuals, weights, pooled)
    means, variances = [mean], [variance]
    for level in range(len(LEVELS), 0, -1):
        mean, variance = _outwards(residuals, level, mean, variance + between[level])
        means.insert(0, mean)
        variances.insert(0, variance)
    return _Messages(means, variances, scatter, freedom)


def _combine(mean: float, variance: float, means: Floats, variances: Floats) -> tuple[float, float]:
    """A normal belief times others."""
    precision = 1.0 / variance + float((1.0 / variances).sum())
    return (mean / variance + float((means / variances).sum())) / precision, 1.0 / precision


def predictive(
    residuals: Residuals, features: Features, without: NDArray[np.bool_] | None = None
) -> tuple[float, float, float, int]:
    """The residual of an estimate: its mean, variance, degrees of freedom, and how many levels have rows of it.

    ``without`` marks rows that do not count. Shape (rows,).
    """
    counting = np.ones(len(residuals.rows), dtype=bool) if without is None else ~without
    if not counting.any():
        return 0.0, _PRIOR_MEAN_DEVIATION**2, _PRIOR_ROWS, 0
    pooled, between = _variances(residuals)
    found = _messages(residuals, np.maximum(nearness(residuals, features) * counting, _NOTHING))
    groups, parents = residuals.groups
    # Down the path: what is known of a group from outside it, then the group itself.
    mean, variance, node = 0.0, between[0], 0
    inside = counting
    for level, code in enumerate(residuals.path(features), 1):
        inside = inside & (residuals.codes[level - 1] == code)
        of_level = np.flatnonzero(parents[level] == node)
        means, variances = found.mean[level][of_level], found.variance[level][of_level] + between[level]
        if not inside.any():
            mean, variance = _combine(mean, variance, means, variances)
            return mean, variance + sum(between[level:]) + pooled, _PRIOR_ROWS, level - 1
        node = int(groups[level][int(np.argmax(inside))])
        others = of_level != node
        mean, variance = _combine(mean, variance, means[others], variances[others])
        variance += between[level]
    own = slice(node, node + 1)
    mean, variance = _combine(mean, variance, found.mean[-1][own], found.variance[-1][own])
    return mean, variance + float(found.scatter[node]), float(found.freedom[node]), len(LEVELS)


def spread(
    residuals: Residuals, features: Features, without: NDArray[np.bool_] | None = None
) -> tuple[float, float, int]:
    """The residual of an estimate: its mean, half the width that holds `COVERAGE`, and the levels with rows of it."""
    mean, variance, freedom, depth = predictive(residuals, features, without)
    half = half_width(freedom) * math.sqrt(max(variance, LEAST_DEVIATION**2))
    return mean, half * residuals.widths[depth], depth


def interval(
    features: Features,
    residuals: Residuals,
    constants_deviation: float = 0.0,
    without: NDArray[np.bool_] | None = None,
) -> Interval:
    """What a time may be, as factors of its estimate; rates have their inverse.

    Args:
        features: What describes the estimate.
        residuals: Of measured rows.
        constants_deviation: Of ln(time), from the uncertainty of the model's constants; counts where it is larger.
        without: Rows that do not count. Shape (rows,).
    """
    mean, half, depth = spread(residuals, features, without)
    half = max(half, NORMAL_80 * constants_deviation)
    rows, basis = basis_of(residuals, features, depth, without)
    # The estimate itself is always possible.
    return Interval(math.exp(min(mean - half, 0.0)), math.exp(max(mean + half, 0.0)), half / NORMAL_80, rows, basis)


def held_out_widths(residuals: Residuals) -> tuple[float, ...]:
    """By how much to widen intervals so that they hold `COVERAGE` of the rows when what is nearest to them is left out.

    For an estimate of which so many levels have rows, rows are predicted from those outside their group of the next
    level (at the innermost: from those of other configurations). Groups weigh by the root of their rows, as rows of one
    group err together.

    Returns:
        A factor for each number of levels, 0 to len(LEVELS); 1 where that cannot be known.
    """
    plain = residuals.with_widths(NO_WIDENING)
    factors = []
    for depth in range(len(LEVELS) + 1):
        keys = [
            tuple(getattr(row.features, name) for name in LEVELS[: depth + 1]) if depth < len(LEVELS) else row.features
            for row in residuals.rows
        ]
        ratios, weights = [], []
        for key in dict.fromkeys(keys):
            alike = np.array([other == key for other in keys])
            for index in np.flatnonzero(alike):
                row = residuals.rows[int(index)]
                mean, half, found = spread(plain, row.features, alike)
                if found == depth:
                    ratios.append(abs(row.value - mean) / half)
                    weights.append(1.0 / math.sqrt(alike.sum()))
        factors.append(_quantile(np.array(ratios), np.array(weights)) if len(ratios) >= _FEWEST_HELD_OUT else 1.0)
    return tuple(round(min(max(factor, _LEAST_WIDENING), _MOST_WIDENING), 3) for factor in factors)


def _quantile(values: Floats, weights: Floats) -> float:
    """The smallest value that holds `COVERAGE` of the weights."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][np.searchsorted(share, COVERAGE)])
