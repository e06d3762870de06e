"""The best pipeline on the nodes of one fleet: order of the kinds, stages of each, layers of each stage, micro-batches.

Pipelines are compared by the time to the target; those whose bound is no better than the best so far are left out. The
bound of a step is (m - 1) M + w. A micro-batch takes at least w, every unit on the stage that is fastest at it; and
whatever shares λ_s add up to 1, the slowest stage has at least Σ_s λ_s x_s, so at least M = Σ_u min_s λ_s t_s(u); here
they are as the speeds of the stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paleo_opt.estimator.convergence import job_samples
from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.split_rules import valid_splits
from paleo_opt.estimator.splits import RECOMPUTES, Integers, Split, Splits
from paleo_opt.fleet.batch_schedule import best_schedule, phase_steps
from paleo_opt.fleet.chains import Chain, block_chain, layer_chain
from paleo_opt.fleet.data_way import Target
from paleo_opt.fleet.groups import Group
from paleo_opt.fleet.model import TENSOR, FleetModel, own_pairing
from paleo_opt.fleet.pipeline_costs import PipelineProblem, StagePlace
from paleo_opt.fleet.pipeline_way import PipelineStep, arrangements, at_counts, candidate_batches, solve_partition
from paleo_opt.fleet.plan import PIPELINE, FleetPlan, GroupShare, PhasePlan, expected_step_s, totals

#: Micro-batches of a step that a schedule of batches may have, at most.
_MOST_COUNTS = 512


def make_problems(model: FleetModel, bucket_bytes: float | None) -> list[PipelineProblem]:
    """A chain for every way to split a unit inside a stage: one for layers, by tensor and recompute for blocks."""
    if not model.in_blocks:
        return [PipelineProblem(layer_chain(model), bucket_bytes)]
    sizes = model.table.network.transformer
    assert sizes is not None
    if sizes.encoder_layers:
        return []
    found = []
    for tensor in TENSOR:
        for recompute in RECOMPUTES:
            split = Split(tensor=tensor, sequence_parallel=tensor > 1, recompute=recompute)
            if valid_splits(sizes, Splits.of([split])).all():
                found.append(PipelineProblem(block_chain(model, split), bucket_bytes))
    return found


def solve_pipeline(
    model: FleetModel,
    problems: Sequence[PipelineProblem],
    groups: Sequence[Group],
    target: Target,
    limit_s: float = np.inf,
) -> FleetPlan | None:
    """The fastest pipeline on ``groups``; None where none fits memory or the batch, or is as fast as ``limit_s``.

    Args:
        model: Of the network.
        problems: Of `make_problems`.
        groups: Nodes of each kind.
        target: What is trained; a limit is of one batch throughout.
        limit_s: Seconds of all steps, without interruptions.
    """
    kinds = [model.kinds.index(group.cluster) for group in groups]
    per_node = [group.cluster.devices_per_node for group in groups]
    candidates: list[tuple[float, PipelineProblem, tuple[StagePlace, ...], int, int]] = []
    for problem in problems:
        chain = problem.chain
        tensor = 1 if chain.split is None else chain.split.tensor
        if any(count % tensor for count in per_node):
            continue
        nodes = [group.nodes for group in groups]
        for places in arrangements(kinds, nodes, per_node, tensor, chain.units):
            base = max(place.copies for place in places)
            by_batch: dict[int, list[int]] = {}
            for micro_batch, count in candidate_batches(base, target.most, target.global_batch):
                by_batch.setdefault(micro_batch, []).append(count)
            for micro_batch, counts in by_batch.items():
                values = _values(target, micro_batch, np.array(counts), *_bound(problem, places, micro_batch))
                candidates += [
                    (float(values[index]), problem, places, micro_batch, counts[index])
                    for index in np.flatnonzero(values < limit_s).tolist()
                ]
    candidates.sort(key=lambda candidate: candidate[0])
    best: tuple[float, PipelineStep] | None = None
    for value, problem, places, micro_batch, count in candidates:
        if best is not None and value >= best[0]:
            break
        most = limit_s if best is None else min(best[0], limit_s)
        step = solve_partition(problem, places, micro_batch, count, most / _value(target, micro_batch * count, 1.0))
        if step is not None:
            own = _value(target, step.global_batch, step.step_s)
            if best is None or own < best[0]:
                best = own, step
    return None if best is None else _plan(model, groups, target, best[1])


def _value(target: Target, batch: int, step_s: float) -> float:
    """Seconds to the target with one batch throughout."""
    return float(job_samples(target.job, batch)) / batch * step_s


def _values(target: Target, micro_batch: int, counts: Integers, slowest: float, through: float) -> Floats:
    """`_value` of steps of some numbers of micro-batches, by the slowest stage and the way through. Shape (counts,)."""
    batches = counts * micro_batch
    values: Floats = job_samples(target.job, batches) / batches * ((counts - 1) * slowest + through)
    return values


def _bound(problem: PipelineProblem, places: Sequence[StagePlace], micro_batch: int) -> tuple[float, float]:
    """A micro-batch holds up the slowest stage no less, and goes through all no faster [s]."""
    whole = np.array([
        (times.forward_s + times.backward_s)[:, 0]
        for times in (problem.of(place.kind, -(-micro_batch // place.copies)) for place in places)
    ])  # fmt: skip
    shares = 1.0 / whole.sum(axis=1)
    shares = shares / shares.sum()
    slowest = float((shares[:, None] * whole).min(axis=0).sum())
    return slowest, float(whole.min(axis=0).sum())


def _plan(model: FleetModel, groups: Sequence[Group], target: Target, step: PipelineStep) -> FleetPlan:
    """The plan of one pipeline, with the best schedule of its numbers of micro-batches."""
    most = max(1, min(target.most // step.micro_batch, _MOST_COUNTS))
    # More micro-batches than now need memory for more of them only up to the number of stages.
    least = 1 if step.micro_batches <= len(step.places) else len(step.places)
    if step.micro_batches < len(step.places):
        most = min(most, step.micro_batches)
    counts = np.arange(least, max(most, step.micro_batches) + 1)
    if target.global_batch is not None or target.phases == 1:
        counts = np.array([step.micro_batches])
    steps_s = at_counts(step, counts)
    exposed = max(float(step.ends_s - step.update_s.max()), 0.0)
    expected = np.array(
        [
            expected_step_s(model, groups, float(each), float(each) - exposed, int(count) * step.micro_batch)
            for each, count in zip(steps_s, counts, strict=True)
        ]
    )
    schedule = best_schedule(target.job, counts * step.micro_batch, expected, target.phases, target.growth)
    phases = []
    for phase, steps in zip(schedule.phases, phase_steps(schedule, counts * step.micro_batch), strict=True):
        count, step_s = int(counts[phase.batch]), float(steps_s[phase.batch])
        shares = tuple(_share(model, step, stage, count, step_s) for stage in range(len(step.places)))
        phases.append(
            PhasePlan(
                count * step.micro_batch, steps, phase.start, phase.end, step_s, float(expected[phase.batch]),
                exposed, shares,
            )
        )  # fmt: skip
    time_s, cost, energy = totals(model, groups, phases)
    return FleetPlan(
        groups=tuple(groups),
        way=PIPELINE,
        phases=tuple(phases),
        collective=step.collective,
        precision=model.precision,
        split=step.chain.split,
        bucket_bytes=model.bucket_bytes,
        time_s=time_s,
        cost_usd=cost,
        energy_kwh=energy,
    )


def _share(model: FleetModel, step: PipelineStep, stage: int, count: int, step_s: float) -> GroupShare:
    place = step.places[stage]
    busy = float(step.busy_s[stage]) / step.micro_batches * count
    return GroupShare(
        group=Group(model.kinds[place.kind], place.nodes),
        samples=count * step.micro_batch,
        each=step.each[stage] * count,
        micro_batch=step.each[stage],
        passes=count,
        busy_s=busy,
        idle=max(1.0 - (busy + float(step.update_s[stage])) / step_s, 0.0),
        memory=float(step.memory[stage]),
        capacity=float(model.memos(None).places.capacity[own_pairing(model, place.kind)]),
        layers=units_text(step.chain, step.cuts[stage], step.cuts[stage + 1]),
    )


def units_text(chain: Chain, first: int, last: int) -> str:
    """The units from ``first`` to ``last - 1`` in words."""
    if chain.split is None:
        layers = chain.model.table.network.layers
        start, end = int(chain.starts[first]), int(chain.starts[last]) - 1
        # The input is no layer that anything computes.
        start += layers[start].type == "Input"
        return layers[start].name if start == end else f"{layers[start].name} to {layers[end].name}"
    blocks = min(last, chain.units - 1) - max(first, 1)
    words = ["embedding"] if first == 0 else []
    words += [f"{blocks} block{'s'[: blocks != 1]}"] if blocks > 0 else []
    return " + ".join([*words, *(["head"] if last == chain.units else [])])
