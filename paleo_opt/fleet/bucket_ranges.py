"""Which sizes of gradient buckets mean the same: those that group the gradients alike.

Consecutive layers fill a bucket until it has its size (`estimator.gradient_buckets`), so the groups change only where
the size is the sum of some consecutive layers' gradients: a continuous knob of finitely many different settings.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.gradient_buckets import gradient_buckets
from paleo_opt.fleet.model import FleetModel


def range_ends(model: FleetModel, low: float, high: float, in_stages: bool) -> Floats:
    """The ends of the ranges between ``low`` and ``high`` [bytes], in order; a range includes its own.

    Args:
        model: Of the network on some kinds; of layers.
        low: Least size.
        high: Largest size, the last end.
        in_stages: Whether some of the layers may be grouped by themselves, as in a pipeline's stages.
    """
    layout = model.table.layout()
    counts = [float(layer.parameters) for _, layer in layout.replicated_layers]
    before = np.concatenate([[0.0], np.cumsum(counts)])
    sums = np.unique(before[None, :] - before[:, None])
    widths = np.unique(model.memos(None).places.weight_bytes)
    ends = np.unique(np.multiply.outer(widths, sums[sums > 0]))
    ends = np.append(ends[(ends > low) & (ends < high)], high)
    if in_stages:
        return ends
    # Of all layers together, most of those sums are of layers that no bucket starts or ends with.
    kept = [
        end
        for end, after in pairwise(ends)
        if any(_groups(model, end / width) != _groups(model, after / width) for width in widths)
    ]
    return np.array([*kept, high])


def _groups(model: FleetModel, parameters: float) -> tuple[bytes, bytes]:
    found = gradient_buckets(model.table.layout(), parameters)
    return found.parameters.tobytes(), found.replicated_done.tobytes()


def middles(ends: Floats, low: float) -> Floats:
    """A size in each range: the geometric mean of its ends."""
    found: Floats = np.sqrt(np.concatenate([[low], ends[:-1]]) * ends)
    return found
