"""Knobs: what a run takes besides its strategy, and the estimator knows nothing of."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import Floats

#: Values of a range that are considered; more would be told apart by no run.
MOST_LEVELS = 33
_NAME = re.compile(r"[A-Za-z_]\w*")
_WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Knob:
    """A knob with the values it may take.

    Attributes:
        name: Of its placeholder.
        levels: As they go into the command, in the order given; the first of a choice is where the search starts.
        positions: Of the levels on their scale from 0 to 1; empty for names, of which none is between two others.
        start: Index of the level that the first run has.
    """

    name: str
    levels: tuple[str, ...]
    positions: tuple[float, ...]
    start: int = 0


def parse_choice(text: str) -> Knob:
    """``threads=1,2,4``: numbers lie on a scale (logarithmic where all are above 0), anything else are names.

    Raises:
        SpecError: no such form, or a value twice.
    """
    name, listed = _named("--choice", text, "threads=1,2,4")
    levels = tuple(word.strip() for word in listed.split(","))
    if not all(levels):
        raise SpecError(f"--choice {name}: a value is empty; expected such as threads=1,2,4")
    if len(set(levels)) < len(levels):
        twice = next(level for level in levels if levels.count(level) > 1)
        raise SpecError(f"--choice {name}: {twice!r} is given twice")
    if len(levels) > 1000:
        raise SpecError(f"--choice {name}: {len(levels):,} values; expected at most 1,000")
    try:
        numbers = [float(level) for level in levels]
    except ValueError:
        return Knob(name, levels, ())
    if not all(map(math.isfinite, numbers)) or len(set(numbers)) < len(numbers):
        return Knob(name, levels, ())
    return Knob(name, levels, _positions(np.array(numbers), all(number > 0 for number in numbers)))


def parse_range(text: str) -> Knob:
    """``workers=0:8`` or ``bucket=1:256:log``: whole numbers where both ends are, at most `MOST_LEVELS` of them.

    Raises:
        SpecError: no such form.
    """
    name, listed = _named("--range", text, "bucket=1:256:log")
    words = [word.strip() for word in listed.split(":")]
    logarithmic = len(words) == 3 and words[2] == "log"
    try:
        low, high = float(words[0]), float(words[1])
        if not (len(words) == 2 or logarithmic) or not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError
    except (ValueError, IndexError):
        raise SpecError(
            f"--range {name}: {listed[:60]!r}; expected low:high or low:high:log, such as 1:256:log"
        ) from None
    if high <= low:
        raise SpecError(f"--range {name}: {words[1]} is not above {words[0]}")
    if logarithmic and low <= 0:
        raise SpecError(f"--range {name}: a logarithmic range starts above 0, not at {words[0]}")
    whole = all(_WHOLE.fullmatch(word) for word in words[:2])
    if whole and high - low < MOST_LEVELS:
        values = np.arange(int(low), int(high) + 1, dtype=np.float64)
    else:
        spread = np.geomspace if logarithmic else np.linspace
        values = spread(low, high, MOST_LEVELS)
        values = np.unique(np.round(values)) if whole else values
    levels = tuple(f"{value:.0f}" if whole else f"{value:.6g}" for value in values.tolist())
    return Knob(name, levels, _positions(values, logarithmic), len(levels) // 2)


def _named(option: str, text: str, example: str) -> tuple[str, str]:
    name, equals, listed = text.partition("=")
    name = name.strip()
    if not equals or not _NAME.fullmatch(name) or not listed.strip():
        raise SpecError(f"{option}: {text[:60]!r}; expected such as {example}")
    return name, listed.strip()


def _positions(numbers: Floats, logarithmic: bool) -> tuple[float, ...]:
    scale = np.log(numbers) if logarithmic else numbers
    width = float(scale.max() - scale.min())
    return tuple(((scale - scale.min()) / width).tolist()) if width else (0.0,) * numbers.size
