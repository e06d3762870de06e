r"""Pipeline stages on the nodes of different kinds: which layers each has, how many samples a micro-batch, how many.

Each stage is one or more whole nodes of one kind that train their layers data-parallel; so only the stage's own devices
add up its gradients, over their own links, and between kinds only activations pass. A step of m micro-batches takes

    T = (m - 1) max_s c_s + Σ_s d_s + max_s (exposed all-reduce_s - drain_s) + max_s update_s

with c, d of `stage_partition` from the passes of the units and what of a send its stage cannot overlap, and drain_s the
time for which stages before s still run backward after it. For nodes of one kind it is the closed form of `estimate`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.splits import Integers
from paleo_opt.fleet.chains import Chain
from paleo_opt.fleet.pipeline_costs import PipelineProblem, StagePlace, stage_costs
from paleo_opt.fleet.stage_ends import stage_ends, tied_time
from paleo_opt.fleet.stage_partition import Partition, best_partition

#: Stages of one kind at most, where there are one or two kinds and where there are more; and in all.
MOST_STAGES_OF_KIND, MOST_STAGES_OF_MANY, MOST_STAGES = 4, 2, 12
#: Samples of a micro-batch for each device of the largest stage, and micro-batches of a step.
_MICRO = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True, eq=False)
class PipelineStep:
    """One pipeline and what its step takes.

    Attributes:
        chain: Its units.
        places: Of its stages, in the order of the network.
        cuts: Where each begins, and the number of units.
        micro_batch: Samples of one micro-batch.
        each: Samples of it on one device of each stage.
        micro_batches: Of a step.
        step_s: T.
        partition: What its passes and sends take.
        busy_s: Seconds that each stage computes in a step. Shape (p,).
        memory: Bytes of a device of each stage. Shape (p,).
        exposed_s: All-reduce of each stage that nothing hides. Shape (p,).
        update_s: Of each stage. Shape (p,).
        sends_s: Of one micro-batch to the next stage. Shape (p - 1,).
        ends_s: T beyond the passes and sends.
        collective: That adds up gradients.
    """

    chain: Chain
    places: tuple[StagePlace, ...]
    cuts: tuple[int, ...]
    micro_batch: int
    each: tuple[int, ...]
    micro_batches: int
    step_s: float
    partition: Partition
    busy_s: Floats
    memory: Floats
    exposed_s: Floats
    update_s: Floats
    sends_s: Floats
    ends_s: float
    collective: str

    @property
    def global_batch(self) -> int:
        """Samples of a step."""
        return self.micro_batch * self.micro_batches


def arrangements(
    kinds: Sequence[int], nodes: Sequence[int], per_node: Sequence[int], tensor: int, units: int
) -> Iterator[tuple[StagePlace, ...]]:
    """Every order of the kinds with every even number of stages of each; at least two stages in all."""
    most = MOST_STAGES_OF_KIND if len(kinds) < 3 else MOST_STAGES_OF_MANY
    counts = [[p for p in range(1, most + 1) if count % p == 0] for count in nodes]
    for order in permutations(range(len(kinds))):
        for stages in product(*(counts[index] for index in order)):
            if not 2 <= sum(stages) <= min(MOST_STAGES, units):
                continue
            yield tuple(
                StagePlace(kinds[index], nodes[index] // p, nodes[index] // p * per_node[index] // tensor)
                for index, p in zip(order, stages, strict=True)
                for _ in range(p)
            )


def solve_partition(
    problem: PipelineProblem,
    places: Sequence[StagePlace],
    micro_batch: int,
    micro_batches: int,
    limit_s: float = np.inf,
) -> PipelineStep | None:
    """The best partition of the units over some stages, with its step.

    None where no partition fits memory, or passes and sends alone take ``limit_s`` seconds.
    """
    costs = stage_costs(problem, places, micro_batch, micro_batches)
    found = best_partition(costs.held, costs.through, micro_batches)
    if found is None or found.time_s >= limit_s:
        return None
    stages, cuts = len(places), found.cuts
    each = tuple(-(-micro_batch // place.copies) for place in places)
    spans = [(stage, cuts[stage], cuts[stage + 1]) for stage in range(stages)]
    both = [problem.of(place.kind, batch) for place, batch in zip(places, each, strict=True)]
    backward = np.array([float(times.backward_s[i:j].sum()) for times, (_, i, j) in zip(both, spans, strict=True)])
    forward = np.array([float(times.forward_s[i:j].sum()) for times, (_, i, j) in zip(both, spans, strict=True)])
    sends = np.array([float(costs.sends[stage, cuts[stage + 1]]) for stage in range(stages - 1)])
    drain = np.concatenate([[0.0], np.cumsum(backward[:-1] + sends)])
    ends = [stage_ends(problem, places[stage], i, j, each[stage]) for stage, i, j in spans]
    exposed = np.array([end[0] for end in ends])
    update = np.array([end[1] for end in ends])
    # Gradients are clipped by their norm: the update waits for all of them.
    after = np.maximum((exposed - drain[:, None]).max(axis=0), 0.0) + update.max()
    choice = int(after.argmin())
    tied = tied_time(problem, places)
    return PipelineStep(
        chain=problem.chain,
        places=tuple(places),
        cuts=cuts,
        micro_batch=micro_batch,
        each=each,
        micro_batches=micro_batches,
        step_s=found.time_s + float(after[choice]) + tied,
        partition=found,
        busy_s=micro_batches * (forward + backward),
        memory=np.array([float(costs.memory[span]) for span in spans]),
        exposed_s=exposed[:, choice],
        update_s=update,
        sends_s=sends,
        ends_s=float(after[choice]) + tied,
        collective=problem.chain.model.collectives[choice],
    )


def at_counts(step: PipelineStep, counts: Integers) -> Floats:
    """The step of the same pipeline with other numbers of micro-batches [s]. Shape as ``counts``."""
    own = (counts - 1) * step.partition.slowest_s + step.partition.sum_s + step.ends_s
    return np.asarray(own, dtype=float)


def candidate_batches(base: int, most: int, fixed: int | None) -> list[tuple[int, int]]:
    """Micro-batches and how many of them make a step; of a given global batch those that have as many samples."""
    if fixed is not None:
        counts = [count for count in range(1, _COUNTS[-1] + 1) if fixed % count == 0]
        return [(fixed // count, count) for count in counts]
    pairs = [(base * each, count) for each in _MICRO for count in _COUNTS]
    return [pair for pair in pairs if math.prod(pair) <= most]
