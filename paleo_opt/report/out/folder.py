"""Write a folder of files whole or not at all, and over nothing but an earlier answer.

A folder that holds an answer has a list of its files with their digests in ``.paleo-opt``, in the form that
``sha256sum --check`` reads. Only a folder whose files are all on that list, and unchanged, is written over.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from paleo_opt.errors import SpecError

MARKER = ".paleo-opt"
_OPTION = "--out"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def check_folder(given: str) -> None:
    """Refuse a folder that could not be written, before anything is computed for it.

    Raises:
        SpecError: it is a file, its parent is missing, or it holds something other than an unchanged answer.
    """
    path = Path(given)
    try:
        if not given or "\0" in given:
            raise SpecError(f"{_OPTION}: {given!r} is not a folder's name")
        if path.is_dir():
            _check_replaceable(path, given)
            writable = path
        elif path.exists() or path.is_symlink():
            raise SpecError(f"{_OPTION}: {given} is not a folder")
        elif not path.absolute().parent.is_dir():
            raise SpecError(f"{_OPTION}: there is no folder {str(path.parent)!r} to make {path.name!r} in")
        else:
            writable = path.absolute().parent
        if not os.access(writable, os.W_OK | os.X_OK):
            raise SpecError(f"{_OPTION}: {given} cannot be written: permission denied")
    except OSError as error:
        raise SpecError(f"{_OPTION}: {given[:200]} cannot be written: {_reason(error)}") from None


def _check_replaceable(path: Path, given: str) -> None:
    marker = path / MARKER
    if not any(path.iterdir()):
        return
    if not marker.is_file():
        raise SpecError(f"{_OPTION}: {given} is not empty and not an answer of paleo-opt; expected a new folder")
    listed = {}
    for line in marker.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file == marker or (file.is_dir() and not file.is_symlink()):
            continue
        if name not in listed or file.is_symlink():
            raise SpecError(f"{_OPTION}: {given} holds {name}, which is not of the answer there; expected a new folder")
        if hashlib.sha256(file.read_bytes()).hexdigest() != listed[name]:
            raise SpecError(f"{_OPTION}: {given}/{name} was changed since it was written; expected a new folder")


def write_folder(given: str, files: Mapping[str, str | bytes]) -> None:
    """Write ``files`` (path in the folder to content) as the folder ``given``, in place of an answer that it holds.

    Nothing of it is seen before all of it is written.

    Raises:
        SpecError: as `check_folder`, or it cannot be written; the folder is then as it was.
    """
    check_folder(given)
    target = Path(given).absolute()
    contents = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    listed = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(contents.items()))
    contents[MARKER] = listed.encode()
    is_new = not target.is_dir()
    try:
        # Beside a new folder, to be renamed; inside one that is there, which may be a mount or someone's current one.
        draft = Path(tempfile.mkdtemp(prefix=f"{MARKER}.", dir=target.parent if is_new else target))
        try:
            new, old = draft / "new", draft / "old"
            for name, data in contents.items():
                file = new / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                if data.startswith(b"#!"):
                    file.chmod(file.stat().st_mode | 0o111)
            if is_new:
                new.rename(target)
            else:
                _exchange(new, target, old, draft)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise SpecError(f"{_OPTION}: {given} cannot be written: {_reason(error)}") from None


def _exchange(new: Path, target: Path, old: Path, draft: Path) -> None:
    """Move what is in ``target`` to ``old``, and what is in ``new`` to ``target``; back again where that fails."""
    old.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for source, end in ((target, old), (new, target)):
            for entry in sorted(source.iterdir()):
                if entry != draft:
                    entry.rename(end / entry.name)
                    moved.append((entry, end / entry.name))
    except BaseException:
        for start, end in reversed(moved):
            end.rename(start)
        raise
