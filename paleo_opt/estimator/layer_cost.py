"""What one layer costs in each pass, for the share of its outputs that one device computes.

The three passes are forward, the gradient with respect to the data, and the gradient with respect to the filter
(weights). Conventions are those of the published PALEO (ICLR 2017): activations and biases cost nothing, Concatenate,
Softmax and reshaping cost nothing, and there is no gradient with respect to the network's input.
"""

from __future__ import annotations

import math
from dataclasses import replace

from paleo_opt.estimator import convolution
from paleo_opt.estimator.convolution import NOTHING, Cost, Term
from paleo_opt.estimator.transformer_kernels import TYPES, transformer_costs
from paleo_opt.network.graph import RNN_GATES, Layer

PASSES = ("forward", "backward_data", "backward_filter")
#: The types that a convolution algorithm runs.
CONVOLUTIONS = ("Convolution", "Deconvolution")
Passes = tuple[Cost | None, Cost | None, Cost | None]


def _share(outputs: int, parts: int) -> int:
    """The largest share of ``outputs`` when ``parts`` devices divide them."""
    return -(-outputs // parts)


def _product(rows: float, inner: float, columns: float) -> Cost:
    """A product of (n · rows × inner) by (inner × columns) weights, for a batch of n."""
    return Cost(
        compute=(Term(0.0, 2.0 * rows * inner * columns),),
        memory=(Term(0.0, rows * inner), Term(inner * columns, 0.0), Term(0.0, rows * columns)),
    )


def _elementwise(flops: float, read: float, written: float) -> Cost:
    compute = (Term(0.0, flops),) if flops else ()
    return Cost(compute=compute, memory=(Term(0.0, read), Term(0.0, written)))


def _recurrent(layer: Layer, parts: int) -> Cost:
    """All steps of a recurrent layer: one product over the inputs, then per step one with the state.

    The weights of the state are read again at every step, which is what bounds small batches.
    """
    steps, features = layer.input_shapes[0]
    gates = RNN_GATES[layer.type] * _share(layer.outputs, parts)
    inputs, state = _product(steps, features, gates), _product(1, layer.outputs, gates)
    return Cost(
        compute=inputs.compute + tuple(replace(term, repeats=steps) for term in state.compute),
        memory=inputs.memory + tuple(replace(term, repeats=steps) for term in state.memory),
    )


def _convolution_passes(layer: Layer, parts: int, algorithm: str) -> Passes:
    cost = convolution.ALGORITHMS[algorithm]
    if layer.type == "Deconvolution":
        # A deconvolution is the data gradient of the convolution that maps its output back to its input.
        share = (*layer.output_shape[:2], _share(layer.outputs, parts))
        transposed = replace(layer, input_shapes=(share,), output_shape=layer.input_shapes[0])
        channels = layer.input_shapes[0][-1]
        return (
            cost(convolution.data_gradient(transposed, channels)),
            cost(convolution.forward(transposed, channels)),
            cost(convolution.filter_gradient(transposed, channels)),
        )
    outputs = _share(layer.outputs, parts)
    return (
        cost(convolution.forward(layer, outputs)),
        cost(convolution.data_gradient(layer, outputs)),
        cost(convolution.filter_gradient(layer, outputs)),
    )


def layer_passes(layer: Layer, parts: int, algorithm: str) -> Passes:
    """The cost of ``layer`` in the three `PASSES` on one of ``parts`` devices that divide its outputs.

    Args:
        layer: With its shapes.
        parts: Devices that divide the layer's outputs (1: the whole layer).
        algorithm: A key of `convolution.ALGORITHMS`; matters for convolutions only.

    Returns:
        A cost for each pass; None where the algorithm cannot run it.
    """
    passes: Passes
    if layer.type in CONVOLUTIONS:
        passes = _convolution_passes(layer, parts, algorithm)
    elif layer.type == "InnerProduct":
        shape = layer.input_shapes[0]
        rows, inner = (shape[0], shape[1]) if len(shape) == 2 else (1, math.prod(shape))
        columns = _share(layer.outputs, parts)
        # The two transposed products move the same three matrices: X, W and Y, or their gradients.
        passes = (_product(rows, inner, columns),) * 3
    elif layer.type in RNN_GATES:
        passes = (_recurrent(layer, parts),) * 3
    elif layer.type == "Pooling":
        flops = 2.0 * layer.kernel[0] * layer.kernel[1] * layer.output_size / parts
        cost = _elementwise(flops, layer.input_size / parts, layer.output_size / parts)
        passes = (cost, cost, NOTHING)
    elif layer.type in ("Dropout", "Sigmoid", "Elementwise"):
        cost = _elementwise(layer.input_size / parts, layer.input_size / parts, layer.output_size / parts)
        passes = (cost, cost, NOTHING)
    elif layer.type == "UpSampling":
        cost = _elementwise(0.0, layer.input_size / parts, layer.output_size / parts)
        passes = (cost, cost, NOTHING)
    elif layer.type in TYPES:
        passes = transformer_costs(layer, parts)
    elif layer.type == "Embedding":
        lookup = _elementwise(0.0, layer.output_size / parts, layer.output_size / parts)
        passes = (lookup, NOTHING, lookup)
    else:
        passes = (NOTHING, NOTHING, NOTHING)
    if layer.parents == ("data",):
        passes = (passes[0], NOTHING, passes[2])
    return passes
