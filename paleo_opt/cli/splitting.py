"""How a transformer is split, as options: each fixes one choice, and what is left out is chosen."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from paleo_opt.cli.values import one_of, whole

if TYPE_CHECKING:
    from paleo_opt.estimator.cost_table import CostTable
    from paleo_opt.estimator.options import Options
    from paleo_opt.estimator.splits import Split
    from paleo_opt.estimator.strategy import Strategy
    from paleo_opt.hardware.cluster import Cluster
    from paleo_opt.network.graph import Network

CONTEXT_METHODS = ("ring", "all_to_all")
SCHEDULES = ("1f1b", "gpipe")
SHARDINGS = ("zero0", "zero1", "zero2", "zero3", "fsdp")
RECOMPUTES = ("none", "selective", "full")
ASSIGNMENTS = ("balanced", "even")
OFFLOADS = ("none", "optimizer", "activations", "both")
PLACEMENTS = (
    "tensor-data-pipeline", "tensor-pipeline-data", "data-tensor-pipeline", "data-pipeline-tensor",
    "pipeline-tensor-data", "pipeline-data-tensor",
)  # fmt: skip
MOST_STAGES = 1_000
MOST_TENSOR = 256
MOST_DEVICES = 1_000_000
_SEQUENCE = "net.transformer.sequence_length"
#: What options fix, by name in the parsed options; ``tensor`` is of other networks too.
NAMES = (
    "tensor", "sequence_parallel", "context", "context_method", "expert", "pipeline", "virtual_stages", "schedule",
    "sharding", "recompute", "placement", "assignment", "offload",
    "data",
)  # fmt: skip


def add_splits(parser: argparse.ArgumentParser, data: bool = True) -> None:
    """The splits of a transformer besides ``--tensor``; ``--tensor`` but not ``--data`` where ``data`` is varied."""
    group = parser.add_argument_group(
        "splits of a transformer",
        "GPUs = data · tensor · context · pipeline; what is left out is chosen",
    )
    add = group.add_argument
    devices = whole(MOST_DEVICES)
    if not data:
        add("--tensor", type=whole(MOST_TENSOR), metavar="N", help="devices that divide heads and features")
    else:
        add("--data", type=devices, metavar="N", help="groups of devices that each train on their own samples")
    add("--pipeline", type=whole(MOST_STAGES), metavar="N", help="stages that divide the blocks")
    add("--virtual-stages", type=whole(MOST_STAGES), metavar="N", help="parts of each stage, interleaved")
    add("--schedule", type=one_of(SCHEDULES), metavar="NAME", help="1f1b or gpipe")
    add(
        "--assignment", type=one_of(ASSIGNMENTS), metavar="NAME",
        help="blocks of a stage: balanced (stages alike in time) or even (alike in blocks)",
    )  # fmt: skip
    add("--context", type=devices, metavar="N", help="devices that divide the positions of a sample")
    add("--context-method", type=one_of(CONTEXT_METHODS), metavar="NAME", help="ring or all_to_all")
    add("--expert", type=devices, metavar="N", help="devices that the experts are spread over")
    add(
        "--sequence-parallel", action=argparse.BooleanOptionalAction,
        help="tensor-parallel devices also divide the positions of what they do not divide otherwise",
    )  # fmt: skip
    add(
        "--sharding", type=one_of(SHARDINGS), metavar="NAME",
        help="what data-parallel devices divide: zero0 nothing, zero1 optimizer, zero2 gradients too, zero3 or fsdp "
        "parameters too",
    )  # fmt: skip
    add(
        "--recompute", type=one_of(RECOMPUTES), metavar="NAME",
        help="what the backward pass computes again: none, selective (what is cheap) or full (whole blocks)",
    )  # fmt: skip
    add(
        "--offload", type=one_of(OFFLOADS), metavar="NAME",
        help="what waits in the host's memory: none (default), optimizer, activations or both",
    )  # fmt: skip
    add(
        "--placement", type=one_of(PLACEMENTS), metavar="ORDER",
        help="which devices are side by side, innermost first: tensor-data-pipeline or another order",
    )  # fmt: skip
    add(
        "--sequence-length", dest="set", type=_sequence_length, action="append", default=[], metavar="N",
        help=f"positions of a sample; as --set {_SEQUENCE}=N",
    )  # fmt: skip


#: Of `NAMES`, any of which makes the others default plainly (`block_configuration`).
_DEGREES = ("tensor", "context", "expert", "pipeline", "virtual_stages")


def _sequence_length(text: str) -> tuple[str, str]:
    return _SEQUENCE, str(whole(10**8)(text))


def in_blocks(args: argparse.Namespace, network: Network) -> bool:
    """Whether a network is split block by block, as `configuration.in_blocks` has it."""
    return network.transformer is not None and args.model == "roofline" and args.updates == "synchronous"


def splits_of(args: argparse.Namespace, network: Network) -> dict[str, Any]:
    """The choices that the options fix for a transformer, by name; nothing for another network.

    Raises:
        SpecError: an option that the network or the model has no use for.
    """
    given = {name: getattr(args, name) for name in NAMES if getattr(args, name, None) is not None}
    if in_blocks(args, network):
        return given
    given.pop("tensor", None)
    if given:
        why = f"{network.name} is no transformer and has no blocks to split; expected --split and --tensor"
        if network.transformer is not None:
            model = "the paleo model splits" if args.model == "paleo" else "asynchronous updates split"
            why = f"{model} layers alone; expected --model roofline --updates synchronous, or --split and --tensor"
        _refuse(list(given), why)
    return {}


def _refuse(names: list[str], why: str) -> None:
    from paleo_opt.errors import Problem, SpecError

    raise SpecError([Problem(why, field=f"--{name.replace('_', '-')}") for name in names])


def check_positions(args: argparse.Namespace) -> None:
    """Refuse a length for what has no sequences, or above the table of a network's learned positions.

    Raises:
        SpecError: it is one of these.
    """
    given = dict(args.set)
    length = given.get(_SEQUENCE, "")
    if not length.isdigit():
        return
    from paleo_opt.errors import Problem, SpecError
    from paleo_opt.network.load import load_network

    own = load_network(args.network)
    sizes, field = own.transformer, "sequence length"
    if sizes is None or sizes.kind == "vision":
        what = "is no transformer" if sizes is None else "sees the patches of an image"
        raise SpecError(Problem(f"{own.name} {what}; it has no sequences of tokens", field=field))
    renewed = {"net.transformer.positions", "net.transformer.max_positions"} & set(given)
    if sizes.positions == "learned" and int(length) > sizes.max_positions and not renewed:
        most = f"{own.name} has learned {sizes.max_positions:,} positions; expected at most {sizes.max_positions:,}"
        more = f"--set net.transformer.max_positions={length}"
        raise SpecError(Problem(f"is {int(length):,}, but {most}, or {more} to train more", field=field))


def split_choices(args: argparse.Namespace, network: Network, strategy: Strategy, fits: bool) -> list[str]:
    """What was chosen of a transformer's split and batches for the user, in words."""
    split, made = strategy.blocks, []
    assert split is not None
    given = splits_of(args, network)
    best = "the most samples a second of those that fit" if fits else "the least memory, and it does not fit"
    if args.gpus is None and strategy.gpus != strategy.cluster.devices_per_node:
        made.append(f"{strategy.gpus:,} GPUs: the fewest of the given split that fill a node")
    if args.split != "data" and not any(name in given for name in _DEGREES):
        made.append(f"the split: {best}")
    else:
        if "sharding" not in given and split.sharding != "zero0":
            made.append(f"{split.sharding}: the optimizer's state is divided where parameters have copies")
        if "recompute" not in given:
            least = "the least that fits" if fits else "the least memory"
            made.append(
                f"{split.recompute} recompute: {least}" if split.recompute != "none" else "no recompute: it fits"
            )
    if args.micro_batch is None:
        made.append(f"micro-batch {strategy.micro_batch:,}: {best}")
    if args.global_batch is None and not args.inference:
        rule = "4 micro-batches a stage: the network has no job"
        if network.job is not None:
            rule = f"as many micro-batches as {network.job.max_global_batch:,}, the largest of the job, has room for"
        elif split.pipeline == 1:
            rule = "one micro-batch a group: the network has no job"
        made.append(f"global batch {strategy.global_batch:,}: {rule}")
    return made


def scaled_split(
    args: argparse.Namespace, table: CostTable, cluster: Cluster, model: Options
) -> tuple[Split | None, int | None]:
    """The split that `scaling` keeps, and its micro-batch: the given ones, completed for the most workers.

    None and the given micro-batch for a network that is not split block by block.

    Raises:
        SpecError: as `configuration.configure`, or an option that the network or command has no use for.
    """
    network = table.network
    fixed = splits_of(args, network)
    if not in_blocks(args, network):
        if args.tensor is not None:
            _refuse(["tensor"], f"scaling is over replicas of {network.name}; expected a transformer, or estimate")
        return None, args.micro_batch
    from paleo_opt.estimator.configuration import configure
    from paleo_opt.estimator.scaling import default_workers

    group = math.prod(int(fixed.get(name, 1)) for name in ("tensor", "context", "pipeline"))
    found = configure(
        table,
        cluster,
        gpus=max(args.workers or default_workers(cluster, group), default=group),
        micro_batch=args.micro_batch,
        collective="ring_all_reduce",
        precision=args.precision,
        fixed=fixed,
        options=model,
    )
    return found.blocks, found.micro_batch
