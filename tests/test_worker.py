"""Workers on a real PostgreSQL server: killed, told to end, the server restarted, and every way to be refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import Runner
from optuna.trial import TrialState
from postgres_server import PostgresServer, free_port, missing, running_server
from study_cases import shards

from paleo_opt.errors import SpecError
from paleo_opt.studies.heartbeats import Database
from paleo_opt.studies.kept import IDENTITY, Kept, load
from paleo_opt.studies.lost_trials import fail_lost
from paleo_opt.studies.run import RESULT, WORKER, this_process
from paleo_opt.studies.run_kept import run_kept
from paleo_opt.studies.sampler import RETRIES

ROOT = Path(__file__).parent.parent
NEEDS_SERVER = pytest.mark.skipif(bool(missing()), reason=missing())
QUESTION = ("recommend", "bert_base", "--on", "p3.16xlarge", "--on", "p4d.24xlarge", "--budget", "64gpus", "--json")
LARGER = (
    *("recommend", "bert_large", "--on", "p3.16xlarge", "--on", "p4d.24xlarge", "--on", "p5.48xlarge"),
    *("--budget", "256gpus", "--json"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as found:
        yield found


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def start(*words: str, log: Path | None = None) -> subprocess.Popen[str]:
    """The program as a process of its own; what it says goes to ``log``, or is kept."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "paleo_opt", *words]
    if log is None:
        return subprocess.Popen(call, env=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with log.open("w") as stream:
        return subprocess.Popen(call, env=settings, text=True, stdout=subprocess.PIPE, stderr=stream)


def trials_of(storage: str, name: str) -> list[optuna.trial.FrozenTrial]:
    """What the study holds now; nothing before it is there."""
    try:
        return load(Kept(storage, name)).get_trials(deepcopy=False)
    except SpecError:
        return []


def until(condition: Any, seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return found


def running(server: PostgresServer, storage: str, worker: subprocess.Popen[str]) -> int | None:
    """The number of the trial that a process has chosen a point for and runs; the process then stands still."""
    query = f"""select trials.number from trials join trial_user_attributes on trials.trial_id =
        trial_user_attributes.trial_id join trial_params on trials.trial_id = trial_params.trial_id where
        trials.state = 'RUNNING' and key = '{WORKER}' and value_json like '% {worker.pid}"'"""
    database = storage.rpartition("/")[2]
    if server.run(query, database):
        worker.send_signal(signal.SIGSTOP)
        if found := server.run(query, database):
            number: int = found[0][0]
            return number
        worker.send_signal(signal.SIGCONT)
    return None


def without_seconds(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer but for the time that it took."""
    for part in ("certificate", "search"):
        answer[part].pop("seconds")
    answer["message"] = answer["message"].partition(" all evaluated in ")[0]
    return answer


@NEEDS_SERVER
def test_a_sweep_survives_all_that_happens_to_its_workers(server: PostgresServer, tmp_path: Path) -> None:
    storage, name = server.new_database(), "sweep"
    where = ("--storage", storage, "--study", name, "--heartbeat", "1")
    # All begin at once, in a database that is empty.
    logs = [tmp_path / f"worker-{number}" for number in range(3)]
    workers = [start("worker", *where, "--wait", "--json", log=log) for log in logs]
    askers: list[subprocess.Popen[str]] = []
    try:
        until(lambda: all("no such study" in log.read_text() for log in logs))
        askers += [start(*LARGER, "--sweep", "--shard-size", "500k", *where) for _ in range(2)]
        killed, ended, last = workers
        until(lambda: running(server, storage, killed) is not None)
        lost = [running(server, storage, killed)]
        done = {t.number: t for t in trials_of(storage, name) if t.state == TrialState.COMPLETE}
        killed.kill()
        until(lambda: running(server, storage, ended) is not None)
        lost.append(running(server, storage, ended))
        ended.send_signal(signal.SIGCONT)
        ended.send_signal(signal.SIGTERM)
        said = ended.communicate(timeout=60)[0]
        assert (ended.returncode, json.loads(said)["interrupted"]) == (0, True)
        server.restart("immediate")
        answers = [asker.communicate(timeout=120) for asker in askers]
        assert [asker.returncode for asker in askers] == [0, 0], answers
        report = last.communicate(timeout=60)[0]
        assert last.returncode == 0, logs[2].read_text()
    finally:
        for process in (*askers, *workers):
            process.kill()
            process.communicate()

    alone = start(*LARGER).communicate(timeout=120)[0]
    expected = without_seconds(json.loads(alone))
    assert [without_seconds(json.loads(answer)) for answer, _ in answers] == [expected, expected]

    trials = trials_of(storage, name)
    solved = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert sum(trial.user_attrs["strategies"] for trial in solved) >= expected["certificate"]["strategies"]
    assert {trial.params["shard"] for trial in solved} == set(range(max(t.params["shard"] for t in solved) + 1))
    for number, trial in done.items():
        assert trials[number].system_attrs[RESULT] == trial.system_attrs[RESULT]
    # What was lost with its process is another trial's now.
    for number in lost:
        assert number is not None and trials[number].state == TrialState.FAIL
        again = [t for t in solved if t.params["shard"] == trials[number].params["shard"]]
        assert again and all(t.number > number for t in again)
        assert any(number in t.system_attrs.get(RETRIES, ()) for t in trials)
    mine = [t for t in solved if str(t.user_attrs[WORKER]).endswith(f" {last.pid}")]
    assert json.loads(report)["trials"] == len(mine)
    assert json.loads(report)["strategies"] == sum(t.user_attrs["strategies"] for t in mine)


@NEEDS_SERVER
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_the_server_costs_no_solution(server: PostgresServer, mode: str) -> None:
    solved: list[float] = []
    problem = shards(6)

    def solve(point: Any) -> Any:
        solved.append(point["shard"])
        if len(solved) == 3:
            server.restart(mode)
        return problem.solve(point)

    said: list[str] = []
    kept = Kept(server.new_database(), "restarted", heartbeat=1)
    changed = shards(6)
    object.__setattr__(changed, "solve", solve)
    run = run_kept(changed, kept, trials=6, say=said.append)
    assert run.ended == "tried every point"
    assert sorted(solved) == list(range(6))


@NEEDS_SERVER
def test_a_server_that_stays_away_is_given_up(server: PostgresServer) -> None:
    problem = shards(3)
    kept = Kept(server.new_database(), "left", heartbeat=1)

    def solve(point: Any) -> Any:
        server.stop("immediate")
        return problem.solve(point)

    changed = shards(3)
    object.__setattr__(changed, "solve", solve)
    said: list[str] = []
    try:
        with pytest.raises(SpecError, match=r"--storage postgresql://owner:\*\*\*@.*, for 1 s"):
            run_kept(changed, kept, trials=3, say=said.append, patience=1.0)
    finally:
        server.start()
    assert said and "trying again for 1 s" in said[0]
    # What it was running is tried again by the next.
    assert run_kept(problem, kept, trials=3).ended == "tried every point"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_without_any_sign_of_life_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Database(f"sqlite:///{tmp_path}/studies.db", heartbeat_interval=1, grace_period=3)
    study = optuna.create_study(storage=storage)
    monkeypatch.setattr(Database, "record_heartbeat", lambda self, trial: None)
    # As of a process that was killed in this moment.
    silent = study._storage.create_new_trial(study._study_id)
    now = time.monotonic()
    for later, state in ((0.0, TrialState.RUNNING), (2.0, TrialState.RUNNING), (3.5, TrialState.FAIL)):
        monkeypatch.setattr(time, "monotonic", lambda later=later: now + later)
        fail_lost(study)
        assert study._storage.get_trial(silent).state == state


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_lives_from_its_beginning(tmp_path: Path) -> None:
    storage = Database(f"sqlite:///{tmp_path}/studies.db", heartbeat_interval=1, grace_period=3)
    study = optuna.create_study(storage=storage)
    study._storage.create_new_trial(study._study_id)
    study.enqueue_trial({"x": 1})
    assert study._pop_waiting_trial_id() is not None
    assert storage._without_heartbeat(study._study_id) == []


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a study of which one shard is done, and one of another program."""
    path = str(tmp_path_factory.mktemp("begun") / "studies.log")
    words = (*QUESTION, "--sweep", "--storage", path, "--study", "sweep")
    process = start(*words)
    process.communicate(timeout=120)
    assert process.returncode == 0
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path)), study_name="foreign"
    )
    study.add_trial(optuna.create_trial(value=1.0))
    return path


