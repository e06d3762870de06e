"""One integer program: the grid it is made on, and HiGHS's answer to it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from paleo_opt.planning.scheduling.columns import size
from paleo_opt.planning.scheduling.model import Floats, Model
from paleo_opt.planning.scheduling.problem import PlanProblem, Schedule

#: Distances of the points of grids [s].
GRIDS = tuple(
    round(hours * 3600) for hours in (1 / 12, 1 / 6, 1 / 4, 1 / 2, 1, 2, 3, 4, 6, 8, 12, 24, 48, 96, 168, 336, 720)
)
#: Programs are solved on finer and finer grids, each the finest on which it has at most so many variables. The first
#: ones take a tenth of a second, and often prove all that there is to prove.
SIZES = (400, 1_500, 3_000, 6_000, 12_000)
#: Of programs that minimize lateness, which take longer.
LATE_SIZES = (400, 1_500, 4_500)
_ENTRIES_PER_VARIABLE = 40
_OPTIMAL, _INFEASIBLE = 0, 2


@dataclass(frozen=True)
class Stage:
    """One program that was solved.

    Attributes:
        objective: ``cost`` [cents], ``finish`` (the sum of the ends [h]), ``early`` (the same, weighted by priority),
            ``nodes``, or a priority: its lateness [h].
        runs: That it placed.
        value: Of the best solution found; NaN where none was.
        bound: No solution of this program is below; NaN where not known.
        infeasible: Whether it is proved to have no solution.
        grid_s: Distance of the points of its grid [s].
        relaxed: Whether it is the relaxed program, which bounds every schedule whatever.
        variables: Integer variables.
        seconds: Took.
    """

    objective: str
    runs: int
    value: float
    bound: float
    infeasible: bool
    grid_s: int
    relaxed: bool
    variables: int
    seconds: float

    @property
    def gap(self) -> float:
        """(value - bound) / value: 0 where it is solved to optimality; NaN where not known."""
        return relative_gap(self.value, self.bound)


def relative_gap(value: float, bound: float) -> float:
    """(value - bound) / value; NaN where one of them is not known."""
    if value == bound:
        return 0.0
    return (value - bound) / abs(value) if value else math.nan if math.isnan(bound) else math.inf


@dataclass
class Clock:
    """Shares out a limit of time.

    Attributes:
        limit: In all [s].
        begin: When it began.
    """

    limit: float
    begin: float = field(default_factory=time.perf_counter)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.spent >= self.limit

    @property
    def spent(self) -> float:
        """Since it began [s]."""
        return time.perf_counter() - self.begin

    def share(self, part: float) -> float:
        """A part of what is left [s], never nothing."""
        return max(0.3, (self.limit - self.spent) * part)


def grids(
    problem: PlanProblem,
    hard: Sequence[bool],
    last_s: int = 0,
    for_cost: bool = True,
    most_variables: Sequence[int] = SIZES,
) -> list[int]:
    """The grids to solve programs on, from coarse to fine [s]."""
    sizes = {grid: size(problem, hard, grid, last_s, for_cost) for grid in GRIDS}
    found = []
    for most in most_variables:
        within = [
            grid
            for grid, (variables, entries) in sizes.items()
            if variables <= most and entries <= most * _ENTRIES_PER_VARIABLE
        ]
        found.append(within[0] if within else GRIDS[-1])
    return list(dict.fromkeys(found))


def last_end(problem: PlanProblem, hint: Schedule | None) -> int:
    """By when every run has ended in some best schedule [s].

    Run one after the other, all would have ended by the latest release and the sum of all durations. Where that is far
    away: by the end of a known schedule and twice the longest run, which leaves room for another order.
    """
    longest = [max(candidate.duration_s for candidate in run.candidates) for run in problem.runs]
    opens = max([*(run.release_s for run in problem.runs), *(pool.opens_s for pool in problem.pools)])
    last = opens + sum(longest)
    if hint is not None:
        last = min(last, max(hint.end_s(run) for run in range(len(problem.runs))) + 2 * max(longest))
    return max([last, *(run.deadline_s for run in problem.runs)])


def run_program(
    model: Model, objective: str, seconds: float, held: Sequence[tuple[Floats, float]] = (), gap: float = 0.0
) -> tuple[Stage, Floats | None]:
    """Solve one program with HiGHS.

    Args:
        model: The program.
        objective: As for `Model.objective`.
        seconds: To stop after.
        held: Linear functions of the variables, each with a value that it may not exceed.
        gap: Good enough.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, vstack

    begin = time.perf_counter()
    matrix, low, high = model.constraints
    if held:
        matrix = vstack([matrix, csr_array(np.array([row for row, _ in held]))], format="csr")
        low = np.concatenate([low, np.full(len(held), -np.inf)])
        high = np.concatenate([high, [value + 1e-6 * max(1.0, abs(value)) for _, value in held]])
    coefficients = model.objective(objective)
    result = milp(
        coefficients,
        constraints=LinearConstraint(matrix, low, high),
        bounds=Bounds(*model.bounds),
        integrality=np.ones(model.variables),
        options={"time_limit": seconds, "mip_rel_gap": gap},
    )
    values = None if result.x is None else np.rint(result.x)
    value = math.nan if values is None else float(coefficients @ values)
    bound = math.nan if result.mip_dual_bound is None else float(result.mip_dual_bound)
    if result.status == _OPTIMAL and not gap:
        bound = value
    stage = Stage(
        objective,
        len(model.problem.runs),
        value,
        bound,
        result.status == _INFEASIBLE,
        model.grid_s,
        model.relaxed,
        model.variables,
        time.perf_counter() - begin,
    )
    return stage, values
