"""What one convolution costs by each algorithm, by hand and against the papers' ratios."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_built import cluster, convolution, network, table
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.breakdown import layer_breakdown
from paleo_opt.estimator.convolution import (
    ALGORITHMS,
    Convolution,
    Cost,
    Term,
    data_gradient,
    fft,
    fft_tiled,
    filter_gradient,
    forward,
    gemm,
    winograd,
)
from paleo_opt.estimator.cost_table import CONV_ALGORITHMS, CostTable, compile_network
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.layer_cost import layer_passes
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.network.graph import Layer

Step = Callable[[Layer, int], Convolution]
PASSES: tuple[Step, ...] = (forward, data_gradient, filter_gradient)


def total(terms: tuple[Term, ...], batch: float = 1) -> float:
    """FLOPs or elements of a batch."""
    return sum(term.repeats * (term.fixed + term.per_sample * batch) for term in terms)


def flops(cost: Cost | None, batch: float = 1) -> float:
    assert cost is not None
    return total(cost.compute, batch)


def passes(layer: Layer) -> list[Convolution]:
    return [step(layer, layer.outputs) for step in PASSES]


# -- GEMM -------------------------------------------------------------------------------------------------------------


def test_gemm_by_hand() -> None:
    """8 x 8 x 16 to 32 channels by 3 x 3, SAME: every term of table 1 of the PALEO paper."""
    cost = gemm(forward(convolution(), 32))
    assert flops(cost, batch=10) == 2 * 3 * 3 * 16 * 32 * 8 * 8 * 10
    assert total(cost.memory, batch=10) == 10 * 10 * 10 * 16 + 3 * 3 * 16 * 32 + 10 * 8 * 8 * 32
    assert cost.workspace == Term(0.0, 0.0)


def test_gradients_of_a_stride_one_convolution_by_hand() -> None:
    layer = convolution()
    back, weights = gemm(data_gradient(layer, 32)), gemm(filter_gradient(layer, 32))
    # The flipped filter goes over the padded output gradient: channels in and out trade places.
    assert flops(back) == 2 * 3 * 3 * 32 * 16 * 8 * 8
    assert total(back.memory, batch=10) == 10 * 10 * 10 * 32 + 3 * 3 * 32 * 16 + 10 * 8 * 8 * 16
    # The images are the 16 input channels, the filters the 32 gradients, the result 3 x 3; the batch is summed over.
    assert flops(weights) == 2 * 8 * 8 * 16 * 32 * 3 * 3
    assert total(weights.memory, batch=10) == 10 * (10 * 10 * 16 + 8 * 8 * 32) + 3 * 3 * 16 * 32


def test_gradients_of_a_strided_convolution_by_hand() -> None:
    """AlexNet's first layer, 11 x 11 with stride 4 on 224 x 224, VALID: 54 x 54 outputs, spread out to 213."""
    layer = convolution(shape=(224, 224, 3), outputs=64, kernel=11, stride=4, same=False)
    back = data_gradient(layer, 64)
    # Before it are 10 rows of zeros, behind it 11: the gradient grows by one to 214.
    assert (back.height, back.width, back.padding) == (214, 214, (10, 10))
    assert back.holes == pytest.approx(1 - 54**2 / 214**2)
    dense = 2 * 11 * 11 * 64 * 3 * 224 * 224
    assert flops(gemm(back)) == pytest.approx(dense + 2 * 54 * 54 * 64)
    # The filter gradient skips the zeros, so it costs what the forward pass does, and it has no padding.
    weights = filter_gradient(layer, 64)
    assert weights.padding == (0, 0)
    assert flops(gemm(weights)) == pytest.approx(2 * 11 * 11 * 3 * 64 * 54 * 54)


