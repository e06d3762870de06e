"""What waits in the host's memory: less on the device, and the time that moving it takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from paleo_opt.cli.main import main
from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import Estimates, Options, estimate
from paleo_opt.estimator.splits import OFFLOADS, Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.load import load_network

TABLE = compile_network(load_network("llama3_70b"))
CLUSTER = load_cluster("dgx-h100")
# 70.6 billion parameters over 16 devices, with the optimizer's state shared by four copies.
SPLIT = Split(tensor=8, sequence_parallel=True, pipeline=2, sharding="zero1")


def estimated(offload: str, cluster: Cluster = CLUSTER, **options: str) -> Estimates:
    strategy = Strategy(cluster, 64, 1, 32, precision="bf16", blocks=replace(SPLIT, offload=offload))
    return estimate(TABLE, strategy, Options(platform="megatron-core", **options))


def test_memory_leaves_the_device() -> None:
    none, optimizer, activations, both = (estimated(name).memory for name in OFFLOADS)
    assert optimizer.optimizer == 0.0
    assert both.optimizer == 0.0
    assert activations.optimizer == none.optimizer
    assert optimizer.activations == none.activations
    # Two blocks of the 40 of a stage, for one micro-batch rather than two; and what the last stage keeps of the loss.
    assert none.activations * 2 / 80 < activations.activations < none.activations * 5 / 80
    assert both.total < min(optimizer.total, activations.total)


def test_moving_takes_time() -> None:
    none, optimizer, activations, both = (estimated(name) for name in OFFLOADS)
    assert none.step_time_s < optimizer.step_time_s < both.step_time_s
    assert none.step_time_s < activations.step_time_s < both.step_time_s
    assert none.parts["offload"] == 0.0
    for found in (none, optimizer, activations, both):
        assert sum(found.parts.values()) == pytest.approx(found.step_time_s, rel=1e-12)


def test_the_update_by_hand() -> None:
    # Of each fp32 parameter: a gradient and a weight of two bytes over PCIe, and 28 bytes gone through by the host.
    parameters = float(estimated("none").memory.optimizer[0]) / 12.0
    moved = parameters * 4.0 / CLUSTER.device.host_link + parameters * 28.0 / 25e9  # type: ignore[operator]
    none, optimizer = estimated("none"), estimated("optimizer")
    own = float(np.ravel(optimizer.update_time_s)[0])
    # The first stage holds the embedding but not the projection; memory is of the fuller one.
    assert own == pytest.approx(moved, rel=0.03)
    assert own > float(np.ravel(none.update_time_s)[0])


def test_what_computes_longer_hides_more() -> None:
    slow = replace(CLUSTER, device=replace(CLUSTER.device, host_link=200e9))
    assert estimated("activations", slow).parts["offload"] < estimated("activations").parts["offload"]
    assert estimated("activations", replace(CLUSTER, device=replace(CLUSTER.device, host_link=1e12))).parts[
        "offload"
    ] == pytest.approx(0.0)


def test_a_device_without_a_published_link_is_refused() -> None:
    with pytest.raises(SpecError, match="link to the host"):
        estimated("optimizer", load_cluster("dgx-gb200"))
    estimated("none", load_cluster("dgx-gb200"))


def test_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["estimate", "llama3_70b", "--on", "dgx-h100", "--gpus", "64", "--tensor", "8", "--pipeline", "2", "--json"]
    assert main([*words, "--offload", "optimizer"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["strategy"]["offload"] == "optimizer"
    assert answer["estimate"]["memory"]["optimizer"] == 0
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["strategy"]["offload"] == "none"
