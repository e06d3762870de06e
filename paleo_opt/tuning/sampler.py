"""The guide as an Optuna sampler: a tuning is an Optuna study, opened, stored and resumed as any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from paleo_opt.studies.problem import StudyProblem
from paleo_opt.studies.sampler import counts, point_of
from paleo_opt.tuning.guide import Guide, Observation, Proposal
from paleo_opt.tuning.points import Points
from paleo_opt.tuning.runs import FAILED

#: Of trials' attributes: how the run ended, and what it measured.
STATUS, STEP_TIME, PEAK = "status", "step_time_s", "memory_bytes"


def observations(problem: StudyProblem, points: Points, trials: Sequence[FrozenTrial]) -> tuple[Observation, ...]:
    """The runs of a study's trials, in order."""
    found = []
    for trial in trials:
        point = point_of(problem, trial) if counts(trial) else None
        number = None if point is None else points.find(point)
        if number is None or not trial.state.is_finished():
            continue
        attributes = trial.user_attrs
        time, peak = attributes.get(STEP_TIME), attributes.get(PEAK)
        # One that failed in Optuna's own terms, again and again, took its process with it.
        found.append(Observation(number, str(attributes.get(STATUS, FAILED)), time, peak))
    return tuple(found)


class GuidedSampler(BaseSampler):
    """Proposes what `Guide.propose` does.

    Args:
        problem: The study's.
        points: What can be run.
        seed: Of the guide.

    Attributes:
        proposed: By number of the trial.
    """

    def __init__(self, problem: StudyProblem, points: Points, seed: int = 0) -> None:
        self._problem, self._points, self._seed = problem, points, seed
        self._random = optuna.samplers.RandomSampler(seed=seed)
        self._distributions = {name: variable.distribution for name, variable in problem.variables.items()}
        self.proposed: dict[int, Proposal] = {}

    def propose(self, study: optuna.Study, but: int = -1) -> Proposal | None:
        """The next point of a study; None where nothing is left. ``but`` is the trial that asks."""
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number != but]
        running = [point_of(self._problem, trial) for trial in trials if trial.state == TrialState.RUNNING]
        taken = [self._points.find(point) for point in running if point is not None]
        guide = Guide(self._points, observations(self._problem, self._points, trials), self._seed)
        return guide.propose([number for number in taken if number is not None])

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All variables: their ranges are fixed."""
        return {name: found for name, found in self._distributions.items() if not found.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point."""
        found = self.propose(study, trial.number)
        if found is None:  # another process took the last
            return {}
        self.proposed[trial.number] = found
        return dict(self._points.point(found.point))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Anything, where nothing is left."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)
