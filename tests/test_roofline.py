"""The default model: single layers by hand on a made-up platform, and what holds for every estimate."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_built import DEVICE, cluster, convolution, inner_product, network, number, pooling, table
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.attained import Attained, make_attained
from paleo_opt.estimator.breakdown import LayerEstimate, layer_breakdown
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.products import Units, product_times
from paleo_opt.estimator.roofline import UPDATE_BYTES, kernel_times, update_times
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.constant import Constant
from paleo_opt.hardware.device import Device
from paleo_opt.hardware.platform import ALGORITHMS, CONSTANTS, FUSIBLE, PASSES, Platform
from paleo_opt.network.graph import Layer

#: 1 TFLOP/s and 100 GB/s, all of it attained, on 10 multiprocessors of 1 GHz.
WHOLE = replace(
    DEVICE,
    multiprocessors=10,
    clock=1e9,
    attainable={"vector": Constant(1.0), "tensor": Constant(1.0), "memory": Constant(1.0)},
)
LAUNCH, OVERHEAD = 2e-6, 3e-4


def platform(**changes: Any) -> Platform:
    """Software that attains all that devices do, has matrix products alone and fuses nothing."""
    constants = {name: Constant(1.0) for name, meaning in CONSTANTS.items() if meaning.unit == "share"}
    whole: dict[str, Any] = {
        "name": "whole",
        "description": "",
        "source": "made up",
        "constants": {**constants, "launch": Constant(LAUNCH), "step_overhead": Constant(OVERHEAD)},
        "algorithms": dict.fromkeys(PASSES, ("gemm",)),
    }
    return Platform(**(whole | changes))


def attained(device: Device = WHOLE, precision: str = "fp32", **changes: Any) -> Attained:
    return make_attained([device], [precision], [platform(**changes)])


def layer_times(layer: Layer, batch: float, on: Attained | None = None, algorithm: str = "auto") -> list[float]:
    """Forward, data gradient and filter gradient of ``layer`` [s]."""
    kernels = compile_network(network(layer)).layout().replicated_kernels
    times = kernel_times(kernels, on or attained(), np.array([batch]), algorithm, np.inf)
    row = next(row for row, members in enumerate(kernels.members) if members == (2,))
    return [float(time) for time in times.time[:, row, 0]]


def product(m: float, n: float, k: float, flops: float = 1e12, tensor: bool = False) -> float:
    return float(product_times(m, n, k, 1.0, Units(flops, 10, tensor, 1e9)))


def roof(m: float, n: float, k: float, elements: float) -> float:
    """The longer of arithmetic and of traffic of 4 bytes a value at 100 GB/s, and the launch."""
    return max(product(m, n, k), 4 * elements / 1e11) + LAUNCH


# -- one layer by hand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 64, 1000])
def test_an_inner_product_is_three_products(batch: int) -> None:
    elements = batch * 300 + 300 * 200 + batch * 200
    assert layer_times(inner_product(300, 200), batch) == pytest.approx(
        [roof(batch, 200, 300, elements), roof(batch, 300, 200, elements), roof(300, 200, batch, elements)]
    )


@pytest.mark.parametrize("sizes", [(2, 7, 64, 256), (32, 28, 512, 512), (64, 56, 8, 8)])
def test_a_convolution_of_one_tap_is_three_products_of_its_pixels(sizes: tuple[int, int, int, int]) -> None:
    batch, size, channels, filters = sizes
    pixels = batch * size * size
    elements = pixels * (channels + filters) + channels * filters
    found = layer_times(convolution(shape=(size, size, channels), outputs=filters, kernel=1), batch)
    assert found == pytest.approx(
        [
            roof(pixels, filters, channels, elements),
            roof(pixels, channels, filters, elements),
            # Its parts are added up in memory: each element is cleared, then read and written twice.
            roof(channels, filters, pixels, elements) + 5 * channels * filters * 4 / 1e11 + LAUNCH,
        ]
    )


def test_memory_bound_layers_are_their_traffic() -> None:
    """Pooling reads 8 x 8 x 16 and writes a quarter; to find the maximum its gradient meets both sides twice."""
    moved = 10 * (1024 + 256) * 4 / 1e11
    assert layer_times(pooling(), 10) == pytest.approx([moved + LAUNCH, 2 * moved + LAUNCH, 0.0])
    dropout = Layer("drop", "Dropout", ("before",), ((1024,),), (1024,))
    assert layer_times(dropout, 10)[0] == pytest.approx(10 * 2.25 * 1024 * 4 / 1e11 + LAUNCH)  # and a byte of mask


def test_what_is_fused_moves_nothing_and_is_not_launched() -> None:
    plain = inner_product(300, 200)
    rest = replace(plain, activation="relu", bias=True)
    size = 64 * 200 * 4 / 1e11
    alone = layer_times(plain, 64)
    # Bias and ReLU each read and write the output; their gradients read both sides and write, and read.
    assert layer_times(rest, 64) == pytest.approx(
        [alone[0] + 4 * size + 2 * LAUNCH, alone[1] + 3 * size + LAUNCH, alone[2] + size + LAUNCH]
    )
    fused = attained(fused=frozenset({"bias", "activation"}))
    assert layer_times(rest, 64, fused) == pytest.approx(alone)
    half = attained(fused=frozenset({"activation"}))
    assert layer_times(rest, 64, half)[0] == pytest.approx(alone[0] + 2 * size + LAUNCH)


@pytest.mark.parametrize("share", ["convolutions", "filter_gradients", "memory", "products"])
def test_each_share_holds_for_its_kernels(share: str) -> None:
    """A convolution bound by arithmetic is slower by 1 / share in the passes that the constant is of."""
    layer = convolution(shape=(28, 28, 512), outputs=512, kernel=1)
    whole = layer_times(layer, 32)
    constants = {**platform().constants, share: Constant(0.5)}
    found = layer_times(layer, 32, attained(constants=constants))
    slower = {"convolutions": [2, 2, 1], "filter_gradients": [1, 1, 2]}.get(share, [1, 1, 1])
    assert [time - LAUNCH for time in found] == pytest.approx(
        [factor * (time - LAUNCH) for factor, time in zip(slower, whole, strict=True)],
        rel=0.01,  # adding up the parts of the filter gradient takes 0.4% of it
    )


def test_one_product_for_each_image_is_launched_for_each_and_unrolls() -> None:
    """im2col: 9 taps of 16 channels are written and read at each of 64 places, of one image after the other."""
    layer, batch = convolution(), 5  # 8 x 8 x 16 to 32 channels by 3 x 3
    found = layer_times(layer, batch, attained(per_image=True))[0]
    elements = 64 * (16 + 32) + 9 * 16 * 32 + 2 * 9 * 16 * 64
    assert found == pytest.approx(batch * roof(64, 32, 144, elements))


def test_tensor_cores_compute_where_the_device_has_them() -> None:
    found = layer_times(inner_product(4096, 4096), 4096, attained(precision="fp16"))[0]
    assert found == pytest.approx(product(4096, 4096, 4096, flops=8e12, tensor=True) + LAUNCH)


def test_the_fastest_algorithm_that_the_library_has() -> None:
    layer = convolution(shape=(56, 56, 64), outputs=64)
    only = {name: layer_times(layer, 16, algorithm=name) for name in ALGORITHMS}
    assert len({round(times[0], 12) for times in only.values()}) == len(ALGORITHMS)
    for names in (("gemm",), ("gemm", "winograd"), ALGORITHMS):
        allowed = attained(algorithms={**dict.fromkeys(PASSES, ("gemm",)), "forward": names})
        found = layer_times(layer, 16, allowed)
        assert found[0] == min(only[name][0] for name in names)
        assert found[1:] == only["gemm"][1:]


def test_the_update_moves_its_bytes() -> None:
    """Momentum reads weight, gradient and momentum and writes two of them: 20 bytes; in half precision a copy of 2."""
    one = attained(fused=frozenset({"update"}))
    found = number(update_times(1e6, 30.0, "momentum", np.array([4.0]), one))
    assert found == pytest.approx(20e6 / 1e11 + LAUNCH)
    assert number(update_times(1e6, 30.0, "momentum", np.array([4.0]), attained())) == pytest.approx(
        20e6 / 1e11 + 30 * LAUNCH
    )
    half = attained(precision="fp16", fused=frozenset({"update"}))
    assert number(update_times(1e6, 30.0, "momentum", np.array([2.0]), half)) == pytest.approx(22e6 / 1e11 + LAUNCH)
    assert UPDATE_BYTES["adam"] > UPDATE_BYTES["momentum"] > UPDATE_BYTES["sgd"]


# -- through a platform's file ----------------------------------------------------------------------------------------


@pytest.fixture
def whole_file(tmp_path: Path) -> str:
    """The platform above, as a file."""
    path = tmp_path / "whole.yaml"
    shares = "\n".join(f"  {name}: 1.0" for name, meaning in CONSTANTS.items() if meaning.unit == "share")
    path.write_text(
        f"name: whole\ndescription: attains everything\nconstants:\n{shares}\n  launch: 2us\n  step_overhead: 300us\n"
        "algorithms: {forward: [], backward_data: [], backward_filter: []}\nsource: made up\n"
    )
    return str(path)


def on_whole(whole_file: str, layers: tuple[Layer, ...], batch: int) -> dict[str, LayerEstimate]:
    where = cluster(device=WHOLE)
    found = layer_breakdown(compile_network(network(*layers)), Strategy(where, 1, batch), Options(platform=whole_file))
    return {layer.name: layer for layer in found}


def test_what_bounds_a_layer(whole_file: str) -> None:
    large = convolution(shape=(28, 28, 512), outputs=512, kernel=1)
    assert on_whole(whole_file, (large,), 64)["conv"].bound == "compute"
    assert on_whole(whole_file, (pooling((64, 64, 64)),), 64)["pool"].bound == "memory"
    assert on_whole(whole_file, (pooling(),), 1)["pool"].bound == "launch"
    tiny = on_whole(whole_file, (inner_product(10, 10),), 1)
    assert tiny["fc"].bound == "launch"
    assert tiny["fc"].forward_s == pytest.approx(LAUNCH, rel=0.2)
    assert tiny["data"].bound == tiny["before"].bound == "none"


def test_a_step_is_its_layers_its_update_and_the_overhead(whole_file: str) -> None:
    compiled, options = compile_network(network(inner_product(300, 200))), Options(platform=whole_file)
    strategy = Strategy(cluster(device=WHOLE), 1, 64)
    found = estimate(compiled, strategy, options)
    passes = layer_times(inner_product(300, 200), 64)
    assert number(found.forward_time_s) == pytest.approx(passes[0])
    assert number(found.backward_time_s) == pytest.approx(passes[1] + passes[2])
    update = 300 * 200 * 20 / 1e11 + LAUNCH
    assert number(found.update_time_s) == pytest.approx(OVERHEAD + update)
    assert number(found.step_time_s) == pytest.approx(sum(passes) + OVERHEAD + update)


def test_constants_are_shifted_by_their_deviations() -> None:
    measured = replace(WHOLE, attainable={"vector": Constant(0.5, 0.1), "memory": Constant(0.5, 0.1)})
    strategy = Strategy(cluster(device=measured), 1, 64)
    shifted = {
        name: number(estimate(table("resnet50", None), strategy, Options(shifts={name: 1.0})).step_time_s)
        for name in ("vector", "memory", "platform.launch", "platform.step_overhead")
    }
    plain = number(estimate(table("resnet50", None), strategy).step_time_s)
    assert shifted["vector"] < plain
    assert shifted["memory"] < plain
    assert shifted["platform.launch"] > plain
    # e^1 times a millisecond, of which the deviation is 100%.
    assert shifted["platform.step_overhead"] - plain == pytest.approx(1e-3 * (np.e - 1))


def test_options_of_the_other_model_are_refused() -> None:
    with pytest.raises(SpecError, match="no platform is called"):
        estimate(table("alexnet_v2"), Strategy(cluster(), 1, 1), Options(platform="no-such"))


# -- what holds for every estimate ------------------------------------------------------------------------------------

NETS = st.sampled_from(["alexnet_v2", "resnet50", "lstm_ptb"])
FACTORS = st.floats(1.0, 50.0)
SOFTWARE = st.sampled_from(["pytorch", "cudnn-r4-torch", "caffe-2015", "ngc-mxnet"])
PRECISIONS = st.sampled_from(["fp32", "fp16"])


@cache
def device(multiprocessors: int | None) -> Device:
    return replace(DEVICE, multiprocessors=multiprocessors, clock=1.2e9)


DEVICES = st.sampled_from([None, 5, 80, 1000]).map(device)


def step(net: str, on: Device, batch: int, precision: str, software: str, algorithm: str | None = None) -> float:
    strategy = Strategy(cluster(device=on), 1, batch, precision=precision)
    return number(estimate(table(net, algorithm), strategy, Options(platform=software)).step_time_s)


@given(net=NETS, on=DEVICES, batch=st.integers(1, 512), precision=PRECISIONS, software=SOFTWARE, factor=FACTORS)
def test_more_of_anything_is_never_slower(
    net: str, on: Device, batch: int, precision: str, software: str, factor: float
) -> None:
    before = step(net, on, batch, precision, software) * (1 + 1e-12)
    peak = {name: flops * factor for name, flops in on.peak.items()}
    assert step(net, replace(on, peak=peak), batch, precision, software) <= before
    faster = replace(on, memory_bandwidth=on.memory_bandwidth * factor)
    assert step(net, faster, batch, precision, software) <= before


@given(net=NETS, on=DEVICES, batch=st.integers(1, 512), more=st.integers(1, 512), software=SOFTWARE)
def test_a_larger_batch_is_never_faster(net: str, on: Device, batch: int, more: int, software: str) -> None:
    """With matrix products alone: with more samples an algorithm's workspace may no longer fit."""
    small, large = (step(net, on, size, "fp32", software, "gemm") for size in (batch, batch + more))
    assert small <= large * (1 + 1e-12)


