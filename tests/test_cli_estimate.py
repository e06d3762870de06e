"""``paleo-opt estimate``: its figures against the published implementation and by hand, its choices, its form."""

from __future__ import annotations

import math
import re

import pytest
from command_line import Runner, check_form
from hand_built import table

from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import MODELS
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.load import load_cluster

PALEO_RUN = (
    "alexnet_v2", "--model", "paleo", "--on", "ethernet20", "--device", "K80", "--gpus", "4", "--micro-batch", "512",
    "--ppp-comp", "0.49", "--ppp-comm", "0.72", "--collective", "tree_all_reduce", "--precision", "fp32",
)  # fmt: skip
# The published implementation on this run, in seconds: forward, backward, update, tree all-reduce.
FORWARD, BACKWARD, UPDATE, TREE = 0.286717136, 0.779233111, 0.0011891949, 0.447145884
STRATEGY_FIELDS = (
    "cluster", "device", "gpus", "nodes", "micro_batch", "global_batch", "tensor", "pipeline", "data", "expert",
    "context", "virtual_stages", "sharding", "recompute", "collective", "precision",
)  # fmt: skip
ESTIMATE_FIELDS = (
    "step_time_s", "compute_time_s", "communication_time_s", "exposed_communication_time_s", "bubble_time_s",
    "update_time_s", "memory_bytes", "memory", "samples_per_s", "mfu", "time_to_target_s", "cost_usd", "energy_kwh",
    "interval",
)  # fmt: skip
LAYER_FIELDS = (
    "name", "type", "output_shape", "parameters_bytes", "flops", "forward_compute_s", "forward_memory_s",
    "backward_data_compute_s", "backward_data_memory_s", "backward_filter_compute_s", "backward_filter_memory_s",
    "bound",
)  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


