"""Which splits of a transformer's blocks a search space considers: its fields in ``search_spaces/*.yaml``."""

from __future__ import annotations

from dataclasses import dataclass

from paleo_opt.estimator.splits import CHOICES, RECOMPUTES
from paleo_opt.search.space_fields import flags, integers, words
from paleo_opt.spec_file import Fields

#: Where neither the space nor the caller says how many devices may divide heads and features.
USUAL_TENSOR = (1, 2, 4, 8)


@dataclass(frozen=True)
class SplitSpace:
    """The values of each field of a `Split` that are combined; a combination that cannot be had is left out.

    What a field says is for splits to which it applies: sequence parallelism for those of two tensor-parallel devices
    or more, schedules and virtual stages for pipelines, methods for those that divide positions.

    Attributes:
        tensor: Ascending, as all counts.
        sequence_parallel: ``True``: wherever positions can be shared by the tensor-parallel devices.
        context: Devices that divide the positions.
        context_method: Names.
        expert: Devices that divide the experts; for a dense network 1 alone is left.
        pipeline: Stages.
        virtual_stages: Of each.
        schedule: Names.
        sharding: Names.
        recompute: Names.
        placement: Names.
        assignment: Names.
        offload: Names.
        context_positions: Of a sample that a context split leaves to a device at least.
        micro_batch_tokens: Of a micro-batch on a device at most, but for the smallest micro-batch; None for any.
        batch_halvings: The global batches of a transformer, where none are given: the job's largest, its half, … so
            often, each as little below as data · micro-batch (and rounds of the stages, where interleaved) divide.
        data: Devices, or groups of them, that each work on their own samples; None for any number.
    """

    tensor: tuple[int, ...] = USUAL_TENSOR
    sequence_parallel: tuple[bool, ...] = (True,)
    context: tuple[int, ...] = (1, 2, 4, 8, 16)
    context_method: tuple[str, ...] = ("ring",)
    expert: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    pipeline: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 16, 20, 24, 32, 35, 48, 64)
    virtual_stages: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 12)
    schedule: tuple[str, ...] = ("1f1b",)
    sharding: tuple[str, ...] = ("zero0", "zero1", "fsdp")
    recompute: tuple[str, ...] = RECOMPUTES
    placement: tuple[str, ...] = ("tensor-data-pipeline", "tensor-pipeline-data")
    assignment: tuple[str, ...] = ("balanced",)
    offload: tuple[str, ...] = ("none",)
    context_positions: int = 4096
    micro_batch_tokens: int | None = 65_536
    batch_halvings: int = 5
    data: int | None = None


def read_splits(fields: Fields, tensor: tuple[int, ...]) -> SplitSpace:
    """The splits of a space's file, mistakes noted in ``fields``; ``tensor`` is the file's, empty for the usual."""
    usual = SplitSpace()

    def counts(name: str) -> tuple[int, ...]:
        return integers(fields, name, getattr(usual, name))

    def names(name: str) -> tuple[str, ...]:
        return words(fields, name, CHOICES[name], default=getattr(usual, name))

    return SplitSpace(
        tensor=tensor or usual.tensor,
        sequence_parallel=flags(fields, "sequence_parallel", usual.sequence_parallel),
        context=counts("context"),
        context_method=names("context_method"),
        expert=counts("expert"),
        pipeline=counts("pipeline"),
        virtual_stages=counts("virtual_stages"),
        schedule=names("schedule"),
        sharding=names("sharding"),
        recompute=names("recompute"),
        placement=names("placement"),
        assignment=names("assignment"),
        offload=names("offload"),
        context_positions=fields.integer("context_positions", usual.context_positions, 1),
        micro_batch_tokens=fields.integer("micro_batch_tokens", usual.micro_batch_tokens, 1),
        batch_halvings=fields.integer("batch_halvings", usual.batch_halvings, 0, 30),
    )
