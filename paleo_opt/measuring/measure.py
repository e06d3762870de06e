"""Measure the machine at hand: its operations, collectives among its processes, and steps of a network."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from paleo_opt import __version__, catalog
from paleo_opt.calibration.micro_table import MicroRow
from paleo_opt.errors import SpecError, nearest
from paleo_opt.measuring import grid
from paleo_opt.measuring.collectives import time_collectives
from paleo_opt.measuring.machine import Cpu, read_cpu
from paleo_opt.measuring.operations import stream_rows, time_operations, time_operations_at_once
from paleo_opt.measuring.steps import StepTimes, optimizer_of, time_step, time_step_together
from paleo_opt.measuring.timing import Timing
from paleo_opt.measuring.torch_extra import require_torch, software
from paleo_opt.measuring.torch_network import check_supported
from paleo_opt.network.graph import Network

#: What can be measured; a network's steps only where one is named.
PARTS = ("gemm", "convolution", "memory", "collectives", "network")
#: Seconds for each operation, in full and quick.
_LIMIT_S, _QUICK_LIMIT_S = 0.6, 0.1
#: Seconds for each figure of a step.
_STEP_LIMIT_S, _QUICK_STEP_LIMIT_S = 10.0, 1.0
_START_S = 5.0  # of a group of processes, and of PyTorch

#: Told what is done, of how much, and what comes next.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        device_name: Of the device in the tables; chosen where empty.
        processes: That work together in collectives and in steps. Those of a CPU share its memory, caches and perhaps
            units, so that its operations are timed in all of them at once: a device is one of so many parts.
        threads: Of each process on a CPU: the cores that make up one device.
        quick: A few operations, briefly, to see that it works.
        only: Out of `PARTS`.
        network: Whose steps to time; None for none.
        network_name: As it goes into the table: its name or file.
        micro_batch: Samples of each process's step.
    """

    device_name: str = ""
    processes: int = 1
    threads: int = 1
    quick: bool = False
    only: tuple[str, ...] = PARTS
    network: Network | None = None
    network_name: str = ""
    micro_batch: int = 32


@dataclass(frozen=True)
class StepRow:
    """A figure of a network's step, for a measured table.

    Attributes:
        network: Name or file.
        gpus: Processes.
        micro_batch: Samples of each.
        quantity: As in measured tables.
        timing: Seconds.
    """

    network: str
    gpus: int
    micro_batch: int
    quantity: str
    timing: Timing


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        device: Name of the device.
        software: What ran.
        rows: Operations and collectives.
        steps: Of the network.
        cpu: None for a GPU.
        bandwidth: Bytes/s of its memory as measured; None for a GPU.
        processes: As asked for.
        threads: As asked for.
        source: Who measured it: this program, with its version and the date.
        left_out: What could not be measured, and why.
    """

    device: str
    software: str
    rows: tuple[MicroRow, ...]
    steps: tuple[StepRow, ...]
    cpu: Cpu | None
    bandwidth: float | None
    processes: int
    threads: int
    source: str
    left_out: tuple[str, ...] = field(default=())


def designed(request: Request, kind: str, precisions: Sequence[str]) -> list[MicroRow]:
    """The operations of ``request``, not yet timed."""
    large = kind == "cuda"
    rows: list[MicroRow] = []
    for precision in precisions:
        if "gemm" in request.only:
            rows += grid.products(precision, large, request.quick)
        if "convolution" in request.only:
            rows += grid.convolutions(precision, large, request.quick)
    if "memory" in request.only:
        rows += grid.memory_bound(precisions[0], large, request.quick) + grid.empty_step(precisions[0])
    if "collectives" in request.only and request.processes > 1:
        rows += grid.collectives(request.processes, 1, request.quick)
    return rows


def check(request: Request) -> tuple[Any, str]:
    """PyTorch and the kind of device, once all that can be refused has been.

    Raises:
        SpecError: PyTorch is missing, there are not so many cores or GPUs, or the network cannot be run.
    """
    unknown = [name for name in request.only if name not in PARTS]
    if unknown:
        raise SpecError(f"there is nothing called {unknown[0]!r} to measure{nearest(unknown[0], PARTS)}")
    torch = require_torch()
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and request.processes > torch.cuda.device_count():
        raise SpecError(f"{request.processes} processes on {torch.cuda.device_count()} GPUs; expected one on each")
    if kind == "cpu":
        cores = read_cpu().cores
        if request.processes * request.threads > cores:
            raise SpecError(
                f"{request.processes} processes of {request.threads} threads need more than the {cores} cores there are"
            )
    if request.network is not None:
        check_supported(request.network)
        optimizer_of(request.network)
    return torch, kind


def time_bound(request: Request, kind: str, precisions: Sequence[str]) -> float:
    """About the longest that it takes [s], where no process fails to answer."""
    rows = designed(request, kind, precisions)
    limit = _QUICK_LIMIT_S if request.quick else _LIMIT_S
    step = _QUICK_STEP_LIMIT_S if request.quick else _STEP_LIMIT_S
    total = _START_S + limit * len(rows) + (3.0 * limit if kind == "cpu" else 0.0)
    if request.processes > 1 and "collectives" in request.only:
        total += _START_S
    if request.network is not None and "network" in request.only:
        total += 3.0 * step + (step + _START_S if request.processes > 1 else 0.0)
    return total


def precisions_of(torch: Any, kind: str) -> tuple[str, ...]:
    """The precisions that the device supports in matrix products."""
    if kind == "cpu":
        return tuple(read_cpu().flops_per_cycle)
    major = torch.cuda.get_device_capability()[0]
    return ("fp32", "tf32", "fp16", "bf16") if major >= 8 else ("fp32", "fp16") if major >= 6 else ("fp32",)


def device_name(torch: Any, kind: str, request: Request) -> str:
    """The name of the device at hand: the catalog's where it has it."""
    if kind == "cpu":
        shared = f"-of-{request.processes}" if request.processes > 1 else ""
        return f"{_slug(read_cpu().model)}-{request.threads}-core{shared}"
    slug = _slug(str(torch.cuda.get_device_name())).removeprefix("nvidia-").removeprefix("tesla-")
    known = catalog.names("device")
    return next((name for name in (slug, slug.removesuffix("-hbm3")) if name in known), slug)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", re.sub(r"\((r|tm)\)|@.*", "", text.casefold())).strip("-") or "cpu"


