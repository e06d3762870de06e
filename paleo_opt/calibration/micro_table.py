"""Tables of micro-measurements: the time of single operations, as ``paleo-opt measure`` writes them.

One row is one operation on one device, or one collective among several. Which columns a row needs depends on its
operation (`NEEDED`); any other is left empty.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paleo_opt import csv_file
from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.hardware.device import ELEMENT_BYTES

PASSES = ("forward", "backward_data", "backward_filter")
_IMAGE = ("batch", "height", "width", "channels")
_WINDOW = ("kernel_h", "kernel_w", "stride", "padding")
#: Operations, with the columns that each needs.
NEEDED: Mapping[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k"),
    "convolution": (*_IMAGE, "filters", *_WINDOW, "groups", "pass"),
    "relu": (*_IMAGE, "pass"),
    "add": _IMAGE,
    "batch_norm": (*_IMAGE, "pass"),
    "max_pool": (*_IMAGE, *_WINDOW, "pass"),
    "average_pool": (*_IMAGE, *_WINDOW, "pass"),
    "step": (),
    "collective": ("collective", "bytes", "gpus", "nodes", "link"),
}
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "broadcast")
#: Beyond any real count; keeps a slip from overflowing.
_MOST = 10**12
#: Passes that an operation has; one without weights has no filter gradient.
_WEIGHTLESS = ("relu", "batch_norm", "max_pool", "average_pool")


@dataclass(frozen=True)
class MicroRow:
    """One operation and how long it took. What is 0 or empty does not apply, or is not known.

    Attributes:
        id: Unique within its file.
        operation: A key of `NEEDED`.
        device: A device's name.
        precision: Of arithmetic.
        m: Rows of the product; likewise n columns and k the length of the reduction.
        batch: Images of ``height`` × ``width`` × ``channels``.
        filters: Channels of a convolution's output.
        kernel_h: Window of a convolution or pooling, ``kernel_h`` × ``kernel_w``.
        stride: In both directions; likewise ``padding`` on every side.
        groups: Of a convolution's channels.
        step: One of `PASSES` (column ``pass``).
        bytes: Of the message: what each device has before an all-reduce, a reduce-scatter or a broadcast, and after
            an all-gather.
        gpus: Devices of a collective.
        nodes: Nodes they are on.
        collective: One of `COLLECTIVES`.
        link: The link that joins them, a name or YAML file.
        software: What ran it.
        threads: Of a CPU.
        repeats: Timed runs.
        time_s: Median [s].
        spread: Of the runs: their scaled median absolute deviation over the median.
        source: Who measured it.
        file: The table.
        line: Where it stands there.
    """

    id: str
    operation: str
    device: str
    precision: str = "fp32"
    m: int = 0
    n: int = 0
    k: int = 0
    batch: int = 0
    height: int = 0
    width: int = 0
    channels: int = 0
    filters: int = 0
    kernel_h: int = 0
    kernel_w: int = 0
    stride: int = 0
    padding: int = 0
    groups: int = 0
    step: str = ""
    bytes: int = 0
    gpus: int = 0
    nodes: int = 0
    collective: str = ""
    link: str = ""
    software: str = ""
    threads: int = 0
    repeats: int = 0
    time_s: float = 0.0
    spread: float = 0.0
    source: str = ""
    file: str = ""
    line: int = 0


def _count(least: int) -> Callable[[str], int]:
    def convert(cell: str) -> int:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not (least <= value <= _MOST and value == int(value)):
            raise ValueError(f"is {cell[:40]!r}; expected a whole number from {least}")
        return int(value)

    return convert


def _number(least: float, above: bool) -> Callable[[str], float]:
    def convert(cell: str) -> float:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and (value > least if above else value >= least)):
            raise ValueError(f"is {cell[:40]!r}; expected a number {'above' if above else 'from'} {least:g}")
        return value

    return convert


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    valid = tuple(names)

    def convert(cell: str) -> str:
        if cell not in valid:
            raise ValueError(f"is {cell[:40]!r}{nearest(cell[:40], valid)}")
        return cell

    return convert


_TEXT = str
#: How a cell of each column is read, in the order in which they are written.
_CONVERT: Mapping[str, Callable[[str], Any]] = {
    "id": _TEXT,
    "operation": _one_of(NEEDED),
    "device": _TEXT,
    "precision": _one_of(ELEMENT_BYTES),
    **dict.fromkeys(("m", "n", "k"), _count(1)),
    **dict.fromkeys((*_IMAGE, "filters", "kernel_h", "kernel_w", "stride"), _count(1)),
    "padding": _count(0),
    "groups": _count(1),
    "pass": _one_of(PASSES),
    **dict.fromkeys(("bytes", "gpus", "nodes"), _count(1)),
    "collective": _one_of(COLLECTIVES),
    "link": _TEXT,
    "software": _TEXT,
    **dict.fromkeys(("threads", "repeats"), _count(1)),
    "time_s": _number(0.0, above=True),
    "spread": _number(0.0, above=False),
    "source": _TEXT,
}
COLUMNS = tuple(_CONVERT)
#: Columns that a table must have, and every row must fill.
REQUIRED = ("id", "operation", "device", "precision", "time_s")


def read_micro_table(path: str | Path) -> tuple[MicroRow, ...]:
    """The rows of a table of micro-measurements.

    Raises:
        SpecError: there is no such file, or all that is wrong in it, each with its line and column.
    """
    name = str(path)
    problems: list[Problem] = []
    rows: list[MicroRow] = []
    lines: dict[str, int] = {}
    for line, cells in csv_file.read_csv(path, _CONVERT, REQUIRED):
        found = _row_problems(cells, name, line)
        if cells["id"] in lines:
            found.append(Problem(f"is {cells['id'][:40]!r}, as in line {lines[cells['id']]}", name, line, "id"))
        lines.setdefault(cells["id"], line)
        problems += found
        if not found:
            step = {"step": cells.pop("pass")} if "pass" in cells else {}
            rows.append(MicroRow(**cells, **step, file=name, line=line))
    if problems:
        raise SpecError(csv_file.listed(problems, name))
    return tuple(rows)


def _row_problems(cells: dict[str, Any], name: str, line: int) -> list[Problem]:
    """What a row lacks, and values that cannot be together."""
    operation = cells["operation"]
    lacks = [column for column in NEEDED[operation] if column not in cells]
    problems = [Problem(f"is empty; a {operation} needs it", name, line, column) for column in lacks]
    if lacks:
        return problems
    if operation in _WEIGHTLESS and cells["pass"] == "backward_filter":
        problems.append(Problem(f"is backward_filter; a {operation} has no filters", name, line, "pass"))
    if "kernel_h" in NEEDED[operation]:
        for size, window in (("height", "kernel_h"), ("width", "kernel_w")):
            if cells[window] > cells[size] + 2 * cells["padding"]:
                problems.append(Problem(f"is {cells[window]}, larger than the padded image", name, line, window))
    if operation == "convolution":
        problems += [
            Problem(f"is {cells['groups']}, which does not divide {column}", name, line, "groups")
            for column in ("channels", "filters")
            if cells[column] % cells["groups"]
        ]
    if operation == "collective" and not cells["nodes"] <= cells["gpus"]:
        problems.append(Problem(f"is {cells['nodes']}, more than gpus", name, line, "nodes"))
    if operation == "collective" and cells["gpus"] < 2:
        problems.append(Problem("is 1; a collective needs at least 2", name, line, "gpus"))
    return problems


def micro_table_text(rows: Iterable[MicroRow]) -> str:
    """The rows as CSV; `read_micro_table` reads them back."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(row, column) for column in COLUMNS])
    return stream.getvalue()


_OF_OPERATIONS = frozenset(column for columns in NEEDED.values() for column in columns)


def _cell(row: MicroRow, column: str) -> str:
    if column in _OF_OPERATIONS and column not in NEEDED[row.operation]:
        return ""
    value = getattr(row, "step" if column == "pass" else column)
    if value == 0 and column in ("threads", "repeats"):  # not known
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