class TestJson:
    def test_agrees_with_the_published_implementation(self, run: Runner) -> None:
        estimate = run("estimate", *PALEO_RUN, "--json").json["estimate"]
        assert estimate["forward_time_s"] == pytest.approx(FORWARD, rel=1e-6)
        assert estimate["backward_time_s"] == pytest.approx(BACKWARD, rel=1e-6)
        assert estimate["update_time_s"] == pytest.approx(UPDATE, rel=1e-6)
        assert estimate["all_reduce_time_s"] == pytest.approx(TREE, rel=1e-6)
        step = FORWARD + BACKWARD + UPDATE + TREE
        assert estimate["step_time_s"] == pytest.approx(step, rel=1e-6)
        assert estimate["samples_per_s"] == pytest.approx(2048 / step, rel=1e-6)
        # 90 epochs of ImageNet at small batches, and 0.7% more at 2,048.
        assert estimate["steps"] == math.ceil(90 * 1_281_167 * (1 + 2048 / 294_000) / 2048)
        # What running adds to the ideal time, checkpoints and failures, is little on four devices.
        assert 1 <= estimate["time_to_target_s"] / (56_694 * step) < 1.01

    def test_has_every_field_of_the_contract(self, run: Runner) -> None:
        answer = run("estimate", *PALEO_RUN, "--json").json
        assert set(STRATEGY_FIELDS) <= set(answer["strategy"])
        assert set(ESTIMATE_FIELDS) <= set(answer["estimate"])
        assert {"parameters", "gradients", "optimizer", "activations", "workspace"} <= set(answer["estimate"]["memory"])
        assert all(set(LAYER_FIELDS) <= set(layer) for layer in answer["layers"])

    def test_the_parts_make_the_step(self, run: Runner) -> None:
        estimate = run(
            "estimate",
            "alexnet_v2",
            "--on",
            "p3.16xlarge",
            "--gpus",
            "16",
            "--split",
            "hybrid",
            "--tensor",
            "8",
            "--json",
        ).json["estimate"]
        parts = ("compute_time_s", "exposed_communication_time_s", "bubble_time_s", "update_time_s")
        assert sum(estimate[part] for part in parts) == pytest.approx(estimate["step_time_s"])
        assert sum(estimate["memory"].values()) == pytest.approx(estimate["memory_bytes"])

    @pytest.mark.parametrize("algorithm", ["gemm", "auto"])
    @pytest.mark.parametrize("split", [(), ("--split", "hybrid"), ("--split", "model")])
    @pytest.mark.parametrize("model", MODELS)
    def test_the_layers_make_the_computation(
        self, run: Runner, split: tuple[str, ...], algorithm: str, model: str
    ) -> None:
        answer = run(
            "estimate", "alexnet_v2", "--on", "pcie3", "--device", "K80", "--gpus", "4", "--micro-batch", "64", *split,
            "--conv-algorithm", algorithm, "--model", model, "--json",
        ).json  # fmt: skip
        assert sum(layer["forward_s"] + layer["backward_s"] for layer in answer["layers"]) == pytest.approx(
            answer["estimate"]["compute_time_s"]
        )
        for layer in answer["layers"]:
            parts = [value for name, value in layer.items() if name.endswith(("compute_s", "memory_s"))]
            total = layer["forward_s"] + layer["backward_s"]
            if model == "paleo":
                assert total == pytest.approx(sum(parts), abs=1e-15)
            else:  # the longer of the two in each kernel, and launches
                assert total >= max(sum(parts[::2]), sum(parts[1::2])) * (1 - 1e-12)

    def test_what_is_not_known_is_null(self, run: Runner) -> None:
        estimate = run("estimate", *PALEO_RUN, "--json").json["estimate"]
        assert estimate["cost_usd"] is None  # PALEO's networks have no price
        assert estimate["energy_kwh"] is None  # and its devices no power
        assert estimate["interval"]["cost_usd"] is None

    def test_every_figure_is_the_estimators(self, run: Runner) -> None:
        words = ("estimate", "resnet50", "--on", "p4d.24xlarge", "--gpus", "12", "--micro-batch", "64", "--collective",
                 "ring_all_reduce", "--json")  # fmt: skip
        found = run(*words).json["estimate"]
        strategy = Strategy(load_cluster("p4d.24xlarge"), 12, 64, collective="ring_all_reduce", precision="bf16")
        expected = estimate(table("resnet50", None), strategy)
        for name, value in found.items():
            if isinstance(value, float) and name not in ("bubble_time_s", "exposed_communication_time_s"):
                attribute = {"samples_to_target": "samples"}.get(name, name)
                if hasattr(expected, attribute):
                    assert value == pytest.approx(getattr(expected, attribute).item()), name

    def test_money_by_hand(self, run: Runner) -> None:
        answer = run("estimate", "resnet50", "--on", "p4d.24xlarge", "--gpus", "12", "--json").json
        cluster = load_cluster("p4d.24xlarge")
        assert cluster.price is not None
        hours = answer["estimate"]["time_to_target_s"] / 3600
        assert answer["strategy"]["nodes"] == 2  # 12 GPUs take two nodes of 8, and both are paid
        assert answer["estimate"]["cost_usd"] == pytest.approx(2 * cluster.price.on_demand * hours)

    def test_inference_has_no_target_and_no_gradients(self, run: Runner) -> None:
        answer = run("estimate", "vgg16", "--device", "a10", "--inference", "--micro-batch", "32", "--json").json
        estimate = answer["estimate"]
        assert estimate["time_to_target_s"] is None
        assert estimate["backward_time_s"] == estimate["update_time_s"] == estimate["memory"]["gradients"] == 0
        assert all(layer["backward_filter_compute_s"] == 0 for layer in answer["layers"])


