"""Validate the model: predict every row of measured tables, and say how far the predictions are off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np

from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.estimator.options import Options
from paleo_opt.validation.measured_table import MeasuredRow, read_measured_table
from paleo_opt.validation.predict import Prediction, Refusal, predict
from paleo_opt.validation.resolve_transformer import BY_SIZES, sizes_name
from paleo_opt.validation.statistics import ErrorStatistics, Floats, error_statistics, rank_correlation, regret


def _network_name(row: MeasuredRow) -> str:
    """Those given by their sizes alone, apart."""
    return sizes_name(row.layers, row.hidden) if row.network == BY_SIZES else row.network


#: Published figures with their sources (docs/validation.md), which are read where no table is named.
PUBLISHED = Path(__file__).resolve().parent / "published.csv"
#: What rows can be grouped by.
GROUPINGS: Mapping[str, Callable[[Prediction], str]] = MappingProxyType(
    {
        "device": lambda found: found.row.device,
        "network": lambda found: _network_name(found.row),
        "quantity": lambda found: found.row.quantity,
        "software": lambda found: found.row.software or "(not said)",
        "platform": lambda found: found.platform.name,
    }
)
#: What a split is made of: rows alike in all but these did the same work in different ways.
SPLIT = (
    "micro_batch", "tensor", "pipeline", "data", "expert", "context", "virtual_stages", "recompute", "sharding",
)  # fmt: skip
#: Quantities that say which split is the fastest: whether more is slower.
_SLOWER = {
    "step_time_s": True, "train_time_s": True, "samples_per_s": False, "tokens_per_s": False,
    "tokens_per_s_per_gpu": False, "tflops_per_gpu": False, "mfu": False,
}  # fmt: skip


@dataclass(frozen=True)
class Regret:
    """What following the model's choice of split costs, over groups of rows that differ in nothing else.

    Attributes:
        groups: How many.
        mean: Of their regrets (`statistics.regret`); None without groups.
        max: The largest.
    """

    groups: int
    mean: float | None
    max: float | None


@dataclass(frozen=True, eq=False)
class Validation:
    """Predicted against measured.

    Attributes:
        files: The tables.
        options: Of the model.
        predictions: Of the rows that the model predicts.
        refused: The other rows, with why.
    """

    files: tuple[str, ...]
    options: Options
    predictions: tuple[Prediction, ...]
    refused: tuple[Refusal, ...]

    @cached_property
    def statistics(self) -> ErrorStatistics | None:
        """Of all predictions; None where there is none."""
        return _statistics(self.predictions) if self.predictions else None

    @cached_property
    def rank_correlation(self) -> float | None:
        """As `statistics.rank_correlation`."""
        if not self.predictions:
            return None
        return rank_correlation(*_values(self.predictions), [found.row.quantity for found in self.predictions])

    @cached_property
    def regret(self) -> Regret:
        """Of the splits that the model ranks first."""
        found = [_regret(group) for group in split_groups(self.predictions)]
        return Regret(len(found), float(np.mean(found)) if found else None, max(found, default=None))

    def by(self, grouping: str) -> dict[str, ErrorStatistics]:
        """Statistics of each ``device``, ``network``, ``quantity``, ``software`` or ``platform``; most rows first.

        Raises:
            SpecError: another word.
        """
        if grouping not in GROUPINGS:
            raise SpecError(f"grouping {grouping!r}{nearest(grouping, GROUPINGS)}")
        groups: dict[str, list[Prediction]] = defaultdict(list)
        for found in self.predictions:
            groups[GROUPINGS[grouping](found)].append(found)
        return {name: _statistics(groups[name]) for name in sorted(groups, key=lambda name: (-len(groups[name]), name))}


def validate(files: str | Path | Sequence[str | Path] | None = None, options: Options | None = None) -> Validation:
    """Predict every row of measured tables.

    Args:
        files: Measured tables, CSV; the shipped table of published figures where None.
        options: Of the model.

    Raises:
        SpecError: a table that cannot be read, or all that is wrong in it.
    """
    options = options or Options()
    if isinstance(files, (str, Path)):
        files = (files,)
    paths = (PUBLISHED,) if files is None else tuple(files)
    rows: list[MeasuredRow] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            rows += read_measured_table(path)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    predictions, refused = predict(rows, options)
    return Validation(tuple(map(str, paths)), options, predictions, refused)


def _values(predictions: Sequence[Prediction]) -> tuple[Floats, Floats]:
    measured = np.array([found.row.measured for found in predictions])
    return measured, np.array([found.predicted for found in predictions])


def _statistics(predictions: Sequence[Prediction]) -> ErrorStatistics:
    return error_statistics(*_values(predictions), [found.covered for found in predictions])


def split_groups(predictions: Sequence[Prediction]) -> list[list[Prediction]]:
    """Predictions of one step's work done under at least two splits, group by group."""
    groups: dict[MeasuredRow, list[Prediction]] = defaultdict(list)
    for found in predictions:
        if found.row.quantity in _SLOWER:
            groups[_alike(found.row)].append(found)
    return [group for group in groups.values() if len({_split_of(found.row) for found in group}) > 1]


def _alike(row: MeasuredRow) -> MeasuredRow:
    """``row`` without its split and what it measured; with its batch, as rows of unlike batches did unlike work."""
    batch = row.global_batch
    if batch is None and row.micro_batch is not None:
        batch = row.micro_batch * (row.data or row.gpus)
    blank = dict.fromkeys(SPLIT) | {"sharding": "", "recompute": ""}
    alike = replace(row, id="", measured=1.0, source="", file="", line=0, global_batch=batch)
    return replace(alike, **blank)  # type: ignore[arg-type]


def _split_of(row: MeasuredRow) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in SPLIT)


def _regret(group: Sequence[Prediction]) -> float:
    """As `statistics.regret`, rates taken as times."""
    measured, predicted = _values(group)
    return regret(measured, predicted) if _SLOWER[group[0].row.quantity] else regret(1.0 / measured, 1.0 / predicted)
