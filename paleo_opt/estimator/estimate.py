"""From strategies to what they cost: step time and its parts, memory, time, money and energy to the target.

One function, `estimate`, for one strategy or ten million: a single strategy is the case n = 1. Quantities that depend
on few columns are computed once per distinct value and gathered, and every field keeps the smallest shape that
broadcasts to the set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.block_estimate import BlockMemos, block_step, make_block_memos
from paleo_opt.estimator.collectives import AUTO, COLLECTIVES, all_reduce
from paleo_opt.estimator.compute import PartTimes, Rates, part_times, update_time
from paleo_opt.estimator.convergence import job_samples
from paleo_opt.estimator.cost_table import CostTable, Floats, Layout
from paleo_opt.estimator.estimates import Estimates as Estimates
from paleo_opt.estimator.estimates import slowdowns_of
from paleo_opt.estimator.memo import Memo, evaluate
from paleo_opt.estimator.memory import OPTIMIZER_STATES, device_memory
from paleo_opt.estimator.options import Options as Options
from paleo_opt.estimator.options import usual_options
from paleo_opt.estimator.parallelism import fetch_links, micro_batch_times
from paleo_opt.estimator.parameter_server import asynchronous_updates
from paleo_opt.estimator.places import Places, make_places
from paleo_opt.estimator.roofline import kernel_part_times, update_times
from paleo_opt.estimator.splits import Splits
from paleo_opt.estimator.strategy import Integers, Strategies, Strategy
from paleo_opt.estimator.synchronization import (
    SERVERS,
    bucket_leads,
    bucket_tails,
    exchange_time,
    exposed_time,
)


@dataclass(frozen=True)
class Memos:
    """What `estimate` keeps between tiles: same table, clusters, precisions, split, collectives and options."""

    places: Places
    local: Memo = field(default_factory=Memo)
    all_reduce: Memo = field(default_factory=Memo)
    slowdowns: Memo = field(default_factory=Memo)
    blocks: dict[int, BlockMemos] = field(default_factory=dict)

    def of_splits(self, splits: Splits) -> BlockMemos:
        """What is kept for ``splits``, which are kept alive with it."""
        if id(splits) not in self.blocks:
            self.blocks[id(splits)] = make_block_memos(splits)
        return self.blocks[id(splits)]


def estimate(
    table: CostTable,
    strategies: Strategies | Strategy,
    options: Options | None = None,
    memos: Memos | None = None,
) -> Estimates:
    """Estimate a set of strategies.

    Args:
        table: The compiled network.
        strategies: A set, or a single strategy.
        options: The model's constants.
        memos: Kept between calls for tiles of one sweep; leave out otherwise.

    Returns:
        Estimates whose fields broadcast to the shape of the set; shape (1,) for a single strategy.

    Raises:
        SpecError: a device has no peak in its precision, or the network no such split.
    """
    if isinstance(strategies, Strategy):
        strategies = strategies.as_strategies()
    options = options or usual_options(table.network)
    if options.model == "paleo" and AUTO in strategies.collectives:
        raise SpecError(f"collective {AUTO!r} is of the roofline model; PALEO has {', '.join(COLLECTIVES)}")
    if options.updates == "asynchronous" and set(strategies.collectives) != {SERVERS}:
        raise SpecError(f"asynchronous updates need a parameter server; expected collective {SERVERS}")
    if strategies.splits is not None:
        return _estimate_blocks(table, strategies, options, memos)
    layout = table.layout(strategies.split, strategies.tensor)
    places = memos.places if memos else make_places(strategies.clusters, strategies.precisions, options)
    job = table.network.job
    place, accumulation = strategies.place, strategies.accumulation
    count = len(strategies.clusters)
    optimizer = options.optimizer or table.network.usual_optimizer

    def local(at: Integers, batch: Floats) -> Floats:
        whole, share = _parts(table, layout, places, at, batch, options)
        links = fetch_links(places, at, layout.tensor) if layout.tensor > 1 else None
        times = micro_batch_times(layout, batch, whole, share, links, places.rates.clock[at])
        forward = times.forward + times.divided_forward
        backward = times.backward + times.divided_backward
        found = np.array([forward, backward, times.fetch, times.workspace])
        if places.sending is None:
            return found
        return np.concatenate([found, bucket_leads(layout, places.sending, at, whole, share, backward)])

    def synchronize(at: Integers, gpus: Floats) -> Floats:
        if places.sending is not None:
            weight = places.weight_bytes[at]
            tails = bucket_tails(layout, places.sending, at, gpus, weight, strategies.collectives)
            return tails.reshape(tails.shape[0] * tails.shape[1], gpus.size)
        messages = [(layout.replicated_parameters, 1), (layout.divided_parameters / layout.tensor, layout.tensor)]
        time = np.zeros((len(strategies.collectives), gpus.size))
        for parameters, apart in messages:
            if parameters:
                # The devices that hold the same share of a split layer are ``tensor`` apart.
                size = parameters * places.weight_bytes[at]
                time += all_reduce(strategies.collectives, places.paths(at, gpus, apart), size, places.ppp_comm[at])
        return time

    def exchanged(at: Integers, gpus: Floats) -> Floats:
        assert places.sending is not None
        return exchange_time(layout, places.sending, at, gpus, places.weight_bytes[at])[None]

    # Clusters of one device compute alike; their links matter where layers are split.
    computer = places.alike[place] if layout.tensor == 1 else place
    forward, backward, fetch, workspace, *leads = evaluate(
        count, computer, strategies.micro_batch, local, memos.local if memos else None
    )
    forward_time, fetch_time = forward * accumulation, fetch * accumulation
    if options.training:
        backward_time = backward * accumulation
        per_gpus = evaluate(count, place, strategies.gpus, synchronize, memos.all_reduce if memos else None)
        collectives = len(strategies.collectives)
        per_bucket = per_gpus.reshape(per_gpus.shape[0] // collectives, collectives, *per_gpus.shape[1:])
        tails = [_gather_collective(part, strategies) for part in per_bucket]
        all_reduce_time = exposed = tails[0]
        update = _update(layout, places, optimizer, options.pipelined)[place]
        if places.sending is not None:
            sending = places.sending
            exposed = exposed_time(tails, leads, sending.overlap[place], sending.contention[place])
            if options.updates == "asynchronous":
                local_time = forward_time + backward_time + update
                exchange = evaluate(count, place, strategies.gpus, exchanged, None)[0]
                workers = strategies.gpus / strategies.tensor
                # K synchronous exchanges occupy the servers as long as one of K workers at once.
                updates = asynchronous_updates(workers, local_time, exchange, all_reduce_time / workers)
                exposed = np.maximum(workers / updates.updates_per_s - local_time, 0.0)
    else:
        backward_time, all_reduce_time, exposed, update = (np.zeros(()),) * 4
        fetch_time = fetch_time / 2.0
    parameters = layout.replicated_parameters + layout.divided_parameters
    checkpoint_bytes = 4.0 * parameters * (1 + OPTIMIZER_STATES[optimizer])
    return Estimates(
        strategies=strategies,
        forward_time_s=forward_time,
        backward_time_s=backward_time,
        update_time_s=update,
        communication_time_s=all_reduce_time + fetch_time if layout.tensor > 1 else all_reduce_time,
        all_reduce_time_s=all_reduce_time,
        exposed_all_reduce_time_s=exposed,
        memory=device_memory(
            layout,
            strategies.micro_batch.astype(float),
            workspace,
            element_bytes=places.element_bytes[place],
            weight_bytes=places.weight_bytes[place],
            optimizer=optimizer,
            training=options.training,
            reserve=options.memory_reserve,
        ),
        samples=None if job is None else job_samples(job, strategies.global_batch),
        flops_per_sample=layout.forward_flops * (3.0 if options.training else 1.0),
        places=places,
        options=options,
        checkpoint_bytes=checkpoint_bytes,
        known_slowdowns=_kept_slowdowns(strategies, checkpoint_bytes, options, memos),
    )


def _kept_slowdowns(
    strategies: Strategies, checkpoint_bytes: float, options: Options, memos: Memos | None
) -> Floats | None:
    """What stragglers and interruptions add, once per place and number of GPUs of a sweep; None for a single set."""
    if memos is None:
        return None

    def slowdowns(at: Integers, gpus: Floats) -> Floats:
        return slowdowns_of(memos.places, at, gpus, checkpoint_bytes, options.operations)

    return evaluate(len(strategies.clusters), strategies.place, strategies.gpus, slowdowns, memos.slowdowns)


def _estimate_blocks(table: CostTable, strategies: Strategies, options: Options, memos: Memos | None) -> Estimates:
    """As `estimate`, of a transformer whose blocks are split."""
    sizes, splits = table.network.transformer, strategies.splits
    if sizes is None or splits is None:
        raise SpecError(f"{table.network.name} is no transformer, whose blocks could be split; expected data or model")
    if options.model != "roofline" or options.updates == "asynchronous":
        what = "asynchronous updates do not" if options.model == "roofline" else f"the {options.model} model does not"
        raise SpecError(f"{what} split a transformer's blocks; expected model roofline and synchronous updates")
    places = memos.places if memos else make_places(strategies.clusters, strategies.precisions, options)
    optimizer = options.optimizer or table.network.usual_optimizer
    step = block_step(
        sizes,
        strategies,
        places,
        optimizer=optimizer,
        training=options.training,
        reserve=options.memory_reserve,
        tables=table.block_tables,
        known=table.known_times(places),
        memos=memos.of_splits(splits) if memos else None,
    )
    job, network = table.network.job, table.network
    checkpoint_bytes = 4.0 * network.parameters * (1 + OPTIMIZER_STATES[optimizer])
    return Estimates(
        strategies=strategies,
        forward_time_s=step.forward_s,
        backward_time_s=step.backward_s,
        update_time_s=step.update_s,
        communication_time_s=step.sent_s,
        all_reduce_time_s=step.sent_s,
        exposed_all_reduce_time_s=step.exposed_s,
        memory=step.memory,
        samples=None if job is None else job_samples(job, strategies.global_batch),
        flops_per_sample=float(network.forward_flops) * (3.0 if options.training else 1.0),
        places=places,
        options=options,
        checkpoint_bytes=checkpoint_bytes,
        known_slowdowns=_kept_slowdowns(strategies, checkpoint_bytes, options, memos),
        blocks=step,
    )


def _parts(
    table: CostTable, layout: Layout, places: Places, at: Integers, batch: Floats, options: Options
) -> tuple[PartTimes, PartTimes | None]:
    """The computation of the replicated and of the split layers, for each batch at its place."""
    limit = options.workspace_limit / places.element_bytes[at]
    algorithm = table.algorithm_under(options.model)
    if places.attained is not None:
        attained = places.attained.at(at)
        whole = kernel_part_times(layout.replicated_kernels, attained, batch, algorithm, limit)
        if layout.tensor == 1:
            return whole, None
        return whole, kernel_part_times(layout.divided_kernels, attained, batch, algorithm, limit)
    rates = Rates(places.rates.flops[at], places.rates.elements[at], places.rates.clock[at])
    auto = algorithm == "auto"
    whole = part_times(layout.replicated, rates, batch, auto, limit, options.pipelined)
    if layout.tensor == 1:
        return whole, None
    return whole, part_times(layout.divided, rates, batch, auto, limit, options.pipelined)


def _update(layout: Layout, places: Places, optimizer: str, pipelined: bool) -> Floats:
    """Time of the update at each place [s]; PALEO updates the split layers' parameters in full, and unpipelined."""
    if places.attained is not None:
        parameters = layout.replicated_parameters + layout.divided_parameters / layout.tensor
        step: Floats = places.attained.step_overhead + update_times(
            parameters, layout.parameter_tensors, optimizer, places.element_bytes, places.attained
        )
        return step
    at = (places.update_peak, places.memory_bandwidth, places.rates.clock)
    whole = update_time(layout.replicated_parameters, *at, pipelined)
    return whole if layout.tensor == 1 else whole + update_time(layout.divided_parameters, *at, False)


def _gather_collective(per_gpus: Floats, strategies: Strategies) -> Floats:
    """From (collectives, *shape) to each strategy's own collective, where shape is that of the GPUs and places."""
    collective, shape = strategies.collective, per_gpus.shape[1:]
    if collective.size == 1:
        chosen: Floats = per_gpus[int(collective.reshape(-1)[0])]
        return chosen
    every = np.arange(len(strategies.collectives))
    if len(shape) == 1 and collective.shape == (every.size, 1) and (collective[:, 0] == every).all():
        return per_gpus  # the open mesh of a sweep: every collective, in order, by every plan
    where = np.arange(math.prod(shape)).reshape(shape)
    picked: Floats = per_gpus.reshape(every.size, where.size)[collective, where]
    return picked
