"""The blocks of a search space: which numbers of GPUs, layouts and batches there are for a network on clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.splits import BLOCKS
from paleo_opt.estimator.strategy import Integers
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.network.graph import Network
from paleo_opt.search.blocks import Block
from paleo_opt.search.layouts import make_layouts
from paleo_opt.search.space import SearchSpace
from paleo_opt.search.split_rows import SplitRows, grouped_rows
from paleo_opt.search.transformer_block import TransformerBlock


def gpu_counts(space: SearchSpace, cluster: Cluster, most: int) -> list[int]:
    """The numbers of GPUs of ``cluster`` to consider, ascending, none above ``most`` or than there are.

    Inside the first node its divisors; then whole nodes: all up to ``nodes_per_octave``, as many in each doubling, and
    the most there can be.
    """
    if cluster.max_devices is not None:
        most = min(most, cluster.max_devices)
    if space.gpus is not None:
        return [count for count in space.gpus if count <= most]
    per_node = cluster.devices_per_node
    counts = [count for count in range(1, per_node + 1) if per_node % count == 0]
    nodes, step = 2, 1
    while nodes * per_node <= most:
        counts.append(nodes * per_node)
        if nodes >= space.nodes_per_octave * step * 2:
            step *= 2
        nodes += step - nodes % step if nodes % step else step
    counts = [count for count in counts if count <= most]
    largest = most // per_node * per_node
    return counts if not counts or counts[-1] >= largest else [*counts, largest]


def splits_blocks(network: Network, model: str) -> bool:
    """Whether a network is split block by block under ``model``; else layer by layer."""
    return model == "roofline" and network.transformer is not None


def make_blocks(
    space: SearchSpace,
    table: CostTable,
    clusters: Sequence[Cluster],
    most_gpus: int,
    batch_limit: int,
    model: str = "roofline",
) -> list[Block]:
    """Every block of ``space`` that has a strategy, for a network on ``clusters``.

    Args:
        space: What to consider.
        table: The compiled network; a layout it cannot have is left out.
        clusters: Where.
        most_gpus: The budget of GPUs, or the space's largest.
        batch_limit: The largest sensible global batch.
        model: ``roofline`` or ``paleo``, which splits a transformer layer by layer as any network.
    """
    blocks: list[Block] = []
    known: dict[bytes, SplitRows] = {}
    for cluster in clusters:
        counts = np.array(gpu_counts(space, cluster, most_gpus), dtype=np.int64)
        precisions = (
            (cluster.device.training_precision,)
            if space.precision == ("training",)
            else tuple(name for name in space.precision if name in cluster.device.peak)
        )
        for precision in precisions:
            common: dict[str, Any] = {
                "cluster": cluster,
                "precision": precision,
                "micro_batch": np.array([size for size in space.micro_batch if size <= batch_limit], dtype=np.int64),
                "accumulation": np.array(space.accumulation),
                "global_batch": np.array(space.global_batch, dtype=np.int64),
                "batch_limit": batch_limit,
                "collectives": space.collective,
            }
            if splits_blocks(table.network, model):
                # Many clusters have the same numbers of GPUs.
                key = counts.tobytes()
                if key not in known:
                    known[key] = _split_rows(space, table.network, counts, batch_limit)
                rows = known[key]
                found: list[Block] = [TransformerBlock(split=BLOCKS, tensor=1, gpus=rows.gpus, rows=rows, **common)]
            else:
                found = _layer_blocks(space, table, counts, common)
            blocks += [block for block in found if block.gpus.size and block.micro_batch.size and block.size()]
    return blocks


def _layer_blocks(space: SearchSpace, table: CostTable, counts: Integers, common: dict[str, Any]) -> list[Block]:
    """A block for each layout of splits."""
    layouts = [("data", 1)] if "data" in space.split else []
    layouts += [
        (split, tensor) for split in space.split if split != "data" and split in table.splits for tensor in space.tensor
    ]
    return [Block(split=split, tensor=tensor, gpus=counts[counts % tensor == 0], **common) for split, tensor in layouts]


def _split_rows(space: SearchSpace, network: Network, counts: Integers, batch_limit: int) -> SplitRows:
    """Every split that a transformer can have on some numbers of GPUs; none where it can have none of the space's."""
    assert network.transformer is not None
    layouts = make_layouts(network.transformer, space.splits)
    group, gpus = grouped_rows(layouts, counts, space.splits.data, batch_limit)
    return SplitRows(
        layouts=layouts,
        gpus=gpus,
        group=group,
        micro_batch=np.array([size for size in space.micro_batch if size <= batch_limit], dtype=np.int64),
        global_batch=np.array(space.global_batch, dtype=np.int64),
        batch_limit=batch_limit,
        micro_batch_tokens=space.splits.micro_batch_tokens,
        batch_halvings=space.splits.batch_halvings,
    )
