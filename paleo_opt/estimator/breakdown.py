"""What each layer of a network costs under one strategy, and what bounds it.

The times are those that `estimate` sums: of one micro-batch on one device. A layer that a
split divides costs one device's share; under ``hybrid`` it runs once for each worker's samples (Krizhevsky,
arXiv:1404.5997), and its times count all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.compute import layer_times
from paleo_opt.estimator.cost_table import CostTable, Floats, Layout
from paleo_opt.estimator.estimate import Options
from paleo_opt.estimator.layer_cost import CONVOLUTIONS
from paleo_opt.estimator.options import usual_options
from paleo_opt.estimator.places import Places, make_places
from paleo_opt.estimator.roofline import kernel_times
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.device import ELEMENT_BYTES


@dataclass(frozen=True)
class LayerEstimate:
    """One layer's share of a step: one micro-batch on one device. The gradients take no time in inference.

    Attributes:
        name: As in the network.
        type: Its operation.
        output_shape: Per sample, of the whole layer.
        parameters: Trained parameters of the whole layer.
        parameters_bytes: Their bytes in the precision that the weights are kept in.
        flops: Model FLOPs of the whole layer's forward pass over the micro-batch, a multiply-add counting as two.
        forward_compute_s: Arithmetic of the forward pass [s].
        forward_memory_s: Its memory traffic [s].
        backward_data_compute_s: Of the gradient with respect to the layer's input [s].
        backward_data_memory_s: Likewise.
        backward_filter_compute_s: Of the gradient with respect to its weights [s].
        backward_filter_memory_s: Likewise.
        forward_s: The forward pass [s]: the sum of its two parts, or the longer where they are pipelined; under the
            roofline model the longer of the two in each kernel, and its launches.
        backward_s: Both gradients [s], likewise.
        bound: What most of its time is: ``compute``, ``memory``, ``launch`` where starting its kernels takes longer
            than either, or ``none`` where it takes no time.
        algorithms: Of a convolution, the algorithm of each pass: forward, data gradient, filter gradient; else empty.
        divided: Whether a split divides its outputs.
        count: How many layers of the network it stands for; above 1 where a transformer's blocks are split.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    parameters_bytes: float
    flops: float
    forward_compute_s: float
    forward_memory_s: float
    backward_data_compute_s: float
    backward_data_memory_s: float
    backward_filter_compute_s: float
    backward_filter_memory_s: float
    forward_s: float
    backward_s: float
    bound: str
    algorithms: tuple[str, ...]
    divided: bool
    count: int = 1


def layer_breakdown(table: CostTable, strategy: Strategy, options: Options | None = None) -> tuple[LayerEstimate, ...]:
    """The cost of every layer of the network, in its order; of a transformer whose blocks are split, of one of each.

    Args:
        table: The compiled network.
        strategy: Whose micro-batch, split and precision count.
        options: The model's constants.

    Raises:
        SpecError: the network has no such split.
    """
    options = options or usual_options(table.network)
    if strategy.blocks is not None:
        from paleo_opt.estimator.block_breakdown import block_breakdown

        return block_breakdown(table, strategy, options)
    element = float(ELEMENT_BYTES[strategy.precision])
    places = make_places([strategy.cluster], [strategy.precision], options)
    layout = table.layout(strategy.split, strategy.tensor)
    algorithms = table.algorithms(options.model)
    found: dict[int, LayerEstimate] = {}
    for divided in (False, True):
        part = _part_rows(table, layout, divided, places, strategy.micro_batch, options)
        runs = layout.tensor if divided and layout.split == "hybrid" else 1
        for row, members in enumerate(part.members):
            compute, memory, time = part.compute[:, row] * runs, part.memory[:, row] * runs, part.time[:, row] * runs
            chosen = tuple(algorithms[index] for index in part.algorithm[:, row])
            for index in members:
                layer = table.network.layers[index]
                found[index] = LayerEstimate(
                    name=layer.name,
                    type=layer.type,
                    output_shape=layer.output_shape,
                    parameters=layer.parameters,
                    parameters_bytes=layer.parameters * max(element, 2.0),
                    flops=float(layer.forward_flops * strategy.micro_batch),
                    forward_compute_s=float(compute[0]),
                    forward_memory_s=float(memory[0]),
                    backward_data_compute_s=float(compute[1]),
                    backward_data_memory_s=float(memory[1]),
                    backward_filter_compute_s=float(compute[2]),
                    backward_filter_memory_s=float(memory[2]),
                    forward_s=float(time[0]),
                    backward_s=float(time[1]),
                    bound=bound_of(float(compute.sum()), float(memory.sum()), float(time.sum()), options.model),
                    algorithms=chosen if layer.type in CONVOLUTIONS else (),
                    divided=divided,
                )
    return tuple(found[index] for index in range(len(table.network.layers)))


@dataclass(frozen=True, eq=False)
class _PartRows:
    """Rows of the replicated or of the split layers: compute, memory and algorithm (3, rows); passes (2, rows)."""

    members: tuple[tuple[int, ...], ...]
    compute: Floats
    memory: Floats
    algorithm: NDArray[np.intp]
    time: Floats


def _part_rows(
    table: CostTable, layout: Layout, divided: bool, places: Places, micro_batch: int, options: Options
) -> _PartRows:
    batch = np.array([float(micro_batch)])
    limit = options.workspace_limit / float(places.element_bytes[0])
    algorithm = table.algorithm_under(options.model)
    # Inference has the first pass only.
    run = np.array([1.0, options.training, options.training])[:, None]
    if places.attained is not None:
        kernels = layout.divided_kernels if divided else layout.replicated_kernels
        found = kernel_times(kernels, places.attained, batch, algorithm, limit)
        passes = found.time[..., 0] * run
        time = np.array([passes[0], passes[1] + passes[2]])
        return _PartRows(
            kernels.members, found.compute[..., 0] * run, found.memory[..., 0] * run, found.algorithm[..., 0], time
        )
    terms = layout.divided if divided else layout.replicated
    if not terms.members:
        return _PartRows((), *(np.zeros((3, 0)),) * 2, np.zeros((3, 0), dtype=np.intp), np.zeros((2, 0)))
    times = layer_times(terms, places.rates, batch, algorithm == "auto", limit, options.pipelined)
    compute, memory = times.compute[..., 0] * run, times.memory[..., 0] * run
    if options.pipelined:
        time = np.array(
            [np.maximum(compute[0], memory[0]), np.maximum(compute[1:].sum(axis=0), memory[1:].sum(axis=0))]
        )
    else:
        time = np.array([compute[0] + memory[0], (compute[1:] + memory[1:]).sum(axis=0)])
    return _PartRows(terms.members, compute, memory, times.algorithm[..., 0], time)


def bound_of(compute: float, memory: float, time: float, model: str) -> str:
    """What most of a layer's time is, of its seconds: ``compute``, ``memory``, ``launch`` or ``none``."""
    if not time:
        return "none"
    if model == "roofline" and time > 2.0 * max(compute, memory):
        return "launch"
    return "compute" if compute >= memory else "memory"
