"""What `recommend` and `pareto` ask, as options and as arguments: budgets, search, strategy, target, model, terms."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paleo_opt.cli import operations, options, splitting, studying, values
from paleo_opt.cli.studying import MOST_SEED as MOST_SEED
from paleo_opt.cli.studying import MOST_TRIALS as MOST_TRIALS

if TYPE_CHECKING:
    from paleo_opt.network.graph import Network
    from paleo_opt.studies.problem import StudyProblem

MOST_ALTERNATIVES = 1_000


def add_budgets(parser: argparse.ArgumentParser, goal: str, top: str, without: str = "") -> None:
    """The network, ``--budget``, where, ``--minimize`` and ``--top``.

    Args:
        parser: Of the command.
        goal: Help of ``--minimize``.
        top: What ``--top`` counts.
        without: What holds where no budget is given, for the help.
    """
    options.add_network(parser)
    parser.add_argument(
        "--budget", type=budget, action="append", default=[], metavar="B",
        help=f"64gpus, $5000, 36h or 200kWh; repeatable, all hold{without}",
    )  # fmt: skip
    options.add_hardware(parser, repeatable=True)
    parser.add_argument("--minimize", type=values.one_of(options.GOALS), metavar="GOAL", help=goal)
    parser.add_argument(
        "--top", type=values.whole(MOST_ALTERNATIVES, 0), default=5, metavar="N", help=f"{top} (default: 5)"
    )


def add_search(parser: argparse.ArgumentParser, trials: str) -> None:
    """The search and everything after it; ``trials`` is the help of ``--trials``."""
    search = parser.add_argument_group("search")
    search.add_argument(
        "--space",
        default="default",
        metavar="SPACE",
        help="what is considered: a name (paleo-opt list spaces) or a YAML file",
    )
    search.add_argument("--trials", type=values.whole(MOST_TRIALS, 0), metavar="N", help=trials)
    studying.add_seed(search)
    studying.add_study(parser)
    parser.set_defaults(study_problem=study_problem)
    options.add_strategy(parser)
    options.add_target(parser)
    options.add_model(parser, inference=False)
    operations.add_operations(parser)
    options.add_common(parser, f"{options.SET_HELP}; space.FIELD the search space's")


def budget(text: str) -> str:
    """A budget as it was written, once it is known to be one."""
    from paleo_opt.errors import SpecError
    from paleo_opt.quantities import parse_budget

    try:
        parse_budget(text)
    except SpecError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def in_words(args: argparse.Namespace) -> Callable[[float], str]:
    """What is minimized, as a reader wants it: ``32 min``, ``$140``."""
    from paleo_opt.search.budgets import LIMITED, budget_text, parse_budgets

    goal = args.minimize or parse_budgets(args.budget).default_goal
    name = next(name for name, of in LIMITED.items() if of == goal)
    return lambda value: budget_text(name, value)


def question_of(args: argparse.Namespace, network: Network) -> dict[str, Any]:
    """The arguments of `paleo_opt.recommend` and `paleo_opt.pareto`, but for the network. Raises `SpecError`."""
    overrides = {
        f"{prefix}{name}": text
        for prefix, fields in (("net.", "net"), ("space.", "space"), ("", "cluster"))
        for name, text in options.settings(args.set)[fields].items()
    }
    names = (
        "minimize", "space", "conv_algorithm", "precision", "global_batch", "micro_batch", "tensor", "split",
        "collective", "device", "trials", "seed", "top",
    )  # fmt: skip
    splits = splitting.splits_of(args, network)
    splits.pop("tensor", None)
    return {
        "budgets": args.budget,
        "on": tuple(dict.fromkeys(args.on or ())),
        "options": options.options_of(args, network),
        "overrides": overrides,
        "kept": studying.kept_of(args),
        **({"fixed": splits} if splits else {}),
        **{name: getattr(args, name) for name in names},
    }


def study_problem(args: argparse.Namespace, trials: int) -> StudyProblem:
    """What the study of this command line searches, in so many trials, for `worker`. Raises `SpecError`."""
    from paleo_opt.search.worker import search_problem

    network = options.network_of(args)
    asked = question_of(args, network)
    return search_problem(network, asked, trials, int(args.shard_size) if getattr(args, "sweep", False) else None)
