"""The answer to ``fleet``: which nodes train it, how they share the work, and what mixing them buys."""

from __future__ import annotations

import math
from typing import Any

from paleo_opt import quantities
from paleo_opt.fleet.fleet_search import FleetAnswer, KnobEffect
from paleo_opt.fleet.plan import PIPELINE, FleetPlan, PhasePlan
from paleo_opt.report import terminal
from paleo_opt.report.strategy_text import plural
from paleo_opt.report.terminal import Column, bold, dim, percent
from paleo_opt.report.units import amount_text, samples_word

_FASTEST = {"time": "fastest", "cost": "cheapest"}
#: Below this a difference is none.
_SAME = 5e-4


def fleet_json(answer: FleetAnswer) -> dict[str, Any]:
    """The answer under its names."""
    problem, run = answer.problem, answer.run
    return {
        "network": problem.network.name,
        "minimize": problem.goal,
        "fleet": answer.plan.to_json(),
        "one_kind": None if answer.alone is None else _brief_json(answer.alone),
        "gain_over_one_kind": answer.gain,
        "knobs": [
            {
                "knob": effect.name,
                "value": effect.value,
                "usual": effect.usual,
                "gain": effect.gain,
                "note": effect.note or None,
            }
            for effect in answer.knobs
        ],
        "certificate": {
            "kind": "sweep" if answer.proved else "none",
            "fleets": answer.points,
            "optimal": answer.proved,
        },
        "search": {
            "sampler": run.sampler,
            "trials": answer.trials,
            "best": run.best,
            "ended": run.ended,
            "seconds": run.seconds,
        },
        "inputs": {
            "most_nodes": {c.name: most for c, most in zip(problem.model.kinds, problem.most, strict=True)},
            "budgets": list(problem.budgets.texts),
            "ways": list(problem.ways),
            "knobs": list(problem.knobs),
            "phases": problem.target.phases,
            "critical_batch_growth": problem.target.growth,
            "global_batch": problem.target.global_batch,
            "remarks": list(answer.remarks),
        },
    }


def _brief_json(plan: FleetPlan) -> dict[str, Any]:
    """Of a fleet that is only compared with."""
    names = ("way", "gpus", "nodes", "precision", "time_to_target_s", "cost_usd")
    found = plan.to_json()
    return {name: found[name] for name in names}


def nodes_text(plan: FleetPlan) -> str:
    """``2 × p4d.24xlarge + 4 × p3.16xlarge``."""
    return " + ".join(f"{group.nodes:,} × {group.cluster.name}" for group in plan.groups)


def render(answer: FleetAnswer, room: int | None = None) -> str:
    """The answer as text of at most ``room`` columns (the terminal's width)."""
    room = room or terminal.width()
    problem, plan, run = answer.problem, answer.plan, answer.run
    asked = [f"{most:,} × {c.name}" for c, most in zip(problem.model.kinds, problem.most, strict=True)]
    within = [f"at most {' and '.join(asked)}", *problem.budgets.in_words(), _FASTEST[problem.goal]]
    lines = terminal.joined([problem.network.name, *within], room, "  ")
    lines[0] = lines[0][2:]
    head = terminal.joined(_parts(plan), room, "  ")
    lines += [bold("→" + head[0][1:]), *map(bold, head[1:])]
    lines += terminal.joined(_figures(answer), room, "  ")
    for sentence in (_comparison(answer), _even(plan), _limit(plan)):
        if sentence:
            lines += terminal.wrapped(sentence, room, "    ", "  ")
    lines += ["", *_shares(plan, room)]
    if len(plan.phases) > 1:
        lines += ["", *_phases(answer, room)]
    if answer.knobs:
        lines += ["", *_knobs(answer.knobs, room)]
    lines.append("")
    took = quantities.format_time(run.seconds)
    proof = (
        f"proved: {_all(answer.trials)}, each solved exactly or ruled out by a bound, in {took}"
        if answer.proved
        else f"not proved: {plural(answer.trials, 'trial')} of {_space(answer)} in {took}, each solved exactly or "
        f"ruled out by a bound; the "
        f"study {run.ended or 'goes on elsewhere'}"
    )
    for note in [proof, *answer.remarks]:
        lines += [dim(line) for line in terminal.wrapped(note, room, "    ", "  ")]
    return "\n".join(lines)


