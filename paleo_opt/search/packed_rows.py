"""Rows as text, exact to the bit: what a trial leaves in a study for the answer to be put together from.

All columns one behind the other, little-endian, 8 bytes a value; of each column first the lowest byte of every row,
then the next, as neighbouring rows have most of their high bytes in common; compressed by zlib, in base64.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import fields

import numpy as np

from paleo_opt.errors import SpecError
from paleo_opt.search.rows import Rows

_BYTES = 8
_FLOATS = frozenset({"time_s", "cost_usd", "energy_kwh", "memory_bytes"})
_COLUMNS = {field.name: np.dtype("<f8" if field.name in _FLOATS else "<i8") for field in fields(Rows)}
#: Beyond it zlib takes longer than it saves.
_LEVEL = 6


def pack(rows: Rows) -> str:
    """Rows as text."""
    columns = [np.ascontiguousarray(getattr(rows, name), dtype) for name, dtype in _COLUMNS.items()]
    planes = [column.view(np.uint8).reshape(-1, _BYTES).T.tobytes() for column in columns]
    return base64.b64encode(zlib.compress(b"".join(planes), _LEVEL)).decode()


def unpack(text: str) -> Rows:
    """The rows that `pack` made ``text`` of.

    Raises:
        SpecError: it is no such text, or only a part of one.
    """
    try:
        data = zlib.decompress(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, zlib.error):
        raise SpecError("the study holds something that is no rows of strategies") from None
    count, rest = divmod(len(data), _BYTES * len(_COLUMNS))
    if rest:
        raise SpecError(f"the study holds rows of strategies of another version: {len(data):,} bytes")
    planes = np.frombuffer(data, np.uint8).reshape(len(_COLUMNS), _BYTES, count)
    return Rows(
        **{
            name: np.ascontiguousarray(plane.T).view(dtype).reshape(count).astype(dtype.newbyteorder("="))
            for plane, (name, dtype) in zip(planes, _COLUMNS.items(), strict=True)
        }
    )
