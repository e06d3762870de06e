"""What would make a plan feasible that is not: later deadlines, more nodes, more money, or renting."""

from __future__ import annotations

from dataclasses import dataclass

from paleo_opt import catalog
from paleo_opt.hardware.load import load_cluster
from paleo_opt.planning.jobs import Resource
from paleo_opt.planning.resources import MOST_MORE
from paleo_opt.planning.scheduling.solution import Solution
from paleo_opt.planning.scheduling.solve import solve
from paleo_opt.planning.setup import Setup


@dataclass(frozen=True)
class Relaxation:
    """One thing that alone would do.

    Attributes:
        kind: ``nodes`` of a resource, ``money`` of the budget, or ``rent``.
        what: The resource, or the clusters that would be rented; empty for money.
        amount: Nodes more; or dollars in all.
        proved: Whether less would not do.
    """

    kind: str
    what: str
    amount: float
    proved: bool


def find_relaxations(setup: Setup, time_limit: float) -> tuple[Relaxation, ...]:
    """Each single change that lets all deadlines be met, with the least of it that was found.

    Args:
        setup: Whose deadlines cannot all be met.
        time_limit: For all of it [s].
    """
    limited = [i for i, each in enumerate(setup.resources) if each.nodes]
    tries = len(limited) + (setup.file.budget_usd is not None) + 1
    found: list[Relaxation] = []
    if setup.file.budget_usd is not None:
        problem, _ = setup.problem(budget=False)
        solution = solve(problem, "cost", time_limit / tries)
        if solution.feasible and solution.schedule is not None:
            found.append(Relaxation("money", "", solution.schedule.cost_usd, solution.proved))
    for index in limited:
        nodes = setup.resources[index].nodes or 0
        more = setup.with_more(index, min(MOST_MORE, 3 * nodes + 8))
        solution = solve(more.problem()[0], "nodes", time_limit / tries)
        if solution.feasible and solution.schedule is not None:
            found.append(Relaxation("nodes", setup.resources[index].name, solution.value, solution.proved))
    if not any(each.kind == "rent" for each in setup.resources):
        rented = _renting(setup, time_limit / tries)
        if rented is not None:
            found.append(rented)
    return tuple(found)


def _renting(setup: Setup, time_limit: float) -> Relaxation | None:
    """What renting beside the fleet would cost."""
    clusters = [load_cluster(name) for name in catalog.names("cluster")]
    resources = [
        Resource(f"rented {c.name}", "rent", c, None, 0, 0.0, None, setup.file.start, None, setup.file.fields)
        for c in clusters
        if setup.options.node_price(c) is not None
    ]
    more = setup.having([*setup.resources, *resources])
    problem, _ = more.problem()
    solution: Solution = solve(problem, "cost", time_limit)
    if not solution.feasible or solution.schedule is None:
        return None
    used = [problem.pools[solution.schedule.candidate(run).pool] for run in range(len(problem.runs))]
    names = dict.fromkeys(pool.name.removeprefix("rented ") for pool in used if pool.kind == "rent")
    return Relaxation("rent", ", ".join(names), solution.schedule.cost_usd, solution.proved)
