"""Shapes of every type of layer, worked out by hand or known from the papers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_text import last, load

from paleo_opt.network.layer_fields import FIELDS
from paleo_opt.network.shapes import infer
from paleo_opt.network.windows import deconvolution_output, same_padding, window_output

# One layer reading data; its output shape. Every type of layer is here (test_every_type_has_a_case).
CASES = [
    # VALID: ceil((224 - 11 + 1) / 4) = 54, AlexNet v2's first layer.
    ("[224, 224, 3]", "type: Convolution, outputs: 64, kernel: 11, strides: 4", (54, 54, 64)),
    # AlexNet in Caffe: (227 - 11) / 4 + 1 = 55.
    ("[227, 227, 3]", "type: Convolution, outputs: 96, kernel: 11, strides: 4", (55, 55, 96)),
    ("[7, 9, 3]", "type: Convolution, outputs: 4, kernel: [3, 1], strides: [2, 3]", (3, 3, 4)),
    ("[7, 9, 3]", "type: Convolution, outputs: 4, kernel: [1, 7], padding: SAME", (7, 9, 4)),
    ("[13, 13, 8]", "type: Convolution, outputs: 16, kernel: 5, strides: 2, padding: SAME", (7, 7, 16)),
    # ResNet's stem: floor((224 + 6 - 7) / 2) + 1.
    ("[224, 224, 3]", "type: Convolution, outputs: 64, kernel: 7, strides: 2, padding: 3", (112, 112, 64)),
    ("[8, 8, 3]", "type: Convolution, outputs: 6, kernel: 3, padding: [0, 1]", (6, 8, 6)),
    ("[8, 8, 6]", "type: Convolution, outputs: 6, kernel: 3, groups: 6", (6, 6, 6)),
    # DCGAN's generator: 4x4 to 8x8.
    ("[4, 4, 512]", "type: Deconvolution, outputs: 256, kernel: 5, strides: 2, padding: SAME", (8, 8, 256)),
    ("[4, 4, 8]", "type: Deconvolution, outputs: 2, kernel: 5, strides: 2", (11, 11, 2)),
    ("[4, 4, 8]", "type: Deconvolution, outputs: 2, kernel: 4, strides: 2, padding: 1", (8, 8, 2)),
    (
        "[4, 4, 8]",
        "type: Deconvolution, outputs: 2, kernel: 5, strides: 2, padding: SAME, output_shape: [7, 8]",
        (7, 8, 2),
    ),
    ("[4, 4, 8]", "type: Deconvolution, outputs: 2, kernel: 5, strides: 2, output_shape: [12, 11]", (12, 11, 2)),
    ("[5, 5, 256]", "type: InnerProduct, outputs: 4096", (4096,)),
    ("[20, 64]", "type: InnerProduct, outputs: 10", (20, 10)),
    ("[64]", "type: InnerProduct, outputs: 10", (10,)),
    ("[54, 54, 64]", "type: Pooling, kernel: 3, strides: 2", (26, 26, 64)),
    ("[54, 54, 64]", "type: Pooling, kernel: 2", (27, 27, 64)),
    # GoogLeNet in Caffe: ceil((112 - 3) / 2) + 1 = 56, where rounding down gives 55.
    ("[112, 112, 64]", "type: Pooling, kernel: 3, strides: 2, ceil: true", (56, 56, 64)),
    ("[112, 112, 64]", "type: Pooling, kernel: 3, strides: 2", (55, 55, 64)),
    # Rounded up, 4 windows; the last would start at 6 = 5 + 1, in the padding, and Caffe drops it.
    ("[5, 5, 1]", "type: Pooling, kernel: 2, strides: 2, padding: 1, ceil: true", (3, 3, 1)),
    ("[112, 112, 64]", "type: Pooling, kernel: 3, strides: 2, padding: 1", (56, 56, 64)),
    ("[35, 35, 8]", "type: Pooling, kernel: 3, strides: 1, padding: SAME, pool: average", (35, 35, 8)),
    ("[7, 8, 2048]", "type: Pooling, pool: average, global: true", (1, 1, 2048)),
    ("[7, 7, 3]", "type: Dropout, keep_probability: 0.7", (7, 7, 3)),
    ("[7, 7, 3]", "type: Concatenate, parents: [data, data]", (7, 7, 6)),
    ("[20, 64]", "type: Concatenate, parents: [data, data, data], axis: -1", (20, 192)),
    ("[7, 7, 3]", "type: Elementwise, parents: [data, data], operation: max", (7, 7, 3)),
    ("[4, 4, 8]", "type: Reshape, shape: [2, -1]", (2, 64)),
    ("[8192]", "type: Reshape, shape: [4, 4, 512]", (4, 4, 512)),
    ("[4, 4, 8]", "type: Reshape, shape: [-1]", (128,)),
    ("[4, 5, 8]", "type: UpSampling, factor: 2", (8, 10, 8)),
    ("[4, 5, 8]", "type: UpSampling, factor: [1, 3]", (4, 15, 8)),
    ("[1, 1, 1000]", "type: Softmax", (1, 1, 1000)),
    ("[20, 64]", "type: Sigmoid", (20, 64)),
    ("[20, 64]", "type: SimpleRNN, outputs: 32", (20, 32)),
    ("[20, 64]", "type: GRU, outputs: 32, return_sequences: false", (32,)),
    ("[20, 64]", "type: LSTM, outputs: 32, return_sequences: true", (20, 32)),
    ("[20, 64]", "type: LSTM, outputs: 32, return_sequences: false", (32,)),
    ("[35]", "type: Embedding, outputs: 650, vocabulary: 10000", (35, 650)),
    ("[7, 7, 3]", "type: Activation, activation: tanh", (7, 7, 3)),
    ("[7, 7, 3]", "type: BatchNormalization", (7, 7, 3)),
    ("[27, 27, 96]", "type: LocalResponseNormalization", (27, 27, 96)),
    ("[7, 7, 3]", "type: Flatten", (147,)),
    ("[7, 7]", "type: Identity", (7, 7)),
]


@pytest.mark.parametrize(("data", "layer", "expected"), CASES)
def test_output_shape(tmp_path: Path, data: str, layer: str, expected: tuple[int, ...]) -> None:
    assert last(tmp_path, f"a: {{{layer}}}", f"input: {data}").output_shape == expected


def test_every_type_has_a_case() -> None:
    assert {layer.split(",")[0].removeprefix("type: ") for _, layer, _ in CASES} == set(FIELDS)


def test_alexnet_v2_chain(tmp_path: Path) -> None:
    network = load(
        tmp_path,
        """
        conv1: {type: Convolution, outputs: 64, kernel: 11, strides: 4}
        pool1: {type: Pooling, kernel: 3, strides: 2}
        conv2: {type: Convolution, outputs: 192, kernel: 5, padding: SAME}
        pool2: {type: Pooling, kernel: 3, strides: 2}
        conv3: {type: Convolution, outputs: 384, kernel: 3, padding: SAME}
        pool5: {type: Pooling, kernel: 3, strides: 2}
        fc6: {type: Convolution, outputs: 4096, kernel: 5}
        dropout6: {type: Dropout}
        fc8: {type: Convolution, outputs: 1000, kernel: 1, padding: SAME}
        softmax: {type: Softmax}
        """,
    )
    assert [layer.output_shape for layer in network.layers] == [
        (224, 224, 3), (54, 54, 64), (26, 26, 64), (26, 26, 192), (12, 12, 192), (12, 12, 384), (5, 5, 384),
        (1, 1, 4096), (1, 1, 4096), (1, 1, 1000), (1, 1, 1000),
    ]  # fmt: skip
    conv1, fc6 = network.layer("conv1"), network.layer("fc6")
    assert conv1.parameters == 11 * 11 * 3 * 64 + 64
    assert conv1.forward_flops == 2 * 11 * 11 * 3 * 64 * 54 * 54
    assert fc6.input_shapes == ((5, 5, 384),)
    assert network.layer("conv2").padding == (2, 2)


def test_inception_branches_join(tmp_path: Path) -> None:
    network = load(
        tmp_path,
        """
        a: {type: Convolution, parents: [data], outputs: 64, kernel: 1}
        b1: {type: Convolution, parents: [data], outputs: 48, kernel: 1}
        b2: {type: Convolution, outputs: 64, kernel: 5, padding: SAME}
        c: {type: Pooling, parents: [data], pool: average, kernel: 3, strides: 1, padding: SAME}
        join: {type: Concatenate, parents: [a, b2, c]}
        """,
        "input: [35, 35, 192]",
    )
    join = network.layer("join")
    assert join.input_shapes == ((35, 35, 64), (35, 35, 64), (35, 35, 192))
    assert join.output_shape == (35, 35, 320)


def test_a_product_may_scale_channels(tmp_path: Path) -> None:
    squeeze = last(
        tmp_path,
        """
        squeeze: {type: Pooling, pool: average, global: true}
        excite: {type: Elementwise, parents: [data, squeeze], operation: multiply}
        """,
        "input: [14, 14, 32]",
    )
    assert squeeze.output_shape == (14, 14, 32)


@pytest.mark.parametrize(
    ("layer", "padding", "mode"),
    [
        # PALEO's SAME: (54 - 1) 4 + 11 - 216 = 7 rows in all, 3 of them before.
        ("type: Convolution, outputs: 8, kernel: 11, strides: 4, padding: SAME", (3, 3), "SAME"),
        # A stride beyond the window leaves rows unread, and no padding.
        ("type: Convolution, outputs: 8, kernel: 1, strides: 2, padding: SAME", (0, 0), "SAME"),
        ("type: Convolution, outputs: 8, kernel: 3", (0, 0), "VALID"),
        ("type: Convolution, outputs: 8, kernel: 3, padding: [2, 1]", (2, 1), "EXPLICIT"),
        ("type: Deconvolution, outputs: 8, kernel: 5, strides: 2, padding: SAME", (1, 1), "SAME"),
    ],
)
def test_padding_of_a_layer(tmp_path: Path, layer: str, padding: tuple[int, int], mode: str) -> None:
    found = last(tmp_path, f"a: {{{layer}}}", "input: [216, 216, 3]")
    assert (found.padding, found.padding_mode) == (padding, mode)


def test_global_pooling_has_the_image_as_its_window(tmp_path: Path) -> None:
    pool = last(tmp_path, "pool: {type: Pooling, global: true}", "input: [7, 8, 5]")
    assert (pool.kernel, pool.pool) == ((7, 8), "max")


@pytest.mark.parametrize(
    ("layer", "parameters"),
    [
        ("type: InnerProduct, outputs: 10", 64 * 10 + 10),
        ("type: InnerProduct, outputs: 10, bias: false", 64 * 10),
        ("type: SimpleRNN, outputs: 32", 32 * (64 + 32) + 32),
        ("type: GRU, outputs: 32", 3 * (32 * (64 + 32) + 32)),
        ("type: LSTM, outputs: 32", 4 * (32 * (64 + 32) + 32)),
        ("type: LSTM, outputs: 32, recurrent_bias: true", 4 * (32 * (64 + 32) + 2 * 32)),
        ("type: InnerProduct, outputs: 10, bias: false, normalizer: batch_norm", 640 + 20),
        ("type: InnerProduct, outputs: 10, bias: false, normalizer: batch_norm, normalizer_scale: false", 650),
        ("type: BatchNormalization", 128),
    ],
)
def test_parameters_of_a_layer(tmp_path: Path, layer: str, parameters: int) -> None:
    assert last(tmp_path, f"a: {{{layer}}}", "input: [20, 64]").parameters == parameters


sizes, kernels, strides = st.integers(1, 300), st.integers(1, 15), st.integers(1, 5)


@given(size=sizes, kernel=kernels)
def test_same_with_stride_one_keeps_the_size(size: int, kernel: int) -> None:
    assert window_output(size, kernel, 1, "SAME") == size
    assert same_padding(size, size, kernel, 1) == (kernel - 1) // 2


@given(size=sizes, kernel=kernels, stride=strides, padding=st.integers(0, 7), ceil=st.booleans())
def test_windows_lie_in_the_padded_input(size: int, kernel: int, stride: int, padding: int, ceil: bool) -> None:
    count = window_output(size, kernel, stride, "EXPLICIT", padding, ceil)
    if kernel > size + 2 * padding:
        assert count == 0
        return
    last_start = (count - 1) * stride
    if ceil and padding < kernel:
        assert last_start < size + padding
    elif not ceil:
        assert last_start + kernel <= size + 2 * padding < last_start + stride + kernel


@given(size=sizes, kernel=kernels, stride=strides)
def test_valid_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    assert window_output(size, kernel, stride, "VALID") == max(0, math.ceil((size - kernel + 1) / stride))


@given(size=sizes, kernel=kernels, stride=strides, mode=st.sampled_from(["SAME", "VALID"]))
def test_a_convolution_undoes_a_deconvolution(size: int, kernel: int, stride: int, mode: str) -> None:
    out = deconvolution_output(size, kernel, stride, mode)
    assert window_output(out, kernel, stride, mode) == size


@given(channels=st.lists(st.integers(1, 500), min_size=1, max_size=8), height=sizes, width=sizes)
def test_concatenated_channels_add_up(channels: list[int], height: int, width: int) -> None:
    names = tuple(f"p{i}" for i in range(len(channels)))
    shapes = tuple((height, width, count) for count in channels)
    layer = infer("join", "Concatenate", names, shapes, {})
    assert layer.output_shape == (height, width, sum(channels))
    assert layer.output_size == layer.input_size
