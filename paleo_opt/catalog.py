"""Find a spec file by name or path, among the shipped ones and in the user's own folders.

Kinds and their folders: ``nets``, ``hardware/devices``, ``hardware/links``, ``hardware/clusters``,
``hardware/platforms``, ``search_spaces``.
A user's own folder has the same layout; name it in the environment variable ``PALEO_OPT_PATH`` (several are
separated as in ``PATH``). Sub-folders only group files: ``hardware/devices/paleo/K20X.yaml`` is the device ``K20X``.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from paleo_opt.errors import SpecError, nearest

FOLDERS = {
    "net": "nets",
    "device": "hardware/devices",
    "link": "hardware/links",
    "cluster": "hardware/clusters",
    "platform": "hardware/platforms",
    "space": "search_spaces",
}


def shipped_folder() -> Path:
    """Where the shipped spec files are: inside an installed wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent


def _roots() -> list[Path]:
    own = os.environ.get("PALEO_OPT_PATH", "")
    return [shipped_folder(), *(Path(folder) for folder in own.split(os.pathsep) if folder)]


@cache
def _listing(root: Path, kind: str) -> dict[str, Path]:
    folder = root / FOLDERS[kind]
    return {path.stem: path for path in sorted(folder.rglob("*.yaml"))} if folder.is_dir() else {}


def names(kind: str) -> dict[str, Path]:
    """Every name of a ``kind`` (a key of `FOLDERS`) with its file; a user's own hides a shipped one of its name."""
    found: dict[str, Path] = {}
    for root in _roots():
        found |= _listing(root, kind)
    return dict(sorted(found.items()))


def find(kind: str, name: str) -> Path:
    """The file of a shipped or user's spec called ``name``, or ``name`` itself where it is a path.

    Raises:
        SpecError: no such name (the nearest is suggested) or no such file.
    """
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        path = Path(name)
        try:
            found = path.is_file()
        except OSError:  # a name too long for the file system
            found = False
        if not found:
            raise SpecError(f"{name}: no such file")
        return path
    known = names(kind)
    if name not in known:
        hint = nearest(name[:100], known)
        end = " See" if hint.endswith("?") else "; see"
        raise SpecError(f"no {kind} is called {name[:100]!r}{hint}{end}: paleo-opt list {kind}s")
    return known[name]
