"""The front against every strategy of random small spaces, estimated one at a time; what follows from it; its speed."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hand_built import number
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import CLUSTERS, FAR, FAST, NETWORK, SLOW, SPACE, TABLE, cluster, every_strategy

import paleo_opt
from paleo_opt.errors import InfeasibleError, SpecError
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import Operations
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.platform import ATTAINABLE
from paleo_opt.search import tradeoff as module
from paleo_opt.search.budgets import Budgets, parse_budgets
from paleo_opt.search.problem import load_problem
from paleo_opt.search.recommend import recommend
from paleo_opt.search.row_fronts import pareto_front_of_three
from paleo_opt.search.sensitivity import sensitivities
from paleo_opt.search.shifts import MOST_SHIFTED, find_shifts, with_links, with_prices
from paleo_opt.search.space import SearchSpace, load_space
from paleo_opt.search.sweep import sweep
from paleo_opt.search.tradeoff import Front, Tradeoff, find_front, pareto, tradeoff

#: Figures closer than this are one: sums over layers are rounded in another order for one strategy than for many.
SAME = 1e-9
Figures = tuple[float, ...]


def answer(*budgets: str, **changes: Any) -> Tradeoff:
    """The tradeoff for `NETWORK` on `CLUSTERS` in `SPACE`."""
    given_: dict[str, Any] = {"on": CLUSTERS, "space": SPACE} | changes
    return tradeoff(NETWORK, budgets=budgets, **given_)


def beats(one: Figures, other: Figures) -> bool:
    """Whether ``one`` is clearly better in some figure and clearly worse in none."""
    no_worse = all(a <= b * (1 + SAME) for a, b in zip(one, other, strict=True))
    return no_worse and any(a < b * (1 - SAME) for a, b in zip(one, other, strict=True))


def as_good(one: Figures, other: Figures) -> bool:
    return all(a <= b * (1 + SAME) for a, b in zip(one, other, strict=True))


def check_front(front: Front, every: list[tuple[Strategy, Figures]]) -> None:
    """That a front is the front of ``every`` feasible strategy, and that its figures are those of its strategies."""
    columns = [front.time_s, front.spent, *([front.energy_kwh] if front.with_energy else [])]
    found = list(zip(*(column.tolist() for column in columns), strict=True))
    strategies = [strategy for strategy, _ in every]
    for choice, figures in zip(front.choices, found, strict=True):
        assert figures == pytest.approx(every[strategies.index(choice.strategy)][1], rel=SAME)
    for figures in found:
        assert not [other for _, other in every if beats(other, figures)]
    for _, figures in every:
        assert any(as_good(one, figures) for one in found)
    assert len(set(found)) == len(found)
    assert all(a < b for a, b in pairwise(front.time_s)) or front.with_energy


# -- against every strategy --------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A random small problem."""

    clusters: tuple[Cluster, ...]
    space: SearchSpace
    options: Options
    budgets: Budgets
    goal: str


def some(values: tuple[Any, ...], least: int, most: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=most, unique=True).map(
        lambda chosen: tuple(value for value in values if value in chosen)
    )


CLUSTER = st.builds(
    lambda speed, dollars, memory, between, most: cluster(
        f"{speed} {dollars} {memory} {between} {most}", speed, dollars, memory, between=between, max_nodes=most
    ),
    st.sampled_from((1.0, 2.5, 6.0)),
    st.sampled_from((0.5, 1.0, 7.0)),
    st.sampled_from((1.3e9, 2e9, 16e9)),
    st.sampled_from(((2e8, 1e-3), (1e10, 1e-5))),
    st.sampled_from((None, 2)),
)
WORLDS = st.builds(
    World,
    clusters=st.lists(CLUSTER, min_size=2, max_size=3, unique_by=lambda one: one.name).map(tuple),
    space=st.builds(
        lambda gpus, micro_batch, accumulation, split, collective: replace(
            SPACE, gpus=gpus, micro_batch=micro_batch, accumulation=accumulation, split=split, collective=collective
        ),
        some((1, 2, 4, 6, 8, 16), 3, 5),
        some((8, 32, 128), 2, 3),
        some((1, 3), 1, 2),
        some(("data", "hybrid", "model"), 1, 3),
        some(("one_to_all", "ring_all_reduce", "hierarchical"), 1, 2),
    ),
    options=st.builds(
        lambda queue, egress, mtbf: Options(
            operations=Operations(queue_s=queue, egress_usd=egress, device_mtbf_s=mtbf)
        ),
        st.sampled_from((0.0, 600.0)),
        st.sampled_from((0.0, 0.2)),
        st.sampled_from((3e4, 1e8, np.inf)),
    ),
    budgets=st.sampled_from(((), ("8gpus",), ("$2",), ("20min",), ("1kWh",), ("$3", "1h"))).map(parse_budgets),
    goal=st.sampled_from(("time", "cost", "energy")),
)


