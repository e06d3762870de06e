"""Memory per device: parameters, gradients, optimizer state, activations, workspace, and the platform's reserve.

Mixed precision follows Micikevicius et al. (arXiv:1710.03740) and the accounting of ZeRO (Rajbhandari et al.,
arXiv:1910.02054, section 3.1): half-precision weights and gradients, and an fp32 master copy in the optimizer state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paleo_opt.estimator.cost_table import Floats, Layout

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
    element_bytes: Floats | float,
    weight_bytes: Floats | float,
    optimizer: str,
    training: bool,
    reserve: float,
) -> Memory:
    """Bytes that one device needs.

    Args:
        layout: Of splits, compiled.
        micro_batch: Samples per device and pass; any shape.
        workspace: Elements of the largest workspace, the same shape.
        element_bytes: Bytes of one element of workspace.
        weight_bytes: Bytes of a weight, a gradient and a kept activation, at least two (fp8 trains with 16 bits in
            memory); under four adds an fp32 master copy to the optimizer state.
        optimizer: A key of `OPTIMIZER_STATES`.
        training: False for inference: no gradients, no optimizer, and only the largest layer's activations.
        reserve: Bytes kept by the platform.
    """
    count = layout.replicated_parameters + layout.divided_parameters / layout.tensor
    weights = np.asarray(weight_bytes)
    parameters = np.asarray(count * weights)
    states = OPTIMIZER_STATES[optimizer] + (weights < 4)
    kept = layout.activations if training else layout.largest_activation
    return Memory(
        parameters=parameters,
        gradients=parameters * training,
        optimizer=np.asarray(count * 4.0 * training * states, dtype=np.float64),
        activations=kept * weights * micro_batch,
        workspace=workspace * element_bytes,
        reserve=np.asarray(reserve),
    )
