"""The folder of an answer: whole or not at all, and over nothing but an unchanged earlier answer."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from paleo_opt.errors import SpecError
from paleo_opt.report.out.folder import MARKER, check_folder, write_folder

FIRST: dict[str, str | bytes] = {"README.txt": "one\n", "launch/run.sh": "#!/bin/sh\n", "inputs/nets/a.yaml": b"a: 1\n"}
SECOND: dict[str, str | bytes] = {"README.txt": "two\n", "table.csv": "x\n"}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def refusal(path: Path | str) -> str:
    """The one line with which a folder is refused, before anything is computed and when it is written."""
    with pytest.raises(SpecError) as error:
        check_folder(str(path))
    with pytest.raises(SpecError, match="--out"):
        write_folder(str(path), FIRST)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix("--out: ")


class TestWriting:
    @pytest.mark.parametrize("name", ["new", "new/", "ネット $(x)"])
    def test_a_new_folder(self, tmp_path: Path, name: str) -> None:
        write_folder(f"{tmp_path}/{name}", FIRST)
        found = tree(tmp_path / name)
        listed = found.pop(MARKER).decode()
        assert found == {key: text.encode() if isinstance(text, str) else text for key, text in FIRST.items()}
        assert [line.split("  ")[1] for line in listed.splitlines()] == sorted(FIRST)
        assert names(tmp_path) == [name.rstrip("/")]
        assert os.access(tmp_path / name / "launch/run.sh", os.X_OK)
        assert not os.access(tmp_path / name / "README.txt", os.X_OK)
        subprocess.run(["sha256sum", "--check", "--quiet", MARKER], cwd=tmp_path / name, check=True)

    def test_it_is_as_readable_as_other_folders(self, tmp_path: Path) -> None:
        write_folder(str(tmp_path / "new"), FIRST)
        (tmp_path / "other").mkdir()
        assert (tmp_path / "new").stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_an_empty_folder_and_then_a_previous_answer(self, tmp_path: Path) -> None:
        write_folder(str(tmp_path), FIRST)
        inode = tmp_path.stat().st_ino
        write_folder(str(tmp_path), SECOND)
        assert sorted(tree(tmp_path)) == [MARKER, "README.txt", "table.csv"]
        assert (tmp_path / "README.txt").read_text() == "two\n"
        # The folder itself stays: it may be a mount, or the current one.
        assert tmp_path.stat().st_ino == inode

    def test_the_current_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write_folder(".", FIRST)
        write_folder(".", SECOND)
        assert Path("README.txt").read_text() == "two\n"

    def test_through_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        write_folder(str(tmp_path / "link"), FIRST)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "README.txt").is_file()


class TestRefusals:
    def test_someone_elses_folder(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        assert refusal(tmp_path).endswith("is not empty and not an answer of paleo-opt; expected a new folder")
        (tmp_path / "thesis.tex").unlink()
        (tmp_path / "folder").mkdir()
        assert "is not empty" in refusal(tmp_path)

    @pytest.mark.parametrize("name", ["notes.txt", "launch/train.py", "launch/deep/train.py"])
    def test_an_answer_with_other_files_in_it(self, tmp_path: Path, name: str) -> None:
        write_folder(str(tmp_path), FIRST)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
        assert f"holds {name}, which is not of the answer there" in refusal(tmp_path)
        assert (tmp_path / name).read_text() == "mine"

    def test_an_answer_that_was_changed(self, tmp_path: Path) -> None:
        write_folder(str(tmp_path), FIRST)
        (tmp_path / "launch/run.sh").write_text("#!/bin/sh\nmine\n")
        assert "/launch/run.sh was changed since it was written" in refusal(tmp_path)
        assert (tmp_path / "README.txt").read_text() == "one\n"

    def test_a_link_in_an_answer(self, tmp_path: Path) -> None:
        write_folder(str(tmp_path / "out"), FIRST)
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "out/launch/data").symlink_to(tmp_path / "elsewhere")
        assert "holds launch/data" in refusal(tmp_path / "out")

    def test_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "nowhere").symlink_to("gone")
        assert refusal(tmp_path / "file").endswith("file is not a folder")
        assert refusal(tmp_path / "nowhere").endswith("nowhere is not a folder")
        assert refusal(tmp_path / "a/b").endswith("/a' to make 'b' in")
        assert "there is no folder" in refusal(tmp_path / "file/b")
        assert refusal("") == "'' is not a folder's name"
        assert refusal("a\0b") == "'a\\x00b' is not a folder's name"
        assert refusal("x" * 5000).endswith("cannot be written: file name too long")
        assert names(tmp_path) == ["file", "nowhere"]


class TestFailures:
    """Whatever fails on the way, the folder is as it was and nothing else is left."""

    @pytest.fixture(params=["new", "empty", "previous"])
    def folder(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        folder: Path = tmp_path / "out"
        if request.param == "empty":
            folder.mkdir()
        if request.param == "previous":
            write_folder(str(folder), FIRST)
        return folder

    @pytest.mark.parametrize("call", range(4))
    def test_a_full_disk(self, folder: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
        self._fail(folder, monkeypatch, "write_bytes", call, OSError(errno.ENOSPC, "No space left on device"))

    @pytest.mark.parametrize("call", range(5))
    def test_a_move_that_fails(self, folder: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
        self._fail(folder, monkeypatch, "rename", call, OSError(errno.EIO, "Input/output error"))

    @pytest.mark.parametrize("call", range(5))
    def test_an_interrupt(self, folder: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
        self._fail(folder, monkeypatch, "rename", call, KeyboardInterrupt())

    def _fail(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, method: str, call: int, error: BaseException
    ) -> None:
        before, entries, calls = tree(folder.parent), names(folder.parent), iter(range(1000))
        whole = getattr(Path, method)

        def failing(self: Path, *arguments: object) -> object:
            if next(calls) == call:
                raise error
            return whole(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Path, method, failing)
            try:
                write_folder(str(folder), FIRST | SECOND)
            except SpecError as refused:
                assert str(refused) == f"--out: {folder} cannot be written: {os.strerror(error.errno).lower()}"  # type: ignore[attr-defined]
            except KeyboardInterrupt:
                pass
            else:
                # It took fewer calls than that.
                assert next(calls) <= call
                return
        assert tree(folder.parent) == before
        assert names(folder.parent) == entries
