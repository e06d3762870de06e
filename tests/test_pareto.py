"""The front against its definition, and its knee."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.search.pareto import knee, pareto_front

POINTS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=30)


def columns(points: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.array(points, dtype=float).reshape(-1, 2).T
    return first, second


@given(POINTS)
def test_the_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    first, second = columns(points)
    front = pareto_front(first, second).tolist()
    beaten = [
        any((q[0] <= p[0] and q[1] <= p[1] and q != p) or (q == p and other < index) for other, q in enumerate(points))
        for index, p in enumerate(points)
    ]
    assert sorted(front) == [index for index, is_beaten in enumerate(beaten) if not is_beaten]
    assert (np.diff(first[front]) > 0).all() and (np.diff(second[front]) < 0).all()


def test_figures_that_are_not_known_are_never_on_the_front() -> None:
    first = np.array([1.0, 2.0, np.inf, 3.0])
    second = np.array([np.nan, 5.0, 1.0, np.inf])
    assert pareto_front(first, second).tolist() == [1]
    assert pareto_front(np.array([]), np.array([])).size == 0


def test_the_knee_is_where_the_front_bends() -> None:
    first, second = columns([(1, 100), (2, 10), (4, 8), (8, 7)])
    assert knee(first, second) == 1
    assert knee(first * 3600.0, second * 0.01) == 1  # whatever the units


def test_a_straight_front_has_no_knee() -> None:
    first, second = columns([(1, 8), (2, 4), (4, 2), (8, 1)])
    assert knee(first, second) is None
    assert knee(*columns([(1, 2), (2, 1)])) is None
    assert knee(*columns([(1, 1)])) is None
    # Above the chord: every step along it is worse than its ends.
    assert knee(*columns([(1, 8), (4, 7), (8, 1)])) is None
