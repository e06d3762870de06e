"""``paleo-opt measure``: time operations, collectives and steps of a network on the machine at hand."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from paleo_opt.cli import options, values

PARTS = ("gemm", "convolution", "memory", "collectives", "network")
MOST_PROCESSES, MOST_THREADS = 64, 1024
_DESCRIPTION = """\
Time single operations, collectives and training steps on the machine at hand,
with PyTorch (pip install 'paleo-opt[measure]'), on its GPUs if it has some, else
on its CPU. Writes tables that calibrate reads, and a CPU's own device.
"""
_EXAMPLES = """\
  paleo-opt measure --out here --processes 2
  paleo-opt measure --out here --quick --only gemm,memory
  paleo-opt measure --out here --only network --network examples/small_cnn.yaml --micro-batch 32
"""


def parts(text: str) -> tuple[str, ...]:
    """Words of `PARTS` joined by commas."""
    convert = values.one_of(PARTS)
    return tuple(convert(word.strip()) for word in text.split(","))


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "measure",
        help="time operations, collectives and steps on this machine",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    parser.add_argument("--out", metavar="FOLDER", default="measured", help="where to write (default: measured)")
    parser.add_argument(
        "--device-name", metavar="NAME", help="of the device in the tables (default: what it calls itself)"
    )
    parser.add_argument(
        "--processes", type=values.whole(MOST_PROCESSES), default=1, metavar="N",
        help="that work together in collectives and steps, each a device (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=values.whole(MOST_THREADS), default=1, metavar="N",
        help="cores of a CPU that make up one device (default: 1)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a few operations, briefly: to see that it works")
    parser.add_argument("--only", type=parts, default=PARTS, metavar="PARTS", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--network", metavar="NET", help="time training steps of this network of images")
    parser.add_argument(
        "--micro-batch", type=values.whole(options.MOST_SAMPLES), default=32, metavar="N",
        help="samples of each process's step (default: 32)",
    )  # fmt: skip
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write and say what was written. Raises `SpecError`."""
    from paleo_opt.errors import SpecError
    from paleo_opt.measuring.measure import Request, check, measure, precisions_of, time_bound
    from paleo_opt.measuring.tables import files_of
    from paleo_opt.network.load import load_network
    from paleo_opt.report.files import check_out, write_files
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.measurement import measurement_json, render, show_progress
    from paleo_opt.report.terminal import emit

    if "network" in args.only and args.only != PARTS and args.network is None:
        raise SpecError("--only network: which one? expected --network NET")
    network = load_network(args.network) if args.network else None
    device = args.device_name or ""
    if not all(letter.isalnum() or letter in "-._" for letter in device) or device.startswith("."):
        raise SpecError(f"--device-name is {device[:60]!r}; expected letters, digits, '-', '.' and '_'")
    request = Request(
        device, args.processes, args.threads, args.quick, args.only, network, args.network or "", args.micro_batch
    )
    check_out(args.out)
    torch, kind = check(request)
    bound = time_bound(request, kind, precisions_of(torch, kind))
    print(f"measuring takes at most about {max(1.0, bound / 60.0):.0f} min", file=sys.stderr)
    with show_progress() as progress:
        measured = measure(request, progress)
    files = files_of(measured, args.out)
    if not files:
        raise SpecError("nothing was measured: collectives need --processes, and network needs --network")
    write_files(files, args.out)
    emit(dump(measurement_json(measured, args.out, tuple(files))) if args.json else render(measured, args.out, files))
    return 0
