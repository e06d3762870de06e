"""``paleo-opt recommend NET --budget B``: the best configuration within every budget, and the proof that it is."""

from __future__ import annotations

import argparse
from typing import Any

from paleo_opt.cli import operations, options, out, values

_DESCRIPTION = """\
The configuration that trains NET fastest (or, where the only budget is time,
cheapest) within every budget given. Where the space is small enough (up to about
10^9 strategies) all are evaluated, and the answer says that it is proved.
"""
_EXAMPLES = """\
  paleo-opt recommend vgg16 --budget 64gpus
  paleo-opt recommend resnet50 --budget '$50' --budget 4h --on p4d.24xlarge --on p5.48xlarge
  paleo-opt recommend inception_v3 --epochs 100 --budget 24h --minimize cost
  paleo-opt recommend inception_v3 --budget 200kWh --minimize cost --json

A budget is 64gpus, '$5000' (quoted from the shell; or 5000usd), 36h or 200kWh.
"""
MOST_TRIALS = 1_000_000
MOST_ALTERNATIVES = 1_000
MOST_SEED = 2**32 - 1


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "recommend",
        help="the best configuration within your budgets",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    options.add_network(parser)
    parser.add_argument(
        "--budget", type=_budget, action="append", default=[], metavar="B",
        help="64gpus, $5000, 36h or 200kWh; repeatable, all hold",
    )  # fmt: skip
    options.add_hardware(parser, repeatable=True)
    parser.add_argument(
        "--minimize", type=values.one_of(options.GOALS), metavar="GOAL",
        help="time, cost or energy (default: time; cost where the only budget is time)",
    )  # fmt: skip
    parser.add_argument(
        "--top",
        type=values.whole(MOST_ALTERNATIVES, 0),
        default=5,
        metavar="N",
        help="alternatives shown (default: 5)",
    )
    search = parser.add_argument_group("search")
    search.add_argument(
        "--space",
        default="default",
        metavar="SPACE",
        help="what is considered: a name (paleo-opt list spaces) or a YAML file",
    )
    search.add_argument(
        "--trials",
        type=values.whole(MOST_TRIALS, 0),
        metavar="N",
        help="trials of the Optuna study (default: as many as pay)",
    )
    search.add_argument(
        "--seed", type=values.whole(MOST_SEED, 0), default=0, metavar="N", help="of the study (default: 0)"
    )
    options.add_strategy(parser)
    options.add_target(parser)
    options.add_model(parser, inference=False)
    operations.add_operations(parser)
    options.add_common(parser, f"{options.SET_HELP}; space.FIELD the search space's")
    out.add_out(parser)
    parser.set_defaults(run=run)


def _budget(text: str) -> str:
    """A budget as it was written, once it is known to be one."""
    from paleo_opt.errors import SpecError
    from paleo_opt.quantities import parse_budget

    try:
        parse_budget(text)
    except SpecError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def run(args: argparse.Namespace) -> int:
    """Search, write the folder asked for, and print.

    Raises:
        SpecError: bad input, or a folder that cannot be written.
        InfeasibleError: nothing is within the budgets.
    """
    from paleo_opt.errors import SpecError

    if not args.budget:
        raise SpecError("--budget is missing; expected at least one: 64gpus, '$5000', 36h or 200kWh")
    overrides = {
        f"{prefix}{name}": text
        for prefix, fields in (("net.", "net"), ("space.", "space"), ("", "cluster"))
        for name, text in options.settings(args.set)[fields].items()
    }
    out.check_out(args)
    network = options.network_of(args)

    from paleo_opt.report.json_output import dump
    from paleo_opt.report.progress import SweepProgress
    from paleo_opt.report.recommendation import recommendation_json, render
    from paleo_opt.report.terminal import emit
    from paleo_opt.search.recommend import recommend

    question: dict[str, Any] = {
        "budgets": args.budget,
        "on": tuple(dict.fromkeys(args.on or ())),
        "minimize": args.minimize,
        "space": args.space,
        "options": options.options_of(args),
        "conv_algorithm": args.conv_algorithm,
        "precision": args.precision,
        "global_batch": args.global_batch,
        "micro_batch": args.micro_batch,
        "tensor": args.tensor,
        "split": args.split,
        "collective": args.collective,
        "device": args.device,
        "overrides": overrides,
        "trials": args.trials,
        "seed": args.seed,
        "top": args.top,
    }
    with SweepProgress() as progress:
        question["progress"] = progress
        if args.out is None:
            answer = recommend(network, **question)
        else:
            from paleo_opt.search.optuna_search import TRIALS
            from paleo_opt.search.tradeoff import pareto

            question["trials"] = TRIALS if args.trials is None else args.trials
            found = pareto(network, **question)
            answer = found.recommendation
    if args.out is not None:
        from paleo_opt.report.out.files import tradeoff_files

        out.write_out(args, lambda request: tradeoff_files(found, request))
    emit(dump(recommendation_json(answer)) if args.json else render(answer))
    return 0
