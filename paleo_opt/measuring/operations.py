"""The calls that the rows of a micro table stand for, in PyTorch.

Images are channels-last, as PyTorch recommends for convolutions on CPUs and tensor cores alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from paleo_opt.calibration.micro_table import MicroRow
from paleo_opt.measuring.processes import agreed_timing, run_together
from paleo_opt.measuring.timing import Timing, time_call, timing_of

Call = Callable[[], object]
_DTYPES = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16"}


#: Bytes of the three arrays whose sum says how fast memory is.
STREAMS = (12_000_000, 48_000_000, 192_000_000)


def time_operations(
    torch: Any, rows: Sequence[MicroRow], kind: str, limit_s: float, told: Callable[[MicroRow], None]
) -> list[Timing | str]:
    """Time the operations of ``rows``; for one that cannot run, why.

    Args:
        torch: The module.
        rows: Without collectives.
        kind: ``cpu`` or ``cuda``.
        limit_s: Seconds for each row.
        told: Called with each row before it is timed.
    """
    finish = torch.cuda.synchronize if kind == "cuda" else lambda: None
    found: list[Timing | str] = []
    for row in rows:
        told(row)
        try:
            found.append(time_call(call_of(torch, row, kind), finish, limit_s))
        except (RuntimeError, NotImplementedError) as error:  # out of memory, or a precision without this operation
            found.append(_first_line(error))
    return found


def time_operations_at_once(
    rows: Sequence[MicroRow], processes: int, threads: int, limit_s: float
) -> list[Timing | str]:
    """The same on a CPU, by several processes at once, which share its memory, caches and units.

    Raises:
        SpecError: a process failed.
    """
    samples = run_together(run_operations, processes, threads, "cpu", (rows, limit_s), limit_s * len(rows))
    return [of if isinstance(of, str) else timing_of(of) for of in samples]


def run_operations(torch: Any, rank: int, processes: int, kind: str, payload: Any) -> list[list[float] | str]:
    """In each process: the runs of every row of ``payload``."""
    rows, limit_s = payload
    found: list[list[float] | str] = []
    for row in rows:
        try:
            call = call_of(torch, row, kind)
        except (RuntimeError, NotImplementedError) as error:
            found.append(_first_line(error))
            continue
        found.append(agreed_timing(torch, call, lambda: None, limit_s))
    return found


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def stream_rows() -> list[MicroRow]:
    """Sums of two large arrays into a third, `STREAMS` bytes in all; not of a table."""
    return [MicroRow(f"stream-{size}", "stream", "", bytes=size) for size in STREAMS]


def call_of(torch: Any, row: MicroRow, kind: str) -> Call:
    """What to time for ``row`` on a device of ``kind``, ``cpu`` or ``cuda``."""
    if kind == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = row.precision == "tf32"
    dtype = getattr(torch, _DTYPES[row.precision])
    make: Callable[[Any, MicroRow, str, Any], Call] = {
        "gemm": _gemm, "convolution": _convolution, "step": _step, "stream": _stream,
    }.get(row.operation, _pointwise)  # fmt: skip
    return make(torch, row, kind, dtype)


def _gemm(torch: Any, row: MicroRow, kind: str, dtype: Any) -> Call:
    a = torch.randn(row.m, row.k, device=kind, dtype=dtype)
    b = torch.randn(row.k, row.n, device=kind, dtype=dtype)
    out = torch.empty(row.m, row.n, device=kind, dtype=dtype)
    return lambda: torch.mm(a, b, out=out)


def _stream(torch: Any, row: MicroRow, kind: str, dtype: Any) -> Call:
    a, b = torch.ones(row.bytes // 12, device=kind), torch.ones(row.bytes // 12, device=kind)
    out = torch.empty_like(a)
    return lambda: torch.add(a, b, out=out)


def _images(torch: Any, row: MicroRow, kind: str, dtype: Any) -> Any:
    image = torch.randn(row.batch, row.channels, row.height, row.width, device=kind, dtype=dtype)
    return image.contiguous(memory_format=torch.channels_last)


def _convolution(torch: Any, row: MicroRow, kind: str, dtype: Any) -> Call:
    image = _images(torch, row, kind, dtype)
    shape = (row.filters, row.channels // row.groups, row.kernel_h, row.kernel_w)
    weight = torch.randn(shape, device=kind, dtype=dtype).contiguous(memory_format=torch.channels_last)
    window = ([row.stride] * 2, [row.padding] * 2, [1, 1], False, [0, 0], row.groups)
    if row.step == "forward":
        return lambda: torch.ops.aten.convolution(image, weight, None, *window)
    gradient = torch.randn_like(torch.ops.aten.convolution(image, weight, None, *window))
    wanted = [row.step == "backward_data", row.step == "backward_filter", False]
    return lambda: torch.ops.aten.convolution_backward(gradient, image, weight, None, *window, wanted)


def _pointwise(torch: Any, row: MicroRow, kind: str, dtype: Any) -> Call:
    image = _images(torch, row, kind, dtype)
    if row.operation == "add":
        other = torch.randn_like(image)
        return lambda: image + other
    functional = torch.nn.functional
    learned: tuple[Any, ...] = ()
    if row.operation == "relu":
        apply: Callable[[Any], Any] = functional.relu
    elif row.operation == "batch_norm":
        norm = torch.nn.BatchNorm2d(row.channels, device=kind, dtype=dtype)
        learned = tuple(norm.parameters())
        apply = norm
    else:
        pool = functional.max_pool2d if row.operation == "max_pool" else functional.avg_pool2d
        window = ((row.kernel_h, row.kernel_w), row.stride, row.padding)

        def apply(given: Any) -> Any:
            return pool(given, *window)

    if row.step == "forward":

        def forward() -> object:
            with torch.no_grad():
                return apply(image)

        return forward
    image.requires_grad_()
    result = apply(image)
    gradient = torch.randn_like(result)
    return lambda: torch.autograd.grad(result, (image, *learned), gradient, retain_graph=True)


def _step(torch: Any, row: MicroRow, kind: str, dtype: Any) -> Call:
    """A whole training step of one weight: what the framework takes by itself."""
    layer = torch.nn.Linear(1, 1, bias=False, device=kind, dtype=dtype)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3, momentum=0.9)
    sample = torch.ones(1, 1, device=kind, dtype=dtype)

    def step() -> None:
        optimizer.zero_grad()
        layer(sample).sum().backward()
        optimizer.step()

    return step
