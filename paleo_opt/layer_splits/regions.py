"""Which part of a tensor each device writes and reads under each split, and what has to move between the two.

A part is a box: an interval of [0, 1] along samples, height, width and channels. A unit of a level (a device, a node)
has the smallest box around those of its devices. Where K splits of the layer that writes meet K' of the one that
reads, all is computed for all pairs at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from paleo_opt.layer_splits.degrees import (
    CHANNELWISE,
    HEIGHT,
    INPUTS,
    OUTPUTS,
    RESHAPING,
    SAMPLE,
    WIDTH,
    Floats,
    Integers,
    all_degrees,
    positions,
)
from paleo_opt.network.graph import Layer, Shape

Shares = NDArray[np.float32]
#: At most so many numbers of an intermediate array.
_AT_ONCE = 300_000


@dataclass(frozen=True)
class Reading:
    """Which channels of a tensor a part of the layer that reads it needs.

    Attributes:
        rule: ``inputs`` (those of its part of the input channels; gradients are added up over the parts of the
            outputs), ``channels`` (its own) or ``experts`` (all, of its tokens).
        groups: Of a convolution.
        start, size: Where the tensor's channels are among those of the reader, of which each counts 1.
        whole: Every part needs the whole image: the tensor is a scale for each channel.
    """

    rule: str
    groups: int = 1
    start: float = 0.0
    size: float = 1.0
    whole: bool = False


def reading(layer: Layer, parent: int) -> Reading:
    """How ``layer`` reads its parent number ``parent``."""
    if layer.experts is not None:
        return Reading("experts")
    if layer.type == "Concatenate":
        widths = [shape[-1] for shape in layer.input_shapes]
        total = float(sum(widths))
        return Reading("channels", 1, sum(widths[:parent]) / total, widths[parent] / total)
    if layer.type in CHANNELWISE or layer.type in RESHAPING:
        return Reading("channels", whole=_is_scale(layer.input_shapes[parent], layer.output_shape))
    return Reading("inputs", layer.groups)


def _is_scale(shape: Shape, output: Shape) -> bool:
    return len(shape) == 3 and shape[:2] == (1, 1) and output[:2] != (1, 1)


@dataclass(frozen=True, eq=False)
class Boxes:
    """Of K splits, the boxes of the units of each level.

    Attributes:
        low, high: Ends of the intervals, one array for each level. Shapes (4, K, units).
        partial: Parts that hold addends of the same box, in different units. Shapes (K,), one for each level.
    """

    low: tuple[Shares, ...]
    high: tuple[Shares, ...]
    partial: tuple[Shares, ...]


def _boxes(low: Floats, high: Floats, spread: Integers, partial: Integers, units: tuple[int, ...]) -> Boxes:
    """The boxes of devices, gathered into units; addends are ``spread`` apart at most."""
    lows, highs, partials = [], [], []
    for unit in units:
        starts = np.arange(0, low.shape[2], unit)
        # Shares of a few decimals, in arrays of millions.
        lows.append(np.minimum.reduceat(low, starts, axis=2).astype(np.float32))
        highs.append(np.maximum.reduceat(high, starts, axis=2).astype(np.float32))
        # Those of one unit are added up inside it.
        partials.append(np.minimum(partial, np.ceil(partial * spread / unit)).astype(np.float32))
    return Boxes(tuple(lows), tuple(highs), tuple(partials))


def written(degrees: Integers, devices: int, units: tuple[int, ...], experts: bool) -> Boxes:
    """What each unit writes; addends where input channels are split."""
    part, apart = positions(degrees, devices)
    of = degrees.T.astype(float)[:, :, None]
    axes = (SAMPLE, HEIGHT, WIDTH, OUTPUTS)
    low = np.stack([part[axis] / of[axis] for axis in axes])
    high = np.stack([(part[axis] + 1) / of[axis] for axis in axes])
    if experts:
        _divide_tokens(low, high, part, degrees)
    return _boxes(low, high, apart[INPUTS], degrees[:, INPUTS], units)


def _divide_tokens(low: Floats, high: Floats, part: Integers, degrees: Integers) -> None:
    parts = (degrees[:, SAMPLE] * degrees[:, OUTPUTS])[:, None]
    index = part[SAMPLE] * degrees[:, OUTPUTS][:, None] + part[OUTPUTS]
    low[0], high[0] = index / parts, (index + 1) / parts
    low[3], high[3] = 0.0, 1.0


def read(degrees: Integers, devices: int, units: tuple[int, ...], how: Reading) -> Boxes:
    """What each unit needs; addends of its gradient where output channels are split."""
    part, apart = positions(degrees, devices)
    of = degrees.T.astype(float)[:, :, None]
    axes = (SAMPLE, HEIGHT, WIDTH, OUTPUTS)
    low = np.stack([part[axis] / of[axis] for axis in axes])
    high = np.stack([(part[axis] + 1) / of[axis] for axis in axes])
    partial = np.ones(len(degrees), dtype=np.int64)
    if how.rule == "experts":
        _divide_tokens(low, high, part, degrees)
    elif how.rule == "inputs" and how.groups == 1:
        low[3], high[3] = part[INPUTS] / of[INPUTS], (part[INPUTS] + 1) / of[INPUTS]
        partial = degrees[:, OUTPUTS]
    elif how.rule == "inputs":
        groups = float(how.groups)
        low[3], high[3] = np.floor(low[3] * groups + 1e-9) / groups, np.ceil(high[3] * groups - 1e-9) / groups
        partial = np.maximum(1, degrees[:, OUTPUTS] // how.groups)
    else:
        low[3], high[3] = (np.clip((end - how.start) / how.size, 0.0, 1.0) for end in (low[3], high[3]))
    if how.whole:
        low[1:3], high[1:3] = 0.0, 1.0
    return _boxes(low, high, apart[OUTPUTS], partial, units)


@dataclass(frozen=True, eq=False)
class Moves:
    """What moves between K splits that write a tensor and K' that read it, as shares of the tensor.

    Attributes:
        forward: That the unit which takes in most takes in, at each level. Shape (levels, K, K').
        backward: Likewise of the gradients. Shape (levels, K, K').
        kept: What a device keeps of the tensor besides what it wrote. Shape (K, K').
    """

    forward: Floats
    backward: Floats
    kept: Floats


@lru_cache(maxsize=256)
def moves(
    devices: int,
    units: tuple[int, ...],
    source_axes: tuple[int, ...],
    experts: bool,
    target_axes: tuple[int, ...],
    how: Reading,
) -> Moves:
    """What moves between every split along ``source_axes`` and every one along ``target_axes``.

    Args:
        devices: That both layers are split over.
        units: Devices of one unit of each level, the first 1.
        source_axes, target_axes: As of `all_degrees`.
        experts: Whether the layer that writes is Experts.
        how: The other reads.
    """
    return moves_between(
        devices, units, all_degrees(devices, source_axes), experts, all_degrees(devices, target_axes), how
    )


def moves_between(
    devices: int, units: tuple[int, ...], of_source: Integers, experts: bool, of_target: Integers, how: Reading
) -> Moves:
    """As `moves`, between some splits. Shapes (K, 6) and (K', 6)."""
    source = written(of_source, devices, units, experts)
    target = read(of_target, devices, units, how)
    shape = (len(of_source), len(of_target))
    forward, backward = np.zeros((len(units), *shape)), np.zeros((len(units), *shape))
    kept = np.zeros(shape)
    for level in range(len(units)):
        count = source.low[level].shape[2]
        rows = max(1, _AT_ONCE // (shape[1] * count))
        need = (target.high[level] - target.low[level]).prod(axis=0)[None]
        added = target.partial[level][None, :, None]
        # Arrays of this size are made once: making one takes as long as filling it.
        one, other = (np.empty((min(rows, shape[0]), shape[1], count), dtype=np.float32) for _ in range(2))
        for start in range(0, shape[0], rows):
            at = slice(start, start + rows)
            held = (source.high[level][:, at] - source.low[level][:, at]).prod(axis=0)[:, None]
            both, taken = one[: len(held)], other[: len(held)]
            _overlap(source, target, level, at, both, taken)
            addends = source.partial[level][at, None, None]
            forward[level, at] = _taken_in(held, need, both, addends, taken).max(axis=2)
            backward[level, at] = _taken_in(need, held, both, added, taken).max(axis=2)
            if level == 0:
                kept[at] = np.subtract(need, both, out=taken).max(axis=2)
    # Rounding of thirds and the like is no traffic.
    for found in (forward, backward, kept):
        found[found < 1e-6] = 0.0
    return Moves(forward, backward, kept)


def _overlap(source: Boxes, target: Boxes, level: int, at: slice, both: Shares, ends: Shares) -> None:
    """Fill ``both`` with the share of the tensor that lies in two boxes; ``ends`` is room to work in."""
    both.fill(1.0)
    for axis in range(4):
        low, high = source.low[level][axis, at][:, None], source.high[level][axis, at][:, None]
        to_low, to_high = target.low[level][axis][None], target.high[level][axis][None]
        if not low.any() and (high == 1.0).all():
            both *= to_high - to_low
        elif not to_low.any() and (to_high == 1.0).all():
            both *= high - low
        else:
            np.minimum(high, to_high, out=ends)
            # Ends before starts do not overlap.
            ends -= np.maximum(low, to_low)
            both *= np.maximum(ends, 0.0, out=ends)


def _taken_in(held: Shares, need: Shares, both: Shares, addends: Shares, room: Shares) -> Shares:
    """Share of a tensor that a unit takes in: to add up its box of what it holds, then what it needs and lacks.

    Adding up leaves each of the ``addends`` units one part of the box, the one that it needs most. Written to ``room``.
    """
    taken: Shares = np.minimum(both, held / addends, out=room)
    np.maximum(np.subtract(need, taken, out=taken), 0.0, out=taken)
    taken += held * (addends - 1.0) / addends
    return taken
