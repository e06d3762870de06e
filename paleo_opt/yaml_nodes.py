"""YAML text to a tree of nodes, bounded in size, depth and aliases; and overrides of single fields in it.

A node knows its line, so a message can say where a value stands; a value set by an override
(``--set field=value``) has no line, and its message names the override instead. `place` says which.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from paleo_opt.errors import Problem, SpecError

MAX_BYTES = 2_000_000
MAX_DEPTH = 40
MAX_ALIASES = 1_000
MAX_NODES = 200_000

# libyaml's parser is about ten times faster; PyYAML's own is the same language where the wheel lacks it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A text with fewer openers than this, and no line that starts with a long run of indicators, cannot nest
# deeply enough to exhaust the stack of the C composer; its exact depth is then checked on the nodes.
_SAFE_OPENERS = 700
_LONG_INDENT = re.compile(r"^[ \t?:-]{100}", re.MULTILINE)
_TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
_OVERRIDE = "--set "


def compose(text: str, file: str) -> yaml.Node:
    """The root node of the one YAML document in ``text``; ``file`` is how messages name it.

    Raises:
        SpecError: not YAML, empty, deeper than `MAX_DEPTH`, or more than `MAX_ALIASES` aliases or `MAX_NODES`
            values.
    """
    try:
        # Aliases and depth are bounded on the stream of events, before any node is built from them. That
        # costs as much as building the nodes, so a text that cannot hold either skips it.
        plain = (
            _Loader is not yaml.SafeLoader
            and "*" not in text
            and text.count("[") + text.count("{") < _SAFE_OPENERS
            and _LONG_INDENT.search(text) is None
        )
        if not plain:
            _bound_events(text, file)
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise SpecError(Problem(f"not valid YAML: {what}", file, mark.line + 1 if mark else 0)) from None
    except yaml.YAMLError as error:
        raise SpecError(Problem(f"not valid YAML: {' '.join(str(error).split())}", file)) from None
    if node is None:
        raise SpecError(Problem("the file is empty; expected a mapping of fields", file))
    if plain:
        _bound_depth(node, file)
    else:
        _bound_expansion(node, file)
    return node


def _bound_events(text: str, file: str) -> None:
    depth = aliases = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _refused(_TOO_DEEP, event, file)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
            if aliases > MAX_ALIASES:
                raise _refused(f"more than {MAX_ALIASES} aliases", event, file)


def _refused(message: str, where: yaml.Node | yaml.Event, file: str) -> SpecError:
    return SpecError(Problem(message, file, where.start_mark.line + 1 if where.start_mark else 0))


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _bound_depth(root: yaml.Node, file: str) -> None:
    """Refuse a tree (no aliases) deeper than `MAX_DEPTH` or with more than `MAX_NODES` nodes."""
    level, total = [root], 0
    for _ in range(MAX_DEPTH + 1):
        total += len(level)
        if total > MAX_NODES:
            raise _refused(f"more than {MAX_NODES:,} values", level[-1], file)
        level = [child for node in level if not isinstance(node, yaml.ScalarNode) for child in _children(node)]
        if not level:
            return
    raise _refused(_TOO_DEEP, level[0], file)


def _bound_expansion(root: yaml.Node, file: str) -> None:
    """Refuse a document whose aliases, written out, would exceed `MAX_NODES`, or that contains itself."""
    sizes: dict[int, int] = {}
    path: set[int] = set()

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        key = id(node)
        if key in path:
            raise _refused("an alias contains itself", node, file)
        if key not in sizes:
            path.add(key)
            # Aliases can lead deeper than the text's own nesting does.
            if len(path) > 4 * MAX_DEPTH:
                raise _refused(_TOO_DEEP, node, file)
            sizes[key] = 1 + sum(size(child) for child in _children(node))
            path.discard(key)
            if sizes[key] > MAX_NODES:
                raise _refused(f"more than {MAX_NODES:,} values once its aliases are written out", node, file)
        return sizes[key]

    size(root)


def place(node: yaml.Node, file: str) -> tuple[str, int]:
    """The file and line of a node, or the override (``--set field=value``) that set it and line 0."""
    mark = node.start_mark
    if mark.name.startswith(_OVERRIDE):
        return mark.name, 0
    return file, mark.line + 1


def shown(text: str, limit: int = 60) -> str:
    """``text`` for a message: one line, printable, at most ``limit`` characters."""
    text = text if len(text) <= limit else f"{text[:limit]}..."
    return text if text.isprintable() else ascii(text)[1:-1]


def override(root: yaml.Node, overrides: Mapping[str, str]) -> yaml.Node:
    """``root`` with fields replaced: ``{"job.optimizer": "adam", "input": "[128, 128, 3]"}``.

    A field is named as messages name it: ``layers.fc6.outputs``, ``levels[1].bandwidth``. Its value is YAML.
    A field that is not there is created (and refused later where it has no meaning). ``root`` is not changed.

    Raises:
        SpecError: a value that is not YAML, a field inside what is not a mapping, or no such list element.
    """
    problems: list[Problem] = []
    for field, text in overrides.items():
        source = f"{_OVERRIDE}{shown(field)}={shown(text)}"
        mark = yaml.Mark(source, 0, 0, 0, None, 0)
        try:
            if not field:
                raise SpecError("names no field; expected field=value")
            root = _replaced(root, field, _value(text, mark), mark)
        except SpecError as error:
            problems += [Problem(problem.message, source) for problem in error.problems]
    if problems:
        raise SpecError(problems)
    return root


def _value(text: str, mark: yaml.Mark) -> yaml.Node:
    if not text.strip():
        return yaml.ScalarNode("tag:yaml.org,2002:null", "", mark, mark)
    root = compose(text, "")
    stack = [root]
    while stack:
        node = stack.pop()
        node.start_mark = mark
        if not isinstance(node, yaml.ScalarNode):
            stack += _children(node)
    return root


def _replaced(node: yaml.Node, field: str, value: yaml.Node, mark: yaml.Mark) -> yaml.Node:
    """A copy of ``node`` with ``field`` (a path below it; empty for itself) replaced; the rest is shared."""
    if not field:
        return value
    if field.startswith("["):
        return _replaced_element(node, field, value, mark)
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(f"there is no field {shown(field)!r} to set: what would hold it is not a mapping")
    # A name may itself contain dots, so the longest name that is there wins.
    best = ""
    for key, _ in node.value:
        name = str(key.value)
        if len(name) > len(best) and field.startswith(name) and field[len(name) : len(name) + 1] in ("", ".", "["):
            best = name
    if best:
        rest = field[len(best) :].removeprefix(".")
        # A list with one element replaced is reported as a whole, so it counts as set by the override.
        anew = not rest or rest.startswith("[")
        pairs = [
            (_key(best, mark) if anew else key, _replaced(old, rest, value, mark)) if key.value == best else (key, old)
            for key, old in node.value
        ]
    else:
        name, _, rest = field.partition(".")
        empty = yaml.MappingNode("tag:yaml.org,2002:map", [], mark, mark)
        pairs = [*node.value, (_key(name, mark), _replaced(empty, rest, value, mark))]
    return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)


def _key(name: str, mark: yaml.Mark) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", name, mark, mark)


def _replaced_element(node: yaml.Node, field: str, value: yaml.Node, mark: yaml.Mark) -> yaml.Node:
    match = re.match(r"\[(\d{1,9})\]\.?", field)
    if match is None:
        raise SpecError(f"{shown(field)!r} is not an element of a list; expected a number, such as [0]")
    if not isinstance(node, yaml.SequenceNode) or int(match[1]) >= len(node.value):
        there = f"a list of {len(node.value)}" if isinstance(node, yaml.SequenceNode) else "not a list"
        raise SpecError(f"there is no element [{match[1]}]: it is {there}")
    items = list(node.value)
    items[int(match[1])] = _replaced(items[int(match[1])], field[match.end() :], value, mark)
    return yaml.SequenceNode(node.tag, items, node.start_mark, node.end_mark)
