"""Stored studies: where they are kept, how one is joined, and what is lost of it when a process dies.

A file is one of Optuna's journals, for one machine. A database (PostgreSQL for several machines, SQLite for one) has
heartbeats: of a process that is lost, the trial it ran is tried again by another.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from paleo_opt.errors import SpecError, nearest
from paleo_opt.search.heartbeats import Database
from paleo_opt.search.journal_lock import journal_lock
from paleo_opt.search.point_sampler import MOST_RETRIES, RETRIES, is_feasible
from paleo_opt.search.study import ENDED, WORKER, quiet, this_process
from paleo_opt.search.study_problem import Point

#: Of a study's attributes: what two processes must have in common, the question's files, and who asked.
IDENTITY, QUESTION, COMMAND = "identity", "question", "command"
#: Seconds between heartbeats; a trial without one for `GRACE` times as long is taken to be lost.
HEARTBEAT = 10
GRACE = 3
#: Seconds that a process waits for a study to say what it is about.
_PATIENCE = 10.0
_CONNECT_S = 10
_DATABASES = ("postgresql", "sqlite")
_HINT = "expected a file, postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE"


@dataclass(frozen=True)
class Kept:
    """Where a study is kept, and under which name.

    Attributes:
        storage: A file, or a database's URL.
        name: Of the study.
        command: That asked.
        question: The files from which any machine can ask again (`request_files`), as text.
        heartbeat: Seconds between heartbeats; of databases.
    """

    storage: str
    name: str
    command: str = ""
    question: Mapping[str, str] = field(default_factory=dict)
    heartbeat: int = HEARTBEAT


def shown(storage: str) -> str:
    """A storage as it may be printed: without a password."""
    return re.sub(r"://([^:/@]*):.*@", r"://\1:***@", storage)


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
def _refused(storage: str) -> Iterator[None]:
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
    return re.sub(r"^.*?(FATAL: +|error: )(?=\S)", "", line).removeprefix("- ")


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
    with _refused(storage):
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


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Have a lost trial's point tried again, unless it was lost too often; its attributes start anew."""
    history = [*trial.system_attrs.get(RETRIES, ()), trial.number]
    if len(history) > MOST_RETRIES or not trial.params:
        return
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            system_attrs={"failed_trial": history[0], RETRIES: history},
        )
    )


