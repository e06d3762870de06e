"""Plans of small files: figures by hand, terms, waits, growth, and what would make an impossible one possible."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

import paleo_opt
from paleo_opt.errors import InfeasibleError
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.network.job import with_target
from paleo_opt.network.load import load_network
from paleo_opt.planning.dates import MONTH
from paleo_opt.planning.load import load_jobs
from paleo_opt.planning.plan import DeadlinesMissedError, Plan, plan
from paleo_opt.report.json_output import dump
from paleo_opt.report.plan_json import plan_json

HEAD = "start: 2026-04-01\nhorizon: 3 months\n"
FLEET = "fleet: [{cluster: g5.48xlarge, nodes: 2}]\n"


def made(text: str, folder: Path, **options: object) -> Plan:
    path = folder / "jobs.yaml"
    path.write_text(text, encoding="utf-8")
    return plan(str(path), **options)  # type: ignore[arg-type]


def missed(text: str, folder: Path, **options: object) -> Plan:
    with pytest.raises(DeadlinesMissedError) as error:
        made(text, folder, **options)
    assert isinstance(error.value, InfeasibleError)
    assert not error.value.plan.feasible
    return error.value.plan


@cache
def hours(network: str, samples: float, cluster: str, nodes: int) -> float:
    """The best time of so many whole nodes, as `recommend` finds it [h]."""
    loaded = paleo_opt.load_cluster(cluster)
    gpus = nodes * loaded.devices_per_node
    trained = with_target(load_network(network), samples=samples)
    space = paleo_opt.load_space("default", {"gpus": f"[{gpus}]"})
    answer = paleo_opt.recommend(trained, budgets=[f"{gpus}gpus"], on=[loaded], space=space, trials=0)
    return answer.recommended.time_s / 3600


# -- the example -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quarter() -> Plan:
    return plan("examples/quarter.yaml")


def test_the_quarter_is_planned_and_proved(quarter: Plan) -> None:
    assert quarter.feasible
    assert quarter.solution.proved
    assert quarter.message == "proved: no plan that meets every deadline costs less, on any grid (gap 0)"
    assert quarter.check is not None
    assert quarter.check.holds
    assert len(quarter.runs) == 13 + 10 + 1 + 3 + 1 + 4
    assert quarter.seconds < 10


def test_what_the_quarter_rents_is_what_the_fleet_cannot_do(quarter: Plan) -> None:
    rented = [run for run in quarter.runs if run.resource.kind == "rent"]
    assert {run.job.name for run in rented} == {"retrain"}
    assert quarter.cost_usd == pytest.approx(sum(run.cost_usd for run in rented))
    assert 0 < quarter.cost_usd < 5000
    assert quarter.fleet_alone is not None
    assert [name for name, _ in quarter.fleet_alone.late] == [run.spec.name for run in rented]


def test_durations_and_bills_of_the_quarter_are_those_of_the_estimates(quarter: Plan) -> None:
    for run in quarter.runs:
        network = run.job.network
        assert network.job is not None
        trained = with_target(network, samples=network.job.samples_to_target * run.spec.factor)
        found = estimate(compile_network(trained), run.strategy, Options())
        assert bool(found.fits.all())
        time = float(found.time_to_target_s.reshape(-1)[0])
        assert run.time_s == math.ceil(time)
        assert run.nodes == run.strategy.nodes
        if run.resource.kind == "rent":
            price = run.resource.cluster.price
            assert price is not None
            # Paid to the cent, rounded up.
            assert run.cost_usd == pytest.approx(run.nodes * math.ceil(time / 3600) * price.on_demand, abs=0.011)
        else:
            assert run.cost_usd == 0


def test_growth_and_repetition_of_the_quarter(quarter: Plan) -> None:
    retrain = sorted((run for run in quarter.runs if run.job.name == "retrain"), key=lambda run: run.spec.repetition)
    assert [run.spec.release for run in retrain] == [datetime(2026, 4, 1) + timedelta(weeks=k) for k in range(13)]
    assert all(run.spec.deadline == run.spec.release + timedelta(days=4) for run in retrain)
    assert [run.spec.factor for run in retrain] == [pytest.approx(1.15 ** (k * 7 * 86_400 / MONTH)) for k in range(13)]
    search_ends = max(run.end for run in quarter.runs if run.job.name == "search")
    (backbone,) = (run for run in quarter.runs if run.job.name == "backbone")
    (distill,) = (run for run in quarter.runs if run.job.name == "distill")
    assert backbone.start >= search_ends
    assert distill.start >= backbone.end
    assert all(run.strategy.gpus <= 8 for run in quarter.runs if run.job.name == "search")


def test_the_same_file_gives_the_same_plan(tmp_path: Path) -> None:
    def placed() -> list[tuple[object, ...]]:
        answer = made(HEAD + FLEET + "rent: [p4d.24xlarge]\n" + TIGHT, tmp_path)
        return [(run.spec, run.resource.name, run.strategy, run.start, run.cost_usd) for run in answer.runs]

    assert placed() == placed()


def test_the_quarter_outgrows_its_fleet(quarter: Plan) -> None:
    inside = [month for month in quarter.months if not month.beyond]
    beyond = [month for month in quarter.months if month.beyond]
    # Weekly, ten runs of the search, and monthly; backbone; ablations. What waits may start when its job may.
    assert [month.releases for month in inside] == [5 + 10 + 1 + 1, 4 + 1 + 1, 4 + 1 + 4]
    assert all(0 < month.demand < 1 for month in inside)
    assert beyond[-1].demand > 1
    assert all(month.demand <= 1 for month in beyond[:-1])


# -- terms -------------------------------------------------------------------------------------------------


def test_the_fleet_alone(tmp_path: Path) -> None:
    answer = made(HEAD + FLEET + "jobs: [{name: a, network: resnet50, samples: 90M, max_gpus: 8}]\n", tmp_path)
    (run,) = answer.runs
    assert answer.cost_usd == 0
    assert answer.fleet_alone is None
    assert (run.start, run.nodes) == (datetime(2026, 4, 1), 1)
    assert run.time_s / 3600 == pytest.approx(hours("resnet50", 90e6, "g5.48xlarge", 1), abs=1 / 3600)


def test_rent_is_whole_nodes_for_whole_hours(tmp_path: Path) -> None:
    job = "jobs: [{name: a, network: resnet50, samples: 90M, min_gpus: 16, max_gpus: 16}]\n"
    took = hours("resnet50", 90e6, "g5.48xlarge", 2)
    answer = made(HEAD + "rent: [g5.48xlarge]\n" + job, tmp_path)
    price = paleo_opt.load_cluster("g5.48xlarge").price
    assert price is not None
    assert answer.cost_usd == pytest.approx(2 * math.ceil(took) * price.on_demand, abs=0.011)
    own = made(HEAD + "rent: [{cluster: g5.48xlarge, price: $10}]\n" + job, tmp_path)
    assert own.cost_usd == 2 * math.ceil(took) * 10


def test_rent_on_other_terms(tmp_path: Path) -> None:
    text = (
        HEAD + "rent: [p4d.24xlarge]\njobs: [{name: a, network: resnet50, samples: 900M, min_gpus: 8, max_gpus: 8}]\n"
    )
    answer, spot = made(text, tmp_path), made(text, tmp_path, options=Options(pricing="spot"))
    assert spot.cost_usd < answer.cost_usd
    assert spot.runs[0].time_s > answer.runs[0].time_s  # interruptions


def test_a_margin_makes_runs_longer_and_dearer(tmp_path: Path) -> None:
    text = HEAD + "margin: 25%\nrent: [{cluster: g5.48xlarge, price: $10}]\n"
    answer = made(text + "jobs: [{name: a, network: resnet50, samples: 90M, min_gpus: 16, max_gpus: 16}]\n", tmp_path)
    took = 1.25 * hours("resnet50", 90e6, "g5.48xlarge", 2)
    assert answer.runs[0].time_s == math.ceil(took * 3600)
    assert answer.cost_usd == 2 * math.ceil(took) * 10


def test_a_fleet_that_costs_while_it_runs(tmp_path: Path) -> None:
    fleet = "fleet: [{cluster: g5.48xlarge, nodes: 2, price: $2}]\n"
    answer = made(HEAD + fleet + "jobs: [{name: a, network: resnet50, samples: 90M}]\n", tmp_path)
    (run,) = answer.runs
    assert run.nodes == 1  # two are faster, and dearer
    assert answer.cost_usd == pytest.approx(2 * hours("resnet50", 90e6, "g5.48xlarge", 1), abs=0.011)


def test_a_fleet_that_is_lent(tmp_path: Path) -> None:
    fleet = "fleet: [{cluster: g5.48xlarge, nodes: 2, from: 2026-04-10, until: 2026-04-11}]\n"
    answer = made(HEAD + fleet + "jobs: [{name: a, network: resnet50, samples: 90M}]\n", tmp_path)
    assert answer.runs[0].start == datetime(2026, 4, 10)
    late = missed(HEAD + fleet + "jobs: [{name: a, network: resnet50, samples: 9G}]\n", tmp_path)
    assert late.solution.schedule is None
    assert late.message == "there is no plan at all, however late"
    assert late.solution.impossible


def test_a_purchase_and_a_reservation_for_the_whole_horizon(tmp_path: Path) -> None:
    jobs = "jobs: [{name: a, network: resnet50, samples: 90M, count: 3, deadline: 1d, min_gpus: 8, max_gpus: 8}]\n"
    bought = made(HEAD + "buy: [{cluster: g5.48xlarge, price: $73050, life: 4 years, running: $1}]\n" + jobs, tmp_path)
    took = hours("resnet50", 90e6, "g5.48xlarge", 1)
    needed = math.ceil(3 / (24 // took))
    share = (datetime(2026, 7, 1) - datetime(2026, 4, 1)).total_seconds() / (48 * MONTH)
    ((resource, nodes, dollars),) = bought.added
    assert (resource.name, nodes) == ("bought g5.48xlarge", needed)
    assert dollars == pytest.approx(needed * 73050 * share)
    assert bought.cost_usd == pytest.approx(dollars + 3 * took, abs=0.1)
    reserved = made(HEAD + "reserve: [{cluster: g5.48xlarge, price: $3}]\n" + jobs, tmp_path)
    assert reserved.cost_usd == needed * 3 * 91 * 24


def test_a_budget_alone_rents_wherever_it_is_cheapest(tmp_path: Path) -> None:
    jobs = "jobs: [{name: a, network: resnet50, samples: 90M, deadline: 2d}]\n"
    answer = made(HEAD + "budget: $200\n" + jobs, tmp_path)
    assert len(answer.setup.resources) > 40
    assert answer.solution.proved
    poor = missed(HEAD + "budget: $5\n" + jobs, tmp_path)
    (relaxation,) = poor.relaxations
    assert (relaxation.kind, relaxation.proved) == ("money", True)
    assert relaxation.amount == answer.cost_usd


def test_ending_early_spends_the_budget(tmp_path: Path) -> None:
    jobs = "jobs: [{name: a, network: resnet50, samples: 900M}]\n"
    cheap = made(HEAD + FLEET + "rent: priced\nbudget: $300\n" + jobs, tmp_path)
    early = made(HEAD + FLEET + "rent: priced\nbudget: $300\n" + jobs, tmp_path, minimize="lateness")
    assert cheap.cost_usd == 0
    assert 0 < early.cost_usd <= 300
    assert early.runs[0].end < cheap.runs[0].end


# -- jobs --------------------------------------------------------------------------------------------------


def test_waits_are_those_of_the_same_repetition(tmp_path: Path) -> None:
    jobs = """jobs:
  - {name: train, network: resnet18, samples: 300M, repeats: {every: 1w, times: 3}}
  - {name: distill, network: resnet18, samples: 300M, repeats: {every: 7 days, times: 3}, after: train}
  - {name: report, network: resnet18, samples: 30M, after: [train, distill]}
