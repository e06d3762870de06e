"""fp8, mxfp8 and nvfp4: what runs in them, what stays in 16 bits, and what converting costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hand_built import DEVICE, inner_product, network, pooling
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.attained import Attained, make_attained
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.products import Units, product_times
from paleo_opt.estimator.roofline import UPDATE_BYTES, kernel_times, update_times
from paleo_opt.hardware.constant import Constant
from paleo_opt.hardware.device import ELEMENT_BYTES
from paleo_opt.hardware.load import load_device
from paleo_opt.hardware.platform import CONSTANTS, PASSES, Platform
from paleo_opt.hardware.precision import LOW_PRECISIONS
from paleo_opt.network.graph import Layer
from paleo_opt.network.load import load_network

BANDWIDTH, LAUNCH = 1e11, 2e-6
#: All of it attained: 1 TFLOP/s in fp32 and 10, 20 and 40 on tensor cores, 100 GB/s.
WHOLE = replace(
    DEVICE,
    peak={"fp32": 1e12, "bf16": 1e13, "fp8": 2e13, "mxfp8": 2e13, "fp4": 4e13, "nvfp4": 4e13},
    memory_bandwidth=BANDWIDTH,
    multiprocessors=10,
    clock=1e9,
    attainable=dict.fromkeys(("vector", "tensor", "memory"), Constant(1.0)),
)
PLATFORM = Platform(
    name="whole",
    description="",
    source="made up",
    constants={name: Constant(1.0) for name, meaning in CONSTANTS.items() if meaning.unit == "share"}
    | {"launch": Constant(LAUNCH)},
    algorithms=dict.fromkeys(PASSES, ("gemm",)),
    fused=frozenset(("update",)),
)


def attained(precision: str) -> Attained:
    return make_attained([WHOLE], [precision], [PLATFORM])


def times(layer: Layer, batch: float, precision: str) -> list[float]:
    """Forward, data gradient and weight gradient [s]."""
    kernels = compile_network(network(layer)).layout().replicated_kernels
    found = kernel_times(kernels, attained(precision), np.array([batch]), "auto", np.inf).time
    return [float(time) for time in found[:, next(r for r, members in enumerate(kernels.members) if 2 in members), 0]]


@pytest.mark.parametrize("batch", [16, 4096])
@pytest.mark.parametrize(
    ("precision", "operand", "moved"),
    [("fp8", 1.0, 4.0), ("mxfp8", 33 / 32, 2 + 33 / 16), ("nvfp4", 9 / 16, 4 + 9 / 8)],
)
def test_an_inner_product_by_hand(batch: int, precision: str, operand: float, moved: float) -> None:
    """Operands of about a byte, a result of two; the input and its gradient are converted for rows and columns."""

    def roof(m: int, n: int, k: int, converted: float) -> float:
        arithmetic = float(product_times(m, n, k, 1.0, Units(WHOLE.peak[precision], 10, True, 1e9)))
        traffic = (operand * (m * k + k * n) + 2 * m * n) / BANDWIDTH
        conversion = moved * converted / BANDWIDTH + LAUNCH if converted else 0.0
        return max(arithmetic, traffic) + LAUNCH + conversion

    assert times(inner_product(3000, 2000), batch, precision) == pytest.approx(
        [
            roof(batch, 2000, 3000, batch * 3000),
            roof(batch, 3000, 2000, batch * 2000),
            roof(3000, 2000, batch, 0.0),
        ]
    )


@pytest.mark.parametrize("precision", LOW_PRECISIONS)
def test_what_memory_bounds_is_no_faster(precision: str) -> None:
    assert times(pooling(), 10, precision) == times(pooling(), 10, "bf16")
    high = replace(inner_product(300, 200), high_precision=True)
    assert times(high, 64, precision) == times(high, 64, "bf16")


@pytest.mark.parametrize("name", ["llama3_8b", "mixtral_8x7b", "bert_large"])
def test_of_a_transformer_the_projections_alone_are(name: str) -> None:
    table = compile_network(load_network(name)).layout().replicated_kernels
    layers = load_network(name).layers
    half, low = (
        kernel_times(table, attained(precision), np.array([1.0]), "auto", np.inf) for precision in ("bf16", "fp8")
    )
    for row, members in enumerate(table.members):
        layer = layers[members[0]]
        what = layer.name.rpartition("/")[2]
        faster = low.compute[0, row, 0] < half.compute[0, row, 0]
        projection = layer.type == "InnerProduct" and what in ("query_key_value", "gate_up", "up", "output", "down")
        assert faster == (projection or layer.type == "Experts"), layer.name
        if not faster:
            assert (low.time[:, row] == half.time[:, row]).all(), layer.name


def test_the_update_converts_the_weights() -> None:
    """Adam reads and writes 28 bytes and writes the copy in 16 bits; in fp8 that is read and written twice."""
    for precision, moved in (("bf16", 2.0), ("fp8", 6.0), ("nvfp4", 2.0 + 4.0 + 2 * 0.5625)):
        found = update_times(1e9, 100, "adam", np.array([ELEMENT_BYTES[precision]]), attained(precision))
        assert float(found[0]) == pytest.approx(1e9 * (UPDATE_BYTES["adam"] + moved) / BANDWIDTH + LAUNCH)


@given(m=st.integers(1, 20_000), n=st.integers(1, 20_000), batch=st.integers(1, 20_000))
def test_fewer_bits_never_slow_the_products_themselves(m: int, n: int, batch: int) -> None:
    table = compile_network(network(inner_product(m, n))).layout().replicated_kernels
    found = [
        kernel_times(
            table, make_attained([WHOLE], [name], [PLATFORM], converting=False), np.array([batch]), "auto", np.inf
        ).time
        for name in ("bf16", "fp8", "nvfp4")
    ]
    assert (found[1] <= found[0]).all()
    assert (found[2] <= found[1]).all()


@pytest.mark.parametrize("name", ["b200", "b300", "gb200", "gb300"])
def test_blackwell_has_the_block_formats(name: str) -> None:
    peak = load_device(name).peak
    assert peak["mxfp8"] == peak["fp8"]
    assert peak["nvfp4"] == peak["fp4"]


@pytest.mark.parametrize("name", ["h100-sxm5-80gb", "h200-sxm-141gb", "l40s", "mi300x"])
def test_those_before_have_not(name: str) -> None:
    assert not {"mxfp8", "nvfp4"} & set(load_device(name).peak)


def test_16_bits_are_needed_besides(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(
        "name: odd\ndescription: it has fp8 alone\npeak: {fp32: 1TFLOP/s, fp8: 9TFLOP/s}\nmemory: 8GB\n"
        "memory_bandwidth: 100GB/s\nclock: 1GHz\nsource: made up\n"
    )
    with pytest.raises(SpecError, match="has fp8 but neither bf16 nor fp16"):
        load_device(str(path))
    with pytest.raises(SpecError, match="no peak in bf16 or fp16, which fp8 needs"):
        make_attained([replace(WHOLE, peak={"fp32": 1e12, "fp8": 1e13})], ["fp8"], [PLATFORM])
