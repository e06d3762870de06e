"""The answer to ``validate``: how far predictions are from what was measured, over which rows, and where the most."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from paleo_opt import quantities
from paleo_opt.report import terminal
from paleo_opt.report.strategy_text import plural
from paleo_opt.report.terminal import Column, bold, dim, percent, table
from paleo_opt.validation.predict import Prediction, Refusal
from paleo_opt.validation.run import ASSUMPTIONS
from paleo_opt.validation.statistics import ErrorStatistics
from paleo_opt.validation.validate import GROUPINGS, PUBLISHED, Validation

#: Shown of each grouping, of the worst rows, and of the rows refused for one reason, where not all are asked for.
_GROUPS, _WORST, _NAMED = 8, 5, 3
_BY_DEFAULT = ("quantity", "device", "network", "platform")


def validation_json(answer: Validation) -> dict[str, Any]:
    """The answer under the names of the contract; docs/cli.md says what each means."""
    found = answer.statistics
    every = ("mape", "median_ape", "p90_ape", "bias", "coverage")
    return {
        "rows": len(answer.predictions),
        "refused": [{"id": item.row.id, "reason": item.reason} for item in answer.refused],
        **{name: getattr(found, name) if found else None for name in every},
        "rank_correlation": answer.rank_correlation,
        "regret": asdict(answer.regret),
        "by": {
            grouping: {name: asdict(of) for name, of in answer.by(grouping).items()} for grouping in GROUPINGS
        },
        "predictions": [
            {
                "id": item.row.id,
                "measured": item.row.measured,
                "predicted": item.predicted,
                "low": item.low,
                "high": item.high,
                "covered": item.covered,
                "quantity": item.row.quantity,
                "platform": item.platform.name,
                "assumed": list(item.assumed),
            }
            for item in answer.predictions
        ],
        "platforms": {
            name: {"rows": rows, "fitted_constants": constants} for name, (rows, constants) in platforms(answer).items()
        },
        "assumed": assumed(answer),
        "model": answer.options.model,
        "files": list(answer.files),
    }  # fmt: skip


def platforms(answer: Validation) -> dict[str, tuple[int, int]]:
    """The platforms of the predictions: of how many rows, and how many of their constants were fitted."""
    rows = Counter(item.platform.name for item in answer.predictions)
    constants = {item.platform.name: item.platform.fitted_constants for item in answer.predictions}
    return {name: (count, constants[name]) for name, count in rows.most_common()}


def assumed(answer: Validation) -> dict[str, int]:
    """Of how many predictions each of `ASSUMPTIONS` was assumed."""
    counts = Counter(name for item in answer.predictions for name in item.assumed)
    return {name: counts[name] for name in ASSUMPTIONS}


def refused_by_reason(refused: Sequence[Refusal]) -> dict[str, list[str]]:
    """The ids of the refused rows by reason, the commonest reason first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for item in refused:
        groups[item.reason].append(item.row.id)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


# -- in words ----------------------------------------------------------------------------------------------


def figure(quantity: str, value: float) -> str:
    """A value of ``quantity`` as a person would write it."""
    if quantity.endswith("time_s"):
        return quantities.format_time(value)
    if quantity == "memory_bytes":
        return quantities.format_memory(value)
    if quantity == "mfu":
        return percent(value)
    text = f"{value:,.3g}" if value < 999.5 else f"{value:,.0f}"
    units = {"samples_per_s": "/s", "tokens_per_s": " tokens/s", "tokens_per_s_per_gpu": " tokens/s"}
    return text + units.get(quantity, " TFLOP/s" if quantity == "tflops_per_gpu" else "×")


def signed(share: float) -> str:
    """``+12%``, ``−3.4%``."""
    return f"{'−' if share < 0 else '+'}{percent(abs(share)) if share else '0%'}"


def _headline(answer: Validation, found: ErrorStatistics) -> str:
    parts = [
        plural(found.rows, "row"),
        f"MAPE {percent(found.mape)}",
        f"median {percent(found.median_ape)}",
        f"nine of ten within {percent(found.p90_ape)}",
    ]
    if found.coverage is not None:
        parts.append(f"80% intervals hold {percent(found.coverage)}")
    return " · ".join(parts)


def _statistics_table(
    heading: str, groups: Mapping[str, ErrorStatistics], extra: Mapping[str, str], most: int | None, room: int
) -> list[str]:
    shown = list(groups.items())[:most]
    columns = [
        Column(heading, right=False, shrinks_to=24),
        Column("rows"),
        Column("MAPE"),
        Column("median"),
        Column("90% within"),
        Column("bias"),
    ]
    rows = [
        [
            name,
            f"{of.rows:,}",
            percent(of.mape),
            percent(of.median_ape),
            percent(of.p90_ape),
            signed(math.expm1(of.bias)),
        ]
        for name, of in shown
    ]
    if any(of.coverage is not None for _, of in shown):
        columns.append(Column("80% hold"))
        rows = [
            [*cells, "" if of.coverage is None else percent(of.coverage)]
            for cells, (_, of) in zip(rows, shown, strict=True)
        ]
    if extra:
        columns.append(Column("fitted constants"))
        rows = [[*cells, extra[name]] for cells, (name, _) in zip(rows, shown, strict=True)]
    lines = table(columns, rows, room)
    if len(shown) < len(groups):
        lines.append(dim(f"and {len(groups) - len(shown)} more: --by {heading}"))
    return lines


