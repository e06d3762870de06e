"""The answer to ``plan`` as JSON: every figure carries its unit in its name, every moment is a local date and time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from paleo_opt.planning.jobs import Job
from paleo_opt.planning.plan import PlacedRun, Plan
from paleo_opt.planning.scheduling.problem import PRIORITIES
from paleo_opt.planning.scheduling.program import Stage
from paleo_opt.report import plan_rows


def plan_json(plan: Plan) -> dict[str, Any]:
    """The whole plan; where there is no schedule at all, its parts are empty or null."""
    solution, file, check = plan.solution, plan.file, plan.check
    return {
        "feasible": plan.feasible,
        "message": plan.message,
        "minimize": plan.minimize,
        "start": _moment(file.start),
        "end": _moment(file.end),
        "cost_usd": plan.cost_usd,
        "budget_usd": file.budget_usd,
        "late_runs": len(plan.late),
        "runs": [_run(run, plan) for run in plan.runs],
        "spending": _spending(plan),
        "utilisation": _utilisation(plan),
        "months": _months(plan),
        "fleet_alone": _fleet_alone(plan),
        "relaxations": _relaxations(plan),
        "proof": {
            "optimal": solution.proved,
            "impossible": solution.impossible,
            "least_cost_usd": None if solution.least is None else solution.least / 100,
            "gap": solution.gap,
            "grid_s": solution.grid_s,
            "grid_gap": solution.grid_gap,
            "seconds": solution.seconds,
            "programs": [_stage(stage) for stage in solution.stages],
        },
        "check": None
        if check is None
        else {
            "holds": check.holds,
            "runs": check.runs,
            "instants": check.instants,
            "waits": check.waits,
            "violations": list(check.violations),
        },
        "inputs": _inputs(plan),
    }


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _run(run: PlacedRun, plan: Plan) -> dict[str, Any]:
    job = run.job.network.job
    return {
        "run": run.spec.name,
        "job": run.job.name,
        "repetition": run.spec.repetition + 1,
        "copy": run.spec.copy + 1,
        "network": run.job.network.name,
        "samples": None if job is None else job.samples_to_target * run.spec.factor,
        "priority": PRIORITIES[run.job.priority],
        "resource": run.resource.name,
        "kind": run.resource.kind,
        "nodes": run.nodes,
        "earliest": _moment(run.spec.release),
        "start": _moment(run.start),
        "end": _moment(run.end),
        "deadline": _moment(run.spec.deadline),
        "start_s": plan.file.seconds(run.start),
        "time_s": run.time_s,
        "late_s": run.late_s,
        "spare_s": (run.spec.deadline - run.end).total_seconds(),
        "cost_usd": run.cost_usd,
        "strategy": run.strategy.to_json(),
    }


def _spending(plan: Plan) -> list[dict[str, Any]]:
    """Each resource that costs something."""
    found = []
    for each in plan.setup.resources:
        runs = [run for run in plan.runs if run.resource is each]
        more, fixed = next(((count, dollars) for other, count, dollars in plan.added if other is each), (0, 0.0))
        dollars = sum(run.cost_usd for run in runs) + fixed
        if dollars or more:
            found.append(
                {
                    "resource": each.name,
                    "kind": each.kind,
                    "cluster": each.cluster.name,
                    "nodes_added": more,
                    "runs": len(runs),
                    "node_hours": sum(run.node_hours for run in runs),
                    "cost_usd": dollars,
                    "price_date": each.cluster.price.date if each.kind == "rent" and each.cluster.price else None,
                }
            )
    return found


def _utilisation(plan: Plan) -> list[dict[str, Any]]:
    """Nodes in use of each resource over time, and by month."""
    months = [month for month in plan.months if not month.beyond]
    return [
        {
            "resource": each.name,
            "kind": each.kind,
            "nodes": plan_rows.capacity(plan, each),
            "months": [
                {
                    "month": f"{month.start:%Y-%m}",
                    "used_node_hours": plan_rows.node_hours(plan, each, month.start, month.end),
                    "available_node_hours": plan_rows.available_hours(plan, each, month.start, month.end),
                }
                for month in months
            ],
            "steps": [
                {"from_s": plan.file.seconds(moment), "nodes": nodes} for moment, nodes in plan_rows.use(plan, each)
            ],
        }
        for each in plan_rows.used_resources(plan)
    ]


def _months(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "month": f"{month.start:%Y-%m}",
            "beyond_horizon": month.beyond,
            "releases": month.releases,
            "fleet_demand": month.demand,
            "spent_usd": None if month.beyond else plan_rows.rented_in(plan, month.start, month.end),
        }
        for month in plan.months
    ]


def _fleet_alone(plan: Plan) -> dict[str, Any] | None:
    alone = plan.fleet_alone
    if alone is None:
        return None
    return {
        "late": [{"run": name, "late_s": seconds} for name, seconds in alone.late],
        "impossible": list(alone.impossible),
        "first_missed_deadline": None if alone.first_late is None else _moment(alone.first_late),
    }


def _relaxations(plan: Plan) -> list[dict[str, Any]]:
    """Later deadlines, together; then the others, each alone."""
    found: list[dict[str, Any]] = []
    if plan.late:
        deadlines = [{"run": run.spec.name, "later_s": run.late_s} for run in plan.late]
        found.append(
            {"kind": "deadlines", "runs": deadlines, "resource": None, "nodes": None, "cost_usd": None, "proved": False}
        )
    return [
        *found,
        *(
            {
                "kind": each.kind,
                "runs": [],
                "resource": each.what or None,
                "nodes": round(each.amount) if each.kind == "nodes" else None,
                "cost_usd": None if each.kind == "nodes" else each.amount,
                "proved": each.proved,
            }
            for each in plan.relaxations
        ),
    ]


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "objective": stage.objective,
        "relaxed": stage.relaxed,
        "runs": stage.runs,
        "grid_s": stage.grid_s,
        "variables": stage.variables,
        "value": stage.value,
        "bound": stage.bound,
        "gap": stage.gap,
        "infeasible": stage.infeasible,
        "seconds": stage.seconds,
    }


def _inputs(plan: Plan) -> dict[str, Any]:
    return {
        "file": plan.file.file,
        "description": plan.file.description,
        "margin": plan.file.margin,
        "space": plan.file.space,
        "pricing": plan.setup.options.pricing,
        "conv_algorithm": plan.setup.conv_algorithm,
        "strategies": plan.setup.strategies,
        "jobs": [_job(job) for job in plan.file.jobs],
        "resources": [
            {
                "resource": each.name,
                "kind": each.kind,
                "cluster": each.cluster.name,
                "nodes": each.nodes,
                "most_more": each.most_more,
                "usd_per_more": each.usd_per_more,
                "usd_per_node_hour": each.usd_per_node_hour,
            }
            for each in plan.setup.resources
        ],
    }


def _job(job: Job) -> dict[str, Any]:
    return {
        "job": job.name,
        "network": job.network.name,
        "priority": PRIORITIES[job.priority],
        "every": None if job.every is None else job.every.text,
        "times": job.times,
        "count": job.count,
        "samples_growth_per_month": job.samples_growth,
        "count_growth_per_month": job.count_growth,
        "after": list(job.after),
        "on": list(job.on),
        "min_gpus": job.min_gpus,
        "max_gpus": job.max_gpus,
    }
