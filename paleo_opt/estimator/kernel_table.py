"""Some layers' kernels as flat arrays: sizes, elements and repeats as linear functions of the micro-batch.

Layers that cost the same are one row with a count. A segment is (alternative, pass, row) in C order; the last
alternative holds the kernels that run whatever the algorithm, the others one convolution algorithm each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.convolution import Term
from paleo_opt.estimator.convolution_kernels import Kernel
from paleo_opt.estimator.layer_kernels import LayerKernel, layer_kernels
from paleo_opt.hardware.platform import ALGORITHMS, FUSIBLE
from paleo_opt.network.graph import Layer

Floats = NDArray[np.float64]
#: Constants of a platform that say how well a kernel runs.
SHARES = ("products", "convolutions", "filter_gradients", "winograd", "fft", "memory", "attention", "experts")
#: Which platforms run a kernel: those that lack an ability, all, those that have an ability.
RUNS = (*(("unless", name) for name in FUSIBLE), ("", ""), *(("only", name) for name in FUSIBLE))
_COMMON = len(ALGORITHMS)


@dataclass(frozen=True, eq=False)
class KernelTable:
    """K kernels of R rows.

    Attributes:
        members: For each row, the layers of the network it stands for, by index.
        count: How many they are. Shape (R,).
        segments: (alternative, pass, row) that each run of kernels belongs to, by flat index. Shape (S,).
        starts: First kernel of each of those. Shape (S,).
        sizes: m, n and k of the product, fixed and per sample; zero for memory-bound kernels. Shape (3, 2, P).
        products: Which kernels are products. Shape (P,).
        batched: Products of one kernel. Shape (P,).
        elements: Read and written: fixed, per sample. Shape (2, K).
        repeats: Shape (K,).
        unrolled: Elements per sample of unrolled images; 0 for what runs once for the batch anyway. Shape (K,).
        share: Index into `SHARES`. Shape (K,).
        runs: On which platforms: index into `RUNS`. Shape (K,).
        low: Which of ``products`` run in a low precision where that is trained in, by place in it. Shape (L,).
        converted: Elements of their operands that are converted before: fixed, per sample. Shape (2, L).
        workspace: Elements: fixed, per sample. Shape (2, algorithms, 3, R).
        applicable: Whether the algorithm can run the pass. Shape (algorithms, 3, R).
    """

    members: tuple[tuple[int, ...], ...]
    count: Floats
    segments: NDArray[np.intp]
    starts: NDArray[np.intp]
    sizes: Floats
    products: NDArray[np.intp]
    batched: Floats
    elements: Floats
    repeats: Floats
    unrolled: Floats
    share: NDArray[np.intp]
    runs: NDArray[np.intp]
    low: NDArray[np.intp]
    converted: Floats
    workspace: Floats
    applicable: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """Distinct layers."""
        return len(self.members)


def compile_kernels(
    layers: Sequence[tuple[int, Layer]], parts: int, readers: Mapping[str, int], algorithms: Sequence[str]
) -> KernelTable:
    """The kernels of ``layers`` (index in the network, layer) on one of ``parts`` devices that divide their outputs.

    Args:
        layers: Of the network.
        parts: Devices that divide each layer's outputs.
        readers: For each layer's name, how many layers read it.
        algorithms: Out of `ALGORITHMS`, those to consider; ``gemm`` is what runs anything.
    """
    distinct: dict[tuple[Layer, int], list[int]] = {}
    for index, layer in layers:
        # What costs the same: everything but the name, the place in the graph and the kind of split.
        parents = ("data",) if layer.parents == ("data",) else ()
        key = replace(layer, name="", parents=parents, line=0, split="")
        distinct.setdefault((key, readers.get(layer.name, 0)), []).append(index)
    rows = len(distinct)
    runs: dict[int, tuple[LayerKernel, ...]] = {}
    workspace = np.zeros((2, len(ALGORITHMS), 3, rows))
    applicable = np.zeros((len(ALGORITHMS), 3, rows), dtype=bool)
    for row, (layer, read) in enumerate(distinct):
        for step, found in enumerate(layer_kernels(layer, parts, read)):
            for name, kernels in found.alternatives.items():
                at = ALGORITHMS.index(name)
                if name not in algorithms:
                    continue
                applicable[at, step, row] = True
                runs[(at * 3 + step) * rows + row] = kernels
                workspace[:, at, step, row] = _total([kernel.kernel.workspace for kernel in kernels])
            applicable[0, step, row] = True
            if found.common:
                runs[(_COMMON * 3 + step) * rows + row] = found.common
    segments = sorted(runs)
    flat = [kernel for segment in segments for kernel in runs[segment]]
    lengths = np.array([len(runs[segment]) for segment in segments], dtype=np.intp)
    products = np.array([i for i, one in enumerate(flat) if one.kernel.count > 0], dtype=np.intp)
    sizes = [[[term.fixed, term.per_sample] for term in (k.m, k.n, k.k)] for k in (flat[i].kernel for i in products)]
    converted = [(place, flat[i].kernel.converted) for place, i in enumerate(products)]
    low = [(place, term) for place, term in converted if term is not None]
    return KernelTable(
        members=tuple(tuple(indices) for indices in distinct.values()),
        count=np.array([len(indices) for indices in distinct.values()], dtype=float),
        segments=np.array(segments, dtype=np.intp),
        starts=np.cumsum(lengths) - lengths,
        sizes=np.array(sizes).reshape(-1, 3, 2).transpose(1, 2, 0).copy(),
        products=products,
        batched=np.array([flat[i].kernel.count for i in products]),
        elements=np.array([[k.kernel.elements.fixed, k.kernel.elements.per_sample] for k in flat]).reshape(-1, 2).T,
        repeats=np.array([kernel.repeats for kernel in flat]),
        unrolled=np.array([kernel.unrolled for kernel in flat]),
        share=np.array([SHARES.index(kernel.kernel.efficiency) for kernel in flat], dtype=np.intp),
        runs=np.array([_runs(kernel.kernel) for kernel in flat], dtype=np.intp),
        low=np.array([place for place, _ in low], dtype=np.intp),
        converted=np.array([[term.fixed, term.per_sample] for _, term in low]).reshape(-1, 2).T,
        workspace=workspace,
        applicable=applicable,
    )


def _runs(kernel: Kernel) -> int:
    if kernel.only:
        return RUNS.index(("only", kernel.only))
    return RUNS.index(("unless", kernel.unless) if kernel.unless else ("", ""))


def _total(terms: Sequence[Term]) -> tuple[float, float]:
    return sum(term.fixed for term in terms), sum(term.per_sample for term in terms)
