"""Measured tables: what is read, and every kind of mistake with its line and column, all of a file at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.csv_file import MOST_PROBLEMS
from paleo_opt.errors import SpecError
from paleo_opt.validation.measured_table import COLUMNS, MeasuredRow, read_measured_table

#: The columns of the published tables, in their order.
CONTRACT = (
    "id,family,network,device,cluster,gpus,gpus_per_node,precision,micro_batch,global_batch,tensor,pipeline,data,expert,"
    "context,virtual_stages,sharding,recompute,collective,sequence_length,layers,hidden,heads,kv_heads,ffn,vocab,experts,"
    "top_k,software,quantity,measured,source"
)
HEADER = "id,family,network,device,gpus,micro_batch,quantity,measured"
ROW = "a,cnn,vgg16,k80,1,32,step_time_s,0.5"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def problems(table: Path, *lines: str) -> list[str]:
    """The messages of the refusal, the file's name left out."""
    table.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(SpecError) as error:
        read_measured_table(table)
    return [str(problem).replace(str(table), "table.csv") for problem in error.value.problems]


def test_the_columns_are_those_of_the_published_tables() -> None:
    assert ",".join(COLUMNS) == CONTRACT
    assert set(COLUMNS) < set(MeasuredRow.__dataclass_fields__)


def test_a_row_is_typed_and_knows_its_place(table: Path) -> None:
    table.write_text(f'{HEADER},software\n{ROW},"two\nlines"\n\nb,cnn,vgg16,k80,2.0, 64 ,speedup,1.9,\n', "utf-8")
    first, second = read_measured_table(table)
    assert first == MeasuredRow(
        "a", "cnn", "vgg16", "k80", "step_time_s", 0.5, micro_batch=32, software="two\nlines", file=str(table), line=2
    )
    assert (second.gpus, second.micro_batch, second.measured, second.software, second.line) == (2, 64, 1.9, "", 5)
    assert second.global_batch is None


def test_blank_gpus_are_one(table: Path) -> None:
    table.write_text(f"{HEADER}\na,cnn,vgg16,k80,,32,step_time_s,0.5\n", "utf-8")
    assert read_measured_table(str(table))[0].gpus == 1


def test_a_byte_order_mark_and_windows_lines_are_read(table: Path) -> None:
    table.write_bytes(f"\ufeff{HEADER}\r\n{ROW}\r\n".encode())
    assert read_measured_table(table)[0].id == "a"


class TestRefused:
    def test_columns(self, table: Path) -> None:
        assert problems(table, HEADER.replace("micro_batch", "micro_bach").replace("device,", ""), ROW) == [
            "table.csv:1: column 'micro_bach' is unknown; did you mean 'micro_batch'?",
            "table.csv:1: column 'device' is missing",
        ]
        assert problems(table, f"{HEADER},gpus", ROW) == ["table.csv:1: column 'gpus' is given 2 times"]
        assert problems(table, f"{HEADER},", ROW) == ["table.csv:1: a column has no name"]

    @pytest.mark.parametrize(("column", "cell", "message"), [
        ("gpus", "0", "is '0'; expected a whole number from 1"),
        ("gpus", "-2", "is '-2'; expected a whole number from 1"),
        ("gpus", "1.5", "is '1.5'; expected a whole number from 1"),
        ("micro_batch", "many", "is 'many'; expected a whole number from 1"),
        ("micro_batch", "nan", "is 'nan'; expected a whole number from 1"),
        ("micro_batch", "1e300", "is '1e300'; expected a whole number from 1"),
        ("measured", "0", "is '0'; expected a number above 0"),
        ("measured", "-0.1", "is '-0.1'; expected a number above 0"),
        ("measured", "nan", "is 'nan'; expected a number above 0"),
        ("measured", "inf", "is 'inf'; expected a number above 0"),
        ("measured", "fast", "is 'fast'; expected a number above 0"),
        ("measured", "", "is empty"),
        ("id", " ", "is empty"),
        ("family", "cnns", "is 'cnns'; did you mean 'cnn'?"),
        ("quantity", "step_time", "is 'step_time'; did you mean 'step_time_s'?"),
    ])  # fmt: skip
    def test_cells(self, table: Path, column: str, cell: str, message: str) -> None:
        cells = dict(zip(HEADER.split(","), ROW.split(","), strict=True)) | {column: cell}
        assert problems(table, HEADER, ",".join(cells.values())) == [f"table.csv:2: {column}: {message}"]

    @pytest.mark.parametrize(("column", "cell"), [("sharding", "zero4"), ("recompute", "some")])
    def test_words(self, table: Path, column: str, cell: str) -> None:
        (problem,) = problems(table, f"{HEADER},{column}", f"{ROW},{cell}")
        assert problem.startswith(f"table.csv:2: {column}: is {cell!r}; ")

    def test_an_id_given_twice(self, table: Path) -> None:
        assert problems(table, HEADER, ROW, ROW) == ["table.csv:3: id: is 'a', as in line 2"]

    def test_too_few_and_too_many_cells(self, table: Path) -> None:
        assert problems(table, HEADER, "a,cnn", f"{ROW},more") == [
            "table.csv:2: has 2 cells; expected 8, as the first line",
            "table.csv:3: has 9 cells; expected 8, as the first line",
        ]

    def test_all_at_once(self, table: Path) -> None:
        found = problems(table, HEADER, "a,cnn,vgg16,,0,32,step_time_s,0.5", "a,cnn,vgg16,k80,1,0,speed,1")
        assert [line.split(": ")[:2] for line in found] == [
            ["table.csv:2", "gpus"], ["table.csv:2", "device"], ["table.csv:3", "micro_batch"],
            ["table.csv:3", "quantity"],
        ]  # fmt: skip

    def test_a_long_list_is_cut(self, table: Path) -> None:
        found = problems(table, HEADER, *(f"{n},cnn,vgg16,k80,1,32,step_time_s,0" for n in range(100)))
        assert len(found) == MOST_PROBLEMS + 1
        assert found[-1] == "table.csv: and 80 problems more"

    def test_nothing(self, table: Path) -> None:
        assert problems(table, "") == ["table.csv: is empty; expected a line of column names"]
        assert problems(table, HEADER) == ["table.csv: has no rows"]
        assert problems(table, HEADER, "", "") == ["table.csv: has no rows"]

    def test_no_table(self, table: Path) -> None:
        with pytest.raises(SpecError, match=r"table\.csv: no such file"):
            read_measured_table(table)
        with pytest.raises(SpecError, match="cannot be read"):
            read_measured_table(table.parent)
        table.write_bytes(b"id,\xff\xfe\n")
        with pytest.raises(SpecError, match="is no text in UTF-8"):
            read_measured_table(table)
        assert problems(table, HEADER, 'a,"cnn" x,vgg16') == ["table.csv:2: is no CSV: ',' expected after '\"'"]

    @given(st.text(max_size=300))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "any.csv"
            path.write_text(f"{HEADER}\n{text}", encoding="utf-8", newline="", errors="surrogatepass")
            try:
                rows = read_measured_table(path)
            except SpecError as error:
                assert error.problems
            else:
                assert all(row.measured > 0 for row in rows)
