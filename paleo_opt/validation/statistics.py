"""How far predictions are from what was measured. Every function takes arrays of shape (rows,)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Fewer rows have no order to speak of.
_FEWEST_RANKED = 3


@dataclass(frozen=True)
class ErrorStatistics:
    """Errors of some rows.

    Attributes:
        rows: How many.
        mape: Mean absolute percentage error: the mean of abs(predicted / measured - 1), a share.
        median_ape: The median of the same.
        p90_ape: Nine rows of ten are nearer than this (linear between the two nearest rows).
        bias: Mean of ln(predicted / measured): +0.1 says that predictions are about 10% above what was measured.
        coverage: Share of the rows with an interval whose interval holds the measured value; None where none has one.
    """

    rows: int
    mape: float
    median_ape: float
    p90_ape: float
    bias: float
    coverage: float | None = None


def error_statistics(measured: Floats, predicted: Floats, covered: Sequence[bool | None] = ()) -> ErrorStatistics:
    """The errors of ``predicted`` against ``measured``, at least one row of each.

    Args:
        measured: Above 0.
        predicted: Above 0, in the same units.
        covered: Whether each row's interval holds the measured value; None for a row without an interval.
    """
    errors = np.abs(predicted / measured - 1.0)
    known = [held for held in covered if held is not None]
    return ErrorStatistics(
        rows=int(measured.size),
        mape=float(errors.mean()),
        median_ape=float(np.median(errors)),
        p90_ape=float(np.percentile(errors, 90)),
        bias=float(np.log(predicted / measured).mean()),
        coverage=sum(known) / len(known) if known else None,
    )


def average_ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Floats = (last - (count - 1) / 2.0)[group]
    return ranks


def spearman(measured: Floats, predicted: Floats) -> float | None:
    """Spearman's rank correlation; None below three rows, or where all values of one side are equal."""
    if measured.size < _FEWEST_RANKED:
        return None
    first, second = average_ranks(measured), average_ranks(predicted)
    first, second = first - first.mean(), second - second.mean()
    norm = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return float((first * second).sum()) / norm if norm else None


def rank_correlation(measured: Floats, predicted: Floats, quantities: Sequence[str]) -> float | None:
    """Spearman's rank correlation within each quantity, averaged by their rows: seconds and rates have no common order.

    None where no quantity has one.
    """
    names = np.array(quantities)
    total, weight = 0.0, 0
    for name in dict.fromkeys(quantities):
        of_quantity = names == name
        found = spearman(measured[of_quantity], predicted[of_quantity])
        if found is not None:
            total, weight = total + found * int(of_quantity.sum()), weight + int(of_quantity.sum())
    return total / weight if weight else None


def regret(measured_time: Floats, predicted_time: Floats) -> float:
    """What following the model costs: measured time of the row that it ranks first, over the measured best, minus 1.

    Of rows that it ranks first alike, the slowest counts.
    """
    first = predicted_time == predicted_time.min()
    return float(measured_time[first].max() / measured_time.min()) - 1.0
