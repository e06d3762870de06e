"""Memory per device against published sizes and by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_built import DEVICE, cluster, convolution, inner_product, network, number, table

from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.estimate import Estimates, Options, estimate
from paleo_opt.estimator.memory import DEFAULT_RESERVE, OPTIMIZER_STATES, Memory
from paleo_opt.estimator.strategy import Strategy

USES = ("parameters", "gradients", "optimizer", "activations", "workspace", "reserve")
VGG16_PARAMETERS = 138_357_544  # Simonyan and Zisserman 2015, configuration D
WIDE = replace(DEVICE, peak=dict.fromkeys(("fp32", "tf32", "fp16", "bf16", "fp8", "fp4"), 1e12))


def memory(compiled: CostTable, micro_batch: int = 1, precision: str = "fp32", **options: Any) -> dict[str, float]:
    on = cluster(device=WIDE)
    found = estimate(compiled, Strategy(on, 1, micro_batch, precision=precision), Options(**options)).memory
    return {use: number(getattr(found, use)) for use in USES}


def test_vgg16_in_single_precision() -> None:
    """528 MiB of parameters (torchvision's vgg16-397923af.pth), as much of gradients and of momentum."""
    found = memory(table("vgg16"))
    assert found["parameters"] == found["gradients"] == found["optimizer"] == 4 * VGG16_PARAMETERS
    assert found["parameters"] == pytest.approx(553.43e6, rel=1e-5)
    assert found["reserve"] == DEFAULT_RESERVE


@pytest.mark.parametrize(
    ("optimizer", "states"), [("sgd", 0), ("momentum", 1), ("lars", 1), ("rmsprop", 2), ("adam", 2)]
)
def test_state_of_each_optimizer(optimizer: str, states: int) -> None:
    assert memory(table("vgg16"), optimizer=optimizer)["optimizer"] == states * 4 * VGG16_PARAMETERS
    # With 16-bit weights there is a master copy besides.
    half = memory(table("vgg16"), optimizer=optimizer, precision="bf16")
    assert half["optimizer"] == (states + 1) * 4 * VGG16_PARAMETERS


def test_every_optimizer_is_known() -> None:
    assert set(OPTIMIZER_STATES) == {"sgd", "momentum", "lars", "rmsprop", "adam"}
    with pytest.raises(SpecError, match="did you mean 'momentum'"):
        Options(optimizer="momentun")


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp8", "fp4"])
def test_mixed_precision_adam_takes_16_bytes_a_parameter(precision: str) -> None:
    """ZeRO, arXiv:1910.02054, section 3.1: 2 + 2 bytes, and 12 of fp32 master copy, momentum and variance."""
    found = memory(table("vgg16"), optimizer="adam", precision=precision)
    state = found["parameters"] + found["gradients"] + found["optimizer"]
    assert state == 16 * VGG16_PARAMETERS
    assert found["parameters"] == 2 * VGG16_PARAMETERS


def test_tf32_is_stored_as_single_precision() -> None:
    assert memory(table("vgg16"), 8, precision="tf32") == memory(table("vgg16"), 8)


def test_activations_by_hand() -> None:
    """The input, what a free layer passes on, a convolution's outputs, and a normalizer's own input."""
    plain = compile_network(network(convolution()))
    normalized = compile_network(network(convolution(normalizer="batch_norm")))
    inputs, outputs = 8 * 8 * 16, 8 * 8 * 32
    assert memory(plain, 10)["activations"] == 4 * 10 * (inputs + outputs)
    assert memory(normalized, 10)["activations"] == 4 * 10 * (inputs + 2 * outputs)
    assert memory(plain, 10, precision="fp16")["activations"] == 2 * 10 * (inputs + outputs)


def test_activations_of_vgg16() -> None:
    """15.2 million values a sample at least: the outputs of 13 convolutions (13.5 M), of 5 poolings, and the input."""
    convolutions = 2 * 224**2 * 64 + 2 * 112**2 * 128 + 3 * 56**2 * 256 + 3 * 28**2 * 512 + 3 * 14**2 * 512
    poolings = 112**2 * 64 + 56**2 * 128 + 28**2 * 256 + 14**2 * 512 + 7**2 * 512
    # Dropout keeps its own outputs; the softmax nothing.
    heads = 4 * 4096 + 1000
    assert memory(table("vgg16"))["activations"] == 4 * (224**2 * 3 + convolutions + poolings + heads)


def test_inference_keeps_the_parameters_and_one_layer() -> None:
    found = memory(table("vgg16"), 10, training=False)
    assert found["gradients"] == found["optimizer"] == 0
    assert found["parameters"] == 4 * VGG16_PARAMETERS
    # conv1-2 reads and writes 224 x 224 x 64.
    assert found["activations"] == 4 * 10 * 2 * 224**2 * 64


def test_splits_divide_parameters_and_activations() -> None:
    layers = (inner_product(4096, 4096), replace(inner_product(4096, 1000, parents=("fc",)), name="fc2", split="model"))
    compiled = compile_network(network(*layers))
    whole, hybrid, model = (
        estimate(compiled, Strategy(cluster(), 4, 8, split=split, tensor=tensor)).memory
        for split, tensor in (("data", 1), ("hybrid", 4), ("model", 4))
    )
    assert number(whole.parameters) == 4 * (4096 * 4096 + 4096 * 1000)
    assert number(hybrid.parameters) == 4 * (4096 * 4096 + 4096 * 1000 / 4)
    assert number(model.parameters) == number(whole.parameters) / 4
    # The network's input is whole on every device.
    assert number(whole.activations) == 4 * 8 * (4096 + 4096 + 1000)
    assert number(hybrid.activations) == 4 * 8 * (4096 + 4096 + 250)
    assert number(model.activations) == 4 * 8 * (4096 + 1024 + 250)


def test_accumulation_and_more_devices_take_no_more_memory() -> None:
    def total(**strategy: Any) -> float:
        return number(estimate(table("vgg16"), Strategy(cluster(), micro_batch=8, **strategy)).memory_bytes)

    assert total(gpus=1) == total(gpus=64) == total(gpus=8, accumulation=16)


def test_fits_compares_with_the_device() -> None:
    def found(size: float) -> Estimates:
        on = cluster(device=replace(DEVICE, memory=size))
        return estimate(table("vgg16"), Strategy(on, 1, 1), Options(memory_reserve=0.0))

    needed = number(found(1e9).memory_bytes)
    assert number(found(needed).fits)
    assert not number(found(needed - 1).fits)


def test_the_total_is_the_sum_of_the_uses() -> None:
    parts = [np.array([float(2**power)]) for power in range(6)]
    assert Memory(*parts).total == 63.0
