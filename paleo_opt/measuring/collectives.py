"""Time collectives among local processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from paleo_opt.calibration.micro_table import MicroRow
from paleo_opt.measuring.processes import agreed_timing, run_together
from paleo_opt.measuring.timing import Timing, timing_of


def time_collectives(rows: Sequence[MicroRow], threads: int, kind: str, limit_s: float) -> list[Timing | None]:
    """Time the collectives of ``rows``, all among as many processes; None for one that the library has not.

    Args:
        rows: Of operation ``collective``.
        threads: Of each process.
        kind: ``cpu`` or ``cuda``.
        limit_s: Seconds for each row.

    Raises:
        SpecError: a process failed.
    """
    payload = ([(row.collective, row.bytes) for row in rows], limit_s)
    found = run_together(run_collectives, rows[0].gpus, threads, kind, payload, limit_s * len(rows))
    return [timing_of(samples) if samples else None for samples in found]


def run_collectives(torch: Any, rank: int, processes: int, kind: str, payload: Any) -> list[list[float]]:
    """In each process: the runs of every (collective, bytes) of ``payload``."""
    cases, limit_s = payload
    finish = torch.cuda.synchronize if kind == "cuda" else lambda: None
    found = []
    for name, size in cases:
        try:
            found.append(agreed_timing(torch, _call(torch, name, size, processes, kind), finish, limit_s))
        except (RuntimeError, NotImplementedError) as error:
            # Some backends lack some collectives; all processes meet that alike, before anything is sent.
            if "support" not in str(error) and "implement" not in str(error):
                raise
            found.append([])
    return found


def _call(torch: Any, name: str, size: int, processes: int, kind: str) -> Callable[[], object]:
    """A message of about ``size`` bytes in fp32, a multiple of the number of processes."""
    import torch.distributed as dist

    share = max(1, size // 4 // processes)
    whole = torch.ones(share * processes, device=kind)
    part = torch.ones(share, device=kind)
    calls: dict[str, Callable[[], object]] = {
        "all_reduce": lambda: dist.all_reduce(whole),
        "broadcast": lambda: dist.broadcast(whole, 0),
        "all_gather": lambda: dist.all_gather_into_tensor(whole, part),
        "reduce_scatter": lambda: dist.reduce_scatter_tensor(part, whole),
    }
    return calls[name]
