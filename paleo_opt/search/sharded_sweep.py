"""A very large sweep in shards of about equal size, each a trial of a study, so that several processes share it.

Every strategy is evaluated, as by `sweep.sweep`, and the rows put together are its rows to the bit. A shard is some
rows of some blocks; those of one group of splits stand together, as much of them is computed once for all clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from paleo_opt.estimator.strategy import Integers
from paleo_opt.search.blocks import Block
from paleo_opt.search.optuna_search import identity, outcome_of
from paleo_opt.search.packed_rows import pack, unpack
from paleo_opt.search.problem import SearchProblem
from paleo_opt.search.sweep import Rows, join, sweep
from paleo_opt.search.tiles import groups_of
from paleo_opt.studies.problem import Outcome, Point, StudyProblem, Variable

if TYPE_CHECKING:
    from paleo_opt.studies.kept import Kept
    from paleo_opt.studies.run import Progress

#: Strategies of a shard, about: some seconds of one core, so that what is kept of it costs little beside it.
SHARD = 50_000_000
#: In so many parts the rows of a shard are dealt.
_HANDS = 50
VARIABLE = "shard"


@dataclass(frozen=True, eq=False)
class ShardedSweep:
    """A sweep in shards.

    Attributes:
        problem: What is asked.
        blocks: All blocks of the space.
        size: Strategies of a shard, about; a row is never cut.
    """

    problem: SearchProblem
    blocks: Sequence[Block]
    size: int = SHARD

    @cached_property
    def _ranks(self) -> Integers:
        """Where each block's rows stand among those of one sweep: first by what is evaluated together."""
        ranks = np.zeros(len(self.blocks), dtype=np.int64)
        for rank, indices in enumerate(groups_of(self.blocks)):
            ranks[indices] = rank
        return ranks

    @cached_property
    def _rows(self) -> tuple[Integers, Integers, Integers]:
        """Block and row of every row, those of a shard together, and where each shard starts, and the number of rows.

        Rows are dealt to the shards in turn, some neighbours at a time: what fits no device, and is soon evaluated,
        stands together.
        """
        blocks = self.blocks
        block = np.repeat(np.arange(len(blocks)), [block.gpus.size for block in blocks])
        row = np.concatenate([np.arange(block.gpus.size) for block in blocks])
        group = np.concatenate([block.groups for block in blocks])
        sizes = np.concatenate([block.row_sizes * len(block.collectives) for block in blocks])
        order = np.lexsort((row, block, group, self._ranks[block]))
        before = np.cumsum(sizes[order]) - sizes[order]
        shards = max(1, round(int(sizes.sum()) / self.size))
        # A row larger than a hand leaves some shards without any.
        shard = np.unique(before * _HANDS // self.size % shards, return_inverse=True)[1].reshape(-1)
        together = np.argsort(shard, kind="stable")
        order = order[together]
        starts = np.searchsorted(shard[together], np.arange(shard.max() + 2))
        return block[order], row[order], starts

    @property
    def shards(self) -> int:
        """How many there are."""
        return self._rows[2].size - 1

    def solve(self, shard: int, goal: str | None = None, progress: Callable[[int], None] | None = None) -> Rows:
        """Evaluate every strategy of one shard; ``goal`` in place of the problem's."""
        of_block, of_row, starts = self._rows
        some = slice(starts[shard], starts[shard + 1])
        problem, block, row = self.problem, of_block[some], of_row[some]
        present = np.unique(block)
        parts = [self.blocks[index].of_rows(np.sort(row[block == index])) for index in present.tolist()]
        rows = sweep(problem.table, parts, problem.budgets.limits, problem.options, goal or problem.goal, progress)
        return replace(rows, block=present[rows.block])

    def put_together(self, parts: Sequence[Rows]) -> Rows:
        """The rows of all shards, in the order of one sweep."""
        rows = join(parts)
        return rows.at(np.lexsort((rows.gpus, rows.group, rows.block, self._ranks[rows.block])))

    def study_problem(self) -> StudyProblem:
        """The sweep as trials, one for each shard."""
        shards = self.shards

        def solve(point: Point) -> Outcome:
            kept = self._goals(int(point[VARIABLE]))
            found = outcome_of(self.problem, self.blocks, kept[0])
            return replace(found, result=" ".join(map(pack, kept)))

        return StudyProblem(
            variables={VARIABLE: Variable(0, shards - 1)},
            solve=solve,
            identity={**identity(self.problem, self.blocks), "shards": shards},
            every=[{VARIABLE: shard} for shard in range(shards)],
        )

    def rows_of(self, results: Mapping[int, str]) -> tuple[Rows, Rows]:
        """The rows of a sweep from the results of its shards: of the goal's best strategies, and of the fastest.

        A shard without a result, as it was lost once too often, is solved here.

        Raises:
            SpecError: a result is no rows.
        """
        parts = []
        for shard in range(self.shards):
            text = results.get(shard)
            parts.append([unpack(part) for part in text.split(" ")] if text else self._goals(shard))
        return self.put_together([part[0] for part in parts]), self.put_together([part[-1] for part in parts])

    def _goals(self, shard: int) -> list[Rows]:
        """The rows of a shard; where energy is minimized, its fastest too: the front is of these."""
        rows = self.solve(shard)
        return [rows, self.solve(shard, "time")] if self.problem.goal == "energy" else [rows]


def shared_sweep(
    problem: SearchProblem,
    blocks: Sequence[Block],
    kept: Kept,
    progress: Callable[[Progress], None] | None = None,
    size: int = SHARD,
) -> tuple[Rows, Rows]:
    """Evaluate every strategy of some blocks, with every process that joins the study.

    Args:
        problem: What is asked.
        blocks: All blocks of the space.
        kept: Where the shards are kept; what is there already is not done again.
        progress: Called after each shard of this process.
        size: Strategies of a shard, about.

    Returns:
        The rows of one sweep, and those of one whose goal is time, for the front.

    Raises:
        SpecError: the study cannot be kept there, or is of something else.
    """
    from paleo_opt.studies.run import RESULT
    from paleo_opt.studies.run_kept import run_kept

    shards = ShardedSweep(problem, blocks, size)
    run = run_kept(shards.study_problem(), kept, trials=shards.shards, progress=progress)
    # One shard alone is no choice, and so no parameter of its trial.
    results = {
        trial.params.get(VARIABLE, 0): trial.system_attrs[RESULT]
        for trial in run.finished
        if RESULT in trial.system_attrs
    }
    return shards.rows_of(results)
