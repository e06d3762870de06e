"""Values of functions of a place and a number, once per distinct pair and kept for the next tile of a sweep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers

#: Entries of a `Memo`'s table at most.
_LARGEST_TABLE = 2**24
_FEW = 4
OfPlaceAndValue = Callable[[Integers, Floats], Floats]


class Memo:
    """Values of a function of a place and a positive integer, kept for the next tile of the same sweep.

    What depends on the micro-batch or the number of GPUs alone is the same in all tiles. A dense table says where the
    values of each pair stand: both are small integers (large ones are sorted instead, and not kept).
    """

    def __init__(self) -> None:
        self._slot = np.zeros((0, 0), dtype=np.int32)  # one above where the values stand; 0 is unknown
        self._values = np.zeros((0, 0))

    def gather(self, places: int, place: Integers, values: Integers, function: OfPlaceAndValue) -> Floats:
        """``function`` at each (place, value) of two arrays of one shape (n,). Shape (rows, n)."""
        size = int(values.max()) + 1
        if places * size > _LARGEST_TABLE:
            pairs, which = np.unique(place * size + values, return_inverse=True)
            distinct = function(pairs // size, (pairs % size).astype(float))
            spread: Floats = np.take(distinct, which, axis=1)
            return spread
        if size > self._slot.shape[1]:
            grown = np.zeros((places, size), dtype=np.int32)
            grown[: self._slot.shape[0], : self._slot.shape[1]] = self._slot
            self._slot = grown
        flat, size = self._slot.reshape(-1), self._slot.shape[1]
        key = place * size + values
        slot = flat[key]
        if not slot.all():
            flat[key[slot == 0]] = -1
            missing = np.flatnonzero(flat == -1)
            found = function(missing // size, (missing % size).astype(float))
            kept = self._values.shape[1]
            self._values = np.concatenate([self._values, found], axis=1) if kept else found
            flat[missing] = np.arange(kept + 1, kept + 1 + missing.size)
            slot = flat[key]
        gathered: Floats = np.take(self._values, slot - 1, axis=1)
        return gathered


class CodedMemo:
    """As `Memo`, for many places and few distinct values, however large: values are numbered as they are met."""

    def __init__(self) -> None:
        self._code = np.zeros(0, dtype=np.int32)  # one above a value's number; 0 is unknown
        self._numbered = 0
        self._slot = np.zeros(0, dtype=np.int32)
        self._values: Floats = np.zeros((0, 0))
        self._places = 0

    def columns(self, places: int, place: Integers, values: Integers, function: OfPlaceAndValue) -> Integers:
        """Columns of `rows` at which the values of ``function`` stand, for each (place, value). Shapes (n,)."""
        if values.size <= _FEW and not self._values.size:
            # A single strategy: nothing to number.
            self._values = function(place, values.astype(float))
            return np.arange(values.size)
        assert self._places in (0, places), "a memo is of one set of places"
        self._places = places
        largest = int(values.max())
        if largest >= _LARGEST_TABLE or places * (self._numbered + 1) > 4 * _LARGEST_TABLE:
            return self._sorted(place, values, function)
        if largest >= self._code.size:
            self._code = np.concatenate([self._code, np.zeros(largest + 1 - self._code.size, dtype=np.int32)])
        code = self._code[values]
        if not code.all():
            new = np.unique(values[code == 0])
            self._code[new] = np.arange(self._numbered + 1, self._numbered + 1 + new.size)
            self._numbered += new.size
            code = self._code[values]
        needed = places * (self._numbered + 1)
        if needed > self._slot.size:
            self._slot = np.concatenate([self._slot, np.zeros(needed - self._slot.size, dtype=np.int32)])
        key = code.astype(np.int64) * places + place
        slot = self._slot[key]
        if not slot.all():
            missing = np.unique(key[slot == 0])
            of_code = np.zeros(self._numbered + 1, dtype=np.int64)
            of_code[self._code] = np.arange(self._code.size)
            self._slot[missing] = self._append(function(missing % places, of_code[missing // places].astype(float)))
            slot = self._slot[key]
        found: Integers = slot.astype(np.int64) - 1
        return found

    def _append(self, found: Floats) -> Integers:
        kept = self._values.shape[1]
        self._values = np.concatenate([self._values, found], axis=1) if kept else found
        return np.arange(kept + 1, kept + 1 + found.shape[1])

    def _sorted(self, place: Integers, values: Integers, function: OfPlaceAndValue) -> Integers:
        pairs, which = np.unique(np.stack([place, values]), axis=1, return_inverse=True)
        columns = self._append(function(pairs[0], pairs[1].astype(float))) - 1
        found: Integers = columns[which.reshape(-1)]
        return found

    @property
    def rows(self) -> Floats:
        """All values that were computed. Shape (rows, columns)."""
        return self._values


def evaluate(places: int, place: Integers, values: Integers, function: OfPlaceAndValue, memo: Memo | None) -> Floats:
    """``function`` at each (place, value), once per distinct pair where they are many. Shape (rows, *shape)."""
    if place.shape != values.shape:
        place, values = np.broadcast_arrays(place, values)
    flat_place, flat = place.reshape(-1), values.reshape(-1)
    if flat.size < (1 if memo else 32):
        result = function(flat_place, flat.astype(float))
    else:
        result = (memo or Memo()).gather(places, flat_place, flat, function)
    return result.reshape(result.shape[0], *values.shape)
