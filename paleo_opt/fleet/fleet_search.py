"""The best fleet out of nodes of several kinds: a study over the nodes and the way, each point solved exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from paleo_opt.errors import InfeasibleError
from paleo_opt.fleet.fleet_points import alone_points, every_point, first_points, key, neighbours
from paleo_opt.fleet.fleet_problem import BUCKET, LEAST_BUCKET, MOST_BUCKET, WAY, FleetProblem
from paleo_opt.fleet.plan import DATA, FleetPlan
from paleo_opt.hardware.platform import AT_END
from paleo_opt.search.budgets import budget_text
from paleo_opt.studies.problem import Point, StudyProblem, Variable

if TYPE_CHECKING:
    from paleo_opt.studies.kept import Kept
    from paleo_opt.studies.run import Progress, StudyRun

TRIALS = 120


@dataclass(frozen=True)
class KnobEffect:
    """What one knob buys: the answer with it, and with its usual value.

    Attributes:
        name: One of `fleet_question.KNOBS`, or ``split``: uneven rather than even micro-batches.
        value: As it is set, in words.
        usual: As it would be, in words.
        with_it: Of what is minimized.
        without: Of it with the usual value; infinite where nothing would run.
        note: Why it is set so; empty where the figures say it.
    """

    name: str
    value: str
    usual: str
    with_it: float
    without: float
    note: str = ""

    @property
    def gain(self) -> float:
        """By how much more the usual value takes, relative; 0 for the same."""
        return self.without / self.with_it - 1.0


@dataclass(frozen=True, eq=False)
class FleetAnswer:
    """The best fleet.

    Attributes:
        problem: What was asked.
        plan: The best.
        alone: The best of one kind out of the same nodes; None where none is within the budgets.
        knobs: What each buys.
        points: Of the study, that can be had within the budget of GPUs; None where a knob is continuous.
        trials: That were run.
        proved: Whether every fleet was solved.
        run: The study.
    """

    problem: FleetProblem
    plan: FleetPlan
    alone: FleetPlan | None
    knobs: tuple[KnobEffect, ...]
    points: int | None
    trials: int
    proved: bool
    run: StudyRun

    @property
    def remarks(self) -> tuple[str, ...]:
        """What else a reader must know."""
        return (*self.problem.remarks, *self.problem.model_of(self.plan.groups).remarks)

    @property
    def gain(self) -> float:
        """By how much more the best fleet of one kind takes, relative to the best; NaN where there is none."""
        if self.alone is None:
            return math.nan
        return self.alone.figure(self.problem.goal) / self.plan.figure(self.problem.goal) - 1.0


def study_problem(problem: FleetProblem, trials: int) -> StudyProblem:
    """The search as a study of so many trials."""
    variables = {problem.name(index): Variable(0, most) for index, most in enumerate(problem.most)}
    variables[WAY] = Variable(0, len(problem.ways) - 1)
    if "bucket" in problem.knobs:
        variables[BUCKET] = Variable(LEAST_BUCKET, MOST_BUCKET, integer=False, log=True)
    every = every_point(problem)
    few = every is not None and len(every) <= trials

    def beside(best: Sequence[Point], seen: Sequence[Point]) -> Sequence[Point]:
        tried = {key(problem, point) for point in seen}
        found = [other for point in best for other in neighbours(problem, point)]
        return [point for point in found if key(problem, point) not in tried]

    return StudyProblem(
        variables=variables,
        solve=problem.solve,
        identity=problem.identity | {"variables": sorted(variables)},
        # Half of the trials: what they say of budgets and mixes is for the sampler to follow.
        first=() if few else first_points(problem)[: max(1, trials // 2)],
        every=every if few else None,
        beside=beside,
        key=lambda point: key(problem, point),
        bound=problem.bound,
    )


def search_fleet(
    problem: FleetProblem,
    *,
    trials: int = TRIALS,
    seed: int = 0,
    kept: Kept | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> FleetAnswer:
    """The best fleet, compared with the best of one kind.

    Args:
        problem: What is asked (`fleet_question.make_problem`).
        trials: Of the study at most; where there are no more fleets than that, each is solved.
        seed: Of the sampler.
        kept: Where the study is kept; None for memory.
        progress: Called after each trial.

    Raises:
        InfeasibleError: no fleet fits memory and keeps to every budget; says which limit binds.
        SpecError: the study cannot be kept there.
    """
    from paleo_opt.studies.run import run_study
    from paleo_opt.studies.run_kept import run_kept

    searched = study_problem(problem, trials)
    if kept is None:
        run = run_study(searched, trials=trials, seed=seed, progress=progress)
    else:
        run = run_kept(searched, kept, trials=trials, seed=seed, progress=progress)
    best = run.best_trial
    if best is None:
        raise InfeasibleError(why_infeasible(problem, searched, run))
    from paleo_opt.studies.sampler import point_of

    point = point_of(searched, best)
    assert point is not None
    plan = problem.plan_of(point)
    assert plan is not None
    every = every_point(problem)
    known = None if every is None else len({key(problem, each) for each in every})
    return FleetAnswer(
        problem=problem,
        plan=plan,
        alone=best_alone(problem, plan),
        knobs=knob_effects(problem, point, plan),
        points=known,
        trials=len(run.finished),
        proved=searched.every is not None and run.ended == "tried every point",
        run=run,
    )


def best_alone(problem: FleetProblem, best: FleetPlan) -> FleetPlan | None:
    """The best plan of one kind of nodes that keeps to the budgets; buckets as the best plan has them, or as usual."""
    if len(best.groups) == 1:
        return best
    buckets = (None, best.bucket_bytes) if "bucket" in problem.knobs else (None,)
    found = [
        problem.plan(problem.nodes_of(point), problem.way_of(point), bucket)
        for point in alone_points(problem)
        for bucket in buckets
    ]
    allowed = [plan for plan in found if plan is not None and problem.within(plan)]
    return min(allowed, key=lambda plan: plan.figure(problem.goal), default=None)


def knob_effects(problem: FleetProblem, point: Point, plan: FleetPlan) -> tuple[KnobEffect, ...]:
    """What each knob that was asked for buys, by solving the same fleet again with its usual value."""
    from paleo_opt.quantities import format_memory

    nodes, way, goal = problem.nodes_of(point), problem.way_of(point), problem.goal
    figure, found = plan.figure(goal), []
    bucket = point.get(BUCKET)

    def again(bucket_bytes: float | None, phases: int | None = None) -> float:
        target = problem.target if phases is None else replace(problem.target, phases=phases)
        other = problem.plan(nodes, way, bucket_bytes, target)
        return math.inf if other is None else other.figure(goal)

    if bucket is not None:
        usual = problem.model_of(plan.groups).bucket_bytes
        named = "all at the end" if usual == AT_END else format_memory(usual) if usual else "each layer by itself"
        found.append(KnobEffect("bucket", format_memory(bucket), named, figure, again(None)))
    if "overlap" in problem.knobs and way == DATA:
        sending = problem.model_of(plan.groups).memos(None).places.sending
        assert sending is not None
        share = float(sending.overlap[0])
        # A transformer's gradients hide by a share of the backward pass, unless all are sent at its end.
        found.append(
            KnobEffect(
                "overlap", f"up to {share:.0%} hidden", "all sent at the end", figure, again(AT_END),
                "as much as the platform can: what hides costs less than its own time again, so more is never slower",
            )
        )  # fmt: skip
    if problem.target.phases > 1:
        batches = " → ".join(f"{phase.global_batch:,}" for phase in plan.phases)
        note = ""
        if problem.target.growth == 1.0:
            note = "the critical batch does not grow, so one batch throughout is the best schedule"
        found.append(KnobEffect("batch", batches, "one batch", figure, again(bucket, 1), note))
    return tuple(found)


def why_infeasible(problem: FleetProblem, searched: StudyProblem, run: StudyRun) -> str:
    """Why no fleet is feasible, in one or two sentences."""
    from paleo_opt.studies.sampler import point_of

    points = [point_of(searched, trial) for trial in run.finished]
    plans = [plan for point in points if point is not None and (plan := problem.plan_of(point)) is not None]
    name = problem.network.name
    if not plans:
        job = problem.target
        least = min(kind.devices_per_node for kind in problem.model.kinds)
        if (job.global_batch or job.most) < least:
            batch = job.global_batch or job.most
            return f"{name}: a global batch of {batch:,} leaves devices of a whole node ({least}) without a sample"
        return f"{name}: no fleet of these nodes holds it in its devices' memory, whole or in stages"
    budgets = problem.budgets
    lines = []
    for field, words in (("time_s", "time"), ("cost_usd", "cost")):
        limit = getattr(budgets, field)
        least_of = min(getattr(plan, field) for plan in plans)
        if limit is not None and least_of > limit:
            lines.append(f"{budget_text(field, limit)} of {words}: the least is {budget_text(field, least_of)}")
    if not lines:
        lines.append("each budget can be kept to, but not all at once")
    return f"{name}: no fleet of these nodes is within the budgets\n" + "\n".join(lines)