def _rows_table(predictions: Sequence[Prediction], room: int) -> list[str]:
    columns = [
        Column("row", right=False, shrinks_to=30, middle=True),
        Column("quantity", right=False, constant=len(predictions) == 1),
        Column("measured"),
        Column("predicted"),
        Column("off"),
    ]
    rows = [
        [
            item.row.id,
            item.row.quantity,
            figure(item.row.quantity, item.row.measured),
            figure(item.row.quantity, item.predicted),
            signed(item.error),
        ]
        for item in predictions
    ]
    if any(item.covered is not None for item in predictions):
        columns.append(Column("80% interval", keep=1))
        rows = [[*cells, _interval(item)] for cells, item in zip(rows, predictions, strict=True)]
    return table(columns, rows, room)


def _interval(item: Prediction) -> str:
    if item.low is None or item.high is None:
        return ""
    return f"{figure(item.row.quantity, item.low)} – {figure(item.row.quantity, item.high)}"


def refused_lines(refused: Sequence[Refusal], in_full: bool, room: int) -> list[str]:
    """The refused rows, named, by reason."""
    if not refused:
        return []
    lines = ["", bold(f"{plural(len(refused), 'row')} refused")]
    for reason, ids in refused_by_reason(refused).items():
        named = ids if in_full else ids[:_NAMED]
        more = f" and {len(ids) - len(named)} more" if len(ids) > len(named) else ""
        lines += terminal.wrapped(f"{reason}: {', '.join(named)}{more}", room, " " * 7, f"{len(ids):>5}  ")
    return lines


def _notes(answer: Validation) -> list[str]:
    notes = []
    counts = {name: count for name, count in assumed(answer).items() if count}
    if counts:
        words = {name: f"the {name.replace('_', ' ')}" for name in counts}
        words |= {"cluster": "a cluster that stands for the system", "platform": "the device's default platform"}
        said = ", ".join(f"{words[name]} ({plural(count, 'row')})" for name, count in counts.items())
        notes.append(f"assumed where the row does not say it: {said}")
    regret, rank = answer.regret, answer.rank_correlation
    if rank is not None:
        notes.append(f"rank correlation {rank:.2f}")
    if regret.mean is not None and regret.max is not None:
        notes.append(
            f"the split that the model ranks first takes {percent(regret.mean)} longer than the best on average, "
            f"{percent(regret.max)} at most ({plural(regret.groups, 'group')})"
        )
    return notes


def render(answer: Validation, by: str | None = None, in_full: bool = False, room: int | None = None) -> str:
    """The answer as text.

    Args:
        answer: What to show.
        by: The one grouping to show in full; else the first groups of each.
        in_full: Every row, not only the worst.
        room: Columns; the terminal's width.
    """
    room = room or terminal.width()
    found = answer.statistics
    tables = ["published figures" if name == str(PUBLISHED) else name for name in answer.files]
    head = [f"model {answer.options.model}", *(tables if len(tables) <= _NAMED else [f"{len(tables)} tables"])]
    lines = terminal.joined(head, room)
    if found is None:
        lines.append(bold("→ no row can be predicted"))
        return "\n".join([*lines, *refused_lines(answer.refused, in_full, room)])
    lines += [bold(line) for line in terminal.wrapped(f"→ {_headline(answer, found)}", room, "  ")]
    if answer.refused:
        lines.append(f"  {plural(len(answer.refused), 'row')} refused, named below")
    constants = {name: f"{count}" for name, (_, count) in platforms(answer).items()}
    for grouping in (by,) if by else _BY_DEFAULT:
        if grouping == "platform" and answer.options.model == "paleo":
            continue  # it knows no platforms
        extra = constants if grouping == "platform" else {}
        lines += ["", *_statistics_table(grouping, answer.by(grouping), extra, None if by else _GROUPS, room)]
    worst = sorted(answer.predictions, key=lambda item: -abs(item.error))
    lines += ["", bold("every row" if in_full else "the worst rows")]
    lines += _rows_table(answer.predictions if in_full else worst[:_WORST], room)
    lines += refused_lines(answer.refused, in_full, room)
    notes = _notes(answer)
    if notes:
        lines.append("")
    for note in notes:
        lines += [dim(line) for line in terminal.wrapped(note, room, "  ")]
    return "\n".join(lines)
