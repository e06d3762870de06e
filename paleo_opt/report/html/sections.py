"""The parts of the page that need no script: the answer, the front, the step, the memory, what moves it."""

from __future__ import annotations

import math
from typing import Any

from paleo_opt.quantities import format_count, format_energy, format_memory, format_money, format_time
from paleo_opt.report.html.markup import key, pairs, segments, table, text
from paleo_opt.report.intervals import interval_text, span_of, with_range
from paleo_opt.report.json_output import estimate_json
from paleo_opt.report.pareto import best_then, marks, message, spent_text
from paleo_opt.report.step_parts import step_parts
from paleo_opt.report.strategy_text import split_text, strategy_parts
from paleo_opt.report.terminal import percent
from paleo_opt.report.units import samples_word
from paleo_opt.search.front import Front
from paleo_opt.search.problem import Choice
from paleo_opt.search.recommend import SUPERLATIVES
from paleo_opt.search.sensitivity import sensitivities
from paleo_opt.search.shifts import MOST_SHIFTED
from paleo_opt.search.tradeoff import Tradeoff

_MEMORY = ("parameters", "gradients", "optimizer", "activations", "workspace", "reserve")


def _energy(kwh: float) -> str:
    return format_energy(kwh * 3.6e6) if math.isfinite(kwh) else "–"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def headline(answer: Tradeoff) -> str:
    """The recommended strategy and the figures that one asks for first."""
    choice, problem = answer.recommendation.recommended, answer.problem
    figures, span = estimate_json(choice.estimates), span_of(choice)
    step = figures["step_time_s"]
    tiles = [
        ("time to target", with_range(choice.time_s, span.of("time_to_target_s", choice.time_s), format_time)),
        ("cost", with_range(choice.cost_usd, span.of("cost_usd", choice.cost_usd), format_money)),
        ("energy", _energy(choice.energy_kwh)),
        ("one step", with_range(step, span.of("step_time_s", step), format_time)),
        (f"{samples_word(problem.network)}/s", _rate(figures["samples_per_s"])),
        ("memory of a device", f"{percent(figures['memory_bytes'] / figures['device_memory_bytes'])}"),
    ]
    shown = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in tiles if value != "–")
    where = " · ".join(strategy_parts(choice.strategy))
    return (
        f'<p class="answer"><span class="tag">{text(SUPERLATIVES[problem.goal])}</span> {text(where)}</p>'
        f'<dl class="tiles">{shown}</dl><p class="proof">{text(message(answer))}.</p>'
        f'<p class="note">{text(interval_text(span))}.</p>'
    )


def alternatives(answer: Tradeoff) -> str:
    """The next best, each on another cluster or with another layout or number of GPUs."""
    found, goal = answer.recommendation, answer.problem.goal
    if not found.alternatives:
        return ""
    rows = [
        [
            text(" · ".join(strategy_parts(choice.strategy))),
            text(format_time(choice.time_s)),
            text(format_money(choice.cost_usd)),
            text(_energy(choice.energy_kwh)),
            _signed(choice.figure() / found.recommended.figure() - 1.0),
        ]
        for choice in found.alternatives
    ]
    shown = table(["next best", "time", "cost", "energy", f"{goal} behind"], rows, (1, 2, 3, 4), "cards")
    return f"<details><summary>The next best</summary>{shown}</details>"


def front_rows(answer: Tradeoff) -> str:
    """The whole front as a table, each row with a button that puts it into the comparison."""
    front, named = answer.front, marks(answer)
    money = front.against == "cost_usd"
    figures = ["time", "cost" if money else "GPUs", *(["energy"] if front.with_energy else [])]
    figures += ["an hour saved costs", "GPUs"] if money else []
    headings = ["", *figures, "", "cluster", "split", "micro-batch"]
    rows = []
    for place, choice in enumerate(front.choices):
        strategy, hour = choice.strategy, float(front.per_hour_saved[place])
        tags = "".join(f'<span class="tag">{text(name)}</span> ' for name in named.get(place, []))
        label = f"compare {spent_text(front, front.spent[place])} in {format_time(front.time_s[place])}"
        cells = [
            f'<button type="button" class="pick" data-place="{place}" aria-label="{text(label)}">compare</button>',
            text(format_time(front.time_s[place])),
            text(format_money(choice.cost_usd) if money else format_count(strategy.gpus)),
        ]
        cells += [text(_energy(choice.energy_kwh))] if front.with_energy else []
        if money:
            cells += [text(format_money(hour)) if hour == hour else "–", text(format_count(strategy.gpus))]
        passes = f" × {strategy.accumulation:,} passes" if strategy.accumulation > 1 else ""
        where = [text(strategy.cluster.name), text(split_text(strategy))]
        rows.append([*cells, tags, *where, f"{strategy.micro_batch:,}{passes}"])
    return table(headings, rows, range(1, len(figures) + 1), "front")


