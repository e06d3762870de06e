"""The ways to run each job: one sweep per network, of which every pool keeps what no other way beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.splits import Splits
from paleo_opt.estimator.strategy import Integers, Strategies, Strategy
from paleo_opt.planning.jobs import Job, JobsFile, Resource
from paleo_opt.planning.pruning import useful
from paleo_opt.planning.scheduling.problem import Candidate
from paleo_opt.quantities import format_memory
from paleo_opt.search.blocks import Block
from paleo_opt.search.budgets import Budgets
from paleo_opt.search.problem import SearchProblem, load_problem
from paleo_opt.search.runners_up import first_of_each
from paleo_opt.search.sweep import Limits, Rows, sweep


@dataclass(frozen=True)
class Way:
    """One configuration of a job on one resource.

    Attributes:
        resource: Index.
        nodes: Whole ones.
        time_s: To the target, of the run with factor 1 [s].
        strategy: The best of the sweep for so many devices.
    """

    resource: int
    nodes: int
    time_s: float
    strategy: Strategy


@dataclass(frozen=True)
class Searched:
    """What the sweep of one network found.

    Attributes:
        problem: What was swept.
        blocks: Of strategies.
        rows: The best strategy for each number of devices.
        resource: Of each block: index.
    """

    problem: SearchProblem
    blocks: tuple[Block, ...]
    rows: Rows
    resource: tuple[int, ...]

    @property
    def strategies(self) -> int:
        """How many were evaluated."""
        return int(self.rows.strategies.sum())


def search_networks(
    file: JobsFile, options: Options, conv_algorithm: str | None, resources: Sequence[Resource]
) -> dict[int, Searched]:
    """One sweep per distinct network over all resources, by the identity of the network.

    Raises:
        SpecError: a space or network that cannot be searched.
    """
    found: dict[int, Searched] = {}
    clusters = {id(each.cluster): each.cluster for each in resources}
    for job in file.jobs:
        if id(job.network) in found:
            continue
        problem = load_problem(
            job.network,
            Budgets(),
            "time",
            on=tuple(clusters.values()),
            space=file.space,
            options=options,
            conv_algorithm=conv_algorithm,
        )
        blocks: list[Block] = []
        owners: list[int] = []
        for index, each in enumerate(resources):
            nodes = None if each.nodes is None else each.nodes + each.most_more
            most = problem.space.largest if nodes is None else nodes * each.cluster.devices_per_node
            own = problem.blocks([each.cluster], most)
            blocks += own
            owners += [index] * len(own)
        if not blocks:
            raise SpecError(f"space {file.space}: has no strategy for the clusters of {file.name}")
        rows = sweep(problem.table, blocks, Limits(), options)
        found[id(job.network)] = Searched(problem, tuple(blocks), rows, tuple(owners))
    return found


def ways_of(job: Job, searched: Searched, resources: Sequence[Resource]) -> list[Way]:
    """The fastest way for each resource and number of nodes that the job allows, where more nodes are faster."""
    rows, found = searched.rows, {}
    allowed = [not job.on or any(each.answers_to(word) for word in job.on) for each in resources]
    order = np.lexsort((rows.gpus, rows.time_s))
    for row in first_of_each(rows, order[np.isfinite(rows.time_s[order])]).tolist():
        index, gpus = searched.resource[int(rows.block[row])], int(rows.gpus[row])
        if not allowed[index] or gpus < job.min_gpus or (job.max_gpus is not None and gpus > job.max_gpus):
            continue
        nodes = -(-gpus // resources[index].cluster.devices_per_node)
        if (index, nodes) not in found:
            strategy = rows.strategy(searched.blocks, row)
            found[index, nodes] = Way(index, nodes, float(rows.time_s[row]), strategy)
    kept: list[Way] = []
    for way in sorted(found.values(), key=lambda way: (way.resource, way.nodes)):
        if not kept or kept[-1].resource != way.resource or way.time_s < kept[-1].time_s:
            kept.append(way)
    return kept


def note_unfitting(job: Job, searched: Searched, resources: Sequence[Resource]) -> None:
    """Note in the job's file that it has no way to run, and why."""
    rows = searched.rows
    allowed = np.array([not job.on or any(r.answers_to(word) for word in job.on) for r in resources])
    owner = np.array(searched.resource)[rows.block]
    inside = (rows.gpus >= job.min_gpus) & (job.max_gpus is None or rows.gpus <= (job.max_gpus or 0))
    here = np.flatnonzero(allowed[owner] & inside)
    if here.size and not np.isfinite(rows.time_s[here]).any():
        memory = np.array([block.cluster.device.memory for block in searched.blocks])[rows.block]
        row = int(here[(rows.memory_bytes[here] / memory[here]).argmin()])
        device = searched.blocks[int(rows.block[row])].cluster.device
        job.fields.problem(
            f"fits no device that the job may use: at least {format_memory(float(rows.memory_bytes[row]))} of "
            f"{format_memory(device.memory)} of {device.name}",
            "network",
        )
        return
    field = "min_gpus" if "min_gpus" in job.fields else "max_gpus" if "max_gpus" in job.fields else "on"
    there = np.unique(rows.gpus[allowed[owner]])
    limits = f"; numbers of GPUs there: {there[0]:,} to {there[-1]:,}" if there.size else ""
    job.fields.problem(f"leaves nothing to run on{limits}", field if field in job.fields else "network")


