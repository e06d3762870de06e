"""The questions of benchmarks/search_outer.py, and their optima, found without any search."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.gradient_buckets import gradient_buckets
from paleo_opt.estimator.options import usual_options
from paleo_opt.fleet.fleet_points import every_point
from paleo_opt.fleet.fleet_problem import BUCKET, LEAST_BUCKET, MOST_BUCKET, FleetProblem
from paleo_opt.fleet.fleet_question import make_problem
from paleo_opt.fleet.fleet_search import study_problem
from paleo_opt.fleet.groups import Kind
from paleo_opt.hardware.load import load_cluster
from paleo_opt.layer_splits.costs import split_costs
from paleo_opt.layer_splits.patterns import patterns
from paleo_opt.layer_splits.series_parallel import PairwiseCosts, kernel_of
from paleo_opt.layer_splits.step_time import step_time
from paleo_opt.layer_splits.study import kernel_problem
from paleo_opt.network.graph import Network
from paleo_opt.network.load import load_network
from paleo_opt.studies.problem import Outcome, Point, StudyProblem

Floats = NDArray[np.float64]
TRIALS = 100


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        name: What is searched.
        make: The study and its optimum.
        network: By name, or that of a kernel by `wired`.
        kinds: Nodes at most, by cluster.
        asked: Further arguments of `make_problem`.
    """

    name: str
    make: Callable[[Case], Truth] = field(repr=False)
    network: str
    kinds: tuple[tuple[str, int], ...]
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Truth:
    """A study, and the optimum of all its points."""

    case: Case
    problem: StudyProblem
    optimum: float
    points: int


def remembered(problem: StudyProblem, key: Callable[[Point], Hashable]) -> StudyProblem:
    """``problem``, in which points of one ``key`` are solved once."""
    known: dict[Hashable, Outcome] = {}

    def solve(point: Point) -> Outcome:
        name = key(point)
        if name not in known:
            known[name] = problem.solve(point)
        return known[name]

    return replace(problem, solve=solve)


def best_of(problem: StudyProblem, points: Sequence[Point]) -> float:
    found = [outcome.value for point in points if (outcome := problem.solve(point)).feasible]
    return min(found)


def fleet_of(case: Case) -> FleetProblem:
    kinds = [Kind(load_cluster(name), most) for name, most in case.kinds]
    return make_problem(load_network(case.network), kinds, **case.asked)


def fleet(case: Case) -> Truth:
    """Every fleet solved."""
    question = fleet_of(case)
    problem = study_problem(question, TRIALS)
    assert problem.every is None
    problem = remembered(problem, problem.key)
    points = every_point(question)
    assert points is not None
    return Truth(case, problem, best_of(problem, points), len(points))


def bucket(case: Case) -> Truth:
    """Every fleet solved with one bucket size of each range of sizes that group the gradients alike.

    Layers fill a bucket until it has its size, so groupings change only where that is the sum of some consecutive
    layers' parameters.
    """
    question = fleet_of(case)
    problem = study_problem(question, TRIALS)
    table = question.model.table
    counts = [layer.parameters for _, layer in table.layout().replicated_layers]
    sums = np.array(sorted({sum(counts[i:j]) for i in range(len(counts)) for j in range(i + 1, len(counts) + 1)}))
    # Of two bytes a gradient, and of four.
    edges = np.unique(np.concatenate([sums * 2.0, sums * 4.0]))
    edges = edges[(edges > LEAST_BUCKET) & (edges < MOST_BUCKET)]
    sizes = np.sqrt(np.concatenate([[LEAST_BUCKET], edges]) * np.concatenate([edges, [MOST_BUCKET]]))

    def grouping(size: float) -> tuple[bytes, ...]:
        found = [gradient_buckets(table.layout(), size / width) for width in (2.0, 4.0)]
        return tuple(array.tobytes() for each in found for array in (each.parameters, each.replicated_done))

    groupings = [grouping(float(size)) for size in sizes]
    different = [size for i, size in enumerate(sizes) if groupings[i] not in groupings[:i]]

    def key(point: Point) -> Hashable:
        # Stages group their own layers' gradients: the range of sizes itself, where there are stages.
        size = point[BUCKET]
        return (*(v for n, v in point.items() if n != BUCKET), grouping(size) if alone else edges.searchsorted(size))

    alone = question.ways == ("data",)
    known = remembered(problem, key)
    chosen = different if alone else list(sizes)
    fleets = every_point(replace(question, knobs=()))
    assert fleets is not None
    points = [{**point, BUCKET: float(size)} for point in fleets for size in chosen]
    optimum = best_of(known, points)
    # That the ranges are right: a size drawn at random is worth what its range is.
    for draw in np.random.default_rng(0).uniform(np.log(LEAST_BUCKET), np.log(MOST_BUCKET), 12):
        point = {**fleets[0], BUCKET: float(np.exp(draw))}
        assert np.isclose(known.solve(point).value, problem.solve(point).value, rtol=1e-12)
    return Truth(case, known, optimum, len(points))


