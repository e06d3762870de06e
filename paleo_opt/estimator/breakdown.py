"""What each layer of a network costs under one strategy, and what bounds it.

The times are those that `estimate` sums: of one micro-batch on one device, each term at least one clock. A layer that a
split divides costs one device's share; under ``hybrid`` it runs once for each worker's samples (Krizhevsky,
arXiv:1404.5997), and its times count all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paleo_opt.estimator.compute import device_rates, layer_times
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.estimate import Options
from paleo_opt.estimator.layer_cost import CONVOLUTIONS
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
        forward_s: The forward pass [s]: the sum of its two parts, or the longer where they are pipelined.
        backward_s: Both gradients [s], likewise.
        bound: What most of its time is: ``compute``, ``memory``, or ``none`` where it takes no time.
        algorithms: Of a convolution, the algorithm of each pass: forward, data gradient, filter gradient; else empty.
        divided: Whether a split divides its outputs.
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


def layer_breakdown(table: CostTable, strategy: Strategy, options: Options | None = None) -> tuple[LayerEstimate, ...]:
    """The cost of every layer of the network, in its order.

    Args:
        table: The compiled network.
        strategy: Whose micro-batch, split and precision count.
        options: The model's constants.

    Raises:
        SpecError: the network has no such split.
    """
    options = options or Options()
    device, precision = strategy.cluster.device, strategy.precision
    element = float(ELEMENT_BYTES[precision])
    rates = device_rates(device, precision, options.device_ppp(device, precision))
    layout = table.layout(strategy.split, strategy.tensor)
    batch = np.array([float(strategy.micro_batch)])
    # Inference has the first pass only.
    run = np.array([1.0, options.training, options.training])
    found: dict[int, LayerEstimate] = {}
    parts = [(layout.replicated, False), (layout.divided, True)]
    for terms, divided in parts:
        if not terms.members:
            continue
        times = layer_times(
            terms, rates, batch, table.conv_algorithm == "auto", options.workspace_limit / element, options.pipelined
        )
        runs = layout.tensor if divided and layout.split == "hybrid" else 1
        for row, members in enumerate(terms.members):
            compute, memory = times.compute[:, row, 0] * runs * run, times.memory[:, row, 0] * runs * run
            if options.pipelined:
                forward = max(compute[0], memory[0])
                backward = max(compute[1:].sum(), memory[1:].sum())
            else:
                forward, backward = compute[0] + memory[0], (compute[1:] + memory[1:]).sum()
            arithmetic, traffic = compute.sum(), memory.sum()
            chosen = tuple(table.algorithms[index] for index in times.algorithm[:, row, 0])
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
                    forward_s=float(forward),
                    backward_s=float(backward),
                    bound="none" if not arithmetic + traffic else "compute" if arithmetic >= traffic else "memory",
                    algorithms=chosen if layer.type in CONVOLUTIONS else (),
                    divided=divided,
                )
    return tuple(found[index] for index in range(len(table.network.layers)))