class Estimator:
    """Times and bills of ways to run, for runs of any size of a job."""

    def __init__(
        self,
        job: Job,
        searched: Searched,
        ways: Sequence[Way],
        resources: Sequence[Resource],
        options: Options,
        margin: float = 0.0,
    ) -> None:
        self.job, self.ways = job, tuple(ways)
        self._searched, self._resources, self._options = searched, resources, options
        self._longer = 1.0 + margin
        self._resource = np.array([way.resource for way in ways], dtype=np.int64)
        self._nodes = np.array([way.nodes for way in ways], dtype=np.int64)
        self._limited = np.array([resources[way.resource].nodes is not None for way in ways], dtype=bool)
        self._known: dict[float, tuple[Integers, Floats]] = {}
        self._candidates: dict[tuple[float, tuple[int, ...]], tuple[Candidate, ...]] = {}
        #: Whether every way that a schedule can need was kept.
        self.whole = True

    def figures(self, factor: float) -> tuple[Integers, Floats]:
        """Time [whole s] and cost [$] of each way, of a run of ``factor`` times the samples. Shapes (ways,).

        Rented nodes are paid for whole hours.
        """
        if factor not in self._known:
            time, held, cost = self._estimate(scaled(self._searched.problem.table, factor))
            duration = np.maximum(np.ceil(time - 1e-6), 1).astype(np.int64)
            self._known[factor] = duration, self._bills(held / 3600.0, cost)
        return self._known[factor]

    def _estimate(self, table: CostTable) -> tuple[Floats, Floats, Floats]:
        """Time to target [s], time for which nodes are held [s] and cost [$], with the margin.

        Ways of one layout are estimated together.
        """
        time, held, cost = (np.full(len(self.ways), np.nan) for _ in range(3))
        layouts: dict[tuple[str, int], list[int]] = {}
        for index, way in enumerate(self.ways):
            strategy = way.strategy
            tensor = strategy.tensor if strategy.blocks is None else 1
            layouts.setdefault((strategy.split, tensor), []).append(index)
        for indices in layouts.values():
            estimates = estimate(table, together([self.ways[i].strategy for i in indices]), self._options)
            for into, values in (
                (time, estimates.time_to_target_s),
                (held, estimates.running_time_s),
                (cost, estimates.cost_usd),
            ):
                into[indices] = np.broadcast_to(values, (len(indices),))
        return time * self._longer, held * self._longer, cost * self._longer

    def _bills(self, hours: Floats, cost: Floats) -> Floats:
        """What each way adds to the bill [$]."""
        bills = np.zeros(len(self.ways))
        for index in np.unique(self._resource).tolist():
            each, here = self._resources[index], self._resource == index
            whole = np.ceil(hours[here] - 1e-9)
            if each.kind != "rent":
                bills[here] = self._nodes[here] * hours[here] * (each.usd_per_node_hour or 0.0)
            elif each.usd_per_node_hour is not None:
                bills[here] = self._nodes[here] * whole * each.usd_per_node_hour
            else:
                price = self._options.node_price(each.cluster)
                assert price is not None, "what has no price was refused"
                # The estimate's bill, which may hold storage and egress, and the rest of the last hour.
                rest = self._nodes[here] * (whole - hours[here]) * price.dollars_per_hour
                bills[here] = cost[here] + rest
        return bills

    def candidates(self, factor: float, pools: Mapping[int, int]) -> tuple[Candidate, ...]:
        """The ways that a schedule can need; ``key`` is the index among `ways`.

        Args:
            factor: Of the samples.
            pools: The pool of each resource that may be used.
        """
        key = factor, tuple(pools)
        if key not in self._candidates:
            duration, bills = self.figures(factor)
            cents = np.ceil(bills * 100 - 1e-6).astype(np.int64)
            here = np.flatnonzero(np.isin(self._resource, list(pools)))
            kept, whole = useful(
                self._resource[here], self._nodes[here], duration[here], cents[here], self._limited[here]
            )
            self.whole &= whole
            self._candidates[key] = tuple(
                Candidate(
                    pool=pools[self.ways[i].resource],
                    nodes=self.ways[i].nodes,
                    duration_s=int(duration[i]),
                    cost_usd=float(bills[i]),
                    key=i,
                )
                for i in here[kept].tolist()
            )
        return self._candidates[key]


