"""Which splits are alike in what matters, and how far apart the devices of their groups are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.kernel_table import Floats
from paleo_opt.estimator.splits import PLACEMENTS, RECOMPUTES, SHARDINGS, Integers, Splits

_OFFLOADED = np.array([False, True, False, True]), np.array([False, False, True, True])
SELECTIVE, FULL = RECOMPUTES.index("selective"), RECOMPUTES.index("full")
ZERO1, ZERO2, ZERO3 = (SHARDINGS.index(name) for name in ("zero1", "zero2", "zero3"))
_GROUPS = ("tensor", "data", "pipeline")
_ORDERS = tuple(tuple(name.split("-")) for name in PLACEMENTS)
_DATA_INSIDE = np.array([order.index("data") < order.index("tensor") for order in _ORDERS])


@dataclass(frozen=True, eq=False)
class SplitIdentities:
    """Which of S splits are alike.

    Attributes:
        splits: All of them.
        micro: Index into the distinct ones for a micro-batch. Shape (S,).
        micro_of: One split for each of those, by index.
        gradient: Likewise for gradients. Shape (S,).
        gradient_of: One split for each of those.
        table: Index of the compiled share of each. Shape (S,).
        table_of: One split for each compiled share.
        sharding: What each divides in fact (`effective_sharding`). Shape (S,).
        by_gpus: Whether what a micro-batch takes depends on the GPUs, as data-parallel devices are inside. Shape (S,).
    """

    splits: Splits
    micro: Integers
    micro_of: Integers
    gradient: Integers
    gradient_of: Integers
    table: Integers
    table_of: Integers
    sharding: Integers
    by_gpus: NDArray[np.bool_]


def effective_sharding(splits: Splits) -> Integers:
    """What is divided, by index into `SHARDINGS`: ``fsdp`` is ``zero3``, and ``zero1`` in a pipeline. Shape (S,).

    Parameters gathered for each micro-batch of a pipeline would be sent most of the time; frameworks keep them gathered
    for the whole step, and gradients whole to its end (PyTorch FSDP2: ``reshard_after_forward=False``).
    """
    sharding = np.minimum(splits.sharding, ZERO3)
    found: Integers = np.where((sharding == ZERO3) & (splits.pipeline > 1), ZERO1, sharding)
    return found


def offloads(splits: Splits) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the optimizer's state, and whether activations wait in the host's memory. Shapes (S,)."""
    state, activations = _OFFLOADED
    return state[splits.offload], activations[splits.offload]


def identify(splits: Splits) -> SplitIdentities:
    """Which of ``splits`` are alike."""
    sharding = effective_sharding(splits)
    by_gpus = _DATA_INSIDE[splits.placement] & (splits.tensor > 1)
    if len(splits) == 1:
        first = np.zeros(1, dtype=np.int64)
        return SplitIdentities(splits, first, first, first, first, first, first, sharding, by_gpus)
    inside = np.where(splits.placement == 0, 0, splits.pipeline)
    share = [splits.tensor, splits.sequence_parallel, splits.context, splits.context_method, splits.expert]
    table, table_of = _distinct(share)
    micro, micro_of = _distinct([*share, splits.recompute, splits.placement, inside])
    gradient, gradient_of = _distinct([*share, splits.pipeline, sharding, splits.placement, splits.offload])
    return SplitIdentities(splits, micro, micro_of, gradient, gradient_of, table, table_of, sharding, by_gpus)


def _distinct(columns: list[Integers]) -> tuple[Integers, Integers]:
    key = np.zeros(columns[0].size, dtype=np.int64)
    for column in columns:
        values, code = np.unique(column, return_inverse=True)
        key = key * values.size + code.reshape(-1)
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    return index.reshape(-1).astype(np.int64), first.astype(np.int64)


def _inside(order: tuple[str, ...], name: str, sizes: Mapping[str, Any]) -> Any:
    """Devices that stand inside of two neighbours of a kind of group, with the devices of each kind."""
    return math.prod(sizes[inner] for inner in order[: order.index(name)])


def distances(splits: Splits, gpus: Floats) -> dict[str, Floats]:
    """Between two neighbours of each kind of group, in devices.

    Args:
        splits: One for each group. Shape (W,).
        gpus: In all; only what stands outside of data parallelism depends on them. Shape (W,).

    Returns:
        Of ``tensor``, ``context`` (data-parallel devices go with it), ``expert`` and ``pipeline``. Shapes (W,).
    """
    tensor, pipeline = splits.tensor.astype(float), splits.pipeline.astype(float)
    sizes = {"tensor": tensor, "data": np.maximum(gpus / (tensor * pipeline), 1.0), "pipeline": pipeline}
    found = {name: np.ones(tensor.shape) for name in (*_GROUPS, "expert")}
    for placement in np.unique(splits.placement).tolist():
        order, these = _ORDERS[placement], splits.placement == placement
        for name in order:
            found[name] = np.where(these, _inside(order, name, sizes), found[name])
        # Experts are over the tensor- and data-parallel devices of a stage, the innermost first.
        inner = next(name for name in order if name != "pipeline")
        beyond = (order[1] == "pipeline") & (splits.expert > sizes[inner])
        found["expert"] = np.where(these, np.where(beyond, pipeline, found[inner]), found["expert"])
    found["context"] = found.pop("data")
    return found


def between_stages(splits: Splits, gpus: Integers, layout: Integers) -> Integers:
    """Devices between those of two neighbouring stages, for each (layout, GPUs). Shapes (n,), integers."""
    outer, tensor = gpus // splits.pipeline[layout], splits.tensor[layout]
    placement, found = splits.placement[layout], outer
    sizes = {"tensor": tensor, "data": outer // tensor}
    for index in np.unique(splits.placement).tolist():
        if _ORDERS[index][-1] != "pipeline":
            found = np.where(placement == index, _inside(_ORDERS[index], "pipeline", sizes), found)
    return found
