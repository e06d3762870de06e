"""Throughput of a shared sweep by number of workers, and of each kind of storage: `python benchmarks/workers.py`.

Starts a PostgreSQL server of its own on this machine (tests/postgres_server.py says which). Every worker is a process
of `paleo-opt worker` on one core; of more workers than cores some share one. ``--large`` sweeps more than 10^9
strategies with three workers, one of which is killed on the way, and compares the answer with one process's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"
CORES = sorted(os.sched_getaffinity(0))
QUESTION = ("bert_large", "--budget", "64gpus")
LARGE = (
    "gpt3_175b", "--space", "fine", "--budget", "1024gpus", "--on", "p3.16xlarge", "--on", "p3dn.24xlarge", "--on",
    "p4d.24xlarge", "--on", "p4de.24xlarge", "--on", "p5.48xlarge", "--on", "p5en.48xlarge", "--on", "p6-b200.48xlarge",
    "--on", "g5.48xlarge", "--on", "g6.48xlarge", "--on", "g6e.48xlarge", "--on", "BM.GPU.A100-v2.8", "--on",
    "BM.GPU.H100.8", "--on", "a2-highgpu-8g", "--on", "a3-highgpu-8g",
)  # fmt: skip


def program(*words: str, core: int | None = None) -> subprocess.Popen[str]:
    """The program as a process, on one core where one is given."""

    def pinned() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    call = [sys.executable, "-m", "paleo_opt", *words]
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(call, env=settings, text=True, stdout=subprocess.PIPE, preexec_fn=pinned)


def begun(storage: str, size: int) -> None:
    """Begin the sweep of `QUESTION` in shards of ``size`` without working on it."""
    from paleo_opt.report.out.rerun import request_files
    from paleo_opt.search.budgets import parse_budgets
    from paleo_opt.search.problem import load_problem
    from paleo_opt.search.sharded_sweep import ShardedSweep
    from paleo_opt.studies.kept import Kept, join
    from paleo_opt.studies.run import PLANNED

    budget = QUESTION[QUESTION.index("--budget") + 1]
    problem = load_problem(QUESTION[0], parse_budgets([budget]), "time")
    searched = ShardedSweep(problem, problem.blocks(), size).study_problem()
    files = request_files("recommend", QUESTION[0], {"budget": [budget], "sweep": [], "shard-size": [str(size)]})
    kept = Kept(storage, "sweep", "recommend", {name: content.decode() for name, content in files.items()})
    assert searched.every is not None
    join(kept, searched.identity, {PLANNED: len(searched.every)}, searched.every)


def throughput(server: Any, most: int, size: int) -> None:
    """Strategies a second by number of workers, from the first trial's start to the last one's end."""
    from paleo_opt.studies.kept import Kept, load

    print(f"recommend {' '.join(QUESTION)} --sweep in shards of {size:,} on {len(CORES)} cores, one for each worker")
    print("workers  shards  strategies  seconds  strategies/s  of one worker  per CPU-second  of one worker")
    alone = alone_per_cpu = 0.0
    for count in range(1, most + 1):
        storage = server.new_database()
        begun(storage, size)
        workers = [
            program("worker", "--storage", storage, "--study", "sweep", "--json", core=CORES[number % len(CORES)])
            for number in range(count)
        ]
        before = _cpu_seconds()
        reports = [json.loads(worker.communicate()[0]) for worker in workers]
        trials = load(Kept(storage, "sweep")).trials
        span = max(t.datetime_complete for t in trials) - min(t.datetime_start for t in trials)
        strategies = sum(report["strategies"] for report in reports)
        rate = strategies / span.total_seconds()
        # Where other programs have the cores too, this says what sharing costs.
        per_cpu = strategies / (_cpu_seconds() - before)
        alone, alone_per_cpu = alone or rate, alone_per_cpu or per_cpu
        print(
            f"{count:7}  {len(trials):6}  {strategies:10,}  {span.total_seconds():7.1f}  {rate:12,.0f}  "
            f"{rate / alone:12.2f}×  {per_cpu:14,.0f}  {per_cpu / alone_per_cpu:12.2f}×",
            flush=True,
        )


def _cpu_seconds() -> float:
    """Of all processes that have ended, their starts included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def storages(server: Any, trials: int) -> None:
    """Trials a second of a study that solves nothing, by kind of storage."""
    from study_cases import shards

    from paleo_opt.studies.kept import Kept
    from paleo_opt.studies.run import run_study
    from paleo_opt.studies.run_kept import run_kept

    print(f"\n{trials} trials that solve nothing, one process\nstorage     trials/s")
    with tempfile.TemporaryDirectory() as folder:
        kinds = {
            "memory": None,
            "file": f"{folder}/studies.log",
            "sqlite": f"sqlite:///{folder}/studies.db",
            "postgresql": server.new_database(),
        }
        for kind, storage in kinds.items():
            start = time.perf_counter()
            if storage is None:
                run_study(shards(trials), trials=trials)
            else:
                run_kept(shards(trials), Kept(storage, "study"), trials=trials)
            print(f"{kind:10}  {trials / (time.perf_counter() - start):8.1f}", flush=True)


def large(server: Any) -> None:
    """A sweep of more than 10^9 strategies by three workers, one of them killed, and by one process."""

    def answer(text: str) -> tuple[dict[str, Any], float]:
        found = json.loads(text)
        seconds = found["certificate"].pop("seconds")
        found["search"].pop("seconds")
        found.pop("message")
        return found, seconds

    storage = server.new_database()
    words = ("recommend", *LARGE, "--sweep", "--json")
    where = ("--storage", storage, "--study", "large", "--heartbeat", "2")
    start = time.perf_counter()
    asker = program(*words, *where)
    workers = [program("worker", *where, "--wait", "--json") for _ in range(2)]
    lost = program("worker", *where, "--wait")
    time.sleep(20.0)
    lost.send_signal(signal.SIGKILL)
    shared, _ = answer(asker.communicate()[0])
    seconds = time.perf_counter() - start
    for worker in workers:
        report = json.loads(worker.communicate()[0])
        print(f"a worker: {report['trials']} shards, {report['strategies']:,} strategies")
    count = shared["certificate"]["strategies"]
    print(f"shared: {count:,} strategies in {seconds:.0f} s ({count / seconds:,.0f}/s)", flush=True)
    start = time.perf_counter()
    alone, _ = answer(program(*words).communicate()[0])
    seconds = time.perf_counter() - start
    print(f"alone:  {alone['certificate']['strategies']:,} strategies in {seconds:.0f} s ({count / seconds:,.0f}/s)")
    print(f"the answers are {'the same' if alone == shared else 'DIFFERENT'}, digit by digit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4, help="most (default: 4)")
    parser.add_argument("--shard-size", type=int, default=10_000_000, help="strategies (default: 10 million)")
    parser.add_argument("--trials", type=int, default=200, help="by which storages are compared (default: 200)")
    parser.add_argument("--large", action="store_true", help="only a sweep of more than 10^9 strategies")
    args = parser.parse_args()
    from postgres_server import running_server

    with running_server() as server:
        if args.large:
            large(server)
        else:
            throughput(server, args.workers, args.shard_size)
            storages(server, args.trials)


if __name__ == "__main__":
    main()
