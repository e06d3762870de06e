"""A plan in the terminal, as JSON and as a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from browser import CHROMIUM, Browser
from command_line import check_form

from paleo_opt.planning.plan import DeadlinesMissedError, Plan, plan
from paleo_opt.report.json_output import plain
from paleo_opt.report.plan import render
from paleo_opt.report.plan_html import render_page
from paleo_opt.report.plan_json import plan_json
from paleo_opt.report.plan_rows import letter
from paleo_opt.report.plan_summary import short_time

HEAD = "start: 2026-04-01\nhorizon: 3 months\nfleet: [{cluster: g5.48xlarge, nodes: 2}]\n"
SOUND = """description: two jobs <b>&amp;
rent: [p4d.24xlarge]
jobs:
  - {name: weekly, network: resnet50, samples: 900M, deadline: 3 days, repeats: {every: 1w}, growth: {samples: 9%}}
  - {name: "<script>alert(1)</script>", network: resnet50, samples: 2G, count: 4, deadline: 3 days}
"""
LATE = """jobs:
  - {name: first, network: resnet50, samples: 2G, deadline: 3 days}
  - {name: second, network: resnet50, samples: 2G, deadline: 3 days}
"""


def made(text: str, folder: Path) -> Plan:
    path = folder / "jobs.yaml"
    path.write_text(HEAD + text, encoding="utf-8")
    try:
        return plan(str(path))
    except DeadlinesMissedError as error:
        return error.plan


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return made(SOUND, tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return made(LATE, tmp_path_factory.mktemp("late"))


def text_of(answer: Plan, room: int) -> list[str]:
    return re.sub("\x1b\\[[012]m", "", render(answer, room)).splitlines()


@pytest.mark.parametrize("room", [80, 100])
def test_the_terminal_answer_keeps_its_form(sound: Plan, late: Plan, room: int) -> None:
    for answer in (sound, late):
        check_form(text_of(answer, room), room)


def test_the_answer_comes_first(sound: Plan) -> None:
    lines = text_of(sound, 100)
    assert lines[0].startswith("jobs · 17 runs of 2 jobs · 2026-04-01 to 2026-06-30 · the cheapest")
    assert lines[1].startswith("→ $")
    assert "rent " in lines[1]
    assert "proved: no plan that meets every deadline costs less, on any grid" in "\n".join(lines[2:4])
    joined = "\n".join(lines)
    assert "checked anew: 17 runs" in joined
    assert "on the fleet alone: " in joined


def test_what_is_late_and_what_would_do(late: Plan) -> None:
    lines = text_of(late, 100)
    assert re.match(r"→ 1 of 2 runs is late, (first|second) by \d+ h", lines[1])
    assert "  proved: no plan meets every deadline, on any grid" in lines
    assert "  any one of these would do:" in lines
    assert any(re.match(r"    - 1 more node of g5\.48xlarge \(no less would do\)", line) for line in lines)
    assert any(line.startswith("    - renting ") for line in lines)
    assert any("░ after it" in line for line in lines)
    assert any("late " in line and "resnet50" not in line for line in lines[2:])


def test_the_chart(sound: Plan) -> None:
    lines = text_of(sound, 80)
    at = next(index for index, line in enumerate(lines) if "Apr" in line and "Jun" in line)
    assert lines[at + 1] == "  g5.48xlarge · 2 nodes"
    assert lines[at + 2].strip().startswith("in use")
    assert lines[at + 3].strip().startswith("weekly")
    columns = lines[at].index("Apr")
    # Weekly runs: as many bars as weeks, each before its deadline.
    bars = lines[at + 3][columns:]
    assert len(re.findall(r"[▏▎▍▌▋▊▉█]+", bars)) >= 9
    assert "│" in bars
    assert "rented p4d.24xlarge" in "\n".join(lines)


def test_of_many_runs_those_that_cost_are_shown(tmp_path: Path) -> None:
    jobs = """rent: [{cluster: g5.48xlarge, price: $10}]
jobs:
  - {name: daily, network: resnet50, samples: 300M, deadline: 1d, repeats: {every: 1d}}
  - {name: paid, network: resnet50, samples: 300M, on: rent, earliest: 2026-06-20}
