"""A plan as a chart of text: for each resource how much of it is in use, and for each job when it runs there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from paleo_opt.planning.dates import Span
from paleo_opt.planning.jobs import Resource
from paleo_opt.planning.plan import PlacedRun, Plan
from paleo_opt.report import plan_rows
from paleo_opt.report.terminal import bar, dim, shorten

_HEIGHTS = " ▁▂▃▄▅▆▇█"
_LONGEST_LABEL = 18
_MOST_JOBS = 40
_LATE, _DEADLINE = "░", "│"


class _Scale:
    """Columns of equal time."""

    def __init__(self, start: datetime, end: datetime, columns: int) -> None:
        self.start, self.end, self.columns = start, end, columns
        self.step = (end - start) / columns

    def cell(self, index: int) -> tuple[datetime, datetime]:
        return self.start + index * self.step, self.start + (index + 1) * self.step

    def column(self, moment: datetime) -> int:
        """The column in which a moment lies; its end counts to the column before."""
        return min(self.columns - 1, max(0, int((moment - self.start) / self.step)))


def gantt(plan: Plan, room: int) -> list[str]:
    """The chart as lines of at most ``room`` columns."""
    if not plan.runs:
        return []
    groups = [(each, _jobs_on(plan, each)) for each in plan_rows.used_resources(plan)]
    names = [run[0].job.name for _, jobs in groups for run in jobs]
    label = min(_LONGEST_LABEL, max(len(name) for name in [*names, "in use"])) + 2
    scale = _Scale(*plan_rows.span_of(plan), room - label - 4)
    lines = [dim(" " * (label + 3) + _axis(scale).rstrip())]
    for each, jobs in groups:
        lines.append(f"  {shorten(plan_rows.resource_title(plan, each), room - 2, middle=True)}")
        if plan_rows.capacity(plan, each) is not None:
            lines.append(f"    {'in use':<{label}}{_use(plan, each, scale)}".rstrip())
        lines += [
            f"    {shorten(runs[0].job.name, label - 2):<{label}}{_bars(runs, scale)}".rstrip()
            for runs in jobs[:_MOST_JOBS]
        ]
        if len(jobs) > _MOST_JOBS:
            lines.append(f"    and {len(jobs) - _MOST_JOBS} more jobs")
    days = scale.step / timedelta(days=1)
    width = f"{days:.2g} days" if days >= 1 else f"{24 * days:.2g} h"
    notes = [f"a column is {width}", f"{_DEADLINE} a deadline"]
    if plan.late:
        notes.append(f"{_LATE} after it")
    return [*lines, dim(f"    {' · '.join(notes)}")]


def _jobs_on(plan: Plan, resource: Resource) -> list[list[PlacedRun]]:
    """The runs on a resource, by job, in the order of the file."""
    found: dict[int, list[PlacedRun]] = {}
    for run in plan.runs:
        if run.resource is resource:
            found.setdefault(run.spec.job, []).append(run)
    return [found[job] for job in sorted(found)]


def _axis(scale: _Scale) -> str:
    """Months, or days where there are few, each at its first column."""
    cells = [" "] * (scale.columns + 8)
    days = (scale.end - scale.start) / timedelta(days=1)
    step = Span(max(1, math.ceil(days / 365)), 0, "") if days > 45 else Span(0, 86_400 * math.ceil(days / 8), "")
    moment = scale.start
    while moment < scale.end:
        text = f"{moment:%b}" if days > 45 else f"{moment:%b} {moment.day}"
        if days > 45 and (moment.month == 1 or moment == scale.start) and days > 300:
            text = f"{moment:%b %y}"
        at = scale.column(moment)
        if all(cell == " " for cell in cells[max(0, at - 1) : at + len(text) + 1]) and at + len(text) <= scale.columns:
            cells[at : at + len(text)] = text
        moment = step.after(datetime(moment.year, moment.month, 1) if days > 45 else moment)
    return "".join(cells)


def _share(spans: Sequence[tuple[datetime, datetime]], cell: tuple[datetime, datetime]) -> float:
    """The share of a cell that is covered by any of ``spans``, which are in order of their starts."""
    covered, reach = timedelta(0), cell[0]
    for start, end in spans:
        first, last = max(start, reach), min(end, cell[1])
        if last > first:
            covered += last - first
            reach = last
    return covered / (cell[1] - cell[0])


def _bars(runs: Sequence[PlacedRun], scale: _Scale) -> str:
    """One job: where it runs, where it runs late, and its deadlines."""
    spans = [(run.start, run.end) for run in runs]
    late = [(max(run.start, run.spec.deadline), run.end) for run in runs if run.late_s]
    deadlines = {scale.column(run.spec.deadline) for run in runs if run.spec.deadline < scale.end}
    text = ""
    for index in range(scale.columns):
        cell = scale.cell(index)
        share = _share(spans, cell)
        if late and _share(late, cell) > 0.5:
            text += _LATE
        elif share > 0:
            text += bar(share, 1)
        else:
            text += _DEADLINE if index in deadlines else " "
    return text


def _use(plan: Plan, resource: Resource, scale: _Scale) -> str:
    """The share of a resource's nodes in use, as heights."""
    text = ""
    for index in range(scale.columns):
        start, end = scale.cell(index)
        there = plan_rows.available_hours(plan, resource, start, end)
        used = plan_rows.node_hours(plan, resource, start, end)
        share = used / there if there else 0.0
        height = round(share * (len(_HEIGHTS) - 1))
        text += _HEIGHTS[max(1, height)] if share > 0.005 else " "
    return text
