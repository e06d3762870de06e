"""Calibrate: from measured tables and micro-measurements to the constants of a device, a platform and a link."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paleo_opt import catalog, csv_file
from paleo_opt.calibration import rows as accepted_rows
from paleo_opt.calibration.fit import Fit, Parameter, fit
from paleo_opt.calibration.micro_model import MicroModel
from paleo_opt.calibration.micro_table import MicroRow, read_micro_table
from paleo_opt.calibration.rows import RefusedRow
from paleo_opt.errors import Problem, SpecError
from paleo_opt.estimator.options import Options
from paleo_opt.hardware.cluster import Link
from paleo_opt.hardware.constant import Constant, Meaning
from paleo_opt.hardware.device import Device
from paleo_opt.hardware.link_constants import LINK_CONSTANTS, link_constant
from paleo_opt.hardware.load import load_device, load_link
from paleo_opt.hardware.platform import ATTAINABLE, CONSTANTS, Platform
from paleo_opt.hardware.platform_load import load_platform, platform_of
from paleo_opt.validation.measured_table import MeasuredRow, read_measured_table
from paleo_opt.validation.predict import predict

Floats = NDArray[np.float64]
#: A fit of fewer rows says nothing of its own scatter.
FEWEST_ROWS = 2
#: The fastest row is what a device attains at best, but for its own error of measurement.
_BEST_DEVIATION = 0.03
#: Quantities that grow with the time; of the others, rates, the inverse is compared.
_RATES = ("samples_per_s", "tokens_per_s", "tokens_per_s_per_gpu", "tflops_per_gpu", "mfu", "speedup")
_LEAST_TIME = 1e-9
#: A constant goes into a file where its deviation shrank below this share, or it moved by this share of its deviation.
_KNOWN_BETTER, _MOVED = 0.9, 0.1


@dataclass(frozen=True)
class Meant:
    """A constant that can be calibrated: where it stands, what it means, and its value in the files.

    Attributes:
        name: As in `Options.shifts`.
        meaning: With its unit and bounds.
        given: Of the file, or the prior.
        prior: What the fit starts from: ``given``, or what the fastest row attained.
        reason: Where ``prior`` is from, where that is not the file.
    """

    name: str
    meaning: Meaning
    given: Constant
    prior: Constant
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was fitted, and how near it brings the rows.

    Attributes:
        files: The tables.
        device: As it was.
        platform: As it was.
        link: As it was; None where no collective was measured.
        constants: Those that the rows depend on.
        fit: Of them, in the same order.
        exact: Constants that the files give without a deviation, which are taken as exact.
        classes: Of each row: its operation and pass, or its quantity.
        ids: Of each row.
        refused: Rows that are left out, with why.
    """

    files: tuple[str, ...]
    device: Device
    platform: Platform
    link: Link | None
    constants: tuple[Meant, ...]
    fit: Fit
    exact: tuple[str, ...]
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    refused: tuple[RefusedRow, ...]

    def written(self) -> dict[str, Constant]:
        """The constants that go into files: those that the rows moved, or know better than before."""
        return {
            meant.name: Constant(fitted.value, fitted.deviation)
            for meant, fitted in zip(self.constants, self.fit.fitted, strict=True)
            if fitted.deviation < _KNOWN_BETTER * meant.given.deviation
            or abs(math.log(fitted.value / meant.given.value)) > _MOVED * meant.given.deviation
        }

    def errors(self) -> dict[str, tuple[int, Floats, Floats]]:
        """Rows, and abs(predicted / measured - 1) before and after, by class; ``all`` comes first."""
        before, after = (np.abs(np.expm1(errors)) for errors in (self.fit.before, self.fit.after))
        kinds = np.array(self.classes)
        found = {"all": (len(kinds), before, after)}
        for kind in dict.fromkeys(self.classes):
            of = kinds == kind
            found[kind] = (int(of.sum()), before[of], after[of])
        return found


