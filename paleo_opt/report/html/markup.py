"""Pieces of HTML. Every text goes through `text` on its way into the page."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Sequence

_LINK = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:)]")


def text(value: object) -> str:
    """``value`` as HTML that shows it and does nothing else."""
    return html.escape(str(value), quote=True)


def linked(value: str) -> str:
    """``value`` with the addresses in it made links; a page opens none of them by itself."""
    parts, end = [], 0
    for match in _LINK.finditer(value):
        address = text(match[0])
        parts += [text(value[end : match.start()]), f'<a href="{address}" rel="noreferrer">{address}</a>']
        end = match.end()
    return "".join([*parts, text(value[end:])])


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = (), name: str = "") -> str:
    """A table in a frame that scrolls sideways by itself.

    Args:
        headings: Plain text.
        rows: Cells, HTML already; the first of each row is its heading.
        right: Columns that are set flush right, as figures are.
        name: Classes of the table; ``cards`` where its rows become cards on a phone.
    """
    kinds = [' class="n"' if column in right else "" for column in range(len(headings))]
    # Where there is no room for columns, the cells of a row stand below one another, each with its heading.
    labels = [f' data-label="{text(title)}"' if "cards" in name else "" for title in headings]
    head = "".join(f'<th scope="col"{kind}>{text(title)}</th>' for kind, title in zip(kinds, headings, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row"{kind}>{cell}</th>' if column == 0 else f"<td{kind}{labels[column]}>{cell}</td>"
            for column, (kind, cell) in enumerate(zip(kinds, row, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="frame" tabindex="0"><table class="{name}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def pairs(entries: Iterable[tuple[str, str]]) -> str:
    """A list of terms (plain) and what they are (HTML)."""
    items = "".join(f"<dt>{text(term)}</dt><dd>{description}</dd>" for term, description in entries)
    return f'<dl class="facts">{items}</dl>'


def segments(parts: Sequence[tuple[str, float]], whole: float, label: str) -> str:
    """A bar of parts of ``whole``, each with a colour of its own, for eyes; ``label`` says it for everyone else."""
    cells = "".join(
        f'<span class="part part{number}" style="width:{100 * size / whole:.3f}%" title="{text(name)}"></span>'
        for number, (name, size) in enumerate(parts)
        if size > 0
    )
    return f'<div class="bar" role="img" aria-label="{text(label)}">{cells}</div>'


def key(number: int) -> str:
    """The colour of one part of a bar, beside its name."""
    return f'<span class="key part{number}" aria-hidden="true"></span>'
