"""How far the times of single matrix products and convolutions are from published ones.

Run ``python benchmarks/micro.py FOLDER``, where FOLDER holds ``deepbench_gemm.csv``, ``deepbench_conv.csv``,
``gemm_aiconfigurator_sample.csv`` and ``cnn_layer_logs_soumith_caffe.csv``; those that are missing are left out.

A time is max(`product_times`, elements / memory bandwidth) for each kernel, plus an overhead. Devices attain what their
files say; the shares of each library (cuBLAS and cuDNN by version) and the overhead of each device's harness are fitted
to four of every five rows. The errors of the fifth, which no fit saw, are printed beside those of all rows.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paleo_opt import load_network
from paleo_opt.estimator.convolution import Term
from paleo_opt.estimator.convolution_kernels import (
    NONE,
    ByAlgorithm,
    ConvolutionSizes,
    Kernel,
    data_gradient_kernels,
    filter_gradient_kernels,
    forward_kernels,
    layer_sizes,
)
from paleo_opt.estimator.products import Floats, Units, product_times
from paleo_opt.hardware.device import ELEMENT_BYTES, Device
from paleo_opt.hardware.load import load_device
from paleo_opt.hardware.platform import CONSTANTS
from paleo_opt.report.terminal import Column, emit, percent, table
from paleo_opt.validation.statistics import error_statistics

EVERY = 5
ROOM = 110
#: How the tables name devices, with the software of each: cuBLAS's release of CUDA, and cuDNN.
DEVICES = {
    "NV_M40": ("m40", "CUDA 7.5", "cuDNN 5"),
    "NV_TitanX": ("titan-x-maxwell", "CUDA 7.5", "cuDNN 5"),
    "NV_TitanX_Pascal": ("titan-x-pascal", "CUDA 8", "cuDNN 5"),
    "NV_1080Ti": ("gtx-1080-ti", "CUDA 8", "cuDNN 6"),
    "NV_P100": ("p100-pcie-16gb", "CUDA 8", "cuDNN 6"),
    "NV_TitanXp": ("titan-xp", "CUDA 8", "cuDNN 6"),
    "NV_V100": ("v100-sxm2-16gb", "CUDA 10.1", "cuDNN 7"),
    "NV_T4": ("t4", "CUDA 10.1", "cuDNN 7"),
    "a100_sxm": ("a100-sxm4-80gb", "CUDA 12", ""),
    "h100_sxm": ("h100-sxm5-80gb", "CUDA 12", ""),
    "h200_sxm": ("h200-sxm-141gb", "CUDA 12", ""),
    "b200_sxm": ("b200", "CUDA 12", ""),
    "gb200": ("gb200", "CUDA 12", ""),
    "l40s": ("l40s", "CUDA 12", ""),
}
#: What the tables call a precision: that of the arithmetic, and that of the elements in memory.
PRECISIONS = {
    "Float": ("fp32", "fp32"),
    "16 bit inputs, 32 bit multiplication, 32 bit addition": ("fp32", "fp16"),
    "16 bit inputs, 16 bit multiplication, 32 bit addition": ("fp16", "fp16"),
    "bfloat16": ("bf16", "bf16"),
    "fp8": ("fp8", "fp8"),
}
#: The fp8 products include casting the left operand from bf16: read for its largest element, read again, written.
CAST_ELEMENTS = 5.0
SHARES = ("products", "convolutions", "filter_gradients", "winograd")
MEMORY = CONSTANTS["memory"].prior.value


@dataclass(frozen=True)
class Operation:
    """One published time.

    Attributes:
        device: Its data sheet.
        precision: Of the arithmetic.
        element_bytes: In memory.
        library: Which library and version, on which units.
        step: ``product`` or the pass of a convolution.
        algorithms: The kernels of each algorithm that the library may choose, for a batch of ``batch``.
        batch: Samples.
        measured: Seconds.
    """

    device: Device
    precision: str
    element_bytes: float
    library: str
    step: str
    algorithms: ByAlgorithm
    batch: float
    measured: float


# -- the tables --------------------------------------------------------------------------------------------------------


def rows(folder: Path, name: str) -> Iterator[dict[str, str]]:
    path = folder / name
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


def read_products(folder: Path, refused: Counter[str]) -> Iterator[Operation]:
    for row in (*rows(folder, "deepbench_gemm.csv"), *rows(folder, "gemm_aiconfigurator_sample.csv")):
        source = row.get("device") or row["system"]
        milliseconds = row.get("ms") or row.get("latency_ms", "")
        if source not in DEVICES or not milliseconds:
            refused[source] += 1
            continue
        name, library, _ = DEVICES[source]
        precision, stored = PRECISIONS[row.get("precision") or row["gemm_dtype"]]
        m, n, k = (float(row[size]) for size in "mnk")
        moved = m * k + k * n + m * n * (2.0 if precision == "fp8" else 1.0)
        cast = CAST_ELEMENTS * m * k if precision == "fp8" else 0.0
        kernels = (
            Kernel(Term(m, 0.0), Term(n, 0.0), Term(k, 0.0), 1.0, Term(moved, 0.0), "products", "gemm"),
            Kernel(NONE, NONE, NONE, 0.0, Term(cast, 0.0), "memory", "gemm"),
        )
        element_bytes = 1.0 if stored == "fp8" else ELEMENT_BYTES[stored]
        yield Operation(
            device(name), precision, element_bytes, library, "product", {"gemm": kernels}, 1.0,
            float(milliseconds) * 1e-3,
        )  # fmt: skip


PASSES: dict[str, tuple[str, Callable[[ConvolutionSizes], ByAlgorithm]]] = {
    "forward": ("fwd_ms", forward_kernels),
    "data gradient": ("bwd_input_ms", data_gradient_kernels),
    "filter gradient": ("bwd_weight_ms", filter_gradient_kernels),
}


def read_convolutions(folder: Path, refused: Counter[str]) -> Iterator[Operation]:
    for row in rows(folder, "deepbench_conv.csv"):
        if row["device"] not in DEVICES:
            refused[row["device"]] += len(PASSES)
            continue
        name, _, library = DEVICES[row["device"]]
        stored = PRECISIONS[row["precision"]][1]
        # P100's convolutions of 16 bit inputs reach 1.7 times its fp32 peak: not the arithmetic that the table says.
        precision = stored
        on_tensor_cores = device(name).unit(precision) == "tensor"
        units = " tensor" if on_tensor_cores else " half" if precision == "fp16" else ""
        image, kernel = (int(row["h"]), int(row["w"])), (int(row["r"]), int(row["s"]))
        strides = int(row["stride_h"]), int(row["stride_w"])
        padding = int(row["pad_h"]), int(row["pad_w"])
        outputs = tuple((image[i] + 2 * padding[i] - kernel[i]) // strides[i] + 1 for i in range(2))
        sizes = ConvolutionSizes(
            image, int(row["c"]), int(row["k"]), kernel, (outputs[0], outputs[1]), strides, padding
        )
        for step, (column, kernels) in PASSES.items():
            if not row[column] or not row[column][0].isdigit():
                refused["no time given"] += 1
                continue
            winograd = not on_tensor_cores and (step != "filter gradient" or library != "cuDNN 5")
            usable = {
                key: value for key, value in kernels(sizes).items() if key == "gemm" or (key == "winograd" and winograd)
            }
            yield Operation(
                device(name), precision, ELEMENT_BYTES[stored], library + units,
                step, usable, float(row["n"]), float(row[column]) * 1e-3,
            )  # fmt: skip


def read_layers(folder: Path) -> Iterator[Operation]:
    """GoogLeNet's convolutions in Caffe with cuDNN 4, biases included; backward is both gradients."""
    layers = {layer.name: layer for layer in load_network("googlenet").layers if layer.type == "Convolution"}
    for row in rows(folder, "cnn_layer_logs_soumith_caffe.csv"):
        layer = layers.get(row["layer"])
        if layer is None or not row["engine"].startswith("cuDNN R4"):
            continue
        sizes, size = layer_sizes(layer), float(layer.output_size)
        bias = Kernel(NONE, NONE, NONE, 0.0, Term(0.0, 2.0 * size), "memory", "gemm")
        kernels = [*forward_kernels(sizes)["gemm"], bias]
        if row["direction"] == "bwd":
            kernels = [*filter_gradient_kernels(sizes)["gemm"], replace(bias, elements=Term(0.0, size))]
            if layer.parents != ("data",):
                kernels += data_gradient_kernels(sizes)["gemm"]
        step = "forward" if row["direction"] == "fwd" else "both gradients"
        yield Operation(
            device("titan-x-maxwell"), "fp32", 4.0, "cuDNN 4", step, {"gemm": tuple(kernels)}, float(row["batch"]),
            float(row["ms"]) * 1e-3,
        )  # fmt: skip


