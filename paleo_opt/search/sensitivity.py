"""How one strategy's figures change with the constants that are least sure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from paleo_opt.estimator.convergence import NORMAL_95, job_relative_error
from paleo_opt.search.problem import Choice, SearchProblem
from paleo_opt.search.shifts import with_links, with_prices

COMPUTE_CHANGE, LINK_CHANGE, PRICE_CHANGE = 0.2, 0.5, 0.2


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """One constant, a step down and a step up.

    Attributes:
        name: Of the constant, for a reader.
        low: What is changed, for a reader: ``−20%``.
        high: Likewise.
        at_low: The strategy's choice with the constant at its low end.
        at_high: With it at its high end.
    """

    name: str
    low: str
    high: str
    at_low: Choice
    at_high: Choice


def sensitivities(choice: Choice) -> list[Sensitivity]:
    """How a choice depends on the share of peak that devices attain, on its links, on its price, and on the samples.

    A share of peak is never above 1. Links matter to more than one device alone, prices where there is one. The samples
    to the target go to the ends of what holds them with 95% where they are not a fixed amount.
    """
    problem, strategy = choice.problem, choice.strategy
    cluster, options = strategy.cluster, problem.options
    share = options.device_ppp(cluster.device, strategy.precision)
    shares = share * (1.0 - COMPUTE_CHANGE), min(1.0, share * (1.0 + COMPUTE_CHANGE))
    found = [
        Sensitivity(
            "share of peak attained",
            f"{shares[0]:.0%}",
            f"{shares[1]:.0%}",
            *(Choice(replace(problem, options=replace(options, ppp_comp=value)), strategy) for value in shares),
        )
    ]
    if strategy.gpus > 1:
        factors = 1.0 - LINK_CHANGE, 1.0 + LINK_CHANGE
        changed = (replace(strategy, cluster=with_links(cluster, factor)) for factor in factors)
        found.append(
            Sensitivity(
                "bandwidth of links",
                f"−{LINK_CHANGE:.0%}",
                f"+{LINK_CHANGE:.0%}",
                *(Choice(problem, s) for s in changed),
            )
        )
    if choice.cost_usd == choice.cost_usd:
        factors = 1.0 - PRICE_CHANGE, 1.0 + PRICE_CHANGE
        changed = (replace(strategy, cluster=with_prices(cluster, factor)) for factor in factors)
        found.append(
            Sensitivity("price", f"−{PRICE_CHANGE:.0%}", f"+{PRICE_CHANGE:.0%}", *(Choice(problem, s) for s in changed))
        )
    error = float(job_relative_error(problem.job, strategy.global_batch))
    if error > 0:
        factors = math.exp(-NORMAL_95 * error), math.exp(NORMAL_95 * error)
        found.append(
            Sensitivity(
                "samples to the target (95%)",
                f"−{1.0 - factors[0]:.0%}",
                f"+{factors[1] - 1.0:.0%}",
                *(Choice(_with_samples(problem, factor), strategy) for factor in factors),
            )
        )
    return found


def _with_samples(problem: SearchProblem, factor: float) -> SearchProblem:
    """``problem`` whose target takes ``factor`` times the samples."""
    job = replace(problem.job, samples_to_target=problem.job.samples_to_target * factor)
    network = replace(problem.network, job=job)
    return replace(problem, network=network, job=job, table=replace(problem.table, network=network))
