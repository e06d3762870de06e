"""Read a YAML spec file with the line of every value, and report all that is wrong in it at once.

`read_spec` turns a file into `Fields`; a loader takes values out of it by name and type. Each mistake is
noted with its line and field and reading goes on, so that one run names them all; `Fields.finish` refuses
what was never asked for (a misspelt field) and `raise_problems` raises them together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from paleo_opt import quantities
from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.yaml_nodes import MAX_BYTES, compose, override, place, shown

T = TypeVar("T")
_REQUIRED: Any = object()
_NULL = "tag:yaml.org,2002:null"
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _type_name(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if node.tag == _NULL:
        return "empty"
    return f"'{shown(node.value)}'"


class Fields:
    """One mapping of a spec file: values by name and type, every mistake noted in ``problems`` and read past.

    A getter whose field is wrong or missing notes the problem and returns its default (or a harmless
    stand-in), so that reading goes on to find the others. Call `finish` at the end of each mapping, and
    `raise_problems` at the end of the file.
    """

    def __init__(self, node: yaml.Node, file: str, path: str, problems: list[Problem], line: int | None = None) -> None:
        self.path, self.problems = path, problems
        self.file, self.line = place(node, file)
        if line is not None and self.line:
            # That of the mapping's own name: its node starts at its first field.
            self.line = line
        self._nodes: dict[str, yaml.Node] = {}
        self._overrides: dict[str, str] = {}
        self._lines: dict[str, int] = {}
        self._asked: set[str] = set()
        #: False where something else stood in its place; then nothing is reported as missing from it.
        self.is_mapping = isinstance(node, yaml.MappingNode)
        if not isinstance(node, yaml.MappingNode):
            self.problem(f"is {_type_name(node)}; expected a mapping of fields", None)
            return
        for key_node, value_node in node.value:
            source, line = place(key_node, file)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problem("has a field name that is not a word", None, line)
            elif (key := str(key_node.value)) in self._nodes:
                self.problem(f"is given twice (first on line {self._lines[key]})", key, line)
            else:
                self._nodes[key] = value_node
                self._lines[key] = line
                # The value too: an argument of a template may come from an override, its field's name from the file.
                source = source if source != file else place(value_node, file)[0]
                if source != self.file:
                    self._overrides[key] = source
                    self._lines[key] = 0

    # -- what is there ---------------------------------------------------------------------------------------

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    def names(self) -> list[str]:
        """The names of the fields that are there, in the file's order."""
        return list(self._nodes)

    def line_of(self, name: str) -> int:
        """The line on which field ``name`` stands, or the mapping's own where it is missing."""
        return self._lines.get(name, self.line)

    def file_of(self, name: str) -> str:
        """The file of field ``name``, or the override that set it."""
        return self._overrides.get(name, self.file)

    def is_empty(self, name: str) -> bool:
        """Whether field ``name`` is there without a value (``name:`` or ``name: null``)."""
        node = self._nodes.get(name)
        return isinstance(node, yaml.ScalarNode) and node.tag == _NULL

    def node(self, name: str) -> yaml.Node | None:
        """The raw YAML node of a field (for values that may take several forms), marked as asked for."""
        self._asked.add(name)
        return self._nodes.get(name)

    # -- problems --------------------------------------------------------------------------------------------

    def problem(self, message: str, name: str | None = None, line: int | None = None) -> None:
        """Note that field ``name`` (or this mapping) is wrong."""
        line = line or (self.line_of(name) if name else self.line)
        where = shown(self._join(name or ""), 300)
        self.problems.append(Problem(message, self.file_of(name or ""), line, where))

    def _join(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path and name else self.path or name

    def finish(self) -> None:
        """Note every field that no getter asked for, with the nearest valid name."""
        for name in self._nodes:
            if name not in self._asked:
                self.problem(f"is not a known field{nearest(name[:100], sorted(self._asked))}", name)

    def raise_problems(self) -> None:
        """Raise one `SpecError` with all that was noted so far, in the order of lines, if anything was."""
        if self.problems:
            raise SpecError(sorted(dict.fromkeys(self.problems), key=lambda problem: problem.line))

    # -- values ----------------------------------------------------------------------------------------------

    def _take(self, name: str, default: Any, stand_in: Any, convert: Callable[[yaml.Node], Any]) -> Any:
        node = self.node(name)
        if node is None or self.is_empty(name):
            if default is _REQUIRED:
                if self.is_mapping:
                    self.problem("is missing" if node is None else "is empty", name)
                return stand_in
            return default
        try:
            return convert(node)
        except SpecError as error:
            for problem in error.problems:
                self.problem(problem.message, name)
            return stand_in if default is _REQUIRED else default

    def value(self, name: str, convert: Callable[[yaml.Node], Any], default: Any = _REQUIRED) -> Any:
        """A value of several forms, as ``convert`` reads it from its node; ``convert`` raises `SpecError`."""
        return self._take(name, default, None, convert)

    def text(self, name: str, default: Any = _REQUIRED, choices: Iterable[str] | None = None) -> Any:
        """A word or sentence; where ``choices`` are given, one of them."""
        return self._take(name, default, "", lambda node: _text(node, choices))

    def flag(self, name: str, default: Any = _REQUIRED) -> Any:
        """true or false."""
        return self._take(name, default, False, _flag)

    def integer(self, name: str, default: Any = _REQUIRED, minimum: int = 0, maximum: int = 10**15) -> Any:
        """A whole number within the bounds."""
        return self._take(name, default, max(minimum, 1), lambda node: _integer(node, minimum, maximum))

    def number(self, name: str, default: Any = _REQUIRED, minimum: float = 0.0, maximum: float = 1e30) -> Any:
        """A number within the bounds."""
        return self._take(name, default, max(minimum, 1.0), lambda node: _number(node, minimum, maximum))

    def quantity(
        self, name: str, dimension: str, default: Any = _REQUIRED, minimum: float = 0.0, maximum: float = 1e30
    ) -> Any:
        """A number with a unit of ``dimension`` (a key of `quantities.UNITS`), in the program's unit.

        It must be above ``minimum``.
        """

        def convert(node: yaml.Node) -> float:
            if not isinstance(node, yaml.ScalarNode):
                raise SpecError(f"is {_type_name(node)}; expected {dimension} with a unit")
            value = quantities.parse(node.value, dimension)
            if not (minimum < value <= maximum):
                raise SpecError(
                    f"is {shown(node.value)}; expected above {minimum:g} and at most {maximum:g} (in base units)"
                )
            return value

        return self._take(name, default, max(minimum, 1.0), convert)

    def date(self, name: str, default: Any = _REQUIRED) -> Any:
        """A date written ``2026-01-21`` or a month or half written in words; kept as text, never empty."""
        return self._take(name, default, "", lambda node: _text(node, None))

    def sequence(self, name: str, convert: Callable[[yaml.Node], T], default: Any = _REQUIRED) -> Any:
        """A list, each element converted by ``convert`` (see `as_text`, `as_integer`); a tuple."""

        def whole(node: yaml.Node) -> tuple[T, ...]:
            if not isinstance(node, yaml.SequenceNode):
                raise SpecError(f"is {_type_name(node)}; expected a list")
            return tuple(convert(item) for item in node.value)

        return self._take(name, default, (), whole)

    def fields(self, name: str, default: Any = _REQUIRED) -> Any:
        """A nested mapping, as `Fields` that share this file's problems."""
        node = self.node(name)
        if node is None:
            if default is _REQUIRED:
                if self.is_mapping:
                    self.problem("is missing", name)
                return self.empty(name)
            return default
        return Fields(node, self.file, self._join(name), self.problems, self.line_of(name))

    def fields_list(self, name: str, default: Any = _REQUIRED) -> Any:
        """A list of mappings, each as `Fields`."""
        node = self.node(name)
        if node is None:
            if default is _REQUIRED:
                if self.is_mapping:
                    self.problem("is missing", name)
                return []
            return default
        if not isinstance(node, yaml.SequenceNode):
            self.problem(f"is {_type_name(node)}; expected a list", name)
            return []
        path = self._join(name)
        return [Fields(item, self.file, f"{path}[{i}]", self.problems) for i, item in enumerate(node.value)]

    def items(self) -> Iterator[tuple[str, Fields]]:
        """Every field of this mapping as a nested mapping, in the file's order."""
        for name in self._nodes:
            yield name, self.fields(name)

    def empty(self, name: str) -> Fields:
        """A mapping with nothing in it, standing in for a missing one; its own problems are not reported."""
        return Fields(
            yaml.MappingNode("tag:yaml.org,2002:map", [], yaml.Mark("", 0, 0, 0, None, 0)),
            self.file,
            name,
            [],
        )


def _text(node: yaml.Node, choices: Iterable[str] | None) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        raise SpecError(f"is {_type_name(node)}; expected a word")
    if choices is not None and node.value not in (valid := list(choices)):
        raise SpecError(f"is {_type_name(node)}{nearest(node.value[:100], valid)}")
    return str(node.value)


def _flag(node: yaml.Node) -> bool:
    if (
        not isinstance(node, yaml.ScalarNode)
        or node.tag != "tag:yaml.org,2002:bool"
        or node.value.lower() not in _FLAGS
    ):
        raise SpecError(f"is {_type_name(node)}; expected true or false")
    return _FLAGS[node.value.lower()]


def _number(node: yaml.Node, minimum: float, maximum: float) -> float:
    if not isinstance(node, yaml.ScalarNode):
        raise SpecError(f"is {_type_name(node)}; expected a number")
    try:
        # YAML 1.1 reads 1e6 as text; Python's float reads every form a person writes.
        value = float(node.value.replace("_", ""))
    except ValueError:
        raise SpecError(f"is {_type_name(node)}; expected a number") from None
    if not math.isfinite(value) or not minimum <= value <= maximum:
        raise SpecError(f"is {shown(node.value)}; expected from {minimum:g} to {maximum:g}")
    return value


def _integer(node: yaml.Node, minimum: int, maximum: int) -> int:
    value = _number(node, minimum, maximum)
    if value != int(value):
        raise SpecError(f"is {shown(node.value)}; expected a whole number")
    return int(value)


def as_text(choices: Iterable[str] | None = None) -> Callable[[yaml.Node], str]:
    """A converter for `Fields.sequence`: words, of ``choices`` where given."""
    return lambda node: _text(node, choices)


def as_integer(minimum: int = 0, maximum: int = 10**15) -> Callable[[yaml.Node], int]:
    """A converter for `Fields.sequence`: whole numbers within the bounds."""
    return lambda node: _integer(node, minimum, maximum)


def as_number(minimum: float = 0.0, maximum: float = 1e30) -> Callable[[yaml.Node], float]:
    """A converter for `Fields.sequence`: numbers within the bounds."""
    return lambda node: _number(node, minimum, maximum)


def read_spec(path: Path, overrides: Mapping[str, str] | None = None, file: str = "") -> Fields:
    """The top mapping of a YAML file, the fields named in ``overrides`` replaced (see `yaml_nodes.override`).

    ``file`` is how messages name it; by default its path.

    Raises:
        SpecError: not readable, not text, larger than `MAX_BYTES`, not YAML, nested too deeply, too many
            aliases or values (see `yaml_nodes.compose`), not a mapping, or a wrong override.
    """
    file = file or str(path)
    try:
        text = read_limited(path, file)
    except OSError as error:
        raise SpecError(Problem(f"cannot be read: {error.strerror}", file)) from None
    return parse_spec(text, file, overrides)


def read_limited(path: Path, file: str) -> str:
    """The text of a file, which messages call ``file``.

    Raises:
        SpecError: larger than `MAX_BYTES`, or not text.
        OSError: not readable.
    """
    if path.stat().st_size > MAX_BYTES:
        raise SpecError(Problem(f"larger than {MAX_BYTES:,} bytes", file))
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError(Problem("is not UTF-8 text", file)) from None


def parse_spec(text: str, file: str = "", overrides: Mapping[str, str] | None = None) -> Fields:
    """The top mapping of YAML ``text``; ``file`` is how messages name it. Raises as `read_spec`."""
    root = compose(text, file)
    fields = Fields(override(root, overrides) if overrides else root, file, "", [])
    fields.raise_problems()
    return fields
