"""What every split of every layer costs, and every pair of splits of two layers that read one another.

As in OptCNN [1], a layer has a cost for each of its splits and an edge one for each pair; what of them adds up to the
time of a step is in `paleo_opt.layer_splits.step_time`.

References:
    [1] Jia, Lin, Qi, Aiken: Exploring Hidden Dimensions in Parallelizing Convolutional Neural Networks, ICML 2018,
        arXiv:1802.04924, section 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError
from paleo_opt.estimator.collectives import AUTO
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.places import make_places
from paleo_opt.estimator.synchronization import SERVERS
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.layer_splits.degrees import Choices, choices
from paleo_opt.layer_splits.layer_costs import CostMaker, EdgeCosts, LayerCosts
from paleo_opt.layer_splits.series_parallel import PairwiseCosts
from paleo_opt.layer_splits.times import LayerKind, kind_of, make_fabric, share_times
from paleo_opt.network.graph import Layer

#: The largest number of devices over which layers are split: the splits of a layer number hundreds there.
MOST_DEVICES = 128


@dataclass(frozen=True, eq=False)
class SplitCosts:
    """The costs of a network's layers on n devices.

    Attributes:
        table: The compiled network.
        cluster: Where it runs.
        devices: n.
        samples: Of one pass, all devices together.
        passes: Of one step.
        precision: Of the computation.
        optimizer: Of the update.
        layers: All but the input.
        choices: The splits of each.
        nodes: Costs of each.
        edges: Of pairs of layers, by index, the one that is read first.
        fixed: Of a step, besides [s].
        overlap: Share of the all-reduces that may hide behind the backward pass.
        contention: Share of what hides that lengthens the computation behind it.
        bucket_parameters: After which a bucket of gradients is full.
        reserve: Bytes that the platform keeps.
        assignments: How many ways there are to give every layer a split, with those that were left out.
        kinds: Of the layers.
        maker: Of the costs of edges.
    """

    table: CostTable
    cluster: Cluster
    devices: int
    samples: int
    passes: int
    precision: str
    optimizer: str
    layers: tuple[Layer, ...]
    choices: tuple[Choices, ...]
    nodes: tuple[LayerCosts, ...]
    edges: Mapping[tuple[int, int], EdgeCosts]
    fixed: float
    overlap: float
    contention: float
    bucket_parameters: float
    reserve: float
    assignments: int
    kinds: tuple[LayerKind, ...] = field(default=(), repr=False)
    maker: CostMaker | None = field(default=None, repr=False)

    @property
    def memory(self) -> PairwiseCosts:
        """Bytes of a device, but for the platform's reserve and the workspace, which is not a sum."""
        return PairwiseCosts(
            [one.memory for one in self.nodes], {pair: edge.memory for pair, edge in self.edges.items()}
        )

    def memory_of(self, chosen: tuple[int, ...]) -> float:
        """Bytes of a device with one split for each layer."""
        workspace = max((float(one.workspace[k]) for one, k in zip(self.nodes, chosen, strict=True)), default=0.0)
        return self.reserve + self.memory.total(chosen) + workspace


