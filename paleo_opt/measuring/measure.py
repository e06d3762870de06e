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
from paleo_opt.measuring.machine import Cpu, read_cpu, stream_bandwidth
from paleo_opt.measuring.operations import call_of
from paleo_opt.measuring.steps import StepTimes, optimizer_of, time_step, time_step_together
from paleo_opt.measuring.timing import Timing, time_call
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
        processes: That work together in collectives and in steps.
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


def device_name(torch: Any, kind: str, threads: int) -> str:
    """The name of the device at hand: the catalog's where it has it."""
    if kind == "cpu":
        return f"{_slug(read_cpu().model)}-{threads}-core"
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
    name = request.device_name or device_name(torch, kind, request.threads)
    what = software(torch, kind)
    source = f"paleo-opt {__version__} measure, {time.strftime('%Y-%m-%d')}"
    threads = request.threads if kind == "cpu" else 0
    finish: Callable[[], object] = torch.cuda.synchronize if kind == "cuda" else lambda: None
    rows = designed(request, kind, precisions)
    total = len(rows) + (request.network is not None)
    found: list[MicroRow] = []
    left_out: list[str] = []

    def note(row: MicroRow, timing: Timing, link: str = "") -> None:
        found.append(
            replace(
                row, device=name, software=what, threads=threads, repeats=timing.repeats, time_s=timing.seconds,
                spread=timing.spread, source=source, link=link,
            )
        )  # fmt: skip

    for row in rows:
        if row.operation == "collective":
            continue
        progress(len(found) + len(left_out), total, row.id)
        try:
            note(row, time_call(call_of(torch, row, kind), finish, limit))
        except (RuntimeError, NotImplementedError) as error:  # out of memory, or a precision without this operation
            left_out.append(f"{row.id}: {str(error).splitlines()[0]}")
    together = [row for row in rows if row.operation == "collective"]
    if together:
        progress(len(found) + len(left_out), total, "collectives")
        for row, timing in zip(together, time_collectives(together, threads or 1, kind, limit), strict=True):
            if timing is None:
                left_out.append(f"{row.id}: the library has no {row.collective}")
            else:
                note(row, timing, f"{name}-loopback" if kind == "cpu" else "")
    progress(total - (request.network is not None), total, "steps")
    steps = _steps(torch, request, kind) if request.network is not None and "network" in request.only else ()
    return Measured(
        device=name,
        software=what,
        rows=tuple(found),
        steps=steps,
        cpu=read_cpu() if kind == "cpu" else None,
        bandwidth=stream_bandwidth(torch, limit) if kind == "cpu" else None,
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

    rows = rows_of(time_step(torch, request.network, batch, kind, limit), 1)
    if request.processes > 1:
        shared = time_step_together(request.network, batch, request.processes, request.threads, kind, limit)
        rows += rows_of(shared, request.processes)
    return tuple(rows)
