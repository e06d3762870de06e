"""Computation time under the default model: each kernel at the lower of two roofs, and the time to launch it.

T(kernel) = max(T_product, elements / (memory bandwidth · shares)) + launch, with T_product from the product's sizes on
the device's multiprocessors (`products`), at peak · shares. A convolution takes the fastest of the algorithms that its
platform's library has and whose workspace fits. Operands of a low precision (`hardware.precision`) have fewer bytes,
and a kernel of their traffic converts them.

Reference: Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.attained import Attained
from paleo_opt.estimator.compute import PartTimes, in_order
from paleo_opt.estimator.kernel_table import SHARES, Floats, KernelTable
from paleo_opt.estimator.products import Units, product_times
from paleo_opt.hardware.platform import ALGORITHMS

_MEMORY, _ATTENTION = SHARES.index("memory"), SHARES.index("attention")


@dataclass(frozen=True, eq=False)
class KernelTimes:
    """Times of the rows of a `KernelTable` in each pass [s]. Shapes (3, rows, batches).

    Attributes:
        time: All of it.
        compute: Arithmetic of the products, as if nothing else bounded them.
        memory: Traffic of all kernels, likewise.
        algorithm: Index into `ALGORITHMS` of the one chosen.
        workspace: Elements of workspace of that algorithm.
        kernels: How many are launched.
    """

    time: Floats
    compute: Floats
    memory: Floats
    algorithm: NDArray[np.intp]
    workspace: Floats
    kernels: Floats


def kernel_times(
    table: KernelTable, attained: Attained, batch: Floats, algorithm: str, workspace_limit: Floats | float
) -> KernelTimes:
    """Time of every row of ``table`` in each pass, for each batch on its device.

    Args:
        table: Of layers, compiled.
        attained: Of the devices, one for each batch. Shapes (…, batches).
        batch: Samples in the batch. Shape (batches,).
        algorithm: ``auto`` for what the platform's library has; else one of `ALGORITHMS`, wherever it applies and fits.
        workspace_limit: Elements an algorithm may use beside its operands.
    """
    shape = (len(ALGORITHMS) + 1, 3, table.rows, batch.size)
    share = attained.shares[table.share]
    one_by_one = (table.unrolled > 0)[:, None] & attained.per_image
    each = np.where(one_by_one, 1.0, batch)
    traffic = table.elements[0][:, None] + table.elements[1][:, None] * each + one_by_one * table.unrolled[:, None]
    arithmetic, converted = np.zeros_like(traffic), np.zeros(())
    if table.products.size:
        m, n, k = table.sizes[:, 0, :, None] + table.sizes[:, 1, :, None] * each[table.products]
        flops = np.repeat(attained.half_flops[None], table.products.size, axis=0)
        if (attained.operand < 1.0).any():
            at, low = table.products[table.low], table.low
            flops[low] = attained.flops
            operands = traffic[at] - m[low] * n[low] * table.batched[low, None]
            traffic[at] -= np.maximum(operands, 0.0) * (1.0 - attained.operand)
            converted = np.zeros_like(traffic)
            converted[at] = (table.converted[0][:, None] + table.converted[1][:, None] * each[at]) * attained.conversion
        units = Units(flops * share[table.products], attained.multiprocessors, attained.tensor, attained.clock)
        arithmetic[table.products] = product_times(m, n, k, table.batched[:, None], units)
        attention = np.flatnonzero(table.share[table.products] == _ATTENTION)
        if attention.size:
            # Between its products each score passes the exponential units, of which a multiprocessor has few.
            scores = m[attention] * n[attention] * table.batched[attention, None]
            arithmetic[table.products[attention]] += scores / attained.scores
    bandwidth = attained.elements * attained.shares[_MEMORY]
    traffic, conversion = traffic / bandwidth, converted / bandwidth
    runs = table.repeats[:, None] * attained.run[table.runs] * np.where(one_by_one, batch, 1.0)
    total = (np.maximum(traffic, arithmetic) + conversion + attained.launch * (1.0 + (conversion > 0.0))) * runs

    def by_segment(values: Floats) -> Floats:
        spread = np.zeros((shape[0] * shape[1] * shape[2], batch.size))
        if table.segments.size:
            spread[table.segments] = np.add.reduceat(values, table.starts, axis=0)
        return spread.reshape(shape)

    times, compute, memory = by_segment(total), by_segment(arithmetic * runs), by_segment((traffic + conversion) * runs)
    workspace = table.workspace[0][..., None] + table.workspace[1][..., None] * batch
    usable = table.applicable[..., None] & (workspace <= workspace_limit)
    usable[0] = True
    if algorithm == "auto":
        usable &= attained.allowed[:, :, None, :]
        chosen = np.where(usable, times[:-1], np.inf).argmin(axis=0)
    else:
        index = ALGORITHMS.index(algorithm)
        chosen = np.where(usable[index], index, 0)
    pick = chosen[None]

    def picked(values: Floats) -> Floats:
        found: Floats = np.take_along_axis(values[: len(ALGORITHMS)], pick, axis=0)[0]
        return found + values[-1] if values.shape[0] > len(ALGORITHMS) else found

    launched = by_segment(runs * (1.0 + (conversion > 0.0)))
    return KernelTimes(picked(times), picked(compute), picked(memory), chosen, picked(workspace), picked(launched))


def kernel_part_times(
    table: KernelTable, attained: Attained, batch: Floats, algorithm: str, workspace_limit: Floats | float
) -> PartTimes:
    """Time of the passes of all layers of ``table`` in sequence; arguments as of `kernel_times`."""
    times = kernel_times(table, attained, batch, algorithm, workspace_limit)
    count = table.count[:, None]
    forward = in_order(count * times.time[0])
    backward_rows = times.time[1] + times.time[2]
    backward = in_order(count * backward_rows)
    return PartTimes(forward, backward, times.workspace.max(axis=(0, 1)), backward_rows)


#: Bytes read and written per fp32 parameter by an optimizer: weight and gradient, and each of its states twice.
UPDATE_BYTES = {"sgd": 12.0, "momentum": 20.0, "lars": 24.0, "rmsprop": 28.0, "adam": 28.0}


def update_times(
    parameters: Floats | float, tensors: Floats | float, optimizer: str, element_bytes: Floats, attained: Attained
) -> Floats:
    """Time of the optimizer's update [s]. Shape (P,).

    Args:
        parameters: How many.
        tensors: Parameter tensors, each a kernel where the platform does not fuse the update.
        optimizer: A key of `UPDATE_BYTES`.
        element_bytes: Of an activation; under four, a copy of the weights in half precision is written too. Shape (P,).
        attained: Of the devices. Where they train in a low precision, the copy is converted to it once a step.
    """
    moved = UPDATE_BYTES[optimizer] + np.where(element_bytes < 4.0, 2.0, 0.0) + attained.conversion * element_bytes
    bandwidth = attained.elements * element_bytes * attained.shares[_MEMORY]
    kernels = np.where(attained.fused_update, 1.0, tensors)
    time: Floats = parameters * moved / bandwidth + kernels * attained.launch
    return time
