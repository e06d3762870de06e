"""Fitting constants: on made-up rows whose constants are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paleo_opt.calibration.fit import Fit, Floats, Parameter, fit
from paleo_opt.hardware.constant import Constant

SIZES = np.geomspace(1.0, 1e6, 40)
SHARE = Parameter("share", Constant(0.9, 0.3), 0.01, 1.0)
LAUNCH = Parameter("launch", Constant(1e-5, 1.0), 1e-7, 1e-3)
GHOST = Parameter("ghost", Constant(0.5, 0.2), 0.01, 1.0)
TRUTH = np.array([0.6, 5e-6, 0.5])


def times(values: Floats) -> Floats:
    """An operation at a share of 1 GFLOP/s behind a launch; the third constant has no part in it."""
    return SIZES / (values[0] * 1e9) + values[1]


def fitted(measured: Floats, *parameters: Parameter, bootstrap: int = 0) -> Fit:
    return fit(lambda values: np.log(times(values) / measured), parameters, bootstrap=bootstrap)


def noisy(spread: float, seed: int = 0) -> Floats:
    return times(TRUTH) * np.exp(np.random.default_rng(seed).normal(0.0, spread, SIZES.size))


def test_constants_are_found_again() -> None:
    answer = fitted(noisy(0.0), SHARE, LAUNCH)
    assert [one.value for one in answer.fitted] == pytest.approx(TRUTH[:2], rel=1e-3)
    assert all(one.identified for one in answer.fitted)
    assert np.abs(answer.after).max() < 1e-3 < np.abs(answer.before).max()


@pytest.mark.parametrize("seed", range(5))
def test_the_truth_lies_within_three_deviations(seed: int) -> None:
    for one, truth in zip(fitted(noisy(0.1, seed), SHARE, LAUNCH).fitted, TRUTH[:2], strict=True):
        assert abs(math.log(one.value / truth)) < 3.0 * one.deviation
        assert one.deviation < 0.1


def test_deviations_are_those_of_repeated_experiments() -> None:
    answers = [fitted(noisy(0.1, seed), SHARE, LAUNCH).fitted for seed in range(40)]
    for index in range(2):
        spread = np.std([math.log(answer[index].value) for answer in answers])
        said = np.median([answer[index].deviation for answer in answers])
        assert 0.5 < said / spread < 2.0


def test_an_outlier_hardly_counts() -> None:
    measured = noisy(0.05)
    measured[-3:] *= 8.0
    share, _ = fitted(measured, SHARE, LAUNCH).fitted
    assert share.value == pytest.approx(0.6, rel=0.05)


def test_a_constant_that_no_row_depends_on_keeps_its_prior() -> None:
    ghost = fitted(noisy(0.05), SHARE, LAUNCH, GHOST).fitted[2]
    assert (ghost.value, ghost.verdict) == (pytest.approx(0.5), "kept its prior")
    assert ghost.deviation == pytest.approx(0.2, rel=1e-3)


def test_rows_all_alike_do_not_tell_two_constants_apart() -> None:
    measured = np.full(10, 2e-5)
    parameters = (Parameter("a", Constant(0.5, 0.5), 0.01, 1.0), Parameter("b", Constant(0.5, 0.5), 0.01, 1.0))
    answer = fit(lambda values: np.log(1e-6 / (values[0] * values[1]) / measured), parameters)
    assert [one.verdict for one in answer.fitted] == ["only with b", "only with a"]
    assert answer.fitted[0].value * answer.fitted[1].value == pytest.approx(0.05, rel=0.05)


def test_bounds_hold() -> None:
    share, _ = fitted(times(np.array([3.0, 5e-6])), SHARE, LAUNCH).fitted
    assert share.value == pytest.approx(1.0, abs=1e-3)
    assert share.verdict == "at its bound"


def test_the_bootstrap_agrees_and_is_drawn_alike_each_time() -> None:
    answer = fitted(noisy(0.1), SHARE, LAUNCH, bootstrap=20)
    for one in answer.fitted:
        assert one.bootstrap is not None
        assert 0.3 * one.deviation < one.bootstrap <= one.deviation
    again = fitted(noisy(0.1), SHARE, LAUNCH, bootstrap=20)
    assert [one.bootstrap for one in answer.fitted] == [one.bootstrap for one in again.fitted]


def test_a_class_that_the_model_misses_takes_little_from_the_others() -> None:
    measured = noisy(0.02)
    wild = np.random.default_rng(1).normal(0.0, 1.0, 40)
    both = np.concatenate([measured, measured * np.exp(wild)])
    classes = ["met"] * 40 + ["missed"] * 40
    answer = fit(lambda values: np.log(np.tile(times(values), 2) / both), (SHARE, LAUNCH), classes)
    assert answer.fitted[0].value == pytest.approx(0.6, rel=0.02)
