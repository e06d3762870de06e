"""Every mistake of a file of jobs is named with its file, line and field; all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from paleo_opt.errors import SpecError
from paleo_opt.planning.load import load_jobs
from paleo_opt.planning.plan import plan

FILE = """\
start: 2026-04-01
horizon: 3 months
fleet:
  - cluster: g5.48xlarge
    nodes: 2
jobs:
  - name: one
    network: resnet18
    deadline: 2026-05-01
  - name: two
    network: resnet18
    samples: 40M
    repeats:
      every: 1w
"""
NODES = "    nodes: 2\n"


def problems_of(text: str, folder: Path) -> list[tuple[int, str, str]]:
    """Line, field and message of every problem of a file."""
    path = folder / "jobs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as error:
        plan(str(path))
    assert all(problem.file == str(path) for problem in error.value.problems)
    return [(problem.line, problem.field, problem.message) for problem in error.value.problems]


def test_the_file_itself_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(FILE, encoding="utf-8")
    file = load_jobs(str(path))
    assert [job.name for job in file.jobs] == ["one", "two"]


@pytest.mark.parametrize(("old", "new", "line", "field", "message"), [
    ("start: 2026-04-01", "start: soon", 1, "start", "expected a date"),
    ("start: 2026-04-01", "description: x", 1, "start", "is missing"),
    ("horizon: 3 months", "horizon: 0", 2, "horizon", "above zero"),
    ("horizon: 3 months", "horizon: 40", 2, "horizon", "at most 36 months"),
    ("horizon: 3 months", "horizon: 2000 weeks", 2, "horizon", "at most 36 months"),
    ("horizon: 3 months", "horizon: -3 months", 2, "horizon", "expected a span"),
    ("horizon: 3 months", "horizon: [3]", 2, "horizon", "no single value"),
    ("horizon: 3 months", "horizon: 3 months\nbudget: $-5", 3, "budget", "expected"),
    ("horizon: 3 months", "horizon: 3 months\nbudget: 500", 3, "budget", "no unit"),
    ("horizon: 3 months", "horizon: 3 months\nbudgets: $500", 3, "budgets", "did you mean 'budget'?"),
    ("horizon: 3 months", "horizon: 3 months\nmargin: 0.2", 3, "margin", "expected a percentage"),
    ("horizon: 3 months", "horizon: 3 months\nmargin: -5%", 3, "margin", "expected a percentage"),
    ("horizon: 3 months", "horizon: 3 months\nspace: defalt", 3, "space", "did you mean 'default'?"),
    ("g5.48xlarge", "g5.48xlrge", 4, "fleet[0].cluster", "did you mean 'g5.48xlarge'?"),
    ("nodes: 2", "nodes: -2", 5, "fleet[0].nodes", "expected from 1"),
    ("nodes: 2", "nodes: 1.5", 5, "fleet[0].nodes", "whole number"),
    ("nodes: 2", "nodes: 2\n    price: $-3", 6, "fleet[0].price", "expected from $0"),
    ("nodes: 2", "nodes: 2\n    price: 3", 6, "fleet[0].price", "no unit"),
    ("nodes: 2", "nodes: 2\n    until: 2026-03-01", 6, "fleet[0].until", "is not after"),
    ("nodes: 2", "nodes: 2\n  - {cluster: g5.48xlarge, nodes: 1}", 6, "fleet[1].name", "give another name"),
    (NODES, NODES + "rent: cheap\n", 6, "rent[0].cluster", "no cluster is called 'cheap'"),
    (NODES, NODES + "rent: [dgx-h100]\n", 6, "rent[0].cluster", "has no on demand price"),
    (NODES, NODES + "rent: [{cluster: g5.xlarge, price: $0}]\n", 6, "rent[0].price", "expected from"),
    (NODES, NODES + "rent: [{cluster: g5.xlarge, max_nodes: 0}]\n", 6, "rent[0].max_nodes", "from 1"),
    (NODES, NODES + "rent: {g5.xlarge: 2}\n", 6, "rent", "is a mapping"),
    (NODES, NODES + "buy: [{cluster: dgx-h100}]\n", 6, "buy[0].price", "is missing"),
    (NODES, NODES + "buy: [{cluster: dgx-h100, price: $-1}]\n", 6, "buy[0].price", "expected from"),
    (NODES, NODES + "buy: [{cluster: dgx-h100, price: $9, life: 0y}]\n", 6, "buy[0].life", "above zero"),
    (NODES, NODES + "reserve: [{cluster: dgx-h100}]\n", 6, "reserve[0].price", "is missing"),
    ("name: two", "name: one", 10, "jobs[1].name", "as that of the job on line 7"),
    ("resnet18\n    dead", "resnt18\n    dead", 8, "jobs[0].network", "did you mean 'resnet18'?"),
    ("deadline: 2026-05-01", "deadline: 2026-03-01", 9, "jobs[0].deadline", "is past: the plan starts on 2026-04-01"),
    ("deadline: 2026-05-01", "deadline: 2026-03-31", 9, "jobs[0].deadline", "is past"),
    ("deadline: 2026-05-01", "deadline: 2026-09-01", 9, "jobs[0].deadline", "after the end of the horizon"),
    ("deadline: 2026-05-01", "deadline: later", 9, "jobs[0].deadline", "expected a date"),
    ("deadline: 2026-05-01", "deadline: 2026-02-30", 9, "jobs[0].deadline", "no date"),
    ("deadline: 2026-05-01", "deadline: 2w\n    earliest: 3w", 9, "jobs[0].deadline", "not after the earliest start"),
    ("deadline: 2026-05-01", "earliest: 2026-03-01", 9, "jobs[0].earliest", "before the start"),
    ("deadline: 2026-05-01", "earliest: 4 months", 9, "jobs[0].earliest", "not before the end of the horizon"),
    ("deadline: 2026-05-01", "samples: 0", 9, "jobs[0].samples", "above zero"),
    ("deadline: 2026-05-01", "samples: -4M", 9, "jobs[0].samples", "expected"),
    ("deadline: 2026-05-01", "epochs: 0", 9, "jobs[0].epochs", "above zero"),
    ("deadline: 2026-05-01", "epochs: 1M samples", 9, "jobs[0].epochs", "expected epochs"),
    ("deadline: 2026-05-01", "tokens: 1G", 9, "jobs[0].tokens", "no sequence"),
    ("deadline: 2026-05-01", "samples: 3M\n    epochs: 3", 10, "jobs[0].epochs", "the same amount as samples"),
    ("deadline: 2026-05-01", "max_global_batch: 0", 9, "jobs[0].max_global_batch", "expected from 1"),
    ("deadline: 2026-05-01", "priority: urgent", 9, "jobs[0].priority", "valid: critical"),
    ("deadline: 2026-05-01", "count: 0", 9, "jobs[0].count", "expected from 1"),
    ("deadline: 2026-05-01", "count: -1", 9, "jobs[0].count", "expected from 1"),
    ("deadline: 2026-05-01", "growth: {samples: 10%}", 9, "jobs[0].growth", "runs once"),
    ("deadline: 2026-05-01", "after: [zwei]", 9, "jobs[0].after", "valid: one, two"),
    ("deadline: 2026-05-01", "after: one", 9, "jobs[0].after", "is circular: one after one"),
    ("deadline: 2026-05-01", "on: p4d.24xlarge", 9, "jobs[0].on", "neither in the fleet nor to be had"),
    ("deadline: 2026-05-01", "on: g5.48xlage", 9, "jobs[0].on", "did you mean 'g5.48xlarge'?"),
    ("deadline: 2026-05-01", "on: []", 9, "jobs[0].on", "empty list"),
    ("deadline: 2026-05-01", "min_gpus: 8\n    max_gpus: 4", 10, "jobs[0].max_gpus", "below min_gpus"),
    ("deadline: 2026-05-01", "min_gpus: 17", 9, "jobs[0].min_gpus", "to run on; numbers of GPUs there: 1 to 16"),
    ("deadline: 2026-05-01", "dedline: 2w", 9, "jobs[0].dedline", "did you mean 'deadline'?"),
    ("every: 1w", "every: 1w\n    deadline: 40 months", 15, "jobs[1].deadline", "more than 36 months"),
    ("every: 1w", "every: 0h", 14, "jobs[1].repeats.every", "above zero"),
    ("every: 1w", "every: 5min", 14, "jobs[1].repeats.every", "at least an hour"),
    ("every: 1w", "times: 3", 13, "jobs[1].repeats.every", "is missing"),
    ("every: 1w", "every: 1w\n      times: 0", 15, "jobs[1].repeats.times", "expected from 1"),
    ("every: 1w", "every: 1w\n      times: 20", 15, "jobs[1].repeats.times", "beyond the horizon"),
    ("every: 1w", "every: 1w\n    growth: {samples: 900%}", 15, "jobs[1].growth.samples", "to 100% per month"),
    ("every: 1w", "every: 1w\n    growth: {sample: 9%}", 15, "jobs[1].growth.sample", "did you mean 'samples'?"),
    ("every: 1w", "every: 1h\n    growth: {count: 2%}", 13, "jobs[1].repeats", "more than 1,000 runs"),
])  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_field(
    old: str, new: str, line: int, field: str, message: str, tmp_path: Path
) -> None:
    assert FILE.count(old) >= 1
    found = problems_of(FILE.replace(old, new, 1), tmp_path)
    assert [(each[0], each[1]) for each in found] == [(line, field)], found
    assert message in found[0][2]


@pytest.mark.parametrize(("jobs", "line", "message"), [
    ("jobs: []", 4, "is empty; expected at least one job"),
    ("jobs:", 4, "is empty"),
    ("jobs: 3", 4, "expected a list"),
    ("", 1, "is missing"),
])  # fmt: skip
def test_no_jobs(jobs: str, line: int, message: str, tmp_path: Path) -> None:
    text = f"start: 2026-04-01\nhorizon: 3\nfleet: [{{cluster: g5.48xlarge, nodes: 2}}]\n{jobs}\n"
    found = problems_of(text, tmp_path)
    assert [(each[0], each[1]) for each in found] == [(line, "jobs")], found
    assert message in found[0][2]


def test_nothing_to_run_on(tmp_path: Path) -> None:
    found = problems_of("start: 2026-04-01\nhorizon: 3\njobs: [{name: a, network: resnet18}]\n", tmp_path)
    assert found == [(1, "", "has no nodes to run on; expected a fleet, or rent: priced, or a budget to rent with")]


def test_a_circle_of_jobs(tmp_path: Path) -> None:
    lines = [f"  - {{name: {a}, network: resnet18, after: {b}}}" for a, b in ("ab", "bc", "ca")]
    text = "start: 2026-04-01\nhorizon: 3\nrent: [g5.xlarge]\njobs:\n" + "\n".join(lines) + "\n"
    assert problems_of(text, tmp_path) == [(5, "jobs[0].after", "is circular: a after b after c after a")]


def test_a_network_that_fits_no_device(tmp_path: Path) -> None:
    (tmp_path / "wide.yaml").write_text(
        "name: wide\ninput: [100000]\nlayers:\n  a: {type: InnerProduct, outputs: 200000}\n", encoding="utf-8"
    )
    jobs = "jobs:\n  - {name: a, network: resnet18}\n  - name: b\n    network: wide.yaml\n    samples: 3M\n"
    fleet = "fleet: [{cluster: g5.48xlarge, nodes: 2}]\n"
    found = problems_of(f"start: 2026-04-01\nhorizon: 3\n{fleet}{jobs}", tmp_path)
    assert [(each[0], each[1]) for each in found] == [(7, "jobs[1].network")]
    assert "fits no device that the job may use" in found[0][2]


def test_a_network_without_a_job_needs_an_amount(tmp_path: Path) -> None:
    text = "name: small\ninput: [8]\nlayers:\n  a: {type: InnerProduct, outputs: 8}\n"
    (tmp_path / "small.yaml").write_text(text, encoding="utf-8")
    head = "start: 2026-04-01\nhorizon: 3\nrent: [g5.xlarge]\n"
    found = problems_of(head + "jobs: [{name: a, network: small.yaml}]\n", tmp_path)
    assert [(each[0], each[1]) for each in found] == [(4, "jobs[0].network")]
    assert "give samples" in found[0][2]


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = FILE.replace("resnet18", "resnt18").replace("nodes: 2", "nodes: 0").replace("3 months", "never")
    assert [each[0] for each in problems_of(text, tmp_path)] == [2, 5, 8, 11]


def test_mistakes_in_a_network_are_named_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("name: net\ninput: [8]\nlayers:\n  a: {type: Dense}\n", encoding="utf-8")
    path = tmp_path / "jobs.yaml"
    jobs = "jobs: [{name: a, network: net.yaml, samples: 5}]"
    path.write_text(f"start: 2026-04-01\nhorizon: 3\nrent: [g5.xlarge]\n{jobs}\n", encoding="utf-8")
    with pytest.raises(SpecError) as error:
        plan(str(path))
    assert [(p.file, p.line) for p in error.value.problems] == [(str(tmp_path / "net.yaml"), 4)]


def test_overrides_are_named_as_such() -> None:
    with pytest.raises(SpecError, match=r"--set jobs\[0\]\.network=vgg61: jobs\[0\]\.network: no net"):
        load_jobs("examples/quarter.yaml", {"jobs[0].network": "vgg61"})


@pytest.mark.parametrize("text", ["", "[1, 2]", "just words", "jobs: [", "a: &a [*a]"])
def test_what_is_no_file_of_jobs(text: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError):
        plan(str(path))


def test_what_plan_itself_refuses(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        plan(str(tmp_path / "nothing.yaml"))
    with pytest.raises(SpecError, match="did you mean 'lateness'"):
        plan("examples/quarter.yaml", minimize="latenes")
    with pytest.raises(SpecError, match="above zero"):
        plan("examples/quarter.yaml", time_limit=0.0)
