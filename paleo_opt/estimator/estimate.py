"""From strategies to what they cost: step time and its parts, memory, time, money and energy to the target.

One function, `estimate`, for one strategy or ten million: a single strategy is the case n = 1. Quantities that depend
on few columns are computed once per distinct value and gathered, and every field keeps the smallest shape that
broadcasts to the set.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError
from paleo_opt.estimator.collectives import all_reduce
from paleo_opt.estimator.compute import Rates, update_time
from paleo_opt.estimator.convergence import job_samples
from paleo_opt.estimator.cost_table import CostTable, Floats, Layout
from paleo_opt.estimator.energy import computing_watts, waiting_watts
from paleo_opt.estimator.memory import OPTIMIZER_STATES, Memory, device_memory
from paleo_opt.estimator.options import Options as Options
from paleo_opt.estimator.parallelism import fetch_links, micro_batch_times
from paleo_opt.estimator.places import Places, make_places
from paleo_opt.estimator.reliability import Operations, interrupted, slowest_worker
from paleo_opt.estimator.strategy import Integers, Strategies, Strategy

MONTH_S = 365.25 * 86_400 / 12
#: Entries of a `Memo`'s table at most.
_LARGEST_TABLE = 2**24
_OfPlaceAndValue = Callable[[Integers, Floats], Floats]


@dataclass(frozen=True, eq=False)
class Estimates:
    """What strategies cost. Every field broadcasts to the shape of the strategies.

    Attributes:
        strategies: What was estimated.
        forward_time_s: Of one step, with accumulation and fetches [s].
        backward_time_s: Likewise.
        update_time_s: Of the optimizer [s].
        communication_time_s: Gradient all-reduce and fetches [s]; under PALEO none of it is hidden.
        all_reduce_time_s: The gradients' part of it [s].
        memory: Bytes per device, by use.
        samples: Samples to the target, at the global batch; None without a training job.
        flops_per_sample: Model FLOPs of one sample's step (forward and backward).
        places: What the clusters attain.
        options: The model's constants, and the terms on which nodes are had and run.
        checkpoint_bytes: Of one checkpoint: fp32 parameters and optimizer state.
        known_slowdowns: As `slowdowns`, where the caller keeps them; shape (2, …).
    """

    strategies: Strategies
    forward_time_s: Floats
    backward_time_s: Floats
    update_time_s: Floats
    communication_time_s: Floats
    all_reduce_time_s: Floats
    memory: Memory
    samples: Floats | None
    flops_per_sample: float
    places: Places
    options: Options
    checkpoint_bytes: float
    known_slowdowns: Floats | None = None

    @cached_property
    def compute_time_s(self) -> Floats:
        """Computation of one step without fetches and update [s]."""
        fetch = self.communication_time_s - self.all_reduce_time_s
        return self.forward_time_s + self.backward_time_s - fetch

    @cached_property
    def step_time_s(self) -> Floats:
        """One optimizer update over one global batch [s]."""
        local: Floats = self.forward_time_s + self.backward_time_s + self.update_time_s
        return local + self.all_reduce_time_s

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
        local = (self.forward_time_s + self.backward_time_s + self.update_time_s) * self.slowdowns[0]
        step: Floats = local + self.all_reduce_time_s
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


class Memo:
    """Values of a function of a place and a positive integer, kept for the next tile of the same sweep.

    What depends on the micro-batch or the number of GPUs alone is the same in all tiles. A dense table says where the
    values of each pair stand: both are small integers (large ones are sorted instead, and not kept).
    """

    def __init__(self) -> None:
        self._slot = np.zeros((0, 0), dtype=np.int32)  # one above where the values stand; 0 is unknown
        self._values = np.zeros((0, 0))

    def gather(self, places: int, place: Integers, values: Integers, function: _OfPlaceAndValue) -> Floats:
        """``function`` at each (place, value) of two arrays of one shape (n,). Shape (rows, n)."""
        size = int(values.max()) + 1
        if places * size > _LARGEST_TABLE:
            pairs, which = np.unique(place * size + values, return_inverse=True)
            distinct = function(pairs // size, (pairs % size).astype(float))
            spread: Floats = np.take(distinct, which, axis=1)
            return spread
        if size > self._slot.shape[1]:
            grown = np.zeros((places, size), dtype=np.int32)
            grown[: self._slot.shape[0], : self._slot.shape[1]] = self._slot
            self._slot = grown
        flat, size = self._slot.reshape(-1), self._slot.shape[1]
        key = place * size + values
        slot = flat[key]
        if not slot.all():
            flat[key[slot == 0]] = -1
            missing = np.flatnonzero(flat == -1)
            found = function(missing // size, (missing % size).astype(float))
            kept = self._values.shape[1]
            self._values = np.concatenate([self._values, found], axis=1) if kept else found
            flat[missing] = np.arange(kept + 1, kept + 1 + missing.size)
            slot = flat[key]
        gathered: Floats = np.take(self._values, slot - 1, axis=1)
        return gathered


@dataclass(frozen=True)
class Memos:
    """What `estimate` keeps between tiles: same table, clusters, precisions, split, collectives and options."""

    places: Places
    local: Memo = field(default_factory=Memo)
    all_reduce: Memo = field(default_factory=Memo)
    slowdowns: Memo = field(default_factory=Memo)


def _evaluate(places: int, place: Integers, values: Integers, function: _OfPlaceAndValue, memo: Memo | None) -> Floats:
    """``function`` at each (place, value), once per distinct pair where they are many. Shape (rows, *shape)."""
    if place.shape != values.shape:
        place, values = np.broadcast_arrays(place, values)
    flat_place, flat = place.reshape(-1), values.reshape(-1)
    if flat.size < (1 if memo else 32):
        result = function(flat_place, flat.astype(float))
    else:
        result = (memo or Memo()).gather(places, flat_place, flat, function)
    return result.reshape(result.shape[0], *values.shape)


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
    options = options or Options()
    layout = table.layout(strategies.split, strategies.tensor)
    places = memos.places if memos else make_places(strategies.clusters, strategies.precisions, options)
    job = table.network.job
    place, accumulation = strategies.place, strategies.accumulation
    count = len(strategies.clusters)

    def local(at: Integers, batch: Floats) -> Floats:
        rates = places.rates
        times = micro_batch_times(
            layout,
            batch,
            Rates(rates.flops[at], rates.elements[at], rates.clock[at]),
            fetch_links(places, at, layout.tensor) if layout.tensor > 1 else None,
            auto=table.conv_algorithm == "auto",
            workspace_limit=options.workspace_limit / places.element_bytes[at],
            pipelined=options.pipelined,
        )
        forward = times.forward + times.divided_forward
        backward = times.backward + times.divided_backward
        return np.array([forward, backward, times.fetch, times.workspace])

    def synchronize(at: Integers, gpus: Floats) -> Floats:
        messages = [(layout.replicated_parameters, 1), (layout.divided_parameters / layout.tensor, layout.tensor)]
        time = np.zeros((len(strategies.collectives), gpus.size))
        for parameters, apart in messages:
            if parameters:
                # The devices that hold the same share of a split layer are ``tensor`` apart.
                size = parameters * places.weight_bytes[at]
                time += all_reduce(strategies.collectives, places.paths(at, gpus, apart), size, places.ppp_comm[at])
        return time

    forward, backward, fetch, workspace = _evaluate(
        count, place, strategies.micro_batch, local, memos.local if memos else None
    )
    forward_time, fetch_time = forward * accumulation, fetch * accumulation
    if options.training:
        backward_time = backward * accumulation
        per_gpus = _evaluate(count, place, strategies.gpus, synchronize, memos.all_reduce if memos else None)
        all_reduce_time = _gather_collective(per_gpus, strategies)
        update = _update(layout, places, options.pipelined)[place]
    else:
        backward_time, all_reduce_time, update = np.zeros(()), np.zeros(()), np.zeros(())
        fetch_time = fetch_time / 2.0
    optimizer = options.optimizer or (job.optimizer if job else "momentum")
    parameters = layout.replicated_parameters + layout.divided_parameters
    checkpoint_bytes = 4.0 * parameters * (1 + OPTIMIZER_STATES[optimizer])
    known_slowdowns = None
    if memos:

        def slowdowns(at: Integers, gpus: Floats) -> Floats:
            return _slowdowns(places, at, gpus, checkpoint_bytes, options.operations)

        known_slowdowns = _evaluate(count, place, strategies.gpus, slowdowns, memos.slowdowns)
    return Estimates(
        strategies=strategies,
        forward_time_s=forward_time,
        backward_time_s=backward_time,
        update_time_s=update,
        communication_time_s=all_reduce_time + fetch_time if layout.tensor > 1 else all_reduce_time,
        all_reduce_time_s=all_reduce_time,
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


def _update(layout: Layout, places: Places, pipelined: bool) -> Floats:
    """Time of the update at each place [s]; PALEO updates the split layers' parameters in full, and unpipelined."""
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
