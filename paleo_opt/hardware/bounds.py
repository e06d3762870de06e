"""What a plausible number, name and date of a hardware file is; everything else is noted as a problem."""

from __future__ import annotations

import datetime
import math
import re
from pathlib import Path
from typing import Any

from paleo_opt import quantities
from paleo_opt.spec_file import Fields
from paleo_opt.yaml_nodes import shown

#: By kind of quantity: its dimension, and the least and the most that is plausible: wide enough for machines
#: of 2010-2040, narrow enough to catch a wrong prefix.
BOUNDS = {
    "peak": ("flops", "1GFLOP/s", "1000PFLOP/s"),
    "memory": ("memory", "64MB", "100TB"),
    "memory_bandwidth": ("bandwidth", "1GB/s", "1000TB/s"),
    "clock": ("frequency", "10MHz", "100GHz"),
    "power": ("power", "1W", "100kW"),
    "host_link": ("bandwidth", "100MB/s", "100TB/s"),
    "bandwidth": ("bandwidth", "1Mb/s", "10000TB/s"),
    "latency": ("time", "0s", "1s"),
    "price": ("money", "$0.0001", "$1000000"),
    "capital": ("money", "$10", "$100000000"),
    "hosting": ("money", "$0", "$100000"),
    "lifetime": ("time", "1d", "50y"),
}
_LIMITS = {kind: tuple(quantities.parse(text, each[0]) for text in each[1:]) for kind, each in BOUNDS.items()}
MOST_DEVICES = 10**6
MOST_NODES = 10**7
_YEAR = re.compile(r"(?<!\d)20\d\d(?!\d)")
_DAY_OR_MONTH = re.compile(r"(\d{4})-(\d{1,2})(?:-(\d{1,2}))?")


def quantity(fields: Fields, name: str, kind: str, **default: Any) -> Any:
    """Field ``name`` as a quantity within ``BOUNDS[kind]``; its problem names the bounds with their units."""
    dimension, low, high = BOUNDS[kind]
    least, most = _LIMITS[kind]
    noted = len(fields.problems)
    value = fields.quantity(name, dimension, minimum=-math.inf, maximum=math.inf, **default)
    node = fields.node(name)
    if value is None or node is None or len(fields.problems) > noted:
        return value
    if not least <= value <= most:
        fields.problem(f"is {shown(node.value)}; expected from {low} to {high}", name)
    return value


def share(fields: Fields, name: str, **default: Any) -> Any:
    """A platform percent of peak: above 0, at most 1."""
    return fields.number(name, minimum=1e-3, maximum=1.0, **default)


def stem(fields: Fields, path: Path) -> str:
    """The field ``name``, which must be what the file is called."""
    name: str = fields.text("name")
    if name and name != path.stem:
        fields.problem(f"is {name!r}; expected {path.stem!r}, as the file is called", "name")
    return name


def date(fields: Fields) -> str:
    """When a price was read: a day, a month, a year, or words with a year in them; not far in the future."""
    text: str = fields.date("date")
    year = _YEAR.search(text)
    if not text:
        return text
    if year is None:
        fields.problem(f"is {text!r}; expected a date such as 2026-01-21, 2026-01 or 2026", "date")
    elif int(year[0]) > datetime.date.today().year + 1:
        fields.problem(f"is {text!r}, in the future; expected when the price was read", "date")
    parts = _DAY_OR_MONTH.fullmatch(text)
    if parts:
        try:
            datetime.date(int(parts[1]), int(parts[2]), int(parts[3] or 1))
        except ValueError as error:
            fields.problem(f"is {text!r}, which is no date: {error}", "date")
    return text
