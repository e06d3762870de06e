"""Answers of `pareto` that several tests show."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from typing import Any

from search_cases import CLUSTERS, NETWORK, SPACE

from paleo_opt.hardware.cluster import Cluster
from paleo_opt.search.space import load_space
from paleo_opt.search.tradeoff import Tradeoff, pareto

#: What a name must never do: end a script, open an element, close an attribute, start a template's field.
HOSTILE = """</script><script>alert(1)</script>"'><img src=x onerror=alert(2)>&amp;${data} $x \u2028"""


def small(*budgets: str, **changes: Any) -> Tradeoff:
    """A question whose every strategy can be listed."""
    given: dict[str, Any] = {"on": CLUSTERS, "space": SPACE} | changes
    return pareto(NETWORK, budgets=budgets, **given)


@cache
def shipped() -> Tradeoff:
    """A question about everything that is shipped."""
    return pareto("resnet50", budgets=["$2000"])


@cache
def frugal() -> Tradeoff:
    """One with energy as the third figure."""
    return pareto("vgg16", budgets=["64gpus"], minimize="energy")


@cache
def unpriced() -> Tradeoff:
    """One without a price: GPUs against time."""
    return pareto("alexnet_v2", budgets=["8gpus"], on=["infiniband"], device="K80", space="paleo")


@cache
def single() -> Tradeoff:
    """One whose front is a point."""
    return small(on=CLUSTERS[:1], space=replace(SPACE, gpus=(1,)))


@cache
def transformer() -> Tradeoff:
    """One whose points are split each in its own way."""
    return pareto("llama3_8b", budgets=["32gpus"], on=["p5.48xlarge"])


def hostile() -> Tradeoff:
    """Everything that a user names or describes is `HOSTILE`."""
    assert NETWORK.job is not None
    job = replace(NETWORK.job, target=HOSTILE, sources=(HOSTILE,), dataset=HOSTILE)
    network = replace(NETWORK, name=HOSTILE, source=HOSTILE, description=HOSTILE, job=job)

    def renamed(cluster: Cluster, number: int) -> Cluster:
        name = f"{number} {HOSTILE}"
        device = replace(cluster.device, name=name, description=HOSTILE, source=HOSTILE)
        assert cluster.price is not None
        price = replace(cluster.price, region=HOSTILE, date=HOSTILE, source=HOSTILE)
        return replace(cluster, name=name, provider=HOSTILE, device=device, price=price, source=HOSTILE)

    return pareto(network, on=[renamed(one, number) for number, one in enumerate(CLUSTERS)], space=SPACE)


@cache
def many() -> Tradeoff:
    """More points than a chart shows."""
    return pareto("resnet50", space=replace(load_space("default"), nodes_per_octave=48))


def embedded(source: str) -> dict[str, Any]:
    """The data of a page's scripts."""
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', source, re.DOTALL)
    assert match
    return json.loads(match[1])  # type: ignore[no-any-return]


PAGES = {"shipped": shipped, "frugal": frugal, "unpriced": unpriced, "single": single, "hostile": hostile,
         "transformer": transformer}  # fmt: skip
