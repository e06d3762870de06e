"""A strategy in words, with every count shown as the product it is."""

from __future__ import annotations

from paleo_opt.estimator.changes import changes_that_fit
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.splits import PLACEMENTS, Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.quantities import format_count, format_memory


def plural(count: int, word: str) -> str:
    """``1 node``, ``8 nodes``."""
    return f"{format_count(count)} {word}{'s'[: count != 1]}"


def devices_text(cluster: Cluster, gpus: int) -> str:
    """``p4d.24xlarge · 32 GPUs = 4 nodes × 8 a100-sxm4-40gb``; nodes that are paid but not filled say so."""
    per_node, device = cluster.devices_per_node, cluster.device.name
    nodes = -(-gpus // per_node)
    idle = nodes * per_node - gpus
    if per_node == 1:
        where = plural(gpus, "GPU")
        if device not in cluster.name:
            where += f" = {plural(nodes, 'node')} × 1 {device}"
        elif nodes > 1:
            where += ", one a node"
    elif idle:
        where = f"{plural(gpus, 'GPU')} on {plural(nodes, 'node')} × {per_node} {device} ({idle} idle)"
    else:
        where = f"{plural(gpus, 'GPU')} = {plural(nodes, 'node')} × {per_node} {device}"
    return f"{cluster.name} · {where}"


def split_text(strategy: Strategy) -> str:
    """``data 32``, ``hybrid: data 32, marked layers ÷ 8``, ``model ÷ 8, data 4``, or as `blocks_text`."""
    if strategy.blocks is not None:
        return blocks_text(strategy.blocks, strategy.data)
    if strategy.split == "hybrid" and strategy.tensor > 1:
        return f"hybrid: data {strategy.data:,}, marked layers ÷ {strategy.tensor:,}"
    if strategy.split == "model" and strategy.tensor > 1:
        return f"model ÷ {strategy.tensor:,}, data {strategy.data:,}"
    return f"data {strategy.data:,}"


def blocks_text(split: Split, data: int | None = None) -> str:
    """``data 8 × tensor 8 × pipeline 8 (interleaved × 6) · zero1 · selective recompute``.

    What has one part is left out, and what is as usual: sequence parallelism beside tensor parallelism, 1F1B.
    Data parallelism may be left open.
    """
    parts = ["data" if data is None else f"data {data:,}"]
    if split.tensor > 1:
        parts.append(f"tensor {split.tensor:,}" + ("" if split.sequence_parallel else " (whole sequences)"))
    if split.context > 1:
        parts.append(f"context {split.context:,}" + (" (all-to-all)" if split.context_method == "all_to_all" else ""))
    if split.pipeline > 1:
        how = f" (interleaved × {split.virtual_stages:,})" if split.virtual_stages > 1 else ""
        parts.append(f"pipeline {split.pipeline:,}" + (" (GPipe)" if split.schedule == "gpipe" else how))
    words = [" × ".join(parts)]
    if split.expert > 1:
        words.append(f"expert {split.expert:,}")
    if split.sharding != "zero0":
        words.append(split.sharding)
    if split.recompute != "none":
        words.append(f"{split.recompute} recompute")
    if split.placement != PLACEMENTS[0] and sum(count > 1 for count in (data or 2, split.tensor, split.pipeline)) > 1:
        words.append(f"{split.placement} from the inside")
    return " · ".join(words)


def short_split(strategy: Strategy) -> str:
    """A split for a table: ``data``, ``hybrid ÷ 8``; of a transformer ``d8 t8 c2 p8×6 e8``, what is 1 left out."""
    split = strategy.blocks
    if split is None:
        return strategy.split if strategy.tensor == 1 else f"{strategy.split} ÷ {strategy.tensor}"
    counts = {"t": split.tensor, "c": split.context, "p": split.pipeline, "e": split.expert}
    parts = [f"{letter}{count}" for letter, count in counts.items() if count > 1]
    if split.virtual_stages > 1:
        parts = [f"{part}×{split.virtual_stages}" if part.startswith("p") else part for part in parts]
    return " ".join([f"d{strategy.data}", *parts])


def differences(then: Strategy, now: Strategy) -> list[str]:
    """What differs between two strategies on one cluster, as of ``then``: ``16 GPUs``, ``d2 t8``, ``micro-batch 4``."""
    found = [
        (then.gpus != now.gpus, plural(then.gpus, "GPU")),
        (short_split(then) != short_split(now), short_split(then)),
        (then.micro_batch != now.micro_batch, f"micro-batch {format_count(then.micro_batch)}"),
        (then.accumulation != now.accumulation, f"passes {format_count(then.accumulation)}"),
        (then.collective != now.collective and adds_up(then), then.collective),
    ]
    if then.blocks is not None and now.blocks is not None:
        others, ours = then.blocks, now.blocks
        found[2:2] = [
            (others.sharding != ours.sharding, others.sharding),
            (others.recompute != ours.recompute, f"{others.recompute.replace('none', 'no')} recompute"),
            (others.placement != ours.placement, others.placement),
        ]
    return [text for differs, text in found if differs]


def nearest_text(table: CostTable, strategy: Strategy, options: Options) -> str:
    """What one change would make a split transformer fit its devices' memory: the first of `changes_that_fit`."""
    changes = changes_that_fit(table, strategy, options)
    if not changes:
        return "no single change of the split, the micro-batch or the number of GPUs makes it fit"
    change = changes[0]
    rate = change.strategy.global_batch / change.step_time_s
    return (
        f"the nearest that fits: {', '.join(differences(change.strategy, strategy))}; "
        f"{format_memory(change.memory_bytes)} a device, {rate:,.3g} samples/s"
    )


def batch_text(strategy: Strategy) -> str:
    """``global batch 2,048 = 4 × 512``, with the passes where a step takes several."""
    text = f"global batch {strategy.global_batch:,}"
    factors = [strategy.data, strategy.micro_batch, strategy.accumulation]
    if strategy.data == 1 and strategy.accumulation == 1:
        return text
    product = f"{factors[0]:,} × {factors[1]:,}"
    if strategy.accumulation > 1:
        product += f" × {strategy.accumulation:,} passes"
    return f"{text} = {product}"


def adds_up(strategy: Strategy) -> bool:
    """Whether its collective adds up gradients: there are copies of parameters, and none of their state is divided."""
    split = strategy.blocks
    if split is None:
        return strategy.data > 1 or (strategy.split == "model" and strategy.gpus > 1)
    return strategy.data * split.context > 1 and split.sharding == "zero0"


def strategy_parts(strategy: Strategy) -> list[str]:
    """The strategy in parts for one line: where, split, batch, collective, precision."""
    parts = [devices_text(strategy.cluster, strategy.gpus)]
    if strategy.gpus > 1 or strategy.blocks is not None:
        parts += split_text(strategy).split(" · ")
    parts.append(batch_text(strategy))
    if adds_up(strategy):
        parts.append(strategy.collective)
    parts.append(strategy.precision)
    return parts
