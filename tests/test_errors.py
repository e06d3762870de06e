"""Messages a person can act on."""

from __future__ import annotations

import pytest

from paleo_opt import catalog
from paleo_opt.errors import Problem, SpecError, nearest


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        ("net", "vgg61", "vgg16"),
        ("net", "resnet5", "resnet50"),
        ("net", "InceptionV3", "inception_v3"),
        ("device", "titanx", "TITAN_X"),
        ("device", "h200", "h200-sxm-141gb"),
        ("cluster", "p4d.24xlarg", "p4d.24xlarge"),
        ("space", "defualt", "default"),
    ],
)
def test_the_nearest_name_is_suggested(kind, written, meant):
    assert nearest(written, catalog.names(kind)) == f"; did you mean {meant!r}?"


def test_a_longer_name_that_begins_so_is_nearer_than_a_short_neighbour():
    assert "a100-" in nearest("a100", catalog.names("device"))


def test_a_few_valid_names_are_listed_where_none_is_near():
    assert nearest("zzz", ["time", "cost"]) == "; valid: cost, time"
    assert nearest("zzz", [f"name{i}" for i in range(13)]) == ""


def test_a_problem_is_one_line_with_file_line_and_field():
    assert str(Problem("is missing", "net.yaml", 3, "layers.fc6")) == "net.yaml:3: layers.fc6: is missing"
    assert str(Problem("is missing")) == "is missing"


def test_an_error_carries_every_problem():
    error = SpecError([Problem("one"), Problem("two")])
    assert str(error) == "one\ntwo"
    assert len(error.problems) == 2
