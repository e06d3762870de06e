"""Values of functions of a place and a number, once per distinct pair and kept for the next tile of a sweep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paleo_opt.estimator.cost_table import Floats
from paleo_opt.estimator.strategy import Integers

#: Entries of a `Memo`'s table at most.
_LARGEST_TABLE = 2**24
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
