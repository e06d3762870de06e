"""Copies of a user's own spec files, which an answer needs to be computed again elsewhere.

What ships with the program is named; what does not is copied: files given by their path to ``inputs/given/``, the
user's own folders (``PALEO_OPT_PATH``) to ``inputs/own/``, laid out as they are. Devices and links that a cluster's
file names by a path are copied too, and the copy names the copies.
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath

import yaml

from paleo_opt import catalog
from paleo_opt.errors import SpecError

GIVEN, OWN = "inputs/given", "inputs/own"


def is_path(name: str) -> bool:
    """Whether ``name`` is a file's path rather than the name of a spec, by the rule of `catalog.find`."""
    return name.endswith((".yaml", ".yml")) or os.sep in name


class Copies:
    """The copies of one answer.

    Attributes:
        files: Path in the answer's folder to content.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._copied: dict[Path, str] = {}

    def of_name(self, kind: str, name: str) -> str:
        """What stands for the spec ``name`` of a ``kind`` in the answer's folder: the name, or its copy's path.

        Raises:
            SpecError: the file cannot be read.
        """
        if is_path(name):
            return self._given(kind, Path(name))
        path = catalog.names(kind).get(name)
        if path is not None and not _is_shipped(path):
            self._add(kind, path, f"{OWN}/{catalog.FOLDERS[kind]}/{path.name}")
        return name

    def of_own_hardware(self) -> None:
        """Copy the devices, links and clusters of the user's own folders: a search space may consider them all."""
        for kind in ("device", "link", "cluster"):
            for name in catalog.names(kind):
                self.of_name(kind, name)

    def _given(self, kind: str, path: Path) -> str:
        known = self._copied.get(path.resolve())
        if known is not None:
            return known
        target, number = f"{GIVEN}/{catalog.FOLDERS[kind]}/{path.name}", 2
        while target in self.files:
            target, number = f"{GIVEN}/{number}/{catalog.FOLDERS[kind]}/{path.name}", number + 1
        return self._add(kind, path, target)

    def _add(self, kind: str, path: Path, target: str) -> str:
        if self._copied.setdefault(path.resolve(), target) == target and target not in self.files:
            try:
                content = path.read_bytes()
            except OSError as error:
                raise SpecError(f"{path}: {(error.strerror or str(error)).lower()}") from None
            self.files[target] = content
            if kind == "cluster":
                self.files[target] = self._with_references(content, path, target)
        return target

    def _with_references(self, content: bytes, path: Path, target: str) -> bytes:
        """A cluster's file whose paths of devices and links lead to their copies."""
        text = content.decode("utf-8-sig")
        # PyYAML's own loader: its marks count characters.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        named = {node.start_mark.index: (kind, node) for kind, node in _references(root)}
        for start in sorted(named, reverse=True):
            kind, node = named[start]
            if not is_path(node.value):
                self.of_name(kind, node.value)
                continue
            beside = path.parent / node.value
            copy = self._given(kind, beside if beside.is_file() else Path(node.value))
            seen = os.path.relpath(f"/{copy}", f"/{PurePosixPath(target).parent}")
            text = text[:start] + json.dumps(f"./{seen}") + text[node.end_mark.index :]
        return text.encode() if named else content


def _is_shipped(path: Path) -> bool:
    return path.is_relative_to(catalog.shipped_folder())


def _references(root: yaml.Node | None) -> list[tuple[str, yaml.ScalarNode]]:
    """The scalars of a cluster's file that name a device or a link, with their kinds."""
    found = []
    for name, node in _items(root):
        if name == "device" and isinstance(node, yaml.ScalarNode):
            found.append(("device", node))
        if name == "levels" and isinstance(node, yaml.SequenceNode):
            levels = [item for level in node.value for item in _items(level)]
            found += [("link", item) for key, item in levels if key == "link" and isinstance(item, yaml.ScalarNode)]
    return found


def _items(node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return [(str(key.value), value) for key, value in pairs]
