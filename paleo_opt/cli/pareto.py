"""``paleo-opt pareto NET``: the exact front of cost against time, and what each hour saved costs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from paleo_opt.cli import operations, options, out, values

_DESCRIPTION = """\
Everything worth choosing: the exact front of cost against time over all that is
feasible, its ends and its knee, what each hour saved costs, and how the front
moves with prices and with links. With --minimize energy, energy is a third axis.
"""
_EXAMPLES = """\
  paleo-opt pareto resnet50 --budget '$2000'
  paleo-opt pareto vgg16 --budget 64gpus --minimize energy --html vgg16.html
  paleo-opt pareto inception_v3 --budget 24h --csv front.csv --svg front.svg --json

A budget is 64gpus, '$5000' (quoted from the shell; or 5000usd), 36h or 200kWh.
"""
MOST_TRIALS = 1_000_000
MOST_ALTERNATIVES = 1_000
MOST_SEED = 2**32 - 1
_FILES = {
    "csv": "the front as CSV",
    "html": "everything in one page that works offline",
    "png": "the chart as a picture (needs matplotlib)",
    "svg": "the chart as a drawing (needs matplotlib)",
}


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "pareto",
        help="the cost-against-time front: what each dollar buys",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    options.add_network(parser)
    parser.add_argument(
        "--budget", type=_budget, action="append", default=[], metavar="B",
        help="64gpus, $5000, 36h or 200kWh; repeatable, all hold (default: none)",
    )  # fmt: skip
    options.add_hardware(parser, repeatable=True)
    parser.add_argument(
        "--minimize", type=values.one_of(options.GOALS), metavar="GOAL",
        help="what the recommended is best in: time, cost or energy (default: time; cost where the only budget is "
        "time); energy becomes a third axis of the front",
    )  # fmt: skip
    parser.add_argument(
        "--top", type=values.whole(MOST_ALTERNATIVES, 0), default=5, metavar="N",
        help="alternatives to the recommended, in the page and in JSON (default: 5)",
    )  # fmt: skip
    files = parser.add_argument_group("files")
    for kind, what in _FILES.items():
        files.add_argument(f"--{kind}", metavar="FILE", help=what)
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
        help="trials of an Optuna study (default: none, where every strategy can be evaluated)",
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


def _check_files(args: argparse.Namespace) -> None:
    """Refuse what could not be written, before anything is computed. Raises `SpecError`."""
    from paleo_opt.report.files import check_folder

    for kind in _FILES:
        path = getattr(args, kind)
        if path is not None:
            check_folder(f"--{kind}", path)
    for kind in ("png", "svg"):
        if getattr(args, kind) is not None:
            from paleo_opt.report.static_charts import check_plots

            check_plots(f"--{kind}")


def run(args: argparse.Namespace) -> int:
    """Search, write the files asked for, and print.

    Raises:
        SpecError: bad input.
        InfeasibleError: nothing is within the budgets.
    """
    _check_files(args)
    out.check_out(args)
    overrides = {
        f"{prefix}{name}": text
        for prefix, fields in (("net.", "net"), ("space.", "space"), ("", "cluster"))
        for name, text in options.settings(args.set)[fields].items()
    }
    network = options.network_of(args)

    from paleo_opt.report.progress import SweepProgress
    from paleo_opt.report.terminal import emit
    from paleo_opt.search.tradeoff import pareto

    with SweepProgress() as progress:
        answer = pareto(
            network,
            budgets=args.budget,
            on=tuple(dict.fromkeys(args.on or ())),
            minimize=args.minimize,
            space=args.space,
            options=options.options_of(args),
            conv_algorithm=args.conv_algorithm,
            precision=args.precision,
            global_batch=args.global_batch,
            micro_batch=args.micro_batch,
            tensor=args.tensor,
            split=args.split,
            collective=args.collective,
            device=args.device,
            overrides=overrides,
            trials=args.trials,
            seed=args.seed,
            top=args.top,
            progress=progress,
        )
    if args.out is not None:
        from paleo_opt.report.out.files import tradeoff_files

        out.write_out(args, lambda request: tradeoff_files(answer, request, "pareto"))
    _write_files(args, answer)
    if args.json:
        from paleo_opt.report.json_output import dump
        from paleo_opt.report.pareto_json import pareto_json

        emit(dump(pareto_json(answer)))
    else:
        from paleo_opt.report.pareto import render

        emit(render(answer))
    return 0


def _write_files(args: argparse.Namespace, answer: Any) -> None:
    """Write what was asked for, and say so on stderr."""
    from paleo_opt.quantities import format_memory
    from paleo_opt.report.files import write_whole

    for kind in _FILES:
        path = getattr(args, kind)
        if path is None:
            continue
        content: str | bytes
        if kind == "csv":
            from paleo_opt.report.pareto_json import pareto_csv

            content = pareto_csv(answer)
        elif kind == "html":
            from paleo_opt.report.html.page import render_page

            content = render_page(answer)
        else:
            from paleo_opt.report.static_charts import front_picture

            content = front_picture(answer, kind)
        write_whole(f"--{kind}", path, content)
        print(
            f"wrote {path} ({format_memory(len(content.encode() if isinstance(content, str) else content))})",
            file=sys.stderr,
        )
