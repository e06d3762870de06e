"""What estimates of measured rows are off: the tables that intervals rest on, and whether those intervals hold.

Run ``python benchmarks/residuals.py FOLDER``, where FOLDER holds measured tables (docs/validation.md). For each model
it writes ``paleo_opt/validation/residuals/MODEL.csv`` (not with ``--check``), from them and from the rows that only the
shipped table has, and prints by table how many rows their
80% intervals hold, and the median width (high over low), where what an interval may rest on leaves out

- row: rows of the same configuration,
- run: all rows of the same table, network and device,
- device, platform: all rows of the same device, or software.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paleo_opt.estimator.options import MODELS, Options
from paleo_opt.hardware.platform_load import platform_for
from paleo_opt.report.files import write_whole
from paleo_opt.report.terminal import Column, emit, percent, table
from paleo_opt.validation.intervals import held_out_widths, interval
from paleo_opt.validation.measured_table import MeasuredRow, read_measured_table
from paleo_opt.validation.predict import Prediction, predict
from paleo_opt.validation.residuals import FOLDER, Residual, Residuals, is_time, residuals_text
from paleo_opt.validation.validate import PUBLISHED

ROOM = 110
#: What is left out: rows alike in what the function returns.
LEFT_OUT: dict[str, Callable[[Residual], object]] = {
    "row": lambda row: row.features,
    "run": lambda row: (row.source, row.features.network, row.features.device),
    "device": lambda row: row.features.device,
    "platform": lambda row: row.features.platform,
}


@dataclass(frozen=True)
class Held:
    """One row's interval with some rows left out."""

    covered: bool
    width: float


def residual(item: Prediction) -> Residual | None:
    """A row's residual; None of a quantity that has no interval."""
    if item.features is None:
        return None
    value = math.log(item.row.measured / item.predicted)
    return Residual(
        item.features,
        value if is_time(item.row.quantity) else -value,
        Path(item.row.file).stem,
        "platform" not in item.assumed and item.platform.fitted_constants > 0,
    )


def held(rows: Residuals, alike: Callable[[Residual], object]) -> list[Held]:
    keys = [alike(row) for row in rows.rows]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    of_row = np.array([numbers[key] for key in keys])
    found: list[Held] = [Held(False, 1.0)] * len(keys)
    for number in range(len(numbers)):
        others = rows.keep(of_row != number)
        for index in np.flatnonzero(of_row == number).tolist():
            row = rows.rows[index]
            span = interval(row.features, others)
            found[index] = Held(span.low <= math.exp(row.value) <= span.high, span.high / span.low)
    return found


def print_coverage(rows: Residuals) -> None:
    by_table: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows.rows):
        by_table["all"].append(number)
        by_table[row.source].append(number)
    results = {name: held(rows, alike) for name, alike in LEFT_OUT.items()}
    lines = []
    for name, numbers in by_table.items():
        cells = [name, f"{len(numbers)}"]
        for of in results.values():
            cells.append(percent(float(np.mean([of[number].covered for number in numbers]))))
            cells.append(f"{np.median([of[number].width for number in numbers]):.2f}")
        lines.append(cells)
    columns = [Column("table", right=False), Column("rows")]
    for name in results:
        columns += [Column(f"without {name}: hold"), Column("width")]
    emit("\n".join([*table(columns, lines, ROOM), ""]))


def shipped_besides(tables: Sequence[Sequence[MeasuredRow]]) -> list[MeasuredRow]:
    """Rows of the shipped table that name a platform and that no other table has."""

    def figure(row: MeasuredRow) -> tuple[object, ...]:
        return row.network, row.device, row.software, row.gpus, row.quantity, row.measured

    known = {figure(row) for rows in tables for row in rows}
    return [
        row
        for row in read_measured_table(PUBLISHED)
        if platform_for(f"{row.family} {row.software}") and figure(row) not in known
    ]


def residuals_of(paths: Sequence[Path], options: Options) -> Residuals:
    tables: list[Sequence[MeasuredRow]] = [read_measured_table(path) for path in paths]
    tables.append(shipped_besides(tables))
    found = [residual(item) for rows in tables for item in predict(rows, options)[0]]
    return Residuals(tuple(row for row in found if row is not None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of measured tables")
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    paths = sorted(args.folder.glob("*.csv"))
    if not paths:
        parser.error(f"{args.folder}: no tables (*.csv)")
    for model in MODELS:
        rows = residuals_of(paths, Options(model=model))
        rows = rows.with_widths(held_out_widths(rows))
        print(f"model {model} · {len(rows.rows)} residuals · widths {' '.join(map(str, rows.widths))}")
        print_coverage(rows)
        if not args.check:
            write_whole("FOLDER", str(FOLDER / f"{model}.csv"), residuals_text(rows))


if __name__ == "__main__":
    main()
