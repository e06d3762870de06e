"""The ways in which one layer can be split over n devices, and which device computes which part of it.

A split has a degree along each of six axes, whose product is n. Devices are numbered node after node, and a split's
parts in row-major order of the axes as listed in `AXES`: samples outermost, so that the parts along the axes at the
end of the list, which exchange activations, are neighbours inside a node.

Reference: Jia, Lin, Qi, Aiken: Exploring Hidden Dimensions in Parallelizing Convolutional Neural Networks, ICML 2018,
arXiv:1802.04924 (its parallelization configurations).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.layer_cost import CONVOLUTIONS
from paleo_opt.network.graph import RNN_GATES, Layer, Shape

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
#: ``copies`` are devices that compute the same; ``outputs`` are output channels (heads of attention, experts of
#: Experts), ``inputs`` the input channels, over which the products have to be added up.
AXES = ("sample", "height", "width", "copies", "outputs", "inputs")
SAMPLE, HEIGHT, WIDTH, COPIES, OUTPUTS, INPUTS = range(len(AXES))

#: Layers of which an output channel needs the same input channel only.
CHANNELWISE = frozenset(
    ("Pooling", "Dropout", "Elementwise", "Activation", "BatchNormalization", "Sigmoid", "UpSampling", "Concatenate",
     "Identity", "GatedActivation", "Attention")
)  # fmt: skip
#: Likewise, where the channels of an image become blocks of features, or the other way round.
RESHAPING = frozenset(("Flatten", "Reshape"))
#: Layers whose places (of an image, or steps of a sequence) are computed each by itself, or from neighbours.
_PLACEWISE = frozenset(
    (*CONVOLUTIONS, "InnerProduct", "Pooling", "Dropout", "Elementwise", "Activation", "BatchNormalization", "Sigmoid",
     "UpSampling", "Concatenate", "Identity", "GatedActivation", "LocalResponseNormalization", "LayerNormalization",
     "RMSNormalization", "Softmax", "Embedding")
)  # fmt: skip


def places_of(shape: Shape) -> tuple[int, int]:
    """Height and width of an output, or (steps, 1) of a sequence; (1, 1) of a vector."""
    return (shape[0], shape[1]) if len(shape) == 3 else (shape[0], 1) if len(shape) == 2 else (1, 1)


def largest_degrees(layer: Layer) -> tuple[int, int, int, int]:
    """The largest degrees of ``layer`` along height, width, outputs and inputs; 1 where it cannot be split so."""
    height, width = places_of(layer.output_shape) if layer.type in _PLACEWISE else (1, 1)
    outputs = inputs = 1
    if layer.type in CONVOLUTIONS or layer.type == "InnerProduct":
        outputs = layer.outputs
        inputs = layer.input_shapes[0][-1] if layer.groups == 1 else 1
    elif layer.type in RNN_GATES or layer.type == "Embedding":
        outputs = layer.outputs
    elif layer.attention is not None:
        outputs = layer.attention.kv_heads
    elif layer.experts is not None:
        outputs = layer.experts.experts
    elif layer.type in CHANNELWISE or layer.type in RESHAPING:
        outputs = layer.output_shape[-1]
    return height, width, outputs, inputs


@lru_cache(maxsize=64)
def all_degrees(devices: int, axes: tuple[int, ...]) -> Integers:
    """Every split over ``devices`` with degrees along ``axes`` only, and copies. Shape (K, 6)."""
    rows = [(1,) * len(AXES)]
    free = [axis for axis in axes if axis != COPIES]
    for axis in free:
        grown = []
        for row in rows:
            rest = devices // int(np.prod(row))
            grown += [(*row[:axis], degree, *row[axis + 1 :]) for degree in range(1, rest + 1) if rest % degree == 0]
        rows = grown
    degrees = np.array(rows, dtype=np.int64).reshape(-1, len(AXES))
    degrees[:, COPIES] = devices // degrees.prod(axis=1)
    return degrees


@dataclass(frozen=True, eq=False)
class Choices:
    """The splits that one layer can have.

    Attributes:
        axes: Along which it can be split.
        rows: Of `all_degrees`, those within the layer's sizes. Shape (K,).
        degrees: Shape (K, 6).
    """

    axes: tuple[int, ...]
    rows: NDArray[np.intp]
    degrees: Integers

    def index(self, wanted: tuple[int, ...]) -> int:
        """The split of exactly these degrees; ValueError where it is none of them."""
        found = np.flatnonzero((self.degrees == np.array(wanted)).all(axis=1))
        if not found.size:
            raise ValueError(wanted)
        return int(found[0])


def choices(layer: Layer, devices: int, samples: int) -> Choices:
    """The splits of ``layer`` over ``devices``, in passes of ``samples``."""
    height, width, outputs, inputs = largest_degrees(layer)
    limits = np.array([samples, height, width, devices, outputs, inputs])
    if layer.experts is not None:
        # Tokens are divided among the devices of a group of experts too.
        limits[OUTPUTS] = min(outputs, samples)
    axes = tuple(axis for axis in range(len(AXES)) if axis == COPIES or limits[axis] > 1)
    every = all_degrees(devices, axes)
    fits = (every <= limits).all(axis=1)
    if layer.experts is not None:
        fits &= every[:, SAMPLE] * every[:, OUTPUTS] <= samples
    rows = np.flatnonzero(fits)
    return Choices(axes, rows, every[rows])


def positions(degrees: Integers, devices: int) -> tuple[Integers, Integers]:
    """Which part along each axis every device has, and how far apart neighbours along it are.

    Returns:
        Parts, shape (6, K, devices), and distances in devices, shape (6, K).
    """
    after = np.cumprod(degrees[:, ::-1], axis=1)[:, ::-1]
    apart = (after // degrees).T
    device = np.arange(devices)
    return (device // apart[:, :, None]) % degrees.T[:, :, None], apart
