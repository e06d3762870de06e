"""A step's timeline as a picture, drawn with matplotlib (the optional extra ``plots``)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from paleo_opt.estimator.pipeline_schedule import StepTimeline
from paleo_opt.quantities import format_time
from paleo_opt.report.static_charts import check_plots
from paleo_opt.report.terminal import joined
from paleo_opt.report.timeline import figures, heading, remarks
from paleo_opt.report.timeline_rows import (
    BACKWARDS,
    BOTH,
    FORWARDS,
    SENDING,
    UPDATING,
    Layout,
    Row,
    cells,
    layout_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The kinds of picture, by the end of a file's name.
PICTURES = ("svg", "png", "pdf")
#: Of each thing: its name and colour. Light and dark, so that forward and backward differ without colour too.
_LOOKS = {
    FORWARDS: ("forward", "#9ccbee"),
    BACKWARDS: ("backward", "#0d5a94"),
    BOTH: ("both in turn", "#5493c1"),
    SENDING: ("communication", "#e69f00"),
    UPDATING: ("update", "#cc79a7"),
}
_WAITING = "#f1f1f1"
#: Passes are drawn one by one where they have so much of the width, in parts of it.
_COLUMNS, _MOST_ROWS = 420, 32
#: Where the middle is left out all the same, passes may have the width for their numbers.
_CUT_COLUMNS = 150
_WIDTH, _DPI = 11.0, 150
#: Inches of a row, and of all of them at most.
_ROW, _ROWS = 0.32, 5.2
#: Of one line of figures.
_CHARACTERS = 135
#: Inches that one digit of a micro-batch's number takes.
_DIGIT = 0.062


def timeline_picture(timeline: StepTimeline, kind: str, option: str = "--trace", title: str = "") -> bytes:
    """The picture as bytes; the same timeline gives the same bytes.

    Args:
        timeline: Of one step.
        kind: One of `PICTURES`.
        option: Asks for it; to be named where matplotlib is missing.
        title: What runs; above the picture.

    Raises:
        SpecError: matplotlib is not installed.
    """
    check_plots(option)
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    nothing = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}
    # Text stays text in an SVG; its names are those of its content, not of chance.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "paleo-opt", "text.parse_math": False}):
        layout = layout_of(timeline, _COLUMNS, _MOST_ROWS)
        wider = layout_of(timeline, _CUT_COLUMNS, _MOST_ROWS)
        if len(layout.windows) == len(wider.windows) > 1:
            layout = wider
        figure = Figure(figsize=(_WIDTH, 1.4 + min(_ROW * len(layout.rows), _ROWS)), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        _draw(timeline, layout, title, figure)
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, metadata=nothing[kind])
    return stream.getvalue()


def _draw(timeline: StepTimeline, layout: Layout, title: str, figure: Figure) -> None:
    from matplotlib.patches import Patch

    windows = layout.windows
    axes = figure.subplots(1, len(windows), sharey=True, squeeze=False, width_ratios=layout.columns)[0]
    seen: set[int] = set()
    for one, window, columns in zip(axes, windows, layout.columns, strict=True):
        for place, row in enumerate(layout.rows):
            one.barh(place, window[1] - window[0], 0.86, left=window[0], color=_WAITING, zorder=0)
            spans = _passes(row, window) if layout.single else _filled(row, window, columns)
            seen |= {doing for doing, _ in spans}
            for (doing, chunk), found in spans.items():
                # Thin as it may be, communication is to be seen.
                edge = "white" if layout.single and doing <= BACKWARDS else "none"
                colour = _lighter(_LOOKS[doing][1], chunk / timeline.times.virtual_stages)
                one.broken_barh(found, (place - 0.43, 0.86), facecolor=colour, edgecolor=edge, lw=0.4)
            if layout.single:
                _number(one, row, place, window, _WIDTH * 0.92 * columns / sum(layout.columns))
        _scale(one, window, len(layout.rows), len(windows))
    axes[0].set_yticks(range(len(layout.rows)), [row.name for row in layout.rows], fontsize=8)
    for one in axes[1:]:
        one.tick_params(axis="y", length=0, labelleft=False)
    if len(windows) > 1:
        # Two short strokes where the axis is cut.
        for one, side in ((axes[0], 1.0), (axes[1], 0.0)):
            one.plot(
                [side], [0], marker=[(-1, -2), (1, 2)], ms=7, color="#444444", transform=one.transAxes, clip_on=False
            )
    above = f"{title} · {heading(timeline)}" if title else heading(timeline)
    figure.suptitle(above, x=0.01, ha="left", fontsize=11, fontweight="bold")
    axes[0].set_title("\n".join(joined(figures(timeline), _CHARACTERS)), loc="left", fontsize=8.5, color="#444444")
    patches = [Patch(color=colour, label=name) for doing, (name, colour) in _LOOKS.items() if doing in seen]
    patches.append(Patch(color=_WAITING, label="waiting"))
    figure.legend(handles=patches, loc="outside lower left", ncols=6, fontsize=8, frameon=False)
    notes = remarks(timeline, layout, "the cut")
    if layout.single and timeline.times.virtual_stages > 1:
        notes.append("later chunks of a stage are lighter")
    if notes:
        figure.supxlabel("; ".join(notes), x=0.99, ha="right", fontsize=7.5, color="#666666")


def _lighter(colour: str, share: float) -> tuple[float, ...]:
    """A colour nearer to white, by a share of as far as its text stays readable."""
    from matplotlib.colors import to_rgb

    return tuple(part + (1.0 - part) * 0.45 * share for part in to_rgb(colour))


def _passes(row: Row, window: tuple[float, float]) -> dict[tuple[int, int], list[tuple[float, float]]]:
    """Start and length of what a row does in a window, by what it is and its chunk."""
    spans: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for index in np.flatnonzero((row.end_s > window[0]) & (row.start_s < window[1])):
        start, end = max(row.start_s[index], window[0]), min(row.end_s[index], window[1])
        key = int(row.doing[index]), max(int(row.chunk[index]), 0)
        spans.setdefault(key, []).append((float(start), float(end - start)))
    return spans


def _filled(row: Row, window: tuple[float, float], columns: int) -> dict[tuple[int, int], list[tuple[float, float]]]:
    """Likewise of what fills most of each cell, neighbours joined, of whatever chunk."""
    doing, _ = cells(row, window, columns, single=False)
    firsts = np.flatnonzero(np.append(True, doing[1:] != doing[:-1]))
    width = (window[1] - window[0]) / columns
    spans: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for first, end in zip(firsts, np.append(firsts[1:], columns), strict=True):
        if doing[first] in _LOOKS:
            spans.setdefault((int(doing[first]), 0), []).append((window[0] + first * width, (end - first) * width))
    return spans


def _number(axes: Axes, row: Row, place: int, window: tuple[float, float], inches: float) -> None:
    """The number of the micro-batch in each pass that has room for it."""
    for index in np.flatnonzero((row.micro_batch >= 0) & (row.doing <= BACKWARDS)):
        start, end = row.start_s[index], row.end_s[index]
        text = str(int(row.micro_batch[index]) + 1)
        if (
            start >= window[0]
            and end <= window[1]
            and (end - start) / (window[1] - window[0]) * inches > _DIGIT * (len(text) + 0.6)
        ):
            colour = "#0b2c47" if row.doing[index] == FORWARDS else "white"
            axes.text((start + end) / 2, place, text, ha="center", va="center_baseline", fontsize=6.5, color=colour)


def _scale(axes: Axes, window: tuple[float, float], rows: int, parts: int) -> None:
    """Ticks that are durations; the first stage on top."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(*window)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(10 // parts, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_time(value) if value else "0"))
    axes.tick_params(axis="both", labelsize=8, length=3)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
