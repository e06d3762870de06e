"""The templates of a network's YAML (``blocks``), and filling one with a block's arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import yaml

from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.spec_file import Fields, as_text
from paleo_opt.yaml_nodes import place, shown

MAX_FILLED = 1_000_000


class Body(NamedTuple):
    """What a block consists of.

    ``layers`` is a mapping node, ``endpoint`` empty where it is the last layer, and ``templates`` the names of the
    templates that led here.
    """

    layers: yaml.Node
    endpoint: str
    templates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Template:
    parameters: tuple[str, ...]
    endpoint: str
    layers: yaml.Node | None
    sound: bool


@dataclass(slots=True)
class Templates:
    """The templates of one file. ``lines`` holds the first and last line of each."""

    lines: set[tuple[int, int]] = field(default_factory=set)
    _known: dict[str, _Template] = field(default_factory=dict)
    _filled: int = 0

    def read(self, blocks: Fields) -> None:
        """Read them all, and check them even where no block uses them."""
        for name, fields in blocks.items():
            before = len(fields.problems)
            parameters = fields.sequence("parameters", as_text(), ())
            endpoint = fields.text("endpoint", "")
            node = fields.node("layers")
            layers = fields.fields("layers")
            if node is not None:
                self.lines.add((fields.line, last_line(node)))
                for scalar in _scalars(node):
                    used = scalar.value[1:]
                    if scalar.value.startswith("$") and used not in parameters:
                        hint = nearest(used[:100], parameters)
                        line = place(scalar, fields.file)[1]
                        fields.problem(f"uses ${shown(used)}, which is no parameter{hint}", "layers", line)
                if isinstance(node, yaml.MappingNode) and not node.value:
                    layers.problem("has no layers")
                check_endpoint(fields, endpoint, layers.names())
            fields.finish()
            self._known[name] = _Template(parameters, endpoint, node, len(fields.problems) == before)

    def fill(self, fields: Fields, within: tuple[str, ...]) -> Body | None:
        """The body of the block ``fields``, made from its ``template`` and ``arguments``.

        ``within`` names the templates that the block itself is part of. None, with the problem noted, where
        the template cannot be filled.

        Raises:
            SpecError: templates multiply to more than `MAX_FILLED` values.
        """
        name = fields.text("template")
        given = fields.fields("arguments", None)
        for other in ("layers", "endpoint"):
            if fields.node(other) is not None:
                fields.problem("has no meaning beside template, which has its own", other)
        template = self._known.get(name)
        if template is None:
            if name:
                hint = nearest(name[:100], self._known) or "; the file has no blocks"
                fields.problem(f"is {shown(name)!r}, no block of this file{hint}", "template")
            return None
        before = len(fields.problems)
        arguments = _arguments(fields, given, name, template.parameters)
        if name in within:
            chain = " -> ".join((*within[within.index(name) :], name))
            fields.problem(f"leads back to itself: {shown(chain, 300)}", "template")
        if len(fields.problems) > before or not template.sound or template.layers is None:
            return None
        layers = _substituted(template.layers, arguments)
        self._filled += len(_scalars(layers))
        if self._filled > MAX_FILLED:
            message = f"more than {MAX_FILLED:,} values once templates are written out"
            raise SpecError(Problem(message, fields.file, fields.line, fields.path))
        return Body(layers, template.endpoint, (*within, name))


def _arguments(
    fields: Fields, given: Fields | None, template: str, parameters: tuple[str, ...]
) -> dict[str, yaml.Node]:
    arguments: dict[str, yaml.Node] = {}
    if given is not None:
        for name in given.names():
            node = given.node(name)
            if node is not None and name in parameters:
                arguments[name] = node
            else:
                hint = nearest(name[:100], parameters)
                given.problem(f"is no parameter of block {shown(template)!r}{hint}", name)
    for name in parameters:
        if name not in arguments:
            fields.problem(f"lacks {shown(name)!r}, a parameter of block {shown(template)!r}", "arguments")
    return arguments


def check_endpoint(fields: Fields, endpoint: str, names: list[str]) -> None:
    """Note an ``endpoint`` that is none of a block's layers."""
    if endpoint and endpoint not in names:
        hint = nearest(endpoint[:100], names)
        fields.problem(f"is {shown(endpoint)!r}, no layer of the block{hint}", "endpoint")


def last_line(node: yaml.Node) -> int:
    """The last line of a node."""
    # The end of a block mapping is where the next token starts, at the beginning of a later line.
    mark = node.end_mark
    return mark.line + (1 if mark.column else 0) if mark else 0


def _scalars(node: yaml.Node) -> list[yaml.ScalarNode]:
    found: list[yaml.ScalarNode] = []
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, yaml.ScalarNode):
            found.append(node)
        elif isinstance(node, yaml.MappingNode):
            stack += [value for _, value in reversed(node.value)]
        else:
            stack += reversed(node.value)
    return found


def _substituted(node: yaml.Node, arguments: dict[str, yaml.Node]) -> yaml.Node:
    """A copy of a template's nodes with every ``$name`` replaced by its argument."""
    if isinstance(node, yaml.ScalarNode):
        return arguments[node.value[1:]] if node.value.startswith("$") else node
    if isinstance(node, yaml.MappingNode):
        pairs = [(key, _substituted(value, arguments)) for key, value in node.value]
        return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)
    items = [_substituted(item, arguments) for item in node.value]
    return yaml.SequenceNode(node.tag, items, node.start_mark, node.end_mark)
