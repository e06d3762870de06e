"""How many places a window has along one axis, under each convention of padding.

With H the height (or width) of the input, k the window, s the stride and p the rows of padding on each side:

=========  =======================================  ============================================
padding    convolution and pooling                  deconvolution
=========  =======================================  ============================================
VALID      ceil((H - k + 1) / s)                    (H - 1) s + k
SAME       ceil(H / s)                              H s
explicit   floor((H + 2p - k) / s) + 1              (H - 1) s + k - 2p
=========  =======================================  ============================================

VALID and SAME are TensorFlow's conventions, the explicit one is Caffe's; Caffe's pooling rounds up
(``ceil: true``) and drops a last window that would start in the padding. The padding of SAME is PALEO's, half
of the total, rounded down.
"""

from __future__ import annotations

Pair = tuple[int, int]


def same_padding(size: int, output: int, kernel: int, stride: int) -> int:
    """Rows of zeros before the input under SAME: half of what the windows reach beyond it, rounded down."""
    return max(0, ((output - 1) * stride + kernel - size) // 2)


def window_output(size: int, kernel: int, stride: int, mode: str, padding: int = 0, ceil: bool = False) -> int:
    """Height or width after a convolution or pooling; 0 or less where the window does not fit.

    ``mode`` is VALID, SAME or EXPLICIT; ``ceil`` is Caffe's rounding, for pooling.
    """
    if mode == "SAME":
        return -(-size // stride)
    span = size + 2 * padding - kernel
    if span < 0:
        return 0
    if not ceil:
        return span // stride + 1
    output = -(-span // stride) + 1
    return output - 1 if (output - 1) * stride >= size + padding else output


def deconvolution_output(size: int, kernel: int, stride: int, mode: str, padding: int = 0) -> int:
    """Height or width after a deconvolution, where ``output_shape`` does not say; 0 or less where nothing is left."""
    return size * stride if mode == "SAME" else (size - 1) * stride + kernel - 2 * padding
