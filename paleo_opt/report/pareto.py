"""The answer to ``pareto``: the chart of the front, what each hour saved costs, and how the front moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from paleo_opt.quantities import format_count, format_money, format_time
from paleo_opt.report import terminal
from paleo_opt.report.front_chart import front_chart, legend, letters
from paleo_opt.report.pareto_command import pareto_command
from paleo_opt.report.strategy_text import differences, plural, short_split, strategy_parts
from paleo_opt.report.terminal import Column, bold, dim, percent
from paleo_opt.search.budgets import budget_text
from paleo_opt.search.front import Front
from paleo_opt.search.problem import SearchProblem
from paleo_opt.search.recommend import SUPERLATIVES
from paleo_opt.search.shifts import MOST_SHIFTED, Shift
from paleo_opt.search.tradeoff import Tradeoff

#: Points of the front that the table shows at most; the ends, the knee and the recommended always.
_MOST_SHOWN = 16


def figures_text(front: Front) -> str:
    """``cost against time``, ``cost, time and energy``, ``GPUs against time``."""
    second = "cost" if front.against == "cost_usd" else "GPUs"
    return f"{second}, time and energy" if front.with_energy else f"{second} against time"


def title_parts(problem: SearchProblem, what: str) -> list[str]:
    """Network, budgets and what is shown."""
    budgets = problem.budgets.in_words()
    return [problem.network.name, *([f"at most {', '.join(budgets)}"] if budgets else []), what]


def prices_text(problem: SearchProblem) -> str:
    """The dates of the prices of what was considered: ``prices of 2024 to 2026-01-21``."""
    prices = [problem.options.node_price(cluster) for cluster in problem.clusters]
    dates = sorted({price.date for price in prices if price is not None})
    if not dates:
        return ""
    return f"prices of {dates[0]}" if len(dates) == 1 else f"prices of {dates[0]} to {dates[-1]}"


def spent_text(front: Front, value: float) -> str:
    """Money, or GPUs where nothing has a price."""
    return format_money(value) if front.against == "cost_usd" else plural(round(value), "GPU")


def marks(answer: Tradeoff) -> dict[int, list[str]]:
    """What the places of the front are, beside being on it."""
    front = answer.front
    named = [
        (front.fastest, "fastest"),
        (front.knee, "knee"),
        (front.cheapest, _cheapest(front)),
        (front.most_frugal, "most frugal"),
        (answer.recommended, "recommended"),
    ]
    found: dict[int, list[str]] = {}
    for place, name in named:
        if place is not None:
            found.setdefault(place, []).append(name)
    return found


def message(answer: Tradeoff) -> str:
    """What is proved of the front, in words."""
    front, certificate = answer.front, answer.recommendation.certificate
    count = f"{plural(front.size, 'point')} on the front"
    if not front.proved:
        return (
            f"{count} of {format_count(certificate.evaluated)} strategies that were tried; not proved: "
            f"the space has {format_count(certificate.strategies)}, too many to try each"
        )
    if front.left_out:
        evaluated = certificate.strategies - front.left_out
        return (
            f"{count} of {format_count(certificate.strategies)} strategies, proved in {format_time(front.seconds)}: "
            f"{format_count(evaluated)} evaluated, the others beaten by lower bounds on what they take"
        )
    return (
        f"{count} of {format_count(certificate.strategies)} strategies, all evaluated in {format_time(front.seconds)}; "
        f"{format_count(certificate.feasible)} fit memory and keep to the budgets"
    )


def ends_text(front: Front) -> str:
    """``from $92 in 5 min (fastest) over $36 in 6 min (knee) to $16 in 22 min (cheapest)``."""
    names = [(front.fastest, "fastest"), (front.knee, "knee"), (front.cheapest, _cheapest(front))]
    places: dict[int, list[str]] = {}
    for place, name in names:
        if place is not None:
            places.setdefault(place, []).append(name)
    parts = [
        f"{spent_text(front, front.spent[place])} in {format_time(front.time_s[place])} ({' and '.join(called)})"
        for place, called in sorted(places.items())
    ]
    if len(parts) == 1:
        return parts[0]
    return " ".join(["from", parts[0], *(["over", parts[1]] if len(parts) > 2 else []), "to", parts[-1]])


def _cheapest(front: Front) -> str:
    return "cheapest" if front.against == "cost_usd" else "fewest GPUs"


def picked(answer: Tradeoff, most: int = _MOST_SHOWN) -> list[int]:
    """Places of the front to show: all, or the marked ones and others evenly apart along it."""
    front = answer.front
    if front.size <= most:
        return list(range(front.size))
    chosen = set(marks(answer))
    position = np.log(front.time_s) - np.log(front.spent)
    # Always the point furthest from those chosen already.
    while len(chosen) < most:
        apart = np.min([np.abs(position - position[place]) for place in chosen], axis=0)
        apart[list(chosen)] = -1.0
        chosen.add(int(apart.argmax()))
    return sorted(chosen)


def _behind(ratio: float) -> str:
    """How much slower than the fastest: ``–``, ``+59%``, ``17×``."""
    if ratio < 1.0 + 5e-5:
        return "–"
    return f"+{percent(ratio - 1.0)}" if ratio < 9.95 else f"{ratio:,.0f}×"


def saved(front: Front, shown: Sequence[int]) -> dict[int, float]:
    """What each hour saved costs at each place that is shown, against the next slower one shown [$, or GPUs]."""
    line = [place for place in shown if place in set(front.line.tolist())]
    return {
        place: float((front.spent[place] - front.spent[slower]) / (front.time_s[slower] - front.time_s[place]) * 3600.0)
        for place, slower in pairwise(line)
    }


def _table(answer: Tradeoff, room: int) -> list[str]:
    """The front, fastest first."""
    front = answer.front
    shown, of_cluster, named = picked(answer), letters(front), marks(answer)
    per_hour = saved(front, shown)
    money = front.against == "cost_usd"
    columns = [
        Column(""),
        Column("time"),
        Column("cost", constant=money),
        Column("energy", constant=False),
        Column("GPUs"),
        Column("split", right=False, constant=False, shrinks_to=8, keep=2),
        Column("micro-batch", constant=False, keep=3),
        Column("passes", constant=False, keep=4),
        Column("behind"),
        Column("an hour saved", constant=money and front.line.size > 1),
        Column("→ recommended", right=False, shrinks_to=9),
    ]
    rows = []
    for place in shown:
        choice = front.choices[place]
        strategy, hour = choice.strategy, per_hour.get(place, math.nan)
        rows.append(
            [
                f"{'→' if place == answer.recommended else ''} {of_cluster.get(strategy.cluster.name, '*')}",
                format_time(front.time_s[place]),
                format_money(choice.cost_usd) if money else "",
                budget_text("energy_kwh", choice.energy_kwh) if front.with_energy else "",
                format_count(strategy.gpus),
                short_split(strategy),
                format_count(strategy.micro_batch),
                format_count(strategy.accumulation),
                _behind(front.time_s[place] / front.time_s[0]),
                "" if not money else "–" if hour != hour else format_money(hour),
                ", ".join(name for name in named.get(place, []) if name != "recommended"),
            ]
        )
    lines = terminal.table(columns, rows, room, "  ")
    if len(shown) < front.size:
        left = front.size - len(shown)
        lines.append(dim(f"  and {left:,} more between them: --csv FILE or --json has them all"))
    return lines


def best_then(answer: Tradeoff, shift: Shift) -> str:
    """What would be recommended after a shift: ``the same``, what differs on the same cluster, or another."""
    best, now = shift.best, answer.recommendation.recommended.strategy
    if best is None:
        return "nothing feasible"
    then = best.strategy
    if then.cluster.name != now.cluster.name:
        return f"{plural(then.gpus, 'GPU')}, {then.cluster.name}"
    return ", ".join(differences(then, now)) or "the same"


def _shift_table(answer: Tradeoff, room: int) -> list[str]:
    """How the ends of the front and the recommended move."""
    if not answer.shifts:
        why = "not proved" if not answer.front.proved else f"above {MOST_SHIFTED:,} strategies"
        return [dim(f"  how the front moves with prices and links is left out: {why}")]
    cheapest = "cheapest" if answer.front.against == "cost_usd" else "fewest"
    columns = [
        Column("if", right=False),
        Column("fastest"),
        Column("for"),
        Column(cheapest),
        Column("in"),
        Column("best then", right=False, shrinks_to=12),
    ]
    now = ("as it is", answer.front, "–")
    rows = []
    for name, front, then in [now, *((s.name, s.front, best_then(answer, s)) for s in answer.shifts)]:
        if not front.size:
            rows.append([name, "–", "–", "–", "–", then])
            continue
        ends = [front.fastest, front.cheapest]
        figures = [(format_time(front.time_s[end]), spent_text(front, front.spent[end])) for end in ends]
        rows.append([name, *figures[0], *reversed(figures[1]), then])
    return terminal.table(columns, rows, room, "  ")


def _sentence(text: str, room: int) -> list[str]:
    return ["  " + line for line in terminal.wrapped(text, room - 2, "  ")]


def render(answer: Tradeoff, room: int | None = None) -> str:
    """The answer as text of at most ``room`` columns (the terminal's width)."""
    room = room or terminal.width()
    front, problem, recommended = answer.front, answer.problem, answer.recommendation.recommended
    first, *others = terminal.joined(title_parts(problem, figures_text(front)), room)
    lines = [terminal.ends(first, dim(prices_text(problem)), room), *others]
    lines += map(bold, terminal.wrapped(f"→ {ends_text(front)}", room, "  "))
    lines += _sentence(message(answer), room)
    parts = terminal.joined(strategy_parts(recommended.strategy), room - 2, "  ")
    lines += [f"  recommended ({SUPERLATIVES[problem.goal]}):", *(f"  {line}" for line in parts)]
    lines += ["", *front_chart(front, room), *(dim(line) for line in terminal.joined(legend(front), room, "  ", "   "))]
    lines += ["", *_table(answer, room), "", *_shift_table(answer, room), ""]
    for note in problem.notes:
        lines += [dim(line) for line in _sentence(note, room)]
    if problem.notes:
        lines.append("")
    return "\n".join([*lines, *pareto_command(answer, room, "--html", f"{problem.network.name}.html")])
