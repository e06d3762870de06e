"""``paleo-opt scaling``: the published PALEO's curves, the definitions of weak and strong, and the drawing."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from command_line import Runner, check_form

from paleo_opt.report.curve import speedup_curve

WEAK = ("scaling", "alexnet_v2", "--model", "paleo", "--on", "ethernet20", "--device", "K80", "--precision", "fp32",
        "--ppp-comp", "0.49", "--ppp-comm", "0.72", "--micro-batch", "512", "--workers", "1,4,128")  # fmt: skip
STRONG = (*(word for word in WEAK if word not in ("--micro-batch", "512", "1,4,128")), "1,4,128", "--scaling", "strong",
          "--global-batch", "512")  # fmt: skip
PALEO = ("one_to_all", "tree_all_reduce", "butterfly_all_reduce")
# The published implementation, in seconds: the local work of one worker by its batch, and the three all-reduces.
LOCAL = {512: 0.286717136 + 0.779233111 + 0.0011891949}
ALL_REDUCE = {1: (0.0, 0.0, 0.0), 4: (0.670718827, 0.447145884, 0.223572942), 128: (28.3937637, 1.5650106, 0.782505298)}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def points(run: Runner, *words: str) -> dict[str, dict[int, dict[str, float]]]:
    """The points of a run by collective and workers."""
    found = run(*words, "--json").json["collectives"]
    return {name: {point["workers"]: point for point in row} for name, row in found.items()}


class TestFigures:
    def test_weak_scaling_agrees_with_the_published_implementation(self, run: Runner) -> None:
        found = points(run, *WEAK)
        for row, name in enumerate(PALEO):
            for workers, times in ALL_REDUCE.items():
                point = found[name][workers]
                step = LOCAL[512] + times[row]
                assert point["step_time_s"] == pytest.approx(step, rel=1e-6)
                assert point["communication_time_s"] == pytest.approx(times[row], rel=1e-6, abs=1e-12)
                assert point["samples_per_s"] == pytest.approx(512 * workers / step, rel=1e-6)
                assert point["speedup"] == pytest.approx(workers * LOCAL[512] / step, rel=1e-6)
                assert point["efficiency"] == pytest.approx(LOCAL[512] / step, rel=1e-6)
                assert (point["micro_batch"], point["global_batch"]) == (512, 512 * workers)

    def test_strong_scaling_shares_one_batch(self, run: Runner) -> None:
        found = points(run, *STRONG)
        # Forward, backward and update of 128 samples, of the published implementation.
        local = 0.0722767255 + 0.196002885 + 0.0011891949
        for row, name in enumerate(PALEO):
            point = found[name][4]
            assert (point["micro_batch"], point["global_batch"]) == (128, 512)
            assert point["step_time_s"] == pytest.approx(local + ALL_REDUCE[4][row], rel=1e-6)
            assert point["speedup"] == pytest.approx(LOCAL[512] / point["step_time_s"], rel=1e-6)

    def test_more_workers_than_samples_do_no_more_work(self, run: Runner) -> None:
        words = (
            "scaling",
            "alexnet_v2",
            "--on",
            "ethernet20",
            "--device",
            "K80",
            "--scaling",
            "strong",
            "--global-batch",
            "3",
        )
        found = points(run, *words, "--workers", "1,2,8")["one_to_all"]
        assert [found[workers]["micro_batch"] for workers in (1, 2, 8)] == [3, 2, 1]
        for point in found.values():
            # Three samples a step, however many workers wait.
            assert point["samples_per_s"] == pytest.approx(3 / point["step_time_s"])
            ideal = math.ceil(90 * 1_281_167 / 3) * point["step_time_s"]
            assert 1 <= point["time_to_target_s"] / ideal < 1.1

    def test_a_node_is_paid_whole(self, run: Runner) -> None:
        found = points(run, "scaling", "resnet50", "--on", "p4d.24xlarge", "--workers", "4,8", "--micro-batch", "64")
        for point in found["hierarchical"].values():
            assert point["nodes"] == 1
            assert point["cost_usd"] == pytest.approx(21.957642 * point["time_to_target_s"] / 3600)

    def test_workers_default_to_powers_of_two_up_to_the_cluster(self, run: Runner) -> None:
        assert list(points(run, "scaling", "resnet50", "--on", "p4d.24xlarge")["hierarchical"]) == [
            2**i for i in range(8)
        ]
        words = ("--set", "max_nodes=3", "--set", "devices_per_node=8")
        assert list(points(run, "scaling", "resnet50", "--on", "p4d.24xlarge", *words)["hierarchical"]) == [
            1,
            2,
            4,
            8,
            16,
            24,
        ]

    def test_workers_are_sorted_and_each_once(self, run: Runner) -> None:
        assert list(points(run, *WEAK[:-1], "8, 2,8")["one_to_all"]) == [2, 8]

    def test_only_the_collectives_named(self, run: Runner) -> None:
        words = ("--collective", "in_network", "--collective", "one_to_all", "--collective", "in_network")
        assert list(points(run, *WEAK, *words)) == ["in_network", "one_to_all"]

    def test_inference_has_no_target(self, run: Runner) -> None:
        point = points(run, *WEAK, "--inference")["one_to_all"][4]
        assert point["communication_time_s"] == pytest.approx(0, abs=1e-12)
        assert point["time_to_target_s"] is None


class TestText:
    def test_answer_first(self, run: Runner) -> None:
        lines = run.text(*WEAK).splitlines()
        assert lines[0] == "alexnet_v2 · weak scaling · 512 samples a worker · K80 over ethernet20 · fp32"
        assert re.fullmatch(
            r"→ 128 workers: [\d.]+ times one worker, efficiency \d+%, ring_all_reduce \(the fastest of 7\)", lines[1]
        )

    def test_the_peak_is_named_where_it_is_not_the_end(self, run: Runner) -> None:
        text = run.text("scaling", "vgg16", "--on", "ethernet", "--device", "K80", "--collective", "one_to_all",
                        "--scaling", "strong", "--global-batch", "64", "--workers", "1,2,4,8,64")  # fmt: skip
        assert "; most with " in text.splitlines()[1]

    def test_a_table_for_each_collective_named(self, run: Runner) -> None:
        text = run.text(*WEAK, "--collective", "one_to_all", "--collective", "tree_all_reduce")
        assert "\none_to_all\nworkers" in text
        assert "\ntree_all_reduce\nworkers" in text
        assert re.search(r"^ +128 +65,536 +29.5 s +96% +2,225 +4.64 +3.6% +17 h \d+ min", text, re.MULTILINE)

    def test_columns_without_news_are_dropped(self, run: Runner) -> None:
        heading = next(line for line in run.text(*WEAK).splitlines() if line.startswith("workers"))
        assert not {"nodes", "cost"} & set(heading.split())

    def test_what_does_not_fit_is_marked(self, run: Runner) -> None:
        text = run.text("scaling", "resnet50", "--on", "p4d.24xlarge", "--scaling", "strong", "--global-batch", "2048")
        assert re.search(r"^ +1\* ", text, re.MULTILINE)
        assert re.search(r"^ +8 ", text, re.MULTILINE)
        assert "* does not fit the 40 GB of a device" in text
        assert "one worker whose memory would not hold the batch" in text

    @pytest.mark.parametrize("columns", [80, 100])
    @pytest.mark.parametrize("workers", ["1", "3", "1,1000000", ",".join(str(2**i) for i in range(18)), "5,6,7"])
    def test_no_line_is_too_wide(
        self, run: Runner, monkeypatch: pytest.MonkeyPatch, columns: int, workers: str
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        text = run.text("scaling", "vgg16", "--on", "infiniband", "--device", "v100-sxm2-16gb", "--workers", workers)
        check_form(text.splitlines(), columns)


class TestRefusals:
    def test_a_batch_of_the_other_kind(self, run: Runner) -> None:
        assert "expected a micro-batch" in run.refusal(
            "scaling", "vgg16", "--on", "p3.16xlarge", "--global-batch", "64"
        )
        words = ("--scaling", "strong", "--micro-batch", "64")
        assert "expected a global batch" in run.refusal("scaling", "vgg16", "--on", "p3.16xlarge", *words)

    def test_more_workers_than_there_are(self, run: Runner) -> None:
        assert "has 4,000 GPUs, not 4,096" in run.refusal(
            "scaling", "vgg16", "--on", "p4d.24xlarge", "--workers", "1,4096"
        )


class TestCurve:
    def test_no_loss_is_the_diagonal(self) -> None:
        lines = speedup_curve([1, 2, 4, 8], {"A": [1.0, 2.0, 4.0, 8.0]}, 60)
        found = [(row, line.index("A")) for row, line in enumerate(lines) if "│" in line and "A" in line]
        rows, columns = np.array(found).T
        assert len(found) == 4
        assert (np.diff(rows) > 0).all()
        assert (np.diff(columns) < 0).all()
        assert max(np.diff(columns)) - min(np.diff(columns)) <= 1

    def test_where_two_meet_the_first_is_seen(self) -> None:
        lines = speedup_curve([1, 2], {"A": [1.0, 2.0], "B": [1.0, 1.5]}, 60)
        drawn = "".join(lines[1:])
        assert (drawn.count("A"), drawn.count("B")) == (2, 1)

    def test_a_curve_below_one_stays_inside(self) -> None:
        lines = speedup_curve([1, 1024], {"A": [1.0, 1e-9]}, 60)
        check_form(lines, 60)
        assert len(lines) == 17
