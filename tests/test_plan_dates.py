"""Dates, spans and growth as people write them."""

from __future__ import annotations

from datetime import datetime

import pytest

from paleo_opt.errors import SpecError
from paleo_opt.planning.dates import is_moment, parse_growth, parse_moment, parse_span


@pytest.mark.parametrize(("text", "months", "seconds"), [
    ("36h", 0, 129_600), ("10 days", 0, 864_000), ("1w", 0, 604_800), ("3 weeks", 0, 1_814_400),
    ("1.5 weeks", 0, 907_200), ("1 month", 1, 0), ("2 months", 2, 0), ("1 quarter", 3, 0), ("2 years", 24, 0),
    (" 90 min ", 0, 5_400),
])  # fmt: skip
def test_spans(text: str, months: int, seconds: int) -> None:
    span = parse_span(text)
    assert (span.months, span.seconds) == (months, seconds)


@pytest.mark.parametrize(
    "text", ["", "soon", "3", "-2 days", "0h", "1.5 months", "2 fortnights", "9e9 years", "301 years", "1e400s"]
)
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(SpecError, match="expected"):
        parse_span(text)


def test_months_are_those_of_the_calendar() -> None:
    month = parse_span("1 month")
    end_of_january = datetime(2028, 1, 31)
    assert month.after(end_of_january) == datetime(2028, 2, 29)
    assert month.after(end_of_january, 2) == datetime(2028, 3, 31)
    assert month.after(datetime(2026, 11, 15, 8), 3) == datetime(2027, 2, 15, 8)
    assert parse_span("2 weeks").after(datetime(2026, 4, 1), 3) == datetime(2026, 5, 13)


def test_moments() -> None:
    assert parse_moment("2026-06-30") == datetime(2026, 6, 30)
    assert parse_moment("2026-06-30", end_of_day=True) == datetime(2026, 7, 1)
    assert parse_moment("2026-06-30 18:00", end_of_day=True) == datetime(2026, 6, 30, 18)
    assert parse_moment("2026-06-30T8:30") == datetime(2026, 6, 30, 8, 30)
    assert is_moment("2026-13-45")
    assert not is_moment("20 days")


@pytest.mark.parametrize(
    "text", ["2026-02-30", "2026-6-3", "30.6.2026", "2026-06-30 25:00", "0000-01-01", "9999-12-31", "June", ""]
)
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(SpecError, match=r"date|year"):
        parse_moment(text)


def test_growth_is_compounded() -> None:
    assert parse_growth("10% per month") == pytest.approx(0.1)
    assert parse_growth("10%") == parse_growth("10 % / month") == parse_growth("10% a month")
    assert (1 + parse_growth("50% per year")) ** 12 == pytest.approx(1.5)
    assert (1 + parse_growth("-9%/quarter")) ** 3 == pytest.approx(0.91)
    assert (1 + parse_growth("2% per week")) == pytest.approx(1.02 ** (30.436875 / 7))


@pytest.mark.parametrize(
    "text", ["10", "ten%", "101% per month", "-51%", "-100%", "-300% per year", "40% per week", "10% per day"]
)
def test_absurd_growth(text: str) -> None:
    with pytest.raises(SpecError, match="expected"):
        parse_growth(text)
