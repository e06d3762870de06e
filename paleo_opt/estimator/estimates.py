"""What strategies cost, as a struct of arrays: what `estimate` computes, and what follows from that."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError
from paleo_opt.estimator.block_estimate import BlockStep
from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.energy import computing_watts, waiting_watts
from paleo_opt.estimator.memory import Memory
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.places import Places
from paleo_opt.estimator.reliability import Operations, interrupted, slowest_worker
from paleo_opt.estimator.strategy import Integers, Strategies

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
            found = slowdowns_of(self.places, place, gpus.astype(float), self.checkpoint_bytes, self.options.operations)
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


def slowdowns_of(
    places: Places, place: Integers, gpus: Floats, checkpoint_bytes: float, operations: Operations
) -> Floats:
    """By how much stragglers lengthen a step, and interruptions the whole, for each (place, GPUs). Shape (2, …).

    Every node writes its share of a checkpoint.
    """
    nodes = np.ceil(gpus / places.devices_per_node[place])
    rate = gpus / operations.device_mtbf_s + nodes * places.interruptions[place]
    with np.errstate(divide="ignore"):
        mtbf = np.where(rate > 0, 1.0 / rate, np.inf)
    checkpoint = checkpoint_bytes / (nodes * operations.checkpoint_bandwidth)
    return np.array(
        [
            slowest_worker(gpus, operations.straggler_variation),
            interrupted(mtbf, checkpoint, operations.restart_s),
        ]
    )
