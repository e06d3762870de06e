"""Small scheduling problems, and every schedule of one by enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import strategies as st

from paleo_opt.planning.scheduling.problem import PRIORITIES, Candidate, Placement, PlanProblem, Pool, Run, Schedule

HOUR = 3600
LAST = 7


def every_schedule(problem: PlanProblem, last: int = LAST) -> Iterator[Schedule]:
    """Every schedule that holds whose starts are whole hours up to ``last``: where all durations and releases are whole
    hours, one of them is best of all.

    Written to be seen to be right: nothing is shared with the solver or the checker.
    """
    ways = [
        [(c, start) for c in range(len(run.candidates)) for start in range(run.release_s // HOUR, last + 1)]
        for run in problem.runs
    ]
    for more in itertools.product(*(range(pool.most_more + 1) for pool in problem.pools)):
        for chosen in itertools.product(*ways):
            if _holds(problem, chosen, more):
                placements = tuple(Placement(candidate, start * HOUR) for candidate, start in chosen)
                schedule = Schedule(problem, placements, more)
                if schedule.within_budget:
                    yield schedule


def _holds(problem: PlanProblem, chosen: tuple[tuple[int, int], ...], more: tuple[int, ...]) -> bool:
    used: dict[tuple[int, int], int] = {}
    ends = []
    for run, (index, start) in zip(problem.runs, chosen, strict=True):
        candidate = run.candidates[index]
        end = start + candidate.duration_s // HOUR
        ends.append(end)
        if any(start < ends[before] for before in run.after):
            return False
        pool = problem.pools[candidate.pool]
        if start * HOUR < pool.opens_s or (pool.closes_s is not None and end * HOUR > pool.closes_s):
            return False
        for hour in range(start, end):
            key = (candidate.pool, hour)
            used[key] = used.get(key, 0) + candidate.nodes
    for (index, _), nodes in used.items():
        there = problem.pools[index].nodes
        if there is not None and nodes > there + more[index]:
            return False
    return True


def best_by_enumeration(problem: PlanProblem, minimize: str) -> tuple[float, ...] | None:
    """Lateness by priority, then the goal, of the best schedule; None where there is none."""
    best: tuple[float, ...] | None = None
    for schedule in every_schedule(problem):
        last = schedule.cents if minimize == "cost" else schedule.finish_s
        value = (*schedule.lateness, last)
        if best is None or value < best:
            best = value
    return best


@st.composite
def problems(draw: st.DrawFn, most_runs: int = 3) -> PlanProblem:
    """Problems of a few runs, each of at most 3 hours: run one after the other, the last starts by hour 7."""
    pools = [Pool("fleet", "fleet", draw(st.integers(1, 3)))]
    kind = draw(st.sampled_from(["none", "rent", "few", "buy", "window"]))
    if kind == "rent":
        pools.append(Pool("rent", "rent", None))
    elif kind == "few":
        pools.append(Pool("rent", "rent", 2))
    elif kind == "buy":
        pools.append(Pool("buy", "buy", 0, most_more=2, usd_per_more=draw(st.integers(1, 30))))
    elif kind == "window":
        pools.append(Pool("lent", "fleet", 2, opens_s=HOUR, closes_s=4 * HOUR))
    runs = []
    for index in range(draw(st.integers(1, most_runs))):
        candidates = [Candidate(0, 1, HOUR * draw(st.integers(1, 3)), draw(st.sampled_from([0.0, 0.0, 2.5])))]
        for pool in range(len(pools)):
            if draw(st.booleans()):
                nodes, hours = draw(st.integers(1, 3)), draw(st.integers(1, 3))
                paid = float(nodes * hours * draw(st.integers(1, 4))) if pools[pool].kind == "rent" else 0.0
                candidates.append(Candidate(pool, nodes, HOUR * hours, paid))
        release = draw(st.integers(0, 1))
        after = tuple(i for i in range(index) if draw(st.integers(0, 3)) == 0)
        runs.append(
            Run(
                f"run {index}",
                release * HOUR,
                (release + draw(st.integers(1, 6))) * HOUR,
                tuple(candidates),
                draw(st.integers(1, len(PRIORITIES) - 2)),
                after,
            )
        )
    if draw(st.booleans()) and len(runs) > 1 and not runs[0].after and not runs[1].after:
        runs[1] = Run("alike", runs[0].release_s, runs[0].deadline_s, runs[0].candidates, runs[0].priority)
    budget = draw(st.sampled_from([None, None, 6.0, 20.0]))
    return PlanProblem(tuple(runs), tuple(pools), budget)
