r"""What one two-dimensional convolution costs, by algorithm: FLOPs, elements moved, workspace.

Every quantity is linear in the batch n, so a cost is a list of `Term`: ``repeats`` times (``fixed`` + ``per_sample``
· n) FLOPs or elements, each at least one device clock (PALEO's floor). The gradients are convolutions too
(PALEO [1]), so the same four functions serve the three passes.

References:
    [1] Qi, Sparks, Talwalkar: Paleo: A Performance Model for Deep Neural Networks, ICLR 2017.
    [2] Mathieu, Henaff, LeCun: Fast Training of Convolutional Networks through FFTs, arXiv:1312.5851.
    [3] Lavin, Gray: Fast Algorithms for Convolutional Neural Networks, arXiv:1509.09308.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from paleo_opt.network.graph import Layer

FFT_TILE = 32
_COMPLEX = 2  # a complex number is two elements


@dataclass(frozen=True, slots=True)
class Term:
    """``repeats`` · max(one clock, (``fixed`` + ``per_sample`` · n) / rate): FLOPs or elements of a batch of n."""

    fixed: float
    per_sample: float
    repeats: float = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """The arithmetic (FLOPs), memory traffic (elements) and workspace (elements) of one pass of one layer."""

    compute: tuple[Term, ...] = ()
    memory: tuple[Term, ...] = ()
    workspace: Term = Term(0.0, 0.0)


NOTHING = Cost()


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution as an algorithm sees it: images · filters → outputs, for one sample of the network's batch.

    In a forward pass or a data gradient the images are the batch. In a filter gradient the roles turn: the input
    channels are the images, the batch is summed over, and ``batch_is_summed`` says so.

    Attributes:
        images: Images per sample (1), or the input channels where the batch is summed over.
        height: Rows of an image, unpadded.
        width: Columns of an image, unpadded.
        channels: Channels summed over, per group; per sample (1) where the batch is summed over.
        kernel: Window of the filters.
        filters: Output channels.
        outputs: Rows and columns of the output.
        padding: Zeros on each side (rows, columns).
        groups: Groups of channels.
        holes: Share of zeros in the expanded gradient.
        holes_in: ``images``, ``filters`` or empty: where those zeros stand.
        strides: Of the convolution itself.
        batch_is_summed: True for a filter gradient.
    """

    images: int
    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    filters: int
    outputs: tuple[int, int]
    padding: tuple[int, int]
    groups: int = 1
    holes: float = 0.0
    holes_in: str = ""
    strides: tuple[int, int] = (1, 1)
    batch_is_summed: bool = False

    def per_batch(self, value: float) -> Term:
        """A quantity that grows with the batch."""
        return Term(0.0, value)

    def per_filter(self, value: float, repeats: float = 1.0) -> Term:
        """A quantity of the filters: constant in the batch, except where the filters are the batch's gradients."""
        return Term(0.0, value, repeats) if self.batch_is_summed else Term(value, 0.0, repeats)

    def per_output(self, value: float, repeats: float = 1.0) -> Term:
        """A quantity of the outputs: grows with the batch, except in a filter gradient."""
        return Term(value, 0.0, repeats) if self.batch_is_summed else Term(0.0, value, repeats)


# -- the three passes of a layer ---------------------------------------------------------------------------------


def forward(layer: Layer, outputs: int) -> Convolution:
    """The forward pass of a Convolution layer, of which this device computes ``outputs`` channels."""
    height, width, channels = layer.input_shapes[0]
    return Convolution(
        images=1,
        height=height,
        width=width,
        channels=channels // layer.groups,
        kernel=layer.kernel,
        filters=outputs,
        outputs=(layer.output_shape[0], layer.output_shape[1]),
        padding=layer.padding,
        groups=layer.groups,
        strides=layer.strides,
    )


