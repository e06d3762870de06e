"""The page: what is in the file, and what a real browser makes of it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from tradeoff_cases import HOSTILE, frugal, hostile, shipped, single, small, unpriced

from paleo_opt import quantities
from paleo_opt.report.html.page import render_page
from paleo_opt.report.html.page_data import page_data, shown_points
from paleo_opt.search.space import load_space
from paleo_opt.search.tradeoff import Tradeoff, pareto

PAGES = {"shipped": shipped, "frugal": frugal, "unpriced": unpriced, "single": single, "hostile": hostile}
MOST_BYTES = 2_000_000
VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """The elements of a page, with the check that all are closed in their order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)


def many() -> Tradeoff:
    """More points than a chart shows."""
    return pareto("resnet50", space=replace(load_space("default"), nodes_per_octave=48))


def embedded(source: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', source, re.DOTALL)
    assert match
    return json.loads(match[1])  # type: ignore[no-any-return]


# -- the file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_it_is_whole_and_asks_for_nothing(name: str) -> None:
    source = render_page(PAGES[name]())
    page = Page(source)
    assert source.startswith("<!doctype html>")
    for tag, attributes in page.elements:
        assert "src" not in attributes, tag
        assert not any(attribute.startswith("on") for attribute in attributes), (tag, attributes)
        if tag == "link":
            assert attributes == {"rel": "icon", "href": "data:,"}
        if tag == "a":
            assert re.match("https?://", attributes["href"] or "")
    assert "@import" not in source and "url(" not in "".join(page.texts["style"])
    assert "sourceMappingURL" not in source
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and a.get("http-equiv"))
    assert policy is not None and "default-src 'none'" in policy
    assert "Permission is hereby granted" in source, "the licence of the charts travels with them"
    assert source.count("<h1>") == 1
    assert len(source.encode()) < MOST_BYTES


def test_names_stay_names() -> None:
    source = render_page(hostile())
    page = Page(source)
    assert [tag for tag, _ in page.elements].count("script") == 3
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert "".join(page.texts["h1"]) == HOSTILE
    assert HOSTILE in [cluster["name"][2:] for cluster in embedded(source)["clusters"]]
    assert HOSTILE not in source and html.escape(HOSTILE) in source


def test_the_parts_that_need_no_script_say_it_all() -> None:
    answer = shipped()
    source = render_page(answer)
    texts = " ".join(" ".join(part) for part in Page(source).texts.values())
    chosen = answer.recommendation.recommended
    for wanted in (
        quantities.format_time(chosen.time_s),
        quantities.format_money(chosen.cost_usd),
        chosen.strategy.cluster.name,
        f"{answer.recommendation.certificate.strategies:,}",
        "prices −20%",
        "all-reduce",
        "activations",
        "share of peak attained",
        "419 interruptions",
        "paleo-opt pareto resnet50 --budget '$2000'",
        chosen.strategy.cluster.device.source.split()[0],
        *(job_source.split()[0] for job_source in answer.problem.job.sources),
    ):
        assert wanted in texts, wanted
    price = answer.problem.options.node_price(chosen.strategy.cluster)
    assert price is not None and price.date in texts
    assert source.count('class="pick"') == answer.front.size


@pytest.mark.parametrize("name", PAGES)
def test_the_data_are_the_points(name: str) -> None:
    answer = PAGES[name]()
    front, data = answer.front, embedded(render_page(answer))
    points = data["points"]
    assert len(points["time"]) == front.points.gpus.size
    for column, values in (("time", front.points.time_s), ("cost", front.points.cost_usd)):
        for found, value in zip(points[column], values, strict=True):
            assert found == (None if value != value else pytest.approx(value, rel=1e-4))
    for place, choice in zip(data["front"], front.choices, strict=True):
        cluster, precision, split, tensor = data["blocks"][points["block"][place]]
        strategy = choice.strategy
        assert data["clusters"][cluster]["name"] == strategy.cluster.name
        assert (precision, split, tensor) == (strategy.precision, strategy.split, strategy.tensor)
        assert (points["gpus"][place], points["micro"][place]) == (strategy.gpus, strategy.micro_batch)
        assert points["passes"][place] == strategy.accumulation
        assert data["collectives"][points["collective"][place]] == strategy.collective
        assert points["step"][place] == pytest.approx(float(choice.estimates.step_time_s.reshape(-1)[0]), rel=1e-4)
        assert points["memory"][place] == pytest.approx(choice.memory_bytes / 1e6, abs=0.6)
    assert data["recommended"] == answer.recommended


