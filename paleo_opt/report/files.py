"""Write files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from paleo_opt.errors import SpecError


def check_folder(option: str, path: str) -> None:
    """Refuse a file that could not be written, before anything is computed for it.

    Raises:
        SpecError: its folder is missing, or it is a folder itself.
    """
    folder = Path(path).parent
    if not path or Path(path).is_dir():
        raise SpecError(f"{option}: {path or '(nothing)'} is not a file's name")
    if not folder.is_dir():
        raise SpecError(f"{option}: there is no folder {str(folder)!r} to write {Path(path).name} to")


def write_whole(option: str, path: str, content: str | bytes) -> None:
    """Write a file beside its place, then move it there: who reads it never sees half of it.

    Raises:
        SpecError: it cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    target = Path(path)
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            mask = os.umask(0)
            os.umask(mask)
            Path(draft).chmod(0o666 & ~mask)
            Path(draft).replace(target)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SpecError(f"{option}: {path} cannot be written: {(error.strerror or str(error)).lower()}") from None


def check_out(folder: str) -> None:
    """Refuse, before anything is computed for it, a folder that files cannot be written to.

    Raises:
        SpecError: it is a file, or its own folder is missing.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise SpecError(f"--out: {folder} is a file; expected a folder")
    if not path.exists() and not path.parent.is_dir():
        raise SpecError(f"--out: there is no folder {str(path.parent)!r} to make {path.name} in")


def write_files(files: Mapping[str, str], folder: str) -> None:
    """Write the files, each whole or not at all.

    Raises:
        SpecError: one cannot be written.
    """
    try:
        for name in files:
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"--out: {folder} cannot be written: {(error.strerror or str(error)).lower()}") from None
    for name, text in files.items():
        write_whole("--out", str(Path(folder) / name), text)
