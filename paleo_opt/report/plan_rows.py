"""The rows of a plan's tables and charts: stays, configurations, nodes in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from paleo_opt.planning.jobs import Resource
from paleo_opt.planning.plan import PlacedRun, Plan
from paleo_opt.report.strategy_text import plural

_WORDS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Stay:
    """Runs of one configuration side by side: the same job, place, start and end.

    Attributes:
        runs: At least one.
        configuration: Index into `configurations`.
    """

    runs: tuple[PlacedRun, ...]
    configuration: int

    @property
    def first(self) -> PlacedRun:
        """One of them; they are alike."""
        return self.runs[0]

    @property
    def cost_usd(self) -> float:
        """Of all of them [$]."""
        return sum(run.cost_usd for run in self.runs)


def configurations(plan: Plan) -> list[PlacedRun]:
    """One run of each distinct (job, resource, nodes), in the order in which they first appear."""
    found: dict[tuple[int, str, int], PlacedRun] = {}
    for run in plan.runs:
        found.setdefault((run.spec.job, run.resource.name, run.nodes), run)
    return sorted(found.values(), key=lambda run: (run.spec.job, run.start))


def letter(index: int) -> str:
    """``a`` to ``z``, then ``aa``…"""
    first, last = divmod(index, len(_WORDS))
    return (letter(first - 1) if first else "") + _WORDS[last]


def stays(plan: Plan) -> list[Stay]:
    """The runs in order of their starts, those that are side by side together."""
    index = {(run.spec.job, run.resource.name, run.nodes): place for place, run in enumerate(configurations(plan))}
    together: dict[tuple[object, ...], list[PlacedRun]] = {}
    for run in plan.runs:
        key = (run.spec.job, run.spec.repetition, run.resource.name, run.nodes, run.start, run.end)
        together.setdefault(key, []).append(run)
    return [
        Stay(tuple(runs), index[runs[0].spec.job, runs[0].resource.name, runs[0].nodes]) for runs in together.values()
    ]


def stay_name(stay: Stay) -> str:
    """``retrain 3``, or where several are side by side ``search ×3``."""
    if len(stay.runs) == 1:
        return stay.first.spec.name
    job = stay.first.job
    return (f"{job.name} {stay.first.spec.repetition + 1}" if job.every else job.name) + f" ×{len(stay.runs)}"


def used_resources(plan: Plan) -> list[Resource]:
    """Those that runs are on, and the whole fleet, in the order of the file."""
    used = {run.resource.name for run in plan.runs}
    return [each for each in plan.setup.resources if each.kind == "fleet" or each.name in used]


def capacity(plan: Plan, resource: Resource) -> int | None:
    """Nodes of a resource with what is added; None without limit."""
    more = next((count for each, count, _ in plan.added if each is resource), 0)
    return None if resource.nodes is None else resource.nodes + more


def use(plan: Plan, resource: Resource) -> list[tuple[datetime, int]]:
    """Nodes in use from each moment on, ascending; the first is the start of the plan."""
    changes: dict[datetime, int] = {plan.file.start: 0}
    for run in plan.runs:
        if run.resource is resource:
            changes[run.start] = changes.get(run.start, 0) + run.nodes
            changes[run.end] = changes.get(run.end, 0) - run.nodes
    nodes, found = 0, []
    for moment in sorted(changes):
        nodes += changes[moment]
        found.append((moment, nodes))
    return found


def node_hours(plan: Plan, resource: Resource, start: datetime, end: datetime) -> float:
    """Node-hours in use between two moments."""
    total = 0.0
    for run in plan.runs:
        if run.resource is resource:
            shared = min(run.end, end) - max(run.start, start)
            total += run.nodes * max(0.0, shared.total_seconds()) / 3600
    return total


def available_hours(plan: Plan, resource: Resource, start: datetime, end: datetime) -> float:
    """Node-hours that are there between two moments; infinite without limit."""
    nodes = capacity(plan, resource)
    if nodes is None:
        return float("inf")
    shared = min(end, resource.closes or end) - max(start, resource.opens)
    return nodes * max(0.0, shared.total_seconds()) / 3600


def month_text(start: datetime) -> str:
    """``Apr 2026``."""
    return f"{start:%b %Y}"


def rented_in(plan: Plan, start: datetime, end: datetime) -> float:
    """What the runs that start between two moments add to the bill [$]."""
    return sum(run.cost_usd for run in plan.runs if start <= run.start < end)


def resource_title(plan: Plan, resource: Resource) -> str:
    """``my_cluster · 6 nodes``; ``rented p4d.24xlarge``."""
    nodes = capacity(plan, resource)
    return resource.name if nodes is None or resource.kind == "rent" else f"{resource.name} · {plural(nodes, 'node')}"


def span_of(plan: Plan) -> tuple[datetime, datetime]:
    """From the start of the plan to the end of its horizon, or of its last run or deadline."""
    ends: Sequence[datetime] = [plan.file.end, *(run.end for run in plan.runs)]
    return plan.file.start, max(ends)
