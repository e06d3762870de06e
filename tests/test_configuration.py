"""What `configure` chooses, against trying everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hand_built import DEVICE, cluster, table
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.configuration import COMMON_COLLECTIVES, UNAIDED_COLLECTIVES, configure
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.strategy import Strategy

SMALL = replace(DEVICE, memory=6e9)


@given(gpus=st.sampled_from([1, 2, 3, 4, 8, 12]), memory=st.sampled_from([1e9, 2e9, 6e9, 40e9]), training=st.booleans())
def test_the_largest_power_of_two_that_fits(gpus: int, memory: float, training: bool) -> None:
    found, options = table("resnet50"), Options(training=training)
    where = cluster(device=replace(DEVICE, memory=memory))
    strategy = configure(found, where, gpus=gpus, options=options)
    job = found.network.job
    assert job is not None

    def allowed(micro_batch: int) -> bool:
        tried = replace(strategy, micro_batch=micro_batch)
        fits = bool(estimate(found, tried, options).fits.all())
        return fits and (not training or tried.global_batch <= job.max_global_batch)

    chosen = strategy.micro_batch
    assert chosen & (chosen - 1) == 0
    assert allowed(chosen) or chosen == 1
    assert not allowed(2 * chosen)


@given(st.integers(1, 5000))
def test_a_global_batch_is_kept_exactly(each: int) -> None:
    found, where = table("alexnet_v2"), cluster(device=SMALL)
    strategy = configure(found, where, gpus=4, global_batch=4 * each, precision="fp32")
    assert strategy.global_batch == 4 * each
    divisors = [value for value in range(1, each + 1) if each % value == 0]
    fitting = [m for m in divisors if estimate(found, replace(strategy, micro_batch=m, accumulation=1)).fits.all()]
    assert strategy.micro_batch == max(fitting)


@pytest.mark.parametrize("gpus", [1, 2, 4, 8, 64])
def test_the_fastest_of_the_common_collectives(gpus: int) -> None:
    found = table("vgg16")
    strategy = configure(found, cluster(), gpus=gpus, micro_batch=8)
    times = {
        name: float(estimate(found, replace(strategy, collective=name)).step_time_s[0]) for name in COMMON_COLLECTIVES
    }
    assert times[strategy.collective] == min(times.values())


def test_in_network_reduction_is_never_assumed() -> None:
    assert "in_network" not in UNAIDED_COLLECTIVES
    assert set(COMMON_COLLECTIVES) < set(UNAIDED_COLLECTIVES)


def test_what_is_given_is_kept() -> None:
    given_choices = {"gpus": 8, "micro_batch": 16, "collective": "in_network", "precision": "fp32"}
    strategy = configure(table("alexnet_v2"), cluster(), split="hybrid", tensor=4, **given_choices)  # type: ignore[arg-type]
    assert strategy == Strategy(cluster(), split="hybrid", tensor=4, **given_choices)  # type: ignore[arg-type]


@pytest.mark.parametrize(("choices", "split", "tensor", "data"), [
    ({}, "data", 1, 8),
    ({"split": "data", "tensor": 1}, "data", 1, 8),
    ({"split": "hybrid"}, "hybrid", 8, 8),
    ({"split": "model"}, "model", 8, 1),
    ({"split": "model", "tensor": 2}, "model", 2, 4),
    ({"tensor": 4}, "model", 4, 2),
    ({"tensor": 1}, "data", 1, 8),
])  # fmt: skip
def test_splits(choices: dict[str, object], split: str, tensor: int, data: int) -> None:
    strategy = configure(table("alexnet_v2"), cluster(), gpus=8, micro_batch=8, **choices)  # type: ignore[arg-type]
    assert (strategy.split, strategy.tensor, strategy.data) == (split, tensor, data)


@pytest.mark.parametrize(("choices", "message"), [
    ({"split": "data", "tensor": 2}, "expected the split hybrid or model"),
    ({"global_batch": 100, "micro_batch": 8}, "the nearest that are: 96 and 128"),
    ({"global_batch": 3}, "the nearest that are: 4"),
    ({"gpus": 3, "tensor": 2}, "tensor 2 does not divide 3 GPUs"),
    ({"gpus": 40}, "has 32 GPUs, not 40"),
    ({"precision": "fp8"}, "round has no peak in fp8"),
    ({"collective": "ring"}, "did you mean 'ring_all_reduce'?"),
])  # fmt: skip
def test_refusals(choices: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError) as raised:
        configure(table("alexnet_v2"), cluster(max_nodes=8), **choices)  # type: ignore[arg-type]
    assert message in str(raised.value)


def test_a_batch_of_many_divisors_is_quick_and_small() -> None:
    # 7,207,200 has 288 divisors, the largest far beyond any memory; none of them may size a table.
    strategy = configure(table("alexnet_v2"), cluster(), gpus=1, global_batch=7_207_200)
    assert strategy.global_batch == 7_207_200
    assert np.log2(strategy.micro_batch) < 20
