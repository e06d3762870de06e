"""How fast the sweep, one estimate and the whole command are: `python benchmarks/speed.py`.

Everything runs on one core, side by side in one run. Times of whole commands are given as ratios too: to a bare Python
and to importing the libraries that the command needs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"

NETS = ("vgg16", "inception_v3", "resnet152")
#: Micro-batches to this, accumulations to this, node counts in each doubling; sizes of about 10^4 to 10^7.
SIZES = {"1e4": (16, 8, 2), "1e5": (64, 16, 3), "1e6": (160, 48, 5), "1e7": (512, 96, 8)}
GLOBAL_BATCH_LIMIT = 10**9


def sweep_once(net: str, size: str) -> dict[str, float]:
    """One sweep in this process: strategies, seconds (best of five), and the process's peak memory in bytes."""
    from dataclasses import replace

    from paleo_opt.estimator.cost_table import compile_network
    from paleo_opt.estimator.estimate import Options
    from paleo_opt.hardware.load import load_cluster
    from paleo_opt.network.load import load_network
    from paleo_opt.search.enumeration import make_blocks
    from paleo_opt.search.space import load_space
    from paleo_opt.search.sweep import Limits, sweep

    micro_batch, accumulation, per_octave = SIZES[size]
    space = replace(
        load_space("fine"),
        split=("data", "hybrid"),
        tensor=(8,),
        micro_batch=tuple(range(1, micro_batch + 1)),
        accumulation=tuple(range(1, accumulation + 1)),
        nodes_per_octave=per_octave,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    table = compile_network(load_network(net))
    blocks = make_blocks(space, table, [load_cluster("p4d.24xlarge")], 512, GLOBAL_BATCH_LIMIT)
    seconds, strategies = float("inf"), 0
    for _ in range(5):
        start = time.perf_counter()
        rows = sweep(table, blocks, Limits(cost_usd=500.0), Options())
        seconds = min(seconds, time.perf_counter() - start)
        strategies = int(rows.strategies.sum())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"strategies": strategies, "seconds": seconds, "imports_bytes": before, "peak_bytes": peak}


def one_estimate(net: str) -> float:
    """Seconds of one estimate of one strategy, the network compiled (best of 5 × 500)."""
    import timeit

    from paleo_opt.estimator.cost_table import compile_network
    from paleo_opt.estimator.estimate import estimate
    from paleo_opt.estimator.strategy import Strategy
    from paleo_opt.hardware.load import load_cluster
    from paleo_opt.network.load import load_network

    table = compile_network(load_network(net))
    strategy = Strategy(load_cluster("p4d.24xlarge"), gpus=64, micro_batch=16, precision="bf16")
    return min(timeit.repeat(lambda: estimate(table, strategy).step_time_s, number=500, repeat=5)) / 500


def whole_process(commands: dict[str, list[str]], runs: int) -> dict[str, float]:
    """Wall seconds of each command, the best of ``runs``, taken in turn so that all meet the same machine."""
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(runs):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="runs of each whole command (default 7)")
    parser.add_argument("--sweep", nargs=2, metavar=("NET", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if args.sweep:
        print(json.dumps(sweep_once(*args.sweep)))
        return

    print("Sweep, one core (best of 5 runs; peak memory of the whole process)")
    print(f"{'network':<14}{'strategies':>12}{'seconds':>10}{'million/s':>11}{'peak MB':>9}")
    for net in NETS:
        for size in SIZES:
            command = [sys.executable, str(Path(__file__)), "--sweep", net, size]
            done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            count, seconds, peak = done["strategies"], done["seconds"], done["peak_bytes"] / 1e6
            print(f"{net:<14}{count:>12,}{seconds:>10.4f}{count / seconds / 1e6:>11.1f}{peak:>9.0f}")

    print("\nOne estimate of one strategy (network compiled)")
    for net in NETS:
        print(f"{net:<14}{one_estimate(net) * 1e3:>8.3f} ms")

    tool = [sys.executable, "-m", "paleo_opt"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import numpy, optuna, yaml, rich": [sys.executable, "-c", "import numpy, optuna, yaml, rich.table"],
        "paleo-opt --help": [*tool, "--help"],
        "estimate vgg16": [*tool, "estimate", "vgg16", "--on", "p4d.24xlarge"],
        "recommend vgg16 --budget 64gpus": [*tool, "recommend", "vgg16", "--budget", "64gpus"],
    }
    times = whole_process(commands, args.runs)
    bare, imports = times["python -c pass"], times["import numpy, optuna, yaml, rich"]
    print(f"\nWhole process, one core (best of {args.runs})")
    print(f"{'command':<34}{'ms':>8}{'× python':>10}{'× imports':>11}")
    for name, seconds in times.items():
        print(f"{name:<34}{seconds * 1e3:>8.0f}{seconds / bare:>10.1f}{seconds / imports:>11.2f}")


if __name__ == "__main__":
    main()
