"""Verify a schedule by arithmetic of its own: it shares no code with what made the schedule.

Capacity is summed anew at every instant at which a run starts; precedence, releases, deadlines, pools and money are
compared one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

from paleo_opt.planning.scheduling.problem import Schedule


@dataclass(frozen=True)
class Check:
    """What was verified.

    Attributes:
        runs: Placed.
        instants: At which the use of a pool was summed.
        waits: Pairs of runs of which one waits for the other.
        violations: What is wrong, in words; empty where the schedule holds.
        late: Runs that end after their deadlines, by index: no violation, but to be reported.
        cents: The bill, added up anew.
    """

    runs: int
    instants: int
    waits: int
    violations: tuple[str, ...]
    late: tuple[int, ...]
    cents: int

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.violations


def check_schedule(schedule: Schedule) -> Check:
    """Everything that is wrong with a schedule."""
    problem = schedule.problem
    wrong: list[str] = []
    if len(schedule.placements) != len(problem.runs) or len(schedule.more) != len(problem.pools):
        wrong.append(f"{len(schedule.placements)} placements of {len(problem.runs)} runs")
        return Check(len(schedule.placements), 0, 0, tuple(wrong), (), 0)
    spans: list[tuple[int, int, int, int]] = []
    late: list[int] = []
    bill = 0.0
    for index, (run, placement) in enumerate(zip(problem.runs, schedule.placements, strict=True)):
        if not 0 <= placement.candidate < len(run.candidates):
            wrong.append(f"{run.name}: there is no way {placement.candidate} to run it")
            spans.append((0, 0, 0, 0))
            continue
        candidate = run.candidates[placement.candidate]
        pool = problem.pools[candidate.pool]
        start, end = placement.start_s, placement.start_s + candidate.duration_s
        spans.append((candidate.pool, start, end, candidate.nodes))
        bill += candidate.cents
        if start < run.release_s:
            wrong.append(f"{run.name}: starts {run.release_s - start} s before it may")
        if start < pool.opens_s or (pool.closes_s is not None and end > pool.closes_s):
            wrong.append(f"{run.name}: runs while {pool.name} is not there")
        if end > run.deadline_s:
            late.append(index)
    waits = 0
    for run, (_, start, _, _) in zip(problem.runs, spans, strict=True):
        for before in run.after:
            waits += 1
            if start < spans[before][2]:
                wrong.append(f"{run.name}: starts before {problem.runs[before].name} has ended")
    instants = 0
    for index, pool in enumerate(problem.pools):
        more = schedule.more[index]
        if not 0 <= more <= pool.most_more:
            wrong.append(f"{pool.name}: {more} nodes added, of {pool.most_more} that can be")
        bill += pool.usd_per_more * 100 * more
        if pool.nodes is None:
            continue
        here = [span for span in spans if span[0] == index]
        # Use rises at starts alone, so its peaks are there.
        for instant in sorted({span[1] for span in here}):
            instants += 1
            used = sum(nodes for _, start, end, nodes in here if start <= instant < end)
            if used > pool.nodes + more:
                wrong.append(f"{pool.name}: {used} nodes in use at {instant} s, of {pool.nodes + more}")
    if problem.budget_usd is not None and bill > problem.budget_usd * 100 + 1:
        wrong.append(f"costs ${bill / 100:.2f}, of ${problem.budget_usd:.2f}")
    unknown = any(
        not 0 <= p.candidate < len(run.candidates) for p, run in zip(schedule.placements, problem.runs, strict=True)
    )
    if not unknown and abs(bill - schedule.cents) > 1 + len(problem.pools):
        wrong.append(f"costs ${bill / 100:.2f}, not ${schedule.cents / 100:.2f}")
    return Check(len(spans), instants, waits, tuple(wrong), tuple(late), round(bill))
