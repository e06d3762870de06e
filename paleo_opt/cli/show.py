"""``paleo-opt show NAME``: everything about one network, device, cluster, link, platform or search space."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from paleo_opt.cli import options, values
from paleo_opt.cli.list import loaders

KINDS = ("net", "device", "cluster", "link", "platform", "space")
#: Fields that only one kind of file has.
_TELLING_FIELDS = {
    "layers": "net",
    "transformer": "net",
    "peak": "device",
    "devices_per_node": "cluster",
    "latency": "link",
    "algorithms": "platform",
    "buckets": "platform",
    "constants": "platform",
    "fused": "platform",
    "like": "platform",
    "software": "platform",
    "collective": "space",
}


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "show",
        help="everything about one of them, with sources",
        description="Everything about one network, device, cluster, link, software platform or search\n"
        "space, with the sources of its numbers.",
        formatter_class=options.HelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a name (paleo-opt list) or a YAML file")
    parser.add_argument(
        "--kind", type=values.one_of(KINDS), metavar="KIND", help=f"where a name is of several: {', '.join(KINDS)}"
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def _kind_of(name: str) -> str:
    """The kind of the spec called ``name``, or of the file at that path.

    Raises:
        SpecError: nothing is called that, or several things are.
    """
    from pathlib import Path

    from paleo_opt import catalog
    from paleo_opt.errors import SpecError, nearest

    if name.endswith((".yaml", ".yml")) or os.sep in name:
        from paleo_opt.spec_file import read_spec

        path = Path(name)
        if not path.is_file():
            raise SpecError(f"{name}: no such file")
        fields = read_spec(path).names()
        for field, kind in _TELLING_FIELDS.items():
            if field in fields:
                return kind
        raise SpecError(f"{name}: cannot tell what it describes; say so with --kind")
    kinds = [kind for kind in KINDS if name in catalog.names(kind)]
    if not kinds:
        known = [known for kind in KINDS for known in catalog.names(kind)]
        kinds_listed = "nets (or devices, clusters, links, platforms, spaces)"
        hint = nearest(name[:100], known) or f"; see: paleo-opt list {kinds_listed}"
        raise SpecError(f"nothing is called {name[:60]!r}{hint}")
    if len(kinds) > 1:
        raise SpecError(f"{name!r} is a {' and a '.join(kinds)}; say which with --kind {kinds[0]} or --kind {kinds[1]}")
    return kinds[0]


def run(args: argparse.Namespace) -> int:
    """Print everything about it. Raises `SpecError`."""
    from paleo_opt.report import spec_json
    from paleo_opt.report.describe import render
    from paleo_opt.report.json_output import dump
    from paleo_opt.report.terminal import emit

    kind = args.kind or _kind_of(args.name)
    spec = loaders()[kind](args.name)
    if not args.json:
        emit(render(kind, spec))
        return 0
    if kind == "net":
        body = spec_json.network_json(spec, with_layers=True)
    elif kind == "cluster":
        body = spec_json.cluster_json(spec, with_device=True)
    else:
        to_json: dict[str, Callable[[Any], dict[str, Any]]] = {
            "device": spec_json.device_json,
            "link": spec_json.link_json,
            "platform": spec_json.platform_json,
            "space": spec_json.space_json,
        }
        body = to_json[kind](spec)
    emit(dump({"kind": kind, **body}))
    return 0
