"""What one network's passes take on every kind of node of a fleet: `estimate`, asked once for all micro-batches.

A step of a device under `estimate` is once + passes · pass, whatever the way parameters are kept; both are read off the
steps of one and of two passes. Its exposed all-reduce is that of as many devices as the whole fleet has, on the slowest
pairing of the insides and the outer links of the kinds that take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.configuration import COMMON_COLLECTIVES, in_blocks
from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.estimate import Memos, estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.places import Places, make_places
from paleo_opt.estimator.split_rules import valid_splits
from paleo_opt.estimator.splits import RECOMPUTES, Integers, Split, Splits
from paleo_opt.estimator.strategy import Strategies
from paleo_opt.fleet.groups import Pairing, common_precision, common_software, make_pairings
from paleo_opt.hardware.cluster import Cluster, Link

#: Micro-batches considered: every one up to 64, and from there on steps of at most a sixteenth.
_ALL_UP_TO, _STEPS_PER_OCTAVE = 64, 16
_LARGEST_MICRO_BATCH = 4096
#: Positions of a micro-batch of a transformer, at most.
_MOST_POSITIONS = 65_536
TENSOR = (1, 2, 4, 8)
SHARDINGS = ("zero0", "zero1", "fsdp")


@dataclass(frozen=True, eq=False)
class FleetModel:
    """One network on the kinds of nodes that a fleet may have.

    Attributes:
        table: The compiled network.
        kinds: Clusters, at least one.
        pairings: Every device in every nodes (`groups.make_pairings`).
        precision: Of all.
        options: With one platform for all.
        collectives: That gradients may be added up by.
        micro_batches: Considered. Shape (n,).
        remarks: What a reader must know of the precision and the software of all.
    """

    table: CostTable
    kinds: tuple[Cluster, ...]
    pairings: tuple[Pairing, ...]
    precision: str
    options: Options
    collectives: tuple[str, ...]
    micro_batches: Integers
    remarks: tuple[str, ...] = ()
    known: dict[float | None, Memos] = field(default_factory=dict, repr=False)

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """Of the pairings."""
        return tuple(pairing.cluster for pairing in self.pairings)

    @property
    def in_blocks(self) -> bool:
        """Whether the network is split block by block."""
        return in_blocks(self.table, self.options)

    def memos(self, bucket_bytes: float | None) -> Memos:
        """The places of the pairings, with gradients sent in buckets of so many bytes; None for the platform's own."""
        if bucket_bytes not in self.known:
            places = make_places(self.clusters, [self.precision] * len(self.pairings), self.options)
            self.known[bucket_bytes] = Memos(with_buckets(places, bucket_bytes))
            while len(self.known) > 64:
                self.known.pop(next(iter(self.known)))
        return self.known[bucket_bytes]

    @property
    def bucket_bytes(self) -> float:
        """The platform's own."""
        return self.options.platform_of(self.kinds[0].device).bucket_bytes


def with_buckets(places: Places, bucket_bytes: float | None) -> Places:
    """``places`` with gradients sent in buckets of so many bytes; themselves for None."""
    if bucket_bytes is None or places.sending is None:
        return places
    sizes = np.full(places.weight_bytes.shape, bucket_bytes) / places.weight_bytes
    return replace(places, sending=replace(places.sending, bucket_parameters=sizes))


def own_pairing(model: FleetModel, kind: int) -> int:
    """Index of the pairing that is a kind's own nodes."""
    return next(i for i, pair in enumerate(model.pairings) if pair.computes == pair.inside == pair.outside == kind)


def candidate_micro_batches(most: int) -> Integers:
    """Every one up to 64, then sixteen to each doubling."""
    found = list(range(1, min(most, _ALL_UP_TO) + 1))
    octave = _ALL_UP_TO
    while octave < most:
        step = octave // _STEPS_PER_OCTAVE
        found += range(octave + step, min(2 * octave, most) + 1, step)
        octave *= 2
    return np.array(found, dtype=np.int64)


