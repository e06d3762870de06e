"""Where a search is kept as a study: the options that every command that searches has."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from paleo_opt.cli import out, values

if TYPE_CHECKING:
    from paleo_opt.studies.kept import Kept

MOST_HEARTBEAT_S = 3600
MOST_TRIALS = 1_000_000
MOST_SEED = 2**32 - 1
_DATABASE = "postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE"


def add_storage(parser: argparse._ActionsContainer, *, required: bool = False) -> None:
    """``--storage``."""
    parser.add_argument(
        "--storage", metavar="WHERE", required=required,
        help=f"where studies are kept: a file, or {_DATABASE}" + ("" if required else " (default: memory)"),
    )  # fmt: skip


def add_seed(parser: argparse._ActionsContainer) -> None:
    """``--seed``."""
    parser.add_argument(
        "--seed", type=values.whole(MOST_SEED, 0), default=0, metavar="N", help="of the study (default: 0)"
    )


def add_heartbeat(parser: argparse._ActionsContainer) -> None:
    """``--heartbeat``."""
    parser.add_argument(
        "--heartbeat", type=values.whole(MOST_HEARTBEAT_S), default=10, metavar="SECONDS",
        help="between signs of life in a database; after three without, a trial is tried again (default: 10)",
    )  # fmt: skip


def add_study(parser: argparse.ArgumentParser) -> None:
    """``--storage``, ``--study`` and ``--heartbeat``: keep the search, resume it, share it with `worker`."""
    group = parser.add_argument_group(
        "study", "a search that is kept is resumed by the same command, and shared by paleo-opt worker"
    )
    add_storage(group)
    group.add_argument("--study", metavar="NAME", help="its name there (default: made of the question)")
    add_heartbeat(group)
    parser.set_defaults(asked_of=parser)


def kept_of(args: argparse.Namespace) -> Kept | None:
    """Where this command's study is kept, with the question it asks; None for memory.

    Raises:
        SpecError: a name without a storage, or a file of the question that cannot be read.
    """
    from paleo_opt.errors import SpecError

    if args.storage is None:
        if args.study is not None:
            raise SpecError("--study: a name is of a study that is kept; expected --storage FILE or URL too")
        return None
    if args.trials == 0 and not getattr(args, "sweep", False):
        raise SpecError("--storage: with --trials 0 there is no study to keep; expected one or the other")
    from paleo_opt.report.out.rerun import request_files
    from paleo_opt.studies.kept import Kept

    files = request_files(args.command, args.network, out.asked(args))
    return Kept(
        storage=args.storage,
        name=usual_name(args) if args.study is None else args.study,
        command=args.command,
        question={name: content.decode() for name, content in files.items()},
        heartbeat=args.heartbeat,
    )


def usual_name(args: argparse.Namespace) -> str:
    """``recommend-vgg16-64gpus``: what a study is called that was given no name."""
    stem = args.network.rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")
    sweep = ["sweep"] if getattr(args, "sweep", False) else []
    parts = [args.command, stem, *getattr(args, "budget", ()), *sweep]
    return re.sub(r"[^\w.-]+", "", "-".join(parts)) or args.command
