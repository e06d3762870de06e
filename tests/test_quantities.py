"""Units as people write them, what is refused, and how figures are printed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.quantities import (
    UNITS,
    format_bandwidth,
    format_count,
    format_energy,
    format_flops,
    format_memory,
    format_money,
    format_time,
    parse,
    parse_budget,
    parse_count,
)


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("80GiB", "memory", 80 * 2**30),
        ("80GB", "memory", 80e9),
        ("512 MiB", "memory", 2**29),
        ("0B", "memory", 0.0),
        ("400Gb/s", "bandwidth", 50e9),  # a small b is a bit
        ("300GB/s", "bandwidth", 300e9),
        ("336.5GiB/s", "bandwidth", 336.5 * 2**30),
        ("10Mb/s", "bandwidth", 1.25e6),
        ("19.5TFLOP/s", "flops", 19.5e12),
        ("6144 GFLOP/s", "flops", 6.144e12),
        ("1PFLOPS", "flops", 1e15),
        ("1410MHz", "frequency", 1.41e9),
        ("700W", "power", 700.0),
        ("10.2kW", "power", 10200.0),
        ("200kWh", "energy", 7.2e8),
        ("1MWh", "energy", 3.6e9),
        ("$5000", "money", 5000.0),
        ("$8M", "money", 8e6),
        ("$1.5k", "money", 1500.0),
        ("$ 21.957642", "money", 21.957642),
        ("$5,000.50", "money", 5000.5),
        ("1,234,567 USD", "money", 1_234_567.0),
        ("5usd", "money", 5.0),
        ("64gpus", "gpus", 64.0),
        ("1 GPU", "gpus", 1.0),
        ("1e3gpus", "gpus", 1000.0),
        ("36h", "time", 129_600.0),
        ("1.5 days", "time", 129_600.0),
        ("30min", "time", 1800.0),
        ("5us", "time", 5e-6),
        ("5µs", "time", 5e-6),
        (".5h", "time", 1800.0),
        ("5.h", "time", 18_000.0),
        ("1_000s", "time", 1000.0),
        ("+3s", "time", 3.0),
        ("-3s", "time", -3.0),
        ("  36h  ", "time", 129_600.0),
        ("1EB", "memory", 1e18),  # an exabyte, not an exponent
        ("1e2EB", "memory", 1e20),
        ("$0.10/kWh", "tariff", 0.1 / 3.6e6),
    ],
)
def test_parse(text: str, dimension: str, value: float) -> None:
    assert parse(text, dimension) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "dimension", "message"),
    [
        ("80", "memory", "'80' has no unit; expected memory, such as 80GiB"),
        ("80GHz", "memory", "'80GHz' has the unit 'GHz'; expected memory"),
        ("80gib", "memory", "'80gib' has the unit 'gib'"),
        ("fast", "flops", "'fast' is not a quantity; expected a number with a unit"),
        ("", "time", "'' is not a quantity"),
        ("h", "time", "'h' is not a quantity"),
        ("nan h", "time", "'nan h' is not a quantity"),
        ("1,5h", "time", "'1,5h' is not a quantity"),  # not fifteen hours
        ("12,34h", "time", "'12,34h' is not a quantity"),
        ("1__0h", "time", "'1__0h' is not a quantity"),
        ("1.2.3h", "time", "'1.2.3h' is not a quantity"),
        ("1 h 30 min", "time", "'1 h 30 min' is not a quantity"),
        ("$5usd", "money", "'\\$5usd' has two units, '\\$' and 'usd'"),
        ("٣h", "time", "is not a quantity"),
    ],
)
def test_parse_refuses(text: str, dimension: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse(text, dimension)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("64gpus", ("gpus", 64.0)),
        ("$5,000", ("money", 5000.0)),
        ("36h", ("time", 129_600.0)),
        ("200kWh", ("energy", 7.2e8)),
        ("0.5h", ("time", 1800.0)),
    ],
)
def test_parse_budget(text: str, budget: tuple[str, float]) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("64gpu s", "is not a quantity"),
        ("64", "budget '64' has no unit; expected GPUs, money, time or energy: 64gpus, \\$5000, 36h, 200kWh"),
        ("64gpuss", "unknown unit 'gpuss'; did you mean 'GPUs'"),
        ("64GB", "unknown unit 'GB'"),
        ("0gpus", "must be above zero"),
        ("-$5", "is not a quantity"),
        ("$-5", "must be above zero"),
        ("1.5gpus", "must be a whole number of GPUs"),
        ("1e400h", "must be above zero"),
    ],
)
def test_parse_budget_refuses(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_budget(text)


@pytest.mark.parametrize(
    "text", ["1" * 100_000 + " a b", "1,111" * 50_000 + " a b", "$" + " " * 100_000 + "1 x y", "1" + " " * 99 + "!"]
)
@pytest.mark.parametrize("read", [lambda text: parse(text, "time"), parse_budget, parse_count])
def test_no_text_is_slow_to_refuse(text: str, read: Callable[[str], object]) -> None:
    """A pattern that can match in many ways takes the cube of the length to give up; the message stays short."""
    start = time.perf_counter()
    with pytest.raises(SpecError) as caught:
        read(text)
    assert time.perf_counter() - start < 0.5
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("dimension", UNITS)
@given(value=st.floats(1e-3, 1e6))
def test_every_unit_is_read_in_every_form(dimension: str, value: float) -> None:
    for unit, size in UNITS[dimension].items():
        dollars = unit.startswith("$")
        text = f"${value!r}{unit[1:]}" if dollars else f"{value!r} {unit}"
        assert parse(text, dimension) == value * size


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        _, value = parse_budget(text)
    except SpecError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert value > 0


@pytest.mark.parametrize(
    ("text", "count"),
    [("1T", (1e12, "")), ("1.2M samples", (1.2e6, "samples")), ("90 epochs", (90.0, "epochs")), ("300B", (3e11, ""))],
)
def test_parse_count(text: str, count: tuple[float, str]) -> None:
    assert parse_count(text) == count


# -- printing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ns"),
        (3e-9, "3 ns"),
        (5e-6, "5 µs"),
        (0.0412, "41.2 ms"),
        (0.99951, "1 s"),
        (1.5, "1.5 s"),
        (99.0, "99 s"),
        (120.0, "2 min"),
        (285.0, "4 min 45 s"),
        (1920.0, "32 min"),
        (6720.0, "1 h 52 min"),
        (7200.0, "2 h"),
        (3 * 86_400.0 + 4 * 3600, "3 d 4 h"),
        (5 * 86_400.0, "5 d"),
        (1234 * 86_400.0, "1,234 d"),
        (math.inf, "never"),
    ],
)
def test_format_time(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("dollars", "text"),
    [(0.42, "$0.42"), (18.3, "$18.30"), (140.4, "$140"), (12_345.0, "$12,345"), (math.nan, "–"), (math.inf, "–")],
)
def test_format_money(dollars: float, text: str) -> None:
    assert format_money(dollars) == text


def test_format_the_rest() -> None:
    assert format_memory(553.43e6) == "553 MB"
    assert format_memory(9.8e9) == "9.8 GB"
    assert format_memory(999.9e6) == "1 GB"
    assert format_memory(12.0) == "12 B"
    assert format_bandwidth(300e9) == "300 GB/s"
    assert format_flops(312e12) == "312 TFLOP/s"
    assert format_flops(19.49e12) == "19.5 TFLOP/s"
    assert format_energy(7.56e6) == "2.1 kWh"
    assert format_count(214_032) == "214,032"


@given(st.floats(1e-9, 1e12))
def test_printed_figures_keep_three_digits(value: float) -> None:
    printed = format_memory(value)
    number, unit = printed.replace(",", "").split()
    size = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "B": 1.0}[unit]
    assert float(number) * size == pytest.approx(value, rel=6e-3)


@given(st.floats(0.001, 1e10))
def test_printed_times_are_near(seconds: float) -> None:
    """What is printed, read back part by part, is within a percent or half a minute of what it was."""
    parts = format_time(seconds).replace(",", "").split()
    read = sum(parse(number + unit, "time") for number, unit in zip(parts[::2], parts[1::2], strict=True))
    assert read == pytest.approx(seconds, rel=1e-2, abs=30.0 if seconds > 99 else 0.0)