def every_of(world: World) -> list[tuple[Strategy, Figures]]:
    """Every feasible strategy of a world with its figures, by plain loops."""
    found = []
    limits = world.budgets.limits
    divided = [split for split in world.space.split if split != "data"]
    layouts = [("data", 1)] if "data" in world.space.split else []
    layouts += [(split, tensor) for split in divided for tensor in world.space.tensor]
    for where in world.clusters:
        for gpus in world.space.gpus or ():
            for split, tensor in layouts:
                if gpus % tensor or gpus > min(world.budgets.gpus or 16, where.max_devices or 16):
                    continue
                for micro_batch in world.space.micro_batch:
                    for accumulation in world.space.accumulation:
                        for collective in world.space.collective:
                            one = Strategy(where, gpus, micro_batch, accumulation, split, tensor, collective, "fp32")
                            if NETWORK.job is None or one.global_batch > NETWORK.job.max_global_batch:
                                continue
                            known = estimate(TABLE, one, world.options)
                            figures = tuple(map(number, (known.time_to_target_s, known.cost_usd, known.energy_kwh)))
                            kept = all(
                                figure <= limit
                                for figure, limit in zip(
                                    figures, (limits.time_s, limits.cost_usd, limits.energy_kwh), strict=True
                                )
                            )
                            if kept and bool(known.fits.all()):
                                found.append((one, figures))
    return found


@settings(max_examples=100)
@given(WORLDS)
def test_the_front_is_that_of_every_strategy_of_a_random_space(world: World) -> None:
    every = every_of(world)
    problem = load_problem(
        NETWORK, world.budgets, world.goal, on=world.clusters, space=world.space, options=world.options
    )
    front = find_front(problem)
    assert bool(every) == bool(front.size)
    if every:
        assert front.with_energy == (world.goal == "energy")
        check_front(front, [(one, figures if front.with_energy else figures[:2]) for one, figures in every])


@pytest.mark.parametrize("goal", ["time", "energy"])
def test_the_front_is_that_of_every_strategy(goal: str) -> None:
    every = [
        (k.strategy, (k.time_s, k.cost_usd, k.energy_kwh)[: 3 if goal == "energy" else 2])
        for k in every_strategy()
        if k.fits
    ]
    found = answer(minimize=goal)
    check_front(found.front, every)
    assert found.front.proved
    assert found.recommended is not None


@given(st.lists(st.tuples(*(st.integers(1, 5) for _ in range(3))), max_size=40))
def test_a_front_of_three_is_what_nothing_beats(points: list[tuple[int, int, int]]) -> None:
    first, second, third = np.array(points, dtype=float).reshape(-1, 3).T
    kept = pareto_front_of_three(first, second, third).tolist()
    best = {p for p in points if not any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in points)}
    assert sorted(kept) == sorted(points.index(p) for p in best)
    assert (np.diff(first[kept]) >= 0).all()


def test_what_is_not_known_is_on_no_front_of_three() -> None:
    known, unknown = np.ones(2), np.array([np.nan, np.inf])
    assert pareto_front_of_three(known, known, unknown).size == 0


# -- what follows from the front ---------------------------------------------------------------------------


@pytest.mark.parametrize("goal", ["time", "cost", "energy"])
@pytest.mark.parametrize("budgets", [(), ("8gpus",), ("$2",), ("20min",)])
def test_it_holds_what_recommend_answers(goal: str, budgets: tuple[str, ...]) -> None:
    found = answer(*budgets, minimize=goal)
    alone = recommend(NETWORK, budgets=budgets, on=CLUSTERS, space=SPACE, minimize=goal)
    assert found.recommendation.recommended.strategy == alone.recommended.strategy
    front = found.front
    best = front.best(goal)
    assert best is not None
    assert front.choices[best].figure(goal) == pytest.approx(alone.recommended.figure(), rel=SAME)
    assert front.choices[front.fastest].time_s == pytest.approx(alone.fastest.time_s, rel=SAME)
    assert alone.cheapest is not None
    assert front.choices[front.cheapest].cost_usd == pytest.approx(alone.cheapest.cost_usd, rel=SAME)
    if goal != "energy":
        assert [choice.strategy for choice in front.choices] == [choice.strategy for choice in alone.front]
        knee = None if front.knee is None else front.choices[front.knee].strategy
        assert knee == (None if alone.knee is None else alone.knee.strategy)


