"""What ``pareto`` prints, as text, JSON, CSV and pictures; the files it writes; the command that asks again."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import shlex
import stat
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner, check_form
from test_import_budget import imported, run
from tradeoff_cases import HOSTILE, frugal, hostile, shipped, single, small, unpriced

from paleo_opt.cli.main import build_parser
from paleo_opt.errors import SpecError
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import IDEAL, Operations
from paleo_opt.report import files, static_charts, terminal
from paleo_opt.report.front_chart import front_chart, legend, letters
from paleo_opt.report.json_output import dump, plain
from paleo_opt.report.pareto import ends_text, marks, picked, render, saved
from paleo_opt.report.pareto_command import pareto_command, pareto_words
from paleo_opt.report.pareto_json import pareto_csv, pareto_json
from paleo_opt.search.tradeoff import Tradeoff, pareto

ANSWERS = {"shipped": shipped, "frugal": frugal, "unpriced": unpriced, "single": single, "small": small}
_MARKS = re.compile("\x1b\\[[012]m")


@pytest.fixture
def paleo(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def plain_lines(answer: Tradeoff, room: int) -> list[str]:
    return _MARKS.sub("", render(answer, room)).splitlines()


# -- the terminal ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [80, 100])
@pytest.mark.parametrize("name", ANSWERS)
def test_the_text_keeps_to_its_room(name: str, room: int) -> None:
    check_form(plain_lines(ANSWERS[name](), room), room)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_comes_first(name: str) -> None:
    answer = ANSWERS[name]()
    lines = plain_lines(answer, 100)
    assert lines[0].startswith(answer.problem.network.name)
    assert lines[1].startswith("→ ")
    text = " ".join(" ".join(lines).split())
    assert ends_text(answer.front) in text
    certificate = answer.recommendation.certificate
    assert f"of {certificate.strategies:,} strategies, all evaluated in" in text
    assert f"{certificate.feasible:,} fit memory and keep to the budgets" in text


@pytest.mark.parametrize("name", ANSWERS)
def test_the_chart_has_the_ends_of_the_front_where_they_belong(name: str) -> None:
    answer = ANSWERS[name]()
    front, of_cluster = answer.front, letters(answer.front)
    rows = [line.partition("│")[2] or line.partition("┤")[2] for line in front_chart(front, 80)[1:-2]]
    assert len(rows) == 16
    capitals = {(x, y) for y, row in enumerate(rows) for x, glyph in enumerate(row) if glyph.isupper()}
    glyphs = [of_cluster[choice.strategy.cluster.name] for choice in front.choices]
    fastest = min(capitals)
    assert rows[fastest[1]][fastest[0]] == glyphs[front.fastest]
    lowest = max(y for _, y in capitals)
    assert glyphs[front.cheapest] in {rows[y][x] for x, y in capitals if y == lowest}
    assert {rows[y][x] for x, y in capitals} <= set(glyphs)
    assert not any(glyph.isupper() for row in rows[lowest + 1 :] for glyph in row)


def test_every_cluster_of_the_front_has_one_letter_and_a_place_in_the_legend() -> None:
    for answer in (shipped(), frugal(), small()):
        of_cluster = letters(answer.front)
        on_front = {choice.strategy.cluster.name for choice in answer.front.choices}
        assert on_front <= set(of_cluster)
        assert len(set(of_cluster.values())) == len(of_cluster)
        parts = legend(answer.front)
        for name, letter in of_cluster.items():
            assert f"{letter} {name}" in parts
    assert set(letters(small().front)) == {"slow", "fast", "far"}, "few clusters have all a letter"
    assert any(re.fullmatch(r"· \d+ other clusters", part) for part in legend(shipped().front))


@pytest.mark.parametrize("name", ANSWERS)
def test_the_table_shows_the_marked_points_and_what_an_hour_costs(name: str) -> None:
    answer = ANSWERS[name]()
    front, shown = answer.front, picked(answer)
    assert len(shown) == min(front.size, 16)
    assert set(marks(answer)) <= set(shown) and shown == sorted(set(shown))
    per_hour = saved(front, shown)
    line = [place for place in shown if place in front.line.tolist()]
    for place, slower in pairwise(line):
        dollars = front.spent[place] - front.spent[slower]
        assert per_hour[place] == pytest.approx(dollars / (front.time_s[slower] - front.time_s[place]) * 3600)
    text = "\n".join(plain_lines(answer, 100))
    assert ("more between them" in text) == (len(shown) < front.size)
    assert ("an hour saved" in text) == (front.against == "cost_usd")
    assert sum(line.startswith("  →") for line in text.splitlines()) == (answer.recommended is not None)


def test_the_table_says_how_far_behind_the_fastest_each_is() -> None:
    lines = plain_lines(small(), 100)
    head = next(number for number, line in enumerate(lines) if " behind " in line and " time " in line)
    column = lines[head].index("behind")
    cells = [line[: column + 6].split()[-1] for line in lines[head + 1 : head + 1 + small().front.size]]
    front = small().front
    assert cells[0] == "–"
    for cell, seconds in zip(cells[1:], front.time_s[1:], strict=True):
        ratio = seconds / front.time_s[0]
        shown = float(cell.rstrip("×")) if cell.endswith("×") else 1 + float(cell.strip("+%")) / 100
        assert shown == pytest.approx(ratio, rel=0.06)


def test_shifts_say_what_would_be_recommended_then() -> None:
    lines = plain_lines(shipped(), 100)
    names = [shift.name for shift in shipped().shifts]
    rows = {name: next(line for line in lines if line.strip().startswith(name)) for name in names}
    assert rows["prices −20%"].endswith("the same")
    slow = next(shift for shift in shipped().shifts if shift.name == "links × 0.5")
    assert slow.best is not None
    chosen = shipped().recommendation.recommended.strategy
    if slow.best.strategy == replace(chosen, cluster=slow.best.strategy.cluster):
        assert rows["links × 0.5"].endswith("the same")
    else:
        assert slow.best.strategy.cluster.name in rows["links × 0.5"] or "the same" not in rows["links × 0.5"]


def test_an_unproved_front_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("paleo_opt.search.tradeoff.MOST_SWEPT", "paleo_opt.search.recommend.MOST_SWEPT"):
        monkeypatch.setattr(name, 10)
    text = " ".join(" ".join(plain_lines(small(trials=8, minimize="energy"), 100)).split())
    assert "that were tried; not proved: the space has" in text
    assert "how the front moves with prices and links is left out: not proved" in text


def test_nothing_moves_a_cursor_and_ascii_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("utf-8", "ascii"):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
        terminal.emit(render(shipped(), 80), stream)
        stream.flush()
        lines = raw.getvalue().decode(encoding).splitlines()
        assert all(len(line) <= 80 and "\x1b" not in line for line in lines)


def test_names_from_files_do_not_reach_the_terminal_raw(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.emit(render(hostile(), 100))
    out = capsys.readouterr().out
    assert "\u2028" not in out


# -- JSON and CSV ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANSWERS)
def test_json_is_the_answer(name: str) -> None:
    answer = ANSWERS[name]()
    front = answer.front
    found = plain(pareto_json(answer))
    dump(found)
    assert len(found["pareto"]) == front.size
    assert [point["strategy"] for point in found["pareto"]] == [c.strategy.to_json() for c in front.choices]
    for place, point in enumerate(found["pareto"]):
        assert point["estimate"]["time_to_target_s"] == pytest.approx(front.time_s[place])
        hour = point["usd_per_hour_saved" if front.against == "cost_usd" else "gpus_per_hour_saved"]
        assert hour == (None if math.isnan(front.per_hour_saved[place]) else pytest.approx(front.per_hour_saved[place]))
    assert found["fastest"] == found["pareto"][0]
    assert (found["cheapest"] is None) == (front.against == "gpus")
    assert (found["most_frugal"] is None) == (not front.with_energy)
    assert found["recommended"]["strategy"] == answer.recommendation.recommended.strategy.to_json()
    assert [shift["name"] for shift in found["shifts"]] == [shift.name for shift in answer.shifts]
    assert found["certificate"]["optimal"] is True
    assert found["inputs"]["network"] == answer.problem.network.name


@pytest.mark.parametrize("name", ANSWERS)
def test_csv_is_the_front(name: str) -> None:
    answer = ANSWERS[name]()
    rows = list(csv.DictReader(io.StringIO(pareto_csv(answer))))
    assert len(rows) == answer.front.size
    for row, choice in zip(rows, answer.front.choices, strict=True):
        assert float(row["time_to_target_s"]) == choice.time_s
        assert row["cost_usd"] == ("" if math.isnan(choice.cost_usd) else repr(choice.cost_usd))
        assert (row["cluster"], int(row["gpus"])) == (choice.strategy.cluster.name, choice.strategy.gpus)
        assert int(row["global_batch"]) == choice.strategy.global_batch
    assert "fastest" in rows[0]["marks"].split(";")


def test_a_name_in_a_csv_is_no_formula() -> None:
    answer = small()
    from dataclasses import replace

    clusters = tuple(replace(cluster, name=f"=cmd|{cluster.name}") for cluster in answer.problem.clusters)
    rows = list(csv.DictReader(io.StringIO(pareto_csv(small(on=clusters)))))
    assert all(row["cluster"].startswith("'=cmd|") for row in rows)
    awkward = list(csv.DictReader(io.StringIO(pareto_csv(hostile()))))
    assert {row["cluster"][2:] for row in awkward} == {HOSTILE}


# -- pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANSWERS)
def test_pictures_are_drawn_the_same_every_time(name: str) -> None:
    answer = ANSWERS[name]()
    png, svg = (static_charts.front_picture(answer, kind) for kind in ("png", "svg"))
    assert png.startswith(b"\x89PNG\r\n")
    assert svg == static_charts.front_picture(answer, "svg")
    texts = [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    title = next(text for text in texts if answer.problem.network.name in text)
    assert "against time" in title or "energy" in title
    for place, named in marks(answer).items():
        assert any(f"{', '.join(named)}: " in text for text in texts), place
    for choice in answer.front.choices:
        assert choice.strategy.cluster.name in texts


def test_hostile_names_are_drawn_as_they_are() -> None:
    svg = static_charts.front_picture(hostile(), "svg").decode()
    assert "<script" not in svg
    texts = [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert any("${data} $x" in text for text in texts), "no formula is made of it"


def test_without_matplotlib_a_picture_is_refused_at_once(paleo: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_charts, "find_spec", lambda name: None)
    line = paleo.refusal("pareto", "resnet50", "--png", "x.png")
    assert line == "paleo-opt: --png needs matplotlib, which is not installed: pip install 'paleo-opt[plots]'"


# -- the command line --------------------------------------------------------------------------------------

ASKED = ("pareto", "vgg16", "--budget", "64gpus", "--on", "p4d.24xlarge")


def test_files_are_written_and_said(paleo: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["front.csv", "front.html", "front.png", "front.svg"]
    asked = [word for name in names for word in (f"--{name[-4:].lstrip('.')}", name)]
    result = paleo(*ASKED, *asked, "--json")
    assert result.code == 0
    assert result.json["pareto"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names, "nothing else is left"
    assert [line.split(" (")[0] for line in result.err.splitlines()] == [f"wrote {name}" for name in names]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "front.csv").stat().st_mode) == 0o666 & ~mask
    paleo(*ASKED, "--csv", "front.csv")
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--html", "none/x.html"), "--html: there is no folder 'none' to write x.html to"),
        (("--csv", "."), "--csv: . is not a file's name"),
        (("--svg", ""), "--svg: (nothing) is not a file's name"),
        (("--budget", "5"), "--budget: budget '5' has no unit"),
        (("--htlm", "x"), "unknown option '--htlm'; did you mean '--html'?"),
    ],
)
def test_what_could_not_be_written_is_refused_first(
    paleo: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], wanted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("paleo_opt.search.tradeoff.find_front", lambda *_: pytest.fail("nothing is to be computed"))
    assert wanted in paleo.refusal(*ASKED, *words)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "front.csv"
    target.write_text("before")

    def fail(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(SpecError, match=r"--csv: .*front\.csv cannot be written: permission denied"):
        files.write_whole("--csv", str(target), "after")
    assert [path.name for path in tmp_path.iterdir()] == ["front.csv"]
    assert target.read_text() == "before"


def test_nothing_feasible_exits_with_one(paleo: Runner, tmp_path: Path) -> None:
    page = tmp_path / "x.html"
    result = paleo(*ASKED, "--budget", "1s", "--html", str(page))
    assert result.code == 1
    assert "is not enough" in result.out
    assert not page.exists()
    assert paleo(*ASKED, "--budget", "1s", "--json").json["recommended"] is None


def test_it_takes_every_option_of_recommend() -> None:
    parsers = build_parser()[1]
    # Its front is exact however large the space, by lower bounds.
    own = {"--out", "--draws", "--sweep", "--shard-size"}
    assert set(parsers["recommend"].option_names) - own <= set(parsers["pareto"].option_names)


def test_it_needs_no_optimizer_no_statistics_and_no_drawing() -> None:
    found = imported(run("pareto", "resnet50", "--budget", "$2000"))
    assert not {"optuna", "scipy", "rich", "matplotlib", "asyncio", "logging"} & found


QUESTIONS: list[Callable[[], Tradeoff]] = [
    lambda: pareto("vgg16", budgets=["64gpus"], on=["p4d.24xlarge", "p5.48xlarge"], minimize="energy", seed=3),
    lambda: pareto("vgg16", budgets=["$900", "90h"], split="data", micro_batch=32, conv_algorithm="auto", top=2),
    lambda: pareto("alexnet_v2", on=["infiniband"], device="K80", space="paleo", options=Options(ppp_comp=0.5)),
    lambda: pareto(
        "resnet50",
        budgets=["$2,000"],
        on=["p4d.24xlarge"],
        overrides={"net.job.epochs": "30", "price.on_demand": "$20"},
        options=Options(
            pricing="spot",
            operations=Operations(queue_s=60.5, egress_usd=1.25, input_rate=1e5, device_mtbf_s=1e9),
        ),
    ),
    lambda: pareto("resnet50", budgets=["24h"], on=["p4d.24xlarge"], options=Options(operations=IDEAL)),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=range(len(QUESTIONS)))
def test_the_command_asks_the_same_again(paleo: Runner, question: Callable[[], Tradeoff]) -> None:
    answer = question()
    words = [word for group in pareto_words(answer) for word in group]
    shown = " ".join(line.strip().removesuffix("\\") for line in pareto_command(answer, 60))
    assert shlex.split(shown) == words
    found = paleo(*words[1:], "--json").json
    assert timeless(found) == timeless(plain(pareto_json(answer)))


def timeless(value: Any) -> Any:
    """An answer without how long it took."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in ("seconds", "message")}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return value


def test_what_was_made_in_python_has_no_command() -> None:
    assert pareto_command(small(), 80) == []


def test_saved_hours_of_all_points_are_those_of_the_front() -> None:
    front = shipped().front
    per_hour = saved(front, range(front.size))
    assert np.allclose(
        [per_hour.get(place, np.nan) for place in range(front.size)], front.per_hour_saved, equal_nan=True
    )
