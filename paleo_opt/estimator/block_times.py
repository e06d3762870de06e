"""Seconds of what repeats in a step of a split transformer: of one micro-batch, and of one exchange of gradients.

Both are computed once per distinct (place, split as far as it matters, number) and gathered (`block_estimate`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from paleo_opt.estimator.block_table import GROUPS, BlockTable, compile_blocks
from paleo_opt.estimator.communication import AUTO, all_reduce_time, communication_time
from paleo_opt.estimator.connections import Routes, make_routes
from paleo_opt.estimator.kernel_table import Floats
from paleo_opt.estimator.places import Places
from paleo_opt.estimator.roofline import kernel_times, update_times
from paleo_opt.estimator.splits import CONTEXT_METHODS, FIELDS, PLACEMENTS, RECOMPUTES, SHARDINGS, Integers, Split, Splits
from paleo_opt.network.transformer_sizes import TransformerSizes

SELECTIVE, FULL = RECOMPUTES.index("selective"), RECOMPUTES.index("full")
ZERO1, ZERO2, ZERO3 = (SHARDINGS.index(name) for name in ("zero1", "zero2", "zero3"))
#: Rows of `micro_batch_times`; behind them one for each level of the interconnect: a send between stages.
#: Of the average block: computation forward, backward, computed again; exposed communication of tensor, context and
#: expert parallelism; all of it, hidden or not; computation of the ends; their exposed communication.
MICRO_ROWS = (
    "forward", "backward", "recompute", "tensor", "context", "expert", "sent",
    "first_forward", "first_backward", "last_forward", "last_backward", "first_tensor", "last_tensor",
)  # fmt: skip
#: Rows of `gradient_times`; before them one for each collective: an all-reduce of one stage's gradients.
GRADIENT_ROWS = ("scatter", "gather", "block_gather", "tied", "update")


@dataclass(frozen=True, eq=False)
class SplitIdentities:
    """Which splits are alike in what matters for one micro-batch, and for gradients.

    Attributes:
        splits: All of them.
        micro: Index into the distinct ones for a micro-batch. Shape (S,).
        micro_of: One split for each of those, by index.
        gradient: Likewise for gradients. Shape (S,).
        gradient_of: One split for each of those.
        table: Index of the compiled share of each of ``micro_of``'s and of every split. Shape (S,).
        table_of: One split for each compiled share.
        by_gpus: Whether what a micro-batch takes depends on the GPUs, as data-parallel devices are inside. Shape (S,).
    """

    splits: Splits
    micro: Integers
    micro_of: Integers
    gradient: Integers
    gradient_of: Integers
    table: Integers
    table_of: Integers
    by_gpus: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def effective_sharding(splits: Splits) -> Integers:
    """What is divided, by index into `SHARDINGS`: ``fsdp`` is ``zero3``, and ``zero1`` in a pipeline.

    Parameters gathered for each micro-batch of a pipeline would be sent most of the time; frameworks keep them gathered
    for the whole step, and gradients whole to its end (PyTorch FSDP2: ``reshard_after_forward=False``).
    """
    sharding = np.minimum(splits.sharding, ZERO3)
    found: Integers = np.where((sharding == ZERO3) & (splits.pipeline > 1), ZERO1, sharding)
    return found


def identify(splits: Splits) -> SplitIdentities:
    """Which of ``splits`` are alike."""
    ordinary = splits.placement == 0
    inside = np.where(ordinary, 0, splits.pipeline)
    share = [splits.tensor, splits.sequence_parallel, splits.context, splits.context_method, splits.expert]
    table, table_of = _distinct(share)
    micro, micro_of = _distinct([*share, splits.recompute, splits.placement, inside])
    sharding = effective_sharding(splits)
    gradient, gradient_of = _distinct([*share, splits.pipeline, sharding, splits.placement])
    outer = np.array([name.startswith("data") or name == "pipeline-data-tensor" for name in PLACEMENTS])
    return SplitIdentities(
        splits, micro, micro_of, gradient, gradient_of, table, table_of, outer[splits.placement] & (splits.tensor > 1)
    )


def _distinct(columns: list[Integers]) -> tuple[Integers, Integers]:
    if columns[0].size == 1:
        return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    key = np.zeros(columns[0].size, dtype=np.int64)
    for column in columns:
        values, code = np.unique(column, return_inverse=True)
        key = key * values.size + code.reshape(-1)
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    return index.reshape(-1).astype(np.int64), first.astype(np.int64)


@dataclass(frozen=True, eq=False)
class BlockTimes:
    """What `micro_batch` and `gradients` need.

    Attributes:
        sizes: Of the transformer.
        places: Under the roofline model.
        identities: Of the splits.
        collectives: For gradients.
        optimizer: A key of `roofline.UPDATE_BYTES`.
        training: False for the forward pass only.
        tables: Compiled shares, by the split that they are of; kept by the caller.
        known: What was computed for single strategies on the same places; kept by the caller.
    """

    sizes: TransformerSizes
    places: Places
    identities: SplitIdentities
    collectives: tuple[str, ...]
    optimizer: str
    training: bool
    tables: dict[Split, BlockTable] = field(default_factory=dict)
    known: dict[tuple[Any, ...], Floats] = field(default_factory=dict)

    def table(self, index: int) -> BlockTable:
        """The compiled share of split ``index``."""
        splits = self.identities.splits
        key = Split(
            tensor=int(splits.tensor[index]),
            sequence_parallel=bool(splits.sequence_parallel[index]),
            context=int(splits.context[index]),
            context_method=CONTEXT_METHODS[int(splits.context_method[index])],
            expert=int(splits.expert[index]),
        )
        if key not in self.tables:
            self.tables[key] = compile_blocks(self.sizes, key)
        return self.tables[key]

    @cached_property
    def blocks(self) -> int:
        """Blocks of all stacks."""
        return self.sizes.layers + self.sizes.encoder_layers

    def amounts(self, name: str) -> Floats:
        """A field of the compiled share of every split. Shape (S,)."""
        of_table = np.array([getattr(table, name) for table in self._tables])
        found: Floats = of_table[self.identities.table]
        return found

    @cached_property
    def _tables(self) -> list[BlockTable]:
        return [self.table(int(index)) for index in self.identities.table_of]

    # -- one micro-batch ---------------------------------------------------------------------------------------

    def micro_batch(self, key: Integers, value: Floats) -> Floats:
        """`MICRO_ROWS` and the levels, for each (place · distinct splits + split, micro-batch [+ 2²⁴ · GPUs])."""
        distinct = self.identities.micro_of.size
        place, which = key // distinct, key % distinct
        batch, gpus = np.mod(value, _GPUS), np.floor_divide(value, _GPUS)
        return self._by_split(which, place, self.identities.micro_of, self._one_micro_batch, batch, gpus)

    def _by_split(
        self, which: Integers, place: Integers, of: Integers, function: Callable[..., Floats], *values: Floats
    ) -> Floats:
        if which.size <= _FEW:
            return np.stack([self._one(int(of[index]), function, i, place, values) for i, index in enumerate(which)], 1)
        parts: list[tuple[Integers, Floats]] = []
        for index in np.unique(which).tolist():
            chosen = np.flatnonzero(which == index)
            parts.append((chosen, function(int(of[index]), place[chosen], *(value[chosen] for value in values))))
        found = np.empty((parts[0][1].shape[0], which.size))
        for chosen, rows in parts:
            found[:, chosen] = rows
        return found

    def _one(
        self, index: int, function: Callable[..., Floats], at: int, place: Integers, values: tuple[Floats, ...]
    ) -> Floats:
        """Of one element, looked up where it was computed before."""
        splits = self.identities.splits
        split = tuple(int(getattr(splits, name)[index]) for name in FIELDS)
        ran = (function.__name__, self.collectives, self.optimizer, self.training)
        key = (ran, split, int(place[at]), *(float(value[at]) for value in values))
        if key not in self.known:
            one = slice(at, at + 1)
            self.known[key] = function(index, place[one], *(value[one] for value in values))[:, 0]
        return self.known[key]

    def _routes(self, place: Integers, devices: Floats | float, apart: Floats | float) -> Routes:
        sending = self.places.sending
        assert sending is not None
        shape = place.shape
        devices, apart = np.broadcast_to(devices, shape).astype(float), np.broadcast_to(apart, shape).astype(float)
        return make_routes(sending.connections, place, devices, apart, sending.attained).slower(sending.share[place])

    def _one_micro_batch(self, index: int, place: Integers, batch: Floats, gpus: Floats) -> Floats:
        splits, places = self.identities.splits, self.places
        attained, sending = places.attained, places.sending
        assert attained is not None and sending is not None
        table, split = self.table(index), splits.row(index)
        recompute = int(splits.recompute[index])
        times = kernel_times(table.kernels, attained.at(place), batch, "gemm", np.inf)
        forward = table.weights @ times.time[0]
        backward = table.weights @ (times.time[1] + times.time[2])
        core, cheap, rest, first, last = range(len(GROUPS))
        block = slice(core, first)
        apart = _apart(split, gpus)
        weight = places.weight_bytes[place]
        passes = 1.0 if not self.training else (3.0 if recompute == FULL else 2.0)

        tensor, ends = np.zeros((2, batch.size)), np.zeros(batch.size)
        if split.tensor > 1:
            routes = self._routes(place, split.tensor, apart["tensor"])
            size = table.exchanged * batch * weight
            if split.sequence_parallel:
                one = communication_time("all_gather", routes, size) + communication_time(
                    "reduce_scatter", routes, size
                )
            else:
                one = communication_time(AUTO, routes, size)
            tensor = np.array([one * passes * table.tensor_exchanges] * 2)
            tensor[0] *= 1.0 - sending.tensor_overlap[place]
            # The embedding's rows are summed forward, the gradient of what enters the projection backward.
            ends = one
        context = np.zeros((2, batch.size))
        if split.context > 1:
            context = self._context(
                table, split, place, batch, apart["context"], forward[core], backward[core], recompute
            )
        expert = np.zeros((2, batch.size))
        if table.expert_exchanges:
            routes = self._routes(place, split.expert, apart["expert"])
            one = communication_time("all_to_all", routes, table.dispatched * batch * weight)
            expert = np.array([one * passes * table.expert_exchanges] * 2)
            expert[0] *= 1.0 - sending.expert_overlap[place]
        # While the host launches kernels the device may wait for it: a pass takes the longer of both.
        hosts = sending.dispatch[place] * np.array(
            [table.weights @ times.kernels[0], table.weights @ (times.kernels[1] + times.kernels[2])]
        )
        waiting = (tensor[0] + context[0] + expert[0]) / passes
        whole = np.maximum(forward[block].sum(axis=0), hosts[0, block].sum(axis=0) - waiting)
        back = np.maximum(backward[block].sum(axis=0), hosts[1, block].sum(axis=0) - waiting)
        again = np.zeros(batch.size)
        if recompute == SELECTIVE:
            # Where attention keeps no scores, what else is cheap for its size.
            again = forward[core] + np.where(sending.fused_attention[place], forward[cheap], 0.0)
        elif recompute == FULL:
            again = whole
        trained = float(self.training)
        rows = [
            whole,
            trained * back,
            trained * again,
            tensor[0],
            context[0],
            expert[0],
            tensor[1] + context[1] + expert[1],
            forward[first],
            trained * backward[first],
            forward[last],
            trained * backward[last],
            ends,
            trained * ends,
        ]
        # Each tensor-parallel device sends its share, and gathers the others' where it needs all positions
        # (arXiv:2104.04473, section 4.1).
        message, gathered = table.exchanged * batch * weight, np.zeros(batch.size)
        if split.tensor > 1 and not split.sequence_parallel:
            gathered = communication_time("all_gather", self._routes(place, split.tensor, apart["tensor"]), message)
        reach = sending.connections.reach[place]
        for level in range(reach.shape[1]):
            # Every device of a node sends at the same time.
            below = np.minimum(reach[:, level - 1], _MOST_DEVICES) if level else np.ones(batch.size)
            routes = self._routes(place, 2.0, below)
            rows.append(communication_time("point_to_point", routes, message / split.tensor) + gathered)
        return np.array(rows)

    def _context(
        self, table: BlockTable, split: Split, place: Integers, batch: Floats, apart: Floats,
        forward: Floats, backward: Floats, recompute: int,
    ) -> Floats:  # fmt: skip
        """Exposed, and all, seconds of context parallelism of one block."""
        routes = self._routes(place, split.context, apart)
        weight = self.places.weight_bytes[place]
        again = 1.0 if recompute else 0.0
        if split.context_method == "all_to_all":
            there = communication_time("all_to_all", routes, (table.kv + table.queries / 2.0) * batch * weight)
            back = communication_time("all_to_all", routes, table.queries / 2.0 * batch * weight)
            passes = 2.0 + again if self.training else 1.0
            return np.array([(there + back) * passes] * 2)
        # Keys and values go round while attention computes; in the backward pass their gradients too.
        around = communication_time("all_gather", routes, table.kv * split.context * batch * weight)
        exposed, total = np.maximum(around - forward, 0.0) * (1.0 + again), around * (1.0 + again)
        if not self.training:
            return np.array([np.maximum(around - forward, 0.0), around])
        return np.array([exposed + np.maximum(2.0 * around - backward, 0.0), total + 2.0 * around])

    # -- gradients ---------------------------------------------------------------------------------------------

    def gradients(self, key: Integers, value: Floats) -> Floats:
        """An all-reduce by each collective, then `GRADIENT_ROWS`, for each (place · distinct splits + split, GPUs)."""
        distinct = self.identities.gradient_of.size
        return self._by_split(key % distinct, key // distinct, self.identities.gradient_of, self._one_stage, value)

    def _one_stage(self, index: int, place: Integers, gpus: Floats) -> Floats:
        """Of the first stage, whose backward pass ends last."""
        splits, places = self.identities.splits, self.places
        attained, sending = places.attained, places.sending
        assert attained is not None and sending is not None
        table, split = self.table(index), splits.row(index)
        apart = _apart(split, gpus)
        blocks = self.blocks / split.pipeline
        copies = gpus / (split.tensor * split.pipeline)
        dense = blocks * table.dense_parameters + table.first_parameters
        if split.pipeline == 1:
            dense += table.last_parameters
        expert = blocks * table.expert_parameters
        weight, gradient = places.weight_bytes[place], sending.gradient_bytes[place]
        routes = self._routes(place, copies, apart["context"])
        each = [(routes, dense)]
        expert_copies = np.maximum(copies * split.tensor / split.expert, 1.0)
        if expert:
            each.append((self._routes(place, expert_copies, apart["expert"] * split.expert), expert))
        reduced = np.zeros((len(self.collectives), gpus.size))
        scatter, gather = np.zeros(gpus.size), np.zeros(gpus.size)
        for one, parameters in each:
            reduced += all_reduce_time(self.collectives, one, parameters * gradient)
            scatter += communication_time("reduce_scatter", one, parameters * gradient)
            gather += communication_time("all_gather", one, parameters * weight)
        block_gather = communication_time("all_gather", routes, table.dense_parameters * weight)
        tied = np.zeros(gpus.size)
        if table.tied and split.pipeline > 1:
            pair = self._routes(place, 2.0, apart["pipeline"] * (split.pipeline - 1))
            tied = communication_time(AUTO, pair, table.tied * gradient)
        sharding = int(effective_sharding(splits)[index])
        divided = sharding >= ZERO1
        parameters_each: Floats = dense / copies + expert / expert_copies if divided else gpus * 0.0 + dense + expert
        tensors = float(table.tensors @ np.array([blocks, 1.0, 1.0 if split.pipeline == 1 else 0.0]))
        update = attained.step_overhead[place] + update_times(
            parameters_each, tensors, self.optimizer, places.element_bytes[place], attained.at(place)
        )
        if sharding >= ZERO3:
            # Layer by layer: each block is a message.
            gather = block_gather * blocks
            scatter = communication_time("reduce_scatter", routes, table.dense_parameters * gradient) * blocks
            ends = table.first_parameters + (table.last_parameters if split.pipeline == 1 else 0.0)
            gather = gather + communication_time("all_gather", routes, ends * weight)
            scatter = scatter + communication_time("reduce_scatter", routes, ends * gradient)
            if expert:
                own = each[1][0]
                gather = gather + blocks * communication_time("all_gather", own, table.expert_parameters * weight)
                scatter = scatter + blocks * communication_time(
                    "reduce_scatter", own, table.expert_parameters * gradient
                )
        return np.array([*reduced, scatter, gather, block_gather, tied, update])


#: Up to so many values are looked up one by one.
_FEW = 8
#: Multiplies GPUs in the number that a micro-batch's times are kept by, where they depend on both.
_GPUS = 2.0**24
_MOST_DEVICES = 1e7


def apart_by_gpus(splits: Splits, gpus: Integers, layout: Integers) -> Integers:
    """Between the devices of two neighbouring stages, in devices; for each (layout, GPUs)."""
    model = splits.tensor * splits.context
    inside = {
        "tensor-data-pipeline": None,
        "tensor-pipeline-data": splits.tensor,
        "data-tensor-pipeline": None,
        "data-pipeline-tensor": 0,
        "pipeline-tensor-data": np.ones_like(model),
        "pipeline-data-tensor": np.ones_like(model),
    }
    outer = gpus // splits.pipeline[layout]
    placement = splits.placement[layout]
    found = outer
    for index, name in enumerate(PLACEMENTS):
        fixed = inside[name]
        if fixed is None or not (splits.placement == index).any():
            continue
        value = outer // splits.tensor[layout] if isinstance(fixed, int) else fixed[layout]
        found = np.where(placement == index, value, found)
    return found


def _apart(split: Split, gpus: Floats) -> dict[str, Floats]:
    """Between two devices of each kind of group, in devices. Shapes as of ``gpus`` (only used where data is inside)."""
    copies = np.maximum(gpus / (split.tensor * split.pipeline), 1.0)  # context and data together
    sizes = {
        "tensor": split.tensor * np.ones_like(copies),
        "data": copies,
        "pipeline": split.pipeline * np.ones_like(copies),
    }
    found, apart = {}, np.ones_like(copies)
    for name in split.placement.split("-"):
        found[name] = apart
        apart = apart * sizes[name]
    found["context"] = found["data"]
    # Experts are over the tensor- and data-parallel devices of a stage, the innermost first.
    names = split.placement.split("-")
    inner = next(name for name in names if name != "pipeline")
    between = names[1] == "pipeline"
    found["expert"] = np.where(between & (split.expert > sizes[inner]), sizes["pipeline"], found[inner])
    return found
