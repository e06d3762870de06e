"""Stored studies: where one is kept and under which name, how it is joined, and what there is."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import TrialState

from paleo_opt.errors import SpecError, nearest
from paleo_opt.studies.lost_trials import fail_lost
from paleo_opt.studies.problem import Point
from paleo_opt.studies.run import ENDED, quiet
from paleo_opt.studies.sampler import is_feasible
from paleo_opt.studies.storage import HEARTBEAT, open_storage, refused, shown

#: Of a study's attributes: what two processes must have in common, the question's files, and who asked.
IDENTITY, QUESTION, COMMAND = "identity", "question", "command"
#: Seconds that a process waits for a study to say what it is about.
_PATIENCE = 10.0


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
    with quiet(), refused(kept.storage):
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
    with quiet(), refused(kept.storage):
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
    with refused(kept.storage):
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
    with quiet(), refused(storage):
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