def scaled(table: CostTable, factor: float) -> CostTable:
    """The same network where training takes ``factor`` times the samples."""
    job = table.network.job
    assert job is not None
    if factor == 1.0:
        return table
    job = replace(job, samples_to_target=job.samples_to_target * factor)
    return replace(table, network=replace(table.network, job=job))


def together(strategies: Sequence[Strategy]) -> Strategies:
    """Strategies of one layout, or any of a transformer's blocks, as one set. Shape (strategies,)."""
    places = {(s.cluster.name, id(s.cluster), s.precision): (s.cluster, s.precision) for s in strategies}
    index = {key: place for place, key in enumerate(places)}
    collectives = tuple(dict.fromkeys(s.collective for s in strategies))
    blocks = [s.blocks for s in strategies if s.blocks is not None]
    return Strategies(
        clusters=tuple(cluster for cluster, _ in places.values()),
        precisions=tuple(precision for _, precision in places.values()),
        split=strategies[0].split,
        tensor=1 if blocks else strategies[0].tensor,
        collectives=collectives,
        gpus=np.array([s.gpus for s in strategies]),
        micro_batch=np.array([s.micro_batch for s in strategies]),
        accumulation=np.array([s.accumulation for s in strategies]),
        collective=np.array([collectives.index(s.collective) for s in strategies]),
        place=np.array([index[s.cluster.name, id(s.cluster), s.precision] for s in strategies]),
        splits=Splits.of(blocks) if blocks else None,
        layout=np.arange(len(strategies)) if blocks else np.zeros((), dtype=np.int64),
    )


def all_ways(
    file: JobsFile, searched: Mapping[int, Searched], resources: Sequence[Resource], options: Options
) -> list[Estimator]:
    """An estimator for each job.

    Raises:
        SpecError: jobs that can run nowhere, each with its line.
    """
    found = []
    for job in file.jobs:
        own = searched[id(job.network)]
        ways = ways_of(job, own, resources)
        if not ways:
            note_unfitting(job, own, resources)
        found.append(Estimator(job, own, ways, resources, options, file.margin))
    file.fields.raise_problems()
    return found
