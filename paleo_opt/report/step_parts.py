"""Where a step goes, part by part, with what each is in words: of a network of layers, and of a split transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paleo_opt.estimator.splits import Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.quantities import format_memory
from paleo_opt.report.units import hidden_text


@dataclass(frozen=True)
class Part:
    """One part of a step.

    Attributes:
        name: For a table.
        seconds: That it takes, or lengthens the step by.
        note: What it is.
        phrase: For a sentence.
    """

    name: str
    seconds: float
    note: str
    phrase: str


def step_parts(figures: dict[str, Any], strategy: Strategy, training: bool = True) -> list[Part]:
    """The parts of a step that take time, in order; they add up to it.

    Args:
        figures: Of the estimate, by `json_output.estimate_json`.
        strategy: That was estimated.
        training: False for the forward pass only.
    """
    gradients = f"{format_memory(figures['memory']['gradients'])} of gradients"
    if strategy.blocks is not None:
        found = _of_blocks(figures["parts"], strategy, strategy.blocks, gradients)
    else:
        found = _of_layers(figures, strategy, training, gradients)
    return [part for part in found if part.seconds > 0]


def _of_layers(figures: dict[str, Any], strategy: Strategy, training: bool, gradients: str) -> list[Part]:
    fetch = figures["communication_time_s"] - figures["all_reduce_time_s"]
    hidden = hidden_text(figures)
    passes = f"{strategy.accumulation:,} passes of {strategy.micro_batch:,}" if strategy.accumulation > 1 else ""
    # The passes contain the fetches: half belongs to each.
    return [
        Part("forward", figures["forward_time_s"] - fetch / (2 if training else 1), passes, "the forward pass"),
        Part("backward", figures["backward_time_s"] - fetch / 2 * training, passes, "the backward pass"),
        Part("update", figures["update_time_s"], "", "the update"),
        Part(
            "all-reduce",
            figures["exposed_communication_time_s"] - fetch,
            f"{gradients}, {strategy.collective}{hidden}",
            f"the all-reduce of {gradients}{hidden}",
        ),
        Part(
            "fetches",
            fetch,
            f"activations of the layers divided over {strategy.tensor}",
            f"fetches between the {strategy.tensor} that divide layers",
        ),
    ]


def _of_blocks(seconds: Mapping[str, float], strategy: Strategy, split: Split, gradients: str) -> list[Part]:
    batches = f"{strategy.accumulation:,} micro-batch{'es' * (strategy.accumulation > 1)} of {strategy.micro_batch:,}"
    again = "what is cheap" if split.recompute == "selective" else "every block"
    rings = "keys and values round a ring" if split.context_method == "ring" else "positions exchanged for heads"
    devices = strategy.data * split.context
    summed = strategy.collective if split.sharding == "zero0" else "scattered"
    stages = "stages" if split.virtual_stages == 1 else f"stages of {split.virtual_stages:,} parts"
    words = {
        "computation": (f"{batches} a group", "computation"),
        "recompute": (f"{again} once more", "computing again"),
        "tensor": (f"sums over {split.tensor:,} devices", "sums over tensor-parallel devices"),
        "context": (f"{rings} of {split.context:,}", "exchanges of context-parallel devices"),
        "expert": (f"tokens to and from experts on {split.expert:,} devices", "exchanges with experts"),
        "pipeline": (f"sends between {split.pipeline:,} {stages}", "sends between stages"),
        "bubble": ("waiting for other stages", "the pipeline's bubble"),
        "gradients": (
            f"{gradients} over {devices:,}, {summed}" if devices > 1 else "of both copies of the embedding",
            f"exchanging {gradients}",
        ),
        "parameters": (f"gathered from {devices:,} devices", "gathering parameters"),
        "offload": ("activations to the host and back", "moving activations to the host and back"),
        "update": ("by the host" if split.offload in ("optimizer", "both") else "", "the update"),
    }
    return [Part(name, seconds[f"{name}_s"], *words[name]) for name in words]
