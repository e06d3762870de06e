"""The kernels that a library runs for a two-dimensional convolution: matrix products, and the traffic around them.

Three passes, up to four algorithms. With N images of H × W × C, F filters of K_h × K_w, outputs P × Q, G groups:

    pass              m            n     k                count
    forward           N P Q        F/G   K_h K_w C/G      G
    data gradient     N P Q s_w    C/G   K_h K_w F/(G s)  G s     s = min(s_h, K_h), strides s_h, s_w
    filter gradient   K_h K_w C/G  F/G   N P Q            G

The data gradient of a strided convolution meets zeros between the elements of the output gradient. Libraries skip
those in whole rows and compute with those between columns: the published data gradients take about s_w times the
arithmetic of their forward pass, not once nor s_h s_w times.

Winograd turns the pass into a² products over tiles of outputs with transformed channels [1]; a Fourier transform into
one product for each frequency [2]. Every size is linear in the batch, so a network is compiled once for all batches.

References:
    [1] Lavin, Gray: Fast Algorithms for Convolutional Neural Networks, arXiv:1509.09308.
    [2] Mathieu, Henaff, LeCun: Fast Training of Convolutional Networks through FFTs, arXiv:1312.5851.
    [3] Chetlur et al.: cuDNN: Efficient Primitives for Deep Learning, arXiv:1410.0759.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paleo_opt.estimator.convolution import FFT_TILE, Term
from paleo_opt.network.graph import Layer

NONE = Term(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel: ``count`` products of m × k by k × n, or mere traffic where ``count`` is 0.

    Attributes:
        m: Rows of each product.
        n: Columns.
        k: Length of the reduction.
        count: Products.
        elements: Read and written.
        efficiency: The platform's constant that says how well it runs.
        algorithm: ``gemm``, ``fft``, ``fft_tiled`` or ``winograd``.
        workspace: Elements beside the operands.
        converted: Elements of its operands, the weights aside, that a low precision converts before it
            (`hardware.precision`); None where it stays in 16 bits.
        unless: The ability, out of `hardware.platform.FUSIBLE`, of platforms that do not run it: it is part of the
            kernel before.
        only: The ability of platforms that alone run it.
    """

    m: Term
    n: Term
    k: Term
    count: float
    elements: Term
    efficiency: str
    algorithm: str
    workspace: Term = NONE
    converted: Term | None = None
    unless: str = ""
    only: str = ""


Kernels = tuple[Kernel, ...]
#: For one pass, the kernels of each algorithm that can run it.
ByAlgorithm = dict[str, Kernels]


@dataclass(frozen=True, slots=True)
class ConvolutionSizes:
    """A convolution, whatever the batch.

    Attributes:
        image: Rows and columns of the input, unpadded.
        channels: Of the input.
        filters: Channels of the output.
        kernel: Rows and columns of a filter.
        outputs: Rows and columns of the output.
        strides: Vertical, horizontal.
        padding: Rows and columns of zeros on each side.
        groups: Of channels.
    """

    image: tuple[int, int]
    channels: int
    filters: int
    kernel: tuple[int, int]
    outputs: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1


