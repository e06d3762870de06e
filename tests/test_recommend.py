"""The recommendation against every strategy of a small space, estimated one at a time; budgets; bad input."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_cases import CLUSTERS, FAR, FAST, JOB, NETWORK, SLOW, SPACE, Known, answer, every_strategy

from paleo_opt.errors import InfeasibleError, SpecError
from paleo_opt.estimator.estimate import Options
from paleo_opt.search import recommend as module
from paleo_opt.search.budgets import Budgets, budget_text, parse_budgets
from paleo_opt.search.infeasible import NothingFeasibleError
from paleo_opt.search.problem import Choice
from paleo_opt.search.recommend import recommend

CASES = [
    (("16gpus",), None),
    (("8gpus",), "cost"),
    (("3gpus",), "energy"),
    (("$1.5",), None),
    (("$0.9",), "energy"),
    (("30min",), None),
    (("10min", "$3"), "energy"),
    (("0.6kWh",), "time"),
    (("8gpus", "$2", "1h", "0.9kWh"), "time"),
    ((), "cost"),
]


def kept(known: Known, budgets: Budgets) -> bool:
    """Whether a strategy fits and keeps to the budgets."""
    limits = budgets.limits
    return (
        known.fits
        and known.time_s <= limits.time_s
        and known.cost_usd <= limits.cost_usd
        and known.energy_kwh <= limits.energy_kwh
    )


@pytest.mark.parametrize(("texts", "goal"), CASES)
def test_the_best_of_every_strategy(texts: tuple[str, ...], goal: str | None) -> None:
    budgets = parse_budgets(texts)
    goal = goal or budgets.default_goal
    considered = [k for k in every_strategy() if budgets.gpus is None or k.strategy.gpus <= budgets.gpus]
    feasible = [k for k in considered if kept(k, budgets)]
    found = answer(*texts, minimize=goal)
    best = min(k.figure(goal) for k in feasible)
    assert found.recommended.figure() == pytest.approx(best, rel=1e-12)
    assert any(k.strategy == found.recommended.strategy for k in feasible)
    certificate = found.certificate
    assert (certificate.kind, certificate.optimal) == ("sweep", True)
    assert certificate.strategies == certificate.evaluated == len(considered)
    assert certificate.fitting == sum(k.fits for k in considered)
    assert certificate.feasible == len(feasible)
    assert found.search.gap_to_sweep == 0.0
    for end, of in ((found.cheapest, "cost"), (found.fastest, "time")):
        assert end is not None
        assert end.figure(of) == pytest.approx(min(k.figure(of) for k in feasible), rel=1e-12)


def test_the_most_frugal_of_a_row_is_not_always_its_fastest() -> None:
    """Else what is tested about energy would say nothing."""
    by_row: dict[tuple[str, str, int, int], list[Known]] = {}
    for k in every_strategy():
        s = k.strategy
        by_row.setdefault((s.cluster.name, s.split, s.tensor, s.gpus), []).append(k)
    assert any(min(r, key=lambda k: k.time_s) is not min(r, key=lambda k: k.energy_kwh) for r in by_row.values())


@pytest.mark.parametrize(
    ("texts", "goal"),
    [
        (("16gpus",), None),
        (("8gpus", "$2"), None),
        (("0.6kWh",), None),
        (("16gpus",), "energy"),
        (("2h", "0.5kWh"), "energy"),
    ],
)
def test_the_front_is_exact(texts: tuple[str, ...], goal: str | None) -> None:
    budgets = parse_budgets(texts)
    most = budgets.gpus or 16
    points = [(k.time_s, k.cost_usd) for k in every_strategy() if kept(k, budgets) and k.strategy.gpus <= most]
    expected = sorted({p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)})
    found = answer(*texts, minimize=goal)
    assert found.against == "cost_usd"
    # Points within rounding of one another may be on one front and not on the other.
    assert np.allclose([(c.time_s, c.cost_usd) for c in found.front], merged(expected), rtol=1e-9)
    assert found.knee is None or found.knee.strategy in [choice.strategy for choice in found.front]


def merged(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """``points`` without those within rounding of the one before."""
    return [p for i, p in enumerate(points) if i == 0 or p[0] > points[i - 1][0] * (1 + 1e-9)]


def test_without_prices_the_front_is_of_gpus() -> None:
    found = answer("16gpus", on=[replace(cluster, price=None) for cluster in CLUSTERS])
    assert found.against == "gpus" and found.cheapest is None
    gpus = [choice.strategy.gpus for choice in found.front]
    assert gpus == sorted(gpus, reverse=True) and len(gpus) > 2
    assert found.recommended.cost_usd != found.recommended.cost_usd  # NaN


@given(money=st.floats(0.75, 4.0), more=st.floats(1.0, 2.0))
def test_more_money_is_never_worse(money: float, more: float) -> None:
    tight, loose = answer(f"${money:.4f}", trials=0), answer(f"${money * more:.4f}", trials=0)
    assert loose.recommended.figure() <= tight.recommended.figure()
    assert loose.certificate.feasible >= tight.certificate.feasible


@given(gpus=st.integers(1, 20), more=st.integers(0, 20), goal=st.sampled_from(["time", "cost", "energy"]))
def test_more_gpus_are_never_worse(gpus: int, more: int, goal: str) -> None:
    tight, loose = (answer(f"{n}gpus", minimize=goal, trials=0) for n in (gpus, gpus + more))
    assert loose.recommended.figure() <= tight.recommended.figure()
    assert loose.certificate.strategies >= tight.certificate.strategies


# -- budgets -----------------------------------------------------------------------------------------------


def test_of_two_budgets_of_one_kind_the_tighter_counts() -> None:
    budgets = parse_budgets(["64gpus", "$500", "8gpus", "$1,000", "2h", "90min", "3kWh"])
    assert (budgets.gpus, budgets.cost_usd, budgets.time_s, budgets.energy_kwh) == (8, 500.0, 5400.0, 3.0)
    assert budgets.in_words() == ["8 GPUs", "$500", "90 min", "3 kWh"]


@pytest.mark.parametrize(
    ("texts", "goal"),
    [
        (["64gpus"], "time"),
        (["$5"], "time"),
        (["9kWh"], "time"),
        (["2h"], "cost"),
        (["2h", "$5"], "time"),
        (["2h", "64gpus"], "time"),
        ([], "time"),
    ],
)
def test_the_default_goal(texts: list[str], goal: str) -> None:
    assert parse_budgets(texts).default_goal == goal


# -- what is beyond the limits -----------------------------------------------------------------------------


def step(found: module.Recommendation, limit: str) -> Any:
    steps = [step for step in found.steps if step.limit == limit]
    assert len(steps) == 1, found.steps
    return steps[0]


def test_the_next_number_of_gpus() -> None:
    found = answer("4gpus")
    beyond = step(found, "gpus")
    cluster = found.recommended.strategy.cluster
    best = min(k.time_s for k in every_strategy() if k.fits and k.strategy.gpus == 8 and k.strategy.cluster == cluster)
    assert (beyond.allowed, beyond.needed, beyond.choice.strategy.gpus) == (4, 8, 8)
    assert beyond.choice.time_s == pytest.approx(best, rel=1e-12)
    assert beyond.gain == pytest.approx(1 - best / found.recommended.time_s)


def test_what_a_tenth_more_money_buys() -> None:
    cost = answer("16gpus").recommended.cost_usd
    found = answer(f"${cost * 0.95:.6f}")
    beyond = step(found, "cost_usd")
    assert beyond.needed == pytest.approx(cost, rel=1e-9)
    assert beyond.choice.time_s < found.recommended.time_s
    # Where a tenth buys nothing, the least that does.
    found = answer(f"${cost * 0.7:.6f}")
    better = [
        k.cost_usd
        for k in every_strategy()
        if k.fits and k.cost_usd > cost * 0.7 and k.time_s < found.recommended.time_s * 0.995
    ]
    assert step(found, "cost_usd").needed >= min(better) * (1 - 1e-9)


def test_a_budget_that_does_not_bind_buys_nothing() -> None:
    assert not any(step.limit == "cost_usd" for step in answer("16gpus", "$1000").steps)
    assert not any(step.limit == "gpus" for step in answer("16gpus", minimize="cost").steps)


def test_a_larger_global_batch() -> None:
    found = answer("16gpus")
    beyond = step(found, "global_batch")
    best = min(k.time_s for k in every_strategy(2 * JOB.max_global_batch) if k.fits and k.strategy.cluster == FAST)
    assert beyond.choice.time_s == pytest.approx(best, rel=1e-12)
    assert JOB.max_global_batch < beyond.needed <= 2 * JOB.max_global_batch


def test_what_does_not_fit_and_would_be_better() -> None:
    # Room for a micro-batch of 8, but not for 32.
    needed = {
        k.strategy.micro_batch: k.memory_bytes
        for k in every_strategy()
        if k.strategy.cluster == FAST and k.strategy.gpus == 1
    }
    memory = (needed[8] + needed[32]) / 2
    small = replace(FAST, device=replace(FAST.device, memory=memory))
    found = answer("1gpu", on=[small], split="data")
    beyond = step(found, "memory_bytes")
    assert found.recommended.strategy.micro_batch == 8
    assert beyond.choice.strategy.micro_batch == 32
    assert beyond.needed > beyond.allowed == memory
    assert beyond.choice.time_s < found.recommended.time_s


def test_other_collectives() -> None:
    found = answer("16gpus")
    strategy = found.recommended.strategy
    assert set(found.collectives) == set(SPACE.collective) - {strategy.collective}
    for name, slower in found.collectives.items():
        other = Choice(found.problem, replace(strategy, collective=name))
        assert slower == pytest.approx(other.time_s / found.recommended.time_s - 1.0, abs=1e-12)


# -- runners-up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [0, 1, 5, 200])
def test_alternatives_are_different_and_in_order(top: int) -> None:
    found = answer("16gpus", top=top, trials=0)
    choices = [found.recommended, *found.alternatives]
    assert len(choices) <= top + 1
    assert len(found.alternatives) == top or top == 200
    figures = [choice.figure() for choice in choices]
    assert figures == sorted(figures)
    kinds = {(c.strategy.cluster.name, c.strategy.split, c.strategy.gpus) for c in choices}
    assert len(kinds) == len(choices)


def test_equal_strategies_are_told_apart_by_money_then_name() -> None:
    dear = replace(SLOW, name="a dear one", price=replace(SLOW.price, on_demand=9.0))
    again = replace(SLOW, name="another")
    for order in ([dear, SLOW, again], [again, SLOW, dear]):
        assert answer("16gpus", on=order, trials=0).recommended.strategy.cluster.name == "another"


# -- what the caller fixes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixed", "field", "value"),
    [
        ({"micro_batch": 32}, "micro_batch", 32),
        ({"collective": "one_to_all"}, "collective", "one_to_all"),
        ({"split": "model"}, "split", "model"),
        ({"tensor": 4}, "tensor", 4),
        ({"tensor": 1}, "split", "data"),
        ({"global_batch": 96}, "global_batch", 96),
        ({"precision": "fp32"}, "precision", "fp32"),
    ],
)
def test_what_is_fixed_is_kept(fixed: dict[str, Any], field: str, value: Any) -> None:
    found = answer("16gpus", trials=0, **fixed)
    for choice in (found.recommended, *found.alternatives):
        assert getattr(choice.strategy, field) == value


def test_a_global_batch_above_the_largest_is_noted() -> None:
    found = answer("16gpus", global_batch=512)
    assert found.recommended.strategy.global_batch == 512
    assert any("512 is above 300" in note for note in found.problem.notes)


def test_clusters_without_a_price_are_left_out_and_noted() -> None:
    unpriced = replace(FAST, price=None)
    assert answer("16gpus", on=[SLOW, unpriced]).recommended.strategy.cluster.name == "fast"
    found = answer("$5", on=[SLOW, unpriced])
    assert found.recommended.strategy.cluster.name == "slow"
    assert found.problem.notes == ("left out, without a price: fast",)


def test_a_device_alone_picks_the_clusters_that_have_it() -> None:
    found = recommend("alexnet_v2", budgets=["8gpus"], device="v100-sxm2-16gb", trials=0)
    assert {cluster.device.name for cluster in found.problem.clusters} == {"v100-sxm2-16gb"}


# -- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minimize": "tme"}, "minimize 'tme'; did you mean 'time'?"),
        ({"split": "hybird"}, "did you mean 'hybrid'"),
        ({"split": "data", "tensor": 4}, "divides none"),
        ({"split": "model", "tensor": 1}, "divides nothing"),
        ({"precision": "fp8"}, "no cluster's device has it; they have fp32"),
        ({"trials": -1}, "expected at least 0"),
        ({"on": [replace(SLOW, price=None)], "minimize": "cost"}, "slow: without a price"),
        ({"on": (), "overrides": {"price.on_demand": "$1"}}, "name the cluster with --on"),
        ({"on": (), "device": "v100"}, "did you mean"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        answer("8gpus", **changes)
    assert message in str(caught.value)


def test_a_network_without_a_job() -> None:
    with pytest.raises(SpecError) as caught:
        recommend(replace(NETWORK, job=None, file="mine.yaml"), budgets=["8gpus"])
    (problem,) = caught.value.problems
    assert (problem.file, problem.field) == ("mine.yaml", "job")


def test_a_space_too_large_to_sweep_needs_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    every = tuple(range(1, 4097))
    huge = replace(SPACE, micro_batch=every, accumulation=every, gpus=tuple(range(1, 129)))
    job = replace(JOB, max_global_batch=10**9)
    with pytest.raises(SpecError, match=r"the space has [\d,]{13,} strategies, too many"):
        recommend(replace(NETWORK, job=job), budgets=["128gpus"], on=[SLOW], space=huge, trials=0)


def test_without_a_sweep_bounds_prove_the_best_or_nothing_does(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = answer("16gpus")
    for name in ("paleo_opt.search.outer.MOST_SWEPT", "paleo_opt.search.recommend.MOST_SWEPT"):
        monkeypatch.setattr(name, 100)
    monkeypatch.setattr("paleo_opt.search.outer.PART", 30)
    found = answer("16gpus")
    assert (found.certificate.kind, found.certificate.optimal) == ("bounds", True)
    assert found.certificate.strategies == swept.certificate.strategies > found.certificate.evaluated
    assert found.search.gap_to_sweep is None and found.search.met_at is None
    assert found.recommended.strategy == swept.recommended.strategy
    assert "lower bounds prove the others no better" in found.message
    found = answer("16gpus", trials=1)
    assert (found.certificate.kind, found.certificate.optimal) == ("none", False)
    assert "not proved" in found.message
    with pytest.raises(NothingFeasibleError, match="not proved"):
        answer("10s")


# -- nothing feasible --------------------------------------------------------------------------------------


def test_no_money_is_enough() -> None:
    cheapest = min((k for k in every_strategy() if k.fits), key=lambda k: k.cost_usd)
    with pytest.raises(NothingFeasibleError) as caught:
        answer(f"${0.7 * cheapest.cost_usd:.6f}")
    error = caught.value
    assert error.binding == "cost_usd"
    assert error.nearest.cost_usd == pytest.approx(cheapest.cost_usd, rel=1e-12)
    budget, least = (budget_text("cost_usd", dollars) for dollars in (0.7 * cheapest.cost_usd, cheapest.cost_usd))
    assert str(error).startswith(f"{budget} is not enough: the cheapest costs {least}")
    assert error.strategies == len(every_strategy())
    assert error.fitting == sum(k.fits for k in every_strategy())


def test_budgets_that_exclude_one_another() -> None:
    fitting = [k for k in every_strategy() if k.fits]
    # Just above the least of each, and the cheapest is not the fastest.
    dollars = 1.05 * min(k.cost_usd for k in fitting)
    seconds = 1.05 * min(k.time_s for k in fitting)
    with pytest.raises(NothingFeasibleError) as caught:
        answer(f"${dollars:.9f}", f"{seconds:.9f}s")
    error = caught.value
    assert error.binding == "budgets"
    needed = {item.budget: item.needed for item in error.relaxations}
    assert needed["time_s"] == pytest.approx(min(k.time_s for k in fitting if k.cost_usd <= dollars), rel=1e-12)
    assert needed["cost_usd"] == pytest.approx(min(k.cost_usd for k in fitting if k.time_s <= seconds), rel=1e-12)
    excess = min(max(k.cost_usd / dollars, k.time_s / seconds) for k in fitting)
    nearest = error.nearest
    assert max(nearest.cost_usd / dollars, nearest.time_s / seconds) == pytest.approx(excess, rel=1e-6)
    assert re.fullmatch(r"no strategy keeps to .* min .*and \$.* at once", str(error).splitlines()[0])


def test_no_energy_is_enough() -> None:
    fitting = [k for k in every_strategy() if k.fits]
    least = min(k.energy_kwh for k in fitting)
    seconds = 1.5 * min(k.time_s for k in fitting)
    for goal in ("time", "cost", "energy"):
        with pytest.raises(NothingFeasibleError) as caught:
            answer(f"{0.9 * least:.9f}kWh", f"{seconds:.9f}s", minimize=goal)
        error = caught.value
        assert error.binding == "energy_kwh"
        assert f"the most frugal takes {1000 * least:.3g} Wh" in str(error)
        needed = {item.budget: item.needed for item in error.relaxations}
        quick = min(k.energy_kwh for k in fitting if k.time_s <= seconds)
        assert needed == {"energy_kwh": pytest.approx(quick, rel=1e-12)}


def test_what_a_tenth_more_energy_buys() -> None:
    energy = answer("16gpus").recommended.energy_kwh
    found = answer(f"{energy * 0.95:.6f}kWh")
    best = min(k.time_s for k in every_strategy() if k.fits and k.energy_kwh <= energy * 0.95 * 1.1)
    beyond = step(found, "energy_kwh")
    assert beyond.choice.time_s == pytest.approx(best, rel=1e-12)
    assert beyond.needed == pytest.approx(beyond.choice.energy_kwh)


def test_more_gpus_would_do() -> None:
    seconds = 1.05 * min(k.time_s for k in every_strategy() if k.fits and k.strategy.gpus <= 4)
    fewest = min(k.strategy.gpus for k in every_strategy() if k.fits and k.time_s <= seconds)
    with pytest.raises(NothingFeasibleError) as caught:
        answer("2gpus", f"{seconds:.9f}s")
    error = caught.value
    assert {item.budget: item.needed for item in error.relaxations}["gpus"] == fewest == 4
    assert "4 GPUs would do" in str(error)
    assert "is not enough within 2 GPUs" in str(error)


def test_nothing_fits_memory() -> None:
    tiny = replace(SLOW, device=replace(SLOW.device, memory=0.9e9))
    with pytest.raises(NothingFeasibleError) as caught:
        answer("4gpus", on=[tiny], split="data")
    error = caught.value
    assert error.binding == "memory" and error.fitting == 0
    assert error.nearest.strategy.micro_batch == 8
    assert error.nearest.memory_bytes > 0.9e9
    assert "more than the 900 MB of slow device" in str(error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"global_batch": 100}, "a global batch of 100; the nearest that can be made: 96 and 104"),
        ({"global_batch": 5}, "the nearest that can be made: 8"),
        ({"micro_batch": 512}, "at most 300, but the smallest that the space can make is 512"),
        ({"space": replace(SPACE, gpus=(16, 32), largest=32)}, "too small: the smallest number in the space is 16"),
        ({"split": "model", "tensor": 32}, "no cluster has a number of GPUs that the space allows and 32 divides"),
    ],
)
def test_an_empty_space_says_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InfeasibleError) as caught:
        answer("8gpus", **changes)
    assert message in str(caught.value)


def test_options_reach_the_estimates() -> None:
    slower = answer("16gpus", options=Options(ppp_comp=0.1), trials=0)
    assert slower.recommended.time_s > 2 * answer("16gpus", trials=0).recommended.time_s


def test_a_limited_cluster_is_not_stretched() -> None:
    found = answer("16gpus", on=[FAR], trials=0)
    assert all(choice.strategy.gpus <= 8 for choice in (found.recommended, *found.alternatives))
