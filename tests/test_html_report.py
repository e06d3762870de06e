"""The page: what is in the file."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from tradeoff_cases import HOSTILE, PAGES, embedded, hostile, many, shipped, transformer

from paleo_opt import quantities
from paleo_opt.report.html.page import render_page
from paleo_opt.report.html.page_data import page_data, shown_points
from paleo_opt.report.strategy_text import split_text

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


def test_a_transformers_step_is_told_by_its_parts() -> None:
    answer = transformer()
    chosen = answer.recommendation.recommended
    source = render_page(answer)
    texts = " ".join(" ".join(part) for part in Page(source).texts.values())
    assert split_text(chosen.strategy).split(" · ")[0] in texts
    parts = [name for name, seconds in chosen.estimates.parts.items() if float(seconds.reshape(-1)[0]) > 0]
    assert "computation" in parts and "update" in parts
    for name in parts:
        assert name in texts
    # How data parallelism scales with that split, not with replicas of the whole network.
    assert chosen.strategy.blocks is not None
    workers = embedded(source)["scaling"]["workers"]
    assert all(count % chosen.strategy.blocks.model == 0 for count in workers)


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
        assert (precision, split) == (strategy.precision, strategy.split)
        if strategy.blocks is None:
            assert tensor == strategy.tensor
        else:
            assert data["splits"][points["split"][place]] == split_text(strategy)
            assert points["data"][place] == strategy.data
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
