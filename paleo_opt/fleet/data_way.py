"""Data parallelism with uneven micro-batches: the best batches and split of one fleet, solved exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.splits import Integers, Split
from paleo_opt.fleet.batch_schedule import Schedule, best_schedule, phase_steps
from paleo_opt.fleet.groups import Group
from paleo_opt.fleet.model import SHARDINGS, TENSOR, FleetModel, KindTimes, kind_times, own_pairing, split_ways
from paleo_opt.fleet.plan import DATA, FleetPlan, GroupShare, PhasePlan, expected_step_s, totals
from paleo_opt.fleet.uneven_batches import PassTimes, UnevenSplit, fullest_batches, uneven_split
from paleo_opt.network.graph import TrainingJob

#: Global batches considered, evenly spread by their logarithm; each is then filled up (`fullest_batches`).
BATCHES = 40


@dataclass(frozen=True)
class Target:
    """What a training is to reach, and with which batches.

    Attributes:
        job: Of the network.
        most: Samples of a step at most.
        global_batch: The only one, where it is given.
        phases: Of the schedule at most.
        growth: Of the critical batch from the start to the end of the training.
    """

    job: TrainingJob
    most: int
    global_batch: int | None = None
    phases: int = 1
    growth: float = 1.0


@dataclass(frozen=True, eq=False)
class _Solved:
    """The best schedule under one collective and one split."""

    schedule: Schedule
    split: UnevenSplit
    step_s: Floats
    groups: tuple[PassTimes, ...]
    kept: tuple[Integers, ...]
    times: tuple[KindTimes, ...]
    collective: str
    ways: tuple[Split, ...]


def solve_data(
    model: FleetModel, groups: Sequence[Group], bucket_bytes: float | None, target: Target
) -> FleetPlan | None:
    """The fastest data-parallel training on ``groups``; None where nothing fits, or devices outnumber samples."""
    kinds = [model.kinds.index(group.cluster) for group in groups]
    devices = sum(group.devices for group in groups)
    best: _Solved | None = None
    for tensor, ways in _splits(model, kinds, devices):
        copies = [group.devices // tensor for group in groups]
        batches = candidate_batches(sum(copies), target)
        if not batches.size:
            continue
        times = kind_times(model, kinds, devices, bucket_bytes, ways)
        if not all(found.fits.any() for found in times):
            continue
        if best is not None and _least_time(target, times, copies) >= best.schedule.time_s:
            continue
        # What is divided is scattered and gathered, whatever the collective for what is whole.
        collectives = range(1 if ways and ways[0].sharding != "zero0" else len(model.collectives))
        for collective in collectives:
            found = _solve(model, groups, target, batches, copies, times, collective, ways)
            if best is None or found.schedule.time_s < best.schedule.time_s:
                best = found
    return None if best is None else _plan(model, groups, bucket_bytes, target, best)


def _least_time(target: Target, times: Sequence[KindTimes], copies: Sequence[int]) -> float:
    """No training is faster [s]: passes alone, with the fewest samples."""
    rate = sum(
        count * float(np.where(found.fits, found.micro_batch / found.pass_s, 0.0).max())
        for found, count in zip(times, copies, strict=True)
    )
    return target.job.samples_to_target / rate


def _splits(model: FleetModel, kinds: Sequence[int], devices: int) -> list[tuple[int, tuple[Split, ...]]]:
    """Devices that divide a sample, and the splits to choose among for each group; one without any for layers."""
    if not model.in_blocks:
        return [(1, ())]
    found = [
        (tensor, tuple(split_ways(model, kinds, devices, tensor, sharding)))
        for tensor in TENSOR
        for sharding in SHARDINGS
    ]
    return [(tensor, ways) for tensor, ways in found if ways]


def candidate_batches(least: int, target: Target) -> Integers:
    """Global batches to consider, with at least one sample for each of ``least``; empty where there are none."""
    if target.global_batch is not None:
        return np.array([target.global_batch] if target.global_batch >= least else [], dtype=np.int64)
    if least > target.most:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.geomspace(least, target.most, BATCHES).round().astype(np.int64))


def _pass_times(times: KindTimes, copies: int, collective: int) -> tuple[PassTimes, Integers]:
    """Of what fits, with the index of each in (way, micro-batch)."""
    kept = np.flatnonzero(times.fits.ravel())
    samples = np.broadcast_to(times.micro_batch, times.fits.shape).ravel()[kept]
    return PassTimes(copies, samples, times.pass_s.ravel()[kept], times.once_s[collective].ravel()[kept]), kept


def _solve(
    model: FleetModel, groups: Sequence[Group], target: Target, batches: Integers, copies: Sequence[int],
    times: Sequence[KindTimes], collective: int, ways: tuple[Split, ...],
) -> _Solved:  # fmt: skip
    pairs = [_pass_times(found, count, collective) for found, count in zip(times, copies, strict=True)]
    passes = tuple(pair[0] for pair in pairs)
    if target.global_batch is None:
        split = fullest_batches(passes, batches, target.most)
    else:
        split = uneven_split(passes, batches)
    computing = np.zeros(split.time_s.shape)
    for index, (found, (_, kept)) in enumerate(zip(times, pairs, strict=True)):
        at = kept[split.way[:, index]]
        local = split.passes[:, index] * found.compute_s.ravel()[at] + found.update_s.ravel()[at]
        computing = np.maximum(computing, local)
    expected = np.array([
        expected_step_s(model, groups, float(step), float(busy), int(batch))
        for step, busy, batch in zip(split.time_s, computing, split.global_batch, strict=True)
    ])  # fmt: skip
    schedule = best_schedule(target.job, split.global_batch, expected, target.phases, target.growth)
    return _Solved(
        schedule, split, expected, passes, tuple(pair[1] for pair in pairs), tuple(times),
        model.collectives[collective], ways,
    )  # fmt: skip


def _plan(
    model: FleetModel, groups: Sequence[Group], bucket_bytes: float | None, target: Target, found: _Solved
) -> FleetPlan:
    split, schedule = found.split, found.schedule
    places = model.memos(None).places
    phases = []
    chosen = None
    for phase, steps in zip(schedule.phases, phase_steps(schedule, split.global_batch), strict=True):
        at, shares, slowest, exposed = phase.batch, [], -1.0, 0.0
        step_s, batch = float(split.time_s[at]), int(split.global_batch[at])
        surplus = int(split.each[at] @ [group.devices for group in found.groups]) - batch
        for index, (group, passes, kept, times) in enumerate(
            zip(groups, found.groups, found.kept, found.times, strict=True)
        ):
            row = int(kept[split.way[at, index]])
            way, _ = divmod(row, times.micro_batch.size)
            count, each = int(split.passes[at, index]), int(split.each[at, index])
            pass_s = count * float(times.pass_s.ravel()[row])
            busy = count * float(times.compute_s.ravel()[row])
            finish = pass_s + float(passes.once_s[split.way[at, index]])
            if finish > slowest:
                slowest, exposed = finish, finish - busy - float(times.update_s.ravel()[row])
                chosen = found.ways[way] if found.ways else None
            left_out = min(surplus, passes.devices * (each - 1)) if each > 1 else 0
            surplus -= left_out
            shares.append(
                GroupShare(
                    group=group,
                    samples=passes.devices * each - left_out,
                    each=each,
                    micro_batch=-(-each // count),
                    passes=count,
                    busy_s=busy,
                    idle=max(1.0 - (busy + float(times.update_s.ravel()[row])) / step_s, 0.0),
                    memory=float(times.memory.ravel()[row]),
                    capacity=float(places.capacity[own_pairing(model, model.kinds.index(group.cluster))]),
                )
            )
        phases.append(
            PhasePlan(
                batch, steps, phase.start, phase.end, step_s, float(found.step_s[at]), max(exposed, 0.0), tuple(shares)
            )
        )
    time_s, cost, energy = totals(model, groups, phases)
    longest = max(phases, key=lambda phase: phase.steps * phase.expected_s)
    even = -(-longest.global_batch // sum(each.devices for each in found.groups))
    return FleetPlan(
        groups=tuple(groups),
        way=DATA,
        phases=tuple(phases),
        collective=found.collective,
        precision=model.precision,
        split=chosen,
        bucket_bytes=model.bucket_bytes if bucket_bytes is None else bucket_bytes,
        time_s=time_s,
        cost_usd=cost,
        energy_kwh=energy,
        even_step_s=max(float(each.finish_s(np.array([even]))[0][0]) for each in found.groups),
    )