_DEVICES: dict[str, Device] = {}


def device(name: str) -> Device:
    return _DEVICES.setdefault(name, load_device(name))


# -- predicting and fitting --------------------------------------------------------------------------------------------


class Operations:
    """The operations of one library, flat."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.measured = np.array([operation.measured for operation in operations])
        self.harness = sorted({(item.device.name, item.precision, item.step == "product") for item in operations})
        flat = [
            (index, at, kernel)
            for index, operation in enumerate(operations)
            for at, kernels in enumerate(operation.algorithms.values())
            for kernel in kernels
        ]
        self.at = np.array([index for index, _, _ in flat])
        self.algorithm = np.array([at for _, at, _ in flat])
        batch = np.array([operations[index].batch for index, _, _ in flat])

        def sized(name: str) -> Floats:
            terms = [getattr(kernel, name) for _, _, kernel in flat]
            fixed, per_sample = np.array([(term.fixed, term.per_sample) for term in terms]).T
            values: Floats = fixed + batch * per_sample
            return values

        self.m, self.n, self.k = sized("m"), sized("n"), sized("k")
        self.count = np.array([kernel.count for _, _, kernel in flat])
        self.share = np.array(
            [SHARES.index(kernel.efficiency) if kernel.efficiency in SHARES else -1 for _, _, kernel in flat]
        )
        rates = []
        for item in operations:
            attained = item.device.attained(item.device.unit(item.precision)).value
            bandwidth = item.device.memory_bandwidth * item.device.attained("memory").value * MEMORY
            rates.append((
                item.device.peak[item.precision] * attained, item.device.multiprocessors or 1,
                item.device.unit(item.precision) == "tensor", item.device.clock, bandwidth / item.element_bytes,
                self.harness.index((item.device.name, item.precision, item.step == "product")),
            ))  # fmt: skip
        columns = np.array(rates, dtype=float).T
        flops, multiprocessors, tensor, clock, elements = columns[:5, self.at]
        self.flops, self.units = flops, Units(flops, multiprocessors, tensor > 0, clock)
        self.memory = sized("elements") / elements
        self.of_harness = columns[5].astype(int)
        self.fitted = np.array([np.any(self.share == index) for index in range(len(SHARES))])

    def predict(self, shares: Floats, overheads: Floats) -> Floats:
        """Seconds of each operation by its fastest algorithm."""
        units = replace(self.units, flops=self.flops * np.where(self.share >= 0, shares[self.share], 1.0))
        arithmetic = np.where(self.count > 0, product_times(self.m, self.n, self.k, self.count, units), 0.0)
        times = np.full((len(self.operations), int(self.algorithm.max()) + 1), np.inf)
        times[self.at, self.algorithm] = 0.0
        np.add.at(times, (self.at, self.algorithm), np.maximum(arithmetic, self.memory))
        best: Floats = times.min(axis=1) + overheads[self.of_harness]
        return best

    def fit(self, kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Shares and overheads from the rows kept."""
        from scipy.optimize import least_squares

        smallest = [self.measured[kept & (self.of_harness == index)].min() for index in range(len(self.harness))]
        number = int(self.fitted.sum())

        def constants(x: Floats) -> tuple[Floats, Floats]:
            shares = np.ones(len(SHARES))
            shares[self.fitted] = np.exp(x[:number])
            return shares, np.exp(x[number:])

        def residuals(x: Floats) -> Floats:
            found: Floats = np.log(self.predict(*constants(x)) / self.measured)[kept]
            return found

        start = np.log([*[0.8] * number, *(0.7 * np.array(smallest))])
        low = np.log([*[0.02] * number, *(0.01 * np.array(smallest))])
        high = np.log([*[1.0] * number, *(1.5 * np.array(smallest))])
        found = least_squares(
            residuals, start, bounds=(low, high), loss="soft_l1", f_scale=0.1, diff_step=1e-3, max_nfev=40
        )
        return constants(found.x)


