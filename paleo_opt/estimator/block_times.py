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
from paleo_opt.estimator.communication import AUTO, communication_time
from paleo_opt.estimator.connections import Routes, make_routes
from paleo_opt.estimator.kernel_table import Floats
from paleo_opt.estimator.places import Places
from paleo_opt.estimator.roofline import kernel_times
from paleo_opt.estimator.split_identities import FULL, SELECTIVE, SplitIdentities, distances
from paleo_opt.estimator.splits import CONTEXT_METHODS, FIELDS, Integers, Split, Splits
from paleo_opt.network.transformer_sizes import TransformerSizes

#: Rows of `BlockTimes.micro_batch`; behind them one for each level of the interconnect: a send between stages.
#: Of the average block: computation forward, backward, computed again; exposed communication of tensor, context and
#: expert parallelism; all of it, hidden or not; computation of the ends; their exposed communication.
MICRO_ROWS = (
    "forward", "backward", "recompute", "tensor", "context", "expert", "sent",
    "first_forward", "first_backward", "last_forward", "last_backward", "first_tensor", "last_tensor",
)  # fmt: skip
#: Multiplies GPUs in the number that a micro-batch's times are kept by, where they depend on both.
GPUS = 2**24
#: Up to so many values are looked up one by one.
_FEW = 8
_MOST_DEVICES = 1e7
#: Megatron-LM's kernel for scale, mask and softmax takes batches of so many heads; other numbers run step by step
#: (scale, mask, conversion to fp32, softmax and back), so many launches more forward and backward.
_HEADS_AT_ONCE = 4
_STEPS_OF_SOFTMAX = np.array([[5.0], [4.0]])
_RING = CONTEXT_METHODS.index("ring")


