"""What came of solving a schedule, and what is proved of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paleo_opt.planning.scheduling.by_hand import order_of
from paleo_opt.planning.scheduling.problem import Schedule
from paleo_opt.planning.scheduling.program import Stage, relative_gap

#: What is minimized where the deadlines are met, with the objective of a program that measures it.
GOALS = {"cost": "cost", "lateness": "finish", "nodes": "nodes", "deadlines": "cost"}
#: Goals that are whole numbers, which bounds can be rounded up to.
WHOLE = ("cost", "nodes")
#: Relative error of a bound that HiGHS gives.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Solution:
    """What came of it.

    Attributes:
        schedule: The best found; None where there is none at all.
        minimize: As for `solve`.
        impossible: Whether it is proved that the deadlines cannot all be met.
        least: No schedule that meets the deadlines is below this in cost [cents] or in nodes added; None where not
            known.
        grid_s: The coarsest grid on which a program was solved for it [s]; None where none was needed.
        grid_gap: The gap that HiGHS reports on these grids; NaN where not known.
        stages: The programs.
        seconds: In all.
    """

    schedule: Schedule | None
    minimize: str
    impossible: bool = False
    least: int | None = None
    grid_s: int | None = None
    grid_gap: float = math.nan
    stages: tuple[Stage, ...] = ()
    seconds: float = 0.0

    @property
    def feasible(self) -> bool:
        """Whether the schedule meets every deadline."""
        return self.schedule is not None and not self.schedule.late

    @property
    def value(self) -> int:
        """Of the goal, where it is the cost [cents] or nodes added."""
        if self.schedule is None:
            return 0
        return self.schedule.nodes_added if self.minimize == "nodes" else self.schedule.cents

    @property
    def goal(self) -> float:
        """What is minimized: cents, nodes added, or the sum of the ends [s]."""
        if self.minimize == "lateness":
            return float(self.schedule.finish_s) if self.schedule else 0.0
        return float(self.value)

    @property
    def proved(self) -> bool:
        """Whether no schedule on any grid is better by the goal."""
        if self.minimize not in WHOLE or not self.feasible or self.least is None:
            return False
        return self.value <= self.least + TOLERANCE * self.value

    @property
    def gap(self) -> float:
        """How much better a schedule on any grid could be, as a share of the value; NaN where not known."""
        if not self.feasible or self.least is None:
            return math.nan
        return 0.0 if self.proved else relative_gap(self.value, self.least)


def best_of(schedules: Sequence[Schedule | None], minimize: str) -> Schedule | None:
    """The best of those that there are."""
    known = [schedule for schedule in schedules if schedule is not None]
    return min(known, key=lambda schedule: order_of(schedule, minimize), default=None)
