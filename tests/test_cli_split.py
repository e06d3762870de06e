"""``paleo-opt split``: the answer first, the same as text and JSON; several places; refusals."""

from __future__ import annotations

import pytest
from command_line import Runner

import paleo_opt

ASKED = ("split", "alexnet", "--on", "p3.16xlarge", "--gpus", "16", "--global-batch", "2048")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def test_json_is_the_answer(run: Runner) -> None:
    printed = run(*ASKED, "--json").json
    found = paleo_opt.split_layers(paleo_opt.load_network("alexnet"), paleo_opt.load_cluster("p3.16xlarge"), 16, 2048)
    assert printed["step_time_s"] == pytest.approx(found.best.step_time_s)
    assert printed["proof"]["optimal"] is True and printed["proof"]["gap"] == 0.0
    assert 10 ** printed["proof"]["assignments_log10"] == pytest.approx(found.costs.assignments)
    assert {name: one["step_time_s"] for name, one in printed["patterns"].items()} == {
        name: pytest.approx(one.step_time_s) for name, one in found.patterns.items()
    }
    assert [one["split"] for one in printed["layers"]] == [one.degrees for one in found.layers()]
    parts = ("compute_s", "exchange_s", "redistribution_s", "sync_s", "update_s")
    in_sequence = sum(one[part] for one in printed["layers"] for part in parts) + found.costs.fixed
    assert printed["sequence_time_s"] == pytest.approx(in_sequence)


@pytest.mark.parametrize("columns", ["80", "100"])
def test_text(run: Runner, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = run(*ASKED).lines
    assert lines[0].startswith("alexnet · each layer split in its own way over 16 GPUs")
    assert lines[1].startswith("→ p3.16xlarge · 16 GPUs = 2 nodes × 8")
    assert any("× data parallel (" in line and "× one weird trick (" in line for line in lines)
    assert any(", proved by " in line for line in lines)
    table = [line.split() for line in lines if line.startswith("  all ") or " samples 16 " in line]
    # Neighbours with the same split are one line, with how many they are.
    assert any("(10)" in row for row in table) and table[-1][:2] == ["all", "16"]
    assert max(map(len, lines)) <= int(columns)


def test_several_places_are_compared(run: Runner) -> None:
    asked = (
        "split",
        "alexnet",
        "--on",
        "p3.16xlarge",
        "--on",
        "p4d.24xlarge",
        "--gpus",
        "4,8",
        "--global-batch",
        "512",
    )
    result = run(*asked)
    rows = [line.split()[:2] for line in result.lines if line.startswith(("  p3.16xlarge", "  p4d.24xlarge"))]
    assert sorted(rows) == [[name, gpus] for name in ("p3.16xlarge", "p4d.24xlarge") for gpus in "48"]
    printed = run(*asked, "--minimize", "cost", "--json").json
    dollars = [point["usd_per_million_samples"] for point in printed["points"]]
    assert dollars == sorted(dollars) and printed["usd_per_million_samples"] == dollars[0]
    assert printed["every_point"] is True


def test_nothing_fits(run: Runner) -> None:
    result = run(*ASKED, "--set", "device.memory=1GB", "--passes", "1")
    assert result.code == 1 and "the one of least memory needs" in result.out


def test_refusals(run: Runner) -> None:
    where = ("--on", "p3.16xlarge", "--global-batch", "64")
    assert "--global-batch is missing" in run.refusal("split", "alexnet", "--on", "p3.16xlarge")
    assert "--on is missing" in run.refusal("split", "alexnet", "--gpus", "8", "--global-batch", "64")
    assert "from 1 to 128" in run.refusal("split", "alexnet", *where, "--gpus", "256")
    assert "did you mean 'sequence'" in run.refusal("split", "alexnet", *where, "--objective", "sequenc")
    assert "does not divide into 3 passes" in run.refusal("split", "alexnet", *where, "--passes", "3")
    assert "expected model roofline" in run.refusal("split", "alexnet", *where, "--model", "paleo")
    assert "parameter server" in run.refusal("split", "alexnet", *where, "--collective", "one_to_all")
    assert "did you mean 'alexnet'" in run.refusal("split", "alexne", *where)
