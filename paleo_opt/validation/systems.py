"""Which cluster stands for a submitter's system that is not shipped: the rules of stands_for.yaml, which say why.

Nothing is guessed: a row of an unknown cluster that meets no rule is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.load import load_cluster
from paleo_opt.validation.measured_table import MeasuredRow

_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class StandIn:
    """One rule; the head of stands_for.yaml says what each field means."""

    table: str
    device: str
    nodes: str
    cluster: str
    why: str
    instead: str = ""
    name: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    per_node: int = 0

    def holds(self, row: MeasuredRow) -> bool:
        """Whether this rule is about ``row``."""
        name = row.cluster.casefold()
        text = f"{name} {row.software.casefold()}"
        one_node = row.gpus <= (row.gpus_per_node or 1)
        return (
            row.software.startswith(self.table)
            and row.device == self.device
            and (self.nodes == "many" or one_node)
            and self.per_node in (0, row.gpus_per_node)
            and (not self.name or any(word in name for word in self.name))
            and (not self.words or any(word in text for word in self.words))
            and not any(word in text for word in self.without)
        )

    def load(self) -> Cluster:
        """The cluster that stands in, with the devices that the rule is about."""
        place = str(_FOLDER / self.cluster) if self.cluster.endswith(".yaml") else self.cluster
        return load_cluster(place, self.instead or self.device)


@cache
def stand_ins() -> tuple[StandIn, ...]:
    """The rules, in their order."""
    listed: list[dict[str, Any]] = yaml.safe_load((_FOLDER / "stands_for.yaml").read_text(encoding="utf-8"))
    for rule in listed:
        rule |= {key: tuple(value) for key, value in rule.items() if isinstance(value, list)}
    return tuple(StandIn(**rule) for rule in listed)


def stand_in(row: MeasuredRow) -> StandIn | None:
    """The first rule that is about ``row``, or None."""
    return next((rule for rule in stand_ins() if rule.holds(row)), None)
