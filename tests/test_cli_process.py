"""The command line as a process: streams, terminals, signals and encodings."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ESTIMATE = ("estimate", "resnet50", "--on", "p4d.24xlarge", "--gpus", "32")


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **changes}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "paleo_opt", *words]


def run(*words: str, **changes: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*words), capture_output=True, env=environment(**changes), cwd="/", check=False)


def on_terminal(*words: str, **changes: str) -> str:
    """What a terminal receives."""
    mine, its = pty.openpty()
    process = subprocess.Popen(command(*words), stdout=its, stderr=its, stdin=its, env=environment(**changes))
    os.close(its)
    received = b""
    while True:
        try:
            block = os.read(mine, 65_536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not block:
            break
        received += block
    os.close(mine)
    assert process.wait() == 0
    return received.decode()


def test_answers_go_to_stdout_and_refusals_to_stderr() -> None:
    done = run(*ESTIMATE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "→ p4d.24xlarge" in done.stdout.decode()
    refused = run("estimate", "resnet5", "--on", "p4d.24xlarge")
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert refused.stderr.decode().count("\n") == 1


def test_json_is_one_object_and_nothing_else() -> None:
    done = run(*ESTIMATE, "--json")
    assert isinstance(json.loads(done.stdout), dict)
    assert done.stderr == b""


def test_version() -> None:
    assert re.fullmatch(rb"paleo-opt \d+\.\d+\.\d+\n", run("--version").stdout)


def test_emphasis_on_a_terminal_only() -> None:
    assert "\x1b[1m→ p4d.24xlarge" in on_terminal(*ESTIMATE)
    for words, changes in ((ESTIMATE, {"NO_COLOR": "1"}), (ESTIMATE, {"TERM": "dumb"}), ((*ESTIMATE, "--json"), {})):
        assert "\x1b" not in on_terminal(*words, **changes)
    assert b"\x1b" not in run(*ESTIMATE).stdout


def test_a_terminal_says_how_wide_it_is() -> None:
    for columns in (80, 100):
        text = re.sub("\x1b\\[[012]m", "", on_terminal(*ESTIMATE, "--layers", COLUMNS=str(columns)))
        assert columns - 8 < max(map(len, text.splitlines())) <= columns


def test_a_terminal_without_unicode() -> None:
    text = run("scaling", "resnet50", "--on", "p4d.24xlarge", PYTHONIOENCODING="ascii", PYTHONUTF8="0").stdout.decode(
        "ascii"
    )
    assert "> 128 workers" in text
    assert "?" not in text


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command("list", "clusters"), stdout=write, stderr=subprocess.PIPE, env=environment(), check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_interrupt_is_quiet() -> None:
    code = (
        "import os, signal, threading\n"
        "from paleo_opt.cli.main import main\n"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "import paleo_opt.cli.list as command, time\n"
        "command.run = lambda args: time.sleep(30) or 0\n"
        "raise SystemExit(main(['list', 'nets']))"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
    assert time.monotonic() - started < 20


def test_nothing_is_written_outside_stdout(tmp_path: Path) -> None:
    done = subprocess.run(command(*ESTIMATE), capture_output=True, env=environment(), cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert not list(tmp_path.iterdir())
