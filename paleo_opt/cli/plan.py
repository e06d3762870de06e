"""``paleo-opt plan JOBS.yaml``: which job runs when, on what, and what to rent or buy for it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from paleo_opt.cli import operations, options, values

GOALS = ("cost", "lateness")
_DESCRIPTION = """\
Which job of JOBS runs when, on what, with which configuration; what to rent or
buy to meet every deadline at the least cost, and what is late otherwise. Where
the deadlines cannot all be met, the plan that is least late and what would let
them be met (exit code 1).
"""
_EXAMPLES = """\
  paleo-opt plan examples/quarter.yaml
  paleo-opt plan examples/quarter.yaml --set 'fleet[0].nodes=7' --set rent=none
  paleo-opt plan examples/quarter.yaml --minimize lateness --html quarter.html
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "plan",
        help="several jobs, deadlines, a fleet: what runs when, and what to rent",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    parser.add_argument("jobs", metavar="JOBS", help="the YAML file of the jobs (docs/planning.md)")
    parser.add_argument(
        "--minimize", type=values.one_of(GOALS), default="cost", metavar="GOAL",
        help="cost, or lateness (end early, within the budget); deadlines come first (default: cost)",
    )  # fmt: skip
    parser.add_argument(
        "--time-limit", type=_seconds, default=30.0, metavar="TIME",
        help="for the integer programs of the plan (default: 30s)",
    )  # fmt: skip
    parser.add_argument("--html", metavar="FILE", help="the plan in one page that works offline")
    options.add_model(parser, inference=False)
    operations.add_operations(parser)
    options.add_common(parser, "FIELD is one of JOBS: budget, fleet[0].nodes, jobs[2].deadline; repeatable")
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    """A span of time from a tenth of a second to a day."""
    from paleo_opt.errors import SpecError
    from paleo_opt.quantities import parse

    try:
        value = parse(text, "time")
    except SpecError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"is {text[:60]!r}; expected from 0.1s to 1 day")
    return value


def run(args: argparse.Namespace) -> int:
    """Plan and print; the answer is printed too where the deadlines cannot all be met. Raises `SpecError`."""
    from paleo_opt.planning.plan import DeadlinesMissedError, plan
    from paleo_opt.report.files import check_folder, write_whole
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.plan import render
    from paleo_opt.report.plan_json import plan_json
    from paleo_opt.report.terminal import emit

    if args.html is not None:
        check_folder("--html", args.html)
    try:
        answer = plan(
            args.jobs,
            minimize=args.minimize,
            time_limit=args.time_limit,
            options=options.options_of(args),
            conv_algorithm=args.conv_algorithm,
            overrides=dict(args.set),
        )
    except DeadlinesMissedError as error:
        answer = error.plan
    if args.html is not None:
        from paleo_opt.report.plan_html import render_page

        write_whole("--html", args.html, render_page(answer))
        print(f"wrote {args.html}", file=sys.stderr)
    emit(dump(plan_json(answer)) if args.json else render(answer))
    return 0 if answer.feasible else 1
