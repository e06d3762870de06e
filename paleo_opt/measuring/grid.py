"""What to measure: designed grids of operations, spread over the sizes that networks have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paleo_opt.calibration.micro_table import MicroRow

#: m, n, k of matrix products: large, small, with few rows or columns, and with long or short reductions.
PRODUCTS = (
    (1024, 1024, 1024), (512, 512, 512), (256, 256, 256), (128, 128, 128), (64, 64, 64),
    (32, 32, 32), (16, 2048, 1024), (1, 1024, 1024), (2048, 16, 1024), (2048, 1, 1024), (64, 1024, 512),
    (1024, 64, 512), (128, 10, 512), (64, 64, 8192), (128, 128, 4096), (1024, 1024, 16), (2048, 512, 64),
    (4096, 64, 576), (8192, 128, 128),
)  # fmt: skip
#: Those of large devices besides, on which the others are over at once.
LARGE_PRODUCTS = ((2048, 2048, 2048), (4096, 4096, 4096), (8192, 8192, 8192), (8192, 4096, 1024), (16384, 1024, 4096))
_QUICK_PRODUCTS = PRODUCTS[1:8:2] + PRODUCTS[13:17:2]

#: batch, image side, channels, filters, kernel, stride, padding, groups; some milliseconds on one core, so that what
#: else a machine runs seldom comes between.
CONVOLUTIONS = (
    (2, 56, 64, 64, 3, 1, 1, 1), (8, 28, 64, 64, 3, 1, 1, 1), (16, 14, 128, 128, 3, 1, 1, 1),
    (16, 16, 32, 64, 3, 1, 1, 1), (4, 8, 256, 256, 3, 1, 1, 1), (32, 32, 3, 32, 3, 1, 1, 1),
    (4, 28, 256, 64, 1, 1, 0, 1), (4, 28, 64, 256, 1, 1, 0, 1), (4, 56, 64, 128, 1, 2, 0, 1),
    (4, 28, 128, 128, 3, 2, 1, 1), (4, 28, 128, 128, 3, 1, 1, 32), (4, 28, 128, 128, 3, 1, 1, 128),
    (8, 14, 48, 64, 5, 1, 2, 1), (2, 112, 3, 64, 7, 2, 3, 1),
)  # fmt: skip
_QUICK_CONVOLUTIONS = (CONVOLUTIONS[3], CONVOLUTIONS[6], CONVOLUTIONS[9])

#: batch, image side, channels of memory-bound operations; 0.5 to 8 MB in fp32. What is larger on a CPU measures how the
#: system hands out memory: the C library maps it anew at each call.
IMAGES = ((8, 16, 64), (32, 16, 64), (16, 32, 64), (32, 32, 64), (64, 32, 32))
_QUICK_IMAGES = IMAGES[1:4:2]
#: Bytes of messages: 1 kB to 64 MB.
MESSAGES = tuple(1000 * 4**power for power in range(9))
_QUICK_MESSAGES = MESSAGES[::3]
#: Times the batch of a core that keeps a GPU busy.
_LARGER = 32
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "broadcast")


def products(precision: str, large: bool, quick: bool) -> list[MicroRow]:
    """Matrix products."""
    sizes = _QUICK_PRODUCTS if quick else PRODUCTS + (LARGE_PRODUCTS if large else ())
    return [MicroRow(f"gemm-{m}x{n}x{k}-{precision}", "gemm", "", precision, m=m, n=n, k=k) for m, n, k in sizes]


def convolutions(precision: str, large: bool, quick: bool) -> list[MicroRow]:
    """Two-dimensional convolutions in three passes; of large devices with larger batches."""
    rows = []
    for batch, side, channels, filters, kernel, stride, padding, groups in (
        _QUICK_CONVOLUTIONS if quick else CONVOLUTIONS
    ):
        many = batch * (_LARGER if large else 1)
        for step in ("forward", "backward_data", "backward_filter"):
            name = f"conv-{many}x{side}x{channels}-{filters}k{kernel}s{stride}g{groups}-{step}-{precision}"
            row = MicroRow(
                name, "convolution", "", precision, batch=many, height=side, width=side, channels=channels,
                filters=filters, kernel_h=kernel, kernel_w=kernel, stride=stride, padding=padding, groups=groups,
                step=step,
            )  # fmt: skip
            rows.append(row)
    return rows


def memory_bound(precision: str, large: bool, quick: bool) -> list[MicroRow]:
    """Elementwise operations, batch normalization and pooling."""
    rows: list[MicroRow] = []
    for batch, side, channels in _QUICK_IMAGES if quick else IMAGES:
        many = batch * (_LARGER if large else 1)
        image = MicroRow("", "", "", precision, batch=many, height=side, width=side, channels=channels)
        window: dict[str, Any] = {"kernel_h": 2, "kernel_w": 2, "stride": 2, "padding": 0}
        operations: tuple[tuple[str, dict[str, Any]], ...] = (
            ("relu", {}), ("add", {}), ("batch_norm", {}), ("max_pool", window), ("average_pool", window),
        )  # fmt: skip
        for operation, more in operations:
            for step in ("forward",) if operation == "add" else ("forward", "backward_data"):
                name = f"{operation}-{many}x{side}x{channels}-{step}-{precision}"
                rows.append(replace(image, id=name, operation=operation, step=step, **more))
    return rows


def empty_step(precision: str) -> list[MicroRow]:
    """A training step of a network of one weight."""
    return [MicroRow(f"step-{precision}", "step", "", precision)]


def collectives(gpus: int, nodes: int, quick: bool, names: Sequence[str] = COLLECTIVES) -> list[MicroRow]:
    """Collectives among ``gpus`` devices, by size."""
    return [
        MicroRow(f"{name}-{gpus}-{size}", "collective", "", collective=name, bytes=size, gpus=gpus, nodes=nodes)
        for name in names
        for size in (_QUICK_MESSAGES if quick else MESSAGES)
    ]
