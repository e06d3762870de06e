"""What the model says of measured rows: rows alike in network, split and platform are estimated together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paleo_opt.errors import PaleoOptError
from paleo_opt.estimator.cost_table import CostTable, Floats, compile_network
from paleo_opt.estimator.effects import gathered
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options
from paleo_opt.hardware.platform import Platform
from paleo_opt.validation.choose import choose
from paleo_opt.validation.figures import FIGURES, Estimated
from paleo_opt.validation.intervals import interval
from paleo_opt.validation.measured_table import MeasuredRow
from paleo_opt.validation.residuals import (
    Features,
    configuration,
    features_of,
    is_time,
    part_of,
    shipped_residuals,
)
from paleo_opt.validation.resolve import Resolver
from paleo_opt.validation.run import Refused, Run


@dataclass(frozen=True)
class Prediction:
    """A measured figure and what the model says of it, both in the unit of the row's quantity.

    Attributes:
        row: What was measured.
        predicted: What the model says.
        platform: The software platform.
        assumed: Which of `run.ASSUMPTIONS` the row does not say itself.
        low: Of the estimate's 80% interval; None where it has none.
        high: Likewise.
        features: What describes it, for its interval; None of a quantity that has none (`residuals.part_of`).
    """

    row: MeasuredRow
    predicted: float
    platform: Platform
    assumed: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    features: Features | None = None

    @property
    def error(self) -> float:
        """predicted / measured - 1."""
        return self.predicted / self.row.measured - 1.0

    @property
    def covered(self) -> bool | None:
        """Whether the interval holds the measured value; None where there is no interval."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.row.measured <= self.high


@dataclass(frozen=True)
class Refusal:
    """A row that nothing is said of, and why."""

    row: MeasuredRow
    reason: str