def bare_costs(
    table: CostTable,
    cluster: Cluster,
    devices: int,
    samples: int,
    passes: int = 1,
    precision: str | None = None,
    collective: str = AUTO,
    options: Options | None = None,
) -> SplitCosts:
    """The costs of every split of every layer, without what moves between layers: there are no edges.

    Args:
        table: The compiled network.
        cluster: Where it runs.
        devices: That every layer is split over.
        samples: Of one pass, all devices together.
        passes: Of a step, whose gradients are added up before they are sent.
        precision: The device's best for training.
        collective: Of the gradients' all-reduces.
        options: The model's constants.

    Raises:
        SpecError: another model than the roofline's, inference, asynchronous updates, a parameter server, more devices
            than there are or than `MOST_DEVICES`, or no peak in the precision.
    """
    options = options or Options()
    _check(table, cluster, devices, collective, options)
    precision = precision or cluster.device.training_precision
    places = make_places([cluster], [precision], options)
    assert places.sending is not None and places.attained is not None
    layers = tuple(layer for layer in table.network.layers if layer.type != "Input")
    inputs = {layer.name for layer in table.network.layers if layer.type == "Input"}
    readers = Counter(parent for layer in layers for parent in layer.parents)
    kinds = [kind_of(layer, readers[layer.name], layer.parents[0] in inputs) for layer in layers]
    of_kind = {kind: choices(kind.layer, devices, samples) for kind in kinds}
    assignments = prod(len(of_kind[kind].rows) for kind in kinds)
    fabric = make_fabric(places.sending, devices)
    optimizer = options.optimizer or table.network.usual_optimizer
    limit = options.workspace_limit / float(places.element_bytes[0])
    counts = sorted({-(-samples // s) for s in range(1, devices + 1) if devices % s == 0 and s <= samples})
    times = share_times(table, list(of_kind), devices, counts, places.attained, limit)
    maker = CostMaker(places, fabric, samples, collective, optimizer, float(table.network.parameters), times)
    nodes = {kind: maker.node(kind, of_kind[kind]) for kind in of_kind}
    attained = places.attained
    launch = float(np.where(attained.fused_update, attained.launch, 0.0)[0])
    return SplitCosts(
        table=table,
        cluster=cluster,
        devices=devices,
        samples=samples,
        passes=passes,
        precision=precision,
        optimizer=optimizer,
        layers=layers,
        choices=tuple(of_kind[kind] for kind in kinds),
        nodes=tuple(nodes[kind] for kind in kinds),
        edges={},
        fixed=float(attained.step_overhead[0]) + launch,
        overlap=float(places.sending.overlap[0]),
        contention=float(places.sending.contention[0]),
        bucket_parameters=float(places.sending.bucket_parameters[0]),
        reserve=options.memory_reserve,
        assignments=assignments,
        kinds=tuple(kinds),
        maker=maker,
    )


def split_costs(
    table: CostTable,
    cluster: Cluster,
    devices: int,
    samples: int,
    passes: int = 1,
    precision: str | None = None,
    collective: str = AUTO,
    options: Options | None = None,
) -> SplitCosts:
    """The costs of every split of every layer, and of every pair of splits of two layers that read one another.

    Arguments and errors are those of `bare_costs`.
    """
    return with_edges(bare_costs(table, cluster, devices, samples, passes, precision, collective, options))


def with_edges(bare: SplitCosts, kept: Sequence[NDArray[np.bool_]] | None = None) -> SplitCosts:
    """``bare`` with the costs of its edges.

    Args:
        bare: Without them.
        kept: For each layer, the splits to consider; None for all. What is kept of one layer is of all that are alike.
    """
    assert bare.maker is not None
    of_kind = dict(zip(bare.kinds, bare.choices, strict=True))
    nodes = dict(zip(bare.kinds, bare.nodes, strict=True))
    if kept is not None:
        of_any: dict[LayerKind, NDArray[np.bool_]] = {}
        for kind, mask in zip(bare.kinds, kept, strict=True):
            of_any[kind] = of_any[kind] | mask if kind in of_any else mask
        for kind, mask in of_any.items():
            of_kind[kind] = replace(of_kind[kind], rows=of_kind[kind].rows[mask], degrees=of_kind[kind].degrees[mask])
            nodes[kind] = nodes[kind].at(mask)
    return replace(
        bare,
        choices=tuple(of_kind[kind] for kind in bare.kinds),
        nodes=tuple(nodes[kind] for kind in bare.kinds),
        edges=_edges(bare.maker, bare.layers, bare.kinds, of_kind),
        maker=None,
    )


def _edges(
    maker: CostMaker, layers: Sequence[Layer], kinds: Sequence[LayerKind], of_kind: Mapping[LayerKind, Choices]
) -> dict[tuple[int, int], EdgeCosts]:
    """Of every pair of layers of which one reads the other."""
    index_of = {layer.name: index for index, layer in enumerate(layers)}
    edges: dict[tuple[int, int], EdgeCosts] = {}
    for index, layer in enumerate(layers):
        for number, parent in enumerate(layer.parents):
            if parent not in index_of:  # the network's input
                continue
            source = index_of[parent]
            edge = maker.edge(kinds[source], of_kind[kinds[source]], kinds[index], of_kind[kinds[index]], number)
            pair = (source, index)
            edges[pair] = edge if pair not in edges else edges[pair] + edge
    return edges


def _check(table: CostTable, cluster: Cluster, devices: int, collective: str, options: Options) -> None:
    if options.model != "roofline":
        raise SpecError(f"the {options.model} model has no splits by layer; expected model roofline")
    if options.updates != "synchronous" or not options.training:
        what = "inference" if not options.training else "asynchronous updates"
        raise SpecError(f"splits by layer are of synchronous training, not of {what}")
    if collective == SERVERS:
        raise SpecError(f"collective {SERVERS!r} is a parameter server; splits by layer add gradients up by all-reduce")
    if cluster.max_devices is not None and devices > cluster.max_devices:
        raise SpecError(f"gpus {devices:,}: {cluster.name} has {cluster.max_devices:,}")
    if devices > MOST_DEVICES:
        raise SpecError(f"gpus {devices:,}; layers are split over at most {MOST_DEVICES}")
