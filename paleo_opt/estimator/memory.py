"""Memory per device: parameters, gradients, optimizer state, activations, workspace, and the platform's reserve.

Mixed precision follows Micikevicius et al. (arXiv:1710.03740) and the accounting of ZeRO (Rajbhandari et al.,
arXiv:1910.02054, section 3.1): half-precision weights and gradients, and an fp32 master copy in the optimizer state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paleo_opt.estimator.cost_table import Floats, Layout
from paleo_opt.hardware.device import ELEMENT_BYTES

#: fp32 values an optimizer keeps per parameter.
OPTIMIZER_STATES = {"sgd": 0, "momentum": 1, "lars": 1, "rmsprop": 2, "adam": 2}
#: Bytes a CUDA context with its libraries keeps on the device; an assumption, overridden by ``memory_reserve``.
DEFAULT_RESERVE = 600e6


@dataclass(frozen=True, eq=False)
class Memory:
    """Bytes per device, by use. Each broadcasts over the strategies."""

    parameters: Floats
    gradients: Floats
    optimizer: Floats
    activations: Floats
    workspace: Floats
    reserve: Floats

    @property
    def total(self) -> Floats:
        """Bytes in all."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.workspace + self.reserve


def device_memory(
    layout: Layout,
    micro_batch: Floats,
    workspace: Floats,
    *,
    precision: str,
    optimizer: str,
    training: bool,
    reserve: float,
) -> Memory:
    """Bytes that one device needs.

    Args:
        layout: Of splits, compiled.
        micro_batch: Samples per device and pass; any shape.
        workspace: Elements of the largest workspace, the same shape.
        precision: Of activations and weights; anything under fp32 adds an fp32 master copy to the optimizer.
        optimizer: A key of `OPTIMIZER_STATES`.
        training: False for inference: no gradients, no optimizer, and only the largest layer's activations.
        reserve: Bytes kept by the platform.
    """
    element = float(ELEMENT_BYTES[precision])
    weights = max(element, 2.0)  # fp8 and fp4 train with 16-bit weights and gradients
    count = layout.replicated_parameters + layout.divided_parameters / layout.tensor
    constant = np.ones(())
    states = OPTIMIZER_STATES[optimizer] + (1 if weights < 4 else 0)
    kept = layout.activations if training else layout.largest_activation
    return Memory(
        parameters=count * weights * constant,
        gradients=count * weights * constant * training,
        optimizer=count * 4.0 * states * constant * training,
        activations=kept * weights * micro_batch,  # fp8 keeps its activations in 16 bits
        workspace=workspace * element,
        reserve=reserve * constant,
    )
