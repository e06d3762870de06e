"""The command line ``paleo-opt``: parse, run one command, and turn what went wrong into a line and an exit code.

Exit codes: 0 done; 1 nothing feasible; 2 bad usage or bad input. Everything but argparse is imported by the command
that needs it, so that ``--help`` and a misspelt word answer at once.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from paleo_opt import __version__
from paleo_opt.cli import (
    calibrate,
    estimate,
    fleet,
    import_network,
    list,
    measure,
    options,
    pareto,
    plan,
    recommend,
    rerun,
    scaling,
    sensitivity,
    show,
    split,
    studies,
    tune,
    validate,
    worker,
)

PROGRAM = "paleo-opt"
COMMANDS = (
    recommend, pareto, estimate, split, fleet, scaling, sensitivity, plan, tune, validate, calibrate, measure,
    import_network, rerun, studies, worker, list, show,
)  # fmt: skip
INFEASIBLE, BAD_INPUT, INTERRUPTED, CLOSED_PIPE = 1, 2, 130, 141

_NEGATIVE_NUMBER = re.compile(r"-\.?\d")


class Parser(argparse.ArgumentParser):
    """A parser that refuses in one line and knows no abbreviations."""

    def __init__(self, *args: object, **options: object) -> None:
        options |= {"allow_abbrev": False}
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Refuse the command line: one line on stderr, exit code 2."""
        message = re.sub(r"^argument (\S+): (?=(is|has) )", r"\1 ", message.splitlines()[0])
        message = re.sub(r"^argument (?=\S+: )", "", message)
        message = re.sub(
            r"^the following arguments are required: (.*)", rf"\1 is missing (see: {self.prog} --help)", message
        )
        self.exit(BAD_INPUT, f"{PROGRAM}: error: {message}\n")

    @property
    def option_names(self) -> tuple[str, ...]:
        """Every option this parser knows."""
        return tuple(self._option_string_actions)


def build_parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of the commands by name."""
    parser = Parser(
        prog=PROGRAM,
        description="Which configuration trains a neural network cheapest or fastest within a budget.",
        epilog=f"{PROGRAM} COMMAND --help says more about each command.",
        formatter_class=options.HelpFormatter,
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser, dict(commands.choices)


def nearest_of(word: str, valid: Iterable[str]) -> str:
    """``; did you mean '--budget'?``, or nothing where none is near."""
    from difflib import get_close_matches

    bare = {name.lstrip("-"): name for name in valid}
    close = get_close_matches(word.lstrip("-")[:100].casefold(), bare, n=1, cutoff=0.5)
    return f"; did you mean {bare[close[0]]!r}?" if close else ""


def _shown(word: str) -> str:
    word = word if len(word) <= 60 else f"{word[:60]}..."
    return repr(word)


def _refuse_unknown(parser: Parser, commands: dict[str, Parser], words: Sequence[str]) -> None:
    """Refuse a misspelt command or option before argparse complains of what is missing because of it."""
    known: Parser = parser
    for word in words:
        if word == "--":
            break
        is_option = word.startswith("-") and word != "-" and " " not in word and not _NEGATIVE_NUMBER.match(word)
        if is_option:
            name = word.partition("=")[0]
            if name not in known.option_names:
                hint = nearest_of(name, known.option_names) or f"; see: {known.prog} --help"
                parser.error(f"unknown option {_shown(name)}{hint}")
        elif known is parser:
            if word not in commands:
                hint = nearest_of(word, commands) or f"; expected one of {', '.join(commands)}"
                parser.error(f"unknown command {_shown(word)}{hint}")
            known = commands[word]
    if known is parser and not {"-h", "--help", "-V", "--version"} & set(words):
        parser.error(f"no command; expected one of {', '.join(commands)} (see: {PROGRAM} --help)")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options of one command line. Exits on ``--help``, ``--version`` and bad usage."""
    parser, commands = build_parser()
    _refuse_unknown(parser, commands, words)
    args, extra = parser.parse_known_args(words)
    if args.version:
        print(f"{PROGRAM} {__version__}")
        parser.exit()
    if extra:
        parser.error(f"unexpected argument {_shown(extra[0])}; see: {commands[args.command].prog} --help")
    args.words = tuple(words)
    return args


def _run(args: argparse.Namespace) -> int:
    """Run the command; what a caller can do wrong becomes a message and an exit code."""
    # Starting BLAS's threads takes longer than all that is asked of them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from paleo_opt.errors import InfeasibleError, SpecError

    try:
        code: int = args.run(args)
    except SpecError as error:
        for problem in error.problems:
            print(f"{PROGRAM}: {' '.join(str(problem).split())}", file=sys.stderr)
        return BAD_INPUT
    except InfeasibleError as error:
        from paleo_opt.report.json_output import dump
        from paleo_opt.report.recommendation import infeasible_json
        from paleo_opt.report.terminal import emit, width, wrapped

        lines = [part for line in str(error).splitlines() for part in wrapped(line, width(), "  ")]
        emit(dump(infeasible_json(error)) if args.json else "\n".join(lines))
        return INFEASIBLE
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        code = _run(args)
        sys.stdout.flush()
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; nothing more may be written, not even by the interpreter's last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    return code


if __name__ == "__main__":
    sys.exit(main())