@pytest.mark.parametrize("goal", ["time", "energy"])
def test_an_hour_saved_is_the_slope_between_neighbours(goal: str) -> None:
    front = answer(minimize=goal).front
    saved, line = front.per_hour_saved, front.line.tolist()
    assert len(line) > 2
    for place, slower in pairwise(line):
        dollars = front.choices[place].cost_usd - front.choices[slower].cost_usd
        hours = (front.choices[slower].time_s - front.choices[place].time_s) / 3600
        assert saved[place] == pytest.approx(dollars / hours)
        assert saved[place] > 0
    assert np.isnan(saved[line[-1]])
    assert np.isnan(np.delete(saved, line)).all()


def test_energy_adds_points_and_takes_none_away() -> None:
    two, three = answer(minimize="cost").front, answer(minimize="energy").front
    assert three.size > two.size
    assert three.most_frugal is not None and two.most_frugal is None
    assert three.energy_kwh[three.most_frugal] == three.energy_kwh.min() < two.energy_kwh.min()
    pairs = set(zip(three.time_s.tolist(), three.spent.tolist(), strict=True))
    assert set(zip(two.time_s.tolist(), two.spent.tolist(), strict=True)) <= pairs


def test_without_prices_it_is_gpus_against_time() -> None:
    free = tuple(replace(one, price=None) for one in CLUSTERS)
    found = answer(on=free)
    front = found.front
    assert front.against == "gpus"
    assert front.spent.tolist() == [choice.strategy.gpus for choice in front.choices]
    assert (np.diff(front.spent) < 0).all()
    assert {shift.kind for shift in found.shifts} == {"links"}


def test_a_cluster_without_a_price_is_not_on_a_front_of_cost() -> None:
    found = answer(on=(SLOW, replace(FAST, price=None))).front
    assert {choice.strategy.cluster.name for choice in found.choices} == {"slow"}
    assert {found.blocks[int(block)].cluster.name for block in found.points.block} == {"slow", "fast"}


def test_one_point_has_no_knee_and_saves_nothing() -> None:
    found = answer(on=(SLOW,), space=replace(SPACE, gpus=(1,)))
    assert found.front.size == 1
    assert (found.front.fastest, found.front.cheapest, found.front.knee) == (0, 0, None)
    assert np.isnan(found.front.per_hour_saved).all()


# -- how it moves ------------------------------------------------------------------------------------------


def test_each_shift_is_the_front_of_the_changed_clusters() -> None:
    # As much as the fastest needs and a tenth.
    budget = f"${1.1 * answer().front.choices[0].cost_usd:.6f}"
    found = answer(budget)
    shifts = {shift.name: shift for shift in found.shifts}
    assert list(shifts) == ["prices −20%", "prices +20%", "links × 0.5", "links × 2"]
    changes = {
        "prices −20%": lambda one: with_prices(one, 0.8),
        "prices +20%": lambda one: with_prices(one, 1.2),
        "links × 0.5": lambda one: with_links(one, 0.5),
        "links × 2": lambda one: with_links(one, 2.0),
    }
    for name, change in changes.items():
        alone = answer(budget, on=tuple(change(one) for one in CLUSTERS))
        front = shifts[name].front
        assert front.time_s.tolist() == alone.front.time_s.tolist()
        assert front.spent.tolist() == alone.front.spent.tolist()
        best = shifts[name].best
        assert best is not None and best.strategy == alone.recommendation.recommended.strategy
    assert shifts["prices +20%"].front.time_s[0] > shifts["prices −20%"].front.time_s[0], "the budget buys less"
    assert shifts["links × 2"].front.time_s[0] < found.front.time_s[0] < shifts["links × 0.5"].front.time_s[0]


def test_other_terms_of_rent_are_shifts_where_there_are_prices_for_them() -> None:
    assert FAST.price is not None
    rented = replace(FAST, price=replace(FAST.price, spot=2.0))
    found = answer(on=(SLOW, rented))
    spot = next(shift for shift in found.shifts if shift.kind == "pricing")
    assert (spot.name, spot.clusters) == ("spot", 1)
    assert {choice.strategy.cluster.name for choice in spot.front.choices} == {"fast"}
    assert spot.front.problem.options.pricing == "spot"
    on_spot = answer(on=(SLOW, rented), options=Options(pricing="spot"))
    assert "on demand" in [shift.name for shift in on_spot.shifts]


def test_a_shift_with_nothing_feasible_has_an_empty_front() -> None:
    front = answer().front
    least = front.spent.min()
    found = answer(f"{least * 1.01:.12f}usd")
    dearer = next(shift for shift in found.shifts if shift.name == "prices +20%")
    assert dearer.front.size == 0 and dearer.best is None


def test_large_spaces_and_unproved_fronts_do_not_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    front = answer().front
    assert find_shifts(replace(front, proved=False)) == ()
    assert MOST_SHIFTED > 655_264, "the default space shifts"
    monkeypatch.setattr("paleo_opt.search.shifts.MOST_SHIFTED", 10)
    assert find_shifts(front) == ()


