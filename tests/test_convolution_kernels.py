"""The kernels of convolutions: arithmetic and traffic by hand, and against published times."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hand_built import convolution
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.estimator.convolution import Term
from paleo_opt.estimator.convolution_kernels import (
    ByAlgorithm,
    ConvolutionSizes,
    Kernels,
    convolution_kernels,
    data_gradient_kernels,
    filter_gradient_kernels,
    forward_kernels,
)
from paleo_opt.estimator.products import Units, product_times
from paleo_opt.hardware.device import ELEMENT_BYTES
from paleo_opt.hardware.load import load_device

PASSES = (forward_kernels, data_gradient_kernels, filter_gradient_kernels)
#: 56 × 56 × 64 to 128 by 3 × 3, padded; its forward pass takes 2 · 9 · 64 · 128 · 56² FLOPs a sample.
SIZES = ConvolutionSizes((56, 56), 64, 128, (3, 3), (56, 56), padding=(1, 1))
FLOPS = 2 * 9 * 64 * 128 * 56 * 56
#: The same with stride 2.
STRIDED = ConvolutionSizes((56, 56), 64, 128, (3, 3), (28, 28), strides=(2, 2), padding=(1, 1))


def at(term: Term, batch: float) -> float:
    return term.fixed + term.per_sample * batch


def flops(kernels: Kernels, batch: float = 1) -> float:
    return sum(2 * one.count * at(one.m, batch) * at(one.n, batch) * at(one.k, batch) for one in kernels)


@pytest.mark.parametrize("kernels", PASSES)
def test_every_pass_of_a_product_takes_the_flops_of_the_forward_pass(kernels: object) -> None:
    assert callable(kernels)
    found = kernels(SIZES)["gemm"]
    assert flops(found) == pytest.approx(FLOPS)
    assert flops(found, 32) == pytest.approx(32 * FLOPS)
    moved = 56 * 56 * (64 + 128) * 32 + 9 * 64 * 128
    assert at(found[0].elements, 32) == pytest.approx(moved)


def test_sizes_of_the_products() -> None:
    forward, data, filters = (kernels(SIZES)["gemm"][0] for kernels in PASSES)
    assert [at(size, 2) for size in (forward.m, forward.n, forward.k)] == [2 * 56 * 56, 128, 9 * 64]
    assert [at(size, 2) for size in (data.m, data.n, data.k)] == [2 * 56 * 56, 64, 9 * 128]
    assert [at(size, 2) for size in (filters.m, filters.n, filters.k)] == [9 * 64, 128, 2 * 56 * 56]
    assert (forward.efficiency, data.efficiency, filters.efficiency) == ("convolutions",) * 2 + ("filter_gradients",)


def test_a_strided_data_gradient_computes_with_the_zeros_between_columns() -> None:
    """Of its 2 × 2 phases, rows of zeros are skipped, columns are not: twice the FLOPs of its forward pass."""
    forward, data, filters = (flops(kernels(STRIDED)["gemm"]) for kernels in PASSES)
    assert forward == filters == pytest.approx(FLOPS / 4)
    assert data == pytest.approx(2 * forward)
    assert all(set(kernels(STRIDED)) == {"gemm"} for kernels in PASSES), "Winograd and Fourier need a stride of 1"


def test_a_strided_window_reads_only_what_it_meets() -> None:
    """1 × 1 with stride 2 reads a quarter of the image forward; the data gradient writes all of it."""
    sizes = ConvolutionSizes((56, 56), 64, 128, (1, 1), (28, 28), strides=(2, 2))
    outputs, weights = 28 * 28 * 128, 64 * 128
    assert at(forward_kernels(sizes)["gemm"][0].elements, 1) == 28 * 28 * 64 + outputs + weights
    assert at(data_gradient_kernels(sizes)["gemm"][0].elements, 1) == 56 * 56 * 64 + outputs + weights


def test_winograd_saves_what_the_paper_says() -> None:
    """Lavin and Gray: F(2 × 2, 3 × 3) takes 16 multiplications for 36, F(3 × 3, 4 × 4) 36 for 144."""
    for kernels, saving in zip(PASSES, (36 / 16, 36 / 16, 144 / 36), strict=True):
        found = kernels(SIZES)["winograd"]
        assert flops(found) == pytest.approx(FLOPS / saving)
        assert [one.efficiency for one in found] == ["winograd"] * len(found)


def test_fourier_products_by_hand() -> None:
    """58 × 58 with its padding in 64 × 64: 64 · 33 frequencies, each a complex product of four real ones."""
    transform, product = forward_kernels(SIZES)["fft"]
    assert transform.count == 0
    assert product.count == 64 * 33
    assert flops((product,), 4) == pytest.approx(64 * 33 * 4 * 2 * 4 * 64 * 128)
    spectrum = 2 * 64 * 33 * (4 * (64 + 128) + 64 * 128)
    assert at(product.elements, 4) == at(product.workspace, 4) == pytest.approx(spectrum)
    assert at(transform.elements, 4) == pytest.approx(spectrum + 4 * 56 * 56 * (64 + 128) + 9 * 64 * 128)


def test_tiled_fourier_covers_the_outputs() -> None:
    """32 × 32 tiles hold 30 × 30 outputs of a 3 × 3 window: 2 × 2 tiles for 56 × 56."""
    _, product = forward_kernels(SIZES)["fft_tiled"]
    assert product.count == 32 * 17
    assert at(product.m, 1) == 4


def test_an_image_beyond_the_largest_transform_has_tiles_only() -> None:
    large = ConvolutionSizes((300, 300), 3, 8, (5, 5), (296, 296))
    assert set(forward_kernels(large)) == {"gemm", "fft_tiled"}


def test_groups_are_products_of_their_own() -> None:
    grouped = ConvolutionSizes((27, 27), 96, 256, (5, 5), (27, 27), padding=(2, 2), groups=2)
    for kernels in PASSES:
        product = kernels(grouped)["gemm"][0]
        assert product.count == 2
        assert flops((product,)) == pytest.approx(2 * 25 * 96 * 256 / 2 * 27 * 27)


def test_parts_divide_the_filters() -> None:
    layer = convolution()
    whole, quarter = (convolution_kernels(layer, parts)[0]["gemm"] for parts in (1, 4))
    assert flops(quarter) == pytest.approx(flops(whole) / 4)


def test_filter_gradients_add_up_parts_in_memory() -> None:
    """Cleared, and two parts read, added and written: five elements for each of the filters', whatever the batch."""
    _, parts = filter_gradient_kernels(SIZES)["gemm"]
    assert (parts.count, at(parts.elements, 1), at(parts.elements, 64)) == (0, 5 * 9 * 64 * 128, 5 * 9 * 64 * 128)


