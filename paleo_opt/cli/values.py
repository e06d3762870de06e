"""The values that options take: each converter turns a word of the command line into a checked value.

A converter raises `argparse.ArgumentTypeError` with what was expected.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """A value out of ``names``; anything else is refused with the nearest of them."""

    def convert(text: str) -> str:
        if text in names:
            return text
        from paleo_opt.errors import nearest

        raise argparse.ArgumentTypeError(f"is {text[:60]!r}{nearest(text[:100], names)}")

    return convert


def whole(maximum: int, minimum: int = 1) -> Callable[[str], int]:
    """A whole number from ``minimum`` to ``maximum``, written ``4096`` or ``4,096``."""

    def convert(text: str) -> int:
        digits = text.replace(",", "").replace("_", "")
        if digits.isascii() and digits.isdigit() and len(digits) < 20 and minimum <= int(digits) <= maximum:
            return int(digits)
        raise argparse.ArgumentTypeError(f"is {text[:60]!r}; expected a whole number from {minimum} to {maximum:,}")

    return convert


def wholes(maximum: int) -> Callable[[str], tuple[int, ...]]:
    """Whole numbers joined by commas, ascending and each once: ``1,2,4,8``."""
    convert_one = whole(maximum)

    def convert(text: str) -> tuple[int, ...]:
        parts = [part.strip() for part in text.split(",")]
        if len(parts) > 1_000:
            raise argparse.ArgumentTypeError(f"has {len(parts):,} numbers; expected at most 1,000")
        return tuple(sorted({convert_one(part) for part in parts}))

    return convert


def share(text: str) -> float:
    """A share above 0 and at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"is {text[:60]!r}; expected a share above 0 and at most 1, such as 0.62")
    return value


def quantity(dimension: str) -> Callable[[str], float]:
    """An argument with a unit of ``dimension``, in the program's own unit, at least zero."""

    def convert(text: str) -> float:
        from paleo_opt.errors import SpecError
        from paleo_opt.quantities import parse

        try:
            value = parse(text, dimension)
        except SpecError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        if not 0 <= value <= 1e18:
            raise argparse.ArgumentTypeError(f"is {text[:60]!r}; expected at least zero")
        return value

    return convert


def amount(text: str) -> float:
    """A count above 0, written ``128000000``, ``128M``, ``1T`` or ``1.28e8``."""
    from paleo_opt.errors import SpecError
    from paleo_opt.quantities import parse_count

    try:
        value, word = parse_count(text)
    except SpecError:
        value, word = 0.0, ""
    if not 0 < value <= 1e18 or word:
        raise argparse.ArgumentTypeError(f"is {text[:60]!r}; expected a number above 0, such as 90, 300M or 1T")
    return value


def nonnegative(text: str) -> float:
    """A number from 0 to a million."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e6:
        raise argparse.ArgumentTypeError(f"is {text[:60]!r}; expected a number from 0 to 1,000,000")
    return value


def positive(text: str) -> float:
    """A number above 0, up to a billion."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1e9:
        raise argparse.ArgumentTypeError(f"is {text[:60]!r}; expected a number above 0")
    return value


def setting(text: str) -> tuple[str, str]:
    """``field=value``."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"is {text[:60]!r}; expected field=value, such as device.memory=96GB")
    return name.strip(), value.strip()
