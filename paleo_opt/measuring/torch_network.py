"""A network of layers as a PyTorch module, channels-last; what it cannot build it refuses by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paleo_opt.errors import Problem, SpecError
from paleo_opt.network.graph import Layer, Network

SUPPORTED = (
    "Input", "Convolution", "Pooling", "InnerProduct", "BatchNormalization", "Activation", "Sigmoid", "Elementwise",
    "Concatenate", "Dropout", "Softmax", "Flatten", "Identity",
)  # fmt: skip
_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "elu": "elu", "leaky_relu": "leaky_relu"}
Apply = Callable[..., Any]


def check_supported(network: Network) -> None:
    """Refuse a network with layers that no module is built of.

    Raises:
        SpecError: one line for each type, with the first layer that has it.
    """
    first: dict[str, Layer] = {}
    for layer in network.layers:
        if layer.type not in SUPPORTED:
            first.setdefault(layer.type, layer)
    problems = [
        Problem(f"layer {layer.name!r} is a {kind}, which measure cannot run", network.file, layer.line)
        for kind, layer in first.items()
    ]
    if len(network.input_shape) != 3 and not problems:
        problems = [Problem("takes no images; measure can run networks of images alone", network.file)]
    if problems:
        raise SpecError(problems)


def build_module(torch: Any, network: Network) -> Any:
    """A `torch.nn.Module` from images (batch, channels, height, width) to the output of the last layer.

    Where the last layer is a softmax its logarithm is returned, which training needs.

    Raises:
        SpecError: as `check_supported`.
    """
    check_supported(network)

    class Graph(torch.nn.Module):  # type: ignore[misc]
        """The layers in topological order."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleDict()
            self.calls: list[tuple[Layer, Apply]] = []
            last = network.layers[-1]
            for index, layer in enumerate(network.layers[1:]):
                part = torch.nn.ModuleDict()
                self.parts[str(index)] = part
                self.calls.append((layer, _layer(torch, layer, part, layer is last)))

        def forward(self, images: Any) -> Any:
            values = {network.layers[0].name: images}
            result = images
            for layer, apply in self.calls:
                result = values[layer.name] = apply(*(values[parent] for parent in layer.parents))
            return result

    return Graph().to(memory_format=torch.channels_last)


def _layer(torch: Any, layer: Layer, part: Any, last: bool) -> Apply:
    """What ``layer`` does to its inputs; what it learns goes into the module ``part``."""
    functional = torch.nn.functional
    apply: Apply
    if layer.type == "Convolution":
        apply = _convolution(torch, layer, part)
    elif layer.type == "InnerProduct":
        product = part["weights"] = torch.nn.Linear(layer.weights // layer.outputs, layer.outputs, bias=layer.bias)

        def apply(value: Any) -> Any:
            return product(torch.flatten(value, 1))

    elif layer.type == "Pooling":
        apply = _pooling(torch, layer)
    elif layer.type == "BatchNormalization":
        apply = _normalizer(torch, layer, part)
    elif layer.type == "Elementwise":

        def apply(*values: Any) -> Any:
            total = values[0]
            for value in values[1:]:
                total = total + value if total.shape == value.shape else total * value
            return total

    elif layer.type == "Concatenate":

        def apply(*values: Any) -> Any:
            return torch.cat(values, 1)

    elif layer.type == "Dropout":

        def apply(value: Any) -> Any:
            return functional.dropout(value, 1.0 - layer.keep_probability)

    elif layer.type == "Softmax":

        def apply(value: Any) -> Any:
            return functional.log_softmax(value, 1) if last else functional.softmax(value, 1)

    elif layer.type == "Flatten":

        def apply(value: Any) -> Any:
            return torch.flatten(value, 1)

    elif layer.type == "Sigmoid":
        apply = torch.sigmoid
    else:

        def apply(value: Any) -> Any:
            return value

    return _with_activation(torch, layer, part, apply)


def _with_activation(torch: Any, layer: Layer, part: Any, apply: Apply) -> Apply:
    """``apply``, then the layer's own normalizer and activation."""
    norm = _normalizer(torch, layer, part) if layer.normalizer else None
    name = _ACTIVATIONS.get(layer.activation)
    function = getattr(torch.nn.functional, name) if name else None

    def whole(*values: Any) -> Any:
        result = apply(*values)
        if norm is not None:
            result = norm(result)
        return function(result) if function is not None else result

    return whole


def _normalizer(torch: Any, layer: Layer, part: Any) -> Apply:
    kind = torch.nn.BatchNorm2d if len(layer.output_shape) == 3 else torch.nn.BatchNorm1d
    norm: Apply = kind(layer.output_shape[-1])
    part["norm"] = norm
    return norm


def _pads(layer: Layer) -> list[tuple[int, int]]:
    """Rows of zeros before and after, and columns: as many as the windows reach."""
    pads = []
    for axis in (0, 1):
        size, count = layer.input_shapes[0][axis], layer.output_shape[axis]
        reach = (count - 1) * layer.strides[axis] + layer.kernel[axis]
        pads.append((layer.padding[axis], max(0, reach - size - layer.padding[axis])))
    return pads


def _convolution(torch: Any, layer: Layer, part: Any) -> Apply:
    rows, columns = _pads(layer)
    # One that ends before the last rows needs no padding there, nor may the other side's be dropped.
    even = layer.padding if rows[1] <= rows[0] and columns[1] <= columns[0] else (0, 0)
    conv = part["weights"] = torch.nn.Conv2d(
        layer.input_shapes[0][-1], layer.outputs, layer.kernel, layer.strides, even, groups=layer.groups,
        bias=layer.bias and not layer.normalizer,
    )  # fmt: skip
    if even == layer.padding:
        return conv  # type: ignore[no-any-return]

    def apply(value: Any) -> Any:
        return conv(torch.nn.functional.pad(value, (*columns, *rows)))

    return apply


def _pooling(torch: Any, layer: Layer) -> Apply:
    functional = torch.nn.functional
    rows, columns = _pads(layer)
    pool = functional.max_pool2d if layer.pool == "max" else functional.avg_pool2d
    if layer.kernel == layer.input_shapes[0][:2] and layer.pool != "max":
        return lambda value: functional.adaptive_avg_pool2d(value, 1)
    if not any(rows + columns):
        return lambda value: pool(value, layer.kernel, layer.strides)
    # A window reaches no further than padding does, so that every maximum is of some image.
    fill = -torch.inf if layer.pool == "max" else 0.0

    def apply(value: Any) -> Any:
        return pool(functional.pad(value, (*columns, *rows), value=fill), layer.kernel, layer.strides)

    return apply
