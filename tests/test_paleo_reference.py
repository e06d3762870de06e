"""Every figure of the published implementation (tests/data/paleo), to 1e-6 relative, from the shipped specs."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hand_built import number, table

from paleo_opt.estimator.breakdown import layer_breakdown
from paleo_opt.estimator.collectives import PALEO_COLLECTIVES
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.load import load_cluster

Row = dict[str, str]
FOLDER = Path(__file__).parent / "data" / "paleo"
TOLERANCE = 1e-6


def read(name: str) -> list[Row]:
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def grouped(name: str, *columns: str) -> list[list[Row]]:
    """The rows of a file that agree in ``columns``, one list for each combination."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in read(name):
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return list(groups.values())


def group_name(rows: list[Row]) -> str:
    """What a group shares, for the name of its test."""
    shared = [value for value in rows[0].values() if all(value in row.values() for row in rows)]
    return f"{len(rows)} rows: {' '.join(shared)}"


def shape(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split("x"))


def check(compared: Iterable[tuple[str, float, str]]) -> None:
    """Compare (what, computed, published), each published figure as its file has it, and report the worst."""
    errors = []
    for what, computed, published in compared:
        expected = float(published)
        error = abs(computed - expected) / abs(expected) if expected else abs(computed)
        errors.append((error, f"{what}: computed {computed:.9g}, published {published}"))
    worst, message = max(errors)
    assert worst < TOLERANCE, f"{sum(error >= TOLERANCE for error, _ in errors)} of {len(errors)}; worst {message}"


def test_every_row_is_there() -> None:
    assert {name: len(read(name)) for name in ("layers", "scaling", "hybrid", "conv_algorithms")} == {
        "layers": 800,
        "scaling": 320,
        "hybrid": 8,
        "conv_algorithms": 138,
    }
    assert sum(len(rows) for rows in LAYERS) == 800
    assert sum(len(rows) for rows in CONVOLUTIONS) == 138
    assert sum(len(rows) for rows in SCALING) == 320
    assert sum(len(rows) for rows in HYBRID) == 8


LAYERS = grouped("layers", "net", "device", "ppp_comp", "batch")
TIMES = {
    "fwd_compute_ms": "forward_compute_s",
    "fwd_memory_ms": "forward_memory_s",
    "bwd_data_compute_ms": "backward_data_compute_s",
    "bwd_data_memory_ms": "backward_data_memory_s",
    "bwd_filter_compute_ms": "backward_filter_compute_s",
    "bwd_filter_memory_ms": "backward_filter_memory_s",
}


@pytest.mark.parametrize("rows", LAYERS, ids=group_name)
def test_layers(rows: list[Row]) -> None:
    first = rows[0]
    batch = int(first["batch"])
    strategy = Strategy(load_cluster("ethernet", device=first["device"]), gpus=1, micro_batch=batch)
    found = layer_breakdown(table(first["net"]), strategy, Options(model="paleo", ppp_comp=float(first["ppp_comp"])))
    assert [layer.name for layer in found] == [row["layer"] for row in rows]
    for layer, row in zip(found, rows, strict=True):
        assert layer.type == {"AvgPool": "Pooling"}.get(row["type"], row["type"])
        output = (layer.output_shape[-1],) if row["type"] == "Softmax" else layer.output_shape  # 1 x 1 x 1000 there
        assert (batch, *output) == shape(row["output"])
        assert layer.parameters_bytes == int(row["params_bytes"])
    check(
        (f"{row['layer']} {column}", getattr(layer, attribute) * 1e3, row[column])
        for layer, row in zip(found, rows, strict=True)
        for column, attribute in TIMES.items()
    )


CONVOLUTIONS = grouped("conv_algorithms", "net", "device", "ppp_comp", "batch")


