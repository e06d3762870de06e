"""What the model says of measured rows: rows alike in network, split and platform are estimated together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from paleo_opt.errors import PaleoOptError
from paleo_opt.estimator.convergence import job_samples
from paleo_opt.estimator.cost_table import CostTable, Floats, compile_network
from paleo_opt.estimator.effects import gathered
from paleo_opt.estimator.estimate import Estimates, estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.platform import Platform
from paleo_opt.validation.choose import choose
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


@dataclass(frozen=True)
class _Estimated:
    """Runs that were estimated together. Every array has shape (runs,)."""

    runs: Sequence[Run]
    table: CostTable
    estimates: Estimates
    options: Options
    samples: Floats
    gpus: Floats

    @property
    def step_time_s(self) -> Floats:
        return np.broadcast_to(self.estimates.step_time_s, self.samples.shape)

    @property
    def samples_per_s(self) -> Floats:
        rate: Floats = self.samples / self.step_time_s
        return rate


def _train_time(of: _Estimated) -> Floats:
    """Steps to the target at the measured batch, times the step: the ideal time, as a published run had no failures."""
    job = of.table.network.job
    if job is None:
        raise Refused(f"network {of.table.network.name!r} has no training job")
    steps: Floats = np.ceil(job_samples(job, of.samples.astype(np.int64)) / of.samples)
    time: Floats = steps * of.step_time_s
    return time


def _tokens(of: _Estimated) -> Floats:
    tokens = of.table.network.tokens_per_sample
    lengths = [run.row.sequence_length or tokens for run in of.runs]
    if None in lengths:
        raise Refused("no sequence length")
    rate: Floats = of.samples_per_s * np.array(lengths, dtype=float)
    return rate


def _tflops(of: _Estimated) -> Floats:
    """Of the model's FLOPs, or of those that a row's source counts."""
    own = of.estimates.flops_per_sample
    counted = np.array([own if run.counted_flops is None else run.counted_flops for run in of.runs])
    rate: Floats = counted * of.samples_per_s / of.gpus / 1e12
    return rate


def _speedup(of: _Estimated) -> Floats:
    """Over one device of the same cluster with one worker's batch."""
    alone = []
    for run in of.runs:
        strategy = run.strategy
        one = Strategy(strategy.cluster, 1, strategy.micro_batch, strategy.accumulation, precision=strategy.precision)
        alone.append(float(estimate(of.table, one, of.options).samples_per_s[0]))
    speedup: Floats = of.samples_per_s / np.array(alone)
    return speedup


def _memory(of: _Estimated) -> Floats:
    """Without what the platform keeps for itself, which a framework's count of its memory leaves out.

    A row whose software says ``activation memory`` or ``params+optimizer memory`` is about that part alone.
    """
    memory, shape = of.estimates.memory, of.samples.shape
    state = memory.parameters + memory.gradients + memory.optimizer
    parts = {"activation memory": memory.activations, "params+optimizer memory": state}
    found = np.array(np.broadcast_to(memory.total - of.options.memory_reserve, shape), dtype=float)
    for words, part in parts.items():
        named = np.array([words in run.row.software for run in of.runs])
        found[named] = np.broadcast_to(part, shape)[named]
    return found


#: Each quantity, in the unit that its name says.
_FIGURES: Mapping[str, Callable[[_Estimated], Floats]] = MappingProxyType(
    {
        "step_time_s": lambda of: of.step_time_s,
        "forward_time_s": lambda of: of.estimates.forward_time_s,
        "backward_time_s": lambda of: of.estimates.backward_time_s,
        "samples_per_s": lambda of: of.samples_per_s,
        "tokens_per_s": _tokens,
        "tokens_per_s_per_gpu": lambda of: _tokens(of) / of.gpus,
        "tflops_per_gpu": _tflops,
        "mfu": lambda of: of.estimates.mfu * of.samples / of.estimates.strategies.global_batch,
        "train_time_s": _train_time,
        "speedup": _speedup,
        "memory_bytes": _memory,
    }
)


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
    resolver = Resolver(options)
    groups: dict[tuple[int, str, int, str], list[tuple[int, Run]]] = defaultdict(list)
    found: dict[int, Prediction] = {}
    refused: dict[int, Refusal] = {}
    for place, row in enumerate(rows):
        try:
            run = resolver.resolve(row)
        except Refused as reason:
            refused[place] = Refusal(row, str(reason))
            continue
        # The resolver keeps its networks, each one object.
        tensor = 1 if run.strategy.blocks else run.strategy.tensor
        groups[id(run.network), run.strategy.split, tensor, run.platform.name].append((place, run))
    tables: dict[int, CostTable] = {}
    for (network, *_), members in groups.items():
        if network not in tables:
            tables[network] = compile_network(members[0][1].network)
        on_platform = _on_platform(options, members[0][1].platform)
        for of_quantity in _by_quantity(members):
            try:
                told, untold = _told(tables[network], of_quantity, on_platform)
                runs = [run for _, run in told]
                values, described = _figure(tables[network], runs, on_platform) if runs else ((), ())
            except PaleoOptError as error:
                refused |= {place: Refusal(run.row, str(error).splitlines()[0]) for place, run in of_quantity}
                continue
            refused |= untold
            found |= {
                place: Prediction(run.row, float(value), run.platform, run.assumed, features=features)
                for (place, run), value, features in zip(told, values, described, strict=True)
            }
    predictions = tuple(found[place] for place in sorted(found))
    if intervals:
        predictions = _with_intervals(predictions, options.model)
    return predictions, tuple(refused[place] for place in sorted(refused))


def _by_quantity(members: Sequence[tuple[int, Run]]) -> list[list[tuple[int, Run]]]:
    found: dict[str, list[tuple[int, Run]]] = defaultdict(list)
    for place, run in members:
        found[run.row.quantity].append((place, run))
    return list(found.values())


def _told(
    table: CostTable, members: Sequence[tuple[int, Run]], options: Options
) -> tuple[list[tuple[int, Run]], dict[int, Refusal]]:
    """Runs of one network and platform with what they leave open chosen, and those of which that cannot be said."""
    told: list[tuple[int, Run]] = []
    untold: dict[int, Refusal] = {}
    for (place, run), chosen in zip(members, choose(table, [run for _, run in members], options), strict=True):
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


def _figure(table: CostTable, runs: Sequence[Run], options: Options) -> tuple[Floats, list[Features | None]]:
    """The quantity of runs of one network, split and platform, shape (runs,), and what describes each."""
    quantity = runs[0].row.quantity
    of = _Estimated(
        runs,
        table,
        estimate(table, gathered([run.strategy for run in runs]), options),
        options,
        np.array([float(run.samples) for run in runs]),
        np.array([float(run.strategy.gpus) for run in runs]),
    )
    part = part_of(quantity)
    described: list[Features | None] = [None] * len(runs)
    if part:
        described = [
            replace(_named(features_of(of.estimates, table.network, index), run), part=part)
            for index, run in enumerate(runs)
        ]
    return np.broadcast_to(_FIGURES[quantity](of), of.samples.shape), described


def _named(features: Features, run: Run) -> Features:
    """Rows that do not name their software are no evidence of what the assumed platform does."""
    return replace(features, platform=f"{features.platform}?") if "platform" in run.assumed else features
