"""Searches kept by ``--storage``: resumed by the same command, listed, explained and deleted by ``studies``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Runner

QUESTION = ("alexnet", "--budget", "16gpus", "--on", "p4d.24xlarge", "--on", "p3.16xlarge", "--draws", "0")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


@pytest.fixture(params=["journal", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "studies.log") if request.param == "journal" else f"sqlite:///{tmp_path}/studies.db"


def without_seconds(answer: Any) -> Any:
    """An answer without how long it took, which its message says too."""
    if isinstance(answer, dict):
        return {key: without_seconds(value) for key, value in answer.items() if key not in ("seconds", "message")}
    return [without_seconds(each) for each in answer] if isinstance(answer, list) else answer


def test_a_kept_search_answers_as_one_in_memory(run: Runner, storage: str) -> None:
    plain = json.loads(run("recommend", *QUESTION, "--json").out)
    for _ in range(2):
        kept = json.loads(run("recommend", *QUESTION, "--json", "--storage", storage).out)
        assert without_seconds(kept) == without_seconds(plain)
    (study,) = json.loads(run("studies", "--storage", storage, "--json").out)["studies"]
    assert study["name"] == "recommend-alexnet-16gpus"
    assert study["trials"] == plain["search"]["trials"] and study["failed_trials"] == 0
    assert study["best"] == pytest.approx(plain["recommended"]["estimate"]["time_to_target_s"], rel=1e-9)


def test_a_study_is_listed_explained_and_deleted(run: Runner, storage: str) -> None:
    run("recommend", *QUESTION, "--storage", storage, "--study", "mine")
    listed = run("studies", "--storage", storage).out
    assert "mine" in listed and "met the optimum" in listed
    detail = run("studies", "--storage", storage, "--study", "mine").out
    assert detail.startswith("mine · alexnet · 16 GPUs · least time")
    assert "16 GPUs of p4d.24xlarge" in detail and "strategies evaluated" in detail
    assert all(len(line) <= 100 for line in (listed + detail).splitlines())
    shown = json.loads(run("studies", "--storage", storage, "--study", "mine", "--json", "--top", "1").out)
    (best,) = shown["best_trials"]
    assert best["value"] == shown["best"] and best["attributes"]["strategy"]["cluster"] == "p4d.24xlarge"
    assert json.loads(run("studies", "--storage", storage, "--study", "mine", "--delete", "--json").out) == {
        "deleted": "mine"
    }
    assert json.loads(run("studies", "--storage", storage, "--json").out) == {"studies": []}
    assert "keeps no studies" in run("studies", "--storage", storage).out


def test_what_is_refused(run: Runner, storage: str, tmp_path: Path) -> None:
    run("recommend", *QUESTION, "--storage", storage, "--study", "mine")
    other = ("alexnet", "--budget", "8gpus", "--on", "p4d.24xlarge", "--draws", "0")
    line = run.refusal("recommend", *other, "--storage", storage, "--study", "mine")
    assert "is of another search: its budget is 16 GPUs, here 8 GPUs" in line
    assert "no such study" in run.refusal("studies", "--storage", storage, "--study", "mines")
    assert "did you mean 'mine'?" in run.refusal("studies", "--storage", storage, "--study", "mines")
    assert "--delete: expected --study" in run.refusal("studies", "--storage", storage, "--delete")
    assert "--storage is missing" in run.refusal("studies")
    assert "expected --storage" in run.refusal("recommend", *QUESTION, "--study", "mine")
    assert "no study to keep" in run.refusal("recommend", *QUESTION, "--storage", storage, "--trials", "0")
    assert "no such file" in run.refusal("studies", "--storage", str(tmp_path / "none.log"))
    assert "is not supported" in run.refusal("studies", "--storage", "mysql://db/paleo")


def test_an_answers_folder_says_nothing_of_where_its_study_is(run: Runner, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/secret.db"
    run("recommend", *QUESTION, "--storage", storage, "--study", "hidden", "--out", str(tmp_path / "answer"))
    for path in (tmp_path / "answer").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"secret.db" not in content and b"hidden-study" not in content
