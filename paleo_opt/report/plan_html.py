"""The answer to ``plan`` as one self-contained HTML page: offline, without scripts, on a phone and in the dark."""

from __future__ import annotations

import math
from importlib.resources import files

from paleo_opt import __version__
from paleo_opt.planning.plan import Plan
from paleo_opt.planning.scheduling.problem import PRIORITIES
from paleo_opt.quantities import format_count, format_money, format_time
from paleo_opt.report import plan_charts, plan_rows, plan_summary
from paleo_opt.report.html.markup import pairs, table, text
from paleo_opt.report.plan_rows import letter
from paleo_opt.report.plan_summary import moment_text, short_time
from paleo_opt.report.strategy_text import adds_up, batch_text, devices_text, plural, split_text
from paleo_opt.report.terminal import percent
from paleo_opt.report.units import short_count

#: A longer table of runs is folded away.
_MOST_OPEN = 60
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def _style() -> str:
    base = files("paleo_opt.report.html").joinpath("page.css").read_text(encoding="utf-8")
    return base + files("paleo_opt.report").joinpath("plan_page.css").read_text(encoding="utf-8")


def _section(name: str, title: str, content: str) -> str:
    if not content:
        return ""
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{text(title)}</h2>\n{content}\n</section>\n'


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def render_page(plan: Plan) -> str:
    """The whole page."""
    parts = plan_summary.title(plan)
    body = "".join(
        [
            _section("answer", "The plan" if plan.feasible else "No plan meets every deadline", _answer(plan)),
            _section("chart", "What runs when", plan_charts.gantt(plan)),
            _section("growth", "Demand against the fleet", _growth(plan)),
            _section("runs", "Every run", _runs(plan)),
            _section("configurations", "With which configuration", _configurations(plan)),
            _section("assumed", "What was asked", _asked(plan)),
        ]
    )
    description = f'<p class="question">{text(plan.file.description)}</p>' if plan.file.description else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<link rel="icon" href="data:,">\n'
        f"<title>{text(' · '.join(parts))}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{text(parts[0])}</h1>\n{description}<p class="question">{text(" · ".join(parts[1:]))}</p>\n'
        f'<p class="prices">{text(plan_summary.prices_text(plan))}</p>\n</header>\n<main>\n{body}</main>\n'
        f"<footer><p>Made by paleo-opt {text(__version__)}.</p></footer>\n</body>\n</html>\n"
    )


def _answer(plan: Plan) -> str:
    sentences = [*plan_summary.proof(plan), plan_summary.otherwise(plan), plan_summary.growth(plan)]
    told = "".join(f'<p class="proof">{text(_capital(sentence))}.</p>' for sentence in sentences if sentence)
    found = f'<p class="answer">{text(_capital(plan_summary.headline(plan)))}.</p>{_tiles(plan)}{told}'
    if not plan.feasible:
        lines = plan_summary.relaxations(plan)
        items = "".join(f"<li>{text(_capital(line))}</li>" for line in lines)
        found += f"<h3>Any one of these would do</h3><ul>{items}</ul>" if lines else ""
    return found


def _tiles(plan: Plan) -> str:
    """The figures that one asks for first."""
    if not plan.runs:
        return ""
    entries = [("cost", format_money(plan.cost_usd)), ("runs", format_count(len(plan.runs)))]
    entries.append(("late", format_count(len(plan.late))))
    entries.append(("last ends", moment_text(max(run.end for run in plan.runs), plan)))
    fleet = [each for each in plan.setup.resources if each.kind == "fleet"]
    hours = sum(plan_rows.available_hours(plan, each, plan.file.start, plan.file.end) for each in fleet)
    if hours:
        used = sum(plan_rows.node_hours(plan, each, plan.file.start, plan.file.end) for each in fleet)
        entries.append(("fleet in use", percent(used / hours)))
    if plan.file.budget_usd is not None:
        entries.append(("budget", format_money(plan.file.budget_usd)))
    items = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in entries)
    return f'<dl class="tiles">{items}</dl>'


