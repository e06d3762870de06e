"""How far the estimates are from published measurements, against the errors that are aimed at.

Run ``python benchmarks/accuracy.py FOLDER``, where FOLDER holds measured tables (docs/validation.md). Each target is
printed with what is reached and over how many rows, then the errors by table, quantity and device, and what was
refused.
PALEO's own estimates of its case studies are read from ``paper_tables.csv`` of the folder ``reference`` beside FOLDER.

``--only every-5th`` keeps every fifth row of each table: fit to the other rows, look at these.

MLPerf's ``train_time_s`` rows are compared as throughput: the samples to the target at the row's global batch (the
network's convergence law) over the time. Both sides have the same samples, so that the error is that of the step.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from targets import Target, in_table, target, transformer_targets

from paleo_opt.estimator.options import Options
from paleo_opt.report.terminal import Column, emit, percent, table
from paleo_opt.report.validation import refused_lines, signed
from paleo_opt.validation.measured_table import MeasuredRow, read_measured_table
from paleo_opt.validation.predict import Prediction, Refusal, predict
from paleo_opt.validation.statistics import error_statistics

ROOM = 110
#: Samples of the runs whose hours PALEO's tables 4 and 5 compare: epochs · 1.2 million.
CASE_STUDIES = {"nin": ("FireCaffe", 47 * 1.2e6), "alexnet_v2": ("arXiv:1404.5997", 90 * 1.2e6)}
NVIDIA = re.compile(r"(a100|h100|h200|b200|v100|p100|l40s|l4|a30|a40|t4)\b|^nvidia-")
#: cuDNN from its fourth release on, as the tables write it: ``CuDNN[R4]``, ``cuDNN 5105``.
CUDNN_4 = re.compile(r"cudnn ?[\[(]?r?([4-9])(\d{3}|\b)", re.IGNORECASE)


def throughput_error(item: Prediction) -> float:
    """The error of the rate, where the row is a time."""
    return item.row.measured / item.predicted - 1.0 if item.row.quantity.endswith("_time_s") else item.error


def paleo_hours(reference: Path) -> dict[tuple[str, int, int], float]:
    """PALEO's estimates by network, workers and global batch [h]."""
    nets = {"NiN": "nin", "AlexNet (OWT)": "alexnet_v2"}
    found = {}
    with (reference / "paper_tables.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["quantity"] == "train_hours" and row["kind"] in ("PALEO estimate", "PALEO estimate, hybrid"):
                found[nets[row["model"]], int(row["n_workers"]), int(row["batch"])] = float(row["value"])
    return found


def inception_batch(reference: Path) -> int | None:
    """The global batch of the TensorFlow 0.8 row, which its table leaves out."""
    with (reference / "paper_tables.csv").open(newline="", encoding="utf-8") as file:
        batches = [row["batch"] for row in csv.DictReader(file) if row["kind"] == "TensorFlow 0.8 measured"]
    return int(batches[0]) if batches else None


def with_batch(row: MeasuredRow, batch: int | None) -> MeasuredRow:
    if "TensorFlow 0.8" in row.software and batch and row.micro_batch is None and row.global_batch is None:
        return replace(row, global_batch=batch)
    return row


def is_case_study(row: MeasuredRow) -> bool:
    source, _ = CASE_STUDIES.get(row.network, ("", 0.0))
    named = "TensorFlow 0.8" in row.software or (source != "" and source in row.source)
    return named and in_table(row, "cnn_scaling")


def is_late_cudnn(row: MeasuredRow) -> bool:
    return in_table(row, "cnn_single_device") and CUDNN_4.search(row.software) is not None


def is_framework(row: MeasuredRow) -> bool:
    return (
        in_table(row, "cnn_scaling")
        and row.quantity == "samples_per_s"
        and row.software.startswith(("TensorFlow", "MXNet"))
    )


def is_mlperf_nvidia(row: MeasuredRow) -> bool:
    return in_table(row, "mlperf") and row.network == "resnet50" and NVIDIA.search(row.device) is not None


def case_studies(found: Sequence[Prediction], reference: Path) -> list[Target]:
    """PALEO's case studies: each against PALEO's own error, and the mean. Prints them row by row."""
    hours = paleo_hours(reference) if (reference / "paper_tables.csv").is_file() else {}
    closer, compared, errors, lines = 0, 0, [], []
    for item in filter(lambda item: is_case_study(item.row), found):
        row = item.row
        _, samples = CASE_STUDIES.get(row.network, ("", 0.0))
        errors.append(item.error)
        estimate = hours.get((row.network, row.gpus, row.global_batch or 0))
        its_own = None if estimate is None else estimate * 3600 * (row.global_batch or 0) / samples / row.measured - 1
        if its_own is not None:
            compared += 1
            closer += abs(item.error) <= abs(its_own) + 1e-9
        lines.append(
            [row.network, f"{row.gpus}", f"{row.global_batch}", f"{row.measured:.4g}", f"{item.predicted:.4g}",
             signed(item.error), "–" if its_own is None else signed(its_own)]
        )  # fmt: skip
    headings = ("case study", "GPUs", "batch", "measured", "predicted", "off", "PALEO's own")
    show([Column(heading, right=n > 0) for n, heading in enumerate(headings)], lines)
    each = Target(
        "PALEO case studies: rows at least as close as PALEO's own estimate",
        "all",
        f"{closer} of {compared}",
        closer == compared if compared else None,
        compared,
    )
    return [each, target("PALEO case studies: mean error", errors, 0.06)]


def speedup_errors(found: Sequence[Prediction], every_row: Sequence[Prediction]) -> list[float]:
    """Errors of the speedup over the one-GPU row of the same series, which may be any of the tables' rows."""

    def series(row: MeasuredRow) -> MeasuredRow:
        return replace(row, id="", gpus=1, gpus_per_node=None, global_batch=None, data=None, measured=1, line=0)

    alone = {series(item.row): item for item in every_row if item.row.gpus == 1}
    pairs = [(item, alone.get(series(item.row))) for item in found if item.row.gpus > 1]
    return [(1 + item.error) / (1 + one.error) - 1 for item, one in pairs if one]


def targets(
    found: Sequence[Prediction], refused: Sequence[Refusal], every_row: Sequence[Prediction], reference: Path
) -> list[Target]:
    def errors(holds: Callable[[MeasuredRow], bool]) -> tuple[list[Prediction], int]:
        return [item for item in found if holds(item.row)], sum(holds(item.row) for item in refused)

    lines = case_studies(found, reference)
    items, left = errors(is_late_cudnn)
    lines.append(target("one device, cuDNN R4 and later: MAPE", [item.error for item in items], 0.15, left))
    items, left = errors(is_framework)
    lines.append(target("scaling, TensorFlow and MXNet: MAPE", [item.error for item in items], 0.12, left))
    lines.append(target("scaling, TensorFlow and MXNet: speedup, mean error", speedup_errors(items, every_row), 0.10))
    items, left = errors(is_mlperf_nvidia)
    lines.append(target("MLPerf ResNet-50 on NVIDIA: throughput, MAPE", list(map(throughput_error, items)), 0.15, left))
    lines += transformer_targets(found, refused)
    covered = [item.covered for item in found if item.covered is not None]
    share = sum(covered) / len(covered) if covered else None
    if share is None:
        lines.append(Target("80% intervals hold", "75% to 90%", "no intervals", None, 0))
    else:
        lines.append(Target("80% intervals hold", "75% to 90%", percent(share), 0.75 <= share <= 0.90, len(covered)))
    return lines


def show(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    emit("\n".join([*table(columns, rows, ROOM), ""]))


def every(text: str) -> int:
    match = re.fullmatch(r"every-(\d+)(st|nd|rd|th)", text)
    if not match or int(match[1]) < 1:
        raise argparse.ArgumentTypeError(f"is {text!r}; expected such as every-5th")
    return int(match[1])


def print_by_table(found: Sequence[Prediction]) -> None:
    groups: dict[tuple[str, str, str], list[Prediction]] = defaultdict(list)
    for item in found:
        for device in ("all", item.row.device):
            groups[Path(item.row.file).stem, item.row.quantity, device].append(item)
    lines = []
    for key, items in sorted(groups.items()):
        of = error_statistics(
            np.array([item.row.measured for item in items]), np.array([item.predicted for item in items])
        )
        lines.append([*key, f"{of.rows}", *map(percent, (of.mape, of.median_ape, of.p90_ape)), f"{of.bias:+.2f}"])
    headings = ("table", "quantity", "device", "rows", "MAPE", "median", "90% within", "bias")
    show([Column(heading, right=n > 2) for n, heading in enumerate(headings)], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of measured tables")
    parser.add_argument("--model", help="of the estimates; the default model otherwise")
    parser.add_argument("--only", type=every, default=1, metavar="every-Nth", help="rows of each table")
    args = parser.parse_args()
    paths = sorted(args.folder.glob("*.csv"))
    if not paths:
        parser.error(f"{args.folder}: no tables (*.csv)")
    reference = args.folder.resolve().parent / "reference"
    batch = inception_batch(reference) if (reference / "paper_tables.csv").is_file() else None
    options = Options(model=args.model) if args.model else Options()
    every_row: list[Prediction] = []
    refused: list[Refusal] = []
    kept: set[tuple[str, str]] = set()
    for path in paths:
        rows = [with_batch(row, batch) for row in read_measured_table(path)]
        kept |= {(row.file, row.id) for row in rows[:: args.only]}
        predictions, others = predict(rows, options)
        every_row += predictions
        refused += others
    found = [item for item in every_row if (item.row.file, item.row.id) in kept]
    refused = [item for item in refused if (item.row.file, item.row.id) in kept]
    print(f"model {options.model} · {len(found)} rows predicted, {len(refused)} refused\n")
    words = {None: "–", True: "yes", False: "no"}
    show(
        [Column("target", right=False), *map(Column, ("bar", "reached", "rows", "refused", "met"))],
        [
            [line.name, line.bar, line.reached, f"{line.rows}", f"{line.refused}", words[line.met]]
            for line in targets(found, refused, every_row, reference)
        ],
    )
    print_by_table(found)
    emit("\n".join(refused_lines(refused, False, ROOM)))


if __name__ == "__main__":
    main()
