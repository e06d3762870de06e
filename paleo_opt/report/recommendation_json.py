"""The answer to ``recommend`` as JSON, under the names of the contract."""

from __future__ import annotations

from typing import Any

from paleo_opt.errors import InfeasibleError
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.report.intervals import prepare, span_of
from paleo_opt.report.json_output import estimate_json
from paleo_opt.search.budgets import FIGURES
from paleo_opt.search.infeasible import NothingFeasibleError
from paleo_opt.search.problem import Choice, SearchProblem
from paleo_opt.search.recommend import Recommendation
from paleo_opt.search.robustness import Robustness


def choice_json(choice: Choice) -> dict[str, Any]:
    """One strategy and its estimate."""
    return {
        "strategy": choice.strategy.to_json(),
        "estimate": estimate_json(choice.estimates, span=span_of(choice)),
    }


def recommendation_json(answer: Recommendation) -> dict[str, Any]:
    """The answer as one object: recommended, alternatives, pareto, certificate, search, inputs, and what limits it."""
    certificate, study = answer.certificate, answer.search
    prepare([answer.recommended, *answer.alternatives, *answer.front])
    return {
        "recommended": choice_json(answer.recommended),
        "alternatives": [choice_json(choice) for choice in answer.alternatives],
        "pareto": [choice_json(choice) for choice in answer.front],
        "knee": None if answer.knee is None else choice_json(answer.knee),
        "cheapest": None if answer.cheapest is None else choice_json(answer.cheapest),
        "fastest": choice_json(answer.fastest),
        "certificate": {
            "kind": certificate.kind,
            "strategies": certificate.strategies,
            "evaluated": certificate.evaluated,
            "fitting": certificate.fitting,
            "feasible": certificate.feasible,
            "seconds": certificate.seconds,
            "optimal": certificate.optimal,
        },
        "search": {
            "sampler": study.sampler,
            "reason": study.reason,
            "seed": study.seed,
            "trials": study.trials,
            "planned_trials": study.planned,
            "met_at_trial": study.met_at,
            "objective": FIGURES[answer.problem.goal],
            "best": study.best,
            "gap_to_sweep": study.gap_to_sweep,
            "seconds": study.seconds,
            "ended": study.ended,
        },
        "importance": None if answer.importance is None else answer.importance.to_json(),
        "limits": [
            {
                "limit": step.limit,
                "allowed": step.allowed,
                "needed": step.needed,
                "gain": step.gain,
                **choice_json(step.choice),
            }
            for step in answer.steps
        ],
        "other_collectives": [{"collective": name, "slower": slower} for name, slower in answer.collectives.items()],
        "robustness": None if answer.robustness is None else robustness_json(answer.robustness),
        "message": answer.message,
        "inputs": inputs_json(answer.problem),
    }


def robustness_json(found: Robustness) -> dict[str, Any]:
    """How often the recommended holds when the constants are drawn."""
    return {
        "draws": found.draws,
        "candidates": found.candidates,
        "best_share": found.best_share,
        "within_5_percent_share": found.close_share,
        "over_budget_share": found.over_budget_share,
        "otherwise": [{"strategy": choice.strategy.to_json(), "share": share} for choice, share in found.otherwise],
    }


def infeasible_json(error: InfeasibleError) -> dict[str, Any]:
    """Nothing feasible: ``recommended`` is None, with the limit that binds and, where there is one, the nearest."""
    found: dict[str, Any] = {"recommended": None, "message": str(error)}
    if isinstance(error, NothingFeasibleError):
        found |= {
            "binding": error.binding,
            "nearest": choice_json(error.nearest),
            "relaxations": [
                {"budget": item.budget, "needed": item.needed, **choice_json(item.choice)} for item in error.relaxations
            ],
            "certificate": {
                "strategies": error.strategies,
                "fitting": error.fitting,
                "feasible": 0,
            },
            "inputs": inputs_json(error.problem),
        }
    return found


def cluster_json(problem: SearchProblem, cluster: Cluster) -> dict[str, Any]:
    """A cluster that was considered, with the constants that its estimates rest on."""
    device, options = cluster.device, problem.options
    price = options.node_price(cluster)
    return {
        "cluster": cluster.name,
        "device": device.name,
        "ppp_comp": options.peak_share(device, device.training_precision)[0],
        "ppp_comm": options.link_share(cluster)[0],
        "price_usd_per_node_hour": None if price is None else price.dollars_per_hour,
        "price_date": None if price is None else price.date,
    }


def inputs_json(problem: SearchProblem) -> dict[str, Any]:
    """What was asked, and the constants that the answer rests on."""
    budgets, options, space = problem.budgets, problem.options, problem.space
    return {
        "network": problem.network.name,
        "file": problem.network.file,
        "budgets": list(budgets.texts),
        "budget": {
            "gpus": budgets.gpus,
            "cost_usd": budgets.cost_usd,
            "time_s": budgets.time_s,
            "energy_kwh": budgets.energy_kwh,
        },
        "minimize": problem.goal,
        "space": {
            "name": space.name,
            "micro_batch": list(space.micro_batch),
            "accumulation": list(space.accumulation),
            "global_batch": list(space.global_batch),
            "split": list(space.split),
            "tensor": list(space.tensor),
            "collective": list(space.collective),
            "precision": list(space.precision),
        },
        "most_gpus": problem.most_gpus,
        "most_global_batch": problem.batch_limit,
        "clusters": [cluster_json(problem, cluster) for cluster in problem.clusters],
        "model": options.model,
        "conv_algorithm": problem.table.algorithm_under(options.model),
        "pipelined": options.pipelined,
        "workspace_limit_bytes": options.workspace_limit,
        "optimizer": options.optimizer or problem.job.optimizer,
        "critical_batch": problem.job.critical_batch,
        "critical_batch_source": problem.job.law_source,
        "given": dict(problem.job.given),
        "device": problem.device,
        "overrides": [f"{name}={text}" for name, text in problem.overrides.items()],
        "notes": list(problem.notes),
    }
