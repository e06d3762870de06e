"""The timeline of a pipeline's step: the papers' bubbles and activations, and what every order of passes must keep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.pipeline_schedule import (
    BACKWARD,
    FORWARD,
    GATHER,
    REDUCE,
    SEND_BACKWARD,
    SEND_FORWARD,
    UPDATE,
    StageTimes,
    StepTimeline,
    in_flight_micro_batches,
    step_timeline,
)
from paleo_opt.estimator.splits import SCHEDULES


def alike(p: int, m: int, schedule: str = "1f1b", v: int = 1, **more: Any) -> StageTimes:
    """Stages alike: a forward pass of a whole stage takes v seconds, a backward pass 2v."""
    return StageTimes(p, v, m, schedule, np.ones(p * v), np.full(p * v, 2.0), **more)


def passes(timeline: StepTimeline, stage: int) -> list[tuple[str, int]]:
    """The passes of a stage in the order of their starts: direction and micro-batch."""
    chosen = np.flatnonzero((timeline.stage == stage) & np.isin(timeline.kind, (FORWARD, BACKWARD)))
    chosen = chosen[np.argsort(timeline.start_s[chosen], kind="stable")]
    kinds, micro_batches = timeline.kind[chosen], timeline.micro_batch[chosen]
    return [("F" if kind == FORWARD else "B", int(each)) for kind, each in zip(kinds, micro_batches, strict=True)]


def spelled(rows: Iterable[tuple[str, int]]) -> str:
    return " ".join(f"{direction}{micro_batch}" for direction, micro_batch in rows)


def peak_in_flight(timeline: StepTimeline) -> list[float]:
    """Counted pass by pass: whole micro-batches' activations that each stage keeps at most."""
    peaks = []
    for stage in range(timeline.times.stages):
        kept = np.cumsum([1 if direction == "F" else -1 for direction, _ in passes(timeline, stage)])
        peaks.append(kept.max() / timeline.times.virtual_stages)
    return peaks


PIPELINES = [(2, 1), (4, 4), (4, 8), (8, 3), (7, 20)]


