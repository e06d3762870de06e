"""Computation time under the PALEO model (2017): arithmetic at a share of peak, plus memory traffic at the same share.

T(layer) = R(parents) + C + W, with C = FLOPs / (PPP · peak) and R, W = bytes / (PPP · memory bandwidth); every nonzero
term lasts at least one device clock. Where memory and arithmetic are pipelined a layer takes max(C, R + W) instead of
the sum.

Reference: Qi, Sparks, Talwalkar: Paleo, ICLR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.cost_table import Floats, Terms


@dataclass(frozen=True)
class Rates:
    """What a device attains: peak times platform percent of peak. Shapes () or that of the batches.

    Attributes:
        flops: FLOP/s of arithmetic.
        elements: Elements/s of memory traffic.
        clock: Seconds of one clock, the floor of any nonzero term.
    """

    flops: Floats
    elements: Floats
    clock: Floats


@dataclass(frozen=True, eq=False)
class LayerTimes:
    """Times of the rows of a `Terms` in each pass, with the algorithm chosen for each.

    Attributes:
        compute: Arithmetic [s]. Shape (3, rows, batches).
        memory: Memory traffic [s]. Shape (3, rows, batches).
        algorithm: Index of the algorithm chosen. Shape (3, rows, batches).
        workspace: Elements of workspace of that algorithm. Shape (3, rows, batches).
    """

    compute: Floats
    memory: Floats
    algorithm: NDArray[np.intp]
    workspace: Floats


def _segment_times(terms: Floats, starts: NDArray[np.intp], batch: Floats, rate: Floats, clock: Floats) -> Floats:
    """Σ repeats · max(clock, (fixed + per_sample · n) / rate) over each segment's terms. Shape (segments, batches)."""
    fixed, per_sample, repeats = terms
    times = per_sample[:, None] * batch
    times += fixed[:, None]
    times /= rate
    np.maximum(times, clock, out=times)
    times *= repeats[:, None]
    segments: Floats = np.add.reduceat(times, starts, axis=0)
    return segments


def layer_times(
    terms: Terms, rates: Rates, batch: Floats, auto: bool, workspace_limit: Floats | float, pipelined: bool
) -> LayerTimes:
    """Time of every row of ``terms`` in each pass, for each batch.

    Args:
        terms: A compiled set of layers.
        rates: Of the device.
        batch: Samples in the batch. Shape (batches,).
        auto: Choose the fastest algorithm that fits the workspace; else the last one wherever it applies and fits.
        workspace_limit: Elements an algorithm may use beside its operands.
        pipelined: Judge an algorithm by max(C, M) instead of C + M.
    """
    shape = (*terms.shape, batch.size)
    compute = _segment_times(terms.compute, terms.compute_start, batch, rates.flops, rates.clock).reshape(shape)
    memory = _segment_times(terms.memory, terms.memory_start, batch, rates.elements, rates.clock).reshape(shape)
    if shape[0] == 1:
        # GEMM alone: no choice, no workspace.
        chosen = np.zeros(shape[1:], dtype=np.intp)
        return LayerTimes(compute[0], memory[0], chosen, np.zeros(shape[1:]))
    workspace = terms.workspace[0][..., None] + terms.workspace[1][..., None] * batch
    fits = terms.applicable[..., None] & (workspace <= workspace_limit)
    fits[0] = True
    if auto:
        times = np.maximum(compute, memory) if pipelined else compute + memory
        chosen = np.where(fits, times, np.inf).argmin(axis=0)
    else:
        chosen = np.where(fits[-1], shape[0] - 1, 0)
    pick = chosen[None]
    return LayerTimes(
        np.take_along_axis(compute, pick, axis=0)[0],
        np.take_along_axis(memory, pick, axis=0)[0],
        chosen,
        np.take_along_axis(workspace, pick, axis=0)[0],
    )


def pass_times(times: LayerTimes, count: Floats, pipelined: bool) -> tuple[Floats, Floats]:
    """Forward and backward time of all layers in sequence [s]. Shapes (batches,).

    The two gradients of a layer make one backward pass: pipelined, it takes max(C, M) of their sums.
    """
    compute, memory = times.compute, times.memory
    if pipelined:
        forward = np.maximum(compute[0], memory[0])
        backward = np.maximum(compute[1] + compute[2], memory[1] + memory[2])
    else:
        forward = compute[0] + memory[0]
        backward = compute[1] + compute[2] + memory[1] + memory[2]
    return in_order(count[:, None] * forward), in_order(count[:, None] * backward)


@dataclass(frozen=True, eq=False)
class PartTimes:
    """The passes of all layers of one part, replicated or split, without fetches. Shapes (batches,).

    Attributes:
        forward: Seconds.
        backward: Seconds.
        workspace: Elements of the largest workspace.
        backward_rows: Of one layer of each distinct kind, where communication overlaps. Shape (rows, batches).
    """

    forward: Floats
    backward: Floats
    workspace: Floats
    backward_rows: Floats | None = None


def part_times(
    terms: Terms, rates: Rates, batch: Floats, auto: bool, workspace_limit: Floats | float, pipelined: bool
) -> PartTimes:
    """Time of the passes of all layers of ``terms``; arguments as of `layer_times`."""
    times = layer_times(terms, rates, batch, auto, workspace_limit, pipelined)
    forward, backward = pass_times(times, terms.count, pipelined)
    return PartTimes(forward, backward, times.workspace.max(axis=(0, 1)))


def in_order(times: Floats) -> Floats:
    """The sum over the first axis, rounded alike however many columns there are. Shape (columns,).

    A strategy by itself and the same one in a sweep then have equal times, to the last bit; a matrix product or
    ``sum`` orders its additions by the shape.
    """
    total: Floats = np.add.reduceat(times, [0], axis=0)[0]
    return total


def update_time(
    parameters: float, peak: Floats | float, memory_bandwidth: Floats | float, clock: Floats | float, pipelined: bool
) -> Floats:
    """Time of the optimizer's update [s]: 2 FLOPs a parameter and three passes over the fp32 parameters.

    The three passes are read, read the gradient, write. PALEO charges them no platform percent of peak.

    Args:
        parameters: How many.
        peak: FLOP/s.
        memory_bandwidth: Bytes/s.
        clock: Seconds of one clock.
        pipelined: Whether memory traffic hides behind arithmetic.
    """
    compute = np.maximum(2.0 * parameters / np.asarray(peak), clock) if parameters else np.zeros(())
    memory = 3.0 * np.maximum(4.0 * parameters / np.asarray(memory_bandwidth), clock)
    return np.maximum(compute, memory) if pipelined else np.asarray(compute + memory)
