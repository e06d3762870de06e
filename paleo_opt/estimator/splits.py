"""How a transformer's blocks are split over devices: one split, and many as a struct of arrays.

GPUs = data · tensor · context · pipeline. Tensor-parallel devices divide heads and features (Megatron-LM), and under
sequence parallelism the positions of what is not divided that way; context-parallel ones divide the positions
themselves; pipeline stages divide the blocks. Experts are divided over some of the devices of one stage, whatever
these divide otherwise.

References:
    Shoeybi et al., Megatron-LM, arXiv:1909.08053 (tensor). Korthikanti et al., arXiv:2205.05198 (sequence, recompute).
    Narayanan et al., arXiv:2104.04473 (1F1B, interleaved). Huang et al., GPipe, arXiv:1811.06965.
    Rajbhandari et al., ZeRO, arXiv:1910.02054. Zhao et al., FSDP, arXiv:2304.11277.
    Liu et al., ring attention, arXiv:2310.01889. Jacobs et al., DeepSpeed-Ulysses, arXiv:2309.14509 (all-to-all).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError, nearest

Integers = NDArray[np.int64]

#: What data-parallel devices divide: nothing; the optimizer's state; gradients too; parameters too, gathered layer by
#: layer (``zero3`` and ``fsdp`` keep the same and are two names of it).
SHARDINGS = ("zero0", "zero1", "zero2", "zero3", "fsdp")
#: What the backward pass computes again: nothing; what is cheap for its size (the scores of attention; where one kernel
#: keeps none, attention, normalizations and activations); the whole block from its input.
RECOMPUTES = ("none", "selective", "full")
#: All micro-batches forward before any backward, or as soon as can be (interleaved where there are virtual stages).
SCHEDULES = ("1f1b", "gpipe")
#: How context-parallel devices attend: keys and values go round a ring, or positions are exchanged for heads.
CONTEXT_METHODS = ("ring", "all_to_all")
#: Blocks of a stage: as many as make the slowest stage fastest, the embedding and the projection to the vocabulary
#: counted; or the same number in each.
ASSIGNMENTS = ("balanced", "even")
#: What waits in the host's memory while a device does not need it: nothing, the optimizer's state (ZeRO-Offload,
#: arXiv:2101.06840), activations kept for the backward pass, or both.
OFFLOADS = ("none", "optimizer", "activations", "both")
#: Which devices are side by side, from the innermost outwards; context goes with data, inside of it.
PLACEMENTS = (
    "tensor-data-pipeline", "tensor-pipeline-data", "data-tensor-pipeline", "data-pipeline-tensor",
    "pipeline-tensor-data", "pipeline-data-tensor",
)  # fmt: skip
#: The name of this layout of splits, beside ``data``, ``hybrid`` and ``model`` of a network of layers.
BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Split:
    """One way to split a transformer's blocks; data parallelism is what is left of the GPUs.

    Attributes:
        tensor: Devices that divide heads and features.
        sequence_parallel: They also divide the positions of normalizations, dropouts and sums.
        context: Devices that divide the positions.
        context_method: One of `CONTEXT_METHODS`.
        expert: Devices that divide the experts; 1 for all experts on each, divided as other features.
        pipeline: Stages.
        virtual_stages: Parts of each, interleaved.
        schedule: One of `SCHEDULES`.
        sharding: One of `SHARDINGS`.
        recompute: One of `RECOMPUTES`.
        placement: One of `PLACEMENTS`.
        assignment: One of `ASSIGNMENTS`; ``even`` needs stages · virtual stages to divide the blocks.
        offload: One of `OFFLOADS`.
    """

    tensor: int = 1
    sequence_parallel: bool = False
    context: int = 1
    context_method: str = "ring"
    expert: int = 1
    pipeline: int = 1
    virtual_stages: int = 1
    schedule: str = "1f1b"
    sharding: str = "zero0"
    recompute: str = "none"
    placement: str = PLACEMENTS[0]
    assignment: str = ASSIGNMENTS[0]
    offload: str = OFFLOADS[0]

    def __post_init__(self) -> None:
        counts = ("tensor", "context", "expert", "pipeline", "virtual_stages")
        problems = [
            f"{name} must be at least 1, not {getattr(self, name)}" for name in counts if getattr(self, name) < 1
        ]
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                problems.append(f"{name} {getattr(self, name)!r}{nearest(getattr(self, name), known)}")
        if self.virtual_stages > 1 and self.schedule == "gpipe":
            problems.append("virtual stages are of the schedule 1f1b; GPipe has none")
        if self.virtual_stages > 1 and self.pipeline == 1:
            problems.append("virtual stages need a pipeline; expected pipeline 2 or more, or virtual stages 1")
        if self.sequence_parallel and self.tensor == 1:
            problems.append(
                "sequence parallelism divides positions over tensor-parallel devices; expected tensor above 1"
            )
        if problems:
            raise SpecError("; ".join(problems))

    @property
    def model(self) -> int:
        """Devices that work on the same samples together."""
        return self.tensor * self.context * self.pipeline


#: The fields that are one of some names.
CHOICES = {
    "context_method": CONTEXT_METHODS,
    "schedule": SCHEDULES,
    "sharding": SHARDINGS,
    "recompute": RECOMPUTES,
    "placement": PLACEMENTS,
    "assignment": ASSIGNMENTS,
    "offload": OFFLOADS,
}
FIELDS = tuple(field.name for field in fields(Split))


@dataclass(frozen=True, eq=False)
class Splits:
    """S splits, as arrays of integers; names by their index in `CHOICES`. Shapes (S,). Fields as of `Split`."""

    tensor: Integers
    sequence_parallel: Integers
    context: Integers
    context_method: Integers
    expert: Integers
    pipeline: Integers
    virtual_stages: Integers
    schedule: Integers
    sharding: Integers
    recompute: Integers
    placement: Integers
    assignment: Integers
    offload: Integers

    @staticmethod
    def of(splits: Sequence[Split]) -> Splits:
        """Some splits."""
        columns = {}
        for name in FIELDS:
            values: list[Any] = [getattr(split, name) for split in splits]
            if name in CHOICES:
                values = [CHOICES[name].index(value) for value in values]
            columns[name] = np.array(values, dtype=np.int64)
        return Splits(**columns)

    def __len__(self) -> int:
        return self.tensor.size

    @cached_property
    def model(self) -> Integers:
        """Devices that work on the same samples together. Shape (S,)."""
        return self.tensor * self.context * self.pipeline

    def row(self, index: int) -> Split:
        """One of them."""
        values: dict[str, Any] = {name: int(getattr(self, name)[index]) for name in FIELDS}
        values |= {name: known[values[name]] for name, known in CHOICES.items()}
        return Split(**(values | {"sequence_parallel": bool(values["sequence_parallel"])}))

    def at(self, index: Integers) -> Splits:
        """Some of them, in the order of ``index``."""
        return Splits(**{name: getattr(self, name)[index] for name in FIELDS})
