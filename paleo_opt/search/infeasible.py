"""Why nothing is feasible: the limit that binds, by how much, and what comes nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paleo_opt import quantities
from paleo_opt.errors import InfeasibleError, SpecError
from paleo_opt.estimator.changes import Change, changes_that_fit, split_in_words
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.search.blocks import Block
from paleo_opt.search.budgets import LIMITED, Budgets, budget_text, figure, ranked, within
from paleo_opt.search.enumeration import splits_blocks
from paleo_opt.search.problem import MOST_SWEPT, Choice, SearchProblem, count_strategies
from paleo_opt.search.sweep import Limits, Rows, sweep
from paleo_opt.search.tiles import Together

_NO_LIMIT = 2**62
#: Changes that would fit, at most so many in words.
_NAMED = 3


@dataclass(frozen=True)
class Relaxation:
    """A budget that would make something feasible if it alone were larger.

    Attributes:
        budget: ``gpus`` or one of `budgets.LIMITED`.
        needed: Its least size.
        choice: What is then feasible.
    """

    budget: str
    needed: float
    choice: Choice


class NothingFeasibleError(InfeasibleError):
    """No strategy fits memory and keeps to every budget.

    Attributes:
        problem: What was searched.
        binding: ``memory``, a budget that no strategy keeps to (``time_s``, ``cost_usd``, ``energy_kwh``), or
            ``budgets`` where each could be kept to but not all at once.
        strategies: How many were evaluated.
        fitting: How many of them fit a device's memory.
        nearest: The strategy that exceeds the limits least.
        relaxations: What one larger budget would make feasible.
        changes: What one other choice would make ``nearest`` fit, of a transformer.
    """

    def __init__(
        self,
        message: str,
        problem: SearchProblem,
        binding: str,
        strategies: int,
        fitting: int,
        nearest: Choice,
        relaxations: Sequence[Relaxation] = (),
        changes: Sequence[Change] = (),
    ) -> None:
        super().__init__(message)
        self.problem, self.binding, self.nearest = problem, binding, nearest
        self.strategies, self.fitting = strategies, fitting
        self.relaxations, self.changes = tuple(relaxations), tuple(changes)


def nothing_feasible(
    problem: SearchProblem, blocks: Sequence[Block], rows: Rows, proved: bool = True
) -> NothingFeasibleError:
    """The error that says why no row is feasible.

    Args:
        problem: What was searched.
        blocks: Of the search.
        rows: All that were evaluated, none of them feasible.
        proved: Whether they are all there are.
    """
    counts = int(rows.strategies.sum()), int(rows.fitting.sum())
    if not rows.fitting.any():
        nearest, message = _out_of_memory(problem, blocks, rows, counts[0])
        changes = changes_that_fit(problem.table, nearest.strategy, problem.options)
        more = _more_gpus(problem) if proved else []
        message += _would_fit(nearest, changes, more)
        message += "".join(f"\n{budget_text('gpus', m.needed)} would do ({_in_words(m.choice, 'gpus')})" for m in more)
        return NothingFeasibleError(message + _unproved(proved), problem, "memory", *counts, nearest, more, changes)
    budgets = problem.budgets
    given = [name for name in LIMITED if getattr(budgets, name) is not None]
    excess = np.max([figure(rows, LIMITED[name]) / getattr(budgets, name) for name in given], axis=0)
    nearest = _choice(problem, blocks, rows, int(excess.argmin()))
    least = {name: _least(problem, blocks, rows, name, Limits(), proved) for name in given}
    impossible = {
        name: choice
        for name, choice in least.items()
        if choice is not None and choice.figure(LIMITED[name]) > getattr(budgets, name)
    }
    relaxations = []
    for name in given:
        found = _least(problem, blocks, rows, name, replace(budgets.limits, **{name: np.inf}), proved)
        if found is not None:
            relaxations.append(Relaxation(name, found.figure(LIMITED[name]), found))
    relaxations += _more_gpus(problem) if proved else []
    message = _message(budgets, given, impossible, relaxations) + _unproved(proved)
    binding = next(iter(impossible), "budgets")
    return NothingFeasibleError(message, problem, binding, *counts, nearest, relaxations)


def _would_fit(nearest: Choice, changes: Sequence[Change], more: Sequence[Relaxation]) -> str:
    """The single changes of a transformer that would make it fit, as a line; ``more`` GPUs have their own."""
    if nearest.strategy.blocks is None:
        return ""
    named = [change for change in changes if change.field != "gpus" or not more]
    if not named:
        return "" if more else "\nno single change of the split, the micro-batch or the number of GPUs makes it fit"
    capacity = quantities.format_memory(nearest.strategy.cluster.device.memory)
    words = [f"{c.in_words()} ({quantities.format_memory(c.memory_bytes)} of {capacity})" for c in named[:_NAMED]]
    return f"\nwould fit: {', or '.join(words)}"


def _unproved(proved: bool) -> str:
    return "" if proved else "\nthe space is too large to try every strategy, so this is not proved"


def _choice(problem: SearchProblem, blocks: Sequence[Block], rows: Rows, row: int) -> Choice:
    return Choice(problem, rows.strategy(blocks, row))


def _out_of_memory(problem: SearchProblem, blocks: Sequence[Block], rows: Rows, strategies: int) -> tuple[Choice, str]:
    """The strategy that misses its device's memory least."""
    capacity = np.array([block.cluster.device.memory for block in blocks])[rows.block]
    missing = rows.memory_bytes / capacity
    choice, excess = None, np.inf
    # Of those that need as much, the one with most GPUs can be changed in most ways.
    for row in np.lexsort((-rows.gpus, missing)).tolist():
        # The least memory of a transformer's row is known from below.
        if missing[row] >= excess:
            break
        found = Choice(problem, _smallest(problem, blocks, rows, row))
        if found.memory_bytes / capacity[row] < excess:
            choice, excess = found, found.memory_bytes / float(capacity[row])
    assert choice is not None, "there are strategies"
    strategy, needed, device = choice.strategy, choice.memory_bytes, choice.strategy.cluster.device
    split = "" if strategy.blocks is None else f"{split_in_words(strategy.blocks)}, "
    message = (
        f"nothing fits: of {strategies:,} strategies the nearest needs {quantities.format_memory(needed)} a device "
        f"({split}micro-batch {strategy.micro_batch:,}, {describe(strategy)}), "
        f"{quantities.format_memory(needed - device.memory)} more than the {quantities.format_memory(device.memory)} "
        f"of {device.name}"
    )
    return choice, message


