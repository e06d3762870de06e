"""``paleo-opt worker --storage URL --study NAME``: run trials of a study that another machine asked."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from paleo_opt.cli import options, question, rerun, studying, values

if TYPE_CHECKING:
    from paleo_opt.search.worker import Work

MOST_TRIALS = 1_000_000
#: Exit code after Ctrl-C; a worker that was told to end by SIGTERM has done what it should.
_INTERRUPTED = 130

_DESCRIPTION = """\
Join a study that another process keeps in a database, from any machine: the
question is read from the study itself. Ends when the study does. Ctrl-C or
SIGTERM hands the running trial back at once; a worker that is killed loses only
that trial, and another runs it again.
"""
_EXAMPLES = """\
  paleo-opt worker --storage postgresql://ada:secret@db.example/paleo --study sweep
  paleo-opt worker --storage studies.log --study recommend-vgg16-64gpus --trials 10
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "worker",
        help="run trials of a study that another machine asked",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    studying.add_storage(parser, required=True)
    parser.add_argument("--study", metavar="NAME", required=True, help="its name there (see: paleo-opt studies)")
    parser.add_argument(
        "--trials", type=values.whole(MOST_TRIALS), metavar="N", help="run by this worker at most (default: all)"
    )
    parser.add_argument("--wait", action="store_true", help="for a study, or a database, that is not there yet")
    parser.add_argument(
        "--patience", type=values.quantity("time"), default=600.0, metavar="TIME",
        help="without the database (or, with --wait, the study) before it gives up (default: 10min)",
    )  # fmt: skip
    studying.add_heartbeat(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Work and say what was done.

    Raises:
        SpecError: the study cannot be reached, is not there, or cannot be joined.
    """
    import os
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from paleo_opt.errors import SpecError
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.progress import StudyProgress
    from paleo_opt.report.terminal import emit
    from paleo_opt.search.worker import check_same, find_study, work, write_question
    from paleo_opt.studies.kept import COMMAND, Kept
    from paleo_opt.studies.run import PLANNED

    def say(line: str) -> None:
        print(f"worker {os.getpid()}: {line}", file=sys.stderr, flush=True)

    kept = Kept(args.storage, args.study, heartbeat=args.heartbeat)
    with _ended_by_signals() as received:
        study = find_study(kept, args.patience if args.wait else 0.0, say)
        attributes = study.user_attrs
        if attributes.get(COMMAND) == "tune":
            raise SpecError(
                f"--study {args.study}: tune's trials run commands of the machine that asked; a worker runs none"
            )
        with TemporaryDirectory(prefix="paleo-opt-") as folder:
            write_question(study, Path(folder))
            with rerun.asked_again(folder) as asked:
                if not hasattr(asked, "study_problem"):
                    raise SpecError(f"--study {args.study}: a worker cannot run the trials of {asked.command}")
                problem = asked.study_problem(asked, attributes[PLANNED])
                check_same(kept, study, problem)
                say(f"joined {args.study}: {asked.command} {Path(asked.network).stem}")
                with StudyProgress(question.in_words(asked)) as progress:
                    done = work(
                        problem, kept, study, most=args.trials, patience=args.patience, progress=progress, say=say
                    )
    emit(dump(_json(done)) if args.json else _line(done))
    return _INTERRUPTED if done.interrupted and received == [signal.SIGINT] else 0


@contextmanager
def _ended_by_signals() -> Iterator[list[int]]:
    """SIGTERM ends the worker as Ctrl-C does; a second signal does not disturb it in handing its trial back."""
    received: list[int] = []

    def end(number: int, frame: object) -> None:
        received.append(number)
        if len(received) > 1:
            return
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _json(done: Work) -> dict[str, Any]:
    return {
        "study": done.study,
        "worker": done.worker,
        "trials": done.trials,
        "strategies": done.strategies,
        "seconds": done.seconds,
        "strategies_per_s": done.strategies / done.seconds if done.seconds else 0.0,
        "ended": done.ended or None,
        "interrupted": done.interrupted,
    }


def _line(done: Work) -> str:
    from paleo_opt.quantities import format_count, format_time

    rate = round(done.strategies / done.seconds) if done.seconds else 0
    why = "interrupted" if done.interrupted else done.ended or "ran as many as it was to"
    trials = f"{format_count(done.trials)} trial{'s'[: done.trials != 1]}"
    return (
        f"{trials} of {done.study}, {format_count(done.strategies)} strategies in {format_time(done.seconds)} "
        f"({format_count(rate)}/s): {why}"
    )
