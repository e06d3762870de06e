"""What the other types of layer cost in each pass, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hand_built import DEVICE, cluster, convolution, inner_product, network, pooling

from paleo_opt.estimator.breakdown import layer_breakdown
from paleo_opt.estimator.compute import update_time
from paleo_opt.estimator.convolution import NOTHING, Cost, Term
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import Options
from paleo_opt.estimator.layer_cost import layer_passes
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.network.graph import Layer


def total(terms: tuple[Term, ...], batch: float) -> float:
    return sum(term.repeats * (term.fixed + term.per_sample * batch) for term in terms)


def costs(layer: Layer, batch: float = 10, parts: int = 1) -> list[tuple[float, float]]:
    """FLOPs and elements moved of the three passes."""
    passes = layer_passes(layer, parts, "gemm")
    return [(total(cost.compute, batch), total(cost.memory, batch)) for cost in passes if cost is not None]


def layer(kind: str, shape: tuple[int, ...], out: tuple[int, ...] = (), **fields: Any) -> Layer:
    return Layer("layer", kind, ("before",), (shape,), out or shape, **fields)


def test_inner_product_is_three_products_of_the_same_matrices() -> None:
    product = 2 * 10 * 300 * 200, 10 * 300 + 300 * 200 + 10 * 200
    assert costs(inner_product(300, 200)) == [product] * 3


def test_inner_product_of_an_image_and_of_a_sequence() -> None:
    image = layer("InnerProduct", (6, 6, 16), (200,), outputs=200)
    assert costs(image)[0] == (2 * 10 * 576 * 200, 10 * 576 + 576 * 200 + 10 * 200)
    # Applied to each of 7 steps: 70 rows against the same weights.
    steps = layer("InnerProduct", (7, 300), (7, 200), outputs=200)
    assert costs(steps)[0] == (2 * 70 * 300 * 200, 70 * 300 + 300 * 200 + 70 * 200)


def test_pooling_compares_every_element_of_a_window() -> None:
    both = 2 * 2 * 2 * 16 * 4 * 4 * 10, 10 * (8 * 8 * 16 + 4 * 4 * 16)
    assert costs(pooling()) == [both, both, (0, 0)]


@pytest.mark.parametrize("kind", ["Dropout", "Sigmoid"])
def test_elementwise_layers_take_one_flop_an_element(kind: str) -> None:
    both = 10 * 1024, 10 * 2 * 1024
    assert costs(layer(kind, (1024,))) == [both, both, (0, 0)]


def test_adding_two_parents_reads_both() -> None:
    added = Layer("add", "Elementwise", ("before", "other"), ((8, 8, 4), (8, 8, 4)), (8, 8, 4))
    both = 10 * 2 * 256, 10 * 3 * 256
    assert costs(added) == [both, both, (0, 0)]


def test_upsampling_and_embedding_only_move() -> None:
    assert costs(layer("UpSampling", (4, 4, 3), (8, 8, 3))) == [(0, 10 * (48 + 192))] * 2 + [(0, 0)]
    lookup = layer("Embedding", (7,), (7, 50), outputs=50, vocabulary=10_000)
    assert costs(lookup) == [(0, 10 * 2 * 350), (0, 0), (0, 10 * 2 * 350)]
    assert lookup.parameters == 500_000


@pytest.mark.parametrize("kind", ["Softmax", "Concatenate", "Reshape", "Flatten", "BatchNormalization", "Activation"])
def test_paleo_charges_nothing_for_the_rest(kind: str) -> None:
    assert layer_passes(layer(kind, (8, 8, 4)), 1, "gemm") == (NOTHING,) * 3


@pytest.mark.parametrize(("kind", "gates"), [("SimpleRNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrent_layers_by_hand(kind: str, gates: int) -> None:
    """7 steps of 300 features into 200 units: one product over the inputs, and one a step over the state."""
    recurrent = layer(kind, (7, 300), (7, 200), outputs=200)
    columns = gates * 200
    inputs = 2 * 70 * 300 * columns, 70 * 300 + 300 * columns + 70 * columns
    # The weights of the state are read again at each step.
    state = 7 * 2 * 10 * 200 * columns, 7 * (10 * 200 + 200 * columns + 10 * columns)
    assert costs(recurrent) == [(inputs[0] + state[0], inputs[1] + state[1])] * 3
    assert recurrent.parameters == columns * (300 + 200)
    assert recurrent.forward_flops * 10 == inputs[0] + state[0]


def test_a_step_of_a_recurrent_layer_takes_at_least_a_clock() -> None:
    """Each of the 1,000 steps is a term of its own: none is shorter than 0.1 ns."""
    tiny = layer("SimpleRNN", (1000, 1), (1000, 1), outputs=1)
    found = layer_breakdown(
        compile_network(network(tiny)), Strategy(cluster(), 1, 1), Options(model="paleo", ppp_comp=1.0)
    )[-1]
    assert found.forward_compute_s == pytest.approx(2e-9 + 1000 * 1e-10)  # 2,000 FLOPs at once, then 2 a step


def test_a_layer_of_the_input_passes_no_gradient_on() -> None:
    first = Layer("first", "InnerProduct", ("data",), ((300,),), (200,), outputs=200)
    assert costs(first)[1] == (0, 0)
    assert costs(first)[2] == costs(first)[0]


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_shares_of_the_outputs_divide_the_flops(parts: int) -> None:
    for whole in (convolution(), inner_product(300, 256), pooling(), layer("Dropout", (1024,))):
        for (flops, _), (share, _) in zip(costs(whole), costs(whole, parts=parts), strict=True):
            assert share * parts == flops
    # The state of an LSTM is whole on every device, the gates are divided.
    lstm = layer("LSTM", (7, 300), (7, 256), outputs=256)
    assert costs(lstm, parts=parts)[0][0] * parts == costs(lstm)[0][0]


def test_terms_below_a_clock_take_one() -> None:
    """PALEO's floor: a product of one element moves three values, each for one clock."""
    one = compile_network(network(inner_product(1, 1)))
    found = layer_breakdown(one, Strategy(cluster(), 1, 1), Options(model="paleo", ppp_comp=0.5))[-1]
    assert found.forward_compute_s == 1 / DEVICE.clock
    assert found.forward_memory_s == pytest.approx(3 / DEVICE.clock)


def test_the_update_by_hand() -> None:
    """2 FLOPs a parameter at 1 TFLOP/s and three passes over 4 bytes at 100 GB/s, whatever the PPP."""
    compute, memory = 2 * 1e6 / 1e12, 3 * 4e6 / 1e11
    assert update_time(1e6, 1e12, 1e11, 1e-10, False) == pytest.approx(compute + memory)
    assert update_time(1e6, 1e12, 1e11, 1e-10, True) == pytest.approx(memory)
    assert update_time(0.0, 1e12, 1e11, 1e-10, False) == pytest.approx(3e-10)  # the published floor


def test_costs_of_distinct_layers_are_shared() -> None:
    """Layers that differ in their names alone are one row of the table."""
    same = [Layer(f"conv{i}", **{k: getattr(convolution(outputs=16), k) for k in FIELDS}) for i in range(5)]
    terms = compile_network(network(*same)).layout().replicated
    assert sorted(terms.count.tolist()) == [1.0, 1.0, 5.0]
    assert Cost() == NOTHING


FIELDS = ("type", "parents", "input_shapes", "output_shape", "kernel", "strides", "padding", "padding_mode", "outputs")
