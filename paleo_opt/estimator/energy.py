"""Energy and carbon: devices by how busy they are, the rest of the node, the building, the grid.

A device draws a share of its TDP when idle and a larger one when it computes; fans, processors, memory and network
cards of the node add a share of the devices' TDP; the building multiplies by its PUE.

References:
    [1] Patterson et al.: Carbon Emissions and Large Neural Network Training, arXiv:2104.10350, table 4: average system
        power per accelerator 330 W (V100, TDP 300 W) and PUE 1.09 to 1.12.
    [2] NVIDIA DGX A100 and DGX H100 data sheets: 6.5 and 10.2 kW at most for 8 × 400 and 8 × 700 W of devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PowerModel:
    """Shares of TDP, and the building.

    Attributes:
        idle: Of a device that waits, as a share of its TDP. Assumed: data-center devices idle at 10 to 15%.
        busy: Of a device that computes. Assumed; with ``node`` it gives [1]'s 330 W for a V100.
        node: The rest of the node, as a share of its devices' TDP; [2] allow at most 0.8 to 1.0, an average is less.
        pue: Power usage effectiveness of the building [1].
        carbon_g_per_kwh: Of the grid; None leaves carbon out.
    """

    idle: float = 0.12
    busy: float = 0.8
    node: float = 0.3
    pue: float = 1.1
    carbon_g_per_kwh: float | None = None

    def __post_init__(self) -> None:
        for name in ("idle", "busy"):
            if not 0 <= getattr(self, name) <= 1.5:
                raise SpecError(f"{name} is {getattr(self, name)}; expected a share of TDP from 0 to 1.5")
        if self.busy < self.idle:
            raise SpecError(f"busy is {self.busy}, below idle {self.idle}")
        if not 0 <= self.node <= 5:
            raise SpecError(f"node is {self.node}; expected a share of the devices' TDP from 0 to 5")
        if not 1 <= self.pue <= 5:
            raise SpecError(f"pue is {self.pue}; expected from 1 to 5")
        if self.carbon_g_per_kwh is not None and not 0 <= self.carbon_g_per_kwh <= 5000:
            raise SpecError(f"carbon_g_per_kwh is {self.carbon_g_per_kwh}; expected from 0 to 5000")


def waiting_watts(model: PowerModel, installed: Floats | NDArray[np.int64], tdp: Floats) -> Floats:
    """Watts drawn while nothing is computed, at the building's meter.

    Args:
        model: Shares and PUE.
        installed: Devices in the nodes that the job occupies; those it does not use idle.
        tdp: Watts of one device.
    """
    watts: Floats = installed * tdp * (model.idle + model.node) * model.pue
    return watts


def computing_watts(model: PowerModel, devices: Floats | NDArray[np.int64], tdp: Floats) -> Floats:
    """Watts that computing adds to `waiting_watts`."""
    watts: Floats = devices * tdp * (model.busy - model.idle) * model.pue
    return watts
