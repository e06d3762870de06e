"""The fields that a layer of each type may have in a network's YAML, and how each is read.

Values are checked one by one here; what they mean together (does the window fit, do the groups divide) is for
`paleo_opt.network.shapes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from paleo_opt.errors import SpecError, nearest
from paleo_opt.spec_file import Fields, as_integer

Values = dict[str, Any]

#: The largest count that makes sense anywhere in a layer.
MAX_VALUE = 10**9
ACTIVATIONS = ("none", "relu", "tanh", "sigmoid", "elu", "leaky_relu")

_NORMALIZER = ("normalizer", "normalizer_scale")
_WINDOW = ("kernel", "strides", "padding")

#: For every type of layer: the fields it may have besides ``type``, ``parents`` and ``split``.
FIELDS: dict[str, tuple[str, ...]] = {
    "Convolution": ("outputs", *_WINDOW, "groups", "bias", *_NORMALIZER, "activation"),
    "Deconvolution": ("outputs", *_WINDOW, "output_shape", "groups", "bias", *_NORMALIZER, "activation"),
    "InnerProduct": ("outputs", "bias", *_NORMALIZER, "activation"),
    "Pooling": (*_WINDOW, "pool", "global", "ceil"),
    "Dropout": ("keep_probability",),
    "Concatenate": ("axis", "activation"),
    "Elementwise": ("operation", "activation"),
    "Reshape": ("shape",),
    "UpSampling": ("factor",),
    "Softmax": (),
    "Sigmoid": (),
    "SimpleRNN": ("outputs", "bias", "recurrent_bias", "return_sequences"),
    "GRU": ("outputs", "bias", "recurrent_bias", "return_sequences"),
    "LSTM": ("outputs", "bias", "recurrent_bias", "return_sequences"),
    "Embedding": ("outputs", "vocabulary"),
    "Activation": ("activation",),
    "BatchNormalization": ("normalizer_scale", "activation"),
    "LocalResponseNormalization": (),
    "Flatten": (),
    "Identity": (),
}

_REQUIRED: dict[str, tuple[str, ...]] = {
    "Convolution": ("outputs", "kernel"),
    "Deconvolution": ("outputs", "kernel"),
    "InnerProduct": ("outputs",),
    "Reshape": ("shape",),
    "UpSampling": ("factor",),
    "SimpleRNN": ("outputs",),
    "GRU": ("outputs",),
    "LSTM": ("outputs",),
    "Embedding": ("outputs", "vocabulary"),
}

_WITH_BIAS = {"bias": True}
#: What a field is where neither the layer nor the file's ``defaults`` give it.
BUILT_IN: dict[str, Values] = {
    "Convolution": _WITH_BIAS,
    "Deconvolution": _WITH_BIAS,
    "InnerProduct": _WITH_BIAS,
    "SimpleRNN": _WITH_BIAS,
    "GRU": _WITH_BIAS,
    "LSTM": _WITH_BIAS,
    "Pooling": {"pool": "max"},
    "Dropout": {"keep_probability": 0.5},
    "Activation": {"activation": "relu"},
}


def _pair(node: yaml.Node, minimum: int) -> tuple[int, int]:
    whole = as_integer(minimum, MAX_VALUE)
    if isinstance(node, yaml.ScalarNode):
        return (value := whole(node)), value
    if not isinstance(node, yaml.SequenceNode) or len(node.value) != 2:
        raise SpecError("is neither a whole number nor a list of two, [height, width]")
    return whole(node.value[0]), whole(node.value[1])


def _padding(node: yaml.Node) -> str | tuple[int, int]:
    if isinstance(node, yaml.ScalarNode) and node.value[:1].isalpha():
        if node.value not in ("SAME", "VALID"):
            raise SpecError(f"is {node.value[:60]!r}; expected SAME, VALID, a whole number or [height, width]")
        return str(node.value)
    return _pair(node, 0)


def _size_or_rest(node: yaml.Node) -> int:
    size = as_integer(-1, MAX_VALUE)(node)
    if size == 0:
        raise SpecError("is 0; expected a size, or -1 for what is left")
    return size


def _image_size(node: yaml.Node) -> tuple[int, int]:
    if not isinstance(node, yaml.SequenceNode):
        raise SpecError("is not a list of two, [height, width]")
    return _pair(node, 1)


def _last_axis(node: yaml.Node) -> int:
    if not isinstance(node, yaml.ScalarNode) or node.value != "-1":
        raise SpecError("is not -1; layers are joined along their last axis only")
    return -1


def _count(fields: Fields, name: str) -> Any:
    return fields.integer(name, None, 1, MAX_VALUE)


def _flag(fields: Fields, name: str) -> Any:
    return fields.flag(name, None)


def _choice(*choices: str) -> Callable[[Fields, str], Any]:
    return lambda fields, name: fields.text(name, None, choices)


def _with(convert: Callable[[yaml.Node], Any]) -> Callable[[Fields, str], Any]:
    return lambda fields, name: fields.value(name, convert, None)


def _keep_probability(fields: Fields, name: str) -> Any:
    value = fields.number(name, None, 0.0, 1.0)
    if value == 0.0:
        fields.problem("is 0; expected above 0 and at most 1", name)
    return value


#: Reads one field, None where it is empty.
_READERS: dict[str, Callable[[Fields, str], Any]] = {
    "outputs": _count,
    "kernel": _with(lambda node: _pair(node, 1)),
    "strides": _with(lambda node: _pair(node, 1)),
    "padding": _with(_padding),
    "output_shape": _with(_image_size),
    "groups": _count,
    "bias": _flag,
    "normalizer": _choice("none", "batch_norm"),
    "normalizer_scale": _flag,
    "activation": _choice(*ACTIVATIONS),
    "pool": _choice("max", "average"),
    "global": _flag,
    "ceil": _flag,
    "keep_probability": _keep_probability,
    "axis": _with(_last_axis),
    "operation": _choice("add", "multiply", "max"),
    "shape": lambda fields, name: fields.sequence(name, _size_or_rest, None),
    "factor": _with(lambda node: _pair(node, 1)),
    "vocabulary": _count,
    "return_sequences": _flag,
    "recurrent_bias": _flag,
    "split": _choice("data", "model"),
}


def read_values(fields: Fields, kind: str, structure: tuple[str, ...] = ()) -> Values:
    """The values that ``fields`` gives for a layer of type ``kind``, every mistake noted.

    ``structure`` names the fields that are read elsewhere. A field that has no meaning for the type is refused.
    """
    values: Values = {}
    allowed = FIELDS[kind]
    for name in fields.names():
        if name in structure:
            continue
        if name in allowed or name == "split":
            value = _READERS[name](fields, name)
            if value is not None:
                values[name] = value
        elif name in _READERS:
            has = f"its fields: {', '.join(sorted(allowed))}" if allowed else "it has no fields of its own"
            fields.problem(f"has no meaning for a layer of type {kind}; {has}", name)
        else:
            valid = (*structure, *allowed, "split")
            fields.problem(f"is not a known field{nearest(name[:100], valid)}", name)
    for name in (*_WINDOW, "ceil") if values.get("global") else ():
        if name in values:
            fields.problem("has no meaning where global is true: the window is the whole image", name)
    return values


def check_required(fields: Fields, kind: str, values: Values) -> None:
    """Note the fields that a layer of type ``kind`` needs and that neither it nor the defaults give."""
    required = _REQUIRED.get(kind, ())
    if kind == "Pooling" and not values.get("global"):
        required = ("kernel",)
    # Of a layer with a misspelt field, that is all there is to say.
    if all(name in _READERS or name in ("type", "parents") for name in fields.names()):
        for name in required:
            if name not in values and (name not in fields or fields.is_empty(name)):
                what = "empty" if name in fields else "missing"
                fields.problem(f"is {what}: a layer of type {kind} needs it", name)