@pytest.mark.parametrize(("p", "m"), PIPELINES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_bubble_of_stages_alike_is_that_of_the_paper(p: int, m: int, schedule: str) -> None:
    timeline = step_timeline(alike(p, m, schedule))
    assert timeline.step_s / (3 * m) - 1 == pytest.approx((p - 1) / m, rel=1e-15)
    assert timeline.bubble_s == pytest.approx([3.0 * (p - 1)] * p)


@pytest.mark.parametrize(("p", "m", "v"), [(2, 2, 2), (4, 4, 3), (4, 8, 2), (8, 32, 4), (3, 15, 5)])
def test_interleaving_divides_the_bubble_by_the_virtual_stages(p: int, m: int, v: int) -> None:
    timeline = step_timeline(alike(p, m, v=v))
    assert timeline.step_s / (3 * v * m) - 1 == pytest.approx((p - 1) / (m * v), rel=1e-15)


def test_the_order_of_1f1b_is_that_of_the_papers_figure() -> None:
    timeline = step_timeline(alike(4, 8))
    assert spelled(passes(timeline, 0)) == "F0 F1 F2 F3 B0 F4 B1 F5 B2 F6 B3 F7 B4 B5 B6 B7"
    assert spelled(passes(timeline, 3)) == "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7"


def test_the_order_of_gpipe_is_all_forward_then_all_backward() -> None:
    timeline = step_timeline(alike(3, 4, "gpipe"))
    assert spelled(passes(timeline, 1)) == "F0 F1 F2 F3 B0 B1 B2 B3"


def test_the_order_of_the_interleaved_schedule_goes_by_groups_of_p_micro_batches() -> None:
    timeline = step_timeline(alike(2, 4, v=2))
    # Warm-up of the first stage: 2(p - 1) + (v - 1)p = 4 passes.
    assert spelled(passes(timeline, 0)) == "F0 F1 F0 F1 F2 B0 F3 B1 F2 B0 F3 B1 B2 B3 B2 B3"
    first = np.flatnonzero((timeline.stage == 0) & (timeline.kind == FORWARD))
    assert timeline.chunk[first].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    back = np.flatnonzero((timeline.stage == 0) & (timeline.kind == BACKWARD))
    assert timeline.chunk[back].tolist() == [1, 1, 0, 0, 1, 1, 0, 0]


def test_one_stage_runs_its_micro_batches_one_by_one() -> None:
    for schedule in SCHEDULES:
        timeline = step_timeline(alike(1, 3, schedule))
        assert spelled(passes(timeline, 0)) == "F0 B0 F1 B1 F2 B2"
        assert timeline.step_s == 9.0


def test_a_slow_stage_sets_the_pace() -> None:
    # Worked by hand: stage 1 (2 + 4 s) computes without a break once the first micro-batch is there (1 s), and stage 0
    # has one backward pass (2 s) left when it ends.
    times = StageTimes(2, 1, 5, "1f1b", np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    assert step_timeline(times).step_s == 1 + 5 * 6 + 2


def test_sends_that_overlap_only_delay_and_others_hold_their_stage() -> None:
    # One micro-batch has to cross each gap forward and back: 3 gaps, 2 directions.
    assert step_timeline(alike(4, 1, send_s=0.25)).step_s == 12 + 6 * 0.25
    overlapped = step_timeline(alike(4, 16, send_s=0.25, sends_overlap=1.0)).step_s
    held = step_timeline(alike(4, 16, send_s=0.25)).step_s
    assert overlapped < step_timeline(alike(4, 16, send_s=0.25, sends_overlap=0.5)).step_s < held
    # A stage in the middle sends once forward and once back for each micro-batch: 0.5 s beside 3 s of passes.
    assert 3 * 19 < overlapped < held
    assert held >= 16 * (3 + 0.5)


def test_a_link_carries_one_send_after_the_other_in_each_direction() -> None:
    timeline = step_timeline(alike(3, 6, send_s=7.0, sends_overlap=1.0))
    for stage in range(3):
        for kind in (SEND_FORWARD, SEND_BACKWARD):
            sends = np.flatnonzero((timeline.stage == stage) & (timeline.kind == kind))
            assert (timeline.start_s[sends][1:] >= timeline.end_s[sends][:-1]).all()
    # The links are the slowest: all that crosses one of them, each way, and the first and the last on their way.
    assert timeline.step_s >= 6 * 7.0


def test_interleaving_sends_v_times_as_often() -> None:
    sends = [int((step_timeline(alike(4, 8, v=v, send_s=0.1)).kind == SEND_FORWARD).sum()) for v in (1, 2, 3)]
    assert sends == [8 * (4 * v - 1) for v in (1, 2, 3)]


def test_gather_comes_before_the_passes_and_the_update_when_all_gradients_are_reduced() -> None:
    times = alike(2, 4, gather_s=np.array([1.0, 0.0]), reduce_s=np.array([0.0, 5.0]), update_s=np.array([0.5, 0.25]))
    timeline = step_timeline(times)
    # The last stage ends its passes 2 s before the first, and reduces for 5 s: 1 + 3·(4 + 1) - 2 + 5 + 0.5.
    assert timeline.step_s == 19.5
    assert timeline.start_s[timeline.kind == UPDATE].tolist() == [19.0, 19.0]
    assert timeline.start_s[timeline.kind == GATHER].tolist() == [0.0]


def test_hidden_communication_lengthens_nothing_and_ends_with_the_exposed() -> None:
    without = step_timeline(alike(2, 4, reduce_s=np.full(2, 1.0)))
    timeline = step_timeline(alike(2, 4, reduce_s=np.full(2, 1.0), hidden_reduce_s=np.full(2, 3.0)))
    assert timeline.step_s == without.step_s
    reduces = timeline.kind == REDUCE
    assert timeline.duration_s[reduces].tolist() == [4.0, 4.0]
    assert timeline.end_s[reduces].max() == timeline.step_s


seconds = st.floats(0.0, 10.0, allow_subnormal=False)


@st.composite
def uneven(draw: st.DrawFn) -> StageTimes:
    p, schedule = draw(st.integers(1, 6)), draw(st.sampled_from(SCHEDULES))
    v = draw(st.integers(1, 3)) if p > 1 and schedule == "1f1b" else 1
    m = p * draw(st.integers(1, 4)) if v > 1 else draw(st.integers(1, 14))
    forward, backward = (draw(st.lists(seconds, min_size=p * v, max_size=p * v)) for _ in range(2))
    return StageTimes(
        p, v, m, schedule, np.array(forward), np.array(backward),
        send_s=draw(seconds), sends_overlap=draw(st.sampled_from([0.0, 0.25, 1.0])),
        gather_s=np.array(draw(st.lists(seconds, min_size=p, max_size=p))),
    )  # fmt: skip


@given(uneven())
def test_every_pass_runs_once_after_what_it_needs_and_alone_on_its_stage(times: StageTimes) -> None:
    timeline = step_timeline(times)
    last = times.stages * times.virtual_stages - 1
    span = {
        (int(kind), int(chunk * times.stages + stage), int(micro_batch)): (float(start), float(end))
        for kind, chunk, stage, micro_batch, start, end in zip(
            timeline.kind, timeline.chunk, timeline.stage, timeline.micro_batch, timeline.start_s, timeline.end_s,
            strict=True,
        )
        if kind in (FORWARD, BACKWARD)
    }  # fmt: skip
    assert len(span) == 2 * (last + 1) * times.micro_batches
    send = times.send_s if times.stages > 1 else 0.0
    for (kind, place, micro_batch), (start, _) in span.items():
        if kind == FORWARD and place > 0:
            assert start >= span[FORWARD, place - 1, micro_batch][1] + send
        if kind == BACKWARD:
            assert start >= span[FORWARD, place, micro_batch][1]
            if place < last:
                assert start >= span[BACKWARD, place + 1, micro_batch][1] + send
    for stage in range(times.stages):
        own = np.flatnonzero((timeline.stage == stage) & np.isin(timeline.kind, (FORWARD, BACKWARD)))
        assert (timeline.start_s[own][1:] >= timeline.end_s[own][:-1]).all()
        assert timeline.start_s[own[0]] >= times.gather_s[stage]


@given(uneven())
def test_a_step_is_never_shorter_than_its_slowest_stage_or_one_micro_batch(times: StageTimes) -> None:
    timeline = step_timeline(times)
    through = float(times.forward_s.sum() + times.backward_s.sum())
    assert timeline.step_s >= max(times.work_s.max(), through) * (1 - 1e-12)
    assert timeline.step_s >= timeline.end_s.max() * (1 - 1e-12)
    assert (timeline.bubble_s >= 0).all()


@given(uneven())
def test_activations_in_flight_are_those_that_the_simulation_counts(times: StageTimes) -> None:
    # Passes that take no time start at once: what is counted is the order, which durations do not change.
    lasting = StageTimes(
        times.stages, times.virtual_stages, times.micro_batches, times.schedule, times.forward_s + 1.0,
        times.backward_s + 1.0,
    )  # fmt: skip
    counted = peak_in_flight(step_timeline(lasting))
    formula = in_flight_micro_batches(
        times.stages, np.arange(times.stages), times.virtual_stages, times.micro_batches, times.schedule
    )
    assert formula.tolist() == pytest.approx(counted, rel=1e-15)


def test_activations_in_flight_are_those_of_the_papers() -> None:
    stage = np.arange(4)
    assert in_flight_micro_batches(4, stage, 1, 16, "1f1b").tolist() == [4, 3, 2, 1]
    assert in_flight_micro_batches(4, stage, 1, 16, "gpipe").tolist() == [16] * 4
    # Korthikanti et al., section 4.2.3: a factor of 1 + (p - 1)/(p·v) where interleaved.
    p, v = np.array([4, 8, 12]), np.array([2, 3, 4])
    assert in_flight_micro_batches(p, 0, v, 96, "1f1b") == pytest.approx(p * (1 + (p - 1) / (p * v)), rel=1e-15)
    # No more than there are.
    assert in_flight_micro_batches(8, 0, np.array([1, 2]), 8, "1f1b").tolist() == [8, 8]


def test_schedules_may_be_names_or_the_numbers_of_splits() -> None:
    numbers = np.array([SCHEDULES.index("1f1b"), SCHEDULES.index("gpipe")])
    assert in_flight_micro_batches(4, 0, 1, 16, numbers).tolist() == [4, 16]
    assert in_flight_micro_batches(4, 0, 1, 16, np.array(["1f1b", "gpipe"])).tolist() == [4, 16]


@pytest.mark.parametrize(("change", "message"), [
    ({"stages": 0}, "stages must be at least 1, not 0"),
    ({"schedule": "gpip"}, "gpipe"),
    ({"virtual_stages": 2, "micro_batches": 7}, "groups of 4: 7 is no multiple of it; the nearest is 8"),
    ({"virtual_stages": 2, "schedule": "gpipe"}, "virtual stages need the schedule 1f1b"),
    ({"forward_s": np.ones(3)}, r"forward_s has the shape \(3,\), not \(4,\)"),
    ({"backward_s": np.full(4, np.nan)}, "backward_s must be seconds"),
    ({"update_s": np.full(4, -1.0)}, "update_s must be seconds"),
    ({"sends_overlap": 1.5}, "sends_overlap is a share"),
    ({"send_s": np.inf}, "send_s must be seconds"),
])  # fmt: skip
def test_what_does_not_fit_together_is_refused(change: dict[str, Any], message: str) -> None:
    given_times: dict[str, Any] = {
        "stages": 4, "virtual_stages": 1, "micro_batches": 8, "schedule": "1f1b", "forward_s": np.ones(1),
        "backward_s": np.ones(1),
    }  # fmt: skip
    with pytest.raises(SpecError, match=message):
        StageTimes(**(given_times | change))


def test_a_timeline_that_nobody_could_read_is_refused() -> None:
    with pytest.raises(SpecError, match="at most 4,000,000"):
        step_timeline(alike(64, 1_000_000))
