"""The answer to ``recommend``: the answer first, then the proof, what limits it, the alternatives, and what next."""

from __future__ import annotations

import math
from collections.abc import Callable

from paleo_opt.quantities import format_count, format_memory, format_money, format_time
from paleo_opt.report import terminal
from paleo_opt.report.commands import estimate_command
from paleo_opt.report.estimate import EstimateAnswer, model_text
from paleo_opt.report.intervals import span_of, with_range
from paleo_opt.report.json_output import estimate_json
from paleo_opt.report.recommendation_json import infeasible_json, recommendation_json
from paleo_opt.report.step_parts import step_parts
from paleo_opt.report.strategy_text import adds_up, differences, plural, short_split, strategy_parts
from paleo_opt.report.terminal import Column, bold, dim, percent
from paleo_opt.report.units import amount_text
from paleo_opt.search.budgets import LIMITED, budget_text
from paleo_opt.search.explanation import Step
from paleo_opt.search.importance import Importance
from paleo_opt.search.problem import Choice
from paleo_opt.search.recommend import SUPERLATIVES, Recommendation

__all__ = ["infeasible_json", "recommendation_json", "render"]

_SAMPLES = {3: "images", 2: "sequences"}
#: A collective that is slower by less than this is as good as the recommended.
_AS_GOOD = 0.02
#: Of many parts of a step, those of smaller shares are not told.
_TOLD, _FEW = 0.01, 4


def render(answer: Recommendation, room: int | None = None) -> str:
    """The answer as text of at most ``room`` columns (the terminal's width)."""
    room = room or terminal.width()
    problem, recommended = answer.problem, answer.recommended
    budgets = problem.budgets.in_words()
    title = [problem.network.name, *([f"at most {', '.join(budgets)}"] if budgets else []), SUPERLATIVES[problem.goal]]
    first, *others = terminal.joined(title, room)
    where = terminal.joined(strategy_parts(recommended.strategy), room, "  ")
    lines = [terminal.ends(first, dim(_prices(answer)), room), *others, bold("→" + where[0][1:]), *map(bold, where[1:])]
    lines += terminal.joined(_figures(recommended), room, "  ", "   ")
    for sentence in [answer.message, *_holds(answer), *_limits(answer)]:
        lines += _sentence(sentence, room)
    lines += _table(answer, room)
    steps = [_step(answer, step) for step in answer.steps]
    for sentence in [*_front(answer), *importance_texts(answer.importance), *steps]:
        lines += _sentence(sentence, room)
    model = model_text(EstimateAnswer(problem.table, recommended.strategy, recommended.estimates, (), problem.options))
    for note in [*_target(answer), *problem.notes, model]:
        lines += [dim(line) for line in _sentence(note, room)]
    command = estimate_command(problem, recommended.strategy, room)
    return "\n".join([*lines, "", *command] if command else lines)


#: What a variable is called where its name is not enough.
_VARIABLES = {"gpus": "number of GPUs"}


def importance_texts(importance: Importance | None) -> list[str]:
    """How much each variable matters, in a sentence; none where it is not known."""
    if importance is None or not importance.of:
        return []
    names = {name: _VARIABLES.get(name, name) for name in importance.of}
    if importance.kind == "regret":
        parts = [
            f"{names[name]} {f'× {1.0 + value:.3g}' if value >= 1.0 else f'+{percent(value)}'}"
            for name, value in importance.of.items()
        ]
        return [f"a typical other choice of one thing, the rest chosen anew, is worse: {', '.join(parts)}"]
    parts = [f"{names[name]} {percent(value)}" for name, value in importance.of.items() if value >= 0.005]
    return [f"what sets good trials apart (PED-ANOVA): {', '.join(parts)}"]


def _target(answer: Recommendation) -> list[str]:
    """What a transformer is trained to, which may be a benchmark's last stretch rather than the whole."""
    problem = answer.problem
    if problem.network.transformer is None or any(name != "max_batch" for name, _ in problem.job.given):
        return []
    return [f"trained to {problem.job.target}; --tokens for another amount"]


def _sentence(text: str, room: int) -> list[str]:
    """Text as indented lines, those after the first indented further."""
    return ["  " + line for line in terminal.wrapped(text, room - 2, "  ")]


