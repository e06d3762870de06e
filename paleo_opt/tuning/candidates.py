"""The strategies that a command could run: every combination of the fields it names, the others fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from paleo_opt.errors import InfeasibleError, SpecError
from paleo_opt.estimator.configuration import in_blocks
from paleo_opt.estimator.cost_table import CostTable, Floats
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.splits import CHOICES
from paleo_opt.estimator.strategy import Integers, Strategies, Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.search.layouts import make_layouts
from paleo_opt.search.space import SearchSpace
from paleo_opt.search.split_rows import grouped_rows
from paleo_opt.tuning.choices import (
    NO_LIMIT,
    STRATEGY_FIELDS,
    Named,
    batches_of,
    check_named,
    gpus_of,
    narrowed,
    why_none,
)

MOST_CANDIDATES = 200_000


@dataclass(frozen=True, eq=False)
class Candidates:
    """The strategies, with what the estimator says of them. Shapes (strategies,).

    Attributes:
        parts: Sets of flat columns, those of one precision and layout together.
        columns: Of each field that the command names, its values.
        step_time_s: Estimated.
        fixed_bytes: Of memory: parameters, gradients, optimizer state and reserve.
        varying_bytes: Of memory: activations and workspace, in which estimates err most.
        capacity: Bytes of a device.
        global_batch: Samples per step.
        steps: To the target; None without a job.
    """

    parts: tuple[Strategies, ...]
    columns: Mapping[str, Any]
    step_time_s: Floats
    fixed_bytes: Floats
    varying_bytes: Floats
    capacity: Floats
    global_batch: Integers
    steps: Floats | None

    def __len__(self) -> int:
        return self.step_time_s.size

    @cached_property
    def _starts(self) -> Integers:
        return np.cumsum([0, *(part.gpus.size for part in self.parts)])

    def strategy(self, index: int) -> Strategy:
        """One of them."""
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.parts[part].row(index - int(self._starts[part]))

    @property
    def memory_bytes(self) -> Floats:
        """Estimated, per device."""
        return self.fixed_bytes + self.varying_bytes


def make_candidates(
    table: CostTable, cluster: Cluster, space: SearchSpace, named: Named, options: Options
) -> Candidates:
    """Every strategy that the command could run.

    Raises:
        SpecError: what is said contradicts itself or leaves open what the command does not name.
        InfeasibleError: there is no strategy.
    """
    blocks = in_blocks(table, options)
    check_named(table, named, blocks)
    space = narrowed(space, table, cluster, named, options, blocks)
    counts = gpus_of(space, cluster, named)
    precisions = tuple(cluster.device.peak) if space.precision == ("training",) else space.precision
    sets = []
    for precision in precisions:
        if blocks:
            sets.append(_of_blocks(table, cluster, precision, space, counts, named))
        else:
            layouts = [("data", 1)] if "data" in space.split else []
            layouts += [(s, t) for s in space.split if s != "data" and s in table.splits for t in space.tensor]
            sets += [_of_layers(cluster, precision, split, n, space, counts, named, table) for split, n in layouts]
    sets = [found for found in sets if found.gpus.size]
    sets = [found for found in (_chosen(part, named.choices) for part in sets) if found.gpus.size]
    total = sum(part.gpus.size for part in sets)
    if not total:
        raise InfeasibleError(why_none(space, table, counts, named))
    if total > MOST_CANDIDATES:
        raise SpecError(f"{total:,} strategies; expected at most {MOST_CANDIDATES:,}: fix a field, or give --choice")
    return _estimated(table, sets, named, options)


def _crossed(part: Strategies) -> Strategies:
    """Each plan with each collective, as flat columns."""
    plans, count = part.gpus.size, len(part.collectives)
    which = np.repeat(np.arange(plans), count)
    return replace(
        part,
        gpus=part.gpus[which],
        micro_batch=part.micro_batch[which],
        accumulation=part.accumulation[which],
        collective=np.tile(np.arange(count), plans),
        place=np.zeros(which.size, dtype=np.int64),
        layout=part.layout[which] if part.layout.ndim else part.layout,
    )


def _of_layers(
    cluster: Cluster, precision: str, split: str, tensor: int, space: SearchSpace, counts: Integers, named: Named,
    table: CostTable,
) -> Strategies:  # fmt: skip
    gpus = counts[counts % tensor == 0]
    row, micro, passes = batches_of(space, named, gpus // tensor if split == "model" else gpus, table)
    return _crossed(
        Strategies((cluster,), (precision,), split, tensor, space.collective, gpus[row], micro, passes, row)
    )


def _of_blocks(
    table: CostTable, cluster: Cluster, precision: str, space: SearchSpace, counts: Integers, named: Named
) -> Strategies:
    sizes = table.network.transformer
    assert sizes is not None
    layouts = make_layouts(sizes, space.splits)
    group, gpus = (
        grouped_rows(layouts, counts, space.splits.data, NO_LIMIT) if len(layouts.splits) else (counts[:0],) * 2
    )
    lengths = layouts.starts[group + 1] - layouts.starts[group]
    which = np.repeat(np.arange(group.size), lengths)
    layout = np.arange(which.size) + np.repeat(layouts.starts[group] - (np.cumsum(lengths) - lengths), lengths)
    splits, gpus = layouts.splits, gpus[which]
    # What is divided among nobody is not told apart.
    kept = layouts.alone[layout] | (gpus // splits.model[layout] * splits.context[layout] > 1)
    layout, gpus = layout[kept], gpus[kept]
    row, micro, passes = batches_of(space, named, gpus // splits.model[layout], table)
    # Interleaved micro-batches come in rounds of as many as there are stages.
    whole = (splits.virtual_stages[layout[row]] == 1) | (passes % splits.pipeline[layout[row]] == 0)
    row, micro, passes = row[whole], micro[whole], passes[whole]
    return _crossed(
        Strategies(
            (cluster,), (precision,), "blocks", 1, space.collective, gpus[row], micro, passes, row,
            splits=splits, layout=layout[row],
        )
    )  # fmt: skip


def column(part: Strategies, name: str) -> Any:
    """The values of one field as an array of numbers or names. Shape (strategies,)."""
    size = part.gpus.size
    if name in ("gpus", "micro_batch", "accumulation", "data", "global_batch", "nodes"):
        return getattr(part, name)
    if name == "collective":
        return np.array(part.collectives)[part.collective]
    if name in ("cluster", "device", "precision", "split"):
        cluster = part.clusters[0]
        names = {"cluster": cluster.name, "device": cluster.device.name, "precision": part.precisions[0]}
        return np.full(size, names.get(name, part.split))
    if part.splits is None:
        return np.full(size, part.tensor)
    values = getattr(part.splits, name)[part.layout]
    if name in CHOICES:
        return np.array(CHOICES[name])[values]
    return values.astype(bool) if name == "sequence_parallel" else values


def _chosen(part: Strategies, choices: Mapping[str, tuple[str, ...]]) -> Strategies:
    """Those whose fields have one of the values chosen."""
    kept = np.ones(part.gpus.size, dtype=bool)
    for name, values in choices.items():
        found = column(part, name)
        text = np.char.lower(found.astype(str)) if found.dtype == bool else found.astype(str)
        kept &= np.isin(text, values)
    some = np.flatnonzero(kept)
    return replace(
        part,
        gpus=part.gpus[some],
        micro_batch=part.micro_batch[some],
        accumulation=part.accumulation[some],
        collective=part.collective[some],
        place=part.place[some],
        layout=part.layout[some] if part.layout.ndim else part.layout,
    )


def _estimated(table: CostTable, parts: Sequence[Strategies], named: Named, options: Options) -> Candidates:
    times, fixed, varying, capacity, steps = [], [], [], [], []
    for part in parts:
        found, shape = estimate(table, part, options), part.gpus.shape
        memory = found.memory
        times.append(np.broadcast_to(found.step_time_s, shape))
        kept = memory.parameters + memory.gradients + memory.optimizer + memory.reserve
        fixed.append(np.broadcast_to(kept, shape))
        varying.append(np.broadcast_to(memory.activations + memory.workspace, shape))
        capacity.append(np.broadcast_to(found.places.capacity[part.place], shape))
        if found.samples is not None:
            steps.append(np.broadcast_to(found.steps, shape))
    return Candidates(
        parts=tuple(parts),
        columns={
            name: np.concatenate([column(part, name) for part in parts])
            for name in STRATEGY_FIELDS
            if name in named.names
        },
        step_time_s=np.concatenate(times),
        fixed_bytes=np.concatenate(fixed),
        varying_bytes=np.concatenate(varying),
        capacity=np.concatenate(capacity),
        global_batch=np.concatenate([part.global_batch for part in parts]),
        steps=np.concatenate(steps) if steps else None,
    )
