"""The errors a caller can meet.

PaleoOptError
├── SpecError          a spec file or option is wrong; every problem found, one line each   (exit code 2)
└── InfeasibleError    nothing in the space satisfies memory and budgets                     (exit code 1)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class PaleoOptError(Exception):
    """Base of every error that paleo-opt raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the input: where it stands, and what was expected there.

    ``file`` and ``field`` may be empty and ``line`` 0 where they do not apply (a command-line option has no line).
    """

    message: str
    file: str = ""
    line: int = 0
    field: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ": ".join(part for part in (where, self.field, self.message) if part)


class SpecError(PaleoOptError):
    """Bad input: a spec file, an option or an argument. Carries every problem found, each one line."""

    def __init__(self, problems: Iterable[Problem] | Problem | str) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InfeasibleError(PaleoOptError):
    """No strategy of the space satisfies the memory limit and every budget; the message says which limit binds."""


def _likeness(name: str, candidate: str) -> float:
    """How like two names are: difflib's ratio, and more for a common beginning or the same letters in another order.

    A candidate that goes on where the name ends (``a100`` of ``a100-sxm4-80gb``) is likelier than a shorter neighbour.
    """
    ratio = difflib.SequenceMatcher(None, name, candidate).ratio()
    prefix = next(
        (i for i, (a, b) in enumerate(zip(name, candidate, strict=False)) if a != b), min(len(name), len(candidate))
    )
    same_letters = sorted(name) == sorted(candidate)
    return ratio + 0.3 * prefix / max(len(name), 1) + 0.4 * candidate.startswith(name) + 0.2 * same_letters


def nearest(name: str, valid: Iterable[str]) -> str:
    """A suggestion for a misspelt ``name``: ``"; did you mean 'vgg16'?"``, or the valid names, or nothing.

    The valid names are listed where none is near and there are at most a dozen.
    """
    names = list(valid)
    folded = {candidate.casefold(): candidate for candidate in names}
    best = max(folded, key=lambda candidate: _likeness(name.casefold(), candidate), default="")
    if best and _likeness(name.casefold(), best) >= 0.6:
        return f"; did you mean {folded[best]!r}?"
    if 0 < len(names) <= 12:
        return f"; valid: {', '.join(sorted(names))}"
    return ""
