"""Splits that no assignment as fast as data parallelism has, known before what moves between layers is computed.

With nothing moved, every sum of a step is a sum over layers. A split whose excess over the least of its layer, added to
the least of all layers, is above the step of data parallelism in one of those sums, is in no faster assignment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paleo_opt.layer_splits.costs import SplitCosts
from paleo_opt.layer_splits.patterns import DATA, patterns
from paleo_opt.layer_splits.series_parallel import SAME
from paleo_opt.layer_splits.step_time import step_time


def surely_fits(costs: SplitCosts) -> bool:
    """Whether data parallelism fits a device; of costs without edges it is known where nothing moves under it."""
    chosen = patterns(costs)[DATA]
    alike = {tuple(one.degrees[k].tolist()) for one, k in zip(costs.choices, chosen, strict=True)}
    experts = any(layer.experts is not None for layer in costs.layers)
    return len(alike) == 1 and not experts and costs.memory_of(chosen) <= costs.cluster.device.memory


def promising(costs: SplitCosts, objective: str) -> list[NDArray[np.bool_]] | None:
    """For each layer, the splits that the fastest assignment may have, and those of `patterns`.

    Args:
        costs: Without edges.
        objective: One of `step_time.OBJECTIVES`.

    Returns:
        Shapes (K,); None where data parallelism does not fit, or not every layer can be split by samples alike.
    """
    if not surely_fits(costs):
        return None
    step, by_hand = step_time(costs, objective), patterns(costs)
    limit = step.total(by_hand[DATA]) * (1.0 + SAME) - costs.fixed
    kept = [np.ones(len(one.degrees), dtype=bool) for one in costs.choices]
    for row in np.eye(step.sync.shape[0]):
        nodes = step.mixed(row).nodes
        base = sum(float(node.min()) for node in nodes)
        within = {id(node): base + (node - node.min()) <= limit for node in nodes}
        for mask, node in zip(kept, nodes, strict=True):
            mask &= within[id(node)]
    for chosen in by_hand.values():
        for mask, choice in zip(kept, chosen, strict=True):
            mask[choice] = True
    return kept
