"""How far a long sweep or study is, on a terminal only: one line on stderr that goes when the answer comes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from paleo_opt.studies.run import Progress as StudyState

#: A sweep of fewer strategies is over before a line can be read.
LEAST = 20_000_000


class SweepProgress:
    """Called with the strategies done and in all; shows a bar where stderr is a terminal and the sweep is long."""

    def __init__(self, least: int = LEAST) -> None:
        self._least = least
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> SweepProgress:
        return self

    def __call__(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` strategies have been evaluated."""
        if self._bar is None:
            if total < self._least or not sys.stderr.isatty():
                return
            self._start(total)
        assert self._bar is not None and self._task is not None
        self._bar.update(self._task, completed=done)

    def _start(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} strategies"),
            BarColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("sweep", total=total)
        self._bar.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


#: A study that takes no longer needs no bar [s].
_PATIENCE = 1.0


class StudyProgress:
    """Called after each trial; shows a bar and the best so far where stderr is a terminal and the study is long.

    Args:
        figure: The value of a trial for a reader.
        patience: Seconds before anything is shown.
    """

    def __init__(self, figure: Callable[[float], str], patience: float = _PATIENCE) -> None:
        self._figure, self._patience = figure, patience
        self._start = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> StudyProgress:
        return self

    def __call__(self, state: StudyState) -> None:
        """Note how far the study is."""
        if self._bar is None:
            if time.monotonic() - self._start < self._patience or not sys.stderr.isatty():
                return
            self._show(state.planned)
        assert self._bar is not None and self._task is not None
        best = "nothing feasible yet" if state.best is None else f"best {self._figure(state.best)}"
        self._bar.update(self._task, completed=state.finished, best=best)

    def _show(self, planned: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("trial {task.completed:,.0f} of {task.total:,.0f}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("study", total=planned, best="")
        self._bar.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