def test_thousands_of_points_are_thinned_the_same_every_time() -> None:
    answer = many()
    front = answer.front
    count = front.points.gpus.size
    assert count > 5_000
    shown = shown_points(front)
    assert 4_900 < shown.size <= 5_000
    assert set(front.places.tolist()) <= set(shown.tolist())
    assert (shown == shown_points(front)).all()
    source = render_page(answer)
    assert f"{shown.size:,} of the {count:,} points are shown" in source
    assert len(embedded(source)["points"]["time"]) == shown.size
    assert len(source.encode()) < MOST_BYTES
    assert shown_points(front, 3).tolist() == sorted(front.places.tolist()), "the front is never thinned"
    assert page_data(answer, 10**6)["points"]["time"][-1] is not None


# -- a real browser ----------------------------------------------------------------------------------------

in_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium on the PATH (Debian: apt install chromium)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name, make in {**PAGES, "many": many, "small": small}.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(render_page(make()), encoding="utf-8")
    return found


#: Where a point of the chart is on the screen.
_WHERE = """(point => {
  const canvas = document.getElementById("frontchart"), chart = Chart.getChart(canvas);
  canvas.scrollIntoView({block: "center"});
  const data = JSON.parse(document.getElementById("data").textContent), frame = canvas.getBoundingClientRect();
  return [frame.left + chart.scales.x.getPixelForValue(data.points.time[point]),
          frame.top + chart.scales.y.getPixelForValue(data.points[data.against][point])];
})"""
#: How many pixels of a canvas are painted.
_PAINTED = """(id => {
  const canvas = document.getElementById(id);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let painted = 0;
  for (let at = 3; at < pixels.length; at += 4) painted += pixels[at] > 0;
  return painted;
})"""


def where(browser: Browser, point: int) -> tuple[float, float]:
    x, y = browser.run(f"{_WHERE}({point})")
    return x, y


def text(browser: Browser, name: str) -> str:
    return str(browser.run(f"document.getElementById({name!r}).innerText"))


def check_quiet(browser: Browser) -> None:
    assert browser.complaints == []
    assert browser.requests == []


@in_browser
@pytest.mark.parametrize("name", [*PAGES, "many"])
def test_it_opens_in_silence_and_draws(browser: Browser, page: dict[str, Path], name: str) -> None:
    browser.open(page[name])
    assert browser.run("document.documentElement.dataset.ready") == "yes"
    for chart in ("frontchart", "shiftchart", "gpuschart", "scalingchart"):
        assert browser.run(f"{_PAINTED}({chart!r})") > 1_000, chart
    assert browser.run("document.querySelectorAll('#compare table').length") == 1
    check_quiet(browser)


