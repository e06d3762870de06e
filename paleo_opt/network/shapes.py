"""Shape inference: from the shapes a layer reads and its values, the shape it writes; and what does not fit.

Shapes are per sample, without the batch (see `paleo_opt.network.graph`); `paleo_opt.network.windows` has the
conventions of padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from paleo_opt.errors import Problem, SpecError
from paleo_opt.network.graph import Layer, Shape
from paleo_opt.network.layer_fields import Values
from paleo_opt.network.windows import Pair, deconvolution_output, same_padding, window_output

#: Beyond these a layer is a mistake, and its counts would leave 64-bit integers.
MAX_ELEMENTS = 10**12
MAX_WEIGHTS = 10**13
MAX_FLOPS = 10**18


class Geometry(NamedTuple):
    """What shape inference finds for one layer; the last four as in `Layer`."""

    output_shape: Shape
    kernel: Pair = (1, 1)
    strides: Pair = (1, 1)
    padding: Pair = (0, 0)
    padding_mode: str = "VALID"


class _Input(NamedTuple):
    """One parent: its name, for messages, and its shape."""

    name: str
    shape: Shape


def shape_text(shape: Shape) -> str:
    """A shape for a reader: ``224x224x3``."""
    return "x".join(str(size) for size in shape)


def _wrong(message: str, field: str = "") -> SpecError:
    return SpecError(Problem(message, field=field))


def _only(inputs: Sequence[_Input]) -> _Input:
    if len(inputs) != 1:
        raise _wrong(f"has {len(inputs)} parents; expected one", "parents")
    return inputs[0]


def _image(inputs: Sequence[_Input]) -> tuple[int, int, int]:
    name, shape = _only(inputs)
    if len(shape) != 3:
        raise _wrong(f"takes an image (height, width, channels); {name} is {shape_text(shape)}")
    return shape[0], shape[1], shape[2]


def _sequence(inputs: Sequence[_Input]) -> tuple[int, int]:
    name, shape = _only(inputs)
    if len(shape) != 2:
        raise _wrong(f"takes a sequence (steps, features); {name} is {shape_text(shape)}")
    return shape[0], shape[1]


def _mode(values: Values) -> tuple[str, Pair]:
    padding = values.get("padding", "VALID")
    return (padding, (0, 0)) if isinstance(padding, str) else ("EXPLICIT", padding)


def _windowed(values: Values, height: int, width: int, kernel: Pair, strides: Pair) -> tuple[Pair, Pair, str]:
    """(output height and width, padding, padding mode) of a convolution or pooling."""
    mode, padding = _mode(values)
    ceil = values.get("ceil", False)
    if ceil and mode == "SAME":
        raise _wrong("has no meaning with padding SAME", "ceil")
    output_h, output_w = (
        window_output(size, k, s, mode, p, ceil)
        for size, k, s, p in zip((height, width), kernel, strides, padding, strict=True)
    )
    if output_h < 1 or output_w < 1:
        padded = f"{height + 2 * padding[0]}x{width + 2 * padding[1]}"
        of = "its padded input" if any(padding) else "its input"
        raise _wrong(f"is {shape_text(kernel)}, larger than {of}, {padded}", "kernel")
    if mode == "SAME":
        padding = (
            same_padding(height, output_h, kernel[0], strides[0]),
            same_padding(width, output_w, kernel[1], strides[1]),
        )
    return (output_h, output_w), padding, mode


def _check_groups(values: Values, channels: int) -> None:
    groups = values.get("groups", 1)
    for count, what in ((channels, "input channels"), (values["outputs"], "outputs")):
        if count % groups:
            raise _wrong(f"is {groups}, which does not divide the {count} {what}", "groups")


def _convolution(values: Values, inputs: Sequence[_Input]) -> Geometry:
    height, width, channels = _image(inputs)
    _check_groups(values, channels)
    kernel, strides = values["kernel"], values.get("strides", (1, 1))
    size, padding, mode = _windowed(values, height, width, kernel, strides)
    return Geometry((*size, values["outputs"]), kernel, strides, padding, mode)


def _pooling(values: Values, inputs: Sequence[_Input]) -> Geometry:
    height, width, channels = _image(inputs)
    if values.get("global"):
        return Geometry((1, 1, channels), (height, width), (height, width))
    kernel: Pair = values["kernel"]
    strides: Pair = values.get("strides", kernel)
    size, padding, mode = _windowed(values, height, width, kernel, strides)
    if mode == "EXPLICIT" and any(p >= k for p, k in zip(padding, kernel, strict=True)):
        raise _wrong(f"is {shape_text(padding)}, so that a window of {shape_text(kernel)} sees nothing else", "padding")
    return Geometry((*size, channels), kernel, strides, padding, mode)


def _deconvolution(values: Values, inputs: Sequence[_Input]) -> Geometry:
    height, width, channels = _image(inputs)
    _check_groups(values, channels)
    kernel, strides = values["kernel"], values.get("strides", (1, 1))
    mode, padding = _mode(values)
    # The stride leaves open which of several sizes a convolution would have come from.
    axes = list(zip((height, width), kernel, strides, padding, strict=True))
    height_out, width_out = (deconvolution_output(n, k, s, mode, p) for n, k, s, p in axes)
    size: Pair = values.get("output_shape", (height_out, width_out))
    if "output_shape" in values:
        back = tuple(window_output(out, k, s, mode, p) for out, (_, k, s, p) in zip(size, axes, strict=True))
        if back != (height, width):
            raise _wrong(
                f"is {shape_text(size)}, from which a convolution would make {shape_text(back)}, "
                f"not the input's {height}x{width}",
                "output_shape",
            )
    if min(size) < 1:
        raise _wrong(f"leaves an output of {shape_text(size)}", "padding")
    if mode == "SAME":
        padding = (
            same_padding(size[0], height, kernel[0], strides[0]),
            same_padding(size[1], width, kernel[1], strides[1]),
        )
    return Geometry((*size, values["outputs"]), kernel, strides, padding, mode)


def _inner_product(values: Values, inputs: Sequence[_Input]) -> Geometry:
    shape = _only(inputs).shape
    # Applied to every step of a sequence; an image is flattened.
    return Geometry((shape[0], values["outputs"]) if len(shape) == 2 else (values["outputs"],))


def _recurrent(values: Values, inputs: Sequence[_Input]) -> Geometry:
    steps, _ = _sequence(inputs)
    outputs = values["outputs"]
    return Geometry((steps, outputs) if values.get("return_sequences", True) else (outputs,))


def _embedding(values: Values, inputs: Sequence[_Input]) -> Geometry:
    name, shape = _only(inputs)
    if len(shape) != 1:
        raise _wrong(f"takes token ids (steps); {name} is {shape_text(shape)}")
    return Geometry((shape[0], values["outputs"]))


def _listed(inputs: Sequence[_Input]) -> str:
    return ", ".join(f"{name} is {shape_text(shape)}" for name, shape in inputs[:8])


def _concatenate(values: Values, inputs: Sequence[_Input]) -> Geometry:
    leading = inputs[0].shape[:-1]
    if any(shape[:-1] != leading for _, shape in inputs):
        raise _wrong(f"cannot join inputs that differ before their last axis: {_listed(inputs)}")
    return Geometry((*leading, sum(shape[-1] for _, shape in inputs)))


def _elementwise(values: Values, inputs: Sequence[_Input]) -> Geometry:
    if len(inputs) < 2:
        raise _wrong("has one parent; expected at least two", "parents")
    shape = max((shape for _, shape in inputs), key=math.prod)
    for _, other in inputs:
        # A product may scale every channel by one number, as in squeeze-and-excitation.
        scale = values.get("operation") == "multiply" and other == (1, 1, shape[-1]) and len(shape) == 3
        if other != shape and not scale:
            raise _wrong(f"combines inputs of different shapes: {_listed(inputs)}")
    return Geometry(shape)


def _reshape(values: Values, inputs: Sequence[_Input]) -> Geometry:
    name, shape = _only(inputs)
    target: Shape = values["shape"]
    if not 1 <= len(target) <= 3 or target.count(-1) > 1:
        raise _wrong("is not one to three sizes of which at most one is -1", "shape")
    size, known = math.prod(shape), math.prod(n for n in target if n != -1)
    if size % known or (-1 not in target and size != known):
        raise _wrong(f"is {shape_text(target)}, into which {name}, {shape_text(shape)}, does not go", "shape")
    return Geometry(tuple(size // known if n == -1 else n for n in target))


def _up_sampling(values: Values, inputs: Sequence[_Input]) -> Geometry:
    height, width, channels = _image(inputs)
    return Geometry((height * values["factor"][0], width * values["factor"][1], channels))


def _image_kept(values: Values, inputs: Sequence[_Input]) -> Geometry:
    return Geometry(_image(inputs))


def _flatten(values: Values, inputs: Sequence[_Input]) -> Geometry:
    return Geometry((math.prod(_only(inputs).shape),))


def _kept(values: Values, inputs: Sequence[_Input]) -> Geometry:
    return Geometry(_only(inputs).shape)


_RULES: dict[str, Callable[[Values, Sequence[_Input]], Geometry]] = {
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "Dropout": _kept,
    "Concatenate": _concatenate,
    "Elementwise": _elementwise,
    "Reshape": _reshape,
    "UpSampling": _up_sampling,
    "Softmax": _kept,
    "Sigmoid": _kept,
    "SimpleRNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "Embedding": _embedding,
    "Activation": _kept,
    "BatchNormalization": _kept,
    "LocalResponseNormalization": _image_kept,
    "Flatten": _flatten,
    "Identity": _kept,
}


def infer(
    name: str,
    kind: str,
    parents: tuple[str, ...],
    input_shapes: tuple[Shape, ...],
    values: Values,
    line: int = 0,
) -> Layer:
    """The layer ``name`` of type ``kind`` with its output shape, from its ``values`` and its parents' shapes.

    Raises:
        SpecError: the shapes do not fit; ``field`` of its problem is that of the layer, or empty.
    """
    inputs = [_Input(parent, shape) for parent, shape in zip(parents, input_shapes, strict=True)]
    geometry = _RULES[kind](values, inputs)
    activation, normalizer = values.get("activation", ""), values.get("normalizer", "")
    layer = Layer(
        name=name,
        type=kind,
        parents=parents,
        input_shapes=input_shapes,
        output_shape=geometry.output_shape,
        kernel=geometry.kernel,
        strides=geometry.strides,
        padding=geometry.padding,
        padding_mode=geometry.padding_mode,
        groups=values.get("groups", 1),
        outputs=values.get("outputs", 0),
        pool=values.get("pool", ""),
        keep_probability=values.get("keep_probability", 1.0),
        vocabulary=values.get("vocabulary", 0),
        recurrent_bias=values.get("recurrent_bias", False),
        bias=values.get("bias", False),
        normalizer="" if normalizer == "none" else normalizer,
        normalizer_scale=values.get("normalizer_scale", True),
        activation="" if activation == "none" else activation,
        split=values.get("split", "data"),
        line=line,
    )
    if layer.output_size > MAX_ELEMENTS:
        raise _wrong(f"writes {layer.output_size:.3g} elements a sample; more than {MAX_ELEMENTS:.0e}")
    if layer.weights > MAX_WEIGHTS:
        raise _wrong(f"has {layer.weights:.3g} weights; more than {MAX_WEIGHTS:.0e}")
    if layer.forward_flops > MAX_FLOPS:
        raise _wrong(f"takes {layer.forward_flops:.3g} FLOPs a sample; more than {MAX_FLOPS:.0e}")
    return layer
