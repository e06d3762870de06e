"""What a measured row ran, and the reason why that cannot be said."""

from __future__ import annotations

from dataclasses import dataclass

from paleo_opt.errors import PaleoOptError
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.platform import Platform
from paleo_opt.network.graph import Network
from paleo_opt.validation.measured_table import MeasuredRow

#: What a row may leave to be assumed; each assumption is counted.
ASSUMPTIONS = (
    "cluster", "precision", "collective", "platform", "micro_batch", "virtual_stages", "sequence_parallel", "sharding",
    "recompute",
)  # fmt: skip


class Refused(PaleoOptError):
    """A row that the model says nothing of; the message is the reason."""


@dataclass(frozen=True)
class Run:
    """What a row ran.

    Attributes:
        row: The row.
        network: What was trained.
        strategy: On what and how; where the row leaves that open, the first of ``alternatives``.
        samples: Of one step; the workers' batches may add up to a few more where they cannot share it evenly.
        platform: The software.
        assumed: Which of `ASSUMPTIONS` the row does not say itself.
        alternatives: What the row may have run, out of which `choose` chooses; empty where it says all.
        counted_flops: Of one sample's step, where the row's source counts others than the model's.
    """

    row: MeasuredRow
    network: Network
    strategy: Strategy
    samples: int
    platform: Platform
    assumed: tuple[str, ...]
    alternatives: tuple[Strategy, ...] = ()
    counted_flops: float | None = None
