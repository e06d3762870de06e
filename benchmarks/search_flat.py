"""Optuna's own samplers on every choice at once: what benchmarks/search.py holds the search against.

All choices are integers with fixed ranges. Clusters are in the order of what they promise, as in our own search, and an
index that a cluster, a split or a batch does not have is mapped to one that it has: in proportion, or to the nearest
split. So every point is a strategy of the space and only memory is left as a constraint: nobody is made to lose trials
on strategies that do not exist.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from search_truth import Measured, Truth, gap, ratio

from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.splits import FIELDS
from paleo_opt.estimator.strategy import Integers, Strategy
from paleo_opt.search.blocks import Block, joined
from paleo_opt.search.layouts import GROUPED
from paleo_opt.search.outer import promise
from paleo_opt.search.problem import SearchProblem
from paleo_opt.search.transformer_block import TransformerBlock

if TYPE_CHECKING:
    import optuna

#: Stands for what cannot be computed; samplers need a finite number.
_NOTHING = 1e30
SAMPLERS = ("tpe", "nsga2", "gp", "random")


class FlatSpace:
    """Every choice of a strategy as an index in a fixed range."""

    def __init__(self, problem: SearchProblem, blocks: Sequence[Block]) -> None:
        of_cluster: dict[str, list[Block]] = {}
        for block in blocks:
            of_cluster.setdefault(block.cluster.name, []).append(block)
        self.clusters = sorted(of_cluster.values(), key=lambda some: promise(problem, some))
        self.sizes = {"cluster": len(self.clusters)}
        self.counts: dict[int, Integers] = {}
        layouts = blocks[0].layouts
        if layouts is None:
            self.sizes["layout"] = max(map(len, self.clusters))
        else:
            splits = layouts.splits
            self.values = {name: np.unique(getattr(splits, name)) for name in FIELDS}
            self.values = {name: found for name, found in self.values.items() if found.size > 1}
            self.sizes |= {name: found.size for name, found in self.values.items()}
            # Of every split, the index of each of its values.
            self.indices = {n: np.searchsorted(v, getattr(splits, n)) for n, v in self.values.items()}
        self.sizes["gpus"] = max(np.unique(block.gpus).size for block in blocks)
        self.sizes["micro_batch"] = blocks[0].micro_batch.size
        first = blocks[0]
        batches = first.global_batch.size or first.accumulation.size
        if isinstance(first, TransformerBlock):
            batches = first.global_batch.size or 1 + first.rows.batch_halvings
        self.sizes["accumulation"] = int(batches)
        self.sizes["collective"] = len(blocks[0].collectives)

    def _share(self, name: str, chosen: dict[str, int], count: int) -> int:
        """An index in proportion: of so many that there are."""
        return chosen[name] * count // self.sizes[name]

    def strategy(self, chosen: dict[str, int]) -> Strategy:
        """The strategy that some indices mean."""
        some = self.clusters[chosen["cluster"]]
        block = some[self._share("layout", chosen, len(some))] if "layout" in self.sizes else some[0]
        if id(block) not in self.counts:
            self.counts[id(block)] = np.unique(block.gpus[block.row_sizes > 0])
        counts = self.counts[id(block)]
        at = np.flatnonzero((block.gpus == counts[self._share("gpus", chosen, counts.size)]) & (block.row_sizes > 0))
        layout, micro, accumulation = self._batches(block, at, chosen)
        sizes = np.unique(micro)
        size = sizes[self._share("micro_batch", chosen, sizes.size)]
        passes = np.sort(accumulation[micro == size])
        return block.strategy(
            int(block.gpus[at[0]]), int(layout), int(size),
            int(passes[self._share("accumulation", chosen, passes.size)]), chosen["collective"],
        )  # fmt: skip

    def _batches(self, block: Block, rows: Integers, chosen: dict[str, int]) -> tuple[int, Integers, Integers]:
        """A split that some rows of one number of GPUs can have, and the batches that it can have there."""
        if block.layouts is None:
            plans = joined(list(block.of_rows(rows).plans()))
            return 0, plans.micro_batch, plans.accumulation
        # The nearest split; first by what tells groups apart.
        layouts = block.layouts
        group = np.repeat(np.arange(layouts.starts.size - 1), np.diff(layouts.starts))
        distance = np.where(np.isin(group, block.groups[rows]), 0.0, np.inf)
        for name, index in self.indices.items():
            distance += np.abs(index - chosen[name]) * (100.0 if name in GROUPED else 1.0)
        nearest = block.of_rows(rows[block.groups[rows] == group[distance.argmin()]])
        plans = joined(list(nearest.plans()))
        present = np.unique(plans.layout)
        layout = int(present[distance[present].argmin()])
        these = plans.layout == layout
        return layout, plans.micro_batch[these], plans.accumulation[these]


class Flat:
    """Runs Optuna's samplers on one question."""

    def __init__(self, problem: SearchProblem, blocks: Sequence[Block], truth: Truth) -> None:
        self.problem, self.truth = problem, truth
        self.space = FlatSpace(problem, blocks)

    def run(self, sampler: str, seed: int, checkpoints: Sequence[int]) -> list[Measured]:
        """One study of the largest of ``checkpoints`` trials, measured at each."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made: dict[str, Any] = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
            "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed),
            "gp": lambda: optuna.samplers.GPSampler(seed=seed, deterministic_objective=True),
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        }
        directions = ["minimize"] * (2 if sampler == "nsga2" else 1)
        study = optuna.create_study(directions=directions, sampler=made[sampler]())
        points: list[tuple[float, float, float]] = []

        def objective(trial: optuna.Trial) -> Any:
            chosen = {name: trial.suggest_int(name, 0, size - 1) for name, size in self.space.sizes.items()}
            strategy = self.space.strategy(chosen)
            found = estimate(self.problem.table, strategy, self.problem.options)
            used, held = float(found.memory_bytes.reshape(-1)[0]), strategy.cluster.device.memory
            trial.set_constraint("memory", used / held - 1.0)
            took, cost = float(found.time_to_target_s.reshape(-1)[0]), float(found.cost_usd.reshape(-1)[0])
            second = cost if self.truth.priced else float(strategy.gpus)
            if used <= held:
                points.append((trial.number, took, second))
            both = [value if np.isfinite(value) else _NOTHING for value in (took, second)]
            return both if sampler == "nsga2" else both[self.problem.goal == "cost"]

        found, start = [], time.perf_counter()
        for count in checkpoints:
            study.optimize(objective, n_trials=count - len(study.trials))
            kept = np.array(points).reshape(-1, 3).T
            best = float(kept[1 + (self.problem.goal == "cost")].min(initial=np.inf))
            measured = ratio(kept[1:], self.truth)
            seconds = time.perf_counter() - start
            found.append(Measured(sampler, seed, count, gap(best, self.truth), measured, count, seconds))
        return found
