"""The drawings of a step's timeline: what a reader sees of the schedule, in text and as a picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.estimator.pipeline_schedule import BACKWARD, FORWARD, StageTimes, StepTimeline, step_timeline
from paleo_opt.report.timeline import render_timeline
from paleo_opt.report.timeline_picture import PICTURES, timeline_picture
from paleo_opt.report.timeline_rows import layout_of

_MARKS = re.compile("\x1b\\[[012]m")


def step(p: int, m: int, schedule: str = "1f1b", v: int = 1, **more: Any) -> StepTimeline:
    """Stages alike: a forward pass of a stage takes 10 ms, a backward pass 20 ms."""
    return step_timeline(StageTimes(p, v, m, schedule, np.full(p * v, 0.01 / v), np.full(p * v, 0.02 / v), **more))


def drawn(timeline: StepTimeline, room: int = 100) -> list[str]:
    return _MARKS.sub("", render_timeline(timeline, room)).split("\n")


def test_a_small_pipeline_pass_by_pass() -> None:
    # 36 columns of 5 ms: a forward pass has two and a backward pass four.
    assert drawn(step(3, 4), 51) == [
        "one step: 1F1B, 3 stages, 4 micro-batches, 180 ms",
        "         │0                  │100 ms",
        "stage 1  1░2░3░        1███4░2███  3███  4███   67%",
        "stage 2    1░2░    1███3░2███4░3███  4███       67%",
        "stage 3      1░1███2░2███3░3███4░4███           67%",
        "  passes 67% of the step",
        "  waiting for other stages 33%",
        "  ░ forward · █ backward · blank: waits",
        "  numbers: micro-batches · right: share in passes",
    ]


def test_one_device_with_its_gradients_on_their_way() -> None:
    timeline = step(1, 2, reduce_s=np.full(1, 0.01), update_s=np.full(1, 0.005), hidden_reduce_s=np.full(1, 0.02))
    # 75 columns of 1 ms.
    assert drawn(timeline, 94)[1:5] == [
        "             │0                  │20 ms              │40 ms              │60 ms",
        "computation  1░░░░░░░░░1███████████████████2░░░░░░░░░2███████████████████──────────+++++",
        "gradients                                            ──────────────────────────────",
        "  passes 80% of the step · exposed gradients 10 ms · update 5 ms",
    ]


@pytest.mark.parametrize("room", [80, 100])
@pytest.mark.parametrize(("p", "m", "schedule", "v"), [
    (1, 1, "1f1b", 1), (1, 64, "1f1b", 1), (4, 8, "1f1b", 1), (4, 8, "gpipe", 1), (4, 8, "1f1b", 2),
    (8, 512, "1f1b", 1), (4, 512, "gpipe", 1), (64, 512, "1f1b", 1), (64, 64, "1f1b", 4), (16, 48, "1f1b", 6),
])  # fmt: skip
def test_any_step_fits_the_terminal(p: int, m: int, schedule: str, v: int, room: int) -> None:
    lines = drawn(step(p, m, schedule, v, reduce_s=np.full(p, 0.01), hidden_reduce_s=np.full(p, 0.01)), room)
    assert max(map(len, lines)) <= room
    assert len(lines) <= 16 + 8
    assert any("forward" in line and "backward" in line for line in lines)


def test_the_repeating_middle_of_a_long_step_is_left_out_and_said_so() -> None:
    lines = drawn(step(4, 512), 80)
    assert lines[2].startswith("stage 1  ░░░░      1█░2█░3█░")
    assert lines[2].endswith("██ ██ ██ ██   99%")
    # 32 columns of 10 ms on each side of 15.45 s.
    assert "… stands for 14.8 s in which all stages go on alike" in lines[-1]


def test_gpipe_repeats_nothing_that_could_be_left_out() -> None:
    lines = drawn(step(4, 512, "gpipe"), 80)
    assert re.fullmatch(r"stage 1  ░{21,22}▒?█{43,44} +99%", lines[2])
    assert "a column shows what fills most of it" in lines[-1]


def test_of_many_stages_some_are_shown_and_said_so() -> None:
    lines = drawn(step(64, 512))
    stages = [int(line.split()[1]) for line in lines if line.startswith("stage ")]
    assert (len(stages), stages[0], stages[-1]) == (16, 1, 64)
    assert "16 of 64 stages are shown" in lines[-1]
    assert any("▒ both in turn" in line for line in lines)


def test_the_figures_under_the_drawing_add_up_to_the_step() -> None:
    # A stage in the middle: 16 · (30 + 2 · 2) ms of passes and sends.
    timeline = step(4, 16, send_s=0.002)
    own = timeline.times.work_s + timeline.held_s + timeline.bubble_s
    assert own == pytest.approx(np.full(4, timeline.step_s))
    assert timeline.held_s == pytest.approx([0.032, 0.064, 0.064, 0.032])
    sending = 100 * float(timeline.held_s.mean()) / timeline.step_s
    assert f"sending {sending:.1f}%" in "\n".join(drawn(timeline))


def test_a_step_that_differs_from_its_estimate_is_said_to() -> None:
    timeline = step(3, 4)
    for estimated, said in ((0.2, "10% shorter"), (0.15, "20% longer"), (0.181, ""), (None, "")):
        text = render_timeline(timeline, 100, estimated)
        assert (said in text) if said else ("closed form" not in text)


def test_sends_that_overlap_are_not_in_the_rows() -> None:
    overlapped = "".join(drawn(step(4, 8, send_s=0.002, sends_overlap=1.0)))
    assert "communication" not in overlapped
    assert "communication" in "".join(drawn(step(4, 8, send_s=0.002)))


@given(st.integers(1, 20), st.integers(1, 40), st.sampled_from(["1f1b", "gpipe"]), st.integers(40, 300))
def test_what_is_shown_lies_within_the_step_and_the_columns(p: int, m: int, schedule: str, columns: int) -> None:
    timeline = step(p, m, schedule)
    layout = layout_of(timeline, columns)
    assert sum(layout.columns) + 3 * (len(layout.windows) - 1) <= columns
    assert layout.windows[0][0] == 0.0
    assert layout.windows[-1][1] == timeline.step_s
    for (_, end), (start, _) in zip(layout.windows, layout.windows[1:], strict=False):
        assert end < start
        # The middle begins after each stage's first backward pass, and ends before its last forward pass.
        passes = [timeline.start_s[timeline.kind == kind] for kind in (BACKWARD, FORWARD)]
        assert passes[0].min() < end
        assert start < passes[1].max()


def test_a_step_of_no_time_is_drawn_empty() -> None:
    timeline = step_timeline(StageTimes(2, 1, 2, "1f1b", np.zeros(2), np.zeros(2)))
    assert drawn(timeline)[2:4] == ["stage 1", "stage 2"]


PICTURED = [step(4, 8), step(8, 512), step(64, 64), step(1, 2, reduce_s=np.ones(1), hidden_reduce_s=np.ones(1))]


@pytest.mark.parametrize("timeline", PICTURED, ids=["whole", "cut", "filled", "one device"])
def test_a_picture_says_what_it_shows(timeline: StepTimeline) -> None:
    pytest.importorskip("matplotlib")
    picture = timeline_picture(timeline, "svg", title="some network")
    texts = [element.text for element in ElementTree.fromstring(picture).iter() if element.tag.endswith("}text")]
    said = "\n".join(filter(None, texts))
    assert f"some network · {render_timeline(timeline, 100).splitlines()[0]}" in said
    assert {"forward", "backward", "waiting"} <= set(texts)
    assert ("the cut stands for" in said) == (timeline is PICTURED[1])
    assert ("32 of 64 stages are shown" in said) == (timeline is PICTURED[2])
    assert ("gradients" in texts) == (timeline is PICTURED[3])
    assert timeline_picture(timeline, "svg", title="some network") == picture


def test_chunks_of_interleaved_stages_differ_in_the_picture() -> None:
    pytest.importorskip("matplotlib")
    colours = [set(re.findall(rb"fill: (#[0-9a-f]{6})", timeline_picture(step(4, 8, v=v), "svg"))) for v in (1, 3)]
    # Two more of each direction, and that of the remark below.
    assert len(colours[1]) == len(colours[0]) + 5
    assert b"later chunks of a stage are lighter" in timeline_picture(step(4, 8, v=3), "svg")


def test_the_numbers_of_micro_batches_are_in_their_passes() -> None:
    pytest.importorskip("matplotlib")
    picture = ElementTree.fromstring(timeline_picture(step(4, 8), "svg"))
    texts = [element.text for element in picture.iter() if element.tag.endswith("}text")]
    assert all(texts.count(str(number)) == 8 for number in range(1, 9))


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_kinds_of_picture(kind: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    assert set(PICTURES) == {"png", "pdf", "svg"}
    assert timeline_picture(step(2, 3), kind).startswith(start)
