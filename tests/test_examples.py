"""The examples run, and reproduce what they say they do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    sys.path.insert(0, str(EXAMPLES))
    try:
        import paper_tables
    finally:
        sys.path.remove(str(EXAMPLES))
    return paper_tables


def test_the_paper_tables_print() -> None:
    run = subprocess.run(
        [sys.executable, EXAMPLES / "paper_tables.py"],
        cwd=EXAMPLES.parent,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        env={"PYTHONPATH": str(EXAMPLES.parent), "PYTHONIOENCODING": "utf-8"},
    )
    lines = run.stdout.splitlines()
    assert run.stderr == ""
    assert max(map(len, lines)) <= 100
    assert [line.split(" · ")[0] for line in lines if line.startswith("Table")] == [f"Table {n}" for n in "2345"]
    (row,) = [line for line in lines if line.startswith("128 workers · batch 1024 · speedup")]
    assert run.stdout in (EXAMPLES.parent / "docs" / "paper.md").read_text(encoding="utf-8")
    assert row.split("[1]")[1].split()[:5] == ["39", "51.6", "+32%", "51.64", "+32%"]


def found(tables: ModuleType, table: str, quantity: str, split: str = "") -> list[float]:
    rows = [row for row in tables.read() if row["table"] == table and row["quantity"] == quantity]
    return [tables.ours(row) for row in rows if not split or row["split"] == split]


def test_nin_speeds_up_as_published(tables: ModuleType) -> None:
    """PALEO's table 4: 15.50, 25.27 and 51.64 times one worker's speed."""
    assert found(tables, "4", "speedup") == pytest.approx([15.50, 25.27, 51.64], abs=0.005)
    assert found(tables, "4", "train_hours") == pytest.approx([117.6, 7.6, 4.6, 2.3], abs=0.051)


def test_one_step_of_each_case_study_as_published(tables: ModuleType) -> None:
    """The published implementation with GEMM alone."""
    assert found(tables, "3", "step_ms") == pytest.approx([1921.8, 3959.6, 410.9], abs=0.05)


def test_hybrid_steps_as_published(tables: ModuleType) -> None:
    """PALEO's table 5 from 410.9, 423.0, 433.8 and 490.6 ms a step."""
    rows = [row for row in tables.read() if row["table"] == "5" and row["quantity"] == "train_hours"]
    steps = [tables.step_time(row, int(row["workers"]), int(row["batch"]), "gemm") * 1e3 for row in rows]
    assert steps == pytest.approx([410.9, 423.0, 433.8, 490.6, 477.0], abs=0.05)
    assert [tables.ours(row) for row in rows] == pytest.approx([96.31, 49.57, 25.42, 14.37, 55.90], abs=0.01)
    assert found(tables, "5", "speedup") == pytest.approx([1.94, 3.79, 6.70], abs=0.005)


def test_every_row_has_settings_and_a_figure(tables: ModuleType) -> None:
    rows = tables.read()
    assert len(rows) == 24
    for row in rows:
        assert row["measured"] or row["published"]
        assert row["provenance"] in ("memory", "read")
        assert bool(row["measured"]) == bool(row["measured_by"])
        assert tables.ours(row) > 0 and tables.ours(row, "auto") > 0
        assert (row["quantity"] == "train_hours") <= bool(row["samples"])
        assert (row["quantity"] == "speedup") == bool(row["baseline_batch"])
