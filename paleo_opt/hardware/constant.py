"""A constant of the model: its value and how well it is known, written ``0.82 ± 6%``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import yaml

from paleo_opt import quantities
from paleo_opt.errors import SpecError
from paleo_opt.spec_file import Fields
from paleo_opt.yaml_nodes import shown

_WITH_DEVIATION = re.compile(r"(?P<value>.+?)\s*(?:±|\+-|\+/-)\s*(?P<percent>\d+(?:\.\d+)?)\s*%")
#: A constant known worse than within a factor of e² says nothing.
LARGEST_DEVIATION = 2.0


@dataclass(frozen=True)
class Constant:
    """A positive constant.

    Attributes:
        value: In the program's units.
        deviation: Standard deviation of ln(value), about the relative standard error; 0 where it is taken as exact.
    """

    value: float
    deviation: float = 0.0

    def quantile(self, z: float) -> float:
        """The value ``z`` standard deviations above, lognormal."""
        return self.value * math.exp(z * self.deviation)


@dataclass(frozen=True)
class Meaning:
    """What a constant means.

    Attributes:
        unit: ``share``, or a key of `quantities.UNITS`, or ``number``.
        low: Least that physics allows.
        high: Most that physics allows.
        prior: Its value and deviation before anything is measured.
        text: In words.
    """

    unit: str
    low: float
    high: float
    prior: Constant
    text: str


def parse_constant(text: str, meaning: Meaning) -> Constant:
    """A constant as it is written: ``0.82 ± 6%``, ``5us ± 30%``, or a bare value, which is taken as exact.

    Raises:
        SpecError: no such value, or outside what physics allows.
    """
    match = _WITH_DEVIATION.fullmatch(text.strip())
    written = match["value"] if match else text.strip()
    if meaning.unit in ("share", "number"):
        try:
            value = float(written)
        except ValueError:
            raise SpecError(f"is {shown(text)!r}; expected a number such as 0.82, or 0.82 ± 6%") from None
    else:
        value = quantities.parse(written, meaning.unit)
    if not (math.isfinite(value) and meaning.low <= value <= meaning.high):
        raise SpecError(
            f"is {shown(text)!r}; expected from {format_value(meaning.low, meaning)} "
            f"to {format_value(meaning.high, meaning)}"
        )
    deviation = float(match["percent"]) / 100.0 if match else 0.0
    if deviation > LARGEST_DEVIATION:
        raise SpecError(f"is {shown(text)!r}; expected a deviation of at most {LARGEST_DEVIATION:.0%}")
    return Constant(value, deviation)


def format_value(value: float, meaning: Meaning) -> str:
    """A value as a person would write it: ``0.82``, ``5us``, ``25MB``."""
    if meaning.unit == "time":
        for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
            if value >= size:
                return f"{value / size:.4g}{unit}"
        return f"{value / 1e-9:.4g}ns"
    if meaning.unit == "memory":
        return quantities.format_memory(value).replace(" ", "")
    if meaning.unit == "bandwidth":
        return quantities.format_bandwidth(value).replace(" ", "")
    return f"{value:.4g}"


def format_constant(constant: Constant, meaning: Meaning) -> str:
    """A constant as its file has it; `parse_constant` reads it back."""
    text = format_value(constant.value, meaning)
    return f"{text} ± {100.0 * constant.deviation:.3g}%" if constant.deviation else text


def read_constant(fields: Fields, name: str, meaning: Meaning, default: Constant | None = None) -> Constant | None:
    """Field ``name`` as a constant; a mistake is noted like any other of the file."""

    def convert(node: yaml.Node) -> Constant:
        if not isinstance(node, yaml.ScalarNode):
            raise SpecError("is not a constant; expected a value such as 0.82 ± 6%")
        return parse_constant(str(node.value), meaning)

    found: Constant | None = fields.value(name, convert, default)
    return found