def _all(count: int) -> str:
    return "the only fleet of these nodes" if count == 1 else f"the best of all {count:,} choices of nodes and way"


def _space(answer: FleetAnswer) -> str:
    return "a continuous space" if answer.points is None else f"{answer.points:,} choices of nodes and way"


def _parts(plan: FleetPlan) -> list[str]:
    """The fleet in parts for one line."""
    longest = plan.longest
    counts = " + ".join(f"{group.devices:,}" for group in plan.groups)
    total = f" = {plan.devices:,} GPUs" if len(plan.groups) == 1 else f" = {counts} = {plan.devices:,} GPUs"
    parts = [nodes_text(plan) + total]
    if plan.way == PIPELINE:
        parts.append(f"pipeline of {plural(len(longest.shares), 'stage')}")
    else:
        parts.append("data-parallel")
    if plan.split is not None:
        parts += [f"tensor {plan.split.tensor}"] if plan.split.tensor > 1 else []
        parts += [plan.split.sharding] if plan.split.sharding != "zero0" else []
        parts += [f"{plan.split.recompute} recompute"] if plan.split.recompute != "none" else []
    batches = " → ".join(f"{phase.global_batch:,}" for phase in plan.phases)
    parts.append(f"global batch {batches}")
    return [*parts, plan.collective, plan.precision]


def _figures(answer: FleetAnswer) -> list[str]:
    plan, problem = answer.plan, answer.problem
    longest, job = plan.longest, problem.target.job
    samples = sum(phase.steps * phase.global_batch for phase in plan.phases)
    rate = longest.global_batch / longest.step_s
    found = [
        f"step {quantities.format_time(longest.step_s)}",
        f"{rate:,.3g} {samples_word(problem.network)}/s"
        if rate < 1000
        else f"{rate:,.0f} {samples_word(problem.network)}/s",
        f"{amount_text(job, samples)} in {quantities.format_time(plan.time_s)}",
    ]
    if math.isfinite(plan.cost_usd):
        found.append(quantities.format_money(plan.cost_usd))
    if math.isfinite(plan.energy_kwh):
        found.append(quantities.format_energy(plan.energy_kwh * quantities.UNITS["energy"]["kWh"]))
    return found


def _figure_text(plan: FleetPlan, goal: str) -> str:
    return quantities.format_time(plan.time_s) if goal == "time" else quantities.format_money(plan.cost_usd)


def _comparison(answer: FleetAnswer) -> str:
    """What mixing buys over the best fleet of one kind out of the same nodes."""
    goal, alone, plan = answer.problem.goal, answer.alone, answer.plan
    if len(answer.problem.model.kinds) == 1:
        return ""
    if len(plan.groups) == 1:
        others = " and ".join(
            cluster.name for cluster in answer.problem.model.kinds if cluster.name != plan.groups[0].cluster.name
        )
        return f"mixing does not pay here: no fleet with nodes of {others} is {_better(goal)}"
    if alone is None:
        return "no fleet of one kind out of these nodes fits memory and the budgets"
    verb = "takes" if goal == "time" else "costs"
    way = "as a pipeline" if alone.way == PIPELINE else "data-parallel"
    return (
        f"mixing pays: the best of one kind, {nodes_text(alone)} {way}, {verb} {_figure_text(alone, goal)} "
        f"(+{percent(answer.gain)})"
    )


def _better(goal: str) -> str:
    return "faster" if goal == "time" else "cheaper"


def _even(plan: FleetPlan) -> str:
    """What the uneven split buys over as many samples for each device."""
    step = plan.longest.step_s
    if len(plan.groups) < 2 or not math.isfinite(plan.even_step_s) or plan.even_step_s <= step * (1.0 + _SAME):
        return ""
    return (
        f"with as many samples on each device a step would take {quantities.format_time(plan.even_step_s)} "
        f"(+{percent(plan.even_step_s / step - 1.0)})"
    )