def _expanded(size_in: int, size_out: int, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Size of the output gradient with zeros between its elements, and the padding of the gradient's convolution.

    The padding is the smaller of before (k - 1 - p) and after (H + k - 1 - expanded - before); where they differ by
    one, the expanded size grows by one (TensorFlow's convention, followed by [1]).
    """
    expanded = (size_out - 1) * stride + 1
    before = kernel - 1 - padding
    after = size_in + kernel - 1 - expanded - before
    return expanded + (1 if abs(before - after) == 1 else 0), min(before, after)


def _expand(layer: Layer) -> tuple[int, int, int, int, float]:
    height, width, _ = layer.input_shapes[0]
    out_h, out_w = layer.output_shape[:2]
    expanded_h, pad_h = _expanded(height, out_h, layer.kernel[0], layer.strides[0], layer.padding[0])
    expanded_w, pad_w = _expanded(width, out_w, layer.kernel[1], layer.strides[1], layer.padding[1])
    holes = 1.0 - (out_h * out_w) / (expanded_h * expanded_w)
    return expanded_h, expanded_w, pad_h, pad_w, holes


def data_gradient(layer: Layer, outputs: int) -> Convolution:
    """The gradient with respect to the layer's input: a stride-1 convolution of the expanded output gradient."""
    height, width, channels = layer.input_shapes[0]
    expanded_h, expanded_w, pad_h, pad_w, holes = _expand(layer)
    return Convolution(
        images=1,
        height=expanded_h,
        width=expanded_w,
        channels=outputs // layer.groups,
        kernel=layer.kernel,
        filters=channels,
        outputs=(height, width),
        padding=(pad_h, pad_w),
        groups=layer.groups,
        holes=holes,
        holes_in="images",
    )


def filter_gradient(layer: Layer, outputs: int) -> Convolution:
    """The gradient with respect to the filters: the input convolved with the expanded output gradient."""
    height, width, channels = layer.input_shapes[0]
    expanded_h, expanded_w, pad_h, pad_w, holes = _expand(layer)
    return Convolution(
        images=channels,
        height=height,
        width=width,
        channels=1,
        kernel=(expanded_h, expanded_w),
        filters=outputs,
        outputs=layer.kernel,
        padding=(0, 0) if layer.padding_mode == "VALID" else (pad_h, pad_w),
        groups=layer.groups,
        holes=holes,
        holes_in="filters",
        batch_is_summed=True,
    )


# -- the algorithms ----------------------------------------------------------------------------------------------


def _products(conv: Convolution) -> float:
    """Channel products per sample: images · channels · filters, each output channel seeing its group only."""
    return conv.images * conv.channels * conv.filters / (conv.groups if conv.batch_is_summed else 1)


def _filter_planes(conv: Convolution) -> float:
    """Planes of the filters: channels · filters."""
    return conv.channels * conv.filters


def _output_planes(conv: Convolution) -> float:
    return conv.images * conv.filters / (conv.groups if conv.batch_is_summed else 1)


def _image_planes(conv: Convolution) -> float:
    return conv.images * conv.channels * (1 if conv.batch_is_summed else conv.groups)


def gemm(conv: Convolution) -> Cost:
    """As a matrix product: 2 · K_h · K_w · C_in · C_out · H_out · W_out · N FLOPs ([1], table 1).

    Holes in the filters (a filter gradient of a strided layer) are skipped; holes in the images add
    2 FLOPs for each element that is not one.
    """
    kernel_h, kernel_w = conv.kernel
    out_h, out_w = conv.outputs
    dense = 1.0 - conv.holes if conv.holes_in == "filters" else 1.0
    flops = 2.0 * kernel_h * kernel_w * _products(conv) * out_h * out_w * dense
    if conv.holes_in == "images" and conv.holes > 0:
        flops += 2.0 * conv.height * conv.width * _image_planes(conv) * (1.0 - conv.holes)
    padded = (conv.height + 2 * conv.padding[0]) * (conv.width + 2 * conv.padding[1])
    return Cost(
        compute=(conv.per_batch(flops),),
        memory=(
            conv.per_batch(padded * _image_planes(conv)),
            conv.per_filter(kernel_h * kernel_w * _filter_planes(conv) * dense),
            conv.per_output(out_h * out_w * _output_planes(conv)),
        ),
    )


def _fft_flops(area: float, one_dimensional: bool, real_input: bool) -> float:
    """FLOPs of one two-dimensional FFT padded to a power of two: 2 · t · 5 t log2 t, half for a real input ([2])."""
    side = 2.0 ** math.ceil(math.log2(math.sqrt(area)))
    flops = 2.0 * side * 5.0 * side * math.log2(side)
    return flops / (2.0 if one_dimensional else 1.0) / (2.0 if real_input else 1.0)


def _fourier(conv: Convolution, side_h: int, side_w: int, tiles: int) -> Cost:
    area = float(side_h * side_w)
    one_dimensional = 1 in conv.kernel
    filter_area = float(max(side_h, side_w)) if one_dimensional else area
    images, planes, results = _image_planes(conv), _filter_planes(conv), _output_planes(conv)
    transform = _fft_flops(area, one_dimensional, real_input=True)
    inverse = _fft_flops(area, one_dimensional, real_input=False)
    out_h, out_w = conv.outputs
    return Cost(
        compute=(
            Term(0.0, images * transform, tiles),
            conv.per_filter(planes * transform),
            Term(0.0, 4.0 * _products(conv) * area, tiles),  # complex product: 4 multiplications
            conv.per_output(results * inverse, tiles),
        ),
        memory=(
            Term(0.0, images * area, tiles),
            Term(0.0, images * area * _COMPLEX, tiles),
            conv.per_filter(planes * area),
            conv.per_filter(planes * filter_area * _COMPLEX),
            Term(0.0, images * area * _COMPLEX, tiles),
            conv.per_filter(planes * filter_area * _COMPLEX, tiles),
            conv.per_output(results * area * _COMPLEX, tiles),
            conv.per_output(results * area * _COMPLEX),
            conv.per_output(results * out_h * out_w),
        ),
        workspace=_sum(
            Term(0.0, images * area * _COMPLEX),
            conv.per_filter(planes * area * _COMPLEX),
            conv.per_output(results * area * _COMPLEX),
        ),
    )


def _sum(*terms: Term) -> Term:
    return Term(sum(term.fixed for term in terms), sum(term.per_sample for term in terms))


def fft(conv: Convolution) -> Cost:
    """By Fourier transform of the whole image and filter ([1], [2])."""
    return _fourier(
        conv,
        max(conv.height + 2 * conv.padding[0], conv.kernel[0]),
        max(conv.width + 2 * conv.padding[1], conv.kernel[1]),
        1,
    )


def fft_tiled(conv: Convolution) -> Cost:
    """By Fourier transform of 32 × 32 tiles, with workspace for one tile."""
    tiles = math.ceil(conv.height / FFT_TILE) * math.ceil(conv.width / FFT_TILE)
    return _fourier(conv, FFT_TILE, FFT_TILE, tiles)


def winograd(conv: Convolution) -> Cost | None:
    """By F(2×2, 3×3) ([3], section 4.1), or F(3×3, 2×2) for the filter gradient; None unless 3×3 with stride 1.

    Per 4×4 tile and channel the transforms take 32 (data), 28 (filter) and 24 (inverse) FLOPs and the product 2 · 16.
    """
    window = conv.outputs if conv.batch_is_summed else conv.kernel
    if window != (3, 3) or conv.strides != (1, 1) or conv.holes > 0:
        return None
    # Either way the image is covered by tiles of 2 × 2 outputs (or 2 × 2 gradient elements).
    area_h, area_w = conv.kernel if conv.batch_is_summed else conv.outputs
    tiles = math.ceil(area_h / 2) * math.ceil(area_w / 2)
    images, planes, results = _image_planes(conv), _filter_planes(conv), _output_planes(conv)
    filter_tiles = tiles if conv.batch_is_summed else 1
    result_tiles = 1 if conv.batch_is_summed else tiles
    out_h, out_w = conv.outputs
    kernel_h, kernel_w = conv.kernel
    return Cost(
        compute=(
            Term(0.0, 32.0 * images * tiles),
            conv.per_filter(28.0 * planes * filter_tiles),
            Term(0.0, 2.0 * 16.0 * _products(conv) * tiles),
            conv.per_output(24.0 * results * result_tiles),
        ),
        memory=(
            Term(0.0, images * (conv.height + 2 * conv.padding[0]) * (conv.width + 2 * conv.padding[1])),
            Term(0.0, 2.0 * 16.0 * images * tiles),
            conv.per_filter(planes * kernel_h * kernel_w),
            conv.per_filter(2.0 * 16.0 * planes * filter_tiles),
            conv.per_output(2.0 * 16.0 * results * result_tiles),
            conv.per_output(results * out_h * out_w),
        ),
        workspace=_sum(
            Term(0.0, 16.0 * images * tiles),
            conv.per_filter(16.0 * planes * filter_tiles),
            conv.per_output(16.0 * results * result_tiles),
        ),
    )


ALGORITHMS: dict[str, Callable[[Convolution], Cost | None]] = {
    "gemm": gemm,
    "fft": fft,
    "fft_tiled": fft_tiled,
    "winograd": winograd,
}
