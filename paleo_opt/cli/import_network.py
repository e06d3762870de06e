"""``paleo-opt import FILE``: a Hugging Face config.json as a network's YAML."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from paleo_opt.cli import options, values

MOST_TOKENS = 10**8
_DESCRIPTION = """\
Turn a model's Hugging Face config.json into a network's YAML. Fields that would
change what a step costs and are not known are refused by name.
"""
_EXAMPLES = """\
  paleo-opt import config.json --sequence-length 4096 --out my_llama.yaml
  paleo-opt estimate my_llama.yaml --on dgx-h100
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "import",
        help="a Hugging Face config.json as a network's YAML",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a model's config.json")
    parser.add_argument("--out", metavar="NET.yaml", help="write it there, under that name (default: to stdout)")
    parser.add_argument(
        "--sequence-length", type=values.whole(MOST_TOKENS), metavar="N",
        help="tokens of a sample (default: as many as the model has positions)",
    )  # fmt: skip
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert and print or write. Raises `SpecError`."""
    from pathlib import Path

    from paleo_opt.errors import SpecError
    from paleo_opt.network.import_config import import_config
    from paleo_opt.report.files import check_folder, write_whole
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.terminal import emit

    name = ""
    if args.out is not None:
        check_folder("--out", args.out)
        if not args.out.endswith((".yaml", ".yml")):
            raise SpecError(f"--out: {args.out} is no YAML file's name; expected one that ends in .yaml")
        name = Path(args.out).stem
    found = import_config(args.file, name, args.sequence_length)
    if args.out is not None:
        write_whole("--out", args.out, found.text)
    if args.json:
        body = {
            "name": found.network.name,
            "parameters": found.network.parameters,
            "forward_flops": found.network.forward_flops,
            "ignored": list(found.ignored),
            "text": found.text,
        }
        emit(dump(body))
        return 0
    if found.ignored:
        print(f"paleo-opt: ignored, as they cost nothing: {', '.join(found.ignored)}", file=sys.stderr)
    if args.out is None:
        emit(found.text.rstrip())
    else:
        emit(f"{args.out}: {found.network.parameters:,} parameters")
    return 0
