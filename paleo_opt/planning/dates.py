"""Dates, spans of time and growth as a file of jobs writes them: ``2026-06-30``, ``3 weeks``, ``10% per month``."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from paleo_opt import quantities
from paleo_opt.errors import SpecError
from paleo_opt.yaml_nodes import shown

DAY = 86_400
#: An average month of the Gregorian calendar [s]; growth per month is compounded over it.
MONTH = 30.436875 * DAY

_MONTHS = {
    "mo": 1, "month": 1, "months": 1, "quarter": 3, "quarters": 3, "y": 12, "year": 12, "years": 12,
}  # fmt: skip
_FIRST_YEAR, _LAST_YEAR = 1970, 2999
_WEEKS = ("w", "week", "weeks")
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{1,2}:\d{2}))?")
_GROWTH = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*%\s*(?:(?:/|per|a|an)\s*(week|month|quarter|year))?\s*")
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_PER_MONTH = {"week": MONTH / (7 * DAY), "month": 1.0, "quarter": 1 / 3, "year": 1 / 12}


@dataclass(frozen=True)
class Span:
    """A span of time: calendar months, or seconds.

    Attributes:
        months: Whole months; 0 where it is a fixed time.
        seconds: 0 where it is months.
        text: As it was written.
    """

    months: int
    seconds: int
    text: str

    def after(self, moment: datetime, times: int = 1) -> datetime:
        """``moment`` and ``times`` of this span later; a day that a month lacks is its last.

        What would be beyond all dates is the last of them.
        """
        if not self.months:
            try:
                return moment + timedelta(seconds=self.seconds * times)
            except OverflowError:
                return datetime.max
        month = moment.month - 1 + self.months * times
        year, month = moment.year + month // 12, month % 12 + 1
        if year > datetime.max.year:
            return datetime.max
        return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))

    @property
    def about_s(self) -> float:
        """Its length, of an average month where it is months [s]."""
        return self.months * MONTH + self.seconds


def parse_span(text: str) -> Span:
    """``36h``, ``10 days``, ``3 weeks``, ``2 months``, ``1 quarter``.

    >>> parse_span("2 weeks").seconds, parse_span("1 quarter").months
    (1209600, 3)

    Raises:
        SpecError: no number with a unit of time, or not above zero.
    """
    match = _SPAN.fullmatch(text)
    expected = "expected a span of time, such as 36h, 10 days, 3 weeks or 2 months"
    if match is None:
        raise SpecError(f"is {shown(text)!r}; {expected}")
    number, unit = float(match[1]), match[2]
    if not number:
        raise SpecError(f"is {shown(text)!r}; expected above zero")
    if unit in _MONTHS:
        months = number * _MONTHS[unit]
        if months > 12 * 300:
            raise SpecError(f"is {shown(text)!r}; expected from a second to 300 years")
        if months != int(months):
            raise SpecError(f"is {shown(text)!r}; expected whole months")
        return Span(int(months), 0, text)
    size = 7.0 * DAY if unit in _WEEKS else quantities.UNITS["time"].get(unit)
    if size is None:
        raise SpecError(f"is {shown(text)!r}; {expected}")
    if not 1 <= number * size <= 1e10:
        raise SpecError(f"is {shown(text)!r}; expected from a second to 300 years")
    return Span(0, round(number * size), text)


def parse_moment(text: str, end_of_day: bool = False) -> datetime:
    """``2026-06-30`` (its first instant, or where ``end_of_day`` its last) or ``2026-06-30 18:00``.

    Raises:
        SpecError: no date.
    """
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise SpecError(f"is {shown(text)!r}; expected a date such as 2026-06-30 or 2026-06-30 18:00")
    try:
        day = datetime.strptime(match[1], "%Y-%m-%d")
        if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
            raise SpecError(f"is {shown(text)!r}; expected a year from {_FIRST_YEAR} to {_LAST_YEAR}")
        if match[2] is None:
            return day + timedelta(days=1) if end_of_day else day
        hour = datetime.strptime(match[2], "%H:%M")
    except (ValueError, OverflowError):
        raise SpecError(f"is {shown(text)!r}, which is no date") from None
    return day + timedelta(hours=hour.hour, minutes=hour.minute)


def is_moment(text: str) -> bool:
    """Whether ``text`` is meant as a date rather than as a span of time."""
    return bool(re.match(r"\s*\d{3,}-", text))


def parse_growth(text: str) -> float:
    """``10% per month``, ``-5%/quarter``, ``80% a year``: the growth per month, compounded.

    >>> round(parse_growth("100% per year"), 4)
    0.0595

    Raises:
        SpecError: no percentage, or an absurd one.
    """
    match = _GROWTH.fullmatch(text)
    if match is None:
        raise SpecError(f"is {shown(text)!r}; expected a percentage, such as 10% per month")
    whole = 1.0 + float(match[1]) / 100
    growth = whole ** _PER_MONTH[match[2] or "month"] - 1.0 if whole > 0 else -1.0
    if not -0.5 <= growth <= 1.0:
        raise SpecError(f"is {shown(text)!r}; expected from -50% to 100% per month")
    return growth


def parse_margin(text: str) -> float:
    """``15%``: the share by which runs are planned longer than estimated.

    Raises:
        SpecError: no percentage from 0% to 200%.
    """
    match = _PERCENT.fullmatch(text)
    if match is None or float(match[1]) > 200:
        raise SpecError(f"is {shown(text)!r}; expected a percentage from 0% to 200%, such as 15%")
    return float(match[1]) / 100
