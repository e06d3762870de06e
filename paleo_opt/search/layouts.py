"""Every split of a transformer's blocks that a search space has, as arrays, and the groups they come in.

A group is what a study chooses of a split: its tensor, pipeline, context and expert parallelism. What remains
(virtual stages, sharding, recomputation…) is inside of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.split_rules import valid_splits
from paleo_opt.estimator.splits import CHOICES, FIELDS, PLACEMENTS, SHARDINGS, Splits
from paleo_opt.estimator.strategy import Integers
from paleo_opt.network.transformer_sizes import TransformerSizes
from paleo_opt.search.split_space import SplitSpace

Booleans = NDArray[np.bool_]

#: What tells groups apart, in their order.
GROUPED = ("tensor", "pipeline", "context", "expert")
#: What a pipeline cannot divide among data-parallel devices.
_NOT_PIPELINED = (SHARDINGS.index("zero2"), SHARDINGS.index("zero3"))


@dataclass(frozen=True, eq=False)
class Layouts:
    """The S splits of a space for one network, ordered by their G groups.

    Attributes:
        splits: All of them.
        starts: Where each group starts, and S. Shape (G + 1,).
        alone: Which of them to consider where nothing is data-parallel: of those that differ in what they divide among
            data-parallel devices, or in where these stand, the first. Shape (S,).
        sequence_length: Positions of a sample.
    """

    splits: Splits
    starts: Integers
    alone: Booleans
    sequence_length: int

    @cached_property
    def groups(self) -> Splits:
        """The first split of each group. Shapes (G,)."""
        return self.splits.at(self.starts[:-1])

    @cached_property
    def interleaved(self) -> Integers:
        """1 where a split has virtual stages, else 0. Shape (S,)."""
        found: Integers = (self.splits.virtual_stages > 1).astype(np.int64)
        return found


@lru_cache(maxsize=16)
def make_layouts(sizes: TransformerSizes, space: SplitSpace) -> Layouts:
    """Every split of ``space`` that a transformer can have, each once; none where there is none.

    Where a field makes no difference (a schedule without a pipeline, a placement without two ways of dividing), the
    first of its values stands for all.
    """
    values = _values(sizes, space)
    order = (*GROUPED, *(name for name in FIELDS if name not in GROUPED))
    mesh = np.meshgrid(*(values[name] for name in order), indexing="ij")
    columns = {name: column.reshape(-1) for name, column in zip(order, mesh, strict=True)}
    kept = _meaningful(columns, values, sizes)
    if True in space.sequence_parallel:
        # Wanted wherever it can be had.
        possible, wanted = _shares_positions(columns, sizes), columns["sequence_parallel"]
        columns["sequence_parallel"] = wanted * possible
        if False in space.sequence_parallel:
            kept &= possible | (wanted == 0)
    splits = Splits(**columns)
    splits = splits.at(np.flatnonzero(kept & valid_splits(sizes, splits)))
    group = np.stack([getattr(splits, name) for name in GROUPED])
    starts = np.flatnonzero((group[:, 1:] != group[:, :-1]).any(axis=0)) + 1
    first = [0] if len(splits) else []
    return Layouts(
        splits=splits,
        starts=np.concatenate([first, starts, [len(splits)]]).astype(np.int64),
        alone=_alone(splits, values["sharding"], values["placement"]),
        sequence_length=sizes.sequence_length,
    )


def _values(sizes: TransformerSizes, space: SplitSpace) -> dict[str, Integers]:
    """The values of each field, names by their index; those that this network can have at all."""
    found = {}
    for name in FIELDS:
        given = getattr(space, name)
        known = CHOICES.get(name)
        found[name] = np.array([known.index(value) for value in given] if known else given, dtype=np.int64)
    context, expert, pipeline = found["context"], found["expert"], found["pipeline"]
    enough = (context == 1) | (sizes.sequence_length >= space.context_positions * context)
    found["context"] = context[enough & (sizes.sequence_length % context == 0)]
    found["expert"] = expert[(expert == 1) | ((sizes.experts > 0) & (sizes.experts % expert == 0))]
    found["pipeline"] = pipeline[(pipeline == 1) | (pipeline <= sizes.layers)]
    tensor = found["tensor"]
    found["tensor"] = tensor[sizes.heads % tensor == 0]
    return found


def _shares_positions(columns: dict[str, Integers], sizes: TransformerSizes) -> Booleans:
    """Where sequence parallelism can be had."""
    parts = columns["tensor"] * columns["context"]
    possible: Booleans = columns["tensor"] > 1
    for length in (sizes.sequence_length, sizes.decoder_sequence_length):
        possible &= length % parts == 0
    return possible


def _meaningful(columns: dict[str, Integers], values: dict[str, Integers], sizes: TransformerSizes) -> Booleans:
    """Which combinations are not another one by a second name."""
    staged = columns["pipeline"] > 1
    kept: Booleans = staged | (columns["virtual_stages"] == 1)
    kept &= (columns["virtual_stages"] == 1) | (columns["schedule"] == 0)
    for name, applies in (("schedule", staged), ("assignment", staged), ("context_method", columns["context"] > 1)):
        kept &= applies | (columns[name] == values[name][0])
    return kept & _distinct_placement(columns["placement"], columns, values["placement"], np.ones_like(staged))


def _distinct_placement(
    placement: Integers, columns: dict[str, Integers], listed: Integers, replicated: Booleans
) -> Booleans:
    """Whether a placement is the first listed of those that put what there is in the same order."""
    names = [PLACEMENTS[int(index)].split("-") for index in listed]
    known = np.zeros((len(PLACEMENTS), 2, 2, 2), dtype=bool)
    for case in np.ndindex(2, 2, 2):
        there = dict(zip(("tensor", "pipeline", "data"), case, strict=True))
        seen = set()
        for index, name in zip(listed.tolist(), names, strict=True):
            order = tuple(part for part in name if there[part])
            known[(index, *case)] = order not in seen
            seen.add(order)
    parts = ((columns[name] > 1).astype(np.int64) for name in ("tensor", "pipeline"))
    found: Booleans = known[(placement, *parts, replicated.astype(np.int64))]
    return found


def _alone(splits: Splits, shardings: Integers, placements: Integers) -> Booleans:
    """`Layouts.alone`."""
    staged = splits.pipeline > 1
    of_stages = shardings[~np.isin(shardings, _NOT_PIPELINED)]
    first = np.where(staged, of_stages[0] if of_stages.size else shardings[0], shardings[0])
    columns = {name: getattr(splits, name) for name in FIELDS}
    nothing = np.zeros(staged.shape, dtype=bool)
    found: Booleans = (splits.sharding == first) & _distinct_placement(splits.placement, columns, placements, nothing)
    return found
