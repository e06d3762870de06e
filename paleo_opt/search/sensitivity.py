"""How one strategy's figures change with the constants that are least sure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from paleo_opt.estimator.convergence import NORMAL_95, job_relative_error
from paleo_opt.estimator.strategy import Strategy
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
    cluster = strategy.cluster
    found = [_share_of_peak(problem, strategy)]
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


def _share_of_peak(problem: SearchProblem, strategy: Strategy) -> Sensitivity:
    """On the share of peak and of memory bandwidth that devices attain: one where given, or under PALEO."""
    options, device, precision = problem.options, strategy.cluster.device, strategy.precision
    factors = 1.0 - COMPUTE_CHANGE, 1.0 + COMPUTE_CHANGE
    name = "share of peak attained"
    if options.model == "paleo" or options.ppp_comp is not None:
        shares = [min(1.0, options.device_ppp(device, precision) * factor) for factor in factors]
        low, high = (Choice(replace(problem, options=replace(options, ppp_comp=value)), strategy) for value in shares)
    else:
        unit = device.unit(precision)
        shares = [min(1.0, device.attained(unit).value * factor) for factor in factors]
        low, high = (Choice(problem, _with_attained(strategy, (unit, "memory"), factor)) for factor in factors)
    return Sensitivity(name, f"{shares[0]:.0%}", f"{shares[1]:.0%}", low, high)


def _with_attained(strategy: Strategy, names: tuple[str, ...], factor: float) -> Strategy:
    """``strategy`` on devices that attain ``factor`` times the share of some of `ATTAINABLE`, at most all of it."""
    device = strategy.cluster.device
    changed = {
        name: replace(device.attained(name), value=min(1.0, device.attained(name).value * factor)) for name in names
    }
    device = replace(device, attainable={**device.attainable, **changed})
    return replace(strategy, cluster=replace(strategy.cluster, device=device))


def _with_samples(problem: SearchProblem, factor: float) -> SearchProblem:
    """``problem`` whose target takes ``factor`` times the samples."""
    job = replace(problem.job, samples_to_target=problem.job.samples_to_target * factor)
    network = replace(problem.network, job=job)
    return replace(problem, network=network, job=job, table=replace(problem.table, network=network))