class TestChoices:
    def test_left_out_it_is_one_node_and_the_largest_batch_that_fits(self, run: Runner) -> None:
        answer = run("estimate", "resnet50", "--on", "p4d.24xlarge", "--json").json
        assert answer["strategy"]["gpus"] == 8
        chosen = answer["strategy"]["micro_batch"]
        assert chosen & (chosen - 1) == 0
        twice = run("estimate", "resnet50", "--on", "p4d.24xlarge", "--micro-batch", str(2 * chosen), "--json").json
        assert answer["estimate"]["fits"]
        assert not twice["estimate"]["fits"]

    def test_the_batch_stays_within_the_largest_that_reached_the_target(self, run: Runner) -> None:
        answer = run("estimate", "resnet50", "--on", "p4d.24xlarge", "--gpus", "512", "--json").json
        assert answer["strategy"]["global_batch"] == 512 * 128 <= 67_840
        text = run.text("estimate", "resnet50", "--on", "p4d.24xlarge", "--gpus", "512")
        assert "with a global batch of at most 67,840" in text

    def test_a_global_batch_alone_takes_the_largest_divisor_that_fits(self, run: Runner) -> None:
        strategy = run("estimate", "vgg16", "--on", "p3.2xlarge", "--global-batch", "1536", "--json").json["strategy"]
        assert strategy["micro_batch"] * strategy["accumulation"] == 1536
        assert strategy["accumulation"] > 1
        larger = next(m for m in range(strategy["micro_batch"] + 1, 1537) if 1536 % m == 0)
        assert not run("estimate", "vgg16", "--on", "p3.2xlarge", "--micro-batch", str(larger), "--json").json[
            "estimate"
        ]["fits"]

    def test_both_batches_set_the_passes(self, run: Runner) -> None:
        words = ("--on", "p4d.24xlarge", "--global-batch", "2048", "--micro-batch", "32")
        assert run("estimate", "resnet50", *words, "--json").json["strategy"]["accumulation"] == 8
        assert "global batch 2,048 = 8 × 32 × 8 passes" in run.text("estimate", "resnet50", *words)

    def test_batches_that_do_not_go_together(self, run: Runner) -> None:
        words = ("estimate", "resnet50", "--on", "p4d.24xlarge")
        line = run.refusal(*words, "--global-batch", "1000", "--micro-batch", "32")
        assert "8 workers × a micro-batch of 32 = 256 samples; the nearest that are: 768 and 1,024" in line
        assert "the nearest that are: 8" in run.refusal(*words, "--global-batch", "5")

    def test_the_fastest_collective_is_no_slower_than_any_that_libraries_offer(self, run: Runner) -> None:
        words = ("estimate", "vgg16", "--on", "p3.16xlarge", "--gpus", "32", "--micro-batch", "64", "--json")
        fastest = run(*words).json["estimate"]["step_time_s"]
        for name in ("ring_all_reduce", "double_binary_tree", "hierarchical"):
            assert fastest <= run(*words, "--collective", name).json["estimate"]["step_time_s"]

    def test_a_tensor_alone_divides_every_layer(self, run: Runner) -> None:
        words = ("estimate", "vgg16", "--on", "p3.16xlarge", "--tensor", "4", "--json")
        strategy = run(*words).json["strategy"]
        assert (strategy["split"], strategy["tensor"], strategy["data"]) == ("model", 4, 2)

    def test_settings_reach_their_files(self, run: Runner) -> None:
        words = ("estimate", "resnet50", "--on", "p4d.24xlarge", "--json")
        before, after = run(*words).json, run(
            *words, "--set", "price.on_demand=$43.915284", "--set", "device.memory=80GB", "--set", "net.job.epochs=70"
        ).json  # fmt: skip
        assert after["strategy"]["micro_batch"] == 2 * before["strategy"]["micro_batch"]
        assert after["estimate"]["samples_to_target"] > 1.9 * before["estimate"]["samples_to_target"]
        assert after["inputs"]["price_usd_per_node_hour"] == pytest.approx(2 * 21.957642)


