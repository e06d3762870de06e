"""The sweep against brute force, one strategy at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.load import load_network
from paleo_opt.search import tiles as tiles_module
from paleo_opt.search.enumeration import make_blocks
from paleo_opt.search.space import load_space
from paleo_opt.search.sweep import Limits, sweep

TABLE = compile_network(load_network("alexnet_v2"))
CLUSTERS = [load_cluster("p3.16xlarge"), load_cluster("g4dn.12xlarge")]
SPACE = replace(
    load_space("default"),
    gpus=(1, 4, 8, 16),
    micro_batch=(3, 64, 4096),
    accumulation=(1, 2),
    split=("data", "hybrid", "model"),
    tensor=(2, 4),
)
OPTIONS = Options()


def brute_force(blocks):
    """Every strategy by itself: (cluster, precision, split, tensor, gpus) -> list of (strategy, estimates)."""
    found = {}
    for block in blocks:
        for rows, _, micros, accumulations in block.plans():
            for row, micro, accumulation in zip(rows, micros, accumulations, strict=True):
                for collective in block.collectives:
                    strategy = Strategy(
                        cluster=block.cluster,
                        gpus=int(block.gpus[row]),
                        micro_batch=int(micro),
                        accumulation=int(accumulation),
                        split=block.split,
                        tensor=block.tensor,
                        collective=collective,
                        precision=block.precision,
                    )
                    key = (block.cluster.name, block.split, block.tensor, strategy.gpus)
                    found.setdefault(key, []).append((strategy, estimate(TABLE, strategy, OPTIONS)))
    return found


@pytest.mark.parametrize("tile", [7, 65_536])
def test_sweep_equals_brute_force(monkeypatch, tile):
    monkeypatch.setattr(tiles_module, "TILE", tile)  # tiles that cut rows in two must not matter
    blocks = make_blocks(SPACE, TABLE, CLUSTERS, 16, 100_000)
    limits = Limits(cost_usd=60.0, time_s=3.0 * 86_400)
    rows = sweep(TABLE, blocks, limits, OPTIONS)
    everything = brute_force(blocks)
    assert len(everything) == rows.gpus.size
    for index in range(rows.gpus.size):
        block = blocks[int(rows.block[index])]
        of_row = everything[block.cluster.name, block.split, block.tensor, int(rows.gpus[index])]
        fitting = [(s, e) for s, e in of_row if bool(e.fits[0])]
        feasible = [e for _, e in fitting if e.cost_usd[0] <= 60.0 and e.time_to_target_s[0] <= 3.0 * 86_400]
        assert rows.strategies[index] == len(of_row)
        assert rows.fitting[index] == len(fitting)
        assert rows.feasible[index] == len(feasible)
        assert rows.memory_bytes[index] == min(e.memory_bytes[0] for _, e in of_row)
        if fitting:
            best = min(float(e.time_to_target_s[0]) for _, e in fitting)
            # Sums over layers are rounded in another order for one batch than for many.
            assert rows.time_s[index] == pytest.approx(best, rel=1e-12)
            chosen = estimate(TABLE, rows.strategy(blocks, index), OPTIONS)
            assert float(chosen.time_to_target_s[0]) == pytest.approx(best, rel=1e-12)
            assert rows.cost_usd[index] == pytest.approx(float(chosen.cost_usd[0]), rel=1e-12)
            assert rows.energy_kwh[index] == pytest.approx(float(chosen.energy_kwh[0]), rel=1e-12)
        else:
            assert np.isinf(rows.time_s[index])


@settings(max_examples=25)
@given(money=st.floats(1.0, 500.0), more=st.floats(1.0, 3.0))
def test_more_money_never_makes_less_feasible(money, more):
    blocks = make_blocks(SPACE, TABLE, CLUSTERS, 16, 100_000)
    tight = sweep(TABLE, blocks, Limits(cost_usd=money), OPTIONS)
    loose = sweep(TABLE, blocks, Limits(cost_usd=money * more), OPTIONS)
    assert (loose.feasible >= tight.feasible).all()
    assert (loose.fitting == tight.fitting).all()
    assert (loose.time_s == tight.time_s).all()


def test_a_cluster_without_a_price_keeps_to_no_money_limit():
    cluster = replace(CLUSTERS[0], price=None)
    blocks = make_blocks(SPACE, TABLE, [cluster], 16, 100_000)
    assert sweep(TABLE, blocks, Limits(cost_usd=1e9), OPTIONS).feasible.sum() == 0
    assert sweep(TABLE, blocks, Limits(), OPTIONS).feasible.sum() > 0


def test_what_does_not_fit_is_never_feasible():
    device = replace(CLUSTERS[0].device, memory=1e6)
    cluster = replace(CLUSTERS[0], device=device)
    blocks = make_blocks(SPACE, TABLE, [cluster], 16, 100_000)
    rows = sweep(TABLE, blocks, Limits(), OPTIONS)
    assert rows.strategies.sum() > 0
    assert rows.fitting.sum() == rows.feasible.sum() == 0
    assert np.isinf(rows.time_s).all()