def _nothing(done: int, total: int, what: str) -> None:
    """No progress shown."""


def measure(request: Request, progress: Progress = _nothing) -> Measured:
    """Measure what ``request`` asks for on the machine at hand.

    Raises:
        SpecError: as `check`, or processes that failed.
    """
    torch, kind = check(request)
    if kind == "cpu":
        torch.set_num_threads(request.threads)
    precisions = precisions_of(torch, kind)
    limit = _QUICK_LIMIT_S if request.quick else _LIMIT_S
    name = request.device_name or device_name(torch, kind, request)
    what = software(torch, kind)
    source = f"paleo-opt {__version__} measure, {time.strftime('%Y-%m-%d')}"
    threads = request.threads if kind == "cpu" else 0
    rows = designed(request, kind, precisions)
    total = len(rows) + (request.network is not None)
    found: list[MicroRow] = []
    left_out: list[str] = []

    def note(row: MicroRow, timing: Timing | str | None, link: str = "") -> None:
        if not isinstance(timing, Timing):
            left_out.append(f"{row.id}: {timing or 'the library has none'}")
            return
        found.append(
            replace(
                row, device=name, software=what, threads=threads, repeats=timing.repeats, time_s=timing.seconds,
                spread=timing.spread, source=source, link=link,
            )
        )  # fmt: skip

    def told(row: MicroRow) -> None:
        progress(single.index(row), total, row.id)

    streams = stream_rows() if kind == "cpu" else []
    single = [row for row in rows if row.operation != "collective"] + streams
    if kind == "cpu" and request.processes > 1:
        progress(0, total, f"{len(single)} operations in {request.processes} processes at once")
        timings = time_operations_at_once(single, request.processes, request.threads, limit)
    else:
        timings = time_operations(torch, single, kind, limit, told)
    rates = []
    for row, timing in zip(single, timings, strict=True):
        if row.operation != "stream":
            note(row, timing)
        elif isinstance(timing, Timing):
            rates.append(row.bytes / timing.seconds)
    together = [row for row in rows if row.operation == "collective"]
    if together:
        progress(len(single), total, "collectives")
        link = f"{name}-loopback" if kind == "cpu" else ""
        for row, timed in zip(together, time_collectives(together, threads or 1, kind, limit), strict=True):
            note(row, timed, link)
    progress(len(single) + len(together), total, "steps")
    steps = _steps(torch, request, kind) if request.network is not None and "network" in request.only else ()
    return Measured(
        device=name,
        software=what,
        rows=tuple(found),
        steps=steps,
        cpu=read_cpu() if kind == "cpu" else None,
        bandwidth=max(rates, default=None),
        processes=request.processes,
        threads=request.threads,
        source=source,
        left_out=tuple(left_out),
    )


def _steps(torch: Any, request: Request, kind: str) -> tuple[StepRow, ...]:
    assert request.network is not None
    limit = _QUICK_STEP_LIMIT_S if request.quick else _STEP_LIMIT_S
    batch = request.micro_batch

    def rows_of(times: StepTimes, gpus: int) -> list[StepRow]:
        named = (("step_time_s", times.step), ("forward_time_s", times.forward), ("backward_time_s", times.backward))
        return [
            StepRow(request.network_name or request.network.name, gpus, batch, quantity, timing)  # type: ignore[union-attr]
            for quantity, timing in named
            if timing is not None
        ]

    rows: list[StepRow] = []
    if request.processes == 1 or kind == "cuda":  # one process of a CPU by itself would be another device
        rows += rows_of(time_step(torch, request.network, batch, kind, limit), 1)
    if request.processes > 1:
        shared = time_step_together(request.network, batch, request.processes, request.threads, kind, limit)
        rows += rows_of(shared, request.processes)
    return tuple(rows)
