"""The page in a real, headless Chromium: it opens in silence, draws, answers to mouse and keys, fits a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from tradeoff_cases import PAGES, embedded, many, small

from paleo_opt import quantities
from paleo_opt.report.html.page import render_page

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
        assert re.search(r"^\d.* GPUs? (=|on) \d.* nodes? × \d+ ", tip, re.MULTILINE)
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
    assert browser.run(drawn) in {dark[f"c{number}"] for number in range(8)}, "the charts follow"
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
