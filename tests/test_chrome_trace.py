"""The Chrome trace of a step: what the Trace Event Format asks of it, and that it says what the timeline does."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paleo_opt.errors import SpecError
from paleo_opt.estimator.pipeline_schedule import StageTimes, StepTimeline, step_timeline
from paleo_opt.report.chrome_trace import chrome_trace, write_chrome_trace


def of_pipeline(v: int = 1, **more: Any) -> StepTimeline:
    chunks = 3 * v
    # Thirds are no whole nanoseconds.
    return step_timeline(StageTimes(
        3, v, 6, "1f1b", np.full(chunks, 0.001 / 3), np.full(chunks, 0.002 / 3), 0.0001, 1.0,
        gather_s=np.full(3, 0.0005), reduce_s=np.full(3, 0.0007), hidden_reduce_s=np.full(3, 0.0003),
        update_s=np.full(3, 0.0002), **more,
    ))  # fmt: skip


def complete(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in trace["traceEvents"] if event["ph"] == "X"]


@pytest.mark.parametrize("v", [1, 2])
def test_every_event_has_what_the_format_asks_for(v: int) -> None:
    trace = json.loads(json.dumps(chrome_trace(of_pipeline(v))))
    assert trace["displayTimeUnit"] == "ms"
    for event in trace["traceEvents"]:
        assert {"name", "ph", "ts", "pid", "tid"} <= event.keys()
        assert event["ph"] in "XM"
    for event in complete(trace):
        assert event["ts"] >= 0
        assert event["dur"] >= 0


@pytest.mark.parametrize("v", [1, 2])
def test_no_two_events_of_a_thread_overlap(v: int) -> None:
    threads: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in complete(chrome_trace(of_pipeline(v))):
        threads.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in threads.values():
        for (_, end), (start, _) in pairwise(sorted(spans)):
            # A part of a nanosecond, of adding microseconds.
            assert start >= end - 1e-6


def test_every_process_and_thread_with_events_is_named() -> None:
    trace = chrome_trace(of_pipeline())
    named = {
        (event["name"], event["pid"], event["tid"]): event["args"]["name"]
        for event in trace["traceEvents"]
        if event["name"] in ("process_name", "thread_name")
    }
    assert [named["process_name", pid, 0] for pid in range(3)] == ["stage 1 of 3", "stage 2 of 3", "stage 3 of 3"]
    assert {named["thread_name", event["pid"], event["tid"]] for event in complete(trace)} == {
        "computation", "sends forward", "sends backward", "gradients and parameters",
    }  # fmt: skip
    # The last stage sends nothing forward.
    assert ("thread_name", 2, 1) not in named


def test_the_trace_says_what_the_timeline_does() -> None:
    timeline = of_pipeline(2, forward_parts={"computation": np.arange(6) / 1e5, "tensor": np.full(6, 1e-6)})
    trace = chrome_trace(timeline, {"network": "some"})
    assert trace["otherData"] == {"step_time_s": timeline.step_s, "schedule": "1f1b", "network": "some"}
    events = complete(trace)
    assert max(event["ts"] + event["dur"] for event in events) == pytest.approx(timeline.step_s * 1e6, abs=0.001)
    passes = [event for event in events if event["cat"] in ("forward", "backward")]
    assert len(passes) == 2 * 6 * 6
    assert sum(event["dur"] for event in passes) == pytest.approx(timeline.times.work_s.sum() * 1e6, abs=0.1)
    # Chunk 2 of stage 2 is the fifth of the model.
    (found,) = (e for e in passes if (e["name"], e["pid"], e["args"]["chunk"]) == ("forward 3", 1, 2))
    assert found["args"] == {"micro_batch": 3, "chunk": 2, "computation_s": 4e-5, "tensor_s": 1e-6}


def test_the_file_is_written_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "step.json"
    write_chrome_trace("--trace", str(path), of_pipeline())
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(chrome_trace(of_pipeline())))
    assert [each.name for each in tmp_path.iterdir()] == ["step.json"]
    with pytest.raises(SpecError, match=r"--trace: .* cannot be written"):
        write_chrome_trace("--trace", str(tmp_path / "none" / "step.json"), of_pipeline())
