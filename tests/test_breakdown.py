"""The breakdown of a step into layers: it adds up to the estimate, and says what bounds each."""

from __future__ import annotations

from typing import Any

import pytest
from hand_built import cluster, convolution, inner_product, network, pooling, table

from paleo_opt.estimator.breakdown import layer_breakdown
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.strategy import Strategy

MODELS = [{"model": "roofline"}, {"model": "paleo"}, {"model": "paleo", "pipelined": True}]


@pytest.mark.parametrize("name", ["alexnet_v2", "inception_v3", "lstm_ptb", "dcgan_generator"])
@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("algorithm", ["gemm", "auto"])
def test_the_layers_add_up_to_the_passes(name: str, model: dict[str, Any], training: bool, algorithm: str) -> None:
    found, options = table(name, algorithm), Options(training=training, **model)
    strategy = Strategy(cluster(), gpus=4, micro_batch=16)
    layers, estimates = layer_breakdown(found, strategy, options), estimate(found, strategy, options)
    assert [layer.name for layer in layers] == [layer.name for layer in found.network.layers]
    assert sum(layer.forward_s for layer in layers) == pytest.approx(float(estimates.forward_time_s.item()))
    assert sum(layer.backward_s for layer in layers) == pytest.approx(float(estimates.backward_time_s.item()))
    assert sum(layer.parameters for layer in layers) == found.network.parameters
    assert sum(layer.parameters_bytes for layer in layers) == pytest.approx(estimates.memory.parameters.item())


@pytest.mark.parametrize("split", ["hybrid", "model"])
@pytest.mark.parametrize("tensor", [2, 4])
@pytest.mark.parametrize("model", ["roofline", "paleo"])
def test_the_layers_add_up_to_the_computation_under_a_split(split: str, tensor: int, model: str) -> None:
    found = table("alexnet_v2")
    strategy = Strategy(cluster(), gpus=4, micro_batch=16, split=split, tensor=tensor)
    layers, estimates = (ask(found, strategy, Options(model=model)) for ask in (layer_breakdown, estimate))
    total = sum(layer.forward_s + layer.backward_s for layer in layers)
    assert total == pytest.approx(float(estimates.compute_time_s.item()))
    divided = {layer.name for layer in layers if layer.divided}
    expected = {layer.name for layer in found.network.layers if layer.split == "model" or split == "model"} - {"data"}
    assert divided == expected


def test_one_product_by_hand() -> None:
    found = compile_network(network(inner_product(1000, 500)))
    options = Options(model="paleo", ppp_comp=0.5)
    layer = layer_breakdown(found, Strategy(cluster(), 1, micro_batch=8), options)[-1]
    # 2 FLOPs a weight and sample at half of 1 TFLOP/s; the inputs, weights and outputs at half of 100 GB/s.
    assert layer.flops == 2 * 1000 * 500 * 8
    assert layer.forward_compute_s == pytest.approx(layer.flops / 0.5e12)
    assert layer.forward_memory_s == pytest.approx(4 * (8 * 1000 + 1000 * 500 + 8 * 500) / 0.5e11)
    assert layer.bound == "memory"
    assert (layer.parameters, layer.parameters_bytes, layer.algorithms) == (500_000, 2_000_000.0, ())


def test_half_precision_halves_the_bytes() -> None:
    found = compile_network(network(inner_product(1000, 500)))
    full, half = (layer_breakdown(found, Strategy(cluster(), 1, 8, precision=name))[-1] for name in ("fp32", "fp16"))
    assert half.parameters_bytes == full.parameters_bytes / 2


def test_what_bounds_a_layer() -> None:
    layers = layer_breakdown(
        compile_network(network(convolution(shape=(64, 64, 64), outputs=512), pooling())), Strategy(cluster(), 1, 64),
        Options(model="paleo"),
    )  # fmt: skip
    assert {layer.name: layer.bound for layer in layers} == {
        "data": "none",
        "before": "none",
        "conv": "compute",
        "pool": "memory",
    }
    assert layers[0].forward_s == layers[0].backward_s == 0.0


@pytest.mark.parametrize("model", ["roofline", "paleo"])
def test_each_pass_of_a_convolution_names_its_algorithm(model: str) -> None:
    found = table("alexnet_v2", "auto")
    options = Options(model=model, platform="cudnn-5.1-torch" if model == "roofline" else None)
    layers = {layer.name: layer for layer in layer_breakdown(found, Strategy(cluster(), 1, 64), options)}
    for name in ("conv2", "conv3"):
        assert len(layers[name].algorithms) == 3
        assert set(layers[name].algorithms) <= set(found.algorithms(model))
        assert set(layers[name].algorithms) != {"gemm"}
    assert layers["pool1"].algorithms == ()


def test_no_gradient_in_inference() -> None:
    for layer in layer_breakdown(table("vgg16"), Strategy(cluster(), 1, 4), Options(training=False)):
        assert layer.backward_s == layer.backward_data_compute_s == layer.backward_filter_memory_s == 0.0
