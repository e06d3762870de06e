"""One split of a transformer from what a user says of it.

Where no number of devices of a split is given, the split is the one with the most samples a second of those that fit:
every number of devices that divides the GPUs evenly, with every sharding and recompute, under one placement and 1F1B;
tensor parallelism within a node or 8 devices, and rings of context parallelism that leave 4,096 positions to a device.
Where one is given (``tensor=8``), the others default plainly: no context, expert or pipeline parallelism, data
parallelism on the GPUs that are left, the optimizer's state shared among them (ZeRO-1), sequence parallelism wherever
tensor-parallel devices can share the positions, and the least recompute that fits.

Left out, the global batch is the largest with which the network was trained, as far as whole micro-batches go; without
a training job it is four micro-batches a stage, where GPipe found the bubble negligible (arXiv:1811.06965). Left out,
the micro-batch is the power of two, or under a given global batch the divisor, with the most samples a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.split_refusals import check_split
from paleo_opt.estimator.split_rules import valid_splits
from paleo_opt.estimator.splits import BLOCKS, CHOICES, FIELDS, Split, Splits
from paleo_opt.estimator.strategy import Integers, Strategies, Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.network.transformer_sizes import TransformerSizes

#: The choices that say over how many devices something is divided.
DEGREES = ("tensor", "context", "expert", "pipeline", "virtual_stages")
_DEFAULT = Split()
#: Beside one another in the estimator: enough to be fast, few enough for memory.
_TILE = 1 << 16
_LARGEST_MICRO_BATCH = 1 << 10
#: What larger micro-batches gain is little, and what smaller shares of a sequence save.
_MICRO_BATCH_TOKENS, _CONTEXT_POSITIONS, _TENSOR = 1 << 16, 1 << 12, 8
_PASSES_A_STAGE = 4
#: ``zero3`` is another name of ``fsdp``.
_SHARDINGS = ("zero0", "zero1", "zero2", "fsdp")


@dataclass(frozen=True)
class Batches:
    """What is given of the batch; None leaves it open.

    Attributes:
        micro_batch: Samples of a pass.
        global_batch: Samples of a step.
        most: Samples of a step at most where ``global_batch`` is open; None without a training job.
    """

    micro_batch: int | None
    global_batch: int | None
    most: int | None


def configure_blocks(
    table: CostTable,
    cluster: Cluster,
    gpus: int,
    fixed: Mapping[str, Any],
    batches: Batches,
    collective: str,
    precision: str,
    options: Options,
) -> Strategy:
    """The strategy of the given choices, the others made as this module says.

    Args:
        table: Of a transformer.
        cluster: Where it runs.
        gpus: Devices.
        fixed: Fields of `Split`, and ``data``.
        batches: What is given of the batch.
        collective: What adds up gradients.
        precision: Of arithmetic.
        options: The model's constants.

    Raises:
        SpecError: choices that do not go together, with the nearest that do.
    """
    sizes = table.network.transformer
    assert sizes is not None
    plain = bool(set(fixed) & set(DEGREES))
    if plain:
        split = _plain(sizes, gpus, fixed)
        passes = None
        if batches.global_batch is not None and batches.micro_batch is not None and gpus % split.model == 0:
            passes = batches.global_batch // (gpus // split.model * batches.micro_batch)
        check_split(table.network, split, gpus, accumulation=passes or None, device=cluster.device, precision=precision)
        names = (split.recompute,) if "recompute" in fixed else CHOICES["recompute"]
        splits = Splits.of([replace(split, recompute=name) for name in names])
    else:
        splits = _every(sizes, gpus, max(_TENSOR, cluster.devices_per_node), fixed)
    draft = Strategy(cluster, gpus, 1, collective=collective, precision=precision)
    length = max(sizes.sequence_length, sizes.decoder_sequence_length)
    points = _points(draft, splits, batches, max(1, _MICRO_BATCH_TOKENS // length))
    figures = [
        _figures(table, _at(points, slice(start, start + _TILE)), options)
        for start in range(0, points.layout.size, _TILE)
    ]
    fits, rate, memory = (np.concatenate(parts) for parts in zip(*figures, strict=True))
    if not fits.any():
        return points.row(int(memory.argmin()))
    if plain:
        recompute = splits.recompute[points.layout]
        fits &= recompute == recompute[fits].min()
    return points.row(int(np.where(fits, rate, -1.0).argmax()))


def _points(draft: Strategy, splits: Splits, batches: Batches, most: int) -> Strategies:
    """Every split with every batch that suits it, micro-batches of at most ``most`` samples, as flat lists.

    Raises:
        SpecError: no batch suits any.
    """
    given = batches.global_batch
    if batches.micro_batch is not None:
        sizes = np.array([batches.micro_batch])
    elif given is not None:
        sizes = np.array([value for value in _divisors(given) if value <= most])
    else:
        sizes = 2 ** np.arange(min(most, _LARGEST_MICRO_BATCH).bit_length())
    data, pipeline = (draft.gpus // splits.model)[:, None], splits.pipeline[:, None]
    interleaved = splits.virtual_stages[:, None] > 1
    if given is not None:
        passes = given // (data * sizes)
        suits = (given % (data * sizes) == 0) & (~interleaved | (passes % pipeline == 0))
    else:
        passes = np.where(pipeline > 1, _PASSES_A_STAGE * pipeline, 1) * np.ones_like(sizes)
        if batches.most is not None:
            passes = batches.most // (data * sizes)
        passes = np.where(interleaved, passes // pipeline * pipeline, passes)
        suits = passes > 0
        if not suits.any():  # more groups than the largest batch has samples: one micro-batch each is the least
            suits = np.broadcast_to(sizes == sizes.min(), suits.shape)
            passes = np.where(interleaved, pipeline, 1) * np.ones_like(sizes)
    layout, column = np.nonzero(suits)
    if not layout.size:
        raise SpecError(_no_batch(draft, splits, batches))
    return Strategies(
        clusters=(draft.cluster,),
        precisions=(draft.precision,),
        split=BLOCKS,
        tensor=1,
        collectives=(draft.collective,),
        gpus=np.full(layout.size, draft.gpus),
        micro_batch=sizes[column],
        accumulation=passes[layout, column],
        collective=np.zeros(layout.size, dtype=np.int64),
        place=np.zeros(layout.size, dtype=np.int64),
        splits=splits,
        layout=layout,
    )


def _no_batch(draft: Strategy, splits: Splits, batches: Batches) -> str:
    """Why no batch suits: a global batch must be whole passes of whole groups, in rounds of the stages if interleaved.

    Named are the nearest that suit the first split.
    """
    split, micro_batch = splits.row(0), batches.micro_batch or 1
    data, given = draft.gpus // split.model, batches.global_batch or batches.most or 1
    rounds = split.pipeline if split.virtual_stages > 1 else 1
    unit = data * micro_batch * rounds
    product = f"data {data:,} × a micro-batch of {micro_batch:,}"
    if rounds > 1:
        product += f" × {rounds:,} interleaved stages"
    below, above = given // unit * unit, -(-given // unit) * unit
    near = f"{below:,} and {above:,}" if below else f"{above:,}"
    return (
        f"a global batch of {given:,} is not a whole number of passes of {product} = {unit:,} samples; "
        f"the nearest that are: {near}"
    )


def _at(points: Strategies, part: slice) -> Strategies:
    """Some of flat strategies."""
    names = ("gpus", "micro_batch", "accumulation", "collective", "place", "layout")
    return replace(points, **{name: getattr(points, name)[part] for name in names})


def _figures(table: CostTable, points: Strategies, options: Options) -> tuple[Any, Any, Any]:
    """Whether they fit, their samples a second, and their memory [bytes]."""
    found = estimate(table, points, options)
    shape = points.shape
    return tuple(np.broadcast_to(part, shape) for part in (found.fits, found.samples_per_s, found.memory_bytes))  # type: ignore[return-value]


def gpus_of(cluster: Cluster, fixed: Mapping[str, Any]) -> int:
    """Devices where none are given: what the given splits multiply to, else whole groups that fill a node."""
    model = math.prod(int(fixed.get(name, 1)) for name in ("tensor", "context", "pipeline"))
    if "data" in fixed:
        return model * int(fixed["data"])
    return model * max(1, -(-cluster.devices_per_node // model))


def _plain(sizes: TransformerSizes, gpus: int, fixed: Mapping[str, Any]) -> Split:
    """The given split with plain defaults, not yet checked. Raises `SpecError` where it is not of ``gpus`` devices."""
    given = {name: value for name, value in fixed.items() if name != "data"}
    model = math.prod(int(given.get(name, 1)) for name in ("tensor", "context", "pipeline"))
    if "data" in fixed and fixed["data"] * model != gpus:
        names = [name for name in ("data", "tensor", "context", "pipeline") if name in fixed]
        product = f"{' × '.join(f'{name} {fixed[name]:,}' for name in names)} = {fixed['data'] * model:,}"
        hint = f", or --data {gpus // model}" if gpus % model == 0 else ""
        raise SpecError(f"{product}, not {gpus:,} GPUs; expected --gpus {fixed['data'] * model}{hint}")
    shared = gpus // model * int(given.get("context", 1)) > 1
    split = Split(**({"sharding": "zero1" if shared else "zero0"} | given))
    if "sequence_parallel" not in given and split.tensor > 1:
        parallel = replace(split, sequence_parallel=True)
        return parallel if bool(valid_splits(sizes, Splits.of([parallel])).all()) else split
    return split


def _every(sizes: TransformerSizes, gpus: int, most_tensor: int, fixed: Mapping[str, Any]) -> Splits:
    """Every split of ``gpus`` devices with the given choices. Raises `SpecError` where there is none."""
    if "data" in fixed and gpus % fixed["data"]:
        near = [count for count in _divisors(gpus) if count < fixed["data"]][-1:]
        near += [count for count in _divisors(gpus) if count > fixed["data"]][:1]
        raise SpecError(
            f"data {fixed['data']:,} does not divide {gpus:,} GPUs; the nearest that do: "
            + " and ".join(f"{count:,}" for count in near)
        )
    divisors = np.array(_divisors(gpus))
    most_context = max(1, sizes.sequence_length // _CONTEXT_POSITIONS)
    groups = Splits.of([_DEFAULT])
    for name, most in (("tensor", most_tensor), ("context", most_context), ("pipeline", _blocks(sizes))):
        groups = _crossed(groups, name, divisors[divisors <= most])
    fine = (gpus % groups.model == 0) & valid_splits(sizes, groups)
    if "data" in fixed:
        fine &= groups.model * fixed["data"] == gpus
    groups = groups.at(np.flatnonzero(fine))
    if not len(groups):
        raise SpecError(f"data {fixed['data']:,} leaves {gpus // fixed['data']:,} GPUs, by which no split is possible")
    experts = divisors if sizes.experts else divisors[:1]
    open_choices: dict[str, Integers] = {
        "expert": experts,
        "virtual_stages": np.arange(1, _blocks(sizes) + 1),
        "sharding": np.array([CHOICES["sharding"].index(name) for name in _SHARDINGS]),
        "recompute": np.arange(len(CHOICES["recompute"])),
    }
    for name, value in fixed.items():
        if name in FIELDS and name not in DEGREES:
            open_choices[name] = np.array([CHOICES[name].index(value) if name in CHOICES else int(value)])
    splits = groups
    parallel = replace(splits, sequence_parallel=np.ones_like(splits.tensor))
    splits = replace(splits, sequence_parallel=valid_splits(sizes, parallel).astype(np.int64))
    for name, values in open_choices.items():
        splits = _crossed(splits, name, values)
        splits = splits.at(np.flatnonzero(_wanted(sizes, splits, gpus, fixed)))
    if not len(splits):
        given = ", ".join(f"{name} {value}" for name, value in fixed.items())
        raise SpecError(f"no split of {gpus:,} GPUs goes with {given}")
    return splits


def _wanted(sizes: TransformerSizes, splits: Splits, gpus: int, fixed: Mapping[str, Any]) -> Any:
    """Which splits can be had and are no others by another name."""
    blocks, parts = _blocks(sizes), splits.pipeline * splits.virtual_stages
    alone = gpus // splits.model * splits.context == 1
    return (
        valid_splits(sizes, splits, gpus)
        & ((splits.virtual_stages == 1) | (blocks % parts == 0))
        & (~alone | (splits.sharding == 0) | ("sharding" in fixed))
    )


def _crossed(splits: Splits, name: str, values: Integers) -> Splits:
    """Each of ``splits`` with each of ``values`` of one field."""
    index = np.repeat(np.arange(len(splits)), values.size)
    return replace(splits.at(index), **{name: np.tile(values, len(splits))})


def _blocks(sizes: TransformerSizes) -> int:
    return sizes.layers + sizes.encoder_layers


def _divisors(number: int) -> list[int]:
    """Of a number, ascending."""
    small = [value for value in range(1, math.isqrt(number) + 1) if number % value == 0]
    return sorted({*small, *(number // value for value in small)})
