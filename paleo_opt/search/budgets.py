"""Budgets: what an answer may take, what it is to minimize, and how rows of a sweep rank by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt import quantities
from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers
from paleo_opt.search.blocks import Block
from paleo_opt.search.sweep import Limits, Rows

#: What may be minimized, with the figure of an estimate that measures it.
FIGURES = {"time": "time_to_target_s", "cost": "cost_usd", "energy": "energy_kwh"}
GOALS = tuple(FIGURES)

#: The budgets that a figure of an estimate is held against, each with the goal of that figure.
LIMITED = {"time_s": "time", "cost_usd": "cost", "energy_kwh": "energy"}

_FIELDS = {"gpus": "gpus", "money": "cost_usd", "time": "time_s", "energy": "energy_kwh"}


@dataclass(frozen=True)
class Budgets:
    """What an answer may take; None where there is no such budget.

    Attributes:
        gpus: Devices.
        cost_usd: To the target.
        time_s: To the target.
        energy_kwh: To the target.
        texts: The budgets as they were written.
    """

    gpus: int | None = None
    cost_usd: float | None = None
    time_s: float | None = None
    energy_kwh: float | None = None
    texts: tuple[str, ...] = ()

    @property
    def limits(self) -> Limits:
        """The budgets that a sweep counts against; the GPUs are a matter of which strategies there are."""
        given = {name: getattr(self, name) for name in ("time_s", "cost_usd", "energy_kwh")}
        return Limits(**{name: value for name, value in given.items() if value is not None})

    @property
    def default_goal(self) -> str:
        """What is minimized where nothing is said: cost where the only budget is time, else time."""
        others = (self.gpus, self.cost_usd, self.energy_kwh)
        return "cost" if self.time_s is not None and all(value is None for value in others) else "time"

    def in_words(self) -> list[str]:
        """The budgets for a reader, such as ``64 GPUs`` and ``$500``."""
        given = {name: getattr(self, name) for name in ("gpus", "cost_usd", "time_s", "energy_kwh")}
        return [budget_text(name, size) for name, size in given.items() if size is not None]


def budget_text(name: str, size: float) -> str:
    """A size of one budget (a field of `Budgets`) for a reader: ``64 GPUs``, ``$500``, ``12 h``, ``20 kWh``."""
    if name == "gpus":
        return f"{round(size):,} GPU{'s'[: round(size) != 1]}"
    if name == "cost_usd":
        return quantities.format_money(size)
    if name == "time_s":
        return quantities.format_time(size)
    return quantities.format_energy(size * quantities.UNITS["energy"]["kWh"])


def parse_budgets(texts: Sequence[str]) -> Budgets:
    """The budgets written in ``texts``: all of them hold, so of two of one kind the tighter counts.

    >>> budgets = parse_budgets(["64gpus", "$500", "12h"])
    >>> budgets.gpus, budgets.cost_usd, budgets.time_s
    (64, 500.0, 43200.0)

    Raises:
        SpecError: as `quantities.parse_budget`.
    """
    found: dict[str, float] = {}
    for text in texts:
        dimension, size = quantities.parse_budget(text)
        name = _FIELDS[dimension]
        if dimension == "energy":
            size /= quantities.UNITS["energy"]["kWh"]
        found[name] = min(size, found.get(name, size))
    gpus = found.pop("gpus", None)
    return Budgets(gpus=None if gpus is None else int(gpus), **found, texts=tuple(texts))


def check_goal(goal: str) -> str:
    """``goal`` itself. Raises `SpecError` where it is none of `GOALS`."""
    if goal not in GOALS:
        raise SpecError(f"minimize {goal!r}{nearest(goal, GOALS)}")
    return goal


def figure(rows: Rows, goal: str) -> Floats:
    """What is minimized, per row; infinite where no strategy fits or the figure is not known. Shape (rows,)."""
    values = {"time": rows.time_s, "cost": rows.cost_usd, "energy": rows.energy_kwh}[goal]
    known: Floats = np.where(np.isnan(values), np.inf, values)
    return known


def within(rows: Rows, limits: Limits) -> NDArray[np.bool_]:
    """Whether the best strategy of each row keeps to ``limits``; an unknown figure keeps to no limit. Shape (rows,)."""
    kept = np.isfinite(rows.time_s) & (rows.time_s <= limits.time_s)
    for goal, limit in (("cost", limits.cost_usd), ("energy", limits.energy_kwh)):
        if np.isfinite(limit):
            kept &= figure(rows, goal) <= limit
    return kept


def ranked(rows: Rows, blocks: Sequence[Block], goal: str, allowed: NDArray[np.bool_]) -> Integers:
    """The allowed rows, best first: by the goal, then cost, time, number of GPUs and the cluster's name."""
    chosen = np.flatnonzero(allowed)
    names = np.unique([block.cluster.name for block in blocks], return_inverse=True)[1][rows.block]
    keys = (names, rows.gpus, rows.time_s, figure(rows, "cost"), figure(rows, goal))
    order: Integers = chosen[np.lexsort([key[chosen] for key in keys])]
    return order


def select(rows: Rows, chosen: slice | Integers) -> Rows:
    """Some of the rows."""
    return rows.at(chosen)
