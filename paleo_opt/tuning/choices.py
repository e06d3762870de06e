"""What a command leaves open of a strategy, and the values of each field that this allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.configuration import COMMON_COLLECTIVES, offered_collectives
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.splits import CHOICES, FIELDS, Split
from paleo_opt.estimator.strategy import Integers, Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.search.enumeration import gpu_counts
from paleo_opt.search.fixed import Fixed
from paleo_opt.search.space import SearchSpace

#: Placeholders that name a field of a strategy; of several that say the same, the first are searched.
STRATEGY_FIELDS = (
    "precision", "gpus", "nodes", "tensor", "pipeline", "context", "expert", "virtual_stages", "micro_batch",
    "global_batch", "accumulation", "data", "sharding", "recompute", "collective", "split", "sequence_parallel",
    "context_method", "schedule", "placement", "assignment", "offload", "cluster", "device",
)  # fmt: skip
_BLOCK_FIELDS = frozenset(FIELDS) - {"tensor"}
_BATCH_FIELDS = frozenset({"micro_batch", "global_batch", "accumulation"})
_HALVINGS = 5
#: Of a global batch, where the network has no job.
NO_LIMIT = 10**9


@dataclass(frozen=True)
class Named:
    """What the command leaves open, and what the user says of the rest.

    Attributes:
        names: Fields that the command names.
        choices: Of such a field, the only values considered, as text.
        gpus: Devices; where the command names them, at most.
        accumulation: Passes per step, where the command does not name them.
        fixed: Other fields that have one value.
    """

    names: frozenset[str]
    choices: Mapping[str, tuple[str, ...]]
    gpus: int | None
    accumulation: int | None
    fixed: Fixed

    def given(self, name: str) -> Any:
        """The value that an option fixes, or None."""
        if name in ("gpus", "accumulation"):
            return getattr(self, name)
        return getattr(self.fixed, name) if hasattr(self.fixed, name) else self.fixed.splits.get(name)


def check_named(table: CostTable, named: Named, blocks: bool) -> None:
    """Refuse what cannot be. Raises `SpecError`."""
    for name in STRATEGY_FIELDS:
        if name not in named.names:
            continue
        if name in _BLOCK_FIELDS and not blocks:
            raise SpecError(
                f"--command: {{{name}}} is of a transformer's blocks; {table.network.name} has none to split"
            )
        if name == "split" and blocks:
            raise SpecError(
                f"--command: {{split}} is of networks of layers; {table.network.name} is split by its blocks"
            )
        known = CHOICES.get(name)
        for value in named.choices.get(name, ()):
            if known is not None and value not in known:
                raise SpecError(f"--choice {name}: {value!r}{nearest(value, known)}")
    batches = {"micro_batch", "global_batch", "accumulation"}
    if not batches & named.names and named.given("micro_batch") is None and named.given("global_batch") is None:
        raise SpecError("--micro-batch is missing: the command names no batch, so the model must be told what it runs")
    if not (named.names & set(STRATEGY_FIELDS)) - {"cluster", "device"} and not named.names:
        raise SpecError("--command has no placeholder; there is nothing to tune")


def _integers(named: Named, name: str, usual: Sequence[int]) -> tuple[int, ...]:
    """The values of a count: chosen, given, or the usual."""
    if name in named.choices:
        try:
            values = [int(text) for text in named.choices[name]]
        except ValueError:
            values = [0]
        if min(values) < 1:
            raise SpecError(f"--choice {name}: {', '.join(named.choices[name])[:60]!r}; expected whole numbers from 1")
        return tuple(sorted(values))
    given = named.given(name)
    return tuple(usual) if given is None else (given,)


def narrowed(
    space: SearchSpace, table: CostTable, cluster: Cluster, named: Named, options: Options, blocks: bool
) -> SearchSpace:
    """The space with every field fixed that the command does not name."""
    names, fixed, device = named.names, named.fixed, cluster.device
    if "precision" in names and fixed.precision is None:
        chosen = named.choices.get("precision", tuple(device.peak))
        for value in chosen:
            if value not in device.peak:
                raise SpecError(
                    f"--choice precision: {device.name} has no peak in {value}{nearest(value, device.peak)}"
                )
        space = replace(space, precision=chosen)
    else:
        space = replace(space, precision=(fixed.precision or device.training_precision,))
    if fixed.collective is None and "collective" not in names:
        draft = Strategy(cluster, 1, 1, precision=space.precision[0], collective=COMMON_COLLECTIVES[0])
        fixed = replace(fixed, collective=offered_collectives(draft, options)[0])
    space = replace(
        space,
        collective=named.choices.get("collective", space.collective),
        tensor=tuple(value for value in _integers(named, "tensor", space.tensor) if value > 1),
    )
    if not blocks:
        if not {"split", "tensor"} & names and fixed.split is None and fixed.tensor is None:
            fixed = replace(fixed, split="data")
        elif "split" in names:
            space = replace(space, split=named.choices.get("split", ("data", "hybrid", "model")))
        return replace(fixed, global_batch=None, micro_batch=None, precision=None).narrow(space, table, options.model)
    usual = Split()
    values: dict[str, Any] = {"context_positions": 1}
    for name in FIELDS:
        if name in CHOICES:
            everything = CHOICES[name] if name != "sharding" else tuple(n for n in CHOICES[name] if n != "zero3")
            values[name] = named.choices.get(name, everything if name in names else (getattr(usual, name),))
        elif name != "sequence_parallel":
            values[name] = _integers(named, name, getattr(space.splits, name)) if name in names else (1,)
        else:
            values[name] = (True, False) if name in names else (True,)
    space = replace(space, splits=replace(space.splits, **values))
    return replace(fixed, global_batch=None, micro_batch=None, precision=None).narrow(space, table, options.model)


def gpus_of(space: SearchSpace, cluster: Cluster, named: Named) -> Integers:
    """The numbers of GPUs: one, or where the command says how many, all up to the given."""
    if not {"gpus", "nodes", "data"} & named.names and "gpus" not in named.choices:
        return np.array([named.gpus or cluster.devices_per_node])
    if "gpus" in named.choices:
        counts = list(_integers(named, "gpus", ()))
    else:
        counts = gpu_counts(space, cluster, named.gpus or cluster.max_devices or cluster.devices_per_node)
    found = np.array(counts, dtype=np.int64)
    if "nodes" in named.names and "gpus" not in named.names:
        found = found[found % cluster.devices_per_node == 0]  # whole nodes, as nothing says how much of one
    return found


def batches_of(
    space: SearchSpace, named: Named, data: Integers, table: CostTable
) -> tuple[Integers, Integers, Integers]:
    """Each row with every batch it can have.

    Args:
        space: Whose micro-batches and accumulations are the usual ones.
        named: What is left open, and what is given.
        data: Of each row, groups of devices that each work on their own samples. Shape (rows,).
        table: Of the network, whose job says how large a global batch may be where none is given.

    Returns:
        Row, micro-batch and accumulation. Shapes (plans,).

    Raises:
        SpecError: nothing says which global batches there are.
    """
    names, job = named.names, table.network.job
    most = job.max_global_batch if job is not None else NO_LIMIT
    wanted = _global_batches(named, most if job is not None else None)
    if not wanted.size:
        micro = np.array(_integers(named, "micro_batch", space.micro_batch), dtype=np.int64)
        usual = space.accumulation if "accumulation" in names else (1,)
        passes = np.array(_integers(named, "accumulation", usual), dtype=np.int64)
        row, column, times = np.indices((data.size, micro.size, passes.size)).reshape(3, -1)
        kept = data[row] * micro[column] * passes[times] <= most
        return row[kept], micro[column][kept], passes[times][kept]
    if "micro_batch" in names or "accumulation" in names or named.given("micro_batch") is not None:
        largest = min(int(wanted.max()), max(space.micro_batch))
        divisors = [size for size in range(1, largest + 1) if (wanted % size == 0).any()]
        micro = np.array(_integers(named, "micro_batch", divisors), dtype=np.int64)
        several = True
    else:
        micro, several = np.unique(wanted[:, None] // data), False  # one pass a step
    row, column, batch = np.indices((data.size, micro.size, wanted.size)).reshape(3, -1)
    passes, rest = np.divmod(wanted[batch], data[row] * np.maximum(micro[column], 1))
    kept = (rest == 0) & (passes > 0) & (micro[column] > 0)
    if not several or named.accumulation is not None or "accumulation" in named.choices:
        kept &= np.isin(passes, _integers(named, "accumulation", (1,)))
    return row[kept], micro[column][kept], passes[kept]


def _global_batches(named: Named, most: int | None) -> Integers:
    """The only global batches there are; none where they follow from micro-batch and accumulation."""
    given = named.given("global_batch")
    if given is not None:
        return np.array([given])
    if "global_batch" in named.choices:
        return np.array(_integers(named, "global_batch", ()))
    if "global_batch" not in named.names or {"micro_batch", "accumulation"} <= named.names:
        return np.zeros(0, dtype=np.int64)
    if most is None:
        raise SpecError("--command: {global_batch} is open and the network has no job; give --choice global_batch=…")
    return np.unique(most >> np.arange(_HALVINGS + 1))


def why_none(space: SearchSpace, table: CostTable, gpus: Integers, named: Named) -> str:
    """Why no strategy is left, in a sentence, with what would leave one."""
    if not gpus.size:
        return "no number of GPUs is left; expected more --gpus, or other values of --choice gpus"
    data, job, batch = int(gpus.min()), table.network.job, named.given("global_batch")
    if table.network.transformer is None and batches_of(space, named, gpus, table)[0].size == 0:
        micro = min(_integers(named, "micro_batch", space.micro_batch[:1]))
        if batch is not None:
            unit = data * (micro if named.given("micro_batch") or "micro_batch" in named.choices else 1)
            near = " and ".join(f"{size:,}" for size in (batch // unit * unit, -(-batch // unit) * unit) if size)
            return f"no micro-batch makes a global batch of {batch:,} on {data:,} GPUs; the nearest possible: {near}"
        if job is not None and data * micro > job.max_global_batch:
            largest = f"{job.max_global_batch:,}, the job's largest global batch"
            return f"{data:,} GPUs × {micro:,} samples are above {largest}; --max-batch for another"
    return "no strategy has all that is given; loosen a field, or the values of --choice"
