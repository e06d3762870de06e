"""Intervals from residuals: coverage of synthetic ones, widening where little is near, and the forms they take."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

import paleo_opt
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import Operations
from paleo_opt.quantities import format_money, format_time
from paleo_opt.report.intervals import spans, with_range
from paleo_opt.validation.intervals import half_width, held_out_widths, interval, nearness
from paleo_opt.validation.residuals import (
    LEVELS,
    Features,
    Residual,
    Residuals,
    features_of,
    read_residuals,
    residuals_text,
    shipped_residuals,
)
from paleo_opt.validation.validate import validate

HERE = Features("cnn", "nvidia tensor", "soft", "gpu", "node", "net", "bf16", gpus=8, micro_batch=64)


def drawn(seed: int, platforms: int = 5, devices: int = 3, networks: int = 4, rows: int = 6) -> list[Residual]:
    """Residuals whose groups err together: platforms by 0.3, devices by 0.15, networks by 0.1, rows by 0.05."""
    random = np.random.default_rng(seed)
    found = []
    for platform in range(platforms):
        of_platform = 0.3 * random.standard_normal()
        for device in range(devices):
            of_device = of_platform + 0.15 * random.standard_normal()
            for network in range(networks):
                mean = of_device + 0.1 * random.standard_normal()
                names = {"platform": f"soft {platform}", "device": f"gpu {device}", "network": f"net {network}"}
                found += [
                    Residual(replace(HERE, **names), mean + 0.05 * random.standard_normal(), "table")
                    for _ in range(rows)
                ]
    return found


@cache
def coverage(alike: tuple[str, ...]) -> tuple[float, float]:
    """Of rows of many draws, those of the same group left out: the share held, and the median width."""
    held, widths = [], []
    for seed in range(12):
        rows = drawn(seed)
        for row in rows[::25]:
            key = [getattr(row.features, name) for name in alike]
            others = [other for other in rows if [getattr(other.features, name) for name in alike] != key]
            span = interval(row.features, Residuals(tuple(others)))
            held.append(span.low <= math.exp(row.value) <= span.high)
            widths.append(span.high / span.low)
    return float(np.mean(held)), float(np.median(widths))


@pytest.mark.parametrize("alike", [("platform",), ("platform", "device"), ("platform", "device", "network")])
def test_four_in_five_are_held_whatever_was_not_measured(alike: tuple[str, ...]) -> None:
    assert 0.7 <= coverage(alike)[0] <= 0.93


def test_the_less_is_known_the_wider() -> None:
    network, device, platform = (
        coverage(alike)[1] for alike in (("platform", "device", "network"), ("platform", "device"), ("platform",))
    )
    assert network < device < platform


def test_what_is_unknown_at_each_level_widens() -> None:
    residuals = Residuals(tuple(drawn(1)))
    known = residuals.rows[0].features
    width = interval(known, residuals).high / interval(known, residuals).low
    for level in reversed(LEVELS[2:]):
        if level == "scale":
            continue
        span = interval(replace(known, **{level: "never seen"}), residuals)
        assert span.high / span.low > width
        width = span.high / span.low


def test_fewer_rows_are_wider() -> None:
    """The same scatter over fewer rows of the group says less."""
    others = [Residual(replace(HERE, network=f"net {n}"), value) for n in range(6) for value in (-0.1, 0.1)]

    def width(pairs: int) -> float:
        own = [Residual(HERE, value) for value in (-0.1, 0.1)] * pairs
        span = interval(HERE, Residuals((*others, *own)))
        return span.high / span.low

    widths = [width(pairs) for pairs in (1, 2, 4, 16)]
    assert widths == sorted(widths, reverse=True)


def test_a_bias_moves_the_interval_and_the_estimate_stays_in() -> None:
    rows = tuple(Residual(HERE, 0.5 + change) for change in (-0.02, -0.01, 0.0, 0.01, 0.02) * 4)
    span = interval(HERE, Residuals(rows))
    assert span.low == 1.0
    assert span.high > math.exp(0.5)
    assert span.rows == 20


def test_constants_less_sure_than_residuals_widen() -> None:
    residuals = Residuals(tuple(Residual(HERE, value) for value in (-0.05, 0.05) * 10))
    narrow, wide = interval(HERE, residuals), interval(HERE, residuals, constants_deviation=0.5)
    assert wide.deviation == pytest.approx(0.5)
    assert narrow.deviation < 0.2
    assert interval(HERE, residuals, constants_deviation=0.01) == narrow


def test_without_rows_it_is_a_guess() -> None:
    span = interval(HERE, Residuals(()))
    assert (span.rows, span.basis) == (0, "no measured rows; a guess")
    assert span.high / span.low > 10
    one = Residuals((Residual(HERE, 0.3),))
    assert interval(HERE, one, without=np.array([True])) == span


def test_rows_left_out_do_not_count() -> None:
    rows = drawn(3)
    without = np.array([row.features.platform == "soft 1" for row in rows])
    features = rows[int(np.argmax(without))].features
    assert interval(features, Residuals(tuple(rows)), without=without).basis.endswith("none of platform soft 1")


@pytest.mark.parametrize(
    ("changes", "basis"),
    [
        ({}, "6 measured rows of the same platform, device, scale and network"),
        ({"network": "other"}, "24 measured rows of the same platform, device and scale, none of other"),
        ({"scale": "nodes"}, "24 measured rows of the same platform and device, none of several nodes"),
        ({"device": "other"}, "72 measured rows of the same platform, none on other with it"),
        ({"platform": "other"}, "360 measured rows of cnn networks on nvidia tensor units, none of platform other"),
        ({"unit": "amd tensor"}, "360 measured rows of cnn networks, none on amd tensor units"),
        ({"family": "transformer"}, "360 measured rows of other kinds of networks, none of transformer networks"),
    ],
)
def test_the_basis_in_words(changes: dict[str, str], basis: str) -> None:
    residuals = Residuals(tuple(drawn(2)))
    assert interval(replace(residuals.rows[0].features, **changes), residuals).basis == basis


def test_nearness_is_by_the_documented_distance() -> None:
    rows = [
        HERE, replace(HERE, gpus=64), replace(HERE, micro_batch=8), replace(HERE, communication=0.3),
        replace(HERE, precision="fp32"), replace(HERE, part="forward"),
    ]  # fmt: skip
    found = nearness(Residuals(tuple(Residual(row, 0.0) for row in rows)), HERE)
    one, half = math.exp(-0.5), math.exp(-0.25)
    assert found == pytest.approx([1.0, one, one, one, half, half])


@given(st.floats(3.0, 500.0))
def test_students_quantile(freedom: float) -> None:
    assert half_width(freedom) == pytest.approx(student.ppf(0.9, freedom), rel=5e-3)


def test_widths_that_hold_already_are_left_about_as_they_are() -> None:
    factors = held_out_widths(Residuals(tuple(drawn(4, rows=3))))
    assert len(factors) == len(LEVELS) + 1
    assert all(0.8 <= factor <= 1.7 for factor in factors)


def test_a_table_of_residuals_reads_back(tmp_path: Path) -> None:
    residuals = Residuals(tuple(drawn(5, 2, 2, 2, 2)), tuple(1.0 + 0.1 * n for n in range(len(LEVELS) + 1)))
    path = tmp_path / "model.csv"
    path.write_text(residuals_text(residuals), encoding="utf-8")
    again = read_residuals(path)
    assert [row.features for row in again.rows] == [row.features for row in residuals.rows]
    assert again.value == pytest.approx(residuals.value, abs=1e-4)
    assert again.widths == pytest.approx(residuals.widths)
    assert not read_residuals(tmp_path / "other.csv").rows


@pytest.mark.parametrize("model", ["roofline", "paleo"])
def test_shipped_intervals_hold_about_four_in_five_published_rows(model: str) -> None:
    assert len(shipped_residuals(model).rows) > 300
    found = validate(None, Options(model=model))
    covered = [item.covered for item in found.predictions if item.covered is not None]
    assert len(covered) > 100
    assert 0.65 <= float(np.mean(covered)) <= 0.97


TABLE = paleo_opt.compile_network(paleo_opt.load_network("resnet50"))
STRATEGY = paleo_opt.Strategy(paleo_opt.load_cluster("p4d.24xlarge"), 16, 64, precision="bf16")


def test_features_of_an_estimate() -> None:
    found = features_of(paleo_opt.estimate(TABLE, STRATEGY), TABLE.network)
    assert (found.family, found.unit, found.device, found.scale) == ("cnn", "nvidia tensor", "a100-sxm4-40gb", "nodes")
    assert (found.network, found.precision, found.gpus, found.nodes) == ("resnet50", "bf16", 16, 2)
    assert 0 < found.attained < 1


def test_what_the_figures_may_be() -> None:
    estimates = paleo_opt.estimate(TABLE, STRATEGY)
    (span,) = spans(TABLE, [STRATEGY], [(estimates, 0)])
    low, high = span.of("step_time_s", 2.0) or (0.0, 0.0)
    assert low <= 2.0 <= high
    slow, fast = span.of("samples_per_s", 100.0) or (0.0, 0.0)
    assert (slow, fast) == pytest.approx((200.0 / high, 200.0 / low))
    # The samples to the target are uncertain too.
    assert span.target[0] < span.step.low
    assert span.target[1] > span.step.high
    assert span.of("memory_bytes", 1.0) is None


def test_variability_of_workers_counts_by_the_root_of_the_steps() -> None:
    varied = Options(operations=Operations(straggler_variation=0.5))
    plain, wide = (
        spans(TABLE, [STRATEGY], [(paleo_opt.estimate(TABLE, STRATEGY, options), 0)])[0]
        for options in (Options(), varied)
    )
    assert plain.run < wide.run < 1.1 * plain.run


def test_ranges_in_words() -> None:
    assert with_range(0.041, (0.037, 0.046), format_time) == "41 ms (37–46)"
    assert with_range(140.0, (120.0, 190.0), format_money) == "$140 ($120–$190)".replace("($", "(").replace("–$", "–")
    assert with_range(0.9, (0.5, 1.2), format_time) == "900 ms (500 ms–1.2 s)"
    assert with_range(1.0, None, format_time) == format_time(1.0)
