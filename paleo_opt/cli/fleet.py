"""``paleo-opt fleet NET --on CLUSTER:N --on CLUSTER:N``: one training job on nodes of several kinds."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paleo_opt.cli import operations, options, question, studying, values

if TYPE_CHECKING:
    from paleo_opt.network.graph import Network
    from paleo_opt.studies.problem import StudyProblem

KNOBS = ("bucket", "overlap", "batch")
WAYS = ("both", "data", "pipeline")
GOALS = ("time", "cost")
MOST_PHASES = 8

_DESCRIPTION = """\
The best training of NET by one job on nodes of several kinds: data-parallel with
uneven micro-batches, or a pipeline whose stages are on different devices. Which
nodes to take, how many samples or layers each gets, and whether mixing pays
against the best fleet of one kind out of the same nodes.
"""
_EXAMPLES = """\
  paleo-opt fleet resnet50 --on p4d.24xlarge:2 --on p3.16xlarge:4
  paleo-opt fleet gpt3_13b --on p4d.24xlarge:2 --on p3dn.24xlarge:2
  paleo-opt fleet bert_large --on g5.12xlarge --on g4dn.12xlarge --budget 32gpus --budget '$50'
  paleo-opt fleet resnet50 --on p4d.24xlarge:2 --phases 2 --critical-batch-growth 8
  paleo-opt fleet vgg16 --on p4d.24xlarge:1 --on p3dn.24xlarge:1 --knobs bucket,overlap
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "fleet",
        help="one job on nodes of several kinds",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    options.add_network(parser)
    parser.add_argument(
        "--on", action="append", metavar="CLUSTER[:N]",
        help="at most N nodes of a cluster, a name or a YAML file; without N as many as the budgets allow; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--link", metavar="LINK", help="between nodes of different kinds, beside their own; needed across providers"
    )
    parser.add_argument(
        "--budget", type=question.budget, action="append", default=[], metavar="B",
        help="64gpus, $5000 or 36h; repeatable, all hold",
    )  # fmt: skip
    parser.add_argument(
        "--minimize", type=values.one_of(GOALS), metavar="GOAL",
        help="time or cost (default: time; cost where the only budget is time)",
    )  # fmt: skip
    parser.add_argument(
        "--way", type=values.one_of(WAYS), default="both", metavar="NAME",
        help="data (uneven micro-batches), pipeline (stages on the kinds) or both, the better (default)",
    )  # fmt: skip
    knobs = parser.add_argument_group("knobs")
    knobs.add_argument(
        "--knobs", type=_knobs, default=(), metavar="NAME,NAME,...",
        help="bucket: bytes of gradients sent together; overlap; batch: as --phases 2",
    )  # fmt: skip
    knobs.add_argument(
        "--phases", type=values.whole(MOST_PHASES), default=1, metavar="N",
        help="of the training at most, each with its own global batch (default: 1)",
    )  # fmt: skip
    knobs.add_argument(
        "--critical-batch-growth", type=values.positive, default=1.0, metavar="G",
        help="how many times as large the critical batch is at the end of the training as at its start (default: 1)",
    )  # fmt: skip
    search = parser.add_argument_group("search")
    search.add_argument(
        "--trials", type=values.whole(question.MOST_TRIALS), default=120, metavar="N",
        help="of the study at most; where there are no more fleets, each is solved (default: 120)",
    )  # fmt: skip
    studying.add_seed(search)
    strategy = parser.add_argument_group("strategy", "what is left out is chosen")
    strategy.add_argument(
        "--precision", type=values.one_of(options.PRECISIONS), metavar="NAME",
        help=f"{', '.join(options.PRECISIONS)} (default: what all kinds have)",
    )  # fmt: skip
    strategy.add_argument(
        "--global-batch", type=values.whole(options.MOST_SAMPLES), metavar="N",
        help="samples per step, all devices together",
    )  # fmt: skip
    strategy.add_argument(
        "--collective", type=values.one_of(options.COLLECTIVES), metavar="NAME",
        help=f"{', '.join(options.COLLECTIVES)} (default: the fastest)",
    )  # fmt: skip
    options.add_target(parser)
    options.add_model(parser, inference=False)
    operations.add_operations(parser)
    studying.add_study(parser)
    options.add_common(parser, "net.FIELD is the network's, device.FIELD and FIELD those of every cluster; repeatable")
    parser.set_defaults(run=run, study_problem=study_problem)


def _knobs(text: str) -> tuple[str, ...]:
    """Names of knobs joined by commas, each once."""
    convert: Callable[[str], str] = values.one_of(KNOBS)
    return tuple(dict.fromkeys(convert(part.strip()) for part in text.split(",")[:100]))


def study_problem(args: argparse.Namespace, trials: int) -> StudyProblem:
    """What a study of so many trials searches, for a worker. Raises `SpecError`."""
    from paleo_opt.fleet import fleet_search
    from paleo_opt.fleet.fleet_question import make_problem
    from paleo_opt.fleet.groups import load_kinds

    network = options.network_of(args)
    kinds = load_kinds(args.on or (), options.settings(args.set)["cluster"])
    return fleet_search.study_problem(make_problem(network, kinds, **_asked(args, network)), trials)


def _asked(args: argparse.Namespace, network: Network) -> dict[str, Any]:
    """The arguments of `fleet_question.make_problem` but for the network and the kinds. Raises `SpecError`."""
    return {
        "budgets": args.budget,
        "minimize": args.minimize,
        "way": args.way,
        "phases": args.phases,
        "growth": args.critical_batch_growth,
        "knobs": args.knobs,
        "global_batch": args.global_batch,
        "precision": args.precision,
        "collective": args.collective,
        "link": args.link,
        "conv_algorithm": args.conv_algorithm,
        "options": options.options_of(args, network),
    }


def run(args: argparse.Namespace) -> int:
    """Search and print.

    Raises:
        SpecError: bad input.
        InfeasibleError: nothing fits, or is within the budgets.
    """
    network = options.network_of(args)

    from paleo_opt.fleet.recommend_fleet import recommend_fleet
    from paleo_opt.report.fleet import fleet_json, render
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.progress import StudyProgress
    from paleo_opt.report.terminal import emit

    with StudyProgress(question.in_words(args)) as progress:
        answer = recommend_fleet(
            network,
            args.on or (),
            overrides=options.settings(args.set)["cluster"],
            trials=args.trials,
            seed=args.seed,
            kept=studying.kept_of(args),
            progress=progress,
            **_asked(args, network),
        )
    emit(dump(fleet_json(answer)) if args.json else render(answer))
    return 0
