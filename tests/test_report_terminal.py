"""The pieces of a terminal answer: widths, wrapping, bars, tables, and what a terminal is never sent."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.report import terminal
from paleo_opt.report.terminal import (
    Column,
    bar,
    bold,
    dim,
    emit,
    ends,
    gauge,
    joined,
    percent,
    shorten,
    table,
    wrapped,
)

WORDS = st.lists(st.text("abcdefgh/·×", min_size=1, max_size=60), min_size=1, max_size=30).map(" ".join)


def test_width_is_the_terminals_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, expected in (("1", 80), ("80", 80), ("93", 93), ("400", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        assert terminal.width() == expected


class TestEmit:
    def test_marks_are_dropped_where_there_is_no_terminal(self) -> None:
        stream = io.StringIO()
        emit(f"{bold('a')} {dim('b')}", stream)
        assert stream.getvalue() == "a b\n"

    @given(st.text())
    def test_no_control_character_gets_through(self, text: str) -> None:
        stream = io.StringIO()
        emit(text, stream)
        shown = stream.getvalue()
        assert not {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160))} & set(shown)

    @pytest.mark.parametrize("attack", ["\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "\r", "\u202e", "\x1b[1mx\x1b[31m"])
    def test_not_even_one_that_begins_like_ours(self, attack: str) -> None:
        stream = io.StringIO()
        emit(attack, stream)
        assert stream.getvalue().isprintable() or stream.getvalue()[:-1].isprintable()

    def test_other_encodings_get_ascii(self) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="latin-1")
        emit("→ 4 × 8 · 3 µs █░ ⣿ …", stream)
        stream.flush()
        assert raw.getvalue().decode("latin-1").startswith("> 4 x 8 - 3 us #.")


class TestText:
    @pytest.mark.parametrize(("text", "columns", "end", "middle"), [
        ("abcdefghij", 10, "abcdefghij", "abcdefghij"),
        ("abcdefghij", 7, "abcdef…", "ab…ghij"),
        ("abc defghij", 5, "abc…", "ab…ij"),
        ("abcdefghij", 1, "…", "…"),
    ])  # fmt: skip
    def test_shorten(self, text: str, columns: int, end: str, middle: str) -> None:
        assert (shorten(text, columns), shorten(text, columns, middle=True)) == (end, middle)

    def test_ends(self) -> None:
        assert ends("left", "right", 12) == "left   right"
        assert ends("left", "right", 10) == "left"
        assert ends("left", dim(""), 12) == "left"

    @given(WORDS, st.integers(20, 100))
    def test_wrapped_keeps_every_word_within_its_width(self, text: str, columns: int) -> None:
        lines = wrapped(text, columns, "    ", "  ")
        assert all(len(line) <= columns for line in lines)
        assert all(line.startswith("    ") for line in lines[1:])
        assert "".join("".join(lines).split()) == "".join(text.split())

    def test_joined_breaks_between_parts(self) -> None:
        assert joined(["aaaa", "bbbb", "cccc"], 12, "  ") == ["  aaaa", "  bbbb", "  cccc"]
        assert joined(["aaaa", "bbbb", "cccc"], 13, "  ") == ["  aaaa · bbbb", "  cccc"]

    @pytest.mark.parametrize(("part", "expected"), [
        (0.0, ""), (1e-9, "▏"), (0.5, "█████"), (0.55, "█████▌"), (1.0, "██████████"), (7.0, "██████████"),
        (float("nan"), ""),
    ])  # fmt: skip
    def test_bar(self, part: float, expected: str) -> None:
        assert bar(part, 10) == expected
        assert len(gauge(part, 10)) == 10

    @pytest.mark.parametrize(("part", "expected"), [
        (0.0, "0%"), (0.0004, "<0.1%"), (0.0123, "1.2%"), (0.0996, "10%"), (0.58, "58%"), (1.0, "100%"),
        (float("nan"), "–"),
    ])  # fmt: skip
    def test_percent(self, part: float, expected: str) -> None:
        assert percent(part) == expected


class TestTable:
    COLUMNS = (
        Column("name", right=False, shrinks_to=6, middle=True),
        Column("count"),
        Column("alike", constant=False),
        Column("extra", keep=1),
        Column("more", keep=2),
    )
    ROWS = (("short", "1", "x", "one", "1"), ("quite a long name", "1,000", "x", "two", "2"))

    def lines(self, room: int) -> list[str]:
        found = table(self.COLUMNS, self.ROWS, room)
        assert found[0].startswith("\x1b[2m")
        return [found[0][4:-4], *found[1:]]

    def test_it_fits_as_it_is_but_for_what_is_alike_in_all_rows(self) -> None:
        assert self.lines(100) == [
            "name               count  extra  more",
            "short                  1    one     1",
            "quite a long name  1,000    two     2",
        ]

    def test_it_shortens_before_it_leaves_out(self) -> None:
        assert self.lines(30) == [
            "name        count  extra  more",
            "short           1    one     1",
            "qui…g name  1,000    two     2",
        ]

    def test_it_leaves_out_the_highest_first(self) -> None:
        assert self.lines(20)[0].split() == ["name", "count", "extra"]
        assert self.lines(14)[0].split() == ["name", "count"]

    @given(st.integers(14, 60))
    def test_no_line_is_wider_than_the_room(self, room: int) -> None:
        assert max(map(len, self.lines(room))) <= room

    def test_one_row_keeps_all(self) -> None:
        assert "alike" in table(self.COLUMNS, self.ROWS[:1], 100)[0]
