r"""How many samples each device of a mixed fleet takes in a step, so that the slowest group is as fast as can be.

A device of group g that takes k samples in passes of b runs ⌈k / b⌉ of them and is done after

    T_g(k) = min over b of  once_g(b) + ⌈k / b⌉ · pass_g(b)

which never falls with k. A step of B samples needs Σ_g n_g k_g ≥ B with every k_g a whole number, at least 1; the least
T for which Σ_g n_g max{k : T_g(k) ≤ T} ≥ B is found by bisection, to the last digit. Where the groups could take more
than B in that time, some devices get one sample less than the others of their group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paleo_opt.errors import SpecError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_BISECTIONS = 64
#: Relative; a sum is not quite the number that is looked for.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class PassTimes:
    """What the passes of one group's devices take, by the ways to run one (its samples and more).

    Attributes:
        devices: Of the group, that each take samples of their own.
        samples: Of one pass. Shape (ways,).
        pass_s: Seconds of one pass. Shape (ways,).
        once_s: Seconds of a step besides: exposed all-reduce and update. Shape (ways,).
    """

    devices: int
    samples: Integers
    pass_s: Floats
    once_s: Floats

    def most_samples(self, time_s: Floats) -> tuple[Integers, Integers]:
        """Samples of a device within each time, and the way that takes most. Shapes as ``time_s``."""
        budget = (time_s[..., None] * (1.0 + _ROUNDING) - self.once_s) / self.pass_s
        taken = np.floor(np.maximum(budget, 0.0)).astype(np.int64) * self.samples
        best = taken.argmax(axis=-1)
        return np.take_along_axis(taken, best[..., None], axis=-1)[..., 0], best

    def finish_s(self, each: Integers) -> tuple[Floats, Integers]:
        """T_g of some samples a device, and the way that attains it. Shapes as ``each``."""
        times = self.once_s + -(-each[..., None] // self.samples) * self.pass_s
        best = times.argmin(axis=-1)
        return np.take_along_axis(times, best[..., None], axis=-1)[..., 0], best


@dataclass(frozen=True, eq=False)
class UnevenSplit:
    """The best split of some global batches over G groups.

    Attributes:
        global_batch: Shape (n,).
        time_s: Of the slowest group. Shape (n,).
        each: Most samples of one device of each group. Shape (n, G).
        way: That each group runs its passes in. Shape (n, G).
        passes: Of each group. Shape (n, G).
        room: Samples that the groups could take in that time. Shape (n,).
    """

    global_batch: Integers
    time_s: Floats
    each: Integers
    way: Integers
    passes: Integers
    room: Integers


def uneven_split(groups: Sequence[PassTimes], global_batch: Integers) -> UnevenSplit:
    """Split each global batch over the groups.

    Args:
        groups: With at least one way each.
        global_batch: Samples of a step, at least one for each device. Shape (n,).

    Raises:
        SpecError: a group has no way to run, or a batch has fewer samples than there are devices.
    """
    batch = np.asarray(global_batch, dtype=np.int64)
    devices = np.array([group.devices for group in groups], dtype=np.int64)
    if not groups or any(group.samples.size == 0 for group in groups):
        raise SpecError("a group of devices has no micro-batch that fits its memory")
    if (batch < devices.sum()).any():
        raise SpecError(
            f"a global batch of {int(batch.min()):,} leaves devices without a sample; expected at least "
            f"{int(devices.sum()):,}, one for each device"
        )
    one = np.ones(batch.shape, dtype=np.int64)
    low = np.max([group.finish_s(one)[0] for group in groups], axis=0)
    alone = -(-batch // devices.sum())
    high = np.max([group.finish_s(alone)[0] for group in groups], axis=0)
    high = np.maximum(high, low)

    def room(time_s: Floats) -> Integers:
        found: Integers = np.sum([g.devices * np.maximum(g.most_samples(time_s)[0], 1) for g in groups], axis=0)
        return found

    enough = room(low) >= batch
    high = np.where(enough, low, high)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        fits = room(middle) >= batch
        high, low = np.where(fits, middle, high), np.where(fits, low, middle)
        if ((high - low) <= _ROUNDING * high).all():
            break
    each = np.stack([np.maximum(group.most_samples(high)[0], 1) for group in groups], axis=-1)
    taken = each @ devices
    # Only the groups that have to take so many: no sample more than the step has, where whole rows of devices can rest.
    for index in np.argsort(-np.array([float(np.min(group.pass_s / group.samples)) for group in groups])):
        spare = np.minimum((taken - batch) // devices[index], each[:, index] - 1)
        each[:, index] -= spare
        taken = taken - spare * devices[index]
    finishes = [group.finish_s(each[:, index]) for index, group in enumerate(groups)]
    way = np.stack([found[1] for found in finishes], axis=-1)
    sizes = np.stack([group.samples[way[:, index]] for index, group in enumerate(groups)], axis=-1)
    return UnevenSplit(
        global_batch=batch,
        time_s=np.max([found[0] for found in finishes], axis=0),
        each=each,
        way=way,
        passes=-(-each // sizes),
        room=room(high),
    )


def fullest_batches(groups: Sequence[PassTimes], global_batch: Integers, most: int) -> UnevenSplit:
    """As `uneven_split`, each batch as large as the same time allows, up to ``most``: more samples cost nothing."""
    first = uneven_split(groups, global_batch)
    return uneven_split(groups, np.unique(np.minimum(first.room, most)))
