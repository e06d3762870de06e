"""The answer to ``pareto`` as one self-contained HTML page: works offline, from a file, on a phone and in the dark."""

from __future__ import annotations

import json
from importlib.resources import files
from string import Template

from paleo_opt import __version__
from paleo_opt.report.html import sections
from paleo_opt.report.html.assumptions import assumptions, sources
from paleo_opt.report.html.markup import text
from paleo_opt.report.html.page_data import MOST_POINTS, page_data
from paleo_opt.report.json_output import plain
from paleo_opt.report.pareto import ends_text, figures_text, prices_text, title_parts
from paleo_opt.report.pareto_command import pareto_command
from paleo_opt.search.tradeoff import Tradeoff

_SCRIPTS = ("format.js", "charts.js", "front.js", "compare.js", "main.js")
_LICENCES = ("chart.js-LICENSE.md", "kurkle-color-LICENSE.md")
_COLUMNS = 76
#: What the chart shows: without energy, and with it.
_EXPLAINED = (
    "Each dot is a strategy, the best of its cluster, split and number of GPUs. Those on the line are the front: "
    "no strategy beats one of them without losing in time or in {second}.",
    "Each dot is a strategy. The large marks are the front: no strategy beats one of them without losing in time, in "
    "{second} or in energy. The line joins those that are best in time and {second} alone.",
)


def _file(name: str) -> str:
    return files("paleo_opt.report.html").joinpath(*name.split("/")).read_text(encoding="utf-8")


def script_json(value: object) -> str:
    """JSON that is safe inside a ``script`` element, whatever its strings hold."""
    found = json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        found = found.replace(sign, f"\\u{ord(sign):04x}")
    return found


def _library() -> str:
    """Chart.js without the address of its source map, which a browser's tools would ask for, and its licences."""
    lines = [line for line in _file("vendor/chart.umd.min.js").splitlines() if not line.startswith("//# sourceMap")]
    licences = "\n\n".join(_file(f"vendor/{name}").strip() for name in _LICENCES)
    return "/*\n" + licences.replace("*/", "* /") + "\n*/\n" + "\n".join(lines)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def render_page(tradeoff: Tradeoff, most_points: int = MOST_POINTS) -> str:
    """The whole page.

    Args:
        tradeoff: What to show.
        most_points: Of the chart; beyond, points that others beat are left out evenly, and the page says so.
    """
    front, problem, recommended = tradeoff.front, tradeoff.problem, tradeoff.recommendation.recommended
    data = page_data(tradeoff, most_points)
    shown, count = len(data["points"]["gpus"]), front.points.gpus.size
    thinned = (
        f"{shown:,} of the {count:,} points are shown: the whole front, and of the others an even choice over time."
        if shown < count
        else f"All {count:,} points are shown."
        if count > 1
        else "There is one point."
    )
    title = " · ".join(title_parts(problem, figures_text(front)))
    command = pareto_command(tradeoff, _COLUMNS)
    again = "\n".join(line.removeprefix("  ") for line in command) or "made in Python: no command makes it again"
    second = "cost" if front.against == "cost_usd" else "GPUs"
    return Template(_file("page.html")).substitute(
        title=text(title),
        style=_file("page.css"),
        network=text(problem.network.name),
        question=text(" · ".join(title_parts(problem, figures_text(front))[1:])),
        prices=text(prices_text(problem)),
        ends=text(_capital(ends_text(front))),
        explained=text(_EXPLAINED[front.with_energy].format(second=second)),
        headline=sections.headline(tradeoff),
        alternatives=sections.alternatives(tradeoff),
        thinned=text(thinned),
        second=second,
        front=sections.front_rows(tradeoff),
        front_size=f"{front.size:,}",
        shifts=sections.shifts(tradeoff),
        recommended_cluster=text(recommended.strategy.cluster.name),
        step=sections.step(recommended),
        memory=sections.memory(recommended),
        tornado=sections.tornado(recommended),
        certificate=sections.certificate(tradeoff),
        assumptions=assumptions(tradeoff),
        sources=sources(tradeoff),
        command=text(again),
        version=text(__version__),
        data=script_json(data),
        library=_library(),
        script="\n".join(_file(name) for name in _SCRIPTS),
    )
