"""Run launch files with stand-ins for the programs that they call, and say what these were given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
#: The options that the real parsers know, by tool: `benchmarks/launch_parsers.py --record` writes them.
KNOWN: dict[str, dict[str, str]] = json.loads((ROOT / "data" / "launch_options.json").read_text(encoding="utf-8"))

_STUB = """#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a", encoding="utf-8") as calls:
    calls.write(json.dumps(["{name}", sys.argv[1:], dict(os.environ)]) + "\\n")
{more}
"""
#: srun starts what follows its options; scontrol names the nodes of a job.
_MORE = {
    "torchrun": "",
    "srun": "first = next(i for i, word in enumerate(sys.argv) if i and not word.startswith('-'))\n"
    "os.execvp(sys.argv[first], sys.argv[first:])",
    "scontrol": "print('node-0\\nnode-1')",
}


@dataclass(frozen=True)
class Call:
    """One call of a program: its arguments and its environment."""

    program: str
    words: list[str]
    environment: dict[str, str]

    @property
    def options(self) -> dict[str, str]:
        """Those before the first argument that is none: name to value."""
        found = {}
        for word in self.words:
            if not word.startswith("--"):
                break
            name, _, value = word.partition("=")
            found[name] = value
        return found

    @property
    def arguments(self) -> list[str]:
        """What follows the options."""
        return self.words[len(self.options) :]


class Stubs:
    """A folder of stand-ins; `run` says which were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, more in _MORE.items():
            stub = folder / name
            stub.write_text(_STUB.format(python=sys.executable, name=name, more=more), encoding="utf-8")
            stub.chmod(0o755)

    def run(self, script: str, environment: Mapping[str, str], *words: str) -> list[Call]:
        """Run a script with bash, in this folder, and return the calls that it made."""
        calls, file = self.folder / "calls", self.folder / "script"
        calls.write_text("", encoding="utf-8")
        file.write_text(script, encoding="utf-8")
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", str(file), *words],
            env={"PATH": path, "CALLS": str(calls), **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [Call(*json.loads(line)) for line in calls.read_text(encoding="utf-8").splitlines()]


def known(tool: str, what: str = "options") -> set[str]:
    """The words that a tool's own parser knows."""
    return set(KNOWN[tool][what].split())
