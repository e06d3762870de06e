"""What the devices need for their parts of the layers, and the links for what moves between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from paleo_opt.estimator.attained import Attained
from paleo_opt.estimator.connections import Routes, make_routes
from paleo_opt.estimator.cost_table import CostTable, kernel_algorithms
from paleo_opt.estimator.kernel_table import KernelTable, compile_kernels
from paleo_opt.estimator.roofline import kernel_times
from paleo_opt.estimator.synchronization import Sending
from paleo_opt.layer_splits.degrees import HEIGHT, INPUTS, OUTPUTS, WIDTH, Floats, all_degrees, largest_degrees
from paleo_opt.layer_splits.shares import Parts, share_of
from paleo_opt.network.graph import RNN_GATES, Layer

#: Rows of one table of kernels, so that its arrays stay in the caches.
_ROWS = 1_500


@dataclass(frozen=True)
class LayerKind:
    """Layers that cost the same: all but their name and place in the graph, and how many layers read them."""

    layer: Layer
    readers: int
    first: bool


def kind_of(layer: Layer, readers: int, first: bool) -> LayerKind:
    """The kind of ``layer``; ``first`` where it reads the network's input, for which no gradient is computed."""
    parents = ("data",) if first else ()
    return LayerKind(replace(layer, name="", parents=parents, line=0, split=""), readers, first)


@dataclass(frozen=True, eq=False)
class ShareTimes:
    """Times of one device's parts, of each kind of layer, each way to divide it and each number of samples.

    Attributes:
        row: Of a kind and its parts.
        column: Of a number of samples.
        forward: Seconds. Shape (rows, columns).
        backward: Seconds. Shape (rows, columns).
        workspace: Elements. Shape (rows, columns).
    """

    row: dict[tuple[LayerKind, Parts], int]
    column: dict[int, int]
    forward: Floats
    backward: Floats
    workspace: Floats


def canonical(layer: Layer, parts: Parts) -> Parts:
    """Parts that take as long: rows and columns of a square layer may change places."""
    height, width, outputs, inputs = parts
    square = all(len(shape) == 3 and shape[0] == shape[1] for shape in (*layer.input_shapes, layer.output_shape))
    alike = all(pair[0] == pair[1] for pair in (layer.kernel, layer.strides, layer.padding))
    return (max(height, width), min(height, width), outputs, inputs) if square and alike else parts


def _parts_of(kind: LayerKind, devices: int) -> list[Parts]:
    limits = np.array(largest_degrees(kind.layer))
    axes = tuple(axis for axis, most in zip((HEIGHT, WIDTH, OUTPUTS, INPUTS), limits, strict=True) if most > 1)
    parts = all_degrees(devices, axes)[:, [HEIGHT, WIDTH, OUTPUTS, INPUTS]]
    within = parts[(parts <= limits).all(axis=1)].tolist()
    return list(dict.fromkeys(canonical(kind.layer, (h, w, o, i)) for h, w, o, i in within))


def _tables(
    table: CostTable, kinds: Sequence[LayerKind], devices: int
) -> list[tuple[list[tuple[LayerKind, Parts]], KernelTable]]:
    """The kernels of all parts of some kinds, compiled once for a network and a number of devices."""
    key = ("layer splits", devices)
    if key not in table.memos:
        # Recurrent layers divide what they compute of their whole state, which is not a smaller layer.
        by_parts: dict[int, list[tuple[LayerKind, Parts]]] = {}
        for kind in kinds:
            for parts in _parts_of(kind, devices):
                by_parts.setdefault(parts[2] if kind.layer.type in RNN_GATES else 1, []).append((kind, parts))
        named = {kind: replace(kind.layer, name=str(kind.readers)) for kind in kinds}
        algorithms = kernel_algorithms(table.conv_algorithm)
        found = []
        for divided, members in by_parts.items():
            for start in range(0, len(members), _ROWS):
                some = members[start : start + _ROWS]
                layers = [(index, share_of(named[kind], parts)) for index, (kind, parts) in enumerate(some)]
                readers = {str(kind.readers): kind.readers for kind, _ in some}
                found.append((some, compile_kernels(layers, divided, readers, algorithms)))
        table.memos[key] = found
    known: list[tuple[list[tuple[LayerKind, Parts]], KernelTable]] = table.memos[key]
    return known


