"""The points of a tuning: every strategy with every combination of knobs, and where they lie to one another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers
from paleo_opt.studies.problem import Variable
from paleo_opt.tuning.candidates import Candidates
from paleo_opt.tuning.choices import STRATEGY_FIELDS
from paleo_opt.tuning.knobs import Knob

#: What is minimized: seconds of a step, seconds of a sample (the inverse of the throughput), seconds to the target.
OBJECTIVES = ("step_time", "throughput", "time_to_target")
MOST_POINTS = 10**9


@dataclass(frozen=True)
class Axis:
    """One free variable, as the response sees it.

    Attributes:
        name: Of the placeholder.
        values: As they go into the command; the study's variable is an index into them.
        positions: Of the values on a scale from 0 to 1; empty for names.
        modelled: Whether the estimator knows what it does.
    """

    name: str
    values: tuple[Any, ...]
    positions: tuple[float, ...]
    modelled: bool


@dataclass(frozen=True, eq=False)
class Points:
    """S strategies with Q combinations of knobs each; point p is strategy p // Q with combination p % Q.

    Attributes:
        candidates: The strategies.
        knobs: Those of the user.
        objective: One of `OBJECTIVES`.
    """

    candidates: Candidates
    knobs: tuple[Knob, ...]
    objective: str

    @property
    def combinations(self) -> int:
        """Q."""
        return math.prod(len(knob.levels) for knob in self.knobs)

    def __len__(self) -> int:
        return len(self.candidates) * self.combinations

    @cached_property
    def weight(self) -> Floats:
        """What turns seconds of a step into what is minimized. Shape (strategies,)."""
        if self.objective == "step_time":
            return np.ones(len(self.candidates))
        if self.objective == "throughput":
            return 1.0 / self.candidates.global_batch
        assert self.candidates.steps is not None
        return self.candidates.steps

    @cached_property
    def _fields(self) -> tuple[tuple[str, Any, Integers], ...]:
        """The fields that tell strategies apart: name, distinct values, and index of each strategy's own."""
        found: list[tuple[str, Any, Integers]] = []
        told, size = np.zeros(len(self.candidates), dtype=np.int64), 1
        for name in STRATEGY_FIELDS:
            if name not in self.candidates.columns or size == len(self.candidates):
                continue
            values, index = np.unique(self.candidates.columns[name], return_inverse=True)
            _, joint = np.unique(told * values.size + index, return_inverse=True)
            if int(joint.max()) + 1 > size:
                told, size = joint.astype(np.int64), int(joint.max()) + 1
                found.append((name, values, index.astype(np.int64)))
        return tuple(found)

    def check(self) -> None:
        """Refuse what cannot be tuned.

        Raises:
            SpecError: several strategies have the same command line, there is one point only, or too many.
        """
        told = len(np.unique(np.stack([index for _, _, index in self._fields]), axis=1).T) if self._fields else 1
        if told < len(self.candidates):
            raise SpecError(
                f"--command: its placeholders tell {told:,} of {len(self.candidates):,} strategies apart; "
                "name the fields that differ, such as {gpus} beside {data}, or fix them"
            )
        if len(self) < 2:
            raise SpecError("--command: its placeholders have one value each; there is nothing to tune")
        if len(self) > MOST_POINTS:
            raise SpecError(f"{len(self):,} points; expected at most {MOST_POINTS:,}: give --choice with fewer values")

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The free variables: fields, then knobs."""
        axes = []
        for name, values, _ in self._fields:
            numeric = values.dtype.kind in "iuf"
            positions: tuple[float, ...] = ()
            if numeric:
                scale = np.log(values.astype(float))
                positions = tuple(((scale - scale[0]) / max(float(scale[-1] - scale[0]), 1e-12)).tolist())
            axes.append(Axis(name, tuple(values.tolist()), positions, True))
        axes += [Axis(knob.name, knob.levels, knob.positions, False) for knob in self.knobs if len(knob.levels) > 1]
        return tuple(axes)

    @property
    def variables(self) -> dict[str, Variable]:
        """Of the study: an index into the values of each axis."""
        return {axis.name: Variable(0, len(axis.values) - 1) for axis in self.axes}

    def levels(self, points: Integers) -> Integers:
        """The index of each axis's value. Shape (points, axes)."""
        strategy, combination = np.divmod(points, self.combinations)
        columns = [index[strategy] for _, _, index in self._fields]
        size = self.combinations
        for knob in self.knobs:
            size //= len(knob.levels)
            if len(knob.levels) > 1:
                columns.append(combination // size % len(knob.levels))
        return np.stack(columns, axis=1)

    @cached_property
    def start(self) -> int:
        """The combination of knobs that the first run has."""
        start = 0
        for knob in self.knobs:
            start = start * len(knob.levels) + knob.start
        return start

    @cached_property
    def _strategy_of(self) -> dict[tuple[int, ...], int]:
        keys = np.stack([index for _, _, index in self._fields], axis=1).tolist() if self._fields else [[]]
        return {tuple(key): strategy for strategy, key in enumerate(keys)}

    def find(self, point: Mapping[str, float]) -> int | None:
        """The number of a point of the study; None where no strategy is so."""
        key = tuple(int(point[name]) for name, _, _ in self._fields)
        strategy = self._strategy_of.get(key)
        if strategy is None:
            return None
        combination = 0
        for knob in self.knobs:
            combination = combination * len(knob.levels) + int(point.get(knob.name, 0))
        return strategy * self.combinations + combination

    def point(self, number: int) -> dict[str, int]:
        """A point as the study has it."""
        return dict(zip(self.variables, self.levels(np.array([number]))[0].tolist(), strict=True))

    def knob_values(self, number: int) -> dict[str, str]:
        """The values of the knobs."""
        found, combination, size = {}, number % self.combinations, self.combinations
        for knob in self.knobs:
            size //= len(knob.levels)
            found[knob.name] = knob.levels[combination // size % len(knob.levels)]
        return found

    def values(self, number: int) -> dict[str, Any]:
        """What every placeholder stands for."""
        strategy = self.candidates.strategy(number // self.combinations).to_json()
        return strategy | self.knob_values(number)

    def predicted(self, points: Integers) -> Floats:
        """Seconds of a step as estimated. Shape (points,)."""
        found: Floats = self.candidates.step_time_s[points // self.combinations]
        return found


def objective_of(candidates: Candidates, asked: str | None) -> str:
    """What is minimized: what is asked for, or what suits the candidates.

    Raises:
        SpecError: no such objective, or a time to target without a job.
    """
    if asked is not None and asked not in OBJECTIVES:
        raise SpecError(f"--objective is {asked!r}{nearest(asked, OBJECTIVES)}")
    if asked == "time_to_target" and candidates.steps is None:
        raise SpecError(
            "--objective time_to_target: the network has no job, so there is no target; expected throughput"
        )
    if asked is not None:
        return asked
    if bool((candidates.global_batch == candidates.global_batch[0]).all()):
        return "step_time"
    return "throughput" if candidates.steps is None else "time_to_target"
