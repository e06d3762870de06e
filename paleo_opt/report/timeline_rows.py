"""What the drawings of a step's timeline share: their rows, what of the step they show, and what each of its cells is.

A drawing has so many columns. Where a pass is no shorter than one, each is drawn. Else, where the middle of the step
repeats itself, as it does under 1F1B, it is left out; and where it does not, or the rest would still not do, a cell
shows what fills most of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paleo_opt.estimator.pipeline_schedule import (
    BACKWARD,
    FORWARD,
    GATHER,
    REDUCE,
    SEND_BACKWARD,
    SEND_FORWARD,
    UPDATE,
    Floats,
    Integers,
    StepTimeline,
)

#: What a stage does, or a cell shows; `BOTH` only a cell, and `WAITING` where there is nothing.
WAITING, FORWARDS, BACKWARDS, SENDING, UPDATING, BOTH = range(-1, 5)
_DOING = {
    GATHER: SENDING, FORWARD: FORWARDS, BACKWARD: BACKWARDS, SEND_FORWARD: SENDING, SEND_BACKWARD: SENDING,
    REDUCE: SENDING, UPDATE: UPDATING,
}  # fmt: skip
_MOST_ROWS = 16
#: Columns between the two ends of a step whose middle is left out.
CUT = 3
#: How much of a cell must be of the lesser of the two directions for it to show both.
_SHARED = 0.15
#: How much of a cell must be filled for it not to show that the stage waits.
_FILLED = 0.4


@dataclass(frozen=True, eq=False)
class Row:
    """What one stage does, one thing after the other. Arrays of shape (n,).

    Attributes:
        name: Of the row.
        stage: From 0.
        doing: `FORWARDS` to `UPDATING`.
        micro_batch: From 0; -1 for none.
        chunk: Of the stage, from 0; -1 for none.
        start_s: From the start of the step [s].
        end_s: Likewise.
    """

    name: str
    stage: int
    doing: Integers
    micro_batch: Integers
    chunk: Integers
    start_s: Floats
    end_s: Floats


@dataclass(frozen=True, eq=False)
class Layout:
    """What of a step is shown where.

    Attributes:
        rows: From the first stage to the last, some left out where there are many.
        windows: Start and end of what is shown [s]; two where the middle is left out.
        columns: Of each window.
        single: Whether each pass is drawn, rather than what fills most of a cell.
    """

    rows: tuple[Row, ...]
    windows: tuple[tuple[float, float], ...]
    columns: tuple[int, ...]
    single: bool


def layout_of(timeline: StepTimeline, columns: int, most_rows: int = _MOST_ROWS) -> Layout:
    """What to show of a step in so many columns."""
    times = timeline.times
    shown = np.unique(np.rint(np.linspace(0, times.stages - 1, min(times.stages, most_rows))).astype(int)).tolist()
    rows = [_row(timeline, stage, f"stage {stage + 1}", apart=False) for stage in shown]
    if times.stages == 1:
        rows = [_row(timeline, 0, "computation", apart=False)]
        if times.hidden_reduce_s[0] > 0:
            rows.append(_row(timeline, 0, "gradients", apart=True))
    # A forward pass is to have a column; it is the shorter of the two.
    unit = float(np.median(times.forward_s))
    if unit * columns >= timeline.step_s:
        return Layout(tuple(rows), ((0.0, timeline.step_s),), (columns,), single=True)
    half = (columns - CUT) // 2
    reach = half * unit
    if reach >= 1.2 * _ends_s(timeline) and 2 * reach < timeline.step_s:
        windows = ((0.0, reach), (timeline.step_s - reach, timeline.step_s))
        return Layout(tuple(rows), windows, (half, half), single=True)
    return Layout(tuple(rows), ((0.0, timeline.step_s),), (columns,), single=False)


def _ends_s(timeline: StepTimeline) -> float:
    """How long the longer end of the step is: before the first backward pass of the first stage, or after its last
    forward pass [s].
    """
    first = timeline.stage == 0
    backward = timeline.end_s[first & (timeline.kind == BACKWARD)]
    forward = timeline.start_s[first & (timeline.kind == FORWARD)]
    return max(float(backward.min()), timeline.step_s - float(forward.max()))


def _row(timeline: StepTimeline, stage: int, name: str, apart: bool) -> Row:
    """A stage's row: what keeps it from computing, or, ``apart``, its gradients and parameters on their way."""
    times, kind = timeline.times, timeline.kind
    shown = np.isin(kind, (GATHER, REDUCE)) if apart else True
    found = np.flatnonzero((timeline.stage == stage) & shown)
    start, end = timeline.start_s[found], timeline.end_s[found]
    if not apart:
        start = np.where(kind[found] == REDUCE, end - times.reduce_s[stage], start)
        sends = (kind[found] == SEND_FORWARD) | (kind[found] == SEND_BACKWARD)
        end = np.where(sends, start + (1.0 - times.sends_overlap) * (end - start), end)
    lasting = np.flatnonzero(end > start)
    order = lasting[np.argsort(start[lasting], kind="stable")]
    found = found[order]
    doing = np.array([_DOING[each] for each in range(len(_DOING))])[kind[found]]
    return Row(name, stage, doing, timeline.micro_batch[found], timeline.chunk[found], start[order], end[order])


def cells(row: Row, window: tuple[float, float], columns: int, single: bool) -> tuple[Integers, Integers]:
    """What each cell of a row shows, and the number in ``row`` of what is drawn there; -1 where no single thing is.

    Shapes (columns,).
    """
    edges = np.linspace(*window, columns + 1)
    nothing = np.full(columns, -1)
    if single:
        middle = (edges[1:] + edges[:-1]) / 2
        place = np.searchsorted(row.start_s, middle, side="right") - 1
        place = np.where((place >= 0) & (middle < np.append(row.end_s, 0.0)[place]), place, -1)
        return np.append(row.doing, WAITING)[place], place
    share = np.array([_covered(row, doing, edges) for doing in (FORWARDS, BACKWARDS, SENDING, UPDATING)])
    share /= edges[1] - edges[0]
    shown = np.where(share.sum(axis=0) < _FILLED, WAITING, share.argmax(axis=0))
    passes = share[:2].sum(axis=0)
    shared = (shown >= 0) & (shown <= BACKWARDS) & (share[:2].min(axis=0) > _SHARED * passes)
    return np.where(shared, BOTH, shown), nothing


def _covered(row: Row, doing: int, edges: Floats) -> Floats:
    """Seconds of each cell in which a row does one thing."""
    chosen = row.doing == doing
    start, end = row.start_s[chosen], row.end_s[chosen]
    if not start.size:
        return np.zeros(edges.size - 1)
    turns = np.stack([start, end], axis=1).ravel()
    done = np.concatenate([[0.0], np.repeat(np.cumsum(end - start), 2)[:-1]])
    covered: Floats = np.diff(np.interp(edges, turns, done))
    return covered
