"""A step's timeline as text: a line for each stage, what it does from left to right, and when it waits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from paleo_opt.estimator.pipeline_schedule import StageTimes, StepTimeline
from paleo_opt.quantities import format_time
from paleo_opt.report.terminal import dim, joined, percent, wrapped
from paleo_opt.report.timeline_rows import (
    BACKWARDS,
    BOTH,
    CUT,
    FORWARDS,
    SENDING,
    UPDATING,
    WAITING,
    Layout,
    Row,
    cells,
    layout_of,
)

_SIGNS = {WAITING: " ", FORWARDS: "░", BACKWARDS: "█", SENDING: "─", UPDATING: "+", BOTH: "▒"}
_MEANINGS = {
    FORWARDS: "forward", BACKWARDS: "backward", BOTH: "both in turn", SENDING: "communication", UPDATING: "update",
    WAITING: "blank: waits",
}  # fmt: skip
#: Columns from one tick of the time axis to the next, at least.
_APART = 12
#: By how much two steps may differ that are said to be one.
_ALIKE = 0.01
_LEFT_OUT = "…".center(CUT)


def schedule_name(times: StageTimes) -> str:
    """The schedule of a step in words."""
    if times.stages == 1:
        return "one stage"
    if times.virtual_stages > 1:
        return f"interleaved 1F1B, {times.stages} stages × {times.virtual_stages} virtual"
    return f"{'GPipe' if times.schedule == 'gpipe' else '1F1B'}, {times.stages} stages"


def heading(timeline: StepTimeline) -> str:
    """What is drawn: the schedule, how many micro-batches, how long."""
    count = timeline.times.micro_batches
    batches = f"{count:,} micro-batch{'es' if count > 1 else ''}"
    return f"one step: {schedule_name(timeline.times)}, {batches}, {format_time(timeline.step_s)}"


def figures(timeline: StepTimeline) -> list[str]:
    """How much of the step passes take, and what in them; how much stages wait; and what else takes time."""
    times, step = timeline.times, timeline.step_s
    if not step:
        return []
    inside = times.parts_s
    parts = [f"passes {percent(float(times.work_s.mean()) / step)} of the step"]
    if len(inside) > 1:
        parts[0] += f" ({', '.join(f'{name} {percent(seconds / step)}' for name, seconds in inside.items())})"
    if times.stages > 1:
        sending = float(timeline.held_s.mean()) / step
        parts += [f"sending {percent(sending)}"] if sending else []
        parts.append(f"waiting for other stages {percent(float(timeline.bubble_s.mean()) / step)}")
    for seconds, name in (
        (float(times.gather_s.max()), "gathering parameters"),
        (float(times.reduce_s.max()), "exposed gradients"),
        (float(times.update_s.max()), "update"),
    ):
        if seconds:
            parts.append(f"{name} {format_time(seconds)}")
    return parts


def remarks(timeline: StepTimeline, layout: Layout, cut: str = "…") -> list[str]:
    """What a drawing leaves out, and how to read it."""
    said = []
    if len(layout.windows) > 1:
        (_, left), (right, _) = layout.windows
        said.append(f"{cut} stands for {format_time(right - left)} in which all stages go on alike")
    if not layout.single:
        said.append("passes are shorter than a column: a column shows what fills most of it")
    if 1 < len(layout.rows) < timeline.times.stages:
        said.append(f"{len(layout.rows)} of {timeline.times.stages} stages are shown")
    return said


def render_timeline(timeline: StepTimeline, room: int, estimated_s: float | None = None) -> str:
    """The drawing as text of at most ``room`` columns; told apart by signs alone, without colour.

    Args:
        timeline: Of one step.
        room: Columns.
        estimated_s: The step that the estimate gives in closed form, to be named where it is another [s].
    """
    stages, pipeline = timeline.times.stages, timeline.times.stages > 1
    margin = (len(f"stage {stages}") if pipeline else len("computation")) + 2
    layout = layout_of(timeline, room - margin - 6)
    lines, seen, numbered = [], set(), False
    for row in layout.rows:
        texts = []
        for window, columns in zip(layout.windows, layout.columns, strict=True):
            doing, place = cells(row, window, columns, layout.single)
            seen |= set(doing.tolist())
            signs = [_SIGNS[each] for each in doing.tolist()]
            numbered |= _number(signs, place.tolist(), row, (window[1] - window[0]) / columns)
            texts.append("".join(signs))
        text = _LEFT_OUT.join(texts)
        busy = (
            percent(float(timeline.times.work_s[row.stage]) / timeline.step_s) if pipeline and timeline.step_s else ""
        )
        lines.append(f"{row.name:<{margin}}{text} {busy:>5}".rstrip())
    legend = [f"{_SIGNS[each]} {name}".strip() for each, name in _MEANINGS.items() if each in seen]
    if numbered:
        legend.append("numbers: micro-batches")
    if pipeline:
        legend.append("right: share in passes")
    notes = [*joined(figures(timeline), room - 2, ""), *joined(legend, room - 2, "")]
    said = remarks(timeline, layout)
    if estimated_s is not None and abs(timeline.step_s - estimated_s) > _ALIKE * estimated_s:
        much = percent(abs(timeline.step_s / estimated_s - 1.0))
        than = "longer" if timeline.step_s > estimated_s else "shorter"
        said.append(f"pass by pass the step is {much} {than} than in the estimate's closed form")
    notes += [line for remark in said for line in wrapped(remark, room - 2)]
    axis = " " * margin + _LEFT_OUT.replace("…", " ").join(_axis(layout, timeline.step_s))
    return "\n".join([heading(timeline), dim(axis.rstrip()), *lines, *(dim(f"  {note}") for note in notes)])


def _number(signs: list[str], places: Sequence[int], row: Row, column_s: float) -> bool:
    """Write the number of a pass over the first of its cells, where any of its length leave one to show its kind."""
    numbered = False
    for index, place in enumerate(places):
        if place < 0 or (index and places[index - 1] == place) or row.micro_batch[place] < 0:
            continue
        text = str(int(row.micro_batch[place]) + 1)
        room = int((row.end_s[place] - row.start_s[place]) / column_s + 1e-6)
        # A pass that began before the window has its number there.
        if len(text) < room and places[index : index + room] == [place] * room:
            signs[index : index + len(text)] = text
            numbered = True
    return numbered


def nice_step(seconds: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is no shorter."""
    power = 10.0 ** math.floor(math.log10(seconds))
    return next(part * power for part in (1.0, 2.0, 5.0, 10.0) if part * power >= seconds * (1 - 1e-9))


def _axis(layout: Layout, step_s: float) -> list[str]:
    """For each window its ticks, each at the column in which its time begins."""
    texts, last = [], ""
    for (start, end), columns in zip(layout.windows, layout.columns, strict=True):
        signs = [" "] * columns
        width = (end - start) / columns
        if width > 0:
            apart = nice_step(width * _APART)
            for tick in range(math.ceil(start / apart - 1e-9), math.floor(end / apart + 1e-9) + 1):
                column = int((tick * apart - start) / width + 1e-6)
                label = format_time(float(np.round(tick * apart, 12))) if tick else "0"
                text = "│" + (label if label != last else "")  # late in a long step ticks may look alike
                if column + len(text) <= columns:
                    last = label
                    signs[column : column + len(text)] = text
        texts.append("".join(signs))
    return texts
