"""Run the command line inside the test process."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from paleo_opt.cli.main import main


@dataclass(frozen=True)
class Result:
    """What one run left: its exit code and its two streams."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        """The one object on stdout; the contract is that nothing else is there."""
        found = json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert isinstance(found, dict)
        return found


class Runner:
    """Runs ``paleo-opt`` with words and says what came of it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> Result:
        self._capsys.readouterr()
        code = main(words)
        return Result(code, *self._capsys.readouterr())

    def text(self, *words: str) -> str:
        """The answer of a run that must succeed, its form checked."""
        result = self(*words)
        assert (result.code, result.err) == (0, ""), result.err
        check_form(result.lines)
        return result.out

    def refusal(self, *words: str) -> str:
        """The one line of a run that must be refused."""
        result = self(*words)
        assert result.code == 2
        assert result.out == ""
        lines = result.err.splitlines()
        assert len(lines) == 1, result.err
        assert lines[0].startswith("paleo-opt: ")
        return lines[0]


def check_form(lines: Sequence[str], room: int = 100) -> None:
    """No line is wider than ``room`` or ends in a space, and nothing in it moves a cursor."""
    for line in lines:
        assert len(line) <= room, line
        assert line == line.rstrip(), repr(line)
        assert re.search("[\x00-\x1f\x7f]", line) is None, repr(line)
