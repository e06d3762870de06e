"""The options that mean the same in every command, and the values they take.

Nothing heavy is imported here: building the parser must cost no more than argparse itself. The lists of names are
copies for `--help` and for refusing a misspelling before anything is loaded; a test holds them to the estimator's own.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paleo_opt.cli.splitting import MOST_TENSOR as MOST_TENSOR
from paleo_opt.cli.splitting import add_splits, check_positions, in_blocks, splits_of
from paleo_opt.cli.values import amount, one_of, quantity, setting, share, whole

if TYPE_CHECKING:
    from paleo_opt.estimator.cost_table import CostTable
    from paleo_opt.estimator.options import Options
    from paleo_opt.estimator.strategy import Strategy
    from paleo_opt.hardware.cluster import Cluster
    from paleo_opt.network.graph import Network

MODELS = ("roofline", "paleo")
UPDATES = ("synchronous", "asynchronous")
CONV_ALGORITHMS = ("auto", "gemm", "fft", "fft_tiled", "winograd")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "fp8", "mxfp8", "fp4", "nvfp4")
SPLITS = ("data", "hybrid", "model")
OPTIMIZERS = ("sgd", "momentum", "lars", "rmsprop", "adam")
GOALS = ("time", "cost", "energy")
COLLECTIVES = (
    "one_to_all", "tree_all_reduce", "butterfly_all_reduce", "ring_all_reduce", "double_binary_tree",
    "recursive_halving_doubling", "in_network", "hierarchical", "auto",
)  # fmt: skip

MOST_GPUS = 1_000_000
MOST_SAMPLES = 10_000_000


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help of at most 98 columns, descriptions and examples as they are written."""

    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(prog, max_help_position=26, width=min(98, columns - 2))


# -- groups of options -------------------------------------------------------------------------------------


def add_network(parser: argparse.ArgumentParser) -> None:
    """The network, the one positional argument of most commands."""
    parser.add_argument("network", metavar="NET", help="a network's name (paleo-opt list nets) or its YAML file")


def add_target(parser: argparse.ArgumentParser) -> None:
    """How much to train, in place of the job's target (`target_of`)."""
    group = parser.add_argument_group("target", "a fixed amount in place of the job's target: one of the first three")
    group.add_argument("--samples", type=amount, metavar="N", help="such as 300M; of any network")
    group.add_argument("--tokens", type=amount, metavar="N", help="such as 1T; where samples are sequences")
    group.add_argument("--epochs", type=amount, metavar="N", help="of the job's dataset")
    group.add_argument(
        "--max-batch", type=whole(MOST_SAMPLES), metavar="N", help="largest global batch (default: the job's)"
    )


def add_hardware(parser: argparse.ArgumentParser, repeatable: bool = False) -> None:
    """``--on`` and ``--device``."""
    where = "a cluster's name or YAML file; or a link's name, with --device"
    alone = "; alone: the clusters that have it" if repeatable else "; alone: one such device"
    parser.add_argument(
        "--on", action="append", metavar="CLUSTER", help=f"{where}; repeatable" if repeatable else where
    )
    parser.add_argument("--device", metavar="D", help=f"in place of the cluster's own devices{alone}")


