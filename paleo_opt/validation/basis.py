"""On which measured rows an interval rests, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paleo_opt.validation.residuals import LEVELS, Features, Residuals

#: What a row shares with the rows of so many levels, in words.
_SHARED = ("of other kinds of networks", "of {family} networks", "of {family} networks on {unit} units",
           "of the same platform", "of the same platform and device", "of the same platform, device and scale",
           "of the same platform, device, scale and network")  # fmt: skip
_MISSING = ("none of {family} networks", "none on {unit} units", "none of platform {platform}",
            "none on {device} with it", "none of {scale}", "none of {network}", "")  # fmt: skip
_SCALES = {"one": "one device", "node": "several devices of a node", "nodes": "several nodes"}


def basis_of(
    residuals: Residuals, features: Features, depth: int, without: NDArray[np.bool_] | None = None
) -> tuple[int, str]:
    """On how many rows an interval rests, and which, in words."""
    kept = np.ones(len(residuals.rows), dtype=bool) if without is None else ~without
    if not kept.any():
        return 0, "no measured rows; a guess"
    path = residuals.path(features)
    for codes, code in zip(residuals.codes[:depth], path[:depth], strict=True):
        kept &= codes == code
    rows = int(kept.sum())
    words = {name: getattr(features, name) for name in LEVELS} | {"scale": _SCALES.get(features.scale, features.scale)}
    missing = _MISSING[depth].format(**words)
    shared = f"{rows:,} measured row{'s'[: rows != 1]} {_SHARED[depth].format(**words)}"
    return rows, f"{shared}, {missing}" if missing else shared
