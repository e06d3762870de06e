"""From strategies to what they cost: step time and its parts, memory, time, money and energy to the target.

One function, `estimate`, for one strategy or ten million: a single strategy is the case n = 1. Quantities that depend
on few columns are computed once per distinct value and gathered, and every field keeps the smallest shape that
broadcasts to the set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError
from paleo_opt.estimator.block_estimate import BlockMemos, BlockStep, block_step, make_block_memos
from paleo_opt.estimator.collectives import AUTO, COLLECTIVES, all_reduce
from paleo_opt.estimator.compute import PartTimes, Rates, part_times, update_time
from paleo_opt.estimator.convergence import job_samples
from paleo_opt.estimator.cost_table import CostTable, Floats, Layout
from paleo_opt.estimator.energy import computing_watts, waiting_watts
from paleo_opt.estimator.memo import Memo, evaluate
from paleo_opt.estimator.memory import OPTIMIZER_STATES, Memory, device_memory
from paleo_opt.estimator.options import Options as Options
from paleo_opt.estimator.options import usual_options
from paleo_opt.estimator.parallelism import fetch_links, micro_batch_times
from paleo_opt.estimator.parameter_server import asynchronous_updates
from paleo_opt.estimator.places import Places, make_places
from paleo_opt.estimator.reliability import Operations, interrupted, slowest_worker
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

MONTH_S = 365.25 * 86_400 / 12


@dataclass(frozen=True, eq=False)
class Estimates:
    """What strategies cost. Every field broadcasts to the shape of the strategies.

    Attributes:
        strategies: What was estimated.
        forward_time_s: Of one step, with accumulation and fetches [s].
        backward_time_s: Likewise.
        update_time_s: Of the optimizer [s].
        communication_time_s: Gradient all-reduce and fetches [s].
        all_reduce_time_s: The gradients' part of it [s].
        exposed_all_reduce_time_s: By how much that lengthens the step [s]; under PALEO all of it.
        memory: Bytes per device, by use.
        samples: Samples to the target, at the global batch; None without a training job.
        flops_per_sample: Model FLOPs of one sample's step (forward and backward).
        places: What the clusters attain.
        options: The model's constants, and the terms on which nodes are had and run.
        checkpoint_bytes: Of one checkpoint: fp32 parameters and optimizer state.
        known_slowdowns: As `slowdowns`, where the caller keeps them; shape (2, …).
        blocks: The step of a transformer whose blocks are split; its computation is of the average stage.
    """

    strategies: Strategies
    forward_time_s: Floats
    backward_time_s: Floats
    update_time_s: Floats
    communication_time_s: Floats
    all_reduce_time_s: Floats
    exposed_all_reduce_time_s: Floats
    memory: Memory
    samples: Floats | None
    flops_per_sample: float
    places: Places
    options: Options
    checkpoint_bytes: float
    known_slowdowns: Floats | None = None
    blocks: BlockStep | None = None

    @cached_property
    def bubble_time_s(self) -> Floats:
        """Time of one step that a pipeline's average stage waits for others [s]."""
        return np.zeros(()) if self.blocks is None else self.blocks.bubble_s

    @property
    def parts(self) -> dict[str, Floats]:
        """Seconds of a step by `block_estimate.PARTS`, of a transformer whose blocks are split; they add up to it."""
        return {} if self.blocks is None else self.blocks.parts

    @cached_property
    def compute_time_s(self) -> Floats:
        """Computation of one step without fetches and update [s]."""
        fetch = self.communication_time_s - self.all_reduce_time_s
        return self.forward_time_s + self.backward_time_s - fetch

    @cached_property
    def step_time_s(self) -> Floats:
        """One optimizer update over one global batch [s]."""
        local: Floats = self.forward_time_s + self.backward_time_s + self.update_time_s
        if self.blocks is not None:
            local = local + self.blocks.bubble_s
        return local + self.exposed_all_reduce_time_s

    @cached_property
    def exposed_communication_time_s(self) -> Floats:
        """What of the communication lengthens the step [s]."""
        return self.communication_time_s - self.all_reduce_time_s + self.exposed_all_reduce_time_s

    @cached_property
    def staleness(self) -> Floats:
        """Updates by others between a worker's pull and its push, on average; 0 where updates are synchronous."""
        workers: Floats = self.strategies.gpus / self.strategies.tensor - 1.0
        return workers if self.options.updates == "asynchronous" else np.zeros(())

    @cached_property
    def samples_per_s(self) -> Floats:
        """Throughput, all devices together."""
        rate: Floats = self.strategies.global_batch / self.step_time_s
        return rate

    @cached_property
    def memory_bytes(self) -> Floats:
        """Bytes per device."""
        return self.memory.total

    @cached_property
    def fits(self) -> NDArray[np.bool_]:
        """Whether a device holds it."""
        return np.asarray(self.memory_bytes <= self.places.capacity[self.strategies.place])

    @cached_property
    def steps(self) -> Floats:
        """Steps to the target.

        Raises:
            SpecError: the network has no training job.
        """
        if self.samples is None:
            raise SpecError("the network's file has no `job`, so there is no time, money or energy to target")
        count: Floats = np.ceil(self.samples / self.strategies.global_batch)
        return count

    @cached_property
    def slowdowns(self) -> tuple[Floats, Floats]:
        """By how much stragglers lengthen a step, and interruptions the whole; each at least 1."""
        found = self.known_slowdowns
        if found is None:
            strategies = self.strategies
            place, gpus = np.broadcast_arrays(strategies.place, strategies.gpus)
            found = _slowdowns(self.places, place, gpus.astype(float), self.checkpoint_bytes, self.options.operations)
        return found[0], found[1]

    @cached_property
    def ideal_time_to_target_s(self) -> Floats:
        """Steps · step time: nothing waits, lags or fails [s]. Raises as `steps`."""
        return self.steps * self.step_time_s

    @cached_property
    def _expected_step_s(self) -> Floats:
        """A step with its slowest worker, and no faster than its samples can be read [s]."""
        # Without a barrier nobody waits for the slowest.
        slowest = 1.0 if self.options.updates == "asynchronous" else self.slowdowns[0]
        local = (self.forward_time_s + self.backward_time_s + self.update_time_s + self.bubble_time_s) * slowest
        step: Floats = local + self.exposed_all_reduce_time_s
        rate = self.options.operations.input_rate
        return step if rate is None else np.maximum(step, self.strategies.global_batch / (self.strategies.nodes * rate))

    @cached_property
    def running_time_s(self) -> Floats:
        """Time that nodes are held: steps, checkpoints, work done again and restarts [s]. Raises as `steps`."""
        return (self.steps * self.slowdowns[1]) * self._expected_step_s

    @cached_property
    def time_to_target_s(self) -> Floats:
        """Expected time to the target: waiting for the nodes, then `running_time_s` [s]. Raises as `steps`."""
        queue = self.options.operations.queue_s
        return self.running_time_s + queue if queue else self.running_time_s

    @cached_property
    def cost_usd(self) -> Floats:
        """Whole nodes on the terms of the options, storage and egress [$]; NaN without a price. Raises as `steps`."""
        operations = self.options.operations
        rate = self.strategies.nodes * self.places.dollars[self.strategies.place]
        rate = rate + operations.storage_usd_per_month / MONTH_S
        return rate * self.running_time_s + operations.egress_usd

    @cached_property
    def energy_kwh(self) -> Floats:
        """Devices as busy as they are, their nodes and the building [kWh]; NaN without a power. Raises as `steps`."""
        strategies, places, power = self.strategies, self.places, self.options.power
        tdp = places.watts[strategies.place]
        installed = strategies.nodes * places.devices_per_node[strategies.place]
        waiting = waiting_watts(power, installed, tdp) * self._expected_step_s
        joules = waiting + computing_watts(power, strategies.gpus, tdp) * self.compute_time_s
        return (self.steps * self.slowdowns[1] / 3.6e6) * joules

    @cached_property
    def carbon_kg(self) -> Floats:
        """Carbon dioxide equivalent of the energy [kg]; NaN where no intensity of the grid is given."""
        grid = self.options.power.carbon_g_per_kwh
        return self.energy_kwh * (np.nan if grid is None else grid / 1000.0)

    @cached_property
    def mfu(self) -> Floats:
        """Model FLOPs per second over the peak of all devices (model FLOPs utilization)."""
        peak = self.places.peak[self.strategies.place]
        use: Floats = self.flops_per_sample * self.samples_per_s / (self.strategies.gpus * peak)
        return use


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
    known_slowdowns = None
    if memos:

        def slowdowns(at: Integers, gpus: Floats) -> Floats:
            return _slowdowns(places, at, gpus, checkpoint_bytes, options.operations)

        known_slowdowns = evaluate(count, place, strategies.gpus, slowdowns, memos.slowdowns)
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
        known_slowdowns=known_slowdowns,
    )


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
    known_slowdowns = None
    if memos:

        def slowdowns(at: Integers, gpus: Floats) -> Floats:
            return _slowdowns(places, at, gpus, checkpoint_bytes, options.operations)

        count = len(strategies.clusters)
        known_slowdowns = evaluate(count, strategies.place, strategies.gpus, slowdowns, memos.slowdowns)
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
        known_slowdowns=known_slowdowns,
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


def _slowdowns(
    places: Places, place: Integers, gpus: Floats, checkpoint_bytes: float, operations: Operations
) -> Floats:
    """By how much stragglers lengthen a step, and interruptions the whole, for each (place, GPUs). Shape (2, …)."""
    nodes = np.ceil(gpus / places.devices_per_node[place])
    rate = gpus / operations.device_mtbf_s + nodes * places.interruptions[place]
    with np.errstate(divide="ignore"):
        mtbf = np.where(rate > 0, 1.0 / rate, np.inf)
    checkpoint = np.full(gpus.shape, checkpoint_bytes / operations.checkpoint_bandwidth)
    return np.array(
        [
            slowest_worker(gpus, operations.straggler_variation),
            interrupted(mtbf, checkpoint, operations.restart_s),
        ]
    )


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
