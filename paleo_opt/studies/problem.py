"""What a study searches: a few outer variables, and a function that solves all that is inside one point of them.

Everything that Optuna searches here has this form: strategies too many to sweep, the shards of a very large sweep, the
splits of a network's layers, fleets of several kinds of nodes, real runs. Names and ranges are fixed: ranges that
change from trial to trial defeat samplers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

#: The value of each variable.
Point = Mapping[str, float]


@dataclass(frozen=True)
class Variable:
    """The range of one outer variable.

    Attributes:
        low: Least value.
        high: Largest value, included.
        integer: Whether only whole numbers are meant; an index into the legal values, or a number itself.
        log: Whether its scale is logarithmic.
    """

    low: float
    high: float
    integer: bool = True
    log: bool = False

    @property
    def distribution(self) -> BaseDistribution:
        """Optuna's form of it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The best of what is inside one point.

    Attributes:
        value: What is minimized; infinite where there is nothing that could run at all.
        excess: By how much the best exceeds each limit (memory, time_s, cost_usd…), relative to it; at most 0 where it
            keeps to it. All limits are there in every outcome.
        attributes: What a reader of the study sees beside the trial, as JSON: the strategy, how many were evaluated…
        result: Kept with the trial, hidden from readers, where the study is stored: what the answer is put together
            from, as text. Empty for nothing.
    """

    value: float
    excess: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    result: str = ""

    @property
    def feasible(self) -> bool:
        """Whether it can run and keeps to all limits."""
        return bool(np.isfinite(self.value)) and all(excess <= 0.0 for excess in self.excess.values())


def _key(point: Point) -> Hashable:
    return tuple(point.values())


def nothing_beside(best: Sequence[Point], seen: Sequence[Point]) -> Sequence[Point]:
    """Where neighbours say nothing of each other."""
    return ()


def _no_bound(point: Point) -> float:
    return -np.inf


@dataclass(frozen=True, eq=False)
class StudyProblem:
    """What one study searches.

    Attributes:
        variables: By name; the same for every process of the study.
        solve: The best inside a point. Deterministic, so that a point solved twice is a point solved once.
        identity: What two processes must have in common to share the study, as JSON: the question, the size of the
            space, the version of the model.
        first: Points to try before any sampler, the most promising first.
        every: All points, the most promising first, where they are few enough to try each; then no sampler is asked.
        beside: From the best points so far, the best first, and all that were tried, to untried neighbours of the best.
        key: What two points that mean the same have in common.
        bound: No strategy inside a point is better than this; a trial whose bound is above the best so far is pruned
            without being solved. Minus infinity where nothing is known.
    """

    variables: Mapping[str, Variable]
    solve: Callable[[Point], Outcome]
    identity: Mapping[str, Any]
    first: Sequence[Point] = ()
    every: Sequence[Point] | None = None
    beside: Callable[[Sequence[Point], Sequence[Point]], Sequence[Point]] = nothing_beside
    key: Callable[[Point], Hashable] = _key
    bound: Callable[[Point], float] = _no_bound
