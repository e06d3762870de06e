"""What a measured row ran: its network, cluster, strategy and software platform, or why that cannot be said."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from paleo_opt import catalog
from paleo_opt.errors import PaleoOptError, SpecError
from paleo_opt.estimator.collectives import AUTO, NAMED_COLLECTIVES
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster, single_device_cluster
from paleo_opt.hardware.load import load_cluster, load_device
from paleo_opt.hardware.platform import Platform
from paleo_opt.hardware.platform_load import load_platform, platform_for, platform_of
from paleo_opt.network.graph import Network
from paleo_opt.network.load import load_network
from paleo_opt.validation.measured_table import MeasuredRow
from paleo_opt.validation.resolve_transformer import (
    BY_SIZES,
    SIZES,
    NetworkKey,
    counted_flops,
    needed_sharding,
    network_key,
    network_of,
    splitting_of,
)
from paleo_opt.validation.run import Refused, Run
from paleo_opt.validation.systems import stand_in

#: Of the splits that the model has none of for a network of layers.
_NOT_MODELLED = {"pipeline": 1, "expert": 1, "context": 1, "virtual_stages": 1}


@dataclass
class Resolver:
    """Resolves rows for the model of ``options``, loading each file once."""

    options: Options
    _networks: dict[NetworkKey, Network | Refused] = field(default_factory=dict)
    _names: dict[str, frozenset[str]] = field(default_factory=dict)
    _devices: dict[str, str] = field(default_factory=dict)
    _clusters: dict[tuple[str, str], Cluster | Refused] = field(default_factory=dict)
    _platforms: dict[str, Platform | None] = field(default_factory=dict)

    def resolve(self, row: MeasuredRow) -> Run:
        """What ``row`` ran.

        Raises:
            Refused: why nothing can be said of it.
        """
        if row.device not in self._devices:
            self._devices[row.device] = shipped_device(row.device)
        if row.device != self._devices[row.device]:
            row = replace(row, device=self._devices[row.device])
        network = self._network(row)
        cluster, assumed = self._cluster(row)
        if row.gpus == 1 and row.quantity == "speedup":
            raise Refused("speedup of one GPU")
        sharding = row.sharding or needed_sharding(row, network, cluster)
        platform = self._platform(f"{row.family} {row.software} {sharding}".rstrip())
        if platform is None:
            platform = platform_of(cluster.device)
            if self.options.model != "paleo":  # it knows no platforms
                assumed.append("platform")
        precision = row.precision
        if not precision:
            precision = cluster.device.training_precision
            assumed.append("precision")
        if precision not in cluster.device.peak:
            raise Refused(f"{cluster.device.name} has no peak in {precision}")
        collective = row.collective
        if not collective:
            collective = platform.collective
            if collective == AUTO and self.options.model == "paleo":
                collective = "ring_all_reduce"
            if row.gpus > 1:
                assumed.append("collective")
        elif collective not in NAMED_COLLECTIVES:
            raise Refused(f"collective {collective!r} is not known")
        if network.transformer is not None and self.options.model != "paleo":
            found = splitting_of(row, network, cluster, platform, collective, precision)
            strategies, samples = found.strategies, found.samples
            assumed += found.assumed
        else:
            strategy, samples = _of_layers(row, network, cluster, collective, precision)
            strategies = (strategy,)
        return Run(
            row,
            network,
            strategies[0],
            samples,
            platform,
            tuple(assumed),
            strategies if len(strategies) > 1 else (),
            None if network.transformer is None else counted_flops(row, network),
        )

    def _network(self, row: MeasuredRow) -> Network:
        name = _beside(row, row.network)
        transformer = row.family == "transformer"
        key = network_key(row, name) if transformer else (name, (), "")
        if key not in self._networks:
            self._networks[key] = _load_network(key, transformer)
        found = self._networks[key]
        if isinstance(found, Refused):
            raise found
        if transformer != (found.transformer is not None):
            what = "a network of layers" if transformer else "a transformer"
            raise Refused(f"family {row.family}, but {row.network} is {what}")
        if not transformer and any(getattr(row, size) is not None for size in SIZES if size != "sequence_length"):
            raise Refused("a transformer's sizes are given beside a network of layers")
        return found

    def _cluster(self, row: MeasuredRow) -> tuple[Cluster, list[str]]:
        """Where it ran, and whether that is a stand-in."""
        if row.device not in self._known("device"):
            raise Refused(f"device {row.device!r} is not known")
        assumed: list[str] = []
        name = _beside(row, row.cluster)
        if name and name not in self._known("cluster") and not Path(name).is_file():
            rule = stand_in(row)
            if rule is None:
                raise Refused("the cluster is not known, and what the row says of it fits none that is")
            assumed.append("cluster")
            name, device = f"{rule.cluster} for {rule.device}", rule.instead or rule.device
            if (name, device) not in self._clusters:
                self._clusters[name, device] = rule.load()
        elif not name and row.gpus > 1:
            raise Refused("several GPUs, and no cluster is named")
        else:
            device = row.device
            if (name, device) not in self._clusters:
                self._clusters[name, device] = _load_cluster(name, device)
        found = self._clusters[name, device]
        if isinstance(found, Refused):
            raise found
        return found, assumed

    def _known(self, kind: str) -> frozenset[str]:
        if kind not in self._names:
            self._names[kind] = frozenset(catalog.names(kind))
        return self._names[kind]

    def _platform(self, software: str) -> Platform | None:
        if software not in self._platforms:
            given = self.options.platform
            self._platforms[software] = platform_for(software) if given is None else load_platform(given)
        return self._platforms[software]


def shipped_device(name: str) -> str:
    """The shipped device that a table's name means, whatever it says of vendor and board; else the name itself.

    ``nvidia-a30-pcie-24gb`` is ``a30``: the vendor's words go, and what follows a shipped name.
    """
    known = catalog.names("device")
    bare = name.removeprefix("nvidia-").removeprefix("geforce-")
    if name in known:
        return name
    fitting = [each for each in known if bare == each or bare.startswith(f"{each}-")]
    return max(fitting, key=len, default=name)


def _beside(row: MeasuredRow, name: str) -> str:
    """A file's name as seen from the table's folder; any other name as it is."""
    beside = Path(row.file).parent / name
    return str(beside) if name.endswith((".yaml", ".yml")) and beside.is_file() else name


def _load_network(key: NetworkKey, transformer: bool) -> Network | Refused:
    name = key[0]
    if name != BY_SIZES and not name.endswith((".yaml", ".yml")) and name not in catalog.names("net"):
        return Refused(f"network {name!r} is not known")
    try:
        return network_of(key) if transformer else load_network(name)
    except SpecError as error:
        if name == BY_SIZES:
            problem = error.problems[0]
            return Refused(f"a transformer's {problem.field.removeprefix('transformer.')} {problem.message}")
        return Refused(f"network {name!r} cannot be read: {error}".splitlines()[0])


def _load_cluster(name: str, device: str) -> Cluster | Refused:
    try:
        return load_cluster(name, device) if name else single_device_cluster(load_device(device))
    except PaleoOptError as error:
        return Refused(f"cluster {name or device!r} cannot be read: {error}".splitlines()[0])


def _of_layers(
    row: MeasuredRow, network: Network, cluster: Cluster, collective: str, precision: str
) -> tuple[Strategy, int]:
    """The strategy of a network of layers, and its samples of a step."""
    splits = _split(row, network)
    micro_batch, accumulation, samples = _batches(row)
    try:
        strategy = Strategy(
            cluster, row.gpus, micro_batch, accumulation, *splits, collective=collective, precision=precision
        )
    except PaleoOptError as error:
        raise Refused(str(error)) from None
    return strategy, samples


def _split(row: MeasuredRow, network: Network) -> tuple[str, int]:
    """The split and its devices: by its columns, or, for one weird trick's hybrid, by its ``software``."""
    used = [
        *(name.replace("_", " ") for name, only in _NOT_MODELLED.items() if getattr(row, name) not in (None, only)),
        *(["sharded state"] if row.sharding not in ("", "zero0") else []),
        *(["recomputed activations"] if row.recompute not in ("", "none") else []),
    ]
    if used and network.transformer is not None:
        raise Refused(f"{used[0]}: the paleo model has none; the roofline model does")
    if used:
        raise Refused(f"{used[0]}: of a transformer's blocks, not of a network of layers")
    if row.gpus > 1 and "hybrid" in row.software.casefold():
        return "hybrid", row.gpus
    tensor = row.tensor or 1
    if row.gpus % tensor or row.data not in (None, row.gpus // tensor):
        raise Refused(f"{row.gpus:,} GPUs are not data × tensor")
    return ("model", tensor) if tensor > 1 else ("data", 1)


def _batches(row: MeasuredRow) -> tuple[int, int, int]:
    """Micro-batch, passes a step and samples a step; each worker takes its share of the batch, rounded up."""
    workers = row.gpus // (row.tensor or 1)
    if row.global_batch is None:
        if row.micro_batch is None:
            raise Refused("no batch size")
        return row.micro_batch, 1, row.micro_batch * workers
    each = -(-row.global_batch // workers)
    if row.micro_batch is None:
        return each, 1, row.global_batch
    if each % row.micro_batch:
        raise Refused("the global batch is not a whole number of micro-batches")
    return row.micro_batch, each // row.micro_batch, row.global_batch
