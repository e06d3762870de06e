"""``paleo-opt plan``: exit codes, streams, files."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Runner

QUARTER = "examples/quarter.yaml"
SMALL = """\
start: 2026-04-01
horizon: 1 month
fleet: [{cluster: g5.48xlarge, nodes: 2}]
jobs: [{name: a, network: resnet50, samples: 900M, deadline: 2d}]
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return str(path)


def test_the_answer(run: Runner, small: str) -> None:
    text = run.text("plan", small)
    assert "→ it meets its deadline on the fleet" in text
    assert "proved: no plan" in text


def test_json(run: Runner, small: str) -> None:
    result = run("plan", small, "--json")
    assert (result.code, result.err) == (0, "")
    assert result.json["feasible"] is True
    assert result.json["runs"][0]["job"] == "a"


def test_what_cannot_be_in_time_is_answered_with_exit_code_1(run: Runner, small: str) -> None:
    words = ("plan", small, "--set", "jobs[0].deadline=3h")
    result = run(*words)
    assert (result.code, result.err) == (1, "")
    assert "late" in result.lines[1]
    found = run(*words, "--json")
    assert found.code == 1
    assert found.json["feasible"] is False
    assert found.json["relaxations"][0]["kind"] == "deadlines"


def test_settings_are_fields_of_the_file(run: Runner, small: str) -> None:
    assert run("plan", small, "--set", "fleet[0].nodes=1", "--json").json["runs"][0]["nodes"] == 1
    assert run.refusal("plan", small, "--set", "fleet[0].node=1").endswith("did you mean 'nodes'?")


def test_a_page(run: Runner, small: str, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    result = run("plan", small, "--html", str(page))
    assert result.code == 0
    assert result.err == f"wrote {page}\n"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "there is no folder" in run.refusal("plan", small, "--html", str(tmp_path / "no" / "plan.html"))


def test_ending_early(run: Runner, small: str) -> None:
    assert run("plan", small, "--minimize", "lateness", "--json").json["minimize"] == "lateness"


@pytest.mark.parametrize(("words", "message"), [
    (("plan",), "JOBS is missing"),
    (("plan", "nothing.yaml"), "nothing.yaml: no such file"),
    (("plan", QUARTER, "--minimize", "time"), "valid: cost, lateness"),
    (("plan", QUARTER, "--time-limit", "30"), "no unit"),
    (("plan", QUARTER, "--time-limit", "0s"), "expected from 0.1s"),
    (("plan", QUARTER, "--set", "jobs[9].name=x"), "no element [9]"),
    (("plan", QUARTER, "--htm", "x"), "did you mean '--html'?"),
])  # fmt: skip
def test_misuse(run: Runner, words: tuple[str, ...], message: str) -> None:
    assert message in run.refusal(*words)
