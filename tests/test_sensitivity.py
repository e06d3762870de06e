"""The tornado: each constant's ends against estimates made anew, in the order of what they move."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import paleo_opt
from paleo_opt.errors import SpecError
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import IDEAL, Operations
from paleo_opt.estimator.tornado import Swing, Tornado
from paleo_opt.estimator.variations import ENDS
from paleo_opt.network.job import with_target

NETWORK = paleo_opt.load_network("vgg16")
TABLE = paleo_opt.compile_network(NETWORK)
CLUSTER = paleo_opt.load_cluster("p4d.24xlarge")
STRATEGY = paleo_opt.Strategy(CLUSTER, 32, 16, precision="bf16")


def swing(found: Tornado, constant: str) -> Swing:
    return next(item for item in found.swings if item.constant == constant)


def time(options: Options, table: paleo_opt.CostTable = TABLE) -> float:
    return float(paleo_opt.estimate(table, STRATEGY, options).time_to_target_s[0])


@pytest.mark.parametrize("model", ["roofline", "paleo"])
@pytest.mark.parametrize("goal", ["time", "cost", "energy"])
def test_the_largest_swing_comes_first(model: str, goal: str) -> None:
    found = paleo_opt.sensitivity(TABLE, STRATEGY, Options(model=model), goal)
    swings = [item.swing for item in found.swings]
    assert swings == sorted(swings, reverse=True)
    assert len(swings) >= 5
    assert len({item.constant for item in found.swings}) == len(swings)


def test_the_ends_are_estimates_at_ten_and_ninety_percent() -> None:
    found = paleo_opt.sensitivity(TABLE, STRATEGY)
    item = swing(found, "tensor")
    key = f"tensor@{CLUSTER.device.name}"
    assert item.at_low == pytest.approx(time(Options(shifts={key: -ENDS})))
    assert item.at_high == pytest.approx(time(Options(shifts={key: ENDS})))
    assert item.at_high < found.answer < item.at_low  # a larger share is faster
    launch = swing(found, "platform.launch")
    assert launch.at_low < found.answer < launch.at_high


def test_only_the_levels_that_are_used() -> None:
    names = {item.constant.partition(".")[0] for item in paleo_opt.sensitivity(TABLE, STRATEGY).swings}
    assert "between nodes" in names
    inside = paleo_opt.sensitivity(TABLE, replace(STRATEGY, gpus=8))
    assert not any(item.constant.startswith("between nodes") for item in inside.swings)


def test_a_price_moves_the_cost_as_much_as_itself() -> None:
    item = swing(paleo_opt.sensitivity(TABLE, STRATEGY, minimize="cost"), "price")
    assert item.deviation is None
    assert item.swing == pytest.approx(math.log(1.1 / 0.9), rel=1e-3)
    assert not any(item.constant == "price" for item in paleo_opt.sensitivity(TABLE, STRATEGY).swings)


def test_samples_of_a_fixed_amount_are_exact() -> None:
    fitted = {item.constant for item in paleo_opt.sensitivity(TABLE, STRATEGY).swings}
    assert "samples_to_target" in fitted
    table = paleo_opt.compile_network(with_target(NETWORK, epochs=10.0))
    fixed = {item.constant for item in paleo_opt.sensitivity(table, STRATEGY).swings}
    assert not {"samples_to_target", "critical_batch"} & fixed


def test_what_is_asked_of_operations_counts() -> None:
    names = {item.constant for item in paleo_opt.sensitivity(TABLE, STRATEGY, Options(operations=IDEAL)).swings}
    assert not {"device_mtbf_s", "restart_s", "checkpoint_bandwidth"} & names
    varied = Options(operations=Operations(straggler_variation=0.2))
    item = swing(paleo_opt.sensitivity(TABLE, STRATEGY, varied), "straggler_variation")
    assert item.at_low < item.at_high


def test_paleo_has_its_shares_and_links() -> None:
    found = paleo_opt.sensitivity(TABLE, STRATEGY, Options(model="paleo"))
    names = {item.constant for item in found.swings}
    assert {"ppp_comp", "ppp_comm", "between nodes.bandwidth"} <= names
    assert not any(name.startswith("platform.") for name in names)
    assert swing(found, "between nodes.bandwidth").deviation is None


def test_without_a_target_it_is_the_step() -> None:
    found = paleo_opt.sensitivity(TABLE, STRATEGY, Options(training=False))
    assert found.goal == "step"
    assert found.answer == pytest.approx(
        float(paleo_opt.estimate(TABLE, STRATEGY, Options(training=False)).step_time_s[0])
    )
    with pytest.raises(SpecError, match="there is no job"):
        paleo_opt.sensitivity(TABLE, STRATEGY, Options(training=False), "cost")


def test_bad_input() -> None:
    with pytest.raises(SpecError, match="did you mean 'cost'"):
        paleo_opt.sensitivity(TABLE, STRATEGY, minimize="costs")
    free = replace(STRATEGY, cluster=replace(CLUSTER, price=None))
    with pytest.raises(SpecError, match="has no price"):
        paleo_opt.sensitivity(TABLE, free, minimize="cost")