def report(title: str, groups: dict[tuple[str, ...], list[tuple[float, float]]], headings: Sequence[str]) -> None:
    emit(f"{title}\n")
    lines = []
    for key, pairs in groups.items():
        measured, predicted = np.array(pairs).T
        of = error_statistics(measured, predicted)
        lines.append([*key, f"{of.rows}", *map(percent, (of.median_ape, of.mape, of.p90_ape)), f"{of.bias:+.2f}"])
    columns = [Column(name) for name in headings]
    columns += [Column(name, right=True) for name in ("rows", "median", "mean", "p90", "bias")]
    emit("\n".join([*table(columns, lines, ROOM), ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of measured tables, or its folder micro")
    folder = parser.parse_args().folder
    folder = folder / "micro" if (folder / "micro").is_dir() else folder
    if not (folder / "deepbench_gemm.csv").is_file():
        parser.error(f"{folder}: no deepbench_gemm.csv in it")
    refused: Counter[str] = Counter()
    found = [*read_products(folder, refused), *read_convolutions(folder, refused), *read_layers(folder)]
    by_library: dict[str, list[Operation]] = defaultdict(list)
    for operation in found:
        by_library[operation.library].append(operation)
    pairs: dict[bool, dict[tuple[str, ...], list[tuple[float, float]]]] = {True: {}, False: {}}
    constants = []
    for library, operations in by_library.items():
        table_of = Operations(operations)
        held = np.arange(len(operations)) % EVERY == EVERY - 1
        shares, overheads = table_of.fit(~held)
        named = [f"{name} {shares[i]:.2f}" for i, name in enumerate(SHARES) if table_of.fitted[i]]
        constants.append(f"  {library}: {', '.join(named)}")
        for operation, predicted, out in zip(operations, table_of.predict(shares, overheads), held, strict=True):
            kind = "products" if operation.step == "product" else "convolutions"
            for key in (
                (kind, "all", "", ""),
                (kind, library, operation.step, "all"),
                (kind, operation.device.name, operation.precision, operation.step),
            ):
                pairs[False].setdefault(key, []).append((operation.measured, float(predicted)))
                if out:
                    pairs[True].setdefault(key, []).append((operation.measured, float(predicted)))
    for out, title in ((False, "All rows"), (True, f"Every {EVERY}th row, which no fit saw")):
        report(title, dict(sorted(pairs[out].items())), ("", "of", "", ""))
    emit("Shares of what the device attains, fitted\n" + "\n".join(constants))
    emit("Refused: " + ", ".join(f"{name} ({count} rows)" for name, count in sorted(refused.items())))


if __name__ == "__main__":
    main()
