"""What a measured row of a transformer ran: its network, and how its blocks were split.

A split's blank column is 1, as nothing is divided that is not said to be. What matters and is not said either way (the
micro-batch, the virtual stages of a pipeline, recomputation, sharding) is left open, as alternatives: people train with
the fastest that fits, and `choose` takes that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from paleo_opt.errors import PaleoOptError
from paleo_opt.estimator.split_refusals import check_split
from paleo_opt.estimator.splits import RECOMPUTES, Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.device import HALF_BYTES
from paleo_opt.hardware.platform import Platform
from paleo_opt.network.graph import Network
from paleo_opt.network.load import load_network, load_text
from paleo_opt.network.transformer_sizes import TransformerSizes
from paleo_opt.validation.measured_table import MeasuredRow
from paleo_opt.validation.run import Refused
from paleo_opt.validation.sources import Source, source_of

#: Columns of a row that are sizes of its network.
SIZES = ("layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "experts", "top_k", "sequence_length")
#: A network that is given by its sizes alone.
BY_SIZES = "transformer"
NetworkKey = tuple[str, tuple[tuple[str, int], ...], str]
#: Sharding that is taken where a row does not say it, the least that fits: pipelines divide optimizer state at most.
_SHARDINGS = {False: ("zero0", "zero1", "zero2", "zero3"), True: ("zero0", "zero1")}
#: Micro-batches that are tried where a row does not say which.
_MOST_MICRO_BATCH = 512


def network_key(row: MeasuredRow, name: str) -> NetworkKey:
    """What rows of the same network have in common: its name, the sizes that they give, and their software.

    Args:
        row: Of a transformer.
        name: Its ``network``, as seen from the table's folder.
    """
    sizes = tuple((size, value) for size in SIZES if (value := getattr(row, size)) is not None)
    return name, sizes, row.software if name == BY_SIZES else ""


def network_of(key: NetworkKey) -> Network:
    """The network of a `network_key`: a shipped or given file with the row's sizes, or one of these sizes alone.

    Raises:
        SpecError: as `load_network`.
    """
    name, sizes, software = key
    given = dict(sizes)
    if name != BY_SIZES:
        network = load_network(name)
        own = network.transformer
        if own is None:
            return network
        others = {f"transformer.{size}": str(value) for size, value in sizes if getattr(own, size) != value}
        return load_network(name, others) if others else network
    stem = sizes_name(given.get("layers"), given.get("hidden"))
    fields = {**source_of(software).transformer, **given}
    return load_text(json.dumps({"name": stem, "transformer": fields}), stem, stem)


def sizes_name(layers: int | None, hidden: int | None) -> str:
    """What a network that is given by its sizes alone is called."""
    return f"{BY_SIZES}_{layers}x{hidden}"


@dataclass(frozen=True)
class Splitting:
    """How a row's blocks were split, as far as it says.

    Attributes:
        strategies: What it may have run; one where it says all.
        samples: Of one step.
        assumed: Out of `run.ASSUMPTIONS`.
    """

    strategies: tuple[Strategy, ...]
    samples: int
    assumed: tuple[str, ...]


def splitting_of(
    row: MeasuredRow, network: Network, cluster: Cluster, platform: Platform, collective: str, precision: str
) -> Splitting:
    """How the blocks of ``network`` were split.

    Raises:
        Refused: the row's numbers do not multiply, or no such split can be had.
    """
    sizes = network.transformer
    assert sizes is not None, "a network of layers has no blocks"
    tensor, pipeline, context = row.tensor or 1, row.pipeline or 1, row.context or 1
    model = tensor * pipeline * context
    if row.gpus % model or row.data not in (None, row.gpus // model):
        raise Refused(f"{row.gpus:,} GPUs are not {_factors(row)}")
    data = row.gpus // model
    assumed: list[str] = []

    def one_of(name: str, given: Any, choices: Sequence[Any]) -> tuple[Any, ...]:
        if given is not None and given != "":
            return (given,)
        if len(choices) > 1:
            assumed.append(name)
        return tuple(choices)

    micro_batches, samples = _micro_batches(row, data, pipeline)
    if len(micro_batches) > 1:
        assumed.append("micro_batch")
    source = source_of(row.software)
    unsaid = source.interleaved and row.virtual_stages == 1
    parts = one_of("virtual_stages", None if unsaid else row.virtual_stages, _virtual_stages(sizes, pipeline, source))
    recomputes = one_of("recompute", row.recompute, RECOMPUTES)
    shardings = one_of("sharding", row.sharding, _SHARDINGS[pipeline > 1] if data > 1 else ("zero0",))
    sequence_parallel = _sequence_parallel(row)
    if sequence_parallel is None:
        sequence_parallel = platform.sequence_parallel
        assumed += ["sequence_parallel"] * (tensor > 1)
    found: list[Strategy] = []
    problem = ""
    blocks = sizes.layers + sizes.encoder_layers
    for virtual, micro_batch in product(parts, micro_batches):
        accumulation = samples // (data * micro_batch)
        try:
            split = Split(
                tensor=tensor,
                sequence_parallel=sequence_parallel and tensor > 1,
                context=context,
                expert=row.expert or 1,
                pipeline=pipeline,
                virtual_stages=virtual,
                sharding=shardings[0],
                recompute=recomputes[0],
                placement=source.placement,
                assignment="balanced" if blocks % (pipeline * virtual) else "even",
            )
            check_split(network, split, row.gpus, accumulation=accumulation)
            one = Strategy(
                cluster, row.gpus, micro_batch, accumulation, collective=collective, precision=precision, blocks=split
            )
        except PaleoOptError as error:
            problem = problem or str(error).splitlines()[0]
            continue
        # What sharding and recomputation are left open are valid together.
        open_ones = tuple(product(shardings, recomputes))
        found += [one] if len(open_ones) == 1 else [
            replace(one, blocks=replace(split, sharding=sharding, recompute=recompute))
            for sharding, recompute in open_ones
        ]  # fmt: skip
    if not found:
        raise Refused(problem)
    return Splitting(tuple(found), samples, tuple(assumed))


def needed_sharding(row: MeasuredRow, network: Network, cluster: Cluster) -> str:
    """``zero3`` where a row says no sharding and one device cannot hold its share of the parameters; else empty."""
    share = network.parameters * HALF_BYTES / ((row.tensor or 1) * (row.pipeline or 1))
    return "zero3" if not row.sharding and network.transformer and share > cluster.device.memory else ""


def _factors(row: MeasuredRow) -> str:
    counts = {name: getattr(row, name) for name in ("data", "tensor", "context", "pipeline")}
    return " × ".join(f"{name} {count:,}" for name, count in counts.items() if count not in (None, 1))


def _micro_batches(row: MeasuredRow, data: int, pipeline: int) -> tuple[tuple[int, ...], int]:
    """The micro-batches that a row may have had, and its samples of a step."""
    if row.global_batch is None and row.micro_batch is None:
        raise Refused("no batch size")
    samples = row.global_batch or (row.micro_batch or 1) * data
    if samples % data:
        raise Refused(f"the global batch of {samples:,} is not shared evenly by data {data:,}")
    each = samples // data
    if row.micro_batch is None:
        return tuple(size for size in range(1, min(each, _MOST_MICRO_BATCH) + 1) if each % size == 0), samples
    if each % row.micro_batch:
        raise Refused("the global batch is not a whole number of micro-batches")
    if pipeline > 1 and source_of(row.software).batch == "local":
        return (max(1, row.micro_batch // pipeline),), samples
    return (row.micro_batch,), samples


def _virtual_stages(sizes: TransformerSizes, pipeline: int, source: Source) -> tuple[int, ...]:
    """The parts that a pipeline's stages may have: as many as divide its blocks, where its stages do."""
    blocks = sizes.layers + sizes.encoder_layers
    if pipeline == 1 or pipeline > blocks:
        return (1,)
    even = blocks % pipeline == 0
    # The embedding and the projection behind the blocks may be parts of their own, as `split_rules` has it.
    most = blocks // pipeline if even else (blocks + 2) // pipeline
    parts = [part for part in range(1, most + 1) if not even or most % part == 0]
    said = [part for part in source.virtual_stages if part in parts]
    interleaved = parts[1:] if source.interleaved else []
    return tuple(said[:1] or interleaved or parts)


