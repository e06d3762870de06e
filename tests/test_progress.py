"""Progress of a long sweep: counted to the end, and shown on a terminal only."""

from __future__ import annotations

from itertools import pairwise

import pytest

from paleo_opt.report.progress import SweepProgress
from paleo_opt.search.recommend import recommend


def test_every_strategy_is_counted():
    seen = []
    answer = recommend(
        "alexnet",
        budgets=["16gpus"],
        on=["p4d.24xlarge"],
        trials=0,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (answer.certificate.strategies,) * 2
    assert all(before[0] < after[0] for before, after in pairwise(seen))


@pytest.mark.parametrize(("terminal", "least", "shown"), [(True, 10, True), (True, 1000, False), (False, 10, False)])
def test_shown_on_a_terminal_where_it_is_long(monkeypatch, capsys, terminal, least, shown):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    with SweepProgress(least) as progress:
        progress(50, 100)
        progress(100, 100)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("strategies" in captured.err) == shown
