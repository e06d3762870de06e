"""Sweeps of transformers on several cores: numpy computes outside the interpreter's lock, so threads do.

Each thread has groups of splits of its own. What is computed once per distinct split is then computed by one of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from paleo_opt.search.blocks import Block
from paleo_opt.search.rows import Rows, join

#: Fewer strategies are not worth a second thread; more threads wait for the lock.
_LEAST = 1_000_000
_MOST_THREADS = 4


def shared_out(blocks: Sequence[Block], indices: Sequence[int]) -> list[tuple[list[Block], list[int]]]:
    """Blocks that are alike in shares of about as many strategies, each with the blocks' indices."""
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else 1
    layouts = blocks[0].layouts
    if layouts is None or threads == 1 or sum(block.size() for block in blocks) < _LEAST:
        return [(list(blocks), list(indices))]
    sizes = np.zeros(layouts.starts.size - 1)
    for block in blocks:
        sizes += np.bincount(block.groups, weights=block.row_sizes, minlength=sizes.size)
    loads, owner = np.zeros(threads), np.zeros(sizes.size, dtype=np.int64)
    for group in np.argsort(-sizes, kind="stable").tolist():
        owner[group] = loads.argmin()
        loads[owner[group]] += sizes[group]
    found = []
    for thread in range(threads):
        parts = [(block.of_rows(np.flatnonzero(owner[block.groups] == thread)), i)
                 for block, i in zip(blocks, indices, strict=True)]  # fmt: skip
        parts = [(block, index) for block, index in parts if block.gpus.size]
        if parts:
            found.append(([block for block, _ in parts], [index for _, index in parts]))
    return found


def run(tasks: Sequence[Callable[[], Rows]]) -> Rows:
    """The rows of all tasks, each in a thread of its own; in order of their blocks, groups of splits and GPUs."""
    if len(tasks) == 1:
        rows = tasks[0]()
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(tasks)) as pool:
            rows = join([future.result() for future in [pool.submit(task) for task in tasks]])
    return rows.at(np.lexsort((rows.gpus, rows.group, rows.block)))


def one_at_a_time(progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """``progress`` that several threads may call."""
    if progress is None:
        return None
    lock = Lock()

    def call(count: int) -> None:
        with lock:
            progress(count)

    return call
