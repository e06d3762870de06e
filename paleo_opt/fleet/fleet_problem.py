"""What is asked of a mixed fleet, and one point of the search solved: nodes of each kind, the way, the bucket size."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from paleo_opt import __version__
from paleo_opt.estimator.cost_table import Floats
from paleo_opt.fleet.bucket_ranges import range_ends
from paleo_opt.fleet.chains import unit_times
from paleo_opt.fleet.data_way import Target, solve_data
from paleo_opt.fleet.groups import (
    Group,
)
from paleo_opt.fleet.model import FleetModel
from paleo_opt.fleet.pipeline_costs import PipelineProblem
from paleo_opt.fleet.pipeline_search import make_problems, solve_pipeline
from paleo_opt.fleet.plan import DATA, FleetPlan
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.network.graph import Network
from paleo_opt.search.budgets import Budgets
from paleo_opt.studies.problem import Outcome, Point

#: Bytes of gradients sent together, when that is searched.
LEAST_BUCKET, MOST_BUCKET = 1e6, 1e9
WAY, BUCKET = "way", "bucket_bytes"


@dataclass(frozen=True, eq=False)
class FleetProblem:
    """What is asked.

    Attributes:
        model: Of the network on all kinds.
        most: Nodes of each kind at most. Shape (G,).
        target: What is trained, with which batches.
        budgets: Of GPUs, money and time.
        goal: ``time`` or ``cost``.
        ways: Out of `WAYS`, those to consider.
        knobs: Out of `fleet_question.KNOBS`, those to turn.
        make: The model of some of the kinds, which may have a better precision in common than all of them.
        remarks: What else a reader must know of the question.
        solved: Plans of the points that this process has solved.
    """

    model: FleetModel
    most: tuple[int, ...]
    target: Target
    budgets: Budgets
    goal: str
    ways: tuple[str, ...]
    knobs: tuple[str, ...]
    make: Callable[[Sequence[Cluster]], FleetModel]
    remarks: tuple[str, ...] = ()
    solved: dict[tuple[Any, ...], FleetPlan | None] = field(default_factory=dict, repr=False)

    @property
    def network(self) -> Network:
        """What is trained."""
        return self.model.table.network

    @cached_property
    def _models(self) -> dict[tuple[str, ...], FleetModel]:
        return {tuple(self._names): self.model}

    @cached_property
    def _problems(self) -> dict[tuple[Any, ...], list[PipelineProblem]]:
        return {}

    def model_of(self, groups: Sequence[Group]) -> FleetModel:
        """The model of the kinds that take part."""
        names = tuple(group.cluster.name for group in groups)
        if names not in self._models:
            self._models[names] = self.make([group.cluster for group in groups])
        return self._models[names]

    def groups(self, nodes: Sequence[int]) -> tuple[Group, ...]:
        """The kinds that take part."""
        pairs = zip(self.model.kinds, nodes, strict=True)
        return tuple(Group(cluster, count) for cluster, count in pairs if count)

    def plan(
        self, nodes: Sequence[int], way: str, bucket_bytes: float | None = None, target: Target | None = None
    ) -> FleetPlan | None:
        """The best training of one fleet; None where none fits.

        Args:
            nodes: Of each kind. Shape (G,).
            way: One of `WAYS`.
            bucket_bytes: Gradients sent together; None for what the platform sends.
            target: In place of the problem's own.
        """
        wanted = target or self.target
        key = (tuple(nodes), way, bucket_bytes, wanted)
        if key not in self.solved:
            self.solved[key] = self._plan(self.groups(nodes), way, bucket_bytes, wanted)
        return self.solved[key]

    def _plan(
        self, groups: tuple[Group, ...], way: str, bucket_bytes: float | None, target: Target
    ) -> FleetPlan | None:
        if not groups:
            return None
        model = self.model_of(groups)
        if way == DATA:
            return solve_data(model, groups, bucket_bytes, target)
        if sum(group.nodes for group in groups) < 2:
            return None
        key = (*(group.cluster.name for group in groups), bucket_bytes)
        if key not in self._problems:
            # Of every other bucket there may be very many.
            if bucket_bytes is not None:
                self._problems.clear()
            self._problems[key] = make_problems(model, bucket_bytes)
        # A pipeline that is no faster than data parallelism on the same nodes is of no interest.
        limit = math.inf
        if DATA in self.ways and target.phases == 1:
            nodes = {group.cluster.name: group.nodes for group in groups}
            data = self.plan([nodes.get(name, 0) for name in self._names], DATA, bucket_bytes, target)
            if data is not None:
                limit = sum(phase.steps * phase.expected_s for phase in data.phases)
        return solve_pipeline(model, self._problems[key], groups, target, limit)

    # -- points of the study ---------------------------------------------------------------------------

    def name(self, index: int) -> str:
        """Of the variable that counts the nodes of a kind."""
        return f"{self.model.kinds[index].name}_nodes"

    def nodes_of(self, point: Point) -> tuple[int, ...]:
        """Of each kind."""
        return tuple(int(point[self.name(index)]) for index in range(len(self.most)))

    def way_of(self, point: Point) -> str:
        """One of `WAYS`."""
        return self.ways[int(point[WAY])]

    def point(self, nodes: Sequence[int], way: int = 0, bucket_bytes: float | None = None) -> dict[str, float]:
        """A point of the study; the platform's own bucket, as near as the knob's range allows, unless one is given."""
        found: dict[str, float] = {self.name(index): int(count) for index, count in enumerate(nodes)}
        found[WAY] = way
        if "bucket" in self.knobs:
            usual = self.model.bucket_bytes if bucket_bytes is None else bucket_bytes
            found[BUCKET] = float(min(max(usual, LEAST_BUCKET), MOST_BUCKET))
        return found

    @cached_property
    def _ends(self) -> dict[tuple[Any, ...], Floats]:
        return {}

    def bucket_ends(self, point: Point) -> Floats:
        """Where sizes of buckets begin to mean another grouping of a fleet's gradients (`bucket_ranges.range_ends`)."""
        groups, in_stages = self.groups(self.nodes_of(point)), self.way_of(point) != DATA
        key = (in_stages, *(group.cluster.name for group in groups))
        if key not in self._ends:
            model = self.model_of(groups) if groups else self.model
            self._ends[key] = range_ends(model, LEAST_BUCKET, MOST_BUCKET, in_stages)
        return self._ends[key]

    def plan_of(self, point: Point) -> FleetPlan | None:
        """`plan` of a point."""
        return self.plan(self.nodes_of(point), self.way_of(point), point.get(BUCKET))

    def solve(self, point: Point) -> Outcome:
        """The best training of a point, with how far it is beyond each budget."""
        nodes = self.nodes_of(point)
        devices = sum(group.devices for group in self.groups(nodes))
        limits = {"gpus": self.budgets.gpus, "cost_usd": self.budgets.cost_usd, "time_s": self.budgets.time_s}
        too_many = self.budgets.gpus is not None and devices > self.budgets.gpus
        plan = None if too_many else self.plan_of(point)
        if plan is None:
            excess = {name: 1.0 for name, limit in limits.items() if limit is not None}
            if too_many and self.budgets.gpus is not None:
                excess["gpus"] = devices / self.budgets.gpus - 1.0
            return Outcome(np.inf, excess or {"runs": 1.0}, {"nodes": dict(zip(self._names, nodes, strict=True))})
        figures = {"gpus": float(devices), "cost_usd": plan.cost_usd, "time_s": plan.time_s}
        excess = {name: figures[name] / limit - 1.0 for name, limit in limits.items() if limit is not None}
        attributes = {
            "nodes": dict(zip(self._names, nodes, strict=True)), "way": plan.way, "gpus": devices,
            "time_s": plan.time_s, "global_batches": [phase.global_batch for phase in plan.phases],
            **({"cost_usd": plan.cost_usd} if math.isfinite(plan.cost_usd) else {}),
        }  # fmt: skip
        return Outcome(plan.figure(self.goal), excess or {"runs": 0.0}, attributes)

    @cached_property
    def _names(self) -> list[str]:
        return [cluster.name for cluster in self.model.kinds]

    def within(self, plan: FleetPlan | None) -> bool:
        """Whether a plan keeps to all budgets."""
        if plan is None:
            return False
        budgets = self.budgets
        limits = (
            (float(plan.devices), budgets.gpus), (plan.cost_usd, budgets.cost_usd), (plan.time_s, budgets.time_s),
        )  # fmt: skip
        return math.isfinite(plan.figure(self.goal)) and all(limit is None or value <= limit for value, limit in limits)

    @cached_property
    def _units(self) -> dict[tuple[str, ...], list[tuple[int, Floats]]]:
        return {}

    def units(self, groups: Sequence[Group]) -> list[tuple[int, Floats]]:
        """For each way to split a unit, the devices that share it, and its least seconds a sample on each kind.

        Shapes (G, U); none for a network that is no chain.
        """
        names = tuple(group.cluster.name for group in groups)
        if names not in self._units:
            model = self.model_of(groups)
            batches = model.micro_batches.astype(float)
            found = []
            for each in make_problems(model, None):
                times = [unit_times(each.chain, kind, batches) for kind in range(len(groups))]
                least = [((one.forward_s + one.backward_s) / batches).min(axis=1) for one in times]
                found.append((1 if each.chain.split is None else each.chain.split.tensor, np.array(least)))
            self._units[names] = found
        return self._units[names]

    def bound(self, point: Point) -> float:
        """Nothing inside a point is better."""
        time_s, cost_usd = self._least(point)
        return time_s if self.goal == "time" else cost_usd

    def beyond_budget(self, point: Point) -> bool:
        """Whether nothing inside a point keeps to the budgets of time and money, by the same bounds."""
        pairs = zip(self._least(point), (self.budgets.time_s, self.budgets.cost_usd), strict=True)
        return any(limit is not None and least > limit for least, limit in pairs)

    def _least(self, point: Point) -> tuple[float, float]:
        """Least time [s] and cost [$] of a point: every device computes all the time, and samples are fewest.

        A stage's devices have at least its units' seconds a sample; whatever shares λ of all groups add up to 1, a
        sample takes at least Σ_u min_g λ_g t_g(u) / devices_g, here with shares as the groups' speeds. Minus infinity
        where nothing is known.
        """
        groups = self.groups(self.nodes_of(point))
        units = self.units(groups) if groups else []
        if not units:
            return -math.inf, -math.inf
        devices = np.array([group.devices for group in groups], dtype=float)
        best = math.inf
        for tensor, least in units:
            speeds = devices / tensor / least.sum(axis=1)
            if self.way_of(point) == DATA:
                best = min(best, 1.0 / float(speeds.sum()))
            else:
                shares = (speeds / speeds.sum() * tensor / devices)[:, None]
                best = min(best, float((shares * least).min(axis=0).sum()))
        time_s = self.target.job.samples_to_target * best * (1.0 - 1e-9)
        prices = [self.model.options.node_price(group.cluster) for group in groups]
        dollars = [math.nan if price is None else price.dollars_per_hour / 3600.0 for price in prices]
        hourly = sum(each * group.nodes for each, group in zip(dollars, groups, strict=True))
        return time_s, time_s * hourly if math.isfinite(hourly) else -math.inf

    @property
    def identity(self) -> dict[str, Any]:
        """What two processes that share the search have in common."""
        text = repr(
            (self.network, self.model.kinds, self.model.pairings and [p.cluster for p in self.model.pairings],
             self.model.options, self.model.precision, self.model.collectives, self.most, self.target, self.budgets,
             self.goal, self.ways, self.knobs)
        )  # fmt: skip
        digest = hashlib.sha256(re.sub(r"\bfile=('[^']*'|\"[^\"]*\")", "", text).encode()).hexdigest()[:16]
        return {
            "network": self.network.name,
            "goal": self.goal,
            "fleet": dict(zip(self._names, self.most, strict=True)),
            "budget": " and ".join(self.budgets.in_words()),
            "ways": list(self.ways),
            "knobs": list(self.knobs),
            "paleo-opt": __version__,
            "question": digest,
        }
