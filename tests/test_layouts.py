"""The splits and plans of a transformer's search space, against plain loops over everything that could be."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.changes import changes_that_fit
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.split_refusals import check_split
from paleo_opt.estimator.splits import Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.job import with_target
from paleo_opt.network.load import load_network
from paleo_opt.search import shares, split_rows
from paleo_opt.search.budgets import parse_budgets
from paleo_opt.search.enumeration import make_blocks
from paleo_opt.search.infeasible import NothingFeasibleError
from paleo_opt.search.layouts import GROUPED, make_layouts
from paleo_opt.search.optuna_search import search
from paleo_opt.search.problem import load_problem
from paleo_opt.search.recommend import recommend
from paleo_opt.search.row_fronts import row_fronts
from paleo_opt.search.space import load_space
from paleo_opt.search.split_space import SplitSpace
from paleo_opt.search.sweep import Limits, sweep
from paleo_opt.search.tiles import Together

GPT = load_network("gpt3_1.3b")
MIXTRAL = with_target(load_network("mixtral_8x7b"), tokens=1e12, max_global_batch=512)
NETWORKS = {network.name: network for network in (GPT, MIXTRAL)}
CLUSTER = load_cluster("dgx-h100")
SMALL = SplitSpace(
    tensor=(1, 2, 5),
    sequence_parallel=(True, False),
    context=(1, 2),
    context_method=("ring", "all_to_all"),
    expert=(1, 4),
    pipeline=(1, 2, 3),
    virtual_stages=(1, 2),
    schedule=("gpipe", "1f1b"),
    sharding=("zero1", "zero2", "fsdp"),
    recompute=("none", "full"),
    placement=("tensor-data-pipeline", "pipeline-data-tensor", "tensor-pipeline-data"),
    assignment=("balanced", "even"),
    context_positions=1,
    micro_batch_tokens=None,
    batch_halvings=2,
)
SPACE = replace(load_space("default"), gpus=(1, 6, 8, 16), micro_batch=(1, 3, 4), splits=SMALL)


def _order(split: Split, data: int) -> tuple[str, ...]:
    """How what there is stands side by side."""
    there = {"tensor": split.tensor, "pipeline": split.pipeline, "data": data * split.context}
    return tuple(name for name in split.placement.split("-") if there[name] > 1)


def _same(split: Split, data: int) -> tuple[Any, ...]:
    """Two splits with the same of this are one, on so many data-parallel groups."""
    return (
        split.tensor, split.sequence_parallel, split.context, split.context > 1 and split.context_method, split.expert,
        split.pipeline, split.virtual_stages, split.pipeline > 1 and (split.schedule, split.assignment),
        data * split.context > 1 and split.sharding, split.recompute, _order(split, data),
    )  # fmt: skip


def _every_split(network: Any, space: SplitSpace) -> list[Split]:
    names = [name for name in Split.__dataclass_fields__ if hasattr(space, name)]
    found = []
    for values in itertools.product(*(getattr(space, name) for name in names)):
        try:
            split = Split(**dict(zip(names, values, strict=True)))
            check_split(network, split)
        except SpecError:
            continue
        found.append(split)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_layouts_are_all_valid_splits_once(name: str) -> None:
    network = NETWORKS[name]
    assert network.transformer is not None
    space = replace(SMALL, pipeline=(1, 3), sharding=("zero2", "zero1"), recompute=("full",), tensor=(1, 2))
    layouts = make_layouts(network.transformer, space)
    made = [layouts.splits.row(index) for index in range(len(layouts.splits))]
    every = _every_split(network, space)
    for data in (1, 8):
        here = [
            split for split, alone in zip(made, layouts.alone, strict=True) if data > 1 or split.context > 1 or alone
        ]
        assert len({_same(split, data) for split in here}) == len(here)
        assert {_same(split, data) for split in here} == {_same(split, data) for split in every}
    groups = [tuple(getattr(split, name) for name in GROUPED) for split in made]
    assert [groups[start] for start in layouts.starts[:-1]] == sorted(set(groups))


def test_sequence_parallelism_that_is_asked_for_is_where_it_can_be() -> None:
    assert GPT.transformer is not None
    splits = make_layouts(GPT.transformer, replace(SMALL, sequence_parallel=(True,))).splits
    assert (splits.sequence_parallel == (splits.tensor > 1)).all()


def test_a_dense_network_divides_no_experts_and_an_encoder_decoder_has_no_pipeline() -> None:
    space = SplitSpace()
    sizes = {name: load_network(name).transformer for name in ("llama3_70b", "t5_11b", "deepseekv3")}
    found = {name: make_layouts(of, space).splits for name, of in sizes.items() if of is not None}
    assert (found["llama3_70b"].expert == 1).all() and found["deepseekv3"].expert.max() == 128
    assert (found["t5_11b"].pipeline == 1).all()
    # 8,192 positions are at least 4,096 a device by 2 alone.
    assert set(found["llama3_70b"].context.tolist()) == {1, 2}


@settings(max_examples=20)
@given(limit=st.integers(1, 70), batches=st.lists(st.integers(1, 64), max_size=3, unique=True))
def test_plans_are_all_that_the_batch_allows(limit: int, batches: list[int]) -> None:
    space = replace(SPACE, global_batch=tuple(sorted(batches)))
    layouts = make_layouts(GPT.transformer, SMALL)  # type: ignore[arg-type]
    expected = set()
    for gpus in SPACE.gpus or ():
        for index in range(len(layouts.splits)):
            split = layouts.splits.row(index)
            data = gpus // split.model
            if gpus % split.model or (data * split.context == 1 and not layouts.alone[index]):
                continue
            for micro in SPACE.micro_batch:
                rounds = split.pipeline if split.virtual_stages > 1 else 1
                if batches:
                    passes = {b // (data * micro) for b in batches if b <= limit and b % (data * micro * rounds) == 0}
                else:
                    passes = {(limit >> k) // (data * micro * rounds) * rounds for k in range(3)} - {0}
                expected |= {(gpus, index, micro, each) for each in passes}
    made = set()
    count = 0
    for block in make_blocks(space, compile_network(GPT), [CLUSTER], 16, limit):
        sizes = np.zeros(block.gpus.size, dtype=np.int64)
        for plans in block.plans():
            columns = (block.gpus[plans.row], plans.layout, plans.micro_batch, plans.accumulation)
            made |= set(zip(*(column.tolist() for column in columns), strict=True))
            sizes += np.bincount(plans.row, minlength=sizes.size)
            assert (np.diff(plans.row) >= 0).all()
        assert (sizes == block.row_sizes).all()
        count += int(sizes.sum())
        assert block.size() == sizes.sum() * len(block.collectives)
    assert made == expected and count == len(made)


def _small_problem(*budgets: str, network: str = "gpt3_1.3b", **changes: Any) -> Any:
    device = replace(CLUSTER.device, memory=changes.pop("memory", 24e9))
    on = [replace(CLUSTER, device=device), load_cluster("p4d.24xlarge")]
    given = {"on": on, "space": replace(SPACE, gpus=(1, 8, 16))} | changes
    return load_problem(NETWORKS[network], parse_budgets(budgets), "time", **given)


def test_the_sweep_equals_every_strategy_by_itself() -> None:
    problem = _small_problem("16gpus", fixed=None)
    space = replace(problem.space, splits=replace(SMALL, placement=SMALL.placement[:1], context_method=("ring",)))
    problem = replace(problem, space=replace(space, micro_batch=(1, 4), collective=("ring_all_reduce", "hierarchical")))
    blocks = problem.blocks()
    rows = sweep(problem.table, blocks, Limits(), problem.options)
    assert 0 < rows.fitting.sum() < rows.strategies.sum()
    some = np.random.default_rng(0).choice(rows.gpus.size, 4, replace=False)
    for row in some.tolist():
        block = blocks[int(rows.block[row])]
        here = block.of_rows(
            np.array([np.flatnonzero((block.gpus == rows.gpus[row]) & (block.groups == rows.group[row]))[0]])
        )
        strategies = [
            block.strategy(int(rows.gpus[row]), layout, micro, passes, collective)
            for plans in here.plans()
            for _, layout, micro, passes in zip(*(column.tolist() for column in plans), strict=True)
            for collective in range(2)
        ]
        estimates = [_estimated(problem, strategy) for strategy in strategies]
        assert rows.strategies[row] == len(strategies)
        assert rows.fitting[row] == sum(fits for fits, _ in estimates)
        best = min((time for fits, time in estimates if fits), default=np.inf)
        assert rows.time_s[row] == pytest.approx(best, rel=1e-9)
        if np.isfinite(best):
            assert _estimated(problem, rows.strategy(blocks, row))[1] == pytest.approx(best, rel=1e-9)


def _estimated(problem: Any, strategy: Strategy) -> tuple[bool, float]:
    from paleo_opt.estimator.estimate import estimate

    found = estimate(problem.table, strategy, problem.options)
    return bool(found.fits.all()), float(found.time_to_target_s.reshape(-1)[0])


@pytest.mark.parametrize("network", ["gpt3_1.3b", "mixtral_8x7b"])
def test_what_is_left_out_for_its_memory_would_not_have_fitted(monkeypatch: pytest.MonkeyPatch, network: str) -> None:
    memory = {"gpt3_1.3b": 16e9, "mixtral_8x7b": 70e9}[network]
    problem = _small_problem("16gpus", network=network, memory=memory)
    blocks = problem.blocks()
    rows = sweep(problem.table, blocks, Limits(), problem.options)
    plans = Together._plans
    monkeypatch.setattr(Together, "_plans", lambda self, least: plans(self, None))
    every = sweep(problem.table, blocks, Limits(), problem.options)
    assert 0 < rows.fitting.sum() < rows.strategies.sum()
    for name in ("strategies", "fitting", "feasible", "time_s", "micro_batch", "accumulation", "layout", "collective"):
        assert (getattr(rows, name) == getattr(every, name)).all(), name


def test_threads_and_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = _small_problem("16gpus")
    blocks = problem.blocks()
    seen: list[int] = []
    one = sweep(problem.table, blocks, Limits(), problem.options)
    fronts = row_fronts(problem.table, blocks, Limits(), problem.options)
    monkeypatch.setattr(shares, "_LEAST", 1)
    monkeypatch.setattr(shares.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(split_rows, "_PLANS_AT_ONCE", 100)
    monkeypatch.setattr(split_rows, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr("paleo_opt.search.tiles.BLOCKS_TILE", 1000)
    assert len(shares.shared_out(blocks, range(len(blocks)))) == 3
    many = sweep(problem.table, blocks, Limits(), problem.options, progress=seen.append)
    again = row_fronts(problem.table, blocks, Limits(), problem.options)
    for before, after in ((one, many), (fronts, again)):
        for name in ("block", "gpus", "group", "strategies", "fitting", "feasible"):
            assert np.array_equal(getattr(before, name), getattr(after, name)), name
        for name in ("time_s", "energy_kwh", "memory_bytes"):
            assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-9), name
    assert sum(seen) == one.strategies.sum()


def test_the_study_meets_the_sweep() -> None:
    problem = _small_problem("16gpus", network="mixtral_8x7b", memory=80e9)
    blocks = problem.blocks()
    rows = sweep(problem.table, blocks, problem.budgets.limits, problem.options)
    summary, _ = search(problem, blocks, rows, trials=100, seed=1)
    assert summary.gap_to_sweep == 0.0
    assert summary.study is not None
    names = set(summary.study.trials[0].params)
    assert names == {"cluster", "part"}
    solved, evaluated = search(problem, blocks, trials=8, seed=1)
    assert solved.best is not None and solved.best >= rows.time_s.min() * (1 - 1e-9)
    assert evaluated.strategies.sum() <= rows.strategies.sum()


@pytest.mark.parametrize(
    ("fixed", "more", "expected"),
    [
        ({"pipeline": 4, "virtual_stages": 2}, {}, {"pipeline": 4, "virtual_stages": 2}),
        ({"sharding": "fsdp", "recompute": "full"}, {"tensor": 2}, {"sharding": "fsdp", "tensor": 2}),
        ({"sequence_parallel": True}, {}, {"sequence_parallel": True}),
        ({"context": 2, "context_method": "all_to_all"}, {}, {"context": 2, "context_method": "all_to_all"}),
        ({}, {"split": "data"}, {"tensor": 1, "pipeline": 1, "context": 1, "expert": 1}),
    ],
)
def test_what_is_fixed_is_had(fixed: dict[str, Any], more: dict[str, Any], expected: dict[str, Any]) -> None:
    answer = recommend(GPT, budgets=["8gpus"], on=["dgx-h100"], fixed=fixed, trials=0, draws=0, **more)
    for choice in (answer.recommended, *answer.alternatives):
        assert choice.strategy.blocks is not None
        assert {name: getattr(choice.strategy.blocks, name) for name in expected} == expected


def test_the_data_parallel_groups_can_be_fixed() -> None:
    answer = recommend(GPT, budgets=["8gpus"], on=["dgx-h100"], fixed={"data": 2}, trials=0, draws=0)
    assert {choice.strategy.data for choice in (answer.recommended, *answer.alternatives)} == {2}


@pytest.mark.parametrize(
    ("network", "given", "expected"),
    [
        ("gpt3_1.3b", {"tensor": 5}, "tensor 5 does not divide the 16 heads"),
        ("gpt3_1.3b", {"fixed": {"expert": 2}}, "every block is dense"),
        ("gpt3_1.3b", {"fixed": {"pipline": 2}}, "did you mean 'pipeline'"),
        ("gpt3_1.3b", {"fixed": {"tensor": 2}, "tensor": 4}, "tensor is given twice"),
        ("gpt3_1.3b", {"fixed": {"pipeline": 2}, "split": "data"}, "pipeline 2 divides a transformer"),
        ("gpt3_1.3b", {"fixed": {"virtual_stages": 14}}, "virtual stages 14 × pipeline 2 is more parts"),
        ("gpt3_1.3b", {"split": "model"}, "is of networks of layers"),
        ("gpt3_1.3b", {"fixed": {"recompute": "some"}}, "valid: full, none, selective"),
        ("alexnet", {"fixed": {"pipeline": 2}}, "alexnet is no transformer"),
        ("gpt3_1.3b", {"fixed": {"pipeline": 2}, "options": Options(model="paleo")}, "divides layers, not blocks"),
    ],
)
def test_what_cannot_be_fixed_is_refused(network: str, given: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        recommend(network, budgets=["8gpus"], on=["dgx-h100"], **given)


def test_under_paleo_a_transformer_is_split_layer_by_layer() -> None:
    problem = load_problem(GPT, parse_budgets(["8gpus"]), "time", on=["dgx-h100"], options=Options(model="paleo"))
    assert {block.split for block in problem.blocks()} <= {"data", "hybrid", "model"}


def test_what_would_make_it_fit_is_named_and_fits() -> None:
    fixed = {"recompute": "none", "pipeline": 1}
    with pytest.raises(NothingFeasibleError) as caught:
        recommend("llama3_70b", budgets=["64gpus"], on=["dgx-h100"], tensor=1, fixed=fixed)
    error = caught.value
    assert error.binding == "memory" and error.changes
    nearest = error.nearest.strategy
    assert error.nearest.memory_bytes > nearest.cluster.device.memory
    named = {change.field for change in error.changes}
    assert "recompute" in named and "tensor" in named
    for change in error.changes:
        fits, _ = _estimated(error.problem, change.strategy)
        assert fits and change.memory_bytes <= nearest.cluster.device.memory
        if change.field != "gpus":
            assert change.strategy.global_batch == nearest.global_batch and change.strategy.gpus == nearest.gpus
    assert "would fit: " in str(error) and "recompute full" in str(error)


def test_no_change_is_named_for_a_network_of_layers() -> None:
    strategy = Strategy(CLUSTER, 1, 8, precision="bf16")
    assert changes_that_fit(compile_network(load_network("alexnet")), strategy, Options()) == []


def test_gpt3_has_as_many_strategies_as_calculon_enumerates() -> None:
    network = load_network("gpt3_175b")
    assert network.job is not None
    (block,) = make_blocks(
        load_space("calculon"), compile_network(network), [CLUSTER], 4096, network.job.max_global_batch
    )
    assert 5e6 < block.size() < 7e6
