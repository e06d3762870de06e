"""What a strategy's stages do in one step, and how long each of it takes: the input of `pipeline_schedule`.

The seconds are those of `estimate`. It gives a step in closed form, in which the bubble is that of stages that all wait
for the slowest; run pass by pass, each stage waits for its neighbours only as long as it has to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.estimator.block_times import MICRO_ROWS, BlockTimes
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.estimate import Estimates, Options, estimate
from paleo_opt.estimator.options import usual_options
from paleo_opt.estimator.pipeline_step import send_time
from paleo_opt.estimator.places import make_places
from paleo_opt.estimator.split_identities import ZERO1, ZERO2, ZERO3, effective_sharding, identify
from paleo_opt.estimator.splits import Split
from paleo_opt.estimator.stage_gradients import GRADIENT_ROWS, gradient_times
from paleo_opt.estimator.stage_times import Floats, StageTimes
from paleo_opt.estimator.strategy import Strategies, Strategy

#: The communication inside a block, in the order of `MICRO_ROWS`.
_TALKS = ("tensor", "context", "expert")


def step_times(table: CostTable, strategy: Strategy, options: Options | None = None) -> StageTimes:
    """What the stages of a strategy do; without a pipeline, what each of its devices does.

    Args:
        table: The compiled network.
        strategy: One of its strategies.
        options: The model's constants.

    Raises:
        SpecError: there is no training step, or no common one as updates are asynchronous.
    """
    options = options or usual_options(table.network)
    if not options.training:
        raise SpecError("a timeline is of a training step; inference has a forward pass only")
    if options.updates == "asynchronous":
        raise SpecError("a timeline is of one step of all devices; under asynchronous updates each has its own")
    estimates = estimate(table, strategy, options)
    if strategy.blocks is None:
        return _of_layers(strategy, estimates)
    return _of_blocks(table, strategy, strategy.blocks, options, estimates)


def _of_layers(strategy: Strategy, estimates: Estimates) -> StageTimes:
    """Of a network of layers: every device does the same."""

    def seconds(values: Floats) -> Floats:
        return np.asarray(values, dtype=np.float64).reshape(1)

    exposed, sent = seconds(estimates.exposed_all_reduce_time_s), seconds(estimates.all_reduce_time_s)
    return StageTimes(
        stages=1,
        virtual_stages=1,
        micro_batches=strategy.accumulation,
        schedule="1f1b",
        forward_s=seconds(estimates.forward_time_s) / strategy.accumulation,
        backward_s=seconds(estimates.backward_time_s) / strategy.accumulation,
        reduce_s=exposed,
        hidden_reduce_s=np.maximum(sent - exposed, 0.0),
        update_s=seconds(estimates.update_time_s),
    )


@dataclass(frozen=True)
class _Gradients:
    """Seconds of what sharing parameters and gradients takes.

    Attributes:
        gather: Before the first pass.
        per_pass: Of a stage's parameters, exposed in each of its passes.
        per_backward: Of a stage's gradients, exposed in each of its backward passes.
        reduce: Exposed after the last.
        hidden: Behind the passes before.
    """

    gather: float
    per_pass: float
    per_backward: float
    reduce: float
    hidden: float


def _of_blocks(
    table: CostTable, strategy: Strategy, split: Split, options: Options, estimates: Estimates
) -> StageTimes:
    """Of a transformer under a split of its blocks."""
    strategies, gpus = strategy.as_strategies(), np.array([float(strategy.gpus)])
    assert strategies.splits is not None
    first = np.zeros(1, dtype=np.int64)
    times, rows = _micro_batch(table, strategies, options)
    places = times.places
    assert places.sending is not None
    seconds = dict(zip(MICRO_ROWS, rows[:, 0].tolist(), strict=False))
    stages, virtual = split.pipeline, split.virtual_stages
    sharding = int(effective_sharding(strategies.splits)[0])
    kept = _gradients(estimates, sharding, gradient_times(times, first, gpus)[:, 0], strategy.accumulation)

    blocks = _chunks(times, split, rows)
    at_first, at_last = np.zeros(blocks.size), np.zeros(blocks.size)
    at_first[0] = at_last[-1] = 1.0
    forward = {"computation": blocks * seconds["forward"]}
    backward = {"computation": blocks * seconds["backward"], "recompute": blocks * seconds["recompute"]}
    # Each pass exchanges as much; what is computed again is exchanged again.
    share = 1.0 / (3.0 if split.recompute == "full" else 2.0)
    for name in _TALKS:
        forward[name] = blocks * seconds[name] * share
        backward[name] = blocks * seconds[name] * (1.0 - share)
    forward["computation"] += at_first * seconds["first_forward"] + at_last * seconds["last_forward"]
    backward["computation"] += at_first * seconds["first_backward"] + at_last * seconds["last_backward"]
    # The embedding is summed forward; backward the gradient of what enters the projection.
    forward["tensor"] += at_first * seconds["first_tensor"]
    backward["tensor"] += at_last * seconds["last_tensor"]
    forward["parameters"] = np.full(blocks.size, kept.per_pass / virtual)
    backward["parameters"] = forward["parameters"]
    backward["gradients"] = np.full(blocks.size, kept.per_backward / virtual)
    send = send_time(strategies.splits, first, first, strategies.gpus, first, rows, places)
    return StageTimes(
        stages=stages,
        virtual_stages=virtual,
        micro_batches=strategy.accumulation,
        schedule=split.schedule,
        forward_s=np.sum(list(forward.values()), axis=0),
        backward_s=np.sum(list(backward.values()), axis=0),
        send_s=float(send[0]) if stages > 1 else 0.0,
        sends_overlap=float(places.sending.pipeline_overlap[0]),
        gather_s=np.array([kept.gather]),
        reduce_s=np.array([kept.reduce]),
        hidden_reduce_s=np.array([kept.hidden]),
        update_s=np.asarray(estimates.update_time_s, dtype=np.float64).reshape(1),
        forward_parts={name: values for name, values in forward.items() if values.any()},
        backward_parts={name: values for name, values in backward.items() if values.any()},
    )


def stage_blocks(table: CostTable, strategy: Strategy, options: Options | None = None) -> list[int]:
    """Blocks of each chunk of a strategy's pipeline, in the model's order; `chunk_blocks` of its own times."""
    assert strategy.blocks is not None
    times, rows = _micro_batch(table, strategy.as_strategies(), options or usual_options(table.network))
    return [int(count) for count in _chunks(times, strategy.blocks, rows)]


def _micro_batch(table: CostTable, strategies: Strategies, options: Options) -> tuple[BlockTimes, Floats]:
    """What times the only one of ``strategies``, and the rows of its micro-batch (`BlockTimes.micro_batch`)."""
    sizes, splits = table.network.transformer, strategies.splits
    assert sizes is not None and splits is not None
    places = make_places(strategies.clusters, strategies.precisions, options)
    identities = identify(splits)
    optimizer = options.optimizer or table.network.usual_optimizer
    times = BlockTimes(sizes, places, identities, strategies.collectives, optimizer, True, table.block_tables)
    value = strategies.micro_batch + np.where(identities.by_gpus, strategies.gpus, 0) * 2.0**24
    return times, times.micro_batch(np.zeros(1, dtype=np.int64), value.astype(float))


def _chunks(times: BlockTimes, split: Split, rows: Floats) -> Floats:
    """`chunk_blocks` of a split, by the rows of its micro-batch."""
    seconds = dict(zip(MICRO_ROWS, rows[:, 0].tolist(), strict=False))
    return chunk_blocks(
        times.blocks, split.pipeline, split.virtual_stages, split.assignment,
        sum(seconds[name] for name in ("forward", "backward", "recompute", *_TALKS)),
        sum(seconds[name] for name in ("first_forward", "first_backward", "first_tensor")),
        sum(seconds[name] for name in ("last_forward", "last_backward", "last_tensor")),
    )  # fmt: skip


def _gradients(estimates: Estimates, sharding: int, rows: Floats, micro_batches: int) -> _Gradients:
    """When parameters are gathered and gradients added up, by what data-parallel devices divide."""
    assert estimates.blocks is not None
    parts = estimates.blocks.parts
    exposed, gathered = (float(np.ravel(parts[name])[0]) for name in ("gradients", "parameters"))
    reduced, named = float(rows[0]), dict(zip(GRADIENT_ROWS, rows[1:].tolist(), strict=True))
    sent = reduced if sharding < ZERO1 else named["scatter"]
    whole = sharding >= ZERO3
    per_pass = gathered / (2 * micro_batches) if whole else 0.0
    gather = 0.0 if whole else gathered
    if sharding < ZERO2:
        return _Gradients(gather, per_pass, 0.0, exposed, max(sent + named["tied"] - exposed, 0.0))
    # Gradients that are divided are added up in every backward pass; tied ones once.
    return _Gradients(gather, per_pass, (exposed - named["tied"]) / micro_batches, named["tied"], 0.0)


def chunk_blocks(
    blocks: int, stages: int, virtual_stages: int, assignment: str, block_s: float, first_s: float, last_s: float
) -> Floats:
    """Blocks of each chunk of a pipeline, in the model's order. Shape (stages · virtual_stages,).

    Even, each has the same. Balanced, the slowest stage is as fast as it can be, what is before and behind the blocks
    counted: each block goes to the stage that has least to do. Interleaved chunks have the same number, but where that
    is more than there are blocks, those at the ends have fewer.

    Args:
        blocks: Of the network.
        stages: Of the pipeline.
        virtual_stages: Chunks of each.
        assignment: One of `splits.ASSIGNMENTS`.
        block_s: Of one block and micro-batch [s].
        first_s: Of what is before the blocks.
        last_s: Of what is behind them.
    """
    chunks = np.zeros((virtual_stages, stages))
    if assignment == "even" or stages == 1:
        return np.full(stages * virtual_stages, blocks / (stages * virtual_stages))
    if virtual_stages > 1:
        each = -(-blocks // chunks.size)
        room = each * chunks.size - blocks
        counts = np.full(chunks.size, float(each))
        at_last = min(int(np.ceil(last_s / block_s)), each, room)
        at_first = min(int(np.ceil(first_s / block_s)), each, room - at_last)
        counts[-1] -= at_last
        counts[0] -= at_first
        for index in range(room - at_last - at_first):
            counts[-2 - index % (chunks.size - 2)] -= 1.0
        return counts
    loads = np.zeros(stages)
    loads[0], loads[-1] = first_s, last_s
    for _ in range(blocks):
        # Of stages alike the last, which keeps the fewest micro-batches.
        stage = stages - 1 - int(np.argmin(loads[::-1]))
        loads[stage] += block_s
        chunks[int(np.argmin(chunks[:, stage])), stage] += 1
    return chunks.ravel()
