"""Load devices, links and clusters from their YAML (docs/hardware.md), checking every number.

A file that was read is kept until it changes on disk: many clusters share one reading of their device.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from paleo_opt import catalog
from paleo_opt.errors import SpecError, nearest
from paleo_opt.hardware import bounds
from paleo_opt.hardware.bounds import quantity
from paleo_opt.hardware.cluster import Cluster, Level, Link, Price
from paleo_opt.hardware.device import ELEMENT_BYTES, Device
from paleo_opt.spec_file import Fields, read_spec

_NO_OVERRIDES: Mapping[str, str] = {}
_DEVICE_PREFIX = "device."
_SUFFIXES = (".yaml", ".yml")


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when the file does."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _read(path: Path, overrides: Mapping[str, str]) -> Fields:
    return read_spec(path, overrides) if overrides else read_spec(path)


# -- devices -----------------------------------------------------------------------------------------------


def load_device(name_or_path: str, overrides: Mapping[str, str] = _NO_OVERRIDES) -> Device:
    """The device of a shipped or user's name, or of a YAML file.

    ``overrides`` replace single fields: ``{"memory": "96GB", "peak.bf16": "312TFLOP/s"}``.

    Raises:
        SpecError: no such device, or all that is wrong in its file.
    """
    path = catalog.find("device", name_or_path)
    return _read_device(path, overrides) if overrides else _device(path, _stamp(path))


@cache
def _device(path: Path, stamp: tuple[int, int]) -> Device:
    return _read_device(path, _NO_OVERRIDES)


def _by_precision(fields: Fields, known: list[str]) -> list[str]:
    """The precisions that a mapping names; a name that is none is noted with the nearest."""
    found = []
    for name in fields.names():
        if name in known:
            found.append(name)
        else:
            fields.problem(f"is not a precision it has{nearest(name, known)}", name)
    return found


def _read_device(path: Path, overrides: Mapping[str, str]) -> Device:
    fields = _read(path, overrides)
    peaks = fields.fields("peak")
    peak = {name: quantity(peaks, name, "peak") for name in _by_precision(peaks, list(ELEMENT_BYTES))}
    if not peak and not fields.problems:
        fields.problem("names no precision; expected at least one, such as fp32", "peak")
    shares = fields.fields("ppp_comp", None)
    fields.integer("year", None, 1990, datetime.date.today().year + 2)
    device = Device(
        name=bounds.stem(fields, path),
        description=fields.text("description"),
        peak=peak,
        memory=quantity(fields, "memory", "memory"),
        memory_bandwidth=quantity(fields, "memory_bandwidth", "memory_bandwidth"),
        clock=quantity(fields, "clock", "clock"),
        multiprocessors=fields.integer("multiprocessors", None, 1, 100_000),
        power=quantity(fields, "power", "power", default=None),
        source=fields.text("source"),
        ppp_comp={n: bounds.share(shares, n) for n in _by_precision(shares, list(peak))} if shares else {},
        host_link=quantity(fields, "host_link", "host_link", default=None),
        file=str(path),
    )
    fields.finish()
    fields.raise_problems()
    return device


# -- links -------------------------------------------------------------------------------------------------


def load_link(name_or_path: str, overrides: Mapping[str, str] = _NO_OVERRIDES) -> Link:
    """The link of a shipped or user's name, or of a YAML file. Raises and overrides as `load_device`."""
    path = catalog.find("link", name_or_path)
    return (_read_link(path, overrides) if overrides else _link(path, _stamp(path)))[0]


@cache
def _link(path: Path, stamp: tuple[int, int]) -> tuple[Link, int | None]:
    return _read_link(path, _NO_OVERRIDES)


def _read_link(path: Path, overrides: Mapping[str, str]) -> tuple[Link, int | None]:
    """A link, and the size of the groups of PALEO's 2017 fetch rule where its file gives one."""
    fields = _read(path, overrides)
    link = Link(
        name=bounds.stem(fields, path),
        description=fields.text("description"),
        bandwidth=quantity(fields, "bandwidth", "bandwidth"),
        latency=quantity(fields, "latency", "latency"),
        source=fields.text("source"),
        file=str(path),
    )
    fetch_group = _fetch_group(fields)
    fields.finish()
    fields.raise_problems()
    return link, fetch_group


def _fetch_group(fields: Fields) -> int | None:
    size: int | None = fields.integer("fetch_group", None, 2, bounds.MOST_DEVICES)
    return size


# -- clusters ----------------------------------------------------------------------------------------------


