"""``request.yaml``: the question that an answer's folder holds, and how it is asked again.

The question is kept as the options that were given, under their names. A user's own files that it names are copied
beside it (`copies`), so that the folder can be moved; what ships with the program is named, and a digest says whether
the program that asks again ships the same.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from paleo_opt import __version__, catalog
from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.report.out.copies import OWN, Copies, is_path
from paleo_opt.spec_file import Fields, as_text, read_spec

FILE = "request.yaml"
COMMANDS = ("recommend", "pareto", "estimate", "fleet", "split")
#: Options whose values name a spec, with its kind.
SPECS = {"on": "cluster", "device": "device", "space": "space"}
#: Fields that ``--set`` may give the name of a spec, by how they end.
_SETTINGS = {"device": "device", "link": "link"}

Options = Mapping[str, Sequence[str]]


@cache
def shipped_digest() -> str:
    """A digest of every spec file that ships with the program."""
    root, found = catalog.shipped_folder(), hashlib.sha256()
    for folder in sorted(set(catalog.FOLDERS.values())):
        for path in sorted((root / folder).rglob("*.yaml")):
            found.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def request_files(command: str, network: str, options: Options) -> dict[str, bytes]:
    """The files that hold a question: ``request.yaml``, and copies of the user's own files that it names.

    Args:
        command: One of `COMMANDS`.
        network: A name or a path, as it was given.
        options: Name without dashes to the values given, in order; no values for a flag.

    Raises:
        SpecError: a file cannot be read.
    """
    copies = Copies()
    kept: dict[str, str | bool | list[str]] = {}
    for name, values in options.items():
        if name in SPECS:
            values = [_link_or(copies, SPECS[name], value) for value in values]
        elif name == "set":
            values = [_carried_setting(copies, value) for value in values]
        kept[name] = list(values) if len(values) > 1 else values[0] if values else True
    question = {
        "paleo-opt": __version__,
        "specs": shipped_digest(),
        "command": command,
        "network": copies.of_name("net", network),
        "options": kept,
    }
    if os.environ.get("PALEO_OPT_PATH"):
        copies.of_own_hardware()
    head = "# The question that this folder answers. To ask it again: paleo-opt rerun request.yaml\n"
    text = yaml.safe_dump(question, sort_keys=False, allow_unicode=True, width=10_000)
    return {FILE: (head + text).encode(), **copies.files}


def _link_or(copies: Copies, kind: str, value: str) -> str:
    """`Copies.of_name`, where a cluster may also be a link (given with ``--device``)."""
    name, counted, nodes = value.rpartition(":")
    if counted and nodes.replace(",", "").isdigit():  # so many nodes of a fleet
        return f"{_link_or(copies, kind, name)}:{nodes}"
    if kind == "cluster" and not is_path(value) and value not in catalog.names("cluster"):
        kind = "link"
    return copies.of_name(kind, value)


def _carried_setting(copies: Copies, setting: str) -> str:
    name, _, value = setting.partition("=")
    kind = _SETTINGS.get(name.strip().rpartition(".")[2])
    return setting if kind is None or not is_path(value.strip()) else f"{name}={copies.of_name(kind, value.strip())}"


@dataclass(frozen=True)
class Request:
    """A question that was kept.

    Attributes:
        command: One of `COMMANDS`.
        words: The command line that asks it again, from the folder it is called in.
        own: The folder of the user's own spec files that it needs; empty for none.
        notes: Why the answer may differ.
        fields: The file's options, to say where one stands.
    """

    command: str
    words: tuple[str, ...]
    own: str
    notes: tuple[str, ...]
    fields: Fields

    def refuse(self, message: str) -> SpecError:
        """What to raise where the command line is refused: ``message`` is the parser's."""
        found = re.match(r"argument --([\w-]+): |--([\w-]+) ", message)
        name = (found[1] or found[2]) if found else ""
        if found and name in self.fields:
            message = message[found.end() :]
            where = f"options.{name}"
        else:
            where = "options"
        return SpecError(Problem(message, self.fields.file, self.fields.line_of(name), where))


def read_request(given: str, known: Mapping[str, Mapping[str, bool]]) -> Request:
    """Read a question from its file, or from the folder that holds it.

    Args:
        given: The file, or its folder.
        known: The options of each command, without dashes, and whether each takes a value.

    Raises:
        SpecError: all that is wrong in it.
    """
    path = Path(given)
    try:
        path = path / FILE if path.is_dir() else path
        is_file = path.is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise SpecError(f"{given[:200]}: no such answer; expected a folder written by --out, or its {FILE}")
    fields = read_spec(path)
    version = fields.text("paleo-opt")
    digest = fields.text("specs", shipped_digest())
    command: str = fields.text("command", choices=COMMANDS)
    network = fields.text("network")
    options = fields.fields("options", None)
    fields.finish()
    words: list[str] = []
    if options is not None and command in known:
        for name in options.names():
            words += _option(options, name, known[command], path.parent)
    fields.raise_problems()
    notes = []
    if version != __version__:
        notes.append(f"{path}: asked of paleo-opt {version}, answered by {__version__}: figures may differ")
    elif digest != shipped_digest():
        notes.append(f"{path}: the shipped networks and hardware have changed since: figures may differ")
    own = path.parent / OWN
    return Request(
        command=command,
        words=(command, *words, "--", _beside(path.parent, network)),
        own=str(own) if own.is_dir() else "",
        notes=tuple(notes),
        fields=options or fields,
    )


def _option(options: Fields, name: str, known: Mapping[str, bool], folder: Path) -> list[str]:
    """One option as words of a command line; none where it is wrong."""
    if name not in known:
        options.problem(f"is no option of the command{nearest(name[:100], known)}", name)
        return []
    if not known[name]:
        return [f"--{name}"] if options.flag(name) else []
    if isinstance(options.node(name), yaml.SequenceNode):
        values = options.sequence(name, as_text())
    else:
        values = (options.text(name),)
    found = []
    for value in values:
        if name in SPECS:
            value = _beside(folder, value)
        elif name == "set":
            field, equals, rest = value.partition("=")
            value = f"{field}{equals}{_beside(folder, rest)}"
        found.append(f"--{name}={value}")
    return found


def _beside(folder: Path, name: str) -> str:
    """A path of the request as seen from the current folder; anything else as it is."""
    return str(folder / name) if is_path(name) and (folder / name).is_file() else name
