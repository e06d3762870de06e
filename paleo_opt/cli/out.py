"""``--out DIR``: the answer as a folder of files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

#: Options that say where an answer goes and where its search is kept, not what is asked.
_NOT_ASKED = (
    "help", "json", "out", "csv", "html", "png", "svg", "trace", "storage", "study", "heartbeat",
)  # fmt: skip


def add_out(parser: argparse.ArgumentParser) -> None:
    """``--out``."""
    parser.add_argument(
        "--out", metavar="DIR", help="write the answer as files: page, tables, the question, and launch files"
    )
    parser.set_defaults(asked_of=parser)


def option_names(parser: argparse.ArgumentParser) -> dict[str, bool]:
    """The options that ask something, without dashes, and whether each takes a value."""
    return {
        name.removeprefix("--"): action.nargs != 0
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--") and name.removeprefix("--") not in _NOT_ASKED
    }


def check_out(args: argparse.Namespace) -> None:
    """Refuse a folder that could not be written, before anything is computed. Raises `SpecError`."""
    if args.out is not None:
        from paleo_opt.report.out.folder import check_folder

        check_folder(args.out)


def asked(args: argparse.Namespace) -> dict[str, list[str]]:
    """The options of a command line as they were written: name without dashes to its values, none for a flag."""
    takes_value = option_names(args.asked_of)
    found: dict[str, list[str]] = {}
    words = iter(args.words)
    for word in words:
        if word == "--":
            break
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            continue
        if name not in takes_value:
            if not equals and name != "json":
                next(words, None)
        elif not takes_value[name]:
            found[name] = []
        else:
            found.setdefault(name, []).append(value if equals else next(words))
    if "seed" in takes_value:
        found.setdefault("seed", [str(args.seed)])
    return {name: found[name] for name in takes_value if name in found}


def write_out(args: argparse.Namespace, make_files: Callable[[Mapping[str, bytes]], Mapping[str, str | bytes]]) -> None:
    """Write the folder where one is asked for, and say so on stderr.

    Args:
        args: The command line.
        make_files: From the files of the question to all files of the answer.

    Raises:
        SpecError: it cannot be written.
    """
    if args.out is None:
        return
    from paleo_opt.report.out.folder import write_folder
    from paleo_opt.report.out.rerun import request_files

    files = make_files(request_files(args.command, args.network, asked(args)))
    write_folder(args.out, files)
    print(f"wrote {len(files)} files to {args.out}: see {args.out.rstrip('/')}/README.txt", file=sys.stderr)
