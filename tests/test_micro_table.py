"""Tables of micro-measurements: what is written is read back, and every mistake is named with its line and column."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.calibration.micro_table import COLUMNS, MicroRow, micro_table_text, read_micro_table
from paleo_opt.errors import SpecError
from paleo_opt.measuring import grid

HEADER = "id,operation,device,precision,m,n,k,time_s\n"
CONVOLUTION = (
    "id,operation,device,precision,batch,height,width,channels,filters,kernel_h,kernel_w,stride,padding,groups,pass,"
    "time_s\n"
)


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "micro.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as error:
        read_micro_table(path)
    return [str(problem).removeprefix(f"{path}") for problem in error.value.problems]


def test_what_measure_designs_is_read_back(tmp_path: Path) -> None:
    designed = [
        *grid.products("fp32", large=True, quick=False),
        *grid.convolutions("fp32", large=False, quick=False),
        *grid.memory_bound("fp32", large=False, quick=False),
        *grid.empty_step("fp32"),
    ]
    rows = [
        MicroRow(**{**row.__dict__, "device": "cpu", "time_s": 1e-3, "repeats": 9, "spread": 0.02}) for row in designed
    ]
    path = tmp_path / "micro.csv"
    path.write_text(micro_table_text(rows), encoding="utf-8")
    found = read_micro_table(path)
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert [(row.id, row.m, row.kernel_h, row.padding, row.time_s) for row in found] == [
        (row.id, row.m, row.kernel_h, row.padding, row.time_s) for row in rows
    ]


@given(m=st.integers(1, 10**6), n=st.integers(1, 10**6), time=st.floats(1e-9, 1e3))
def test_a_product_survives_the_file(tmp_path_factory: pytest.TempPathFactory, m: int, n: int, time: float) -> None:
    path = tmp_path_factory.mktemp("table") / "micro.csv"
    path.write_text(micro_table_text([MicroRow("a", "gemm", "k40", m=m, n=n, k=7, time_s=time)]), encoding="utf-8")
    (row,) = read_micro_table(path)
    assert (row.m, row.n, row.k) == (m, n, 7)
    assert row.time_s == pytest.approx(time, rel=1e-5)


@pytest.mark.parametrize(("text", "expected"), [
    ("", [": is empty; expected a line of column names"]),
    (HEADER, [": has no rows"]),
    ("id,operation,device,precision,tme_s\n", [
        ":1: column 'tme_s' is unknown; did you mean 'time_s'?", ":1: column 'time_s' is missing",
    ]),
    (HEADER + "a,gem,k40,fp32,1,1,1,1\n", [":2: operation: is 'gem'; did you mean 'gemm'?"]),
    (HEADER + "a,gemm,k40,fp32,,1,1,1\n", [":2: m: is empty; a gemm needs it"]),
    (HEADER + "a,gemm,k40,fp32,0,1,1,1\n", [":2: m: is '0'; expected a whole number from 1"]),
    (HEADER + "a,gemm,k40,fp32,1,1,1,0\n", [":2: time_s: is '0'; expected a number above 0"]),
    (HEADER + "a,gemm,k40,fp32,1,1,1,nan\n", [":2: time_s: is 'nan'; expected a number above 0"]),
    (HEADER + "a,gemm,k40,fp31,1,1,1,1\n", [":2: precision: is 'fp31'; did you mean 'fp32'?"]),
    (HEADER + "a,gemm,k40,fp32,1,1,1,1\na,gemm,k40,fp32,1,1,1,1\n", [":3: id: is 'a', as in line 2"]),
    (HEADER + "a,gemm,k40,fp32,1,1\n", [":2: has 6 cells; expected 8, as the first line"]),
    (HEADER + ",gemm,k40,fp32,1,1,1,x\n", [":2: id: is empty", ":2: time_s: is 'x'; expected a number above 0"]),
    (CONVOLUTION + "a,convolution,k40,fp32,1,8,8,3,4,3,3,1,1,2,forward,1\n", [
        ":2: groups: is 2, which does not divide channels",
    ]),
    (CONVOLUTION + "a,convolution,k40,fp32,1,8,8,3,4,11,3,1,1,1,forward,1\n", [
        ":2: kernel_h: is 11, larger than the padded image",
    ]),
    (CONVOLUTION + "a,relu,k40,fp32,1,8,8,3,,,,,,,backward_filter,1\n", [
        ":2: pass: is backward_filter; a relu has no filters",
    ]),
])  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert problems(tmp_path, text) == expected


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        read_micro_table(tmp_path / "none.csv")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("table") / "micro.csv"
    path.write_text(text, encoding="utf-8", errors="ignore")
    with pytest.raises(SpecError):
        read_micro_table(path)
