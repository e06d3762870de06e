"""``paleo-opt calibrate`` and ``measure`` at the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_line import Runner
from test_calibrate import DEVICE, PLATFORM, made_up, table

from paleo_opt.cli.calibrate import run as run_calibrate
from paleo_opt.cli.measure import PARTS
from paleo_opt.measuring.measure import PARTS as MEASURED_PARTS


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


@pytest.fixture(scope="module")
def measurements(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [row for row in made_up(0.02) if row.operation in ("gemm", "add", "step")]
    rows[0] = type(rows[0])(**{**rows[0].__dict__, "time_s": 1e-6})  # above any data sheet
    return str(table(tmp_path_factory.mktemp("table"), rows))


class TestCalibrate:
    def test_the_answer(self, run: Runner, measurements: str) -> None:
        text = run.text("calibrate", measurements, "--device", DEVICE, "--platform", PLATFORM)
        lines = text.splitlines()
        assert lines[0] == f"{DEVICE} · {PLATFORM}"
        assert "1 refused" in lines[1]
        assert "device.vector" in text
        assert "above the" in text
        assert "wrote" not in text

    def test_json_has_the_same_figures(self, run: Runner, measurements: str) -> None:
        answer = run("calibrate", measurements, "--device", DEVICE, "--platform", PLATFORM, "--json").json
        assert answer["rows"] == answer["errors"]["all"]["rows"]
        assert answer["errors"]["all"]["median_after"] < answer["errors"]["all"]["median_before"]
        assert {one["name"] for one in answer["constants"]} >= {"device.vector", "platform.launch"}
        assert len(answer["refused"]) == 1
        assert answer["recommended"] is None

    def test_files_and_recommendations(self, run: Runner, measurements: str, tmp_path: Path) -> None:
        out = str(tmp_path / "own")
        words = ("calibrate", measurements, "--device", DEVICE, "--platform", PLATFORM, "--out", out)
        answer = run(*words, "--recommend", f"nin --budget 2gpus --on pcie3-x16 --device {DEVICE}", "--json").json
        assert all(Path(name).is_file() for name in answer["files"])
        before, after = (answer["recommended"][when]["estimate"]["step_time_s"] for when in ("before", "after"))
        assert before != after

    def test_refusals(self, run: Runner, measurements: str, tmp_path: Path) -> None:
        assert run.refusal("calibrate", measurements).endswith("--device is missing (see: paleo-opt calibrate --help)")
        assert "did you mean 'k40'" in run.refusal("calibrate", measurements, "--device", "k4")
        assert "no such file" in run.refusal("calibrate", "none.csv", "--device", DEVICE)
        assert "is a file" in run.refusal("calibrate", measurements, "--device", DEVICE, "--out", measurements)
        line = run.refusal("calibrate", measurements, "--device", DEVICE, "--recommend", "nin --buget 3")
        assert "did you mean '--budget'?" in line
        assert run_calibrate.__doc__


class TestMeasure:
    def test_parts_are_the_same(self) -> None:
        assert PARTS == MEASURED_PARTS

    def test_refusals_before_anything_is_measured(self, run: Runner, tmp_path: Path) -> None:
        assert "did you mean 'gemm'?" in run.refusal("measure", "--only", "gem")
        assert "there is no folder" in run.refusal("measure", "--out", str(tmp_path / "a" / "b"), "--only", "gemm")
        assert "expected letters" in run.refusal("measure", "--device-name", "../x")
        assert "which one?" in run.refusal("measure", "--only", "network")

    def test_the_extra_is_named_where_it_is_missing(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else sys)
        line = run.refusal("measure")
        assert line == "paleo-opt: measuring needs PyTorch, which is not installed; pip install 'paleo-opt[measure]'"
