"""Optuna's database storage, with heartbeats that also tell of a process lost at a bad moment.

Optuna's own begin after a trial has begun: of a process killed in between, the trial would run for ever. And one beat
that meets a database which is being restarted would end the thread that beats.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError


class Database(RDBStorage):
    """A database of studies; takes what `optuna.storages.RDBStorage` takes, with heartbeats."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Connections that wait for the next use are closed with it, not left to the interpreter.
        weakref.finalize(self, self.engine.dispose)
        #: Since when this process has seen a running trial without any sign of life [s], by its id.
        self._silent: dict[int, float] = {}

    def record_heartbeat(self, trial_id: int) -> None:
        """Give a sign of life, or where the database is away leave it to the next."""
        with suppress(SQLAlchemyError, optuna.exceptions.StorageInternalError):
            super().record_heartbeat(trial_id)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        trial = super()._create_new_trial(study_id, template_trial)
        if trial.state == TrialState.RUNNING:
            self.record_heartbeat(trial._trial_id)
        return trial

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As of `optuna.storages.BaseStorage`; a trial that waited gives its first sign of life."""
        done = super().set_trial_state_values(trial_id, state, values)
        if done and state == TrialState.RUNNING:
            self.record_heartbeat(trial_id)
        return done

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Those whose last sign of life, or whose first without any that this process saw, is too long ago."""
        stale = super()._get_stale_trial_ids(study_id)
        assert self.grace_period is not None
        now = time.monotonic()
        self._silent = {trial: self._silent.get(trial, now) for trial in self._without_heartbeat(study_id)}
        return stale + [trial for trial, since in self._silent.items() if now - since > self.grace_period]

    def _without_heartbeat(self, study_id: int) -> list[int]:
        with self.scoped_session() as session:
            running = (
                session.query(models.TrialModel.trial_id)
                .filter(models.TrialModel.state == TrialState.RUNNING, models.TrialModel.study_id == study_id)
                .filter(~models.TrialModel.heartbeats.any())
            )
            return [trial for (trial,) in running]
