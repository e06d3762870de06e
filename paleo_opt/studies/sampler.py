"""The sampler of every study: points that are worth it first, then TPE, then what lies beside the best.

It keeps nothing of its own: what to propose follows from the trials of the study. So a study that is resumed, or that
several processes share, goes on as if one process had done it all, and none tries a point that another has.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from paleo_opt.studies.problem import Point, StudyProblem

#: How often TPE is asked again where it proposes what was tried.
_ATTEMPTS = 10
#: What is beside so many of the best points is tried in the end.
_BEST = 3
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
#: A point is tried so many times more where the process that tried it was lost; then it is left alone.
MOST_RETRIES = 3
#: Where a retried trial keeps the numbers of those before it; as Optuna's own callback does.
RETRIES = "retry_history"


def point_of(problem: StudyProblem, trial: FrozenTrial) -> dict[str, float] | None:
    """The point of a trial; None where it has not chosen yet."""
    found = dict(trial.params)
    fixed = trial.system_attrs.get("fixed_params")
    if fixed:
        found = {**fixed, **found}
    for name, variable in problem.variables.items():
        # A variable of one value is not sampled, and a trial may be killed before it is noted.
        if variable.low == variable.high:
            found.setdefault(name, variable.low)
    return {name: found[name] for name in problem.variables} if found.keys() >= problem.variables.keys() else None


class PointSampler(BaseSampler):
    """Proposes points of a `StudyProblem`.

    Args:
        problem: What is searched.
        trials: Planned; the last quarter is spent beside the best points.
        seed: Of TPE.
        shared: Whether other processes search too: TPE then keeps away from what they are trying.
    """

    def __init__(self, problem: StudyProblem, trials: int, seed: int, shared: bool = False) -> None:
        self._problem, self._trials = problem, trials
        self._tpe = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=shared)
        self._distributions = {name: variable.distribution for name, variable in problem.variables.items()}

    def reseed_rng(self) -> None:
        """As Optuna asks of every sampler."""
        self._tpe.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All variables: their ranges are fixed."""
        return {name: found for name, found in self._distributions.items() if not found.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point."""
        problem = self._problem
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        points = [(other, point_of(problem, other)) for other in others if counts(other)]
        tried = {problem.key(point) for _, point in points if point is not None}
        # Those that another process is choosing at this moment take the first places.
        ahead = sum(point is None and other.number < trial.number for other, point in points)
        planned = problem.first if problem.every is None else problem.every
        chosen = self._untried(planned, tried, ahead)
        if chosen is not None:
            return self._whole(chosen)
        finished = [(other, point) for other, point in points if other.state in _FINISHED and point is not None]
        best = best_points(finished)
        if len(finished) >= self._trials - self._trials // 4:
            chosen = self._untried(problem.beside(best, [point for _, point in finished]), tried, ahead)
        return self._whole(chosen) if chosen is not None else self._sampled(study, trial, search_space, tried)

    def _untried(self, points: Sequence[Point], tried: set[Hashable], ahead: int) -> Point | None:
        for point in points:
            if self._problem.key(point) not in tried:
                if not ahead:
                    return point
                ahead -= 1
        return None

    def _sampled(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
        tried: set[Hashable],
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(_ATTEMPTS):
            found = self._tpe.sample_relative(study, trial, search_space)
            for name, distribution in search_space.items():
                if name not in found:  # of the first trials, or new
                    found[name] = self._tpe.sample_independent(study, trial, name, distribution)
            single = {n: v.low for n, v in self._problem.variables.items() if v.low == v.high}
            if self._problem.key({name: (found | single)[name] for name in self._problem.variables}) not in tried:
                break
        return found

    def _whole(self, point: Point) -> dict[str, Any]:
        return {n: int(point[n]) if v.integer else float(point[n]) for n, v in self._problem.variables.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Of a variable that `sample_relative` left out."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As Optuna asks of every sampler."""
        self._tpe.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As Optuna asks of every sampler."""
        self._tpe.after_trial(study, trial, state, values)


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial stands for its point: one that failed does only once it was retried often enough."""
    return trial.state != TrialState.FAIL or len(trial.system_attrs.get(RETRIES, ())) >= MOST_RETRIES


def best_points(finished: Sequence[tuple[FrozenTrial, Point]], count: int = _BEST) -> list[Point]:
    """The points of the best feasible trials, the best first."""
    feasible = [(trial, point) for trial, point in finished if is_feasible(trial)]
    order = sorted(feasible, key=lambda each: (each[0].value, each[0].number))
    return [point for _, point in order[:count]]


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial was solved and kept to all limits."""
    limits: Mapping[str, float] = trial.constraints or {}
    return trial.state == TrialState.COMPLETE and all(excess <= 0.0 for excess in limits.values())
