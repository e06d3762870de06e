"""``paleo-opt calibrate FILE… --device D``: constants of a device, platform and link from one's own measurements."""

from __future__ import annotations

import argparse
from typing import Any

from paleo_opt.cli import options, values

MOST_DRAWS = 10_000
_DESCRIPTION = """\
Fit what a device, its software platform and a link attain to measured tables
and to the micro.csv of measure, with the uncertainty of each constant. Says
which constants the rows do not tell, and how far off the model was and is.
"""
_EXAMPLES = """\
  paleo-opt calibrate measured/micro.csv --device k40
  paleo-opt calibrate mine.csv --device k40 --platform tensorflow-1 --out mine --bootstrap 50
  paleo-opt calibrate measured/micro.csv --device k40 --recommend 'nin --budget 8gpus'
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "calibrate",
        help="fit the model's constants to one's own measurements",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="a measured table or a micro.csv (docs/calibration.md); repeatable"
    )
    parser.add_argument("--device", metavar="D", required=True, help="a device's name or YAML file")
    parser.add_argument("--platform", metavar="NAME", help="software, by name or YAML file (default: the device's)")
    parser.add_argument(
        "--bootstrap", type=values.whole(MOST_DRAWS, 0), default=0, metavar="N",
        help="draw the rows anew N times, to check the deviations (default: 0)",
    )  # fmt: skip
    parser.add_argument("--seed", type=values.whole(2**32 - 1, 0), default=0, metavar="N", help="of the bootstrap")
    parser.add_argument(
        "--recommend",
        metavar="WORDS",
        help="what recommend says of these words, such as 'NET --budget B', before and after",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="write the files there, a folder for PALEO_OPT_PATH (default: only show)"
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit, print and write. Raises `SpecError`."""
    from paleo_opt.calibration.calibrate import calibrate
    from paleo_opt.calibration.compare import recommended_before_and_after
    from paleo_opt.calibration.write import calibrated_files
    from paleo_opt.report.calibration import calibration_json, render
    from paleo_opt.report.files import check_out, write_files
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.terminal import emit

    if args.out is not None:
        check_out(args.out)
    answer = calibrate(args.files, args.device, args.platform, args.bootstrap, args.seed)
    files = calibrated_files(answer)
    recommended = recommended_before_and_after(args.recommend, files) if args.recommend else None
    written: tuple[str, ...] = ()
    if args.out is not None:
        write_files(files, args.out)
        written = tuple(f"{args.out}/{name}" for name in files)
    emit(dump(calibration_json(answer, written, recommended)) if args.json else render(answer, written, recommended))
    return 0
