"""Which constant moves an estimate most: the answer with each constant at both ends of what it may be, one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.estimator.variations import Question, variations
from paleo_opt.quantities import format_energy, format_money, format_time

#: A constant that moves the answer by less is left out.
_LEAST_SWING = 1e-6
FIGURES = {"time": "time_to_target_s", "cost": "cost_usd", "energy": "energy_kwh", "step": "step_time_s"}


@dataclass(frozen=True)
class Swing:
    """What one constant does to the answer.

    Attributes:
        constant: Its name: ``tensor``, ``platform.launch``, ``between nodes.attained``, ``price``, …
        text: What it is.
        owner: The device, platform, cluster or network whose constant it is.
        value: As a reader would write it.
        deviation: Of ln(value); None where nothing says how well it is known, and it is moved by a tenth.
        low: The value at its low end.
        high: At its high end.
        at_low: The answer there.
        at_high: The answer there.
    """

    constant: str
    text: str
    owner: str
    value: str
    deviation: float | None
    low: str
    high: str
    at_low: float
    at_high: float

    @property
    def swing(self) -> float:
        """|ln(answer at one end / answer at the other)|."""
        return abs(math.log(self.at_high / self.at_low))


@dataclass(frozen=True)
class Tornado:
    """An answer, and what moves it.

    Attributes:
        strategy: Of which.
        goal: A key of `FIGURES`.
        answer: The figure as estimated: seconds, dollars or kWh.
        swings: By constant, the largest first.
    """

    strategy: Strategy
    goal: str
    answer: float
    swings: tuple[Swing, ...]

    @property
    def figure(self) -> str:
        """The name of the answer, with its unit."""
        return FIGURES[self.goal]

    def format(self, value: float) -> str:
        """The answer, or another of its kind, for a reader."""
        if self.goal == "cost":
            return format_money(value)
        return format_energy(value * 3.6e6) if self.goal == "energy" else format_time(value)


def sensitivity(
    table: CostTable, strategy: Strategy, options: Options | None = None, minimize: str | None = None
) -> Tornado:
    """How a strategy's time, cost or energy to the target moves with each constant that it rests on.

    A constant goes to where it is with 10% and 90% by its deviation; one that has none, 10% down and up.

    Args:
        table: The compiled network.
        strategy: The configuration.
        options: The model's.
        minimize: ``time`` (default), ``cost`` or ``energy``; the step's time where the network has no job.

    Raises:
        SpecError: another word, or a figure that is not known.
    """
    options = options or usual_options(table.network)
    goal = minimize or "time"
    if goal not in ("time", "cost", "energy"):
        raise SpecError(f"minimize {goal!r}{nearest(goal, ('time', 'cost', 'energy'))}")
    if table.network.job is None or not options.training:
        if goal != "time":
            raise SpecError(f"minimize {goal!r}: there is no job, so there is no {goal} to the target; expected time")
        goal = "step"

    def answer(question: Question) -> float:
        return float(np.ravel(getattr(estimate(*question), FIGURES[goal]))[0])

    value = answer((table, strategy, options))
    if not math.isfinite(value):
        lacking = "has no price" if goal == "cost" else "has a device without a published power"
        raise SpecError(f"minimize {goal!r}: {strategy.cluster.name} {lacking}")
    swings = [
        Swing(item.constant, item.text, item.owner, item.value, item.deviation, *item.ends, *map(answer, item.at))
        for item in variations(table, strategy, options, goal)
    ]
    moving = [item for item in swings if item.swing > _LEAST_SWING]
    return Tornado(strategy, goal, value, tuple(sorted(moving, key=lambda item: (-item.swing, item.constant))))
