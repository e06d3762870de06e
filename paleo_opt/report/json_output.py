"""Answers as JSON, under the field names that other programs rely on: every figure carries its unit in its name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paleo_opt.estimator.breakdown import LayerEstimate
    from paleo_opt.estimator.estimate import Estimates
    from paleo_opt.report.intervals import Span


def plain(value: Any) -> Any:
    """``value`` made of what JSON has: NaN and infinity become null, numpy's scalars and arrays numbers and lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def dump(answer: Mapping[str, Any]) -> str:
    """An answer as one JSON object."""
    return json.dumps(plain(answer), indent=2, ensure_ascii=False, allow_nan=False)


def estimate_json(
    estimates: Estimates, index: int = 0, training: bool = True, span: Span | None = None
) -> dict[str, Any]:
    """The estimate at a flat ``index`` of a set; what is not known (no job, no price, no power) is None.

    Inference (``training`` False) has no target. ``span`` is that of the estimate's intervals, where they are wanted.
    """
    import numpy as np

    shape = estimates.strategies.shape
    where = np.unravel_index(index, shape)

    def at(values: Any) -> float:
        return float(np.broadcast_to(values, shape)[where])

    names = (
        "steps",
        "samples_to_target",
        "ideal_time_to_target_s",
        "running_time_s",
        "time_to_target_s",
        "cost_usd",
        "energy_kwh",
        "carbon_kg",
    )
    target = dict.fromkeys(names)
    if training and estimates.samples is not None:
        figures = (
            estimates.steps,
            estimates.samples,
            estimates.ideal_time_to_target_s,
            estimates.running_time_s,
            estimates.time_to_target_s,
            estimates.cost_usd,
            estimates.energy_kwh,
            estimates.carbon_kg,
        )
        target = dict(zip(target, map(at, figures), strict=True))
    memory = estimates.memory
    communication = at(estimates.communication_time_s)
    found: dict[str, Any] = {
        "step_time_s": at(estimates.step_time_s),
        "forward_time_s": at(estimates.forward_time_s),
        "backward_time_s": at(estimates.backward_time_s),
        "compute_time_s": at(estimates.compute_time_s),
        "communication_time_s": communication,
        "all_reduce_time_s": at(estimates.all_reduce_time_s),
        "exposed_communication_time_s": at(estimates.exposed_communication_time_s),
        "bubble_time_s": at(estimates.bubble_time_s),
        "update_time_s": at(estimates.update_time_s),
        "parts": {f"{name}_s": at(seconds) for name, seconds in estimates.parts.items()} or None,
        "memory_bytes": at(estimates.memory_bytes),
        "memory": {
            name: at(getattr(memory, name))
            for name in ("parameters", "gradients", "optimizer", "activations", "workspace", "reserve")
        },
        "device_memory_bytes": at(estimates.places.capacity[estimates.strategies.place]),
        "fits": bool(np.broadcast_to(estimates.fits, shape)[where]),
        "samples_per_s": at(estimates.samples_per_s),
        "mfu": at(estimates.mfu),
        "staleness": at(estimates.staleness),
        **target,
    }
    return found | {"interval": None if span is None else span.to_json(found)}


def layer_json(layer: LayerEstimate) -> dict[str, Any]:
    """One layer of a breakdown."""
    return asdict(layer)
