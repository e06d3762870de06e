"""Parse and print quantities: the one place that knows units.

Inside the program everything is seconds, bytes, FLOPs, bytes/s, FLOP/s, dollars, watts, hertz and joules. KB, MB, GB
are powers of 1000 and KiB, MiB, GiB of 1024. A lower-case ``b`` is a bit (``400Gb/s``), an upper-case ``B`` a byte.
"""

from __future__ import annotations

import math
import re

from paleo_opt.errors import SpecError, nearest

_DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}

#: Behind an amount that starts with a dollar sign.
_DOLLARS = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}

_BYTES = {f"{prefix}B": factor for prefix, factor in (_DECIMAL | _BINARY).items()}
_BITS = {f"{prefix}b": factor / 8 for prefix, factor in _DECIMAL.items()}
_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0,
    "hours": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0, "w": 604800.0, "y": 31557600.0,
}  # fmt: skip

#: For every dimension: the units it may be written in, each with its size in the program's own unit.
UNITS: dict[str, dict[str, float]] = {
    "time": _SECONDS,
    "memory": _BYTES,
    "bandwidth": {f"{unit}/s": size for unit, size in (_BYTES | _BITS).items()},
    "flops": {f"{p}FLOP/s": f for p, f in _DECIMAL.items()} | {f"{p}FLOPS": f for p, f in _DECIMAL.items()},
    "frequency": {f"{prefix}Hz": factor for prefix, factor in _DECIMAL.items()},
    "power": {f"{prefix}W": factor for prefix, factor in _DECIMAL.items()},
    "energy": {"J": 1.0, "Wh": 3600.0, "kWh": 3.6e6, "MWh": 3.6e9},
    "money": {"$": 1.0, "USD": 1.0, "usd": 1.0},
    "tariff": {"$/kWh": 1.0 / 3.6e6, "$/MWh": 1.0 / 3.6e9},
    "gpus": dict.fromkeys(("gpus", "gpu", "GPUs", "GPU", "devices", "device"), 1.0),
}

_EXAMPLES = {
    "time": "36h", "memory": "80GiB", "bandwidth": "400Gb/s", "flops": "19.5TFLOP/s", "frequency": "1410MHz",
    "power": "400W", "energy": "200kWh", "money": "$5000", "tariff": "$0.10/kWh",
    "gpus": "64gpus",
}  # fmt: skip

#: Characters of a quantity at most, so that a message about one stays short.
_LONGEST = 100
# A comma parts thousands and nothing else: 1,5h is no number, rather than fifteen hours. Every part of the pattern
# starts where the one before cannot go on, so that no text is tried in more than one way.
_WHOLE = r"(?:\d{1,3}(?:,\d{3})+|\d+(?:_\d+)*)"
_NUMBER = rf"[+-]?(?:{_WHOLE}(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(rf"(\$?)\s*({_NUMBER})\s*((?:[^\s\d.,_]\S*)?)", re.ASCII)


