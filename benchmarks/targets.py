"""Errors that are aimed at, beside what is reached; those of tables of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from paleo_opt.estimator.options import Options
from paleo_opt.network.load import load_network
from paleo_opt.report.terminal import percent
from paleo_opt.validation.measured_table import MeasuredRow
from paleo_opt.validation.predict import Prediction, Refusal
from paleo_opt.validation.validate import Validation


@dataclass(frozen=True)
class Target:
    """One line of the first table."""

    name: str
    bar: str
    reached: str
    met: bool | None
    rows: int
    refused: int = 0


def target(name: str, errors: Sequence[float], bar: float, refused: int = 0) -> Target:
    """A target for a mean absolute error; ``refused`` rows it would be about too."""
    return reached(name, float(np.abs(errors).mean()) if len(errors) else None, bar, len(errors), refused)


def reached(name: str, value: float | None, bar: float, rows: int, refused: int = 0) -> Target:
    """A target for one figure, None where there is none."""
    if value is None:
        return Target(name, f"≤ {percent(bar)}", "no rows", None, 0, refused)
    return Target(name, f"≤ {percent(bar)}", percent(value), value <= bar, rows, refused)


def in_table(row: MeasuredRow, name: str) -> bool:
    return Path(row.file).stem == name


@cache
def has_experts(network: str) -> bool:
    """Whether a shipped network has blocks of experts."""
    sizes = load_network(network).transformer
    return sizes is not None and sizes.experts > 0


def transformer_targets(found: Sequence[Prediction], refused: Sequence[Refusal]) -> list[Target]:
    """Those of the tables of transformers."""
    lines: list[Target] = []

    def of(name: str) -> tuple[list[Prediction], list[Refusal]]:
        rows = [item for item in found if in_table(item.row, name) and item.row.family == "transformer"]
        return rows, [item for item in refused if in_table(item.row, name) and item.row.family == "transformer"]

    def mape(name: str, items: Sequence[Prediction], bar: float, left: int) -> list[float]:
        errors = [item.error for item in items]
        lines.append(target(f"{name}: MAPE", errors, bar, left))
        return errors

    items, left = of("vtrain_single_node")
    mape("vtrain_single_node", items, 0.06, len(left))
    regret = Validation((), Options(), tuple(items), ()).regret
    lines.append(reached("vtrain_single_node: regret, mean", regret.mean, 0.015, regret.groups))
    lines.append(reached("vtrain_single_node: regret, largest", regret.max, 0.10, regret.groups))
    items, left = of("vtrain_multi_node")
    errors = np.abs(mape("vtrain_multi_node", items, 0.08, len(left)))
    ninth = float(np.percentile(errors, 90)) if len(items) else None
    lines.append(reached("vtrain_multi_node: nine of ten within", ninth, 0.16, len(items)))
    items, left = of("papers")
    errors = np.abs(mape("papers", items, 0.05, len(left)))
    lines.append(reached("papers: largest error", float(errors.max()) if len(items) else None, 0.12, len(items)))
    items, left = of("dgxc_scaling")
    mape("dgxc_scaling", items, 0.12, len(left))
    items, left = of("mlperf")
    items = [item for item in items if not item.row.network.startswith("bert")]
    mape("mlperf, language models", items, 0.12, sum(not item.row.network.startswith("bert") for item in left))
    items, left = of("megatron_bridge")
    for name, mixed, bar in (("dense", False, 0.12), ("mixture of experts", True, 0.20)):
        kept = [item for item in items if has_experts(item.row.network) == mixed]
        others = sum(((item.row.expert or 1) > 1) == mixed for item in left)
        mape(f"megatron_bridge, {name}", kept, bar, others)
    for name, bar in (("mosaic_fsdp", 0.10), ("torchtitan", 0.10), ("memory", 0.06)):
        items, left = of(name)
        mape(name, items, bar, len(left))
    return lines
