"""The exact front of two figures that are both to be small, and its knee."""

from __future__ import annotations

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers

#: A front that bends less than this share of its spans is taken for straight.
_LEAST_BEND = 0.05


def pareto_front(first: Floats, second: Floats) -> Integers:
    """The points that no other beats in one figure without losing in the other.

    Args:
        first: To be small. Shape (points,).
        second: To be small. Shape (points,).

    Returns:
        Indices of the front, ``first`` ascending and so ``second`` descending. Of points that are equal in both, the
        first is kept; a point with a figure that is not finite is never on the front.
    """
    finite = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
    order = finite[np.lexsort((second[finite], first[finite]))]
    if order.size == 0:
        return order
    ordered = second[order]
    best_before = np.minimum.accumulate(np.concatenate([[np.inf], ordered[:-1]]))
    front: Integers = order[ordered < best_before]
    return front


def knee(first: Floats, second: Floats) -> int | None:
    """Where a front bends most: the point furthest below the chord between its ends, on logarithmic axes.

    Logarithms make it the same whatever the units, and weigh saving half of one figure against half of the other.

    Args:
        first: Of a front, ascending, above zero. Shape (points,).
        second: Of the same points, descending, above zero.

    Returns:
        Its place on the front; None where the front is nearly straight, or has fewer than three points.
    """
    if first.size < 3:
        return None
    x, y = np.log(first), np.log(second)
    below = (y[0] - y) / (y[0] - y[-1]) - (x - x[0]) / (x[-1] - x[0])
    place = int(np.argmax(below))
    return place if below[place] >= _LEAST_BEND else None