def _prices(answer: Recommendation) -> str:
    """The dates of the prices of what was considered."""
    prices = [answer.problem.options.node_price(cluster) for cluster in answer.problem.clusters]
    dates = sorted({price.date for price in prices if price is not None})
    if not dates:
        return ""
    return f"prices of {dates[0]}" if len(dates) == 1 else f"prices of {dates[0]} to {dates[-1]}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _figures(choice: Choice) -> list[str]:
    """The figures that one asks for first."""
    problem, figures, span = choice.problem, estimate_json(choice.estimates), span_of(choice)

    def ranged(name: str, value: float, form: Callable[[float], str]) -> str:
        return with_range(value, span.of(name, value), form)

    samples = _SAMPLES.get(len(problem.network.input_shape), "samples")
    parts = [
        f"step {ranged('step_time_s', figures['step_time_s'], format_time)}",
        f"{_rate(figures['samples_per_s'])} {samples}/s",
        f"{amount_text(problem.job, figures['samples_to_target'])} in "
        f"{ranged('time_to_target_s', choice.time_s, format_time)}",
    ]
    price, nodes = problem.options.node_price(choice.strategy.cluster), choice.strategy.nodes
    if price is not None:
        terms = "" if problem.options.pricing == "on_demand" else f" {price.terms}"
        money = ranged("cost_usd", choice.cost_usd, format_money)
        parts.append(f"{money} at {nodes:,} × ${price.dollars_per_hour:,.6g}/h{terms}")
    if problem.goal == "energy" or problem.budgets.energy_kwh is not None:
        parts.append(budget_text("energy_kwh", choice.energy_kwh))
    return [*parts, f"{_of(figures['memory_bytes'], figures['device_memory_bytes'])} a device"]


def _of(used: float, capacity: float) -> str:
    """``9.8 of 40 GB``."""
    first, last = format_memory(used), format_memory(capacity)
    number, unit = first.split(" ")
    return f"{number} of {last}" if last.endswith(f" {unit}") else f"{first} of {last}"


def _holds(answer: Recommendation) -> list[str]:
    """How often it stays the best when the constants are drawn from their uncertainty."""
    found = answer.robustness
    if found is None:
        return []
    text = (
        f"holds in {percent(found.best_share)} of {format_count(found.draws)} draws of the constants "
        f"(within 5% of the best in {percent(found.close_share)})"
    )
    if found.over_budget_share >= 0.005:
        text += f"; over budget in {percent(found.over_budget_share)}"
    if found.otherwise:
        others = ", ".join(
            f"{one.nodes:,} × {one.cluster.name} {short_split(one)} ({percent(share)})"
            for one, share in ((choice.strategy, share) for choice, share in found.otherwise[:2])
        )
        text += f"; else {others}"
    return [text]


def _limits(answer: Recommendation) -> list[str]:
    """Where the step goes, and what could be had no worse."""
    strategy, figures = answer.recommended.strategy, estimate_json(answer.recommended.estimates)
    passes = [part for part in step_parts(figures, strategy) if part.name in ("forward", "backward")]
    parts = [(part.seconds, part.phrase) for part in step_parts(figures, strategy) if part not in passes]
    if passes:
        parts.append((sum(part.seconds for part in passes), "computation"))
    (most, first), *rest = sorted(parts, key=lambda part: -part[0])
    step = figures["step_time_s"]
    told = [part for part in rest if part[0] >= _TOLD * step or len(rest) <= _FEW]
    shares = "".join(f", {name} {percent(time / step)}" for time, name in told)
    sentences = [f"limited by {first}: {percent(most / step)} of the step{shares}"]
    budget = answer.problem.budgets.gpus
    if budget is not None and strategy.gpus < budget and answer.problem.goal == "time" and answer.certificate.optimal:
        sentences.append(f"of the {budget:,} GPUs that the budget allows, {strategy.gpus:,} are fastest")
    if not adds_up(strategy):
        return sentences
    as_good = [name for name, slower in answer.collectives.items() if slower < _AS_GOOD]
    others = {name: slower for name, slower in answer.collectives.items() if slower >= _AS_GOOD}
    if as_good:
        sentences.append(f"as good (within {percent(_AS_GOOD)}): {', '.join(as_good)}")
    elif others:
        name = min(others, key=others.__getitem__)
        sentences.append(f"next collective: {name}, {percent(others[name])} slower")
    return sentences