@dataclass(frozen=True, eq=False)
class _Group:
    """Rows of one network, split, platform and quantity.

    Attributes:
        table: Of the network.
        members: The place of each row among all, and what it ran.
    """

    table: CostTable
    members: Sequence[tuple[int, Run]]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows of which all is known that does not depend on the constants of the model.

    Attributes:
        groups: Of those that may be predicted.
        refused: The others, by their place among all.
    """

    groups: tuple[_Group, ...]
    refused: Mapping[int, Refusal]

    def predict(
        self, options: Options, *, intervals: bool = True, features: bool = True
    ) -> tuple[tuple[Prediction, ...], tuple[Refusal, ...]]:
        """As `predict`; ``options`` may differ from those of `prepare` in all but model and platform.

        Args:
            options: Of the model.
            intervals: Whether to find the 80% intervals, which need the features.
            features: Whether to find what describes each estimate.
        """
        found: dict[int, Prediction] = {}
        refused = dict(self.refused)
        for group in self.groups:
            on_platform = _on_platform(options, group.members[0][1].platform)
            try:
                told, untold = _told(group, on_platform)
                runs = [run for _, run in told]
                values, described = _figure(group.table, runs, on_platform, features) if runs else ((), ())
            except PaleoOptError as error:
                refused |= {place: Refusal(run.row, str(error).splitlines()[0]) for place, run in group.members}
                continue
            refused |= untold
            found |= {
                place: Prediction(run.row, float(value), run.platform, run.assumed, features=of)
                for (place, run), value, of in zip(told, values, described, strict=True)
            }
        predictions = tuple(found[place] for place in sorted(found))
        if intervals:
            predictions = _with_intervals(predictions, options.model)
        return predictions, tuple(refused[place] for place in sorted(refused))


def prepare(rows: Sequence[MeasuredRow], options: Options | None = None) -> Prepared:
    """Find what rows ran, and compile their networks: to predict them under many constants.

    Args:
        rows: Of measured tables.
        options: The model's; where they name no software platform, each row has its own.
    """
    resolver = Resolver(options or Options())
    groups: dict[tuple[int, str, int, str, str], list[tuple[int, Run]]] = defaultdict(list)
    refused: dict[int, Refusal] = {}
    for place, row in enumerate(rows):
        try:
            run = resolver.resolve(row)
        except Refused as reason:
            refused[place] = Refusal(row, str(reason))
            continue
        tensor = 1 if run.strategy.blocks else run.strategy.tensor
        # The resolver keeps its networks, each one object.
        key = (id(run.network), run.strategy.split, tensor, run.platform.name, row.quantity)
        groups[key].append((place, run))
    tables: dict[int, CostTable] = {}
    for (network, *_), members in groups.items():
        if network not in tables:
            tables[network] = compile_network(members[0][1].network)
    return Prepared(tuple(_Group(tables[key[0]], members) for key, members in groups.items()), refused)


def predict(
    rows: Sequence[MeasuredRow], options: Options | None = None, intervals: bool = True
) -> tuple[tuple[Prediction, ...], tuple[Refusal, ...]]:
    """The rows that the model predicts, and those that it refuses; both in the order of ``rows``.

    Args:
        rows: Of measured tables.
        options: The model's; where they name no software platform, each row has its own.
        intervals: Whether to find the 80% intervals too.
    """
    options = options or Options()
    return prepare(rows, options).predict(options, intervals=intervals)


def _told(group: _Group, options: Options) -> tuple[list[tuple[int, Run]], dict[int, Refusal]]:
    """Runs with what they leave open chosen, and those of which that cannot be said."""
    told: list[tuple[int, Run]] = []
    untold: dict[int, Refusal] = {}
    runs = [run for _, run in group.members]
    for (place, run), chosen in zip(group.members, choose(group.table, runs, options), strict=True):
        if isinstance(chosen, Refused):
            untold[place] = Refusal(run.row, str(chosen))
        else:
            told.append((place, chosen))
    return told, untold


def _with_intervals(predictions: Sequence[Prediction], model: str) -> tuple[Prediction, ...]:
    """The same with their 80% intervals; no measurement of a configuration counts for its own interval."""
    residuals = shipped_residuals(model)
    alike: dict[Features, list[int]] = defaultdict(list)
    for index, row in enumerate(residuals.rows):
        alike[configuration(row.features)].append(index)
    found = []
    for item in predictions:
        if item.features is None:
            found.append(item)
            continue
        own = np.zeros(len(residuals.rows), dtype=bool)
        own[alike.get(configuration(item.features), [])] = True
        span = interval(item.features, residuals, without=own)
        factors = (span.low, span.high) if is_time(item.row.quantity) else (1.0 / span.high, 1.0 / span.low)
        found.append(replace(item, low=item.predicted * factors[0], high=item.predicted * factors[1]))
    return tuple(found)


def _on_platform(options: Options, platform: Platform) -> Options:
    """``options`` with the software of some rows, unless they name one themselves; PALEO knows none."""
    return options if options.model == "paleo" or options.platform else replace(options, platform=platform.name)


def _figure(
    table: CostTable, runs: Sequence[Run], options: Options, describe: bool
) -> tuple[Floats, list[Features | None]]:
    """The quantity of runs of one network, split and platform, shape (runs,), and what describes each."""
    quantity = runs[0].row.quantity
    of = Estimated(
        runs,
        table,
        estimate(table, gathered([run.strategy for run in runs]), options),
        options,
        np.array([float(run.samples) for run in runs]),
        np.array([float(run.strategy.gpus) for run in runs]),
    )
    part = part_of(quantity)
    described: list[Features | None] = [None] * len(runs)
    if part and describe:
        described = [
            replace(_named(features_of(of.estimates, table.network, index), run), part=part)
            for index, run in enumerate(runs)
        ]
    return np.broadcast_to(FIGURES[quantity](of), of.samples.shape), described


def _named(features: Features, run: Run) -> Features:
    """Rows that do not name their software are no evidence of what the assumed platform does."""
    return replace(features, platform=f"{features.platform}?") if "platform" in run.assumed else features
