"""What estimates of measured rows were off, with what describes each row: the rows that intervals rest on.

The shipped tables (``residuals/MODEL.csv``) are written by ``benchmarks/residuals.py``.
"""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.estimate import Estimates
from paleo_opt.hardware.device import Device
from paleo_opt.network.graph import Network

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FOLDER = Path(__file__).resolve().parent / "residuals"
#: Groups of rows, each nested in the one before.
LEVELS = ("family", "unit", "platform", "device", "scale", "network")
NO_WIDENING = (1.0,) * (len(LEVELS) + 1)
#: Of the folders of shipped devices; ``paleo`` are those of its published implementation.
_VENDORS = {"nvidia": "nvidia", "amd": "amd", "aws": "aws", "google": "google", "intel": "intel", "paleo": "nvidia"}
PARTS = ("step", "forward", "backward")
_PART_OF = {
    "step_time_s": "step", "samples_per_s": "step", "tokens_per_s": "step", "tokens_per_s_per_gpu": "step",
    "tflops_per_gpu": "step", "mfu": "step", "train_time_s": "step",
    "forward_time_s": "forward", "backward_time_s": "backward",
}  # fmt: skip


@dataclass(frozen=True)
class Features:
    """What describes an estimate, or a measured row.

    Attributes:
        family: ``cnn`` or ``transformer``.
        unit: The device's class: its vendor, and ``tensor`` cores or ``vector`` units.
        platform: The software; of a row that does not name its own, the assumed one and ``?``.
        device: Its name.
        scale: ``one`` device, one ``node``, or several ``nodes``.
        network: Its name.
        precision: Of arithmetic.
        part: Out of `PARTS`.
        gpus: Devices.
        nodes: Of them.
        micro_batch: Samples per device and pass.
        communication: Share of the step in communication.
        attained: Model FLOP/s of the computation, over the peak: low where memory bounds it.
    """

    family: str
    unit: str
    platform: str
    device: str
    scale: str
    network: str
    precision: str
    part: str = "step"
    gpus: int = 1
    nodes: int = 1
    micro_batch: int = 1
    communication: float = 0.0
    attained: float = 0.0


def configuration(features: Features) -> Features:
    """What of ``features`` says what was run, rather than how the model sees it."""
    return replace(features, communication=0.0, attained=0.0)


@dataclass(frozen=True)
class Residual:
    """One measured row.

    Attributes:
        features: What describes it.
        value: ln(measured time / predicted time); of a rate, of the time that it stands for.
        source: The table it is from.
        fitted: Whether the platform's or the device's constants were fitted to measurements like it.
    """

    features: Features
    value: float
    source: str = ""
    fitted: bool = False


def device_class(device: Device, precision: str) -> str:
    """``nvidia tensor``: who makes it, and which units compute."""
    vendor = _VENDORS.get(Path(device.file).parent.name, "other") if device.file else "other"
    return f"{vendor} {device.unit(precision)}"


def part_of(quantity: str) -> str | None:
    """The part of a step whose time ``quantity`` is, or is a rate of; None of memory and of speedups."""
    return _PART_OF.get(quantity)


def is_time(quantity: str) -> bool:
    """Whether more of ``quantity`` is slower."""
    return quantity.endswith("_time_s")


def scale_of(gpus: int, nodes: int) -> str:
    """``one``, ``node`` or ``nodes``."""
    return "one" if gpus == 1 else "node" if nodes == 1 else "nodes"


def family_of(network: Network) -> str:
    """``cnn`` for networks of images, ``transformer`` for those of sequences."""
    return "cnn" if len(network.input_shape) == 3 else "transformer"


def features_of(estimates: Estimates, network: Network, index: int = 0) -> Features:
    """What describes the estimate at a flat ``index`` of a set."""
    strategies, options = estimates.strategies, estimates.options
    shape = strategies.shape
    where = np.unravel_index(index, shape)

    def at(values: Any) -> Any:
        return np.broadcast_to(values, shape)[where]

    place = int(at(strategies.place))
    cluster, precision = strategies.clusters[place], strategies.precisions[place]
    gpus, nodes = int(at(strategies.gpus)), int(at(strategies.nodes))
    compute = float(at(estimates.compute_time_s))
    work = estimates.flops_per_sample * float(at(strategies.global_batch)) / gpus
    return Features(
        family=family_of(network),
        unit=device_class(cluster.device, precision),
        platform="paleo" if options.model == "paleo" else options.platform_of(cluster.device).name,
        device=cluster.device.name,
        scale=scale_of(gpus, nodes),
        network=network.name,
        precision=precision,
        gpus=gpus,
        nodes=nodes,
        micro_batch=int(at(strategies.micro_batch)),
        communication=float(at(estimates.communication_time_s)) / float(at(estimates.step_time_s)),
        attained=work / float(estimates.places.peak[place]) / compute if compute > 0 else 0.0,
    )


