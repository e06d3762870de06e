"""The tables of the PALEO paper (Qi, Sparks, Talwalkar, ICLR 2017): measured, published estimate, ours, error of each.

    python examples/paper_tables.py

Every figure of ours is computed from the shipped networks, devices and links, with the platform percents of peak of the
paper's case studies (docs/paper.md); the published figures and the settings are in data/paper_tables.csv.
"""

from __future__ import annotations

import csv
from functools import cache
from itertools import groupby
from pathlib import Path
from textwrap import wrap

import paleo_opt

Row = dict[str, str]
FIGURES = Path(__file__).parent / "data" / "paper_tables.csv"
#: The published implementation costs every convolution as GEMM; the paper's own runs let cuDNN choose.
ALGORITHMS = ("gemm", "auto")
COLUMNS = (47, 9, 8, 6, 8, 6, 8, 6)


@cache
def compiled(network: str, algorithm: str) -> paleo_opt.CostTable:
    """A shipped network, compiled once."""
    return paleo_opt.compile_network(paleo_opt.load_network(network), algorithm)


def estimate(row: Row, workers: int, batch: int, algorithm: str) -> paleo_opt.Estimates:
    """What a row's configuration costs with ``workers`` and a global ``batch``, each worker taking its share."""
    split = row["split"] if workers > 1 else "data"
    strategy = paleo_opt.Strategy(
        paleo_opt.load_cluster(row["link"], device=row["device"]),
        gpus=workers,
        micro_batch=-(-batch // workers),
        split=split,
        tensor=1 if split == "data" else workers,
        collective=row["collective"],
    )
    options = paleo_opt.Options(model="paleo", ppp_comp=float(row["ppp_comp"]), ppp_comm=float(row["ppp_comm"]))
    return paleo_opt.estimate(compiled(row["network"], algorithm), strategy, options)


def step_time(row: Row, workers: int, batch: int, algorithm: str) -> float:
    """Seconds of one step, with the optimizer's update where the published figure has it."""
    found = estimate(row, workers, batch, algorithm)
    time = found.forward_time_s + found.backward_time_s + found.all_reduce_time_s
    return (time + found.update_time_s if row["with_update"] else time).item()


def ours(row: Row, algorithm: str = "gemm") -> float:
    """Our figure for a row, in the row's unit."""
    workers, batch = int(row["workers"]), int(row["batch"])
    if row["quantity"] == "forward_ms":
        return estimate(row, workers, batch, algorithm).forward_time_s.item() * 1e3
    if row["quantity"] == "backward_ms":
        return estimate(row, workers, batch, algorithm).backward_time_s.item() * 1e3
    step = step_time(row, workers, batch, algorithm)
    if row["quantity"] == "step_ms":
        return step * 1e3
    if row["quantity"] == "train_hours":
        return float(row["samples"]) / batch * step / 3600
    baseline = int(row["baseline_batch"])
    return (step_time(row, 1, baseline, algorithm) / baseline) / (step / batch)


def error(value: float | str, measured: str) -> str:
    """How far a figure is from the measured one, where there are both."""
    return f"{float(value) / float(measured) - 1:+.0%}" if value and measured else ""


def line(cells: list[str]) -> str:
    """One line of a table: the first cell to the left, the others to the right."""
    return "".join(
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, COLUMNS, strict=True))
    ).rstrip()


def label(row: Row, table: list[Row]) -> str:
    """What tells a row from the others of its table."""
    words = {
        "network": row["network"],
        "device": row["device"],
        "workers": f"{row['workers']} worker{'s' if row['workers'] != '1' else ''}",
        "batch": f"batch {row['batch']}",
        "collective": row["collective"],
    }
    varying = [text for column, text in words.items() if len({other[column] for other in table}) > 1]
    if row["split"] != "data" or any(other["split"] != "data" for other in table):
        varying.append(row["split"])
    return " · ".join([*varying, row["quantity"].replace("_", " ")])


def report(rows: list[Row]) -> str:
    """All tables, as text of at most 100 columns."""
    lines = []
    for _, group in groupby(rows, key=lambda row: row["title"]):
        table = list(group)
        first = table[0]
        notes = list(dict.fromkeys(row["note"] for row in table if row["note"]))
        lines += ["", first["title"] if not first["table"].isdigit() else f"Table {first['table']} · {first['title']}"]
        lines.append(line(["", "measured", "paper", "", "ours", "", "auto", ""]))
        for row in table:
            measured, published = row["measured"], row["published"]
            cells = [label(row, table), measured or "–", published or "–", error(published, measured)]
            for algorithm in ALGORITHMS:
                value = ours(row, algorithm)
                cells += [f"{value:.4g}", error(value, measured)]
            if row["note"]:
                cells[0] += f" [{notes.index(row['note']) + 1}]"
            lines.append(line(cells))
        by = sorted({row["measured_by"] for row in table} - {""})
        sources = "quoted from memory" if first["provenance"] == "memory" else "read at the source"
        lines.append(f"  measured by {', '.join(by)}; figures {sources}")
        for number, note in enumerate(notes, 1):
            lines += wrap(f"[{number}] {note}", 98, initial_indent="  ", subsequent_indent="      ")
    lines += ["", "ours: every convolution as GEMM, as in the published implementation; auto: the fastest of four"]
    lines.append("algorithms; an error is against the measured figure. Settings and reasons: docs/paper.md")
    return "\n".join(lines[1:])


def read() -> list[Row]:
    """The published figures with their settings."""
    with FIGURES.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    print(report(read()))
