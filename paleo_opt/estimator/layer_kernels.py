"""The kernels that a library runs for one layer, in the three passes, for the share that one device computes.

What the default model times (`roofline`): matrix products with their sizes, and memory-bound kernels with the elements
they read and write. A kernel that some platforms run within the one before it names that ability (`Kernel.unless`).
Elements of memory-bound kernels follow from what each must read and write: a ReLU reads and writes its output; a batch
normalization reads its input for the statistics, reads it again and writes; its gradient reads input and output
gradient twice and writes once; a max pooling's gradient reads both sides to find the maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paleo_opt.estimator.convolution import Term
from paleo_opt.estimator.convolution_kernels import Kernel, convolution_kernels
from paleo_opt.estimator.transformer_kernels import TYPES, transformer_passes
from paleo_opt.network.graph import RNN_GATES, Layer

NOTHING = Term(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class LayerKernel:
    """A kernel of a layer.

    Attributes:
        kernel: Sizes, elements, the share constant that holds for it, and the platforms that run it.
        repeats: Runs one after the other, each launched.
        unrolled: Elements per sample of the image unrolled, which a platform that runs one product for each image
            writes and reads besides (im2col); 0 for what is no such product.
    """

    kernel: Kernel
    repeats: float = 1.0
    unrolled: float = 0.0


Kernels = tuple[LayerKernel, ...]


@dataclass(frozen=True)
class LayerPass:
    """One pass of a layer: one of the alternatives, then what all of them share.

    Attributes:
        alternatives: By algorithm; ``gemm`` for what has no other.
        common: Run whatever the algorithm.
    """

    alternatives: dict[str, Kernels]
    common: Kernels = ()


def _traffic(per_sample: float, unless: str = "", repeats: float = 1.0) -> LayerKernel:
    kernel = Kernel(NOTHING, NOTHING, NOTHING, 0.0, Term(0.0, per_sample), "memory", "", NOTHING, unless=unless)
    return LayerKernel(kernel, repeats)


def _product(m: Term, n: Term, k: Term, elements: Term, converted: Term | None) -> LayerKernel:
    return LayerKernel(Kernel(m, n, k, 1.0, elements, "products", "gemm", NOTHING, converted))


def _dense_passes(
    rows: float, inner: float, columns: float, high_precision: bool = False
) -> tuple[Kernels, Kernels, Kernels]:
    """A product of (n · rows × inner) by (inner × columns) weights and its two gradients, for a batch of n."""
    batch, a, b = Term(0.0, rows), Term(inner, 0.0), Term(columns, 0.0)
    elements = Term(inner * columns, rows * (inner + columns))
    inputs, gradients, none = Term(0.0, rows * inner), Term(0.0, rows * columns), NOTHING
    converted = (None, None, None) if high_precision else (inputs, gradients, none)
    return (
        (_product(batch, b, a, elements, converted[0]),),
        (_product(batch, a, b, elements, converted[1]),),
        (_product(a, b, batch, elements, converted[2]),),
    )


def _recurrent_passes(layer: Layer, parts: int) -> tuple[Kernels, Kernels, Kernels]:
    """One product over the inputs of all steps, then per step one with the state and the gates' arithmetic."""
    steps, features = layer.input_shapes[0]
    units = -(-layer.outputs // parts)
    gates = float(RNN_GATES[layer.type] * units)
    inputs = _dense_passes(float(steps), float(features), gates)
    state = _dense_passes(1.0, float(layer.outputs), gates)
    weights = _dense_passes(float(steps), float(layer.outputs), gates)
    in_steps = [LayerKernel(kernel.kernel, float(steps)) for one in state[:2] for kernel in one]
    pointwise = _traffic(2.0 * gates + 3.0 * units, repeats=float(steps))
    return (
        (*inputs[0], in_steps[0], pointwise),
        (*inputs[1], in_steps[1], pointwise),
        (*inputs[2], *weights[2]),
    )


def _after(layer: Layer, size: float) -> tuple[Kernels, Kernels, Kernels]:
    """Bias, normalizer and activation behind a product or sum of ``size`` outputs, with their gradients."""
    forward, backward, weights = [], [], []
    if layer.bias and not layer.normalizer:
        forward.append(_traffic(2.0 * size, "bias"))
        weights.append(_traffic(size, "bias"))
    if layer.normalizer:
        forward += [_traffic(size, "normalizer"), _traffic(2.0 * size)]
        backward += [_traffic(2.0 * size, "normalizer"), _traffic(3.0 * size)]
    if layer.activation not in ("", "none", "linear"):
        forward.append(_traffic(2.0 * size, "activation"))
        backward.append(_traffic(3.0 * size, "activation"))
    return tuple(forward), tuple(backward), tuple(weights)


def _memory_bound(layer: Layer, parts: int) -> tuple[Kernels, Kernels] | None:
    """Forward and data gradient of a layer that computes little; None for one that runs nothing."""
    read, written = layer.input_size / parts, layer.output_size / parts
    both = read + written
    if layer.type == "Pooling":
        return (_traffic(both),), (_traffic(2.0 * both if layer.pool == "max" else both),)
    if layer.type == "Elementwise":
        return (_traffic(both, "add"),), ()
    if layer.type == "Concatenate":
        return (_traffic(both, "concatenate"),), (_traffic(both, "concatenate"),)
    if layer.type == "Dropout":
        return (_traffic(both + 0.25 * written),), (_traffic(both + 0.25 * written),)
    if layer.type == "LocalResponseNormalization":
        return (_traffic(both + written),), (_traffic(5.0 * written),)
    if layer.type == "BatchNormalization":
        return (
            (_traffic(read, "normalizer"), _traffic(both)),
            (_traffic(2.0 * read, "normalizer"), _traffic(2.0 * read + written)),
        )
    if layer.type in ("Activation", "Sigmoid"):
        # Libraries fuse the activations of convolutions; a transformer's, whose input is kept, runs by itself.
        unless = "activation" if layer.type == "Activation" and layer.kept is None else ""
        return (_traffic(both, unless),), (_traffic(both + written, unless),)
    if layer.type == "Softmax":
        return (_traffic(both + read),), (_traffic(both + written),)
    if layer.type == "UpSampling":
        return (_traffic(both),), (_traffic(both),)
    return None


def _unrolled(layer: Layer, algorithm: str, kernels: tuple[Kernel, ...]) -> Kernels:
    """A convolution's kernels; its matrix product with the image unrolled, once for each tap of the filters."""
    places = math.prod((layer.input_shapes[0] if layer.type == "Deconvolution" else layer.output_shape)[:2])
    channels = layer.outputs if layer.type == "Deconvolution" else layer.input_shapes[0][-1]
    pointwise = layer.kernel == (1, 1) and layer.strides == (1, 1)
    elements = 0.0 if pointwise else 2.0 * math.prod(layer.kernel) * channels * places
    return tuple(
        LayerKernel(kernel, unrolled=max(elements, 1.0) if algorithm == "gemm" and kernel.count else 0.0)
        for kernel in kernels
    )


def _one(kernels: Kernels, common: Kernels = ()) -> LayerPass:
    return LayerPass({"gemm": kernels} if kernels else {}, common)


def layer_kernels(layer: Layer, parts: int, readers: int) -> tuple[LayerPass, LayerPass, LayerPass]:
    """The kernels of ``layer`` on one of ``parts`` devices that divide its outputs.

    Args:
        layer: With its shapes.
        parts: Devices that divide the layer's outputs (1: the whole layer).
        readers: Layers that read its output; the gradients of several are added up.

    Returns:
        Forward, data gradient, filter gradient. What a layer on the network's input must run of its activation's and
        normalizer's gradients counts in its filter gradient, as it has no data gradient.
    """
    size = layer.output_size / parts
    first = layer.parents == ("data",)
    if layer.type in ("Convolution", "Deconvolution"):
        after = _after(layer, size)
        found = tuple(
            LayerPass({name: _unrolled(layer, name, kernels) for name, kernels in step.items()}, common)
            for step, common in zip(convolution_kernels(layer, parts), after, strict=True)
        )
        passes = (found[0], found[1], found[2])
    elif layer.type == "InnerProduct":
        shape = layer.input_shapes[0]
        rows, inner = (shape[0], shape[1]) if len(shape) == 2 else (1, math.prod(shape))
        columns = float(-(-layer.outputs // parts))
        dense = _dense_passes(float(rows), float(inner), columns, layer.high_precision)
        after = _after(layer, size)
        passes = (_one(dense[0], after[0]), _one(dense[1], after[1]), _one(dense[2], after[2]))
    elif layer.type in RNN_GATES:
        recurrent = _recurrent_passes(layer, parts)
        passes = (_one(recurrent[0]), _one(recurrent[1]), _one(recurrent[2]))
    elif layer.type in TYPES:
        found_kernels = [tuple(map(LayerKernel, step)) for step in transformer_passes(layer, parts)]
        passes = (_one((), found_kernels[0]), _one((), found_kernels[1]), _one((), found_kernels[2]))
    elif layer.type == "Embedding":
        passes = (_one((), (_traffic(2.0 * size),)), _one(()), _one((), (_traffic(3.0 * size),)))
    else:
        light = _memory_bound(layer, parts) or ((), ())
        after = _after(layer, size) if layer.type == "Elementwise" else ((), (), ())
        passes = (_one((), light[0] + after[0]), _one((), light[1] + after[1]), _one(()))
    forward, data, filters = passes
    if readers > 1 and layer.type != "Input":
        accumulate = _traffic(3.0 * size * (readers - 1), "add")
        data = LayerPass(data.alternatives, (accumulate, *data.common))
    if first:
        data, filters = LayerPass({}), LayerPass(filters.alternatives, data.common + filters.common)
    return forward, data, filters
