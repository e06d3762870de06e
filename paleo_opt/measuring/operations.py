"""The calls that the rows of a micro table stand for, in PyTorch.

Images are channels-last, as PyTorch recommends for convolutions on CPUs and tensor cores alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paleo_opt.calibration.micro_table import MicroRow

Call = Callable[[], object]
_DTYPES = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def call_of(torch: Any, row: MicroRow, kind: str) -> Call:
    """What to time for ``row`` on a device of ``kind``, ``cpu`` or ``cuda``."""
    if kind == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = row.precision == "tf32"
    dtype = getattr(torch, _DTYPES[row.precision])
    make: Callable[[Any, MicroRow, str, Any], Call] = {
        "gemm": _gemm, "convolution": _convolution, "step": _step,
    }.get(row.operation, _pointwise)  # fmt: skip
    return make(torch, row, kind, dtype)


def _gemm(torch: Any, row: MicroRow, kind: str, dtype: Any) -> Call:
    a = torch.randn(row.m, row.k, device=kind, dtype=dtype)
    b = torch.randn(row.k, row.n, device=kind, dtype=dtype)
    out = torch.empty(row.m, row.n, device=kind, dtype=dtype)
    return lambda: torch.mm(a, b, out=out)


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
