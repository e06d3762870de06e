"""A sweep in shards is the sweep of the whole, to the bit, however it is cut, interrupted and put together."""

from __future__ import annotations

import random
from dataclasses import fields
from functools import cache

import numpy as np
import pytest
import search_cases

from paleo_opt.search.budgets import parse_budgets
from paleo_opt.search.packed_rows import pack
from paleo_opt.search.problem import count_strategies, load_problem
from paleo_opt.search.rows import Rows
from paleo_opt.search.sharded_sweep import ShardedSweep, shared_sweep
from paleo_opt.search.sweep import sweep
from paleo_opt.studies.kept import Kept
from paleo_opt.studies.run import RESULT, run_study
from paleo_opt.studies.run_kept import run_kept

SIZES = {"layers": 10, "transformer": 20_000}


@cache
def asked(kind, goal="time"):
    """A problem, its blocks, and the rows of one sweep of them."""
    if kind == "layers":
        budgets = parse_budgets(["16gpus", "$3000"])
        problem = load_problem(search_cases.NETWORK, budgets, goal, on=search_cases.CLUSTERS, space=search_cases.SPACE)
    else:
        clusters = ["p3.16xlarge", "p4d.24xlarge", "p5.48xlarge"]
        problem = load_problem("bert_base", parse_budgets(["16gpus", "$3000"]), goal, on=clusters)
    blocks = problem.blocks()
    return problem, blocks, sweep(problem.table, blocks, problem.budgets.limits, problem.options, goal)


def same_bits(one, other):
    for field in fields(Rows):
        assert getattr(one, field.name).tobytes() == getattr(other, field.name).tobytes(), field.name


@pytest.mark.parametrize("kind", list(SIZES))
@pytest.mark.parametrize("share", [1, 3, 10])
def test_shards_put_together_are_one_sweep_to_the_bit(kind, share):
    problem, blocks, whole = asked(kind)
    shards = ShardedSweep(problem, blocks, share * SIZES[kind])
    parts = [shards.solve(shard) for shard in range(shards.shards)]
    assert len(parts) > 2
    assert sum(int(part.strategies.sum()) for part in parts) == count_strategies(blocks)
    random.Random(share).shuffle(parts)
    same_bits(shards.put_together(parts), whole)


def test_shards_are_of_about_one_size():
    problem, blocks, whole = asked("transformer")
    shards = ShardedSweep(problem, blocks, 10 * SIZES["transformer"])
    sizes = [int(shards.solve(shard).strategies.sum()) for shard in range(shards.shards)]
    assert len(sizes) == round(count_strategies(blocks) / shards.size)
    assert whole.strategies.max() < 0.2 * shards.size  # a row is never cut
    assert max(sizes) < 1.5 * np.mean(sizes)
    assert min(sizes) > 0.5 * np.mean(sizes)


@pytest.mark.parametrize("goal", ["time", "energy"])
def test_a_study_of_the_shards_holds_the_sweep(goal):
    problem, blocks, whole = asked("layers", goal)
    shards = ShardedSweep(problem, blocks, 50)
    run = run_study(shards.study_problem(), trials=shards.shards)
    assert run.ended == "tried every point"
    results = {trial.params["shard"]: trial.system_attrs[RESULT] for trial in run.finished}
    rows, fastest = shards.rows_of(results)
    same_bits(rows, whole)
    same_bits(fastest, asked("layers", "time")[2])
    best = min(whole.energy_kwh[whole.feasible > 0] if goal == "energy" else whole.time_s[whole.feasible > 0])
    assert run.best == best


def test_a_shard_that_was_lost_for_good_is_solved_by_who_asks():
    problem, blocks, whole = asked("layers")
    shards = ShardedSweep(problem, blocks, 50)
    results = {shard: pack(shards.solve(shard)) for shard in range(1, shards.shards)}
    same_bits(shards.rows_of(results)[0], whole)


def test_an_interrupted_sweep_is_resumed(tmp_path, monkeypatch):
    problem, blocks, whole = asked("layers")
    solved = []
    solve = ShardedSweep.solve

    def noted(self, shard, *rest):
        solved.append(shard)
        return solve(self, shard, *rest)

    monkeypatch.setattr(ShardedSweep, "solve", noted)
    kept = Kept(str(tmp_path / "studies.log"), "sweep")
    shards = ShardedSweep(problem, blocks, 50)
    first = run_kept(shards.study_problem(), kept, trials=shards.shards, most=2)
    assert not first.ended
    assert len(solved) == 2
    same_bits(shared_sweep(problem, blocks, kept, size=50)[0], whole)
    # Once more: all is there.
    same_bits(shared_sweep(problem, blocks, kept, size=50)[0], whole)
    assert sorted(solved) == list(range(shards.shards))