def _smallest(problem: SearchProblem, blocks: Sequence[Block], rows: Rows, row: int) -> Strategy:
    """The strategy of a row that needs least memory."""
    block = blocks[int(rows.block[row])]
    here = np.flatnonzero((block.gpus == rows.gpus[row]) & (block.groups == rows.group[row]))
    together = Together.of(problem.table, [block.of_rows(here)], [0], problem.options)
    first = np.zeros(1, dtype=np.int64)
    best, least = None, np.inf
    for plans in together.tiles():
        memory = np.broadcast_to(together.estimate(plans, first).memory_bytes, plans.row.shape)
        place = int(memory.argmin())
        if memory[place] < least:
            best, least = plans.at(np.array([place])), float(memory[place])
    assert best is not None, "a row has strategies"
    _, layout, micro_batch, accumulation = (int(column[0]) for column in best)
    return block.strategy(int(rows.gpus[row]), layout, micro_batch, accumulation)


def _least(
    problem: SearchProblem, blocks: Sequence[Block], rows: Rows, name: str, limits: Limits, proved: bool
) -> Choice | None:
    """The strategy within ``limits`` that takes least of one budget; None where none is within them."""
    goal = LIMITED[name]
    if proved and (problem.by_energy or goal == "energy"):
        # The best of a row was chosen by other limits or another figure.
        rows = sweep(problem.table, blocks, limits, problem.options, goal)
    order = ranked(rows, blocks, goal, within(rows, limits))
    return _choice(problem, blocks, rows, int(order[0])) if order.size else None


def _more_gpus(problem: SearchProblem) -> list[Relaxation]:
    """The least number of GPUs that makes something feasible, where they are a budget."""
    largest = problem.space.largest
    if problem.budgets.gpus is None or largest <= problem.budgets.gpus:
        return []
    blocks = problem.blocks(most_gpus=largest)
    if count_strategies(blocks) > MOST_SWEPT:
        return []
    rows = sweep(problem.table, blocks, problem.budgets.limits, problem.options, problem.goal)
    feasible = rows.feasible > 0
    if not feasible.any():
        return []
    fewest = feasible & (rows.gpus == rows.gpus[feasible].min())
    choice = _choice(problem, blocks, rows, int(ranked(rows, blocks, problem.goal, fewest)[0]))
    return [Relaxation("gpus", float(choice.strategy.gpus), choice)]


def describe(strategy: Strategy) -> str:
    """``8 GPUs of p4d.24xlarge``."""
    return f"{strategy.gpus:,} GPU{'s'[: strategy.gpus > 1]} of {strategy.cluster.name}"


