"""Time of matrix products on a device's multiprocessors: tiles, the first wave, and shared reductions.

A library cuts the m × n result into tiles and each multiprocessor works on one tile at a time, so there is at least
one wave of tiles however small the result. With tiles of a × b and R FLOP/s on each multiprocessor,

    T = max(tiles / multiprocessors, 1) · (2abk / (s · R · e) + (s - 1) · S),    tiles = ⌈m/a⌉ · ⌈n/b⌉ · count

where e is the share of the multiprocessor's rate that a tile's operand traffic leaves: e = I / (I + h) with
I = ab / (a + b) multiply-adds per element read, the largest tile's e being 1. Where there are fewer tiles than
multiprocessors, s of them share the reduction of each tile, each further one at a price S. The library takes the best
tile and the best s. Waves beyond the first are not rounded up: over the published products that makes the error larger,
as libraries choose among more tiles and schedules than these.

All of this only grows with m, n, k and the number of products, and only shrinks with FLOP/s.

Reference: NVIDIA, Matrix Multiplication Background User's Guide (tile and wave quantization), 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Tiles that libraries have, the largest first.
TILES = (
    (256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64),
    (128, 32), (32, 128), (64, 16), (16, 64), (32, 32),
)  # fmt: skip


@dataclass(frozen=True)
class Library:
    """How products run on one kind of unit.

    Attributes:
        half_intensity: h, multiply-adds per element read at which operand traffic takes as long as arithmetic.
        sharing: S, clocks for each further multiprocessor that shares a tile's reduction.
    """

    half_intensity: float
    sharing: float


# Fitted to published products and convolutions: DeepBench (Maxwell to Turing) and aiconfigurator (Ampere to Blackwell).
# Both h are known to within a factor of about two, both S of about three.
VECTOR = Library(half_intensity=15.0, sharing=3000.0)
TENSOR = Library(half_intensity=100.0, sharing=1500.0)


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
    half = np.where(units.tensor, TENSOR.half_intensity, VECTOR.half_intensity)
    sharing = np.where(units.tensor, TENSOR.sharing, VECTOR.sharing) / np.asarray(units.clock, dtype=float)
    largest = TILES[0][0] * TILES[0][1] / (TILES[0][0] + TILES[0][1])
    per_flop = multiprocessors / (np.asarray(units.flops, dtype=float) * (1.0 + half / largest))
    least = np.where(known, 1.0, 0.0)
    tiled_rows = {size: np.ceil(m / size) * (count / multiprocessors) for size in {rows for rows, _ in TILES}}
    tiled_columns = {size: np.ceil(n / size) for size in {columns for _, columns in TILES}}
    best: Floats = np.full(np.broadcast_shapes(tiled_rows[32].shape, n.shape, k.shape, per_flop.shape), np.inf)
    for rows, columns in TILES:
        traffic = half * ((rows + columns) / (rows * columns))
        tile = np.broadcast_to((2.0 * rows * columns * per_flop * (1.0 + traffic)) * k, best.shape)
        waves = np.broadcast_to(tiled_rows[rows] * tiled_columns[columns], best.shape)
        time = np.asarray(np.maximum(waves, least) * tile)
        # Where some are idle, the best number of multiprocessors for each tile, of as many as there are.
        idle = (waves < least) & (tile > sharing)
        if idle.any():
            alone, price = tile[idle], np.broadcast_to(sharing, best.shape)[idle]
            parts = np.minimum(np.sqrt(alone / price), 1.0 / np.maximum(waves[idle], _TINY))
            time[idle] = alone / parts + price * (parts - 1.0)
        np.minimum(best, time, out=best)
    return best


_TINY = 1e-300
