"""One fleet and how it trains: what each group and stage does in a step, and what the whole training takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.energy import computing_watts, waiting_watts
from paleo_opt.estimator.estimates import MONTH_S
from paleo_opt.estimator.memory import OPTIMIZER_STATES
from paleo_opt.estimator.reliability import interrupted, slowest_worker
from paleo_opt.estimator.splits import Split
from paleo_opt.fleet.groups import Group
from paleo_opt.fleet.model import FleetModel, own_pairing

DATA, PIPELINE = "data", "pipeline"
WAYS = (DATA, PIPELINE)


@dataclass(frozen=True)
class GroupShare:
    """What the nodes of one kind, or of one stage, do in a step.

    Attributes:
        group: The nodes.
        samples: Of a step that they take; a stage takes all.
        each: Samples of one device (of one group of tensor-parallel devices) at most.
        micro_batch: Of one pass.
        passes: Of a step.
        busy_s: Computing.
        idle: Share of the step in which a device waits, for others or for communication that nothing hides.
        memory: Bytes of a device.
        capacity: Bytes that a device has.
        layers: Of a stage, in words; empty where the nodes have the whole network.
    """

    group: Group
    samples: int
    each: int
    micro_batch: int
    passes: int
    busy_s: float
    idle: float
    memory: float
    capacity: float
    layers: str = ""


@dataclass(frozen=True)
class PhasePlan:
    """A stretch of the training with one global batch.

    Attributes:
        global_batch: Samples of a step.
        steps: Whole ones.
        start: Progress at which it starts, from 0.
        end: Progress at which it ends, up to 1.
        step_s: Of one step.
        expected_s: With the slowest worker, and no faster than its samples can be read.
        exposed_s: Of a step, communication that nothing hides.
        shares: Of each group, or of each stage.
    """

    global_batch: int
    steps: int
    start: float
    end: float
    step_s: float
    expected_s: float
    exposed_s: float
    shares: tuple[GroupShare, ...]


@dataclass(frozen=True)
class FleetPlan:
    """A fleet and how it trains.

    Attributes:
        groups: Nodes of each kind that take part.
        way: One of `WAYS`.
        phases: Of the training, at least one.
        collective: That adds up gradients.
        precision: Of all.
        split: How each block of a transformer is split inside a node; None for a network of layers.
        bucket_bytes: Gradients sent together.
        time_s: Expected, to the target.
        cost_usd: NaN where a kind has no price on these terms.
        energy_kwh: NaN where a device's power is not published.
        even_step_s: Of the longest phase, had every device as many samples as any other; NaN under a pipeline.
    """

    groups: tuple[Group, ...]
    way: str
    phases: tuple[PhasePlan, ...]
    collective: str
    precision: str
    split: Split | None
    bucket_bytes: float
    time_s: float
    cost_usd: float
    energy_kwh: float
    even_step_s: float = math.nan

    @property
    def devices(self) -> int:
        """Of all groups."""
        return sum(group.devices for group in self.groups)

    @property
    def longest(self) -> PhasePlan:
        """The phase that takes most time."""
        return max(self.phases, key=lambda phase: phase.steps * phase.expected_s)

    def figure(self, goal: str) -> float:
        """What is minimized: ``time`` or ``cost``."""
        return self.time_s if goal == "time" else self.cost_usd

    def to_json(self) -> dict[str, Any]:
        """Under names that carry their units."""
        split = None if self.split is None else {
            name: getattr(self.split, name) for name in ("tensor", "sharding", "recompute", "sequence_parallel")
        }  # fmt: skip
        return {
            "way": self.way,
            "gpus": self.devices,
            "nodes": {group.cluster.name: group.nodes for group in self.groups},
            "precision": self.precision,
            "collective": self.collective,
            "split": split,
            "bucket_bytes": self.bucket_bytes,
            "time_to_target_s": self.time_s,
            "cost_usd": self.cost_usd,
            "energy_kwh": self.energy_kwh,
            "even_step_time_s": self.even_step_s,
            "phases": [
                {
                    "global_batch": phase.global_batch,
                    "steps": phase.steps,
                    "progress": [phase.start, phase.end],
                    "step_time_s": phase.step_s,
                    "expected_step_time_s": phase.expected_s,
                    "exposed_communication_time_s": phase.exposed_s,
                    "samples_per_s": phase.global_batch / phase.step_s,
                    "shares": [
                        {
                            "cluster": share.group.cluster.name,
                            "device": share.group.cluster.device.name,
                            "nodes": share.group.nodes,
                            "gpus": share.group.devices,
                            "samples": share.samples,
                            "samples_per_gpu": share.each,
                            "micro_batch": share.micro_batch,
                            "passes": share.passes,
                            "compute_time_s": share.busy_s,
                            "idle_share": share.idle,
                            "memory_bytes": share.memory,
                            "device_memory_bytes": share.capacity,
                            "layers": share.layers or None,
                        }
                        for share in phase.shares
                    ],
                }
                for phase in self.phases
            ],
        }


def expected_step_s(
    model: FleetModel, groups: Sequence[Group], step_s: float, computing_s: float, global_batch: int
) -> float:
    """A step with its slowest worker, and no faster than its samples can be read [s], as `Estimates` has it."""
    operations = model.options.operations
    devices = float(sum(group.devices for group in groups))
    slowest = float(slowest_worker(np.array(devices), operations.straggler_variation))
    expected = step_s + (slowest - 1.0) * computing_s
    if operations.input_rate is not None:
        expected = max(expected, global_batch / (sum(group.nodes for group in groups) * operations.input_rate))
    return expected


def running_factor(model: FleetModel, groups: Sequence[Group]) -> float:
    """Expected running time over that of the steps: checkpoints, failures and restarts."""
    options, network = model.options, model.table.network
    nodes, devices = sum(group.nodes for group in groups), sum(group.devices for group in groups)
    places = model.memos(None).places
    spot = sum(
        group.nodes * float(places.interruptions[own_pairing(model, model.kinds.index(group.cluster))])
        for group in groups
    )
    rate = devices / options.operations.device_mtbf_s + spot
    optimizer = options.optimizer or network.usual_optimizer
    checkpoint = 4.0 * network.parameters * (1 + OPTIMIZER_STATES[optimizer])
    written = checkpoint / (nodes * options.operations.checkpoint_bandwidth)
    mtbf = np.array(1.0 / rate if rate > 0 else np.inf)
    return float(interrupted(mtbf, np.array(written), options.operations.restart_s))


def totals(model: FleetModel, groups: Sequence[Group], phases: Sequence[PhasePlan]) -> tuple[float, float, float]:
    """Seconds, dollars and kWh to the target; NaN for what is not known."""
    options = model.options
    factor = running_factor(model, groups)
    running = factor * sum(phase.steps * phase.expected_s for phase in phases)
    prices = [options.node_price(group.cluster) for group in groups]
    hourly = sum(
        math.nan if price is None else group.nodes * price.dollars_per_hour
        for group, price in zip(groups, prices, strict=True)
    )
    operations = options.operations
    rate = hourly / 3600.0 + operations.storage_usd_per_month / MONTH_S
    waiting = sum(
        float(waiting_watts(options.power, np.array(group.devices), np.array(_watts(group)))) for group in groups
    )
    joules = 0.0
    for phase in phases:
        busy = sum(
            float(computing_watts(options.power, np.array(share.group.devices), np.array(_watts(share.group))))
            * share.busy_s
            for share in phase.shares
        )
        joules += phase.steps * (waiting * phase.expected_s + busy)
    return running + operations.queue_s, rate * running + operations.egress_usd, factor * joules / 3.6e6


def _watts(group: Group) -> float:
    power = group.cluster.device.power
    return math.nan if power is None else power


def check_prices(model: FleetModel) -> None:
    """Refuse kinds without a price. Raises `SpecError`."""
    for cluster in model.kinds:
        if model.options.node_price(cluster) is None:
            raise SpecError(
                f"{cluster.name} has no price {model.options.pricing}; expected one under a budget of money"
            )
