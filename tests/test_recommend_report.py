"""What ``recommend`` prints, the JSON of its contract, and that the command it suggests gives the same strategy."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
from command_line import Runner
from hand_built import number
from search_cases import CLUSTERS, FAST, SLOW, TABLE, answer

from paleo_opt.errors import InfeasibleError
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.report.json_output import dump, estimate_json
from paleo_opt.report.recommendation import infeasible_json, recommendation_json, render
from paleo_opt.report.terminal import shown_width
from paleo_opt.search.infeasible import NothingFeasibleError
from paleo_opt.search.recommend import Recommendation, recommend


def plain(found: Recommendation, room: int = 100) -> str:
    return re.sub("\x1b\\[[012]m", "", render(found, room))


def anything() -> list[Recommendation]:
    unpriced = [replace(cluster, price=None) for cluster in CLUSTERS]
    return [
        answer("16gpus"),
        answer("8gpus", "$2", "1h", "0.9kWh"),
        answer("1gpu", top=0),
        answer("16gpus", minimize="energy"),
        answer("16gpus", on=unpriced),
        answer("16gpus", on=[SLOW, replace(FAST, price=None)], trials=0),
        answer("16gpus", global_batch=384, collective="ring_all_reduce"),
    ]


@pytest.mark.parametrize("room", [60, 80, 100])
def test_no_line_is_too_wide(room: int) -> None:
    for found in anything():
        for line in render(found, room).splitlines():
            assert shown_width(line) <= room, line
            assert line == line.rstrip()


def test_the_answer_comes_first_then_the_proof() -> None:
    found = answer("16gpus", "$4.2")
    lines = plain(found).splitlines()
    assert lines[0].startswith("alexnet_v2 · at most 16 GPUs, $4.20 · fastest")
    assert lines[0].endswith("prices of 2026-01-01")
    strategy = found.recommended.strategy
    assert lines[1].startswith(f"→ fast · {strategy.gpus} GPUs = {strategy.nodes} nodes × 4 fast device · ")
    text = "\n".join(lines)
    order = [
        "→ fast",
        "  step ",
        "epochs in",
        f"the fastest of {found.certificate.strategies:,} strategies, all evaluated in",
        "limited by ",
        "behind",
        "cheapest within the budget",
        "roofline model",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert f"Optuna met it at trial {found.search.met_at} of " in text


def test_counts_can_be_audited() -> None:
    text = plain(answer("16gpus"))
    strategy = answer("16gpus").recommended.strategy
    product = f"{strategy.global_batch} = {strategy.data} × {strategy.micro_batch}"
    assert f"global batch {product}" in text
    assert f"at {strategy.nodes} × $12/h" in text
    price = strategy.cluster.price
    assert price is not None
    found = answer("16gpus").recommended
    assert found.cost_usd == pytest.approx(strategy.nodes * price.on_demand * found.time_s / 3600)


def test_constant_columns_are_dropped() -> None:
    (heading,) = [line for line in plain(answer("16gpus", split="data", on=[SLOW])).splitlines() if "behind" in line]
    assert "split" not in heading and "precision" not in heading and "energy" not in heading
    assert "GPUs" in heading and "cluster" in heading
    (heading,) = [line for line in plain(answer("16gpus")).splitlines() if "behind" in line]
    assert "split" in heading
    assert "behind" not in plain(answer("16gpus", top=0))


def test_limits_are_said_with_what_is_beyond_them() -> None:
    text = plain(answer("4gpus"))
    assert re.search(r"over budget: 8 GPUs \(1 node more\) would save \S+ .*\(\d+%\)", text)
    text = plain(answer("2gpus", on=[SLOW]))
    assert "over budget: 4 GPUs (no node more) would save" in text
    assert "global batch above 300, the largest known to reach the target: " in plain(answer("16gpus"))
    # Room for a micro-batch of 8, but not for 32.
    needed = [number(estimate(TABLE, Strategy(FAST, 1, batch, precision="fp32")).memory_bytes) for batch in (8, 32)]
    small = replace(FAST, device=replace(FAST.device, memory=sum(needed) / 2))
    text = plain(answer("1gpu", on=[small], split="data"))
    assert re.search(r"does not fit: micro-batch 32 needs 1\.\d+ GB \(\S+ MB too many\), and would save", text)
    fastest = answer().recommended.cost_usd
    assert re.search(r"\(\d+% more\) would save", plain(answer(f"${0.8 * fastest:.6f}")))


def test_gpus_that_are_left_over() -> None:
    # Behind links this slow fewer than all are fastest.
    far = replace(SLOW, levels=tuple(replace(level, bandwidth=level.bandwidth / 300) for level in SLOW.levels))
    found = answer("15gpus", on=[far])
    gpus = found.recommended.strategy.gpus
    assert gpus < 15
    assert f"of the 15 GPUs that the budget allows, {gpus} {'is' if gpus == 1 else 'are'} fastest" in plain(found)


def test_without_a_study_or_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Optuna" not in plain(answer("16gpus", trials=0))
    for name in ("paleo_opt.search.outer.MOST_SWEPT", "paleo_opt.search.recommend.MOST_SWEPT"):
        monkeypatch.setattr(name, 10)
    monkeypatch.setattr("paleo_opt.search.outer.PART", 30)
    text = plain(answer("16gpus"))
    assert re.search(r"the fastest of 558 strategies: \d+ evaluated in .*, and lower bounds prove the others no", text)
    text = plain(answer("16gpus", trials=1))
    assert re.search(r"the fastest of \d+ strategies that 1 trial evaluated; not proved: the space has 558", text)


def test_what_is_not_known_is_not_printed() -> None:
    unpriced = [replace(cluster, price=None) for cluster in CLUSTERS]
    text = plain(answer("16gpus", on=unpriced))
    assert "$" not in text and "cost" not in text and "prices of" not in text
    assert "nan" not in text and "None" not in text and "inf" not in text.replace("in_f", "")


# -- JSON --------------------------------------------------------------------------------------------------

STRATEGY = {
    "cluster", "device", "gpus", "nodes", "micro_batch", "global_batch", "tensor", "pipeline", "data", "expert",
    "context", "virtual_stages", "sharding", "recompute", "collective", "precision",
}  # fmt: skip


def test_the_contract() -> None:
    found = answer("8gpus", "$2")
    printed = json.loads(dump(recommendation_json(found)))
    assert {"recommended", "alternatives", "pareto", "certificate", "search", "inputs"} <= set(printed)
    for choice in (printed["recommended"], *printed["alternatives"], *printed["pareto"]):
        assert set(choice) == {"strategy", "estimate"}
        assert set(choice["strategy"]) >= STRATEGY
        assert {"step_time_s", "memory_bytes", "time_to_target_s", "cost_usd", "energy_kwh"} <= set(choice["estimate"])
    assert {"kind", "strategies", "feasible", "seconds", "optimal"} <= set(printed["certificate"])
    assert printed["certificate"]["kind"] == "sweep" and printed["certificate"]["optimal"] is True
    assert {"sampler", "trials", "best", "gap_to_sweep"} <= set(printed["search"])
    assert printed["search"]["gap_to_sweep"] == 0.0
    best = printed["recommended"]["estimate"]["time_to_target_s"]
    assert printed["search"]["objective"] == "time_to_target_s"
    assert printed["search"]["best"] == pytest.approx(best, rel=1e-9)
    assert printed["inputs"]["budget"] == {"gpus": 8, "cost_usd": 2.0, "time_s": None, "energy_kwh": None}
    assert [limit["limit"] for limit in printed["limits"]] == [step.limit for step in found.steps]
    assert printed["message"] == found.message


def test_what_is_not_known_is_null() -> None:
    unpriced = [replace(cluster, price=None) for cluster in CLUSTERS]
    printed = json.loads(dump(recommendation_json(answer("16gpus", on=unpriced, trials=0))))
    assert printed["recommended"]["estimate"]["cost_usd"] is None
    assert printed["cheapest"] is None
    assert printed["search"] | {"best": None, "gap_to_sweep": None, "sampler": "none", "trials": 0} == printed["search"]
    assert printed["inputs"]["clusters"][0]["price_usd_per_node_hour"] is None


def test_nothing_feasible() -> None:
    dollars, seconds = answer(minimize="cost").recommended.cost_usd, answer().recommended.time_s
    with pytest.raises(NothingFeasibleError) as caught:
        answer(f"${1.05 * dollars:.6f}", f"{1.05 * seconds:.6f}s")
    printed = json.loads(dump(infeasible_json(caught.value)))
    assert printed["recommended"] is None
    assert printed["message"] == str(caught.value)
    assert printed["binding"] == "budgets"
    assert set(printed["nearest"]["strategy"]) >= STRATEGY
    assert [item["budget"] for item in printed["relaxations"]] == ["time_s", "cost_usd"]
    assert printed["certificate"]["feasible"] == 0
    assert infeasible_json(InfeasibleError("why")) == {"recommended": None, "message": "why"}


# -- the command -------------------------------------------------------------------------------------------


def suggested(text: str) -> list[str]:
    """The words of the command at the end of an answer, joined over its lines."""
    command = text[text.index("  paleo-opt estimate") :].replace("\\\n", " ")
    return shlex.split(command)[1:]


@pytest.mark.parametrize(
    ("network", "budget", "asked"),
    [
        ("vgg16", "64gpus", {}),
        ("vgg16", "$200", {"on": ["g5.48xlarge"], "minimize": "cost", "split": "hybrid"}),
        ("resnet50", "4gpus", {"on": ["ethernet"], "device": "TITAN_X"}),
        ("resnet50", "8gpus", {"on": ["p3.16xlarge"], "device": "a100-sxm4-40gb", "precision": "fp32"}),
        ("resnet152", "16gpus", {"on": ["g4dn.12xlarge"], "conv_algorithm": "auto"}),
        (
            "alexnet",
            "8gpus",
            {
                "on": ["p3.16xlarge"],
                "options": Options(
                    model="paleo", ppp_comp=0.4, ppp_comm=0.7, pipelined=True, workspace_limit=5e8, optimizer="adam"
                ),
                "overrides": {"price.on_demand": "$20", "device.memory": "32GB"},
            },
        ),
        ("resnet50", "16gpus", {"on": ["p3.16xlarge"], "options": Options(platform="ngc-mxnet")}),
        ("lstm_ptb", "4gpus", {"global_batch": 96, "on": ["gpu_4x_h100_sxm5"]}),
    ],
)
def test_the_command_gives_the_same(
    capsys: pytest.CaptureFixture[str], network: str, budget: str, asked: dict[str, Any]
) -> None:
    found = recommend(network, budgets=[budget], trials=0, **asked)
    words = suggested(plain(found))
    printed = Runner(capsys)(*words, "--json").json
    strategy = printed["strategy"]
    expected = found.recommended.strategy.to_json()
    if expected["gpus"] == 1:
        expected["collective"] = strategy["collective"]
    assert {name: strategy[name] for name in expected} == expected
    figures = estimate_json(found.recommended.estimates)
    for name in ("step_time_s", "time_to_target_s", "cost_usd", "memory_bytes"):
        assert printed["estimate"][name] == pytest.approx(figures[name], nan_ok=True) or figures[name] != figures[name]


def test_no_command_for_what_no_file_names() -> None:
    assert "paleo-opt estimate" not in plain(answer("8gpus"))
