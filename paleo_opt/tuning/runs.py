"""Run a command, within a time, in a process group of its own that is gone when the run is over."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from paleo_opt.quantities import format_time
from paleo_opt.tuning.readings import Report, ended_without_memory, last_line, read_report

#: How a run may end.
DONE, OUT_OF_MEMORY, TIMED_OUT, FAILED = "done", "out_of_memory", "timed_out", "failed"
STATUSES = (DONE, OUT_OF_MEMORY, TIMED_OUT, FAILED)
#: Between asking a group to end and ending it [s].
GRACE_S = 5.0
#: Of what a run prints, so much of the end is read.
_READ = 1 << 20
_NOT_FOUND = (126, 127)


@dataclass(frozen=True)
class Run:
    """How one run ended.

    Attributes:
        status: One of `STATUSES`.
        report: None where it failed.
        reason: Why it failed, in a few words; empty where it did not.
        seconds: It took.
        unusable: Whether no other run can do better: the shell did not find the command.
    """

    status: str
    report: Report | None
    reason: str
    seconds: float
    unusable: bool = False


@dataclass(frozen=True)
class Runner:
    """Runs commands.

    Attributes:
        logs: A folder for what they print.
        pattern: Of the report, in place of the usual ones.
        trial_time_s: Of one run at most; None for any time.
    """

    logs: Path
    pattern: re.Pattern[str] | None = None
    trial_time_s: float | None = None

    def log_files(self, name: str) -> tuple[Path, Path, Path]:
        """Where a run's output, its errors and its report go."""
        return self.logs / f"{name}.out", self.logs / f"{name}.err", self.logs / f"{name}.report"

    def run(self, command: str, name: str, time_left_s: float | None = None) -> Run | None:
        """Run a command by the shell; None where it was ended because no time is left in all.

        Args:
            command: Placeholders filled.
            name: Of its files in ``logs``.
            time_left_s: Of all runs; None for any time.
        """
        limits = [limit for limit in (self.trial_time_s, time_left_s) if limit is not None]
        limit = min(limits, default=None)
        output, errors, report_file = self.log_files(name)
        report_file.unlink(missing_ok=True)
        start = time.monotonic()
        with output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip
            try:
                code: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                end_group(process)
        seconds = time.monotonic() - start
        if code is None:
            if limit == time_left_s and limit != self.trial_time_s:
                return None
            return Run(TIMED_OUT, None, f"not over after {format_time(limit or 0.0)}", seconds)
        said, complained = tail(output), tail(errors)
        if code != 0:
            told = last_line(complained) or last_line(said)
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            if ended_without_memory(code, complained + said[-10_000:]):
                return Run(OUT_OF_MEMORY, None, f"out of memory: {told or how}", seconds)
            return Run(FAILED, None, f"{how}: {told}" if told else how, seconds, code in _NOT_FOUND)
        # Of its own file, where it wrote one; what it prints may then be anything.
        report = read_report(tail(report_file) if report_file.exists() else said, self.pattern)
        if report is None:
            where = "its report file" if report_file.exists() else "what it printed"
            return Run(FAILED, None, f"no step time in {where}", seconds)
        return Run(DONE, report, "", seconds)


def tail(path: Path) -> str:
    """The end of a file; nothing where it is not there."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _READ))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it started: SIGTERM, and SIGKILL after `GRACE_S`. Does nothing where all are gone."""

    def send(number: int) -> bool:
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    if not send(signal.SIGTERM):
        process.wait()
        return
    until = time.monotonic() + GRACE_S
    while time.monotonic() < until:
        process.poll()  # a process that is not waited for stays in its group
        if not send(0):
            break
        time.sleep(0.02)
    else:
        send(signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
