"""A network compiled into arrays: what its distinct layers cost, as linear functions of the micro-batch.

`compile_network` is called once per network. A `CostTable` then gives, for each layout of splits, `Terms`: flat arrays
in which every FLOP count and transfer of every pass is ``repeats · max(clock, (fixed + per_sample · n) / rate)``.
Layers that cost the same (the 50 blocks of a ResNet) are one row with a count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator import convolution
from paleo_opt.estimator.convolution import NOTHING, Cost, Term
from paleo_opt.estimator.kernel_table import KernelTable, compile_kernels
from paleo_opt.estimator.layer_cost import CONVOLUTIONS, PASSES, Passes, layer_passes
from paleo_opt.hardware.platform import ALGORITHMS
from paleo_opt.network.graph import Layer, Network

Floats = NDArray[np.float64]
CONV_ALGORITHMS = ("auto", *convolution.ALGORITHMS)


@dataclass(frozen=True, eq=False)
class Terms:
    """The costs of some layers, in the three passes, under each convolution algorithm.

    Terms are sorted by segment; a segment is (algorithm, pass, layer) in C order, ``segments`` = algorithms · 3 · rows.

    Attributes:
        members: For each row, the layers of the network it stands for, by index.
        count: How many they are. Shape (rows,).
        shape: (algorithms, 3, rows).
        compute: FLOPs: fixed, per sample, repeats. Shape (3, terms).
        compute_start: First term of each segment. Shape (segments,).
        memory: Elements moved: fixed, per sample, repeats. Shape (3, terms).
        memory_start: First term of each segment.
        workspace: Elements: fixed, per sample. Shape (2, algorithms, 3, rows).
        applicable: Whether the algorithm can run the pass. Shape (algorithms, 3, rows).
    """

    members: tuple[tuple[int, ...], ...]
    count: Floats
    shape: tuple[int, int, int]
    compute: Floats
    compute_start: NDArray[np.intp]
    memory: Floats
    memory_start: NDArray[np.intp]
    workspace: Floats
    applicable: NDArray[np.bool_]


def _flatten(segments: Sequence[tuple[Term, ...]]) -> tuple[Floats, NDArray[np.intp]]:
    """The terms of all segments as (3, terms), and where each segment starts; an empty segment holds one zero."""
    rows: list[tuple[float, float, float]] = []
    starts = []
    for terms in segments:
        starts.append(len(rows))
        rows.extend((term.fixed, term.per_sample, term.repeats) for term in terms if term.fixed or term.per_sample)
        if len(rows) == starts[-1]:
            rows.append((0.0, 0.0, 0.0))
    return np.array(rows).T.copy(), np.array(starts, dtype=np.intp)


def _terms(layers: Sequence[tuple[int, Layer]], parts: int, algorithms: Sequence[str]) -> Terms:
    distinct: dict[Layer, list[int]] = {}
    for index, layer in layers:
        # What costs the same: everything but the name, the place in the graph and the kind of split.
        key = replace(
            layer,
            name="",
            parents=("data",) if layer.parents == ("data",) else (),
            activation="",
            line=0,
            split="",
        )
        distinct.setdefault(key, []).append(index)
    by_algorithm: list[list[Passes]] = []
    for algorithm in algorithms:
        first = by_algorithm[0] if by_algorithm else None
        by_algorithm.append(
            [
                # Only convolutions differ by algorithm; the others run as under the first.
                first[row] if first and layer.type not in CONVOLUTIONS else layer_passes(layer, parts, algorithm)
                for row, layer in enumerate(distinct)
            ]
        )
    costs: list[Cost | None] = [
        passes[step] for per_layer in by_algorithm for step in range(len(PASSES)) for passes in per_layer
    ]
    shape = (len(algorithms), len(PASSES), len(distinct))
    present = [cost or NOTHING for cost in costs]
    compute, compute_start = _flatten([cost.compute for cost in present])
    memory, memory_start = _flatten([cost.memory for cost in present])
    workspace = np.array([[cost.workspace.fixed for cost in present], [cost.workspace.per_sample for cost in present]])
    return Terms(
        members=tuple(tuple(indices) for indices in distinct.values()),
        count=np.array([len(indices) for indices in distinct.values()], dtype=float),
        shape=shape,
        compute=compute,
        compute_start=compute_start,
        memory=memory,
        memory_start=memory_start,
        workspace=workspace.reshape(2, *shape),
        applicable=np.array([cost is not None for cost in costs]).reshape(shape),
    )


#: Types whose output share needs only the same share of the input: a split of channels passes through them.
_CHANNELWISE = frozenset(
    ("Pooling", "Dropout", "Elementwise", "Activation", "BatchNormalization", "Sigmoid", "UpSampling", "Concatenate",
     "Identity", "LocalResponseNormalization", "Flatten", "Reshape")
)  # fmt: skip
#: Types that write where they read, or keep a view: nothing is kept for the backward pass beyond their input.
_IN_PLACE = frozenset(("Activation", "Reshape", "Flatten", "Identity", "Softmax", "PositionEmbedding", "ClassToken"))


#: What layers read from other devices: for each kind of fetch, the elements per sample that one parent device holds.
#: ``entry``: all of a replicated layer's output, from one device; ``gather``: the other devices' shares, by a split
#: layer; ``collect``: every device's share, by a replicated layer.
Fetches = tuple[tuple[str, Floats], ...]


@dataclass(frozen=True, eq=False)
class Layout:
    """One layout of splits over ``tensor`` devices: which layers are replicated and which divide their outputs.

    Attributes:
        split: ``data``, ``hybrid`` or ``model``.
        tensor: Devices that divide the outputs of split layers.
        replicated_layers: Those that every worker runs whole, with their index in the network.
        divided_layers: The split layers, likewise.
        readers: For each layer's name, how many layers read it.
        conv_algorithm: Of the table.
        replicated_fetches: What replicated layers read from other devices.
        divided_fetches: What split layers read from other devices.
        entry_elements: Elements per sample that the first split layer reads (0 without split layers).
        replicated_parameters: Parameters of the replicated layers.
        divided_parameters: Parameters of the split layers, over all devices.
        parameter_tensors: Tensors of parameters: weights, biases, shifts and scales.
        activations: Elements per sample that one device keeps for the backward pass.
        largest_activation: Most elements per sample that a layer reads and writes (what inference needs).
        forward_flops: Model FLOPs of the forward pass, per sample, over all devices.
    """

    split: str
    tensor: int
    replicated_layers: tuple[tuple[int, Layer], ...]
    divided_layers: tuple[tuple[int, Layer], ...]
    readers: Mapping[str, int]
    conv_algorithm: str | None
    replicated_fetches: Fetches
    divided_fetches: Fetches
    entry_elements: float
    replicated_parameters: float
    divided_parameters: float
    parameter_tensors: int
    activations: float
    largest_activation: float
    forward_flops: float

    @cached_property
    def replicated(self) -> Terms:
        """The replicated layers under the PALEO model."""
        return _terms(self.replicated_layers, 1, paleo_algorithms(self.conv_algorithm))

    @cached_property
    def divided(self) -> Terms:
        """One device's share of the split layers under the PALEO model."""
        return _terms(self.divided_layers, self.tensor, paleo_algorithms(self.conv_algorithm))

    @cached_property
    def replicated_kernels(self) -> KernelTable:
        """The replicated layers' kernels, under the roofline model."""
        return compile_kernels(self.replicated_layers, 1, self.readers, kernel_algorithms(self.conv_algorithm))

    @cached_property
    def divided_kernels(self) -> KernelTable:
        """The kernels of one device's share of the split layers, likewise."""
        return compile_kernels(self.divided_layers, self.tensor, self.readers, kernel_algorithms(self.conv_algorithm))


