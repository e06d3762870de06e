"""What the default model says of micro rows: each is a layer by itself, timed by the code that times networks.

A constant's name here is as in `estimator.options.Options.shifts`: ``vector``, ``tensor`` and ``memory`` of the device,
``platform.NAME`` and ``link.NAME``; a shift is how many of its standard deviations it stands off its value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paleo_opt.calibration.micro_table import PASSES, MicroRow
from paleo_opt.estimator.attained import make_attained
from paleo_opt.estimator.communication import AUTO, communication_time
from paleo_opt.estimator.connections import make_connections, make_routes
from paleo_opt.estimator.kernel_table import KernelTable, compile_kernels
from paleo_opt.estimator.roofline import kernel_times, update_times
from paleo_opt.hardware.cluster import Cluster, Level, Link, single_device_cluster
from paleo_opt.hardware.device import ELEMENT_BYTES, Device
from paleo_opt.hardware.platform import ALGORITHMS, Platform
from paleo_opt.network.graph import Layer
from paleo_opt.network.layer_fields import Values
from paleo_opt.network.shapes import infer

Floats = NDArray[np.float64]
#: Bytes a convolution algorithm may use, as by default in an estimate.
_WORKSPACE = 2.0**30
_TYPES = {
    "relu": "Activation", "add": "Elementwise", "batch_norm": "BatchNormalization", "max_pool": "Pooling",
    "average_pool": "Pooling",
}  # fmt: skip
_OPERATIONS = {"all_reduce": AUTO}


def layer_of(row: MicroRow) -> Layer:
    """The layer that a row of an operation stands for; a product is one of a sequence of ``m`` steps."""
    window: Values = {
        "kernel": (row.kernel_h, row.kernel_w),
        "strides": (row.stride, row.stride),
        "padding": (row.padding, row.padding),
    }
    image = (row.height, row.width, row.channels)
    if row.operation == "gemm":
        return infer(row.id, "InnerProduct", ("before",), ((row.m, row.k),), {"outputs": row.n, "bias": False})
    if row.operation == "step":
        return infer(row.id, "InnerProduct", ("data",), ((1,),), {"outputs": 1, "bias": False})
    if row.operation == "convolution":
        values = window | {"outputs": row.filters, "groups": row.groups, "bias": False}
        return infer(row.id, "Convolution", ("before",), (image,), values)
    kind = _TYPES[row.operation]
    values = window | {"pool": row.operation.removesuffix("_pool")} if kind == "Pooling" else {}
    if kind == "Activation":
        values = {"activation": "relu"}
    parents = ("before", "other") if kind == "Elementwise" else ("before",)
    return infer(row.id, kind, parents, (image,) * len(parents), values)


@dataclass(frozen=True, eq=False)
class _Group:
    """Rows of one precision and batch: which they are, their kernels, and the row of each in the table."""

    precision: str
    batch: int
    members: NDArray[np.intp]
    table: KernelTable
    places: NDArray[np.intp]
    passes: NDArray[np.intp]


class MicroModel:
    """Predicts micro rows of one device and its platform.

    Attributes:
        rows: What is predicted.
    """

    def __init__(self, rows: Sequence[MicroRow], device: Device, platform: Platform, link: Link | None) -> None:
        self.rows = tuple(rows)
        self._device = device
        # A measured operation runs by itself, whatever the platform would run it within.
        self._platform = replace(platform, fused=frozenset(platform.fused & {"update"}))
        self._link = link
        self._steps = [index for index, row in enumerate(rows) if row.operation == "step"]
        self._collectives = [index for index, row in enumerate(rows) if row.operation == "collective"]
        groups: dict[tuple[str, int], list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            if row.operation not in ("step", "collective"):
                groups[row.precision, row.batch or 1].append(index)
        self._groups = [self._compiled(*key, members) for key, members in groups.items()]
        self._empty = [self._compiled(self.rows[index].precision, 1, [index]) for index in self._steps]

    def _compiled(self, precision: str, batch: int, members: Sequence[int]) -> _Group:
        table = compile_kernels([(index, layer_of(self.rows[index])) for index in members], 1, {}, ALGORITHMS)
        place = {index: row for row, indices in enumerate(table.members) for index in indices}
        return _Group(
            precision,
            batch,
            np.array(members, dtype=np.intp),
            table,
            np.array([place[index] for index in members], dtype=np.intp),
            np.array([PASSES.index(self.rows[index].step or "forward") for index in members], dtype=np.intp),
        )

    def predict(self, shifts: Mapping[str, float]) -> Floats:
        """Time of each row with its constants shifted [s]. Shape (rows,)."""
        times = np.empty(len(self.rows))
        for group in self._groups:
            times[group.members] = self._kernels(group, shifts)[group.passes, group.places]
        for index, group in zip(self._steps, self._empty, strict=True):
            attained = make_attained([self._device], [group.precision], [self._platform], shifts=shifts)
            update = update_times(1.0, 1.0, "momentum", np.array([ELEMENT_BYTES[group.precision]]), attained)
            times[index] = self._kernels(group, shifts).sum() + float(update[0] + attained.step_overhead[0])
        if self._collectives:
            times[self._collectives] = self._communication(shifts)
        return times

    def _kernels(self, group: _Group, shifts: Mapping[str, float]) -> Floats:
        """Shape (3, rows of the table)."""
        attained = make_attained([self._device], [group.precision], [self._platform], shifts=shifts, converting=False)
        limit = _WORKSPACE / ELEMENT_BYTES[group.precision]
        return kernel_times(group.table, attained, np.array([float(group.batch)]), "auto", limit).time[..., 0]

    def _communication(self, shifts: Mapping[str, float]) -> Floats:
        assert self._link is not None
        rows = [self.rows[index] for index in self._collectives]
        cluster = flat_cluster(self._device, self._link)
        routes = make_routes(
            make_connections([cluster], shifts),
            np.zeros(len(rows), dtype=np.int64),
            np.array([row.gpus for row in rows], dtype=float),
        )
        sizes = np.array([row.bytes for row in rows], dtype=float)
        times = {
            name: communication_time(_OPERATIONS.get(name, name), routes, sizes)
            for name in {row.collective for row in rows}
        }
        return np.array([times[row.collective][index] for index, row in enumerate(rows)])


def flat_cluster(device: Device, link: Link) -> Cluster:
    """Any number of devices over one link."""
    level = Level(link.name, None, link.bandwidth, link.latency, link.constants)
    return replace(single_device_cluster(device), levels=(level,))


# -- what no device can exceed ------------------------------------------------------------------------------------


def least_flops(row: MicroRow, winograd: bool) -> float:
    """FLOPs that a product or convolution cannot do without; 0 for any other operation.

    Of a convolution the taps on padding are none, and Winograd's F(4 × 4, 3 × 3), the largest in use, saves three
    multiplications of four.
    """
    if row.operation == "gemm":
        return 2.0 * row.m * row.n * row.k
    if row.operation != "convolution":
        return 0.0
    taps = 1.0
    for size, window in ((row.height, row.kernel_h), (row.width, row.kernel_w)):
        first = np.arange(-row.padding, size + row.padding - window + 1, row.stride)
        taps *= float((np.minimum(first + window, size) - np.maximum(first, 0)).clip(0).sum())
    saved = 4.0 if winograd and (row.kernel_h, row.kernel_w, row.stride) == (3, 3, 1) else 1.0
    return 2.0 * row.batch * taps * row.channels * row.filters / row.groups / saved


def least_bytes(row: MicroRow) -> float:
    """Bytes that a memory-bound operation cannot do without: its operands once each; 0 for any other operation."""
    if row.operation in ("gemm", "convolution", "step", "collective"):
        return 0.0
    layer = layer_of(row)
    read, written = layer.input_size, layer.output_size
    if row.step == "backward_data" and row.operation == "relu":
        read += written
    return float(row.batch * (read + written) * ELEMENT_BYTES[row.precision])
