"""What the caller of a search fixes, and the search space that this leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.cost_table import CostTable
from paleo_opt.estimator.split_refusals import check_split
from paleo_opt.estimator.split_rules import valid_splits
from paleo_opt.estimator.splits import BLOCKS, FIELDS, Split, Splits
from paleo_opt.network.graph import Network
from paleo_opt.search.enumeration import splits_blocks
from paleo_opt.search.layouts import GROUPED
from paleo_opt.search.space import SearchSpace

_TENSOR = (2, 4, 8)
#: What may be fixed of a transformer's splits.
SPLIT_FIELDS = (*FIELDS, "data")


@dataclass(frozen=True)
class Fixed:
    """What the caller fixes; None leaves the choice to the search.

    Attributes:
        precision: Of arithmetic.
        global_batch: Samples per step; may lie above the job's largest.
        micro_batch: Samples per device and pass.
        tensor: Devices that divide a split layer; 1 leaves data parallelism alone.
        split: ``data``, ``hybrid`` or ``model``; of a transformer ``data`` alone.
        collective: One name.
        splits: Of a transformer's blocks: fields of `Split`, and ``data``, each with its value.
    """

    precision: str | None = None
    global_batch: int | None = None
    micro_batch: int | None = None
    tensor: int | None = None
    split: str | None = None
    collective: str | None = None
    splits: Mapping[str, Any] = field(default_factory=dict)

    def narrow(self, space: SearchSpace, table: CostTable, model: str = "roofline") -> SearchSpace:
        """``space`` with these choices made.

        Raises:
            SpecError: a split that the network cannot have, or a split and a tensor that contradict each other.
        """
        space = replace(
            space,
            precision=space.precision if self.precision is None else (self.precision,),
            global_batch=space.global_batch if self.global_batch is None else (self.global_batch,),
            micro_batch=space.micro_batch if self.micro_batch is None else (self.micro_batch,),
            collective=space.collective if self.collective is None else (self.collective,),
        )
        if splits_blocks(table.network, model):
            return self._with_splits(space, table.network)
        if self.splits:
            names = ", ".join(name.replace("_", " ") for name in self.splits)
            why = (
                "the PALEO model divides layers, not blocks"
                if table.network.transformer is not None
                else f"{table.network.name} is no transformer"
            )
            raise SpecError(f"{names}: of a transformer's blocks under the roofline model; {why}")
        if self.split is not None:
            table.layout(self.split, 2)  # refuses what the network cannot have
            tensor = () if self.split == "data" else (space.tensor or _TENSOR)
            space = replace(space, split=(self.split,), tensor=tensor)
        if self.tensor is not None:
            space = self._with_tensor(space, table, self.tensor)
        return space

    def _with_tensor(self, space: SearchSpace, table: CostTable, tensor: int) -> SearchSpace:
        if tensor == 1:
            if self.split not in (None, "data"):
                raise SpecError(f"tensor 1 divides nothing, but split {self.split!r} does; expected 2 or more")
            return replace(space, split=("data",), tensor=())
        if self.split == "data":
            raise SpecError(f"tensor {tensor} divides layers, but split 'data' divides none; expected hybrid or model")
        divided = tuple(name for name in space.split if name != "data" and name in table.splits)
        return replace(space, split=divided or ("model",), tensor=(tensor,))

    def of_splits(self) -> dict[str, Any]:
        """What is fixed of a transformer's splits, by the names of `SPLIT_FIELDS`.

        Raises:
            SpecError: a name that is none of these, or a contradiction.
        """
        given = dict(self.splits)
        for name in given:
            if name not in SPLIT_FIELDS:
                raise SpecError(f"{name!r} is no field of a split{nearest(name, SPLIT_FIELDS)}")
        if self.tensor is not None and given.setdefault("tensor", self.tensor) != self.tensor:
            raise SpecError(f"tensor is given twice: {self.tensor} and {given['tensor']}")
        if self.split == "data":
            for name in GROUPED:
                if given.setdefault(name, 1) != 1:
                    raise SpecError(f"{name} {given[name]:,} divides a transformer, but split 'data' divides nothing")
        elif self.split not in (None, BLOCKS):
            raise SpecError(
                f"split {self.split!r} is of networks of layers; of a transformer's blocks fix tensor, pipeline, "
                "context or expert"
            )
        return given

    def _with_splits(self, space: SearchSpace, network: Network) -> SearchSpace:
        given = self.of_splits()
        # What is said of one field alone is judged with the others open.
        alone = {"sequence_parallel": "tensor", "virtual_stages": "pipeline"}
        judged = {name: value for name, value in given.items() if name != "data" and alone.get(name, name) in given}
        check_split(network, Split(**judged))
        if "pipeline" not in given and given.get("virtual_stages", 1) > 1:
            _check_interleaved(network, judged | {"virtual_stages": given["virtual_stages"]}, space.splits.pipeline)
        if given.get("data", 1) < 1:
            raise SpecError(f"data must be at least 1, not {given['data']}")
        values: dict[str, Any] = {name: value if name == "data" else (value,) for name, value in given.items()}
        if given.get("sequence_parallel") and "tensor" not in given:
            values["tensor"] = tuple(tensor for tensor in space.splits.tensor if tensor > 1)
        if "context" in given:
            values["context_positions"] = 1
        if self.micro_batch is not None:
            values["micro_batch_tokens"] = None
        return replace(space, splits=replace(space.splits, **values))


def _check_interleaved(network: Network, given: Mapping[str, Any], stages: Sequence[int]) -> None:
    """Refuse virtual stages that no pipeline of a space can have. Raises `SpecError`."""
    assert network.transformer is not None
    splits = [Split(**given, pipeline=count) for count in stages if count > 1] or [Split(**given)]
    if not valid_splits(network.transformer, Splits.of(splits)).any():
        check_split(network, splits[0])
