"""How much each variable of a search matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paleo_opt.search.blocks import Block
from paleo_opt.search.budgets import figure
from paleo_opt.search.layouts import GROUPED
from paleo_opt.search.rows import Rows

if TYPE_CHECKING:
    import optuna

#: Fewer trials say nothing.
LEAST_TRIALS = 20


@dataclass(frozen=True)
class Importance:
    """How much each variable matters, the most important first.

    Attributes:
        kind: ``regret``, what a typical other choice costs, exact; or ``ped_anova``, a share of what sets good trials
            apart from others, estimated.
        of: By variable.
    """

    kind: str
    of: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"kind": self.kind, "of": [{"variable": name, "importance": value} for name, value in self.of.items()]}


def importance_of(rows: Rows, blocks: Sequence[Block], goal: str) -> Importance:
    """What a typical other choice of one variable costs, with all others chosen anew: exact, from a sweep.

    Args:
        rows: Of the sweep, at least one feasible.
        blocks: That were swept.
        goal: What is minimized.

    Returns:
        Of each variable that had a choice: the median, over its feasible values but the best, of
        the best figure with that value over the best of all, less 1.
    """
    values = np.where(rows.feasible > 0, figure(rows, goal), np.inf)
    best = values.min()
    columns = {
        "cluster": np.unique([block.cluster.name for block in blocks], return_inverse=True)[1][rows.block],
        "gpus": rows.gpus,
    }
    if blocks[0].layouts is None:
        names = [f"{block.split} {block.tensor}" for block in blocks]
        columns["split"] = np.unique(names, return_inverse=True)[1][rows.block]
    else:
        for name in GROUPED:
            columns[name] = np.zeros_like(rows.group)
            for index in np.unique(rows.block).tolist():
                own, layouts = rows.block == index, blocks[index].layouts
                assert layouts is not None
                columns[name][own] = np.asarray(getattr(layouts.groups, name))[rows.group[own]]
    found = {}
    for name, column in columns.items():
        which = np.unique(column, return_inverse=True)[1]
        of_value = np.full(which.max() + 1, np.inf)
        np.minimum.at(of_value, which, values)
        others = np.sort(of_value[np.isfinite(of_value)])[1:]
        if others.size:
            found[name] = float(np.median(others) / best - 1.0)
    return Importance("regret", dict(sorted(found.items(), key=lambda item: -item[1])))


def shares_of(study: optuna.Study | None) -> Importance | None:
    """The share of what sets good trials apart that is each variable's, by PED-ANOVA [1]; None for few trials.

    References:
        [1] Watanabe, Bansal, Hutter: PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
            Subspaces, IJCAI 2023, arXiv:2304.10255.
    """
    if study is None:
        return None
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.trial import TrialState

    from paleo_opt.studies.run import quiet

    solved = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    varied = {name for trial in solved for name, range_ in trial.distributions.items() if not range_.single()}
    if len(solved) < LEAST_TRIALS or not varied or len({trial.value for trial in solved}) < 2:
        return None
    with quiet():
        found = optuna.importance.get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), params=sorted(varied)
        )
    return Importance("ped_anova", {name: float(value) for name, value in found.items()})
