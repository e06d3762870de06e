"""Several local processes that work together over gloo or NCCL: collectives, and data-parallel steps."""

from __future__ import annotations

import contextlib
import os
import queue
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paleo_opt.errors import SpecError

#: Seconds until processes that neither answer nor fail are ended.
PATIENCE_S = 120.0
#: What each process runs: with the module torch, its rank, the number of processes, the kind of device and the payload.
Task = Callable[[Any, int, int, str, Any], Any]


def run_together(task: Task, processes: int, threads: int, kind: str, payload: Any, limit_s: float) -> Any:
    """What ``task`` returns in the first of ``processes`` processes that form one group.

    Args:
        task: A function of a module (each process imports it).
        processes: How many.
        threads: Of each on a CPU.
        kind: ``cpu`` or ``cuda``.
        payload: Passed on.
        limit_s: Seconds that it should take; those that take `PATIENCE_S` longer are ended.

    Raises:
        SpecError: a process failed, with its message.
    """
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        answers = context.Queue()
        children = [
            context.Process(
                target=_child,
                args=(task, rank, processes, threads, kind, payload, str(Path(folder) / "store"), answers),
                daemon=True,
            )
            for rank in range(processes)
        ]
        try:
            for child in children:
                child.start()
            return _first_answer(answers, children, time.monotonic() + limit_s + PATIENCE_S)
        finally:
            _end(children)


def _first_answer(answers: Any, children: list[Any], end: float) -> Any:
    while True:
        with contextlib.suppress(queue.Empty):
            failed, answer = answers.get(timeout=0.2)
            if failed:
                raise SpecError(f"measuring with several processes failed: {answer}")
            return answer
        dead = [child.exitcode for child in children if child.exitcode not in (None, 0)]
        if dead:
            raise SpecError(f"measuring with several processes failed: one ended with code {dead[0]}")
        if time.monotonic() > end:
            raise SpecError("measuring with several processes failed: they did not answer in time")


def _end(children: list[Any]) -> None:
    for child in children:
        if child.pid is not None:
            child.join(timeout=5.0)
            if child.is_alive():
                child.kill()
                child.join()


def _child(
    task: Task, rank: int, processes: int, threads: int, kind: str, payload: Any, store: str, answers: Any
) -> None:
    """One process; says how it went, and keeps its messages from the parent's terminal."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    warnings.simplefilter("ignore")
    try:
        import torch
        import torch.distributed as dist

        torch.set_num_threads(threads)
        if kind == "cuda":
            torch.cuda.set_device(rank)
        backend = "nccl" if kind == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=processes)
        answer = task(torch, rank, processes, kind, payload)
        dist.barrier()
        dist.destroy_process_group()
        if rank == 0:
            answers.put((False, answer))
    except KeyboardInterrupt:
        return
    except Exception as error:
        # Whatever it is, the parent reports it.
        answers.put((True, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"))


def agreed_timing(torch: Any, call: Callable[[], object], finish: Callable[[], object], limit_s: float) -> list[float]:
    """Runs of ``call``, each begun together by all processes, until the first one's are settled [s].

    A run lasts as long as the slowest process takes.
    """
    import torch.distributed as dist

    from paleo_opt.measuring.timing import LEAST_SAMPLES, calls_of_run, settled

    end = time.perf_counter() + limit_s
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"

    def run(times: int) -> float:
        dist.barrier()
        start = time.perf_counter()
        for _ in range(times):
            call()
        finish()
        took = torch.tensor([(time.perf_counter() - start) / times], dtype=torch.float64, device=device)
        dist.all_reduce(took, op=dist.ReduceOp.MAX)
        return float(took)

    run(1)  # allocates, loads libraries, chooses algorithms
    # Times are the slowest process's, so that all count alike.
    times = calls_of_run(run(1))
    samples: list[float] = []
    more = torch.ones(1, device=device)
    while True:
        samples.append(run(times))
        # The first decides for all, or some would wait for the others forever.
        goes_on = time.perf_counter() < end or len(samples) < LEAST_SAMPLES
        more.fill_(float(goes_on and not settled(samples)))
        dist.broadcast(more, 0)
        if not float(more):
            return samples
