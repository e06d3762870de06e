"""How to estimate: the model, its constants, and the terms on which hardware is had and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.energy import PowerModel
from paleo_opt.estimator.memory import DEFAULT_RESERVE, OPTIMIZER_STATES
from paleo_opt.estimator.prices import NodePrice, node_price
from paleo_opt.estimator.reliability import Operations
from paleo_opt.hardware.bounds import MOST_DEVICES
from paleo_opt.hardware.cluster import PRICINGS, Cluster
from paleo_opt.hardware.device import ELEMENT_BYTES, Device
from paleo_opt.hardware.link_constants import link_constant
from paleo_opt.hardware.platform import Platform
from paleo_opt.hardware.platform_load import TRANSFORMER_PLATFORM, load_platform, platform_of
from paleo_opt.network.graph import Network

#: Platform percent of peak where neither the user nor the device's file gives one: the median that makes this model's
#: GEMM-only estimate meet the published times, one value for vector units and one for tensor cores. fp32: 314 rows of
#: convnet-benchmarks, cnn-benchmarks, tf_cnn_benchmarks and FireCaffe on nine devices (quartiles 0.30 to 0.75). Tensor
#: cores: 102 MLPerf Training ResNet-50 results (v0.7 to v2.1) on up to 64 A100 or V100 (quartiles 0.60 to 0.70; tuned
#: code, so an upper end); tf32 and what has fewer bits are assumed to attain the same share.
DEFAULT_PPP_COMP = {name: 0.55 if name == "fp32" else 0.65 for name in ELEMENT_BYTES}
#: Likewise for links. An assumption: NCCL attains 0.8 to 1.0 of a link on messages of a gigabyte (published nccl-tests
#: on EFA, InfiniBand and NVLink), frameworks of 2015 to 2017 attained 0.56 to 0.75 (PALEO's case studies).
DEFAULT_PPP_COMM = 0.8
MODELS = ("roofline", "paleo")
#: When gradients are applied: all workers' together, or each worker's as it comes (a parameter server without barrier).
UPDATES = ("synchronous", "asynchronous")


@dataclass(frozen=True)
class Options:
    """How to estimate: the model and its constants.

    Attributes:
        model: ``roofline``, or ``paleo``, the additive model of 2017.
        platform: Software, by name or file; None takes each device's own. Of the roofline model.
        ppp_comp: Platform percent of peak of computation (0 to 1]. Under PALEO None takes the device's, else
            `DEFAULT_PPP_COMP`; under the roofline model it takes the place of the device's attainable shares.
        ppp_comm: Platform percent of peak of links (0 to 1]. Under PALEO None takes the cluster's, else
            `DEFAULT_PPP_COMM`; under the roofline model it takes the place of the links' attained shares.
        pipelined: Whether memory traffic hides behind arithmetic. Of PALEO; kernels of the roofline model always do.
        updates: One of `UPDATES`.
        shifts: For names of constants, by how many of their standard deviations they are off their value (see
            `attained.make_attained`); of the roofline model.
        workspace_limit: Bytes a convolution algorithm may use beside its operands.
        training: False for inference: the forward pass only.
        optimizer: Overrides the network's job.
        memory_reserve: Bytes of a device's memory that the platform keeps.
        pricing: One of `PRICINGS`: the terms on which nodes are had.
        operations: What running adds to the ideal time and money; `reliability.IDEAL` for nothing.
        power: What devices, nodes and buildings draw.
    """

    model: str = "roofline"
    platform: str | None = None
    ppp_comp: float | None = None
    ppp_comm: float | None = None
    pipelined: bool = False
    workspace_limit: float = 2.0**30
    training: bool = True
    optimizer: str | None = None
    memory_reserve: float = DEFAULT_RESERVE
    pricing: str = "on_demand"
    operations: Operations = field(default_factory=Operations)
    power: PowerModel = field(default_factory=PowerModel)
    updates: str = "synchronous"
    shifts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise SpecError(f"model {self.model!r}{nearest(self.model, MODELS)}")
        if self.updates not in UPDATES:
            raise SpecError(f"updates {self.updates!r}{nearest(self.updates, UPDATES)}")
        if self.model == "paleo" and (self.platform is not None or self.updates == "asynchronous"):
            what = "platform" if self.platform is not None else "asynchronous updates"
            raise SpecError(f"the paleo model has no {what}; expected model roofline")
        if self.model != "paleo" and self.pipelined:
            raise SpecError("pipelined is of the paleo model; kernels of the roofline model always overlap the two")
        for name in ("ppp_comp", "ppp_comm"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise SpecError(f"{name} is {value}; expected above 0 and at most 1")
        if self.pricing not in PRICINGS:
            raise SpecError(f"pricing {self.pricing!r}{nearest(self.pricing, PRICINGS)}")
        if self.optimizer is not None and self.optimizer not in OPTIMIZER_STATES:
            raise SpecError(f"optimizer {self.optimizer!r}{nearest(self.optimizer, OPTIMIZER_STATES)}")

    def device_ppp(self, device: Device, precision: str) -> float:
        """The platform percent of peak that holds for ``device``."""
        if self.ppp_comp is not None:
            return self.ppp_comp
        return device.ppp_comp.get(precision, DEFAULT_PPP_COMP[precision])

    def link_share(self, cluster: Cluster, gpus: int | None = None) -> tuple[float, str]:
        """The share of the bandwidth that large messages attain between ``gpus`` devices, and where it is from.

        Under the roofline model, of the outermost level that they use (of all levels where None); from ``given``,
        ``measured``, ``the cluster's`` (under PALEO) or ``assumed``.
        """
        if self.ppp_comm is not None:
            return self.ppp_comm, "given"
        if self.model == "paleo":
            return self.cluster_ppp(cluster), "assumed" if cluster.ppp_comm is None else "the cluster's"
        reach, level = 1, cluster.levels[0]
        for level in cluster.levels:
            reach *= level.size or MOST_DEVICES
            if gpus is not None and reach >= gpus:
                break
        attained = link_constant(level.constants, "attained", level.latency)
        share = attained.value * self.platform_of(cluster.device).constant("communication").value
        return share, "measured" if "attained" in level.constants else "assumed"

    def platform_of(self, device: Device) -> Platform:
        """The software on ``device``. Raises as `platform_load.load_platform`."""
        return platform_of(device) if self.platform is None else load_platform(self.platform)

    def peak_share(self, device: Device, precision: str) -> tuple[float, str]:
        """The share of ``device``'s peak that large products attain, and where it is from.

        From ``given``, ``measured`` (by the device's file), ``the device's`` (its PPP, under PALEO) or ``assumed``.
        """
        if self.ppp_comp is not None:
            return self.ppp_comp, "given"
        if self.model == "paleo":
            return self.device_ppp(device, precision), "the device's" if precision in device.ppp_comp else "assumed"
        unit = device.unit(precision)
        share = device.attained(unit).value * self.platform_of(device).constant("products").value
        return share, "measured" if unit in device.attainable else "assumed"

    def node_price(self, cluster: Cluster) -> NodePrice | None:
        """The price of a node of ``cluster`` on the terms of ``pricing``; None where not known."""
        return node_price(cluster, self.pricing, self.power)

    def cluster_ppp(self, cluster: Cluster) -> float:
        """The platform percent of peak that holds for the links of ``cluster``."""
        if self.ppp_comm is not None:
            return self.ppp_comm
        return DEFAULT_PPP_COMM if cluster.ppp_comm is None else cluster.ppp_comm


#: The defaults; one object, so that what depends on them is computed once.
USUAL = Options()
_OF_TRANSFORMERS = Options(platform=TRANSFORMER_PLATFORM)


def usual_platform(network: Network, model: str) -> str | None:
    """The platform of ``network`` under ``model`` where the user names none; None for each device's own."""
    return TRANSFORMER_PLATFORM if network.transformer is not None and model == "roofline" else None


def usual_options(network: Network) -> Options:
    """The defaults for ``network``: transformers run on `TRANSFORMER_PLATFORM`, others on each device's own."""
    return USUAL if network.transformer is None else _OF_TRANSFORMERS
