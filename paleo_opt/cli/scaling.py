"""``paleo-opt scaling NET --on CLUSTER``: what each further worker brings, by collective."""

from __future__ import annotations

import argparse
from typing import Any

from paleo_opt.cli import operations, options, splitting, values

KINDS = ("weak", "strong")
_DESCRIPTION = """\
Speedup, efficiency, time and cost against the number of workers, by
collective. Weak scaling keeps the batch of each worker (--micro-batch), strong
scaling the batch of all (--global-batch). A transformer keeps its split, data
parallelism apart.
"""
_EXAMPLES = """\
  paleo-opt scaling alexnet_v2 --on ethernet20 --device K80 --workers 1,2,4,8,16 --micro-batch 512
  paleo-opt scaling resnet50 --on p4d.24xlarge --scaling strong --global-batch 2048
  paleo-opt scaling llama3_70b --on p5.48xlarge --tensor 8 --pipeline 4 --workers 64,128,256,512
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "scaling",
        help="speedup, efficiency and cost against workers, by collective",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    options.add_network(parser)
    options.add_hardware(parser)
    parser.add_argument(
        "--workers", type=values.wholes(options.MOST_GPUS), default=(), metavar="N,N,...",
        help="numbers of GPUs (default: 1,2,4,... to 128 or the cluster's size)",
    )  # fmt: skip
    parser.add_argument(
        "--scaling", type=values.one_of(KINDS), default="weak", metavar="KIND", help="weak (default) or strong"
    )
    options.add_strategy(parser, splits=False, collectives=True)
    splitting.add_splits(parser, data=False)
    options.add_target(parser)
    options.add_model(parser)
    operations.add_operations(parser)
    options.add_common(parser, options.SET_HELP)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print. Raises `SpecError`."""
    network = options.network_of(args)
    cluster = options.cluster_of(args, max(args.workers, default=1))

    from paleo_opt.estimator.configuration import COMMON_COLLECTIVES, UNAIDED_COLLECTIVES
    from paleo_opt.estimator.cost_table import compile_network
    from paleo_opt.estimator.scaling import scaling
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.scaling import ScalingAnswer, render
    from paleo_opt.report.terminal import emit

    model = options.options_of(args, network)
    table = compile_network(network, args.conv_algorithm)
    split, micro_batch = splitting.scaled_split(args, table, cluster, model)
    # Where copies share the optimizer's state, gradients are scattered, whatever adds up whole ones.
    usual = UNAIDED_COLLECTIVES if split is None or split.sharding == "zero0" else COMMON_COLLECTIVES[:1]
    found = scaling(
        table,
        cluster,
        args.workers,
        kind=args.scaling,
        micro_batch=micro_batch,
        global_batch=args.global_batch,
        collectives=args.collective or usual,
        precision=args.precision,
        blocks=split,
        options=model,
    )
    in_full = tuple(dict.fromkeys(args.collective or ()))
    answer = ScalingAnswer(network, found, in_full, options.borrowed_price(args, cluster))
    emit(dump(answer.to_json()) if args.json else render(answer))
    return 0
