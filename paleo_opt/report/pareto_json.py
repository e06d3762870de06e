"""The answer to ``pareto`` as JSON and as CSV, under the names of the contract."""

from __future__ import annotations

import csv
import io
from typing import Any

from paleo_opt.report.intervals import prepare
from paleo_opt.report.json_output import plain
from paleo_opt.report.pareto import marks, message
from paleo_opt.report.recommendation_json import choice_json, inputs_json
from paleo_opt.search.front import Front
from paleo_opt.search.problem import Choice
from paleo_opt.search.sensitivity import Sensitivity, sensitivities
from paleo_opt.search.shifts import Shift
from paleo_opt.search.tradeoff import Tradeoff

#: Columns of the CSV, in order: first where a point is, then its strategy, then its estimate.
_STRATEGY = (
    "cluster", "device", "gpus", "nodes", "micro_batch", "accumulation", "global_batch", "split", "tensor", "data",
    "collective", "precision",
)  # fmt: skip
_ESTIMATE = ("step_time_s", "samples_per_s", "memory_bytes", "mfu")


def _saved_name(front: Front) -> str:
    return "usd_per_hour_saved" if front.against == "cost_usd" else "gpus_per_hour_saved"


def pareto_json(answer: Tradeoff) -> dict[str, Any]:
    """The answer as one object: the front fastest first, its ends and knee, how it moves, what is proved, inputs."""
    front, recommendation = answer.front, answer.recommendation
    prepare([*front.choices, recommendation.recommended, *recommendation.alternatives])
    named = marks(answer)
    points = [
        {_saved_name(front): front.per_hour_saved[place], "marks": named.get(place, []), **choice_json(choice)}
        for place, choice in enumerate(front.choices)
    ]
    certificate = recommendation.certificate
    return {
        "recommended": choice_json(recommendation.recommended),
        "alternatives": [choice_json(choice) for choice in recommendation.alternatives],
        "pareto": points,
        "against": front.against,
        "with_energy": front.with_energy,
        "knee": None if front.knee is None else points[front.knee],
        "cheapest": points[front.cheapest] if front.against == "cost_usd" else None,
        "fastest": points[front.fastest],
        "most_frugal": None if front.most_frugal is None else points[front.most_frugal],
        "shifts": [_shift(shift) for shift in answer.shifts],
        "sensitivity": [_sensitivity(item) for item in sensitivities(recommendation.recommended)],
        "certificate": {
            "kind": certificate.kind,
            "strategies": certificate.strategies,
            "evaluated": certificate.evaluated,
            "fitting": certificate.fitting,
            "feasible": certificate.feasible,
            "seconds": front.seconds,
            "optimal": certificate.optimal,
        },
        "message": message(answer),
        "inputs": inputs_json(answer.problem),
    }


def _shift(shift: Shift) -> dict[str, Any]:
    """A changed world: figures of its front alone, and what is best in it."""
    front = shift.front
    return {
        "name": shift.name,
        "kind": shift.kind,
        "factor": shift.factor,
        "clusters": shift.clusters,
        "pareto": [
            {"time_to_target_s": time, front.against: spent, "energy_kwh": energy}
            for time, spent, energy in zip(front.time_s, front.spent, front.energy_kwh, strict=True)
        ],
        "recommended": None if shift.best is None else choice_json(shift.best),
    }


def _sensitivity(item: Sensitivity) -> dict[str, Any]:
    def figures(choice: Choice) -> dict[str, float]:
        return {
            "step_time_s": float(choice.estimates.step_time_s.reshape(-1)[0]),
            "time_to_target_s": choice.time_s,
            "cost_usd": choice.cost_usd,
            "energy_kwh": choice.energy_kwh,
        }

    return {
        "constant": item.name,
        "low": item.low,
        "high": item.high,
        "at_low": figures(item.at_low),
        "at_high": figures(item.at_high),
    }


def pareto_csv(answer: Tradeoff) -> str:
    """The front as CSV, fastest first, one line a point; a figure that is not known is empty."""
    front, named = answer.front, marks(answer)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time_to_target_s", "cost_usd", "energy_kwh", _saved_name(front), "marks", *_STRATEGY, *_ESTIMATE])
    for place, choice in enumerate(front.choices):
        row = plain(choice_json(choice))
        strategy, estimate = row["strategy"], row["estimate"]
        cells = [
            *(estimate[name] for name in ("time_to_target_s", "cost_usd", "energy_kwh")),
            plain(float(front.per_hour_saved[place])),
            ";".join(named.get(place, [])),
            *(strategy[name] for name in _STRATEGY),
            *(estimate[name] for name in _ESTIMATE),
        ]
        writer.writerow(["" if cell is None else _inert(cell) for cell in cells])
    return text.getvalue()


def _inert(cell: Any) -> Any:
    """Text that a spreadsheet would take for a formula, quoted: names come from files."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