@dataclass(frozen=True, eq=False)
class BlockTimes:
    """What `micro_batch` and `stage_gradients.gradient_times` need.

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

    @cached_property
    def _tables(self) -> list[BlockTable]:
        return [self.table(int(index)) for index in self.identities.table_of]

    def amounts(self, name: str) -> Floats:
        """A field of the compiled share of every split. Shape (S,)."""
        if len(self.identities.splits) == 1:
            return self._tables[0].alone[name]
        of_table: Floats = np.array([getattr(table, name) for table in self._tables])
        return of_table[self.identities.table]

    def once_each(
        self, function: Callable[[Integers, Integers, Floats], Floats], index: Integers, place: Integers, value: Floats
    ) -> Floats:
        """``function`` of splits, places and numbers; of few, those that are known are looked up. Shape (rows, n)."""
        if index.size > _FEW:
            return function(index, place, value)
        return np.stack([self._one(function, index, place, value, at) for at in range(index.size)], axis=1)

    def _one(
        self,
        function: Callable[[Integers, Integers, Floats], Floats],
        index: Integers,
        place: Integers,
        value: Floats,
        at: int,
    ) -> Floats:
        splits, one = self.identities.splits, slice(at, at + 1)
        split = tuple(int(getattr(splits, name)[index[at]]) for name in FIELDS)
        ran = (function.__name__, self.collectives, self.optimizer, self.training)
        key = (ran, split, int(place[at]), float(value[at]))
        if key not in self.known:
            self.known[key] = function(index[one], place[one], value[one])[:, 0]
        return self.known[key]

    def routes(self, place: Integers, devices: Floats, apart: Floats) -> Routes:
        """What some groups communicate over. Shapes (W,)."""
        sending = self.places.sending
        assert sending is not None
        return make_routes(sending.connections, place, devices, apart, sending.attained).slower(sending.share[place])

    def micro_batch(self, key: Integers, value: Floats) -> Floats:
        """`MICRO_ROWS` and the levels, for each (place · distinct splits + split, micro-batch [+ `GPUS` · GPUs]).

        Returns:
            Seconds. Shape (rows, n).
        """
        distinct = self.identities.micro_of.size
        index = self.identities.micro_of[key % distinct]
        return self.once_each(self._micro_batches, index, key // distinct, value)

    def _micro_batches(self, index: Integers, place: Integers, value: Floats) -> Floats:
        sending = self.places.sending
        assert sending is not None
        batch, gpus = np.mod(value, GPUS), np.floor_divide(value, GPUS)
        splits, weight = self.identities.splits.at(index), self.places.weight_bytes[place]
        recompute = splits.recompute
        forward, backward, hosts = self._computation(index, place, batch)
        core, cheap, rest, first, last = range(len(GROUPS))
        block = slice(core, first)
        apart = distances(splits, gpus)
        passes = np.where(recompute == FULL, 3.0, 2.0) if self.training else np.ones(batch.size)

        message = self.amounts("exchanged")[index] * batch * weight
        exchange, gathered = self._tensor(splits, place, message, apart["tensor"])
        tensor = exchange * passes * self.amounts("tensor_exchanges")[index]
        exposed_tensor = tensor * (1.0 - sending.tensor_overlap[place])
        context, exposed_context = self._context(
            splits, index, place, batch, apart["context"], forward[core], backward[core]
        )
        expert = self._expert(splits, index, place, batch, apart["expert"]) * passes
        exposed_expert = expert * (1.0 - sending.expert_overlap[place])
        # While the host launches kernels the device may wait for it: a pass takes the longer of both.
        waiting = (exposed_tensor + exposed_context + exposed_expert) / passes
        whole = np.maximum(forward[block].sum(axis=0), hosts[0] - waiting)
        back = np.maximum(backward[block].sum(axis=0), hosts[1] - waiting)
        # Where attention keeps no scores, selective recomputation is of what else is cheap for its size.
        light = forward[cheap] + (1.0 - sending.kept_products[place]) * forward[rest]
        selective = forward[core] + np.where(sending.fused_attention[place], light, 0.0)
        again = np.where(recompute == FULL, whole, np.where(recompute == SELECTIVE, selective, 0.0))
        trained = float(self.training)
        rows = [
            whole,
            trained * back,
            trained * again,
            exposed_tensor,
            exposed_context,
            exposed_expert,
            tensor + context + expert,
            forward[first],
            trained * backward[first],
            forward[last],
            trained * backward[last],
            # The embedding's rows are summed forward, the gradient of what enters the projection backward.
            exchange,
            trained * exchange,
        ]
        return np.array([*rows, *self._sends(splits, place, message, gathered)])

    def _computation(self, index: Integers, place: Integers, batch: Floats) -> tuple[Floats, Floats, Floats]:
        """Seconds of `GROUPS` forward and backward, and of the host for a block in both. Shapes (groups, n), (2, n)."""
        attained, sending = self.places.attained, self.places.sending
        assert attained is not None and sending is not None
        forward, backward = np.empty((2, len(GROUPS), batch.size))
        hosts = np.empty((2, batch.size))
        of_table = self.identities.table[index]
        inside = slice(0, GROUPS.index("first"))
        for number in np.unique(of_table).tolist():
            these = np.flatnonzero(of_table == number) if index.size > 1 else slice(None)
            table = self._tables[number]
            times = kernel_times(table.kernels, attained.at(place[these]), batch[these], "gemm", np.inf)
            forward[:, these] = _summed(table.weights, times.time[0])
            backward[:, these] = _summed(table.weights, times.time[1] + times.time[2])
            counts = table.weights[inside].sum(axis=0)[None]
            launched = np.concatenate(
                [_summed(counts, times.kernels[0]), _summed(counts, times.kernels[1] + times.kernels[2])]
            )
            hosts[:, these] = sending.dispatch[place[these]] * launched
            # Where attention keeps scores, one kernel scales, masks and normalizes those of four heads at a time.
            uneven = (table.heads * batch[these] % _HEADS_AT_ONCE > 0) & ~sending.fused_attention[place[these]]
            hosts[:, these] += uneven * sending.dispatch[place[these]] * _STEPS_OF_SOFTMAX
        return forward, backward, hosts

    def _tensor(self, splits: Splits, place: Integers, message: Floats, apart: Floats) -> tuple[Floats, Floats]:
        """Of one sum over tensor-parallel devices, and of a gathering of what a pipeline sends to each of them."""
        exchange, gathered = np.zeros((2, message.size))
        many = np.flatnonzero(splits.tensor > 1)
        if not many.size:
            return exchange, gathered
        routes = self.routes(place[many], splits.tensor[many].astype(float), apart[many])
        one_way = communication_time("all_gather", routes, message[many])
        by_positions = splits.sequence_parallel[many] > 0
        # A reduce-scatter takes as long as an all-gather.
        summed = communication_time(AUTO, routes, message[many]) if not by_positions.all() else one_way
        exchange[many] = np.where(by_positions, 2.0 * one_way, summed)
        gathered[many] = np.where(by_positions, 0.0, one_way)
        return exchange, gathered

    def _expert(self, splits: Splits, index: Integers, place: Integers, batch: Floats, apart: Floats) -> Floats:
        """Of the exchanges of tokens in one pass of a block."""
        found = np.zeros(batch.size)
        often = self.amounts("expert_exchanges")[index]
        many = np.flatnonzero(often > 0)
        if many.size:
            routes = self.routes(place[many], splits.expert[many].astype(float), apart[many])
            size = (self.amounts("dispatched")[index] * batch * self.places.weight_bytes[place])[many]
            found[many] = communication_time("all_to_all", routes, size) * often[many]
        return found

    def _context(
        self, splits: Splits, index: Integers, place: Integers, batch: Floats, apart: Floats, forward: Floats,
        backward: Floats,
    ) -> tuple[Floats, Floats]:  # fmt: skip
        """All, and exposed, seconds of context parallelism of one block."""
        total, exposed = np.zeros((2, batch.size))
        many = np.flatnonzero(splits.context > 1)
        if not many.size:
            return total, exposed
        routes = self.routes(place[many], splits.context[many].astype(float), apart[many])
        each = (batch * self.places.weight_bytes[place])[many]
        kv, queries = self.amounts("kv")[index][many] * each, self.amounts("queries")[index][many] * each
        again = (splits.recompute[many] > 0) * float(self.training)
        ring = splits.context_method[many] == _RING
        # Positions are exchanged for heads, and back.
        there = communication_time("all_to_all", routes, kv + queries / 2.0)
        swapped = (there + communication_time("all_to_all", routes, queries / 2.0)) * (1.0 + self.training + again)
        # Keys and values go round while attention computes; in the backward pass their gradients too.
        around = communication_time("all_gather", routes, kv * splits.context[many])
        left = np.maximum(around - forward[many], 0.0) * (1.0 + again)
        if self.training:
            left += np.maximum(2.0 * around - backward[many], 0.0)
        total[many] = np.where(ring, around * (1.0 + again + 2.0 * self.training), swapped)
        exposed[many] = np.where(ring, left, swapped)
        return total, exposed

    def _sends(self, splits: Splits, place: Integers, message: Floats, gathered: Floats) -> list[Floats]:
        """Of one message between stages over each level of the interconnect.

        Each tensor-parallel device sends its share, and gathers the others' where it needs all positions
        (arXiv:2104.04473, section 4.1).
        """
        sending = self.places.sending
        assert sending is not None
        reach, found = sending.connections.reach[place], []
        if not (self.identities.splits.pipeline > 1).any():
            return [np.zeros(message.size)] * reach.shape[1]
        own = sending.send[place]
        for level in range(reach.shape[1]):
            # Every device of a node sends at the same time.
            below = np.minimum(reach[:, level - 1], _MOST_DEVICES) if level else np.ones(message.size)
            routes = self.routes(place, np.full(message.size, 2.0), below)
            found.append(communication_time("point_to_point", routes, message / splits.tensor) + gathered + own)
        return found


def _summed(weights: Floats, rows: Floats) -> Floats:
    """``weights @ rows``, each column the same to the bit whatever stands beside it, as BLAS does not promise.

    A sweep in parts is then the sweep of the whole. Shapes (groups, rows), (rows, n) to (groups, n).
    """
    total = np.zeros((weights.shape[0], rows.shape[1]))
    for group, row in np.argwhere(weights).tolist():
        total[group] += weights[group, row] * rows[row]
    return total