def calibrate(
    files: str | Path | Sequence[str | Path],
    device: str,
    platform: str | None = None,
    bootstrap: int = 0,
    seed: int = 0,
) -> Calibration:
    """Fit the constants of a device, its platform and a link to measurements.

    Args:
        files: Measured tables and tables of micro-measurements, CSV.
        device: A device's name or YAML file; rows of others are refused.
        platform: A platform's name or YAML file; the device's where None.
        bootstrap: How often to draw the rows anew for a check of the deviations; 0 for not at all.
        seed: Of the bootstrap.

    Raises:
        SpecError: a file that cannot be read, all that is wrong in one, or too few rows that can be used.
    """
    paths = (files,) if isinstance(files, (str, Path)) else tuple(files)
    micro, steps = _read(paths)
    of = load_device(device)
    on = load_platform(platform) if platform else platform_of(of)
    usable, refused = accepted_rows.usable_micro(micro, of, on)
    chosen, link, more = _link_of(usable)
    measured, rejected = accepted_rows.usable_steps(steps, of, on)
    refused = [*refused, *more, *rejected]
    count = len(chosen) + len(measured)
    if count < FEWEST_ROWS:
        raise SpecError(_too_few(count, refused, paths))
    if len({_work(row) for row in chosen} | {_work(row) for row in measured}) == 1:
        raise SpecError("all rows measured the same work; no constant can be told from the others")
    residuals = _Residuals(chosen, measured, of, on, link)
    meant, exact = _constants(of, on, link, chosen)
    touched = [one for one in meant if residuals.moved_by(one)]
    if not touched:
        raise SpecError("the rows depend on no constant that may be fitted; all are taken as exact")
    classes = (*(_class(row) for row in chosen), *(row.quantity for row in measured))
    found = fit(
        lambda values: residuals({one.name: _shift(one, value) for one, value in zip(touched, values, strict=True)}),
        [_parameter(one) for one in touched],
        classes,
        # A row whose runs differ says less: another process may have come between.
        np.array([*(row.spread for row in chosen), *(0.0 for _ in measured)]),
        bootstrap,
        seed,
    )
    return Calibration(
        files=tuple(map(str, paths)),
        device=of,
        platform=on,
        link=link,
        constants=tuple(touched),
        fit=found,
        exact=exact,
        classes=classes,
        ids=(*(row.id for row in chosen), *(row.id for row in measured)),
        refused=tuple(refused),
    )


def _read(paths: Sequence[str | Path]) -> tuple[list[MicroRow], list[MeasuredRow]]:
    """The rows of all tables, every mistake of all files at once."""
    micro: list[MicroRow] = []
    steps: list[MeasuredRow] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            if "operation" in csv_file.header_of(path):
                micro += read_micro_table(path)
            else:
                steps += read_measured_table(path)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return micro, steps


def _link_of(rows: Sequence[MicroRow]) -> tuple[list[MicroRow], Link | None, list[RefusedRow]]:
    """The rows that can be fitted together: of collectives only those of the link that most of them used."""
    names = [row.link for row in rows if row.operation == "collective"]
    name = max(dict.fromkeys(names), key=names.count, default="")
    link = _load_link(name, rows) if name else None
    kept, refused = [], []
    for row in rows:
        if row.operation != "collective" or (row.link == name and link is not None):
            kept.append(row)
        elif row.link == name:
            refused.append(RefusedRow(row.id, f"link {name!r} is not known"))
        else:
            refused.append(RefusedRow(row.id, f"link {row.link!r}: one link is calibrated at a time, here {name!r}"))
    return kept, link, refused


def _load_link(name: str, rows: Sequence[MicroRow]) -> Link | None:
    """The link of a name, or of a file seen from the table's folder; None where there is none."""
    if name in catalog.names("link"):
        return load_link(name)
    folder = Path(next(row.file for row in rows if row.link == name)).parent
    beside = folder / name if name.endswith((".yaml", ".yml")) else folder / f"hardware/links/{name}.yaml"
    return load_link(str(beside)) if beside.is_file() else None


