"""``paleo-opt pareto NET``: the exact front of cost against time, and what each hour saved costs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from paleo_opt.cli import options, out, question

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
    question.add_budgets(
        parser,
        goal="what the recommended is best in: time, cost or energy (default: time; cost where the only budget is "
        "time); energy becomes a third axis of the front",
        top="alternatives to the recommended, in the page and in JSON",
        without=" (default: none)",
    )
    files = parser.add_argument_group("files")
    for kind, what in _FILES.items():
        files.add_argument(f"--{kind}", metavar="FILE", help=what)
    question.add_search(
        parser, trials="trials of an Optuna study (default: none, where every strategy can be evaluated)"
    )
    out.add_out(parser)
    parser.set_defaults(run=run)


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
    network = options.network_of(args)

    from paleo_opt.report.progress import StudyProgress, SweepProgress
    from paleo_opt.report.terminal import emit
    from paleo_opt.search.tradeoff import pareto

    asked = question.question_of(args, network)
    with SweepProgress() as progress, StudyProgress(question.in_words(args)) as trials:
        answer = pareto(network, **asked, progress=progress, study_progress=trials)
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