def share_times(
    table: CostTable,
    kinds: Sequence[LayerKind],
    devices: int,
    samples: Sequence[int],
    attained: Attained,
    workspace_limit: float,
) -> ShareTimes:
    """Times of every part of every kind, for each of some numbers of samples, on one kind of device.

    Args:
        table: The compiled network.
        kinds: Of all its layers.
        devices: That every layer is split over.
        samples: On one device, in one pass; distinct.
        attained: Of the one device.
        workspace_limit: Elements that an algorithm may use beside its operands.
    """
    batch = np.array(samples, dtype=float)
    device = attained.at(np.zeros(batch.size, dtype=np.int64))
    row: dict[tuple[LayerKind, Parts], int] = {}
    forward: list[Floats] = []
    backward: list[Floats] = []
    workspace: list[Floats] = []
    algorithm = table.algorithm_under("roofline")
    for members, kernels in _tables(table, kinds, devices):
        times = kernel_times(kernels, device, batch, algorithm, workspace_limit)
        of_member = np.zeros(len(members), dtype=np.intp)
        for index, same in enumerate(kernels.members):
            of_member[list(same)] = index
        for member in members:
            row[member] = len(row)
        forward.append(times.time[0][of_member])
        backward.append((times.time[1] + times.time[2])[of_member])
        workspace.append(times.workspace.max(axis=0)[of_member])
    return ShareTimes(
        row,
        {count: index for index, count in enumerate(samples)},
        np.concatenate(forward),
        np.concatenate(backward),
        np.concatenate(workspace),
    )


@dataclass(frozen=True, eq=False)
class Fabric:
    """What all devices of a job exchange activations over.

    Attributes:
        devices: How many.
        units: Devices of one unit of each level that they use.
        routes: Of all of them as one group.
        levels: Of ``routes``, those that they use.
        sending: What the links attain, of one place.
    """

    devices: int
    units: tuple[int, ...]
    routes: Routes
    levels: tuple[int, ...]
    sending: Sending

    def groups(self, devices: Floats, apart: Floats) -> Routes:
        """The routes of groups of ``devices`` devices, ``apart`` apart. Shapes (W,)."""
        place = np.zeros(devices.shape, dtype=np.int64)
        routes = make_routes(self.sending.connections, place, devices, apart, self.sending.attained)
        return routes.slower(float(self.sending.share[0]))

    def exchange_time(self, volume: Floats) -> Floats:
        """Seconds of an exchange in which each unit takes in at most so many bytes, at each level.

        Both protocols of `communication`: the levels work at the same time, each in ⌈log2 k⌉ steps, and messages are
        small or stream through a pipeline that first has to fill.

        Args:
            volume: Shape (levels, ...).

        Returns:
            Shape (...).
        """
        routes = self.routes
        # Arrays of many megabytes: what can be written in place is.
        steps = np.zeros(volume.shape[1:])
        small, large = np.zeros(volume.shape[1:]), np.zeros(volume.shape[1:])
        for moved, level in zip(volume, self.levels, strict=True):
            seconds = moved / routes.rate[0, level]
            some = moved > 0.0
            steps += some * (np.ceil(np.log2(routes.joined[0, level])) * routes.step[0, level])
            np.maximum(small, seconds / routes.low_latency[0, level], out=small)
            seconds += some * routes.ramp[0, level]
            np.maximum(large, seconds, out=large)
        anything = large > 0.0
        steps += routes.startup[0]
        steps += np.minimum(small, large, out=small)
        steps *= anything
        return steps


def make_fabric(sending: Sending, devices: int) -> Fabric:
    """The fabric of ``devices`` devices of the one place of ``sending``."""
    place = np.zeros(1, dtype=np.int64)
    routes = make_routes(sending.connections, place, np.array([float(devices)]), 1, sending.attained)
    routes = routes.slower(float(sending.share[0]))
    levels = tuple(int(level) for level in np.flatnonzero(routes.used[0]))
    reach = sending.connections.reach[0]
    units = tuple(1 if level == 0 else int(min(reach[level - 1], devices)) for level in levels)
    return Fabric(devices, units, routes, levels, sending)
