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

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.collectives import all_reduce
from paleo_opt.estimator.compute import Rates, update_time
from paleo_opt.estimator.cost_table import CostTable, Floats, Layout
from paleo_opt.estimator.memory import DEFAULT_RESERVE, OPTIMIZER_STATES, Memory, device_memory
from paleo_opt.estimator.parallelism import fetch_links, micro_batch_times
from paleo_opt.estimator.places import Places, make_places
from paleo_opt.estimator.strategy import Integers, Strategies, Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.device import Device

#: Platform percent of peak where neither the user nor the device's file gives one: the median that makes this model's
#: GEMM-only estimate meet the published times, one value for vector units and one for tensor cores. fp32: 314 rows of
#: convnet-benchmarks, cnn-benchmarks, tf_cnn_benchmarks and FireCaffe on nine devices (quartiles 0.30 to 0.75). Tensor
#: cores: 102 MLPerf Training ResNet-50 results (v0.7 to v2.1) on up to 64 A100 or V100 (quartiles 0.60 to 0.70; tuned
#: code, so an upper end); tf32, fp8 and fp4 are assumed to attain the same share.
DEFAULT_PPP_COMP = {"fp32": 0.55, "tf32": 0.65, "fp16": 0.65, "bf16": 0.65, "fp8": 0.65, "fp4": 0.65}
#: Likewise for links. An assumption: NCCL attains 0.8 to 1.0 of a link on messages of a gigabyte (published nccl-tests
#: on EFA, InfiniBand and NVLink), frameworks of 2015 to 2017 attained 0.56 to 0.75 (PALEO's case studies).
DEFAULT_PPP_COMM = 0.8
MODELS = ("paleo",)
#: Entries of a `Memo`'s table at most.
_LARGEST_TABLE = 2**24


_OfPlaceAndValue = Callable[[Integers, Floats], Floats]


@dataclass(frozen=True)
class Options:
    """How to estimate: the model and its constants.

    Attributes:
        model: ``paleo``, the additive model of 2017.
        ppp_comp: Platform percent of peak of computation (0 to 1]; None takes the device's, else `DEFAULT_PPP_COMP`.
        ppp_comm: Platform percent of peak of links (0 to 1]; None takes the cluster's, else `DEFAULT_PPP_COMM`.
        pipelined: Whether memory traffic hides behind arithmetic.
        workspace_limit: Bytes a convolution algorithm may use beside its operands.
        training: False for inference: the forward pass only.
        optimizer: Overrides the network's job.
        memory_reserve: Bytes of a device's memory that the platform keeps.
    """

    model: str = "paleo"
    ppp_comp: float | None = None
    ppp_comm: float | None = None
    pipelined: bool = False
    workspace_limit: float = 2.0**30
    training: bool = True
    optimizer: str | None = None
    memory_reserve: float = DEFAULT_RESERVE

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise SpecError(f"model {self.model!r}{nearest(self.model, MODELS)}")
        for name in ("ppp_comp", "ppp_comm"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise SpecError(f"{name} is {value}; expected above 0 and at most 1")
        if self.optimizer is not None and self.optimizer not in OPTIMIZER_STATES:
            raise SpecError(f"optimizer {self.optimizer!r}{nearest(self.optimizer, OPTIMIZER_STATES)}")

    def device_ppp(self, device: Device, precision: str) -> float:
        """The platform percent of peak that holds for ``device``."""
        if self.ppp_comp is not None:
            return self.ppp_comp
        return device.ppp_comp.get(precision, DEFAULT_PPP_COMP[precision])

    def cluster_ppp(self, cluster: Cluster) -> float:
        """The platform percent of peak that holds for the links of ``cluster``."""
        if self.ppp_comm is not None:
            return self.ppp_comm
        return DEFAULT_PPP_COMM if cluster.ppp_comm is None else cluster.ppp_comm


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
    def time_to_target_s(self) -> Floats:
        """Steps · step time [s]. Raises as `steps`."""
        return self.steps * self.step_time_s

    @cached_property
    def cost_usd(self) -> Floats:
        """Whole nodes at the on-demand price [$]; NaN where the cluster has none. Raises as `steps`."""
        rate = self.strategies.nodes * self.places.dollars[self.strategies.place]
        return rate * self.time_to_target_s

    @cached_property
    def energy_kwh(self) -> Floats:
        """Devices at full power (TDP) for the whole time [kWh]; NaN where none is published. Raises as `steps`."""
        rate = self.strategies.gpus * self.places.watts[self.strategies.place] / 3.6e6
        return rate * self.time_to_target_s

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
    samples = None
    if job is not None:
        growth = 1.0 if job.critical_batch is None else 1.0 + strategies.global_batch / job.critical_batch
        samples = np.asarray(job.samples_to_target * growth)
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
            optimizer=options.optimizer or (job.optimizer if job else "momentum"),
            training=options.training,
            reserve=options.memory_reserve,
        ),
        samples=samples,
        flops_per_sample=layout.forward_flops * (3.0 if options.training else 1.0),
        places=places,
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
