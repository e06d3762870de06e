"""`tune` from end to end, with commands that print a step time by a formula, run out of memory, hang or crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import Runner

from paleo_opt.errors import InfeasibleError, SpecError
from paleo_opt.hardware.load import load_cluster
from paleo_opt.report.tuning import TuningAnswer, measured_table, render
from paleo_opt.search.fixed import Fixed
from paleo_opt.studies.kept import Kept
from paleo_opt.tuning.found import Tuning
from paleo_opt.tuning.loop import GIVE_UP
from paleo_opt.tuning.tune import tune
from paleo_opt.validation.measured_table import read_measured_table

NETWORK, CLUSTER = "vgg16", "p4d.24xlarge"
#: A run: seconds of a step grow with the passes, more so with one worker; 64 samples are too many for a device.
SCRIPT = """
import sys, os, time
micro, passes, workers, way, folder = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
open(os.path.join(folder, 'runs'), 'a').write(f'{micro} {workers}\\n')
if way == 'crash':
    raise SystemExit('the loss is not a number')
if way == 'hang':
    if os.fork() == 0:
        time.sleep(60)
    time.sleep(60)
if way == 'silent':
    raise SystemExit(0)
if micro >= 64:
    print('CUDA out of memory. Tried to allocate 2 GiB', file=sys.stderr)
    raise SystemExit(1)
print('warming up')
print(f'step_time_s={0.05 + 0.01 * passes + 0.1 / workers}')
"""


@pytest.fixture
def command(tmp_path: Path) -> str:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    return f"{sys.executable} -I -S {script} {{micro_batch}} {{accumulation}} {{workers}} {{way}} {tmp_path}"


def tuned(command: str, way: str = "good", **how: object) -> Tuning:
    arguments: dict[str, object] = {
        "on": load_cluster(CLUSTER),
        "fixed": Fixed(global_batch=512),
        "choices": ["workers=1,2,4", f"way={way}"],
    }
    return tune(NETWORK, command, **(arguments | how))  # type: ignore[arg-type]


def started(folder: Path) -> list[str]:
    path = folder / "runs"
    return path.read_text().splitlines() if path.exists() else []


class TestSearch:
    def test_it_finds_the_best_in_fewer_runs_than_there_are_points(self, command: str) -> None:
        found = tuned(command)
        assert found.best is not None
        values = found.points.values(found.best.point)
        # The most samples a pass of those that fit, and the most workers.
        assert (values["micro_batch"], values["workers"]) == (32, "4")
        assert found.best.step_time_s == pytest.approx(0.05 + 0.02 + 0.025)
        assert len(found.trials) < len(found.points) == 21
        assert {trial.status for trial in found.trials} == {"done", "out_of_memory"}

    def test_no_point_is_run_twice(self, command: str, tmp_path: Path) -> None:
        tuned(command, least_gain=0.0, trials=12)
        assert len(started(tmp_path)) == 12 == len(set(started(tmp_path)))

    def test_the_command_can_be_run_again(self, command: str) -> None:
        found = tuned(command, trials=3)
        assert found.best is not None
        line = found.command(found.best)
        out = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True).stdout
        assert f"step_time_s={found.best.step_time_s}" in out

    def test_a_report_in_its_own_file(self, tmp_path: Path) -> None:
        found = tuned("echo step_time_s=9; echo 'samples_per_s={micro_batch}' > {report}", choices=[], trials=20)
        assert found.best is not None
        assert found.best.step_time_s == 512 / 64

    def test_median_of_repeats(self, tmp_path: Path) -> None:
        count = tmp_path / "count"
        line = f"n=$(cat {count} || echo 0); echo $((n + 1)) > {count}; echo step_time_s=$((n % 3 + 1)).{{micro_batch}}"
        found = tuned(line, choices=["micro_batch=16,32"], trials=2, repeats=3)
        assert sorted(trial.step_time_s for trial in found.trials if trial.step_time_s) == [2.16, 2.32]

    def test_the_table_can_be_read_back(self, command: str, tmp_path: Path) -> None:
        found = tuned(command)
        from paleo_opt.network.load import load_network

        path = tmp_path / "steps.csv"
        path.write_text(measured_table(TuningAnswer(load_network(NETWORK), found, str(path))))
        rows = read_measured_table(path)
        assert found.best is not None
        assert min(row.measured for row in rows) == pytest.approx(found.best.step_time_s, rel=1e-5)
        assert {row.software for row in rows} == {"tuned workers=4 way=good"}


class TestFailures:
    def test_a_command_that_always_crashes_is_given_up(self, command: str, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="the loss is not a number"):
            tuned(command, "crash")
        assert len(started(tmp_path)) == GIVE_UP

    def test_a_command_that_is_not_there_runs_once(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="not found"):
            tuned("no-such-program {micro_batch}", choices=[])

    def test_no_report_is_a_failure(self, command: str) -> None:
        with pytest.raises(SpecError, match="no step time in what it printed"):
            tuned(command, "silent")

    def test_some_that_crash_are_trials(self, command: str) -> None:
        found = tuned(command, "crash,good", trials=20)
        assert found.best is not None
        assert found.points.knob_values(found.best.point)["way"] == "good"
        assert "the loss is not a number" in {trial.reason.partition(": ")[2] for trial in found.trials}

    def test_a_hanging_run_is_ended_with_all_it_started(self, command: str, tmp_path: Path) -> None:
        start = time.monotonic()
        found = tuned(command, "hang,good", trials=4, trial_time_s=0.5, logs=str(tmp_path / "logs"))
        assert time.monotonic() - start < 20
        assert "timed_out" in {trial.status for trial in found.trials}
        assert not running(str(tmp_path / "train.py"))
        assert (tmp_path / "logs" / "run-0002.out").exists()

    def test_nothing_but_want_of_memory(self, command: str) -> None:
        with pytest.raises(InfeasibleError, match="out of memory"):
            tuned(command, choices=["workers=1,2", "way=good", "micro_batch=64"], trials=5)

    def test_the_total_time_ends_the_run_that_is_on(self, command: str, tmp_path: Path) -> None:
        start = time.monotonic()
        with pytest.raises(InfeasibleError, match="the time is over"):
            tuned(command, "hang", total_time_s=0.5)
        assert time.monotonic() - start < 20
        assert not running(str(tmp_path / "train.py"))


def running(text: str) -> list[str]:
    """Processes with a text in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and folder.name != str(os.getpid()):
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if text in line and state != "Z":
                found.append(line)
    return found


