"""A device: one accelerator, as its data sheet gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paleo_opt.hardware.constant import Constant
from paleo_opt.hardware.platform import ATTAINABLE

HALF_BYTES = 2
#: Precisions, with the bytes of one element in memory and on the wire: those of fewer than 16 bits are of products
#: alone (`precision`).
ELEMENT_BYTES = {
    "fp32": 4, "tf32": 4, "fp16": HALF_BYTES, "bf16": HALF_BYTES, "fp8": HALF_BYTES, "mxfp8": HALF_BYTES,
    "fp4": HALF_BYTES, "nvfp4": HALF_BYTES,
}  # fmt: skip


@dataclass(frozen=True)
class Device:
    """One accelerator.

    Attributes:
        name: As in its file.
        description: Marketing name.
        peak: FLOP/s by precision (dense, never with sparsity), those of `ELEMENT_BYTES` that it has.
        memory: Bytes.
        memory_bandwidth: Bytes/s.
        clock: Hz; its period is PALEO's floor for any nonzero time.
        multiprocessors: Streaming multiprocessors or the like; None where not published.
        power: Watts (TDP); None where not published.
        ppp_comp: Platform percent of peak of computation by precision, where a source gives one for this device.
        host_link: Bytes/s per direction to the host (PCIe); None where not published.
        source: Where the numbers are from.
        attainable: Shares of the data sheet attained at best, by name of `platform.ATTAINABLE`, where measured.
        platform: Its default software; empty for `platform_load.DEFAULT_PLATFORM`.
    """

    name: str
    description: str
    peak: Mapping[str, float]
    memory: float
    memory_bandwidth: float
    clock: float
    multiprocessors: int | None
    power: float | None
    source: str
    ppp_comp: Mapping[str, float] = field(default_factory=dict)
    host_link: float | None = None
    attainable: Mapping[str, Constant] = field(default_factory=dict)
    platform: str = ""
    file: str = ""

    @property
    def training_precision(self) -> str:
        """The precision one would train in: bf16, else fp16 where tensor cores have it, else fp32."""
        if "bf16" in self.peak:
            return "bf16"
        if self.peak.get("fp16", 0.0) >= 3 * self.peak.get("fp32", float("inf")):
            return "fp16"
        return "fp32" if "fp32" in self.peak else next(iter(self.peak))

    def attained(self, name: str) -> Constant:
        """The share of its data sheet that its ``vector`` or ``tensor`` units or its ``memory`` attain at best."""
        return self.attainable.get(name, ATTAINABLE[name].prior)

    @property
    def parts(self) -> frozenset[str]:
        """Which of `platform.ATTAINABLE` it has: tensor cores only where some precision runs on them."""
        return frozenset((*(self.unit(precision) for precision in self.peak), "memory"))

    def unit(self, precision: str) -> str:
        """Which units compute in ``precision``: ``tensor`` cores, or the ``vector`` units of fp32.

        Tensor cores are what is several times as fast as fp32; bf16 and tf32 exist on them alone, whatever their speed.
        """
        fp32 = self.peak.get("fp32")
        if fp32 is None:
            return "tensor"
        modern = precision != "fp32" and ("bf16" in self.peak or "tf32" in self.peak)
        return "tensor" if modern or self.peak[precision] >= 3.0 * fp32 else "vector"
