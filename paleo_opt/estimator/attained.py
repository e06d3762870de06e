"""What devices attain with their platforms, as arrays: the rates and overheads of the default model.

Attained rate = peak · the device's attainable share · the platform's share (`hardware.platform`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.kernel_table import RUNS, SHARES, Floats
from paleo_opt.hardware.constant import Constant, Meaning
from paleo_opt.hardware.device import ELEMENT_BYTES, Device
from paleo_opt.hardware.platform import ALGORITHMS, ATTAINABLE, CONSTANTS, PASSES, Platform
from paleo_opt.hardware.precision import LOW_PRECISIONS, half_precision

#: A device of which the number is not known has no waves: its units divide any work evenly.
_NO_WAVES = 1.0
NO_SHIFTS: Mapping[str, float] = {}


@dataclass(frozen=True, eq=False)
class Attained:
    """P devices, each with its platform in one precision.

    Attributes:
        flops: FLOP/s of the largest matrix products, those in a low precision where one trains in it. Shape (P,).
        half_flops: Of those that stay in 16 bits then; else the same. Shape (P,).
        tensor: Whether tensor cores compute. Shape (P,).
        multiprocessors: Shape (P,).
        clock: Hz. Shape (P,).
        elements: Elements/s of the largest copies. Shape (P,).
        operand: Size of an operand's element in a low precision, in elements in memory; else 1. Shape (P,).
        conversion: Elements moved to convert one to a low precision; else 0. Shape (P,).
        shares: Of those, by constant. Shape (len(SHARES), P).
        scores: Scores/s that fused attention exponentiates. Shape (P,).
        launch: Seconds between kernels. Shape (P,).
        step_overhead: Seconds of a step. Shape (P,).
        run: 1 for kernels that are launched, 0 for others. Shape (len(RUNS), P).
        allowed: Algorithms that the library has. Shape (algorithms, 3, P).
        fused_update: Whether the optimizer's update is one kernel. Shape (P,).
        per_image: Whether a convolution is a product for each image. Shape (P,).
    """

    flops: Floats
    half_flops: Floats
    tensor: NDArray[np.bool_]
    multiprocessors: Floats
    clock: Floats
    elements: Floats
    operand: Floats
    conversion: Floats
    shares: Floats
    scores: Floats
    launch: Floats
    step_overhead: Floats
    run: Floats
    allowed: NDArray[np.bool_]
    fused_update: NDArray[np.bool_]
    per_image: NDArray[np.bool_]

    def at(self, index: NDArray[np.int64]) -> Attained:
        """The devices of some indices."""
        return Attained(
            self.flops[index],
            self.half_flops[index],
            self.tensor[index],
            self.multiprocessors[index],
            self.clock[index],
            self.elements[index],
            self.operand[index],
            self.conversion[index],
            self.shares[:, index],
            self.scores[index],
            self.launch[index],
            self.step_overhead[index],
            self.run[:, index],
            self.allowed[:, :, index],
            self.fused_update[index],
            self.per_image[index],
        )


def shifted(constant: Constant, meaning: Meaning, deviations: float) -> float:
    """A constant some of its standard deviations away, within what physics allows."""
    if not deviations:
        return constant.value
    return min(max(constant.quantile(deviations), meaning.low), meaning.high)


def shift_of(shifts: Mapping[str, float], name: str, *owners: str) -> float:
    """By how much constant ``name`` of an owner is shifted: ``name@owner`` comes before ``name``, which is of all."""
    for owner in owners if shifts else ():
        if f"{name}@{owner}" in shifts:
            return shifts[f"{name}@{owner}"]
    return shifts.get(name, 0.0)


def make_attained(
    devices: Sequence[Device],
    precisions: Sequence[str],
    platforms: Sequence[Platform],
    ppp_comp: float | None = None,
    shifts: Mapping[str, float] = NO_SHIFTS,
    converting: bool = True,
) -> Attained:
    """The arrays of some devices.

    Args:
        devices: One for each place.
        precisions: Likewise; each has a peak on its device.
        platforms: Likewise.
        ppp_comp: Takes the place of every device's attainable shares.
        shifts: For names of constants, how many of their standard deviations they stand off their value; behind ``@``
            the name of the one device or platform that is meant.
        converting: Whether a low precision is that of training, whose operands are converted; else of single products
            with their operands as they are.

    Raises:
        SpecError: a low precision on a device that has none of 16 bits.
    """
    rows, shares, run, allowed = [], [], [], []
    for device, precision, platform in zip(devices, precisions, platforms, strict=True):

        def attainable(name: str, device: Device = device) -> float:
            if ppp_comp is not None:
                return ppp_comp
            return shifted(device.attained(name), ATTAINABLE[name], shift_of(shifts, name, device.name))

        def constant(name: str, platform: Platform = platform, device: Device = device) -> float:
            shift = shift_of(shifts, f"platform.{name}", device.name, platform.name)
            return shifted(platform.constant(name), CONSTANTS[name], shift)

        half, element = half_precision(device, precision), float(ELEMENT_BYTES[precision])
        flops, half_flops = (device.peak[name] * attainable(device.unit(name)) for name in (precision, half))
        low = LOW_PRECISIONS.get(precision)
        operand = low.operand_bytes / element if low else 1.0
        conversion = low.conversion_bytes / element if low and converting else 0.0
        rows.append(
            (
                flops,
                half_flops,
                device.unit(precision) == "tensor",
                device.multiprocessors or _NO_WAVES,
                device.clock,
                device.memory_bandwidth * attainable("memory") / element,
                operand,
                conversion,
                constant("softmax") * device.clock * (device.multiprocessors or np.inf),
                constant("launch"),
                constant("step_overhead"),
                "update" in platform.fused,
                platform.per_image,
            )
        )
        shares.append([constant(name) for name in SHARES])
        run.append([float(not when or (name in platform.fused) == (when == "only")) for when, name in RUNS])
        allowed.append([[name in platform.algorithms[step] for step in PASSES] for name in ALGORITHMS])
    columns = np.array(rows, dtype=float).T
    flops, half_flops, tensor, multiprocessors, clock, elements, operand, conversion, scores = columns[:9]
    launch, overhead, fused_update, per_image = columns[9:]
    return Attained(
        flops=flops,
        half_flops=half_flops,
        tensor=tensor > 0,
        multiprocessors=multiprocessors,
        clock=clock,
        elements=elements,
        operand=operand,
        conversion=conversion,
        shares=np.array(shares).T,
        scores=scores,
        launch=launch,
        step_overhead=overhead,
        run=np.array(run).T,
        allowed=np.array(allowed).transpose(1, 2, 0),
        fused_update=fused_update > 0,
        per_image=per_image > 0,
    )
