"""The answer to ``split``: how each layer is split, what that brings, and what is proved of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paleo_opt.estimator.convergence import job_samples
from paleo_opt.layer_splits.point import BEYOND, NO_FIT, SOLVED, WORSE
from paleo_opt.layer_splits.split_layers import LayerSplits
from paleo_opt.layer_splits.study import SplitSearch
from paleo_opt.quantities import format_count, format_memory, format_money, format_time
from paleo_opt.report import terminal
from paleo_opt.report.split_layers import layers_table, split_words
from paleo_opt.report.strategy_text import devices_text, plural
from paleo_opt.report.terminal import Column, bold, dim, percent
from paleo_opt.report.units import amount_text, samples_word
from paleo_opt.search.budgets import budget_text

#: Other clusters and numbers of GPUs that are shown.
_POINTS = 12
#: Factors below this are no gain: the model is not as exact.
_TOLD = 1.01


def count_text(count: int) -> str:
    """``504``, ``1.2 × 10^45``."""
    if count < 10**6:
        return format_count(count)
    power = len(str(count)) - 1
    return f"{count / 10**power:.1f} × 10^{power}"


def times_text(factor: float) -> str:
    """``1.31``, ``41``."""
    return f"{factor:.2f}" if factor < 9.995 else f"{factor:,.0f}"


@dataclass(frozen=True, eq=False)
class SplitAnswer:
    """What ``split`` answers.

    Attributes:
        search: Of all clusters and numbers of GPUs.
        remarks: What else the reader must know, one sentence each.
    """

    search: SplitSearch
    remarks: tuple[str, ...] = ()

    @property
    def best(self) -> LayerSplits:
        """The fastest (or cheapest)."""
        return self.search.best


def render(answer: SplitAnswer, room: int | None = None) -> str:
    """The answer as text of at most ``room`` columns (the terminal's width)."""
    room = room or terminal.width()
    found = answer.best
    costs, best = found.costs, found.best
    title = [found.network.name, f"each layer split in its own way over {plural(costs.devices, 'GPU')}"]
    batch = f"global batch {found.global_batch:,}"
    title.append(batch + (f" in {costs.passes:,} passes" if costs.passes > 1 else ""))
    lines = terminal.joined(title, room)
    where = [devices_text(costs.cluster, costs.devices), costs.precision]
    lines += [bold(line) for line in terminal.joined([f"→ {where[0]}", *where[1:]], room)]
    figures = [
        f"step {format_time(best.step_time_s)}",
        f"{format_count(round(found.samples_per_s))} {samples_word(found.network)}/s",
        f"{format_memory(best.memory_bytes)} of {format_memory(costs.cluster.device.memory)}",
    ]
    totals = answer.search.points[0].figures
    assert totals is not None
    dollars = totals.dollars_per_million
    if not math.isnan(dollars):
        figures.append(f"{format_money(dollars)} a million {samples_word(found.network)}")
    lines += terminal.joined(figures, room, "  ", "   ")
    for sentence in (_to_target(answer.search), _against(found), _proof(found), _places(answer.search)):
        if sentence:
            lines += terminal.wrapped(sentence, room, "  ", "  ")
    lines += ["", *layers_table(found, room)]
    lines += _points(answer.search, room)
    for note in [*_notes(found), *found.remarks, *answer.remarks]:
        lines += [dim(line) for line in terminal.wrapped(note, room, "  ", "  ")]
    return "\n".join(lines)


def _to_target(search: SplitSearch) -> str:
    """What the training takes, where budgets say that it matters."""
    figures, budgets, job = search.points[0].figures, search.places.budgets, search.places.table.network.job
    if figures is None or job is None or not (budgets.texts or job.given):
        return ""
    amount = amount_text(job, float(job_samples(job, search.places.global_batch)))
    told = [f"{amount} in {format_time(figures.time_s)}"]
    if math.isfinite(figures.cost_usd):
        told.append(f"for {format_money(figures.cost_usd)}")
    if budgets.energy_kwh is not None:
        told.append(f"with {budget_text('energy_kwh', figures.energy_kwh)}")
    return " ".join(told)


def _places(search: SplitSearch) -> str:
    """How many places were solved, and what is known of the others."""
    budgets, states = search.places.budgets, search.states
    if not budgets.texts:
        return ""
    told = [f"{states[SOLVED]:,} solved"]
    for state, words in (
        (WORSE, "proved worse by a lower bound, without being solved"),
        (BEYOND, "proved beyond the budgets likewise"),
        (NO_FIT, "too small for it"),
    ):
        if states[state]:
            told.append(f"{states[state]:,} {words}")
    goal = "fastest" if search.minimize == "time" else "cheapest"
    if not search.every:
        told.append(f"{search.possible - len(search.points):,} not tried")
    return (
        f"the {goal} within {' and '.join(budgets.in_words())} of {plural(search.possible, 'place')} (a cluster and a "
        f"number of GPUs): {', '.join(told)}"
    )


def _against(found: LayerSplits) -> str:
    """How much faster than what people choose by hand."""
    told = []
    for name, pattern in found.patterns.items():
        if pattern.chosen == found.best.chosen:
            told.append(f"the same as {name}")
            continue
        factor = pattern.step_time_s / found.best.step_time_s
        fits = "" if pattern.fits else f", which does not fit: {format_memory(pattern.memory_bytes)}"
        even = pattern.fits and factor < _TOLD
        gain = f"less than {_TOLD - 1:.0%} faster than" if even else f"{times_text(factor)}×"
        told.append(f"{gain} {name} ({format_time(pattern.step_time_s)}{fits})")
    return "as fast as " + "; ".join(told) if len(told) == 1 and "same" in told[0] else "; ".join(told)


def _proof(found: LayerSplits) -> str:
    """What is known of the answer, and among how many assignments."""
    solution, count = found.solution, count_text(found.costs.assignments)
    if found.costs.assignments == 1:
        return "the only assignment"
    if solution.exact:
        how = "by elimination" if found.objective == "sequence" else "by elimination, bounds and branching"
        return f"the fastest of {count} assignments, proved {how}"
    if math.isfinite(solution.gap):
        bound = format_time(solution.bound)
        return (
            f"not proved: {_at_most(solution.gap)} above the fastest of {count} assignments, none of which "
            f"takes less than {bound}"
        )
    cut = ", ".join(found.costs.layers[index].name for index in solution.cut[:3])
    return (
        f"not proved among {count} assignments: Optuna chose the splits of {plural(len(solution.cut), 'layer')} "
        f"({cut}…), and the others follow exactly; {plural(solution.solved, 'trial')}"
    )


def _at_most(gap: float) -> str:
    """``at most 1.2%``, ``less than 0.1%``."""
    share = percent(gap)
    return f"less than {share[1:]}" if share.startswith("<") else f"at most {share}"


def _points(search: SplitSearch, room: int) -> list[str]:
    shown = [point for point in search.points if point.state in (SOLVED, NO_FIT)]
    if len(shown) < 2:
        return []
    to_target = bool(search.places.budgets.texts) and search.places.has_target
    columns = [
        Column("cluster", right=False),
        Column("GPUs"),
        Column("step"),
        Column("samples/s", keep=1),
        Column("$ a million", constant=False),
        *([Column("to target"), Column("cost", constant=False)] if to_target else []),
        Column("data parallel", keep=2),
        Column("proved", right=False, keep=1),
    ]
    rows = []
    for point in shown[:_POINTS]:
        figures = point.figures
        if figures is None:
            rows.append([point.cluster.name, str(point.gpus), "does not fit", *[""] * (len(columns) - 3)])
            continue
        gap = point.gap
        proved = "yes" if gap == 0.0 else f"within {percent(gap).lstrip('<')}" if math.isfinite(gap) else "no"
        target = [format_time(figures.time_s), _money(figures.cost_usd)] if to_target else []
        rows.append(
            [
                point.cluster.name, str(point.gpus), format_time(figures.step_s),
                format_count(round(search.places.global_batch / figures.step_s)), _money(figures.dollars_per_million),
                *target, f"{times_text(point.data_parallel_s / figures.step_s)}×",
                proved if point.feasible else "beyond the budgets",
            ]
        )  # fmt: skip
    lines = ["", *terminal.table(columns, rows, room, "  ")]
    rest = len(shown) - len(rows)
    if rest > 0:
        lines.append(dim(f"  {rest} more: --json"))
    if not search.every and not search.places.budgets.texts:
        lines.append(dim(f"  {len(search.points):,} of {search.possible:,} places were tried (--trials)"))
    return lines


def _money(dollars: float) -> str:
    return "–" if math.isnan(dollars) else format_money(dollars)


def _notes(found: LayerSplits) -> list[str]:
    costs, best = found.costs, found.best
    update = sum(one.update_s for one in found.layers()) + costs.fixed
    hidden = best.sequence_time_s - best.hidden_time_s
    notes = [f"and {format_time(update)} of update"]
    if hidden > 0.0 and found.objective == "hidden":
        notes[0] += f"; {format_time(hidden)} of the all-reduces hide behind the backward pass"
    elif hidden > 0.0:
        notes[0] += f", one after another; all-reduces that hide would save {format_time(hidden)}"
    besides = best.memory_bytes - sum(one.memory_bytes for one in found.layers())
    notes.append(f"besides the layers' memory {format_memory(besides)} for the platform and its workspace")
    if len({split_words(one) for one in found.layers()}) > 1 and costs.devices > 1:
        notes.append(
            "parts are numbered in the order in which a split is written, the last named on neighbouring GPUs; "
            "copies compute the same"
        )
    job = found.network.job
    if job is not None and found.global_batch > job.max_global_batch:
        notes.append(
            f"a global batch of {found.global_batch:,} is above {job.max_global_batch:,}, the largest with which the "
            "target was reached: time and money to it are a guess"
        )
    if found.network.transformer is not None:
        notes.append(
            f"transformers split block by block: paleo-opt estimate {found.network.name} --on {costs.cluster.name}"
        )
    return notes
