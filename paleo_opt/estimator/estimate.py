"""From strategies to what they cost: step time and its parts, memory, time, money and energy to the target.

One function, `estimate`, for one strategy or ten million: a single strategy is the case n = 1. Quantities that depend
on few columns are computed once per distinct value and gathered, and every field keeps the smallest shape that
broadcasts to the set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.collectives import all_reduce
from paleo_opt.estimator.compute import device_rates, update_time
from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.memory import DEFAULT_RESERVE, OPTIMIZER_STATES, Memory, device_memory
from paleo_opt.estimator.parallelism import micro_batch_times
from paleo_opt.estimator.strategy import Integers, Strategies, Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.device import ELEMENT_BYTES, Device

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
        return np.asarray(self.memory_bytes <= self.strategies.cluster.device.memory)

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
        price = self.strategies.cluster.price
        rate = self.strategies.nodes * (np.nan if price is None else price.on_demand / 3600.0)
        return rate * self.time_to_target_s

    @cached_property
    def energy_kwh(self) -> Floats:
        """Devices at full power (TDP) for the whole time [kWh]; NaN where none is published. Raises as `steps`."""
        power = self.strategies.cluster.device.power
        rate = self.strategies.gpus * (np.nan if power is None else power / 3.6e6)
        return rate * self.time_to_target_s

    @cached_property
    def mfu(self) -> Floats:
        """Model FLOPs per second over the peak of all devices (model FLOPs utilization)."""
        peak = self.strategies.cluster.device.peak[self.strategies.precision]
        use: Floats = self.flops_per_sample * self.samples_per_s / (self.strategies.gpus * peak)
        return use


class Memo:
    """Values of a function of a positive integer, kept for the next tile of the same block.

    A sweep evaluates one block in tiles; what depends on the micro-batch or on the number of GPUs alone is the same
    in all of them. The table is dense: both are small integers.
    """

    def __init__(self) -> None:
        self._table = np.zeros((0, 0))
        self._known = np.zeros(0, dtype=bool)

    def gather(self, values: Integers, function: Callable[[Floats], Floats]) -> Floats:
        """``function`` at each of ``values``; it maps shape (k,) to (rows, k). Shape (rows, *values.shape)."""
        flat = values.reshape(-1)
        size = int(flat.max()) + 1
        if size > self._known.size:
            known = np.zeros(size, dtype=bool)
            known[: self._known.size] = self._known
            self._known = known
        if not self._known[flat].all():
            wanted = np.zeros(self._known.size, dtype=bool)
            wanted[flat] = True
            missing = np.flatnonzero(wanted & ~self._known)
            found = function(missing.astype(float))
            table = np.zeros((found.shape[0], self._known.size))
            table[: self._table.shape[0], : self._table.shape[1]] = self._table
            table[:, missing] = found
            self._table = table
            self._known[missing] = True
        return np.take(self._table, flat, axis=1).reshape(-1, *values.shape)


@dataclass(frozen=True)
class Memos:
    """What `estimate` keeps between tiles of one block: same table, cluster, precision, split, collectives, options."""

    local: Memo = field(default_factory=Memo)
    all_reduce: Memo = field(default_factory=Memo)


def _evaluate(values: Integers, function: Callable[[Floats], Floats], memo: Memo | None) -> Floats:
    """``function`` at each of ``values``, once per distinct value where they are many. Shape (rows, *values.shape)."""
    if memo is None and values.size < 32:
        result = function(values.reshape(-1).astype(float))
        return result.reshape(-1, *values.shape)
    return (memo or Memo()).gather(values, function)


def estimate(
    table: CostTable,
    strategies: Strategies | Strategy,
    options: Options | None = None,
    memos: Memos | None = None,
) -> Estimates:
    """Estimate a set of strategies.

    Args:
        table: The compiled network.
        strategies: A set on one cluster, or a single strategy.
        options: The model's constants.
        memos: Kept between calls for tiles of one block; leave out otherwise.

    Returns:
        Estimates whose fields broadcast to the shape of the set; shape (1,) for a single strategy.

    Raises:
        SpecError: the device has no peak in that precision, or the network no such split.
    """
    if isinstance(strategies, Strategy):
        strategies = strategies.as_strategies()
    options = options or Options()
    cluster, device, precision = strategies.cluster, strategies.cluster.device, strategies.precision
    if precision not in device.peak:
        raise SpecError(f"{device.name} has no peak in {precision}; it has {', '.join(device.peak)}")
    layout = table.layout(strategies.split, strategies.tensor)
    job = table.network.job
    optimizer = options.optimizer or (job.optimizer if job else "momentum")
    ppp_comm = options.cluster_ppp(cluster)
    element = float(ELEMENT_BYTES[precision])
    rates = device_rates(device, precision, options.device_ppp(device, precision))

    def local(batch: Floats) -> Floats:
        times = micro_batch_times(
            layout,
            cluster,
            rates,
            batch,
            auto=table.conv_algorithm == "auto",
            workspace_limit=options.workspace_limit / element,
            pipelined=options.pipelined,
            element_bytes=element,
            ppp_comm=ppp_comm,
        )
        forward = times.forward + times.divided_forward
        backward = times.backward + times.divided_backward
        return np.stack([forward, backward, times.fetch, times.workspace])

    forward, backward, fetch, workspace = _evaluate(strategies.micro_batch, local, memos.local if memos else None)
    accumulation = strategies.accumulation
    gradient_bytes = max(element, 2.0)

    def synchronize(gpus: Floats) -> Floats:
        whole = all_reduce(
            strategies.collectives, cluster, gpus, layout.replicated_parameters * gradient_bytes, ppp_comm
        )
        if layout.tensor == 1:
            return whole
        share = layout.divided_parameters / layout.tensor * gradient_bytes
        return whole + all_reduce(strategies.collectives, cluster, gpus / layout.tensor, share, ppp_comm)

    if options.training:
        per_gpus = _evaluate(strategies.gpus, synchronize, memos.all_reduce if memos else None)
        all_reduce_time = _gather_collective(per_gpus, strategies)
        update = update_time(layout.replicated_parameters, device, options.pipelined)
        if layout.tensor > 1:
            update = update + update_time(layout.divided_parameters, device, False)
        forward_time, backward_time, fetch_time = (
            forward * accumulation,
            backward * accumulation,
            fetch * accumulation,
        )
    else:
        all_reduce_time, update = np.zeros(()), np.zeros(())
        forward_time, backward_time = forward * accumulation, np.zeros(())
        fetch_time = fetch * accumulation / 2.0
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
            precision=precision,
            optimizer=optimizer,
            training=options.training,
            reserve=options.memory_reserve,
        ),
        samples=samples,
        flops_per_sample=layout.forward_flops * (3.0 if options.training else 1.0),
    )


def _gather_collective(per_gpus: Floats, strategies: Strategies) -> Floats:
    """From (collectives, *gpus.shape) to each strategy's own collective."""
    gpus, collective = strategies.gpus, strategies.collective
    if collective.size == 1:
        chosen: Floats = per_gpus[int(collective.reshape(-1)[0])]
        return chosen
    every = np.arange(len(strategies.collectives))
    if gpus.ndim == 1 and collective.shape == (every.size, 1) and (collective[:, 0] == every).all():
        return per_gpus  # the open mesh of a sweep: every collective, in order, by every plan
    which, where = np.broadcast_arrays(collective, np.arange(gpus.size).reshape(gpus.shape))
    picked: Floats = per_gpus.reshape(every.size, -1)[which, where]
    return picked
