"""What a search is about: the network, the clusters to consider, and the blocks of strategies on them.

Everything that the caller fixes (a precision, a global batch, a split…) narrows the search space here, before anything
is evaluated, so that what remains is exactly what the certificate counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.estimate import Estimates, estimate
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.estimator.synchronization import SERVERS
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.load import load_cluster, load_device
from paleo_opt.network.graph import Network, TrainingJob
from paleo_opt.network.load import load_network
from paleo_opt.search.blocks import Block
from paleo_opt.search.budgets import Budgets
from paleo_opt.search.enumeration import make_blocks, splits_blocks
from paleo_opt.search.fixed import Fixed as Fixed
from paleo_opt.search.space import SearchSpace, cluster_names, load_space

#: A larger space is not swept.
MOST_SWEPT = 1_000_000_000
_NEEDS = {
    "price": "there is no cost to compare; give one: --set price.on_demand=$2 (all of `price`: paleo-opt show)",
    "published power": "there is no energy to compare; give one: --set device.power=400W",
}


@dataclass(frozen=True, eq=False)
class SearchProblem:
    """What a search is about.

    Attributes:
        network: With its job.
        job: Of the network.
        table: The compiled network.
        space: Narrowed to what the caller left open.
        clusters: To consider.
        options: The model's constants.
        budgets: What an answer may take.
        goal: What is minimized: ``time``, ``cost`` or ``energy``.
        most_gpus: The budget of GPUs, or the space's largest.
        batch_limit: The largest global batch considered.
        device: In place of the named clusters' own, or None.
        overrides: Of fields of the network, the space and the clusters, as they were given.
        notes: What was left out, and other things the reader should know.
        fixed: Of a transformer's splits, what the caller fixed: `fixed.SPLIT_FIELDS` with their values.
    """

    network: Network
    job: TrainingJob
    table: CostTable
    space: SearchSpace
    clusters: tuple[Cluster, ...]
    options: Options
    budgets: Budgets
    goal: str
    most_gpus: int
    batch_limit: int
    device: str | None
    overrides: Mapping[str, str]
    notes: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by_energy(self) -> bool:
        """Whether energy is minimized or limited; else the fastest strategy of a row is its best in all that counts."""
        return self.goal == "energy" or self.budgets.energy_kwh is not None

    @property
    def priced(self) -> bool:
        """Whether any cluster has a price."""
        return any(self.options.node_price(cluster) is not None for cluster in self.clusters)

    def blocks(
        self, clusters: Sequence[Cluster] | None = None, most_gpus: int | None = None, batch_limit: int | None = None
    ) -> list[Block]:
        """The blocks of strategies; of other clusters, to other limits, where these are given."""
        return make_blocks(
            self.space,
            self.table,
            self.clusters if clusters is None else clusters,
            most_gpus or self.most_gpus,
            batch_limit or self.batch_limit,
            self.options.model,
        )


def count_strategies(blocks: Sequence[Block]) -> int:
    """Strategies in all, counted without making them. Blocks that differ in their cluster alone are counted once."""
    counted: dict[tuple[object, ...], int] = {}
    total = 0
    for block in blocks:
        if block.rows_key not in counted:
            counted[block.rows_key] = block.size()
        total += counted[block.rows_key]
    return total


@dataclass(frozen=True, eq=False)
class Choice:
    """One strategy of a problem, with what it costs.

    Attributes:
        problem: Whose strategy it is.
        strategy: It.
    """

    problem: SearchProblem
    strategy: Strategy

    @cached_property
    def estimates(self) -> Estimates:
        """Of this strategy alone, computed anew."""
        return estimate(self.problem.table, self.strategy, self.problem.options)

    @cached_property
    def time_s(self) -> float:
        """To the target [s]."""
        return float(self.estimates.time_to_target_s.reshape(-1)[0])

    @cached_property
    def cost_usd(self) -> float:
        """To the target [$]; NaN where the cluster has no price."""
        return float(self.estimates.cost_usd.reshape(-1)[0])

    @cached_property
    def energy_kwh(self) -> float:
        """To the target [kWh]; NaN where the device's power is not published."""
        return float(self.estimates.energy_kwh.reshape(-1)[0])

    @cached_property
    def memory_bytes(self) -> float:
        """Per device."""
        return float(self.estimates.memory_bytes.reshape(-1)[0])

    def figure(self, goal: str | None = None) -> float:
        """What is minimized, or another of `budgets.GOALS`."""
        return {"time": self.time_s, "cost": self.cost_usd, "energy": self.energy_kwh}[goal or self.problem.goal]


