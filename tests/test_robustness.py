"""Draws of the constants: first-order effects against estimates made anew, and what they say of a recommendation."""

from __future__ import annotations

import numpy as np
import pytest
from search_cases import CLUSTERS, NETWORK, SPACE, answer

import paleo_opt
from paleo_opt.errors import SpecError
from paleo_opt.estimator.effects import effects, model_constants
from paleo_opt.estimator.options import Options
from paleo_opt.report.recommendation import recommendation_json, render
from paleo_opt.search.budgets import parse_budgets
from paleo_opt.search.problem import load_problem
from paleo_opt.search.robustness import draw, robustness, samples_effects

TABLE = paleo_opt.compile_network(paleo_opt.load_network("resnet50"))
CANDIDATES = [
    paleo_opt.Strategy(paleo_opt.load_cluster(name), gpus, 64, precision=precision)
    for name, gpus, precision in (
        ("p4d.24xlarge", 1, "bf16"), ("p4d.24xlarge", 32, "bf16"), ("p5.48xlarge", 16, "bf16"),
        ("p3.16xlarge", 16, "fp16"),
    )
]  # fmt: skip


def step(strategy: paleo_opt.Strategy, options: Options) -> float:
    return float(paleo_opt.estimate(TABLE, strategy, options).step_time_s[0])


def test_each_effect_is_that_of_the_constant_shifted_alone() -> None:
    found = effects(TABLE, CANDIDATES, Options())
    assert found.figure[0] == pytest.approx([step(item, Options()) for item in CANDIDATES])
    for row, key in enumerate(found.keys):
        changes = [
            sign * np.log(step(item, Options(shifts={key: sign})) / step(item, Options()))
            for item in CANDIDATES
            for sign in (-1.0, 1.0)
        ]
        ends = np.sort(np.reshape(changes, (len(CANDIDATES), 2)), axis=1)
        # One of the two sides is what was computed; physics may bound the other.
        near = np.isclose(found.effect[0, row], ends[:, 0]) | np.isclose(found.effect[0, row], ends[:, 1])
        assert near.all(), key


def test_constants_of_one_owner_move_only_its_own() -> None:
    found = effects(TABLE, CANDIDATES, Options())
    row = found.keys.index("tensor@h100-sxm5-80gb")
    assert found.effect[0, row, 2] < 0
    assert found.effect[0, row, [0, 1, 3]] == pytest.approx(0.0)


def test_draws_are_near_estimates_made_anew() -> None:
    problem = load_problem("resnet50", parse_budgets(["64gpus"]), "time")
    drawn = draw(problem, CANDIDATES, 8, seed=7)
    for at, deviations in enumerate(0.3 * drawn.deviations):  # first order holds near the estimate
        shifts = dict(zip(drawn.keys, deviations.tolist(), strict=True))
        for column, strategy in enumerate(CANDIDATES):
            anew = step(strategy, Options(shifts=shifts)) / step(strategy, Options())
            of_samples = samples_effects(problem.job, np.array([float(strategy.global_batch)]))[:, 0]
            first = np.log(drawn.time_s[at, column] / _time(problem, strategy)) - drawn.deviations[at, -2:] @ of_samples
            assert 0.3 * first == pytest.approx(np.log(anew), abs=0.03 + 0.15 * abs(np.log(anew)))


def _time(problem, strategy: paleo_opt.Strategy) -> float:  # type: ignore[no-untyped-def]
    return float(paleo_opt.estimate(problem.table, strategy, problem.options).time_to_target_s[0])


def test_constants_that_do_not_matter_are_not_drawn() -> None:
    alone = {item.name for item in model_constants(CANDIDATES[0], Options())}
    many = {item.name for item in model_constants(CANDIDATES[1], Options())}
    assert not any(name.startswith("link.") for name in alone)
    assert {"tensor", "memory", "platform.products"} <= alone < many
    assert "tensor" not in {item.name for item in model_constants(CANDIDATES[0], Options(ppp_comp=0.5))}
    assert model_constants(CANDIDATES[1], Options(model="paleo")) == ()


def test_a_recommendation_without_rivals_always_holds() -> None:
    problem = load_problem(NETWORK, parse_budgets(["8gpus"]), "time", on=CLUSTERS, space=SPACE)
    only = robustness(problem, [answer("8gpus").recommended.strategy], 50, 0)
    assert (only.best_share, only.close_share, only.over_budget_share, only.otherwise) == (1.0, 1.0, 0.0, ())


def test_shares_are_those_of_the_draws() -> None:
    found = answer("16gpus").robustness
    assert found is not None
    assert found.draws == 500
    assert 0 <= found.best_share <= found.close_share <= 1
    lost = 1.0 - found.best_share
    assert sum(share for _, share in found.otherwise) <= lost + 1e-9
    shares = [share for _, share in found.otherwise]
    assert shares == sorted(shares, reverse=True)


def test_a_budget_just_met_is_often_exceeded() -> None:
    time = answer("16gpus").recommended.time_s
    found = answer("16gpus", f"{time * 1.001:.6f}s").robustness
    assert found is not None
    assert 0.2 < found.over_budget_share < 0.8
    assert found.best_share <= 1.0 - found.over_budget_share


def test_the_same_seed_gives_the_same() -> None:
    first, second, other = (answer("16gpus", seed=seed).robustness for seed in (1, 1, 2))
    assert first and second and other
    assert (first.best_share, first.close_share) == (second.best_share, second.close_share)
    assert other.draws == first.draws


def test_no_draws_no_robustness() -> None:
    found = answer("16gpus", draws=0)
    assert found.robustness is None
    assert recommendation_json(found)["robustness"] is None
    assert "draws" not in render(found)
    with pytest.raises(SpecError, match="draws is -1"):
        answer("16gpus", draws=-1)


def test_what_is_printed() -> None:
    found = answer("16gpus", draws=200)
    assert "of 200 draws of the constants" in " ".join(render(found).split())
    printed = recommendation_json(found)["robustness"]
    assert printed["draws"] == 200
    assert set(printed) == {
        "draws", "candidates", "best_share", "within_5_percent_share", "over_budget_share", "otherwise",
    }  # fmt: skip