def load_cluster(
    name_or_path: str, device: str | None = None, overrides: Mapping[str, str] = _NO_OVERRIDES
) -> Cluster:
    """The cluster of a shipped or user's name, or of a YAML file.

    Args:
        name_or_path: A cluster; or, where ``device`` is given, a link: nodes of one device, joined by it.
        device: A device that takes the place of the cluster's own.
        overrides: Field to text: ``price.on_demand``, ``levels.1.bandwidth`` (levels count from 0), and
            fields of the device behind ``device.``, such as ``device.memory``.

    Raises:
        SpecError: no such cluster or device, or all that is wrong in their files.
    """
    if name_or_path not in catalog.names("cluster") and name_or_path in catalog.names("link"):
        if device is None:
            raise SpecError(
                f"{name_or_path!r} is a link, not a cluster; to join devices by it, name the device"
            )
        return _over_link(catalog.find("link", name_or_path), device, overrides)
    path = catalog.find("cluster", name_or_path)
    if overrides:
        return _read_cluster(path, device, overrides)
    return _cluster(path, _stamp(path), device)


@cache
def _cluster(path: Path, stamp: tuple[int, int], device: str | None) -> Cluster:
    return _read_cluster(path, device, _NO_OVERRIDES)


def _split(overrides: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Overrides of the cluster, and those of its device without their prefix."""
    own = {name: text for name, text in overrides.items() if not name.startswith(_DEVICE_PREFIX)}
    return own, {n.removeprefix(_DEVICE_PREFIX): text for n, text in overrides.items() if n not in own}


def _over_link(path: Path, device_name: str, overrides: Mapping[str, str]) -> Cluster:
    own, of_device = _split(overrides)
    link, fetch_group = _read_link(path, own)
    device = load_device(device_name, of_device)
    return Cluster(
        name=f"{device.name} over {link.name}",
        description=f"{device.description}, one a node, over {link.description}",
        provider="any",
        device=device,
        devices_per_node=1,
        levels=(Level("between nodes", None, link.bandwidth, link.latency),),
        max_nodes=None,
        price=None,
        source=link.source,
        fetch_group=fetch_group,
        file=str(path),
    )


def _referenced(fields: Fields, field: str, load: Callable[[str], Any]) -> Any:
    """What ``load`` makes of the name (or path beside this file) in ``field``; None, with problems, where wrong."""
    noted = len(fields.problems)
    name: str = fields.text(field)
    if len(fields.problems) > noted:
        return None
    beside = Path(fields.file).parent / name
    try:
        return load(str(beside) if name.endswith(_SUFFIXES) and beside.is_file() else name)
    except SpecError as error:
        for problem in error.problems:
            if problem.file:
                fields.problems.append(problem)
            else:
                fields.problem(problem.message, field)
        return None


def _read_cluster(path: Path, device_name: str | None, overrides: Mapping[str, str]) -> Cluster:
    own, of_device = _split(overrides)
    fields = _read(path, own)
    if device_name is None:
        device = _referenced(fields, "device", lambda name: load_device(name, of_device))
    else:
        fields.text("device", "")
        device = load_device(device_name, of_device)
    noted = len(fields.problems)
    per_node: int = fields.integer("devices_per_node", minimum=1, maximum=bounds.MOST_DEVICES)
    listed: list[Fields] = fields.fields_list("levels")
    if not listed and len(fields.problems) == noted:
        fields.problem("is empty; expected at least one level, from inside the node outwards", "levels")
    levels = tuple(_level(level) for level in listed)
    max_nodes: int | None = fields.integer("max_nodes", None, 1, bounds.MOST_NODES)
    if len(fields.problems) == noted:
        max_nodes = _fit_together(fields, listed, levels, per_node, max_nodes)
    price = fields.fields("price", None)
    cluster = Cluster(
        name=bounds.stem(fields, path),
        description=fields.text("description"),
        provider=fields.text("provider"),
        device=device,
        devices_per_node=per_node,
        levels=levels,
        max_nodes=max_nodes,
        price=_price(price) if price else None,
        source=fields.text("source"),
        ppp_comm=bounds.share(fields, "ppp_comm", default=1.0),
        fetch_group=_fetch_group(fields),
        file=str(path),
    )
    fields.finish()
    fields.raise_problems()
    return cluster


def _level(fields: Fields) -> Level:
    """One level: ``count`` links side by side; a bandwidth or latency in place comes before the link's."""
    default: dict[str, dict[str, Any]] = {"bandwidth": {}, "latency": {}}
    count = fields.integer("count", 1, 1, 100_000)
    if "link" in fields:
        link: Link | None = _referenced(fields, "link", load_link)
        default["bandwidth"]["default"] = link and link.bandwidth * count
        default["latency"]["default"] = link and link.latency
    else:
        fields.node("link")
        if "count" in fields:
            fields.problem("is given without a link; it says how many of a link are used together", "count")
    level = Level(
        name=fields.text("name"),
        size=fields.integer("size", None, 2, bounds.MOST_NODES),
        bandwidth=quantity(fields, "bandwidth", "bandwidth", **default["bandwidth"]),
        latency=quantity(fields, "latency", "latency", **default["latency"]),
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
    )
    fields.finish()
    return price