def test_a_worker_of_a_study_that_is_over_ends_at_once(run: Runner, begun: str) -> None:
    done = run("worker", "--storage", begun, "--study", "sweep")
    assert done.code == 0
    assert done.out.startswith("0 trials of sweep, 0 strategies in ")
    assert done.out.rstrip().endswith("tried every point")


class TestRefusals:
    def test_no_such_study(self, run: Runner, begun: str) -> None:
        line = run.refusal("worker", "--storage", begun, "--study", "sweeep")
        assert line.endswith(f"no such study in {begun}; did you mean 'sweep'?")

    def test_another_programs_study(self, run: Runner, begun: str) -> None:
        line = run.refusal("worker", "--storage", begun, "--study", "foreign")
        assert "was not made by paleo-opt" in line

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("paleo-opt", "9.9.9", "is of paleo-opt 9.9.9, this is "),
            (
                "strategies",
                7,
                "the specs that ship with this paleo-opt differ from those it was asked of (its strategies",
            ),
            ("question", "0123", "the specs that ship with this paleo-opt differ from those it was asked of: install"),
        ],
    )
    def test_another_version_or_space(
        self, run: Runner, begun: str, tmp_path: Path, key: str, value: Any, expected: str
    ) -> None:
        path = tmp_path / "changed.log"
        path.write_text(Path(begun).read_text())
        study = load(Kept(str(path), "sweep"))
        study.set_user_attr(IDENTITY, study.user_attrs[IDENTITY] | {key: value})
        assert expected in run.refusal("worker", "--storage", str(path), "--study", "sweep")

    def test_a_study_that_runs_commands(self, run: Runner, begun: str, tmp_path: Path) -> None:
        path = tmp_path / "changed.log"
        path.write_text(Path(begun).read_text())
        load(Kept(str(path), "sweep")).set_user_attr("command", "tune")
        assert "a worker runs none" in run.refusal("worker", "--storage", str(path), "--study", "sweep")

    @pytest.mark.parametrize("name", ["../request.yaml", "/tmp/request.yaml", "a\\..\\b"])
    def test_a_question_that_would_leave_its_folder(self, run: Runner, begun: str, tmp_path: Path, name: str) -> None:
        path = tmp_path / "changed.log"
        path.write_text(Path(begun).read_text())
        load(Kept(str(path), "sweep")).set_user_attr("question", {name: "command: recommend"})
        assert "outside of its folder" in run.refusal("worker", "--storage", str(path), "--study", "sweep")

    def test_no_file(self, run: Runner, tmp_path: Path) -> None:
        assert "no such file" in run.refusal("worker", "--storage", str(tmp_path / "none.log"), "--study", "sweep")

    def test_waiting_ends(self, run: Runner, tmp_path: Path) -> None:
        words = ("worker", "--storage", str(tmp_path / "none.log"), "--study", "sweep", "--wait", "--patience", "0.1s")
        done = run(*words)
        assert done.code == 2
        assert "waiting: --storage" in done.err
        assert "no such file" in done.err.splitlines()[-1]

    def test_a_file_that_is_something_else(self, run: Runner) -> None:
        path = ROOT / "pyproject.toml"
        before = path.read_bytes()
        assert "is no entry of a journal of studies" in run.refusal("worker", "--storage", str(path), "--study", "x")
        assert path.read_bytes() == before

    def test_a_folder(self, run: Runner, tmp_path: Path) -> None:
        assert "is a directory" in run.refusal("worker", "--storage", str(tmp_path), "--study", "x").lower()

    def test_without_psycopg(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        line = run.refusal("worker", "--storage", "postgresql://ada@db.example/paleo", "--study", "x")
        assert line.endswith("needs the package psycopg: pip install 'paleo-opt[postgresql]'")

    def test_nothing_listens(self, run: Runner) -> None:
        storage = f"postgresql://ada:secret@127.0.0.1:{free_port()}/paleo"
        line = run.refusal("worker", "--storage", storage, "--study", "x")
        assert "onnection refused" in line and "ada:***@" in line and "secret" not in line

    @NEEDS_SERVER
    def test_wrong_password(self, run: Runner, server: PostgresServer) -> None:
        storage = server.url("postgres", password="guess%")
        line = run.refusal("worker", "--storage", storage, "--study", "x", "--wait")
        assert "password authentication failed for user" in line
        assert "guess" not in line

    @NEEDS_SERVER
    def test_no_such_database(self, run: Runner, server: PostgresServer) -> None:
        line = run.refusal("worker", "--storage", server.url("none"), "--study", "x")
        assert 'database "none" does not exist' in line

    @NEEDS_SERVER
    def test_a_study_of_another_space(self, run: Runner, server: PostgresServer) -> None:
        storage = server.new_database()
        run_kept(shards(4), Kept(storage, "mine"), trials=4)
        line = run.refusal(*QUESTION, "--storage", storage, "--study", "mine")
        assert "is of another search: its network is shards, here bert_base" in line


def test_this_process_is_named_by_host_and_number() -> None:
    assert this_process().endswith(f" {os.getpid()}")
