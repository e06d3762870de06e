"""What the page's scripts draw, as plain values: the points, the front, the fronts of changed worlds, the scaling."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.scaling import default_workers, scaling
from paleo_opt.estimator.strategy import Integers, Strategies
from paleo_opt.report.front_chart import letters
from paleo_opt.report.pareto import marks
from paleo_opt.report.strategy_text import split_text
from paleo_opt.search.budgets import select
from paleo_opt.search.front import Front
from paleo_opt.search.sweep import Rows
from paleo_opt.search.tradeoff import Tradeoff

#: Points of the chart at most; beyond, some of those that others beat are left out.
MOST_POINTS = 5_000
#: Digits of the figures of a point.
_DIGITS = 5


def rounded(values: Iterable[float]) -> list[float | None]:
    """Figures to a few digits, as short in the file as they can be; None where not known."""
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values]


def shown_points(front: Front, most: int = MOST_POINTS) -> Integers:
    """The points to show, ascending: all, or the whole front and others evenly spread over time, the same every time.

    Args:
        front: Whose points.
        most: How many at most, unless the front itself has more.
    """
    count = front.points.gpus.size
    if count <= most:
        return np.arange(count)
    behind = np.setdiff1d(np.arange(count), front.places)
    room = max(0, most - front.size)
    order = behind[np.lexsort((front.second[behind], front.points.time_s[behind]))]
    spread = np.unique(np.linspace(0, order.size - 1, room).round().astype(np.int64)) if room else _NONE
    return np.sort(np.concatenate([front.places, order[spread]]))


_NONE = np.zeros(0, dtype=np.int64)


def _figures(front: Front, points: Rows) -> tuple[Floats, Floats]:
    """The step time [s] and the bytes of a device of every point; the points of one layout are estimated at once."""
    steps, memory = np.zeros(points.gpus.size), np.zeros(points.gpus.size)
    first = {block.alike: block for block in reversed(front.blocks)}
    numbers = {alike: number for number, alike in enumerate(first)}
    of_point = np.array([numbers[block.alike] for block in front.blocks])[points.block]
    for alike, number in numbers.items():
        some, rows = first[alike], np.flatnonzero(of_point == number)
        if not rows.size:
            continue
        blocks, place = np.unique(points.block[rows], return_inverse=True)
        strategies = Strategies(
            clusters=tuple(front.blocks[int(block)].cluster for block in blocks),
            precisions=tuple(front.blocks[int(block)].precision for block in blocks),
            split=some.split,
            tensor=some.tensor,
            collectives=some.collectives,
            gpus=points.gpus[rows],
            micro_batch=points.micro_batch[rows],
            accumulation=points.accumulation[rows],
            collective=points.collective[rows],
            place=place.reshape(-1),
            splits=None if some.layouts is None else some.layouts.splits,
            layout=points.layout[rows],
        )
        found = estimate(front.problem.table, strategies, front.problem.options)
        steps[rows], memory[rows] = found.step_time_s, found.memory_bytes
    return steps, memory


def _clusters(front: Front) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The clusters with a point, those of the chart's colours first, and their numbers by name."""
    options = front.problem.options
    named = letters(front)
    of_point = {front.blocks[int(block)].cluster.name: front.blocks[int(block)].cluster
                for block in np.unique(front.points.block)}  # fmt: skip
    order = [*named, *sorted(set(of_point) - set(named))]
    found = []
    for name in order:
        cluster = of_point[name]
        price = options.node_price(cluster)
        found.append(
            {
                "name": name,
                "device": cluster.device.name,
                "perNode": cluster.devices_per_node,
                "memory": cluster.device.memory,
                "price": None if price is None else price.dollars_per_hour,
                "named": name in named,
            }
        )
    return found, {name: number for number, name in enumerate(order)}


