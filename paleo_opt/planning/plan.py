"""Plan: which job runs when, on what, with which configuration; what to rent or buy; what is late otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from paleo_opt.errors import InfeasibleError, SpecError, nearest
from paleo_opt.estimator.estimate import Options
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.planning.growth import Month, months_of
from paleo_opt.planning.jobs import Job, JobsFile, Resource, RunSpec
from paleo_opt.planning.load import load_jobs
from paleo_opt.planning.relaxations import Relaxation, find_relaxations
from paleo_opt.planning.scheduling.check import Check, check_schedule
from paleo_opt.planning.scheduling.problem import PlanProblem
from paleo_opt.planning.scheduling.solution import Solution
from paleo_opt.planning.scheduling.solve import solve
from paleo_opt.planning.setup import Setup, make_setup
from paleo_opt.quantities import format_money, format_time

GOALS = ("cost", "lateness")
DEFAULT_TIME_LIMIT = 30.0


@dataclass(frozen=True)
class PlacedRun:
    """One run with its place in the plan.

    Attributes:
        spec: Of which repetition of which job.
        job: That job.
        resource: Where.
        strategy: The configuration.
        nodes: Whole ones.
        start: When.
        end: When.
        cost_usd: What it adds to the bill [$].
        late_s: By how much it misses its deadline [s]; 0 where it does not.
    """

    spec: RunSpec
    job: Job
    resource: Resource
    strategy: Strategy
    nodes: int
    start: datetime
    end: datetime
    cost_usd: float
    late_s: int

    @property
    def time_s(self) -> float:
        """How long it takes [s]."""
        return (self.end - self.start).total_seconds()

    @property
    def node_hours(self) -> float:
        """Nodes times hours."""
        return self.nodes * self.time_s / 3600


@dataclass(frozen=True, eq=False)
class FleetAlone:
    """What would happen without renting, buying or reserving.

    Attributes:
        solution: Of the runs that the fleet can do.
        problem: Likewise.
        impossible: Names of runs that it cannot do at all.
        late: Names of runs that it would do late, each with by how much [s].
        first_late: The first deadline that would be missed; None where none is.
    """

    solution: Solution
    problem: PlanProblem
    impossible: tuple[str, ...]
    late: tuple[tuple[str, int], ...]
    first_late: datetime | None


@dataclass(frozen=True, eq=False)
class Plan:
    """The answer to ``plan``.

    Attributes:
        setup: What was asked, and the ways to run each job.
        problem: The scheduling problem.
        minimize: ``cost`` or ``lateness``.
        solution: Of the problem.
        check: That verified the schedule; None where there is none.
        fleet_alone: What would happen otherwise; None where there is no fleet, or nothing else.
        months: Demand against capacity.
        relaxations: What would let all deadlines be met, where they are not.
        seconds: In all.
    """

    setup: Setup
    problem: PlanProblem
    minimize: str
    solution: Solution
    check: Check | None
    fleet_alone: FleetAlone | None
    months: tuple[Month, ...]
    relaxations: tuple[Relaxation, ...]
    seconds: float

    @property
    def file(self) -> JobsFile:
        """The jobs."""
        return self.setup.file

    @property
    def feasible(self) -> bool:
        """Whether every deadline is met."""
        return self.solution.feasible

    @cached_property
    def runs(self) -> tuple[PlacedRun, ...]:
        """Every run in its place, by start; empty where there is no schedule."""
        schedule = self.solution.schedule
        if schedule is None:
            return ()
        placed = []
        for index, spec in enumerate(self.setup.runs):
            candidate, placement = schedule.candidate(index), schedule.placements[index]
            strategy = self.setup.estimators[spec.job].ways[candidate.key].strategy
            placed.append(
                PlacedRun(
                    spec=spec,
                    job=self.file.jobs[spec.job],
                    resource=self.setup.resources[candidate.pool],
                    strategy=strategy,
                    nodes=candidate.nodes,
                    start=self.file.moment(placement.start_s),
                    end=self.file.moment(schedule.end_s(index)),
                    cost_usd=candidate.cents / 100,
                    late_s=schedule.late_s(index),
                )
            )
        return tuple(sorted(placed, key=lambda run: (run.start, run.end, run.spec.name)))

    @property
    def cost_usd(self) -> float:
        """In all [$]."""
        return self.solution.schedule.cost_usd if self.solution.schedule else float("nan")

    @cached_property
    def added(self) -> tuple[tuple[Resource, int, float], ...]:
        """What is bought or reserved: the resource, how many nodes, and what they cost [$]."""
        schedule = self.solution.schedule
        if schedule is None:
            return ()
        pairs = zip(self.setup.resources, schedule.more, strict=True)
        return tuple((each, more, each.usd_per_more * more) for each, more in pairs if more)

    @cached_property
    def late(self) -> tuple[PlacedRun, ...]:
        """The runs that miss their deadlines, the latest first."""
        return tuple(sorted((run for run in self.runs if run.late_s), key=lambda run: -run.late_s))

    @property
    def message(self) -> str:
        """What is proved of the plan, in words."""
        solution = self.solution
        if solution.schedule is None:
            return "there is no plan at all, however late"
        if not self.feasible:
            if solution.impossible:
                return "proved: no plan meets every deadline, on any grid"
            return "no plan that meets every deadline was found; it is not proved that there is none"
        among = "" if all(each.whole for each in self.setup.estimators) else ", among the ways to run that were kept"
        if self.minimize == "cost" and solution.proved:
            return f"proved: no plan that meets every deadline costs less, on any grid{among} (gap 0)"
        if solution.grid_s is None:
            return "not proved to be the best"
        grid = format_time(solution.grid_s)
        if solution.grid_gap == 0:
            words = f"no worse than any plan whose runs start on a grid of {grid} (there HiGHS's gap is 0)"
        elif solution.grid_gap != solution.grid_gap:
            words = f"not proved to be the best: HiGHS found nothing on a grid of {grid} in the time it had"
        else:
            words = (
                f"not proved to be the best: on a grid of {grid}, HiGHS reports a gap of {100 * solution.grid_gap:.2g}%"
            )
        if self.minimize == "cost" and solution.least:
            words += f"; on any grid no plan costs less than {format_money(solution.least / 100)}"
        return words


class DeadlinesMissedError(InfeasibleError):
    """No plan meets every deadline with what may be used.

    Attributes:
        plan: The least late, with what would let the deadlines be met; it may have no schedule at all.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        late = [f"{run.spec.name} by {run.late_s / 3600:.1f} h" for run in plan.late]
        what = f"; least late: {', '.join(late[:5])}" if late else ""
        super().__init__(f"{plan.message}{what}")


