"""From the layers, blocks and templates of a network's YAML to a flat list of layers with their parents' names.

A block is a namespace with an endpoint, the layer that stands for it: its layers are called ``block/layer``. It
is written in place, or made from a template, whose ``$name`` scalars are replaced by the block's arguments;
``repeat: 3`` chains three copies ``block_1`` to ``block_3``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import yaml

from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.network.layer_fields import BUILT_IN, FIELDS, Values, check_required, read_values
from paleo_opt.network.templates import Body, Templates, check_endpoint, last_line
from paleo_opt.spec_file import Fields, as_text
from paleo_opt.yaml_nodes import shown

MAX_LAYERS = 20_000
MAX_BLOCK_DEPTH = 40
MAX_NAME = 200
MAX_CONNECTIONS = 200_000
#: The name of the network's input, and what a block calls its own parents.
INPUT, BLOCK_INPUT = "data", "@input"

_STRUCTURE = ("type", "parents")
_TYPES = (*FIELDS, "Block")


@dataclass(frozen=True, slots=True)
class LayerText:
    """What the file says of one layer: shared by all copies of its block.

    ``parents`` is empty where the file leaves it out. ``sound`` is false where something was wrong with it.
    """

    fields: Fields
    type: str
    values: Values
    parents: tuple[str, ...]
    sound: bool


@dataclass(slots=True)
class Entry:
    """One layer of the flat list. ``parents`` name layers or blocks, to be resolved by `Expansion.layer_of`."""

    name: str
    text: LayerText
    parents: tuple[str, ...]

    def problem(self, message: str, name: str = "") -> None:
        """Note that field ``name`` of this layer (or the layer itself) is wrong."""
        fields = self.text.fields
        where = f"layers.{self.name}.{name}" if name else f"layers.{self.name}"
        fields.problems.append(Problem(message, fields.file_of(name), fields.line_of(name), shown(where, 300)))


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where names are looked up: the prefix of a block's layers, what its ``@input`` is, and how it was reached."""

    prefix: str = ""
    inputs: tuple[str, ...] = (INPUT,)
    depth: int = 0
    templates: tuple[str, ...] = ()


class _Reference(NamedTuple):
    """A parent that the file names, to be checked once every name is known."""

    full: str
    written: str
    owner: Fields
    siblings: list[str]