class TestStudy:
    def test_it_goes_on_where_it_stopped(self, command: str, tmp_path: Path) -> None:
        kept = Kept(str(tmp_path / "study.journal"), "tune")
        first = tuned(command, trials=3, kept=kept)
        again = tuned(command, trials=3, kept=kept)
        assert len(started(tmp_path)) == 3
        assert again.best is not None and first.best is not None
        assert again.best.step_time_s == first.best.step_time_s
        assert not any(trial.here for trial in again.trials)
        more = tuned(command, trials=8, kept=kept, least_gain=0.0)
        assert len(more.trials) == 8 == len(set(started(tmp_path)))
        # As one call would have gone.
        assert [t.point for t in more.trials] == [t.point for t in tuned(command, trials=8, least_gain=0.0).trials]

    def test_another_question_is_refused(self, command: str, tmp_path: Path) -> None:
        kept = Kept(str(tmp_path / "study.journal"), "tune")
        tuned(command, trials=3, kept=kept)
        with pytest.raises(SpecError, match="is of another search: its command"):
            tuned(command + " --more", trials=3, kept=kept)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_it_tells_what_it_found_and_leaves_nothing_behind(
        self, command: str, tmp_path: Path, number: int
    ) -> None:
        words = [
            sys.executable, "-m", "paleo_opt", "tune", NETWORK, "--on", CLUSTER, "--global-batch", "512", "--json",
            "--choice", "workers=1", "--choice", "way=good,hang", "--choice", "micro_batch=16,32", "--command", command,
            "--storage", str(tmp_path / "study.journal"),
        ]  # fmt: skip
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while time.monotonic() < until and not (started(tmp_path) and hanging(tmp_path)):
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, "")
        answer = json.loads(out)
        assert answer["ended"] == "interrupted"
        assert answer["counts"]["done"] >= 1
        assert not running(str(tmp_path / "train.py"))