@dataclass(frozen=True)
class CostTable:
    """A compiled network; layouts are compiled when first asked for and kept.

    Attributes:
        network: What was compiled.
        conv_algorithm: One of `CONV_ALGORITHMS`, or None for each model's own default.
        memos: What sweeps keep between them (`search.sweep`).
        block_tables: Compiled shares of a transformer, by `splits.Split` (`block_table.compile_blocks`).
    """

    network: Network
    conv_algorithm: str | None = None
    _layouts: dict[tuple[str, int], Layout] = field(default_factory=dict, repr=False, compare=False)
    memos: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    block_tables: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def known_times(self, places: object) -> dict[Any, Any]:
        """What was computed for single strategies on ``places`` (`block_times.BlockTimes.known`)."""
        key = ("known times", id(places))
        if key not in self.memos:
            self.memos[key] = (places, {})
        found: dict[Any, Any] = self.memos[key][1]
        return found

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The layouts this network can have: ``data``, ``model``, and ``hybrid`` where its file marks layers for it."""
        hybrid = any(layer.split == "model" for layer in self.network.layers)
        return ("data", "hybrid", "model") if hybrid else ("data", "model")

    def algorithm_under(self, model: str) -> str:
        """How convolutions run under ``model``: what was asked for, else GEMM under PALEO as published, else auto."""
        return self.conv_algorithm or ("gemm" if model == "paleo" else "auto")

    def algorithms(self, model: str) -> tuple[str, ...]:
        """The convolution algorithms by the index that the times of ``model`` give them."""
        return paleo_algorithms(self.conv_algorithm) if model == "paleo" else ALGORITHMS

    def layout(self, split: str = "data", tensor: int = 1) -> Layout:
        """The costs under one layout of splits.

        Args:
            split: ``data`` (every layer replicated), ``hybrid`` (the layers marked ``split: model`` are divided) or
                ``model`` (every layer is divided).
            tensor: Devices that divide a split layer's outputs; more than it has outputs leaves some idle.

        Raises:
            SpecError: an unknown split, or ``hybrid`` for a network without marked layers.
        """
        if tensor == 1:
            split = "data"
        if split not in self.splits:
            what = (
                "marks no layer `split: model`, so it has no hybrid split" if split == "hybrid" else "has no such split"
            )
            hint = "" if split == "hybrid" else nearest(split, self.splits)
            raise SpecError(f"split {split!r}: {self.network.name} {what}{hint}")
        if (split, tensor) not in self._layouts:
            self._layouts[split, tensor] = _compile_layout(self.network, split, tensor, self.conv_algorithm)
        return self._layouts[split, tensor]


def paleo_algorithms(conv_algorithm: str | None) -> tuple[str, ...]:
    """The convolution algorithms the PALEO model chooses from; GEMM, which runs anything, first."""
    if conv_algorithm == "auto":
        return tuple(convolution.ALGORITHMS)
    return ("gemm", conv_algorithm) if conv_algorithm not in (None, "gemm") else ("gemm",)


def kernel_algorithms(conv_algorithm: str | None) -> tuple[str, ...]:
    """Those the roofline model chooses from."""
    if conv_algorithm in (None, "auto"):
        return ALGORITHMS
    return ("gemm", conv_algorithm)


def compile_network(network: Network, conv_algorithm: str | None = None) -> CostTable:
    """Compile ``network`` for an estimate.

    Args:
        network: With shapes.
        conv_algorithm: ``gemm``; ``fft``, ``fft_tiled`` or ``winograd`` wherever it applies and its workspace fits
            (GEMM elsewhere); or ``auto`` for the fastest that fits. By default GEMM under the PALEO model, as in its
            published runs, else auto.

    Raises:
        SpecError: an unknown algorithm.
    """
    if conv_algorithm is not None and conv_algorithm not in CONV_ALGORITHMS:
        raise SpecError(f"convolution algorithm {conv_algorithm!r}{nearest(conv_algorithm, CONV_ALGORITHMS)}")
    return CostTable(network, conv_algorithm)


def _fetches(fetches: dict[str, list[float]], kinds: Sequence[str]) -> Fetches:
    return tuple((kind, np.array(fetches[kind])) for kind in kinds if fetches[kind])


def parameter_tensors(layer: Layer) -> int:
    """Tensors of parameters that a layer has: weights, biases, shifts and scales."""
    if not layer.parameters:
        return 0
    if layer.type in ("LayerNormalization", "RMSNormalization"):
        return 2 if layer.bias else 1
    normalizer = bool(layer.normalizer) or layer.type == "BatchNormalization"
    return bool(layer.weights) + (2 if normalizer else 0) + bool(layer.bias)


def kept_elements(layer: Layer) -> float:
    """Elements per sample that a layer keeps for the backward pass, beyond its input."""
    if layer.kept is not None:
        return layer.kept * layer.output_size
    if layer.type in _IN_PLACE:
        return 0.0
    # A normalizer keeps its own input besides the layer's output.
    return layer.output_size * (2.0 if layer.normalizer else 1.0)


def _compile_layout(network: Network, split: str, tensor: int, conv_algorithm: str | None) -> Layout:
    layers = list(enumerate(network.layers))
    divided_names = {
        layer.name
        for layer in network.layers
        if layer.type != "Input" and (split == "model" or (split == "hybrid" and layer.split == "model"))
    }
    replicated = [(index, layer) for index, layer in layers if layer.name not in divided_names]
    divided = [(index, layer) for index, layer in layers if layer.name in divided_names]
    by_name = {layer.name: layer for layer in network.layers}

    fetches: dict[str, list[float]] = {"entry": [], "gather": [], "collect": []}
    for layer in network.layers:
        is_divided = layer.name in divided_names
        for parent in layer.parents:
            parent_divided = parent in divided_names
            size = float(by_name[parent].output_size)
            if is_divided and not parent_divided:
                fetches["entry"].append(size)
            elif is_divided and layer.type not in _CHANNELWISE:
                fetches["gather"].append(size / tensor)
            elif parent_divided and not is_divided:
                fetches["collect"].append(size / tensor)

    def kept(layer: Layer) -> float:
        return kept_elements(layer) / (tensor if layer.name in divided_names else 1)

    def touched(layer: Layer) -> float:
        return (layer.input_size + layer.output_size) / (tensor if layer.name in divided_names else 1)

    return Layout(
        split=split,
        tensor=tensor,
        replicated_layers=tuple(replicated),
        divided_layers=tuple(divided),
        readers=Counter(parent for layer in network.layers for parent in layer.parents),
        conv_algorithm=conv_algorithm,
        replicated_fetches=_fetches(fetches, ("collect",)),
        divided_fetches=_fetches(fetches, ("entry", "gather")),
        entry_elements=fetches["entry"][0] if fetches["entry"] else 0.0,
        replicated_parameters=float(sum(layer.parameters for _, layer in replicated)),
        divided_parameters=float(sum(layer.parameters for _, layer in divided)),
        parameter_tensors=sum(parameter_tensors(layer) for layer in network.layers),
        activations=sum(kept(layer) for layer in network.layers),
        largest_activation=max(touched(layer) for layer in network.layers),
        forward_flops=float(network.forward_flops),
    )
