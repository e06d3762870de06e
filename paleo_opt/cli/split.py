"""``paleo-opt split NET --on CLUSTER --gpus N --global-batch B``: the fastest way to split each layer by itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from paleo_opt.cli import operations, options, question, studying, values

if TYPE_CHECKING:
    from paleo_opt.hardware.cluster import Cluster
    from paleo_opt.studies.problem import StudyProblem

OBJECTIVES = ("hidden", "sequence")
MINIMIZED = ("time", "cost")
MOST_SPLIT = 128

_DESCRIPTION = """\
For each layer its own way of being split over the GPUs: by samples, height,
width, output channels, input channels, experts. The fastest assignment of all
that fit, with what moves between layers that are split otherwise, against data
parallelism, "one weird trick" and model parallelism. Under budgets also where,
and on how many GPUs.
"""
_EXAMPLES = """\
  paleo-opt split vgg16 --on p4d.24xlarge --gpus 32 --global-batch 1024
  paleo-opt split alexnet --on owt-8xk20 --gpus 8 --global-batch 1024 --objective sequence
  paleo-opt split vgg16 --on p4d.24xlarge --on p3.16xlarge --gpus 8,16,32 --global-batch 1024
  paleo-opt split vgg16 --on p4d.24xlarge --budget 64gpus --budget '$60' --global-batch 1024
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "split",
        help="for each layer its own way of being split",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    options.add_network(parser)
    parser.add_argument(
        "--budget", type=question.budget, action="append", default=[], metavar="B",
        help="64gpus, $5000, 36h or 200kWh; repeatable, all hold (default: none)",
    )  # fmt: skip
    options.add_hardware(parser, repeatable=True)
    parser.add_argument(
        "--gpus", type=values.wholes(MOST_SPLIT), metavar="N,N,...",
        help=f"devices, at most {MOST_SPLIT}; several numbers are compared (default: one node; under budgets all)",
    )  # fmt: skip
    parser.add_argument(
        "--global-batch", type=values.whole(options.MOST_SAMPLES), metavar="N",
        help="samples per step, all devices together",
    )  # fmt: skip
    parser.add_argument(
        "--passes", type=values.whole(options.MOST_SAMPLES), metavar="N",
        help="of a step, whose gradients are added up (default: as few as fit)",
    )  # fmt: skip
    parser.add_argument(
        "--objective", type=values.one_of(OBJECTIVES), default="hidden", metavar="NAME",
        help="hidden (default): all-reduces hide behind the backward pass; sequence: nothing hides, as in OptCNN",
    )  # fmt: skip
    parser.add_argument(
        "--minimize", type=values.one_of(MINIMIZED), metavar="GOAL",
        help="time or cost, by which places are compared (default: time; cost where the only budget is time)",
    )  # fmt: skip
    parser.add_argument(
        "--trials", type=values.whole(question.MOST_TRIALS), default=200, metavar="N",
        help="of the study where there are more choices than are tried one by one (default: 200)",
    )  # fmt: skip
    studying.add_seed(parser)
    parser.add_argument(
        "--precision", type=values.one_of(options.PRECISIONS), metavar="NAME",
        help=f"{', '.join(options.PRECISIONS)} (default: the device's best for training)",
    )  # fmt: skip
    parser.add_argument(
        "--collective", type=values.one_of(options.COLLECTIVES), metavar="NAME",
        help=f"of the gradients: {', '.join(options.COLLECTIVES)} (default: the platform's)",
    )  # fmt: skip
    options.add_target(parser)
    options.add_model(parser, inference=False)
    operations.add_operations(parser)
    studying.add_study(parser)
    options.add_common(parser, options.SET_HELP)
    parser.set_defaults(run=run, study_problem=study_problem)


def run(args: argparse.Namespace) -> int:
    """Search and print.

    Raises:
        SpecError: bad input.
        InfeasibleError: no split fits a device's memory.
    """
    asked = _asked(args)

    from paleo_opt.layer_splits.study import search_splits
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.progress import StudyProgress
    from paleo_opt.report.split import SplitAnswer, render
    from paleo_opt.report.split_json import split_json
    from paleo_opt.report.terminal import emit

    with StudyProgress(question.in_words(args)) as progress:
        found = search_splits(**asked, kept=studying.kept_of(args), progress=progress)
    answer = SplitAnswer(found, tuple(options.borrowed_price(args, found.best.costs.cluster)))
    emit(dump(split_json(answer.search)) if args.json else render(answer))
    return 0


def study_problem(args: argparse.Namespace, trials: int) -> StudyProblem:
    """What the study of this command line searches, for `worker`. Raises `SpecError`."""
    from paleo_opt.layer_splits.study import make_places

    return make_places(**_asked(args)).study_problem()


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `search_splits`, but for where its study is kept. Raises `SpecError`."""
    from paleo_opt.errors import SpecError

    if args.global_batch is None:
        raise SpecError("--global-batch is missing; expected the samples of a step, all devices together")
    network = options.network_of(args)
    clusters = _clusters(args)

    from paleo_opt.estimator.cost_table import compile_network

    names = ("gpus", "global_batch", "minimize", "trials", "seed", "passes", "objective", "precision", "collective")
    return {
        "network": compile_network(network, args.conv_algorithm),
        "clusters": clusters,
        "budgets": args.budget,
        "options": options.options_of(args, network),
        **{name: getattr(args, name) for name in names},
    }


def _clusters(args: argparse.Namespace) -> list[Cluster]:
    """Those asked for, each once. Raises `SpecError`."""
    names = list(dict.fromkeys(args.on or ()))
    if len(names) < 2:
        return [options.cluster_of(args, max(args.gpus or (1,)))]
    from paleo_opt.hardware.load import load_cluster

    overrides = options.settings(args.set)["cluster"]
    return [load_cluster(name, args.device, overrides) for name in names]
