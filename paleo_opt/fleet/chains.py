"""A network as a chain of units that a pipeline's stages share out: layers between which one tensor passes, or blocks.

A network of layers may be cut wherever a single tensor passes from the layers before to those behind; a transformer
between its blocks, its embedding staying with the first and its projection to the vocabulary with the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.block_memory import LOSS_BYTES, kept_by_block
from paleo_opt.estimator.block_times import MICRO_ROWS, BlockTimes
from paleo_opt.estimator.cost_table import Floats, Layout, kept_elements
from paleo_opt.estimator.memory import OPTIMIZER_STATES
from paleo_opt.estimator.places import Places
from paleo_opt.estimator.roofline import kernel_times
from paleo_opt.estimator.split_identities import identify
from paleo_opt.estimator.splits import Integers, Split, Splits
from paleo_opt.fleet.model import FleetModel, own_pairing
from paleo_opt.network.graph import Network

_FIRST = np.zeros(1, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Chain:
    """U units in the order of the network.

    Attributes:
        model: Of the network.
        split: How each block is split inside a stage; None for a network of layers.
        starts: First layer of each unit, and the number of layers; of blocks their number. Shape (U + 1,).
        crossing: Elements a sample of the tensor that passes at each cut; 0 at both ends. Shape (U + 1,).
        parameters: Of each unit, on one device. Shape (U,).
        tensors: Of parameters. Shape (U,).
        kept: Elements a sample that each unit keeps for its backward pass. Shape (U,).
        held_input: Elements a sample of what a stage that begins at a cut keeps of its input. Shape (U + 1,).
    """

    model: FleetModel
    split: Split | None
    starts: Integers
    crossing: Floats
    parameters: Floats
    tensors: Floats
    kept: Floats
    held_input: Floats

    @property
    def units(self) -> int:
        """U."""
        return self.parameters.size


@dataclass(frozen=True, eq=False)
class UnitTimes:
    """What the units take on one kind of device, for n micro-batches of a device. Shapes (U, n).

    Attributes:
        forward_s: Seconds of the forward pass, with what it communicates inside a node.
        backward_s: Likewise backward, with what is computed again.
        workspace: Bytes while it runs.
    """

    forward_s: Floats
    backward_s: Floats
    workspace: Floats


def cut_points(network: Network) -> tuple[Integers, Floats]:
    """The first layers of the units of a network of layers, with their number behind them; and what passes there.

    Returns:
        Shapes (U + 1,): layers; elements a sample of the one tensor that passes.
    """
    layers = network.layers
    index = {layer.name: place for place, layer in enumerate(layers)}
    last = np.zeros(len(layers), dtype=np.int64)
    for place, layer in enumerate(layers):
        for parent in layer.parents:
            last[index[parent]] = place
    starts, crossing = [0], [0.0]
    open_tensors: set[int] = set()
    for place in range(len(layers) - 1):
        open_tensors = {tensor for tensor in (*open_tensors, place) if last[tensor] > place}
        worked = any(layer.type != "Input" for layer in layers[starts[-1] : place + 1])
        if len(open_tensors) == 1 and worked:
            starts.append(place + 1)
            crossing.append(float(layers[next(iter(open_tensors))].output_size))
    return np.array([*starts, len(layers)], dtype=np.int64), np.array([*crossing, 0.0])


def layer_chain(model: FleetModel) -> Chain:
    """The chain of a network of layers."""
    network = model.table.network
    starts, crossing = cut_points(network)
    layers = network.layers

    def summed(values: Sequence[float]) -> Floats:
        return np.add.reduceat(np.array(values, dtype=float), starts[:-1])

    from paleo_opt.estimator.cost_table import parameter_tensors

    return Chain(
        model=model,
        split=None,
        starts=starts,
        crossing=crossing,
        parameters=summed([layer.parameters for layer in layers]),
        tensors=summed([parameter_tensors(layer) for layer in layers]),
        kept=summed([kept_elements(layer) for layer in layers]),
        held_input=crossing,
    )


def block_chain(model: FleetModel, split: Split) -> Chain:
    """The chain of a transformer: what is before its blocks, each of them, and what is behind.

    Raises:
        SpecError: two stacks of blocks, between which more than one tensor passes.
    """
    sizes = model.table.network.transformer
    assert sizes is not None
    if sizes.encoder_layers:
        raise SpecError(f"{model.table.network.name} has an encoder and a decoder, which are no chain of blocks")
    times = block_times_of(model, split)
    blocks = times.blocks

    def one(name: str) -> float:
        return float(times.amounts(name)[0])

    each = one("dense_parameters") + one("expert_parameters")
    tensors = times.amounts("tensors")[0]
    crossing = np.full(blocks + 3, one("exchanged"))
    crossing[[0, -1]] = 0.0
    return Chain(
        model=model,
        split=split,
        starts=np.arange(blocks + 3),
        crossing=crossing,
        parameters=np.array([one("first_parameters"), *[each] * blocks, one("last_parameters")]),
        tensors=np.array([tensors[1], *[tensors[0]] * blocks, tensors[2]]),
        kept=np.array([one("first_kept"), *[kept_of_block(times, 0)] * blocks, one("last_kept")]),
        held_input=np.zeros(blocks + 3),
    )


def kept_of_block(times: BlockTimes, place: int) -> float:
    """Elements a sample that one block keeps."""
    each, _ = kept_by_block(times, times.identities.splits, _FIRST, np.array([place]), times.places)
    return float(np.ravel(each)[0])


def block_times_of(model: FleetModel, split: Split) -> BlockTimes:
    """What times blocks under one split, at every pairing."""
    sizes = model.table.network.transformer
    assert sizes is not None
    places = model.memos(None).places
    optimizer = model.options.optimizer or model.table.network.usual_optimizer
    identities = identify(Splits.of([split]))
    return BlockTimes(
        sizes, places, identities, model.collectives, optimizer, True, model.table.block_tables,
        model.table.known_times(places),
    )  # fmt: skip


def unit_times(chain: Chain, kind: int, batch: Floats) -> UnitTimes:
    """What each unit takes on the devices of a kind, for each micro-batch of a device. Shapes (U, n)."""
    place = own_pairing(chain.model, kind)
    if chain.split is None:
        return _layer_times(chain, chain.model.memos(None).places, place, batch)
    return _block_unit_times(chain, chain.split, place, batch)


def _layer_times(chain: Chain, places: Places, place: int, batch: Floats) -> UnitTimes:
    model, attained = chain.model, places.attained
    assert attained is not None
    layout: Layout = model.table.layout()
    at = np.full(batch.size, place)
    limit = model.options.workspace_limit / places.element_bytes[at]
    kernels = layout.replicated_kernels
    found = kernel_times(kernels, attained.at(at), batch, model.table.algorithm_under("roofline"), limit)
    row = np.empty(int(chain.starts[-1]), dtype=np.int64)
    for index, members in enumerate(kernels.members):
        row[list(members)] = index
    first = chain.starts[:-1]
    return UnitTimes(
        forward_s=np.add.reduceat(found.time[0][row], first, axis=0),
        backward_s=np.add.reduceat((found.time[1] + found.time[2])[row], first, axis=0),
        workspace=np.maximum.reduceat(found.workspace.max(axis=0)[row], first, axis=0) * places.element_bytes[place],
    )


def _block_unit_times(chain: Chain, split: Split, place: int, batch: Floats) -> UnitTimes:
    times = block_times_of(chain.model, split)
    places, blocks = times.places, times.blocks
    assert not times.identities.by_gpus.any()
    rows = dict(zip(MICRO_ROWS, times.micro_batch(np.full(batch.size, place), batch), strict=False))
    talk = rows["tensor"] + rows["context"] + rows["expert"]
    share = 1.0 / (3.0 if split.recompute == "full" else 2.0)
    forward = rows["forward"] + share * talk
    backward = rows["backward"] + rows["recompute"] + (1.0 - share) * talk
    weight = float(places.weight_bytes[place])
    _, again = kept_by_block(times, times.identities.splits, _FIRST, np.array([place]), places)
    each = float(np.ravel(again)[0]) * weight * batch
    logits = float(times.amounts("logits")[0]) * LOSS_BYTES * batch
    return UnitTimes(
        forward_s=np.array([rows["first_forward"] + rows["first_tensor"], *[forward] * blocks, rows["last_forward"]]),
        backward_s=np.array(
            [rows["first_backward"], *[backward] * blocks, rows["last_backward"] + rows["last_tensor"]]
        ),
        workspace=np.array([each * 0.0, *[each] * blocks, each + logits]),
    )


def parameter_bytes(chain: Chain, kind: int) -> float:
    """Bytes a parameter of a device: weight, gradient and the optimizer's state."""
    model = chain.model
    places = model.memos(None).places
    place = own_pairing(model, kind)
    weight = float(places.weight_bytes[place])
    gradient = weight
    if chain.split is not None and places.sending is not None:
        gradient = float(places.sending.gradient_bytes[place])
    optimizer = model.options.optimizer or model.table.network.usual_optimizer
    return weight + gradient + 4.0 * (OPTIMIZER_STATES[optimizer] + (weight < 4.0))