"""
    answer = made("start: 2026-04-01\nhorizon: 3 weeks\n" + FLEET + jobs, tmp_path)
    of = {(run.job.name, run.spec.repetition): run for run in answer.runs}
    for k in range(3):
        assert of["distill", k].start >= of["train", k].end
    assert of["distill", 0].start < of["train", 1].start
    assert of["report", 0].start >= max(run.end for run in answer.runs if run.job.name != "report")


def test_the_count_grows(tmp_path: Path) -> None:
    job = "name: a, network: resnet18, samples: 30M, count: 4, repeats: {every: 1 month}, growth: {count: 50%}"
    answer = made(f"{HEAD}{FLEET}jobs: [{{{job}}}]\n", tmp_path)
    counts = [sum(run.spec.repetition == k for run in answer.runs) for k in range(3)]
    assert counts == [4, 6, 9]
    assert {run.spec.name for run in answer.runs} >= {"a 1.1", "a 1.4", "a 3.9"}


def test_deadlines_that_are_left_out(tmp_path: Path) -> None:
    jobs = "jobs:\n  - {name: once, network: resnet18}\n  - {name: often, network: resnet18, repeats: {every: 1w}}\n"
    answer = made(HEAD + FLEET + jobs, tmp_path)
    for run in answer.runs:
        due = datetime(2026, 7, 1) if run.job.name == "once" else run.spec.release + timedelta(weeks=1)
        assert run.spec.deadline == due


def test_where_and_on_how_many(tmp_path: Path) -> None:
    resources = (
        "fleet: [{cluster: g5.48xlarge, nodes: 2}, {cluster: g5.48xlarge, nodes: 4, name: big}]\nrent: [g5.xlarge]\n"
    )
    jobs = """jobs:
  - {name: a, network: resnet18, on: big}
  - {name: b, network: resnet18, on: rent}
  - {name: c, network: resnet18, on: [g5.48xlarge], min_gpus: 32}
  - {name: d, network: resnet18, max_gpus: 1}
