"""Published samples to the target against the batch: tests/data/convergence_points.csv.

MLPerf Training reference convergence points (github.com/mlcommons/logging), means of runs to a benchmark's target. A
row with a reason in ``left_out`` is not used.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def _read() -> dict[str, tuple[Floats, Floats]]:
    found: dict[str, list[tuple[float, float]]] = {}
    with (Path(__file__).parent / "data" / "convergence_points.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if not row["left_out"]:
                found.setdefault(row["benchmark"], []).append((float(row["batch"]), float(row["mean"])))
    return {name: (np.array(points).T[0], np.array(points).T[1]) for name, points in found.items()}


#: Benchmark to its batches and means, in the unit of the file.
POINTS = _read()