def make_model(
    table: CostTable,
    kinds: Sequence[Cluster],
    options: Options,
    *,
    precision: str | None = None,
    collective: str | None = None,
    link: Link | None = None,
) -> FleetModel:
    """What a fleet of ``kinds`` may run: in one precision, on one platform.

    Args:
        table: The compiled network.
        kinds: Clusters, at least one.
        options: The model's constants.
        precision: Of all; by default as `groups.common_precision`.
        collective: The only one considered.
        link: That joins nodes of different kinds, beside their own.

    Raises:
        SpecError: they have no precision in common, or the platform sends gradients by no all-reduce.
    """
    devices = [cluster.device for cluster in kinds]
    options, software = common_software(devices, options)
    chosen = common_precision(devices, precision)
    alone = {device.name: device.training_precision for device in devices if device.training_precision != chosen}
    named = ", ".join(f"{name} {own}" for name, own in alone.items())
    numbers = f"all train in {chosen}, as gradients are added up across kinds (by itself: {named})" if alone else ""
    own = options.platform_of(kinds[0].device).collective
    names = (collective,) if collective else COMMON_COLLECTIVES if own == "auto" else (own,)
    if names == ("one_to_all",):
        raise SpecError(
            "a parameter server knows no nodes of several kinds; expected an all-reduce: --collective, or --platform"
        )
    most = _LARGEST_MICRO_BATCH
    tokens = table.network.tokens_per_sample
    if table.network.transformer is not None and tokens:
        most = max(1, _MOST_POSITIONS // tokens)
    return FleetModel(
        table,
        tuple(kinds),
        make_pairings(kinds, link),
        chosen,
        options,
        names,
        candidate_micro_batches(most),
        tuple(text for text in (software, "" if precision else numbers) if text),
    )


@dataclass(frozen=True, eq=False)
class KindTimes:
    """Steps of one kind's devices in a fleet, by collective (C), by the way to split (W) and micro-batch (n).

    Attributes:
        micro_batch: Shape (n,).
        once_s: Exposed all-reduce and update. Shape (C, W, n).
        pass_s: One pass. Shape (W, n).
        compute_s: Computation of one pass. Shape (W, n).
        update_s: Of the optimizer. Shape (W, n).
        memory: Bytes. Shape (W, n).
        fits: Shape (W, n).
    """

    micro_batch: Integers
    once_s: Floats
    pass_s: Floats
    compute_s: Floats
    update_s: Floats
    memory: Floats
    fits: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def split_ways(model: FleetModel, kinds: Sequence[int], devices: int, tensor: int, sharding: str) -> list[Split]:
    """The splits of a transformer's blocks that differ in what is computed again only; none where it cannot be."""
    sizes = model.table.network.transformer
    assert sizes is not None
    per_node = [model.kinds[index].devices_per_node for index in kinds]
    if any(count % tensor for count in per_node):
        return []
    ways = [Split(tensor=tensor, sequence_parallel=tensor > 1, sharding=sharding, recompute=r) for r in RECOMPUTES]
    if not valid_splits(sizes, Splits.of(ways[:1]), np.array([devices]), None).all():
        return []
    return ways


def kind_times(
    model: FleetModel, kinds: Sequence[int], devices: int, bucket_bytes: float | None, ways: Sequence[Split] = ()
) -> list[KindTimes]:
    """What each of some kinds takes in a fleet of ``devices`` devices that all add up their gradients.

    Args:
        model: Of the network.
        kinds: Indices of those that take part.
        devices: Of the whole fleet.
        bucket_bytes: As of `FleetModel.memos`.
        ways: Of a transformer's blocks; empty for a network of layers.
    """
    taking = set(kinds)
    outside = {-1} if any(pairing.outside < 0 for pairing in model.pairings) and len(taking) > 1 else set()
    chosen = [
        index
        for index, pairing in enumerate(model.pairings)
        if pairing.computes in taking and pairing.inside in taking and pairing.outside in taking | outside
    ]
    memos = model.memos(bucket_bytes)
    # One collective beside the other, and everything else in one flat list.
    whole = (max(len(ways), 1), len(chosen), 2, model.micro_batches.size)
    layout, row, passes, batch = (axis.ravel() for axis in np.indices(whole))
    place = np.array(chosen)[row]
    strategies = Strategies(
        clusters=model.clusters,
        precisions=(model.precision,) * len(model.pairings),
        split="blocks" if ways else "data",
        tensor=1,
        collectives=model.collectives,
        gpus=np.full(place.shape, devices),
        micro_batch=model.micro_batches[batch],
        accumulation=passes + 1,
        collective=np.arange(len(model.collectives)).reshape(-1, 1),
        place=place,
        splits=Splits.of(ways) if ways else None,
        layout=layout if ways else np.zeros((), dtype=np.int64),
    )
    found = estimate(model.table, strategies, model.options, memos)

    def spread(values: Floats) -> Floats:
        return np.broadcast_to(values, (len(model.collectives), place.size)).reshape(-1, *whole)

    step, memory = spread(found.step_time_s), spread(found.memory_bytes)
    compute, update = spread(found.compute_time_s), spread(found.update_time_s)
    result = []
    for kind in kinds:
        rows = [row for row, index in enumerate(chosen) if model.pairings[index].computes == kind]
        own = next(row for row in rows if model.pairings[chosen[row]].inside == model.pairings[chosen[row]].outside)
        each_pass = step[:, :, rows, 1] - step[:, :, rows, 0]
        held = memory[0, :, own].max(axis=1)
        result.append(
            KindTimes(
                micro_batch=model.micro_batches,
                once_s=np.maximum(step[:, :, rows, 0] - each_pass, 0.0).max(axis=2),
                pass_s=each_pass.max(axis=(0, 2)),
                compute_s=compute[0, :, own, 0],
                update_s=update[0, :, own, 0],
                memory=held,
                fits=held <= memos.places.capacity[chosen[own]],
            )
        )
    return result
