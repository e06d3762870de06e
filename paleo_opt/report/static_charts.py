"""The front as a picture, PNG or SVG, drawn with matplotlib (the optional extra ``plots``)."""

from __future__ import annotations

import io
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.quantities import format_count, format_money, format_time
from paleo_opt.report.front_chart import TIME_TICKS
from paleo_opt.report.pareto import figures_text, marks, prices_text, spent_text, title_parts
from paleo_opt.search.tradeoff import Tradeoff

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of the clusters on the front, in their order there (Okabe and Ito's colours, told apart by most eyes), and shapes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8f6b00", "#6a3d9a")
_SHAPES = "os^Dv<>P"
_OTHERS = "#b8b8b8"
_SIZE = (9.0, 5.6)
_DPI = 150
#: Marked points named on one line.
_NUMBERED = 2


def check_plots(option: str) -> None:
    """Refuse where matplotlib is not installed, before anything is computed.

    Raises:
        SpecError: with how to install it.
    """
    if find_spec("matplotlib") is None:
        raise SpecError(f"{option} needs matplotlib, which is not installed: pip install 'paleo-opt[plots]'")


def front_picture(answer: Tradeoff, kind: str) -> bytes:
    """The front as the bytes of a picture; the same answer gives the same bytes.

    Args:
        answer: What to draw.
        kind: ``png`` or ``svg``.

    Raises:
        SpecError: matplotlib is not installed.
    """
    check_plots(f"--{kind}")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Text stays text in an SVG; its names are those of its content, not of chance.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "paleo-opt", "text.parse_math": False}):
        figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        _draw(answer, figure)
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return stream.getvalue()


def _draw(answer: Tradeoff, figure: Figure) -> None:
    front, points = answer.front, answer.front.points
    axes = figure.add_subplot()
    names = np.array([block.cluster.name for block in front.blocks])[points.block]
    on_front = list(dict.fromkeys(names[front.places].tolist()))[: len(COLOURS)]
    others = ~np.isin(names, on_front)
    if others.any():
        count = np.unique(names[others]).size
        label = f"{count} other cluster{'s'[: count != 1]}"
        axes.scatter(points.time_s[others], front.second[others], s=7, c=_OTHERS, linewidths=0, label=label, zorder=1)
    for name, colour, shape in zip(on_front, COLOURS, _SHAPES, strict=False):
        of_cluster = np.flatnonzero(names == name)
        axes.scatter(points.time_s[of_cluster], front.second[of_cluster], s=9, c=colour, marker=shape, alpha=0.35, lw=0)
        chosen = np.intersect1d(of_cluster, front.places)
        axes.scatter(
            points.time_s[chosen], front.second[chosen], s=38, c=colour, marker=shape, label=name, zorder=4, lw=0
        )
    line = front.line
    axes.plot(front.time_s[line], front.spent[line], color="#444444", lw=1.0, zorder=3, drawstyle="steps-post")
    numbered = _annotate(answer, axes)
    _scale(axes, front.against == "cost_usd")
    axes.set_xlabel("time to the target")
    axes.set_ylabel("cost" if front.against == "cost_usd" else "GPUs")
    axes.grid(True, which="major", lw=0.4, color="#dddddd")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    title = " · ".join(title_parts(answer.problem, figures_text(front)))
    lines = 1 + numbered.count("\n")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=10 + 13 * lines)
    subtitle = axes.text(0.0, 1.02, numbered, transform=axes.transAxes, fontsize=8.5, color="#444444")
    subtitle.set_in_layout(False)
    figure.legend(loc="outside lower left", ncols=3, fontsize=8, frameon=False)
    dates = prices_text(answer.problem)
    if dates:
        axes.text(1.0, -0.13, dates, transform=axes.transAxes, fontsize=7, color="#777777", ha="right")


def _annotate(answer: Tradeoff, axes: Axes) -> str:
    """Number the marked points, on the side where nothing can be: the returned text says what the numbers are."""
    front = answer.front
    parts = []
    for number, (place, named) in enumerate(sorted(marks(answer).items()), 1):
        time, spent = float(front.time_s[place]), float(front.spent[place])
        axes.scatter([time], [spent], s=110, facecolors="none", edgecolors="#222222", linewidths=1.0, zorder=5)
        axes.annotate(
            str(number),
            (time, spent),
            xytext=(-9, -9),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            fontweight="bold",
            zorder=6,
        )
        parts.append(f"{number} {', '.join(named)}: {spent_text(front, spent)} in {format_time(time)}")
    rows = [parts[start : start + _NUMBERED] for start in range(0, len(parts), _NUMBERED)]
    return "\n".join("    ".join(row) for row in rows)


def _scale(axes: Axes, money: bool) -> None:
    """Logarithmic axes whose ticks are durations and sums."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_xlim()
    inside = [tick for tick in TIME_TICKS if low <= tick <= high]
    every = max(1, math.ceil(len(inside) / 9))
    axes.xaxis.set_major_locator(FixedLocator(inside[::every]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_time(value)))
    powers = [2.0**power for power in range(24)]
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if money else FixedLocator(powers))
    text = format_money if money else format_count
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