"""
    lines = text_of(made(jobs, tmp_path), 100)
    shown = [line for line in lines if re.match(r"  \w{3} \d+ \d\d:\d\d ", line)]
    assert len(shown) == 40
    assert "paid" in shown[-1]
    assert "  and 52 more rows: --html FILE or --json has all" in lines


def test_a_chart_of_days(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    text = "start: 2026-04-01\nhorizon: 10 days\nfleet: [{cluster: g5.48xlarge, nodes: 2}]\n"
    path.write_text(text + "jobs: [{name: a, network: resnet50, samples: 900M}]\n", encoding="utf-8")
    lines = text_of(plan(str(path)), 80)
    assert any("Apr 1" in line and "Apr 9" in line for line in lines)


def test_configurations_are_lettered(sound: Plan) -> None:
    assert [letter(index) for index in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]
    lines = text_of(sound, 100)
    table = lines[next(i for i, line in enumerate(lines) if line.split()[:2] == ["as", "job"]) :]
    assert table[1].split()[0] == "a"
    assert "l40s" not in "".join(table)
    assert "a10g" in "".join(table)


@pytest.mark.parametrize(("seconds", "text"), [
    (20, "1 min"), (5_400, "90 min"), (36_000, "10.0 h"), (172_800, "48.0 h"), (864_000, "10.0 d"), (1e8, "1,157.4 d"),
])  # fmt: skip
def test_short_times(seconds: float, text: str) -> None:
    assert short_time(seconds) == text


def test_json_adds_up(sound: Plan, late: Plan) -> None:
    for answer in (sound, late):
        found = plain(plan_json(answer))
        runs = found["runs"]
        assert found["cost_usd"] == pytest.approx(sum(run["cost_usd"] for run in runs))
        assert found["cost_usd"] == pytest.approx(sum(item["cost_usd"] for item in found["spending"]))
        assert found["late_runs"] == sum(run["late_s"] > 0 for run in runs)
        assert found["feasible"] == (found["late_runs"] == 0)
        assert found["check"]["holds"] is True
        for run in runs:
            assert run["spare_s"] == -run["late_s"] or run["late_s"] == 0
            assert run["strategy"]["nodes"] == run["nodes"]
        for each in found["utilisation"]:
            steps = each["steps"]
            area = sum(first["nodes"] * (second["from_s"] - first["from_s"]) for first, second in pairwise(steps))
            hours = sum(run["nodes"] * run["time_s"] for run in runs if run["resource"] == each["resource"]) / 3600
            assert area / 3600 == pytest.approx(hours)
            assert each["nodes"] is None or max(step["nodes"] for step in steps) <= each["nodes"]
    relaxations = plain(plan_json(late))["relaxations"]
    assert [item["kind"] for item in relaxations] == ["deadlines", "nodes", "rent"]


# -- the page ----------------------------------------------------------------------------------------------


def test_the_page_shows_strings_and_obeys_none(sound: Plan) -> None:
    page = render_page(sound)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "two jobs &lt;b&gt;&amp;amp;" in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:,)", page)
    assert len(page.encode()) < 200_000


def test_the_drawings_are_sound_svg(sound: Plan, late: Plan) -> None:
    for answer in (sound, late):
        drawings = re.findall(r"<svg.*?</svg>", render_page(answer), re.DOTALL)
        assert len(drawings) > 4
        for drawing in drawings:
            ElementTree.fromstring(drawing.replace("<svg>", '<svg xmlns="http://www.w3.org/2000/svg">'))
            for share in re.findall(r'(?:x|x1|x2|width)="(-?[\d.]+)%"', drawing):
                assert 0 <= float(share) <= 100.001
    assert 'class="late"' in render_page(late)
    assert 'class="late"' not in render_page(sound)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_in_a_browser(sound: Plan, late: Plan, browser: Browser, tmp_path: Path) -> None:
    for name, answer in (("sound", sound), ("late", late)):
        page = tmp_path / f"{name}.html"
        page.write_text(render_page(answer), encoding="utf-8")
        for width, dark, phone in ((1200, False, False), (1200, True, False), (390, False, True), (390, True, True)):
            browser.open(page, width, 844, dark=dark, phone=phone)
            assert browser.requests == []
            assert browser.complaints == []
            # Nothing reaches beyond the screen.
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert browser.run("document.querySelectorAll('.lane svg').length") >= 3
            runs = browser.run(
                "[...document.querySelectorAll('rect.run')].every(r => r.getBoundingClientRect().width >= 1)"
            )
            assert runs
            ink, paper = browser.run(
                "(() => {const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]})()"
            )
            light = sum(map(int, re.findall(r"\d+", ink))) > sum(map(int, re.findall(r"\d+", paper)))
            assert light == dark
