"""The splits that people choose by hand, as assignments: by samples, by outputs, and "one weird trick".

References:
    [1] Krizhevsky: One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997.
"""

from __future__ import annotations

from collections.abc import Callable

from paleo_opt.estimator.layer_cost import CONVOLUTIONS
from paleo_opt.layer_splits.branches import Chosen
from paleo_opt.layer_splits.costs import SplitCosts
from paleo_opt.layer_splits.degrees import COPIES, OUTPUTS, SAMPLE, Choices

DATA, MODEL, WEIRD_TRICK = "data parallel", "model parallel", "one weird trick"


def _along(axis: int) -> Callable[[Choices, int], int]:
    """The split of a layer along one axis as far as it goes, the rest copies."""

    def index(of: Choices, devices: int) -> int:
        alone = of.degrees[:, axis] * of.degrees[:, COPIES] == devices
        return int((of.degrees[:, axis] * alone).argmax())

    return index


def fully_connected(costs: SplitCosts) -> frozenset[int]:
    """The layers that "one weird trick" splits by outputs: the fully connected ones at the end, and what is between.

    They begin with the first that the network's file marks ``split: model``, or else the first InnerProduct; none
    where convolutions follow, or in a transformer.
    """
    if costs.table.network.transformer is not None:
        return frozenset()
    marked = [index for index, layer in enumerate(costs.layers) if layer.split == "model"]
    dense = marked or [index for index, layer in enumerate(costs.layers) if layer.type == "InnerProduct"]
    if not dense:
        return frozenset()
    rest = range(dense[0], len(costs.layers))
    if any(costs.layers[index].type in CONVOLUTIONS and _is_image(costs, index) for index in rest):
        return frozenset()
    return frozenset(index for index in rest if (costs.choices[index].degrees[:, OUTPUTS] > 1).any())


def _is_image(costs: SplitCosts, index: int) -> bool:
    shape = costs.layers[index].output_shape
    return len(shape) == 3 and shape[:2] != (1, 1)


def patterns(costs: SplitCosts) -> dict[str, Chosen]:
    """The assignments by name; "one weird trick" where the network has fully connected layers at its end."""
    by_samples, by_outputs = _along(SAMPLE), _along(OUTPUTS)
    n, dense = costs.devices, fully_connected(costs)
    found = {DATA: tuple(by_samples(one, n) for one in costs.choices)}
    if dense:
        found[WEIRD_TRICK] = tuple(
            (by_outputs if index in dense else by_samples)(one, n) for index, one in enumerate(costs.choices)
        )
    found[MODEL] = tuple(by_outputs(one, n) for one in costs.choices)
    return found
