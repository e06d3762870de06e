"""``paleo-opt list nets|devices|clusters|links|platforms|spaces``: what is there, one line each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from paleo_opt.cli import options, values

KINDS = ("nets", "devices", "clusters", "links", "platforms", "spaces")


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "list",
        help=f"what is there: {', '.join(KINDS)}",
        description="The shipped networks, devices, clusters, links, software platforms and search\n"
        "spaces, and those in your own folders (named in PALEO_OPT_PATH).",
        formatter_class=options.HelpFormatter,
    )
    parser.add_argument("kind", metavar="KIND", type=values.one_of(KINDS), help=", ".join(KINDS))
    options.add_json(parser)
    parser.set_defaults(run=run)


def loaders() -> dict[str, Callable[[str], Any]]:
    """What reads a spec of each kind, a key of `catalog.FOLDERS`; imported when called for."""

    def net(name: str) -> Any:
        from paleo_opt.network.load import load_network

        return load_network(name)

    def device(name: str) -> Any:
        from paleo_opt.hardware.load import load_device

        return load_device(name)

    def link(name: str) -> Any:
        from paleo_opt.hardware.load import load_link

        return load_link(name)

    def cluster(name: str) -> Any:
        from paleo_opt.hardware.load import load_cluster

        return load_cluster(name)

    def platform(name: str) -> Any:
        from paleo_opt.hardware.platform_load import load_platform

        return load_platform(name)

    def space(name: str) -> Any:
        from paleo_opt.search.space import load_space

        return load_space(name)

    return {"net": net, "device": device, "link": link, "cluster": cluster, "platform": platform, "space": space}


def run(args: argparse.Namespace) -> int:
    """Print the list; a file that is wrong is named on stderr, the others are listed."""
    from paleo_opt import catalog
    from paleo_opt.errors import Problem, SpecError
    from paleo_opt.report import spec_json
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.listing import render
    from paleo_opt.report.terminal import emit

    kind = args.kind.removesuffix("s")
    load = loaders()[kind]
    specs: list[Any] = []
    problems: list[Problem] = []
    for name in catalog.names(kind):
        try:
            specs.append(load(name))
        except SpecError as error:
            problems += error.problems
    if args.json:
        to_json: dict[str, Callable[[Any], dict[str, Any]]] = {
            "net": spec_json.network_json,
            "device": spec_json.device_json,
            "link": spec_json.link_json,
            "cluster": spec_json.cluster_json,
            "platform": spec_json.platform_json,
            "space": spec_json.space_json,
        }
        emit(dump({args.kind: [to_json[kind](spec) for spec in specs]}))
    else:
        emit(render(args.kind, specs))
    sys.stdout.flush()
    if problems:
        raise SpecError(problems)
    return 0
