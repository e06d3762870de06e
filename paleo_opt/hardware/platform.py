"""A software platform: what its library can do, and the share of the hardware's best that it attains.

Attained rate = peak · the device's attainable share · the platform's share. Shares are constants with an uncertainty
(`constant.Constant`); a platform's file gives those that were measured and the others keep their prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from paleo_opt.hardware.constant import Constant, Meaning


def _share(value: float, deviation: float, text: str) -> Meaning:
    return Meaning("share", 0.01, 1.0, Constant(value, deviation), text)


def _part(value: float, deviation: float, text: str) -> Meaning:
    """A share that may be next to nothing."""
    return Meaning("share", 0.001, 1.0, Constant(value, deviation), text)


#: What a device attains at best: shares of its data sheet. Priors are the medians over measured devices.
ATTAINABLE: Mapping[str, Meaning] = MappingProxyType(
    {
        "vector": _share(0.82, 0.18, "share of the fp32 peak that the vendor's largest matrix products attain"),
        "tensor": _share(
            0.64, 0.17, "share of the tensor cores' peak that the vendor's largest matrix products attain"
        ),
        "memory": _share(0.85, 0.08, "share of the memory bandwidth that large copies attain"),
    }
)

#: The constants of a platform, relative to what the device attains at best.
CONSTANTS: Mapping[str, Meaning] = MappingProxyType(
    {
        "products": _share(0.95, 0.05, "matrix products"),
        "convolutions": _share(0.80, 0.15, "convolutions as implicit matrix products"),
        "filter_gradients": _share(0.75, 0.20, "filter gradients of convolutions"),
        "winograd": _share(0.70, 0.20, "the products of Winograd convolutions"),
        "fft": _share(0.40, 0.30, "transforms and products of FFT convolutions"),
        "attention": _share(0.60, 0.35, "the products of fused attention"),
        "experts": _share(0.50, 0.30, "the products of experts, many side by side in one kernel"),
        "softmax": Meaning(
            "number", 0.1, 1e3, Constant(8.0, 0.8), "scores a clock that a multiprocessor exponentiates in attention"
        ),
        "memory": _share(0.85, 0.10, "memory-bound operations"),
        "launch": Meaning("time", 1e-7, 1e-3, Constant(5e-6, 0.5), "between two kernels, dispatch included"),
        "dispatch": Meaning(
            "time", 1e-7, 1e-3, Constant(8e-6, 0.5), "of the host for a kernel, while the device works on those before"
        ),
        "send": Meaning(
            "time", 1e-7, 1e-1, Constant(2e-5, 1.0), "of the framework for a message between pipeline stages"
        ),
        "host_update": Meaning(
            "bandwidth", 1e8, 1e13, Constant(2.5e10, 0.7), "of optimizer state that the host updates for a device"
        ),
        "step_overhead": Meaning("time", 1e-6, 1.0, Constant(1e-3, 1.0), "of the framework in each step"),
        "communication": _share(0.90, 0.10, "link bandwidth, beyond what the link's own constants lose"),
        "overlap": _share(0.90, 0.10, "gradient communication that may hide behind the backward pass"),
        "contention": _part(0.05, 1.0, "hidden communication that lengthens the computation behind it"),
        "tensor_overlap": _part(0.10, 1.0, "tensor-parallel communication that hides behind products"),
        "pipeline_overlap": _part(0.5, 0.7, "sends between pipeline stages that hide behind computation"),
        "expert_overlap": _part(0.2, 1.0, "exchanges of tokens between experts that hide behind computation"),
        "gather_overlap": _part(0.8, 0.2, "gathering of sharded parameters that may hide behind computation"),
        "fragmentation": _part(0.03, 0.5, "allocated memory that no tensor uses"),
        "server": Meaning(
            "bandwidth", 1e7, 1e13, Constant(5e9, 0.5), "gradients that one parameter server takes in and applies"
        ),
    }
)

SERVERS = ("devices", "host")
#: Convolution algorithms, by the index that the default model gives them; GEMM, which runs anything, first.
ALGORITHMS = ("gemm", "fft", "fft_tiled", "winograd")
PASSES = ("forward", "backward_data", "backward_filter")
#: What a platform may do within the kernel of the product before it, moving no bytes of its own; and in one kernel each
#: attention, which then keeps no scores, a chain of pointwise steps, and the update of all weights.
FUSIBLE = ("bias", "activation", "normalizer", "add", "concatenate", "attention", "pointwise", "update")
#: When gradients are sent: every layer's by itself, buckets of some bytes, or all at the end.
AT_END, EVERY_LAYER = float("inf"), 0.0


@dataclass(frozen=True)
class Platform:
    """A software platform.

    Attributes:
        name: As in its file.
        description: One line.
        source: What its constants were fitted to, or who says so.
        constants: By name of `CONSTANTS`, those that its file gives.
        algorithms: For each of `PASSES`, the convolution algorithms that its library has; GEMM always.
        fused: Out of `FUSIBLE`.
        per_image: Whether a convolution is a matrix product for each image of the batch, of an unrolled copy of it (the
            im2col of Caffe and Torch7), rather than one kernel for all.
        bucket_bytes: Gradients sent together: `EVERY_LAYER`, some bytes, or `AT_END`.
        servers: Where parameter servers keep a node's parameters: on its ``devices``, each a part of them, or on its
            ``host``.
        collective: What sends them: a collective's name, or ``auto``.
        kept_products: Share of the products whose outputs selective recomputation keeps.
        gradient_bytes: Of a gradient that is added up over micro-batches and devices; None for those of a weight.
        sequence_parallel: Whether tensor-parallel devices also divide positions unless one says otherwise.
        software: How measured tables name it: a row is this platform's where all words of one entry are in its
            ``family`` and ``software``, ignoring case.
        file: Where it was read from.
    """

    name: str
    description: str
    source: str
    constants: Mapping[str, Constant] = field(default_factory=dict)
    algorithms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fused: frozenset[str] = frozenset()
    per_image: bool = False
    bucket_bytes: float = 25e6
    servers: str = "devices"
    collective: str = "auto"
    gradient_bytes: float | None = None
    kept_products: float = 1.0
    sequence_parallel: bool = False
    software: tuple[str, ...] = ()
    file: str = ""

    def constant(self, name: str) -> Constant:
        """A constant of `CONSTANTS`: the file's, else the prior."""
        return self.constants.get(name, CONSTANTS[name].prior)

    def origin(self, name: str) -> str:
        """Where a constant is from: ``fitted``, ``given`` where its file takes it as exact, or ``prior``."""
        if name not in self.constants:
            return "prior"
        return "fitted" if self.constants[name].deviation else "given"

    @property
    def fitted_constants(self) -> int:
        """How many constants its file gives with an uncertainty."""
        return sum(constant.deviation > 0 for constant in self.constants.values())
