"""Where a network may be split layer by layer, on how many devices: what one place takes, and a bound below it."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from paleo_opt import __version__
from paleo_opt.errors import InfeasibleError
from paleo_opt.estimator.convergence import job_samples
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.energy import computing_watts, waiting_watts
from paleo_opt.estimator.estimates import MONTH_S, slowdowns_of
from paleo_opt.estimator.memory import OPTIMIZER_STATES
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.places import make_places
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.layer_splits.least_step import LeastStep, least_step
from paleo_opt.layer_splits.patterns import DATA
from paleo_opt.layer_splits.point import BEYOND, NO_FIT, SOLVED, Figures, SplitPoint, as_text, read
from paleo_opt.layer_splits.split_layers import LayerSplits, dollars_per_million, split_layers
from paleo_opt.search.budgets import LIMITED, Budgets
from paleo_opt.studies.problem import Outcome, Point, StudyProblem, Variable

#: Bounds are sums in another order than what they bound.
_ROUNDING = 1.0 - 1e-9
_CLUSTER, _GPUS = "cluster", "gpus"


@dataclass(frozen=True, eq=False)
class SplitPlaces:
    """The question of `study.search_splits`.

    Attributes:
        table: The compiled network.
        clusters: Where it may run.
        gpus: Numbers of devices of each cluster.
        global_batch: Samples of a step, the same everywhere.
        minimize: ``time`` or ``cost``: to the target where the network has a job, else of a step or a sample.
        budgets: Limits.
        options: The model's constants and terms.
        seed: Of the studies inside a place.
        asked: Further arguments of `split_layers`.
    """

    table: CostTable
    clusters: tuple[Cluster, ...]
    gpus: tuple[tuple[int, ...], ...]
    global_batch: int
    minimize: str
    budgets: Budgets
    options: Options
    seed: int
    asked: Mapping[str, Any]
    _bounds: dict[tuple[int, int], Figures] = field(default_factory=dict, repr=False)
    #: The best that this process has solved, alone: the costs of a place are hundreds of megabytes.
    _kept: list[tuple[float, int, int, LayerSplits]] = field(default_factory=list, repr=False)

    @cached_property
    def limits(self) -> dict[str, float]:
        """The budgets of time, money and energy."""
        given = {name: getattr(self.budgets, name) for name in LIMITED}
        return {name: float(limit) for name, limit in given.items() if limit is not None}

    @property
    def has_target(self) -> bool:
        """Whether time and money are those to a target."""
        return self.table.network.job is not None

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """All numbers of devices."""
        return tuple(sorted({gpus for sizes in self.gpus for gpus in sizes}))

    @cached_property
    def points(self) -> list[Point]:
        """Every place, those with the highest peak (or, for the least cost, the cheapest peak) first."""

        def promise(place: tuple[int, int]) -> tuple[float, ...]:
            index, gpus = place
            cluster = self.clusters[index]
            precision = self.asked.get("precision") or cluster.device.training_precision
            peak = gpus * cluster.device.peak.get(precision, 0.0)
            price = self.options.node_price(cluster)
            if self.minimize == "cost" and price is not None and peak:
                return (-(-gpus // cluster.devices_per_node) * price.dollars_per_hour / peak, -peak, index)
            return (-peak, index)

        places = [(index, gpus) for index, sizes in enumerate(self.gpus) for gpus in sizes]
        return [{_CLUSTER: float(i), _GPUS: float(self.sizes.index(n))} for i, n in sorted(places, key=promise)]

    def place(self, point: Point) -> tuple[int, int]:
        """The index of the cluster, and the devices, of a point."""
        return int(point[_CLUSTER]), self.sizes[int(point[_GPUS])]

    # -- figures ---------------------------------------------------------------------------------------

    def figures(
        self, cluster: Cluster, gpus: int, step_s: float, compute_s: float, update_s: float, dollars: float
    ) -> Figures:
        """What a step means for the training, as `Estimates` has it; no more where its parts take less.

        Args:
            cluster: Where.
            gpus: Devices.
            step_s: Of a step.
            compute_s: Forward and backward passes of it on a device.
            update_s: Of its parameters.
            dollars: A million samples.
        """
        network, options = self.table.network, self.options
        job, operations, power = network.job, options.operations, options.power
        if job is None:
            return Figures(step_s, dollars, math.nan, math.nan, math.nan)
        precision = self.asked.get("precision") or cluster.device.training_precision
        places = make_places([cluster], [precision], options)
        checkpoint = 4.0 * network.parameters * (1 + OPTIMIZER_STATES[options.optimizer or network.usual_optimizer])
        found = slowdowns_of(places, np.zeros(1, dtype=np.int64), np.array([float(gpus)]), checkpoint, operations)
        slowest, interrupted = float(found[0, 0]), float(found[1, 0])
        nodes = -(-gpus // cluster.devices_per_node)
        expected = step_s + (slowest - 1.0) * (compute_s + update_s)
        if operations.input_rate is not None:
            expected = max(expected, self.global_batch / (nodes * operations.input_rate))
        steps = math.ceil(float(job_samples(job, self.global_batch)) / self.global_batch)
        running = steps * interrupted * expected
        rate = nodes * float(places.dollars[0]) + operations.storage_usd_per_month / MONTH_S
        watts = np.array(float(places.watts[0]))
        waiting = float(waiting_watts(power, np.array(nodes * cluster.devices_per_node), watts)) * expected
        busy = float(computing_watts(power, np.array(gpus), watts)) * compute_s
        return Figures(
            step_s=step_s,
            dollars_per_million=dollars,
            time_s=running + operations.queue_s,
            cost_usd=rate * running + operations.egress_usd,
            energy_kwh=steps * interrupted * (waiting + busy) / 3.6e6,
        )

    def value(self, figures: Figures) -> float:
        """What is minimized."""
        if self.minimize == "time":
            return figures.time_s if self.has_target else figures.step_s
        return figures.cost_usd if self.has_target else figures.dollars_per_million

    def excess(self, figures: Figures) -> dict[str, float]:
        """By how much each budget is exceeded; infinite for a figure that is not known."""
        found = {name: getattr(figures, name) / limit - 1.0 for name, limit in self.limits.items()}
        return {name: math.inf if math.isnan(value) else value for name, value in found.items()}

    def least(self, index: int, gpus: int) -> Figures:
        """What a place at least takes."""
        if (index, gpus) not in self._bounds:
            cluster = self.clusters[index]
            asked = {name: value for name, value in self.asked.items() if name != "trials"}
            found: LeastStep = least_step(
                self.table, cluster, gpus, self.global_batch, options=self.options, **asked
            )  # fmt: skip
            step, compute, update = (one * _ROUNDING for one in (found.step_s, found.compute_s, found.update_s))
            price = self.options.node_price(cluster)
            nodes = -(-gpus // cluster.devices_per_node)
            hourly = math.nan if price is None else nodes * price.dollars_per_hour
            dollars = hourly / 3600.0 * step / self.global_batch * 1e6
            self._bounds[index, gpus] = self.figures(cluster, gpus, step, compute, update, dollars)
        return self._bounds[index, gpus]

    # -- one place -------------------------------------------------------------------------------------

    def answer(self, index: int, gpus: int) -> LayerSplits:
        """The fastest splits of a place, as this process keeps them or solved (again: the same each time).

        Raises:
            InfeasibleError: nothing fits.
        """
        for _, of, devices, found in self._kept:
            if (of, devices) == (index, gpus):
                return found
        return split_layers(
            self.table, self.clusters[index], gpus, self.global_batch,
            options=self.options, seed=self.seed, **self.asked,
        )  # fmt: skip

    def solved(self, index: int, gpus: int) -> SplitPoint:
        """A place solved, whatever the budgets."""
        cluster = self.clusters[index]
        try:
            answer = self.answer(index, gpus)
        except InfeasibleError as error:
            return SplitPoint(cluster, gpus, NO_FIT, None, reason=str(error))
        layers = answer.layers()
        compute, update = sum(one.compute_s for one in layers), sum(one.update_s for one in layers)
        dollars = dollars_per_million(answer, self.options)
        figures = self.figures(cluster, gpus, answer.best.step_time_s, compute, update, dollars)
        excess = self.excess(figures)
        value = self.value(figures) if all(over <= 0.0 for over in excess.values()) else math.inf
        if not self._kept or value < self._kept[0][0]:
            self._kept[:] = [(value, index, gpus, answer)]
        return SplitPoint(
            cluster=cluster,
            gpus=gpus,
            state=SOLVED,
            figures=figures,
            memory_bytes=answer.best.memory_bytes,
            data_parallel_s=answer.patterns[DATA].step_time_s,
            gap=answer.solution.gap,
            excess=excess,
        )

    def solve(self, point: Point) -> Outcome:
        """A place solved, or left where a lower bound is beyond a budget; its figures as text."""
        index, gpus = self.place(point)
        told = {"cluster": self.clusters[index].name, "gpus": gpus}
        if self.limits:
            least = self.least(index, gpus)
            over = self.excess(least)
            if any(excess > 0.0 for excess in over.values()):
                # Below a limit the bound says nothing; that the place is beyond one is enough.
                found = SplitPoint(self.clusters[index], gpus, BEYOND, least, excess=over)
                return Outcome(self.value(least), {"memory": -1.0, **over}, {**told, "state": BEYOND}, as_text(found))
        found = self.solved(index, gpus)
        told["state"] = found.state
        if found.figures is None:
            return Outcome(math.inf, dict.fromkeys(("memory", *self.limits), 1.0), told, as_text(found))
        told |= {"step_time_s": found.figures.step_s, "memory_bytes": found.memory_bytes}
        told |= {name: getattr(found.figures, name) for name in LIMITED if self._known(found.figures, name)}
        return Outcome(self.value(found.figures), {"memory": -1.0, **found.excess}, told, as_text(found))

    @staticmethod
    def _known(figures: Figures, name: str) -> bool:
        return math.isfinite(getattr(figures, name))

    def bound(self, point: Point) -> float:
        """What is minimized is no less at a point."""
        return self.value(self.least(*self.place(point)))

    def read(self, point: Point, text: str) -> SplitPoint:
        """A place from the text that a study keeps of it."""
        index, gpus = self.place(point)
        return read(self.clusters[index], gpus, text)

    def study_problem(self) -> StudyProblem:
        """The search as a study; bounds spare places only where there are budgets, else all are compared."""
        problem = StudyProblem(
            variables={_CLUSTER: Variable(0, len(self.clusters) - 1), _GPUS: Variable(0, len(self.sizes) - 1)},
            solve=self.solve,
            identity=self.identity,
            every=self.points,
        )
        return replace(problem, bound=self.bound) if self.budgets.texts and len(self.points) > 1 else problem

    @property
    def identity(self) -> dict[str, Any]:
        """What two processes that share the search have in common."""
        text = repr(
            (self.table.network, self.table.conv_algorithm, self.clusters, self.gpus, self.global_batch, self.minimize,
             self.budgets, self.options, self.seed, sorted(self.asked.items()))
        )  # fmt: skip
        digest = hashlib.sha256(re.sub(r"\bfile=('[^']*'|\"[^\"]*\")", "", text).encode()).hexdigest()[:16]
        goal = self.minimize if self.has_target else {"time": "step time", "cost": "cost of a sample"}[self.minimize]
        return {
            "network": self.table.network.name,
            "goal": goal,
            "budget": " and ".join(self.budgets.in_words()),
            "clusters": [cluster.name for cluster in self.clusters],
            "gpus": list(self.sizes),
            "global_batch": self.global_batch,
            "paleo-opt": __version__,
            "question": digest,
        }