def load_problem(
    network: str | Network,
    budgets: Budgets,
    goal: str,
    *,
    on: Sequence[str | Cluster] = (),
    device: str | None = None,
    space: str | SearchSpace = "default",
    options: Options | None = None,
    conv_algorithm: str | None = None,
    fixed: Fixed | None = None,
    overrides: Mapping[str, str] | None = None,
) -> SearchProblem:
    """Read everything a search needs.

    Args:
        network: A name, a file, or a network.
        budgets: What an answer may take.
        goal: What to minimize.
        on: Clusters to consider, names, files or clusters; empty for the space's.
        device: Takes the place of the named clusters' devices; where none is named, picks the clusters that have it.
        space: A name, a file, or a space.
        options: The model's constants.
        conv_algorithm: As for `compile_network`.
        fixed: What the caller fixes.
        overrides: Field to text: ``net.FIELD``, ``space.FIELD``, ``device.FIELD``; any other is a cluster's.

    Raises:
        SpecError: bad input; a network without a job; no cluster left that has the price or power that is asked for.
    """
    of_net, of_space, of_cluster = _route(overrides or {})
    if not isinstance(network, Network):
        network = load_network(network, of_net)
    if network.job is None:
        message = "is missing; without it there is no target to compare times, money or energy to: add it, or --samples"
        raise SpecError(Problem(message, file=network.file, field="job"))
    table = compile_network(network, conv_algorithm)
    if not isinstance(space, SearchSpace):
        space = load_space(space, of_space)
    fixed, options = fixed or Fixed(), options or usual_options(table.network)
    if options.updates == "asynchronous" and fixed.collective is None:
        fixed = replace(fixed, collective=SERVERS)
    space = fixed.narrow(space, table, options.model)
    clusters = _clusters(space, on, device, of_cluster, options)
    clusters, notes = _with_figures(clusters, budgets, goal, options)
    limit = network.job.max_global_batch
    if fixed.global_batch is not None and fixed.global_batch > limit:
        given = fixed.global_batch
        notes.append(f"a global batch of {given:,} is above {limit:,}, the largest with which the target was reached")
        limit = fixed.global_batch
    return SearchProblem(
        network=network,
        job=network.job,
        table=table,
        space=space,
        clusters=tuple(clusters),
        options=options,
        budgets=budgets,
        goal=goal,
        most_gpus=budgets.gpus or space.largest,
        batch_limit=limit,
        device=device if on else None,
        overrides=dict(overrides or {}),
        notes=tuple(notes),
        fixed=fixed.of_splits() if splits_blocks(network, options.model) else {},
    )


def _route(overrides: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """The overrides of the network, of the space, and of the clusters."""
    routed: dict[str, dict[str, str]] = {"net": {}, "space": {}, "": {}}
    for name, text in overrides.items():
        prefix, dot, rest = name.partition(".")
        if dot and prefix in ("net", "space"):
            routed[prefix][rest] = text
        else:
            routed[""][name] = text
    return routed["net"], routed["space"], routed[""]


def _clusters(
    space: SearchSpace, on: Sequence[str | Cluster], device: str | None, overrides: Mapping[str, str], options: Options
) -> list[Cluster]:
    """The clusters to consider, each once."""
    if on:
        given = [item if isinstance(item, Cluster) else load_cluster(item, device, overrides) for item in on]
        return [cluster for index, cluster in enumerate(given) if cluster not in given[:index]]
    if overrides:
        name = next(iter(overrides))
        raise SpecError(f"--set {name}: is a cluster's field; name the cluster with --on")
    clusters = [load_cluster(name) for name in cluster_names(space)]
    if space.clusters == ("priced",):
        clusters = [cluster for cluster in clusters if options.node_price(cluster) is not None]
        if not clusters:
            raise SpecError(f"pricing {options.pricing!r}: no cluster of the space {space.name!r} has such a price")
    if device is not None:
        wanted = load_device(device).name
        devices = sorted({cluster.device.name for cluster in clusters})
        clusters = [cluster for cluster in clusters if cluster.device.name == wanted]
        if not clusters:
            what = "priced cluster" if space.clusters == ("priced",) else "cluster"
            raise SpecError(
                f"--device {wanted}: no {what} of the space {space.name!r} has it{nearest(wanted, devices)}; "
                "name a cluster with --on to put it there"
            )
    if not clusters:
        raise SpecError(f"space {space.name}: there is no cluster to consider; see: paleo-opt list clusters")
    return clusters


def _with_figures(
    clusters: list[Cluster], budgets: Budgets, goal: str, options: Options
) -> tuple[list[Cluster], list[str]]:
    """The clusters that have the price and the power that are asked for, and a note of those that were left out."""
    notes = []
    asked = {
        "price": goal == "cost" or budgets.cost_usd is not None,
        "published power": goal == "energy" or budgets.energy_kwh is not None,
    }
    for what in (name for name, is_asked in asked.items() if is_asked):
        without = [c.name for c in clusters if (options.node_price(c) if what == "price" else c.device.power) is None]
        if not without:
            continue
        names = ", ".join(without[:3]) + (f" and {len(without) - 3} more" if len(without) > 3 else "")
        clusters = [cluster for cluster in clusters if cluster.name not in without]
        if not clusters:
            raise SpecError(f"{names}: without a {what}, so {_NEEDS[what]}")
        notes.append(f"left out, without a {what}: {names}")
    return clusters, notes
