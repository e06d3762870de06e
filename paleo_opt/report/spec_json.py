"""Specs of every kind as JSON objects, every figure with its unit in its name."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from paleo_opt.hardware.cluster import Cluster, Link
from paleo_opt.hardware.constant import Constant, Meaning
from paleo_opt.hardware.device import Device
from paleo_opt.hardware.platform import AT_END, ATTAINABLE, CONSTANTS, Platform
from paleo_opt.hardware.platform_load import DEFAULT_PLATFORM
from paleo_opt.network.graph import Network

if TYPE_CHECKING:
    from paleo_opt.search.space import SearchSpace


def network_json(network: Network, with_layers: bool = False) -> dict[str, Any]:
    """A network; FLOPs are of one sample's forward pass. ``layers`` is their number, or all of them."""
    job = network.job
    layers = [
        {
            "name": layer.name,
            "type": layer.type,
            "parents": layer.parents,
            "output_shape": layer.output_shape,
            "parameters": layer.parameters,
            "forward_flops": layer.forward_flops,
            "split": layer.split,
        }
        for layer in network.layers
    ]
    return {
        "name": network.name,
        "description": network.description,
        "input_shape": network.input_shape,
        "parameters": network.parameters,
        "forward_flops": network.forward_flops,
        "layers": layers if with_layers else len(layers),
        "job": None if job is None else asdict(job),
        "source": network.source,
        "file": network.file,
    }


def device_json(device: Device) -> dict[str, Any]:
    """A device."""
    return {
        "name": device.name,
        "description": device.description,
        "peak_flops_per_s": dict(device.peak),
        "memory_bytes": device.memory,
        "memory_bandwidth_bytes_per_s": device.memory_bandwidth,
        "clock_hz": device.clock,
        "multiprocessors": device.multiprocessors,
        "power_w": device.power,
        "host_link_bytes_per_s": device.host_link,
        "ppp_comp": dict(device.ppp_comp),
        "attainable": {
            name: _constant_json(device.attained(name), meaning, "measured" if name in device.attainable else "prior")
            for name, meaning in ATTAINABLE.items()
        },
        "platform": device.platform or DEFAULT_PLATFORM,
        "training_precision": device.training_precision,
        "source": device.source,
        "file": device.file,
    }


def platform_json(platform: Platform) -> dict[str, Any]:
    """A software platform. ``bucket_bytes`` is null where gradients are sent after the whole backward pass."""
    return {
        "name": platform.name,
        "description": platform.description,
        "constants": {
            name: _constant_json(platform.constant(name), meaning, platform.origin(name))
            for name, meaning in CONSTANTS.items()
        },
        "algorithms": dict(platform.algorithms),
        "per_image": platform.per_image,
        "fused": sorted(platform.fused),
        "bucket_bytes": None if platform.bucket_bytes == AT_END else platform.bucket_bytes,
        "collective": platform.collective,
        "servers": platform.servers,
        "software": platform.software,
        "source": platform.source,
        "file": platform.file,
    }


#: Of a constant's meaning, as JSON writes them.
_UNITS = {"time": "s", "bandwidth": "bytes/s", "memory": "bytes"}


def _constant_json(constant: Constant, meaning: Meaning, origin: str) -> dict[str, Any]:
    return {
        "value": constant.value,
        "unit": _UNITS.get(meaning.unit, meaning.unit),
        "deviation": constant.deviation,
        "origin": origin,
    }


def link_json(link: Link) -> dict[str, Any]:
    """A link."""
    return {
        "name": link.name,
        "description": link.description,
        "bandwidth_bytes_per_s": link.bandwidth,
        "latency_s": link.latency,
        "constants": {
            name: {"value": constant.value, "deviation": constant.deviation}
            for name, constant in link.constants.items()
        },
        "source": link.source,
        "file": link.file,
    }


def cluster_json(cluster: Cluster, with_device: bool = False) -> dict[str, Any]:
    """A cluster; ``device`` is its name, or all of it."""
    price = cluster.price
    return {
        "name": cluster.name,
        "description": cluster.description,
        "provider": cluster.provider,
        "device": device_json(cluster.device) if with_device else cluster.device.name,
        "devices_per_node": cluster.devices_per_node,
        "max_nodes": cluster.max_nodes,
        "levels": [
            {
                "name": level.name,
                "size": level.size,
                "bandwidth_bytes_per_s": level.bandwidth,
                "latency_s": level.latency,
            }
            for level in cluster.levels
        ],
        "ppp_comm": cluster.ppp_comm,
        "price": None
        if price is None
        else {
            "on_demand_usd_per_node_hour": price.on_demand,
            "reserved_1y_usd_per_node_hour": price.reserved_1y,
            "spot_usd_per_node_hour": price.spot,
            "region": price.region,
            "date": price.date,
            "source": price.source,
        },
        "source": cluster.source,
        "file": cluster.file,
    }


def space_json(space: SearchSpace) -> dict[str, Any]:
    """A search space."""
    return asdict(space)
