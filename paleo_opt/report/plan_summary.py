"""What a plan says in words and rows, shared by its terminal answer and its page."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from paleo_opt.planning.plan import Plan
from paleo_opt.planning.relaxations import Relaxation
from paleo_opt.quantities import format_count, format_money, format_time
from paleo_opt.report.plan_rows import used_resources
from paleo_opt.report.strategy_text import plural
from paleo_opt.report.terminal import percent

SUPERLATIVES = {"cost": "the cheapest that meets every deadline", "lateness": "as early as can be"}
_KINDS = {"rent": "rent", "buy": "buy", "reserve": "reserve"}
_NAMED = 3


def moment_text(moment: datetime, plan: Plan) -> str:
    """``Apr 1 00:00``, with the year where the plan reaches into another."""
    last = max([plan.file.end, *(run.end for run in plan.runs)])
    year = f" {moment.year}" if last - timedelta(seconds=1) >= datetime(plan.file.start.year + 1, 1, 1) else ""
    return f"{moment:%b} {moment.day}{year} {moment:%H:%M}"


def title(plan: Plan) -> list[str]:
    """What is planned, in parts."""
    file = plan.file
    last = file.end - timedelta(seconds=1)
    parts = [
        file.name,
        f"{plural(len(plan.setup.runs), 'run')} of {plural(len(file.jobs), 'job')}",
        f"{file.start:%Y-%m-%d} to {last:%Y-%m-%d}",
    ]
    if file.margin:
        parts.append(f"runs {percent(file.margin)} longer than estimated")
    if file.budget_usd is not None:
        parts.append(f"at most {format_money(file.budget_usd)}")
    return [*parts, SUPERLATIVES[plan.minimize]]


def prices_text(plan: Plan) -> str:
    """The dates of the prices of what is rented; where nothing is, of what might have been."""
    rents = [each for each in plan.setup.resources if each.kind == "rent" and each.usd_per_node_hour is None]
    used = [each for each in used_resources(plan) if each in rents]
    dates = sorted({each.cluster.price.date for each in used or rents if each.cluster.price is not None})
    if not dates:
        return ""
    return f"prices of {dates[0]}" if len(dates) == 1 else f"prices of {dates[0]} to {dates[-1]}"


def short_time(seconds: float) -> str:
    """A duration in few columns: ``89 min``, ``37.5 h``, ``8.7 d``."""
    if seconds < 99.5 * 60:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 99.95 * 3600 else f"{seconds / 86400:,.1f} d"


# -- sentences ---------------------------------------------------------------------------------------------


def headline(plan: Plan) -> str:
    """The answer in a sentence."""
    if plan.solution.schedule is None:
        return "no plan runs all of them with what may be used"
    runs = plural(len(plan.runs), "run")
    if plan.late:
        worst = plan.late[0]
        are = "is" if len(plan.late) == 1 else "are"
        by = f"{worst.spec.name} by {format_time(worst.late_s)}"
        return f"{len(plan.late)} of {runs} {are} late, {'' if len(plan.late) == 1 else 'the worst '}{by}"
    met = f"all {runs} meet their deadlines" if len(plan.runs) > 1 else "it meets its deadline"
    spent = spending(plan)
    if not spent:
        only = {each.kind for each in plan.setup.resources} == {"fleet"}
        return f"{met} on the fleet" + ("" if only else "; nothing to rent or buy")
    return f"{format_money(plan.cost_usd)}: {'; '.join(spent)}; {met}"


def spending(plan: Plan) -> list[str]:
    """What the money goes to, one part each, the dearest first."""
    parts: list[tuple[float, str]] = []
    for each, more, dollars in plan.added:
        parts.append((dollars, f"{_KINDS[each.kind]} {format_count(more)} × {each.cluster.name}"))
    for each in plan.setup.resources:
        runs = [run for run in plan.runs if run.resource is each and run.cost_usd]
        if not runs:
            continue
        dollars = sum(run.cost_usd for run in runs)
        if each.kind != "rent":
            parts.append((dollars, f"running {each.name} {format_money(dollars)}"))
        elif len(runs) == 1:
            run = runs[0]
            hours = math.ceil(run.time_s / 3600)
            when = f"for {hours:,} h from {moment_text(run.start, plan)}"
            parts.append((dollars, f"rent {run.nodes} × {each.cluster.name} {when}"))
        else:
            total = sum(run.nodes * math.ceil(run.time_s / 3600) for run in runs)
            parts.append((dollars, f"rent {each.cluster.name} for {total:,} node-hours in {len(runs)} runs"))
    parts.sort(key=lambda part: -part[0])
    if len(parts) > _NAMED + 1:
        rest = sum(dollars for dollars, _ in parts[_NAMED:])
        others = f"{len(parts) - _NAMED} others for {format_money(rest)}"
        parts = [*parts[:_NAMED], (0.0, others)]
    return [text for _, text in parts]


def proof(plan: Plan) -> list[str]:
    """What is proved, how it was solved, and what the checker found; in sentences."""
    sentences = [plan.message]
    solution = plan.solution
    if plan.late and solution.grid_s is not None:
        grid = f"with starts on a grid of {format_time(solution.grid_s)}"
        if solution.grid_gap == 0:
            sentences.append(f"the least lateness, by priority, of plans {grid}")
        elif solution.grid_gap == solution.grid_gap:
            sentences.append(
                f"least late of the plans found {grid}: HiGHS reports a gap of {percent(solution.grid_gap)}"
            )
    check = plan.check
    if check is not None:
        waits = f", {plural(check.waits, 'wait')}" if check.waits else ""
        found = "nothing is wrong" if check.holds else f"WRONG: {'; '.join(check.violations[:3])}"
        instants = plural(check.instants, "instant")
        sentences.append(f"checked anew: {plural(check.runs, 'run')}, capacity at {instants}{waits}: {found}")
    return sentences


def otherwise(plan: Plan) -> str:
    """What would happen on the fleet alone; empty where there is nothing else, or no fleet."""
    alone = plan.fleet_alone
    if alone is None:
        return ""
    if not alone.late and not alone.impossible:
        return "the fleet alone would do too" if plan.cost_usd else "the fleet alone does it"
    parts = []
    if alone.late:
        ordered = sorted(alone.late, key=lambda pair: -pair[1])
        named = [f"{name} by {format_time(seconds)}" for name, seconds in ordered[:_NAMED]]
        more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
        parts.append(f"{plural(len(ordered), 'run')} late: {', '.join(named)}{more}")
    if alone.impossible:
        named = list(alone.impossible[:_NAMED])
        more = f" and {len(alone.impossible) - _NAMED} more" if len(alone.impossible) > _NAMED else ""
        parts.append(f"{plural(len(alone.impossible), 'run')} not at all: {', '.join(named)}{more}")
    return f"on the fleet alone: {'; '.join(parts)}"


def growth(plan: Plan) -> str:
    """When the fleet no longer suffices; empty where that is not known."""
    months = plan.months
    over = next((month for month in months if month.demand > 1), None)
    if over is not None:
        where = "at this growth the" if over.beyond else "the"
        return f"{where} fleet no longer suffices in {over.start:%B %Y}: the work needs {percent(over.demand)} of it"
    alone = plan.fleet_alone
    if alone is not None and alone.first_late is not None:
        return f"the fleet alone first misses a deadline in {alone.first_late:%B %Y}"
    return ""


def relaxation_text(plan: Plan, relaxation: Relaxation) -> str:
    """One thing that would let every deadline be met."""
    least = "no less would do" if relaxation.proved else "not proved to be the least"
    if relaxation.kind == "nodes":
        return f"{plural(round(relaxation.amount), 'more node')} of {relaxation.what} ({least})"
    if relaxation.kind == "money":
        text = format_money(relaxation.amount)
        over = relaxation.amount - (plan.file.budget_usd or 0.0)
        return f"a budget of {text}, {format_money(over)} more ({least})"
    return f"renting {relaxation.what} for {format_money(relaxation.amount)}: rent: priced ({least})"


def relaxations(plan: Plan) -> list[str]:
    """All that would let every deadline be met, the later deadlines first."""
    lines = []
    if plan.late:
        named = [f"of {run.spec.name} by {format_time(run.late_s)}" for run in plan.late[: 2 * _NAMED]]
        more = f", and {len(plan.late) - 2 * _NAMED} more" if len(plan.late) > 2 * _NAMED else ""
        lines.append(f"later deadlines: {', '.join(named)}{more}")
    return [*lines, *(relaxation_text(plan, each) for each in plan.relaxations)]
