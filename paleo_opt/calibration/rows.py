"""Which measured rows can be fitted, and why not the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paleo_opt import quantities
from paleo_opt.calibration.micro_model import least_bytes, least_flops
from paleo_opt.calibration.micro_table import PASSES, MicroRow
from paleo_opt.estimator.options import Options
from paleo_opt.hardware.device import Device
from paleo_opt.hardware.platform import Platform
from paleo_opt.hardware.platform_load import platform_for
from paleo_opt.validation.measured_table import MeasuredRow
from paleo_opt.validation.predict import predict

#: A clock reads to this: a rate so much above the data sheet is still the data sheet's.
_TOLERANCE = 1.02
#: A product or sum of at least so much work says what a device attains at best.
_LARGE_FLOPS, _LARGE_BYTES = 1e8, 1e6


@dataclass(frozen=True)
class RefusedRow:
    """A row that is not fitted to, and why."""

    id: str
    reason: str


def usable_micro(
    rows: Sequence[MicroRow], device: Device, platform: Platform
) -> tuple[list[MicroRow], list[RefusedRow]]:
    """The micro rows of ``device`` and ``platform`` that are physically possible, and the others."""
    usable, refused = [], []
    for row in rows:
        reason = _reason(row, device, platform)
        if reason:
            refused.append(RefusedRow(row.id, reason))
        else:
            usable.append(row)
    return usable, refused


def _reason(row: MicroRow, device: Device, platform: Platform) -> str:
    """Why a row cannot be used; empty where it can."""
    if row.device != device.name:
        return f"device {row.device!r} is not {device.name!r}"
    if row.software:
        named = platform_for(row.software)
        if named is not None and named.name != platform.name:
            return f"its software is that of platform {named.name!r}, not {platform.name!r}"
    if row.operation == "collective":
        if 1 < row.nodes < row.gpus:
            return "several nodes of several devices, and one link is named"
        return ""
    if row.precision not in device.peak:
        return f"{device.name} has no peak in {row.precision}"
    winograd = "winograd" in platform.algorithms.get(row.step or PASSES[0], ())
    rate, peak = least_flops(row, winograd) / row.time_s, device.peak[row.precision]
    if rate > _TOLERANCE * peak:
        above = f"above the {quantities.format_flops(peak)} of {device.name}'s data sheet"
        return f"{quantities.format_flops(rate)} are {above}"
    bandwidth = least_bytes(row) / row.time_s
    if bandwidth > _TOLERANCE * device.memory_bandwidth:
        return (
            f"{quantities.format_bandwidth(bandwidth)} are above the memory bandwidth of "
            f"{quantities.format_bandwidth(device.memory_bandwidth)} of {device.name}'s data sheet: it ran in a cache"
        )
    return ""


def usable_steps(
    rows: Sequence[MeasuredRow], device: Device, platform: Platform
) -> tuple[list[MeasuredRow], list[RefusedRow]]:
    """The rows of measured tables that are of ``device`` and ``platform`` and can be predicted, and the others."""
    usable, refused = [], []
    for row in rows:
        reason = ""
        if row.device != device.name:
            reason = f"device {row.device!r} is not {device.name!r}"
        elif row.quantity in ("memory_bytes", "train_time_s"):
            reason = f"{row.quantity} says nothing of these constants"
        elif row.software:
            named = platform_for(f"{row.family} {row.software}")
            if named is not None and named.name != platform.name:
                reason = f"its software is that of platform {named.name!r}, not {platform.name!r}"
        if reason:
            refused.append(RefusedRow(row.id, reason))
        else:
            usable.append(row)
    if not usable:
        return usable, refused
    predictions, rejected = predict(usable, Options(platform=platform.file or platform.name), intervals=False)
    refused += [RefusedRow(refusal.row.id, refusal.reason) for refusal in rejected]
    return [prediction.row for prediction in predictions], refused


def best_shares(rows: Sequence[MicroRow], device: Device) -> dict[str, tuple[float, str]]:
    """What the fastest large products and sums attain of the data sheet, by constant, each with its row."""
    best: dict[str, tuple[float, str]] = {}
    for row in rows:
        flops, moved = least_flops(row, winograd=False), least_bytes(row)
        if row.operation == "gemm" and flops >= _LARGE_FLOPS:
            name, share = device.unit(row.precision), flops / row.time_s / device.peak[row.precision]
        elif row.operation == "add" and moved >= _LARGE_BYTES:
            name, share = "memory", moved / row.time_s / device.memory_bandwidth
        else:
            continue
        if share > best.get(name, (0.0, ""))[0]:
            best[name] = (share, row.id)
    return best