def _growth(plan: Plan) -> str:
    drawing = plan_charts.demand(plan.months)
    if not drawing:
        return ""
    explained = (
        "The least share of the fleet's node-hours with which the work of each month could be done; above the line it "
        "cannot. Months after the horizon, where jobs go on growing, are paler."
    )
    rows = []
    for month in plan.months:
        spent = plan_rows.rented_in(plan, month.start, month.end)
        rows.append(
            [
                text(plan_rows.month_text(month.start)),
                text(format_count(month.releases)),
                text("–" if math.isnan(month.demand) else percent(month.demand)),
                text("–" if month.beyond else format_money(spent)),
            ]
        )
    figures = table(("month", "runs due", "fleet needed", "spent on runs"), rows, right=(1, 2, 3))
    more = f"<details><summary>By month</summary>{figures}</details>"
    return f'<p class="note">{text(explained)}</p>{drawing}{more}'


def _runs(plan: Plan) -> str:
    if not plan.runs:
        return ""
    places = {
        (run.spec.job, run.resource.name, run.nodes): index for index, run in enumerate(plan_rows.configurations(plan))
    }
    rows = []
    for run in plan.runs:
        spare = (run.spec.deadline - run.end).total_seconds()
        rows.append(
            [
                text(run.spec.name),
                text(moment_text(run.start, plan)),
                text(moment_text(run.end, plan)),
                text(short_time(run.time_s)),
                text(f"{run.nodes} × {run.resource.name}"),
                text(letter(places[run.spec.job, run.resource.name, run.nodes])),
                text(moment_text(run.spec.deadline, plan)),
                text(short_time(spare)) if spare >= 0 else f"<strong>late {text(short_time(-spare))}</strong>",
                text(format_money(run.cost_usd) if run.cost_usd else "–"),
            ]
        )
    headings = ("run", "start", "end", "takes", "where", "as", "deadline", "to spare", "cost")
    found = table(headings, rows, right=(3, 7, 8), name="cards runs")
    return found if len(rows) <= _MOST_OPEN else f"<details><summary>All {len(rows):,} runs</summary>{found}</details>"


def _configurations(plan: Plan) -> str:
    rows = []
    for index, run in enumerate(plan_rows.configurations(plan)):
        strategy = run.strategy
        rows.append(
            [
                text(letter(index)),
                text(run.job.name),
                text(run.job.network.name),
                text(devices_text(strategy.cluster, strategy.gpus)),
                text(split_text(strategy)),
                text(batch_text(strategy)),
                text(strategy.collective if adds_up(strategy) else "–"),
                text(strategy.precision),
            ]
        )
    if not rows:
        return ""
    return table(("as", "job", "network", "devices", "split", "batch", "collective", "precision"), rows, name="cards")


def _asked(plan: Plan) -> str:
    """The jobs and the resources, and how it was solved."""
    rows = []
    for job in plan.file.jobs:
        amount = "–" if job.network.job is None else short_count(job.network.job.samples_to_target)
        often = (
            "once" if job.every is None else f"every {job.every.text}" + (f", {job.times} times" if job.times else "")
        )
        rates = [("samples", job.samples_growth), ("count", job.count_growth)]
        grows = ", ".join(f"{what} {100 * rate:+.3g}% a month" for what, rate in rates if rate)
        rows.append(
            [
                text(job.name),
                text(job.network.name),
                text(amount),
                text(f"{job.count} × {often}" if job.count > 1 else often),
                text(grows or "–"),
                text(", ".join(job.after) or "–"),
                text(PRIORITIES[job.priority]),
            ]
        )
    jobs = table(
        ("job", "network", "samples", "how often", "growth", "after", "priority"), rows, right=(2,), name="cards"
    )
    fleet = [
        (each.name, text(f"{plural(each.nodes or 0, 'node')} of {each.cluster.description}"))
        for each in plan.setup.resources
        if each.kind == "fleet"
    ]
    rents = sum(each.kind == "rent" for each in plan.setup.resources)
    others = [each.name for each in plan.setup.resources if each.kind in ("buy", "reserve")]
    solution = plan.solution
    entries = [
        *fleet,
        ("may be rented", text(plural(rents, "cluster") if rents else "nothing")),
        ("may be had", text(", ".join(others))),
        ("strategies", text(f"{format_count(plan.setup.strategies)} evaluated in the sweeps")),
        ("programs", text(f"{len(solution.stages)} solved in {format_time(solution.seconds)}")),
    ]
    return jobs + pairs([(name, value) for name, value in entries if value])
