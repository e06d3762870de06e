"""The 80% intervals of what is shown: of a step, and of time, money and energy to the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from paleo_opt.estimator.convergence import job_relative_error
from paleo_opt.estimator.effects import effects
from paleo_opt.estimator.estimate import Estimates
from paleo_opt.estimator.reliability import slowest_worker_deviation
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.validation.intervals import NORMAL_80, Interval, interval
from paleo_opt.validation.residuals import features_of, shipped_residuals

if TYPE_CHECKING:
    from paleo_opt.estimator.cost_table import CostTable
    from paleo_opt.search.problem import Choice

#: Of figures that are a time or a rate of the step, and of those to the target.
_TIMES, _RATES, _TARGETS = ("step_time_s",), ("samples_per_s",), (
    "time_to_target_s", "cost_usd", "energy_kwh", "carbon_kg",
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """What the figures of one estimate may be, as factors.

    Attributes:
        step: Of the step's time.
        run: Standard deviation of ln(time to the target) beside the step's: of the samples that it takes, and of the
            mean of its steps where workers vary.
    """

    step: Interval
    run: float

    @property
    def target(self) -> tuple[float, float]:
        """Factors of the time to the target; money and energy grow with it."""
        also = NORMAL_80 * self.run
        low, high = (math.hypot(math.log(factor), also) for factor in (self.step.low, self.step.high))
        return math.exp(-low), math.exp(high)

    def of(self, name: str, value: float) -> tuple[float, float] | None:
        """Low and high of a figure under its name in JSON; None of one without an interval."""
        if name in _TIMES:
            return value * self.step.low, value * self.step.high
        if name in _RATES:
            return value / self.step.high, value / self.step.low
        return (value * self.target[0], value * self.target[1]) if name in _TARGETS else None

    def to_json(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """``[low, high]`` of every figure that has one, on how many rows they rest, and which, in words."""
        found: dict[str, Any] = {}
        for name in (*_TIMES, *_RATES, *_TARGETS):
            if name in figures:
                value = figures[name]
                found[name] = None if value is None or value != value else list(self.of(name, value) or ())
        return found | {"rows": self.step.rows, "basis": self.step.basis}


def spans(table: CostTable, strategies: Sequence[Strategy], estimates: Sequence[tuple[Estimates, int]]) -> list[Span]:
    """Of some strategies of one network and options; each estimate is a set and a flat index into it."""
    if not strategies:
        return []
    options, job = estimates[0][0].options, table.network.job
    residuals = shipped_residuals(options.model)
    # Of constants that nothing was fitted to, little is known: what they may be off counts where it is more.
    deviations = effects(table, strategies, options).deviation[0]
    found = []
    for strategy, (of, index), deviation in zip(strategies, estimates, deviations.tolist(), strict=True):
        run = 0.0
        if job is not None and options.training and of.samples is not None:
            samples = float(job_relative_error(job, strategy.global_batch))
            steps = float(np.broadcast_to(of.steps, of.strategies.shape).reshape(-1)[index])
            variation = options.operations.straggler_variation
            run = math.hypot(samples, slowest_worker_deviation(strategy.gpus, variation) / math.sqrt(steps))
        found.append(Span(interval(features_of(of, table.network, index), residuals, deviation), run))
    return found


_OF_CHOICE: WeakKeyDictionary[Choice, Span] = WeakKeyDictionary()


def prepare(choices: Sequence[Choice]) -> None:
    """Work out the intervals of choices of one problem together, which is faster than one by one."""
    new = [choice for choice in dict.fromkeys(choices) if choice not in _OF_CHOICE]
    if new:
        found = spans(new[0].problem.table, [item.strategy for item in new], [(item.estimates, 0) for item in new])
        _OF_CHOICE.update(zip(new, found, strict=True))


def span_of(choice: Choice) -> Span:
    """The intervals of one choice."""
    prepare([choice])
    return _OF_CHOICE[choice]


def interval_text(span: Span) -> str:
    """What the figures in brackets are: ``in brackets: 80% intervals, from 12 measured rows of the same platform``."""
    return f"in brackets: intervals that hold 80%, from {span.step.basis}"


def range_text(span: tuple[float, float] | None, form: Callable[[float], str]) -> str:
    """``37–46 ms``, or nothing where there is no interval."""
    if span is None or not all(map(math.isfinite, span)):
        return ""
    low, high = map(form, span)
    number, _, unit = low.partition(" ")
    return f"{number}–{high}" if high.partition(" ")[2] == unit and unit.isalpha() else f"{low}–{high}"


def with_range(value: float, span: tuple[float, float] | None, form: Callable[[float], str]) -> str:
    """``41 ms (37–46)``; with units in the brackets where they differ."""
    text = form(value)
    if span is None or not all(map(math.isfinite, (value, *span))):
        return text
    low, high = map(form, span)
    unit = text.partition(" ")[2]
    if all(part.startswith("$") for part in (text, low, high)):
        low, high = low.removeprefix("$"), high.removeprefix("$")
    elif unit.isalpha() and all(part.partition(" ")[2] == unit for part in (low, high)):
        low, high = low.partition(" ")[0], high.partition(" ")[0]
    return f"{text} ({low}–{high})"
