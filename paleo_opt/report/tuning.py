"""The answer to ``tune``: the best run and its command, how far estimates were off, and every run."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paleo_opt.network.graph import Network
from paleo_opt.quantities import format_memory, format_time
from paleo_opt.report import terminal
from paleo_opt.report.strategy_text import plural, strategy_parts
from paleo_opt.report.terminal import Column, bold, dim, percent
from paleo_opt.report.validation import signed
from paleo_opt.tuning.found import Trial, Tuning
from paleo_opt.tuning.runs import DONE, FAILED, OUT_OF_MEMORY, TIMED_OUT
from paleo_opt.validation.measured_table import COLUMNS

_WORDS = {"step_time": "fastest step", "throughput": "most samples/s", "time_to_target": "shortest time to the target"}
_ENDS = {OUT_OF_MEMORY: "out of memory", TIMED_OUT: "too long", FAILED: "failed"}
_QUANTITY = {"step_time": "step_time_s", "throughput": "seconds_per_sample", "time_to_target": "time_to_target_s"}
#: An improvement below this is none that a run could show.
_WORTHWHILE = 0.005


@dataclass(frozen=True, eq=False)
class TuningAnswer:
    """What ``tune`` answers.

    Attributes:
        network: What is trained.
        tuning: What was found.
        csv: The measured table that was written; empty where none was asked for.
    """

    network: Network
    tuning: Tuning
    csv: str = ""

    def to_json(self) -> dict[str, Any]:
        """The answer under its names."""
        found = self.tuning
        best = found.best
        assert best is not None
        counts = Counter(trial.status for trial in found.trials)
        proposal = found.next
        return {
            "network": self.network.name,
            "objective": _QUANTITY[found.points.objective],
            "best": {**self._run(best), "command": found.command(best)},
            "counts": {
                "points": len(found.points),
                "strategies": len(found.points.candidates),
                "vetoed_at_first": found.vetoed_at_first,
                "vetoed": found.guide.count_vetoed(),
                "runs": len(found.trials),
                "done": counts[DONE],
                "out_of_memory": counts[OUT_OF_MEMORY],
                "timed_out": counts[TIMED_OUT],
                "failed": counts[FAILED],
            },
            "model": {
                "median_error_predicted": found.error_before,
                "median_error_expected": found.error_expected,
                "correction": found.correction,
                "memory_factor": found.guide.memory.factor,
                "noise": None if found.guide.response is None else found.guide.response.noise,
            },
            "next": None
            if proposal is None
            else {
                "values": {axis.name: _value(found, proposal.point, axis.name) for axis in found.points.axes},
                "expected_step_time_s": proposal.expected_step_time_s,
                "expected_improvement": proposal.improvement,
            },
            "ended": found.ended,
            "seconds": found.seconds,
            "runs": [self._run(trial) for trial in found.trials],
        }

    def _run(self, trial: Trial) -> dict[str, Any]:
        found = self.tuning
        candidates, size = found.points.candidates, found.points.combinations
        strategy = candidates.strategy(trial.point // size)
        return {
            "number": trial.number,
            "status": trial.status,
            "reason": trial.reason,
            "strategy": strategy.to_json(),
            "knobs": found.points.knob_values(trial.point),
            "step_time_s": trial.step_time_s,
            "samples_per_s": None if trial.step_time_s is None else strategy.global_batch / trial.step_time_s,
            "objective": trial.value,
            "predicted_step_time_s": trial.predicted_step_time_s,
            "expected_step_time_s": trial.expected_step_time_s,
            "memory_bytes": trial.memory_bytes,
            "predicted_memory_bytes": trial.predicted_memory_bytes,
            "seconds": trial.seconds,
            "log": trial.log,
        }


def _value(found: Tuning, point: int, name: str) -> Any:
    axis = next(axis for axis in found.points.axes if axis.name == name)
    return axis.values[found.points.point(point)[name]]


def outcome_text(trial: Trial) -> str:
    """How a run ended: ``104 ms (expected 110 ms)``, or why it failed."""
    if trial.step_time_s is None:
        return f"{_ENDS[trial.status]}: {trial.reason}"
    expected = trial.expected_step_time_s or trial.predicted_step_time_s
    return f"{format_time(trial.step_time_s)} (expected {format_time(expected)})"


def render(answer: TuningAnswer, room: int | None = None) -> str:
    """The answer as text of at most ``room`` columns (the terminal's width)."""
    room = room or terminal.width()
    found = answer.tuning
    best, points = found.best, found.points
    assert best is not None and best.step_time_s is not None and best.value is not None
    strategy = points.candidates.strategy(best.point // points.combinations)
    knobs = [f"{name} {value}" for name, value in points.knob_values(best.point).items()]
    where = terminal.joined([*strategy_parts(strategy), *knobs], room, "  ")
    lines = [f"{answer.network.name} · {_WORDS[points.objective]}, by real runs"]
    lines += [bold("→" + where[0][1:]), *map(bold, where[1:])]
    off = best.predicted_step_time_s / best.step_time_s - 1.0
    figures = [
        f"step {format_time(best.step_time_s)}",
        f"{strategy.global_batch / best.step_time_s:,.4g} samples/s",
        *([f"to the target {format_time(best.value)}"] if points.objective == "time_to_target" else []),
        f"estimated {format_time(best.predicted_step_time_s)} ({signed(off)})",
    ]
    if best.memory_bytes is not None:
        figures.append(f"{format_memory(best.memory_bytes)} a device")
    lines += terminal.joined(figures, room, "  ", "   ")
    for sentence in [_counts(found), *_foresight(found), *_left(found)]:
        lines += terminal.wrapped(sentence, room, "    ", "  ")
    lines += ["", *_table(found, room)]
    if answer.csv:
        text = f"measured steps with the best's knobs, for validate and calibrate: {answer.csv}"
        lines += [dim(line) for line in terminal.wrapped(text, room, "    ", "  ")]
    return "\n".join([*lines, "", f"  {found.command(best)}"])


def _counts(found: Tuning) -> str:
    counts = Counter(trial.status for trial in found.trials)
    others = [f"{counts[status]} {text}" for status, text in _ENDS.items() if counts[status]]
    earlier = sum(not trial.here for trial in found.trials)
    if earlier:
        others.append(f"{earlier} of an earlier call")
    told = f" ({', '.join(others)})" if others else ""
    strategies, vetoed = len(found.points.candidates), found.guide.count_vetoed()
    text = (
        f"the best of {plural(len(found.trials), 'run')}{told} in {format_time(found.seconds)}, of "
        f"{len(found.points):,} points; ended: {found.ended}"
    )
    if vetoed or found.vetoed_at_first:
        text += (
            f"; {vetoed:,} of {strategies:,} strategies vetoed for memory ({found.vetoed_at_first:,} before any run)"
        )
    return text


def _foresight(found: Tuning) -> list[str]:
    before, expected = found.error_before, found.error_expected
    if before is None:
        return []
    text = f"the estimator alone was off by {percent(before)} (median of the runs)"
    if expected is not None:
        text += f"; corrected by the runs before, each was foreseen to {percent(expected)}"
    return [text]


def _left(found: Tuning) -> list[str]:
    proposal = found.next
    if proposal is None or proposal.improvement is None:
        return []
    if proposal.improvement < _WORTHWHILE:
        return []
    values = " · ".join(f"{axis.name} {_value(found, proposal.point, axis.name)}" for axis in found.points.axes)
    return [f"next would be {values}, expected to gain {percent(proposal.improvement)}"]


def _table(found: Tuning, room: int) -> list[str]:
    """Every run, in order."""
    best = found.best
    assert best is not None and best.value is not None
    target = found.points.objective == "time_to_target"
    columns = [
        Column("run"),
        *(Column(axis.name, right=bool(axis.positions), shrinks_to=8) for axis in found.points.axes),
        Column("estimated", keep=2),
        Column("expected", keep=1),
        Column("measured"),
        *([Column("to target", keep=1)] if target else []),
        Column("behind", right=False, shrinks_to=12),
    ]
    rows = []
    for trial in found.trials:
        ran = trial.step_time_s is not None and trial.value is not None
        behind = (trial.value or 0.0) / best.value - 1.0
        rows.append(
            [
                str(trial.number),
                *(str(_value(found, trial.point, axis.name)) for axis in found.points.axes),
                format_time(trial.predicted_step_time_s),
                "–" if trial.expected_step_time_s is None else format_time(trial.expected_step_time_s),
                format_time(trial.step_time_s) if ran and trial.step_time_s else "–",
                *([format_time(trial.value) if ran and trial.value else "–"] if target else []),
                ("best" if trial is best else signed(behind)) if ran else _ENDS[trial.status],
            ]
        )
    return terminal.table(columns, rows, room, "  ")


def measured_table(answer: TuningAnswer) -> str:
    """The steps of all runs with the knobs of the best, as a measured table (CSV)."""
    found, network = answer.tuning, answer.network
    points, best = found.points, found.best
    assert best is not None
    knobs = points.knob_values(best.point)
    software = " ".join(["tuned", *(f"{name}={value}" for name, value in knobs.items())])
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for trial in found.done:
        if points.knob_values(trial.point) != knobs:
            continue
        strategy = points.candidates.strategy(trial.point // points.combinations)
        fields = strategy.to_json()
        cluster = strategy.cluster
        alone = strategy.gpus == 1 and cluster.devices_per_node == 1
        if strategy.blocks is None:
            fields |= dict.fromkeys(("pipeline", "expert", "context", "virtual_stages", "sharding", "recompute"), "")
        writer.writerow(
            {
                **fields,
                "id": f"run-{trial.number}",
                "family": "cnn" if network.transformer is None else "transformer",
                # Found from the table's own folder.
                "network": os.path.relpath(network.file, Path(answer.csv).parent) if network.file else network.name,
                "cluster": "" if alone else cluster.name,
                "gpus_per_node": cluster.devices_per_node,
                "software": software,
                "quantity": "step_time_s",
                "measured": f"{trial.step_time_s:.6g}",
                "source": "paleo-opt tune",
            }
        )
    return stream.getvalue()
