"""The answer to ``calibrate``: each constant before and after, what the rows do not tell, and the errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paleo_opt.calibration.calibrate import Calibration, Meant
from paleo_opt.calibration.fit import Fitted
from paleo_opt.hardware.constant import Constant, format_constant, format_value
from paleo_opt.report import terminal
from paleo_opt.report.strategy_text import plural
from paleo_opt.report.terminal import Column, bold, dim, percent, table

#: Of rows refused for one reason, and of reasons.
_NAMED, _REASONS = 3, 8


def display_name(name: str) -> str:
    """A constant's name with what it belongs to: ``device.vector``, ``platform.products``, ``link.step``."""
    return name if "." in name else f"device.{name}"


def calibration_json(
    answer: Calibration, files: Sequence[str] = (), recommended: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The answer; docs/cli.md says what each field means."""
    fit = answer.fit
    return {
        "device": answer.device.name,
        "platform": answer.platform.name,
        "link": answer.link.name if answer.link else None,
        "rows": len(answer.ids),
        "scatter": fit.scatter,
        "constants": [
            {
                "name": display_name(meant.name),
                "unit": meant.meaning.unit,
                "before": meant.given.value,
                "before_deviation": meant.given.deviation,
                "after": fitted.value,
                "after_deviation": fitted.deviation,
                "bootstrap_deviation": fitted.bootstrap,
                "verdict": fitted.verdict,
                "read_off": meant.reason or None,
            }
            for meant, fitted in zip(answer.constants, fit.fitted, strict=True)
        ],
        "exact": [display_name(name) for name in answer.exact],
        "errors": {
            kind: {
                "rows": rows,
                "mape_before": float(before.mean()),
                "mape_after": float(after.mean()),
                "median_before": float(np.median(before)),
                "median_after": float(np.median(after)),
            }
            for kind, (rows, before, after) in answer.errors().items()
        },
        "refused": [{"id": row.id, "reason": row.reason} for row in answer.refused],
        "recommended": recommended,
        "files": list(files),
    }


def render(answer: Calibration, files: Sequence[str] = (), recommended: Mapping[str, Any] | None = None) -> str:
    """For a terminal."""
    room = terminal.width()
    link = f" · {answer.link.name}" if answer.link else ""
    lines = [
        bold(f"{answer.device.name} · {answer.platform.name}{link}"),
        f"{plural(len(answer.ids), 'row')} fitted, {len(answer.refused):,} refused",
        "",
    ]
    pairs = list(zip(answer.constants, answer.fit.fitted, strict=True))
    checked = any(fitted.bootstrap is not None for _, fitted in pairs)
    columns = [
        Column("constant", right=False),
        Column("before"),
        Column("after"),
        Column("verdict", right=False, shrinks_to=20),
    ]
    cells = [
        [display_name(meant.name), _before(meant), _after(meant, fitted), _said(meant, fitted)]
        for meant, fitted in pairs
    ]
    if checked:
        columns.insert(3, Column("bootstrap"))
        for row, (_, fitted) in zip(cells, pairs, strict=True):
            row.insert(3, f"± {percent(fitted.bootstrap)}" if fitted.bootstrap is not None else "")
    lines += table(columns, cells, room)
    if answer.exact:
        lines += terminal.wrapped(f"taken as exact: {', '.join(map(display_name, answer.exact))}", room, "  ")
    lines += ["", *_errors(answer, room)]
    lines += _refused(answer, room)
    if recommended is not None:
        lines += ["", *_recommended(recommended, room)]
    if files:
        lines += ["", *terminal.wrapped(f"wrote {', '.join(files)}", room, "  ")]
    return "\n".join(lines)


def _before(meant: Meant) -> str:
    return format_constant(Constant(meant.given.value, round(meant.given.deviation, 3)), meant.meaning)


def _after(meant: Meant, fitted: Fitted) -> str:
    return f"{format_value(fitted.value, meant.meaning)} ± {100.0 * fitted.deviation:.2g}%"


def _said(meant: Meant, fitted: Fitted) -> str:
    if fitted.verdict.startswith("only with "):
        return f"only with {display_name(fitted.verdict.removeprefix('only with '))}"
    if meant.reason and fitted.verdict == "kept its prior":
        return "read off the fastest row"
    return fitted.verdict


def _errors(answer: Calibration, room: int) -> list[str]:
    columns = [
        Column("errors", right=False), Column("rows"), Column("mean"), Column("→"), Column("median"), Column("→ "),
    ]  # fmt: skip
    cells = [
        [kind, f"{rows:,}", *(percent(float(of(errors))) for of in (np.mean, np.median) for errors in (before, after))]
        for kind, (rows, before, after) in answer.errors().items()
    ]
    return table(columns, cells, room)


def _refused(answer: Calibration, room: int) -> list[str]:
    if not answer.refused:
        return []
    reasons = Counter(row.reason for row in answer.refused)
    lines = ["", f"{plural(len(answer.refused), 'row')} refused"]
    for reason, count in reasons.most_common(_REASONS):
        ids = [row.id for row in answer.refused if row.reason == reason]
        more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
        lines += terminal.wrapped(f"{', '.join(ids[:_NAMED])}{more}: {reason}", room, "    ", "  ")
    if len(reasons) > _REASONS:
        lines.append(dim(f"  and {len(reasons) - _REASONS:,} reasons more (--json)"))
    return lines


def _recommended(recommended: Mapping[str, Any], room: int) -> list[str]:
    names = ("cluster", "gpus", "micro_batch", "collective", "precision")
    shown = ("step_time_s", "time_to_target_s", "cost_usd")
    rows = []
    for name in (*names, *shown):
        of = "strategy" if name in names else "estimate"
        values = [(recommended[when] or {}).get(of, {}).get(name) for when in ("before", "after")]
        if values != [None, None]:
            rows.append([name, *(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)])
    return table([Column("recommended", right=False), Column("before"), Column("after")], rows, room)
