"""``estimate --timeline`` and ``--trace``: a drawing under the answer, files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Runner, check_form

PIPELINE = (
    "estimate", "gpt3_175b", "--on", "dgx-h100", "--gpus", "64", "--tensor", "8", "--pipeline", "8",
    "--micro-batch", "1", "--global-batch", "16",
)  # fmt: skip
LAYERS = ("estimate", "resnet50", "--on", "p4d.24xlarge", "--gpus", "32")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def test_a_pipeline_is_drawn_under_its_answer(run: Runner) -> None:
    text = run.text(*PIPELINE, "--timeline")
    answer, drawing = text.rsplit("\n\n", 1)
    assert answer.rstrip() == run.text(*PIPELINE).rstrip()
    assert drawing.startswith("one step: 1F1B, 8 stages, 16 micro-batches, ")
    assert [line.split()[1] for line in drawing.splitlines() if line.startswith("stage ")] == [*"12345678"]
    # The longest that stages can wait is the bubble of (p - 1) / (m + p - 1).
    waiting = float(drawing.split("waiting for other stages ")[1].split("%")[0])
    assert 25 < waiting <= 100 * 7 / 23 + 2


def test_a_network_of_layers_is_drawn_as_one_device(run: Runner) -> None:
    drawing = run.text(*LAYERS, "--timeline").rsplit("\n\n", 1)[1]
    assert "\ncomputation  1░" in drawing
    assert "\ngradients " in drawing


def test_a_chrome_trace_says_what_ran(run: Runner, tmp_path: Path) -> None:
    path = tmp_path / "step.json"
    result = run(*PIPELINE, "--trace", str(path), "--json")
    assert (result.code, result.err) == (0, f"wrote {path}\n")
    trace = json.loads(path.read_text(encoding="utf-8"))
    assert trace["otherData"]["network"] == "gpt3_175b"
    assert trace["otherData"]["strategy"] == result.json["strategy"]
    last = max(event["ts"] + event["dur"] for event in trace["traceEvents"] if event["ph"] == "X")
    assert last / 1e6 == pytest.approx(result.json["estimate"]["step_time_s"], rel=0.01)


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_picture_is_written(run: Runner, tmp_path: Path, kind: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"step.{kind}"
    result = run(*LAYERS, "--trace", str(path))
    assert (result.code, result.err) == (0, f"wrote {path}\n")
    check_form(result.lines)
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize(("words", "message"), [
    (("--trace", "step.html"), "--trace is 'step.html'; expected a file's name that ends in .json"),
    (("--trace", "step"), "--trace is 'step'; expected a file's name"),
    (("--trace", "/nowhere/step.json"), "--trace: there is no folder '/nowhere'"),
    (("--timeline", "--json"), "expected --trace FILE beside --json"),
    (("--timeline", "--inference"), "--timeline is of a training step; --inference has a forward pass only"),
    (("--trace", "step.json", "--inference"), "--trace is of a training step"),
    (("--timeline", "--updates", "asynchronous"), "under asynchronous updates each has its own"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(run: Runner, words: tuple[str, ...], message: str) -> None:
    assert message in run.refusal(*LAYERS, *words)


def test_asking_again_draws_the_timeline_and_writes_no_file(run: Runner, tmp_path: Path) -> None:
    trace, folder = tmp_path / "step.json", tmp_path / "answer"
    first = run(*LAYERS, "--timeline", "--trace", str(trace), "--out", str(folder))
    assert first.code == 0
    trace.unlink()
    assert run("rerun", str(folder)).out == first.out
    assert not trace.exists()
