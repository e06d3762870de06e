"""``--plot FILE``: a picture beside the answer, its file checked before anything is computed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable


def kind_of(args: argparse.Namespace) -> str:
    """``svg`` or ``png``, or nothing where no picture is asked for.

    Raises:
        SpecError: another kind, a folder that cannot be written, or no matplotlib.
    """
    if args.plot is None:
        return ""
    from paleo_opt.errors import SpecError
    from paleo_opt.report.files import check_folder
    from paleo_opt.report.static_charts import check_plots

    kind: str = args.plot.rpartition(".")[2].lower()
    if kind not in ("svg", "png"):
        raise SpecError(f"--plot is {args.plot[:60]!r}; expected a file's name that ends in .svg or .png")
    check_folder("--plot", args.plot)
    check_plots("--plot")
    return kind


def write_picture(args: argparse.Namespace, draw: Callable[[], bytes]) -> None:
    """Write what ``draw`` gives, where a picture is asked for. Raises `SpecError`."""
    if args.plot is not None:
        from paleo_opt.report.files import write_whole

        write_whole("--plot", args.plot, draw())
        print(f"wrote {args.plot}", file=sys.stderr)
