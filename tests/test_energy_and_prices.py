"""Power by how busy devices are, against published averages; prices on every term."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.energy import PowerModel, computing_watts, waiting_watts
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.prices import node_price, owned_dollars_per_hour
from paleo_opt.estimator.reliability import IDEAL
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Ownership
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.load import load_network

CLUSTER = load_cluster("p4d.24xlarge")
TABLE = compile_network(load_network("resnet50"))
STRATEGY = Strategy(CLUSTER, gpus=16, micro_batch=64, precision="bf16")
OWNED = Ownership(
    capital=300_000.0,
    lifetime_s=4 * 365.25 * 86_400,
    utilization=0.7,
    electricity=0.10 / 3.6e6,
    hosting=1.0,
    date="2026",
    source="made up",
)


def number(values) -> float:
    return float(np.ravel(values)[0])


#: Patterson et al. 2021 (arXiv:2104.10350), table 4: accelerators, days, average system watts of each, PUE, MWh.
MEASURED = [
    ("T5-11B", 512, 20.0, 310, 1.12, 85.7),
    ("Meena 2.6B", 1024, 30.0, 289, 1.09, 232.0),
    ("GShard-600B", 1024, 3.1, 288, 1.09, 24.1),
    ("Switch 1500B", 1024, 27.0, 245, 1.10, 179.0),
    ("GPT-3 175B", 10_000, 14.8, 330, 1.10, 1287.0),
]


@pytest.mark.parametrize(("model", "devices", "days", "watts", "pue", "megawatt_hours"), MEASURED)
def test_energy_of_published_runs(model, devices, days, watts, pue, megawatt_hours):
    # The measured average is given: the model's shares then only have to add up to one.
    power = PowerModel(idle=0.0, busy=1.0, node=0.0, pue=pue)
    drawn = computing_watts(power, np.array(float(devices)), np.array(float(watts)))
    assert number(drawn) * days * 24 / 1e6 == pytest.approx(megawatt_hours, rel=0.02), model


def test_the_default_shares_give_the_average_of_a_v100():
    # GPT-3 on V100 (TDP 300 W): 330 W a device on average, without the building (table 4).
    power = replace(PowerModel(), pue=1.0)
    tdp = np.array(300.0)
    drawn = waiting_watts(power, np.array(1.0), tdp) + computing_watts(power, np.array(1.0), tdp)
    assert number(drawn) == pytest.approx(330.0, rel=0.25)


def test_an_estimate_draws_between_idle_and_busy():
    found = estimate(TABLE, STRATEGY, Options(operations=IDEAL))
    hours = number(found.time_to_target_s) / 3600
    busy_share = number(found.compute_time_s) / number(found.step_time_s)
    power = PowerModel()
    watts = 16 * 400 * (power.idle + power.node + (power.busy - power.idle) * busy_share) * power.pue
    assert number(found.energy_kwh) == pytest.approx(watts * hours / 1000)


def test_idle_devices_of_a_node_draw_too():
    one = estimate(TABLE, replace(STRATEGY, gpus=1), Options(operations=IDEAL))
    hours = number(one.time_to_target_s) / 3600
    power = PowerModel()
    least = 8 * 400 * (power.idle + power.node) * power.pue * hours / 1000
    assert number(one.energy_kwh) > least


def test_carbon_is_energy_times_the_grid():
    found = estimate(TABLE, STRATEGY, Options(power=PowerModel(carbon_g_per_kwh=400.0)))
    assert number(found.carbon_kg) == pytest.approx(number(found.energy_kwh) * 0.4)
    assert np.isnan(number(estimate(TABLE, STRATEGY, Options()).carbon_kg))


@pytest.mark.parametrize(
    "wrong", [{"idle": -0.1}, {"busy": 0.1}, {"pue": 0.9}, {"node": 6.0}, {"carbon_g_per_kwh": -1.0}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        PowerModel(**wrong)


@pytest.mark.parametrize("pricing", ["on_demand", "reserved_1y", "spot"])
def test_each_price_is_the_clusters(pricing):
    price = node_price(CLUSTER, pricing, PowerModel())
    assert price.dollars_per_hour == getattr(CLUSTER.price, pricing)
    assert price.date == CLUSTER.price.date
    found = estimate(TABLE, STRATEGY, Options(pricing=pricing))
    assert number(found.cost_usd) == pytest.approx(2 * price.dollars_per_hour * number(found.running_time_s) / 3600)


def test_a_node_of_ones_own_by_hand():
    cluster = replace(CLUSTER, ownership=OWNED)
    hours = 4 * 365.25 * 24 * 0.7
    kilowatts = 8 * 0.4 * (0.8 + 0.3) * 1.1
    expected = 300_000 / hours + 1.0 / 0.7 + kilowatts * 0.10
    assert owned_dollars_per_hour(cluster, PowerModel()) == pytest.approx(expected)
    assert node_price(cluster, "owned", PowerModel()).where == "own site"


def test_what_is_not_known_has_no_price():
    assert node_price(CLUSTER, "owned", PowerModel()) is None
    no_spot = replace(CLUSTER, price=replace(CLUSTER.price, spot=None))
    found = estimate(TABLE, replace(STRATEGY, cluster=no_spot), Options(pricing="spot"))
    assert np.isnan(number(found.cost_usd))


def test_ownership_is_read_with_units_and_checked(tmp_path):
    shipped = Path(CLUSTER.file)
    text = shipped.read_text()
    owned = (
        "ownership: {capital: $300000, lifetime: 4y, utilization: 0.7, electricity: $0.10/kWh, "
        'hosting: $1, date: "2026", source: mine}\n'
    )
    path = tmp_path / shipped.name
    path.write_text(text + owned)
    found = load_cluster(str(path)).ownership
    assert found.electricity == pytest.approx(OWNED.electricity)
    assert replace(found, electricity=OWNED.electricity, source=OWNED.source) == OWNED
    path.write_text(text + owned.replace("$0.10/kWh", "0.10").replace("$300000", "-$5"))
    with pytest.raises(SpecError) as caught:
        load_cluster(str(path))
    line = text.count("\n") + 1
    assert {(problem.line, problem.field) for problem in caught.value.problems} == {
        (line, "ownership.electricity"),
        (line, "ownership.capital"),
    }