SIZES = st.tuples(st.integers(3, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(1, 3))


@given(size=SIZES, same=st.booleans())
def test_the_filter_gradient_costs_as_much_as_the_forward_pass(
    size: tuple[int, int, int, int, int], same: bool
) -> None:
    """Each product of an input with an output gradient is one of the forward pass."""
    side, channels, outputs, kernel, stride = size
    kernel = min(kernel, side)
    layer = convolution(shape=(side, side, channels), outputs=outputs, kernel=kernel, stride=stride, same=same)
    assert flops(gemm(filter_gradient(layer, outputs))) == pytest.approx(flops(gemm(forward(layer, outputs))))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("step", PASSES, ids=lambda step: step.__name__)
def test_groups_divide_flops_and_weights(step: Step, stride: int) -> None:
    whole, grouped = (gemm(step(convolution(stride=stride, groups=groups), 32)) for groups in (1, 4))
    images_only = 2 * 4 * 4 * 32 if step is data_gradient and stride == 2 else 0  # the elements that are not holes
    assert flops(grouped) - images_only == pytest.approx((flops(whole) - images_only) / 4)
    assert grouped.memory[0] == whole.memory[0]  # the images are the same
    if step is filter_gradient:
        assert total(grouped.memory[2:]) == total(whole.memory[2:]) / 4
    else:
        assert total(grouped.memory[1:2]) == total(whole.memory[1:2]) / 4
    assert convolution(groups=4).parameters == convolution().parameters / 4


def test_a_depthwise_convolution_by_hand() -> None:
    """As many groups as channels: each of 16 channels has its own 3 x 3 filter."""
    layer = convolution(outputs=16, groups=16)
    for step in passes(layer):
        assert flops(gemm(step)) == 2 * 3 * 3 * 16 * 8 * 8


# -- FFT --------------------------------------------------------------------------------------------------------------


def test_fft_by_hand() -> None:
    """30 x 30 padded images: transforms of 32 x 32 points, 2 * 32 rows of 5 * 32 * log2(32) FLOPs."""
    layer = convolution(shape=(28, 28, 16))
    transform = 2 * 32 * 5 * 32 * 5
    cost = fft(forward(layer, 32))
    real = 16 * 10 * transform / 2 + 16 * 32 * transform / 2
    products, inverse = 4 * 16 * 32 * 10 * 30 * 30, 32 * 10 * transform
    assert flops(cost, batch=10) == real + products + inverse
    images, filters, results = 16 * 10 * 900, 16 * 32 * 900, 32 * 10 * 900
    moved = images * (1 + 2 + 2) + filters * (1 + 2 + 2) + results * (2 + 2) + 32 * 10 * 28 * 28
    assert total(cost.memory, batch=10) == moved
    # Complex images, filters and results at once.
    assert total((cost.workspace,), batch=10) == 2 * (images + filters + results)


def test_tiled_fft_by_hand() -> None:
    """A 70 x 70 image is 9 tiles of 32 x 32; the filters are transformed once."""
    layer = convolution(shape=(70, 70, 16))
    transform = 2 * 32 * 5 * 32 * 5
    cost = fft_tiled(forward(layer, 32))
    real = 9 * 16 * transform / 2 + 16 * 32 * transform / 2
    assert flops(cost) == real + 9 * 4 * 16 * 32 * 1024 + 9 * 32 * transform
    assert total((cost.workspace,)) == 2 * 1024 * (16 + 16 * 32 + 32)


def test_fft_costs_no_more_for_a_larger_window() -> None:
    """Its products do not depend on the window, which is what it is for (Mathieu et al., arXiv:1312.5851)."""
    small, large = (convolution(shape=(54, 54, 64), outputs=64, kernel=kernel) for kernel in (3, 11))
    assert flops(fft(forward(large, 64)), 64) < 1.5 * flops(fft(forward(small, 64)), 64)
    assert flops(gemm(forward(large, 64)), 64) == pytest.approx(121 / 9 * flops(gemm(forward(small, 64)), 64))
    assert flops(fft(forward(large, 64)), 64) < flops(gemm(forward(large, 64)), 64) / 10


# -- Winograd ---------------------------------------------------------------------------------------------------------


def test_winograd_multiplies_2_25_times_less() -> None:
    """F(2x2, 3x3) takes 16 multiplications for 4 outputs of 9 each (Lavin and Gray, arXiv:1509.09308, section 4.1)."""
    layer = convolution(shape=(56, 56, 64), outputs=64)
    for step in passes(layer):
        cost = winograd(step)
        assert cost is not None
        direct, products = flops(gemm(step), 8), total(cost.compute[2:3], 8)
        assert direct / products == pytest.approx(36 / 16)


def test_winograd_by_hand() -> None:
    """8 x 8 outputs are 16 tiles; the transforms take 32, 28 and 24 FLOPs a tile."""
    cost = winograd(forward(convolution(), 32))
    assert cost is not None
    assert flops(cost, 10) == 32 * 16 * 10 * 16 + 28 * 16 * 32 + 2 * 16 * 16 * 32 * 10 * 16 + 24 * 32 * 10 * 16
    assert total((cost.workspace,), 10) == 16 * (16 * 10 * 16 + 16 * 32 + 32 * 10 * 16)
    # An odd size needs a tile for its last row.
    odd = winograd(forward(convolution(shape=(7, 7, 16)), 32))
    assert flops(odd, 10) == flops(cost, 10)


def test_winograd_gains_as_the_paper_says() -> None:
    """With many channels the transforms fade, and the whole gain nears 2.25."""
    wide = forward(convolution(shape=(56, 56, 512), outputs=512), 512)
    assert 2.1 < flops(gemm(wide), 64) / flops(winograd(wide), 64) < 2.25


@pytest.mark.parametrize(
    "changes", [{"kernel": 5}, {"kernel": 1}, {"stride": 2}, {"kernel": 2}], ids=lambda changes: str(changes)
)
def test_winograd_needs_three_by_three_at_stride_one(changes: dict[str, Any]) -> None:
    layer = convolution(**changes)
    assert [winograd(step) for step in passes(layer)] == [None, None, None]
    assert layer_passes(layer, 1, "winograd") == (None, None, None)


# -- choosing ---------------------------------------------------------------------------------------------------------


def chosen(compiled: CostTable, batch: int = 64, **options: Any) -> dict[str, tuple[str, ...]]:
    found = layer_breakdown(compiled, Strategy(cluster(), 1, batch), Options(model="paleo", ppp_comp=0.62, **options))
    return {layer.name: layer.algorithms for layer in found if layer.algorithms}


@pytest.mark.parametrize("algorithm", CONV_ALGORITHMS)
def test_no_workspace_forces_gemm(algorithm: str) -> None:
    compiled = table("vgg16", algorithm)
    found = chosen(compiled, workspace_limit=0.0)
    found.pop("conv1-1")  # whose data gradient does not exist, and needs no workspace
    assert set(found.values()) == {("gemm",) * 3}
    strategy, options = Strategy(cluster(), 8, 64), Options(model="paleo", workspace_limit=0.0)
    limited, plain = estimate(compiled, strategy, options), estimate(table("vgg16"), strategy, options)
    assert limited.step_time_s == plain.step_time_s
    assert limited.memory.workspace == 0.0


@pytest.mark.parametrize("algorithm", ["fft", "fft_tiled", "winograd"])
def test_a_named_algorithm_runs_wherever_it_can(algorithm: str) -> None:
    found = chosen(table("vgg16", algorithm), workspace_limit=math.inf)
    assert {name for name, passes in found.items() if passes[0] == algorithm} == {
        name for name in found if algorithm != "winograd" or name.startswith("conv")
    }


def test_the_limit_is_on_the_workspace_of_one_layer() -> None:
    """FFT needs 2 * 900 * (16 n + 512 + 32 n) values here; one byte less and GEMM runs."""
    layer = convolution(shape=(28, 28, 16))
    compiled = compile_network(network(layer), "fft")
    bytes_needed = 4 * 2 * 900 * (16 * 10 + 512 + 32 * 10)
    assert chosen(compiled, batch=10, workspace_limit=bytes_needed)["conv"][0] == "fft"
    assert chosen(compiled, batch=10, workspace_limit=bytes_needed - 1)["conv"][0] == "gemm"
    assert chosen(compiled, batch=11, workspace_limit=bytes_needed)["conv"][0] == "gemm"


def test_the_largest_workspace_counts_as_memory() -> None:
    compiled = compile_network(network(convolution(shape=(28, 28, 16))), "fft")
    needed = [total((cost.workspace,), 10) for cost in layer_passes(compiled.network.layer("conv"), 1, "fft") if cost]
    found = estimate(compiled, Strategy(cluster(), 1, 10), Options(model="paleo", workspace_limit=math.inf))
    assert float(found.memory.workspace[0]) == 4 * max(needed)


@pytest.mark.parametrize("name", ["alexnet_v2", "inception_v3", "dcgan_generator"])
@pytest.mark.parametrize("pipelined", [False, True])
def test_auto_is_never_slower_than_any_other(name: str, pipelined: bool) -> None:
    strategies = replace(Strategy(cluster(), 1, 1).as_strategies(), micro_batch=np.arange(1, 200, 13))
    times = {
        algorithm: estimate(table(name, algorithm), strategies, Options(model="paleo", pipelined=pipelined)).step_time_s
        for algorithm in CONV_ALGORITHMS
    }
    for algorithm in ALGORITHMS:
        assert (times["auto"] <= times[algorithm] * (1 + 1e-12)).all(), algorithm


def test_auto_takes_several() -> None:
    assert {passes[0] for passes in chosen(table("inception_v3", "auto")).values()} >= {"gemm", "winograd"}


def test_an_unknown_algorithm_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'winograd'"):
        compile_network(network(convolution()), "winogard")


# -- deconvolution ----------------------------------------------------------------------------------------------------


def deconvolution() -> tuple[Layer, Layer]:
    """4 x 4 x 1024 to 8 x 8 x 512 by 5 x 5 with stride 2, and the convolution that it transposes."""
    transposed = convolution(shape=(8, 8, 512), outputs=1024, kernel=5, stride=2)
    assert transposed.output_shape == (4, 4, 1024)
    layer = replace(
        transposed,
        name="deconv",
        type="Deconvolution",
        input_shapes=((4, 4, 1024),),
        output_shape=(8, 8, 512),
        outputs=512,
    )
    return layer, transposed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_deconvolution_is_the_data_gradient_of_its_transposed_convolution(algorithm: str) -> None:
    layer, transposed = deconvolution()
    there, back, weights = layer_passes(transposed, 1, algorithm)
    assert layer_passes(layer, 1, algorithm) == (back, there, weights)
    assert layer.parameters == transposed.parameters


def test_a_deconvolution_runs_under_the_algorithm_named() -> None:
    layer, transposed = deconvolution()
    compiled = compile_network(network(layer), "fft")
    options = Options(model="paleo", ppp_comp=1.0, workspace_limit=math.inf)
    found = layer_breakdown(compiled, Strategy(cluster(), 1, 16), options)[-1]
    assert found.algorithms == ("fft", "fft", "fft")
    back = fft(data_gradient(transposed, 1024))
    assert found.forward_compute_s == pytest.approx(flops(back, 16) / 1e12)
    assert found.forward_memory_s == pytest.approx(4 * total(back.memory, 16) / 1e11)


def test_the_network_input_has_no_gradient() -> None:
    layer = convolution(parents=("data",))
    assert flops(layer_passes(layer, 1, "gemm")[1]) == 0.0
    assert flops(layer_passes(layer, 1, "gemm")[2]) > 0.0