def add_model(parser: argparse.ArgumentParser, inference: bool = True) -> None:
    """How the estimate is made; ``--inference`` where a command can do without a target."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", type=one_of(MODELS), default="roofline", metavar="NAME",
        help="roofline (default), or paleo, the additive model of 2017",
    )  # fmt: skip
    group.add_argument(
        "--platform", metavar="NAME", help="software, by name or YAML file (default: each device's; of roofline)"
    )
    group.add_argument(
        "--conv-algorithm", type=one_of(CONV_ALGORITHMS), metavar="NAME",
        help=f"{', '.join(CONV_ALGORITHMS)}; auto: the fastest that the platform has (default; under paleo gemm)",
    )  # fmt: skip
    group.add_argument(
        "--updates", type=one_of(UPDATES), default="synchronous", metavar="NAME",
        help="synchronous (default), or asynchronous: a parameter server without barrier (of roofline)",
    )  # fmt: skip
    group.add_argument(
        "--ppp-comp", type=share, metavar="P", help="share of the peak FLOP/s and memory bandwidth attained"
    )
    group.add_argument("--ppp-comm", type=share, metavar="P", help="share of a link's bandwidth attained")
    group.add_argument("--pipelined", action="store_true", help="memory traffic hides behind arithmetic (of paleo)")
    group.add_argument(
        "--workspace-limit", type=quantity("memory"), default=2.0**30, metavar="SIZE",
        help="memory a convolution algorithm may use beside its operands (default: 1GiB)",
    )  # fmt: skip
    group.add_argument(
        "--optimizer", type=one_of(OPTIMIZERS), metavar="NAME", help=f"instead of the job's: {', '.join(OPTIMIZERS)}"
    )
    if inference:
        group.add_argument("--inference", action="store_true", help="the forward pass only")


def add_strategy(parser: argparse.ArgumentParser, splits: bool = True, collectives: bool = False) -> None:
    """How the work is divided; what is left out is chosen."""
    group = parser.add_argument_group("strategy")
    group.add_argument(
        "--precision",
        type=one_of(PRECISIONS),
        metavar="NAME",
        help=f"{', '.join(PRECISIONS)} (default: the device's best for training)",
    )
    group.add_argument(
        "--global-batch", type=whole(MOST_SAMPLES), metavar="N", help="samples per step, all devices together"
    )
    group.add_argument("--micro-batch", type=whole(MOST_SAMPLES), metavar="N", help="samples per device and pass")
    if splits:
        group.add_argument(
            "--split",
            type=one_of(SPLITS),
            metavar="NAME",
            help="of layers: data, hybrid (those marked `split: model` are divided) or model (all are)",
        )
        group.add_argument("--tensor", type=whole(MOST_TENSOR), metavar="N", help="devices that divide a split layer")
        add_splits(parser)
    names = f"{', '.join(COLLECTIVES)}"
    if collectives:
        group.add_argument(
            "--collective", type=one_of(COLLECTIVES), action="append", metavar="NAME", help=f"repeatable: {names}"
        )
    else:
        group.add_argument(
            "--collective", type=one_of(COLLECTIVES), metavar="NAME", help=f"{names} (default: the fastest)"
        )


def add_common(parser: argparse.ArgumentParser, files: str) -> None:
    """``--set`` and ``--json``; ``files`` says which prefixes route a setting to which file."""
    parser.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help=f"override a field of a spec; {files}",
    )
    add_json(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


SET_HELP = "net.FIELD is the network's, device.FIELD the device's, FIELD the cluster's; repeatable"


# -- from parsed options to objects ------------------------------------------------------------------------


def settings(pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """The overrides of each file (``net``, ``space``, ``cluster``), without its prefix.

    Of a field given twice the last counts. A field of the device keeps its ``device.``, as `load_cluster` wants it.
    """
    routed: dict[str, dict[str, str]] = {"net": {}, "space": {}, "cluster": {}}
    for name, value in pairs:
        prefix, dot, rest = name.partition(".")
        if dot and prefix in routed:
            routed[prefix][rest] = value
        else:
            routed["cluster"][name] = value
    return routed


def network_of(args: argparse.Namespace) -> Network:
    """The network asked for, with the amount asked for where the command has `add_target`. Raises `SpecError`."""
    from paleo_opt.network.load import load_network

    check_positions(args)
    return target_of(args, load_network(args.network, settings(args.set)["net"]))


def target_of(args: argparse.Namespace, network: Network) -> Network:
    """``network`` with the fixed amount asked for in place of its own target; itself where none is.

    Raises:
        SpecError: an amount that the network cannot have (`with_target`), or one of inference.
    """
    given = {name: getattr(args, name, None) for name in ("samples", "tokens", "epochs", "max_batch")}
    names = [name for name, value in given.items() if value is not None]
    if not names:
        return network
    if getattr(args, "inference", False):
        from paleo_opt.errors import SpecError

        raise SpecError(f"--{names[0].replace('_', '-')}: --inference trains to no target; expected one or the other")
    from paleo_opt.network.job import with_target

    largest = given.pop("max_batch")
    return with_target(network, **given, max_global_batch=largest)


def cluster_of(args: argparse.Namespace, most_gpus: int = 1) -> Cluster:
    """The one cluster asked for by ``--on`` and ``--device``; one device where only that is given.

    Raises:
        SpecError: neither is given, more than one cluster, one device where ``most_gpus`` are asked for, or what is
            wrong in their files.
    """
    from paleo_opt.errors import SpecError
    from paleo_opt.hardware.cluster import single_device_cluster
    from paleo_opt.hardware.load import load_cluster, load_device

    names: list[str] = args.on or []
    overrides = settings(args.set)["cluster"]
    if len(names) > 1:
        raise SpecError(f"--on: {len(names)} clusters given; {args.command} takes one")
    if names:
        return load_cluster(names[0], args.device, overrides)
    if not args.device:
        raise SpecError(
            "--on is missing; expected a cluster (see: paleo-opt list clusters), or --device for one device"
        )
    if most_gpus > 1:
        raise SpecError(f"--on is missing; {most_gpus:,} × {args.device} need a cluster, or a link that joins them")
    for name in overrides:
        if not name.startswith("device."):
            raise SpecError(f"--set {name}: there is no cluster to set it in; name one with --on")
    return single_device_cluster(
        load_device(args.device, {name.removeprefix("device."): text for name, text in overrides.items()})
    )


def configured(
    args: argparse.Namespace, network: Network, cluster: Cluster, model: Options
) -> tuple[CostTable, Strategy]:
    """The compiled network and the one configuration asked for by `add_strategy`, completed. Raises `SpecError`."""
    from paleo_opt.estimator.configuration import configure
    from paleo_opt.estimator.cost_table import compile_network

    fixed = splits_of(args, network)
    table = compile_network(network, args.conv_algorithm)
    strategy = configure(
        table,
        cluster,
        gpus=args.gpus,
        micro_batch=args.micro_batch,
        global_batch=args.global_batch,
        split=args.split,
        tensor=None if in_blocks(args, network) else args.tensor,
        collective=args.collective,
        precision=args.precision,
        fixed=fixed,
        options=model,
    )
    return table, strategy


def borrowed_price(args: argparse.Namespace, cluster: Cluster) -> list[str]:
    """What to say where another device stands in a node that has a price."""
    if not args.device or cluster.price is None:
        return []
    return [f"the price is that of {cluster.name} with its own devices, not of {args.device}"]


def options_of(args: argparse.Namespace, network: Network | None = None) -> Options:
    """The model's options, for ``network`` where there is one."""
    from paleo_opt.cli.operations import operations_of, power_of
    from paleo_opt.estimator.options import Options, usual_platform

    return Options(
        model=args.model,
        platform=args.platform or (usual_platform(network, args.model) if network else None),
        updates=args.updates,
        ppp_comp=args.ppp_comp,
        ppp_comm=args.ppp_comm,
        pipelined=args.pipelined,
        workspace_limit=args.workspace_limit,
        training=not getattr(args, "inference", False),
        optimizer=args.optimizer,
        pricing=args.pricing,
        operations=operations_of(args),
        power=power_of(args),
    )
