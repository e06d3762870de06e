"""Uneven micro-batches and schedules of batches: against brute force, and what the theory of each says."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.convergence import job_samples
from paleo_opt.fleet.batch_schedule import CriticalBatch, best_schedule, envelope, phase_steps
from paleo_opt.fleet.uneven_batches import PassTimes, fullest_batches, uneven_split
from paleo_opt.network.load import load_network

_RESNET = load_network("resnet50").job
assert _RESNET is not None
JOB = replace(_RESNET, samples_to_target=1e6, critical_batch=2000.0, sharpness=1.0)


def passes(devices: int, *ways: tuple[int, float], once: float = 0.0) -> PassTimes:
    """A group whose passes are (samples, seconds)."""
    samples, seconds = zip(*ways, strict=True)
    return PassTimes(devices, np.array(samples), np.array(seconds), np.full(len(ways), once))


def finish(group: PassTimes, each: int) -> float:
    """Seconds until a device has taken so many samples, worked out way by way."""
    return min(
        float(once) + -(-each // int(samples)) * float(seconds)
        for samples, seconds, once in zip(group.samples, group.pass_s, group.once_s, strict=True)
    )


GROUPS = st.lists(
    st.builds(
        lambda devices, ways, once: passes(devices, *ways, once=once),
        st.integers(1, 3),
        st.lists(st.tuples(st.integers(1, 4), st.floats(0.1, 4.0)), min_size=1, max_size=3),
        st.floats(0.0, 2.0),
    ),
    min_size=1,
    max_size=3,
)


class TestUnevenSplit:
    def test_by_hand(self) -> None:
        """Two devices at one sample a second, one at half of that, ten samples: 4, 4 and 2 of them, in 4 s."""
        found = uneven_split([passes(2, (1, 1.0)), passes(1, (1, 2.0))], np.array([10]))
        assert found.each.tolist() == [[4, 2]]
        assert found.time_s.tolist() == [4.0]
        assert found.passes.tolist() == [[4, 2]]

    def test_a_larger_pass_may_pay_for_samples_that_it_does_not_have(self) -> None:
        """Three samples by a pass of four (1.5 s) rather than by three of one (3 s)."""
        found = uneven_split([passes(1, (1, 1.0), (4, 1.5))], np.array([3]))
        assert (found.time_s.item(), found.passes.item(), found.room.item()) == (1.5, 1, 4)

    @settings(max_examples=150, deadline=None)
    @given(GROUPS, st.integers(0, 12))
    def test_no_split_is_faster(self, groups: list[PassTimes], more: int) -> None:
        devices = [group.devices for group in groups]
        batch = sum(devices) + more
        found = uneven_split(groups, np.array([batch]))
        counts = itertools.product(range(1, batch + 1), repeat=len(groups))
        best = min(
            max(finish(group, each) for group, each in zip(groups, split, strict=True))
            for split in counts
            if sum(n * each for n, each in zip(devices, split, strict=True)) >= batch
        )
        assert found.time_s.item() == pytest.approx(best, rel=1e-9)
        assert int(found.each[0] @ devices) >= batch
        assert max(finish(g, int(k)) for g, k in zip(groups, found.each[0], strict=True)) == found.time_s.item()

    @settings(max_examples=50, deadline=None)
    @given(GROUPS, st.integers(0, 40))
    def test_many_batches_are_solved_as_one(self, groups: list[PassTimes], more: int) -> None:
        least = sum(group.devices for group in groups)
        batches = np.arange(least, least + more + 1)
        together = uneven_split(groups, batches).time_s
        apart = [uneven_split(groups, batches[i : i + 1]).time_s.item() for i in range(batches.size)]
        np.testing.assert_allclose(together, apart, rtol=1e-9)
        assert (np.diff(together) >= -1e-12).all()

    @settings(max_examples=50, deadline=None)
    @given(GROUPS, st.integers(0, 12), st.integers(0, 2))
    def test_faster_devices_never_slow_a_step(self, groups: list[PassTimes], more: int, which: int) -> None:
        batch = np.array([sum(group.devices for group in groups) + more])
        which %= len(groups)
        faster = list(groups)
        faster[which] = replace(faster[which], pass_s=faster[which].pass_s * 0.7)
        assert uneven_split(faster, batch).time_s <= uneven_split(groups, batch).time_s * (1.0 + 1e-9)

    @settings(max_examples=50, deadline=None)
    @given(GROUPS, st.integers(0, 12), st.integers(0, 2))
    def test_one_more_device_slows_a_step_only_by_its_one_sample(
        self, groups: list[PassTimes], more: int, which: int
    ) -> None:
        """Every device takes a sample at least; beyond that, and what joins it, another device never hurts."""
        batch = np.array([sum(group.devices for group in groups) + 1 + more])
        which %= len(groups)
        larger = list(groups)
        larger[which] = replace(larger[which], devices=larger[which].devices + 1)
        before = uneven_split(groups, batch).time_s.item()
        assert uneven_split(larger, batch).time_s.item() <= max(before, finish(groups[which], 1)) * (1.0 + 1e-9)

    def test_a_batch_is_filled_up_for_nothing(self) -> None:
        groups = [passes(2, (4, 1.0)), passes(1, (3, 1.0))]
        found = fullest_batches(groups, np.array([5, 6, 12]), 100)
        assert found.global_batch.tolist() == [11, 22]
        assert found.time_s.tolist() == [1.0, 2.0]
        assert fullest_batches(groups, np.array([5]), 9).global_batch.tolist() == [9]

    def test_refusals(self) -> None:
        with pytest.raises(SpecError, match="at least 3, one for each device"):
            uneven_split([passes(3, (1, 1.0))], np.array([2]))
        none = PassTimes(1, np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))
        with pytest.raises(SpecError, match="no micro-batch that fits"):
            uneven_split([none], np.array([2]))


BATCHES = np.arange(64, 8192, 64)
STEPS = 0.01 + BATCHES * 1e-5


class TestSchedule:
    def test_one_batch_is_best_where_the_critical_batch_is_constant(self) -> None:
        """t_B (1 / B + 1 / B_crit) has one least value, whatever the progress: by hand at B = √(0.01 · 2000 / 1e-5)."""
        one = best_schedule(JOB, BATCHES, STEPS, phases=1)
        assert best_schedule(JOB, BATCHES, STEPS, phases=3) == one
        batch = int(BATCHES[one.phases[0].batch])
        assert abs(batch - np.sqrt(0.01 * 2000.0 / 1e-5)) <= 32
        times = job_samples(JOB, BATCHES) / BATCHES * STEPS
        assert one.time_s == times.min()

    def test_growth_leaves_the_samples_of_one_batch_as_they_are(self) -> None:
        """What the network's file says of one batch throughout holds, however the critical batch grows."""
        for growth in (2.0, 30.0):
            critical = CriticalBatch(2000.0, growth)
            assert float(critical.inverse_until(1.0)) == pytest.approx(1.0 / 2000.0)
            assert float(critical.inverse(0.0) / critical.inverse(1.0)) == pytest.approx(growth)
            assert best_schedule(JOB, BATCHES, STEPS, 1, growth) == best_schedule(JOB, BATCHES, STEPS, 1)

    def test_batches_grow_with_the_critical_batch_and_more_phases_are_never_slower(self) -> None:
        found = [best_schedule(JOB, BATCHES, STEPS, phases, 20.0) for phases in (1, 2, 3, 6)]
        times = [schedule.time_s for schedule in found]
        assert times == sorted(times, reverse=True) and times[1] < 0.99 * times[0]
        for schedule in found:
            batches = [int(BATCHES[phase.batch]) for phase in schedule.phases]
            assert batches == sorted(set(batches))
            ends = [phase.end for phase in schedule.phases]
            assert [0.0, *ends[:-1]] == [phase.start for phase in schedule.phases] and ends[-1] == 1.0
            taken = sum(phase.samples / BATCHES[phase.batch] * STEPS[phase.batch] for phase in schedule.phases)
            assert schedule.time_s == pytest.approx(taken)

    @settings(max_examples=25, deadline=None)
    @given(st.floats(1.5, 50.0), st.lists(st.floats(0.5, 1.5), min_size=12, max_size=12))
    def test_no_boundary_and_no_pair_of_batches_is_faster(self, growth: float, noise: list[float]) -> None:
        batches = np.array([64 * 2**i for i in range(6)] + [96 * 2**i for i in range(6)])
        steps = (0.01 + batches * 1e-5) * np.array(noise)
        critical, grid = CriticalBatch(2000.0, growth), np.linspace(0.0, 1.0, 201)
        until = critical.inverse_until(grid)
        first = (steps[:, None] * (grid / batches[:, None] + until)).min(axis=0)
        second = (steps[:, None] * ((1.0 - grid) / batches[:, None] + until[-1] - until)).min(axis=0)
        brute = float((first + second).min()) * JOB.samples_to_target
        found = best_schedule(JOB, batches, steps, 2, growth).time_s
        assert found <= brute * (1.0 + 1e-9)
        assert found >= brute * 0.999  # the grid is fine enough

    def test_lines_of_the_envelope(self) -> None:
        """Of 4 + u, 3 + 2u and 0 + 4u between 0 and 3: the last below 4/3, the first above; the second nowhere."""
        assert envelope(np.array([4.0, 3.0, 0.0]), np.array([1.0, 2.0, 4.0]), 3.0, 0.0).tolist() == [0, 2]

    def test_whole_steps(self) -> None:
        schedule = best_schedule(JOB, BATCHES, STEPS, 2, 20.0)
        for phase, steps in zip(schedule.phases, phase_steps(schedule, BATCHES), strict=True):
            assert 0 <= steps * BATCHES[phase.batch] - phase.samples < BATCHES[phase.batch]

    def test_refusals(self) -> None:
        with pytest.raises(SpecError, match="expected from 1"):
            best_schedule(JOB, BATCHES, STEPS, 2, 0.5)
        with pytest.raises(SpecError, match="no critical batch that could grow"):
            best_schedule(replace(JOB, critical_batch=None), BATCHES, STEPS, 2, 2.0)
        with pytest.raises(SpecError, match="expected law linear"):
            best_schedule(replace(JOB, sharpness=2.0), BATCHES, STEPS, 2, 2.0)
