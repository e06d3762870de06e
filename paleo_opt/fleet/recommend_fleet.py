"""`recommend_fleet`: the best job on nodes of several kinds, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from paleo_opt.fleet.fleet_question import make_problem
from paleo_opt.fleet.fleet_search import TRIALS, FleetAnswer, search_fleet
from paleo_opt.fleet.groups import load_kinds
from paleo_opt.network.graph import Network
from paleo_opt.network.load import load_network

if TYPE_CHECKING:
    from paleo_opt.studies.kept import Kept
    from paleo_opt.studies.run import Progress


def recommend_fleet(
    network: Network | str,
    on: Sequence[str],
    *,
    overrides: Mapping[str, str] | None = None,
    trials: int = TRIALS,
    seed: int = 0,
    kept: Kept | None = None,
    progress: Callable[[Progress], None] | None = None,
    **asked: Any,
) -> FleetAnswer:
    """The best training of a network on nodes of several kinds, compared with the best on nodes of one.

    >>> answer = recommend_fleet("resnet50", ["p4d.24xlarge:1", "p3.16xlarge:2"], minimize="time")
    >>> [(group.cluster.name, group.nodes) for group in answer.plan.groups]
    [('p4d.24xlarge', 1), ('p3.16xlarge', 2)]

    Args:
        network: A network with a training job, a name or a file.
        on: Nodes: ``CLUSTER:N`` for at most N, or ``CLUSTER`` for as many as the budgets allow.
        overrides: Of the clusters' files, as of `load_cluster`.
        trials: Of the study at most.
        seed: Of its sampler.
        kept: Where it is kept; None for memory.
        progress: Called after each trial.
        asked: Everything else, as of `fleet_question.make_problem`: ``budgets``, ``minimize``, ``way``, ``phases``,
            ``growth``, ``knobs``, ``global_batch``, ``precision``, ``collective``, ``link``, ``conv_algorithm``,
            ``options``.

    Raises:
        SpecError: what is asked makes no sense.
        InfeasibleError: no fleet fits memory and the budgets.
    """
    if isinstance(network, str):
        network = load_network(network)
    problem = make_problem(network, load_kinds(on, overrides), **asked)
    return search_fleet(problem, trials=trials, seed=seed, kept=kept, progress=progress)
