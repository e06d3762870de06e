"""The command of a run, as a template: ``{name}`` stands for a value, ``{{`` and ``}}`` for braces."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paleo_opt.errors import SpecError, nearest

#: What the program itself fills in: where to write a report, and the number of the run.
OWN = ("report", "run")
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class CommandTemplate:
    """A command with placeholders.

    Attributes:
        text: As it was given.
        names: Of its placeholders, each once, in order.
    """

    text: str
    names: tuple[str, ...]

    def fill(self, values: Mapping[str, object]) -> str:
        """The command of one run, each value as one word of the shell."""

        def replaced(match: re.Match[str]) -> str:
            if match[0] in ("{{", "}}"):
                return match[0][0]
            value = values[match[1].strip()]
            return shlex.quote(str(value).lower() if isinstance(value, bool) else str(value))

        return _PART.sub(replaced, self.text)


def parse_command(text: str, known: Sequence[str], knobs: Sequence[str]) -> CommandTemplate:
    """Read a template.

    Args:
        text: The command.
        known: Placeholders that name fields of a strategy.
        knobs: Those that the user declared.

    Raises:
        SpecError: nothing to run, a brace that opens or closes nothing, an unknown placeholder, or a knob unused.
    """
    if not text.strip():
        raise SpecError("--command is empty; expected what to run, such as 'python train.py --batch {micro_batch}'")
    names: dict[str, None] = {}
    for match in _PART.finditer(text):
        if match[0] in ("{{", "}}"):
            continue
        if match[1] is None:
            raise SpecError(
                f"--command: {match[0]!r} at {match.start() + 1} has no partner; write {match[0] * 2} for it"
            )
        name = match[1].strip()
        if name not in (*known, *knobs, *OWN):
            hint = nearest(name, (*known, *knobs, *OWN)) if name else ""
            raise SpecError(
                f"--command: {{{name}}} is no field of a strategy{hint or '; see docs/tune.md'} "
                f"(--choice or --range declares others; {{{{ is a brace)"
            )
        names[name] = None
    unused = [name for name in knobs if name not in names]
    if unused:
        raise SpecError(f"--command has no {{{unused[0]}}}, but its values are given; it would make no difference")
    return CommandTemplate(text, tuple(names))
