"""``paleo-opt validate [FILE…]``: predicted against measured, with error statistics."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from paleo_opt.cli import options, picture, values

if TYPE_CHECKING:
    from paleo_opt.validation.validate import Validation

GROUPINGS = ("device", "network", "quantity", "software", "platform")
_DESCRIPTION = """\
How far the model is from what was measured: every row of the measured tables
FILE (CSV) is predicted, or refused with a reason. Without FILE the shipped table
of published figures.
"""
_EXAMPLES = """\
  paleo-opt validate
  paleo-opt validate --model paleo --by device
  paleo-opt validate examples/measurements.csv --rows
  paleo-opt validate --plot accuracy.svg
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "validate",
        help="how far the model is from what was measured",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="a measured table (docs/validation.md); repeatable")
    parser.add_argument(
        "--by", type=values.one_of(GROUPINGS), metavar="GROUPING", help=f"every group of one: {', '.join(GROUPINGS)}"
    )
    parser.add_argument("--rows", action="store_true", help="every row, not only the worst")
    parser.add_argument(
        "--plot", metavar="FILE", help="predicted against measured as a picture, .svg or .png; needs matplotlib"
    )
    parser.add_argument(
        "--model", type=values.one_of(options.MODELS), metavar="NAME", help=f"{' or '.join(options.MODELS)}"
    )
    parser.add_argument(
        "--platform", metavar="NAME", help="software of every row, by name or YAML file (default: what each row says)"
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict and print; exit code 1 where no row can be predicted. Raises `SpecError`."""
    kind = picture.kind_of(args)
    from paleo_opt.estimator.options import Options
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.terminal import emit
    from paleo_opt.report.validation import render, validation_json
    from paleo_opt.validation.validate import validate

    chosen = {"model": args.model} if args.model else {}
    answer = validate(args.files or None, Options(platform=args.platform, **chosen))
    if answer.predictions:
        picture.write_picture(args, lambda: _picture(answer, kind))
    emit(dump(validation_json(answer)) if args.json else render(answer, args.by, args.rows))
    return 0 if answer.predictions else 1


def _picture(answer: Validation, kind: str) -> bytes:
    from paleo_opt.report.validation_chart import validation_picture

    return validation_picture(answer, kind)
