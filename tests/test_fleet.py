"""Fleets of several kinds: what `estimate` says of one kind, what mixing changes, the search and its answer."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner, check_form

from paleo_opt.cli.main import build_parser
from paleo_opt.errors import InfeasibleError, SpecError
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import Operations
from paleo_opt.estimator.splits import Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.fleet.data_way import Target, solve_data
from paleo_opt.fleet.fleet_points import every_point
from paleo_opt.fleet.fleet_problem import FleetProblem
from paleo_opt.fleet.fleet_question import make_problem
from paleo_opt.fleet.fleet_search import FleetAnswer, search_fleet
from paleo_opt.fleet.groups import Group, Kind, common_precision, load_kinds, most_nodes
from paleo_opt.fleet.model import FleetModel, make_model
from paleo_opt.fleet.plan import FleetPlan
from paleo_opt.fleet.recommend_fleet import recommend_fleet
from paleo_opt.hardware.cluster import Cluster, Level
from paleo_opt.hardware.load import load_cluster, load_link
from paleo_opt.network.graph import Network
from paleo_opt.network.load import load_network
from paleo_opt.report.fleet import fleet_json, render

A100, V100 = load_cluster("p4d.24xlarge"), load_cluster("p3.16xlarge")
#: The same nodes under another name: a fleet of both is one of a kind.
TWIN = replace(A100, name="twin")
RESNET, BERT = load_network("resnet50"), load_network("bert_large")
OPERATIONS = Options(operations=Operations(straggler_variation=0.1, input_rate=5e4))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def model_of(network: Network, *clusters: Cluster, options: Options | None = None, **asked: Any) -> FleetModel:
    return make_model(compile_network(network), clusters, options or OPERATIONS, **asked)


def target_of(network: Network, global_batch: int | None = None) -> Target:
    assert network.job is not None
    return Target(network.job, network.job.max_global_batch, global_batch)


def solved(model: FleetModel, *nodes: int, global_batch: int | None = None) -> FleetPlan:
    groups = [Group(cluster, count) for cluster, count in zip(model.kinds, nodes, strict=True) if count]
    plan = solve_data(model, groups, None, target_of(model.table.network, global_batch))
    assert plan is not None
    return plan


def problem_of(network: Network, *kinds: tuple[Cluster, int], **asked: Any) -> FleetProblem:
    return make_problem(network, [Kind(cluster, most) for cluster, most in kinds], **asked)


def with_outer(cluster: Cluster, factor: float) -> Cluster:
    inside, *outer = cluster.levels
    faster = [replace(level, bandwidth=level.bandwidth * factor) for level in outer]
    return replace(cluster, levels=(inside, *faster))


class TestOneKind:
    @pytest.mark.parametrize("batch", [2048, 8192, None])
    def test_is_what_estimate_says(self, batch: int | None) -> None:
        """Two and two of the same nodes under two names: step, time, money and energy of four."""
        model = model_of(RESNET, A100, TWIN)
        plan = solved(model, 2, 2, global_batch=batch)
        (phase,) = plan.phases
        share = phase.shares[0]
        assert share.each * 32 == phase.global_batch
        known = estimate(
            model.table,
            Strategy(A100, 32, share.micro_batch, share.passes, collective=plan.collective, precision="bf16"),
            OPERATIONS,
        )
        for ours, theirs in (
            (phase.step_s, known.step_time_s),
            (share.memory, known.memory_bytes),
            (plan.time_s, known.time_to_target_s),
            (plan.cost_usd, known.cost_usd),
            (plan.energy_kwh, known.energy_kwh),
        ):
            assert ours == pytest.approx(float(np.ravel(theirs)[0]), rel=1e-9)

    def test_is_what_estimate_says_of_a_transformer(self) -> None:
        model = model_of(BERT, A100, TWIN, options=Options(platform="megatron-core"))
        plan = solved(model, 1, 1, global_batch=512)
        (phase,) = plan.phases
        share, split = phase.shares[0], plan.split
        assert split is not None
        blocks = Split(
            tensor=split.tensor,
            sequence_parallel=split.sequence_parallel,
            sharding=split.sharding,
            recompute=split.recompute,
        )
        known = estimate(
            model.table,
            Strategy(
                A100, 16, share.micro_batch, share.passes, collective=plan.collective, precision="bf16", blocks=blocks
            ),
            model.options,
        )
        assert phase.step_s == pytest.approx(float(known.step_time_s[0]), rel=1e-9)
        assert plan.time_s == pytest.approx(float(known.time_to_target_s[0]), rel=1e-9)

    def test_no_estimate_of_the_same_batch_is_faster(self) -> None:
        model = model_of(RESNET, A100)
        plan = solved(model, 2, global_batch=4096)
        pairs = [(b, 256 // b) for b in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
        for micro_batch, passes in pairs:
            for collective in model.collectives:
                strategy = Strategy(A100, 16, micro_batch, passes, collective=collective, precision="bf16")
                known = estimate(model.table, strategy, OPERATIONS)
                if known.fits[0]:
                    assert plan.phases[0].step_s <= float(known.step_time_s[0]) * (1.0 + 1e-9)


class TestMixed:
    def test_by_hand(self) -> None:
        """Twice the speed, twice the samples: devices of 1 and 2 TFLOP/s and like memory at a batch of three each."""
        slow = replace(A100.device, name="slow", platform="", attainable={})
        fast = replace(
            slow,
            name="fast",
            peak={name: 2.0 * peak for name, peak in slow.peak.items()},
            memory_bandwidth=2.0 * slow.memory_bandwidth,
            clock=2.0 * slow.clock,
        )
        kinds = [replace(A100, name=device.name, device=device) for device in (slow, fast)]
        plan = solved(model_of(RESNET, *kinds, options=Options()), 1, 1, global_batch=8 * 3 * 64)
        small, large = plan.phases[0].shares
        assert small.samples + large.samples == 8 * 3 * 64
        assert large.samples / small.samples == pytest.approx(2.0, rel=0.1)
        even = 8 * 3 * 64 / 16  # samples of each device
        assert plan.even_step_s / plan.phases[0].step_s == pytest.approx(even / (even * 2 / 3), rel=0.1)

    def test_shares_add_up_and_fit(self) -> None:
        plan = solved(model_of(RESNET, A100, V100), 2, 4)
        (phase,) = plan.phases
        assert sum(share.samples for share in phase.shares) == phase.global_batch
        assert plan.devices == 48
        for share in phase.shares:
            assert share.memory <= share.capacity
            assert share.each <= share.micro_batch * share.passes
            assert 0.0 <= share.idle < 1.0
        assert plan.even_step_s >= phase.step_s

    def test_the_slower_outer_link_counts(self) -> None:
        """V100 nodes of 25 Gb/s keep A100 nodes of 400 Gb/s waiting; faster ones never do more so."""
        steps = [
            solved(model_of(RESNET, A100, with_outer(V100, factor)), 2, 2, global_batch=2048).phases[0].step_s
            for factor in (0.25, 1.0, 4.0, 16.0)
        ]
        assert steps == sorted(steps, reverse=True) and steps[0] > 1.2 * steps[-1]
        faster = solved(model_of(RESNET, with_outer(A100, 4.0), V100), 2, 2, global_batch=2048)
        assert faster.phases[0].step_s == pytest.approx(steps[1], rel=1e-3)

    def test_a_named_link_counts_as_well(self) -> None:
        slow = load_link("ethernet-10g")
        without = solved(model_of(RESNET, A100, TWIN), 1, 1, global_batch=2048)
        assert solved(model_of(RESNET, A100, TWIN, link=slow), 1, 1, global_batch=2048).phases[0].step_s > (
            1.1 * without.phases[0].step_s
        )

    def test_one_precision_for_all(self) -> None:
        p100 = load_cluster("dgx1-p100")
        assert common_precision([A100.device, V100.device]) == "fp16"
        assert common_precision([A100.device, A100.device]) == "bf16"
        assert common_precision([A100.device, load_cluster("gce-k80x8").device]) == "fp32"
        with pytest.raises(SpecError, match="v100-sxm2-16gb has no peak in it"):
            common_precision([A100.device, V100.device], "bf16")
        assert "all train in fp16" in model_of(RESNET, A100, V100).remarks[0]
        assert "all run pytorch" in model_of(RESNET, A100, p100).remarks[0]

    def test_published_speedup_of_uneven_batches(self) -> None:
        """Whale (Jia et al., USENIX ATC 2022): 1.2 to 1.4 times on V100 and P100, ResNet-50 and BERT-Large among them.

        Its summary says neither links nor precision; in fp32, which both have at full speed, we find 1.14 to 1.21.
        """
        kinds = [load_cluster("dgx-v100"), load_cluster("dgx1-p100")]
        link = load_link("infiniband-edr")
        for network in (RESNET, BERT):
            model = model_of(network, *kinds, options=Options(platform="pytorch"), precision="fp32", link=link)
            plan = solved(model, 1, 1)
            assert 1.1 < plan.even_step_s / plan.phases[0].step_s < 1.4


@cache
def large_transformer() -> FleetAnswer:
    """GPT-3 13B on a node of A100 40 GB and one of V100 32 GB."""
    kinds = ((A100, 1), (load_cluster("p3dn.24xlarge"), 1))
    return search_fleet(problem_of(load_network("gpt3_13b"), *kinds))


class TestSearch:
    def test_finds_the_best_of_every_fleet(self) -> None:
        problem = problem_of(RESNET, (A100, 2), (V100, 2))
        answer = search_fleet(problem)
        every = every_point(problem)
        assert every is not None and answer.proved and answer.points == answer.trials == len(every) == 8 + 6
        plans = [plan for point in every if (plan := problem.plan_of(point)) is not None]
        assert answer.plan.time_s == min(plan.time_s for plan in plans)
        alone = [plan for plan in plans if len(plan.groups) == 1]
        assert answer.alone is not None and answer.alone.time_s == min(plan.time_s for plan in alone)
        assert answer.gain > 0.1

    def test_more_nodes_to_choose_from_are_never_worse(self) -> None:
        times = [
            search_fleet(problem_of(RESNET, (A100, 1), (V100, most), way="data")).plan.time_s for most in (1, 2, 3)
        ]
        assert times == sorted(times, reverse=True)

    def test_the_cheapest_and_the_fastest(self) -> None:
        fastest = search_fleet(problem_of(RESNET, (A100, 2), (V100, 2), way="data")).plan
        cheapest = search_fleet(problem_of(RESNET, (A100, 2), (V100, 2), way="data", minimize="cost"))
        assert cheapest.plan.cost_usd < fastest.cost_usd and cheapest.plan.time_s > fastest.time_s
        assert [group.cluster.name for group in cheapest.plan.groups] == ["p4d.24xlarge"]
        assert "mixing does not pay here" in render(cheapest)

    def test_budgets_hold(self) -> None:
        for budget in (["16gpus"], ["$20"], ["24min"], ["24gpus", "$30"]):
            answer = search_fleet(problem_of(RESNET, (A100, 2), (V100, 2), budgets=budget, way="data"))
            limits = answer.problem.budgets
            assert answer.plan.devices <= (limits.gpus or 1e9)
            assert answer.plan.cost_usd <= (limits.cost_usd or 1e9)
            assert answer.plan.time_s <= (limits.time_s or 1e9)
        with pytest.raises(InfeasibleError, match=r"\$1 of cost: the least is"):
            search_fleet(problem_of(RESNET, (A100, 2), (V100, 2), budgets=["$1"], way="data"))

    def test_as_many_nodes_as_the_budget_allows(self) -> None:
        assert most_nodes(Kind(A100), 30) == 3
        assert most_nodes(Kind(A100), None) == 128
        assert most_nodes(Kind(A100, 7), None) == 7
        assert most_nodes(Kind(replace(A100, max_nodes=2)), 64) == 2

    def test_a_kind_alone_trains_in_its_own_precision(self) -> None:
        """Beside K80 an A100 is held to fp32; that must not make the mix look better than A100 alone."""
        k80 = replace(load_cluster("gce-k80x8"), provider="AWS", price=A100.price)
        k80 = replace(k80, levels=(*k80.levels[:1], Level("between nodes", None, 1.25e9, 5e-5)), max_nodes=None)
        answer = search_fleet(problem_of(RESNET, (A100, 1), (k80, 1), way="data", options=Options(platform="pytorch")))
        assert [group.cluster.name for group in answer.plan.groups] == ["p4d.24xlarge"]
        assert answer.plan.precision == "bf16"

    def test_a_bound_is_never_beaten(self) -> None:
        problem = problem_of(RESNET, (A100, 2), (V100, 2))
        for point in every_point(problem) or ():
            assert problem.bound(point) <= problem.solve(point).value
        large = problem_of(load_network("gpt3_13b"), (A100, 1), (load_cluster("p3dn.24xlarge"), 1))
        for point in every_point(large) or ():
            assert 0.0 < large.bound(point) <= large.solve(point).value
        dear = replace(problem, goal="cost")
        for point in every_point(dear) or ():
            assert dear.bound(point) <= dear.solve(point).value

    def test_a_transformer_too_large_for_each_kind_is_a_pipeline_over_both(self) -> None:
        answer = large_transformer()
        assert answer.plan.way == "pipeline" and len(answer.plan.groups) == 2
        layers = [share.layers for share in answer.plan.longest.shares]
        blocks = [int(word) for text in layers for word in text.split() if word.isdigit()]
        assert sum(blocks) == 40 and "embedding" in layers[0] and "head" in layers[-1]

    def test_buckets(self) -> None:
        """What is found is no worse than the platform's own buckets, and what a knob buys is said."""
        problem = problem_of(load_network("vgg16"), (A100, 1), (V100, 1), way="data", knobs=("bucket", "overlap"))
        answer = search_fleet(problem, trials=25)
        assert not answer.proved and answer.points is None and "not proved: 25 trials" in render(answer)
        bucket, overlap = answer.knobs
        assert (bucket.name, overlap.name) == ("bucket", "overlap")
        assert bucket.gain >= -1e-12 and overlap.gain > 0.01
        plain = search_fleet(problem_of(load_network("vgg16"), (A100, 1), (V100, 1), way="data"))
        assert answer.plan.time_s <= plain.plan.time_s * (1.0 + 1e-9)

    def test_phases(self) -> None:
        kinds = ((A100, 1), (V100, 1))
        one = search_fleet(problem_of(RESNET, *kinds, way="data")).plan
        constant = search_fleet(problem_of(RESNET, *kinds, way="data", phases=3))
        assert len(constant.plan.phases) == 1 and constant.plan.time_s == one.time_s
        assert "does not grow" in constant.knobs[0].note
        if RESNET.job is not None and RESNET.job.sharpness == 1.0:
            grown = search_fleet(problem_of(RESNET, *kinds, way="data", phases=3, growth=16.0))
            assert len(grown.plan.phases) > 1 and grown.plan.time_s < one.time_s
            assert sum(phase.end - phase.start for phase in grown.plan.phases) == pytest.approx(1.0)

    def test_kept_studies_resume(self, tmp_path: Path) -> None:
        from paleo_opt.studies.kept import Kept

        kept = Kept(str(tmp_path / "fleet.journal"), "fleet")
        first = search_fleet(problem_of(RESNET, (A100, 1), (V100, 1)), kept=kept)
        problem = problem_of(RESNET, (A100, 1), (V100, 1))
        again = search_fleet(problem, kept=kept)
        assert again.plan == first.plan and again.trials == first.trials
        with pytest.raises(SpecError, match="is of another search: its fleet"):
            search_fleet(problem_of(RESNET, (A100, 2), (V100, 1)), kept=kept)


