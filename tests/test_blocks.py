"""Blocks hold every valid plan once and no invalid one; two independent ways of counting agree."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.load import load_network
from paleo_opt.search.enumeration import gpu_counts, make_blocks
from paleo_opt.search.space import load_space

SPACE = load_space("default")
TABLE = compile_network(load_network("vgg16"))
CLUSTER = load_cluster("p4d.24xlarge")

counts = st.lists(st.integers(1, 12), min_size=1, max_size=5, unique=True).map(sorted)


def plans_of(block):
    return {
        (int(block.gpus[row]), int(micro), int(accumulation))
        for rows, _, micros, accumulations in block.plans()
        for row, micro, accumulation in zip(rows, micros, accumulations, strict=True)
    }


@given(gpus=counts, micro=counts, accumulation=counts, limit=st.integers(1, 200))
def test_plans_are_all_products_within_the_batch_limit(gpus, micro, accumulation, limit):
    space = replace(
        SPACE, gpus=tuple(gpus), micro_batch=tuple(micro), accumulation=tuple(accumulation), split=("data",)
    )
    expected = {plan for plan in itertools.product(gpus, micro, accumulation) if plan[0] * plan[1] * plan[2] <= limit}
    blocks = make_blocks(space, TABLE, [CLUSTER], 12, limit)
    assert set().union(*(plans_of(block) for block in blocks)) == expected
    assert sum(block.size() for block in blocks) == len(expected) * len(space.collective)


@given(
    gpus=counts, micro=counts, batches=st.lists(st.integers(1, 200), min_size=1, max_size=4, unique=True).map(sorted)
)
def test_given_global_batches_are_divided_exactly(gpus, micro, batches):
    space = replace(SPACE, gpus=tuple(gpus), micro_batch=tuple(micro), global_batch=tuple(batches), split=("data",))
    expected = {
        (g, m, batch // (g * m)) for g, m, batch in itertools.product(gpus, micro, batches) if batch % (g * m) == 0
    }
    blocks = make_blocks(space, TABLE, [CLUSTER], 12, 10**6)
    assert set().union(*(plans_of(block) for block in blocks)) == expected
    assert sum(block.size() for block in blocks) == len(expected) * len(space.collective)


def test_model_split_counts_groups_as_workers():
    space = replace(SPACE, gpus=(8,), micro_batch=(4,), accumulation=(1,), split=("model",), tensor=(4,))
    (block,) = make_blocks(space, TABLE, [CLUSTER], 8, 10**6)
    assert plans_of(block) == {(8, 4, 1)}
    strategy = Strategy(CLUSTER, 8, 4, 1, split="model", tensor=4, precision="bf16")
    assert (strategy.data, strategy.global_batch) == (2, 8)  # two groups of four, four samples each


def test_gpu_counts_are_divisors_of_a_node_then_whole_nodes():
    counts = gpu_counts(SPACE, CLUSTER, 200)
    assert counts[:4] == [1, 2, 4, 8]
    assert counts[4:19] == [8 * nodes for nodes in range(2, 17)]
    assert counts[19:-1] == [144, 160, 176, 192]  # beyond 16 nodes every second one: eight in each doubling
    assert counts[-1] == 200  # and the whole budget


def test_gpu_counts_stop_at_the_budget_and_at_the_size_of_the_cluster():
    assert max(gpu_counts(SPACE, CLUSTER, 63)) == 56
    small = replace(CLUSTER, max_nodes=2)
    assert max(gpu_counts(SPACE, small, 1024)) == 16


@pytest.mark.parametrize("per_octave", [1, 2, 3, 8])
def test_every_doubling_has_as_many_node_counts(per_octave):
    counts = gpu_counts(replace(SPACE, nodes_per_octave=per_octave), CLUSTER, 8 * 4096)
    nodes = np.array([count // 8 for count in counts if count >= 8])
    for start in (2**k * per_octave for k in range(4)):
        assert ((nodes > start) & (nodes <= 2 * start)).sum() == per_octave


def test_a_layout_the_network_cannot_have_is_left_out():
    table = compile_network(load_network("resnet50"))
    blocks = make_blocks(replace(SPACE, split=("data", "hybrid")), table, [CLUSTER], 64, 8192)
    assert {block.split for block in blocks} == {"data"}