def wired(parents: Sequence[Sequence[int]], seed: int) -> Network:
    """Convolutions of different sizes, each of the concatenation of some before it (0 for the first).

    On small images with many channels, so that neither samples nor channels are the better split of all.
    """
    draw = np.random.default_rng(seed)

    def conv(index: int, source: str = "") -> str:
        outputs, size = draw.choice([64, 256, 1024]), draw.choice([1, 3])
        read = f", parents: [{source}]" if source else ""
        return f"  conv{index}: {{type: Convolution, outputs: {outputs}, kernel: {size}, padding: SAME{read}}}"

    lines = ["name: wired", "input: [16, 16, 64]", "layers:", conv(0)]
    for index, some in enumerate(parents, 1):
        names = ", ".join(f"conv{one}" for one in sorted(some))
        if len(some) > 1:
            lines.append(f"  join{index}: {{type: Concatenate, parents: [{names}]}}")
        lines.append(conv(index, f"join{index}" if len(some) > 1 else names))
    read = {one for some in parents for one in some}
    ends = ", ".join(f"conv{one}" for one in range(len(parents) + 1) if one not in read)
    if "," in ends:
        lines.append(f"  ends: {{type: Concatenate, parents: [{ends}]}}")
    lines += ["  classes: {type: InnerProduct, outputs: 1000}", "  softmax: {type: Softmax}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wired.yaml"
        path.write_text("\n".join(lines) + "\n")
        return load_network(str(path))


def dense(layers: int) -> Network:
    """Each layer reads all before it (DenseNet, Huang et al., CVPR 2017)."""
    return wired([range(index) for index in range(1, layers + 1)], layers)


def random_wired(layers: int, seed: int) -> Network:
    """Each layer reads up to three before it at random (Xie et al., ICCV 2019)."""
    draw = np.random.default_rng(seed)
    return wired([draw.choice(i, min(i, 3), replace=False).tolist() for i in range(1, layers + 1)], seed)


NETWORKS: dict[str, Callable[[], Network]] = {
    "dense6": lambda: dense(6),
    "dense9": lambda: dense(9),
    "random10": lambda: random_wired(10, 1),
    "random18": lambda: random_wired(18, 3),
}


def kernel(case: Case) -> Truth:
    """The splits of a step without hidden all-reduces; the optimum by dynamic programming."""
    network = NETWORKS[case.network]()
    (name, gpus), = case.kinds  # fmt: skip
    costs = split_costs(compile_network(network), load_cluster(name), gpus, 64, 1, None, "auto", usual_options(network))
    graph = step_time(costs, case.asked["objective"])
    by_hand = tuple(patterns(costs).values())
    row = int(graph.sums(min(by_hand, key=graph.total)).argmax())
    pairs = graph.mixed(np.arange(graph.sync.shape[0]) == row)
    found = kernel_of(pairs)
    # The splits by hand would be the optimum in the first trial: the search is to find it without.
    problem = kernel_problem(found)
    return Truth(case, remembered(problem, problem.key), least(pairs), found.choices)


def least(costs: PairwiseCosts) -> float:
    """The cheapest choice for every node: nodes are minimized away, the one with the smallest table first.

    Bucket elimination (Dechter, Artificial Intelligence 113, 1999): nothing in common with the search's own.
    """
    tables: list[tuple[tuple[int, ...], Floats]] = [((node,), table) for node, table in enumerate(costs.nodes)]
    tables += list(costs.pairs.items())
    left = set(range(len(costs.nodes)))
    size = {node: table.size for node, table in enumerate(costs.nodes)}

    def joint(node: int) -> tuple[int, ...]:
        return tuple(sorted({other for scope, _ in tables if node in scope for other in scope} - {node}))

    while left:
        node = min(left, key=lambda one: (float(np.prod([float(size[other]) for other in joint(one)])), one))
        scope = joint(node)
        best = np.full([size[other] for other in scope], np.inf)
        mine = [(of, table) for of, table in tables if node in of]
        for choice in range(size[node]):
            total = np.zeros((1,) * len(scope))
            for of, table in mine:
                kept = [other for other in of if other != node]
                part = np.take(table, choice, axis=of.index(node))
                part = part.transpose([kept.index(other) for other in scope if other in kept])
                shape = [size[other] if other in kept else 1 for other in scope]
                total = total + part.reshape(shape)
            np.minimum(best, total, out=best)
        tables = [(of, table) for of, table in tables if node not in of] + [(scope, best)]
        left.remove(node)
    return float(sum(float(table) for _, table in tables))


P4D, P3, P3DN, G5, G6E = "p4d.24xlarge", "p3.16xlarge", "p3dn.24xlarge", "g5.48xlarge", "g6e.48xlarge"
CASES = (
    Case("resnet50, 2 kinds", fleet, "resnet50", ((P4D, 8), (P3, 8))),
    Case("resnet50, 2 kinds, cost in 40min", fleet, "resnet50", ((P4D, 24), (P3, 24)),
         {"budgets": ("40min",), "minimize": "cost", "way": "data"}),
    Case("resnet50, 3 kinds, $30", fleet, "resnet50", ((P4D, 6), (P3, 6), (G5, 6)),
         {"budgets": ("$30",), "minimize": "time", "way": "data"}),
    Case("resnet50, 3 kinds, 96gpus", fleet, "resnet50", ((P4D, 12), (P3, 12), (G5, 12)),
         {"budgets": ("96gpus",), "way": "data"}),
    Case("resnet50, schedule of 3", fleet, "resnet50", ((P4D, 12), (P3, 12)),
         {"phases": 3, "growth": 8.0, "way": "data"}),
    Case("vgg16, 2 kinds", fleet, "vgg16", ((P4D, 8), (P3, 6))),
    Case("vgg16, 3 kinds, cost in 2h", fleet, "vgg16", ((P4D, 6), (P3, 6), (G6E, 6)),
         {"budgets": ("2h",), "minimize": "cost", "way": "data"}),
    Case("bert_large, 2 kinds", fleet, "bert_large", ((P4D, 12), (P3DN, 12)), {"way": "data"}),
    Case("gpt3_1.3b, 2 kinds", fleet, "gpt3_1.3b", ((P4D, 8), (P3DN, 6))),
    Case("resnet50, 4 kinds, $25", fleet, "resnet50", ((P4D, 4), (P3, 4), (G5, 4), (G6E, 4)),
         {"budgets": ("$25",), "minimize": "time", "way": "data"}),
    Case("resnet50, 4 kinds, cost in 45min", fleet, "resnet50", ((P4D, 4), (P3, 4), (G5, 4), (G6E, 4)),
         {"budgets": ("45min",), "minimize": "cost", "way": "data"}),
    Case("vgg16, bucket, 2 kinds", bucket, "vgg16", ((P4D, 3), (P3, 3)), {"knobs": ("bucket",), "way": "data"}),
    Case("alexnet, bucket, 2 kinds", bucket, "alexnet", ((P4D, 4), (P3, 4)), {"knobs": ("bucket",), "way": "data"}),
    Case("resnet18, bucket, 2 kinds", bucket, "resnet18", ((P4D, 2), (P3, 2)), {"knobs": ("bucket",), "way": "data"}),
    Case("dense9, 2 GPUs", kernel, "dense9", ((P3, 2),), {"objective": "hidden"}),
    Case("dense6, 4 GPUs", kernel, "dense6", ((P4D, 4),), {"objective": "sequence"}),
    Case("random18, 2 GPUs", kernel, "random18", ((P4D, 2),), {"objective": "sequence"}),
    Case("random10, 4 GPUs", kernel, "random10", ((P3, 4),), {"objective": "hidden"}),
)  # fmt: skip