class TestAnswer:
    def test_text_and_json(self, run: Runner) -> None:
        words = ("fleet", "resnet50", "--on", "p4d.24xlarge:1", "--on", "p3.16xlarge:1")
        text = run.text(*words)
        assert text.splitlines()[1].startswith("→ 1 × p4d.24xlarge + 1 × p3.16xlarge = 8 + 8 = 16 GPUs · data-parallel")
        assert "mixing pays: the best of one kind, 1 × p4d.24xlarge data-parallel, takes" in text
        assert "proved: the best of all 4 choices of nodes and way" in text
        found = run(*words, "--json").json
        (phase,) = found["fleet"]["phases"]
        assert sum(share["samples"] for share in phase["shares"]) == phase["global_batch"]
        assert found["certificate"] == {"kind": "sweep", "fleets": 4, "optimal": True}
        assert found["gain_over_one_kind"] == pytest.approx(
            found["one_kind"]["time_to_target_s"] / found["fleet"]["time_to_target_s"] - 1.0
        )

    def test_pipelines_fit_the_terminal(self) -> None:
        answer = large_transformer()
        for room in (80, 100):
            check_form(strip(render(answer, room)).splitlines(), room)
        assert fleet_json(answer)["fleet"]["way"] == "pipeline"

    def test_python(self) -> None:
        answer = recommend_fleet("resnet50", ["p4d.24xlarge:1", "p3.16xlarge:1"], way="data")
        assert answer.plan.devices == 16


