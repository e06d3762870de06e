"""Read a file of jobs: every mistake of it at once, each with its line and field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from paleo_opt import catalog
from paleo_opt.errors import SpecError, nearest
from paleo_opt.network.graph import Network
from paleo_opt.planning.dates import Span, is_moment, parse_growth, parse_margin, parse_moment, parse_span
from paleo_opt.planning.jobs import Job, JobsFile
from paleo_opt.planning.networks import AMOUNTS, Networks, scalar, with_amount
from paleo_opt.planning.resources import KINDS, read_resources
from paleo_opt.planning.scheduling.problem import PRIORITIES, topological
from paleo_opt.spec_file import Fields, as_text, read_spec
from paleo_opt.yaml_nodes import shown

LONGEST_HORIZON_MONTHS = 36
_HORIZON = Span(LONGEST_HORIZON_MONTHS, 0, "")
MOST_JOBS = 200
MOST_GPUS = 1_000_000


def load_jobs(path: str, overrides: Mapping[str, str] | None = None, pricing: str = "on_demand") -> JobsFile:
    """Read a file of jobs.

    Args:
        path: The file.
        overrides: Field to YAML text, replacing what the file says: ``{"fleet[0].nodes": "8"}``.
        pricing: The terms on which nodes are rented, one of `hardware.cluster.PRICINGS`.

    Raises:
        SpecError: every problem of the file, each with its line and field.
    """
    fields = read_spec(_existing(path), overrides, path)
    description = fields.text("description", "")
    begin = _moment(fields, "start")
    horizon = fields.value("horizon", _horizon)
    # Reading goes on after a mistake, from dates that let it; what depends on them is then not compared.
    known_dates = begin is not None and horizon is not None
    start = begin or datetime(2000, 1, 1)
    end = (horizon or _HORIZON).after(start)
    budget = fields.quantity("budget", "money", None)
    margin = fields.value("margin", lambda node: parse_margin(scalar(node)), 0.0)
    space = fields.text("space", "default")
    if space not in catalog.names("space") and not space.endswith((".yaml", ".yml")):
        fields.problem(f"is {shown(space)!r}{nearest(space[:100], catalog.names('space'))}", "space")
    resources = read_resources(fields, start, end, pricing)
    listed = fields.fields_list("jobs")
    if not listed and "jobs" in fields and isinstance(fields.node("jobs"), yaml.SequenceNode):
        fields.problem("is empty; expected at least one job", "jobs")
    if len(listed) > MOST_JOBS:
        fields.problem(f"has {len(listed):,} jobs; expected at most {MOST_JOBS:,}", "jobs")
    networks = Networks(path)
    known = [*KINDS, *(word for each in resources for word in (each.name, each.cluster.name))]
    jobs = [_job(each, start, end, networks, known, known_dates) for each in listed[:MOST_JOBS] if each.is_mapping]
    _check_names(jobs)
    fields.finish()
    file = JobsFile(
        name=Path(path).stem,
        file=path,
        description=description,
        start=start,
        horizon=horizon or _HORIZON,
        end=end,
        jobs=tuple(jobs),
        resources=tuple(resources),
        budget_usd=budget,
        margin=margin,
        space=space,
        fields=fields,
    )
    fields.raise_problems()
    return file


def _existing(path: str) -> Path:
    if not Path(path).is_file():
        raise SpecError(f"{path}: no such file")
    return Path(path)


# -- values ------------------------------------------------------------------------------------------------


def _horizon(node: yaml.Node) -> Span:
    text = scalar(node).strip()
    # A bare number counts months.
    span = parse_span(f"{text} months" if text.isdigit() else text)
    if span.about_s > _HORIZON.about_s:
        raise SpecError(f"is {shown(text)!r}; expected at most {LONGEST_HORIZON_MONTHS} months")
    return span


def _moment(fields: Fields, name: str, start: datetime | None = None, end_of_day: bool = False) -> Any:
    """A date, or where ``start`` is given a span of time from it; required where it is not."""

    def convert(node: yaml.Node) -> datetime:
        text = scalar(node)
        if start is None or is_moment(text):
            return parse_moment(text, end_of_day)
        try:
            return parse_span(text).after(start)
        except SpecError:
            what = "expected a date such as 2026-06-30, or a span from the start such as 10 days"
            raise SpecError(f"is {shown(text)!r}; {what}") from None
        except (OverflowError, ValueError):
            raise SpecError(f"is {shown(text)!r}, too far away") from None

    return fields.value(name, convert) if start is None else fields.value(name, convert, None)


def _growth(fields: Fields) -> tuple[float, float]:
    """Growth per month of the samples and of the count."""
    found = fields.fields("growth", None)
    if found is None:
        return 0.0, 0.0
    rates = [found.value(name, lambda node: parse_growth(scalar(node)), 0.0) for name in ("samples", "count")]
    found.finish()
    return rates[0], rates[1]


def _repeats(fields: Fields) -> tuple[Span | None, int | None]:
    found = fields.fields("repeats", None)
    if found is None:
        return None, None
    every: Span | None = found.value("every", lambda node: parse_span(scalar(node)))
    times: int | None = found.integer("times", None, 1, 100_000)
    found.finish()
    if every is not None and every.about_s < 3600:
        found.problem(f"is {every.text!r}; expected at least an hour", "every")
        every = None
    return every, times


# -- jobs --------------------------------------------------------------------------------------------------


def _job(
    fields: Fields, start: datetime, end: datetime, networks: Networks, known: list[str], known_dates: bool
) -> Job:
    """One job; a mistake is noted and read past."""
    name: str = fields.text("name")
    network = networks.get(fields)
    if network is not None:
        network = with_amount(fields, network)
    else:
        for amount in (*AMOUNTS, "max_global_batch"):
            fields.node(amount)
    earliest = _moment(fields, "earliest", start) or start
    deadline = _moment(fields, "deadline", start, end_of_day=True)
    every, times = _repeats(fields)
    if known_dates:
        _check_dates(fields, start, end, earliest, deadline, every, times)
    on = _on(fields, known)
    least = fields.integer("min_gpus", 1, 1, MOST_GPUS)
    most = fields.integer("max_gpus", None, 1, MOST_GPUS)
    if most is not None and most < least:
        fields.problem(f"is {most}, below min_gpus, {least}", "max_gpus")
    samples_growth, count_growth = _growth(fields)
    if (samples_growth or count_growth) and every is None:
        fields.problem("has no meaning for a job that runs once; give repeats", "growth")
    job = Job(
        name=name,
        network=network or Network("", "", "", "", (1,), (), None),
        earliest=earliest,
        deadline=deadline,
        priority=PRIORITIES.index(fields.text("priority", "normal", PRIORITIES) or "normal"),
        every=every,
        times=times,
        count=fields.integer("count", 1, 1, 1_000),
        samples_growth=samples_growth,
        count_growth=count_growth,
        on=on,
        min_gpus=least,
        max_gpus=most,
        after=_words(fields, "after"),
        fields=fields,
    )
    fields.finish()
    return job


def _words(fields: Fields, name: str) -> tuple[str, ...]:
    """A list of words, or one word."""
    if isinstance(fields.node(name), yaml.ScalarNode):
        return (fields.text(name),)
    found: tuple[str, ...] = fields.sequence(name, as_text(), ())
    return tuple(dict.fromkeys(found))


def _on(fields: Fields, known: list[str]) -> tuple[str, ...]:
    words = _words(fields, "on")
    if "on" in fields and not words:
        fields.problem("is an empty list; expected at least one cluster", "on")
    for word in words:
        if known and word not in known:
            there = "is a cluster, but neither in the fleet nor to be had" if word in catalog.names("cluster") else ""
            fields.problem(there or f"is {shown(word)!r}{nearest(word[:100], dict.fromkeys(known))}", "on")
    return words


def _check_dates(
    fields: Fields,
    start: datetime,
    end: datetime,
    earliest: datetime,
    deadline: datetime | None,
    every: Span | None,
    times: int | None,
) -> None:
    if earliest < start:
        fields.problem(f"is before the start of the plan, {start:%Y-%m-%d}", "earliest")
    if earliest >= end:
        fields.problem(f"is not before the end of the horizon, {end:%Y-%m-%d}", "earliest")
    if deadline is not None:
        if deadline <= start:
            fields.problem(f"is past: the plan starts on {start:%Y-%m-%d}", "deadline")
        elif deadline <= earliest:
            fields.problem(f"is not after the earliest start, {earliest:%Y-%m-%d %H:%M}", "deadline")
        elif deadline > _HORIZON.after(earliest):
            fields.problem(f"is more than {LONGEST_HORIZON_MONTHS} months after the earliest start", "deadline")
        elif deadline > end and every is None:
            fields.problem(f"is after the end of the horizon, {end:%Y-%m-%d}", "deadline")
    if every is not None and times is not None and every.after(earliest, times - 1) >= end:
        last = every.after(earliest, times - 1)
        where = fields.fields("repeats")
        where.problem(f"is {times}: the last would be due on {last:%Y-%m-%d}, beyond the horizon", "times")


def _check_names(jobs: list[Job]) -> None:
    """Names are unique; what a job waits for is there, and does not wait for it."""
    first: dict[str, Job] = {}
    for job in jobs:
        if job.name and job.name in first:
            line = first[job.name].fields.line_of("name")
            job.fields.problem(f"is {shown(job.name)!r}, as that of the job on line {line}", "name")
        first.setdefault(job.name, job)
    for job in jobs:
        for name in job.after:
            if name not in first:
                job.fields.problem(f"is {shown(name)!r}{nearest(name[:100], [other.name for other in jobs])}", "after")
    order = {name: index for index, name in enumerate(first)}
    waiting = [[order[name] for name in job.after if name in order] for job in first.values()]
    placed = set(topological(waiting))
    names = list(first)
    left = {index: [i for i in waiting[index] if i not in placed] for index in range(len(names)) if index not in placed}
    seen: set[int] = set()
    for begin in left:
        path: dict[int, None] = {}
        index = begin
        while index not in seen and index not in path:
            path[index] = None
            index = left[index][0]
        if index in path:
            cycle = [*list(path)[list(path).index(index) :], index]
            chain = " after ".join(shown(names[i]) for i in cycle[:12])
            first[names[index]].fields.problem(f"is circular: {chain}", "after")
        seen.update(path)