def _scaling(answer: Tradeoff) -> dict[str, Any]:
    """How the recommended strategy's batch scales over the workers of its cluster, by collective."""
    problem, strategy = answer.problem, answer.recommendation.recommended.strategy
    group = 1 if strategy.blocks is None else strategy.blocks.model
    most = max(strategy.gpus, *default_workers(strategy.cluster, group)) // group
    workers = [group * 2**power for power in range(most.bit_length())]
    found = scaling(
        problem.table,
        strategy.cluster,
        sorted({*workers, strategy.gpus}),
        micro_batch=strategy.micro_batch,
        collectives=problem.space.collective,
        precision=strategy.precision,
        blocks=strategy.blocks,
        options=problem.options,
    )
    return {
        "workers": found.workers.tolist(),
        "microBatch": strategy.micro_batch,
        "speedup": {name: rounded(row) for name, row in zip(found.collectives, found.speedup, strict=True)},
        "collective": strategy.collective,
    }


def _split_texts(front: Front, points: Rows) -> tuple[list[str], dict[str, list[int]]]:
    """The splits of a transformer's points in words, each once, and for each point which and its groups; else empty."""
    if not front.blocks or front.blocks[0].layouts is None:
        return [], {}
    found = [points.strategy(front.blocks, row) for row in range(points.gpus.size)]
    texts = [split_text(strategy) for strategy in found]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    columns = {"split": [numbers[text] for text in texts], "data": [strategy.data for strategy in found]}
    return list(numbers), columns


def _by_gpus(answer: Tradeoff) -> dict[str, Any]:
    """Time and cost against the number of GPUs of the recommended cluster: the fastest strategy of each."""
    front = answer.front
    wanted = answer.recommendation.recommended.strategy.cluster.name
    ours = np.array([block.cluster.name == wanted for block in front.blocks])[front.points.block]
    rows = np.flatnonzero(ours)
    order = rows[np.lexsort((front.points.time_s[rows], front.points.gpus[rows]))]
    gpus, first = np.unique(front.points.gpus[order], return_index=True)
    best = order[first]
    return {
        "cluster": wanted,
        "gpus": gpus.tolist(),
        "time": rounded(front.points.time_s[best]),
        "cost": rounded(front.points.cost_usd[best]),
        "recommended": answer.recommendation.recommended.strategy.gpus,
    }


def page_data(answer: Tradeoff, most: int = MOST_POINTS) -> dict[str, Any]:
    """Everything that the scripts need, ready for JSON."""
    front = answer.front
    shown = shown_points(front, most)
    points = select(front.points, shown)
    steps, memory = _figures(front, points)
    where = {int(point): place for place, point in enumerate(shown)}
    clusters, number = _clusters(front)
    collectives = list(dict.fromkeys(name for block in front.blocks for name in block.collectives))
    names = [[collectives.index(name) for name in block.collectives] for block in front.blocks]
    recommended = answer.recommended
    splits, split_columns = _split_texts(front, points)
    return {
        "against": "cost" if front.against == "cost_usd" else "gpus",
        "withEnergy": front.with_energy,
        "goal": answer.problem.goal,
        "clusters": clusters,
        "collectives": collectives,
        "blocks": [
            [number.get(block.cluster.name, -1), block.precision, block.split, block.tensor] for block in front.blocks
        ],
        "splits": splits,
        "points": {
            **split_columns,
            "block": points.block.tolist(),
            "gpus": points.gpus.tolist(),
            "micro": points.micro_batch.tolist(),
            "passes": points.accumulation.tolist(),
            "collective": [
                names[block][collective]
                for block, collective in zip(points.block.tolist(), points.collective.tolist(), strict=True)
            ],
            "time": rounded(points.time_s),
            "cost": rounded(points.cost_usd),
            "energy": rounded(points.energy_kwh),
            "step": rounded(steps),
            "memory": np.round(memory / 1e6).astype(np.int64).tolist(),  # MB
        },
        "front": [where[int(point)] for point in front.places],
        "line": front.line.tolist(),
        "saved": rounded(front.per_hour_saved),
        "marks": {str(place): named for place, named in marks(answer).items()},
        "recommended": recommended,
        "shifts": [
            {
                "name": shift.name,
                "time": rounded(shift.front.time_s[shift.front.line]),
                "spent": rounded(shift.front.spent[shift.front.line]),
            }
            for shift in answer.shifts
        ],
        "scaling": _scaling(answer),
        "byGpus": _by_gpus(answer),
    }
