"""What a launch file has to know of a strategy, and the pieces of text that several of them share.

Each target is a module of the same three names: ``FILE`` (its name in the folder), ``left_out`` (why it does not suit
a strategy; empty where it does) and ``render`` (the file's text). What the answer does not determine, such as the
training script, is a variable at the top of the file, never a guess in its middle.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paleo_opt import quantities
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.estimate import Estimates
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import checkpoint_interval
from paleo_opt.estimator.step_times import stage_blocks
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.report.json_output import estimate_json, plain
from paleo_opt.report.strategy_text import adds_up, strategy_parts
from paleo_opt.report.terminal import joined, wrapped

#: Of a line of a launch file.
COLUMNS = 100
_MOST_NAMED = 8
#: What makes the devices of a vendor run; how each is launched differs.
_PLATFORMS = {"AMD": "rocm", "Google TPU": "tpu", "AWS Trainium": "neuron", "Intel Gaudi": "gaudi"}


def clean(text: str) -> str:
    """``text`` on one line, without characters that cannot be seen: it may come from a user's file."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def slug(text: str) -> str:
    """``text`` as a name that every scheduler takes: letters, digits, and single dashes between them."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "training"


@dataclass(frozen=True)
class Launch:
    """A strategy that is to be launched.

    Attributes:
        network: Its name.
        strategy: What to launch.
        optimizer: Of the training job.
        pricing: The terms on which nodes are had: one of `hardware.cluster.PRICINGS`.
        divided: Names of the layers that the split divides; empty under ``data``.
        figures: The estimate, under the names of the JSON contract; None where not known.
        checkpoint_s: Time between checkpoints that the expected time counts on [s]; None where nothing fails.
        sequence_length: Positions of a sample of a transformer, else 0.
        chunks: Blocks of each chunk of a pipeline's stages, in the model's order; empty without a split of blocks.
        altered: What the estimate changed of the hardware that its cluster's name stands for: ``--device t4``.
    """

    network: str
    strategy: Strategy
    optimizer: str
    pricing: str
    divided: tuple[str, ...]
    figures: Mapping[str, Any]
    checkpoint_s: float | None = None
    altered: tuple[str, ...] = ()
    sequence_length: int = 0
    chunks: tuple[int, ...] = ()

    @property
    def platform(self) -> str:
        """What the devices run on: ``cuda``, ``rocm``, ``tpu``, ``neuron`` or ``gaudi``."""
        description = self.strategy.cluster.device.description
        return next((name for start, name in _PLATFORMS.items() if description.startswith(start)), "cuda")

    @property
    def obstacle(self) -> str:
        """Why one process a device, as all launchers have it, does not suit the devices; empty where it does."""
        if self.platform == "tpu":
            return "torchrun does not start processes on TPUs"
        if self.platform == "neuron":
            return "a Trainium chip runs a process on each of its cores; the answer counts chips"
        if re.search(r"\bboth (of its )?dies\b", self.strategy.cluster.device.description):
            return "PyTorch takes each die for a device of its own; the answer counts both as one"
        return ""

    @property
    def per_node(self) -> int:
        """Processes of each node, one a device; of all but the last where they do not divide evenly."""
        return -(-self.strategy.gpus // self.strategy.nodes)

    @property
    def on_last(self) -> int:
        """Processes of the last node."""
        return self.strategy.gpus - self.per_node * (self.strategy.nodes - 1)

    @property
    def steps(self) -> int | None:
        """To the target."""
        steps = self.figures["steps"]
        return None if steps is None else math.ceil(steps)

    @property
    def running_s(self) -> float | None:
        """Time that the nodes are held [s]."""
        found: float | None = self.figures["running_time_s"]
        return found

    @property
    def name(self) -> str:
        """Of the job, for schedulers."""
        return slug(self.network)


def make_launch(
    table: CostTable, strategy: Strategy, estimates: Estimates, options: Options, altered: Sequence[str] = ()
) -> Launch:
    """The launch of a strategy, from its estimate (of it alone)."""
    divided: tuple[str, ...] = ()
    if strategy.tensor > 1 and strategy.split in ("hybrid", "model"):
        layers = [layer for layer in table.network.layers if layer.parameters]
        divided = tuple(layer.name for layer in layers if strategy.split == "model" or layer.split == "model")
    return Launch(
        network=table.network.name,
        strategy=strategy,
        optimizer=options.optimizer or table.network.usual_optimizer,
        pricing=options.pricing,
        divided=divided,
        figures=plain(estimate_json(estimates, training=options.training)),
        checkpoint_s=_checkpoint_interval(strategy, estimates, options),
        altered=tuple(altered),
        sequence_length=0 if table.network.transformer is None else table.network.transformer.sequence_length,
        chunks=() if strategy.blocks is None else tuple(stage_blocks(table, strategy, options)),
    )


def _checkpoint_interval(strategy: Strategy, estimates: Estimates, options: Options) -> float | None:
    """The optimal time between checkpoints [s], by which the expected time is computed; None where nothing fails."""
    operations = options.operations
    interruptions = float(estimates.places.interruptions[0])
    rate = strategy.gpus / operations.device_mtbf_s + strategy.nodes * interruptions
    if not options.training or estimates.samples is None or not rate > 0:
        return None
    writing = np.array([estimates.checkpoint_bytes / (strategy.nodes * operations.checkpoint_bandwidth)])
    return float(checkpoint_interval(writing, np.array([1.0 / rate]))[0])


# -- text --------------------------------------------------------------------------------------------------


def comments(launch: Launch, *more: str, marker: str = "# ") -> list[str]:
    """The head of a file: the strategy, what it is expected to take, and ``more`` sentences."""
    strategy = launch.strategy
    head = [f"{clean(launch.network)} · {clean(strategy_parts(strategy)[0])}", *strategy_parts(strategy)[1:]]
    figure, *others = expected(launch)
    lines = [*joined(head, COLUMNS, marker), *joined([f"expected: {figure}", *others], COLUMNS, marker)]
    for sentence in (*(f"the estimate changes the hardware: {clean(text)}" for text in launch.altered), *more):
        lines += wrapped(sentence, COLUMNS, marker, marker)
    return lines


def expected(launch: Launch) -> list[str]:
    """What the strategy is expected to take, in words: step, rate, time, money and memory, as far as known."""
    figures = launch.figures
    parts = [
        f"step {quantities.format_time(figures['step_time_s'])}",
        f"{figures['samples_per_s']:,.0f} samples/s",
        f"{quantities.format_memory(figures['memory_bytes'])} of "
        f"{quantities.format_memory(figures['device_memory_bytes'])} a device",
    ]
    if figures["time_to_target_s"] is not None:
        parts.append(f"{launch.steps:,} steps, {quantities.format_time(figures['time_to_target_s'])} to the target")
    if figures["cost_usd"] is not None:
        parts.append(quantities.format_money(figures["cost_usd"]))
    return parts


def variables(launch: Launch) -> list[tuple[str, str, str]]:
    """What the training script reads of its environment: name, value, meaning."""
    strategy = launch.strategy
    product = f"{strategy.data:,} × {strategy.micro_batch:,} × {strategy.accumulation:,}"
    found = [
        ("MICRO_BATCH", str(strategy.micro_batch), "samples per device and pass"),
        ("ACCUMULATION", str(strategy.accumulation), "passes per step, before the optimizer's update"),
        ("GLOBAL_BATCH", str(strategy.global_batch), f"samples per step: {product}"),
        ("PRECISION", strategy.precision, "of arithmetic and activations"),
        ("OPTIMIZER", launch.optimizer, "its state is counted in the memory"),
    ]
    if launch.steps is not None:
        samples = launch.figures["samples_to_target"]
        found.append(("STEPS", str(launch.steps), f"to the target: {samples / 1e6:,.4g} M samples"))
    if launch.divided:
        named = [clean(name) for name in launch.divided]
        which = ", ".join(named[:_MOST_NAMED]) + ", …" * (len(named) > _MOST_NAMED)
        which = "every layer" if strategy.split == "model" else which
        found.append(("SPLIT", strategy.split, f"divided over TENSOR neighbouring ranks: {which}"))
        found.append(("TENSOR", str(strategy.tensor), "devices that divide such a layer"))
    found += _split_variables(launch)
    if adds_up(strategy):
        found.append(("COLLECTIVE", strategy.collective, "that the estimate assumes"))
    if launch.checkpoint_s is not None and launch.checkpoint_s < (launch.running_s or 0.0):
        found.append(("CHECKPOINT_EVERY_S", f"{launch.checkpoint_s:.0f}", "seconds; the expected time counts on it"))
    return found


def _split_variables(launch: Launch) -> list[tuple[str, str, str]]:
    """As `variables`, of a transformer's split; what is not divided is left out."""
    split = launch.strategy.blocks
    if split is None:
        return []
    found = [("SEQUENCE_LENGTH", str(launch.sequence_length), "positions of a sample")]
    counts = {
        "TENSOR": (split.tensor, "devices that divide heads and features"),
        "CONTEXT": (split.context, f"devices that divide the positions, by {split.context_method}"),
        "PIPELINE": (split.pipeline, f"stages, of {split.schedule}"),
        "VIRTUAL_STAGES": (split.virtual_stages, "parts of each stage, interleaved"),
        "EXPERT": (split.expert, "devices that the experts are spread over"),
    }
    found += [(name, str(count), meaning) for name, (count, meaning) in counts.items() if count > 1]
    if split.tensor > 1:
        found.append(("SEQUENCE_PARALLEL", str(int(split.sequence_parallel)), "whether they divide positions too"))
    found.append(("SHARDING", split.sharding, "what data-parallel devices divide"))
    found.append(("RECOMPUTE", split.recompute, "what the backward pass computes again"))
    if split.model > 1:
        found.append(("PLACEMENT", split.placement, "which devices are side by side, innermost first"))
    return found


def exports(launch: Launch, indent: str = "") -> list[str]:
    """Lines of shell that set the `variables`, each with its meaning."""
    settings = [(f"export {name}={shlex.quote(value)}", meaning) for name, value, meaning in variables(launch)]
    wide = max(len(setting) for setting, _ in settings)
    return [f"{indent}{setting:<{wide}}  # {meaning}" for setting, meaning in settings]


def nccl_lines(launch: Launch) -> list[str]:
    """A way to make NCCL use the collective that the estimate assumes, commented out: NCCL chooses well by itself."""
    algorithm = {"ring_all_reduce": "Ring", "double_binary_tree": "Tree"}.get(launch.strategy.collective)
    if algorithm is None or launch.platform != "cuda" or not adds_up(launch.strategy):
        return []
    return [f"# export NCCL_ALGO={algorithm}  # only to compare with the estimate: NCCL chooses by itself"]
