"""Networks written in a test: their text, a file of it, and what loading says."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from paleo_opt.errors import Problem, SpecError
from paleo_opt.network.graph import Layer, Network
from paleo_opt.network.load import load_network


def network_file(folder: Path, layers: str, before: str = "input: [224, 224, 3]") -> Path:
    """A file ``net.yaml``: line 1 its name, then ``before``, then ``layers:`` and the layers, indented."""
    path = folder / "net.yaml"
    text = f"name: net\n{textwrap.dedent(before).strip()}\nlayers:\n"
    path.write_text(text + textwrap.indent(textwrap.dedent(layers).strip(), "  ") + "\n", encoding="utf-8")
    return path


def load(
    folder: Path, layers: str, before: str = "input: [224, 224, 3]", overrides: Mapping[str, str] | None = None
) -> Network:
    """The network of these ``layers``."""
    return load_network(str(network_file(folder, layers, before)), overrides or {})


def last(folder: Path, layers: str, before: str = "input: [224, 224, 3]") -> Layer:
    """The last of these ``layers``."""
    return load(folder, layers, before).layers[-1]


def problems(path: Path, overrides: Mapping[str, str] | None = None) -> tuple[Problem, ...]:
    """What loading ``path`` complains of; every message is one line."""
    with pytest.raises(SpecError) as caught:
        load_network(str(path), overrides or {})
    for problem in caught.value.problems:
        assert len(str(problem).splitlines()) == 1
        assert str(problem).isprintable()
    return caught.value.problems
