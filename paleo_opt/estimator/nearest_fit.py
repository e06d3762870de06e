"""The nearest change that makes a split transformer fit its devices' memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.estimator.split_rules import valid_splits
from paleo_opt.estimator.splits import CHOICES, Split, Splits
from paleo_opt.estimator.strategy import Integers, Strategies, Strategy

#: What may change, and what changes with it.
_COUNTS = ("tensor", "pipeline", "context", "expert")
_NAMES = ("recompute", "sharding")
_MOST_DEVICES = 1 << 12


def nearest_fit(table: CostTable, strategy: Strategy, options: Options | None = None) -> Strategy | None:
    """The fastest of those that differ from ``strategy`` in one thing and fit; None where none does.

    One thing is the micro-batch, the recompute, the sharding, or over how many devices something is divided; where none
    of these does, more devices, for more stages or for copies that share their state. The global batch stays as near as
    whole micro-batches let it.

    Args:
        table: Of a transformer.
        strategy: With a split of its blocks.
        options: The model's constants.
    """
    sizes, split = table.network.transformer, strategy.blocks
    assert sizes is not None and split is not None
    options = options or usual_options(table.network)
    counts = 2 ** np.arange(_MOST_DEVICES.bit_length())
    named: list[dict[str, Any]] = [{name: value} for name in _NAMES for value in CHOICES[name]]
    changed = [replace(split, **change) for change in named]
    changed += [_with_count(split, name, int(count)) for name in _COUNTS for count in counts]
    here = np.full(len(changed), strategy.gpus)
    smaller = counts[counts < strategy.micro_batch]
    micro = np.concatenate([np.full(len(changed), strategy.micro_batch), smaller])
    splits = Splits.of([*changed, *[split] * smaller.size])
    gpus = np.concatenate([here, np.full(smaller.size, strategy.gpus)])
    found = _fastest_that_fits(table, strategy, splits, gpus, micro, options)
    if found is not None:
        return found
    most = strategy.cluster.max_devices or strategy.gpus * _MOST_DEVICES
    times = counts[1:][strategy.gpus * counts[1:] <= most]
    changed = [split, replace(split, sharding="zero1"), replace(split, sharding="fsdp")]
    grown = [change for count in times for change in (*changed, replace(split, pipeline=split.pipeline * int(count)))]
    more = strategy.gpus * np.repeat(times, len(changed) + 1)
    return _fastest_that_fits(
        table, strategy, Splits.of(grown), more, np.full(more.size, strategy.micro_batch), options
    )


def _with_count(split: Split, name: str, count: int) -> Split:
    """``split`` with another number of devices, and without what needs more of them than that."""
    changes: dict[str, Any] = {name: count}
    if name == "tensor":
        changes["sequence_parallel"] = count > 1
    if name == "pipeline" and count == 1:
        changes["virtual_stages"] = 1
    return replace(split, **changes)


def _fastest_that_fits(
    table: CostTable, strategy: Strategy, splits: Splits, gpus: Integers, micro: Integers, options: Options
) -> Strategy | None:
    """The one with the most samples a second of some splits on as many devices each."""
    sizes = table.network.transformer
    assert sizes is not None
    if not gpus.size:
        return None
    data = np.maximum(gpus // splits.model, 1)
    passes = np.maximum(strategy.global_batch // (data * micro), 1)
    rounds = np.where(splits.virtual_stages > 1, splits.pipeline, 1)
    passes = np.maximum(passes // rounds, 1) * rounds
    layout = np.flatnonzero(valid_splits(sizes, splits, gpus, passes))
    if not layout.size:
        return None
    tried = Strategies(
        clusters=(strategy.cluster,),
        precisions=(strategy.precision,),
        split=strategy.split,
        tensor=1,
        collectives=(strategy.collective,),
        gpus=gpus[layout],
        micro_batch=micro[layout],
        accumulation=passes[layout],
        collective=np.zeros(layout.size, dtype=np.int64),
        place=np.zeros(layout.size, dtype=np.int64),
        splits=splits,
        layout=layout,
    )
    figures = estimate(table, tried, options)
    if not figures.fits.any():
        return None
    # Of more devices the fewest.
    fewest = tried.gpus == tried.gpus[figures.fits].min()
    return tried.row(int(np.where(figures.fits & fewest, figures.samples_per_s, -1.0).argmax()))
