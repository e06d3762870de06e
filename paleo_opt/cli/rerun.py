"""``paleo-opt rerun DIR``: ask again what an answer's folder answers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from paleo_opt.cli import options, out


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "rerun",
        help="ask again what a folder written by --out answers",
        description="Ask again what a folder written by --out answers: from its request.yaml, and the\n"
        "copies of your own files beside it; PALEO_OPT_PATH does not count.",
        epilog="examples:\n  paleo-opt rerun report/\n  paleo-opt rerun report/request.yaml --json\n",
        formatter_class=options.HelpFormatter,
    )
    parser.add_argument("request", metavar="DIR", help="a folder written by --out, or its request.yaml")
    options.add_json(parser)
    out.add_out(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask again and print. Raises as the command that is asked."""
    with asked_again(args.request) as again:
        again.json, again.out = args.json, args.out
        for note in again.notes:
            print(note, file=sys.stderr)
        code: int = again.run(again)
    return code


@contextmanager
def asked_again(given: str) -> Iterator[argparse.Namespace]:
    """The command line that a kept question is, with ``notes`` on why answers may differ; while it is asked, the spec
    files beside it take the place of `PALEO_OPT_PATH`.

    Raises:
        SpecError: all that is wrong with the question.
    """
    from paleo_opt.cli.main import build_parser
    from paleo_opt.report.out.rerun import COMMANDS, read_request

    parser, commands = build_parser()
    known = {name: out.option_names(commands[name]) for name in COMMANDS if name in commands}
    request = read_request(given, known)

    def refuse(message: str) -> NoReturn:
        raise request.refuse(message)

    commands[request.command].error = refuse  # type: ignore[method-assign]
    again = parser.parse_args(request.words)
    again.words, again.notes = request.words, request.notes
    before = os.environ.pop("PALEO_OPT_PATH", None)
    try:
        if request.own:
            os.environ["PALEO_OPT_PATH"] = request.own
        yield again
    finally:
        os.environ.pop("PALEO_OPT_PATH", None)
        if before is not None:
            os.environ["PALEO_OPT_PATH"] = before
