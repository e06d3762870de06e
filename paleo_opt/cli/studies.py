"""``paleo-opt studies --storage WHERE``: the searches that are kept there, and what one of them has found."""

from __future__ import annotations

import argparse
from typing import Any

from paleo_opt.cli import options, studying, values

_EXAMPLES = """\
  paleo-opt studies --storage studies.log
  paleo-opt studies --storage studies.log --study recommend-vgg16-64gpus
  paleo-opt studies --storage postgresql://ada@db.example/paleo --json
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "studies",
        help="the searches that are kept in a file or database",
        description="The studies that --storage keeps: how far each is and the best it found; with --study one of\n"
        "them: its best trials, and how much each variable matters.",
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    studying.add_storage(parser, required=True)
    parser.add_argument("--study", metavar="NAME", help="one of them, in detail")
    parser.add_argument("--top", type=values.whole(1_000), default=5, metavar="N", help="trials shown (default: 5)")
    parser.add_argument("--delete", action="store_true", help="delete the study that --study names, with its trials")
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List, show or delete.

    Raises:
        SpecError: the storage cannot be used, or has no such study.
    """
    from paleo_opt.errors import SpecError
    from paleo_opt.report import studies as report
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.terminal import emit
    from paleo_opt.studies.kept import Kept, delete, list_studies, load

    if args.study is None:
        if args.delete:
            raise SpecError("--delete: expected --study NAME too")
        found = list_studies(args.storage)
        emit(dump(report.list_json(found)) if args.json else report.render_list(found, args.storage))
        return 0
    kept = Kept(args.storage, args.study)
    if args.delete:
        delete(kept)
        emit(dump({"deleted": args.study}) if args.json else f"deleted study {args.study}")
        return 0
    shown = report.detailed(load(kept), args.top)
    emit(dump(report.detail_json(shown)) if args.json else report.render_detail(shown))
    return 0
