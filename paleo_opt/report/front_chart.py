"""The front of cost against time as a chart of text: one letter for each cluster, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from string import ascii_uppercase

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.quantities import format_count, format_money, format_time
from paleo_opt.search.front import Front

_ROWS = 16
_WIDEST = 96
_OTHER = "·"
#: With no more clusters than these, each has a letter.
_MOST_NAMED = 8
#: Ticks of a time axis [s].
TIME_TICKS = (
    *(size * 10.0**power for power in (-3, -2, -1) for size in (1, 2, 5)),
    *(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 4 * 3600, 8 * 3600, 12 * 3600),
    *(86400.0 * days for days in (1, 2, 4, 7, 14, 30, 60, 90, 180, 365, 730, 1825, 3650, 36500)),
)  # fmt: skip
#: Parts of a decade at which a sum may have its tick.
_PARTS = (1.0, 2.0, 5.0)


def letters(front: Front) -> dict[str, str]:
    """A letter for each cluster of the front, in the order in which they are on it, fastest first.

    Where there are few clusters in all, those that are nowhere on the front have one too.
    """
    names = [block.cluster.name for block in front.blocks]
    on_front = dict.fromkeys(names[int(front.points.block[place])] for place in front.places)
    present = dict.fromkeys(names[int(block)] for block in np.unique(front.points.block))
    named = on_front | present if len(present) <= _MOST_NAMED else on_front
    return dict(zip(named, ascii_uppercase, strict=False))


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade from ``low`` to ``high``."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    values = (part * 10.0**power for power in range(first, last + 1) for part in _PARTS)
    return [value for value in values if low <= value <= high]


class _Axis:
    """Logarithmic places on so many cells, with ticks where they have room."""

    def __init__(self, values: Floats, cells: int) -> None:
        low, high = float(values.min()), float(values.max())
        # A front of one point, or of one price, still needs an axis.
        room = max(high / low, 1.2) ** 0.03
        self.low, self.high, self.cells = low / room, high * room, cells

    def cell(self, value: float) -> int:
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return min(self.cells - 1, max(0, round(part * (self.cells - 1))))

    def ticks(self, values: Sequence[float], text: Callable[[float], str], apart: int) -> dict[int, str]:
        """The text at each cell that has a tick, at least ``apart`` cells between two."""
        inside = [value for value in values if self.low <= value <= self.high] or [math.sqrt(self.low * self.high)]
        for every in range(1, len(inside) + 1):
            found = {self.cell(value): text(value) for value in inside[::every]}
            if len(found) == len(inside[::every]) and all(b - a >= apart for a, b in pairwise(sorted(found))):
                return found
        return {self.cell(inside[0]): text(inside[0])}


def _money(value: float) -> str:
    return format_money(value) if value >= 1 else f"${value:.2g}"


def front_chart(front: Front, room: int) -> list[str]:
    """The chart as lines of at most ``room`` columns: letters on the front, small behind it, a legend below.

    Args:
        front: With at least one point.
        room: Columns.
    """
    points = front.points
    names = np.array([block.cluster.name for block in front.blocks])[points.block]
    of_cluster = letters(front)
    shown = np.isfinite(points.time_s) & np.isfinite(front.second)
    priced = front.against == "cost_usd"
    text = _money if priced else format_count
    y = _Axis(front.second[shown], _ROWS)
    labels = y.ticks(_decades(y.low, y.high), text, 2)
    margin = max(map(len, labels.values())) + 1
    columns = min(room, _WIDEST) - margin - 2
    x = _Axis(points.time_s[shown], columns)

    cells = [[" "] * columns for _ in range(_ROWS)]

    def put(place: int, glyph: str) -> None:
        cells[_ROWS - 1 - y.cell(float(front.second[place]))][x.cell(float(points.time_s[place]))] = glyph

    on_front = set(front.places.tolist())
    behind = [place for place in np.flatnonzero(shown).tolist() if place not in on_front]
    for place in behind:
        if names[place] not in of_cluster:
            put(place, _OTHER)
    # Of letters in one cell the one that comes nearest to the front is seen.
    for place in sorted(behind, key=lambda place: -float(front.second[place])):
        if names[place] in of_cluster:
            put(place, of_cluster[names[place]].lower())
    for place in reversed(front.places.tolist()):
        put(place, of_cluster.get(names[place], "*"))

    lines = ["cost" if priced else "GPUs"]
    for row in range(_ROWS):
        label = labels.get(_ROWS - 1 - row, "")
        lines.append(f"{label:>{margin}} {'┤' if label else '│'}{''.join(cells[row])}".rstrip())
    ticks = x.ticks(TIME_TICKS, format_time, 10)
    rule, axis = ["─"] * columns, [" "] * (columns + 2)
    for cell, tick in ticks.items():
        start = max(0, min(cell - len(tick) // 2, columns - len(tick)))
        rule[cell] = "┴"
        axis[start : start + len(tick)] = tick
    lines += [f"{'':>{margin}} └{''.join(rule)}", f"{'':>{margin}}  {''.join(axis)}".rstrip()]
    return lines


def legend(front: Front) -> list[str]:
    """What the letters stand for, in parts for a line."""
    of_cluster = letters(front)
    present = np.unique(np.array([block.cluster.name for block in front.blocks])[front.points.block])
    parts = [f"{letter} {name}" for name, letter in of_cluster.items()]
    others = len(set(present.tolist()) - set(of_cluster))
    if front.points.gpus.size > front.size:
        parts.append("(small: behind the front)")
    if others:
        parts.append(f"{_OTHER} {others} other cluster{'s'[: others != 1]}")
    return parts
