"""The search space: which strategies are considered, from ``search_spaces/*.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from paleo_opt import catalog
from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.collectives import COLLECTIVES
from paleo_opt.hardware.device import ELEMENT_BYTES
from paleo_opt.search.space_fields import LARGEST, integers, words
from paleo_opt.search.split_space import SplitSpace, read_splits
from paleo_opt.spec_file import read_spec

SPLITS = ("data", "hybrid", "model")


@dataclass(frozen=True)
class SearchSpace:
    """Which strategies are considered.

    Attributes:
        name: As in the file.
        description: One line.
        clusters: Names, or ``("priced",)`` for every cluster with a price, or ``("all",)`` for every one.
        gpus: The numbers of GPUs, or None to count them out by `nodes_per_octave`.
        nodes_per_octave: All whole nodes up to this many, then as many in each doubling; in the first, its divisors.
        largest: Most GPUs considered where no budget says so.
        micro_batch: Samples per device and pass, ascending.
        accumulation: Passes per step, ascending; not used where the global batch is given.
        global_batch: Ascending; empty where they follow from the others, up to the largest sensible one.
        split: Layouts out of `SPLITS`; one that a network cannot have is left out for it.
        tensor: Devices that divide a split layer, each above 1, ascending.
        collective: Names.
        precision: Names, or ``("training",)`` for each device's own.
        splits: Of a transformer's blocks, under the roofline model; ``split``, ``tensor`` and ``accumulation`` are of
            networks of layers.
        file: Where it was read from.
    """

    name: str
    description: str
    clusters: tuple[str, ...]
    gpus: tuple[int, ...] | None
    nodes_per_octave: int
    largest: int
    micro_batch: tuple[int, ...]
    accumulation: tuple[int, ...]
    global_batch: tuple[int, ...]
    split: tuple[str, ...]
    tensor: tuple[int, ...]
    collective: tuple[str, ...]
    precision: tuple[str, ...]
    splits: SplitSpace = field(default_factory=SplitSpace)
    file: str = ""


def load_space(name_or_path: str, overrides: Mapping[str, str] | None = None) -> SearchSpace:
    """Read a search space.

    Args:
        name_or_path: A shipped name, a name in the user's own folders, or a file.
        overrides: Dotted field to YAML text, replacing what the file says.

    Raises:
        SpecError: every problem of the file, each with its line and field.
    """
    path = catalog.find("space", name_or_path)
    fields = read_spec(path, overrides or {})
    name = fields.text("name", path.stem)
    description = fields.text("description", "")
    clusters = words(fields, "clusters", tuple(catalog.names("cluster")), ("priced", "all"))
    gpus: tuple[int, ...] | None = None
    per_octave, largest = 8, 1024
    if isinstance(fields.node("gpus"), yaml.MappingNode):
        span = fields.fields("gpus")
        per_octave = span.integer("nodes_per_octave", 8, minimum=1, maximum=4096)
        largest = span.integer("largest", 1024, minimum=1, maximum=LARGEST)
        span.finish()
    elif "gpus" in fields:
        gpus = integers(fields, "gpus", ())
        largest = max(gpus, default=1)
    tensor = integers(fields, "tensor", ())
    space = SearchSpace(
        name=name,
        description=description,
        clusters=clusters,
        gpus=gpus,
        nodes_per_octave=per_octave,
        largest=largest,
        micro_batch=integers(fields, "micro_batch", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)),
        accumulation=integers(fields, "accumulation", (1,)),
        global_batch=integers(fields, "global_batch", ()),
        split=words(fields, "split", SPLITS),
        tensor=tuple(value for value in tensor if value > 1),
        collective=words(fields, "collective", COLLECTIVES),
        precision=words(fields, "precision", tuple(ELEMENT_BYTES), ("training",)),
        splits=read_splits(fields, tensor),
        file=str(path),
    )
    fields.finish()
    fields.raise_problems()
    return space


def cluster_names(space: SearchSpace, on: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The clusters to consider: the user's, else the space's; of ``priced`` the caller keeps those with a price.

    Raises:
        SpecError: a cluster that does not exist.
    """
    if on:
        return on
    known = catalog.names("cluster")
    if space.clusters in (("priced",), ("all",)):
        return tuple(known)
    for name in space.clusters:
        if name not in known:
            raise SpecError(f"space {space.name}: no cluster is called {name!r}{nearest(name, known)}")
    return space.clusters
