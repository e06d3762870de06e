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
    arguments = [np.asarray(value, dtype=float) for value in (m, n, k, count)]
    arguments += [np.asarray(units.flops, dtype=float), np.asarray(units.multiprocessors, dtype=float)]
    arguments += [np.asarray(units.tensor), np.asarray(units.clock, dtype=float)]
    shape = np.broadcast_shapes(*(value.shape for value in arguments))
    columns = shape[-1] if shape else 1
    per_part = max(_LARGEST_PART * columns // max(int(np.prod(shape)), 1), 1)
    if per_part >= columns:
        return _product_times(*arguments)
    total = np.empty(shape)
    for start in range(0, columns, per_part):
        part = slice(start, start + per_part)
        total[..., part] = _product_times(
            *(value[..., part] if value.ndim and value.shape[-1] == columns else value for value in arguments)
        )
    return total


_TILE_ROWS, _TILE_COLUMNS = np.array(TILES, dtype=float).T
#: Sizes at once: all tiles of so many stay in a processor's cache.
_LARGEST_PART = 2**13
_TINY = 1e-300


def _product_times(
    m: Floats,
    n: Floats,
    k: Floats,
    count: Floats,
    flops: Floats,
    multiprocessors: Floats,
    tensor: NDArray[np.bool_],
    clock: Floats,
) -> Floats:
    """As `product_times`, with all tiles on a first axis."""
    dimensions = max(value.ndim for value in (m, n, k, count, flops, multiprocessors, tensor, clock))
    rows, columns = (size.reshape(-1, *(1,) * dimensions) for size in (_TILE_ROWS, _TILE_COLUMNS))
    known = np.isfinite(multiprocessors) & (multiprocessors > 1)
    parallel = np.where(known, multiprocessors, 1.0)
    half = np.where(tensor, TENSOR.half_intensity, VECTOR.half_intensity)
    sharing = np.where(tensor, TENSOR.sharing, VECTOR.sharing) / clock
    largest = TILES[0][0] * TILES[0][1] / (TILES[0][0] + TILES[0][1])
    per_flop = parallel / (flops * (1.0 + half / largest))
    area = rows * columns
    tile = 2.0 * area * (1.0 + half * ((rows + columns) / area)) * per_flop * k
    waves = np.ceil(m / rows) * np.ceil(n / columns) * (count / parallel)
    least = np.where(known, 1.0, 0.0)
    time = np.maximum(waves, least) * tile
    # Where some are idle, the best number of multiprocessors for each tile, of as many as there are.
    idle = (waves < least) & (tile > sharing)
    if idle.any():
        parts = np.maximum(np.minimum(np.sqrt(tile / sharing), 1.0 / np.maximum(waves, _TINY)), 1.0)
        time = np.where(idle, tile / parts + sharing * (parts - 1.0), time)
    best: Floats = time.min(axis=0)
    return best
