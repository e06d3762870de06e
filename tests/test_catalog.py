"""Finding specs by name or path, shipped and the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paleo_opt import catalog
from paleo_opt.errors import SpecError


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's own specs, named in the environment."""
    folder = tmp_path / "own"
    (folder / "nets" / "group").mkdir(parents=True)
    (folder / "hardware" / "devices").mkdir(parents=True)
    monkeypatch.setenv("PALEO_OPT_PATH", str(folder))
    return folder


@pytest.mark.parametrize("kind", catalog.FOLDERS)
def test_shipped_names_are_their_files(kind: str) -> None:
    names = catalog.names(kind)
    assert names and list(names) == sorted(names)
    for name, path in names.items():
        assert path.is_file() and path.stem == name
        assert catalog.find(kind, name) == path


@pytest.mark.parametrize("kind", catalog.FOLDERS)
def test_no_name_is_shipped_twice(kind: str) -> None:
    """Sub-folders only group files, so two of a name would hide each other."""
    files = list((catalog.shipped_folder() / catalog.FOLDERS[kind]).rglob("*.yaml"))
    assert len({path.stem for path in files}) == len(files) == len(catalog.names(kind))


def test_sub_folders_only_group() -> None:
    assert catalog.find("device", "K20X").parent.name == "paleo"


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(SpecError, match=r"no net is called 'vgg61'; did you mean 'vgg16'\? See: paleo-opt list nets"):
        catalog.find("net", "vgg61")
    with pytest.raises(SpecError, match="no cluster is called 'qqqqqqqq'; see: paleo-opt list clusters"):
        catalog.find("cluster", "qqqqqqqq")


@pytest.mark.parametrize("name", ["", " ", "..", "net\nwork", "x" * 10_000, "\0", "vgg16 "])
def test_odd_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        catalog.find("net", name)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine")
    assert catalog.find("net", str(path)) == path
    monkeypatch.chdir(tmp_path)
    assert catalog.find("net", "mine.yaml") == Path("mine.yaml")
    assert catalog.find("net", f".{os.sep}mine.yaml") == Path("mine.yaml")
    with pytest.raises(SpecError, match=r"other\.yaml: no such file"):
        catalog.find("net", "other.yaml")
    with pytest.raises(SpecError, match="no such file"):
        catalog.find("net", str(tmp_path) + os.sep)


def test_own_specs_are_found_in_sub_folders_and_hide_shipped_ones(own: Path) -> None:
    mine, hiding = own / "nets" / "group" / "mine.yaml", own / "nets" / "vgg16.yaml"
    for path in (mine, hiding):
        path.write_text("name: x")
    assert catalog.find("net", "mine") == mine
    assert catalog.find("net", "vgg16") == hiding
    assert catalog.find("net", "alexnet_v2").is_relative_to(catalog.shipped_folder())
    assert "mine" in catalog.names("net")


def test_several_own_folders_the_last_wins(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    (other / "nets").mkdir(parents=True)
    for folder in (own, other):
        (folder / "nets" / "mine.yaml").write_text("name: mine")
    monkeypatch.setenv("PALEO_OPT_PATH", os.pathsep.join([str(own), "", str(other), str(tmp_path / "nowhere")]))
    assert catalog.find("net", "mine") == other / "nets" / "mine.yaml"
