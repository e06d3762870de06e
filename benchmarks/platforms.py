"""Refit the shipped software platforms to measured tables, and say how far each is from its rows.

Run `python benchmarks/platforms.py FOLDER [PLATFORM…]`, where FOLDER holds measured tables in the product's schema:
those of `TABLES` that are there are read. Each group of platforms is fitted to all rows whose
software names one of them, starting from the priors of `paleo_opt.hardware.platform` (not from the shipped values), and
shown beside what its file has. ``--hold-out N`` fits without every N-th row and gives the error on those.

Platforms that ran on the same devices are fitted together, with what those devices attain.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paleo_opt.calibration.fit import Parameter, fit
from paleo_opt.estimator.options import Options
from paleo_opt.hardware.constant import Constant, format_constant
from paleo_opt.hardware.load import load_device
from paleo_opt.hardware.platform import ATTAINABLE, CONSTANTS
from paleo_opt.hardware.platform_load import load_platform, platform_for
from paleo_opt.validation.measured_table import MeasuredRow, read_measured_table
from paleo_opt.validation.predict import prepare
from paleo_opt.validation.residuals import is_time

TABLES = (
    "cnn_single_device.csv", "cnn_scaling.csv", "mlperf.csv", "vtrain_single_node.csv", "vtrain_multi_node.csv",
    "papers.csv", "dgxc_scaling.csv", "megatron_bridge.csv", "mosaic_fsdp.csv", "torchtitan.csv",
)  # fmt: skip
_KERNELS = ("convolutions", "filter_gradients", "memory", "launch")
_SENDING = ("communication", "overlap", "contention", "server")
_BLOCKS = ("products", "memory", "launch", "dispatch", "step_overhead", "communication")
_SHARDED = (*_BLOCKS, "attention", "overlap", "gather_overlap")
#: Platforms fitted together, the constants of each, and the devices whose shares are fitted with them.
GROUPS: tuple[tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]], ...] = (
    ({"cudnn-r1-torch": _KERNELS}, {}),
    ({"cudnn-r2-torch": _KERNELS}, {}),
    ({"cudnn-r3-torch": (*_KERNELS, "fft")}, {}),
    ({"cudnn-r4-torch": (*_KERNELS, "fft")}, {}),
    ({"cudnn-5.0-torch": (*_KERNELS, "fft", "winograd")}, {}),
    ({"cudnn-5.1-torch": (*_KERNELS, "fft", "winograd")}, {}),
    ({"torch-native": _KERNELS}, {}),
    ({"neon": (*_KERNELS, "winograd")}, {}),
    ({"nervanasys": _KERNELS}, {}),
    ({"fbfft": (*_KERNELS, "fft")}, {}),
    ({"caffe-2015": (*_KERNELS, "communication", "overlap")}, {}),
    ({"cuda-convnet2": (*_KERNELS, "communication", "overlap")}, {}),
    (
        {"tensorflow-1": (*_KERNELS, "winograd", *_SENDING), "mxnet-0.9": (*_KERNELS, "winograd", *_SENDING)},
        {"k80": ("vector", "memory")},
    ),
    ({"ngc-mxnet": (*_KERNELS, "step_overhead")}, {}),
    ({"megatron-lm-2021": _BLOCKS}, {}),
    ({"megatron-core": (*_BLOCKS, "attention", "overlap", "tensor_overlap", "pipeline_overlap", "expert_overlap")}, {}),
    ({"llm-foundry": _SHARDED}, {}),
    ({"torchtitan": _SHARDED}, {}),
)
#: Of a constant that may be nothing, which has no logarithm.
_LEAST = 1e-9
#: What a platform that is like another one is called after it: its constants are the other's.
_VARIANTS = ("-host", "-default", "-compile", "-async")


def rows_of(folder: Path, platforms: set[str]) -> list[MeasuredRow]:
    """The rows whose software is one of ``platforms``, or like one of them."""
    found = []
    for name in TABLES:
        for row in read_measured_table(folder / name) if (folder / name).is_file() else ():
            platform = platform_for(f"{row.family} {row.software}")
            if platform is not None and base_of(platform.name) in platforms:
                found.append(row)
    return found


def base_of(name: str) -> str:
    """The platform that one is like."""
    for variant in _VARIANTS:
        name = name.removesuffix(variant)
    return name


def refit(folder: Path, platforms: dict[str, tuple[str, ...]], devices: dict[str, tuple[str, ...]], every: int) -> None:
    """Fit one group and print it."""
    meant: list[tuple[str, Constant, Parameter]] = []
    for name, constants in platforms.items():
        for each in constants:
            meaning, now = CONSTANTS[each], load_platform(name).constant(each)
            if not now.deviation or not now.value:  # taken as exact
                continue
            meant.append(
                (f"platform.{each}@{name}", now, Parameter(each, meaning.prior, max(meaning.low, _LEAST), meaning.high))
            )
    for name, parts in devices.items():
        for each in parts:
            meaning, now = ATTAINABLE[each], load_device(name).attained(each)
            meant.append((f"{each}@{name}", now, Parameter(each, meaning.prior, meaning.low, meaning.high)))
    rows = rows_of(folder, set(platforms))
    _, left = prepare(rows).predict(Options(), intervals=False, features=False)
    refused = {refusal.row.id for refusal in left}
    rows = [row for row in rows if row.id not in refused]
    kept = [row for index, row in enumerate(rows) if every == 0 or index % every]
    held = [row for index, row in enumerate(rows) if every and not index % every]

    prepared = {id(of): prepare(of) for of in (rows, kept, held)}

    def errors(of: list[MeasuredRow], values: NDArray[np.float64]) -> NDArray[np.float64]:
        shifts = {}
        for (name, now, _), value in zip(meant, values, strict=True):
            shift = math.log(value / now.value) / now.deviation
            shifts[name] = shift
            shifts |= {f"{name}{variant}": shift for variant in _VARIANTS}
        predictions, _ = prepared[id(of)].predict(Options(shifts=shifts), intervals=False, features=False)
        signs = [-1.0 if is_time(prediction.row.quantity) else 1.0 for prediction in predictions]
        return np.array(signs) * np.log([prediction.predicted / prediction.row.measured for prediction in predictions])

    answer = fit(lambda values: errors(kept, values), [parameter for *_, parameter in meant])
    shipped = np.expm1(errors(rows, np.array([now.value for _, now, _ in meant])))
    found = np.expm1(errors(held or rows, np.array([one.value for one in answer.fitted])))
    print(f"\n{' and '.join(platforms)}: {len(rows)} rows, {len(refused)} refused")
    print(f"  shipped: MAPE {np.abs(shipped).mean():.1%}, median {np.median(np.abs(shipped)):.1%}")
    what = f"refitted, on the {len(held)} rows held out" if held else "refitted"
    print(f"  {what}: MAPE {np.abs(found).mean():.1%}, median {np.median(np.abs(found)):.1%}")
    for (name, now, _), one in zip(meant, answer.fitted, strict=True):
        constant = name.removeprefix("platform.").split("@")[0]
        meaning = CONSTANTS[constant] if name.startswith("platform.") else ATTAINABLE[constant]
        after = format_constant(Constant(one.value, one.deviation), meaning)
        print(f"    {name:<40}{format_constant(now, meaning):>18}  → {after:<18}{one.verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of measured tables")
    parser.add_argument("platforms", nargs="*", help="only the groups of these")
    parser.add_argument("--hold-out", type=int, default=0, metavar="N", help="fit without every N-th row")
    arguments = parser.parse_args()
    for platforms, devices in GROUPS:
        if not arguments.platforms or set(platforms) & set(arguments.platforms):
            refit(arguments.folder, platforms, devices, arguments.hold_out)


if __name__ == "__main__":
    main()
