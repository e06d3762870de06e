r"""The fastest assignment of splits to layers that fits a device's memory.

A step is the largest of some sums over layers and edges (`step_time`), and has to fit. Where it is one sum and its
optimum fits, elimination (`layer_splits.series_parallel`) gives the answer, exactly. Else the sums get weights m
that add up to one, and a byte of memory a price p (Lagrange's relaxation [1]):

    g(m, p) = min_x Σ_f m_f t_f(x) + p (memory(x) - room)

is exact for each m and p, and never above the fastest assignment that fits. The largest such bound is found by cutting
planes, and what is then left between it and the best is closed by branching (`paleo_opt.layer_splits.branches`). What
is still left after so much work is stated: nothing, where the answer is proved.

References:
    [1] Everett: Generalized Lagrange multiplier method for solving problems of optimum allocation of resources,
        Operations Research 11(3), 1963.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from paleo_opt.errors import InfeasibleError
from paleo_opt.layer_splits.branches import Branches, Chosen, masked
from paleo_opt.layer_splits.choice_elimination import descended, remaining
from paleo_opt.layer_splits.costs import SplitCosts
from paleo_opt.layer_splits.series_parallel import MOST_CUTS, SAME, Kernel, Optimum, PairwiseCosts, cheapest
from paleo_opt.layer_splits.step_time import StepTime
from paleo_opt.quantities import format_memory

#: Assignments found last that a graph's cheapest is compared with.
_REMEMBERED = 4


@dataclass(frozen=True)
class Solution:
    """An assignment and how good it is known to be.

    Attributes:
        chosen: A split for every layer, by index.
        time: Of a step [s].
        bound: No assignment that fits takes less [s]; minus infinity where nothing is known.
        memory: Bytes of a device.
        cut: Layers whose splits were tried one by one, or by a study.
        solved: Graphs solved on the way, each the best of all assignments under one set of weights.
    """

    chosen: Chosen
    time: float
    bound: float
    memory: float
    cut: Chosen = ()
    solved: int = 1

    @property
    def exact(self) -> bool:
        """Whether it is proved that no assignment that fits takes less."""
        return self.time - self.bound <= SAME * self.time

    @property
    def gap(self) -> float:
        """By how much of itself it could at most be improved; infinite where nothing is known."""
        return 0.0 if self.exact else (self.time - self.bound) / self.time


class TooLargeError(InfeasibleError):
    """No assignment fits a device's memory.

    Attributes:
        needed: Bytes of the one that takes least.
        reason: The message, but for what would need less.
    """

    def __init__(self, costs: SplitCosts, needed: float, capacity: float) -> None:
        name, device = costs.table.network.name, costs.cluster.device.name
        self.needed = needed
        self.reason = (
            f"no split of {name} over {costs.devices:,} × {device} fits: the one of least memory needs "
            f"{format_memory(needed)} of {format_memory(capacity)} in passes of {costs.samples:,} "
            f"sample{'s'[: costs.samples > 1]}"
        )
        smaller = "smaller passes (--passes) or more GPUs need less" if costs.samples > 1 else "more GPUs need less"
        super().__init__(f"{self.reason}; {smaller}")


@dataclass(eq=False)
class Solver:
    """Solves graphs of one network.

    Attributes:
        trials: Of the study over a cut of too many choices.
        seed: Of that study.
        first: Assignments from which it starts.
        most_cuts: Choices of a cut that are tried one by one.
        solved: Graphs solved so far.
    """

    trials: int = 200
    seed: int = 0
    first: Sequence[Chosen] = ()
    most_cuts: int = MOST_CUTS
    solved: int = field(default=0, init=False)
    _found: deque[Chosen] = field(default_factory=lambda: deque(maxlen=_REMEMBERED), init=False)

    def minimum(self, costs: PairwiseCosts) -> Optimum:
        """The cheapest assignment: exact, or the best of a study where a cut has too many choices.

        Splits that no assignment cheaper than a known one has are left out first.
        """
        known = [chosen for chosen in (*self.first, *self._found) if np.isfinite(costs.total(chosen))]
        most = np.inf
        if known:
            most = costs.total(descended(costs, min(known, key=costs.total)))
        left = remaining(costs, most)
        found = cheapest(left.costs, most_cuts=self.most_cuts)
        if isinstance(found, Kernel):
            from paleo_opt.layer_splits.study import kernel_problem
            from paleo_opt.studies.run import run_study

            first = [chosen for chosen in map(left.index, self.first) if chosen is not None]
            problem = kernel_problem(found, first)
            run = run_study(problem, trials=self.trials, seed=self.seed)
            best = run.best_trial
            assert best is not None
            cost, chosen = found.solve([int(best.params[name]) for name in problem.variables])
            found = Optimum(cost, chosen, False, found.cut, len(run.finished))
        self.solved += found.tried
        optimum = replace(found, chosen=left.chosen(found.chosen))
        self._found.append(optimum.chosen)
        return optimum


def fastest(step: StepTime, capacity: float, solver: Solver) -> Solution:
    """The fastest assignment that fits.

    Args:
        step: What is minimized.
        capacity: Bytes of a device.
        solver: What solves a graph; no assignment of its ``first`` that fits is faster than the answer.

    Raises:
        InfeasibleError: none fits.
    """
    costs = step.costs
    # The sum that is the largest of the best assignment so far is likely that of the optimum.
    start = step.sums(min(solver.first, key=step.total)) if solver.first else np.zeros(step.sync.shape[0])
    found = solver.minimum(step.mixed(np.arange(start.size) == start.argmax()))
    memory = costs.memory_of(found.chosen)
    if step.sync.shape[0] == 1 and memory <= capacity and found.exact:
        total = step.total(found.chosen)
        return Solution(found.chosen, total, total, memory, found.cut, solver.solved)
    seen = [found.chosen, *solver.first]
    if memory > capacity:
        seen.append(least_memory(costs, solver))
    search = Branches(step, capacity, solver)
    for chosen in seen:
        search.consider(chosen)
    if search.best is None:
        raise TooLargeError(costs, min(map(costs.memory_of, seen)), capacity)
    bound = search.run(seen) if found.exact else -np.inf
    best = search.best
    total = step.total(best)
    return Solution(best, total, min(bound, total), costs.memory_of(best), found.cut, solver.solved)


def least_memory(costs: SplitCosts, solver: Solver) -> Chosen:
    """The assignment of least memory: of the sum over layers and edges, and the largest workspace."""
    best, least, allowed = None, np.inf, np.inf
    while True:
        masks = {index: node.workspace < allowed for index, node in enumerate(costs.nodes)}
        if not all(mask.any() for mask in masks.values()):
            break
        found = solver.minimum(masked(costs.memory, masks))
        if costs.memory_of(found.chosen) < least:
            best, least = found.chosen, costs.memory_of(found.chosen)
        # Any other of less memory has less workspace than this one.
        allowed = max(float(node.workspace[k]) for node, k in zip(costs.nodes, found.chosen, strict=True))
        if allowed == 0.0 or costs.reserve + found.cost >= least:
            break
    assert best is not None
    return best
