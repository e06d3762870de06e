"""Load devices, links and clusters from their YAML (docs/hardware.md), checking every number.

A file that was read is kept, a user's own until it changes: many clusters share one reading of their device.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from paleo_opt import catalog
from paleo_opt.errors import SpecError, nearest
from paleo_opt.hardware import bounds
from paleo_opt.hardware.bounds import quantity
from paleo_opt.hardware.cluster import Cluster, Level, Link, Ownership, Price
from paleo_opt.hardware.constant import Constant
from paleo_opt.hardware.device import Device
from paleo_opt.hardware.link_constants import read_link_constants
from paleo_opt.hardware.parts import fetch_group, read_device, read_link
from paleo_opt.spec_file import Fields, read_spec

_NO_OVERRIDES: Mapping[str, str] = {}
_DEVICE_PREFIX = "device."
_INDEX = re.compile(r"\.(\d+)(?=\.|$)")
_SHIPPED = str(catalog.shipped_folder() / "hardware") + os.sep


@cache
def _names(kind: str, own_folders: str) -> dict[str, Path]:
    """`catalog.names`, looked up once for each value of ``PALEO_OPT_PATH``: a cluster names up to four files."""
    return catalog.names(kind)


def _known(kind: str) -> dict[str, Path]:
    return _names(kind, os.environ.get("PALEO_OPT_PATH", ""))


def find_file(kind: str, name: str) -> Path:
    """`catalog.find`, from one listing for each value of ``PALEO_OPT_PATH``."""
    return _known(kind).get(name) or catalog.find(kind, name)


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or os.sep in name


def _is_shipped(path: Path) -> bool:
    return str(path).startswith(_SHIPPED)


def stamp(path: Path) -> tuple[int, int]:
    """Changes when the file does; shipped files do not."""
    if _is_shipped(path):
        return 0, 0
    status = path.stat()
    return status.st_mtime_ns, status.st_size


# -- devices -----------------------------------------------------------------------------------------------


def load_device(name_or_path: str, overrides: Mapping[str, str] = _NO_OVERRIDES) -> Device:
    """The device of a shipped or user's name, or of a YAML file.

    ``overrides`` replace single fields: ``{"memory": "96GB", "peak.bf16": "312TFLOP/s"}``.

    Raises:
        SpecError: no such device, or all that is wrong in its file.
    """
    path = find_file("device", name_or_path)
    return read_device(path, overrides) if overrides else _device(path, stamp(path))


@cache
def _device(path: Path, stamp: tuple[int, int]) -> Device:
    return read_device(path, _NO_OVERRIDES)


# -- links -------------------------------------------------------------------------------------------------


def load_link(name_or_path: str, overrides: Mapping[str, str] = _NO_OVERRIDES) -> Link:
    """The link of a shipped or user's name, or of a YAML file. Raises and overrides as `load_device`."""
    path = find_file("link", name_or_path)
    return (read_link(path, overrides) if overrides else _link(path, stamp(path)))[0]


@cache
def _link(path: Path, stamp: tuple[int, int]) -> tuple[Link, int | None]:
    return read_link(path, _NO_OVERRIDES)


# -- clusters ----------------------------------------------------------------------------------------------


def load_cluster(name_or_path: str, device: str | None = None, overrides: Mapping[str, str] = _NO_OVERRIDES) -> Cluster:
    """The cluster of a shipped or user's name, or of a YAML file.

    Args:
        name_or_path: A cluster; or, where ``device`` is given, a link: nodes of one device, joined by it.
        device: A device that takes the place of the cluster's own.
        overrides: Field to text: ``price.on_demand``, ``levels.1.bandwidth`` (levels count from 0), and
            fields of the device behind ``device.``, such as ``device.memory``.

    Raises:
        SpecError: no such cluster or device, or all that is wrong in their files.
    """
    if name_or_path not in _known("cluster") and name_or_path in _known("link"):
        if device is None:
            raise SpecError(f"{name_or_path!r} is a link, not a cluster; to join devices by it, name the device")
        return _over_link(find_file("link", name_or_path), device, overrides)
    if device is not None and not _is_path(name_or_path) and name_or_path not in _known("cluster"):
        hint = nearest(name_or_path, [*_known("cluster"), *_known("link")])
        raise SpecError(f"no cluster or link is called {name_or_path!r}{hint}; see: paleo-opt list clusters")
    path = find_file("cluster", name_or_path)
    # A cluster is kept only where it and all that it names are shipped: a user's device may change under it.
    if overrides or os.environ.get("PALEO_OPT_PATH") or not _is_shipped(path):
        return _read_cluster(path, device, overrides)
    return _cluster(path, device)


