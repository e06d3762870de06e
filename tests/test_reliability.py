"""Expected time: order statistics, Young and Daly, Monte Carlo, and how it enters an estimate."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import (
    IDEAL,
    Operations,
    checkpoint_interval,
    interrupted,
    largest_normal,
    slowest_worker,
    slowest_worker_deviation,
)
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.load import load_network

TABLE = compile_network(load_network("vgg16"))
STRATEGY = Strategy(load_cluster("p4d.24xlarge"), gpus=64, micro_batch=16, precision="bf16")


def number(values) -> float:
    return float(np.ravel(values)[0])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 16_384, 10**6])
def test_the_largest_of_many_normals_by_numerical_integration(count):
    def density(x):
        return count * norm.pdf(x) * np.exp((count - 1) * norm.logcdf(x))

    mean, deviation = largest_normal(np.array(float(count)))
    expected = quad(lambda x: x * density(x), -9, 12, epsabs=1e-11, limit=200)[0]
    square = quad(lambda x: x**2 * density(x), -9, 12, epsabs=1e-11, limit=200)[0]
    assert number(mean) == pytest.approx(expected, abs=1e-8)
    assert number(deviation) == pytest.approx(math.sqrt(square - expected**2), abs=1e-6)


def test_the_larger_of_two_normals():
    mean, deviation = largest_normal(np.array([2.0]))
    assert number(mean) == pytest.approx(1 / math.sqrt(math.pi))
    assert number(deviation) == pytest.approx(math.sqrt(1 - 1 / math.pi))
    assert slowest_worker_deviation(2, 0.1) == pytest.approx(0.1 * number(deviation))


@pytest.mark.parametrize(("workers", "highest"), [(2, 0.564), (5, 1.163), (10, 1.539), (100, 2.508), (1000, 3.241)])
def test_the_slowest_of_many_normals(workers, highest):
    # Expected maxima of normal samples: Harter 1961, table 1.
    factor = number(slowest_worker(np.array([float(workers)]), 0.1))
    assert (factor - 1.0) / 0.1 == pytest.approx(highest, rel=1e-3)


def test_one_worker_waits_for_no_one():
    assert number(slowest_worker(np.array([1.0]), 0.5)) == 1.0


def test_the_interval_is_youngs_where_checkpoints_are_cheap():
    young = np.sqrt(2 * 10.0 * 1e7)
    assert number(checkpoint_interval(np.array(10.0), np.array(1e7))) == pytest.approx(young, rel=0.01)


@given(checkpoint=st.floats(1.0, 600.0), mtbf=st.floats(2_000.0, 1e7), other=st.floats(0.2, 5.0))
def test_no_other_interval_is_much_better(checkpoint, mtbf, other):
    def expected(interval):
        return mtbf * np.expm1((interval + checkpoint) / mtbf) / interval

    best = number(checkpoint_interval(np.array(checkpoint), np.array(mtbf)))
    assert expected(best) <= expected(best * other) * 1.005


def test_expected_time_agrees_with_a_simulation():
    mtbf, checkpoint, restart = 20_000.0, 120.0, 900.0
    interval = number(checkpoint_interval(np.array(checkpoint), np.array(mtbf)))
    random = np.random.default_rng(0)
    total, segments = 0.0, 20_000
    for _ in range(segments):
        needed = interval + checkpoint
        while (failure := random.exponential(mtbf)) < needed:
            total += failure
            needed = restart + interval + checkpoint  # the restart may fail as well
        total += needed
    simulated = total / (segments * interval)
    assert number(interrupted(np.array(mtbf), np.array(checkpoint), restart)) == pytest.approx(simulated, rel=0.01)


def test_without_failures_nothing_is_added():
    assert number(interrupted(np.array(np.inf), np.array(60.0), 900.0)) == 1.0


@given(st.floats(1e3, 1e8), st.floats(1.01, 10.0))
def test_more_failures_never_make_it_faster(mtbf, fewer):
    often, seldom = interrupted(np.array([mtbf, mtbf * fewer]), np.array([30.0, 30.0]), 900.0)
    assert seldom <= often * (1 + 1e-12)


def test_llama_3_spent_over_nine_tenths_of_its_time_training():
    # arXiv:2407.21783, section 3.3.4: 419 interruptions in 54 days on 16,384 GPUs, over 90% effective training time.
    mtbf = Operations().device_mtbf_s / 16_384
    assert mtbf == pytest.approx(54 * 86_400 / 419)
    # That needs checkpoints of seconds and restarts of minutes; a quarter of an hour each time would cost a sixth.
    assert number(interrupted(np.array(mtbf), np.array(10.0), 300.0)) < 1 / 0.9
    assert number(interrupted(np.array(mtbf), np.array(30.0), 900.0)) > 1 / 0.9


def test_ideal_operations_add_nothing():
    found = estimate(TABLE, STRATEGY, Options(operations=IDEAL))
    assert number(found.time_to_target_s) == number(found.ideal_time_to_target_s)


@pytest.mark.parametrize(
    "operations",
    [
        Operations(device_mtbf_s=1e5),
        replace(IDEAL, straggler_variation=0.1),
        replace(IDEAL, input_rate=100.0),
        replace(IDEAL, queue_s=3600.0),
    ],
)
def test_each_addition_takes_time(operations):
    found = estimate(TABLE, STRATEGY, Options(operations=operations))
    assert number(found.time_to_target_s) > number(found.ideal_time_to_target_s) * 1.001


def test_the_input_limits_the_samples_per_second():
    found = estimate(TABLE, STRATEGY, Options(operations=replace(IDEAL, input_rate=1000.0)))
    samples = number(found.steps) * STRATEGY.global_batch
    assert samples / number(found.time_to_target_s) == pytest.approx(8 * 1000.0)


def test_waiting_for_nodes_is_not_paid_and_storage_and_egress_are():
    ideal = number(estimate(TABLE, STRATEGY, Options(operations=IDEAL)).cost_usd)
    waiting = estimate(TABLE, STRATEGY, Options(operations=replace(IDEAL, queue_s=86_400.0)))
    assert number(waiting.cost_usd) == pytest.approx(ideal)
    month = replace(IDEAL, storage_usd_per_month=73.05 * 100, egress_usd=7.0)
    found = estimate(TABLE, STRATEGY, Options(operations=month))
    hours = number(found.running_time_s) / 3600
    assert number(found.cost_usd) == pytest.approx(ideal + 7.0 + hours * 10.0, rel=1e-6)


def test_spot_nodes_are_interrupted_more_often():
    price = replace(STRATEGY.cluster.price, spot=STRATEGY.cluster.price.on_demand, spot_interruptions=None)
    strategy = replace(STRATEGY, cluster=replace(STRATEGY.cluster, price=price))
    firm = estimate(TABLE, strategy, Options())
    spot = estimate(TABLE, strategy, Options(pricing="spot"))
    never = replace(strategy, cluster=replace(strategy.cluster, price=replace(price, spot_interruptions=0.0)))
    assert number(spot.time_to_target_s) > number(firm.time_to_target_s)
    assert number(estimate(TABLE, never, Options(pricing="spot")).cost_usd) == pytest.approx(number(firm.cost_usd))


@pytest.mark.parametrize(
    "wrong",
    [
        {"device_mtbf_s": 0.0},
        {"restart_s": -1.0},
        {"input_rate": 0.0},
        {"checkpoint_bandwidth": -5.0},
        {"queue_s": np.inf},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        Operations(**wrong)
