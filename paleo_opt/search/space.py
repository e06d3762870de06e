"""The search space: which strategies are considered, from ``search_spaces/*.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from paleo_opt import catalog
from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.collectives import COLLECTIVES
from paleo_opt.hardware.device import ELEMENT_BYTES
from paleo_opt.spec_file import Fields, as_integer, as_text, read_spec

SPLITS = ("data", "hybrid", "model")
_LARGEST = 1_000_000


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
    file: str = ""


def _integers(fields: Fields, name: str, default: tuple[int, ...], minimum: int = 1) -> tuple[int, ...]:
    """A list of whole numbers, or ``{from, to, step}``; sorted, each once."""
    node = fields.node(name)
    if isinstance(node, yaml.MappingNode):
        span = fields.fields(name)
        first, last = span.integer("from", minimum=minimum, maximum=_LARGEST), span.integer("to", maximum=_LARGEST)
        step = span.integer("step", 1, minimum=1, maximum=_LARGEST)
        span.finish()
        if last < first:
            fields.problem(f"runs from {first} to {last}; expected to end at or above its start", name)
        return tuple(range(first, last + 1, step)) or (first,)
    values = fields.sequence(name, as_integer(minimum, _LARGEST), default)
    if name in fields and not values:
        fields.problem("is an empty list; expected at least one value", name)
    return tuple(sorted(set(values)))


def _words(fields: Fields, name: str, choices: tuple[str, ...], words: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A list of ``choices``, or one of ``words`` alone."""
    node = fields.node(name)
    if isinstance(node, yaml.ScalarNode):
        return (fields.text(name, choices=(*words, *choices)),)
    values = fields.sequence(name, as_text(choices))
    if name in fields and not values:
        fields.problem("is an empty list; expected at least one value", name)
    return tuple(dict.fromkeys(values))


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
    clusters = _words(fields, "clusters", tuple(catalog.names("cluster")), ("priced", "all"))
    gpus: tuple[int, ...] | None = None
    per_octave, largest = 8, 1024
    if isinstance(fields.node("gpus"), yaml.MappingNode):
        span = fields.fields("gpus")
        per_octave = span.integer("nodes_per_octave", 8, minimum=1, maximum=4096)
        largest = span.integer("largest", 1024, minimum=1, maximum=_LARGEST)
        span.finish()
    elif "gpus" in fields:
        gpus = _integers(fields, "gpus", ())
        largest = max(gpus, default=1)
    space = SearchSpace(
        name=name,
        description=description,
        clusters=clusters,
        gpus=gpus,
        nodes_per_octave=per_octave,
        largest=largest,
        micro_batch=_integers(fields, "micro_batch", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)),
        accumulation=_integers(fields, "accumulation", (1,)),
        global_batch=_integers(fields, "global_batch", ()),
        split=_words(fields, "split", SPLITS),
        tensor=tuple(value for value in _integers(fields, "tensor", ()) if value > 1),
        collective=_words(fields, "collective", COLLECTIVES),
        precision=_words(fields, "precision", tuple(ELEMENT_BYTES), ("training",)),
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