def plan(
    jobs: str | JobsFile,
    *,
    minimize: str = "cost",
    time_limit: float = DEFAULT_TIME_LIMIT,
    options: Options | None = None,
    conv_algorithm: str | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Plan:
    """Plan the jobs of a file: meet every deadline at the least cost, or end as early as the budget allows.

    Args:
        jobs: A file, or one that was loaded.
        minimize: ``cost``, or ``lateness``: the sum over all runs of end minus deadline.
        time_limit: For the integer programs of the plan itself [s].
        options: The model's constants, and the terms on which nodes are rented.
        conv_algorithm: As for `compile_network`.
        overrides: Of fields of the file.

    Raises:
        SpecError: bad input.
        DeadlinesMissedError: the deadlines cannot all be met (an `InfeasibleError`); it carries the least late plan.
    """
    begin = time.perf_counter()
    if minimize not in GOALS:
        raise SpecError(f"minimize {minimize!r}{nearest(minimize, GOALS)}")
    if not time_limit > 0:
        raise SpecError(f"time_limit is {time_limit:g}; expected above zero")
    options = options or Options()
    file = jobs if isinstance(jobs, JobsFile) else load_jobs(jobs, overrides, options.pricing)
    setup = make_setup(file, file.resources, options, conv_algorithm)
    problem, _ = setup.problem()
    solution = solve(problem, minimize, time_limit)
    check = None if solution.schedule is None else check_schedule(solution.schedule)
    answer = Plan(
        setup=setup,
        problem=problem,
        minimize=minimize,
        solution=solution,
        check=check,
        fleet_alone=_fleet_alone(setup, problem, solution, time_limit / 3),
        months=months_of(setup),
        relaxations=() if solution.feasible else find_relaxations(setup, time_limit),
        seconds=time.perf_counter() - begin,
    )
    if not solution.feasible:
        raise DeadlinesMissedError(answer)
    return answer


def _fleet_alone(setup: Setup, whole: PlanProblem, found: Solution, time_limit: float) -> FleetAlone | None:
    """What would happen with the fleet alone, where there is a fleet and something else.

    Where the plan that was ``found`` uses nothing else, that.
    """
    kinds = {each.kind for each in setup.resources}
    if "fleet" not in kinds or kinds == {"fleet"}:
        return None
    schedule = found.schedule
    if found.feasible and schedule is not None and not any(schedule.more):
        used = {setup.resources[schedule.candidate(run).pool].kind for run in range(len(whole.runs))}
        if used == {"fleet"}:
            return FleetAlone(found, whole, (), (), None)
    problem, kept = setup.problem(("fleet",), budget=False)
    missing = tuple(run.name for index, run in enumerate(setup.runs) if index not in kept)
    solution = solve(problem, "deadlines", time_limit) if problem.runs else Solution(None, "deadlines")
    schedule = solution.schedule
    late = () if schedule is None else tuple((problem.runs[i].name, schedule.late_s(i)) for i in schedule.late)
    missed = [problem.runs[i].deadline_s for i in schedule.late] if schedule else []
    missed += [setup.file.seconds(run.deadline) for index, run in enumerate(setup.runs) if index not in kept]
    first = setup.file.moment(min(missed)) if missed else None
    return FleetAlone(solution, problem, missing, late, first)
