"""Where to split a network: lower bounds below every answer, budgets kept, and a study that others resume and share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner

import paleo_opt
from paleo_opt import InfeasibleError, Options, SpecError, Strategy, load_cluster, load_network, split_layers
from paleo_opt.cli.main import parse
from paleo_opt.cli.studying import kept_of
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.reliability import Operations
from paleo_opt.layer_splits.least_step import least_step
from paleo_opt.layer_splits.point import BEYOND, SOLVED, WORSE, SplitPoint
from paleo_opt.layer_splits.study import make_places, search_splits
from paleo_opt.studies.kept import Kept, load
from paleo_opt.studies.run import WORKER
from paleo_opt.studies.run_kept import run_kept

ROOT = Path(__file__).parent.parent
P3, P4D = load_cluster("p3.16xlarge"), load_cluster("p4d.24xlarge")
ALEXNET = compile_network(load_network("alexnet"))
WORDS = (
    *("split", "alexnet", "--on", "p3.16xlarge", "--on", "p4d.24xlarge", "--gpus", "1,2,3,4,5,6,7,8,12,16"),
    *("--global-batch", "1024"),
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


class TestBounds:
    @pytest.mark.parametrize("objective", ["hidden", "sequence"])
    @pytest.mark.parametrize(
        ("name", "gpus", "batch", "passes"),
        [("alexnet", 8, 512, None), ("vgg16", 16, 256, 2), ("lstm_ptb", 4, 64, None), ("googlenet", 4, 256, None)],
    )
    def test_no_answer_takes_less(self, name: str, gpus: int, batch: int, passes: int | None, objective: str) -> None:
        table, options = compile_network(load_network(name)), paleo_opt.Options()
        asked: dict[str, Any] = {"passes": passes, "objective": objective, "options": options}
        bound = least_step(table, P3, gpus, batch, **asked)
        found = split_layers(table, P3, gpus, batch, **asked)
        layers = found.layers()
        assert 0.2 * found.best.step_time_s < bound.step_s <= found.best.step_time_s * (1 + 1e-12)
        assert bound.compute_s <= sum(one.compute_s for one in layers) * (1 + 1e-12)
        assert bound.update_s <= sum(one.update_s for one in layers) * (1 + 1e-12)

    def test_on_one_device_the_bound_is_the_answer(self) -> None:
        found = split_layers(ALEXNET, P3, 1, 64)
        assert least_step(ALEXNET, P3, 1, 64, options=Options()).step_s == pytest.approx(found.best.step_time_s, 1e-12)

    def test_where_only_smaller_passes_fit(self) -> None:
        small = load_cluster("p3.16xlarge", None, {"device.memory": "1.6GB"})
        found = split_layers(ALEXNET, small, 4, 2048)
        assert found.costs.passes > 1
        assert least_step(ALEXNET, small, 4, 2048, options=Options()).step_s <= found.best.step_time_s


def test_figures_are_those_of_estimate() -> None:
    """Time, money and energy to the target, from the parts of a step that `estimate` has, are what it has."""
    options = Options(operations=Operations(straggler_variation=0.1, queue_s=600.0, egress_usd=3.0))
    strategy = Strategy(cluster=P4D, gpus=16, micro_batch=64, collective="auto", precision="bf16")
    known = paleo_opt.estimate(ALEXNET, strategy, options)
    places = make_places(ALEXNET, [P4D], [16], 1024, options=options)
    step, compute, update = (
        float(np.ravel(part)[0]) for part in (known.step_time_s, known.compute_time_s, known.update_time_s)
    )
    found = places.figures(P4D, 16, step, compute, update, 1.0)
    for mine, its in (
        (found.time_s, known.time_to_target_s), (found.cost_usd, known.cost_usd), (found.energy_kwh, known.energy_kwh),
    ):  # fmt: skip
        assert mine == pytest.approx(float(np.ravel(its)[0]), rel=1e-12)


def every_place(gpus: list[int], **asked: Any) -> list[SplitPoint]:
    """All places, each solved."""
    places = make_places(ALEXNET, [P3, P4D], gpus, 1024, **asked)
    return [places.solved(index, count) for index in range(len(places.clusters)) for count in places.gpus[index]]


class TestBudgets:
    COUNTS = (1, 2, 4, 8, 16, 24, 32)

    @pytest.mark.parametrize("minimize", ["time", "cost"])
    @pytest.mark.parametrize("budgets", [("32gpus",), ("32gpus", "$9", "40min"), ("24gpus", "12kWh")])
    def test_the_best_of_all_that_keep_to_them(self, budgets: tuple[str, ...], minimize: str) -> None:
        search = search_splits(ALEXNET, [P3, P4D], None, 1024, budgets=budgets, minimize=minimize)
        most = search.places.budgets.gpus
        assert most is not None and search.every
        counts = [count for count in self.COUNTS if count <= most]
        assert search.possible == 2 * len(counts) == sum(search.states.values())
        known = every_place(counts, budgets=budgets, minimize=minimize)
        allowed = [point for point in known if point.feasible]
        best = min(allowed, key=lambda point: search.places.value(point.figures))  # type: ignore[arg-type]
        assert (search.points[0].cluster.name, search.points[0].gpus) == (best.cluster.name, best.gpus)
        assert search.points[0].figures == best.figures
        assert search.best.costs.devices == best.gpus
        # What a bound says of a place that was not solved is true.
        solved = {(point.cluster.name, point.gpus): point for point in known}
        for point in search.points:
            true = solved[point.cluster.name, point.gpus]
            assert point.figures is not None and true.figures is not None and best.figures is not None
            if point.state == WORSE:
                assert search.places.value(true.figures) >= search.places.value(best.figures)
            if point.state == BEYOND:
                assert not true.feasible
        assert search.states[SOLVED] < search.possible / 2

    def test_nothing_within(self) -> None:
        with pytest.raises(InfeasibleError) as raised:
            search_splits(ALEXNET, [P3, P4D], None, 1024, budgets=["8gpus", "$4", "20min"])
        first, second = str(raised.value).splitlines()
        assert first.startswith("nothing within 8 GPUs and $4 and 20 min: none of 8 places")
        known = every_place([1, 2, 4, 8], budgets=["8gpus", "$4", "20min"])
        best = min(known, key=lambda point: max(point.excess.values()))
        assert second.startswith(f"nearest: {best.gpus} GPUs of {best.cluster.name}, ")
        assert f"({max(best.excess.values()):+.0%})" in second

    def test_refusals(self) -> None:
        with pytest.raises(SpecError, match="has no job, so there is no time to a target; expected --samples N"):
            search_splits(replace(load_network("alexnet"), job=None), [P3], None, 64, budgets=["1h"])
        with pytest.raises(SpecError, match="no price to hold against the budget"):
            search_splits(ALEXNET, [load_cluster("owt-8xk20")], None, 64, budgets=["$5"])
        with pytest.raises(SpecError, match="gpus 16: more than the budget of 8"):
            search_splits(ALEXNET, [P3], [16], 64, budgets=["8gpus"])
        with pytest.raises(SpecError, match="did you mean 'cost'"):
            search_splits(ALEXNET, [P3], [8], 64, minimize="costs")

    def test_as_text(self, run: Runner) -> None:
        words = ("split", "alexnet", "--on", "p3.16xlarge", "--budget", "32gpus", "--global-batch", "1024")
        assert "proved worse by a lower bound, without being" in " ".join(run.text(*words).split())
        printed = run(*words, "--json").json
        assert printed["budgets"] == ["32gpus"] and sum(printed["places"].values()) == len(printed["points"]) == 7


class TestStudy:
    def test_killed_and_resumed(self, run: Runner, tmp_path: Path) -> None:
        plain = run(*WORDS, "--json").json
        storage = str(tmp_path / "studies.log")
        call = [sys.executable, "-m", "paleo_opt", *WORDS, "--storage", storage, "--study", "mine"]
        process = subprocess.Popen(call, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
        while process.poll() is None and not _finished(storage):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = _finished(storage)
        assert before
        assert run(*WORDS, "--storage", storage, "--study", "mine", "--json").json == plain
        trials = load(Kept(storage, "mine")).get_trials(deepcopy=False)
        # What was finished is not done again.
        assert [t.number for t in trials if t.state.name == "COMPLETE"][:before] == list(range(before))
        assert sum(trial.state.name == "COMPLETE" for trial in trials) == 20

    def test_a_worker_shares_it(self, run: Runner, tmp_path: Path) -> None:
        words = (*WORDS[:6], "--budget", "16gpus", "--budget", "$20", "--global-batch", "1024")
        plain = run(*words, "--json").json
        storage = str(tmp_path / "studies.log")
        args = parse([*words, "--storage", storage, "--seed", "0"])
        kept = kept_of(args)
        assert kept is not None and kept.name == "split-alexnet-16gpus-20"
        run_kept(args.study_problem(args, args.trials), kept, trials=args.trials, most=1)
        call = [sys.executable, "-m", "paleo_opt", "worker", "--storage", storage, "--study", kept.name, "--json"]
        done = subprocess.run(call, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["ended"] == "tried every point" and said["trials"] == len(plain["points"]) - 1
        answer = run(*words, "--storage", storage, "--json").json
        assert answer == plain
        trials = load(kept).get_trials(deepcopy=False)
        assert len({trial.user_attrs[WORKER] for trial in trials}) == 2 and len(trials) == len(plain["points"])
        other = run.refusal(*words, "--minimize", "cost", "--storage", storage)
        assert "is of another search: its goal is time, here cost" in other


def _finished(storage: str) -> int:
    try:
        trials = load(Kept(storage, "mine")).get_trials(deepcopy=False)
    except SpecError:
        return 0
    return sum(trial.state.name == "COMPLETE" for trial in trials)
