"""From a file of jobs to scheduling problems: all of it, or with some resources only, or with more of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from paleo_opt.estimator.estimate import Options
from paleo_opt.planning.candidates import Estimator, all_ways, search_networks
from paleo_opt.planning.jobs import JobsFile, Resource, RunSpec, expand, waits
from paleo_opt.planning.scheduling.problem import PlanProblem, Pool, Run, topological


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything that a plan is made from.

    Attributes:
        file: The jobs.
        runs: Each after those that it waits for.
        after: For each run, those that it waits for, by index.
        resources: That may be used.
        estimators: One per job.
        options: The model's constants.
        conv_algorithm: As for `compile_network`.
        strategies: Evaluated in the sweeps.
    """

    file: JobsFile
    runs: tuple[RunSpec, ...]
    after: tuple[tuple[int, ...], ...]
    resources: tuple[Resource, ...]
    estimators: tuple[Estimator, ...]
    options: Options
    conv_algorithm: str | None
    strategies: int

    def problem(self, kinds: Sequence[str] | None = None, budget: bool = True) -> tuple[PlanProblem, tuple[int, ...]]:
        """The scheduling problem on the resources of some ``kinds``, and the runs in it, by index into `runs`.

        Runs that have no way to run on them are left out.
        """
        used = [i for i, each in enumerate(self.resources) if kinds is None or each.kind in kinds]
        pools = {index: place for place, index in enumerate(used)}
        kept: dict[int, int] = {}
        runs: list[Run] = []
        for index, spec in enumerate(self.runs):
            possible = self.estimators[spec.job].candidates(spec.factor, pools)
            if not possible:
                continue
            runs.append(
                Run(
                    spec.name,
                    self.file.seconds(spec.release),
                    self.file.seconds(spec.deadline),
                    possible,
                    self.file.jobs[spec.job].priority,
                    tuple(kept[before] for before in self.after[index] if before in kept),
                )
            )
            kept[index] = len(kept)
        limit = self.file.budget_usd if budget else None
        return PlanProblem(tuple(runs), tuple(self._pool(self.resources[i]) for i in used), limit), tuple(kept)

    def _pool(self, each: Resource) -> Pool:
        return Pool(
            each.name,
            each.kind,
            each.nodes,
            each.most_more,
            each.usd_per_more,
            self.file.seconds(each.opens),
            None if each.closes is None else self.file.seconds(each.closes),
        )

    def having(self, resources: Sequence[Resource]) -> Setup:
        """The same with other resources."""
        return make_setup(self.file, resources, self.options, self.conv_algorithm)

    def with_more(self, index: int, most_more: int) -> Setup:
        """The same where nodes can be added to one resource alone, for nothing."""
        resources = list(self.resources)
        resources[index] = replace(resources[index], most_more=most_more, usd_per_more=0.0)
        return self.having(resources)


def make_setup(
    file: JobsFile, resources: Sequence[Resource], options: Options, conv_algorithm: str | None = None
) -> Setup:
    """Sweep every network and find the ways to run every job.

    Raises:
        SpecError: jobs that fit nowhere, too many runs, or a space that cannot be searched.
    """
    listed = expand(file)
    file.fields.raise_problems()
    before = waits(file, listed)
    order = topological(before)
    place = {index: at for at, index in enumerate(order)}
    searched = search_networks(file, options, conv_algorithm, resources)
    estimators = all_ways(file, searched, resources, options)
    return Setup(
        file=file,
        runs=tuple(listed[index] for index in order),
        after=tuple(tuple(place[i] for i in before[index]) for index in order),
        resources=tuple(resources),
        estimators=tuple(estimators),
        options=options,
        conv_algorithm=conv_algorithm,
        strategies=sum(each.strategies for each in searched.values()),
    )
