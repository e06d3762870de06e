"""What would make a transformer fit: every strategy that differs in one choice, evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.effects import gathered
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.split_rules import valid_splits
from paleo_opt.estimator.splits import RECOMPUTES, SHARDINGS, Split, Splits
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.network.transformer_sizes import TransformerSizes

#: By how much the number of GPUs may grow.
_MORE_GPUS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
#: How copies may share their state where there are more GPUs.
_SHARED = ("zero1", "fsdp")


@dataclass(frozen=True)
class Change:
    """One choice made otherwise.

    Attributes:
        field: ``micro_batch``, ``gpus``, or a field of `Split`.
        value: In place of the strategy's own.
        strategy: With it; of the same global batch, but for more GPUs than divide that.
        memory_bytes: Then needed by the fullest device.
        step_time_s: Then taken by a step.
        more: What more GPUs are for, in words, where they are not for copies alone.
    """

    field: str
    value: Any
    strategy: Strategy
    memory_bytes: float
    step_time_s: float
    more: str = ""

    def in_words(self) -> str:
        """``recompute full``, ``128 GPUs by fsdp``, ``micro-batch 1``."""
        if self.field == "gpus":
            return f"{self.value:,} GPUs{self.more}"
        name = {"micro_batch": "micro-batch"}.get(self.field, self.field.replace("_", " "))
        return f"{name} {self.value:,}" if isinstance(self.value, int) else f"{name} {self.value}"


def split_in_words(split: Split) -> str:
    """``tensor 8, pipeline 4, fsdp, recompute full``: what is not as it is on one device."""
    words = [
        f"{name} {getattr(split, name):,}"
        for name in ("tensor", "context", "expert", "pipeline")
        if getattr(split, name) > 1
    ]
    return ", ".join([*words, split.sharding, f"recompute {split.recompute}"])


def changes_that_fit(table: CostTable, strategy: Strategy, options: Options) -> list[Change]:
    """The best strategy that fits for each choice that can be made otherwise alone, the fastest first.

    The GPUs stay, unless it is they that change, and the global batch. More GPUs are for more copies, which may share
    their state, or for more stages; they come last. None for a network of layers.
    """
    sizes = table.network.transformer
    if sizes is None or strategy.blocks is None:
        return []
    found = [change for change in _others(sizes, strategy) if _is_valid(sizes, change[2])]
    if not found:
        return []
    estimates = estimate(table, gathered([other for _, _, other in found]), options)
    shape = (len(found),)
    fits, memory, step = (
        np.broadcast_to(values, shape) for values in (estimates.fits, estimates.memory_bytes, estimates.step_time_s)
    )
    best: dict[str, Change] = {}
    for index in np.argsort(step, kind="stable").tolist():
        field, value, other = found[index]
        if fits[index] and field not in best:
            best[field] = Change(field, value, other, float(memory[index]), float(step[index]))
    # More GPUs are faster by their number: the fewest that fit, and of these the fastest.
    best.pop("gpus", None)
    changes = list(best.values())
    enough = [index for index, (field, _, _) in enumerate(found) if field == "gpus" and fits[index]]
    if enough:
        index = min(enough, key=lambda index: (found[index][1], float(step[index])))
        field, value, other = found[index]
        more = _more(strategy.blocks, other.blocks)
        changes.append(Change(field, value, other, float(memory[index]), float(step[index]), more))
    return changes


def _more(split: Split, other: Split | None) -> str:
    """What differs in the split of more GPUs."""
    assert other is not None
    words = [other.sharding] if other.sharding != split.sharding else []
    if other.pipeline != split.pipeline:
        words.append(f"pipeline {other.pipeline:,}")
    return f" by {', '.join(words)}" if words else ""


def _others(sizes: TransformerSizes, strategy: Strategy) -> Iterator[tuple[str, Any, Strategy]]:
    """Strategies that differ in one choice: its field, its value, and the strategy."""
    split = strategy.blocks
    assert split is not None
    blocks, batch = sizes.layers + sizes.encoder_layers, strategy.global_batch

    def with_split(field: str, value: Any, changed: Split) -> Iterator[tuple[str, Any, Strategy]]:
        data, rest = divmod(strategy.gpus, changed.model)
        if not rest and data and not batch % (data * strategy.micro_batch):
            accumulation = batch // (data * strategy.micro_batch)
            yield field, value, replace(strategy, blocks=changed, accumulation=accumulation)

    counts = {
        "tensor": sizes.heads,
        "context": min(sizes.sequence_length, strategy.gpus),
        "expert": max(1, sizes.experts),
        "pipeline": blocks,
        "virtual_stages": blocks // split.pipeline if split.pipeline > 1 and split.schedule == "1f1b" else 1,
    }
    for field, most in counts.items():
        for value in range(1, most + 1):
            if value == getattr(split, field) or (strategy.gpus % value and field != "virtual_stages"):
                continue
            own: dict[str, Any] = {field: value}
            if field == "tensor":
                own["sequence_parallel"] = value > 1 and (split.sequence_parallel or split.tensor == 1)
            if field == "pipeline" and (value == 1 or value * split.virtual_stages > blocks):
                own["virtual_stages"] = 1
            yield from with_split(field, value, replace(split, **own))
    for field, names in (("sharding", SHARDINGS), ("recompute", RECOMPUTES)):
        for name in names:
            if name != getattr(split, field):
                named: dict[str, Any] = {field: name}
                yield from with_split(field, name, replace(split, **named))
    if split.tensor > 1 and not split.sequence_parallel:
        yield from with_split("sequence_parallel", "on", replace(split, sequence_parallel=True))
    per_device = batch // strategy.data
    for micro_batch in range(1, strategy.micro_batch):
        if per_device % micro_batch == 0:
            accumulation = per_device // micro_batch
            yield "micro_batch", micro_batch, replace(strategy, micro_batch=micro_batch, accumulation=accumulation)
    for factor in _MORE_GPUS:
        gpus = strategy.gpus * factor
        if gpus > (strategy.cluster.max_devices or gpus):
            break
        shared = [replace(split, sharding=name) for name in _SHARED if name != split.sharding]
        for changed in (split, *shared, replace(split, pipeline=split.pipeline * factor)):
            rounds = changed.pipeline if changed.virtual_stages > 1 else 1
            passes = -(-batch // (gpus // changed.model * strategy.micro_batch * rounds)) * rounds
            yield "gpus", gpus, replace(strategy, gpus=gpus, blocks=changed, accumulation=passes)


def _is_valid(sizes: TransformerSizes, strategy: Strategy) -> bool:
    assert strategy.blocks is not None
    accumulation = np.array([strategy.accumulation])
    return bool(valid_splits(sizes, Splits.of([strategy.blocks]), strategy.gpus, accumulation)[0])
