"""Studies whose points cannot all be tried: within 1% of the exact optimum by 100 trials, whatever the seed."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from paleo_opt.fleet.bucket_ranges import middles, range_ends
from paleo_opt.fleet.fleet_points import every_point, first_points
from paleo_opt.fleet.fleet_problem import BUCKET, LEAST_BUCKET, MOST_BUCKET, FleetProblem
from paleo_opt.fleet.fleet_question import make_problem
from paleo_opt.fleet.fleet_search import study_problem
from paleo_opt.fleet.groups import Kind
from paleo_opt.hardware.load import load_cluster
from paleo_opt.layer_splits.series_parallel import PairwiseCosts, kernel_of
from paleo_opt.layer_splits.study import kernel_problem
from paleo_opt.network.load import load_network
from paleo_opt.studies.problem import Outcome, Point, StudyProblem
from paleo_opt.studies.run import run_study

TRIALS, SEEDS, BAR = 100, (0, 1, 2), 0.01


@cache
def fleets() -> FleetProblem:
    """The cheapest AlexNet within a time, on up to four nodes each of three kinds: 124 fleets."""
    kinds = [Kind(load_cluster(name), 4) for name in ("p4d.24xlarge", "p3.16xlarge", "g5.48xlarge")]
    return make_problem(
        load_network("alexnet"), kinds, budgets=["40min"], minimize="cost", way="data", global_batch=2048
    )


@cache
def buckets() -> FleetProblem:
    """AlexNet on one node of either kind or both, with any size of its gradients' buckets."""
    kinds = [Kind(load_cluster(name), 1) for name in ("p4d.24xlarge", "p3.16xlarge")]
    return make_problem(load_network("alexnet"), kinds, way="data", knobs=("bucket",), global_batch=2048)


def remembered(study: StudyProblem) -> StudyProblem:
    """``study``, in which points that mean the same are solved once."""
    known: dict[Hashable, Outcome] = {}

    def solve(point: Point) -> Outcome:
        key = study.key(point)
        if key not in known:
            known[key] = study.solve(point)
        return known[key]

    return replace(study, solve=solve)


def test_fleets_within_a_budget() -> None:
    problem = fleets()
    every = every_point(problem)
    assert every is not None and len(every) > TRIALS
    found = [outcome.value for point in every if (outcome := problem.solve(point)).feasible]
    # The budget matters: it leaves some fleets, and not all.
    assert 0 < len(found) < len(every)
    study = study_problem(problem, TRIALS)
    assert study.every is None
    for seed in SEEDS:
        best = run_study(study, trials=TRIALS, seed=seed).best
        assert best is not None and min(found) <= best <= (1.0 + BAR) * min(found)


def test_first_fleets_are_none_that_a_bound_rules_out() -> None:
    problem = replace(fleets(), budgets=replace(fleets().budgets, time_s=600.0))
    every = every_point(problem)
    assert every is not None
    ruled_out = [point for point in every if problem.beyond_budget(point)]
    assert ruled_out and not any(problem.solve(point).feasible for point in ruled_out)
    first = first_points(problem)
    assert first and not any(point in ruled_out for point in first)


def test_first_fleets_have_every_choice_of_kinds() -> None:
    kinds = [Kind(load_cluster(name), 4) for name in ("p4d.24xlarge", "p3.16xlarge", "g5.48xlarge")]
    problem = make_problem(load_network("alexnet"), kinds)
    taken = {tuple(count > 0 for count in problem.nodes_of(point)) for point in first_points(problem)[:14]}
    assert len(taken) == 2**3 - 1


def test_sizes_of_one_range_group_the_gradients_alike() -> None:
    """Any size is worth what the middle of its range is, and the ranges are as few as that allows."""
    problem = buckets()
    point = problem.point((1, 1))
    ends = problem.bucket_ends(point)
    worth = [problem.solve({**point, BUCKET: float(size)}).value for size in middles(ends, LEAST_BUCKET)]
    for size in np.geomspace(LEAST_BUCKET, MOST_BUCKET, 40):
        found = problem.solve({**point, BUCKET: float(size)}).value
        assert found == pytest.approx(worth[int(ends.searchsorted(size))], rel=1e-12)
    assert all(problem.solve({**point, BUCKET: float(end)}).value == w for end, w in zip(ends, worth, strict=True))
    in_stages = range_ends(problem.model, LEAST_BUCKET, MOST_BUCKET, True)
    assert set(ends) <= set(in_stages) and len(set(worth)) > 3


def test_sizes_of_buckets() -> None:
    problem = buckets()
    sizes = middles(problem.bucket_ends(problem.point((1, 1))), LEAST_BUCKET)
    best = min(
        problem.solve(problem.point(nodes, 0, float(size))).value
        for nodes, size in itertools.product([(1, 0), (0, 1), (1, 1)], sizes)
    )
    study = remembered(study_problem(problem, TRIALS))
    found = run_study(study, trials=TRIALS).best
    assert found is not None and best * (1.0 - 1e-12) <= found <= (1.0 + BAR) * best


def test_kernels_of_splits() -> None:
    """Eight layers that all read each other, at random costs: five are left to Optuna, 4^5 points, no first guess."""
    random = np.random.default_rng(0)
    nodes = [random.uniform(1.0, 3.0, 4) for _ in range(8)]
    pairs = {(i, j): random.uniform(0.0, 1.0, (4, 4)) for i in range(8) for j in range(i + 1, 8)}
    kernel = kernel_of(PairwiseCosts(nodes, pairs))
    assert kernel.choices > TRIALS
    best = min(kernel.solve(fixed)[0] for fixed in itertools.product(*map(range, kernel.counts)))
    for seed in SEEDS:
        found = run_study(kernel_problem(kernel), trials=TRIALS, seed=seed).best
        assert found is not None and best <= found * (1.0 + 1e-12) <= (1.0 + BAR) * best