@cache
def _cluster(path: Path, device: str | None) -> Cluster:
    return _read_cluster(path, device, _NO_OVERRIDES)


def _split(overrides: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Overrides of the cluster, and those of its device without their prefix."""
    own, of_device = {}, {}
    for name, text in overrides.items():
        if name.startswith(_DEVICE_PREFIX):
            of_device[name.removeprefix(_DEVICE_PREFIX)] = text
        else:
            # levels.1.bandwidth as well as levels[1].bandwidth
            own[_INDEX.sub(r"[\1]", name)] = text
    return own, of_device


def _load_held(name: str, overrides: Mapping[str, str]) -> Device:
    """The device that a cluster holds; problems name an override as it was given, with its prefix."""
    try:
        return load_device(name, overrides)
    except SpecError as error:
        given = {f"--set {n}={text}": f"--set {_DEVICE_PREFIX}{n}={text}" for n, text in overrides.items()}
        raise SpecError([replace(p, file=given.get(p.file, p.file)) for p in error.problems]) from None


def _over_link(path: Path, device_name: str, overrides: Mapping[str, str]) -> Cluster:
    own, of_device = _split(overrides)
    link, group = read_link(path, own)
    device = _load_held(device_name, of_device)
    return Cluster(
        name=f"{device.name} over {link.name}",
        description=f"{device.description}, one a node, over {link.description}",
        provider="any",
        device=device,
        devices_per_node=1,
        levels=(Level("between nodes", None, link.bandwidth, link.latency, link.constants),),
        max_nodes=None,
        price=None,
        source=link.source,
        fetch_group=group,
        file=str(path),
    )


def _referenced(fields: Fields, field: str, load: Callable[[str], Any]) -> Any:
    """What ``load`` makes of the name (or path beside this file) in ``field``; None, with problems, where wrong."""
    noted = len(fields.problems)
    name: str = fields.text(field)
    if len(fields.problems) > noted:
        return None
    try:
        return load(_beside(fields.file, name) if _is_path(name) else name)
    except SpecError as error:
        for problem in error.problems:
            if problem.file:
                fields.problems.append(problem)
            else:
                fields.problem(problem.message, field)
        return None


def _beside(file: str, name: str) -> str:
    """The path ``name`` seen from the folder of ``file``, or as it is where that is no file."""
    beside = Path(file).parent / name
    return str(beside) if beside.is_file() else name


def _read_cluster(path: Path, device_name: str | None, overrides: Mapping[str, str]) -> Cluster:
    own, of_device = _split(overrides)
    fields = read_spec(path, own)
    if device_name is None:
        device = _referenced(fields, "device", lambda name: _load_held(name, of_device))
    else:
        fields.text("device", "")
        device = _load_held(device_name, of_device)
    noted = len(fields.problems)
    per_node: int = fields.integer("devices_per_node", minimum=1, maximum=bounds.MOST_DEVICES)
    listed: list[Fields] = fields.fields_list("levels")
    if not listed and len(fields.problems) == noted:
        fields.problem("is empty; expected at least one level, from inside the node outwards", "levels")
    levels = tuple(_level(level) for level in listed)
    max_nodes: int | None = fields.integer("max_nodes", None, 1, bounds.MOST_NODES)
    if len(fields.problems) == noted:
        max_nodes = _fit_together(fields, listed, levels, per_node, max_nodes)
    price, owned = fields.fields("price", None), fields.fields("ownership", None)
    cluster = Cluster(
        name=bounds.stem(fields, path),
        description=fields.text("description"),
        provider=fields.text("provider"),
        device=device,
        devices_per_node=per_node,
        levels=levels,
        max_nodes=max_nodes,
        price=_price(price) if price else None,
        ownership=_ownership(owned) if owned else None,
        source=fields.text("source"),
        ppp_comm=bounds.share(fields, "ppp_comm", default=None),
        fetch_group=fetch_group(fields),
        file=str(path),
    )
    fields.finish()
    fields.raise_problems()
    return cluster


def _level(fields: Fields) -> Level:
    """One level: ``count`` links side by side; a bandwidth or latency in place comes before the link's."""
    default: dict[str, dict[str, Any]] = {"bandwidth": {}, "latency": {}}
    constants: dict[str, Constant] = {}
    count = fields.integer("count", 1, 1, 100_000)
    if "link" in fields:
        link: Link | None = _referenced(fields, "link", load_link)
        default["bandwidth"]["default"] = link and link.bandwidth * count
        default["latency"]["default"] = link and link.latency
        constants |= link.constants if link else {}
        if "latency" in fields:  # in place of the link's, so what the link says of its steps does not hold
            constants = {name: value for name, value in constants.items() if name not in ("step", "ramp")}
    else:
        fields.node("link")
        if "count" in fields:
            fields.problem("is given without a link; it says how many of a link are used together", "count")
    level = Level(
        name=fields.text("name"),
        size=fields.integer("size", None, 2, bounds.MOST_NODES),
        bandwidth=quantity(fields, "bandwidth", "bandwidth", **default["bandwidth"]),
        latency=quantity(fields, "latency", "latency", **default["latency"]),
        constants=constants | read_link_constants(fields),
    )
    fields.finish()
    return level


def _fit_together(
    fields: Fields, listed: list[Fields], levels: tuple[Level, ...], per_node: int, max_nodes: int | None
) -> int | None:
    """Note levels that do not add up to nodes; return how many nodes there are, None without limit."""
    for inner, level in zip(listed, levels[:-1], strict=False):
        if level.size is None:
            inner.problem("is missing; only the last level may be without limit", "size")
    outside = levels
    if per_node > 1:
        outside = levels[1:]
        if levels[0].size is not None and levels[0].size != per_node:
            listed[0].problem(f"is {levels[0].size}; expected {per_node}, as devices_per_node", "size")
        elif levels[0].size is None and not outside:
            listed[0].problem(f"is missing; expected {per_node}, as devices_per_node", "size")
    most: int | None = 1
    for level in outside:
        most = None if most is None or level.size is None else most * level.size
    if most is not None and max_nodes is not None and max_nodes > most:
        fields.problem(f"is {max_nodes}; its levels join {most} node{'s'[: most > 1]} at most", "max_nodes")
    return most if max_nodes is None else max_nodes


def _price(fields: Fields) -> Price:
    price = Price(
        on_demand=quantity(fields, "on_demand", "price"),
        reserved_1y=quantity(fields, "reserved_1y", "price", default=None),
        spot=quantity(fields, "spot", "price", default=None),
        region=fields.text("region"),
        date=bounds.date(fields),
        source=fields.text("source"),
        spot_interruptions=fields.number("spot_interruptions", None, 0.0, 60.0),
    )
    fields.finish()
    return price


def _ownership(fields: Fields) -> Ownership:
    owned = Ownership(
        capital=quantity(fields, "capital", "capital"),
        lifetime_s=quantity(fields, "lifetime", "lifetime"),
        utilization=bounds.share(fields, "utilization"),
        electricity=fields.quantity("electricity", "tariff", maximum=10.0 / 3.6e6),
        hosting=quantity(fields, "hosting", "hosting", default=0.0),
        date=bounds.date(fields),
        source=fields.text("source"),
    )
    fields.finish()
    return owned