@given(net=NETS, on=DEVICES, batch=st.integers(1, 512), precision=PRECISIONS, software=SOFTWARE)
def test_never_beyond_the_data_sheet(net: str, on: Device, batch: int, precision: str, software: str) -> None:
    """Matrix products take at least their arithmetic at peak; every layer at least its traffic at full bandwidth."""
    strategy = Strategy(cluster(device=on), 1, batch, precision=precision)
    options = Options(platform=software)
    compiled = table(net)
    for layer in layer_breakdown(compiled, strategy, options):
        exact = compiled.network.layer(layer.name)
        if exact.type in ("Convolution", "InnerProduct") and exact.groups in (0, 1):
            assert layer.forward_s * on.peak[precision] >= exact.forward_flops * batch * (1 - 1e-9)
        compute = layer.forward_compute_s + layer.backward_data_compute_s + layer.backward_filter_compute_s
        memory = layer.forward_memory_s + layer.backward_data_memory_s + layer.backward_filter_memory_s
        assert layer.forward_s + layer.backward_s >= max(compute, memory) * (1 - 1e-12)
    assert number(estimate(compiled, strategy, options).mfu) <= 1.0


@given(net=NETS, sizes=st.lists(st.integers(1, 600), min_size=1, max_size=40), software=SOFTWARE)
def test_a_strategy_is_its_row_in_a_set_to_the_last_bit(net: str, sizes: list[int], software: str) -> None:
    options = Options(platform=software)
    strategies = replace(
        Strategy(cluster(device=device(80)), 1, 1).as_strategies(), micro_batch=np.array(sizes, dtype=np.int64)
    )
    together = np.broadcast_to(estimate(table(net, None), strategies, options).step_time_s, len(sizes))
    for index, size in enumerate(sizes):
        assert together[index] == step(net, device(80), size, "fp32", software)


