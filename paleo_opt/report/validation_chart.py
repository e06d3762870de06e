"""Predicted against measured as a picture, PNG or SVG, drawn with matplotlib (the optional extra ``plots``)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from paleo_opt.report.static_charts import COLOURS, check_plots
from paleo_opt.report.units import short_count
from paleo_opt.report.validation import figure
from paleo_opt.validation.validate import Validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What is within this share of the measured value lies in the band.
BAND = 0.2
_SHAPES = "os^Dv<>P"
_OTHERS = "#9a9a9a"
_UNITS = {
    "time": ("step_time_s", "forward_time_s", "backward_time_s", "train_time_s"),
    "samples/s": ("samples_per_s",),
    "tokens/s": ("tokens_per_s", "tokens_per_s_per_gpu"),
}
#: Inches, and dots an inch.
_PANEL, _LEGEND, _DPI = 4.6, 0.6, 150


def panels(answer: Validation) -> dict[str, list[int]]:
    """The predictions by the unit they share an axis in: times, samples/s, tokens/s, or a quantity by itself."""
    units = {quantity: unit for unit, names in _UNITS.items() for quantity in names}
    found: dict[str, list[int]] = {}
    for place, item in enumerate(answer.predictions):
        found.setdefault(units.get(item.row.quantity, item.row.quantity), []).append(place)
    return found


def validation_picture(answer: Validation, kind: str) -> bytes:
    """A picture as bytes: one panel a unit, logarithmic, with the diagonal and the band around it; colours are devices.

    Args:
        answer: What to draw; at least one prediction.
        kind: ``png`` or ``svg``.

    Raises:
        SpecError: matplotlib is not installed.
    """
    check_plots("--plot")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = panels(answer)
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    devices = list(answer.by("device"))[: len(COLOURS)]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "paleo-opt", "text.parse_math": False}):
        figure = Figure(figsize=(_PANEL * columns, _PANEL * rows + _LEGEND), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        for number, (unit, places) in enumerate(shown.items(), 1):
            _draw(answer, places, devices, unit, figure.add_subplot(rows, columns, number))
        handles: dict[str, Any] = {}
        for axes in figure.axes:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        order = [name for name in (*devices, "other devices") if name in handles]
        figure.legend(
            handles=[handles[name] for name in order],
            labels=order,
            loc="outside lower center",
            ncols=max(3, 3 * columns),
            fontsize=8,
            frameon=False,
        )
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return stream.getvalue()


def _draw(answer: Validation, places: list[int], devices: list[str], unit: str, axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    items = [answer.predictions[place] for place in places]
    values = [value for item in items for value in (item.row.measured, item.predicted)]
    ends = [min(values) / 1.5, max(values) * 1.5]
    axes.fill_between(
        ends, [end * (1 - BAND) for end in ends], [end * (1 + BAND) for end in ends], color="#eeeeee", lw=0, zorder=0
    )
    axes.plot(ends, ends, color="#666666", lw=0.8, zorder=1)
    for device in (*devices, ""):
        chosen = [item for item in items if (item.row.device if item.row.device in devices else "") == device]
        if not chosen:
            continue
        number = devices.index(device) if device else 0
        axes.scatter(
            [item.row.measured for item in chosen],
            [item.predicted for item in chosen],
            s=16,
            c=COLOURS[number] if device else _OTHERS,
            marker=_SHAPES[number] if device else "o",
            alpha=0.75,
            linewidths=0,
            label=device or "other devices",
            zorder=3,
        )
    quantity = items[0].row.quantity
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0,) if ends[1] > 30 * ends[0] else (1.0, 2.0, 5.0), numticks=6))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(quantity, value)))
        axis.set_minor_locator(NullLocator())
    axes.set_aspect("equal")
    axes.tick_params(labelsize=8)
    axes.set_xlabel(f"measured {unit}")
    axes.set_ylabel(f"predicted {unit}")
    axes.grid(True, which="major", lw=0.4, color="#dddddd")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    within = sum(abs(item.error) <= BAND for item in items)
    axes.set_title(f"{within} of {len(items)} within ±{BAND:.0%}", loc="left", fontsize=10)


def _tick(quantity: str, value: float) -> str:
    """A power of ten on an axis, short enough for its neighbours: ``100 k/s``, ``1,000 s``."""
    if quantity.endswith("_per_s") and value >= 1e3:
        return f"{short_count(value)}/s"
    if quantity.endswith("time_s") and value >= 1.0:
        return f"{value:,.0f} s"
    return figure(quantity, value)
