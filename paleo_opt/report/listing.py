"""The answer to ``list``: one line for each network, device, cluster, link, platform or search space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from paleo_opt import quantities
from paleo_opt.hardware.cluster import Cluster, Link
from paleo_opt.hardware.device import Device
from paleo_opt.hardware.platform import ALGORITHMS, CONSTANTS, FUSIBLE, Platform
from paleo_opt.network.graph import Network
from paleo_opt.report import terminal
from paleo_opt.report.terminal import Column, table
from paleo_opt.report.units import price_text, shape_text, short_count

if TYPE_CHECKING:
    from paleo_opt.search.space import SearchSpace

_NONE = "–"

_NET = (
    Column("name", right=False),
    Column("params"),
    Column("FLOPs/sample"),
    Column("layers"),
    Column("input", right=False, keep=1),
    Column("trained to", right=False, shrinks_to=18, keep=2),
    Column("description", right=False, shrinks_to=28),
)


def _net(network: Network) -> tuple[str, ...]:
    return (
        network.name,
        short_count(network.parameters),
        short_count(network.forward_flops),
        str(len(network.layers)),
        shape_text(network.input_shape),
        network.job.target if network.job else _NONE,
        network.description,
    )


_DEVICE = (
    Column("name", right=False),
    Column("fp32"),
    Column("training"),
    Column("in", right=False),
    Column("memory"),
    Column("bandwidth"),
    Column("power", keep=1),
    Column("description", right=False, shrinks_to=20, keep=2),
)


def _device(device: Device) -> tuple[str, ...]:
    precision = device.training_precision
    return (
        device.name,
        quantities.format_flops(device.peak["fp32"]) if "fp32" in device.peak else _NONE,
        quantities.format_flops(device.peak[precision]),
        precision,
        quantities.format_memory(device.memory),
        quantities.format_bandwidth(device.memory_bandwidth),
        f"{device.power:,.0f} W" if device.power else _NONE,
        device.description,
    )


_LINK = (
    Column("name", right=False),
    Column("bandwidth"),
    Column("latency"),
    Column("description", right=False, shrinks_to=30),
)


def _link(link: Link) -> tuple[str, ...]:
    latency = quantities.format_time(link.latency) if link.latency else "0"
    return link.name, quantities.format_bandwidth(link.bandwidth), latency, link.description


_CLUSTER = (
    Column("name", right=False),
    Column("a node", right=False),
    Column("out of node"),
    Column("node-hour"),
    Column("GPU-hour", keep=2),
    Column("price of", right=False, keep=1),
    Column("nodes", keep=4),
    Column("provider", right=False, keep=3),
)


def _cluster(cluster: Cluster) -> tuple[str, ...]:
    price, per_node = cluster.price, cluster.devices_per_node
    outside = cluster.levels[1:] if per_node > 1 else cluster.levels
    return (
        cluster.name,
        f"{per_node} × {cluster.device.name}",
        quantities.format_bandwidth(outside[0].bandwidth) if outside else _NONE,
        price_text(price.on_demand) if price else _NONE,
        price_text(price.on_demand / per_node) if price else _NONE,
        price.date if price else _NONE,
        _NONE if cluster.max_nodes is None else f"{cluster.max_nodes:,}",
        cluster.provider,
    )


_PLATFORM = (
    Column("name", right=False),
    Column("fitted"),
    Column("convolutions by", right=False, shrinks_to=16, keep=2),
    Column("fuses", right=False, shrinks_to=14, keep=1),
    Column("description", right=False, shrinks_to=30),
)


def _platform(platform: Platform) -> tuple[str, ...]:
    known = {name for names in platform.algorithms.values() for name in names}
    return (
        platform.name,
        f"{platform.fitted_constants} of {len(CONSTANTS)}",
        ", ".join(name for name in ALGORITHMS if name in known),
        ", ".join(name for name in FUSIBLE if name in platform.fused) or _NONE,
        platform.description,
    )


_SPACE = (
    Column("name", right=False),
    Column("clusters", right=False, shrinks_to=12),
    Column("GPUs"),
    Column("micro-batch", keep=1),
    Column("collectives", keep=2),
    Column("description", right=False, shrinks_to=50),
)


def _space(space: SearchSpace) -> tuple[str, ...]:
    return (
        space.name,
        ", ".join(space.clusters),
        f"to {space.largest:,}",
        f"{space.micro_batch[0]:,} to {space.micro_batch[-1]:,}",
        str(len(space.collective)),
        space.description,
    )


_ROWS: dict[str, tuple[Sequence[Column], Callable[[Any], tuple[str, ...]]]] = {
    "nets": (_NET, _net),
    "devices": (_DEVICE, _device),
    "links": (_LINK, _link),
    "clusters": (_CLUSTER, _cluster),
    "platforms": (_PLATFORM, _platform),
    "spaces": (_SPACE, _space),
}


def render(kind: str, specs: Sequence[Any], room: int | None = None) -> str:
    """A table of ``specs``, all of one ``kind``, a key of `_ROWS` such as ``nets``."""
    room = room or terminal.width()
    columns, row = _ROWS[kind]
    if not specs:
        return f"no {kind}"
    rows = [[terminal.one_line(cell) for cell in row(spec)] for spec in specs]
    return "\n".join(table(columns, rows, room))
