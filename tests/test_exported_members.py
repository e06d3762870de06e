"""The public surface: what ``import paleo_opt`` offers, and that type checkers see the same."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import paleo_opt

PUBLIC = {
    "Calibration", "calibrate",
    "Cluster", "CostTable", "Device", "Estimates", "InfeasibleError", "Network", "Options", "PaleoOptError", "Problem",
    "Scaling", "SearchSpace", "SpecError", "Split", "Strategies", "Strategy", "compile_network", "configure",
    "estimate", "layer_breakdown", "load_cluster", "load_device", "load_link", "load_network", "load_platform",
    "load_space", "pareto", "plan", "recommend", "scaling", "sensitivity", "sweep", "tune",
    "Tornado", "Validation", "validate",
    "FleetAnswer", "recommend_fleet",
    "LayerSplits", "SplitSearch", "search_splits", "split_layers",
}  # fmt: skip


def test_the_surface_changes_only_on_purpose() -> None:
    assert set(paleo_opt.__all__) == PUBLIC
    assert set(dir(paleo_opt)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_name_is_there_and_documented(name: str) -> None:
    member = getattr(paleo_opt, name)
    assert member.__name__ == name
    assert member.__module__.startswith("paleo_opt.")
    assert member.__doc__


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(paleo_opt.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: f"paleo_opt.{module}" for name, module in paleo_opt._MODULES.items()}


def test_anything_else_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = paleo_opt.nothing


def test_the_version_is_that_of_the_project() -> None:
    project = Path(__file__).parents[1] / "pyproject.toml"
    assert tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"] == paleo_opt.__version__
