"""DeepSpeed: the configuration that ``deepspeed.initialize`` takes."""

from __future__ import annotations

import json
from typing import Any

from paleo_opt.report.out.launch import Launch

FILE = "deepspeed.json"
_PRECISIONS = ("fp32", "tf32", "fp16", "bf16")


def left_out(launch: Launch) -> str:
    """Why there is no such file for a strategy; empty where there is."""
    strategy = launch.strategy
    if launch.obstacle:
        return launch.obstacle
    if strategy.precision not in _PRECISIONS:
        return f"DeepSpeed's configuration does not say {strategy.precision}"
    split = strategy.blocks
    if split is not None and split.pipeline > 1:
        return "DeepSpeed's pipelines are made by the training script, not by its configuration"
    if split is not None and split.context > 1 and split.context_method == "ring":
        return "DeepSpeed divides positions by all_to_all, not round a ring"
    if launch.divided and strategy.split == "hybrid":
        return "DeepSpeed would average the gradients of the divided layers over all devices"
    return ""


def render(launch: Launch) -> str:
    """The configuration: batches, precision, sharding.

    An optimizer is the script's to give: its section would need a learning rate, which no answer of ours determines.
    """
    strategy = launch.strategy
    sharding: str = strategy.to_json()["sharding"]
    offload = strategy.blocks.offload if strategy.blocks else "none"
    found: dict[str, Any] = {
        "train_batch_size": strategy.global_batch,
        "train_micro_batch_size_per_gpu": strategy.micro_batch,
        "gradient_accumulation_steps": strategy.accumulation,
        "bf16": {"enabled": strategy.precision == "bf16"},
        "fp16": {"enabled": strategy.precision == "fp16"},
        "zero_optimization": {
            "stage": 3 if sharding == "fsdp" else int(sharding.removeprefix("zero")),
            **({"offload_optimizer": {"device": "cpu"}} if offload in ("optimizer", "both") else {}),
        },
    }
    return json.dumps(found, indent=2) + "\n"
