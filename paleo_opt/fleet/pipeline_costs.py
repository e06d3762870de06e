"""What the stages of a pipeline take for every range of units that they may have: passes, sends and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from paleo_opt.estimator.communication import communication_time
from paleo_opt.estimator.connections import make_routes
from paleo_opt.estimator.cost_table import Floats
from paleo_opt.fleet.chains import Chain, UnitTimes, block_times_of, parameter_bytes, unit_times
from paleo_opt.fleet.model import own_pairing


@dataclass(frozen=True)
class StagePlace:
    """The devices of one stage.

    Attributes:
        kind: Index of it.
        nodes: Whole ones.
        copies: Of the stage, that each take their own samples.
    """

    kind: int
    nodes: int
    copies: int


@dataclass
class PipelineProblem:
    """What is kept while pipelines of one chain are compared.

    Attributes:
        chain: Of units.
        bucket_bytes: As of `FleetModel.memos`.
    """

    chain: Chain
    bucket_bytes: float | None = None
    times: dict[tuple[int, int], UnitTimes] = field(default_factory=dict)
    ends: dict[tuple[int, int, int, int, int], tuple[Floats, float]] = field(default_factory=dict)

    def of(self, kind: int, batch: int) -> UnitTimes:
        """The units on a kind's devices with so many samples each."""
        if (kind, batch) not in self.times:
            self.times[kind, batch] = unit_times(self.chain, kind, np.array([float(batch)]))
        return self.times[kind, batch]


def stage_sends(problem: PipelineProblem, one: StagePlace, other: StagePlace, micro_batch: int) -> Floats:
    """Seconds of a send between two stages, for every cut. Shape (U + 1,)."""
    chain = problem.chain
    model, tensor = chain.model, 1 if chain.split is None else chain.split.tensor
    places = model.memos(None).places
    sending = places.sending
    assert sending is not None
    kinds = {one.kind, other.kind}
    named = {-1} if len(kinds) > 1 and any(pair.outside < 0 for pair in model.pairings) else set()
    chosen = np.array([
        index for index, pair in enumerate(model.pairings)
        if pair.computes == pair.inside and pair.computes in kinds and pair.outside in kinds | named
    ])  # fmt: skip
    copies = {one.kind: one.copies, other.kind: other.copies} if one.kind != other.kind else {
        one.kind: min(one.copies, other.copies)
    }  # fmt: skip
    each = np.array([-(-micro_batch // copies[model.pairings[index].computes]) for index in chosen], dtype=float)
    below = places.devices_per_node[chosen].astype(float)
    routes = make_routes(sending.connections, chosen, np.full(chosen.size, 2.0), below, sending.attained)
    routes = routes.slower(sending.share[chosen])
    size = chain.crossing[:, None] * each * places.weight_bytes[chosen] / tensor
    times = communication_time("point_to_point", routes, size) + sending.send[chosen]
    slowest: Floats = times.max(axis=1)
    return slowest


def _memory(problem: PipelineProblem, place: StagePlace, each: int, flight: int, last: bool, tied: float) -> Floats:
    """Bytes of a device that has the units i to j - 1. Shape (U + 1, U + 1)."""
    chain = problem.chain
    model = chain.model
    places = model.memos(None).places
    at = own_pairing(model, place.kind)
    times = problem.of(place.kind, each)
    fixed = np.concatenate([[0.0], np.cumsum(chain.parameters)])
    kept = np.concatenate([[0.0], np.cumsum(chain.kept)])
    weight = float(places.weight_bytes[at])
    size = chain.units + 1
    state = fixed[None, :] - fixed[:, None] + (tied if last else 0.0)
    activations = (kept[None, :] - kept[:, None] + chain.held_input[:, None]) * flight * each * weight
    work = np.zeros((size, size))
    for start in range(chain.units):
        work[start, start + 1 :] = np.maximum.accumulate(times.workspace[start:, 0])
    used = state * parameter_bytes(chain, place.kind) + activations + work
    loose = 0.0 if chain.split is None or places.sending is None else float(places.sending.fragmentation[at])
    held: Floats = used * (1.0 + loose) + model.options.memory_reserve
    return held


def tied_parameters(chain: Chain) -> float:
    """Parameters of a projection tied to the embedding, which the last stage keeps a copy of."""
    return 0.0 if chain.split is None else float(block_times_of(chain.model, chain.split).amounts("tied")[0])


@dataclass(frozen=True, eq=False)
class StageCosts:
    """c, d and memory of every stage. Shapes (p, U + 1, U + 1); sends (p - 1, U + 1)."""

    held: Floats
    through: Floats
    memory: Floats
    sends: Floats


def stage_costs(
    problem: PipelineProblem, places: Sequence[StagePlace], micro_batch: int, micro_batches: int
) -> StageCosts:
    """c, d, memory and sends of stages that share out the units of a micro-batch of ``micro_batch`` samples."""
    chain = problem.chain
    model, stages, size = chain.model, len(places), chain.units + 1
    world = model.memos(None).places
    sending = world.sending
    assert sending is not None
    left = 1.0 - float(sending.pipeline_overlap[0])
    sends = [stage_sends(problem, one, other, micro_batch) for one, other in pairwise(places)]
    ascending = np.arange(size)[None, :] > np.arange(size)[:, None]
    tied = tied_parameters(chain) if stages > 1 else 0.0
    held, through, memory = [], [], []
    for stage, place in enumerate(places):
        each = -(-micro_batch // place.copies)
        times = problem.of(place.kind, each)
        whole = np.concatenate([[0.0], np.cumsum((times.forward_s + times.backward_s)[:, 0])])
        work = whole[None, :] - whole[:, None]
        before = sends[stage - 1][:, None] if stage else np.zeros((1, 1))
        behind = sends[stage][None, :] if stage + 1 < stages else np.zeros((1, 1))
        needs = _memory(problem, place, each, min(stages - stage, micro_batches), stage + 1 == stages, tied)
        allowed = ascending & (needs <= world.capacity[own_pairing(model, place.kind)])
        held.append(np.where(allowed, work + 2.0 * left * np.maximum(before, behind), np.inf))
        passing = work + 2.0 * behind + (2.0 * left * before if stage == 1 else 0.0)
        through.append(np.where(allowed, passing, np.inf))
        memory.append(needs)
    return StageCosts(np.array(held), np.array(through), np.array(memory), np.array(sends).reshape(stages - 1, size))