def _table(answer: Recommendation, room: int) -> list[str]:
    """The recommended and its alternatives."""
    goal = answer.problem.goal
    columns = [
        Column(""),
        Column("time"),
        Column("cost"),
        Column("energy", constant=False),
        Column("GPUs", constant=False),
        Column("cluster", right=False, shrinks_to=14),
        Column("split", right=False, constant=False, shrinks_to=8, keep=1),
        Column("sharding", right=False, constant=False, keep=2),
        Column("recompute", right=False, constant=False, keep=2),
        Column("micro-batch", constant=False, keep=3),
        Column("passes", constant=False, keep=4),
        Column("precision", right=False, constant=False, keep=2),
        Column("collective", right=False, constant=False, shrinks_to=10, keep=5),
        Column("behind"),
    ]
    choices = [answer.recommended, *answer.alternatives]
    if len(choices) < 2:
        return []
    energy = goal == "energy" or answer.problem.budgets.energy_kwh is not None
    rows = []
    for place, choice in enumerate(choices, 1):
        strategy = choice.strategy
        rows.append(
            [
                str(place),
                format_time(choice.time_s),
                format_money(choice.cost_usd),
                budget_text("energy_kwh", choice.energy_kwh) if energy else "",
                format_count(strategy.gpus),
                strategy.cluster.name,
                short_split(strategy),
                "" if strategy.blocks is None else strategy.blocks.sharding,
                "" if strategy.blocks is None else strategy.blocks.recompute,
                format_count(strategy.micro_batch),
                format_count(strategy.accumulation),
                strategy.precision,
                strategy.collective if adds_up(strategy) else "–",
                "–" if place == 1 else _behind(choice.figure() / answer.recommended.figure() - 1.0),
            ]
        )
    if not answer.problem.priced:
        columns[2] = Column("cost", constant=False)
    return ["", *terminal.table(columns, rows, room, "  "), ""]


def _behind(share: float) -> str:
    return f"+{percent(share)}" if share >= 0.001 else "<0.1%" if share > 1e-9 else "same"


def _front(answer: Recommendation) -> list[str]:
    """The ends of the front and its knee, as sentences; the recommended is not repeated."""
    what = "money" if answer.against == "cost_usd" else "GPUs"
    named = [(answer.knee, f"knee of time against {what}")] if answer.knee is not None else []
    if answer.cheapest is not None:
        ends = [(answer.cheapest, "cheapest within the budget"), (answer.fastest, "fastest within the budget")]
        named = [*ends, *named]
    sentences = []
    while named:
        choice = named[0][0]
        names = [name for other, name in named if other.strategy == choice.strategy]
        named = [(other, name) for other, name in named if other.strategy != choice.strategy]
        if choice.strategy != answer.recommended.strategy:
            sentences.append(f"{' and '.join(names)}: {_brief(choice)}")
        elif names[-1].startswith("knee"):
            sentences.append(f"{names[-1]}: the recommended")
    return sentences


def _brief(choice: Choice) -> str:
    """``$61 in 1 h 52 min (8 GPUs of g6.48xlarge)``."""
    money = f"{format_money(choice.cost_usd)} in " if math.isfinite(choice.cost_usd) else ""
    return f"{money}{format_time(choice.time_s)} ({_place(choice)})"


def _place(choice: Choice) -> str:
    return f"{plural(choice.strategy.gpus, 'GPU')} of {choice.strategy.cluster.name}"


def _saving(answer: Recommendation, step: Step) -> str:
    """``save 22 s (9%)``."""
    name = {goal: field for field, goal in LIMITED.items()}[answer.problem.goal]
    saved = budget_text(name, answer.recommended.figure() - step.choice.figure())
    return f"save {percent(step.gain)}" if saved == "$0.00" else f"save {saved} ({percent(step.gain)})"


def _step(answer: Recommendation, step: Step) -> str:
    """What one step beyond a limit would buy, as a sentence."""
    strategy, recommended = step.choice.strategy, answer.recommended.strategy
    if step.limit == "gpus":
        nodes = strategy.nodes - recommended.nodes
        beyond = f"{plural(nodes, 'node')} more" if nodes else "no node more"
        return f"over budget: {strategy.gpus:,} GPUs ({beyond}) would {_saving(answer, step)}"
    if step.limit == "memory_bytes":
        other = ", ".join(differences(strategy, recommended)) or f"micro-batch {strategy.micro_batch:,}"
        return (
            f"does not fit: {other} needs {format_memory(step.needed)} "
            f"({format_memory(step.needed - step.allowed)} too many), and would {_saving(answer, step)}"
        )
    if step.limit == "global_batch":
        job = answer.problem.job
        known = "the largest known to reach the target" if job.sources else "the largest assumed to be of use"
        if "max_batch" in dict(job.given):
            known = "the largest allowed"
        return (
            f"global batch above {round(step.allowed):,}, {known}: "
            f"{strategy.global_batch:,} would {_saving(answer, step)}"
        )
    more = step.needed / step.allowed - 1.0
    return (
        f"over budget: {budget_text(step.limit, step.needed)} ({percent(more)} more) would {_saving(answer, step)} "
        f"({_place(step.choice)})"
    )
