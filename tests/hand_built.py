"""Devices, clusters, layers and networks of round numbers, whose costs can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.hardware.cluster import Cluster, Level, Price
from paleo_opt.hardware.device import Device
from paleo_opt.network.graph import Layer, Network
from paleo_opt.network.load import load_network

#: 1 TFLOP/s, 100 GB/s, 10 GHz: a MFLOP takes 1 us, a MB of memory traffic 10 us.
DEVICE = Device(
    name="round",
    description="A device of round numbers",
    peak={"fp32": 1e12, "fp16": 8e12, "bf16": 8e12},
    memory=16e9,
    memory_bandwidth=1e11,
    clock=1e10,
    multiprocessors=None,
    power=250.0,
    source="made up",
)
PRICE = Price(on_demand=3.6, reserved_1y=None, spot=None, region="nowhere", date="2026-01-01", source="made up")


def cluster(
    inside: tuple[float, float] = (1e11, 1e-6),
    between: tuple[float, float] = (1e10, 1e-5),
    per_node: int = 4,
    device: Device = DEVICE,
    **changes: Any,
) -> Cluster:
    """Nodes of ``per_node`` devices; ``inside`` and ``between`` are (bytes/s, seconds of latency)."""
    outside = Level("between nodes", None, *between)
    one = Cluster(
        name="round cluster",
        description="A cluster of round numbers",
        provider="any",
        device=device,
        devices_per_node=per_node,
        levels=(Level("inside the node", per_node, *inside), outside) if per_node > 1 else (outside,),
        max_nodes=None,
        price=PRICE,
        source="made up",
        ppp_comm=1.0,
    )
    return replace(one, **changes)


def network(*layers: Layer) -> Network:
    """A network of the given layers behind a free one called ``before``, so that all have a data gradient."""
    shape = layers[0].input_shapes[0]
    first = (Layer("data", "Input", (), (), shape), Layer("before", "Identity", ("data",), (shape,), shape))
    return Network("hand_built", "", "", "", shape, (*first, *layers), None)


def convolution(
    name: str = "conv",
    shape: tuple[int, int, int] = (8, 8, 16),
    outputs: int = 32,
    kernel: int = 3,
    stride: int = 1,
    same: bool = True,
    parents: tuple[str, ...] = ("before",),
    **fields: Any,
) -> Layer:
    """A square convolution without bias, its shapes worked out as PALEO does."""
    size = math.ceil(shape[0] / stride) if same else math.ceil((shape[0] - kernel + 1) / stride)
    padding = ((size - 1) * stride + kernel - shape[0]) // 2 if same else 0
    return Layer(
        name,
        "Convolution",
        parents,
        (shape,),
        (size, size, outputs),
        kernel=(kernel, kernel),
        strides=(stride, stride),
        padding=(padding, padding),
        padding_mode="SAME" if same else "VALID",
        outputs=outputs,
        **fields,
    )


def inner_product(inputs: int, outputs: int, parents: tuple[str, ...] = ("before",), **fields: Any) -> Layer:
    """A product of a vector with a matrix of weights, without bias."""
    return Layer("fc", "InnerProduct", parents, ((inputs,),), (outputs,), outputs=outputs, **fields)


def pooling(shape: tuple[int, int, int] = (8, 8, 16), kernel: int = 2) -> Layer:
    """Windows side by side; no parameters."""
    out = (shape[0] // kernel, shape[1] // kernel, shape[2])
    return Layer("pool", "Pooling", ("before",), (shape,), out, kernel=(kernel,) * 2, strides=(kernel,) * 2, pool="max")


def number(values: Any) -> float:
    """The one number in a field of the estimate of one strategy, of whatever shape that broadcasts to it."""
    return float(np.broadcast_to(values, (1,))[0])


@cache
def table(name: str, conv_algorithm: str | None = "gemm") -> CostTable:
    """A shipped network, compiled once for all tests."""
    return compile_network(load_network(name), conv_algorithm)