def test_sensitivities_are_the_same_strategy_with_one_constant_changed() -> None:
    chosen = answer("16gpus").recommendation.recommended
    found = {item.name: item for item in sensitivities(chosen)}
    assert list(found) == ["share of peak attained", "bandwidth of links", "price", "samples to the target (95%)"]
    peak, links, price, samples = found.values()
    assert samples.at_low.time_s < chosen.time_s < samples.at_high.time_s
    assert samples.at_low.time_s * samples.at_high.time_s == pytest.approx(chosen.time_s**2, rel=1e-3)
    assert chosen.problem.table.network.job is chosen.problem.job, "the problem itself is as it was"
    assert peak.at_low.time_s > chosen.time_s > peak.at_high.time_s
    share = ATTAINABLE["vector"].prior.value  # of a device without measurements, as these are
    assert (peak.low, peak.high) == (f"{0.8 * share:.0%}", f"{min(1.2 * share, 1.0):.0%}")
    assert links.at_low.time_s > chosen.time_s > links.at_high.time_s
    assert price.at_low.time_s == chosen.time_s == price.at_high.time_s
    assert price.at_high.cost_usd == pytest.approx(1.2 * chosen.cost_usd)
    for item in found.values():
        for choice in (item.at_low, item.at_high):
            assert replace(choice.strategy, cluster=chosen.strategy.cluster) == chosen.strategy


def test_sensitivity_to_the_share_of_peak_of_the_paleo_model() -> None:
    chosen = answer("16gpus", options=Options(model="paleo")).recommendation.recommended
    peak = sensitivities(chosen)[0]
    assert (peak.low, peak.high) == ("44%", "66%")
    assert peak.at_low.time_s > chosen.time_s > peak.at_high.time_s


def test_a_share_of_peak_is_never_above_one_and_one_device_has_no_links() -> None:
    assert NETWORK.job is not None
    fixed = replace(NETWORK, job=replace(NETWORK.job, critical_batch=None, samples_error=0.0))
    chosen = pareto(
        fixed, on=[replace(SLOW, price=None)], space=replace(SPACE, gpus=(1,)), options=Options(ppp_comp=0.95)
    )
    found = sensitivities(chosen.recommendation.recommended)
    assert [(item.name, item.high) for item in found] == [("share of peak attained", "100%")]


# -- the question ------------------------------------------------------------------------------------------


def test_it_takes_what_recommend_takes() -> None:
    assert list(inspect.signature(tradeoff).parameters) == list(inspect.signature(recommend).parameters)


def test_bad_input_and_nothing_feasible_are_as_of_recommend() -> None:
    with pytest.raises(InfeasibleError):
        answer("1s")
    with pytest.raises(SpecError, match="minimize 'tme'"):
        answer(minimize="tme")
    with pytest.raises(SpecError, match="trials is -1"):
        answer(trials=-1)
    with pytest.raises(SpecError, match="without a price"):
        answer("$5", on=(replace(FAR, price=None),))


def test_no_study_is_run_unless_it_is_asked_for_or_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer().recommendation.search.trials == 0
    assert answer(trials=3).recommendation.search.trials > 0
    for name in ("paleo_opt.search.tradeoff.MOST_SWEPT", "paleo_opt.search.recommend.MOST_SWEPT"):
        monkeypatch.setattr(name, 10)
    found = answer(trials=1, minimize="energy")
    assert not found.front.proved
    assert found.recommendation.certificate.kind == "none"
    assert found.shifts == ()
    assert found.recommended is not None


def test_a_space_of_a_million_strategies_has_its_front() -> None:
    space = replace(load_space("default"), nodes_per_octave=16, accumulation=tuple(range(1, 9)))
    problem = load_problem("resnet50", parse_budgets(["$2000"]), "time", space=space)
    blocks = problem.blocks()
    rows = sweep(problem.table, blocks, problem.budgets.limits, problem.options)
    assert int(rows.strategies.sum()) > 1_000_000
    assert find_front(problem, blocks).size > 10


@pytest.mark.parametrize("goal", ["time", "energy"])
def test_progress_runs_to_twice_the_strategies(goal: str) -> None:
    calls: list[tuple[int, int]] = []
    found = answer(minimize=goal, progress=lambda done, total: calls.append((done, total)))
    total = 2 * found.recommendation.certificate.strategies
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1] == (total, total)
    assert {of for _, of in calls} == {total}


def test_the_module_says_what_it_offers() -> None:
    assert set(module.__all__) == {"Front", "Tradeoff", "find_front", "pareto", "tradeoff"}
    assert paleo_opt.pareto is module.pareto is tradeoff
