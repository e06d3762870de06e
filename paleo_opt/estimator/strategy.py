"""Strategies: points of the search space, as a struct of arrays and as single rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.collectives import NAMED_COLLECTIVES
from paleo_opt.estimator.splits import BLOCKS, Split, Splits
from paleo_opt.hardware.cluster import Cluster

Integers = NDArray[np.int64]
_FIRST = np.zeros(1, dtype=np.int64)
#: Of a transformer's split, what the measured-table contract has no name for.
_OWN_FIELDS = ("sequence_parallel", "context_method", "schedule", "placement", "assignment", "offload")


@dataclass(frozen=True, eq=False)
class Strategies:
    """A set of strategies under one layout of splits; its columns are arrays that broadcast.

    The columns may be flat lists of one length, or an open mesh (shapes that broadcast to the whole).

    Attributes:
        clusters: Where they run.
        precisions: Of arithmetic and activations, one for each cluster.
        split: ``data``, ``hybrid`` or ``model``; or ``blocks`` for a transformer split as ``splits`` say.
        tensor: Devices that divide a split layer; 1 under ``data`` and under ``blocks``, which have each their own.
        collectives: Names that ``collective`` indexes.
        gpus: Devices in all; a multiple of ``tensor``.
        micro_batch: Samples per device and pass.
        accumulation: Passes per step.
        collective: Index into ``collectives``.
        place: Index into ``clusters`` and ``precisions``; of the shape of ``gpus``, or left out for a single cluster.
        splits: Of a transformer's blocks, else None.
        layout: Index into ``splits``; broadcasts with ``gpus``.
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
    splits: Splits | None = None
    layout: Integers = field(default_factory=lambda: np.zeros((), dtype=np.int64))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole set."""
        return np.broadcast_shapes(
            self.gpus.shape, self.micro_batch.shape, self.accumulation.shape, self.collective.shape, self.layout.shape
        )

    @property
    def data(self) -> Integers:
        """Devices, or groups of devices, that each work on their own samples."""
        if self.splits is not None:
            return self.gpus // self.splits.model[self.layout]
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
        columns = np.broadcast_arrays(
            self.gpus, self.micro_batch, self.accumulation, self.collective, self.place, self.layout
        )
        gpus, micro_batch, accumulation, collective, place, layout = (int(column[where]) for column in columns)
        return Strategy(
            cluster=self.clusters[place],
            gpus=gpus,
            micro_batch=micro_batch,
            accumulation=accumulation,
            split=self.split,
            tensor=self.tensor,
            collective=self.collectives[collective],
            precision=self.precisions[place],
            blocks=None if self.splits is None else self.splits.row(layout),
        )


@dataclass(frozen=True)
class Strategy:
    """One strategy: a cluster, how many of its devices, and how the work is divided.

    Attributes:
        cluster: Where it runs.
        gpus: Devices in all.
        micro_batch: Samples per device and pass.
        accumulation: Passes per step.
        split: ``data``, ``hybrid`` or ``model``; ``blocks`` wherever ``blocks`` are given.
        tensor: Devices that divide a split layer's outputs; that of ``blocks`` where they are given.
        collective: One of `collectives.NAMED_COLLECTIVES`; under ``blocks`` what adds up gradients.
        precision: One of the device's.
        blocks: How a transformer's blocks are split; None for a network of layers.
    """

    cluster: Cluster
    gpus: int
    micro_batch: int
    accumulation: int = 1
    split: str = "data"
    tensor: int = 1
    collective: str = "ring_all_reduce"
    precision: str = "fp32"
    blocks: Split | None = None

    def __post_init__(self) -> None:
        device = self.cluster.device
        if self.blocks is not None:
            object.__setattr__(self, "split", BLOCKS)
            object.__setattr__(self, "tensor", self.blocks.tensor)
        problems = []
        if self.collective not in NAMED_COLLECTIVES:
            problems.append(f"collective {self.collective!r}{nearest(self.collective, NAMED_COLLECTIVES)}")
        if self.precision not in device.peak:
            problems.append(f"{device.name} has no peak in {self.precision}; it has {', '.join(device.peak)}")
        counts = {name: getattr(self, name) for name in ("gpus", "micro_batch", "accumulation", "tensor")}
        problems += [f"{name} must be at least 1, not {count}" for name, count in counts.items() if count < 1]
        if not problems and self.gpus % self.tensor:
            problems.append(f"tensor {self.tensor} does not divide {self.gpus} GPUs")
        elif not problems and self.blocks is not None and self.gpus % self.blocks.model:
            parts = f"tensor {self.tensor} × context {self.blocks.context} × pipeline {self.blocks.pipeline}"
            problems.append(f"{parts} = {self.blocks.model:,} does not divide {self.gpus:,} GPUs")
        limit = self.cluster.max_devices
        if limit is not None and self.gpus > limit:
            problems.append(f"{self.cluster.name} has {limit:,} GPUs, not {self.gpus:,}")
        if problems:
            raise SpecError("; ".join(problems))

    @property
    def data(self) -> int:
        """Devices, or groups of devices, that each work on their own samples."""
        if self.blocks is not None:
            return self.gpus // self.blocks.model
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
            tensor=1 if self.blocks is not None else self.tensor,
            splits=None if self.blocks is None else Splits.of([self.blocks]),
            layout=_FIRST,
            collectives=(self.collective,),
            gpus=np.array([self.gpus]),
            micro_batch=np.array([self.micro_batch]),
            accumulation=np.array([self.accumulation]),
            collective=_FIRST,
            place=_FIRST,
        )

    def to_json(self) -> dict[str, Any]:
        """The strategy under the names of the measured-table contract."""
        blocks = self.blocks or Split()
        own = {} if self.blocks is None else {name: getattr(self.blocks, name) for name in _OWN_FIELDS}
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
            "pipeline": blocks.pipeline,
            "data": self.data,
            "expert": blocks.expert,
            "context": blocks.context,
            "virtual_stages": blocks.virtual_stages,
            "sharding": blocks.sharding,
            "recompute": blocks.recompute,
            "collective": self.collective,
            "precision": self.precision,
            **own,
        }
