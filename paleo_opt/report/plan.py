"""The answer to ``plan``: what it costs and what is proved, the chart, the runs, their configurations, the growth."""

from __future__ import annotations

import math

from paleo_opt.estimator.strategy import Strategy
from paleo_opt.planning.plan import Plan
from paleo_opt.quantities import format_count, format_money
from paleo_opt.report import plan_rows, plan_summary, terminal
from paleo_opt.report.plan_gantt import gantt
from paleo_opt.report.plan_rows import Stay, letter
from paleo_opt.report.plan_summary import moment_text, short_time
from paleo_opt.report.strategy_text import adds_up, short_split
from paleo_opt.report.terminal import Column, bold, dim, percent

#: Rows of the tables at most; the page and JSON have all.
MOST_ROWS = 40


def render(plan: Plan, room: int | None = None) -> str:
    """The answer as text of at most ``room`` columns (the terminal's width)."""
    room = room or terminal.width()
    lines = [*terminal.joined(plan_summary.title(plan), room)]
    prices = plan_summary.prices_text(plan)
    lines[-1] = terminal.ends(lines[-1], dim(prices), room)
    lines += [bold(line) for line in terminal.wrapped(f"→ {plan_summary.headline(plan)}", room, "  ")]
    told = [*plan_summary.proof(plan), plan_summary.otherwise(plan), plan_summary.growth(plan)]
    for sentence in filter(None, told):
        lines += _sentence(sentence, room)
    if not plan.feasible:
        lines += ["", "  any one of these would do:"] if plan.relaxations or plan.late else []
        for line in plan_summary.relaxations(plan):
            lines += ["    " + part for part in terminal.wrapped(f"- {line}", room - 4, "  ")]
    for part in (gantt(plan, room), _runs(plan, room), _configurations(plan, room), _months(plan, room)):
        if part:
            lines += ["", *part]
    return "\n".join(line.rstrip() for line in lines)


def _sentence(text: str, room: int) -> list[str]:
    return ["  " + line for line in terminal.wrapped(text, room - 2, "  ")]


def _runs(plan: Plan, room: int) -> list[str]:
    """When each run happens, and with which configuration."""
    stays = plan_rows.stays(plan)
    if not stays:
        return []
    columns = [
        Column("start", right=False),
        Column("takes"),
        Column("run", right=False, shrinks_to=12),
        Column("nodes"),
        Column("where", right=False, shrinks_to=10, constant=False),
        Column("as", right=False),
        Column("to spare"),
        Column("cost", constant=False),
    ]
    rows = []
    for stay in _shown(stays):
        run = stay.first
        spare = (run.spec.deadline - run.end).total_seconds()
        rows.append(
            [
                moment_text(run.start, plan),
                short_time(run.time_s),
                plan_rows.stay_name(stay),
                format_count(run.nodes) if len(stay.runs) == 1 else f"{len(stay.runs)} × {run.nodes}",
                run.resource.name.removeprefix("rented "),
                letter(stay.configuration),
                short_time(spare) if spare >= 0 else f"late {short_time(-spare)}",
                format_money(stay.cost_usd) if stay.cost_usd else "–",
            ]
        )
    more = len(stays) - MOST_ROWS
    rest = [dim(f"  and {more:,} more rows: --html FILE or --json has all")] if more > 0 else []
    return [*terminal.table(columns, rows, room, "  "), *rest]


def _shown(stays: list[Stay]) -> list[Stay]:
    """As many as there is room for: those that cost something or are late, then the first."""
    if len(stays) <= MOST_ROWS:
        return stays
    first = sorted(range(len(stays)), key=lambda i: (not (stays[i].cost_usd or stays[i].first.late_s), i))
    return [stays[i] for i in sorted(first[:MOST_ROWS])]


def _state(strategy: Strategy) -> list[str]:
    """How copies of a transformer share their state, and what is computed again: ``zero1``, ``full recompute``."""
    split = strategy.blocks
    if split is None:
        return []
    shared = [split.sharding] if split.sharding != "zero0" else []
    return shared if split.recompute == "none" else [*shared, f"{split.recompute} recompute"]


def _configurations(plan: Plan, room: int) -> list[str]:
    """The configurations that the letters stand for."""
    chosen = plan_rows.configurations(plan)
    if not chosen:
        return []
    added = any(adds_up(run.strategy) for run in chosen)
    columns = [
        Column("as", right=False),
        Column("job", right=False, shrinks_to=10),
        Column("network", right=False, shrinks_to=8, keep=4),
        Column("GPUs"),
        Column("device", right=False, shrinks_to=8, keep=2),
        Column("split", right=False, constant=False, shrinks_to=8),
        Column("micro-batch"),
        Column("passes", constant=False),
        Column("collective", right=False, constant=added, shrinks_to=10, keep=1),
        Column("precision", right=False, constant=False, keep=3),
    ]
    rows = []
    for index, run in enumerate(chosen[:MOST_ROWS]):
        strategy = run.strategy
        rows.append(
            [
                letter(index),
                run.job.name,
                run.job.network.name,
                format_count(strategy.gpus),
                strategy.cluster.device.name,
                " ".join([short_split(strategy), *_state(strategy)]),
                format_count(strategy.micro_batch),
                format_count(strategy.accumulation),
                strategy.collective if adds_up(strategy) else "–",
                strategy.precision,
            ]
        )
    more = len(chosen) - MOST_ROWS
    rest = [dim(f"  and {more:,} more: --html FILE or --json has all")] if more > 0 else []
    return [*terminal.table(columns, rows, room, "  "), *rest]


def _months(plan: Plan, room: int) -> list[str]:
    """Demand on the fleet against its capacity, month by month."""
    fleet = [each for each in plan.setup.resources if each.kind == "fleet"]
    months = [month for month in plan.months if not month.beyond]
    beyond = [month for month in plan.months if month.beyond]
    if not fleet or (len(months) < 2 and not beyond):
        return []
    columns = [
        Column("month", right=False),
        Column("runs due"),
        Column("fleet needed"),
        Column("fleet used"),
        Column("spent", constant=False),
    ]
    rows = []
    for month in [*months, *beyond[-1:]]:
        there = sum(plan_rows.available_hours(plan, each, month.start, month.end) for each in fleet)
        used = sum(plan_rows.node_hours(plan, each, month.start, month.end) for each in fleet)
        spent = plan_rows.rented_in(plan, month.start, month.end)
        rows.append(
            [
                ("… " if month.beyond else "") + plan_rows.month_text(month.start),
                format_count(month.releases),
                "–" if math.isnan(month.demand) else percent(month.demand),
                "" if month.beyond else percent(used / there) if there else "–",
                "" if month.beyond else format_money(spent) if spent else "–",
            ]
        )
    return terminal.table(columns, rows, room, "  ")
