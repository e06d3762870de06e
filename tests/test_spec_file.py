"""Reading spec files: every mistake at once, with its line and field; bounded work on any input; overrides."""

from __future__ import annotations

import textwrap
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.spec_file import Fields, as_integer, as_text, parse_spec, read_spec
from paleo_opt.yaml_nodes import MAX_ALIASES, MAX_BYTES, MAX_DEPTH, MAX_NODES, shown

TEXT = """\
name: example
flag: true
count: 3
share: 0.5
million: 1e6
size: 80GiB
when: 2026-01-21
words: [a, b]
nothing:
nested:
  inner: 1
  deeper: {leaf: 2}
several:
  - {name: first, size: 1GB}
  - {name: second, size: 2GB}
"""


def spec(text: str = TEXT, **overrides: str) -> Fields:
    names = {name.replace("__", "."): value for name, value in overrides.items()}
    return parse_spec(textwrap.dedent(text), "example.yaml", names)


def problems_of(fields: Fields) -> list[str]:
    with pytest.raises(SpecError) as caught:
        fields.raise_problems()
    return [str(problem) for problem in caught.value.problems]


def refusal(text: str) -> str:
    """The one problem of a text that is refused as a whole."""
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "example.yaml")
    (problem,) = caught.value.problems
    assert len(str(problem).splitlines()) == 1
    return str(problem)


# -- values -----------------------------------------------------------------------------------------------------------


def test_values_by_name_and_type() -> None:
    fields = spec()
    assert fields.text("name") == "example"
    assert fields.flag("flag") is True
    assert fields.integer("count") == 3
    assert fields.number("share") == 0.5
    assert fields.integer("million") == 1_000_000
    assert fields.quantity("size", "memory") == 80 * 2**30
    assert fields.date("when") == "2026-01-21"
    assert fields.sequence("words", as_text()) == ("a", "b")
    nested = fields.fields("nested")
    assert nested.integer("inner") == 1
    assert nested.fields("deeper").integer("leaf") == 2
    assert [item.quantity("size", "memory") for item in fields.fields_list("several")] == [1e9, 2e9]
    assert "nothing" in fields and fields.is_empty("nothing")
    assert fields.integer("nothing", 7) == 7
    fields.raise_problems()


def test_defaults_stand_in_for_what_is_missing() -> None:
    fields = spec("name: x")
    assert fields.text("a", "b") == "b"
    assert fields.flag("a", None) is None
    assert fields.integer("a", 4) == 4
    assert fields.quantity("a", "time", None) is None
    assert fields.sequence("a", as_integer(), ()) == ()
    assert fields.fields("a", None) is None
    assert fields.fields_list("a", []) == []
    fields.raise_problems()


def test_every_mistake_is_noted_with_its_line_in_order() -> None:
    fields = spec("""\
        name: [a]
        flag: maybe
        count: 2.5
        share: much
        size: 80
        words: {a: 1}
        small: -1
        mode: fats
        nested: 3
        list: {a: 1}
        """)
    fields.text("mode", choices=["fast", "slow"])  # asked for in another order than they stand
    fields.text("name")
    fields.flag("flag")
    fields.integer("count")
    fields.number("share")
    fields.quantity("size", "memory")
    fields.sequence("words", as_text())
    fields.integer("small")
    fields.fields("nested").integer("inner")
    fields.fields_list("list")
    fields.text("missing")
    assert problems_of(fields) == [
        "example.yaml:1: name: is a list; expected a word",
        "example.yaml:1: missing: is missing",
        "example.yaml:2: flag: is 'maybe'; expected true or false",
        "example.yaml:3: count: is 2.5; expected a whole number",
        "example.yaml:4: share: is 'much'; expected a number",
        "example.yaml:5: size: '80' has no unit; expected memory, such as 80GiB",
        "example.yaml:6: words: is a mapping; expected a list",
        "example.yaml:7: small: is -1; expected from 0 to 1e+15",
        "example.yaml:8: mode: is 'fats'; did you mean 'fast'?",
        "example.yaml:9: nested: is '3'; expected a mapping of fields",
        "example.yaml:10: list: is a mapping; expected a list",
    ]