def _limit(plan: FleetPlan) -> str:
    """What most of a step of the slowest group or stage is."""
    longest = plan.longest
    busiest = max(longest.shares, key=lambda share: share.busy_s)
    computing, exposed = busiest.busy_s / longest.step_s, longest.exposed_s / longest.step_s
    where = f"stage of {busiest.layers}" if plan.way == PIPELINE else busiest.group.cluster.name
    if exposed > computing:
        return f"limited by adding up gradients over the slowest link: {percent(exposed)} of a step that nothing hides"
    text = f"limited by the computation on {where}: {percent(computing)} of a step"
    if plan.way == PIPELINE:
        mean = sum(share.idle * share.group.devices for share in longest.shares) / plan.devices
        return f"{text}; the average device waits {percent(mean)}"
    return f"{text}; all-reduce that nothing hides: {percent(exposed)}" if plan.devices > 1 else text


def _shares(plan: FleetPlan, room: int) -> list[str]:
    """What each group, or each stage, does."""
    longest, staged = plan.longest, plan.way == PIPELINE
    columns = [
        Column("stage" if staged else "nodes", right=False, shrinks_to=16),
        Column("device", right=False, shrinks_to=12, keep=4),
        Column("GPUs"),
        Column("layers", right=False, shrinks_to=18, middle=True),
        Column("samples"),
        Column("share", keep=3),
        Column("micro-batch", keep=1 if staged else 0),
        Column("passes"),
        Column("computes", keep=2),
        Column("idle"),
        Column("memory"),
    ]
    rows = []
    for index, share in enumerate(longest.shares):
        name = f"{share.group.nodes:,} × {share.group.cluster.name}"
        rows.append(
            [
                f"{index + 1}  {name}" if staged else name,
                share.group.cluster.device.name,
                f"{share.group.devices:,}",
                share.layers,
                f"{share.samples:,}",
                percent(share.samples / longest.global_batch),
                f"{share.micro_batch:,}",
                f"{share.passes:,}",
                quantities.format_time(share.busy_s),
                percent(share.idle),
                f"{share.memory / 1e9:.3g} of {quantities.format_memory(share.capacity)}",
            ]
        )
    dropped = {"samples", "share"} if staged else {"layers"}
    kept = [index for index, column in enumerate(columns) if column.heading not in dropped]
    return terminal.table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows], room)


def _phases(answer: FleetAnswer, room: int) -> list[str]:
    columns = [
        Column("phase", right=False), Column("progress"), Column("global batch"), Column("steps"), Column("step"),
        Column("time"), Column("samples on each device", keep=1),
    ]  # fmt: skip
    rows = [
        [
            f"{index + 1}",
            f"{phase.start:.0%} to {phase.end:.0%}",
            f"{phase.global_batch:,}",
            f"{phase.steps:,}",
            quantities.format_time(phase.step_s),
            quantities.format_time(phase.steps * phase.expected_s),
            _each(phase, answer.plan),
        ]
        for index, phase in enumerate(answer.plan.phases)
    ]
    return terminal.table(columns, rows, room)


def _each(phase: PhasePlan, plan: FleetPlan) -> str:
    if plan.way == PIPELINE:
        return f"{phase.shares[0].passes:,} micro-batches"
    return ", ".join(f"{share.each:,}" for share in phase.shares)


def _knobs(knobs: tuple[KnobEffect, ...], room: int) -> list[str]:
    columns = [
        Column("knob", right=False), Column("set to", right=False, shrinks_to=12),
        Column("instead of", right=False, shrinks_to=12), Column("buys"), Column("why", right=False, shrinks_to=20),
    ]  # fmt: skip
    rows = []
    for effect in knobs:
        buys = "runs at all" if math.isinf(effect.without) else percent(max(effect.gain, 0.0))
        if abs(effect.gain) < _SAME:
            buys = "nothing"
        rows.append([effect.name, effect.value, effect.usual, buys, ""])
    table = terminal.table(columns[:-1], [row[:-1] for row in rows], room)
    for effect in knobs:
        if effect.note:
            table += [dim(line) for line in terminal.wrapped(f"{effect.name}: {effect.note}", room, "    ", "  ")]
    return table
