"""Training in fewer than 16 bits: which products run so, what they read, and what converting their operands moves.

Only products of weights run in low precision, in the forward pass and both gradients. Attention, the logits, a router
of experts, normalizations and all that is bound by memory stay in 16 bits, as do weights, gradients and activations in
memory, with an fp32 master copy of the weights in the optimizer's state. Operands are converted before the product:
what enters a layer in the forward pass and the gradient that enters it in the backward pass, each along its rows and
its columns (the weights' gradient reads the columns), and the weights once a step.

References:
    [1] Micikevicius et al.: FP8 Formats for Deep Learning, arXiv:2209.05433.
    [2] Rouhani et al.: Microscaling Data Formats for Deep Learning, arXiv:2310.10537.
    [3] NVIDIA: Pretraining Large Language Models with NVFP4, arXiv:2509.25149.
    [4] NVIDIA, Transformer Engine documentation, and Megatron Core, Low-Precision Training Guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from paleo_opt.errors import SpecError
from paleo_opt.hardware.device import Device


@dataclass(frozen=True)
class LowPrecision:
    """How products run in a precision of fewer than 16 bits.

    Attributes:
        operand_bytes: Of an element of an operand, its share of a block's scale included.
        read_bytes: Read from memory to convert one element.
    """

    operand_bytes: float
    read_bytes: float

    @property
    def conversion_bytes(self) -> float:
        """Read and written to convert one element along rows and along columns."""
        return self.read_bytes + 2.0 * self.operand_bytes


#: fp8 takes the scale of a tensor from steps before (delayed scaling); mxfp8 and fp4 have one byte of scale for 32
#: elements [2]; nvfp4 has one for 16 and a scale of the tensor, for whose largest element it is read once more. Recipes
#: that keep some blocks in 16 bits ([3] does with 15% of them; Megatron Bridge's default with none) are slower.
LOW_PRECISIONS: Mapping[str, LowPrecision] = MappingProxyType(
    {
        "fp8": LowPrecision(1.0, 2.0),
        "mxfp8": LowPrecision(1.0 + 1.0 / 32.0, 2.0),
        "fp4": LowPrecision(0.5 + 1.0 / 32.0, 2.0),
        "nvfp4": LowPrecision(0.5 + 1.0 / 16.0, 4.0),
    }
)


def half_precision(device: Device, precision: str) -> str:
    """The precision on ``device`` of what does not run in ``precision``: that itself where it is of 16 bits or more.

    Raises:
        SpecError: the device has none of 16 bits.
    """
    if precision not in LOW_PRECISIONS:
        return precision
    for name in ("bf16", "fp16"):
        if name in device.peak:
            return name
    raise SpecError(f"{device.name} has no peak in bf16 or fp16, which {precision} needs besides its own")
