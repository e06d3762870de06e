"""The answer to ``sensitivity``: which constant moves the estimate most, as a table with bars, JSON or a picture."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

from paleo_opt.estimator.tornado import Swing, Tornado
from paleo_opt.estimator.variations import PLAIN_CHANGE
from paleo_opt.network.graph import Network
from paleo_opt.report import terminal
from paleo_opt.report.static_charts import check_plots
from paleo_opt.report.strategy_text import strategy_parts
from paleo_opt.report.terminal import Column, bold, dim, percent
from paleo_opt.report.validation import signed

_SHOWN, _CELLS = 16, 10
_WORDS = {"time": "time to the target", "cost": "cost to the target", "energy": "energy to the target", "step": "step"}


@dataclass(frozen=True, eq=False)
class SensitivityAnswer:
    """What ``sensitivity`` answers.

    Attributes:
        network: What is trained.
        tornado: What moves the answer.
        model: Its name.
        remarks: What else the reader must know, one sentence each.
    """

    network: Network
    tornado: Tornado
    model: str
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The answer under its names."""
        found = self.tornado
        return {
            "network": self.network.name,
            "model": self.model,
            "strategy": found.strategy.to_json(),
            "figure": found.figure,
            "answer": found.answer,
            "constants": [
                {
                    "constant": item.constant,
                    "text": item.text,
                    "owner": item.owner,
                    "value": item.value,
                    "deviation": item.deviation,
                    "low": item.low,
                    "high": item.high,
                    "at_low": item.at_low,
                    "at_high": item.at_high,
                    "swing": item.swing,
                }
                for item in found.swings
            ],
        }


def _bars(item: Swing, answer: float, most: float) -> str:
    """``▒▒▒▒│██``: how far below and above the answer both ends lie."""
    lowest, highest = sorted((item.at_low, item.at_high))
    left, right = (abs(math.log(value / answer)) / most for value in (lowest, highest))
    below = "█" * round(left * _CELLS) if lowest < answer else ""
    above = terminal.bar(right, _CELLS) if highest > answer else ""
    return f"{below:>{_CELLS}}│{above:<{_CELLS}}"


def render(answer: SensitivityAnswer, room: int | None = None) -> str:
    """The answer as text of at most ``room`` columns (the terminal's width)."""
    room = room or terminal.width()
    found = answer.tornado
    lines = [f"{answer.network.name} · what moves the {_WORDS[found.goal]} · {answer.model} model"]
    where = terminal.joined(strategy_parts(found.strategy), room, "  ")
    lines += [bold("→" + where[0][1:]), *map(bold, where[1:])]
    if not found.swings:
        return "\n".join([*lines, f"  {found.format(found.answer)}, and nothing that is uncertain moves it"])
    first = found.swings[0]
    lowest, highest = sorted((first.at_low, first.at_high))
    text = f"{first.constant} moves it most: from {found.format(lowest)} to {found.format(highest)}"
    lines += terminal.wrapped(f"{found.format(found.answer)}; {text}", room, "  ", "  ")
    most = max(abs(math.log(value / found.answer)) for item in found.swings for value in (item.at_low, item.at_high))
    shown = found.swings[:_SHOWN]
    columns = [
        Column("constant", right=False, shrinks_to=20),
        Column("value"),
        Column("±"),
        Column("10%", keep=2),
        Column("90%", keep=2),
        Column("at 10%"),
        Column("at 90%"),
        Column("", right=False, keep=1),
    ]
    rows = [
        [
            item.constant,
            item.value,
            "10%*" if item.deviation is None else percent(item.deviation),
            item.low,
            item.high,
            signed(item.at_low / found.answer - 1.0),
            signed(item.at_high / found.answer - 1.0),
            _bars(item, found.answer, most),
        ]
        for item in shown
    ]
    lines += ["", *terminal.table(columns, rows, room)]
    notes = []
    if len(found.swings) > len(shown):
        rest = max(math.expm1(found.swings[len(shown)].swing), 1e-3)
        notes.append(f"{len(found.swings) - len(shown)} more that move it by at most {percent(rest)}: --json")
    if any(item.deviation is None for item in shown):
        notes.append(f"* nothing says how well it is known: {PLAIN_CHANGE:.0%} down and up")
    for note in [*notes, *answer.remarks]:
        lines += [dim(line) for line in terminal.wrapped(note, room, "  ")]
    return "\n".join(lines)


def picture(answer: SensitivityAnswer, kind: str) -> bytes:
    """The tornado as the bytes of a picture, ``png`` or ``svg``; the same answer gives the same bytes.

    Raises:
        SpecError: matplotlib is not installed.
    """
    check_plots("--plot")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = answer.tornado
    shown = found.swings[:_SHOWN][::-1]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "paleo-opt", "text.parse_math": False}):
        figure = Figure(figsize=(9.0, 1.6 + 0.32 * max(len(shown), 1)), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for row, item in enumerate(shown):
            for end, value, colour in ((item.low, item.at_low, "#0072b2"), (item.high, item.at_high, "#d55e00")):
                axes.barh(row, value - found.answer, left=found.answer, color=colour, height=0.7)
                right = value >= found.answer
                axes.annotate(
                    end, (value, row), xytext=(4 if right else -4, 0), textcoords="offset points", va="center",
                    ha="left" if right else "right", fontsize=7.5, color="#444444",
                )  # fmt: skip
        axes.axvline(found.answer, color="#222222", lw=1.0)
        axes.margins(x=0.18)
        axes.set_yticks(range(len(shown)), [item.constant for item in shown], fontsize=8.5)
        axes.xaxis.set_major_formatter(lambda value, _: found.format(value))
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.grid(True, axis="x", lw=0.4, color="#dddddd")
        axes.set_axisbelow(True)
        where = " · ".join(strategy_parts(found.strategy)[:1])
        axes.set_title(f"{answer.network.name} · {where}", loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel(f"{_WORDS[found.goal]}, each constant at its 10% (blue) and 90% (orange)")
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return stream.getvalue()