def _split(text: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None:
        start = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
        raise SpecError(f"{start!r} is not a quantity; expected a number with a unit, such as 64gpus, $5000 or 36h")
    dollar, number, unit = match.groups()
    if dollar and unit.startswith("/"):
        unit, dollar = dollar + unit, ""  # $0.10/kWh
    factor = 1.0
    if dollar and unit in _DOLLARS:
        factor, unit = _DOLLARS[unit], ""  # $8M
    if dollar and unit:
        raise SpecError(f"{text!r} has two units, '$' and {unit!r}")
    return float(number.replace("_", "").replace(",", "")) * factor, dollar or unit


def parse(text: str, dimension: str) -> float:
    """``text`` (``"80GiB"``, ``"400Gb/s"``, ``"$5000"``) in the program's unit of ``dimension``, a key of `UNITS`.

    Raises:
        SpecError: no unit, an unknown unit, or no number.
    """
    units = UNITS[dimension]
    value, unit = _split(text)
    if unit not in units:
        missing = "has no unit" if not unit else f"has the unit {unit!r}"
        raise SpecError(f"{text!r} {missing}; expected {dimension}, such as {_EXAMPLES[dimension]}")
    return value * units[unit]


def parse_budget(text: str) -> tuple[str, float]:
    """One ``--budget``: its dimension (``gpus``, ``money``, ``time`` or ``energy``) and its size.

    >>> parse_budget("64gpus"), parse_budget("$5,000"), parse_budget("36h")
    (('gpus', 64.0), ('money', 5000.0), ('time', 129600.0))

    Raises:
        SpecError: not a number with one of the units of a budget, not above zero, or a fraction of a GPU.
    """
    value, unit = _split(text)
    dimensions = ("gpus", "money", "time", "energy")
    for dimension in dimensions:
        if unit in UNITS[dimension]:
            if not value > 0 or not math.isfinite(value):
                raise SpecError(f"budget {text!r} must be above zero")
            if dimension == "gpus" and value != int(value):
                raise SpecError(f"budget {text!r} must be a whole number of GPUs")
            return dimension, value * UNITS[dimension][unit]
    valid = [name for dimension in dimensions for name in UNITS[dimension]]
    hint = nearest(unit, valid) if unit else ""
    what = f"has the unknown unit {unit!r}" if unit else "has no unit"
    raise SpecError(f"budget {text!r} {what}{hint}; expected GPUs, money, time or energy: 64gpus, $5000, 36h, 200kWh")


_COUNT = re.compile(rf"\s*({_NUMBER})\s*([kKMGBT](?![A-Za-z]))?\s*([A-Za-z]*)\s*")
_COUNT_FACTORS = {None: 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}


def parse_count(text: str) -> tuple[float, str]:
    """A count and the word after it, which may be missing; B is a billion.

    >>> parse_count("1T"), parse_count("1.2M samples"), parse_count("90 epochs")
    ((1000000000000.0, ''), (1200000.0, 'samples'), (90.0, 'epochs'))

    Raises:
        SpecError: not a finite number.
    """
    match = _COUNT.fullmatch(text) if len(text) <= _LONGEST else None
    value = float(match[1].replace("_", "").replace(",", "")) if match else math.nan
    if match is None or not math.isfinite(value):
        raise SpecError(f"{text[:60]!r} is not a count; expected a number, such as 300M or 1.28e6")
    return value * _COUNT_FACTORS[match[2]], match[3]


def _significant(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits, with thousands separated and no exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{round(value, decimals):,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scaled(value: float, steps: list[tuple[float, str]]) -> str:
    for size, unit in steps:
        if abs(value) >= size * 0.9995:
            return f"{_significant(value / size)} {unit}"
    size, unit = steps[-1]
    return f"{_significant(value / size)} {unit}"


def format_time(seconds: float) -> str:
    """A duration for a reader: ``41 ms``, ``4 min 45 s``, ``32 min``, ``1 h 52 min``, ``3 d 4 h``."""
    if not math.isfinite(seconds):
        return "never"
    if seconds < 99.5:
        return _scaled(seconds, [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")])
    if seconds < 599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return (f"{days:,} d {hours} h" if hours else f"{days} d") if days < 100 else f"{days:,} d"


def format_money(dollars: float) -> str:
    """Money for a reader: ``$0.42``, ``$18.30``, ``$140``, ``$12,300``."""
    if not math.isfinite(dollars):
        return "–"
    if dollars < 99.995 and dollars != int(dollars):
        return f"${dollars:.2f}"
    return f"${round(dollars):,}"


def format_memory(size: float) -> str:
    """Bytes for a reader, in powers of 1000: ``553 MB``, ``9.8 GB``."""
    return _scaled(size, [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")])


def format_bandwidth(rate: float) -> str:
    """Bytes/s for a reader: ``300 GB/s``."""
    return f"{format_memory(rate)}/s"


def format_flops(rate: float) -> str:
    """FLOP/s for a reader: ``312 TFLOP/s``."""
    return _scaled(rate, [(1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s")])


def format_energy(joules: float) -> str:
    """Energy for a reader: ``2.1 kWh``."""
    return _scaled(joules / 3600, [(1e6, "MWh"), (1e3, "kWh"), (1.0, "Wh")])


def format_count(number: float) -> str:
    """A count with its thousands separated: ``214,032``."""
    return f"{round(number):,}"
