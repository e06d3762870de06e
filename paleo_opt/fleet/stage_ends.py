"""What a stage does after its last pass: the all-reduce of its gradients that nothing hides, and the update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from paleo_opt.estimator.communication import AUTO, all_reduce_time, communication_time
from paleo_opt.estimator.connections import make_routes
from paleo_opt.estimator.cost_table import CostTable, Floats, parameter_tensors
from paleo_opt.estimator.estimate import Memos, estimate
from paleo_opt.estimator.roofline import update_times
from paleo_opt.estimator.strategy import Strategies
from paleo_opt.fleet.model import own_pairing
from paleo_opt.fleet.pipeline_costs import PipelineProblem, StagePlace, tied_parameters


def stage_ends(problem: PipelineProblem, place: StagePlace, i: int, j: int, each: int) -> tuple[Floats, float]:
    """Exposed all-reduce of a stage by each collective, and its update [s]."""
    key = (place.kind, place.copies, i, j, each)
    if key not in problem.ends:
        of = _layer_ends if problem.chain.split is None else _block_ends
        problem.ends[key] = of(problem, place, i, j, each)
    return problem.ends[key]


def _layer_ends(problem: PipelineProblem, place: StagePlace, i: int, j: int, each: int) -> tuple[Floats, float]:
    """As `estimate` has them of a network of the stage's layers alone."""
    chain = problem.chain
    model = chain.model
    table, network = model.table, model.table.network
    whole = table.layout()
    first, last = int(chain.starts[i]), int(chain.starts[j])
    own = tuple(pair for pair in whole.replicated_layers if first <= pair[0] < last)
    stage = replace(
        whole,
        replicated_layers=own,
        replicated_parameters=float(sum(layer.parameters for _, layer in own)),
        parameter_tensors=sum(parameter_tensors(layer) for _, layer in own),
        forward_flops=float(sum(layer.forward_flops for _, layer in own)),
    )
    at = own_pairing(model, place.kind)
    strategies = Strategies(
        clusters=model.clusters,
        precisions=(model.precision,) * len(model.pairings),
        split="data",
        tensor=1,
        collectives=model.collectives,
        gpus=np.array([place.copies]),
        micro_batch=np.array([each]),
        accumulation=np.array([1]),
        collective=np.arange(len(model.collectives)).reshape(-1, 1),
        place=np.array([at]),
    )
    alone = CostTable(network, table.conv_algorithm, {("data", 1): stage})
    found = estimate(alone, strategies, model.options, Memos(model.memos(problem.bucket_bytes).places))
    exposed = np.broadcast_to(found.exposed_all_reduce_time_s, (len(model.collectives), 1))[:, 0]
    return exposed, float(np.ravel(found.update_time_s)[0])


def _block_ends(problem: PipelineProblem, place: StagePlace, i: int, j: int, each: int) -> tuple[Floats, float]:
    """As `pipeline_step.exposed_gradients` has them of whole gradients."""
    chain = problem.chain
    model, split = chain.model, chain.split
    assert split is not None
    world = model.memos(problem.bucket_bytes).places
    sending, attained = world.sending, world.attained
    assert sending is not None and attained is not None
    at = np.array([own_pairing(model, place.kind)])
    size = float(chain.parameters[i:j].sum()) * sending.gradient_bytes[at]
    copies = np.array([float(place.copies)])
    routes = make_routes(sending.connections, at, copies, split.tensor, sending.attained).slower(sending.share[at])
    sent = all_reduce_time(model.collectives, routes, size)[:, 0]
    times = problem.of(place.kind, each)
    inner = slice(max(i, 1), min(j, chain.units - 1))
    hideable = float(times.backward_s[inner].sum())
    overlap = float(sending.overlap[at][0]) * float(np.isfinite(sending.bucket_parameters[at])[0])
    exposed = np.maximum(sent * (1.0 - overlap), sent - hideable)
    exposed = exposed + (sent - exposed) * float(sending.contention[at][0])
    optimizer = model.options.optimizer or model.table.network.usual_optimizer
    update = attained.step_overhead[at] + update_times(
        float(chain.parameters[i:j].sum()), float(chain.tensors[i:j].sum()), optimizer, world.element_bytes[at],
        attained.at(at),
    )  # fmt: skip
    return exposed, float(update[0])


def tied_time(problem: PipelineProblem, places: Sequence[StagePlace]) -> float:
    """Seconds of adding up a tied embedding's gradients on the first and the last stage."""
    chain = problem.chain
    tied = tied_parameters(chain)
    if not tied or len(places) == 1:
        return 0.0
    model = chain.model
    world = model.memos(None).places
    sending = world.sending
    assert sending is not None
    kinds = {places[0].kind, places[-1].kind}
    named = {-1} if len(kinds) > 1 else set()
    chosen = np.array([
        index for index, pair in enumerate(model.pairings)
        if pair.computes == pair.inside and pair.computes in kinds and pair.outside in kinds | named
    ])  # fmt: skip
    routes = make_routes(
        sending.connections, chosen, np.full(chosen.size, 2.0), world.devices_per_node[chosen].astype(float),
        sending.attained,
    ).slower(sending.share[chosen])  # fmt: skip
    return float(communication_time(AUTO, routes, tied * sending.gradient_bytes[chosen]).max())
