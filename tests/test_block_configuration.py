"""What is chosen of a transformer's split: against trying everything, and what is refused on the way."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest
from command_line import Runner

from paleo_opt.cli import splitting
from paleo_opt.errors import SpecError
from paleo_opt.estimator import splits
from paleo_opt.estimator.breakdown import layer_breakdown
from paleo_opt.estimator.changes import changes_that_fit
from paleo_opt.estimator.configuration import configure, in_blocks
from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.scaling import scaling
from paleo_opt.estimator.splits import Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.load import load_network

DGX = load_cluster("dgx-h100")
TABLES: dict[str, CostTable] = {}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def table(name: str) -> CostTable:
    return TABLES.setdefault(name, compile_network(load_network(name)))


def figures(network: str, strategy: Strategy) -> tuple[bool, float]:
    """Whether it fits, and its samples a second."""
    found = estimate(table(network), strategy)
    return bool(found.fits.all()), float(found.samples_per_s.reshape(-1)[0])


class TestOpenSplits:
    @pytest.mark.parametrize(("network", "gpus"), [("llama3_70b", 64), ("mixtral_8x7b", 32), ("llama3_8b", 12)])
    def test_no_one_change_is_faster_and_fits(self, network: str, gpus: int) -> None:
        chosen = configure(table(network), DGX, gpus=gpus)
        fits, best = figures(network, chosen)
        assert fits and chosen.blocks is not None
        changes: list[dict[str, Any]] = [{"recompute": name} for name in splits.RECOMPUTES]
        changes += [{"sharding": name} for name in ("zero0", "zero1", "zero2", "fsdp")]
        for change in changes:
            tried = replace(chosen, blocks=replace(chosen.blocks, **change))
            if tried.blocks is not None and tried.blocks.pipeline > 1 and tried.blocks.sharding == "zero2":
                continue
            also_fits, rate = figures(network, tried)
            assert not also_fits or rate <= best * (1 + 1e-9)

    def test_the_batch_is_the_largest_of_the_job(self) -> None:
        chosen = configure(table("llama3_70b"), DGX, gpus=64)
        assert chosen.global_batch == 2048

    def test_without_a_job_a_stage_has_four_micro_batches(self) -> None:
        network = load_network("mixtral_8x7b")
        assert network.job is None
        chosen = configure(compile_network(network), DGX, gpus=32, fixed={"tensor": 2, "pipeline": 4})
        assert chosen.accumulation == 16

    def test_a_given_global_batch_is_kept(self) -> None:
        chosen = configure(table("llama3_70b"), DGX, gpus=64, global_batch=960)
        assert chosen.global_batch == 960

    def test_data_alone_narrows_the_search(self) -> None:
        chosen = configure(table("llama3_70b"), DGX, gpus=64, fixed={"data": 8})
        assert chosen.data == 8
        assert figures("llama3_70b", chosen)[0]


class TestGivenSplits:
    def test_the_rest_is_plain(self) -> None:
        blocks = configure(table("llama3_70b"), DGX, gpus=64, fixed={"tensor": 8, "pipeline": 4}).blocks
        assert blocks is not None
        assert (blocks.tensor, blocks.pipeline, blocks.context, blocks.expert, blocks.virtual_stages) == (8, 4, 1, 1, 1)
        assert (blocks.sharding, blocks.schedule, blocks.sequence_parallel) == ("zero1", "1f1b", True)

    def test_recompute_is_the_least_that_fits(self) -> None:
        for gpus in (32, 64, 128):
            chosen = configure(table("gpt3_175b"), DGX, gpus=gpus, fixed={"tensor": 8, "pipeline": 4})
            assert chosen.blocks is not None
            least = splits.RECOMPUTES.index(chosen.blocks.recompute)
            smallest = replace(chosen, micro_batch=1)
            for name in splits.RECOMPUTES[:least]:
                assert not figures("gpt3_175b", replace(smallest, blocks=replace(chosen.blocks, recompute=name)))[0]

    def test_gpus_follow_from_the_split(self) -> None:
        assert configure(table("llama3_70b"), DGX, fixed={"tensor": 8, "pipeline": 4}).gpus == 32
        assert configure(table("llama3_70b"), DGX, fixed={"tensor": 8, "pipeline": 4, "data": 3}).gpus == 96
        assert configure(table("llama3_8b"), DGX, fixed={"tensor": 2}).gpus == 8

    def test_data_must_be_what_is_left(self) -> None:
        with pytest.raises(SpecError, match="not 64 GPUs; expected --gpus 32, or --data 8"):
            configure(table("llama3_70b"), DGX, gpus=64, fixed={"tensor": 8, "data": 4})

    def test_interleaved_batches_come_in_rounds(self) -> None:
        fixed = {"tensor": 8, "pipeline": 4, "virtual_stages": 5}
        with pytest.raises(SpecError, match="rounds of the 4 stages; a step has 3"):
            configure(table("llama3_70b"), DGX, gpus=64, fixed=fixed, micro_batch=1, global_batch=6)
        with pytest.raises(SpecError, match="the nearest that are: 8 and 16"):
            configure(table("llama3_70b"), DGX, gpus=64, fixed=fixed, global_batch=10)
        chosen = configure(table("llama3_70b"), DGX, gpus=64, fixed=fixed)
        assert chosen.accumulation % 4 == 0

    def test_what_does_not_fit_is_estimated_all_the_same(self) -> None:
        chosen = configure(table("gpt3_175b"), DGX, gpus=8, fixed={"tensor": 8})
        assert chosen.blocks is not None and chosen.blocks.recompute == "full"
        assert not figures("gpt3_175b", chosen)[0]

    def test_only_the_roofline_model_splits_blocks(self) -> None:
        found = table("llama3_8b")
        assert in_blocks(found, Options()) and not in_blocks(found, Options(model="paleo"))
        with pytest.raises(SpecError, match="no blocks to split under the paleo model"):
            configure(found, DGX, fixed={"pipeline": 4}, options=Options(model="paleo"))


class TestChangesThatFit:
    def test_it_fits_and_differs_in_one_thing(self) -> None:
        found = configure(table("llama3_70b"), DGX, gpus=64, fixed={"tensor": 8, "sharding": "zero0"})
        changes = changes_that_fit(table("llama3_70b"), found, Options())
        assert changes and found.blocks is not None
        for change in changes:
            assert figures("llama3_70b", change.strategy)[0]
            assert change.strategy.gpus == 64 or change.field == "gpus"
        assert changes[0].strategy.blocks == replace(found.blocks, sharding="zero1")

    def test_where_nothing_else_does_more_gpus_do(self) -> None:
        found = configure(table("gpt3_175b"), DGX, gpus=8, fixed={"tensor": 8})
        (change,) = changes_that_fit(table("gpt3_175b"), found, Options())
        assert change.strategy.gpus > 8
        assert figures("gpt3_175b", change.strategy)[0]


class TestLayers:
    @pytest.mark.parametrize("network", ["llama3_8b", "deepseekv3", "gpt_oss_120b"])
    @pytest.mark.parametrize("blocks", [Split(), Split(tensor=8, sequence_parallel=True, pipeline=4)])
    def test_they_add_up_to_the_computation(self, network: str, blocks: Split) -> None:
        strategy = Strategy(DGX, 64, 1, 8, precision="bf16", blocks=blocks)
        layers = layer_breakdown(table(network), strategy)
        per_pass = sum((layer.forward_s + layer.backward_s) * layer.count for layer in layers)
        parts = estimate(table(network), strategy).parts
        expected = float(parts["computation"].reshape(-1)[0])
        assert per_pass * 8 / blocks.pipeline == pytest.approx(expected, rel=1e-9)

    def test_they_hold_every_parameter_once(self) -> None:
        for name in ("llama3_8b", "deepseekv3", "gpt3_13b"):
            layers = layer_breakdown(table(name), Strategy(DGX, 8, 1, precision="bf16", blocks=Split()))
            assert sum(layer.parameters * layer.count for layer in layers) == table(name).network.parameters


class TestScaling:
    def test_throughput_is_over_one_group(self) -> None:
        blocks = Split(tensor=8, sequence_parallel=True, pipeline=4, sharding="zero1")
        found = scaling(table("llama3_70b"), DGX, (32, 64, 256), blocks=blocks, collectives=("ring_all_reduce",))
        assert found.speedup[0, 0] == pytest.approx(32)
        assert (found.efficiency > 0.5).all()
        assert found.global_batch.tolist() == [16, 32, 128]

    def test_groups_are_whole(self) -> None:
        with pytest.raises(SpecError, match=r"no whole groups of 32 .* near: 96 and 128"):
            scaling(table("llama3_70b"), DGX, (32, 100), blocks=Split(tensor=8, pipeline=4))


LLAMA = ("estimate", "llama3_70b", "--on", "dgx-h100", "--gpus", "64")


class TestCommandLine:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (
                (*LLAMA, "--tensor", "16", "--pipeline", "3"),
                "does not divide 64 GPUs; the nearest numbers of GPUs: 48 and",
            ),
            (("estimate", "llama3_70b", "--on", "dgx-h100", "--gpus", "96", "--tensor", "12"), "valid: 8 and 16"),
            ((*LLAMA, "--pipeline", "64", "--virtual-stages", "2"), "is more parts than the 80 blocks"),
            ((*LLAMA, "--expert", "8"), "every block is dense; the nearest valid: 1"),
            ((*LLAMA, "--tensor", "8", "--context", "3"), "does not divide 64 GPUs"),
            ((*LLAMA, "--precision", "nvfp4"), "h100-sxm5-80gb has no peak in nvfp4; it has fp32"),
            ((*LLAMA, "--tensor", "8", "--precision", "mxfp8"), "--precision: mxfp8 is not among those of h100-sxm5"),
            ((*LLAMA, "--data", "7"), "data 7 does not divide 64 GPUs; the nearest that do: 4 and 8"),
            ((*LLAMA, "--sharding", "zero4"), "--sharding is 'zero4'; did you mean 'zero0'?"),
            ((*LLAMA, "--recompute", "selectiv"), "--recompute is 'selectiv'; did you mean 'selective'?"),
            ((*LLAMA, "--pipeline", "4", "--sharding", "zero3"), "expected zero0, zero1 or fsdp"),
            ((*LLAMA, "--split", "hybrid"), "is split by tensor, pipeline, context and expert"),
            ((*LLAMA, "--split", "data", "--tensor", "8"), "split 'data' divides nothing"),
            ((*LLAMA, "--virtual-stages", "2"), "virtual stages need a pipeline"),
            ((*LLAMA, "--tensor", "8", "--global-batch", "100"), "the nearest that are: 96 and 104"),
            ((*LLAMA, "--model", "paleo", "--pipeline", "2"), "--pipeline: the paleo model splits layers alone"),
            (("estimate", "resnet50", "--on", "dgx-h100", "--recompute", "full"), "resnet50 is no transformer"),
            (("scaling", "resnet50", "--on", "dgx-h100", "--tensor", "8"), "scaling is over replicas of resnet50"),
            (
                ("scaling", "llama3_8b", "--on", "dgx-h100", "--tensor", "8", "--workers", "12"),
                "does not divide 12 GPUs",
            ),
            (
                ("recommend", "vgg16", "--budget", "8gpus", "--on", "p4d.24xlarge", "--expert", "8"),
                "--expert: vgg16 is no transformer",
            ),
            (
                ("recommend", "llama3_8b", "--budget", "8gpus", "--on", "p4d.24xlarge", "--tensor", "5"),
                "tensor 5 does not divide the 32 heads",
            ),
            (
                ("estimate", "gpt3_175b", "--on", "dgx-h100", "--sequence-length", "4096"),
                "gpt3_175b has learned 2,048 positions; expected at most 2,048",
            ),
            (
                ("estimate", "gpt3_175b", "--on", "dgx-h100", "--set", "net.transformer.sequence_length=4096"),
                "gpt3_175b has learned 2,048 positions; expected at most 2,048",
            ),
            (("estimate", "vgg16", "--on", "dgx-h100", "--sequence-length", "64"), "vgg16 is no transformer"),
            (("estimate", "vit_base", "--on", "dgx-h100", "--sequence-length", "64"), "the patches of an image"),
        ],
        ids=lambda value: " ".join(value[4:]) if isinstance(value, tuple) else "",
    )
    def test_refusals(self, run: Runner, words: tuple[str, ...], expected: str) -> None:
        result = run(*words)
        assert result.code == 2 and result.out == ""
        assert expected in result.err
        assert all(line.startswith("paleo-opt: ") for line in result.err.splitlines())

    def test_the_parts_add_up(self, run: Runner) -> None:
        found = run(*LLAMA, "--tensor", "8", "--pipeline", "4", "--json").json
        step = found["estimate"]
        assert sum(step["parts"].values()) == pytest.approx(step["step_time_s"], rel=1e-9)
        assert step["bubble_time_s"] == step["parts"]["bubble_s"] > 0
        strategy = found["strategy"]
        assert (strategy["split"], strategy["tensor"], strategy["pipeline"], strategy["data"]) == ("blocks", 8, 4, 2)

    def test_the_command_that_is_offered_is_the_answer(self, run: Runner) -> None:
        words = ("recommend", "llama3_8b", "--budget", "16gpus", "--on", "p5.48xlarge", "--draws", "0", "--trials", "0")
        text = run(*words).out
        offered = shlex.split(text[text.index("  paleo-opt estimate") :].replace("\\\n", " "))
        again = run(*offered[1:], "--json").json
        recommended = run(*words, "--json").json["recommended"]
        collective = {"collective": recommended["strategy"]["collective"]}  # of no matter where state is shared
        assert again["strategy"] | collective == recommended["strategy"]
        assert again["estimate"]["step_time_s"] == pytest.approx(recommended["estimate"]["step_time_s"])

    def test_what_is_fixed_of_a_search_holds_of_its_answer(self, run: Runner) -> None:
        words = ("--tensor", "4", "--pipeline", "2", "--recompute", "full", "--no-sequence-parallel")
        found = run("recommend", "llama3_8b", "--budget", "16gpus", "--on", "p5.48xlarge", *words, "--json")
        strategy = found.json["recommended"]["strategy"]
        assert (strategy["tensor"], strategy["pipeline"], strategy["recompute"]) == (4, 2, "full")
        assert strategy["sequence_parallel"] is False

    def test_memory_names_what_is_in_flight(self, run: Runner) -> None:
        words = ("--tensor", "8", "--pipeline", "4", "--micro-batch", "1", "--recompute", "full")
        assert "activations (up to 4 micro-batches)" in run(*LLAMA, *words).out
        # Interleaved, (2 (p - 1) + (v - 1) p + 1) / v of them: arXiv:2104.04473.
        assert "(up to 5.5 micro-batches)" in run(*LLAMA, *words, "--virtual-stages", "2").out

    def test_the_answer_says_what_was_chosen(self, run: Runner) -> None:
        text = run(*LLAMA, "--tensor", "8").out
        for words in ("data 8 × tensor 8", "zero1: the optimizer's state", "global batch 2,048: as many", "bubble"):
            assert (words in text) == (words != "bubble")

    def test_a_longer_sequence_of_rotary_positions(self, run: Runner) -> None:
        shorter, longer = (
            run(*LLAMA, "--tensor", "8", "--sequence-length", length, "--micro-batch", "1", "--json").json["estimate"]
            for length in ("4096", "8192")
        )
        assert longer["samples_per_s"] < 0.5 * shorter["samples_per_s"]

    def test_lists_are_the_estimators(self) -> None:
        for name in ("CONTEXT_METHODS", "SCHEDULES", "SHARDINGS", "RECOMPUTES", "ASSIGNMENTS", "PLACEMENTS"):
            assert getattr(splitting, name) == getattr(splits, name)
        assert set(splitting.NAMES) == {*splits.FIELDS, "data"}
