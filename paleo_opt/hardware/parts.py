"""Read what a cluster is made of, one device or one link, from its YAML."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

from paleo_opt.errors import nearest
from paleo_opt.hardware import bounds
from paleo_opt.hardware.bounds import quantity
from paleo_opt.hardware.cluster import Link
from paleo_opt.hardware.constant import Constant, read_constant
from paleo_opt.hardware.device import ELEMENT_BYTES, Device
from paleo_opt.hardware.link_constants import read_link_constants
from paleo_opt.hardware.platform import ATTAINABLE
from paleo_opt.hardware.precision import LOW_PRECISIONS
from paleo_opt.spec_file import Fields, read_spec


def _by_precision(fields: Fields, known: list[str]) -> list[str]:
    """The precisions that a mapping names; a name that is none is noted with the nearest."""
    found = []
    for name in fields.names():
        if name in known:
            found.append(name)
        else:
            fields.problem(f"is not a precision it has{nearest(name, known)}", name)
    return found


def read_device(path: Path, overrides: Mapping[str, str]) -> Device:
    """The device of a file, with some fields replaced; raises `SpecError` with all that is wrong."""
    fields = read_spec(path, overrides)
    peaks = fields.fields("peak")
    peak = {name: quantity(peaks, name, "peak") for name in _by_precision(peaks, list(ELEMENT_BYTES))}
    if not peak and not fields.problems:
        fields.problem("names no precision; expected at least one, such as fp32", "peak")
    elif not fields.problems and not {"bf16", "fp16"} & set(peak) and (few := set(peak) & set(LOW_PRECISIONS)):
        fields.problem(f"has {min(few)} but neither bf16 nor fp16, in which training in it does the rest", "peak")
    shares = fields.fields("ppp_comp", None)
    # Where a peak is wrong, its PPP is no second mistake.
    sharing = list(ELEMENT_BYTES if fields.problems else peak)
    attainable = _attainable(fields)
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
        ppp_comp={n: bounds.share(shares, n) for n in _by_precision(shares, sharing)} if shares else {},
        host_link=quantity(fields, "host_link", "host_link", default=None),
        attainable=attainable,
        platform=fields.text("platform", ""),
        file=str(path),
    )
    fields.finish()
    fields.raise_problems()
    return device


def _attainable(fields: Fields) -> dict[str, Constant]:
    """What was measured of the shares that a device attains at best."""
    given = fields.fields("attainable", None)
    if given is None:
        return {}
    found = {name: read_constant(given, name, meaning) for name, meaning in ATTAINABLE.items()}
    given.finish()
    return {name: constant for name, constant in found.items() if constant is not None}


def read_link(path: Path, overrides: Mapping[str, str]) -> tuple[Link, int | None]:
    """The link of a file, and its `fetch_group`; raises `SpecError` with all that is wrong."""
    fields = read_spec(path, overrides)
    link = Link(
        name=bounds.stem(fields, path),
        description=fields.text("description"),
        bandwidth=quantity(fields, "bandwidth", "bandwidth"),
        latency=quantity(fields, "latency", "latency"),
        source=fields.text("source"),
        constants=read_link_constants(fields),
        file=str(path),
    )
    group = fetch_group(fields)
    fields.finish()
    fields.raise_problems()
    return link, group


def fetch_group(fields: Fields) -> int | None:
    """The size of the groups of PALEO's 2017 fetch rule (see `Cluster`), where the file gives one."""
    size: int | None = fields.integer("fetch_group", None, 2, bounds.MOST_DEVICES)
    return size
