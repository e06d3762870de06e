"""Read CSV files strictly: every mistake of a file is found before any is reported, each with its line and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paleo_opt.errors import Problem, SpecError, nearest

#: Problems that are listed; a file in another format would have one in every cell.
MOST_PROBLEMS = 20
#: How the cells of each column are read; a converter raises ValueError with what was expected.
Converters = Mapping[str, Callable[[str], Any]]


def read_text(path: str | Path) -> str:
    """The text of a file.

    Raises:
        SpecError: there is none, or it cannot be read.
    """
    name = str(path)
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise SpecError(f"{name[:200]}: no such file") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is no text in UTF-8"
        raise SpecError(Problem(f"cannot be read: {reason}", name[:200])) from None


def header_of(path: str | Path) -> tuple[str, ...]:
    """The column names of a CSV file. Raises as `read_text`."""
    lines = read_text(path).splitlines()
    return tuple(cell.strip() for cell in next(csv.reader(lines[:1]), []))


def read_csv(path: str | Path, converters: Converters, required: Sequence[str]) -> list[tuple[int, dict[str, Any]]]:
    """The line and the filled cells of every row.

    Raises:
        SpecError: there is no such file, it is empty or no CSV, or all that is wrong in it (the first `MOST_PROBLEMS`).
    """
    name = str(path)
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    problems: list[Problem] = []
    rows: list[tuple[int, dict[str, Any]]] = []
    line = 1
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(header, name, converters, required)
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((line, _read_row(header, cells, name, line, converters, required, problems)))
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append(Problem(f"is no CSV: {error}", name, line))
    if problems:
        raise SpecError(listed(problems, name))
    if not rows:
        raise SpecError(Problem("has no rows", name))
    return rows


def listed(problems: Sequence[Problem], name: str) -> list[Problem]:
    """The first `MOST_PROBLEMS`, and how many more there are."""
    more = len(problems) - MOST_PROBLEMS
    return [*problems[:MOST_PROBLEMS], *([Problem(f"and {more:,} problems more", name)] if more > 0 else [])]


def _check_header(header: Sequence[str], name: str, known: Converters, required: Sequence[str]) -> None:
    if not any(header):
        raise SpecError(Problem("is empty; expected a line of column names", name))
    problems = []
    for column in dict.fromkeys(header):
        if not column:
            problems.append(Problem("a column has no name", name, 1))
        elif column not in known:
            problems.append(Problem(f"column {column[:40]!r} is unknown{nearest(column[:40], known)}", name, 1))
        elif header.count(column) > 1:
            problems.append(Problem(f"column {column!r} is given {header.count(column)} times", name, 1))
    problems += [Problem(f"column {column!r} is missing", name, 1) for column in required if column not in header]
    if problems:  # every cell would stand in the wrong column
        raise SpecError(listed(problems, name))


def _read_row(
    header: Sequence[str],
    cells: Sequence[str],
    name: str,
    line: int,
    converters: Converters,
    required: Sequence[str],
    problems: list[Problem],
) -> dict[str, Any]:
    if len(cells) != len(header):
        problems.append(Problem(f"has {len(cells)} cells; expected {len(header)}, as the first line", name, line))
        return {}
    found: dict[str, Any] = {}
    for column, cell in zip(header, map(str.strip, cells), strict=True):
        if cell:
            try:
                found[column] = converters[column](cell)
            except ValueError as error:
                problems.append(Problem(str(error), name, line, column))
        elif column in required:
            problems.append(Problem("is empty", name, line, column))
    return found
