"""Time of matrix products on a device's multiprocessors: tiles, waves, and the depth of the reduction.

A library cuts the m × n result into tiles, one multiprocessor works on one tile at a time, and there is at least one
wave of tiles. With tiles of a × b, R FLOP/s on each multiprocessor and a latency of L to fill the pipeline,

    T = max(tiles / multiprocessors, 1) · (2abk / (R · e(a, b)) + L) + F

where e is the share of that rate that a tile's operand traffic leaves: e = I / (I + h), I = ab / (a + b) products per
element read. Where there are fewer tiles than multiprocessors, s of them share the reduction of each tile, at a
price S for each further part: 2abk / (s · R · e) + L + (s - 1) · S. The library takes the best tile and the best s.

All of this only grows with m, n, k and the number of products, and only shrinks with FLOP/s.

Reference: NVIDIA, Matrix Multiplication Background User's Guide (tile and wave quantization), 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Tiles that libraries have, the larger first.
TILES = (
    (256, 128),
    (128, 256),
    (128, 128),
    (128, 64),
    (64, 128),
    (64, 64),
    (128, 32),
    (32, 128),
    (64, 32),
    (32, 64),
    (32, 32),
    (128, 16),
    (16, 128),
    (64, 16),
    (16, 64),
)


@dataclass(frozen=True)
class Library:
    """How products run on one kind of unit, fitted to measured products.

    Attributes:
        half_intensity: Products per element read at which a tile attains half of what its multiprocessor can.
        tile_latency: Clocks to fill and drain the pipeline of a tile.
        start_latency: Clocks once for each product.
        split_latency: Clocks for each further part of a shared reduction.
    """

    half_intensity: float
    tile_latency: float
    start_latency: float
    split_latency: float


VECTOR = Library(88.0, 720.0, 290.0, 1350.0)
TENSOR = Library(228.0, 4.6, 4.4, 1430.0)


@dataclass(frozen=True)
class Units:
    """What computes: scalars, or arrays that broadcast with the sizes.

    Attributes:
        flops: FLOP/s that the whole device attains on the largest products.
        multiprocessors: How many; not finite, or at most 1, where that is not known: then any work divides evenly.
        tensor: Whether tensor cores compute.
        clock: Hz.
    """

    flops: Floats | float
    multiprocessors: Floats | float
    tensor: NDArray[np.bool_] | bool
    clock: Floats | float


def product_times(
    m: Floats | float, n: Floats | float, k: Floats | float, count: Floats | float, units: Units
) -> Floats:
    """Arithmetic time of ``count`` independent products of m × k by k × n matrices in one kernel [s].

    Memory and launch are not in it. Sizes need not be whole; all arguments broadcast.

    Args:
        m: Rows of the result.
        n: Columns of the result.
        k: Length of the reduction.
        count: Products.
        units: What computes.
    """
    m, n, k = np.asarray(m, dtype=float), np.asarray(n, dtype=float), np.asarray(k, dtype=float)
    known = np.isfinite(units.multiprocessors) & (np.asarray(units.multiprocessors) > 1)
    multiprocessors = np.where(known, units.multiprocessors, 1.0)
    clock, tensor = np.asarray(units.clock, dtype=float), np.asarray(units.tensor)

    def constant(name: str) -> Floats:
        found: Floats = np.where(tensor, getattr(TENSOR, name), getattr(VECTOR, name))
        return found

    half = constant("half_intensity")
    latency = np.where(known, constant("tile_latency") / clock, 0.0)
    split = constant("split_latency") / clock
    largest = TILES[0][0] * TILES[0][1] / (TILES[0][0] + TILES[0][1])
    rate = np.asarray(units.flops, dtype=float) / multiprocessors
    best: Floats = np.asarray(np.inf)
    for rows, columns in TILES:
        intensity = rows * columns / (rows + columns)
        slowness = (intensity + half) / intensity * (largest / (largest + half))
        tile = (2.0 * rows * columns * slowness / rate) * k
        waves = np.ceil(m / rows) * np.ceil(n / columns) * count / multiprocessors
        # The best number of parts, of as many as there are idle multiprocessors.
        parts = np.minimum(np.sqrt(tile / split), np.where(known, 1.0 / np.maximum(waves, 1e-300), 1.0))
        parts = np.maximum(parts, 1.0, out=parts)
        shared = tile / parts + split * (parts - 1.0)
        times = np.maximum(waves, np.where(known, 1.0, 0.0)) * (shared + latency)
        best = np.minimum(best, times)
    total: Floats = best + constant("start_latency") / clock
    return total
