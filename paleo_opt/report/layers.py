"""The layers of a network as a table: what each costs and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence

from paleo_opt import quantities
from paleo_opt.estimator.breakdown import LayerEstimate
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.report.terminal import Column, percent, table, wrapped
from paleo_opt.report.units import shape_text, short_count


def bound_text(layer: LayerEstimate) -> str:
    """``compute`` or ``memory``, with the algorithms of a convolution where one is not the matrix product."""
    if layer.bound == "none":
        return "–"
    names = list(dict.fromkeys(layer.algorithms))
    return layer.bound if names in ([], ["gemm"]) else f"{layer.bound}, {'/'.join(names)}"


def passes_of(strategy: Strategy) -> float:
    """How often a device runs a layer in a step, of a pipeline on average over its stages."""
    return strategy.accumulation / (1 if strategy.blocks is None else strategy.blocks.pipeline)


def layer_table(layers: Sequence[LayerEstimate], step_time_s: float, strategy: Strategy, room: int) -> list[str]:
    """One row a layer in the network's order, and what the table is of."""
    columns = (
        Column("layer", right=False, shrinks_to=26, middle=True),
        Column("blocks", constant=False),
        Column("type", right=False, shrinks_to=7, keep=3),
        Column("output", keep=2),
        Column("params", keep=1),
        Column("FLOPs", keep=1),
        Column("forward"),
        Column("backward", constant=False),
        Column("share"),
        Column("bound", right=False),
    )

    def time(seconds: float) -> str:
        return quantities.format_time(seconds) if seconds else "–"

    blocks, passes = strategy.blocks, passes_of(strategy)
    rows = []
    for layer in layers:
        total = (layer.forward_s + layer.backward_s) * layer.count * passes
        rows.append(
            [
                layer.name + (f" ÷{strategy.tensor}" if layer.divided and strategy.blocks is None else ""),
                f"× {layer.count:,}" if blocks is not None else "",
                layer.type,
                shape_text(layer.output_shape),
                short_count(layer.parameters),
                short_count(layer.flops),
                time(layer.forward_s),
                time(layer.backward_s),
                percent(total / step_time_s) if total else "–",
                bound_text(layer),
            ]
        )
    head = f"layers: one micro-batch of {strategy.micro_batch:,} on one device; FLOPs forward; share of the step"
    if blocks is not None:
        head += f", of all blocks{' on the average stage' if blocks.pipeline > 1 else ''}"
    return [*wrapped(head, room, "  "), *table(columns, rows, room)]
