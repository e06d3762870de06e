"""Load a network from its YAML: `load_network`.

The file is read with every mistake noted (`paleo_opt.spec_file`), its blocks are expanded to a flat list of layers
(`paleo_opt.network.blocks`), and these are put in order and given their shapes (`paleo_opt.network.shapes`). The layers
of a transformer follow from its sizes (`paleo_opt.network.transformer`).
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Mapping

from paleo_opt import catalog
from paleo_opt.errors import SpecError, nearest
from paleo_opt.network.blocks import INPUT, Entry, Expansion
from paleo_opt.network.graph import Layer, Network, Shape, sequence_steps
from paleo_opt.network.job import read_job
from paleo_opt.network.layer_fields import FIELDS, MAX_VALUE, Values, read_values
from paleo_opt.network.shapes import infer
from paleo_opt.network.transformer import transformer_layers
from paleo_opt.network.transformer_sizes import read_transformer
from paleo_opt.spec_file import Fields, as_integer, parse_spec, read_spec
from paleo_opt.yaml_nodes import shown

_NO_OVERRIDES: Mapping[str, str] = {}


def load_network(name_or_path: str, overrides: Mapping[str, str] = _NO_OVERRIDES) -> Network:
    """The network of a shipped or user's name, or of a YAML file.

    ``overrides`` replace single fields of the file: ``{"layers.fc6.outputs": "2048", "input": "[128, 128, 3]"}``.

    >>> load_network("vgg16").parameters
    138357544

    Raises:
        SpecError: no such network, or all that is wrong in its file.
    """
    path = catalog.find("net", name_or_path)
    given = name_or_path.endswith((".yaml", ".yml")) or os.sep in name_or_path
    return _network(read_spec(path, overrides, name_or_path if given else str(path)), path.stem)


def load_text(text: str, stem: str, file: str = "") -> Network:
    """The network of YAML ``text`` that is to be in a file called ``stem``; ``file`` is how messages name it.

    Raises:
        SpecError: all that is wrong in it.
    """
    return _network(parse_spec(text, file), stem)


def _network(root: Fields, stem: str) -> Network:
    if "model_type" in root:
        root.problem(
            "is of a Hugging Face config.json; make a network of it: paleo-opt import FILE --out NET.yaml", "model_type"
        )
        root.raise_problems()
    name = root.text("name")
    if name and name != stem:
        root.problem(f"is {shown(name)!r}; expected {stem!r}, as the file is called", "name")
    description, source = root.text("description", ""), root.text("source", "")
    if root.fields("transformer", None) is not None:
        return _transformer(root, name, description, source)
    input_shape = _input_shape(root)
    expansion = Expansion(_defaults(root))
    expansion.expand(root)
    job_fields = root.fields("job", None)
    tokens = sequence_steps(input_shape, (entry.text.type for entry in expansion.entries))
    job = read_job(job_fields, tokens) if job_fields is not None and job_fields.is_mapping else None
    root.finish()

    layers = _shaped(_in_order(expansion, root), input_shape, root)
    root.raise_problems()
    return Network(name, description, source, root.file, input_shape, layers, job)


def _transformer(root: Fields, name: str, description: str, source: str) -> Network:
    """The network of a file that gives the sizes of a transformer instead of layers."""
    for other in ("input", "defaults", "blocks", "layers"):
        if other in root:
            root.node(other)
            root.problem("has no place beside `transformer`, which all layers follow from", other)
    fields = root.fields("transformer")
    sizes = read_transformer(fields) if fields.is_mapping else None
    job_fields, job = root.fields("job", None), None
    if job_fields is not None and job_fields.is_mapping and (sizes is not None or not root.problems):
        job = read_job(job_fields, None if sizes is None or sizes.kind == "vision" else sizes.sequence_length)
    root.finish()
    root.raise_problems()
    assert sizes is not None, "an absent section was not refused"
    layers = transformer_layers(sizes, root.file)
    return Network(name, description, source, root.file, layers[0].output_shape, layers, job, sizes)


def _input_shape(root: Fields) -> Shape:
    """The input's shape, empty where the file's is wrong."""
    shape: Shape = root.sequence("input", as_integer(1, MAX_VALUE))
    if len(shape) > 3 or (not shape and "input" in root and not root.problems):
        expected = "[height, width, channels], [steps, features], [steps] or [features]"
        root.problem(f"has {len(shape)} sizes; expected {expected}", "input")
        return ()
    return shape


def _defaults(root: Fields) -> dict[str, Values]:
    fields = root.fields("defaults", None)
    found: dict[str, Values] = {}
    for kind, values in fields.items() if fields is not None else ():
        if kind in FIELDS:
            found[kind] = read_values(values, kind)
        else:
            fields.problem(f"is no type of layer{nearest(kind[:100], FIELDS)}", kind)
    return found


def _in_order(expansion: Expansion, root: Fields) -> list[tuple[Entry, tuple[str, ...]]]:
    """Every layer with the layers it reads, each after them: in the file's order where that is one.

    A parent that does not exist is the empty name. The layers of a cycle, and what reads them, are left out.
    """
    entries = [(entry, tuple(map(expansion.layer_of, entry.parents))) for entry in expansion.entries]
    placed = {INPUT, ""}
    for entry, parents in entries:
        if not placed.issuperset(parents):
            return _sorted(entries, root)
        placed.add(entry.name)
    return entries


def _sorted(entries: list[tuple[Entry, tuple[str, ...]]], root: Fields) -> list[tuple[Entry, tuple[str, ...]]]:
    position = {entry.name: index for index, (entry, _) in enumerate(entries)}
    readers: dict[str, list[int]] = {}
    waiting: list[int] = []
    for index, (_, parents) in enumerate(entries):
        unplaced = {parent for parent in parents if parent in position}
        waiting.append(len(unplaced))
        for parent in unplaced:
            readers.setdefault(parent, []).append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    ordered = []
    while ready:
        # The first in the file of those that can come next.
        index = heapq.heappop(ready)
        ordered.append(entries[index])
        for reader in readers.get(entries[index][0].name, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    left = {entries[index][0].name: entries[index] for index, count in enumerate(waiting) if count}
    _name_cycles(left)
    return ordered


def _name_cycles(left: dict[str, tuple[Entry, tuple[str, ...]]]) -> None:
    """Note the cycles among layers that could not be put in order: each of them reads another one."""
    seen: set[str] = set()
    for start in left:
        path: dict[str, None] = {}
        name = start
        while name not in seen and name not in path:
            path[name] = None
            name = next(parent for parent in left[name][1] if parent in left)
        if name in path:
            # Parents were followed; the data flows the other way.
            back = list(path)[list(path).index(name) :]
            cycle = [name, *reversed(back)]
            listed = cycle if len(cycle) <= 12 else [*cycle[:6], "...", *cycle[-6:]]
            left[name][0].problem(f"is in a cycle: {shown(' -> '.join(listed), 1000)}", "parents")
        seen.update(path)


def _shaped(entries: list[tuple[Entry, tuple[str, ...]]], input_shape: Shape, root: Fields) -> tuple[Layer, ...]:
    """The layers with their shapes, the network's input first. Past a mistake nothing is inferred."""
    line = root.line_of("input")
    layers = [Layer(INPUT, "Input", (), (), input_shape, line=line)]
    shapes: dict[str, Shape] = {INPUT: input_shape} if input_shape else {}
    for entry, parents in entries:
        text = entry.text
        if not text.sound or not all(parent in shapes for parent in parents):
            continue
        try:
            inputs = tuple(shapes[parent] for parent in parents)
            layer = infer(entry.name, text.type, parents, inputs, text.values, text.fields.line)
        except SpecError as error:
            for problem in error.problems:
                entry.problem(problem.message, problem.field)
            continue
        shapes[entry.name] = layer.output_shape
        layers.append(layer)
    assert root.problems or len(layers) == len(entries) + 1, "a layer was left out without a reason"
    return tuple(layers)
