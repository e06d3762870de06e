"""Open the file or database that keeps studies, and say in one line what is wrong with it.

A file is one of Optuna's journals, for one machine. A database (PostgreSQL for several machines, SQLite for one) has
heartbeats: of a process that is lost, the trial it ran is tried again by another.
"""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from paleo_opt.errors import SpecError
from paleo_opt.studies.heartbeats import Database
from paleo_opt.studies.journal_lock import journal_lock
from paleo_opt.studies.lost_trials import retry

#: Seconds between heartbeats; a trial without one for `GRACE` times as long is taken to be lost.
HEARTBEAT = 10
GRACE = 3
_CONNECT_S = 10
_DATABASES = ("postgresql", "sqlite")
_HINT = "expected a file, postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE"


def shown(storage: str) -> str:
    """A storage as it may be printed: without a password."""
    hidden = re.sub(r"://([^:/@]*):.*@", r"://\1:***@", storage)
    return re.sub(r"(\bpassword=)[^&\s]*", r"\1***", hidden)


class StorageError(SpecError):
    """A database that cannot be reached or refuses."""


def is_storage_error(error: BaseException) -> bool:
    """Whether it is the database that failed, and may be back soon."""
    return _of_storage(error) is not None


def _of_storage(error: BaseException | None) -> BaseException | None:
    """What the database said; Optuna may raise something else while it clears up after it."""
    from sqlalchemy.exc import DBAPIError

    while error is not None and not isinstance(
        error, StorageError | optuna.exceptions.StorageInternalError | DBAPIError
    ):
        error = error.__cause__ or error.__context__
    return error


@contextmanager
def refused(storage: str) -> Iterator[None]:
    """Turn what databases raise into one line."""
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

    try:
        yield
    except (DBAPIError, optuna.exceptions.StorageInternalError) as error:
        raise StorageError(f"--storage {shown(storage)}: {reason(error)}") from None
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise SpecError(f"--storage {shown(storage)}: is no database URL; {_HINT}") from None
    except RuntimeError as error:  # another version of Optuna made its tables
        raise SpecError(f"--storage {shown(storage)}: {' '.join(str(error).split())}") from None


def reason(error: BaseException) -> str:
    """What a database says is wrong, in one line."""
    error = _of_storage(error) or error
    while error.__cause__ is not None and not hasattr(error, "orig"):
        error = error.__cause__
    text = str(getattr(error, "orig", error))
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    # psycopg names each address that it tried; what failed stands behind.
    said = [line for line in lines if "failed" in line or "error" in line.casefold() or "FATAL" in line]
    line = (said or lines or [type(error).__name__])[0]
    # A server says again what a URL was misread as.
    return re.sub(r'://[^"]*@', "://***@", re.sub(r"^.*?(FATAL: +|error: )(?=\S)", "", line).removeprefix("- "))


def open_storage(storage: str, heartbeat: int = HEARTBEAT, *, must_exist: bool = False) -> BaseStorage:
    """Open the file or database that keeps studies.

    Args:
        storage: A file's path, or a URL.
        heartbeat: Seconds between heartbeats; of databases.
        must_exist: Refuse a file that is not there instead of making it.

    Raises:
        SpecError: it cannot be opened or reached, or holds something else.
    """
    if "://" not in storage:
        return _open_journal(Path(storage), must_exist)
    scheme, _, rest = storage.partition("://")
    kind = scheme.partition("+")[0]
    if kind not in _DATABASES:
        raise SpecError(f"--storage {shown(storage)}: {kind}:// is not supported; {_HINT}")
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    url = storage
    if kind == "postgresql":
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise SpecError(
                "--storage postgresql://…: needs the package psycopg: pip install 'paleo-opt[postgresql]'"
            ) from None
        url = f"postgresql+psycopg://{rest}" if scheme == "postgresql" else storage
        arguments["connect_args"] = {"connect_timeout": _CONNECT_S}
    elif must_exist and rest.lstrip("/") and not Path(rest[1:]).is_file():
        raise SpecError(f"--storage {storage}: no such file")
    with refused(storage):
        return _open_database(url, heartbeat, arguments)


def _open_database(storage: str, heartbeat: int, arguments: dict[str, Any]) -> RDBStorage:
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    for attempt in range(5):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return Database(
                    storage,
                    engine_kwargs=dict(arguments),
                    heartbeat_interval=heartbeat,
                    grace_period=GRACE * heartbeat,
                    heartbeat_stale_trial_callback=retry,
                )
        except (IntegrityError, ProgrammingError, OperationalError) as error:
            # Two processes that make the tables at once; the other has them ready in a moment.
            if attempt == 4 or not (isinstance(error, IntegrityError) or "already exists" in str(error)):
                raise
            time.sleep(0.2 * (attempt + 1))
    raise AssertionError


def _open_journal(path: Path, must_exist: bool) -> JournalStorage:
    if must_exist and not path.exists():
        raise SpecError(f"--storage {path}: no such file; {_HINT}")
    lock = journal_lock(str(path))
    try:
        if path.exists():
            _check_journal(path)
            if not _ends_whole(path):
                # Under the lock nobody is writing: what is still half a line stays one.
                lock.acquire()
                try:
                    _cut_torn_line(path)
                finally:
                    lock.release()
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except OSError as error:
        raise SpecError(f"--storage {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AssertionError):
        raise SpecError(f"--storage {path}: is damaged; expected a journal of studies") from None


def _check_journal(path: Path) -> None:
    """Refuse a file that is something else before anything is written to it."""
    with path.open("rb") as file:
        line = file.readline(100_000)
    if not line:
        return
    with suppress(ValueError):
        entry = json.loads(line)
        if isinstance(entry, dict) and "op_code" in entry:
            return
    raise SpecError(
        f"--storage {path}: line 1 is no entry of a journal of studies; expected such a file, or a new name"
    )


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _cut_torn_line(path: Path) -> None:
    """Leave out what a killed process had written half; the next entry would join it and neither could be read."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end:
            start = max(0, end - 65_536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            file.truncate(end)
