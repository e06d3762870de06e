"""Trials of processes that are gone: found, failed, and tried again."""

from __future__ import annotations

import os
import socket
import warnings
from contextlib import suppress
from datetime import datetime

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from paleo_opt.studies.run import WORKER, this_process
from paleo_opt.studies.sampler import MOST_RETRIES, RETRIES

#: Seconds within which a process says that it runs the trial that it has begun.
_PATIENCE = 10.0


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
