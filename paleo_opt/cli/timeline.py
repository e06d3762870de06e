"""``--timeline`` and ``--trace FILE``: the timeline of one step, drawn under the answer or written to a file."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paleo_opt.estimator.cost_table import CostTable
    from paleo_opt.estimator.estimate import Estimates
    from paleo_opt.estimator.options import Options
    from paleo_opt.estimator.strategy import Strategy

_TRACE = "json"
_PICTURES = ("svg", "png", "pdf")


def add_timeline(parser: argparse.ArgumentParser) -> None:
    """The options of a command that answers with one configuration."""
    parser.add_argument("--timeline", action="store_true", help="draw what each stage does when in one step")
    parser.add_argument(
        "--trace",
        metavar="FILE",
        help="write it: a Chrome trace (.json, for ui.perfetto.dev) or a picture (.svg, .png, .pdf)",
    )


def check_timeline(args: argparse.Namespace) -> None:
    """Refuse what could not be drawn or written, before anything is computed.

    Raises:
        SpecError: a drawing beside JSON or of inference, another kind of file, a folder that cannot be written, or no
            matplotlib.
    """
    if not args.timeline and args.trace is None:
        return
    from paleo_opt.errors import SpecError
    from paleo_opt.report.files import check_folder

    if args.timeline and args.json:
        raise SpecError("--timeline is a drawing, and --json prints nothing else; expected --trace FILE beside --json")
    if args.inference:
        option = "--timeline" if args.timeline else "--trace"
        raise SpecError(f"{option} is of a training step; --inference has a forward pass only")
    if args.trace is None:
        return
    kind = _kind(args.trace)
    if kind != _TRACE and kind not in _PICTURES:
        raise SpecError(
            f"--trace is {args.trace[:60]!r}; expected a file's name that ends in .json (a Chrome trace), "
            f"or in .svg, .png or .pdf (a picture)"
        )
    check_folder("--trace", args.trace)
    if kind in _PICTURES:
        from paleo_opt.report.static_charts import check_plots

        check_plots("--trace")


def _kind(path: str) -> str:
    return path.rpartition(".")[2].lower() if "." in path else ""


def timeline_text(
    args: argparse.Namespace, table: CostTable, strategy: Strategy, estimates: Estimates, options: Options
) -> str:
    """Write the file asked for; the drawing to print, empty where none is asked for.

    Raises:
        SpecError: the strategy has no timeline of one step, or the file cannot be written.
    """
    if not args.timeline and args.trace is None:
        return ""
    from paleo_opt.estimator.pipeline_schedule import step_timeline
    from paleo_opt.estimator.step_times import step_times

    timeline = step_timeline(step_times(table, strategy, options))
    if args.trace is not None:
        if _kind(args.trace) == _TRACE:
            from paleo_opt.report.chrome_trace import write_chrome_trace

            about = {"network": table.network.name, "strategy": strategy.to_json()}
            write_chrome_trace("--trace", args.trace, timeline, about)
        else:
            from paleo_opt.report.files import write_whole
            from paleo_opt.report.timeline_picture import timeline_picture

            title = f"{table.network.name} on {strategy.gpus:,} GPUs of {strategy.cluster.name}"
            write_whole("--trace", args.trace, timeline_picture(timeline, _kind(args.trace), title=title))
        print(f"wrote {args.trace}", file=sys.stderr)
    if not args.timeline:
        return ""
    from paleo_opt.report.terminal import width
    from paleo_opt.report.timeline import render_timeline

    return render_timeline(timeline, width(), float(estimates.step_time_s.reshape(-1)[0]))