def hanging(folder: Path) -> bool:
    return any(" hang " in line for line in running(str(folder / "train.py")))


class TestCommandLine:
    @pytest.fixture
    def run(self, capsys: pytest.CaptureFixture[str]) -> Runner:
        return Runner(capsys)

    WORDS = ("tune", NETWORK, "--on", CLUSTER)

    def test_the_answer(self, run: Runner, command: str, tmp_path: Path) -> None:
        table = tmp_path / "steps.csv"
        words = (*self.WORDS, "--global-batch", "512", "--choice", "workers=1,2,4", "--choice", "way=good",
                 "--csv", str(table), "--command", command)  # fmt: skip
        result = run(*words)
        assert (result.code, result.err) == (0, "")
        assert "micro-batch" not in result.lines[0]
        assert "global batch 512 = 8 × 32 × 2 passes" in result.lines[1] + result.lines[2]
        assert any(line.startswith("  step 95 ms") for line in result.lines)
        assert result.lines[-1].endswith(f"train.py 32 2 4 good {tmp_path}")
        assert table.exists()
        assert all(len(line) <= 100 for line in result.lines[:-1])

    def test_counts_add_up(self, run: Runner, command: str) -> None:
        answer = run(*self.WORDS, "--global-batch", "512", "--choice", "workers=1,2", "--choice", "way=good",
                     "--command", command, "--json").json  # fmt: skip
        counts = answer["counts"]
        assert counts["runs"] == len(answer["runs"]) == sum(
            counts[name] for name in ("done", "out_of_memory", "timed_out", "failed")
        )  # fmt: skip
        assert answer["best"]["step_time_s"] == min(r["step_time_s"] for r in answer["runs"] if r["step_time_s"])

    def test_narrow_terminals(self, command: str) -> None:
        from paleo_opt.network.load import load_network

        text = render(TuningAnswer(load_network(NETWORK), tuned(command)), 80)
        assert all(len(line.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\x1b[2m", "")) <= 80
                   for line in text.splitlines()[:-1])  # fmt: skip

    @pytest.mark.parametrize(("words", "message"), [
        (("--command", "run {micro_bach}"), "did you mean 'micro_batch'?"),
        (("--command", "run"), "--micro-batch is missing"),
        (("--micro-batch", "8", "--command", "run"), "there is nothing to tune"),
        (("--command", "run {micro_batch} {x}", "--choice", "x"), "expected such as threads=1,2,4"),
        (("--command", "run {micro_batch} {x}", "--range", "x=5"), "expected low:high"),
        (("--command", "run {micro_batch}", "--range", "micro_batch=1:8"), "expected --choice"),
        (("--command", "run {micro_batch}", "--choice", "x=1,2"), "--command has no {x}"),
        (("--command", "run {micro_batch} {x}", "--choice", "x=1,2", "--range", "x=1:2"), "2 times"),
        (("--command", "run {micro_batch}", "--choice", "report=1,2"), "filled in by the program"),
        (("--command", "run {tensor} {pipeline}", "--micro-batch", "8"), "has none to split"),
        (("--command", "run {micro_batch}", "--trial-time", "0s"), "--trial-time is 0 s"),
        (("--command", "run {micro_batch}", "--trials", "0"), "expected a whole number from 1"),
        (("--command", "run {micro_batch}", "--objective", "time"), "did you mean"),
        (("--command", "run {micro_batch}", "--report-regex", "("), "no regular expression"),
        (("--command", "run {micro_batch}", "--csv", "/no/such/folder/x.csv"), "there is no folder"),
        (("--command", "run {micro_batch}", "--logs", "/no/such/folder/logs"), "--logs"),
        (("--command", "run {micro_batch}", "--study", "a"), "--storage"),
        (("--global-batch", "512"), "--command is missing"),
    ])  # fmt: skip
    def test_what_is_wrong_is_one_line(self, run: Runner, words: tuple[str, ...], message: str) -> None:
        assert message in run.refusal(*self.WORDS, *words)