"""
    answer = made(HEAD + resources + jobs, tmp_path)
    where = {run.job.name: run for run in answer.runs}
    assert where["a"].resource.name == "big"
    assert where["b"].resource.name == "rented g5.xlarge"
    assert (where["c"].resource.name, where["c"].nodes) == ("big", 4)
    assert where["d"].strategy.gpus == 1


def test_the_largest_batch_is_kept_to(tmp_path: Path) -> None:
    jobs = "jobs: [{name: a, network: resnet50, max_global_batch: 512, deadline: 2d}]\n"
    answer = made(HEAD + FLEET + jobs, tmp_path)
    assert answer.runs[0].strategy.global_batch <= 512


# -- what cannot be ----------------------------------------------------------------------------------------


TIGHT = """jobs:
  - {name: first, network: resnet50, samples: 2G, deadline: 3 days, priority: high}
  - {name: second, network: resnet50, samples: 2G, deadline: 3 days}
"""


def test_the_least_late_plan_and_the_least_that_would_do(tmp_path: Path) -> None:
    answer = missed(HEAD + FLEET + TIGHT, tmp_path)
    assert answer.solution.impossible
    assert answer.check is not None
    assert answer.check.holds
    (late,) = answer.late
    assert late.spec.name == "second"
    kinds = {relaxation.kind: relaxation for relaxation in answer.relaxations}
    assert set(kinds) == {"nodes", "rent"}

    more = f"fleet: [{{cluster: g5.48xlarge, nodes: {2 + round(kinds['nodes'].amount)}}}]\n"
    assert made(HEAD + more + TIGHT, tmp_path).feasible
    assert kinds["nodes"].proved
    fewer = f"fleet: [{{cluster: g5.48xlarge, nodes: {1 + round(kinds['nodes'].amount)}}}]\n"
    assert not missed(HEAD + fewer + TIGHT, tmp_path).feasible

    assert made(HEAD + FLEET + "rent: priced\n" + TIGHT, tmp_path).cost_usd == kinds["rent"].amount

    later = TIGHT.replace("2G, deadline: 3 days}", f"2G, deadline: {3 * 86_400 + late.late_s} s}}")
    assert made(HEAD + FLEET + later, tmp_path).feasible


def test_a_plan_within_the_time_it_has(tmp_path: Path) -> None:
    answer = made(HEAD + FLEET + "jobs: [{name: a, network: resnet18}]\n", tmp_path, time_limit=0.1)
    assert answer.feasible


def test_the_public_function_is_the_same() -> None:
    assert paleo_opt.plan is plan


def test_a_loaded_file_can_be_planned(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(HEAD + FLEET + "jobs: [{name: a, network: resnet18}]\n", encoding="utf-8")
    file = load_jobs(str(path), {"fleet[0].nodes": "1"})
    answer = plan(file)
    assert answer.runs[0].nodes == 1
    assert '"feasible": true' in dump(plan_json(answer))
