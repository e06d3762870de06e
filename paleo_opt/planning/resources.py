"""The nodes that a file of jobs names: its fleet, and what may be rented, bought or reserved."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import yaml

from paleo_opt import catalog, quantities
from paleo_opt.errors import SpecError
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.load import load_cluster
from paleo_opt.planning.dates import Span, is_moment, parse_moment, parse_span
from paleo_opt.planning.jobs import Resource
from paleo_opt.spec_file import Fields
from paleo_opt.yaml_nodes import shown

KINDS = ("fleet", "rent", "buy", "reserve")
MOST_NODES = 100_000
DEFAULT_MORE = 16
MOST_MORE = 1_000
_MOST_DOLLARS = 1e9


def read_resources(fields: Fields, start: datetime, end: datetime, pricing: str) -> list[Resource]:
    """The fleet, then what is to be had; mistakes are noted in ``fields``.

    Where the file names none of it but gives a budget, every cluster with a price may be rented.
    """
    reader = _Reader(fields, start, end, pricing)
    found = [reader.fleet(each) for each in fields.fields_list("fleet", [])]
    if "fleet" in fields and not found and isinstance(fields.node("fleet"), yaml.SequenceNode):
        fields.problem("is an empty list; expected clusters with their nodes", "fleet")
    found += reader.rent()
    found += [reader.buy(each) for each in fields.fields_list("buy", [])]
    found += [reader.reserve(each) for each in fields.fields_list("reserve", [])]
    if not any(kind in fields for kind in KINDS):
        if "budget" not in fields:
            fields.problem("has no nodes to run on; expected a fleet, or rent: priced, or a budget to rent with")
        else:
            found += reader.priced()
    known = [each for each in found if each is not None]
    first: dict[str, Resource] = {}
    for each in known:
        if each.name in first:
            line = first[each.name].fields.line
            each.fields.problem(f"would be {each.name!r}, as that on line {line}; give another name", "name")
        first.setdefault(each.name, each)
    return known


class _Reader:
    def __init__(self, fields: Fields, start: datetime, end: datetime, pricing: str) -> None:
        self._fields, self._start, self._end, self._pricing = fields, start, end, pricing

    def _cluster(self, fields: Fields, name: str | None = None) -> Cluster | None:
        """The cluster that ``fields`` name; None, with problems noted, where there is none."""
        word: str = fields.text("cluster") if name is None else name
        if not word:
            return None
        beside = Path(self._fields.file).parent / word
        is_path = word.endswith((".yaml", ".yml")) or os.sep in word
        try:
            return load_cluster(str(beside) if is_path and beside.is_file() else word)
        except SpecError as error:
            for problem in error.problems:
                if problem.file:
                    fields.problems.append(problem)
                else:
                    fields.problem(problem.message, "rent" if name else "cluster")
            return None

    def _money(self, fields: Fields, name: str, default: float | None, least: float) -> float | None:
        """Dollars of ``least`` or more."""

        def convert(node: yaml.Node) -> float:
            if not isinstance(node, yaml.ScalarNode):
                raise SpecError("is no single value; expected money, such as $5000")
            value = quantities.parse(str(node.value), "money")
            if not least <= value <= _MOST_DOLLARS:
                raise SpecError(f"is {shown(str(node.value))}; expected from ${least:g} to ${_MOST_DOLLARS:,.0f}")
            return value

        found: float | None = fields.value(name, convert, default)
        return found

    def _date(self, fields: Fields, name: str, end_of_day: bool) -> datetime | None:
        def convert(node: yaml.Node) -> datetime:
            text = str(node.value)
            return parse_moment(text, end_of_day) if is_moment(text) else parse_span(text).after(self._start)

        found: datetime | None = fields.value(name, convert, None)
        return found

    def fleet(self, fields: Fields) -> Resource | None:
        """Nodes that are there."""
        cluster = self._cluster(fields)
        opens = self._date(fields, "from", False) or self._start
        closes = self._date(fields, "until", True)
        if closes is not None and closes <= max(opens, self._start):
            begin = max(opens, self._start)
            fields.problem(f"is not after {begin:%Y-%m-%d %H:%M}, when it begins", "until")
        nodes = fields.integer("nodes", minimum=1, maximum=MOST_NODES)
        hourly = self._money(fields, "price", 0.0, 0.0)
        name = fields.text("name", cluster.name if cluster else "")
        fields.finish()
        if cluster is None:
            return None
        opens = max(opens, self._start)
        return Resource(name, "fleet", cluster, nodes, 0, 0.0, hourly, opens, closes, fields)

    def rent(self) -> list[Resource | None]:
        """What may be rented by the hour."""
        node = self._fields.node("rent")
        if node is None:
            return []
        if isinstance(node, yaml.ScalarNode):
            if node.value == "priced":
                return self.priced()
            if node.value in ("none", "false", "no"):
                return []
            node = yaml.SequenceNode("tag:yaml.org,2002:seq", [node], node.start_mark, node.end_mark)
        if not isinstance(node, yaml.SequenceNode):
            self._fields.problem("is a mapping; expected priced, or a list of clusters", "rent")
            return []
        return [self._rented(item, index) for index, item in enumerate(node.value)]

    def _rented(self, node: yaml.Node, index: int) -> Resource | None:
        if isinstance(node, yaml.ScalarNode):
            # A bare name is short for a mapping with nothing else.
            key = yaml.ScalarNode("tag:yaml.org,2002:str", "cluster", node.start_mark, node.end_mark)
            node = yaml.MappingNode("tag:yaml.org,2002:map", [(key, node)], node.start_mark, node.end_mark)
        fields = Fields(node, self._fields.file, f"rent[{index}]", self._fields.problems)
        cluster = self._cluster(fields)
        hourly = self._money(fields, "price", None, 1e-4)
        nodes = fields.integer("max_nodes", None, 1, MOST_NODES)
        name = fields.text("name", f"rented {cluster.name}" if cluster else "")
        fields.finish()
        if cluster is None:
            return None
        if hourly is None and "price" not in fields and not self._has_price(cluster):
            terms = self._pricing.replace("_", " ")
            fields.problem(f"has no {terms} price; give one: price: $2.50", "cluster")
        return Resource(name, "rent", cluster, nodes, 0, 0.0, hourly, self._start, None, fields)

    def _has_price(self, cluster: Cluster) -> bool:
        return cluster.price is not None and getattr(cluster.price, self._pricing, None) is not None

    def priced(self) -> list[Resource | None]:
        """Every shipped cluster with a price."""
        clusters = [load_cluster(name) for name in catalog.names("cluster")]
        return [
            Resource(f"rented {c.name}", "rent", c, None, 0, 0.0, None, self._start, None, self._fields)
            for c in clusters
            if self._has_price(c)
        ]

    def buy(self, fields: Fields) -> Resource | None:
        """Nodes that may be bought: the plan pays the part of their life that the horizon takes."""
        cluster = self._cluster(fields)
        owned = cluster.ownership if cluster else None
        price = self._money(fields, "price", owned.capital if owned else None, 0.01)
        if price is None and cluster is not None and "price" not in fields:
            fields.problem("is missing; expected what a node costs, such as $250000", "price")
        life = fields.value("life", _span, None)
        horizon_s = (self._end - self._start).total_seconds()
        life_s = life.about_s if life else owned.lifetime_s if owned else horizon_s
        share = min(1.0, horizon_s / life_s)
        hourly = self._money(fields, "running", 0.0, 0.0)
        return self._more(fields, cluster, "buy", "bought", (price or 0.0) * share, hourly or 0.0)

    def reserve(self, fields: Fields) -> Resource | None:
        """Nodes that may be had for every hour of the horizon, used or not."""
        cluster = self._cluster(fields)
        known = cluster.price.reserved_1y if cluster and cluster.price else None
        price = self._money(fields, "price", known, 1e-4)
        if price is None and cluster is not None and "price" not in fields:
            fields.problem("is missing; expected what a node-hour costs, such as $14", "price")
        hours = (self._end - self._start).total_seconds() / 3600
        return self._more(fields, cluster, "reserve", "reserved", (price or 0.0) * hours, 0.0)

    def _more(
        self, fields: Fields, cluster: Cluster | None, kind: str, word: str, each: float, hourly: float
    ) -> Resource | None:
        most = fields.integer("max_nodes", DEFAULT_MORE, 1, MOST_MORE)
        name = fields.text("name", f"{word} {cluster.name}" if cluster else "")
        fields.finish()
        if cluster is None:
            return None
        return Resource(name, kind, cluster, 0, most, each, hourly, self._start, None, fields)


def _scalar(convert: Callable[[str], Span]) -> Callable[[yaml.Node], Span]:
    return lambda node: convert(str(node.value))


_span = _scalar(parse_span)
