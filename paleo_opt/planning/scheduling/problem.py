"""The scheduling problem alone: runs, the ways to run each, and pools of nodes. It knows no network and no cluster.

Times are whole seconds from the start of the plan, so that ends and starts compare exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

#: Priorities, the most important first; a run's priority is an index.
PRIORITIES = ("critical", "high", "normal", "low")
#: How much more an early end of an important run counts, among schedules that are as good by the goal.
WEIGHTS = (8, 4, 2, 1)


def to_cents(dollars: float) -> int:
    """Whole cents, rounded up where there is more than rounding error to round."""
    return math.ceil(dollars * 100 - 1e-6)


@dataclass(frozen=True)
class Pool:
    """Nodes of one kind, which runs share.

    Attributes:
        name: For readers; unique.
        kind: ``fleet`` (there), ``rent`` (paid by the hour), ``buy`` or ``reserve`` (paid by the node).
        nodes: That are there; None without limit.
        most_more: How many can be added.
        usd_per_more: Each of them [$].
        opens_s: Not before this [s].
        closes_s: Not after this [s]; None: stays.
    """

    name: str
    kind: str
    nodes: int | None
    most_more: int = 0
    usd_per_more: float = 0.0
    opens_s: int = 0
    closes_s: int | None = None

    def capacity(self, more: int) -> float:
        """Nodes with ``more`` added."""
        return math.inf if self.nodes is None else self.nodes + more

    @property
    def counted(self) -> bool:
        """Whether the goal of fewest nodes counts those added here: those that cost nothing else."""
        return self.most_more > 0 and self.usd_per_more == 0


@dataclass(frozen=True)
class Candidate:
    """One way to run: so many nodes of a pool, for so long.

    Attributes:
        pool: Index.
        nodes: Of the pool.
        duration_s: Whole seconds.
        cost_usd: What this run adds to the bill [$]; 0 on nodes that are paid for.
        cents: The same in whole cents, in which costs are compared.
        key: What the caller needs to find the configuration again.
    """

    pool: int
    nodes: int
    duration_s: int
    cost_usd: float = 0.0
    key: int = 0

    @cached_property
    def cents(self) -> int:
        """The cost in whole cents, rounded up."""
        return to_cents(self.cost_usd)


@dataclass(frozen=True)
class Run:
    """One run of one job.

    Attributes:
        name: For readers; unique.
        release_s: Not before this [s].
        deadline_s: To end by this [s].
        candidates: At least one.
        priority: Index into `PRIORITIES`.
        after: Runs (by index) that must have ended.
    """

    name: str
    release_s: int
    deadline_s: int
    candidates: tuple[Candidate, ...]
    priority: int = 2
    after: tuple[int, ...] = ()


@dataclass(frozen=True)
class PlanProblem:
    """What is to be scheduled.

    Attributes:
        runs: In an order in which each comes after those it waits for.
        pools: Where.
        budget_usd: For all of it [$]; None without limit.
    """

    runs: tuple[Run, ...]
    pools: tuple[Pool, ...]
    budget_usd: float | None = None

    def __post_init__(self) -> None:
        for index, run in enumerate(self.runs):
            assert all(before < index for before in run.after), "runs must follow those that they wait for"

    @cached_property
    def followers(self) -> tuple[tuple[int, ...], ...]:
        """For each run, those that wait for it."""
        found: list[list[int]] = [[] for _ in self.runs]
        for index, run in enumerate(self.runs):
            for before in run.after:
                found[before].append(index)
        return tuple(map(tuple, found))

    @cached_property
    def least_durations(self) -> tuple[int, ...]:
        """The fastest way of each run [s]."""
        return tuple(min(candidate.duration_s for candidate in run.candidates) for run in self.runs)

    @cached_property
    def earliest_starts(self) -> tuple[int, ...]:
        """No run can start before this, for its release and for what it waits for [s]."""
        found: list[int] = []
        for run in self.runs:
            ends = [found[before] + self.least_durations[before] for before in run.after]
            found.append(max([run.release_s, *ends]))
        return tuple(found)

    def latest_ends(self, hard: Sequence[bool] | None = None) -> list[float]:
        """By when each run must end, for its own deadline and for those that wait for it [s].

        Infinite for a run whose deadline may be missed (``hard`` is false) where nothing that waits for it forbids it.
        """
        found = [
            float(run.deadline_s) if hard is None or hard[index] else math.inf for index, run in enumerate(self.runs)
        ]
        for index in reversed(range(len(self.runs))):
            for before in self.runs[index].after:
                found[before] = min(found[before], found[index] - self.least_durations[index])
        return found

    @property
    def budget_cents(self) -> float:
        """The budget in cents; infinite without limit."""
        return math.inf if self.budget_usd is None else self.budget_usd * 100 + 1e-6


@dataclass(frozen=True)
class Placement:
    """Where and when one run happens.

    Attributes:
        candidate: Index among the run's.
        start_s: Whole seconds from the start of the plan.
    """

    candidate: int
    start_s: int


@dataclass(frozen=True)
class Schedule:
    """Every run placed.

    Attributes:
        problem: Whose.
        placements: One per run.
        more: Nodes added to each pool.
    """

    problem: PlanProblem
    placements: tuple[Placement, ...]
    more: tuple[int, ...] = field(default=())

    def candidate(self, run: int) -> Candidate:
        """The way in which a run is done."""
        return self.problem.runs[run].candidates[self.placements[run].candidate]

    def end_s(self, run: int) -> int:
        """When a run ends [s]."""
        return self.placements[run].start_s + self.candidate(run).duration_s

    def late_s(self, run: int) -> int:
        """By how much a run misses its deadline [s]; 0 where it does not."""
        return max(0, self.end_s(run) - self.problem.runs[run].deadline_s)

    @cached_property
    def late(self) -> tuple[int, ...]:
        """The runs that miss their deadlines."""
        return tuple(run for run in range(len(self.placements)) if self.late_s(run) > 0)

    @cached_property
    def lateness(self) -> tuple[int, ...]:
        """Seconds of lateness of all runs of each priority."""
        total = [0] * len(PRIORITIES)
        for run in self.late:
            total[self.problem.runs[run].priority] += self.late_s(run)
        return tuple(total)

    @cached_property
    def more_cents(self) -> int:
        """For nodes that are added [cents]."""
        pairs = zip(self.problem.pools, self.more, strict=True)
        return sum(to_cents(pool.usd_per_more * more) for pool, more in pairs)

    @cached_property
    def cents(self) -> int:
        """In all [cents]."""
        return sum(self.candidate(run).cents for run in range(len(self.placements))) + self.more_cents

    @property
    def cost_usd(self) -> float:
        """In all [$]."""
        return self.cents / 100

    @cached_property
    def nodes_added(self) -> int:
        """To the pools that count them."""
        return sum(more for pool, more in zip(self.problem.pools, self.more, strict=True) if pool.counted)

    @property
    def within_budget(self) -> bool:
        """Whether it keeps to the budget."""
        return self.cents <= self.problem.budget_cents

    @cached_property
    def finish_s(self) -> int:
        """The ends of all runs, summed [s]."""
        return sum(self.end_s(run) for run in range(len(self.placements)))

    @cached_property
    def weighted_finish_s(self) -> int:
        """The same, each weighted by its priority [s]."""
        return sum(WEIGHTS[run.priority] * self.end_s(index) for index, run in enumerate(self.problem.runs))


def topological(after: Sequence[Sequence[int]]) -> list[int]:
    """Indices in an order in which each comes after those it waits for, otherwise as they are.

    Those of a cycle are left out.
    """
    placed: set[int] = set()
    order: list[int] = []
    left = list(range(len(after)))
    while left:
        ready = [index for index in left if placed.issuperset(after[index])]
        if not ready:
            return order
        order += ready
        placed.update(ready)
        left = [index for index in left if index not in placed]
    return order
