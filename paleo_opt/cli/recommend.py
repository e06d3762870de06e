"""``paleo-opt recommend NET --budget B``: the best configuration within every budget, and the proof that it is."""

from __future__ import annotations

import argparse
from typing import Any

from paleo_opt.cli import options, out, question, values

MOST_DRAWS = 100_000

_DESCRIPTION = """\
The configuration that trains NET fastest (or, where the only budget is time,
cheapest) within every budget given. Where the space is small enough (up to about
10^9 strategies), or with --sweep, all are evaluated, and the answer says that it
is proved.
"""
_EXAMPLES = """\
  paleo-opt recommend vgg16 --budget 64gpus
  paleo-opt recommend resnet50 --budget '$50' --budget 4h --on p4d.24xlarge --on p5.48xlarge
  paleo-opt recommend inception_v3 --epochs 100 --budget 24h --minimize cost
  paleo-opt recommend inception_v3 --budget 200kWh --minimize cost --json
  paleo-opt recommend gpt3_175b --space fine --budget 256gpus --sweep --storage studies.log

A budget is 64gpus, '$5000' (quoted from the shell; or 5000usd), 36h or 200kWh.
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "recommend",
        help="the best configuration within your budgets",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    question.add_budgets(
        parser,
        goal="time, cost or energy (default: time; cost where the only budget is time)",
        top="alternatives shown",
    )
    question.add_search(parser, trials="trials of the Optuna study (default: as many as pay)")
    parser.add_argument(
        "--draws", type=values.whole(MOST_DRAWS, 0), default=500, metavar="N",
        help="of the model's constants, to see how often the answer holds (default: 500; 0: none)",
    )  # fmt: skip
    parser.add_argument(
        "--sweep", action="store_true",
        help="evaluate every strategy, however many; with --storage in shards, shared with paleo-opt worker",
    )  # fmt: skip
    parser.add_argument(
        "--shard-size", type=values.amount, default=50e6, metavar="N",
        help="strategies of a shard, about (default: 50M)",
    )  # fmt: skip
    out.add_out(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Search, write the folder asked for, and print.

    Raises:
        SpecError: bad input, or a folder that cannot be written.
        InfeasibleError: nothing is within the budgets.
    """
    from paleo_opt.errors import SpecError

    if not args.budget:
        raise SpecError("--budget is missing; expected at least one: 64gpus, '$5000', 36h or 200kWh")
    out.check_out(args)
    network = options.network_of(args)

    from paleo_opt.report.json_output import dump
    from paleo_opt.report.progress import StudyProgress, SweepProgress
    from paleo_opt.report.recommendation import recommendation_json, render
    from paleo_opt.report.terminal import emit
    from paleo_opt.search.recommend import recommend

    sweep = {"exhaustive": args.sweep, "shard_size": int(args.shard_size)}
    asked = question.question_of(args, network) | {"draws": args.draws} | sweep
    with SweepProgress() as progress, StudyProgress(question.in_words(args)) as trials:
        asked |= {"progress": progress, "study_progress": trials}
        if args.out is None:
            answer = recommend(network, **asked)
        else:
            from paleo_opt.search.optuna_search import TRIALS
            from paleo_opt.search.tradeoff import pareto

            asked["trials"] = TRIALS if args.trials is None else args.trials
            found = pareto(network, **asked)
            answer = found.recommendation
    if args.out is not None:
        from paleo_opt.report.out.files import tradeoff_files

        out.write_out(args, lambda request: tradeoff_files(found, request))
    emit(dump(recommendation_json(answer)) if args.json else render(answer))
    return 0
