"""A small search problem whose every strategy can be estimated one at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import hand_built

from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.network.load import load_network
from paleo_opt.search.recommend import Recommendation, recommend
from paleo_opt.search.space import SearchSpace

_ALEXNET = load_network("alexnet_v2")
assert _ALEXNET.job is not None
JOB = replace(_ALEXNET.job, max_global_batch=300, samples_to_target=1e6, critical_batch=1000.0)
NETWORK = replace(_ALEXNET, job=JOB)
TABLE = compile_network(NETWORK)


def cluster(name: str, speed: float, dollars: float | None, memory: float = 16e9, **changes: Any) -> Cluster:
    """Nodes of four devices of ``speed`` times 1 TFLOP/s and 100 GB/s, at so many dollars an hour."""
    device = replace(
        hand_built.DEVICE,
        name=f"{name} device",
        peak={"fp32": speed * 1e12},
        memory_bandwidth=speed * 1e11,
        memory=memory,
        power=100.0 * speed**1.5,
    )
    price = None if dollars is None else replace(hand_built.PRICE, on_demand=dollars)
    return hand_built.cluster(device=device, name=name, price=price, **changes)


SLOW = cluster("slow", 1.0, 1.0)
FAST = cluster("fast", 6.0, 12.0, memory=1.3e9)
FAR = cluster("far", 3.0, 2.5, between=(2e8, 1e-3), max_nodes=2)
CLUSTERS = (SLOW, FAST, FAR)
GPUS = (1, 2, 4, 8, 16)
SPACE = SearchSpace(
    name="small",
    description="",
    clusters=("all",),
    gpus=GPUS,
    nodes_per_octave=8,
    largest=16,
    micro_batch=(8, 32, 128),
    accumulation=(1, 3),
    global_batch=(),
    split=("data", "hybrid", "model"),
    tensor=(2, 4),
    collective=("one_to_all", "ring_all_reduce", "hierarchical"),
    precision=("training",),
)


@dataclass(frozen=True)
class Known:
    """One strategy, estimated by itself."""

    strategy: Strategy
    time_s: float
    cost_usd: float
    energy_kwh: float
    memory_bytes: float

    @property
    def fits(self) -> bool:
        return self.memory_bytes <= self.strategy.cluster.device.memory

    def figure(self, goal: str) -> float:
        return {"time": self.time_s, "cost": self.cost_usd, "energy": self.energy_kwh}[goal]


@cache
def every_strategy(batch_limit: int = JOB.max_global_batch) -> list[Known]:
    """Every strategy of `SPACE` on `CLUSTERS`, by plain loops."""
    layouts = [("data", 1), *((split, tensor) for split in ("hybrid", "model") for tensor in SPACE.tensor)]
    found = []
    for where in CLUSTERS:
        for gpus in GPUS:
            for split, tensor in layouts:
                if gpus % tensor or (where.max_devices is not None and gpus > where.max_devices):
                    continue
                for micro_batch in SPACE.micro_batch:
                    for accumulation in SPACE.accumulation:
                        for collective in SPACE.collective:
                            strategy = Strategy(
                                where, gpus, micro_batch, accumulation, split, tensor, collective, "fp32"
                            )
                            if strategy.global_batch <= batch_limit:
                                found.append(known(strategy))
    return found


def known(strategy: Strategy) -> Known:
    """``strategy``, estimated by itself."""
    estimates = estimate(TABLE, strategy)
    number = hand_built.number
    return Known(
        strategy,
        number(estimates.time_to_target_s),
        number(estimates.cost_usd),
        number(estimates.energy_kwh),
        number(estimates.memory_bytes),
    )


def answer(*budgets: str, **changes: Any) -> Recommendation:
    """The recommendation for `NETWORK` on `CLUSTERS` in `SPACE`."""
    given: dict[str, Any] = {"on": CLUSTERS, "space": SPACE} | changes
    return recommend(NETWORK, budgets=budgets, **given)
