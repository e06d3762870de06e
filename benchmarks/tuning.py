"""Real runs until one is within 2% of the best: `paleo-opt tune` beside Optuna alone (TPE, GP, random points).

    python benchmarks/tuning.py record numpy --out grids     # runs every point, several times: minutes
    python benchmarks/tuning.py replay grids/numpy.json      # many seeds on what was recorded: a minute

A search needs many seeds and a seed many runs, so every point is run for real once, three times over, and the searches
are replayed: a run of a point gives one of its recorded times, drawn by the seed, so that searches meet the same noise
as on the machine. A point is within 2% where the median of its times is within 2% of the least of all medians.

The runs measure seconds of the processor of one thread (`--clock cpu`), as the machine may be shared.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import optuna

from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.options import usual_options
from paleo_opt.hardware.cluster import single_device_cluster
from paleo_opt.hardware.load import load_device
from paleo_opt.network.load import load_network
from paleo_opt.search.fixed import Fixed
from paleo_opt.search.space import load_space
from paleo_opt.studies.run import run_study
from paleo_opt.tuning.candidates import make_candidates
from paleo_opt.tuning.choices import STRATEGY_FIELDS, Named
from paleo_opt.tuning.command import parse_command
from paleo_opt.tuning.knobs import parse_choice
from paleo_opt.tuning.points import Points, objective_of
from paleo_opt.tuning.readings import Report
from paleo_opt.tuning.runs import DONE, Run, Runner
from paleo_opt.tuning.sampler import GuidedSampler
from paleo_opt.tuning.solve import Solver, study_problem

ROOT = Path(__file__).resolve().parent.parent
TUNE = ROOT / "examples" / "tune"
DEVICE = ROOT / "examples" / "calibration" / "hardware" / "devices" / "amd-epyc-1-core.yaml"
#: Network, command, global batch (None: it varies) and knobs.
CASES: dict[str, tuple[Path, str, int | None, tuple[str, ...]]] = {
    "numpy": (
        TUNE / "mlp.yaml",
        "{python} {tune}/train_numpy.py --clock cpu --steps 2 --micro-batch {micro_batch} "
        "--accumulation {accumulation} --order {order} --update {update}",
        1024,
        ("order=C,F", "update=new,in_place"),
    ),
    "numpy-target": (
        TUNE / "mlp.yaml",
        "{python} {tune}/train_numpy.py --clock cpu --steps 2 --micro-batch {micro_batch} "
        "--accumulation {accumulation} --order {order} --update {update}",
        None,
        ("order=C,F", "update=new,in_place"),
    ),
    "torch": (
        ROOT / "examples" / "small_cnn.yaml",
        "{python} {tune}/train_torch.py --clock cpu --steps 2 --micro-batch {micro_batch} "
        "--accumulation {accumulation} --layout {layout} --mkldnn {mkldnn} --foreach {foreach}",
        128,
        ("layout=contiguous,channels_last", "mkldnn=on,off", "foreach=off,on"),
    ),
}
REPEATS = 3
SEEDS = 30
WITHIN = 1.02


def case_of(name: str) -> tuple[Points, Any]:
    """The points of a case, and its command."""
    path, command, batch, choices = CASES[name]
    command = command.replace("{python}", sys.executable).replace("{tune}", str(TUNE))
    knobs = tuple(parse_choice(choice) for choice in choices)
    template = parse_command(command, STRATEGY_FIELDS, [knob.name for knob in knobs])
    network = load_network(str(path))
    cluster = single_device_cluster(load_device(str(DEVICE)))
    names = frozenset(name for name in template.names if name in STRATEGY_FIELDS)
    named = Named(names, {}, 1, None, Fixed(global_batch=batch))
    candidates = make_candidates(
        compile_network(network), cluster, load_space("default"), named, usual_options(network)
    )
    return Points(candidates, knobs, objective_of(candidates, None)), template


def record(name: str, folder: Path) -> None:
    """Run every point `REPEATS` times, each repeat in an order of its own, and write the times."""
    points, template = case_of(name)
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    times: list[list[float]] = [[] for _ in range(len(points))]
    start = time.time()
    with tempfile.TemporaryDirectory() as logs:
        runner = Runner(Path(logs))
        for repeat in range(REPEATS):
            for place, number in enumerate(np.random.default_rng(repeat).permutation(len(points)).tolist()):
                values = points.values(number)
                run = runner.run(template.fill(values), "run")
                assert run is not None and run.report is not None, (values, run)
                times[number].append(run.report.step_time_s(int(values["global_batch"])))
                print(
                    f"\r{repeat + 1}/{REPEATS} {place + 1}/{len(points)} {time.time() - start:,.0f} s",
                    end="",
                    file=sys.stderr,
                )
            path.write_text(json.dumps({"case": name, "seconds": time.time() - start, "times": times}))
    print(file=sys.stderr)


class Recording:
    """Gives recorded times in place of runs."""

    def __init__(self, points: Points, times: list[list[float]], seed: int) -> None:
        self.points, self.times = points, times
        self.random = np.random.default_rng(seed)
        self.tried: list[int] = []

    def __call__(self, values: Any, name: str) -> Run:
        """One of the recorded times."""
        number = int(name)
        self.tried.append(number)
        return Run(DONE, Report("step_time_s", float(self.random.choice(self.times[number]))), "", 0.0)


def flat(points: Points) -> Points:
    """The same points without the estimator: every step takes as long."""
    candidates = points.candidates
    same = replace(candidates, step_time_s=np.ones(len(candidates)))
    return Points(same, points.knobs, points.objective)


def any_start(points: Points, seed: int) -> Points:
    """The same points, but for which values of the knobs are tried first: no luck of how they were written down."""
    random = np.random.default_rng([seed, 1])
    knobs = tuple(replace(knob, start=int(random.integers(len(knob.levels)))) for knob in points.knobs)
    return Points(points.candidates, knobs, points.objective)


def runs_needed(points: Points, times: list[list[float]], good: set[int], seed: int, kind: str) -> int:
    """Runs until the first of a good point."""
    points = any_start(points, seed)
    recording = Recording(points, times, seed)
    solver = Solver(points, recording, 1, str, lambda number: None)
    guided = flat(points) if kind == "guided without the estimator" else points
    problem = study_problem(points, solver, {})
    samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "tune": lambda: GuidedSampler(problem, guided, seed),
        "guided without the estimator": lambda: GuidedSampler(problem, guided, seed),
        "TPE": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True),
        "GP": lambda: optuna.samplers.GPSampler(seed=seed),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    sampler = samplers[kind]()
    study = optuna.create_study(direction="minimize")
    runs = 0
    if kind == "guided without the estimator":  # it has no first guess of its own
        first = int(np.random.default_rng(seed).integers(len(points)))
        study.enqueue_trial(dict(points.point(first)))
    while not good & set(recording.tried):
        run_study(problem, trials=10**6, study=study, sampler=sampler, most=1)
        runs += 1
        if runs > 4 * len(points):
            break
    return len(recording.tried)


def replay(path: Path, seeds: int) -> None:
    """Every search on what was recorded."""
    recorded = json.loads(path.read_text())
    points, _ = case_of(recorded["case"])
    times = recorded["times"]
    medians = (
        np.array([statistics.median(each) for each in times])
        * points.weight[np.arange(len(points)) // points.combinations]
    )
    good = set(np.flatnonzero(medians <= WITHIN * medians.min()).tolist())
    every = np.arange(len(points))
    ratio = points.predicted(every) / np.array([statistics.median(each) for each in times])
    spread = statistics.median((max(each) - min(each)) / statistics.median(each) for each in times)
    print(
        f"{recorded['case']}: {len(points)} points of {' × '.join(str(len(a.values)) for a in points.axes)} "
        f"({', '.join(a.name for a in points.axes)}), by {points.objective}; {len(good)} within 2% of the best; "
        f"worst {medians.max() / medians.min():.1f} × the best; a point's runs differ by {spread:.0%} (median)"
    )
    best = int(medians.argmin())
    print(f"  best {points.point(best)}; estimate / measured: {np.exp(np.log(ratio).mean()):.2f} on average, "
          f"× or ÷ {math.exp(np.log(ratio).std()):.2f}")  # fmt: skip
    for kind in ("tune", "guided without the estimator", "TPE", "GP", "random"):
        needed = [runs_needed(points, times, good, seed, kind) for seed in range(seeds)]
        quarters = np.percentile(needed, [10, 50, 90])
        spread = f"10%: {quarters[0]:.0f}, 90%: {quarters[2]:.0f}, mean {np.mean(needed):.1f}"
        print(f"  {kind:30s} median {quarters[1]:5.1f} runs   ({spread})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recorder = commands.add_parser("record")
    recorder.add_argument("case", choices=list(CASES))
    recorder.add_argument("--out", type=Path, default=Path("grids"))
    player = commands.add_parser("replay")
    player.add_argument("grid", type=Path, nargs="+")
    player.add_argument("--seeds", type=int, default=SEEDS)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if args.command == "record":
        record(args.case, args.out)
    else:
        for grid in args.grid:
            replay(grid, args.seeds)


if __name__ == "__main__":
    main()
