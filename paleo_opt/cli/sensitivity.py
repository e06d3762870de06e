"""``paleo-opt sensitivity NET --on CLUSTER``: which constant moves the estimate of one configuration most."""

from __future__ import annotations

import argparse
from typing import Any

from paleo_opt.cli import operations, options, picture, values

_DESCRIPTION = """\
Which constant moves an estimate most: the time, cost or energy of one
configuration with each constant of the model, the links, the target and the
terms at its 10% and its 90%, one by one.
"""
_EXAMPLES = """\
  paleo-opt sensitivity resnet50 --on p4d.24xlarge --gpus 32
  paleo-opt sensitivity vgg16 --on p4d.24xlarge --gpus 64 --minimize cost --plot vgg16.svg
  paleo-opt sensitivity alexnet_v2 --device k80 --model paleo --json
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "sensitivity",
        help="which constant moves an estimate most",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    options.add_network(parser)
    options.add_hardware(parser)
    parser.add_argument("--gpus", type=values.whole(options.MOST_GPUS), metavar="N", help="devices (default: one node)")
    parser.add_argument(
        "--minimize", type=values.one_of(options.GOALS), metavar="GOAL",
        help="time, cost or energy: what is looked at (default: time; of one step where the network has no job)",
    )  # fmt: skip
    parser.add_argument("--plot", metavar="FILE", help="as a picture, .svg or .png; needs matplotlib")
    options.add_strategy(parser)
    options.add_target(parser)
    options.add_model(parser)
    operations.add_operations(parser)
    options.add_common(parser, options.SET_HELP)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Estimate again and again, draw, and print. Raises `SpecError`."""
    kind = picture.kind_of(args)
    network = options.network_of(args)
    cluster = options.cluster_of(args, args.gpus or 1)

    from paleo_opt.estimator.tornado import sensitivity
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.terminal import emit
    from paleo_opt.report.tornado import SensitivityAnswer, render
    from paleo_opt.report.tornado import picture as drawn

    model = options.options_of(args, network)
    table, strategy = options.configured(args, network, cluster, model)
    remarks = tuple(options.borrowed_price(args, cluster))
    answer = SensitivityAnswer(network, sensitivity(table, strategy, model, args.minimize), model.model, remarks)
    picture.write_picture(args, lambda: drawn(answer, kind))
    emit(dump(answer.to_json()) if args.json else render(answer))
    return 0
