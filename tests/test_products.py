"""Matrix products on tiles: by hand, what must only grow, and against published times."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.estimator.products import TENSOR, TILES, VECTOR, Units, product_times
from paleo_opt.hardware.device import ELEMENT_BYTES
from paleo_opt.hardware.load import load_device

#: Ten multiprocessors of 100 GFLOP/s each, at 1 GHz.
UNITS = Units(flops=1e12, multiprocessors=10, tensor=False, clock=1e9)
ROWS, COLUMNS = TILES[0]


def seconds(m: float, n: float, k: float, count: float = 1, units: Units = UNITS) -> float:
    return float(product_times(m, n, k, count, units))


def test_whole_waves_of_the_largest_tile_run_at_the_full_rate() -> None:
    m, n, k = 5 * ROWS, 4 * COLUMNS, 1000
    assert seconds(m, n, k) == pytest.approx(2 * m * n * k / 1e12)
    assert seconds(m, n, k, count=7) == pytest.approx(7 * 2 * m * n * k / 1e12)


def test_a_row_beyond_a_tile_costs_another_row_of_tiles() -> None:
    """Of the smallest tiles, with their lower rate, only where that is less than one more of the largest."""
    whole, more = seconds(8 * ROWS, 10 * COLUMNS, 64), seconds(8 * ROWS + 1, 10 * COLUMNS, 64)
    assert whole < more <= seconds(9 * ROWS, 10 * COLUMNS, 64)


def test_one_small_product_takes_one_multiprocessor() -> None:
    """32 × 32 × 8 on one of ten: its tile's operand traffic lowers the rate by (I + h) / I, beside the largest's."""
    intensity, largest = 32 * 32 / 64, ROWS * COLUMNS / (ROWS + COLUMNS)
    half = VECTOR.half_intensity
    slower = (1 + half / intensity) / (1 + half / largest)
    assert seconds(32, 32, 8) == pytest.approx(2 * 32 * 32 * 8 / 1e11 * slower)


def test_a_deep_reduction_is_shared_by_the_idle() -> None:
    """One tile and ten multiprocessors: a tenth of the time, and the price of nine further ones."""
    k = 1e6
    alone = min(
        2 * a * b * k / 1e11 * (1 + VECTOR.half_intensity * (a + b) / (a * b)) for a, b in TILES if a >= 64 and b >= 64
    ) / (1 + VECTOR.half_intensity * (ROWS + COLUMNS) / (ROWS * COLUMNS))
    assert seconds(64, 64, k) == pytest.approx(alone / 10 + 9 * VECTOR.sharing / 1e9)
    assert seconds(64, 64, 1) < seconds(64, 64, k) < alone


@pytest.mark.parametrize("unknown", [math.inf, math.nan, 1])
def test_an_unknown_number_of_multiprocessors_divides_any_work(unknown: float) -> None:
    units = Units(1e12, unknown, False, 1e9)
    assert seconds(ROWS, COLUMNS, 100, units=units) == pytest.approx(2 * ROWS * COLUMNS * 100 / 1e12)


def test_arrays_broadcast_and_agree_with_numbers() -> None:
    m = np.array([[1.0], [100.0], [3000.0]])
    units = Units(np.array([1e12, 2e13]), np.array([10.0, 80.0]), np.array([False, True]), np.array([1e9, 1.5e9]))
    found = product_times(m, 512, 700, 2, units)
    assert found.shape == (3, 2)
    for row, size in enumerate(m[:, 0]):
        for column in range(2):
            one = Units(*(getattr(units, name)[column] for name in ("flops", "multiprocessors", "tensor", "clock")))
            assert found[row, column] == float(product_times(size, 512, 700, 2, one))


sizes = st.floats(1, 1e5)


@given(
    st.tuples(sizes, sizes, sizes, st.floats(1, 1e3)),
    st.tuples(*[st.floats(1, 10)] * 5),
    st.floats(1e9, 1e15),
    st.integers(1, 200),
    st.booleans(),
)
def test_more_work_is_never_faster_nor_more_flops_slower(
    work: tuple[float, float, float, float],
    factors: tuple[float, ...],
    flops: float,
    multiprocessors: int,
    tensor: bool,
) -> None:
    units = Units(flops, multiprocessors, tensor, 1.4e9)
    base = seconds(*work, units=units)
    assert base >= 2 * math.prod(work) / flops * (1 - 1e-12)
    for position in range(4):
        m, n, k, count = (value * (factors[position] if at == position else 1) for at, value in enumerate(work))
        assert seconds(m, n, k, count, units) >= base * (1 - 1e-12)
    faster = Units(flops * factors[4], multiprocessors, tensor, 1.4e9)
    assert seconds(*work, units=faster) <= base * (1 + 1e-12)


def test_tensor_cores_lose_more_on_small_tiles() -> None:
    """Their rate outgrows the operand traffic that feeds it."""
    assert TENSOR.half_intensity > VECTOR.half_intensity


#: What launching and timing one product takes in each source [s]: about that of its smallest products.
OVERHEADS = {"baidu-research/DeepBench": 6e-6, "ai-dynamo/aiconfigurator": 2.6e-6}


def test_published_products() -> None:
    """56 products on eight devices, of 2 us to 90 ms: half within 10%, and nine of ten within 40%."""
    errors = []
    with (Path(__file__).parent / "data" / "products.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            device = load_device(row["device"])
            precision, unit = row["precision"], device.unit(row["precision"])
            m, n, k = (float(row[name]) for name in "mnk")
            units = Units(
                device.peak[precision] * device.attained(unit).value,
                device.multiprocessors or 1,
                unit == "tensor",
                device.clock,
            )
            moved = ELEMENT_BYTES[precision] * (m * k + k * n + m * n)
            memory = moved / (0.85 * device.memory_bandwidth * device.attained("memory").value)
            predicted = max(seconds(m, n, k, units=units), memory) + OVERHEADS[row["source"].split("@")[0]]
            errors.append(abs(predicted / float(row["seconds"]) - 1))
    assert len(errors) == 56
    assert np.median(errors) <= 0.10
    assert np.percentile(errors, 90) <= 0.40
