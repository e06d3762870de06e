"""Demand on the fleet against its capacity, month by month, and when growth takes it beyond.

The demand of a month is the least share of the fleet's node-hours with which the work due in it could be done: every
run on as few node-hours as it can, spread evenly between its release and its deadline, and divided over the fleet's
clusters as well as may be (a linear program where there are several). A share above 1 cannot be done; one below 1 may
still miss deadlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.planning.dates import Span
from paleo_opt.planning.setup import Setup

#: Months beyond the horizon that growth is followed for.
MONTHS_BEYOND = 36
_MOST_BEYOND = 5_000


@dataclass(frozen=True)
class Month:
    """One calendar month of the plan, or beyond it.

    Attributes:
        start: Its first instant in the plan.
        end: Its last.
        demand: Share of the fleet's node-hours that its work needs at least; NaN without a fleet.
        releases: Runs that may start in it.
        beyond: Whether it lies beyond the horizon.
    """

    start: datetime
    end: datetime
    demand: float
    releases: int
    beyond: bool


@dataclass(frozen=True)
class _Work:
    """Work of one job: node-seconds on each cluster of the fleet, between two instants."""

    job: int
    release: datetime
    deadline: datetime
    factor: float


def months_of(setup: Setup) -> tuple[Month, ...]:
    """The months of the horizon; and, where a job repeats beyond it, those after it until the fleet no longer suffices.

    Where it suffices for all of `MONTHS_BEYOND`, only those of the horizon.
    """
    file = setup.file
    fleet = [index for index, each in enumerate(setup.resources) if each.kind == "fleet"]
    least = [_node_seconds(setup, job, fleet) for job in range(len(file.jobs))]
    work = [_Work(run.job, run.release, run.deadline, run.factor) for run in setup.runs]
    inside = [_month(setup, span, work, least, fleet, False) for span in _calendar(file.start, file.end)]
    lasting = [job for job in file.jobs if job.every is not None and job.times is None and job.grows]
    if not fleet or not lasting or any(month.demand > 1 for month in inside):
        return tuple(inside)
    beyond_end = Span(MONTHS_BEYOND, 0, "").after(file.end)
    work += _continued(setup, beyond_end)
    beyond: list[Month] = []
    for span in _calendar(file.end, beyond_end):
        beyond.append(_month(setup, span, work, least, fleet, True))
        if beyond[-1].demand > 1:
            return (*inside, *beyond)
    return tuple(inside)


def _calendar(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Calendar months from ``start`` to ``end``, the first and the last as far as they go."""
    spans = []
    while start < end:
        first = datetime(start.year, start.month, 1)
        last = min(end, Span(1, 0, "").after(first))
        spans.append((start, last))
        start = last
    return spans


def _continued(setup: Setup, end: datetime) -> list[_Work]:
    """The work of jobs that repeat without end, from the horizon's to ``end``."""
    found: list[_Work] = []
    for index, job in enumerate(setup.file.jobs):
        if job.every is None or job.times is not None:
            continue
        repetition = 0
        while (release := job.release(repetition)) < end and len(found) < _MOST_BEYOND:
            if release >= setup.file.end:
                factor = job.growth(job.samples_growth, release) * job.count_at(release)
                found.append(_Work(index, release, job.deadline_of(repetition, end), factor))
            repetition += 1
    return found


def _node_seconds(setup: Setup, job: int, fleet: Sequence[int]) -> list[float]:
    """The least node-seconds of a run with factor 1 on each cluster of the fleet; infinite where it cannot run."""
    estimator = setup.estimators[job]
    found = dict.fromkeys(fleet, np.inf)
    for way, duration in zip(estimator.ways, estimator.figures(1.0)[0].tolist(), strict=True):
        if way.resource in found:
            found[way.resource] = min(found[way.resource], way.nodes * duration)
    return list(found.values())


def _overlap(start: datetime, end: datetime, other: tuple[datetime, datetime]) -> float:
    """Seconds that two stretches of time share."""
    return max(timedelta(0), min(end, other[1]) - max(start, other[0])).total_seconds()


def _month(
    setup: Setup,
    span: tuple[datetime, datetime],
    work: Sequence[_Work],
    least: Sequence[Sequence[float]],
    fleet: Sequence[int],
    beyond: bool,
) -> Month:
    capacity = []
    for index in fleet:
        each = setup.resources[index]
        capacity.append((each.nodes or 0) * _overlap(each.opens, each.closes or span[1], span))
    amount = [0.0] * len(least)
    for item in work:
        share = _overlap(item.release, item.deadline, span) / (item.deadline - item.release).total_seconds()
        amount[item.job] += item.factor * share
    releases = sum(span[0] <= item.release < span[1] for item in work)
    demand = _least_share(np.array(least), np.array(amount), np.array(capacity)) if fleet else float("nan")
    return Month(span[0], span[1], demand, releases, beyond)


def _least_share(least: Floats, amount: Floats, capacity: Floats) -> float:
    """The least share of every cluster's capacity with which all the work can be done.

    Args:
        least: Node-seconds of each job's run on each cluster. Shape (jobs, clusters).
        amount: Runs of each job. Shape (jobs,).
        capacity: Node-seconds of each cluster. Shape (clusters,).
    """
    there = capacity > 0
    least, capacity = least[:, there], capacity[there]
    # Work that no cluster of the fleet can do is no demand on it.
    able = np.isfinite(least).any(axis=1) & (amount > 0) if there.any() else np.zeros(len(amount), dtype=bool)
    if not able.any():
        return 0.0
    load = least[able] * amount[able, None]
    jobs, clusters = load.shape
    if clusters == 1:
        return float(load.sum() / capacity[0])
    from scipy.optimize import linprog

    finite = np.isfinite(load)
    # Variables: the part of each job on each cluster, then the share.
    size = jobs * clusters + 1
    within = np.zeros((clusters, size))
    whole = np.zeros((jobs, size))
    for job in range(jobs):
        for cluster in range(clusters):
            at = job * clusters + cluster
            within[cluster, at] = load[job, cluster] / capacity[cluster] if finite[job, cluster] else 0.0
            whole[job, at] = 1.0
    within[:, -1] = -1.0
    most = np.append(finite.ravel().astype(float), np.inf)
    goal = np.append(np.zeros(size - 1), 1.0)
    bounds = np.column_stack([np.zeros(size), most])
    result = linprog(goal, A_ub=within, b_ub=np.zeros(clusters), A_eq=whole, b_eq=np.ones(jobs), bounds=bounds)
    return float(result.fun)