@pytest.mark.parametrize("algorithm", ["gemm", "fft", "fft_tiled"])
@pytest.mark.parametrize("rows", CONVOLUTIONS, ids=group_name)
def test_convolution_algorithms(rows: list[Row], algorithm: str) -> None:
    first = rows[0]
    batch = int(first["batch"])
    compiled = table(first["net"], algorithm)
    strategy = Strategy(load_cluster("ethernet", device=first["device"]), gpus=1, micro_batch=batch)
    options = Options(model="paleo", ppp_comp=float(first["ppp_comp"]), workspace_limit=np.inf)
    breakdown = {layer.name: layer for layer in layer_breakdown(compiled, strategy, options)}
    for row in rows:
        layer = compiled.network.layer(row["layer"])
        assert (batch, *layer.input_shapes[0]) == shape(row["input"])
        assert (*layer.kernel, layer.input_shapes[0][-1], layer.outputs) == shape(row["filter"])
        assert (1, *layer.strides, 1) == shape(row["strides"])
        assert layer.padding == (int(row["pad_h"]), int(row["pad_w"]))
        assert breakdown[row["layer"]].algorithms[0] == algorithm
    check(
        (f"{row['layer']} {part}", getattr(breakdown[row["layer"]], f"forward_{part}_s") * 1e3, published)
        for row in rows
        for part in ("compute", "memory")
        for published in [row[f"{algorithm}_{part}_ms"]]
    )


SCALING = grouped("scaling", "net", "device", "network", "ppp_comp", "ppp_comm", "scaling", "pipelined", "batch")


@pytest.mark.parametrize("rows", SCALING, ids=group_name)
def test_scaling(rows: list[Row]) -> None:
    first = rows[0]
    workers = np.array([int(row["workers"]) for row in rows])
    batch = np.array([int(row["batch"]) for row in rows])
    micro_batch = batch if first["scaling"] == "weak" else -(-batch // workers)
    one = Strategy(load_cluster(first["network"], device=first["device"]), gpus=1, micro_batch=1)
    strategies = replace(
        one.as_strategies(),
        gpus=workers,
        micro_batch=micro_batch,
        collectives=PALEO_COLLECTIVES,
        collective=np.arange(len(PALEO_COLLECTIVES))[:, None],
    )
    found = estimate(
        table(first["net"]),
        strategies,
        Options(
            model="paleo",
            ppp_comp=float(first["ppp_comp"]),
            ppp_comm=float(first["ppp_comm"]),
            pipelined=first["pipelined"] == "1",
        ),
    )
    computed = {
        "forward_ms": found.forward_time_s,
        "backward_ms": found.backward_time_s,
        "update_ms": found.update_time_s,
    } | {f"{name}_ms": found.all_reduce_time_s[index] for index, name in enumerate(PALEO_COLLECTIVES)}
    assert [int(row["effective_batch"]) for row in rows] == list(
        strategies.global_batch if first["scaling"] == "weak" else batch
    )
    check(
        (f"{row['workers']} workers {column}", float(np.broadcast_to(times, workers.shape)[index]) * 1e3, row[column])
        for column, times in computed.items()
        for index, row in enumerate(rows)
    )


HYBRID = grouped("hybrid", "workers")


@pytest.mark.parametrize("rows", HYBRID, ids=lambda rows: f"{rows[0]['workers']} workers")
def test_hybrid(rows: list[Row]) -> None:
    """The two parts of a step together, as an estimate adds them; the published net is our alexnet_v2_1gpu."""
    first = rows[0]
    workers, batch = int(first["workers"]), int(first["per_worker_batch"])
    compiled = table("alexnet_v2_1gpu")
    strategy = Strategy(
        load_cluster(first["network"], device=first["device"]),
        gpus=workers,
        micro_batch=batch,
        split="hybrid",
        tensor=workers,
        collective="tree_all_reduce",
    )
    options = Options(model="paleo", ppp_comp=float(first["ppp_comp"]), ppp_comm=float(first["ppp_comm"]))
    found = estimate(compiled, strategy, options)
    whole = {column: str(sum(float(row[column]) for row in rows)) for column in first if column.endswith("_ms")}
    check(
        [
            ("forward", number(found.forward_time_s) * 1e3, whole["forward_ms"]),
            ("backward", number(found.backward_time_s) * 1e3, whole["backward_ms"]),
            ("all-reduce", number(found.all_reduce_time_s) * 1e3, whole["tree_sync_ms"]),
        ]
    )
