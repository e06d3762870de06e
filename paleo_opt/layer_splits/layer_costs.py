"""The costs of one layer for each of its splits, and of one edge for each pair of splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.collectives import AUTO
from paleo_opt.estimator.communication import communication_time
from paleo_opt.estimator.cost_table import kept_elements, parameter_tensors
from paleo_opt.estimator.memory import OPTIMIZER_STATES
from paleo_opt.estimator.places import Places
from paleo_opt.estimator.roofline import update_times
from paleo_opt.layer_splits.degrees import (
    COPIES,
    HEIGHT,
    INPUTS,
    OUTPUTS,
    SAMPLE,
    WIDTH,
    Choices,
    Floats,
    Integers,
    all_degrees,
)
from paleo_opt.layer_splits.regions import Moves, Reading, moves, moves_between, reading
from paleo_opt.layer_splits.shares import Parts, halo, share_of
from paleo_opt.layer_splits.times import Fabric, LayerKind, ShareTimes, canonical
from paleo_opt.network.graph import RNN_GATES, Layer

#: Edges whose splits could be of the same axes: about so many share one computation.
_SHARED = 4


@dataclass(frozen=True, eq=False)
class LayerCosts:
    """Of each split of one layer, on the slowest device. Shapes (K,).

    Attributes:
        forward, backward: Computation of one pass [s].
        exchange: Of one pass, forward and backward: halos, states, tokens [s].
        sync: All-reduce of its gradients [s].
        update: Of its parameters [s].
        memory: Bytes of parameters, gradients, optimizer state and kept activations.
        workspace: Bytes.
    """

    forward: Floats
    backward: Floats
    exchange: Floats
    sync: Floats
    update: Floats
    memory: Floats
    workspace: Floats

    def at(self, kept: NDArray[np.bool_]) -> LayerCosts:
        """Of some of the splits."""
        return LayerCosts(**{one.name: getattr(self, one.name)[kept] for one in fields(self)})


@dataclass(frozen=True, eq=False)
class EdgeCosts:
    """Of each pair of splits of two layers of which one reads the other. Shapes (K, K').

    Attributes:
        time: Redistribution of activations and of their gradients, in one pass [s].
        backward: Of it, that of the gradients [s].
        memory: Bytes of activations kept besides the reader's own.
    """

    time: Floats
    backward: Floats
    memory: Floats

    def __add__(self, other: EdgeCosts) -> EdgeCosts:
        """Those of a layer that reads another twice."""
        return EdgeCosts(self.time + other.time, self.backward + other.backward, self.memory + other.memory)


@dataclass(eq=False)
class CostMaker:
    """Makes the costs of layers and edges of one network on one fabric; alike edges once."""

    places: Places
    fabric: Fabric
    samples: int
    collective: str
    optimizer: str
    parameters: float
    times: ShareTimes

    def __post_init__(self) -> None:
        self._edges: dict[tuple[LayerKind, LayerKind, int], EdgeCosts] = {}
        self._sync: dict[tuple[int, ...], tuple[object, Floats]] = {}
        self.element = float(self.places.element_bytes[0])
        self.weight = float(self.places.weight_bytes[0])

    def node(self, kind: LayerKind, of: Choices) -> LayerCosts:
        """The costs of each split ``of`` a layer."""
        layer, degrees = kind.layer, of.degrees
        tokens = degrees[:, SAMPLE] * (degrees[:, OUTPUTS] if layer.experts is not None else 1)
        each = -(-self.samples // tokens)
        parts = [(h, w, o, i) for h, w, o, i in degrees[:, [HEIGHT, WIDTH, OUTPUTS, INPUTS]].tolist()]
        row = np.array([self.times.row[kind, canonical(layer, part)] for part in parts])
        column = np.array([self.times.column[count] for count in each.tolist()])
        weights = self._parameters(layer, parts)
        divided = degrees[:, [HEIGHT, WIDTH]].prod(axis=1)
        if layer.experts is None:
            divided = divided * degrees[:, OUTPUTS]
        kept = kept_elements(layer) * each / divided
        if kind.first:
            kept = kept + layer.input_size * each / degrees[:, [HEIGHT, WIDTH, INPUTS]].prod(axis=1)
        states = OPTIMIZER_STATES[self.optimizer] + (self.weight < 4.0)
        return LayerCosts(
            forward=self.times.forward[row, column],
            backward=self.times.backward[row, column],
            exchange=self._exchange(kind, degrees, each.astype(float)),
            sync=self._sync_time(degrees, weights),
            update=self._update(layer, weights),
            memory=weights * (2.0 * self.weight + 4.0 * states) + kept * self.weight,
            workspace=self.times.workspace[row, column] * self.element,
        )

    def _parameters(self, layer: Layer, parts: Sequence[Parts]) -> Floats:
        """Of each part, on one device."""
        divided = {(1, 1, outputs, inputs) for _, _, outputs, inputs in parts}
        if layer.type in RNN_GATES:
            known = {part: layer.parameters / part[2] for part in divided}
        else:
            known = {part: float(share_of(layer, part).parameters) for part in divided}
        return np.array([known[1, 1, outputs, inputs] for _, _, outputs, inputs in parts])

    def _update(self, layer: Layer, weights: Floats) -> Floats:
        attained = self.places.attained
        assert attained is not None
        time = update_times(weights, parameter_tensors(layer), self.optimizer, self.places.element_bytes, attained)
        # The one launch of a fused update is of the whole step.
        once = np.where(attained.fused_update, attained.launch, 0.0)
        return np.where(weights > 0, time - once, 0.0)

    def _sync_time(self, degrees: Integers, weights: Floats) -> Floats:
        """Of the devices that hold copies of the same weights and different samples or places.

        Gradients of less than a bucket are sent with others, and take their share of the bucket's time.
        """
        copies = degrees[:, [SAMPLE, HEIGHT, WIDTH]].prod(axis=1).astype(float)
        apart = degrees[:, [COPIES, OUTPUTS, INPUTS]].prod(axis=1).astype(float)
        routes = self.fabric.groups(copies, apart)
        sending = self.places.sending
        assert sending is not None
        bucket = min(float(sending.bucket_parameters[0]), self.parameters)
        sent = np.maximum(weights, bucket)
        time = communication_time(self.collective, routes, sent * self.weight)
        return np.where(weights > 0, time * np.divide(weights, sent, where=sent > 0, out=np.zeros_like(sent)), 0.0)

    def _exchange(self, kind: LayerKind, degrees: Integers, each: Floats) -> Floats:
        layer, total = kind.layer, np.zeros(len(degrees))
        if len(layer.output_shape) == 3 and not kind.first:
            height, width, channels = layer.input_shapes[0]
            depth = channels / np.maximum(degrees[:, INPUTS], degrees[:, OUTPUTS] if layer.type == "Pooling" else 1)
            for axis, name in ((0, HEIGHT), (1, WIDTH)):
                parts = degrees[:, name]
                rows = {part: halo(layer, axis, part) for part in set(parts.tolist())}
                across = width / degrees[:, WIDTH] if axis == 0 else height / degrees[:, HEIGHT]
                size = np.array([rows[part] for part in parts.tolist()]) * across * depth * each * self.element
                apart = degrees[:, name + 1 :].prod(axis=1).astype(float)
                routes = self.fabric.groups(parts.astype(float), apart)
                total += 2.0 * communication_time("point_to_point", routes, size)
        of_outputs = self.fabric.groups(degrees[:, OUTPUTS].astype(float), degrees[:, INPUTS].astype(float))
        if layer.type in RNN_GATES:
            steps = layer.input_shapes[0][0]
            state = communication_time("all_gather", of_outputs, layer.outputs * each * self.element)
            total += 2.0 * steps * state
        if layer.experts is not None:
            tokens = layer.output_size * layer.experts.top_k * each * self.element
            total += 4.0 * communication_time("all_to_all", of_outputs, tokens)
        if kind.readers == 0:
            # The loss needs the sum over the parts of the inputs; elsewhere it belongs to the reader's edge.
            inner = self.fabric.groups(degrees[:, INPUTS].astype(float), np.ones(len(degrees)))
            written = layer.output_size * each / degrees[:, [HEIGHT, WIDTH, OUTPUTS]].prod(axis=1)
            total += communication_time(AUTO, inner, written * self.element)
        return total

    def edge(self, source: LayerKind, of: Choices, target: LayerKind, to: Choices, number: int) -> EdgeCosts:
        """The costs of each pair of splits of ``source`` and of ``target``, which reads it as parent ``number``."""
        key = (source, target, number)
        if key not in self._edges:
            fabric = self.fabric
            size = float(source.layer.output_size) * self.samples
            found = self._moves(source.layer.experts is not None, of, to, reading(target.layer, number))
            forward, backward = found.forward, found.backward
            for part in (forward, backward):
                part *= size
                part *= self.element
            back = fabric.exchange_time(backward)
            time = fabric.exchange_time(forward)
            time += back
            self._edges[key] = EdgeCosts(time, back, found.kept * size * self.weight)
        return self._edges[key]

    def _moves(self, experts: bool, of: Choices, to: Choices, how: Reading) -> Moves:
        """Between the splits of two layers, as arrays that may be written to."""
        devices, units = self.fabric.devices, self.fabric.units
        every = len(all_degrees(devices, of.axes)) * len(all_degrees(devices, to.axes))
        if _SHARED * of.rows.size * to.rows.size < every:
            return moves_between(devices, units, of.degrees, experts, to.degrees, how)
        # Many layers have the same axes, so that all is computed once and each takes its part of it.
        found = moves(devices, units, of.axes, experts, to.axes, how)
        source, target = np.ix_(of.rows, to.rows)
        return Moves(
            found.forward[:, source, target], found.backward[:, source, target], found.kept[source, target]
        )  # fmt: skip
