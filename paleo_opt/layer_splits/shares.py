"""The part of a layer that one device computes under a split, as a layer of its own with smaller shapes.

Where a degree does not divide a size, the part is the largest: the device that has it is the slowest.
"""

from __future__ import annotations

from dataclasses import replace

from paleo_opt.estimator.layer_cost import CONVOLUTIONS
from paleo_opt.layer_splits.degrees import CHANNELWISE, RESHAPING
from paleo_opt.network.graph import RNN_GATES, Layer, Shape

#: Degrees along height, width, outputs and inputs.
Parts = tuple[int, int, int, int]


def _up(size: int, parts: int) -> int:
    return -(-size // parts)


def _places(shape: Shape, height: int, width: int) -> Shape:
    if len(shape) == 3:
        return (_up(shape[0], height), _up(shape[1], width), shape[2])
    return (_up(shape[0], height), shape[1]) if len(shape) == 2 else shape


def _channels(shape: Shape, parts: int) -> Shape:
    return (*shape[:-1], _up(shape[-1], parts))


def share_of(layer: Layer, parts: Parts) -> Layer:
    """``layer`` as one device computes it; itself where it is not split but by samples."""
    if parts == (1, 1, 1, 1):
        return layer
    height, width, outputs, inputs = parts
    shapes = tuple(_places(shape, height, width) for shape in layer.input_shapes)
    written = _places(layer.output_shape, height, width)
    if layer.experts is not None:
        # Each device of a group has its own tokens, and sends them to the experts: as many tokens, fewer experts.
        return replace(layer, experts=replace(layer.experts, experts=_up(layer.experts.experts, outputs)))
    if layer.attention is not None:
        sizes = layer.attention
        heads = replace(
            sizes,
            heads=_up(sizes.heads, outputs),
            kv_heads=_up(sizes.kv_heads, outputs),
            rotary=_up(sizes.rotary, outputs),
        )
        shapes, written = tuple(_channels(shape, outputs) for shape in shapes), _channels(written, outputs)
        return replace(layer, attention=heads, input_shapes=shapes, output_shape=written)
    if layer.type in CHANNELWISE or layer.type in RESHAPING:
        shapes = tuple(_channels(shape, outputs) for shape in shapes)
        return replace(layer, input_shapes=shapes, output_shape=_channels(written, outputs))
    if layer.type in RNN_GATES:
        # The state of all units is needed at every step, so that only what is computed of it is divided.
        return replace(layer, output_shape=_channels(written, outputs))
    if layer.type in CONVOLUTIONS or layer.type in ("InnerProduct", "Embedding"):
        groups = _up(layer.groups, outputs)
        if layer.groups > 1:
            read = (*shapes[0][:-1], shapes[0][-1] // layer.groups * groups)
        else:
            read = shapes[0] if layer.type == "Embedding" else _channels(shapes[0], inputs)
        mine = _up(layer.outputs, outputs)
        return replace(layer, input_shapes=(read,), output_shape=(*written[:-1], mine), outputs=mine, groups=groups)
    return replace(layer, input_shapes=shapes, output_shape=written)


def halo(layer: Layer, axis: int, parts: int) -> int:
    """Rows (``axis`` 0) or columns (1) of the input that a part needs of its neighbours; most of any part."""
    if parts == 1 or len(layer.output_shape) != 3 or layer.type not in (*CONVOLUTIONS, "Pooling"):
        return 0
    window, stride, size = layer.kernel[axis], layer.strides[axis], layer.input_shapes[0][axis]
    reach = (window - 1) // stride if layer.type == "Deconvolution" else window - stride
    # The outer parts have one neighbour.
    rows = reach if parts > 2 else -(-reach // 2)
    return max(0, min(rows, size - _up(size, parts)))
