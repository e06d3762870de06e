"""How fast transformers are estimated and swept, beside llm-analysis: `python benchmarks/transformers.py`.

GPT-3 175B on 64 A100, as Korthikanti et al. ran it (arXiv:2205.05198, table 5, sequence parallelism and selective
recomputation: 13.75 s a step), estimated by both, and the sweep of Calculon's dimensions on up to 4,096 H100
(search_spaces/calculon.yaml). Everything runs on one core, side by side in one run.

llm-analysis is a package of its own (extra `benchmarks`; Python up to 3.11). It needs old versions of others, so it may
stand in an environment of its own:

    python3.11 -m venv /tmp/llm && /tmp/llm/bin/pip install llm-analysis
    python benchmarks/transformers.py --llm-analysis /tmp/llm/bin/python

The package called calculon in the registry is something else: Calculon is at github.com/calculon-ai/calculon.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"

MEASURED_S = 13.75
CALCULON = (
    "Calculon (Isaev et al., SC 2023, github.com/calculon-ai/calculon), not run here: 209 strategies/s on two cores, "
    "about 155 minutes for its sweep of GPT-3 175B on 4,096 GPUs"
)
LARGEST, ANY_BATCH = 4096, 10**9
#: Runs in the other environment: seconds of an estimate (best of 5 × 200), and of the step.
LLM_ANALYSIS = """
import json, logging, timeit
from llm_analysis.analysis import ActivationRecomputation, LLMAnalysis, logger
from llm_analysis.config import (
    ParallelismConfig, get_dtype_config_by_name, get_gpu_config_by_name, get_model_config_by_name,
)
logger.setLevel(logging.ERROR)
analysis = LLMAnalysis(
    get_model_config_by_name("megatron-lm-175b"), get_gpu_config_by_name("a100-sxm-80gb"),
    get_dtype_config_by_name("w16a16e16"), ParallelismConfig(tp_size=8, pp_size=8, dp_size=1, sp_size=8),
    flops_efficiency=0.5,
)
run = lambda: analysis.training(
    batch_size_per_gpu=1, global_batch_size=64, seq_len=2048, flash_attn=False,
    activation_recomputation=ActivationRecomputation.SELECTIVE,
)
seconds = min(timeit.repeat(run, number=200, repeat=5)) / 200
print(json.dumps({"seconds": seconds, "step_s": run()["latency_per_iter"]}))
"""


@dataclass(frozen=True)
class Timed:
    """Seconds of one estimate, and of the step that it predicts."""

    seconds: float
    step_s: float


def each(run: Callable[[], object], number: int) -> float:
    """Seconds of one run, the best of 5 × ``number``."""
    return min(timeit.repeat(run, number=number, repeat=5)) / number


def our_estimates() -> dict[str, Timed]:
    """One estimate of one strategy: the same again, and of splits that were never seen."""
    from paleo_opt.estimator.cost_table import compile_network
    from paleo_opt.estimator.estimate import Options, estimate
    from paleo_opt.estimator.splits import Split
    from paleo_opt.estimator.strategy import Strategy
    from paleo_opt.hardware.load import load_cluster
    from paleo_opt.network.load import load_network

    network, cluster, options = load_network("gpt3_175b"), load_cluster("selene"), Options(platform="megatron-lm-2021")

    def strategy(**changes: int) -> Strategy:
        fields = {"tensor": 8, "pipeline": 8, "virtual_stages": 3} | changes
        split = Split(sequence_parallel=fields["tensor"] > 1, recompute="selective", **fields)
        devices = fields["tensor"] * fields["pipeline"]
        return Strategy(cluster, devices, 1, accumulation=64, precision="fp16", split="blocks", blocks=split)

    table = compile_network(network)
    step_s = float(estimate(table, strategy(), options).step_time_s.reshape(-1)[0])
    found = {
        "the same strategy again": Timed(each(lambda: estimate(table, strategy(), options).step_time_s, 100), step_s)
    }

    others = [
        strategy(tensor=t, pipeline=p, virtual_stages=v)
        for t in (1, 2, 4, 8)
        for p in (2, 4, 8, 16, 32)
        for v in (1, 3)
        if 96 % (p * v) == 0
    ]

    def unseen() -> None:
        fresh = compile_network(network)
        for other in others:
            _ = estimate(fresh, other, options).step_time_s

    found["splits never seen, and the network compiled"] = Timed(each(unseen, 1) / len(others), step_s)
    return found


def our_sweep() -> tuple[int, float]:
    """Strategies of Calculon's dimensions, and seconds from the network's file to the best of them (best of 3)."""
    from paleo_opt.estimator.cost_table import compile_network
    from paleo_opt.estimator.estimate import Options
    from paleo_opt.hardware.load import load_cluster
    from paleo_opt.network.load import load_network
    from paleo_opt.search.enumeration import make_blocks
    from paleo_opt.search.space import load_space
    from paleo_opt.search.sweep import Limits, sweep

    space, cluster, network = load_space("calculon"), load_cluster("dgx-h100"), load_network("gpt3_175b")
    seconds, strategies = float("inf"), 0
    for _ in range(3):
        start = time.perf_counter()
        table = compile_network(network)
        rows = sweep(table, make_blocks(space, table, [cluster], LARGEST, ANY_BATCH), Limits(), Options())
        seconds = min(seconds, time.perf_counter() - start)
        strategies = int(rows.strategies.sum())
    return strategies, seconds


def llm_analysis(python: str) -> Timed | None:
    """Its estimate in another Python; None where it is not installed there."""
    # Both would look for models on the network, which nothing here needs.
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run([python, "-c", LLM_ANALYSIS], capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"llm-analysis did not run: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
        return None
    answer = json.loads(done.stdout.splitlines()[-1])
    return Timed(answer["seconds"], answer["step_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm-analysis", metavar="PYTHON", default=sys.executable, help="a Python that has it")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    other = llm_analysis(args.llm_analysis)
    rows = {f"paleo-opt, {name}": timed for name, timed in our_estimates().items()}
    if other is not None:
        rows["llm-analysis, at half of peak as it advises, no bubble"] = other
    print(f"One estimate of GPT-3 175B on 64 A100 (measured: {MEASURED_S} s a step), one core")
    print(f"{'':<60}{'ms':>8}{'a second':>10}{'× llm-analysis':>16}{'step s':>8}{'off':>7}")
    for name, timed in rows.items():
        ratio = f"{timed.seconds / other.seconds:.2f}" if other else "–"
        off = timed.step_s / MEASURED_S - 1.0
        rate = 1.0 / timed.seconds
        print(f"{name:<60}{timed.seconds * 1e3:>8.3f}{rate:>10,.0f}{ratio:>16}{timed.step_s:>8.2f}{off:>+7.0%}")

    strategies, seconds = our_sweep()
    print(f"\nThe sweep of Calculon's dimensions, GPT-3 175B on up to {LARGEST:,} H100, one core")
    print(f"{strategies:,} strategies in {seconds:.2f} s: {strategies / seconds / 1e6:.2f} million a second", end="")
    print(f", {strategies / seconds * other.seconds:,.0f} times llm-analysis's rate of estimates" if other else "")
    print(CALCULON)


if __name__ == "__main__":
    main()
