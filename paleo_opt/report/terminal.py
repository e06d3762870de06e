"""The pieces of a terminal answer: widths, emphasis, bars, tables. Everything returns text; `emit` alone prints.

Reports are built as text with emphasis marked in it (`bold`, `dim`); `emit` keeps the marks where stdout is a terminal
that shows them, and drops them elsewhere and under ``NO_COLOR``.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

WIDEST = 100
NARROWEST = 80

_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_MARKS = re.compile("\x1b\\[[012]m")
# Anything else that could move the cursor or rewrite the screen: names and descriptions come from files.
_CONTROL = re.compile("(?!\x1b\\[[012]m)[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_ASCII = str.maketrans({
    "→": ">", "·": "-", "×": "x", "–": "-", "…": "~", "█": "#", "▒": "%", "░": ".", "µ": "u", "≤": "<", "²": "2",
    "÷": "/",
    **dict.fromkeys("▏▎▍▌▋▊▉", "#"), **dict.fromkeys("─━", "-"), "│": "|", "└": "+", "├": "+", "⌈": "", "⌉": "",
    **dict.fromkeys(map(chr, range(0x2801, 0x2900)), "."), "\u2800": " ",
    **dict(zip("▁▂▃▄▅▆▇", "1234567", strict=True)),
})  # fmt: skip
_EIGHTHS = " ▏▎▍▌▋▊▉"


def width() -> int:
    """Columns that an answer may take: the terminal's, from `NARROWEST` to `WIDEST`; `WIDEST` where there is none."""
    return min(WIDEST, max(NARROWEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def bold(text: str) -> str:
    """``text`` in bold."""
    return f"{_BOLD}{text}{_PLAIN}"


def dim(text: str) -> str:
    """``text`` dimmed."""
    return f"{_DIM}{text}{_PLAIN}"


def shown_width(text: str) -> int:
    """Columns that ``text`` takes, its marks of emphasis left out."""
    return len(_MARKS.sub("", text))


def emit(text: str, stream: TextIO | None = None) -> None:
    """Print an answer: emphasis where the stream is a terminal that shows it, nothing else that a terminal would obey.

    Where the stream's encoding lacks a character it is replaced by one of ASCII.
    """
    stream = stream or sys.stdout
    text = _CONTROL.sub("?", text)
    plain = not stream.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    if plain:
        text = _MARKS.sub("", text)
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    stream.write(f"{text}\n")


def one_line(text: str) -> str:
    """``text`` with every run of white space made one space."""
    return " ".join(text.split())


def shorten(text: str, columns: int, middle: bool = False) -> str:
    """``text`` in at most ``columns`` columns, an ellipsis for what is left out at its end, or in its middle."""
    if len(text) <= columns:
        return text
    if columns < 2:
        return "…"[:columns]
    tail = (columns - 1) * 2 // 3 if middle else 0
    return f"{text[: columns - 1 - tail].rstrip()}…{text[len(text) - tail :]}"


def ends(left: str, right: str, columns: int) -> str:
    """``left`` and ``right`` at the two ends of a line; ``right`` is left out where both do not fit."""
    gap = columns - shown_width(left) - shown_width(right)
    return f"{left}{' ' * gap}{right}" if shown_width(right) and gap >= 2 else left


def joined(parts: Sequence[str], columns: int, indent: str = "", separator: str = " · ") -> list[str]:
    """``parts`` joined by ``separator`` on as few lines as hold them; each line is indented, no part is broken."""
    lines: list[str] = []
    for part in parts:
        if lines and shown_width(lines[-1]) + len(separator) + shown_width(part) <= columns:
            lines[-1] += separator + part
        else:
            lines.append(indent + part)
    return lines


def wrapped(text: str, columns: int, indent: str = "", start: str = "") -> list[str]:
    """``text`` broken between words; the first line begins with ``start``, the others with ``indent``."""
    lines = [start]
    empty = True
    for word in one_line(text).split(" "):
        if not empty and shown_width(lines[-1]) + 1 + shown_width(word) > columns:
            lines.append(indent)
            empty = True
        while shown_width(word) > columns - len(lines[-1]) and empty:
            room = columns - len(lines[-1])
            lines[-1] += word[:room]
            word = word[room:]
            lines.append(indent)
        lines[-1] += word if empty else f" {word}"
        empty = empty and not word
    return [line for line in lines if line.strip()]


def wrapped_after(start: str, text: str, columns: int) -> list[str]:
    """``start`` and ``text`` in one line, or, where both do not fit, ``text`` below it, indented."""
    if shown_width(start) + 2 + shown_width(text) <= columns:
        return [f"{start}  {text}".rstrip()]
    return [start.rstrip(), *(f"    {line}" for line in wrapped(text, columns - 4))]


def bar(part: float, cells: int) -> str:
    """A bar of ``part`` (0 to 1) of ``cells`` columns, in eighths."""
    eighths = 0 if part != part else round(min(max(part, 0.0), 1.0) * cells * 8)
    if part > 0 and eighths == 0:
        eighths = 1
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def gauge(part: float, cells: int) -> str:
    """A bar with the rest of its ``cells`` shown."""
    filled = bar(part, cells)
    return filled + "░" * (cells - len(filled))


def percent(part: float) -> str:
    """``58%``, ``0.4%``, ``<0.1%``."""
    value = 100.0 * part
    if value != value:
        return "–"
    if 0 < value < 0.1:
        return "<0.1%"
    return f"{value:.1f}%" if 0 < value < 9.95 else f"{value:.0f}%"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        heading: Its title.
        right: Whether its cells are set flush right, as numbers are.
        shrinks_to: Columns it may be shortened to where the table is too wide; 0: never.
        middle: Whether it is then shortened in the middle (a path's end tells more than its middle).
        keep: 0 is never left out; of the others the highest goes first where the table is still too wide.
        constant: Whether it is shown even where all its cells are alike.
    """

    heading: str
    right: bool = True
    shrinks_to: int = 0
    middle: bool = False
    keep: int = 0
    constant: bool = True


_GAP = 2


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int, indent: str = "") -> list[str]:
    """A table as lines of at most ``room`` columns, its heading dimmed.

    Columns whose cells are all alike are dropped where they allow it and there is more than one row; where the rest is
    too wide, columns are shortened, then left out.
    """
    shown = [
        index
        for index, column in enumerate(columns)
        if column.constant or len(rows) < 2 or any(row[index] != rows[0][index] for row in rows)
    ]
    room -= len(indent)
    wide = {i: max([len(columns[i].heading), *(len(row[i]) for row in rows)]) for i in shown}
    least = {i: min(wide[i], columns[i].shrinks_to or wide[i]) for i in shown}
    while sum(least[i] + _GAP for i in shown) - _GAP > room:
        droppable = [i for i in shown if columns[i].keep]
        if not droppable:
            break
        shown.remove(max(droppable, key=lambda i: (columns[i].keep, i)))
    excess = sum(wide[i] + _GAP for i in shown) - _GAP - room
    for i in sorted(shown, key=lambda i: least[i] - wide[i]):
        cut = max(0, min(excess, wide[i] - least[i]))
        wide[i] -= cut
        excess -= cut

    def line(cells: Sequence[str]) -> str:
        text = ""
        for i in shown:
            cell = shorten(cells[i], wide[i], columns[i].middle)
            text += (cell.rjust(wide[i]) if columns[i].right else cell.ljust(wide[i])) + " " * _GAP
        return indent + text.rstrip()

    return [dim(line([column.heading for column in columns])), *(line([*row]) for row in rows)]