@given(
    st.integers(3, 64),
    st.integers(1, 512),
    st.integers(1, 512),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 256),
)
def test_every_size_grows_with_the_batch(
    size: int, channels: int, filters: int, window: int, stride: int, n: int
) -> None:
    kernel = min(window, size)
    outputs = (size - kernel) // stride + 1
    sizes = ConvolutionSizes((size, size), channels, filters, (kernel,) * 2, (outputs,) * 2, (stride,) * 2)
    for kernels in PASSES:
        for found in kernels(sizes).values():
            for one in found:
                for term in (one.m, one.n, one.k, one.elements, one.workspace):
                    assert 0 <= at(term, n) <= at(term, n + 1)
            assert flops(found, n) > 0


#: Shares of cuDNN 6 and 7 as benchmarks/micro.py fits them, and what launching and timing a pass takes [s].
SHARES = {"convolutions": 0.95, "filter_gradients": 0.68, "winograd": 0.78, "memory": 1.0}
OVERHEAD = 10e-6


def published(precision: str, kernels: ByAlgorithm, batch: float, device_name: str) -> float:
    device = load_device(device_name)
    unit = device.unit(precision)
    bandwidth = 0.85 * device.memory_bandwidth * device.attained("memory").value / ELEMENT_BYTES[precision]
    times = []
    for name in ("gemm",) if unit == "tensor" else ("gemm", "winograd"):
        total = 0.0
        for one in kernels.get(name, ()):
            flop_rate = device.peak[precision] * device.attained(unit).value * SHARES[one.efficiency]
            units = Units(flop_rate, device.multiprocessors or 1, unit == "tensor", device.clock)
            m, n, k = (at(size, batch) for size in (one.m, one.n, one.k))
            arithmetic = float(product_times(m, n, k, one.count, units)) if one.count else 0.0
            total += max(arithmetic, at(one.elements, batch) / bandwidth)
        if total:
            times.append(total)
    return min(times) + OVERHEAD


def test_published_convolutions() -> None:
    """30 convolutions of DeepBench on V100 (tensor cores), GTX 1080 Ti and P100, in three passes."""
    errors: dict[str, list[float]] = {"forward": [], "data_gradient": [], "filter_gradient": []}
    with (Path(__file__).parent / "data" / "convolutions.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            pair = {name: (int(row[f"{name}_h"]), int(row[f"{name}_w"])) for name in ("kernel", "stride", "pad")}
            image = int(row["height"]), int(row["width"])
            outputs = tuple(
                (image[i] + 2 * pair["pad"][i] - pair["kernel"][i]) // pair["stride"][i] + 1 for i in range(2)
            )
            sizes = ConvolutionSizes(
                image, int(row["channels"]), int(row["filters"]), pair["kernel"], (outputs[0], outputs[1]),
                pair["stride"], pair["pad"],
            )  # fmt: skip
            for name, kernels in zip(errors, PASSES, strict=True):
                found = published(row["precision"], kernels(sizes), int(row["batch"]), row["device"])
                errors[name].append(abs(found / float(row[name]) - 1))
    assert all(len(found) == 30 for found in errors.values())
    medians = {name: float(np.median(found)) for name, found in errors.items()}
    assert medians["forward"] <= 0.20
    assert medians["data_gradient"] <= 0.25
    assert medians["filter_gradient"] <= 0.25
