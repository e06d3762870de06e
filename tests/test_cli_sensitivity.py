"""``paleo-opt sensitivity``: the same answer as text, JSON and a picture; refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Runner

import paleo_opt

ASKED = ("sensitivity", "vgg16", "--on", "p4d.24xlarge", "--gpus", "32", "--micro-batch", "16")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def test_json_is_the_answer(run: Runner) -> None:
    printed = run(*ASKED, "--collective", "ring_all_reduce", "--json").json
    table = paleo_opt.compile_network(paleo_opt.load_network("vgg16"))
    strategy = paleo_opt.Strategy(paleo_opt.load_cluster("p4d.24xlarge"), 32, 16, precision="bf16")
    found = paleo_opt.sensitivity(table, strategy)
    assert printed["strategy"] == strategy.to_json()
    assert (printed["figure"], printed["answer"]) == ("time_to_target_s", pytest.approx(found.answer))
    assert [item["constant"] for item in printed["constants"]] == [item.constant for item in found.swings]
    first = printed["constants"][0]
    assert (first["at_low"], first["at_high"]) == pytest.approx((found.swings[0].at_low, found.swings[0].at_high))


def test_text(run: Runner) -> None:
    lines = run(*ASKED, "--minimize", "cost").lines
    assert lines[0] == "vgg16 · what moves the cost to the target · roofline model"
    assert any(line.startswith("price ") and "10%*" in line for line in lines)
    assert any("nothing says how well it is known" in line for line in lines)
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_picture(run: Runner, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"tornado.{kind}"
    assert run(*ASKED, "--plot", str(path)).err == f"wrote {path}\n"
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG" if kind == "png" else b"<?xml")
    if kind == "svg":
        assert b"platform.memory" in content
    run(*ASKED, "--plot", str(path))
    assert path.read_bytes() == content


def test_refusals(run: Runner, tmp_path: Path) -> None:
    assert "expected a file's name that ends in .svg or .png" in run.refusal(*ASKED, "--plot", "x.pdf")
    assert "there is no folder" in run.refusal(*ASKED, "--plot", str(tmp_path / "none" / "x.svg"))
    assert "did you mean 'energy'" in run.refusal(*ASKED, "--minimize", "enrgy")
    assert "--on is missing" in run.refusal("sensitivity", "vgg16")