@pytest.mark.parametrize("software", ["pytorch", "caffe-2015", "ngc-mxnet", "neon", "cudnn-5.1-torch"])
@pytest.mark.parametrize("net", ["resnet50", "vgg16", "inception_v3", "lstm_ptb", "dcgan_generator", "densenet121"])
def test_the_layers_add_up(net: str, software: str) -> None:
    strategy, options = Strategy(cluster(device=device(80)), 1, 32), Options(platform=software)
    layers = layer_breakdown(table(net, None), strategy, options)
    found = estimate(table(net, None), strategy, options)
    assert sum(layer.forward_s for layer in layers) == pytest.approx(number(found.forward_time_s))
    assert sum(layer.backward_s for layer in layers) == pytest.approx(number(found.backward_time_s))


@pytest.mark.parametrize("ability", FUSIBLE)
def test_fusing_more_is_never_slower(ability: str) -> None:
    net = {"concatenate": "densenet121", "attention": "llama3_8b", "pointwise": "llama3_8b"}.get(ability, "resnet50")
    kernels = compile_network(table(net).network).layout().replicated_kernels
    plain, fused = (
        kernel_times(kernels, attained(fused=frozenset(names)), np.array([32.0]), "auto", np.inf).time
        for names in ((), (ability,))
    )
    assert (fused <= plain).all()
    if ability not in ("update", "bias"):  # ResNet-50's convolutions have no bias, and the update is no layer
        assert fused.sum() < plain.sum()