def test_nested_fields_are_named_by_their_path() -> None:
    fields = spec()
    fields.fields("nested").fields("deeper").text("stem")
    fields.fields_list("several")[1].integer("name")
    assert problems_of(fields) == [
        "example.yaml:12: nested.deeper.stem: is missing",
        "example.yaml:15: several[1].name: is 'second'; expected a number",
    ]


def test_fields_nobody_asked_for_are_refused_with_the_nearest() -> None:
    fields = spec("name: x\nkernle: 3\nzzz: 1\n")
    for name in ("name", "kernel", "strides"):
        fields.text(name, "")
    fields.finish()
    assert problems_of(fields) == [
        "example.yaml:2: kernle: is not a known field; did you mean 'kernel'?",
        "example.yaml:3: zzz: is not a known field; valid: kernel, name, strides",
    ]


def test_a_field_given_twice_is_refused() -> None:
    text = "name: a\ncount: 1\nname: b\n"
    assert refusal(text) == "example.yaml:3: name: is given twice (first on line 1)"


@pytest.mark.parametrize("value", [".inf", ".nan", "1e400", "1e31", "[1]", "{a: 1}", "one", "0x1_0"])
def test_numbers_are_finite_and_plain(value: str) -> None:
    fields = spec(f"share: {value}")
    fields.number("share")
    assert len(problems_of(fields)) == 1


@pytest.mark.parametrize("value", ["yes", "on", "True", "FALSE", "no"])
def test_flags_as_yaml_writes_them(value: str) -> None:
    assert spec(f"flag: {value}").flag("flag") is (value.lower() in ("yes", "on", "true"))


@pytest.mark.parametrize("value", ["1", "0", "'true'", "t", "[]", "~x"])
def test_what_is_no_flag(value: str) -> None:
    fields = spec(f"flag: {value}")
    fields.flag("flag")
    assert len(problems_of(fields)) == 1


def test_an_empty_field_is_missing_where_one_is_needed() -> None:
    fields = spec("name:\ncount: ~\n")
    fields.text("name")
    fields.integer("count")
    assert problems_of(fields) == ["example.yaml:1: name: is empty", "example.yaml:2: count: is empty"]


