"""What ``paleo-opt measure`` says: what was measured, and which files hold it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from paleo_opt import quantities
from paleo_opt.measuring.measure import Measured, Progress


@contextmanager
def show_progress() -> Iterator[Progress]:
    """One line on stderr that goes when the answer comes; nothing where stderr is no terminal."""
    shows = sys.stderr.isatty()

    def progress(done: int, total: int, what: str) -> None:
        if shows:
            print(f"\r\x1b[K{done} of {total}: {what}"[:100], end="", file=sys.stderr, flush=True)

    try:
        yield progress
    finally:
        if shows:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _by_operation(measured: Measured) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in measured.rows:
        counts[row.operation] = counts.get(row.operation, 0) + 1
    return counts


def render(measured: Measured, folder: str, files: Iterable[str]) -> str:
    """For a reader."""
    parts = [f"{count} {name}" for name, count in _by_operation(measured).items()]
    lines = [f"{measured.device} · {measured.software}", f"measured: {', '.join(parts) or 'steps alone'}"]
    if measured.rows:
        spread = sorted(row.spread for row in measured.rows)[len(measured.rows) // 2]
        lines.append(f"typical spread of the runs of one operation: {spread:.1%}")
    for step in measured.steps:
        of = f"{step.gpus} process{'es' if step.gpus > 1 else ''} of {step.micro_batch}"
        lines.append(
            f"{step.quantity:16} {of:18} {quantities.format_time(step.timing.seconds)} ± {step.timing.spread:.1%}"
        )
    lines += [f"left out: {reason}"[:100] for reason in measured.left_out]
    lines += ["", f"wrote to {folder}: {', '.join(files)}"]
    if measured.rows:
        words = f"paleo-opt calibrate {folder}/micro.csv --device {measured.device} --out {folder}"
        lines.append(f"next: PALEO_OPT_PATH={folder} {words}")
    return "\n".join(lines)


def measurement_json(measured: Measured, folder: str, files: Sequence[str]) -> dict[str, Any]:
    """As the answer of ``--json``."""
    return {
        "device": measured.device,
        "software": measured.software,
        "rows": len(measured.rows),
        "operations": _by_operation(measured),
        "steps": [
            {
                "network": step.network,
                "gpus": step.gpus,
                "micro_batch": step.micro_batch,
                "quantity": step.quantity,
                "time_s": step.timing.seconds,
                "spread": step.timing.spread,
            }
            for step in measured.steps
        ],
        "left_out": list(measured.left_out),
        "files": [f"{folder}/{name}" for name in files],
    }
