"""How long each thing takes that a stage of a pipeline does in one training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.estimator.splits import SCHEDULES

Floats = NDArray[np.float64]


def _nothing() -> Floats:
    return np.zeros(1)


@dataclass(frozen=True, eq=False)
class StageTimes:
    """How long what the stages do takes [s]. What is of shape (stages,) may be one number for all.

    Attributes:
        stages: p.
        virtual_stages: v, chunks of a stage; more than 1 needs a pipeline and micro-batches in groups of p.
        micro_batches: m.
        schedule: One of `splits.SCHEDULES`; ``1f1b`` is interleaved where there are virtual stages.
        forward_s: Of one micro-batch through each chunk, in the model's order. Shape (p·v,).
        backward_s: Likewise, with what is computed again.
        send_s: Of a micro-batch's activations, or their gradients, between neighbouring stages.
        sends_overlap: Share of a send during which its stage may compute; before that it waits.
        gather_s: Before the first pass: parameters of a sharded optimizer. Shape (p,).
        reduce_s: Of the gradients, what the backward passes do not hide. Shape (p,).
        hidden_reduce_s: Of the gradients, what they hide; it lengthens nothing. Shape (p,).
        update_s: Of the optimizer. It starts when all gradients are there: they are clipped by their norm. Shape (p,).
        forward_parts: Of ``forward_s`` by what takes it (``computation``, ``tensor``, …), for those who read the
            timeline. Shapes (p·v,).
        backward_parts: Likewise of ``backward_s``.

    Raises:
        SpecError: all that does not fit together.
    """

    stages: int
    virtual_stages: int
    micro_batches: int
    schedule: str
    forward_s: Floats
    backward_s: Floats
    send_s: float = 0.0
    sends_overlap: float = 0.0
    gather_s: Floats = field(default_factory=_nothing)
    reduce_s: Floats = field(default_factory=_nothing)
    hidden_reduce_s: Floats = field(default_factory=_nothing)
    update_s: Floats = field(default_factory=_nothing)
    forward_parts: Mapping[str, Floats] = field(default_factory=dict)
    backward_parts: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {"stages": self.stages, "virtual_stages": self.virtual_stages, "micro_batches": self.micro_batches}
        problems = [f"{name} must be at least 1, not {count}" for name, count in counts.items() if count < 1]
        if self.schedule not in SCHEDULES:
            problems.append(f"schedule {self.schedule!r}{nearest(self.schedule, SCHEDULES)}")
        if problems:
            raise SpecError([Problem(problem) for problem in problems])
        if self.virtual_stages > 1:
            if self.stages == 1 or self.schedule == "gpipe":
                problems.append("virtual stages need the schedule 1f1b and at least 2 stages")
            elif self.micro_batches % self.stages:
                near = self.stages * max(1, round(self.micro_batches / self.stages))
                problems.append(
                    f"virtual stages take micro-batches in groups of {self.stages}: {self.micro_batches} is no "
                    f"multiple of it; the nearest is {near}"
                )
        chunks = self.stages * self.virtual_stages
        shapes = dict.fromkeys(("gather_s", "reduce_s", "hidden_reduce_s", "update_s"), self.stages)
        for name, count in {"forward_s": chunks, "backward_s": chunks, "send_s": 1, **shapes}.items():
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.size not in (1, count) or values.ndim > 1:
                problems.append(f"{name} has the shape {values.shape}, not ({count},)")
            elif not (np.isfinite(values) & (values >= 0)).all():
                problems.append(f"{name} must be seconds, at least 0")
            elif name != "send_s":
                object.__setattr__(self, name, np.broadcast_to(values, (count,)))
        if not 0.0 <= self.sends_overlap <= 1.0:
            problems.append(f"sends_overlap is a share, from 0 to 1, not {self.sends_overlap}")
        if problems:
            raise SpecError([Problem(problem) for problem in problems])

    @cached_property
    def work_s(self) -> Floats:
        """Seconds of all passes of each stage. Shape (p,)."""
        chunks: Floats = (self.forward_s + self.backward_s).reshape(self.virtual_stages, self.stages)
        work: Floats = self.micro_batches * chunks.sum(axis=0)
        return work

    @cached_property
    def parts_s(self) -> dict[str, float]:
        """Seconds of all passes of the average stage, by what takes them; empty where that is not known."""
        found: dict[str, float] = {}
        for parts in (self.forward_parts, self.backward_parts):
            for name, values in parts.items():
                found[name] = found.get(name, 0.0) + self.micro_batches * float(values.sum()) / self.stages
        return found
