"""Search spaces as files: what they mean, and every way of writing them wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paleo_opt import catalog
from paleo_opt.errors import SpecError
from paleo_opt.search.space import load_space
from paleo_opt.search.split_space import SplitSpace

GOOD = """\
name: mine
clusters: [p4d.24xlarge]
gpus: [1, 8, 16]
micro_batch: {from: 2, to: 8, step: 2}
accumulation: [1]
split: [data]
collective: [ring_all_reduce]
precision: training
"""


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", list(catalog.names("space")))
def test_every_shipped_space_loads(name):
    assert load_space(name).name == name


def test_lists_and_ranges(tmp_path):
    space = load_space(write(tmp_path, GOOD))
    assert space.micro_batch == (2, 4, 6, 8)
    assert space.gpus == (1, 8, 16)
    assert space.largest == 16
    assert space.tensor == ()


def test_overrides_replace_fields(tmp_path):
    space = load_space(write(tmp_path, GOOD), {"micro_batch": "[32]", "gpus": "[4]"})
    assert space.micro_batch == (32,)
    assert space.gpus == (4,)


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "expected"),
    [
        ("gpus: [1, 8, 16]", "gpus: [0]", 3, "gpus", "expected from 1"),
        ("gpus: [1, 8, 16]", "gpus: []", 3, "gpus", "empty list"),
        ("gpus: [1, 8, 16]", "gpus: [1, eight]", 3, "gpus", "expected a number"),
        ("gpus: [1, 8, 16]", "gpus: {nodes_per_octav: 8}", 3, "gpus.nodes_per_octav", "nodes_per_octave"),
        ("{from: 2, to: 8, step: 2}", "{from: 8, to: 2}", 4, "micro_batch", "runs from 8 to 2"),
        ("{from: 2, to: 8, step: 2}", "{from: 1, to: 2, step: 0}", 4, "micro_batch.step", "expected from 1"),
        ("{from: 2, to: 8, step: 2}", "-4", 4, "micro_batch", "expected a list"),
        ("[ring_all_reduce]", "[ring]", 7, "collective", "ring_all_reduce"),
        ("[ring_all_reduce]", "{ring: 1}", 7, "collective", "expected a list"),
        ("split: [data]", "split: [dta]", 6, "split", "data"),
        ("precision: training", "precision: fp23", 8, "precision", "fp32"),
        ("clusters: [p4d.24xlarge]", "clusters: [p4d.24xlarg]", 2, "clusters", "p4d.24xlarge"),
        ("accumulation: [1]", "acumulation: [1]", 5, "acumulation", "accumulation"),
        ("accumulation: [1]", "gpus: [2]", 5, "gpus", "twice"),
        ("accumulation: [1]", "pipeline: [0]", 5, "pipeline", "expected from 1"),
        ("accumulation: [1]", "expert: []", 5, "expert", "empty list"),
        ("accumulation: [1]", "sequence_parallel: [maybe]", 5, "sequence_parallel", "true"),
        ("accumulation: [1]", "sharding: [zero4]", 5, "sharding", "zero"),
        ("accumulation: [1]", "placement: [data-first]", 5, "placement", "data-pipeline-tensor"),
        ("accumulation: [1]", "batch_halvings: 99", 5, "batch_halvings", "expected from 0 to 30"),
        ("accumulation: [1]", "accumulation: [1", 6, "", "not valid YAML"),
    ],
)
def test_bad_space_names_line_and_field(tmp_path, old, new, line, field, expected):
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(SpecError) as caught:
        load_space(path)
    problem = caught.value.problems[0]
    assert problem.file == path
    assert problem.line == line
    assert problem.field == field
    assert expected in problem.message
    assert "\n" not in str(problem)


def test_splits_that_a_space_does_not_name_are_the_usual(tmp_path):
    space = load_space(write(tmp_path, GOOD + "pipeline: {from: 1, to: 3}\nsequence_parallel: [false]\n"))
    assert space.splits == replace(SplitSpace(), pipeline=(1, 2, 3), sequence_parallel=(False,))
    assert load_space(write(tmp_path, GOOD + "tensor: [4, 1]\n")).splits.tensor == (1, 4)
    assert load_space("default").splits == SplitSpace()


def test_a_misspelt_space_suggests_the_nearest():
    with pytest.raises(SpecError, match="did you mean 'default'"):
        load_space("defualt")