def _too_few(count: int, refused: Sequence[RefusedRow], paths: Sequence[str | Path]) -> list[Problem]:
    name = str(paths[0]) if len(paths) == 1 else ""
    said = "one row" if count else "no row"
    problems = [Problem(f"{said} can be used; expected at least {FEWEST_ROWS}", name)]
    reasons = list(dict.fromkeys(row.reason for row in refused))
    return problems + [Problem(f"refused: {reason}", name) for reason in reasons[:5]]


def _work(row: MicroRow | MeasuredRow) -> MicroRow | MeasuredRow:
    """A row without what it measured and who."""
    if isinstance(row, MicroRow):
        return replace(row, id="", time_s=0.0, spread=0.0, repeats=0, source="", file="", line=0)
    return replace(row, id="", measured=1.0, source="", file="", line=0)


class _Residuals:
    """ln(predicted / measured) of the rows, from shifts of constants."""

    def __init__(
        self,
        micro: Sequence[MicroRow],
        steps: Sequence[MeasuredRow],
        device: Device,
        platform: Platform,
        link: Link | None,
    ) -> None:
        self._model = MicroModel(micro, device, platform, link)
        self._steps = tuple(steps)
        self._platform = platform.file or platform.name
        self._measured = np.log([*(row.time_s for row in micro), *(row.measured for row in steps)])
        self._sign = np.array([-1.0 if row.quantity in _RATES else 1.0 for row in steps])
        self._at_rest = self({})

    def __call__(self, shifts: Mapping[str, float]) -> Floats:
        """Shape (rows,); of a rate the sign is that of the time."""
        count = len(self._model.rows)
        errors = np.empty(self._measured.size)
        errors[:count] = np.log(self._model.predict(shifts)) - self._measured[:count]
        if self._steps:
            options = Options(platform=self._platform, shifts=dict(shifts))
            predictions, refused = predict(self._steps, options, intervals=False)
            assert not refused
            predicted = np.log([prediction.predicted for prediction in predictions])
            errors[count:] = self._sign * (predicted - self._measured[count:])
        return errors

    def moved_by(self, one: Meant) -> bool:
        """Whether any row depends on a constant."""
        return any(
            bool(np.abs(self({one.name: shift}) - self._at_rest).max() > 1e-9) for shift in (-1.0, 1.0)
        )  # fmt: skip


def _shift(one: Meant, value: float) -> float:
    return math.log(value / one.given.value) / one.given.deviation


def _parameter(one: Meant) -> Parameter:
    return Parameter(one.name, one.prior, max(one.meaning.low, _LEAST_TIME), one.meaning.high)


def _constants(
    device: Device, platform: Platform, link: Link | None, rows: Sequence[MicroRow]
) -> tuple[list[Meant], tuple[str, ...]]:
    """Every constant that may be fitted, and the names of those that the files give as exact."""
    found: list[tuple[str, Meaning, Constant]] = [
        *((name, meaning, device.attained(name)) for name, meaning in ATTAINABLE.items()),
        *((f"platform.{name}", meaning, platform.constant(name)) for name, meaning in CONSTANTS.items()),
    ]
    if link is not None:
        found += [
            (f"link.{name}", meaning, link_constant(link.constants, name, link.latency))
            for name, meaning in LINK_CONSTANTS.items()
        ]
    best = accepted_rows.best_shares(rows, device)
    meant, exact = [], []
    for name, meaning, given in found:
        if given.deviation == 0.0:
            if given.value > 0.0:
                exact.append(name)
        elif name in best:
            share, row = best[name]
            prior = Constant(min(share, meaning.high), _BEST_DEVIATION)
            meant.append(Meant(name, meaning, given, prior, f"the fastest row, {row}"))
        else:
            meant.append(Meant(name, meaning, given, given))
    return meant, tuple(exact)


def _class(row: MicroRow) -> str:
    if row.operation == "collective":
        return row.collective
    return f"{row.operation} {row.step}" if row.operation == "convolution" else row.operation