def strip(text: str) -> str:
    for mark in ("\x1b[0m", "\x1b[1m", "\x1b[2m"):
        text = text.replace(mark, "")
    return text


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ((), "--on is missing"),
            (("--on", "p4d.24xlarge:0"), "expected CLUSTER:NODES"),
            (("--on", "p4d.24xlarge:2", "--on", "p4d.24xlarge:1"), "is given twice"),
            (("--on", "p4d.24xlarge:501"), "has 500 nodes at most"),
            (("--on", "p4d.24xlage:2"), "did you mean 'p4d.24xlarge'?"),
            (("--on", "p4d.24xlarge:2", "--on", "a2-highgpu-8g:1"), "no published link joins"),
            (("--on", "p4d.24xlarge:1", "--budget", "20kWh"), "expected none of energy"),
            (("--on", "p4d.24xlarge:1", "--budget", "4gpus"), "the smallest has 8"),
            (("--on", "p4d.24xlarge:1", "--model", "paleo"), "needs --model roofline"),
            (("--on", "p4d.24xlarge:1", "--updates", "asynchronous"), "synchronous updates"),
            (("--on", "p4d.24xlarge:1", "--collective", "one_to_all"), "expected an all-reduce"),
            (("--on", "p4d.24xlarge:1", "--knobs", "bucket,sise"), "--knobs is 'sise'"),
            (("--on", "p4d.24xlarge:1", "--phases", "2", "--global-batch", "256"), "there is one"),
            (("--on", "p4d.24xlarge:1", "--samples", "1M", "--critical-batch-growth", "2"), "fixed amount"),
            (("--on", "dgx-v100:1", "--budget", "$500"), "has no price on_demand"),
            (("--on", "p4d.24xlarge:1", "--study", "x"), "expected --storage"),
        ],
    )
    def test_in_one_line(self, run: Runner, words: tuple[str, ...], said: str) -> None:
        assert said in run.refusal("fleet", "resnet50", *words)

    def test_what_a_transformer_lacks(self, run: Runner) -> None:
        words = ("--on", "p4d.24xlarge:1")
        assert "nothing in bert_large depends on it" in run.refusal("fleet", "bert_large", *words, "--knobs", "bucket")
        assert "an encoder and a decoder" in run.refusal("fleet", "t5_base", *words, "--way", "pipeline")

    def test_nothing_feasible_is_said(self, run: Runner) -> None:
        result = run("fleet", "resnet50", "--on", "p4d.24xlarge:1", "--global-batch", "4")
        assert result.code == 1 and "leaves devices of a whole node (8) without a sample" in result.out
        result = run("fleet", "gpt3_175b", "--on", "p3.16xlarge:1", "--json")
        assert result.code == 1 and result.json["recommended"] is None

    def test_the_names_for_help_are_the_same(self) -> None:
        from paleo_opt.cli import fleet as command
        from paleo_opt.fleet import fleet_question, fleet_search

        for name in ("GOALS", "KNOBS", "MOST_PHASES"):
            assert getattr(command, name) == getattr(fleet_question, name)
        assert command.WAYS == fleet_question.WAYS_ASKED
        _, commands = build_parser()
        assert commands["fleet"].get_default("trials") == fleet_search.TRIALS

    def test_texts_of_kinds(self) -> None:
        assert [(kind.cluster.name, kind.most) for kind in load_kinds(["p4d.24xlarge:1,00", "p3.16xlarge"])] == [
            ("p4d.24xlarge", 100), ("p3.16xlarge", None)
        ]  # fmt: skip
