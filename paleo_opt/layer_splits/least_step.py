"""A time below which no step of a place is, whatever the splits: what moves between layers is left out.

Every sum of a step (`step_time`) is then a sum over layers, whose least is that of each layer by itself. That takes a
hundredth of the time of solving the place, so that a place whose bound is above the best need not be solved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paleo_opt.estimator.collectives import AUTO
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.synchronization import SERVERS
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.layer_splits.costs import bare_costs
from paleo_opt.layer_splits.promising import surely_fits
from paleo_opt.layer_splits.split_layers import usual_collective
from paleo_opt.layer_splits.step_time import StepTime, step_time


@dataclass(frozen=True)
class LeastStep:
    """What no step of a place is below.

    Attributes:
        step_s: Its time.
        compute_s: Forward and backward passes of a device.
        update_s: Update of a device's parameters.
    """

    step_s: float
    compute_s: float
    update_s: float


def least_step(
    table: CostTable,
    cluster: Cluster,
    gpus: int,
    global_batch: int,
    *,
    passes: int | None = None,
    objective: str = "hidden",
    precision: str | None = None,
    collective: str | None = None,
    options: Options,
) -> LeastStep:
    """The least that `split_layers` could answer to the same arguments.

    Raises:
        SpecError: as `split_layers`.
    """
    if collective is None:
        usual = usual_collective(cluster, options)
        collective = AUTO if usual == SERVERS else usual
    found: list[LeastStep] = []
    count, last = passes or 1, False
    while global_batch % count == 0:
        costs = bare_costs(table, cluster, gpus, global_batch // count, count, precision, collective, options)
        step = step_time(costs, objective)
        compute = sum(count * float((node.forward + node.backward).min()) for node in costs.nodes)
        update = sum(float(node.update.min()) for node in costs.nodes)
        found.append(LeastStep(_least(step), compute, update))
        # `split_layers` stops at the first number of passes that fits, or one later.
        fits = surely_fits(costs)
        if passes is not None or last or (fits and count == 1):
            break
        last, count = fits, 2 * count
    return LeastStep(
        min(one.step_s for one in found), min(one.compute_s for one in found), min(one.update_s for one in found)
    )


def _least(step: StepTime) -> float:
    """The largest, over the sums of a step, of the least of each."""
    rows = np.eye(step.sync.shape[0])
    return max(sum(float(costs.min()) for costs in step.mixed(row).nodes) for row in rows) + step.costs.fixed
