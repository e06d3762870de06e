"""Strategies: points of the search space, as a struct of arrays and as single rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.collectives import NAMED_COLLECTIVES
from paleo_opt.hardware.cluster import Cluster

Integers = NDArray[np.int64]
_FIRST = np.zeros(1, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Strategies:
    """A set of strategies under one layout of splits; its columns are arrays that broadcast.

    The columns may be flat lists of one length, or an open mesh (shapes that broadcast to the whole).

    Attributes:
        clusters: Where they run.
        precisions: Of arithmetic and activations, one for each cluster.
        split: ``data``, ``hybrid`` or ``model``.
        tensor: Devices that divide a split layer; 1 under ``data``.
        collectives: Names that ``collective`` indexes.
        gpus: Devices in all; a multiple of ``tensor``.
        micro_batch: Samples per device and pass.
        accumulation: Passes per step.
        collective: Index into ``collectives``.
        place: Index into ``clusters`` and ``precisions``; of the shape of ``gpus``, or left out for a single cluster.
    """

    clusters: tuple[Cluster, ...]
    precisions: tuple[str, ...]
    split: str
    tensor: int
    collectives: tuple[str, ...]
    gpus: Integers
    micro_batch: Integers
    accumulation: Integers
    collective: Integers
    place: Integers = field(default_factory=lambda: np.zeros((), dtype=np.int64))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole set."""
        return np.broadcast_shapes(
            self.gpus.shape, self.micro_batch.shape, self.accumulation.shape, self.collective.shape
        )

    @property
    def data(self) -> Integers:
        """Devices, or groups of devices, that each work on their own samples."""
        return self.gpus // self.tensor if self.split == "model" else self.gpus

    @property
    def global_batch(self) -> Integers:
        """Samples per step: data · micro-batch · accumulation."""
        return self.data * self.micro_batch * self.accumulation

    @property
    def nodes(self) -> Integers:
        """Whole nodes rented."""
        per_node = np.array([cluster.devices_per_node for cluster in self.clusters])
        nodes: Integers = -(-self.gpus // per_node[self.place])
        return nodes

    def row(self, index: int) -> Strategy:
        """The strategy at a flat index (C order) of the whole set."""
        where = np.unravel_index(index, self.shape)
        columns = np.broadcast_arrays(self.gpus, self.micro_batch, self.accumulation, self.collective, self.place)
        gpus, micro_batch, accumulation, collective, place = (int(column[where]) for column in columns)
        return Strategy(
            cluster=self.clusters[place],
            gpus=gpus,
            micro_batch=micro_batch,
            accumulation=accumulation,
            split=self.split,
            tensor=self.tensor,
            collective=self.collectives[collective],
            precision=self.precisions[place],
        )


@dataclass(frozen=True)
class Strategy:
    """One strategy: a cluster, how many of its devices, and how the work is divided.

    Attributes:
        cluster: Where it runs.
        gpus: Devices in all.
        micro_batch: Samples per device and pass.
        accumulation: Passes per step.
        split: ``data``, ``hybrid`` or ``model``.
        tensor: Devices that divide a split layer's outputs.
        collective: One of `collectives.NAMED_COLLECTIVES`.
        precision: One of the device's.
    """

    cluster: Cluster
    gpus: int
    micro_batch: int
    accumulation: int = 1
    split: str = "data"
    tensor: int = 1
    collective: str = "ring_all_reduce"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        device = self.cluster.device
        problems = []
        if self.collective not in NAMED_COLLECTIVES:
            problems.append(f"collective {self.collective!r}{nearest(self.collective, NAMED_COLLECTIVES)}")
        if self.precision not in device.peak:
            problems.append(f"{device.name} has no peak in {self.precision}; it has {', '.join(device.peak)}")
        counts = {name: getattr(self, name) for name in ("gpus", "micro_batch", "accumulation", "tensor")}
        problems += [f"{name} must be at least 1, not {count}" for name, count in counts.items() if count < 1]
        if not problems and self.gpus % self.tensor:
            problems.append(f"tensor {self.tensor} does not divide {self.gpus} GPUs")
        limit = self.cluster.max_devices
        if limit is not None and self.gpus > limit:
            problems.append(f"{self.cluster.name} has {limit:,} GPUs, not {self.gpus:,}")
        if problems:
            raise SpecError("; ".join(problems))

    @property
    def data(self) -> int:
        """Devices, or groups of devices, that each work on their own samples."""
        return self.gpus // self.tensor if self.split == "model" else self.gpus

    @property
    def global_batch(self) -> int:
        """Samples per step."""
        return self.data * self.micro_batch * self.accumulation

    @property
    def nodes(self) -> int:
        """Whole nodes rented."""
        return -(-self.gpus // self.cluster.devices_per_node)

    def as_strategies(self) -> Strategies:
        """This one strategy as a set of one."""
        return Strategies(
            clusters=(self.cluster,),
            precisions=(self.precision,),
            split=self.split,
            tensor=self.tensor,
            collectives=(self.collective,),
            gpus=np.array([self.gpus]),
            micro_batch=np.array([self.micro_batch]),
            accumulation=np.array([self.accumulation]),
            collective=_FIRST,
            place=_FIRST,
        )

    def to_json(self) -> dict[str, Any]:
        """The strategy under the names of the measured-table contract."""
        return {
            "cluster": self.cluster.name,
            "device": self.cluster.device.name,
            "gpus": self.gpus,
            "nodes": self.nodes,
            "micro_batch": self.micro_batch,
            "accumulation": self.accumulation,
            "global_batch": self.global_batch,
            "split": self.split,
            "tensor": self.tensor,
            "pipeline": 1,
            "data": self.data,
            "expert": 1,
            "context": 1,
            "virtual_stages": 1,
            "sharding": "zero0",
            "recompute": "none",
            "collective": self.collective,
            "precision": self.precision,
        }
