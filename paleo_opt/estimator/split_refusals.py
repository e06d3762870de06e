"""What is wrong with a split that a transformer cannot have, in words, and the nearest that it can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paleo_opt.errors import Problem, SpecError
from paleo_opt.estimator.split_rules import RULES, Cases, Rule, blocks_of, valid_splits
from paleo_opt.estimator.splits import CHOICES, Split, Splits
from paleo_opt.hardware.device import Device
from paleo_opt.network.graph import Network

#: Beyond this no value of a split is tried as the nearest valid one.
_MOST_TRIED = 1 << 16


def check_split(
    network: Network,
    split: Split,
    gpus: int | None = None,
    *,
    accumulation: int | None = None,
    device: Device | None = None,
    precision: str | None = None,
) -> None:
    """Refuse a split that cannot be had, with every reason and the nearest that can.

    Args:
        network: A transformer.
        split: To judge.
        gpus: Devices in all, or None where that is open.
        accumulation: Micro-batches a step, or None where that is open.
        device: That computes in ``precision``, where both are given.
        precision: Of arithmetic.

    Raises:
        SpecError: the network is no transformer, or what is wrong, a problem each.
    """
    sizes = network.transformer
    if sizes is None:
        raise SpecError(f"{network.name} is no transformer: it has no blocks to divide by tensor, pipeline or context")
    cases = Cases(
        sizes,
        Splits.of([split]),
        None if gpus is None else np.array([gpus]),
        None if accumulation is None else np.array([accumulation]),
    )
    problems = []
    if device is not None and precision is not None and precision not in device.peak:
        problems.append(
            Problem(f"{precision} is not among those of {device.name}: {', '.join(device.peak)}", field="--precision")
        )
    if gpus is not None and gpus % split.model:
        below, above = gpus // split.model * split.model, -(-gpus // split.model) * split.model
        near = f"{below:,} and {above:,}" if below else f"{above:,}"
        factors = {name: getattr(split, name) for name in ("tensor", "context", "pipeline")}
        words = [f"{name} {count:,}" for name, count in factors.items() if count > 1]
        text = " × ".join(words) + (f" = {split.model:,}" if len(words) > 1 else "")
        problems.append(Problem(f"{text} does not divide {gpus:,} GPUs; the nearest numbers of GPUs: {near}"))
    named = _words(cases, split)
    broken: dict[str, list[Rule]] = {}
    for rule in RULES:
        if bool(rule.broken(cases)[0]):
            broken.setdefault(rule.field, []).append(rule)
    for field, rules in broken.items():
        value = getattr(split, field)
        said = "" if isinstance(value, bool) else f" {value:,}" if isinstance(value, int) else f" {value}"
        reasons = ", and ".join(rule.text.format(**named) for rule in rules)
        problems.append(Problem(f"{field.replace('_', ' ')}{said} {reasons}{_nearest(field, rules, cases, split)}"))
    if problems:
        raise SpecError(problems)


def _words(cases: Cases, split: Split) -> dict[str, Any]:
    """What the texts of `RULES` name."""
    sizes = {name: getattr(cases.sizes, name) for name in ("heads", "kv_heads", "expert_ffn", "experts")}
    return sizes | {
        "tensor": split.tensor,
        "context": split.context,
        "pipeline": split.pipeline,
        "virtual_stages": split.virtual_stages,
        "blocks": blocks_of(cases.sizes),
        "positions": " and ".join(f"{length:,}" for length in dict.fromkeys(cases.positions)),
        "features": " and ".join(f"{width:,}" for width in dict.fromkeys(cases.divided)),
        "stage": 0 if cases.gpus is None else int(cases.gpus[0]) // split.pipeline,
        "accumulation": 0 if cases.accumulation is None else int(cases.accumulation[0]),
    }


def _nearest(field: str, broken: Sequence[Rule], cases: Cases, split: Split) -> str:
    """``; the nearest valid: 8 and 16``: values of a field that break no rule, or at least none of the broken ones."""
    value, known = getattr(split, field), CHOICES.get(field)
    if isinstance(value, bool):
        return ""
    sizes = cases.sizes
    most = max(sizes.heads, blocks_of(sizes), sizes.experts) if cases.gpus is None else int(cases.gpus[0])
    tried = np.arange(len(known)) if known else np.arange(1, min(max(most, value), _MOST_TRIED) + 1)
    others = replace(cases, splits=replace(cases.splits, **{field: tried}))
    fine = ~np.logical_or.reduce([np.broadcast_to(rule.broken(others), tried.shape) for rule in broken])
    valid = fine & valid_splits(sizes, others.splits, cases.gpus, cases.accumulation)
    values = tried[valid if valid.any() else fine]
    if known:
        names = [known[int(index)] for index in values]
        if field == "assignment":  # it is the stages that even shares do not go with
            near = _nearest("pipeline", broken, cases, split)
            names += [near.replace("; the nearest valid:", "pipeline").replace(" and ", " or ")] if near else []
        return f"; expected {', '.join(names[:-1])}{' or ' if names[1:] else ''}{names[-1]}" if names else ""
    beside = [*values[values < value][-1:], *values[values > value][:1]]
    return f"; the nearest valid: {' and '.join(f'{int(number):,}' for number in beside)}" if beside else ""
