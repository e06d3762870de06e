"""The figures that measured rows are about, each in the unit of its quantity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from paleo_opt.estimator.convergence import job_samples
from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.estimate import Estimates, estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.validation.run import Refused, Run


@dataclass(frozen=True)
class Estimated:
    """Runs that were estimated together. Every array has shape (runs,)."""

    runs: Sequence[Run]
    table: CostTable
    estimates: Estimates
    options: Options
    samples: Floats
    gpus: Floats

    @property
    def step_time_s(self) -> Floats:
        """Of one step [s]."""
        return np.broadcast_to(self.estimates.step_time_s, self.samples.shape)

    @property
    def samples_per_s(self) -> Floats:
        """The samples that the rows count, over the step."""
        rate: Floats = self.samples / self.step_time_s
        return rate


def _train_time(of: Estimated) -> Floats:
    """Steps to the target at the measured batch, times the step: the ideal time, as a published run had no failures."""
    job = of.table.network.job
    if job is None:
        raise Refused(f"network {of.table.network.name!r} has no training job")
    steps: Floats = np.ceil(job_samples(job, of.samples.astype(np.int64)) / of.samples)
    time: Floats = steps * of.step_time_s
    return time


def _tokens(of: Estimated) -> Floats:
    tokens = of.table.network.tokens_per_sample
    lengths = [run.row.sequence_length or tokens for run in of.runs]
    if None in lengths:
        raise Refused("no sequence length")
    rate: Floats = of.samples_per_s * np.array(lengths, dtype=float)
    return rate


def _tflops(of: Estimated) -> Floats:
    """Of the model's FLOPs, or of those that a row's source counts."""
    own = of.estimates.flops_per_sample
    counted = np.array([own if run.counted_flops is None else run.counted_flops for run in of.runs])
    rate: Floats = counted * of.samples_per_s / of.gpus / 1e12
    return rate


def _speedup(of: Estimated) -> Floats:
    """Over one device of the same cluster with one worker's batch."""
    alone = []
    for run in of.runs:
        strategy = run.strategy
        one = Strategy(strategy.cluster, 1, strategy.micro_batch, strategy.accumulation, precision=strategy.precision)
        alone.append(float(estimate(of.table, one, of.options).samples_per_s[0]))
    speedup: Floats = of.samples_per_s / np.array(alone)
    return speedup


def _memory(of: Estimated) -> Floats:
    """Without what the platform keeps for itself, which a framework's count of its memory leaves out.

    A row whose software says ``activation memory`` or ``params+optimizer memory`` is about that part alone.
    """
    memory, shape = of.estimates.memory, of.samples.shape
    state = memory.parameters + memory.gradients + memory.optimizer
    parts = {"activation memory": memory.activations, "params+optimizer memory": state}
    found = np.array(np.broadcast_to(memory.total - of.options.memory_reserve, shape), dtype=float)
    for words, part in parts.items():
        named = np.array([words in run.row.software for run in of.runs])
        found[named] = np.broadcast_to(part, shape)[named]
    return found


#: Each quantity, in the unit that its name says.
FIGURES: Mapping[str, Callable[[Estimated], Floats]] = MappingProxyType(
    {
        "step_time_s": lambda of: of.step_time_s,
        "forward_time_s": lambda of: of.estimates.forward_time_s,
        "backward_time_s": lambda of: of.estimates.backward_time_s,
        "samples_per_s": lambda of: of.samples_per_s,
        "tokens_per_s": _tokens,
        "tokens_per_s_per_gpu": lambda of: _tokens(of) / of.gpus,
        "tflops_per_gpu": _tflops,
        "mfu": lambda of: of.estimates.mfu * of.samples / of.estimates.strategies.global_batch,
        "train_time_s": _train_time,
        "speedup": _speedup,
        "memory_bytes": _memory,
    }
)
