"""The drawings of a plan's page: inline SVG whose widths are percentages, so that text stays legible on any screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from paleo_opt.planning.dates import Span
from paleo_opt.planning.growth import Month
from paleo_opt.planning.jobs import Resource
from paleo_opt.planning.plan import PlacedRun, Plan
from paleo_opt.quantities import format_money, format_time
from paleo_opt.report import plan_rows
from paleo_opt.report.html.markup import text
from paleo_opt.report.plan_summary import moment_text
from paleo_opt.report.strategy_text import plural
from paleo_opt.report.terminal import percent

_COLOURS = 8
_ROW, _HIGH, _AXIS = 22, 46, 18
#: No run is drawn narrower than this share of the chart's width [%].
_NARROWEST = 0.35
_MOST_TICKS = 6
#: Width of a letter of the axis on a phone [%].
_LETTER = 2.0


class _Scale:
    """Time as percentages of a width."""

    def __init__(self, plan: Plan) -> None:
        self.start, self.end = plan_rows.span_of(plan)

    def at(self, moment: datetime) -> float:
        share = (moment - self.start) / (self.end - self.start)
        return 100.0 * min(1.0, max(0.0, share))

    def ticks(self) -> list[datetime]:
        """Firsts of months, or days where there are few months."""
        days = (self.end - self.start) / timedelta(days=1)
        if days <= 45:
            step = Span(0, 86_400 * math.ceil(days / _MOST_TICKS), "")
            first = self.start
        else:
            step = Span(math.ceil(days / 31 / _MOST_TICKS), 0, "")
            first = datetime(self.start.year, self.start.month, 1)
        found = []
        while first < self.end:
            if first >= self.start:
                found.append(first)
            first = step.after(first)
        return found

    def tick_text(self, moment: datetime) -> str:
        days = (self.end - self.start) / timedelta(days=1)
        return f"{moment:%b} {moment.day}" if days <= 45 else f"{moment:%b %Y}" if days > 300 else f"{moment:%b}"

    def lines(self, height: int) -> str:
        return "".join(
            f'<line class="month" x1="{self.at(tick):.3f}%" x2="{self.at(tick):.3f}%" y1="0" y2="{height}"/>'
            for tick in self.ticks()
        )


def _lane(name: str, drawing: str) -> str:
    return f'<div class="lane"><span class="name" title="{text(name)}">{text(name)}</span>{drawing}</div>'


def _svg(height: int, label: str, content: str) -> str:
    return f'<svg height="{height}" role="img" aria-label="{text(label)}">{content}</svg>'


def gantt(plan: Plan) -> str:
    """For each resource its use and its jobs, one line each, under one axis."""
    if not plan.runs:
        return ""
    scale = _Scale(plan)
    parts = [_lane("", _axis(scale))]
    for each in plan_rows.used_resources(plan):
        title = plan_rows.resource_title(plan, each)
        lanes = []
        if plan_rows.capacity(plan, each) is not None:
            lanes.append(_lane("in use", _use(plan, each, scale)))
        jobs: dict[int, list[PlacedRun]] = {}
        for run in plan.runs:
            if run.resource is each:
                jobs.setdefault(run.spec.job, []).append(run)
        lanes += [_lane(runs[0].job.name, _job(plan, job, runs, scale)) for job, runs in sorted(jobs.items())]
        parts.append(f'<div class="resource"><h3>{text(title)}</h3>{"".join(lanes)}</div>')
    return "".join([_HATCH, *parts, _keys(plan)])


#: What late parts are filled with, defined once for the whole page.
_HATCH = (
    '<svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs><pattern id="late" width="6" '
    'height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" '
    'fill="var(--card)"/><rect width="3" height="6" fill="var(--bad)"/></pattern></defs></svg>'
)


def _keys(plan: Plan) -> str:
    entries = ['<span><svg><line class="deadline" x1="8" x2="8" y1="0" y2="12"/></svg>a deadline</span>']
    if plan.late:
        entries.append('<span><svg><rect class="late" width="18" height="12"/></svg>after its deadline</span>')
    if any(plan_rows.capacity(plan, each) for each in plan_rows.used_resources(plan)):
        entries.append('<span><svg><rect class="used" width="18" height="12"/></svg>nodes in use</span>')
    return f'<p class="keys">{"".join(entries)}</p>'


def _axis(scale: _Scale) -> str:
    labels = "".join(
        f'<text class="axis" x="{scale.at(tick):.3f}%" dx="2" y="12">{text(scale.tick_text(tick))}</text>'
        for tick in scale.ticks()
        if scale.at(tick) < 100 - _LETTER * len(scale.tick_text(tick))
    )
    return _svg(_AXIS, "months", labels)


def run_title(plan: Plan, run: PlacedRun) -> str:
    """What one shows when pointed at."""
    parts = [
        f"{run.spec.name}: {plural(run.nodes, 'node')} of {run.resource.name}",
        f"{moment_text(run.start, plan)} to {moment_text(run.end, plan)} ({format_time(run.time_s)})",
        f"deadline {moment_text(run.spec.deadline, plan)}",
    ]
    if run.late_s:
        parts.append(f"late by {format_time(run.late_s)}")
    if run.cost_usd:
        parts.append(format_money(run.cost_usd))
    return ", ".join(parts)


def _job(plan: Plan, job: int, runs: Sequence[PlacedRun], scale: _Scale) -> str:
    """One job: a bar for each run, runs at the same time below one another, and its deadlines."""
    lanes: list[datetime] = []
    places = []
    for run in runs:
        free = next((place for place, end in enumerate(lanes) if end <= run.start), None)
        if free is None:
            free = len(lanes)
            lanes.append(run.end)
        lanes[free] = run.end
        places.append(free)
    tall = (_ROW - 6) / len(lanes)
    content = [scale.lines(_ROW)]
    for moment in sorted({run.spec.deadline for run in runs if run.spec.deadline < scale.end}):
        at = scale.at(moment)
        content.append(f'<line class="deadline" x1="{at:.3f}%" x2="{at:.3f}%" y1="1" y2="{_ROW - 1}"/>')
    for run, place in zip(runs, places, strict=True):
        left, right = scale.at(run.start), scale.at(run.end)
        size = f'y="{3 + place * tall:.2f}" height="{max(1.0, tall - 0.5):.2f}"'
        bars = (
            f'<rect class="run r{job % _COLOURS}" x="{left:.3f}%" width="{max(right - left, _NARROWEST):.3f}%" {size}/>'
        )
        if run.late_s:
            begin = max(left, scale.at(run.spec.deadline))
            bars += f'<rect class="late" x="{begin:.3f}%" width="{max(right - begin, _NARROWEST):.3f}%" {size}/>'
        content.append(f"<g><title>{text(run_title(plan, run))}</title>{bars}</g>")
    label = "; ".join(run_title(plan, run) for run in runs[:20])
    return _svg(_ROW, label, "".join(content))


def _use(plan: Plan, resource: Resource, scale: _Scale) -> str:
    """Nodes in use over time, below the line of all that there are."""
    nodes = plan_rows.capacity(plan, resource) or 1
    steps = plan_rows.use(plan, resource)
    content = [scale.lines(_HIGH)]
    ends = [moment for moment, _ in steps[1:]] + [scale.end]
    for (start, used), end in zip(steps, ends, strict=True):
        if used:
            left, tall = scale.at(start), (_HIGH - 8) * used / nodes
            width = max(scale.at(end) - left, 0.05)
            title = f"{used} of {plural(nodes, 'node')} from {moment_text(start, plan)} to {moment_text(end, plan)}"
            box = f'x="{left:.3f}%" width="{width:.3f}%" y="{_HIGH - 2 - tall:.2f}" height="{tall:.2f}"'
            content.append(f'<rect class="used" {box}><title>{text(title)}</title></rect>')
    content.append('<line class="all" x1="0" x2="100%" y1="6" y2="6"/>')
    hours = plan_rows.available_hours(plan, resource, plan.file.start, scale.end)
    share = plan_rows.node_hours(plan, resource, plan.file.start, scale.end) / hours if hours else 0.0
    return _svg(_HIGH, f"nodes of {resource.name} in use over time: {percent(share)} on average", "".join(content))


def demand(months: Sequence[Month]) -> str:
    """The share of the fleet that each month's work needs, as bars, with the line beyond which it cannot be done."""
    known = [month for month in months if month.demand == month.demand]
    if len(known) < 2:
        return ""
    height, foot = 150, 20
    top = max(1.15, max(month.demand for month in known) * 1.08)
    each = 100.0 / len(known)
    every = math.ceil(len(known) / 7)
    content = []
    for index, month in enumerate(known):
        tall = (height - foot) * month.demand / top
        kind = ("over" if month.demand > 1 else "under") + (" ahead" if month.beyond else "")
        box = f'x="{index * each + 0.15 * each:.3f}%" width="{0.7 * each:.3f}%" y="{height - foot - tall:.2f}"'
        title = f"{month.start:%B %Y}: {percent(month.demand)} of the fleet"
        content.append(f'<rect class="{kind}" {box} height="{tall:.2f}"><title>{text(title)}</title></rect>')
        if index % every == 0:
            middle = f'x="{(index + 0.5) * each:.3f}%" y="{height - 5}" text-anchor="middle"'
            name = f"{month.start:%b}" + (
                f" {month.start:%y}" if index == 0 or month.start.month == 1 or every > 1 else ""
            )
            content.append(f'<text class="axis" {middle}>{text(name)}</text>')
    limit = (height - foot) * (1 - 1 / top)
    content.append(f'<line class="limit" x1="0" x2="100%" y1="{limit:.2f}" y2="{limit:.2f}"/>')
    content.append(f'<text class="axis" x="0" y="{limit - 4:.2f}">all of the fleet</text>')
    label = "; ".join(f"{month.start:%b %Y} {percent(month.demand)}" for month in known)
    return f'<div class="months">{_svg(height, label, "".join(content))}</div>'