# -- what is not a spec -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("# a comment\n", "the file is empty"),
        ("just words", "expected a mapping of fields"),
        ("- a\n- b", "is a list; expected a mapping of fields"),
        ("a: [1, 2", "not valid YAML"),
        ("a: 1\nb: : 2", "example.yaml:2: not valid YAML"),
        ("a: 1\n\tb: 2", "example.yaml:2: not valid YAML"),
        ("a: *nowhere", "not valid YAML: found undefined alias"),
        ("--- a: 1\n--- b: 2", "not valid YAML"),
        ("a: !!python/object:os.system x\nb: {", "not valid YAML"),
        ("a: \x07", "not valid YAML"),
    ],
)
def test_not_a_mapping_of_fields(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_a_tag_runs_nothing() -> None:
    fields = spec("a: !!python/object/apply:os.system ['echo no']\n")
    fields.text("a")
    assert problems_of(fields) == ["example.yaml:1: a: is a list; expected a word"]


def test_deep_nesting_is_refused() -> None:
    assert f"more than {MAX_DEPTH} deep" in refusal("a: " + "[" * 100_000)
    assert f"more than {MAX_DEPTH} deep" in refusal("a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    lines = [" " * depth + "a:" for depth in range(MAX_DEPTH + 2)]
    assert f"more than {MAX_DEPTH} deep" in refusal("\n".join(lines))


def test_aliases_that_multiply_are_refused() -> None:
    """Nine levels of ten aliases each would be a billion values."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for below, name in pairwise("abcdefghi"):
        lines.append(f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]")
    assert f"more than {MAX_NODES:,} values" in refusal("\n".join(lines))
    assert f"more than {MAX_ALIASES} aliases" in refusal("a: &a x\nb: [" + "*a, " * (MAX_ALIASES + 1) + "]")


def test_an_alias_of_itself_is_refused() -> None:
    assert "an alias contains itself" in refusal("a: &a [*a]")


def test_too_many_values_are_refused() -> None:
    assert f"more than {MAX_NODES:,} values" in refusal("a: [" + "1," * (MAX_NODES + 1) + "]")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("name: x", encoding="utf-8")
    assert read_spec(path).text("name") == "x"
    cases = {"missing.yaml": None, "binary.yaml": b"\xff\xfe\x00", "large.yaml": b"#" * (MAX_BYTES + 1)}
    expected = {"missing.yaml": "cannot be read: No such file", "binary.yaml": "UTF-8", "large.yaml": "larger than"}
    for name, content in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SpecError, match=expected[name]) as caught:
            read_spec(tmp_path / name)
        assert caught.value.problems[0].file == str(tmp_path / name)
    with pytest.raises(SpecError, match="cannot be read"):
        read_spec(tmp_path)
    assert read_spec(path, file="as given").file == "as given"


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_in_single_lines(text: str) -> None:
    try:
        fields = parse_spec(text, "any.yaml")
        for name in fields.names():
            fields.integer(name)
        fields.raise_problems()
    except SpecError as error:
        for problem in error.problems:
            assert len(str(problem).splitlines()) == 1


YAML = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1, max_size=6), YAML, max_size=5))
def test_any_values_are_read_or_refused(values: dict[str, Any]) -> None:
    fields = parse_spec(yaml.safe_dump(values, allow_unicode=True) if values else "a: 1", "any.yaml")
    for name in fields.names():
        for get in (fields.text, fields.flag, fields.integer, fields.number, fields.fields, fields.fields_list):
            get(name)
        fields.quantity(name, "time")
        fields.sequence(name, as_integer())
    for problem in fields.problems:
        assert len(str(problem).splitlines()) == 1
        assert len(problem.message) < 500


def test_hostile_texts_are_refused_quickly() -> None:
    start = time.perf_counter()
    for text in ("[" * 500_000, "{" * 500_000, "a: " * 300_000, "- " * 500_000, "? " * 500_000, "&a " * 100_000):
        refusal(text)
    assert time.perf_counter() - start < 5


def test_what_is_shown_is_short_and_printable() -> None:
    assert shown("x" * 100) == "x" * 60 + "..."
    assert shown("a\nb\x1b") == "a\\nb\\x1b"


# -- overrides --------------------------------------------------------------------------------------------------------


def test_overrides_replace_single_fields() -> None:
    fields = spec(count="4", nested__deeper__leaf="9", words="[c]")
    assert fields.integer("count") == 4
    assert fields.fields("nested").fields("deeper").integer("leaf") == 9
    assert fields.fields("nested").integer("inner") == 1
    assert fields.sequence("words", as_text()) == ("c",)
    again = parse_spec(TEXT, "example.yaml", {"several[1].size": "3GB", "new": "5"})
    assert [item.quantity("size", "memory") for item in again.fields_list("several")] == [1e9, 3e9]
    assert again.integer("new") == 5


def test_the_longest_name_that_is_there_wins() -> None:
    fields = spec("a.b: {c: 1}\na: {b: {c: 2}}\n", **{"a.b.c": "3"})
    assert fields.fields("a.b").integer("c") == 3
    assert fields.fields("a").fields("b").integer("c") == 2


def test_a_wrong_override_is_named_instead_of_a_line() -> None:
    fields = spec(count="many", nested__inner="[1]")
    fields.integer("count")
    fields.fields("nested").integer("inner")
    assert problems_of(fields) == [
        "--set count=many: count: is 'many'; expected a number",
        "--set nested.inner=[1]: nested.inner: is a list; expected a number",
    ]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("", "1", "names no field; expected field=value"),
        ("count.inner", "1", "there is no field 'inner' to set"),
        ("several[2].size", "1GB", "there is no element [2]: it is a list of 2"),
        ("several[x]", "1GB", "is not an element of a list"),
        ("count", "[1, 2", "not valid YAML"),
        ("count", "&a [*a]", "an alias contains itself"),
    ],
)
def test_impossible_overrides_are_refused(field: str, value: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(TEXT, "example.yaml", {field: value})
    (problem,) = caught.value.problems
    assert expected in problem.message
    assert problem.file.startswith("--set ")


def test_an_empty_override_empties_a_field() -> None:
    assert spec(count="").integer("count", 8) == 8