def _sequence_parallel(row: MeasuredRow) -> bool | None:
    """Whether a row's software divides positions too; None where neither the row nor its source says."""
    if "sequence parallel" in row.software.casefold():
        return True
    said = source_of(row.software).sequence_parallel
    return True if said == "always" or (said == "selective" and row.recompute == "selective") else None


def counted_flops(row: MeasuredRow, network: Network) -> float | None:
    """FLOPs of one sample's step as the row's source counts them; None where those are the model's.

    Megatron-LM's papers and logs count what the devices compute: with full recomputation each block's forward pass
    twice (Narayanan et al., arXiv:2104.04473, equation 3): 96 s l h^2 (1 + s / 6h + V / 16 l h). Others count of
    attention only the pairs of positions that a causal mask leaves.
    """
    sizes, counts = network.transformer, source_of(row.software).counts
    if row.quantity != "tflops_per_gpu" or sizes is None or not counts:
        return None
    if counts == "causal":
        hidden_pairs = (
            layer.forward_flops * (1.0 - layer.attention.computed_pairs / layer.attention.visible_pairs)
            for layer in network.layers
            if layer.attention is not None
        )
        return 3.0 * (network.forward_flops - sum(hidden_pairs))
    if row.recompute != "full":
        return None
    length, hidden, layers = sizes.sequence_length, sizes.hidden, sizes.layers
    share = 1.0 + length / (6.0 * hidden) + sizes.vocab / (16.0 * layers * hidden)
    return 96.0 * length * layers * hidden**2 * share
