"""Rows as text: every bit comes back."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import search_cases
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.options import Options
from paleo_opt.search.enumeration import make_blocks
from paleo_opt.search.packed_rows import pack, unpack
from paleo_opt.search.rows import Rows
from paleo_opt.search.sweep import Limits, sweep

FLOATS = ("time_s", "cost_usd", "energy_kwh", "memory_bytes")
NAMES = tuple(field.name for field in fields(Rows))


def same_bits(one, other):
    for name in NAMES:
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype
        assert first.tobytes() == second.tobytes(), name


def rows_of(whole, real):
    count = len(whole)
    columns = {}
    for place, name in enumerate(NAMES):
        values = np.array(real, dtype=np.float64) if name in FLOATS else np.array(whole, dtype=np.int64)
        columns[name] = np.roll(values, place) if count else values
    return Rows(**columns)


@given(
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=True, allow_infinity=True)), max_size=20)
)
def test_every_bit_comes_back(values):
    rows = rows_of([whole for whole, _ in values], [real for _, real in values])
    same_bits(unpack(pack(rows)), rows)


def test_the_rows_of_a_sweep_come_back_small():
    blocks = make_blocks(search_cases.SPACE, search_cases.TABLE, search_cases.CLUSTERS, 16, 300)
    rows = sweep(search_cases.TABLE, blocks, Limits(), Options())
    assert rows.gpus.size > 30
    text = pack(rows)
    same_bits(unpack(text), rows)
    assert text.isascii()
    assert len(text) < 8 * len(NAMES) * rows.gpus.size


@pytest.mark.parametrize("damage", ["cut", "letters", "no rows", "zlib"])
def test_what_is_no_rows_is_refused(damage):
    text = pack(rows_of([1, 2, 3], [1.0, 2.0, 3.0]))
    broken = {"cut": text[:-8], "letters": "ä" + text, "no rows": "eJxLBAAAYgBi", "zlib": "AAAA" + text}[damage]
    with pytest.raises(SpecError, match="the study holds"):
        unpack(broken)
