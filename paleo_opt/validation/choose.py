"""Which of its alternatives a measured row ran: what people would have run, the fastest that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np

from paleo_opt import quantities
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.effects import gathered
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.splits import SHARDINGS
from paleo_opt.validation.run import Refused, Run

#: What ran did fit: estimates of memory beyond the device's by so much are taken for errors of the estimate.
SLACK = 0.05


def choose(table: CostTable, runs: Sequence[Run], options: Options) -> list[Run | Refused]:
    """Each run with one strategy: of those that fit, with the least sharding, the fastest.

    Where none fits it is the smallest, as the estimate of activations may err; but not where the parameters, their
    gradients and the optimizer's state are too large by themselves: then the row does not say what was really trained.

    Args:
        table: Of their network.
        runs: On one platform, each with alternatives or without.
        options: Of the model, with that platform.
    """
    every = [strategy for run in runs for strategy in run.alternatives]
    if not every:
        return list(runs)
    found = estimate(table, gathered(every), options)
    memory, shape = found.memory, (len(every),)
    time = np.broadcast_to(found.step_time_s, shape)
    total = np.broadcast_to(memory.total, shape)
    state = np.broadcast_to(memory.parameters + memory.gradients + memory.optimizer, shape)
    limit = np.array([strategy.cluster.device.memory for strategy in every])
    sharding = np.array([SHARDINGS.index(strategy.blocks.sharding) if strategy.blocks else 0 for strategy in every])
    fits = total <= (1.0 + SLACK) * limit
    # Fitting ones first, by sharding and time; the others by their size.
    order = np.lexsort((np.where(fits, time, total), np.where(fits, sharding, 0), ~fits))
    rank = np.empty(shape, dtype=np.int64)
    rank[order] = np.arange(len(every))
    chosen: list[Run | Refused] = []
    ends = accumulate((len(run.alternatives) for run in runs), initial=0)
    for run, (start, end) in zip(runs, pairwise(ends), strict=True):
        if start == end:
            chosen.append(run)
            continue
        best = start + int(rank[start:end].argmin())
        if not fits[best] and state[start:end].min() > (1.0 + SLACK) * limit[best]:
            needed = quantities.format_memory(float(state[start:end].min()))
            have = quantities.format_memory(float(limit[best]))
            chosen.append(Refused(f"its parameters and their state need {needed} of a device's {have}"))
        else:
            chosen.append(replace(run, strategy=every[best], alternatives=()))
    return chosen