@in_browser
@pytest.mark.parametrize("name", ["shipped", "frugal", "unpriced"])
@pytest.mark.parametrize("width", [360, 1200])
def test_pointing_at_the_front_shows_the_configuration(
    browser: Browser, page: dict[str, Path], name: str, width: int
) -> None:
    browser.open(page[name], width, 740, phone=width == 360)
    answer, data = PAGES[name](), embedded(page[name].read_text(encoding="utf-8"))
    for place in {0, answer.front.size // 2, answer.front.size - 1}:
        browser.mouse("mouseMoved", *where(browser, data["front"][place]))
        # Points may lie on one another: what is shown is one that lies there.
        tip = text(browser, "tip")
        choice = answer.front.choices[place]
        assert choice.strategy.cluster.device.name in tip
        assert "on the front" in tip
        assert re.search(r"^\d.* GPUs? = \d.* nodes? × \d+ ", tip, re.MULTILINE)
        box = browser.run("(r => [r.left, r.right])(document.getElementById('tip').getBoundingClientRect())")
        assert box[0] >= 0 and box[1] <= width
    browser.mouse("mouseMoved", 1, 1)
    assert browser.run("document.getElementById('tip').hidden") is True
    check_quiet(browser)


@in_browser
def test_the_tip_says_what_the_strategy_is(browser: Browser, page: dict[str, Path]) -> None:
    browser.open(page["small"])
    answer, data = small(), embedded(page["small"].read_text(encoding="utf-8"))
    choice = answer.front.choices[answer.front.cheapest]
    browser.mouse("mouseMoved", *where(browser, data["front"][answer.front.cheapest]))
    strategy, tip = choice.strategy, text(browser, "tip").splitlines()
    assert tip[0] == f"{quantities.format_money(choice.cost_usd)} in {quantities.format_time(choice.time_s)}"
    assert tip[1] == strategy.cluster.name
    assert any(line.startswith(f"micro-batch {strategy.micro_batch}") for line in tip)
    assert any(f"global batch {strategy.global_batch:,}" in line for line in tip)
    assert tip[-1].startswith("on the front · cheapest")


@in_browser
def test_clicking_compares_two(browser: Browser, page: dict[str, Path]) -> None:
    browser.open(page["small"])
    answer, data = small(), embedded(page["small"].read_text(encoding="utf-8"))
    front = answer.front
    first, last = 0, front.size - 1
    titles = [
        f"{quantities.format_money(front.spent[at])} in {quantities.format_time(front.time_s[at])}"
        for at in (first, last)
    ]
    for button in browser.run("[...document.querySelectorAll('.pick[aria-pressed=true]')].map(b => b.dataset.place)"):
        browser.run(f"document.querySelector('.pick[data-place=\"{button}\"]').click()")
    assert "Nothing is picked" in text(browser, "compare")
    browser.click(*where(browser, data["front"][first]))
    assert f"A: {titles[0]}" in text(browser, "compare")
    browser.click(*where(browser, data["front"][last]))
    shown = text(browser, "compare")
    assert f"A: {titles[0]}" in shown and f"B: {titles[1]}" in shown and "B against A" in shown
    dollars = front.spent[first] - front.spent[last]
    hours = (front.time_s[last] - front.time_s[first]) / 3600
    assert f"{quantities.format_money(dollars / hours)} for each hour saved" in shown
    pressed = browser.run("[...document.querySelectorAll('.pick[aria-pressed=true]')].map(b => b.innerText).join('')")
    assert pressed == "AB"
    browser.click(*where(browser, data["front"][first]))
    assert f"A: {titles[1]}" in text(browser, "compare"), "a second click takes it out"
    check_quiet(browser)


@in_browser
def test_the_keyboard_walks_along_the_front(browser: Browser, page: dict[str, Path]) -> None:
    browser.open(page["small"])
    answer = small()
    browser.run("document.getElementById('frontchart').focus()")
    browser.press("End")
    assert text(browser, "tip").splitlines()[-1].startswith("on the front · cheapest")
    assert "on the front" in text(browser, "spoken")
    browser.press("Home")
    fastest = answer.front.choices[0]
    assert text(browser, "tip").splitlines()[0].endswith(quantities.format_time(fastest.time_s))
    browser.press("ArrowRight")
    assert text(browser, "tip").splitlines()[0].endswith(quantities.format_time(answer.front.time_s[1]))
    before = text(browser, "compare")
    browser.press("Enter")
    assert text(browser, "compare") != before
    browser.press("Escape")
    assert browser.run("document.getElementById('tip').hidden") is True
    reached = browser.run(
        "[...document.querySelectorAll('a,button,select,input,summary,[tabindex]')].every(e => e.tabIndex >= 0)"
    )
    assert reached is True
    check_quiet(browser)


@in_browser
def test_the_controls_redraw(browser: Browser, page: dict[str, Path]) -> None:
    browser.open(page["frugal"])
    kinds = "(c => [c.scales.x.type, c.scales.y.type, c.options.scales.y.title.text])(Chart.getChart('frontchart'))"
    assert browser.run(kinds) == ["logarithmic", "logarithmic", "cost"]
    for box in ("logx", "logy"):
        browser.run(f"document.getElementById({box!r}).click()")
    assert browser.run(kinds)[:2] == ["linear", "linear"]
    assert browser.run(f"{_PAINTED}('frontchart')") > 1_000
    choose = "(id, value) => { const s = document.getElementById(id); s.value = value; s.dispatchEvent(changed); }"
    choose = f"(changed => {choose})(new Event('change'))"
    browser.run(f"({choose})('against', 'energy')")
    assert browser.run(kinds)[2] == "energy"
    drawn = "Chart.getChart('frontchart').data.datasets.map(d => d.label)"
    other = browser.run("document.getElementById('highlight').options[3].text")
    browser.run(f"({choose})('highlight', document.getElementById('highlight').options[3].value)")
    assert other in browser.run(drawn)
    browser.run("document.querySelectorAll('#clusters button')[0].click()")
    hidden = browser.run("document.querySelectorAll('#clusters button')[0].innerText")
    assert hidden not in browser.run(drawn)
    browser.run("document.querySelectorAll('#shiftlegend button')[0].click()")
    assert browser.run("Chart.getChart('shiftchart').isDatasetVisible(0)") is False
    check_quiet(browser)


@in_browser
@pytest.mark.parametrize("name", [*PAGES, "many"])
def test_a_phone_needs_no_scrolling_sideways(browser: Browser, page: dict[str, Path], name: str) -> None:
    browser.open(page[name], 360, 740, phone=True)
    assert browser.run("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    beyond = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.frame, pre, .unseen')
      && e.getBoundingClientRect().right > 360.5).map(e => e.tagName + '.' + e.className + '#' + e.id)"""
    assert browser.run(beyond) == []
    small_text = """[...document.querySelectorAll('main *')].filter(e => e.childNodes.length
      && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
      && parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.tagName)"""
    assert browser.run(small_text) == []
    check_quiet(browser)


@in_browser
def test_the_dark_scheme_is_dark_and_both_can_be_read(browser: Browser, page: dict[str, Path]) -> None:
    browser.open(page["shipped"])
    light = _colours(browser)
    browser.scheme(dark=True)
    browser.settle()
    dark = _colours(browser)
    assert dark != light
    for colours in (light, dark):
        ground = _luminance(colours["card"])
        for name in ("ink", "soft", "accent", "good", "bad"):
            assert _contrast(ground, _luminance(colours[name])) >= 4.5, name
        for name in (*(f"c{number}" for number in range(8)), "front"):
            assert _contrast(ground, _luminance(colours[name])) >= 3, name
    assert _luminance(light["bg"]) > 0.8 and _luminance(dark["bg"]) < 0.05
    drawn = "Chart.getChart('frontchart').data.datasets.find(d => d.pointRadius > 5).pointBackgroundColor"
    assert browser.run(drawn) == dark["c0"], "the charts follow"
    check_quiet(browser)


def _colours(browser: Browser) -> dict[str, str]:
    names = ["bg", "card", "ink", "soft", "accent", "good", "bad", "front", *(f"c{number}" for number in range(8))]
    style = "getComputedStyle(document.documentElement)"
    found = browser.run(f"{json.dumps(names)}.map(n => {style}.getPropertyValue('--' + n).trim())")
    return dict(zip(names, found, strict=True))


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return (high + 0.05) / (low + 0.05)


@in_browser
def test_the_scripts_write_figures_as_the_terminal_does(browser: Browser, page: dict[str, Path]) -> None:
    browser.open(page["shipped"])
    source = (Path(render_page.__code__.co_filename).parent / "format.js").read_text(encoding="utf-8")
    seconds = [0.00123, 0.0412, 5.56, 41.0, 99.0, 125, 290.4, 598, 5000, 6700, 86_000, 200_000, 3_000_000, 40_000_000]
    dollars = [0.42, 3.555, 18.3, 99.99, 100.4, 1234.6, 12_345_678]
    shown = browser.run(f"(() => {{ {source}; return [{seconds}.map(time), {dollars}.map(money)] }})()")
    assert shown == [[*map(quantities.format_time, seconds)], [*map(quantities.format_money, dollars)]]