def layer_sizes(layer: Layer, parts: int = 1) -> ConvolutionSizes:
    """The convolution of a Convolution layer, of which this device computes one of ``parts`` of the outputs.

    A Deconvolution's is the one whose data gradient is its forward pass.
    """
    height, width, channels = layer.input_shapes[0]
    outputs = -(-layer.outputs // parts)
    image, result = (height, width), (layer.output_shape[0], layer.output_shape[1])
    if layer.type == "Deconvolution":
        image, result, channels, outputs = result, image, outputs, channels
    return ConvolutionSizes(
        image, channels, outputs, layer.kernel, result, layer.strides, layer.padding, max(layer.groups, 1)
    )


def convolution_kernels(layer: Layer, parts: int = 1) -> tuple[ByAlgorithm, ByAlgorithm, ByAlgorithm]:
    """Forward pass, data gradient and filter gradient of a Convolution or Deconvolution layer."""
    sizes = layer_sizes(layer, parts)
    forward, data, filters = forward_kernels(sizes), data_gradient_kernels(sizes), filter_gradient_kernels(sizes)
    return (data, forward, filters) if layer.type == "Deconvolution" else (forward, data, filters)


def forward_kernels(sizes: ConvolutionSizes) -> ByAlgorithm:
    """The forward pass."""
    p, q = sizes.outputs
    taps = sizes.kernel[0] * sizes.kernel[1]
    product = Kernel(
        m=Term(0.0, p * q),
        n=Term(sizes.filters / sizes.groups, 0.0),
        k=Term(taps * sizes.channels / sizes.groups, 0.0),
        count=sizes.groups,
        elements=_operands(sizes),
        efficiency="convolutions",
        algorithm="gemm",
        converted=Term(0.0, sizes.image[0] * sizes.image[1] * sizes.channels),
    )
    return {"gemm": (product,), **_transformed(sizes, sizes.channels, sizes.filters, sizes.outputs)}


def data_gradient_kernels(sizes: ConvolutionSizes) -> ByAlgorithm:
    """The gradient with respect to the input."""
    p, q = sizes.outputs
    phases = min(sizes.strides[0], sizes.kernel[0])
    taps = sizes.kernel[0] * sizes.kernel[1] / phases
    product = Kernel(
        m=Term(0.0, p * q * sizes.strides[1]),
        n=Term(sizes.channels / sizes.groups, 0.0),
        k=Term(taps * sizes.filters / sizes.groups, 0.0),
        count=sizes.groups * phases,
        elements=_operands(sizes, whole_input=True),
        efficiency="convolutions",
        algorithm="gemm",
        converted=Term(0.0, p * q * sizes.filters),
    )
    return {"gemm": (product,), **_transformed(sizes, sizes.filters, sizes.channels, sizes.image)}


def filter_gradient_kernels(sizes: ConvolutionSizes) -> ByAlgorithm:
    """The gradient with respect to the filters: the batch is summed over, in parts that are added up in memory."""
    p, q = sizes.outputs
    taps = sizes.kernel[0] * sizes.kernel[1]
    product = Kernel(
        m=Term(taps * sizes.channels / sizes.groups, 0.0),
        n=Term(sizes.filters / sizes.groups, 0.0),
        k=Term(0.0, p * q),
        count=sizes.groups,
        elements=_operands(sizes),
        efficiency="filter_gradients",
        algorithm="gemm",
        converted=NONE,
    )
    added = _SUMMED_PARTS * taps * sizes.channels * sizes.filters / sizes.groups
    parts = Kernel(NONE, NONE, NONE, 0.0, Term(added, 0.0), "filter_gradients", "gemm")
    return {"gemm": (product, parts), **_transformed(sizes, sizes.channels, sizes.filters, sizes.outputs, summed=True)}


def _operands(sizes: ConvolutionSizes, whole_input: bool = False) -> Term:
    """Input, output and filters once each; of the input, only what a strided window meets unless ``whole_input``."""
    seen = sizes.image[0] * sizes.image[1]
    if not whole_input:
        met = (
            min(size, count * window)
            for size, count, window in zip(sizes.image, sizes.outputs, sizes.kernel, strict=True)
        )
        seen = math.prod(met)
    taps = sizes.kernel[0] * sizes.kernel[1]
    filters = taps * sizes.channels * sizes.filters / sizes.groups
    return Term(filters, seen * sizes.channels + sizes.outputs[0] * sizes.outputs[1] * sizes.filters)


def _transformed(
    sizes: ConvolutionSizes, read: int, written: int, area: tuple[int, int], summed: bool = False
) -> ByAlgorithm:
    """Winograd and Fourier, where they can run the pass, which covers ``area`` with tiles of ``written`` channels."""
    if sizes.strides != (1, 1):
        return {}
    found: ByAlgorithm = {}
    if sizes.kernel == (3, 3):
        found["winograd"] = _winograd(sizes, read, written, area, summed)
    if sizes.kernel != (1, 1):
        height, width = (size + 2 * pad for size, pad in zip(sizes.image, sizes.padding, strict=True))
        side = (_power_of_two(height), _power_of_two(width))
        if max(side) <= _LARGEST_TRANSFORM:
            found["fft"] = _fourier(sizes, read, written, side, 1, "fft", summed)
        reach = (FFT_TILE - sizes.kernel[0] + 1, FFT_TILE - sizes.kernel[1] + 1)
        if min(reach) > 0:
            tiles = math.ceil(area[0] / reach[0]) * math.ceil(area[1] / reach[1])
            found["fft_tiled"] = _fourier(sizes, read, written, (FFT_TILE, FFT_TILE), tiles, "fft_tiled", summed)
    return found


#: Elements moved for each of a filter gradient's: cleared, then two parts added to what is there. DeepBench's filter
#: gradients on eight devices are best met by 5; by 2 or 10 their median error is 1 to 3 points larger.
_SUMMED_PARTS = 5.0
_LARGEST_TRANSFORM = 256  # cuDNN's limit
_OUTPUT_TILE, _GRADIENT_TILE = 2, 4  # sides of Winograd's tiles: (side + 2)² products for each


def _power_of_two(size: int) -> int:
    return int(2 ** math.ceil(math.log2(size)))


def _winograd(sizes: ConvolutionSizes, read: int, written: int, area: tuple[int, int], summed: bool) -> Kernels:
    """F(2 × 2, 3 × 3) in one kernel, its transforms inside; for the filter gradient F(3 × 3, 4 × 4) in three [1].

    A sum over the batch leaves nothing to transform at once, so libraries write the transformed images to memory.
    """
    side = _GRADIENT_TILE if summed else _OUTPUT_TILE
    products = (side + 2) ** 2
    tiles = math.ceil(area[0] / side) * math.ceil(area[1] / side)
    operands = _operands(sizes, whole_input=True)
    if not summed:
        return (_products(sizes, read, written, tiles, products, 1.0, "winograd", operands, "winograd", summed),)
    planes = read * written / sizes.groups
    spectrum = Term(products * planes, products * tiles * (read + written))
    transform = Term(0.0, operands.per_sample + spectrum.per_sample)
    inverse = Term(spectrum.fixed + operands.fixed, 0.0)
    return (
        Kernel(NONE, NONE, NONE, 0.0, transform, "winograd", "winograd"),
        _products(sizes, read, written, tiles, products, 1.0, "winograd", spectrum, "winograd", summed, spectrum),
        Kernel(NONE, NONE, NONE, 0.0, inverse, "winograd", "winograd"),
    )


def _products(
    sizes: ConvolutionSizes,
    read: int,
    written: int,
    tiles: int,
    products: int,
    depth: float,
    efficiency: str,
    elements: Term,
    algorithm: str,
    summed: bool,
    workspace: Term = NONE,
) -> Kernel:
    """``products`` products over tiles and channels; in a filter gradient the tiles are summed over."""
    a, b, c = Term(0.0, tiles), Term(written / sizes.groups, 0.0), Term(read / sizes.groups, 0.0)
    if summed:
        a, c = c, a
    return Kernel(
        m=a,
        n=b,
        k=Term(c.fixed * depth, c.per_sample * depth),
        count=products * sizes.groups,
        elements=elements,
        efficiency=efficiency,
        algorithm=algorithm,
        workspace=workspace,
    )


def _fourier(
    sizes: ConvolutionSizes, read: int, written: int, side: tuple[int, int], tiles: int, algorithm: str, summed: bool
) -> Kernels:
    """Transforms of both operands, one complex product for each frequency, and the inverse transform [2].

    Half of the frequencies suffice for real data, each complex number being two elements; a complex product takes four
    real ones.
    """
    frequencies = side[0] * (side[1] // 2 + 1)
    spectrum = 2.0 * frequencies
    taps = sizes.kernel[0] * sizes.kernel[1]
    planes = read * written / sizes.groups
    image, output = sizes.image[0] * sizes.image[1], sizes.outputs[0] * sizes.outputs[1]
    channels, filters = sizes.channels, sizes.filters
    # The images and outputs hold tiles; the filters are transformed once, whatever the batch.
    images = Term(0.0, (channels + filters) * spectrum * tiles)
    weights = Term(planes * spectrum, 0.0)
    both = Term(weights.fixed, images.per_sample)
    plain = Term(planes * taps, image * channels + output * filters)
    return (
        Kernel(
            NONE, NONE, NONE, 0.0, Term(both.fixed + plain.fixed, both.per_sample + plain.per_sample), "fft", algorithm
        ),
        _products(sizes, read, written, tiles, frequencies, 4.0, "fft", both, algorithm, summed, both),
    )
