"""What ``recommend`` says before and after a calibration, each asked in a process of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paleo_opt.errors import SpecError


def recommended_before_and_after(words: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The recommendations, as the JSON of ``recommend`` has them; None where nothing is feasible.

    Args:
        words: The words behind ``paleo-opt recommend``.
        files: What was calibrated, by path within a folder of one's own.

    Raises:
        SpecError: the words are refused.
    """
    own = os.environ.get("PALEO_OPT_PATH", "")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        # Of folders with the same name the last counts.
        after = os.pathsep.join(part for part in (own, folder) if part)
        return {"words": words, "before": _recommend(words, own), "after": _recommend(words, after)}


def _recommend(words: str, path: str) -> Any:
    try:
        split = shlex.split(words)
    except ValueError as error:
        raise SpecError(f"--recommend: {str(error).lower()}") from None
    command = [sys.executable, "-m", "paleo_opt", "recommend", *split, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PALEO_OPT_PATH": path})
    if done.returncode not in (0, 1):
        said = done.stderr.strip().splitlines()
        raise SpecError(f"--recommend: {said[-1].removeprefix('paleo-opt: ') if said else 'failed'}")
    return json.loads(done.stdout).get("recommended")