@dataclass(frozen=True, eq=False)
class Residuals:
    """Rows as arrays.

    Attributes:
        rows: Of which.
        widths: Factors of the widths of intervals, by how many levels have rows (`intervals.held_out_widths`).
    """

    rows: tuple[Residual, ...]
    widths: tuple[float, ...] = NO_WIDENING

    @cached_property
    def value(self) -> Floats:
        """ln(measured / predicted time). Shape (rows,)."""
        return np.array([row.value for row in self.rows])

    def _numbers(self, name: str) -> Floats:
        return np.array([getattr(row.features, name) for row in self.rows], dtype=float)

    @cached_property
    def gpus(self) -> Floats:
        """Shape (rows,)."""
        return self._numbers("gpus")

    @cached_property
    def micro_batch(self) -> Floats:
        """Shape (rows,)."""
        return self._numbers("micro_batch")

    @cached_property
    def communication(self) -> Floats:
        """Shape (rows,)."""
        return self._numbers("communication")

    @cached_property
    def part(self) -> NDArray[np.str_]:
        """Shape (rows,)."""
        return np.array([row.features.part for row in self.rows], dtype=str)

    @cached_property
    def precision(self) -> NDArray[np.str_]:
        """Shape (rows,)."""
        return np.array([row.features.precision for row in self.rows], dtype=str)

    @cached_property
    def _numbered(self) -> list[dict[str, int]]:
        """The groups of each level, numbered."""
        names = [[getattr(row.features, level) for row in self.rows] for level in LEVELS]
        return [{name: number for number, name in enumerate(dict.fromkeys(of_level))} for of_level in names]

    @cached_property
    def codes(self) -> list[Integers]:
        """The number of each row's group, level by level. Shapes (rows,)."""
        return [
            np.array([numbered[getattr(row.features, level)] for row in self.rows], dtype=np.int64)
            for level, numbered in zip(LEVELS, self._numbered, strict=True)
        ]

    @cached_property
    def groups(self) -> tuple[list[Integers], list[Integers]]:
        """The nested groups, from the one of all rows inwards: of each row, shape (rows,), and the parent of each."""
        group, parent = [np.zeros(len(self.rows), dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
        for codes in self.codes:
            pairs = group[-1] * (int(codes.max()) + 1) + codes
            _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
            parent.append(group[-1][first])
            group.append(inverse.reshape(-1))
        return group, parent

    def path(self, features: Features) -> list[int]:
        """The number of the group of ``features`` at each level; -1 where there are no rows of that name."""
        return [
            numbered.get(getattr(features, level), -1) for level, numbered in zip(LEVELS, self._numbered, strict=True)
        ]

    def keep(self, kept: NDArray[np.bool_]) -> Residuals:
        """Some of the rows."""
        return Residuals(tuple(row for row, keep in zip(self.rows, kept, strict=True) if keep), self.widths)

    def with_widths(self, widths: tuple[float, ...]) -> Residuals:
        """The same rows with other widths."""
        return Residuals(self.rows, widths)


_FEATURES = tuple(field.name for field in fields(Features))
COLUMNS = (*_FEATURES, "source", "fitted", "residual")


def residuals_text(residuals: Residuals) -> str:
    """Rows as the shipped table has them, under a line with the widths."""
    lines = [f"widths,{','.join(map(str, residuals.widths))}", ",".join(COLUMNS)]
    for row in residuals.rows:
        cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in asdict(row.features).values()]
        lines.append(",".join([*cells, row.source, str(int(row.fitted)), f"{row.value:.4f}"]))
    return "\n".join(lines) + "\n"


def read_residuals(path: Path) -> Residuals:
    """A table as `residuals_text` writes it; empty where there is none."""
    if not path.is_file():
        return Residuals(())
    numbers = {"gpus": int, "nodes": int, "micro_batch": int, "communication": float, "attained": float}
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        widths = tuple(map(float, next(reader)[1:]))
        assert tuple(next(reader)) == COLUMNS
        for *cells, source, fitted, residual in reader:
            given = {name: numbers.get(name, str)(cell) for name, cell in zip(_FEATURES, cells, strict=True)}
            rows.append(Residual(Features(**given), float(residual), source, fitted == "1"))
    return Residuals(tuple(rows), widths)


@cache
def shipped_residuals(model: str) -> Residuals:
    """The rows of the estimates of ``model``."""
    return read_residuals(FOLDER / f"{model}.csv")
