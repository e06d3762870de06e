"""What each layer of a transformer costs on one device under a split of its blocks: blocks that are alike once."""

from __future__ import annotations

import numpy as np

from paleo_opt.estimator.block_shares import share_of
from paleo_opt.estimator.block_table import compile_blocks
from paleo_opt.estimator.breakdown import LayerEstimate, bound_of
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.estimator.places import make_places
from paleo_opt.estimator.roofline import kernel_times
from paleo_opt.estimator.splits import Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.network.graph import Layer
from paleo_opt.network.transformer_sizes import TransformerSizes


def block_breakdown(table: CostTable, strategy: Strategy, options: Options | None = None) -> tuple[LayerEstimate, ...]:
    """The cost of the layers before the blocks, of one block of each kind, and behind them.

    Times are of one micro-batch of one such layer on one device, what is computed again left out; parameters, shapes
    and FLOPs are of the whole layer.

    Args:
        table: Of a transformer.
        strategy: With a split of its blocks.
        options: The model's constants.
    """
    options = options or usual_options(table.network)
    sizes, split = table.network.transformer, strategy.blocks
    assert sizes is not None and split is not None
    places = make_places([strategy.cluster], [strategy.precision], options)
    assert places.attained is not None
    compiled = compile_blocks(sizes, split)
    found = kernel_times(compiled.kernels, places.attained, np.array([float(strategy.micro_batch)]), "gemm", np.inf)
    run = np.array([1.0, options.training, options.training])[:, None]
    time, compute, memory = (values[..., 0] * run for values in (found.time, found.compute, found.memory))
    rows = {member: row for row, members in enumerate(compiled.kernels.members) for member in members}
    estimates = []
    for index, (name, count, layer, own) in enumerate(_named(sizes, split)):
        row = rows[index]
        forward, backward = time[0, row], time[1, row] + time[2, row]
        estimates.append(
            LayerEstimate(
                name=name,
                type=layer.type,
                output_shape=layer.output_shape,
                parameters=layer.parameters,
                parameters_bytes=layer.parameters * float(places.weight_bytes[0]),
                flops=float(layer.forward_flops * strategy.micro_batch),
                forward_compute_s=float(compute[0, row]),
                forward_memory_s=float(memory[0, row]),
                backward_data_compute_s=float(compute[1, row]),
                backward_data_memory_s=float(memory[1, row]),
                backward_filter_compute_s=float(compute[2, row]),
                backward_filter_memory_s=float(memory[2, row]),
                forward_s=float(forward),
                backward_s=float(backward),
                bound=bound_of(
                    float(compute[:, row].sum()), float(memory[:, row].sum()), float(forward + backward), "roofline"
                ),
                algorithms=(),
                divided=own.output_shape != layer.output_shape or own.parameters != layer.parameters,
                count=count,
            )
        )
    share = share_of(sizes, split)
    ends = len(estimates) - len(share.first) - len(share.last)
    behind = ends + len(share.first)
    return (*estimates[ends:behind], *estimates[:ends], *estimates[behind:])


def _named(sizes: TransformerSizes, split: Split) -> list[tuple[str, int, Layer, Layer]]:
    """Of each layer, in the order of `compile_blocks`: name, how many, whole, and one device's share."""
    whole, share = share_of(sizes, Split()), share_of(sizes, split)
    found = []
    for kind, own in zip(whole.kinds, share.kinds, strict=True):
        for layer, part in zip(kind.layers, own.layers, strict=True):
            found.append((f"{kind.name}/{layer.name.partition('block_1/')[2]}", kind.count, layer, part))
    for layer, part in zip((*whole.first, *whole.last), (*share.first, *share.last), strict=True):
        found.append((layer.name, 1, layer, part))
    return found