class TestText:
    def test_a_figure_for_every_question(self, run: Runner) -> None:
        text = run.text("estimate", *PALEO_RUN)
        step = FORWARD + BACKWARD + UPDATE + TREE
        assert f"step {step:.2f} s" in text
        assert "4 GPUs, one a node" in text
        assert "global batch 2,048 = 4 × 512" in text
        shares = dict(re.findall(r"^  (forward|backward|all-reduce) .*?(\d+)%", text, re.MULTILINE))
        assert shares == {
            name: f"{100 * part / step:.0f}"
            for name, part in (("forward", FORWARD), ("backward", BACKWARD), ("all-reduce", TREE))
        }
        assert "K80 over ethernet20 has no price" in text

    def test_counts_can_be_checked(self, run: Runner) -> None:
        text = run.text("estimate", "resnet50", "--on", "p4d.24xlarge", "--gpus", "32")
        assert "32 GPUs = 4 nodes × 8 a100-sxm4-40gb" in text
        assert "4 nodes × $21.9576 an hour" in text
        assert "price of 2026-01-21" in text

    def test_half_a_node_says_what_idles(self, run: Runner) -> None:
        assert "12 GPUs on 2 nodes × 8 a100-sxm4-40gb (4 idle)" in run.text(
            "estimate", "resnet50", "--on", "p4d.24xlarge", "--gpus", "12"
        )

    def test_what_does_not_fit_is_estimated_and_marked(self, run: Runner) -> None:
        words = ("estimate", "vgg16", "--device", "k20", "--micro-batch", "1024")
        text = run.text(*words)
        assert "does not fit: 64.7 GB on devices of 5 GB" in text
        assert "59.7 GB too many" in text
        assert run(*words, "--json").json["estimate"]["fits"] is False

    def test_layers_are_all_there(self, run: Runner) -> None:
        text = run.text("estimate", *PALEO_RUN, "--layers")
        rows = text[text.index("layers: ") :].splitlines()[2:]
        assert [row.split()[0] for row in rows] == [
            "data", "conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5", "fc6", "dropout6", "fc7",
            "dropout7", "fc8", "softmax",
        ]  # fmt: skip
        assert rows[1].split()[-1] == "compute"
        assert rows[2].split()[-1] == "memory"

    def test_a_split_layer_and_an_algorithm_are_named(self, run: Runner) -> None:
        words = (
            "estimate",
            "alexnet_v2",
            "--on",
            "pcie3",
            "--device",
            "K20",
            "--gpus",
            "4",
            "--micro-batch",
            "128",
            "--layers",
        )
        assert re.search(r"^fc6 ÷4 ", run.text(*words, "--split", "hybrid"), re.MULTILINE)
        assert re.search(r"^conv2 .*, fft$", run.text(*words, "--conv-algorithm", "fft"), re.MULTILINE)

    @pytest.mark.parametrize("columns", [40, 80, 100, 250])
    @pytest.mark.parametrize("words", [
        ("inception_v3", "--on", "p4d.24xlarge", "--gpus", "12", "--layers"),
        ("densenet121", "--on", "Standard_NC80adis_H100_v5", "--layers", "--conv-algorithm", "auto"),
        ("lstm_ptb", "--device", "k80", "--layers"),
        ("alexnet_v2", "--on", "pcie2", "--device", "K20", "--gpus", "8", "--split", "hybrid", "--layers"),
    ])  # fmt: skip
    def test_no_line_is_too_wide(
        self, run: Runner, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], columns: int
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        check_form(run.text("estimate", *words).splitlines(), max(80, min(columns, 100)))

    @pytest.mark.parametrize("words", [
        ("resnet50", "--gpus", "4", "--device", "K80"),
        ("resnet50",),
    ])  # fmt: skip
    def test_a_cluster_must_be_named(self, run: Runner, words: tuple[str, ...]) -> None:
        assert "--on" in run.refusal("estimate", *words)