def shifts(answer: Tradeoff) -> str:
    """How the front moves, end by end."""
    if not answer.shifts:
        why = "it is not proved" if not answer.front.proved else f"its space has above {MOST_SHIFTED:,} strategies"
        return f'<p class="note">How the front moves with prices and links is left out: {text(why)}.</p>'

    def end(front: Front, place: int | None) -> str:
        if place is None or not front.size:
            return "–"
        return f"{text(spent_text(front, front.spent[place]))} in {text(format_time(front.time_s[place]))}"

    front = answer.front
    least = "cheapest" if front.against == "cost_usd" else "fewest GPUs"
    rows = [["as it is", end(front, front.fastest), end(front, front.knee), end(front, front.cheapest), "–"]]
    for shift in answer.shifts:
        then = shift.front
        name = shift.name
        if shift.kind == "pricing":
            name += f" ({shift.clusters} clusters)"
        knee = then.knee if then.size else None
        cheapest = then.cheapest if then.size else None
        rows.append([text(name), end(then, 0), end(then, knee), end(then, cheapest), text(best_then(answer, shift))])
    headings = ["if", "fastest", "knee", least, f"recommended ({SUPERLATIVES[answer.problem.goal]}) then"]
    return table(headings, rows, (1, 2, 3), "shifts cards")


def step(choice: Choice) -> str:
    """Where one step goes."""
    figures, strategy = estimate_json(choice.estimates), choice.strategy
    parts = [(part.name, part.seconds, part.note) for part in step_parts(figures, strategy)]
    return _bar(parts, figures["step_time_s"], "one step", format_time)


def memory(choice: Choice) -> str:
    """What fills a device's memory, against its capacity."""
    figures = estimate_json(choice.estimates)
    capacity = figures["device_memory_bytes"]
    parts = [(name, figures["memory"][name], "") for name in _MEMORY]
    free = capacity - figures["memory_bytes"]
    caption = f"{format_memory(figures['memory_bytes'])} of {format_memory(capacity)} used, {format_memory(free)} free"
    return f"<p>{text(caption)}</p>" + _bar(parts, capacity, "memory of a device", format_memory)


def _bar(parts: list[tuple[str, float, str]], whole: float, what: str, form: Any) -> str:
    """A bar with its legend as a table."""
    shown = [(name, size) for name, size, _ in parts]
    spoken = ", ".join(f"{name} {form(size)} ({percent(size / whole)})" for name, size in shown if size > 0)
    rows = [
        [key(number) + text(name), text(form(size)), percent(size / whole), text(note)]
        for number, (name, size, note) in enumerate(parts)
        if size > 0
    ]
    if not any(row[3] for row in rows):
        listed = table(["part", "", "share"], [row[:3] for row in rows], (1, 2), "legend")
    else:
        listed = table(["part", "", "share", ""], rows, (1, 2), "legend")
    return segments(shown, whole, f"{what}: {spoken}") + listed


def _signed(change: float) -> str:
    return f"{'+' if change >= 0 else '−'}{percent(abs(change))}"


def tornado(choice: Choice) -> str:
    """How the recommended strategy's time and cost change with each constant."""
    blocks = []
    figures: list[tuple[str, Any, Any]] = [("time to target", lambda c: c.time_s, format_time)]
    if math.isfinite(choice.cost_usd):
        figures.append(("cost", lambda c: c.cost_usd, format_money))
    found = sensitivities(choice)
    for title, figure, form in figures:
        now = figure(choice)
        items = [(item, figure(item.at_low), figure(item.at_high)) for item in found]
        items = [entry for entry in items if max(abs(entry[1] / now - 1), abs(entry[2] / now - 1)) > 1e-4]
        items.sort(key=lambda entry: -abs(entry[1] - entry[2]))
        reach = max((max(abs(low / now - 1), abs(high / now - 1)) for _, low, high in items), default=1.0) * 1.02
        rows = []
        for item, low, high in items:
            ends = sorted([(low / now - 1, item.low, low), (high / now - 1, item.high, high)])
            bars = "".join(
                f'<span class="swing {"less" if change < 0 else "more"}" '
                f'style="left:{50 + 50 * min(change, 0) / reach:.2f}%;width:{50 * abs(change) / reach:.2f}%"></span>'
                for change, _, _ in ends
            )
            labels = "".join(
                f"<span>{text(setting)}: {text(form(value))} ({_signed(change)})</span>"
                for change, setting, value in ends
            )
            rows.append(
                f'<li><div class="what">{text(item.name)}</div><div class="track" aria-hidden="true">{bars}</div>'
                f'<div class="ends">{labels}</div></li>'
            )
        body = f'<ul class="tornado">{"".join(rows)}</ul>' if rows else '<p class="note">None of them changes it.</p>'
        blocks.append(f"<h3>{text(title)}: {text(form(now))} as it is</h3>{body}")
    return "".join(blocks)


def certificate(answer: Tradeoff) -> str:
    """What is proved, in figures."""
    found, front = answer.recommendation.certificate, answer.front
    proof = {
        "sweep": "every strategy of the space was evaluated",
        "bounds": "lower bounds prove those that were not evaluated to be no better",
    }.get(found.kind, "not proved: the space is too large")
    return pairs(
        [
            ("proof", text(proof)),
            ("strategies", format_count(found.strategies)),
            ("evaluated", format_count(found.evaluated)),
            ("fit memory", format_count(found.fitting)),
            ("keep to the budgets", format_count(found.feasible)),
            ("on the front", format_count(front.size)),
            ("front found in", text(format_time(front.seconds))),
            ("recommendation", text(answer.recommendation.message)),
        ]
    )