def fail_lost(study: optuna.Study) -> None:
    """Fail, and have tried again, the trials of processes that are gone: of this machine at once, else by heartbeat."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    backend = getattr(study._storage, "_backend", study._storage)
    if isinstance(backend, RDBStorage) and backend.engine.dialect.name != "sqlite":
        return  # containers of one machine may go by one name, and see no processes of each other
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, pid = str(trial.user_attrs.get(WORKER, "")).rpartition(" ")
        if not host:
            # Killed before it could say who runs it, which it does at once.
            begun = trial.datetime_start
            if begun is not None and (datetime.now() - begun).total_seconds() > _PATIENCE:
                fail(study, trial)
        elif host == socket.gethostname() and pid.isdigit() and not _alive(int(pid)):
            fail(study, trial)


def fail(study: optuna.Study, trial: FrozenTrial) -> None:
    """Fail a trial that nobody runs any more, and have its point tried again."""
    with suppress(optuna.exceptions.UpdateFinishedTrialError):
        if study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL):
            retry(study, trial)


def hand_back(study: optuna.Study) -> None:
    """Have tried again, at once, what this process was running."""
    trials = study.get_trials(deepcopy=False)
    again = {number for trial in trials for number in trial.system_attrs.get(RETRIES, ())}
    for trial in trials:
        if trial.user_attrs.get(WORKER) != this_process():
            continue
        if trial.state == TrialState.RUNNING:
            fail(study, trial)
        elif trial.state == TrialState.FAIL and trial.number not in again:
            retry(study, trial)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def join(
    kept: Kept, identity: Mapping[str, Any], attributes: Mapping[str, Any], every: Sequence[Point] = ()
) -> optuna.Study:
    """Make a study, or join the one of that name.

    Whoever makes it enqueues its points where each is to be tried: taking a trial from the queue is the one thing that
    two processes cannot do at once.

    Args:
        kept: Where, and the name.
        identity: What all its processes must have in common (`StudyProblem.identity`).
        attributes: Of a new study, beside the question.
        every: The points to be tried, where each is.

    Raises:
        SpecError: the storage cannot be used, or the study is of something else.
    """
    opened = open_storage(kept.storage, kept.heartbeat)
    # As it comes back from the storage.
    identity = json.loads(json.dumps(identity))
    with quiet(), _refused(kept.storage):
        try:
            study = optuna.create_study(storage=opened, study_name=kept.name, direction="minimize")
            is_new = True
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(storage=opened, study_name=kept.name)
            # Whoever made it may not have said yet what it is about, or was killed before it could.
            since = time.monotonic()
            while _is_empty(study) and time.monotonic() - since < _PATIENCE:
                time.sleep(0.1)
            is_new = _is_empty(study)
        if is_new:
            entries = {COMMAND: kept.command, QUESTION: dict(kept.question), **attributes, IDENTITY: identity}
            for key, value in entries.items():
                study.set_user_attr(key, value)
            if identity.get("goal"):
                study.set_metric_names([str(identity["goal"])])
            for point in every:
                study.enqueue_trial(dict(point))
    check_identity(kept, study, identity)
    fail_lost(study)
    return study


def _is_empty(study: optuna.Study) -> bool:
    """Whether a study could be ours, and says nothing yet."""
    ours = study.directions == [optuna.study.StudyDirection.MINIMIZE]
    return ours and IDENTITY not in study.user_attrs and not study.get_trials(deepcopy=False)


def check_identity(kept: Kept, study: optuna.Study, identity: Mapping[str, Any]) -> None:
    """Refuse a study of something else.

    Raises:
        SpecError: it was not made by this program, or differs in what it names.
    """
    where = f"study {kept.name!r} in {shown(kept.storage)}"
    if study.directions != [optuna.study.StudyDirection.MINIMIZE] or IDENTITY not in study.user_attrs:
        raise SpecError(f"{where} was not made by paleo-opt; give another name with --study")
    known: Mapping[str, Any] = study.user_attrs[IDENTITY]
    wanted = json.loads(json.dumps(identity))
    for key in [*wanted, *(key for key in known if key not in wanted)]:
        if known.get(key) != wanted.get(key):
            raise SpecError(
                f"{where} is of another search: its {key} is {_short(known.get(key))}, here {_short(wanted.get(key))}; "
                "give another name with --study"
            )


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 60 else f"{text[:57]}…"


def load(kept: Kept) -> optuna.Study:
    """The study of that name.

    Raises:
        SpecError: the storage cannot be used, or has no such study.
    """
    opened = open_storage(kept.storage, kept.heartbeat, must_exist=True)
    with quiet(), _refused(kept.storage):
        try:
            return optuna.load_study(storage=opened, study_name=kept.name)
        except KeyError:
            names = optuna.get_all_study_names(opened)
    hint = nearest(kept.name, names) or (f"; there are {', '.join(names[:5])}" if names else "; it has no studies")
    raise SpecError(f"--study {kept.name}: no such study in {shown(kept.storage)}{hint}")


def delete(kept: Kept) -> None:
    """Delete a study with all its trials.

    Raises:
        SpecError: the storage cannot be used, or has no such study.
    """
    study = load(kept)
    with _refused(kept.storage):
        study._storage.delete_study(study._study_id)


@dataclass(frozen=True)
class Listed:
    """A stored study in a line.

    Attributes:
        name: Its name.
        command: That asked; empty where another program made it.
        network: That it is of; empty where unknown.
        goal: What is minimized; empty where unknown.
        finished: Trials that were solved or pruned.
        running: Trials now.
        failed: Trials lost or interrupted.
        planned: Trials at most; None where unknown.
        best: Least value of a feasible trial.
        ended: Why it is over; empty where it is not.
        started: First trial; None where there is none.
        last: Latest change of a trial.
    """

    name: str
    command: str
    network: str
    goal: str
    finished: int
    running: int
    failed: int
    planned: int | None
    best: float | None
    ended: str
    started: datetime | None
    last: datetime | None


def list_studies(storage: str) -> list[Listed]:
    """All studies of a file or database, the latest last.

    Raises:
        SpecError: it cannot be used.
    """
    opened = open_storage(storage, must_exist=True)
    with quiet(), _refused(storage):
        found = [listed(study) for study in (optuna.load_study(study_name=name, storage=opened)
                 for name in optuna.get_all_study_names(opened))]  # fmt: skip
    return sorted(found, key=lambda study: (study.started is not None, study.started or datetime.min, study.name))


def listed(study: optuna.Study) -> Listed:
    """One study in a line."""
    trials, attributes = study.get_trials(deepcopy=False), study.user_attrs
    states = [trial.state for trial in trials]
    times = [at for trial in trials for at in (trial.datetime_start, trial.datetime_complete) if at is not None]
    values = [trial.value for trial in trials if is_feasible(trial) and trial.value is not None]
    return Listed(
        name=study.study_name,
        command=str(attributes.get(COMMAND, "")),
        network=str(attributes.get(IDENTITY, {}).get("network", "")),
        goal=str(attributes.get(IDENTITY, {}).get("goal", "")),
        finished=sum(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states),
        running=states.count(TrialState.RUNNING),
        failed=states.count(TrialState.FAIL),
        planned=attributes.get("trials"),
        best=min(values, default=None),
        ended=str(attributes.get(ENDED, "")),
        started=min(times, default=None),
        last=max(times, default=None),
    )
