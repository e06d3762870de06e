"""Studies that are kept: resumed after a kill at any moment with nothing lost, and refused where they are another's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from study_cases import shards, valley

from paleo_opt.errors import SpecError
from paleo_opt.studies.kept import Kept, delete, list_studies, load
from paleo_opt.studies.run import RESULT
from paleo_opt.studies.run_kept import run_kept
from paleo_opt.studies.storage import open_storage, reason, shown

HERE = Path(__file__).parent


@pytest.fixture(params=["journal", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "studies.log") if request.param == "journal" else f"sqlite:///{tmp_path}/studies.db"


def refusal(call: object, *args: object, **options: object) -> str:
    with pytest.raises(SpecError) as caught:
        call(*args, **options)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def process(storage: str, count: int, seconds: float) -> subprocess.Popen[bytes]:
    """Another process that runs the study of `shards`."""
    paths = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, str(HERE / "study_cases.py"), storage, str(count), str(seconds)]
    return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL)


def finished(storage: str, name: str = "study") -> int:
    """Trials that are done so far; none where the study is not there yet."""
    try:
        return next((study.finished for study in list_studies(storage) if study.name == name), 0)
    except SpecError:
        return 0


def until(condition: object, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_resumed_after_kills_with_nothing_lost(storage: str) -> None:
    kills = 0
    for target in (1, 3):
        running = process(storage, 6, 0.05)
        until(lambda target=target: finished(storage) >= target)  # type: ignore[misc]
        running.send_signal(signal.SIGKILL)
        running.wait()
        kills += 1
    before = load(Kept(storage, "study"))
    done = {trial.number: trial.params for trial in before.trials if trial.state == TrialState.COMPLETE}
    run = run_kept(shards(6), Kept(storage, "study", heartbeat=1), trials=6)
    assert run.ended == "tried every point" and run.failed <= kills
    # All that was finished is still there, and every point was finished once.
    assert {number: trial.params for number, trial in enumerate(run.study.trials) if number in done} == done
    solved = [trial for trial in run.study.trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.params["shard"] for trial in solved) == list(range(6))
    assert all(trial.system_attrs[RESULT] == f"result of {trial.params['shard']}" for trial in solved)


def test_a_lost_trial_is_tried_again_and_says_so(storage: str) -> None:
    running = process(storage, 3, 60.0)
    until(lambda: any(study.running for study in _listed(storage)))
    until(lambda: load(Kept(storage, "study")).trials[0].params == {"shard": 0})
    running.kill()
    running.wait()
    run = run_kept(shards(3), Kept(storage, "study", heartbeat=1), trials=3)
    lost, *others = run.study.trials
    assert lost.state == TrialState.FAIL and run.failed == 1
    again = next(trial for trial in others if trial.params == lost.params)
    assert again.state == TrialState.COMPLETE


def _listed(storage: str) -> list[object]:
    try:
        return list(list_studies(storage))
    except SpecError:
        return []


def test_a_study_is_finished_once(storage: str) -> None:
    kept = Kept(storage, "study")
    first = run_kept(valley(), kept, trials=8, seed=1)
    again = run_kept(valley(), kept, trials=8, seed=1)
    assert first.own == 8 and again.own == 0 and again.best == first.best
    more = run_kept(valley(), kept, trials=10, seed=1)
    assert more.own == 2 and more.ended == "ran all its trials"


def test_processes_share_the_points(tmp_path: Path) -> None:
    storage = str(tmp_path / "studies.log")
    workers = [process(storage, 20, 0.02) for _ in range(3)]
    for worker in workers:
        assert worker.wait(timeout=60) == 0
    study = load(Kept(storage, "study"))
    solved = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.params["shard"] for trial in solved) == list(range(20))
    assert study.user_attrs["ended"] == "tried every point"


def test_another_question_is_refused(storage: str) -> None:
    kept = Kept(storage, "mine")
    run_kept(shards(4), kept, trials=4)
    line = refusal(run_kept, shards(5), kept, trials=5)
    assert "study 'mine'" in line and "its shards is 4, here 5" in line and "--study" in line
    assert "its network is shards, here valley" in refusal(run_kept, valley(), kept, trials=5)
    optuna.create_study(storage=open_storage(storage), study_name="foreign", directions=["minimize", "maximize"])
    assert "was not made by paleo-opt" in refusal(run_kept, shards(4), Kept(storage, "foreign"), trials=4)
    assert len(load(kept).trials) == 4


def test_studies_are_listed_and_deleted(storage: str) -> None:
    run_kept(shards(4), Kept(storage, "few"), trials=4)
    run_kept(valley(), Kept(storage, "many"), trials=5)
    found = {study.name: study for study in list_studies(storage)}
    assert (found["few"].finished, found["few"].planned, found["few"].best) == (4, 4, 4.0)
    assert (found["many"].network, found["many"].goal, found["many"].ended) == (
        "valley",
        "height",
        "ran all its trials",
    )
    assert "did you mean 'many'?" in refusal(load, Kept(storage, "mani"))
    delete(Kept(storage, "many"))
    assert [study.name for study in list_studies(storage)] == ["few"]


def test_a_line_that_was_written_half_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "studies.log"
    run_kept(shards(6), Kept(str(path), "study"), trials=3)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":5,"worker_id":"dead","trial')
    run = run_kept(shards(6), Kept(str(path), "study"), trials=6)
    assert len(run.finished) == 6 and path.read_bytes().startswith(whole)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("network: vgg16\n", "line 1 is no entry of a journal"),
        ("[1, 2]\n", "line 1 is no entry of a journal"),
        ('{"op_code": 0, "worker_id": "a"}\n', "is damaged"),
        ('{"op_code": 99, "worker_id": "a"}\nnonsense\n{}\n', "is damaged"),
    ],
)
def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "notes.yaml"
    path.write_text(content)
    line = refusal(run_kept, shards(2), Kept(str(path), "study"), trials=2)
    assert line.startswith(f"--storage {path}: ") and expected in line
    assert path.read_text() == content


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(list_studies, str(tmp_path / "none.log"))
    assert "no such file" in refusal(list_studies, f"sqlite:///{tmp_path}/none.db")
    assert "expected a file, postgresql://" in refusal(open_storage, "mysql://root@db/paleo")
    assert "No such file or directory" in refusal(open_storage, str(tmp_path / "no" / "folder.log"))
    (tmp_path / "text.db").write_text("not a database, though it is a file of some length" * 10)
    assert "not a database" in refusal(open_storage, f"sqlite:///{tmp_path}/text.db")
    assert not (tmp_path / "none.log").exists()


def test_passwords_are_not_printed() -> None:
    assert shown("postgresql://ada:lace@db:5432/paleo") == "postgresql://ada:***@db:5432/paleo"
    assert shown("postgresql://ada:l@ce@db/paleo") == "postgresql://ada:***@db/paleo"
    assert shown("postgresql://db/paleo?user=ada&password=lace&sslmode=require") == (
        "postgresql://db/paleo?user=ada&password=***&sslmode=require"
    )
    assert shown("studies.log") == "studies.log"
    assert "lace" not in reason(ValueError('FATAL: database "postgresql://ada:la ce@db" does not exist'))
    line = refusal(open_storage, "postgresql://ada:lace@127.0.0.1:1/paleo")
    assert "lace" not in line and "refused" in line
