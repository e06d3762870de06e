"""A step's timeline as a Chrome trace, which chrome://tracing and https://ui.perfetto.dev open.

Trace Event Format, JSON object: complete events ("X") in microseconds; a process for each stage, and in it a thread for
each stream, on which no two events overlap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from paleo_opt.estimator.pipeline_schedule import BACKWARD, FORWARD, KINDS, StepTimeline
from paleo_opt.report.files import write_whole

#: The streams of a stage, and on which of them each of `KINDS` runs.
STREAMS = ("computation", "sends forward", "sends backward", "gradients and parameters")
_STREAM_OF = {
    "gather": 3, "forward": 0, "backward": 0, "send_forward": 1, "send_backward": 2, "reduce": 3, "update": 0,
}  # fmt: skip


def chrome_trace(timeline: StepTimeline, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The trace as an object to write as JSON.

    Stages, chunks and micro-batches count from 1, as in the drawing. A pass says in its arguments what of it is
    computation and what communication, where that is known.

    Args:
        timeline: Of one step.
        about: More about it, for who opens the file.
    """
    events = [*_names(timeline), *_complete(timeline)]
    facts = {"step_time_s": timeline.step_s, "schedule": timeline.times.schedule, **(about or {})}
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": facts}


def write_chrome_trace(option: str, path: str, timeline: StepTimeline, about: Mapping[str, Any] | None = None) -> None:
    """Write the trace whole or not at all.

    Raises:
        SpecError: it cannot be written.
    """
    write_whole(option, path, json.dumps(chrome_trace(timeline, about), separators=(",", ":")) + "\n")


def _names(timeline: StepTimeline) -> list[dict[str, Any]]:
    """Metadata events: what processes and threads are called, and in which order they are shown."""
    events = []
    used = {(int(stage), _STREAM_OF[KINDS[kind]]) for stage, kind in zip(timeline.stage, timeline.kind, strict=True)}
    for stage in range(timeline.times.stages):
        process = {"ph": "M", "pid": stage, "tid": 0, "ts": 0}
        name = f"stage {stage + 1} of {timeline.times.stages}"
        events.append({**process, "name": "process_name", "args": {"name": name}})
        events.append({**process, "name": "process_sort_index", "args": {"sort_index": stage}})
        for stream in sorted(stream for of, stream in used if of == stage):
            thread = {**process, "tid": stream}
            events.append({**thread, "name": "thread_name", "args": {"name": STREAMS[stream]}})
            events.append({**thread, "name": "thread_sort_index", "args": {"sort_index": stream}})
    return events


def _complete(timeline: StepTimeline) -> list[dict[str, Any]]:
    """The events that last."""
    times = timeline.times
    # Both ends in whole nanoseconds, so that neighbours meet and never overlap by a rounding.
    starts = np.rint(timeline.start_s * 1e9).astype(np.int64)
    lasting = np.rint(timeline.end_s * 1e9).astype(np.int64) - starts
    columns = (timeline.stage, timeline.kind, timeline.micro_batch, timeline.chunk, starts, lasting)
    events = []
    for stage, kind, micro_batch, chunk, start, duration in zip(*(each.tolist() for each in columns), strict=True):
        name = KINDS[kind].replace("_", " ")
        event: dict[str, Any] = {
            "ph": "X", "name": name, "cat": KINDS[kind], "pid": stage, "tid": _STREAM_OF[KINDS[kind]],
            "ts": start / 1e3, "dur": duration / 1e3,
        }  # fmt: skip
        if micro_batch >= 0:
            event["name"] = f"{name} {micro_batch + 1}"
            event["args"] = {"micro_batch": micro_batch + 1}
            if times.virtual_stages > 1:
                event["args"]["chunk"] = chunk + 1
            parts = {FORWARD: times.forward_parts, BACKWARD: times.backward_parts}.get(kind, {})
            event["args"] |= {f"{part}_s": float(each[chunk * times.stages + stage]) for part, each in parts.items()}
        events.append(event)
    return events
