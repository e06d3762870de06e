"""`split_layers`: the fastest way to split each layer of a network over the devices of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paleo_opt.errors import InfeasibleError, SpecError, nearest
from paleo_opt.estimator.collectives import AUTO, COLLECTIVES
from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.estimator.synchronization import SERVERS
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.layer_splits.branches import Chosen
from paleo_opt.layer_splits.costs import SplitCosts, bare_costs, with_edges
from paleo_opt.layer_splits.degrees import AXES
from paleo_opt.layer_splits.patterns import patterns
from paleo_opt.layer_splits.promising import promising
from paleo_opt.layer_splits.solve import Solution, Solver, TooLargeError, fastest
from paleo_opt.layer_splits.step_time import OBJECTIVES, step_time
from paleo_opt.network.graph import Layer, Network


@dataclass(frozen=True)
class LayerSplit:
    """One layer and how it is split.

    Attributes:
        layer: Of the network.
        degrees: By the names of `AXES`; their product is the number of devices.
        compute_s: Forward and backward pass of a step, on the slowest device.
        exchange_s: Of a step: halos of neighbouring places, states of recurrent layers, tokens sent to experts.
        redistribution_s: Of a step: what it reads of layers that are split otherwise, and the gradients of it.
        sync_s: All-reduce of its gradients.
        update_s: Of its parameters.
        memory_bytes: Of a device, with what it keeps of others' activations.
    """

    layer: Layer
    degrees: dict[str, int]
    compute_s: float
    exchange_s: float
    redistribution_s: float
    sync_s: float
    update_s: float
    memory_bytes: float


@dataclass(frozen=True)
class Assignment:
    """A split for every layer, and what it takes.

    Attributes:
        chosen: By index into each layer's splits.
        step_time_s: Of a step, under the objective.
        sequence_time_s: Of a step whose all-reduces do not hide.
        hidden_time_s: Of a step whose all-reduces hide behind the backward pass, as far as the platform allows.
        memory_bytes: Of a device.
        fits: Whether that is no more than the device has.
    """

    chosen: Chosen
    step_time_s: float
    sequence_time_s: float
    hidden_time_s: float
    memory_bytes: float
    fits: bool


@dataclass(frozen=True, eq=False)
class LayerSplits:
    """The answer of `split_layers`.

    Attributes:
        costs: Of all splits of all layers.
        objective: One of `OBJECTIVES`.
        collective: Of the gradients.
        best: The assignment.
        solution: How good it is known to be.
        patterns: What people choose by hand, by name.
        remarks: What else the reader must know, one sentence each.
    """

    costs: SplitCosts
    objective: str
    collective: str
    best: Assignment
    solution: Solution
    patterns: dict[str, Assignment]
    remarks: tuple[str, ...] = ()

    @property
    def network(self) -> Network:
        """What is trained."""
        return self.costs.table.network

    @property
    def global_batch(self) -> int:
        """Samples of a step."""
        return self.costs.samples * self.costs.passes

    @property
    def samples_per_s(self) -> float:
        """Of all devices together."""
        return self.global_batch / self.best.step_time_s

    def layers(self, assignment: Assignment | None = None) -> list[LayerSplit]:
        """Every layer under the best assignment, or another."""
        costs, chosen = self.costs, (assignment or self.best).chosen
        moved, kept = np.zeros(len(chosen)), np.zeros(len(chosen))
        for (i, j), edge in costs.edges.items():
            moved[j] += costs.passes * float(edge.time[chosen[i], chosen[j]])
            kept[j] += float(edge.memory[chosen[i], chosen[j]])
        return [
            LayerSplit(
                layer=layer,
                degrees=dict(zip(AXES, of.degrees[k].tolist(), strict=True)),
                compute_s=costs.passes * float(node.forward[k] + node.backward[k]),
                exchange_s=costs.passes * float(node.exchange[k]),
                redistribution_s=float(moved[index]),
                sync_s=float(node.sync[k]),
                update_s=float(node.update[k]),
                memory_bytes=float(node.memory[k] + kept[index]),
            )
            for index, (layer, of, node, k) in enumerate(
                zip(costs.layers, costs.choices, costs.nodes, chosen, strict=True)
            )
        ]


def split_layers(
    network: Network | CostTable,
    cluster: Cluster,
    gpus: int,
    global_batch: int,
    *,
    passes: int | None = None,
    objective: str = "hidden",
    precision: str | None = None,
    collective: str | None = None,
    options: Options | None = None,
    trials: int = 200,
    seed: int = 0,
) -> LayerSplits:
    """The fastest way to split each layer of ``network`` over ``gpus`` devices of ``cluster``.

    Args:
        network: What is trained, or its compiled table.
        cluster: Where.
        gpus: Devices; each layer is split over all of them, or computed in copies.
        global_batch: Samples of a step.
        passes: Of a step, whose gradients are added up; by default one, or doubled as often as it takes to fit (and
            once more where that is faster).
        objective: One of `OBJECTIVES`: whether all-reduces hide behind the backward pass.
        precision: The device's best for training.
        collective: Of the gradients; the platform's.
        options: The model's constants.
        trials: Of the study over what elimination leaves of a graph that is not series-parallel.
        seed: Of that study.

    Returns:
        The assignment, what is proved of it, and the patterns it is compared with.

    Raises:
        SpecError: an unknown objective or collective, a batch that the passes do not divide, or what `split_costs`
            refuses.
        InfeasibleError: no split fits a device's memory.
    """
    table = network if isinstance(network, CostTable) else compile_network(network)
    options = options or usual_options(table.network)
    if objective not in OBJECTIVES:
        raise SpecError(f"objective {objective!r}{nearest(objective, OBJECTIVES)}")
    if gpus < 1 or global_batch < 1:
        raise SpecError(f"{gpus:,} GPUs and a global batch of {global_batch:,}; expected at least 1 of each")
    if passes is not None and (passes < 1 or global_batch % passes):
        raise SpecError(f"a global batch of {global_batch:,} does not divide into {passes:,} passes of as many samples")
    remarks = []
    usual = usual_collective(cluster, options)
    if collective is None:
        collective = AUTO if usual == SERVERS else usual
        if usual == SERVERS and gpus > 1:
            remarks.append(
                f"{usual} is the platform's collective; gradients of parts are added up by all-reduce instead"
            )
    elif collective not in (*COLLECTIVES, AUTO):
        raise SpecError(f"collective {collective!r}{nearest(collective, (*COLLECTIVES, AUTO))}")

    def solved(count: int) -> LayerSplits:
        bare = bare_costs(table, cluster, gpus, global_batch // count, count, precision, collective, options)
        costs = with_edges(bare, promising(bare, objective))
        return _solved(costs, objective, collective, trials, seed, tuple(remarks))

    if passes is not None:
        return solved(passes)
    best: LayerSplits | None = None
    too_large: list[TooLargeError] = []
    count = 1
    while global_batch % count == 0:
        try:
            found = solved(count)
        except TooLargeError as error:
            too_large.append(error)
            if global_batch % (2 * count) and best is None:
                # Fewer samples need less, but where experts are divided by samples.
                nearest_to = min(too_large, key=lambda one: one.needed)
                transformer = table.network.transformer is not None
                other = "paleo-opt recommend shards parameters too" if transformer else "more GPUs need less"
                raise InfeasibleError(f"{nearest_to.reason}, of all passes the best; {other}") from None
        else:
            if best is not None:
                return min(best, found, key=lambda one: one.best.step_time_s)
            if count == 1:
                return found
            best = found
        count *= 2
    assert best is not None
    return best


def usual_collective(cluster: Cluster, options: Options) -> str:
    """That of the platform, which may be a parameter server."""
    return AUTO if options.model == "paleo" else options.platform_of(cluster.device).collective


def _solved(
    costs: SplitCosts, objective: str, collective: str, trials: int, seed: int, remarks: tuple[str, ...]
) -> LayerSplits:
    capacity = costs.cluster.device.memory
    times = {name: step_time(costs, name) for name in OBJECTIVES}
    by_hand = patterns(costs)

    def assignment(chosen: Chosen) -> Assignment:
        memory = costs.memory_of(chosen)
        return Assignment(
            chosen,
            times[objective].total(chosen),
            times["sequence"].total(chosen),
            times["hidden"].total(chosen),
            memory,
            memory <= capacity,
        )

    solver = Solver(trials, seed, tuple(by_hand.values()))
    solution = fastest(times[objective], capacity, solver)
    return LayerSplits(
        costs=costs,
        objective=objective,
        collective=collective,
        best=assignment(solution.chosen),
        solution=solution,
        patterns={name: assignment(chosen) for name, chosen in by_hand.items()},
        remarks=remarks,
    )


def dollars_per_million(answer: LayerSplits, options: Options) -> float:
    """What a million samples cost; NaN where the cluster has no price."""
    cluster = answer.costs.cluster
    price = options.node_price(cluster)
    if price is None:
        return float("nan")
    nodes = -(-answer.costs.devices // cluster.devices_per_node)
    return nodes * price.dollars_per_hour / 3600.0 / answer.samples_per_s * 1e6
