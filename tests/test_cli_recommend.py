"""``paleo-opt recommend`` as a command: what it passes on, what it prints, and its exit codes."""

from __future__ import annotations

from typing import Any

import pytest
from command_line import Runner

from paleo_opt.errors import InfeasibleError
from paleo_opt.network.graph import Network
from paleo_opt.search import recommend as module


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


class Stop(InfeasibleError):
    """Ends a run once its arguments are known."""


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that the command gives to the search, which finds nothing."""
    arguments: dict[str, Any] = {}

    def search(network: Network, **options: Any) -> None:
        arguments.update(options, network=network)
        raise Stop("nothing fits\nnot even this")

    monkeypatch.setattr(module, "recommend", search)
    return arguments


def test_every_option_reaches_the_search(run: Runner, passed: dict[str, Any]) -> None:
    words = (
        "recommend", "alexnet_v2", "--budget", "64gpus", "--budget", "$5,000", "--on", "p4d.24xlarge", "--on",
        "p3.16xlarge", "--on", "p4d.24xlarge", "--minimize", "cost", "--space", "paleo", "--conv-algorithm", "auto",
        "--precision", "fp16", "--global-batch", "2048", "--micro-batch", "32", "--tensor", "8", "--split", "hybrid",
        "--collective", "ring_all_reduce", "--device", "k80", "--trials", "7", "--seed", "3", "--top", "2",
        "--draws", "40", "--model", "paleo",
        "--ppp-comp", "0.4", "--ppp-comm", "0.7", "--pipelined", "--workspace-limit", "2GiB", "--optimizer", "adam",
        "--set", "net.job.epochs=60", "--set", "space.largest=8", "--set", "price.on_demand=$1", "--set",
        "cluster.max_nodes=4", "--set", "device.power=300W",
    )  # fmt: skip
    assert run(*words).code == 1
    network, options = passed.pop("network"), passed.pop("options")
    assert network.name == "alexnet_v2"
    assert network.job.samples_to_target == 60 * network.job.dataset_samples
    assert (options.ppp_comp, options.ppp_comm, options.pipelined, options.workspace_limit) == (0.4, 0.7, True, 2**31)
    assert (options.optimizer, options.training, options.model) == ("adam", True, "paleo")
    assert callable(passed.pop("progress")) and callable(passed.pop("study_progress"))
    assert passed == {
        "kept": None,
        "exhaustive": False,
        "shard_size": 50_000_000,
        "budgets": ["64gpus", "$5,000"],
        "on": ("p4d.24xlarge", "p3.16xlarge"),
        "minimize": "cost",
        "space": "paleo",
        "conv_algorithm": "auto",
        "precision": "fp16",
        "global_batch": 2048,
        "micro_batch": 32,
        "tensor": 8,
        "split": "hybrid",
        "collective": "ring_all_reduce",
        "device": "k80",
        "overrides": {
            "net.job.epochs": "60",
            "space.largest": "8",
            "price.on_demand": "$1",
            "max_nodes": "4",
            "device.power": "300W",
        },
        "trials": 7,
        "seed": 3,
        "top": 2,
        "draws": 40,
    }


def test_left_out_is_left_open(run: Runner, passed: dict[str, Any]) -> None:
    run("recommend", "vgg16", "--budget", "8gpus")
    for name in (
        "minimize",
        "precision",
        "global_batch",
        "micro_batch",
        "tensor",
        "split",
        "collective",
        "device",
        "trials",
    ):
        assert passed[name] is None
    assert (passed["on"], passed["space"], passed["seed"], passed["top"], passed["overrides"]) == (
        (),
        "default",
        0,
        5,
        {},
    )


def test_nothing_feasible_is_an_answer(run: Runner, passed: dict[str, Any]) -> None:
    result = run("recommend", "vgg16", "--budget", "8gpus")
    assert (result.code, result.out, result.err) == (1, "nothing fits\nnot even this\n", "")
    result = run("recommend", "vgg16", "--budget", "8gpus", "--json")
    assert (result.code, result.err) == (1, "")
    assert result.json == {"recommended": None, "message": "nothing fits\nnot even this"}


def test_it_answers(run: Runner) -> None:
    words = ("recommend", "vgg16", "--budget", "64gpus", "--on", "p4d.24xlarge", "--trials", "5")
    text = run.text(*words)
    answer = run(*words, "--json").json
    gpus = answer["recommended"]["strategy"]["gpus"]
    assert f"\n→ p4d.24xlarge · {gpus} GPUs = {gpus // 8} nodes × 8 a100-sxm4-40gb" in text
    assert answer["certificate"]["optimal"] is True


def test_an_estimate_of_the_recommended_strategy_agrees(run: Runner) -> None:
    found = run("recommend", "resnet50", "--budget", "32gpus", "--on", "p3.16xlarge", "--trials", "0", "--json").json
    strategy, expected = found["recommended"]["strategy"], found["recommended"]["estimate"]
    options = {"--on": "cluster", "--gpus": "gpus", "--global-batch": "global_batch", "--micro-batch": "micro_batch",
               "--split": "split", "--collective": "collective", "--precision": "precision"}  # fmt: skip
    words = [word for option, name in options.items() for word in (option, str(strategy[name]))]
    estimate = run("estimate", "resnet50", *words, "--json").json
    assert estimate["strategy"] == strategy
    for name in ("step_time_s", "time_to_target_s", "cost_usd", "energy_kwh", "memory_bytes"):
        assert estimate["estimate"][name] == pytest.approx(expected[name], rel=1e-9)