@dataclass(slots=True)
class Expansion:
    """The flat list of layers of a file; `expand` fills it."""

    defaults: dict[str, Values]
    entries: list[Entry] = field(default_factory=list)
    _templates: Templates = field(default_factory=Templates)
    _stands_for: dict[str, str] = field(default_factory=dict)
    _lines: dict[str, int] = field(default_factory=dict)
    _references: list[_Reference] = field(default_factory=list)
    _texts: dict[int, tuple[yaml.Node, LayerText]] = field(default_factory=dict)
    _reused: set[tuple[int, int]] = field(default_factory=set)
    _connections: int = 0

    # -- what callers ask ----------------------------------------------------------------------------------

    def expand(self, root: Fields) -> None:
        """Read ``blocks`` and ``layers``; problems are noted in ``root``.

        Raises:
            SpecError: more than `MAX_LAYERS` layers or `MAX_CONNECTIONS` parents, or blocks nested deeper than
                `MAX_BLOCK_DEPTH`.
        """
        blocks = root.fields("blocks", None)
        if blocks is not None:
            self._templates.read(blocks)
        layers = root.fields("layers")
        self._lines[INPUT] = root.line_of("input")
        node = root.node("layers")
        if isinstance(node, yaml.MappingNode) and not node.value:
            layers.problem("has no layers")
        self._layers(layers, _Scope())
        self._check_references()
        if root.problems:
            root.problems[:] = self._without_repetitions(root.problems)

    def layer_of(self, name: str) -> str:
        """The layer that ``name`` stands for: itself, or the endpoint of a block; empty where there is none."""
        while name in self._stands_for:
            name = self._stands_for[name]
        return name if name in self._lines else ""

    # -- layers --------------------------------------------------------------------------------------------

    def _layers(self, layers: Fields, scope: _Scope) -> None:
        siblings = layers.names()
        previous: tuple[str, ...] = scope.inputs
        for name in siblings:
            node = layers.node(name)
            assert node is not None
            full = scope.prefix + name
            if len(self._lines) > MAX_LAYERS:
                line = layers.line_of(name)
                raise SpecError(Problem(f"more than {MAX_LAYERS:,} layers", layers.file, line, "layers"))
            if not self._name(name, full, layers):
                continue
            text = self._text(node, full, layers)
            parents = previous
            if text.parents:
                parents = self._parents(text, scope, siblings)
            if text.type == "Block":
                self._block(full, text.fields, parents, scope)
            else:
                self.entries.append(Entry(full, text, parents))
            previous = (full,)

    def _name(self, name: str, full: str, layers: Fields) -> bool:
        """Note what is wrong with a name; whether the layer can be read at all."""
        line = layers.line_of(name)
        if not name or name.isspace():
            layers.problem("has a layer without a name", line=line)
            return False
        if "@" in name or "$" in name:
            layers.problem("is a layer's name with '@' or '$', which mean something else", name)
        elif len(name) > MAX_NAME:
            layers.problem(f"is a name of {len(name)} characters; at most {MAX_NAME}", name)
        if full == INPUT:
            layers.problem("is the name of the network's input; choose another", name)
            return False
        if full in self._lines:
            layers.problem(f"names a second layer {shown(full)!r} (first on line {self._lines[full]})", name)
            return False
        self._lines[full] = line
        return True

    def _text(self, node: yaml.Node, full: str, layers: Fields) -> LayerText:
        if id(node) in self._texts:
            return self._texts[id(node)][1]
        problems = layers.problems
        before = len(problems)
        fields = Fields(node, layers.file, f"layers.{full}", problems, self._lines[full])
        if not isinstance(node, yaml.MappingNode):
            return LayerText(fields, "", {}, (), False)
        kind = fields.text("type", choices=_TYPES)
        parents = fields.sequence("parents", as_text(), ())
        if "parents" in fields and not parents and len(problems) == before:
            fields.problem("is empty; expected at least one, or leave the field out", "parents")
        values: Values = {}
        if kind in FIELDS:
            values = BUILT_IN.get(kind, {}) | self.defaults.get(kind, {}) | read_values(fields, kind, _STRUCTURE)
            check_required(fields, kind, values)
        text = LayerText(fields, kind, values, parents, len(problems) == before)
        # Copies of a block share its nodes, so each is read once; the node is kept, for its id to stay its own.
        self._texts[id(node)] = node, text
        return text

    def _parents(self, text: LayerText, scope: _Scope, siblings: list[str]) -> tuple[str, ...]:
        parents: list[str] = []
        for written in text.parents:
            if written == BLOCK_INPUT and scope.prefix:
                parents += scope.inputs
            else:
                full = scope.prefix + written
                self._references.append(_Reference(full, written, text.fields, siblings))
                parents.append(full)
        # A block's parents multiply through blocks that read their @input twice.
        self._connections += len(parents)
        if self._connections > MAX_CONNECTIONS:
            fields = text.fields
            message = f"more than {MAX_CONNECTIONS:,} connections between layers"
            raise SpecError(Problem(message, fields.file, fields.line_of("parents"), fields.path))
        return tuple(parents)

    def _check_references(self) -> None:
        # Copies of a block share their parents' names.
        noted: set[tuple[int, str]] = set()
        for full, written, owner, siblings in self._references:
            if full in self._lines or (id(owner), written) in noted:
                continue
            noted.add((id(owner), written))
            top = full == written
            if written == BLOCK_INPUT:
                why = f"{BLOCK_INPUT} has a meaning only inside a block; the network's input is {INPUT!r}"
            else:
                names = [*siblings, INPUT if top else BLOCK_INPUT]
                # The search for the nearest is slow; in a file full of misspelt names the first get it.
                few = len(names) <= 2000 and len(noted) < 50
                hint = nearest(written[:100], names) if few else ""
                why = f"{shown(written)!r} is no layer of this {'network' if top else 'block'}{hint}"
            owner.problem(why, "parents")

    # -- blocks --------------------------------------------------------------------------------------------

    def _block(self, full: str, fields: Fields, parents: tuple[str, ...], scope: _Scope) -> None:
        self._stands_for[full] = ""
        before = len(fields.problems)
        repeat = fields.integer("repeat", None, 1, MAX_LAYERS)
        repeat_is_wrong = len(fields.problems) > before
        found = self._templates.fill(fields, scope.templates) if "template" in fields else self._in_place(fields, scope)
        fields.finish()
        if found is None or repeat_is_wrong:
            return
        node, endpoint, templates = found
        if scope.depth >= MAX_BLOCK_DEPTH:
            raise SpecError(
                Problem(f"blocks nested more than {MAX_BLOCK_DEPTH} deep", fields.file, fields.line, fields.path)
            )
        if repeat is not None:
            self._reused.add((fields.line, last_line(node)))
        names = [full] if repeat is None else [f"{full}_{copy}" for copy in range(1, repeat + 1)]
        for name in names:
            if repeat is not None:
                if name in self._lines:
                    first = self._lines[name]
                    fields.problem(f"makes a second layer {shown(name)!r} (first on line {first})", "repeat")
                    return
                self._lines[name] = fields.line
            layers = Fields(node, fields.file, f"layers.{name}", fields.problems, fields.line)
            last = (layers.names() or [""])[-1]
            self._stands_for[name] = f"{name}/{endpoint or last}"
            self._layers(layers, _Scope(f"{name}/", parents, scope.depth + 1, templates))
            parents = (name,)
        if repeat is not None:
            self._stands_for[full] = names[-1]

    def _in_place(self, fields: Fields, scope: _Scope) -> Body | None:
        node, endpoint = fields.node("layers"), fields.text("endpoint", "")
        if node is None:
            fields.problem("is missing: a block has its layers, or a template", "layers")
        elif not isinstance(node, yaml.MappingNode) or not node.value:
            fields.problem("is not a mapping of layers, or has none", "layers")
        else:
            check_endpoint(fields, endpoint, [str(key.value) for key, _ in node.value])
            return Body(node, endpoint, scope.templates)
        return None

    def _without_repetitions(self, problems: list[Problem]) -> list[Problem]:
        """``problems`` with a mistake in a template or repeated block named once, not once for every copy."""
        reused = {line for first, last in self._reused | self._templates.lines for line in range(first, last + 1)}
        kept: dict[tuple[str, ...], Problem] = {}
        for problem in problems:
            field = problem.field.rpartition("/")[2] if problem.line in reused else problem.field
            kept.setdefault((problem.file, str(problem.line), field, problem.message), problem)
        return list(kept.values())
