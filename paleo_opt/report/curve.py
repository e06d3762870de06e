"""Speedup against workers as a curve of text: both axes logarithmic, so that no loss is a straight line.

Curves are drawn in Braille, two by four dots a character; the measured points are letters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

_ROWS = 14
_MOST_TICKS = 8
#: The dot of a Braille character by its row (0 to 3) and column (0 to 1), Unicode 2800 to 28FF.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800
_LOWEST = 1 / 16


class _Canvas:
    """Dots on a grid of characters; the origin is at the top left."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._cells = [[0] * columns for _ in range(rows)]
        self._letters: dict[tuple[int, int], str] = {}

    def dot(self, x: float, y: float) -> None:
        """A dot at (x, y), each from 0 to 1."""
        across, down = round(x * (2 * self.columns - 1)), round(y * (4 * self.rows - 1))
        if 0 <= across < 2 * self.columns and 0 <= down < 4 * self.rows:
            self._cells[down // 4][across // 2] |= _DOTS[down % 4][across % 2]

    def letter(self, x: float, y: float, letter: str) -> None:
        """A letter at (x, y), unless one is there."""
        across, down = round(x * (2 * self.columns - 1)) // 2, round(y * (4 * self.rows - 1)) // 4
        self._letters.setdefault((down, across), letter)

    def line(self, start: tuple[float, float], end: tuple[float, float], every: int = 1) -> None:
        """A straight line, of one dot in ``every``."""
        steps = 1 + round(max(abs(end[0] - start[0]) * 2 * self.columns, abs(end[1] - start[1]) * 4 * self.rows))
        for step in range(0, steps + 1, every):
            part = step / steps
            self.dot(start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1]))

    def lines(self) -> list[str]:
        """The picture."""
        return [
            "".join(
                self._letters.get((down, across)) or (chr(_BLANK + dots) if dots else " ")
                for across, dots in enumerate(row)
            )
            for down, row in enumerate(self._cells)
        ]


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"1/{round(1 / value)}"


def speedup_curve(workers: Sequence[int], speedups: Mapping[str, Sequence[float]], room: int) -> list[str]:
    """The curves as lines of at most ``room`` columns.

    Args:
        workers: Ascending, at least two.
        speedups: By letter, the one to be seen first where several meet; one value for each number of workers.
        room: Columns.
    """
    first, last = math.log2(workers[0]), math.log2(workers[-1])
    bottom = math.log2(max(_LOWEST, min(min(values) for values in speedups.values())))
    bottom, top = min(math.floor(bottom), math.floor(first)), max(math.ceil(last), 1)
    apart = -(-(top - bottom) // _MOST_TICKS)
    ticks = {power: _tick(2.0**power) for power in range(bottom, top + 1) if power % apart == 0}
    margin = max(map(len, ticks.values())) + 2
    columns = min(room, 80) - margin - 4

    def across(count: float) -> float:
        return (math.log2(count) - first) / (last - first)

    def down(speedup: float) -> float:
        return 1.0 - (math.log2(max(speedup, 2.0**bottom)) - bottom) / (top - bottom)

    canvas = _Canvas(columns, _ROWS)
    canvas.line((0.0, down(workers[0])), (1.0, down(workers[-1])), every=4)
    for letter, values in speedups.items():
        points = [(across(count), down(value)) for count, value in zip(workers, values, strict=True)]
        for start, end in pairwise(points):
            canvas.line(start, end)
        for point in points:
            canvas.letter(*point, letter)

    labels = [""] * _ROWS
    for power, text in ticks.items():
        labels[round(down(2.0**power) * (4 * _ROWS - 1)) // 4] = text
    axis = [" "] * (columns + 2)
    for count in workers:
        text, at = f"{count:,}", round(across(count) * (2 * columns - 1)) // 2
        at = max(0, min(at - len(text) // 2, len(axis) - len(text)))
        if all(cell == " " for cell in axis[max(0, at - 1) : at + len(text) + 1]):
            axis[at : at + len(text)] = text
    return [
        "speedup over one worker; dotted: nothing lost",
        *(f"{label:>{margin}} │{line}".rstrip() for label, line in zip(labels, canvas.lines(), strict=True)),
        " " * (margin + 1) + "└" + "─" * columns,
        " " * (margin + 2) + "".join(axis).rstrip(),
    ]
