"""Read measured tables: CSV files in which every row is one figure that someone measured and published.

Every mistake of a file is found before any is reported. A row may be about a device or network that is not known here:
that is no mistake of the table, and `resolve` refuses such a row by itself, with its reason.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paleo_opt.csv_file import MOST_PROBLEMS, listed, read_text
from paleo_opt.errors import Problem, SpecError, nearest

FAMILIES = ("cnn", "transformer")
QUANTITIES = (
    "step_time_s", "forward_time_s", "backward_time_s", "samples_per_s", "tokens_per_s", "tokens_per_s_per_gpu",
    "tflops_per_gpu", "mfu", "train_time_s", "speedup", "memory_bytes",
)  # fmt: skip
SHARDINGS = ("zero0", "zero1", "zero2", "zero3", "fsdp")
RECOMPUTES = ("none", "selective", "full")
#: Beyond any real count; keeps a slip from overflowing.
_MOST = 10**12


@dataclass(frozen=True)
class MeasuredRow:
    """One measured figure. What is None or empty is not known, or does not apply.

    Attributes:
        id: Unique within its file.
        family: Of `FAMILIES`.
        network: A network's name or YAML file, or ``transformer``.
        device: A device's name.
        cluster: A cluster's name or YAML file; empty for one device by itself.
        gpus: Devices in all; 1 where blank.
        gpus_per_node: Devices of a node.
        precision: Of arithmetic.
        micro_batch: Samples per device and pass.
        global_batch: Samples per step.
        tensor: Devices that divide a layer.
        pipeline: Stages.
        data: Devices, or groups of devices, that each work on their own samples.
        expert: Devices that divide the experts.
        context: Devices that divide a sequence.
        virtual_stages: Stages of each device.
        sharding: Of `SHARDINGS`.
        recompute: Of `RECOMPUTES`.
        collective: A collective's name.
        sequence_length: Tokens of a sample.
        layers: Of a transformer; likewise ``hidden`` to ``top_k``.
        software: What ran it, as the source says.
        quantity: Of `QUANTITIES`.
        measured: In the unit that the quantity names; above 0.
        source: Who published it.
        file: The table.
        line: Where it begins there.
    """

    id: str
    family: str
    network: str
    device: str
    quantity: str
    measured: float
    cluster: str = ""
    gpus: int = 1
    gpus_per_node: int | None = None
    precision: str = ""
    micro_batch: int | None = None
    global_batch: int | None = None
    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    expert: int | None = None
    context: int | None = None
    virtual_stages: int | None = None
    sharding: str = ""
    recompute: str = ""
    collective: str = ""
    sequence_length: int | None = None
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    ffn: int | None = None
    vocab: int | None = None
    experts: int | None = None
    top_k: int | None = None
    software: str = ""
    source: str = ""
    file: str = ""
    line: int = 0


def _text(cell: str) -> str:
    return cell


def _whole(cell: str) -> int:
    """A count, perhaps written ``64.0``."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (1 <= value <= _MOST and value == int(value)):
        raise ValueError(f"is {cell[:40]!r}; expected a whole number from 1")
    return int(value)


def _measured(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"is {cell[:40]!r}; expected a number above 0")
    return value


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def convert(cell: str) -> str:
        if cell not in names:
            raise ValueError(f"is {cell[:40]!r}{nearest(cell[:40], names)}")
        return cell

    return convert


_COUNTS = (
    "gpus", "gpus_per_node", "micro_batch", "global_batch", "tensor", "pipeline", "data", "expert", "context",
    "virtual_stages", "sequence_length", "layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "experts", "top_k",
)  # fmt: skip
#: How a cell of each column is read, in the order of the published tables.
_CONVERT: Mapping[str, Callable[[str], Any]] = {
    "id": _text,
    "family": _one_of(FAMILIES),
    "network": _text,
    "device": _text,
    "cluster": _text,
    **dict.fromkeys(_COUNTS[:2], _whole),
    "precision": _text,
    **dict.fromkeys(_COUNTS[2:10], _whole),
    "sharding": _one_of(SHARDINGS),
    "recompute": _one_of(RECOMPUTES),
    "collective": _text,
    **dict.fromkeys(_COUNTS[10:], _whole),
    "software": _text,
    "quantity": _one_of(QUANTITIES),
    "measured": _measured,
    "source": _text,
}
COLUMNS = tuple(_CONVERT)
#: Columns that a table must have, and a row must fill; any other may be left out where it is empty throughout.
REQUIRED = ("id", "family", "network", "device", "quantity", "measured")


def read_measured_table(path: str | Path) -> tuple[MeasuredRow, ...]:
    """The rows of a measured table.

    Raises:
        SpecError: there is no such file, it is empty or no CSV, or all that is wrong in it, each with its line
            and column (the first `MOST_PROBLEMS`).
    """
    name = str(path)
    text = read_text(path)
    problems: list[Problem] = []
    rows: list[MeasuredRow] = []
    lines: dict[str, int] = {}
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if not any(header):
            raise SpecError(Problem("is empty; expected a line of column names", name))
        problems += _header_problems(header, name)
        if problems:  # every cell would stand in the wrong column
            raise SpecError(problems)
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                row = _read_row(header, cells, name, line, problems)
                if row is not None:
                    rows.append(row)
                    if row.id in lines:
                        problems.append(Problem(f"is {row.id[:40]!r}, as in line {lines[row.id]}", name, line, "id"))
                    lines.setdefault(row.id, line)
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append(Problem(f"is no CSV: {error}", name, line))
    if problems:
        raise SpecError(listed(problems, name))
    if not rows:
        raise SpecError(Problem("has no rows", name))
    return tuple(rows)


def _header_problems(header: list[str], name: str) -> list[Problem]:
    problems = []
    for column in header:
        if column not in COLUMNS:
            known = f"column {column[:40]!r} is unknown{nearest(column[:40], COLUMNS)}"
            problems.append(Problem(known if column else "a column has no name", name, 1))
    problems += [
        Problem(f"column {column!r} is given {header.count(column)} times", name, 1)
        for column in dict.fromkeys(header)
        if column in COLUMNS and header.count(column) > 1
    ]
    problems += [Problem(f"column {column!r} is missing", name, 1) for column in REQUIRED if column not in header]
    return problems[:MOST_PROBLEMS]


def _read_row(header: list[str], cells: list[str], name: str, line: int, problems: list[Problem]) -> MeasuredRow | None:
    """One row, or None with its problems noted."""
    if len(cells) != len(header):
        problems.append(Problem(f"has {len(cells)} cells; expected {len(header)}, as the first line", name, line))
        return None
    noted = len(problems)
    found: dict[str, Any] = {}
    for column, cell in zip(header, map(str.strip, cells), strict=True):
        if cell:
            try:
                found[column] = _CONVERT[column](cell)
            except ValueError as error:
                problems.append(Problem(str(error), name, line, column))
    filled = {column for column, cell in zip(header, cells, strict=True) if cell.strip()}
    problems += [Problem("is empty", name, line, column) for column in REQUIRED if column not in filled]
    return MeasuredRow(**found, file=name, line=line) if len(problems) == noted else None