def _message(
    budgets: Budgets, given: Sequence[str], impossible: Mapping[str, Choice], relaxations: Sequence[Relaxation]
) -> str:
    """One line per budget that cannot be kept to, and what one larger budget would buy."""
    gpus = "" if budgets.gpus is None else f" within {budget_text('gpus', budgets.gpus)}"
    lines = []
    for name, least in impossible.items():
        limit, needed = getattr(budgets, name), least.figure(LIMITED[name])
        amount = f"the {_LEAST[name]} {budget_text(name, needed)}{_over(needed, limit)}"
        lines.append(f"{budget_text(name, limit)} is not enough{gpus}: {amount} ({_in_words(least, name)})")
    if not impossible:
        lines.append(f"no strategy keeps to {' and '.join(budget_text(n, getattr(budgets, n)) for n in given)} at once")
    for relaxation in relaxations:
        name, choice = relaxation.budget, relaxation.choice
        if name == "gpus":
            lines.append(f"{budget_text(name, relaxation.needed)} would do ({_in_words(choice, name)})")
            continue
        others = [budget_text(other, getattr(budgets, other)) for other in given if other != name]
        if budgets.gpus is not None:
            others.insert(0, budget_text("gpus", budgets.gpus))
        if others and (name not in impossible or len(given) > 1):
            lines.append(
                f"within {' and '.join(others)} the {_LEAST[name]} {budget_text(name, relaxation.needed)} "
                f"({_in_words(choice, name)})"
            )
    return "\n".join(lines)


_LEAST = {"cost_usd": "cheapest costs", "time_s": "fastest takes", "energy_kwh": "most frugal takes"}


def _over(value: float, limit: float) -> str:
    excess = value / limit - 1.0
    return f", {excess:.1%} more" if excess < 1.0 else f", {value / limit:,.3g} times that"


def _in_words(choice: Choice, but: str) -> str:
    """Where a choice runs, and its figures but one: ``8 GPUs of p4d.24xlarge, 3 h, $528``."""
    values = [(name, choice.figure(LIMITED[name])) for name in ("time_s", "cost_usd") if name != but]
    known = [budget_text(name, value) for name, value in values if value == value]
    return ", ".join([describe(choice.strategy), *known])


def check_not_empty(problem: SearchProblem, blocks: Sequence[Block]) -> None:
    """Say why there is nothing to search, where there is nothing.

    Raises:
        InfeasibleError: naming the limit that leaves no strategy, and the nearest that would leave one.
        SpecError: no cluster has the precision.
    """
    if blocks:
        return
    space, clusters = problem.space, problem.clusters
    if space.precision != ("training",) and not any(set(space.precision) & set(c.device.peak) for c in clusters):
        has = ", ".join(sorted({name for cluster in clusters for name in cluster.device.peak}))
        raise SpecError(f"precision {', '.join(space.precision)}: no cluster's device has it; they have {has}")
    if space.global_batch:
        anything = replace(problem, space=replace(space, global_batch=())).blocks(batch_limit=_NO_LIMIT)
        if anything:
            rounds = splits_blocks(problem.network, problem.options.model) and min(space.splits.virtual_stages) > 1
            _refuse_global_batch(space.global_batch[-1], anything, rounds)
    unlimited = problem.blocks(most_gpus=space.largest, batch_limit=_NO_LIMIT)
    if not unlimited and splits_blocks(problem.network, problem.options.model):
        raise InfeasibleError(
            f"the space {space.name!r} has no split of {problem.network.name} for any number of GPUs there: tensor, "
            "pipeline, context and expert have to divide it"
        )
    if not unlimited:
        divided = "" if "data" in space.split or not space.tensor else f" and {min(space.tensor)} divides"
        raise InfeasibleError(f"no cluster has a number of GPUs that the space allows{divided}")
    smallest = min(int(block.gpus.min()) for block in unlimited)
    if smallest > problem.most_gpus:
        given = budget_text("gpus", problem.most_gpus)
        raise InfeasibleError(f"a budget of {given} is too small: the smallest number in the space is {smallest:,}")
    batch = min(int((block.micro_batch[0] * block.data).min()) for block in unlimited)
    raise InfeasibleError(
        f"the global batch is at most {problem.batch_limit:,}, but the smallest that the space can make is {batch:,}"
    )


def _refuse_global_batch(wanted: int, blocks: Sequence[Block], rounds: bool) -> None:
    """Name the nearest global batches below and above that can be made; ``rounds``: every pipeline is interleaved."""
    samples = []
    for block in blocks:
        groups = block.data
        if rounds and block.layouts is not None:
            groups = groups * block.layouts.groups.pipeline[block.groups]
        samples.append((groups[:, None] * block.micro_batch).ravel())
    per_pass = np.unique(np.concatenate(samples))
    below, above = int((wanted // per_pass * per_pass).max()), int((-(-wanted // per_pass) * per_pass).min())
    near = " and ".join(f"{batch:,}" for batch in dict.fromkeys((below, above)) if batch)
    raise InfeasibleError(
        f"no micro-batch and number of GPUs in the space make a global batch of {wanted:,}; "
        f"the nearest that can be made: {near}"
    )
