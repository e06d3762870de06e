"""The answer to ``split`` as a JSON object."""

from __future__ import annotations

import math
from typing import Any

from paleo_opt.layer_splits.point import STATES, Figures
from paleo_opt.layer_splits.split_layers import Assignment
from paleo_opt.layer_splits.study import SplitSearch


def split_json(search: SplitSearch) -> dict[str, Any]:
    """The answer under its names."""
    found = search.best
    costs, solution = found.costs, found.solution
    return {
        "network": found.network.name,
        "cluster": costs.cluster.name,
        "device": costs.cluster.device.name,
        "gpus": costs.devices,
        "global_batch": found.global_batch,
        "passes": costs.passes,
        "precision": costs.precision,
        "collective": found.collective,
        "objective": found.objective,
        **_figures(found.best),
        "samples_per_s": found.samples_per_s,
        **_totals(search.points[0].figures),
        "budgets": list(search.places.budgets.texts),
        "proof": {
            "optimal": solution.exact,
            "bound_s": solution.bound if math.isfinite(solution.bound) else None,
            "gap": solution.gap if math.isfinite(solution.gap) else None,
            "assignments_log10": math.log10(costs.assignments),
            "graphs_solved": solution.solved,
            "cut": [costs.layers[index].name for index in solution.cut],
        },
        "patterns": {name: _figures(pattern) for name, pattern in found.patterns.items()},
        "layers": [
            {
                "name": one.layer.name,
                "type": one.layer.type,
                "split": one.degrees,
                "compute_s": one.compute_s,
                "exchange_s": one.exchange_s,
                "redistribution_s": one.redistribution_s,
                "sync_s": one.sync_s,
                "update_s": one.update_s,
                "memory_bytes": one.memory_bytes,
            }
            for one in found.layers()
        ],
        "minimize": search.minimize,
        "points": [
            {
                "cluster": point.cluster.name,
                "gpus": point.gpus,
                "state": point.state,
                "within_budgets": point.feasible,
                "step_time_s": None if point.figures is None else point.figures.step_s,
                **_totals(point.figures),
                "reason": point.reason,
            }
            for point in search.points
        ],
        "places": {name.replace(" ", "_"): search.states[name] for name in STATES},
        "every_point": search.every,
    }


def _totals(figures: Figures | None) -> dict[str, Any]:
    return {
        "usd_per_million_samples": None if figures is None else figures.dollars_per_million,
        "time_to_target_s": None if figures is None else figures.time_s,
        "cost_usd": None if figures is None else figures.cost_usd,
        "energy_kwh": None if figures is None else figures.energy_kwh,
    }


def _figures(assignment: Assignment) -> dict[str, Any]:
    return {
        "step_time_s": assignment.step_time_s,
        "sequence_time_s": assignment.sequence_time_s,
        "hidden_time_s": assignment.hidden_time_s,
        "memory_bytes": assignment.memory_bytes,
        "fits": assignment.fits,
    }
