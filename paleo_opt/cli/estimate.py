"""``paleo-opt estimate NET --on CLUSTER``: one configuration, in time, memory, money and energy."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from paleo_opt.cli import operations, options, out, timeline, values
from paleo_opt.cli.splitting import split_choices

if TYPE_CHECKING:
    from paleo_opt.estimator.options import Options
    from paleo_opt.estimator.strategy import Strategy
    from paleo_opt.network.graph import Network

_DESCRIPTION = """\
How long a step takes and where its time goes, whether it fits, and what
training to the target takes in time, money and energy. What is left out is
chosen: one node, the largest micro-batch that fits, the fastest collective;
for a transformer the fastest split that fits.
"""
_EXAMPLES = """\
  paleo-opt estimate resnet50 --on p4d.24xlarge --gpus 32
  paleo-opt estimate vgg16 --on infiniband --device K80 --gpus 8 --micro-batch 64 --layers
  paleo-opt estimate llama3_70b --on p5.48xlarge --gpus 64 --tensor 8 --pipeline 2
  paleo-opt estimate inception_v3 --device h100-sxm5-80gb --set net.job.optimizer=adam --json
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "estimate",
        help="one configuration in time, memory, money and energy",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    options.add_network(parser)
    options.add_hardware(parser)
    parser.add_argument("--gpus", type=values.whole(options.MOST_GPUS), metavar="N", help="devices (default: one node)")
    parser.add_argument("--layers", action="store_true", help="what each layer costs, and what bounds it")
    timeline.add_timeline(parser)
    options.add_strategy(parser)
    options.add_target(parser)
    options.add_model(parser)
    operations.add_operations(parser)
    options.add_common(parser, options.SET_HELP)
    out.add_out(parser)
    parser.set_defaults(run=run)


def _choices(args: argparse.Namespace, network: Network, strategy: Strategy, model: Options, fits: bool) -> list[str]:
    """What was chosen for the user, in words."""
    from paleo_opt.estimator.configuration import offered_collectives
    from paleo_opt.report.strategy_text import adds_up

    made = []
    most = network.job.max_global_batch if network.job and not args.inference else None
    if strategy.blocks is not None:
        made += split_choices(args, network, strategy, fits)
    elif args.micro_batch is None:
        rule = (
            "largest that divides the global batch and fits" if args.global_batch else "largest power of two that fits"
        )
        if most is not None and not args.global_batch and 2 * strategy.global_batch > most:
            rule += f" with a global batch of at most {most:,}"
        made.append(f"micro-batch {strategy.micro_batch:,}: the {rule if fits else 'smallest, and it does not fit'}")
    if args.collective is None and adds_up(strategy) and not args.inference:
        offered = len(offered_collectives(strategy, model))
        rule = f"the fastest of the {offered} that libraries offer today" if offered > 1 else "what its platform has"
        made.append(f"{strategy.collective}: {rule}")
    return made


def run(args: argparse.Namespace) -> int:
    """Estimate, write the folder asked for, and print. Raises `SpecError`."""
    out.check_out(args)
    timeline.check_timeline(args)
    network = options.network_of(args)
    cluster = options.cluster_of(args, args.gpus or 1)

    from paleo_opt.estimator.breakdown import layer_breakdown
    from paleo_opt.estimator.estimate import estimate
    from paleo_opt.report.estimate import EstimateAnswer, render
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.terminal import emit

    model = options.options_of(args, network)
    table, strategy = options.configured(args, network, cluster, model)
    estimates = estimate(table, strategy, model)
    layers = layer_breakdown(table, strategy, model)
    made = _choices(args, network, strategy, model, bool(estimates.fits.all()))
    if strategy.blocks is not None and not estimates.fits.all():
        from paleo_opt.report.strategy_text import nearest_text

        made.insert(0, nearest_text(table, strategy, model))
    made += options.borrowed_price(args, cluster)
    answer = EstimateAnswer(table, strategy, estimates, layers, model, made)
    drawing = timeline.timeline_text(args, table, strategy, estimates, model)
    if args.out is not None:
        from paleo_opt.report.out.files import estimate_files

        device = args.device if args.on else None
        out.write_out(args, lambda request: estimate_files(answer, request, device, dict(args.set)))
    emit(dump(answer.to_json()) if args.json else "\n\n".join(filter(None, [render(answer, args.layers), drawing])))
    return 0
