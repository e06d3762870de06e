"""The answer to ``scaling``: speedup by collective, the figures of the fastest, and the curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from paleo_opt import quantities
from paleo_opt.estimator.scaling import Scaling
from paleo_opt.network.graph import Network
from paleo_opt.report import terminal
from paleo_opt.report.curve import speedup_curve
from paleo_opt.report.intervals import Span, range_text, spans
from paleo_opt.report.strategy_text import blocks_text, plural
from paleo_opt.report.terminal import Column, bold, dim, percent, table
from paleo_opt.report.units import samples_word

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Curves this near each other everywhere are one to the eye.
_ALIKE = 0.005


@dataclass(frozen=True, eq=False)
class ScalingAnswer:
    """What ``scaling`` answers.

    Attributes:
        network: What is trained.
        scaling: How it scales.
        in_full: Collectives whose figures are all shown; the fastest where empty.
        remarks: What else the reader must know, one sentence each.
    """

    network: Network
    scaling: Scaling
    in_full: Sequence[str] = ()
    remarks: Sequence[str] = ()

    @cached_property
    def spans(self) -> list[list[Span]]:
        """The intervals of every point, by collective and workers."""
        found, count = self.scaling, self.scaling.workers.size
        indices = [row * (count + 1) + column + 1 for row in range(len(found.collectives)) for column in range(count)]
        every = spans(
            found.table,
            [found.estimates.strategies.row(index) for index in indices],
            [(found.estimates, index) for index in indices],
        )
        return [every[row * count : (row + 1) * count] for row in range(len(found.collectives))]

    def to_json(self) -> dict[str, Any]:
        """The answer, a list of points by collective; every figure carries its unit in its name."""
        found = self.scaling
        points = {
            name: [
                {
                    "workers": int(found.workers[column]),
                    "nodes": int(found.nodes[column]),
                    "micro_batch": int(found.micro_batch[column]),
                    "global_batch": int(found.global_batch[column]),
                    "step_time_s": found.step_time_s[row, column],
                    "compute_time_s": found.compute_time_s[column],
                    "communication_time_s": found.step_time_s[row, column] - found.compute_time_s[column],
                    "samples_per_s": found.samples_per_s[row, column],
                    "speedup": found.speedup[row, column],
                    "efficiency": found.efficiency[row, column],
                    "time_to_target_s": found.time_to_target_s[row, column],
                    "cost_usd": found.cost_usd[row, column],
                    "memory_bytes": found.memory_bytes[column],
                    "fits": bool(found.fits[column]),
                }
                for column in range(found.workers.size)
            ]
            for row, name in enumerate(found.collectives)
        }
        for name, of_collective in zip(found.collectives, self.spans, strict=True):
            for point, span in zip(points[name], of_collective, strict=True):
                point["interval"] = span.to_json(point)
        return {
            "network": self.network.name,
            "cluster": found.cluster.name,
            "device": found.cluster.device.name,
            "precision": found.precision,
            "scaling": found.kind,
            "split": None if found.blocks is None else asdict(found.blocks),
            "collectives": points,
        }


def _letters(found: Scaling) -> dict[str, str]:
    """A letter for each collective, from the fastest at the most workers; those alike everywhere share one."""
    order = np.argsort(-found.speedup[:, -1], kind="stable")
    letters: dict[str, str] = {}
    leaders: list[int] = []
    for row in map(int, order):
        for number, leader in enumerate(leaders):
            if np.allclose(found.speedup[row], found.speedup[leader], rtol=_ALIKE, atol=0.0):
                letters[found.collectives[row]] = _LETTERS[number]
                break
        else:
            letters[found.collectives[row]] = _LETTERS[len(leaders)]
            leaders.append(row)
    return letters


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def _matrix(found: Scaling, letters: dict[str, str], room: int) -> list[str]:
    """Speedup by collective (rows, fastest first) and workers (columns, as many as there is room for)."""
    most = max(2, (room - 34) // 8)
    picked = range(found.workers.size)
    if found.workers.size > most:
        picked = sorted({round(i * (found.workers.size - 1) / (most - 1)) for i in range(most)})  # type: ignore[assignment]
    columns = [Column("", right=False), Column("speedup", right=False)]
    columns += [Column(f"{found.workers[i]:,}") for i in picked]
    rows = [
        [letter, name, *(_number(found.speedup[found.collectives.index(name), i]) for i in picked)]
        for name, letter in letters.items()
    ]
    return table(columns, rows, room)


def _figures(answer: ScalingAnswer, name: str, room: int) -> list[str]:
    """Every figure of one collective."""
    network, found = answer.network, answer.scaling
    row = found.collectives.index(name)
    columns = (
        Column("workers"),
        Column("nodes", constant=False, keep=3),
        Column("batch of each", constant=False, keep=2),
        Column("global batch", constant=False, keep=1),
        Column("step"),
        Column("all-reduce", constant=False, keep=1),
        Column(f"{samples_word(network)}/s"),
        Column("speedup"),
        Column("efficiency"),
        Column("to target", constant=False),
        Column("cost", constant=False),
        Column("step, 80%", keep=1),
    )
    rows = []
    for i in range(found.workers.size):
        step = float(found.step_time_s[row, i])
        time, cost = float(found.time_to_target_s[row, i]), float(found.cost_usd[row, i])
        rows.append(
            [
                f"{found.workers[i]:,}" + ("" if found.fits[i] else "*"),
                f"{found.nodes[i]:,}",
                f"{found.micro_batch[i]:,}",
                f"{found.global_batch[i]:,}",
                quantities.format_time(step),
                percent((step - float(found.compute_time_s[i])) / step),
                f"{float(found.samples_per_s[row, i]):,.3g}"
                if found.samples_per_s[row, i] < 99.5
                else quantities.format_count(float(found.samples_per_s[row, i])),
                _number(float(found.speedup[row, i])),
                percent(float(found.efficiency[row, i])),
                quantities.format_time(time) if time == time else "–",
                quantities.format_money(cost) if cost == cost else "–",
                range_text(answer.spans[row][i].of("step_time_s", step), quantities.format_time),
            ]
        )
    if found.cluster.devices_per_node == 1:
        rows = [[*cells[:1], "", *cells[2:]] for cells in rows]
    return [name, *table(columns, rows, room)]


def _batch_text(found: Scaling) -> str:
    if found.blocks is not None and found.kind == "weak":
        group = int(found.global_batch[0] // (found.workers[0] // found.blocks.model))
        return f"{plural(group, 'sample')} a group of {found.blocks.model:,}"
    if found.kind == "weak":
        return f"{plural(int(found.micro_batch[0]), 'sample')} a worker"
    return f"a global batch of {found.global_batch[0]:,}"


def _notes(answer: ScalingAnswer) -> list[str]:
    found, job, notes = answer.scaling, answer.network.job, []
    if not found.fits.all():
        notes.append(f"* does not fit the {quantities.format_memory(found.cluster.device.memory)} of a device")
    held = "" if found.baseline_fits else " whose memory would not hold the batch"
    if found.blocks is not None:
        notes.append(f"the speedup is over one group of {found.blocks.model:,}{held}, which counts as so many workers")
    elif held:
        notes.append(f"the speedup is over one worker{held}")
    if job is None:
        notes.append("the network's file has no job, so there is no time or money to target")
    elif (found.global_batch > job.max_global_batch).any():
        notes.append(
            f"the target was reached with global batches up to {job.max_global_batch:,}; above, times are a guess"
        )
    if job is not None and found.price is None:
        notes.append(f"{found.cluster.name} has no price")
    return [*notes, *answer.remarks]


def render(answer: ScalingAnswer, room: int | None = None) -> str:
    """The answer as text of at most ``room`` columns (the terminal's width)."""
    room = room or terminal.width()
    found = answer.scaling
    letters = _letters(found)
    best = next(iter(letters))
    row, price = found.collectives.index(best), found.price
    parts = [
        f"{answer.network.name} · {found.kind} scaling",
        _batch_text(found),
        found.cluster.name,
        *([] if found.blocks is None else blocks_text(found.blocks).split(" · ")),
        found.precision,
    ]
    head = terminal.joined(parts, room)
    head[0] = terminal.ends(head[0], dim(f"price of {price.date}") if price else "", room)
    verdict = (
        f"→ {plural(int(found.workers[-1]), 'worker')}: {_number(float(found.speedup[row, -1]))} times one worker, "
        f"efficiency {percent(float(found.efficiency[row, -1]))}, {best}"
    )
    if len(letters) > 1:
        verdict += f" (the fastest of {len(letters)})"
    peak = int(found.speedup[row].argmax())
    if peak != found.workers.size - 1:
        most = _number(float(found.speedup[row, peak]))
        verdict += f"; most with {plural(int(found.workers[peak]), 'worker')}: {most} times"
    lines = [*head, *map(bold, terminal.wrapped(verdict, room, "  "))]
    if len(letters) > 1:
        lines += ["", *_matrix(found, letters, room)]
    for name in answer.in_full or (best,):
        lines += ["", *_figures(answer, name, room)]
    if found.workers.size > 1:
        curves = {
            letter: [float(value) for value in found.speedup[found.collectives.index(name)]]
            for name, letter in reversed(letters.items())
        }
        lines += ["", *speedup_curve([int(count) for count in found.workers], dict(sorted(curves.items())), room)]
    for note in _notes(answer):
        lines += [dim(line) for line in terminal.wrapped(note, room, "  ")]
    return "\n".join(lines)
