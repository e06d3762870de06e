"""What a file of jobs says: the jobs, the nodes they may use, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from paleo_opt.hardware.cluster import Cluster
from paleo_opt.network.graph import Network
from paleo_opt.planning.dates import MONTH, Span
from paleo_opt.spec_file import Fields


@dataclass(frozen=True, eq=False)
class Job:
    """A network to be trained, once or again and again.

    Attributes:
        name: Unique in its file.
        network: With the job that its runs are, before growth.
        earliest: The first run may not start before this.
        deadline: The first run must end by this; None: by the end of the horizon, or before the job is due again.
        priority: Index into `problem.PRIORITIES`.
        every: The time from one repetition to the next; None: it runs once.
        times: Repetitions; None: to the end of the horizon, and on beyond it.
        count: Runs alike at each repetition.
        samples_growth: Of the samples of a run, per month.
        count_growth: Of the count, per month.
        on: Clusters, pools or kinds of pools that it may use; empty for all.
        min_gpus: Devices of a run at least.
        max_gpus: At most; None without limit.
        after: Jobs whose runs must have ended.
        fields: Where it stands in its file, for messages.
    """

    name: str
    network: Network
    earliest: datetime
    deadline: datetime | None
    priority: int
    every: Span | None
    times: int | None
    count: int
    samples_growth: float
    count_growth: float
    on: tuple[str, ...]
    min_gpus: int
    max_gpus: int | None
    after: tuple[str, ...]
    fields: Fields = field(repr=False)

    @property
    def grows(self) -> bool:
        """Whether later runs are larger, or more, than the first; or smaller, or fewer."""
        return bool(self.samples_growth or self.count_growth)

    def growth(self, rate: float, moment: datetime) -> float:
        """The factor by which something that grows by ``rate`` a month has grown from the first run to ``moment``."""
        return float((1.0 + rate) ** ((moment - self.earliest).total_seconds() / MONTH))

    def count_at(self, moment: datetime) -> int:
        """Runs of the repetition at ``moment``: rounded, but at least one."""
        return max(1, int(self.count * self.growth(self.count_growth, moment) + 0.5))

    def release(self, repetition: int) -> datetime:
        """When a repetition, counted from 0, may start."""
        return self.earliest if self.every is None else self.every.after(self.earliest, repetition)

    def deadline_of(self, repetition: int, horizon_end: datetime) -> datetime:
        """By when it must have ended."""
        if self.deadline is None:
            return horizon_end if self.every is None else self.release(repetition + 1)
        return self.deadline if self.every is None else self.every.after(self.deadline, repetition)


@dataclass(frozen=True, eq=False)
class Resource:
    """Nodes of one cluster, on one set of terms.

    Attributes:
        name: Unique: a cluster's name, or its own.
        kind: ``fleet``, ``rent``, ``buy`` or ``reserve``.
        cluster: Of which the nodes are.
        nodes: That are there; None without limit.
        most_more: That can be had.
        usd_per_more: Each, for the whole horizon [$].
        usd_per_node_hour: In use [$]; None for the cluster's own price.
        opens: Not before.
        closes: Not after; None: stays.
        fields: Where it stands in its file, for messages.
    """

    name: str
    kind: str
    cluster: Cluster
    nodes: int | None
    most_more: int
    usd_per_more: float
    usd_per_node_hour: float | None
    opens: datetime
    closes: datetime | None
    fields: Fields = field(repr=False)

    def answers_to(self, word: str) -> bool:
        """Whether a job's ``on`` means it by ``word``."""
        return word in (self.name, self.kind, self.cluster.name)


@dataclass(frozen=True, eq=False)
class JobsFile:
    """A file of jobs.

    Attributes:
        name: The file's stem.
        file: As it was named.
        description: One line.
        start: Of the plan.
        horizon: Its length.
        end: Of the horizon.
        jobs: In the order of the file.
        resources: The fleet first.
        budget_usd: For everything [$]; None without limit.
        margin: The share by which runs are planned longer than estimated.
        space: The search space.
        fields: The whole file, for messages.
    """

    name: str
    file: str
    description: str
    start: datetime
    horizon: Span
    end: datetime
    jobs: tuple[Job, ...]
    resources: tuple[Resource, ...]
    budget_usd: float | None
    margin: float
    space: str
    fields: Fields = field(repr=False)

    def seconds(self, moment: datetime) -> int:
        """Whole seconds from the start."""
        return round((moment - self.start).total_seconds())

    def moment(self, seconds: float) -> datetime:
        """The inverse of `seconds`."""
        return self.start + timedelta(seconds=seconds)

    @property
    def horizon_s(self) -> int:
        """Length of the horizon [s]."""
        return self.seconds(self.end)


@dataclass(frozen=True)
class RunSpec:
    """One run of a job.

    Attributes:
        name: ``retrain``, ``retrain 3`` or ``retrain 3.2``: of the third repetition the second run.
        job: Index.
        repetition: From 0.
        copy: From 0.
        release: Not before.
        deadline: To end by.
        factor: Its samples over those of the job.
    """

    name: str
    job: int
    repetition: int
    copy: int
    release: datetime
    deadline: datetime
    factor: float


#: Runs of one file at most.
MOST_RUNS = 1_000


def expand(file: JobsFile) -> list[RunSpec]:
    """Every run of every job whose turn comes before the end of the horizon, in the order of the file."""
    runs: list[RunSpec] = []
    for index, job in enumerate(file.jobs):
        repetition = 0
        own: list[RunSpec] = []
        while job.times is None or repetition < job.times:
            release = job.release(repetition)
            if release >= file.end or (job.every is None and repetition):
                break
            count = job.count_at(release)
            several = job.count > 1 or job.count_growth > 0
            for copy in range(min(count, MOST_RUNS + 1 - len(own))):
                name = job.name if job.every is None else f"{job.name} {repetition + 1}"
                name += (f".{copy + 1}" if job.every else f" {copy + 1}") if several else ""
                factor = job.growth(job.samples_growth, release)
                deadline = job.deadline_of(repetition, file.end)
                own.append(RunSpec(name, index, repetition, copy, release, deadline, factor))
            repetition += 1
            if len(own) > MOST_RUNS:
                break
        if len(own) > MOST_RUNS:
            job.fields.problem(
                f"has more than {MOST_RUNS:,} runs within the horizon", "repeats" if job.every else "count"
            )
            own = own[:1]
        runs += own
    if len(runs) > MOST_RUNS and not file.fields.problems:
        file.fields.problem(f"have {len(runs):,} runs within the horizon; expected at most {MOST_RUNS:,}", "jobs")
    return runs


def waits(file: JobsFile, runs: list[RunSpec]) -> list[tuple[int, ...]]:
    """For each run, those (by index) that it waits for.

    Where two jobs repeat alike, each repetition waits for the same repetition of the other; else for all its runs.
    """
    by_job: dict[int, list[int]] = {}
    for index, run in enumerate(runs):
        by_job.setdefault(run.job, []).append(index)
    names = {job.name: index for index, job in enumerate(file.jobs)}
    found: list[tuple[int, ...]] = []
    for run in runs:
        job, before = file.jobs[run.job], []
        for name in job.after:
            other = file.jobs[names[name]]
            alike = job.every is not None and other.every is not None and _length(job) == _length(other)
            before += [
                index for index in by_job.get(names[name], []) if not alike or runs[index].repetition == run.repetition
            ]
        found.append(tuple(before))
    return found


def _length(job: Job) -> tuple[int, int]:
    return (job.every.months, job.every.seconds) if job.every else (0, 0)
