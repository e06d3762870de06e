"""What a run says of itself: the report in its output, and why it ended where there is none.

A report is the last of

- a line that is a JSON object with ``step_time_s`` or ``samples_per_s`` (and ``memory_bytes``, its peak, if it likes),
- ``step_time_s=0.123`` or ``samples_per_s: 4567`` anywhere in a line,

in its standard output, or in the file that ``{report}`` names; or the last match of one's own pattern.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

from paleo_opt.errors import SpecError

QUANTITIES = ("step_time_s", "samples_per_s")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PAIR = re.compile(rf"(?<![\w.])(step_time_s|samples_per_s)[\"']?\s*[=:]\s*({_NUMBER})(?![\w.])")
_PEAK = re.compile(rf"(?<![\w.])memory_bytes[\"']?\s*[=:]\s*({_NUMBER})(?![\w.])")
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|std::bad_alloc|cannot allocate memory|can't allocate memory"
    r"|unable to allocate|RESOURCE_EXHAUSTED|oom-kill|Killed process",
    re.IGNORECASE,
)
#: Of a run that the system's out-of-memory killer, or a container's limit, ended: SIGKILL.
_KILLED = (-9, 137)
_LONGEST = 200


@dataclass(frozen=True)
class Report:
    """A figure that a run reported.

    Attributes:
        quantity: One of `QUANTITIES`.
        value: Of it, above 0.
        memory_bytes: Peak of a device; None where it says nothing.
    """

    quantity: str
    value: float
    memory_bytes: float | None = None

    def step_time_s(self, global_batch: int) -> float:
        """Seconds of a step."""
        return self.value if self.quantity == "step_time_s" else global_batch / self.value


def compile_pattern(text: str | None) -> re.Pattern[str] | None:
    """The user's own pattern of a report.

    Raises:
        SpecError: it is none, or has no group that is a figure.
    """
    if text is None:
        return None
    try:
        pattern = re.compile(text, re.MULTILINE)
    except re.error as error:
        raise SpecError(f"--report-regex: {text[:60]!r} is no regular expression: {error}") from None
    if not set(QUANTITIES) & set(pattern.groupindex) and pattern.groups != 1:
        raise SpecError(
            "--report-regex: expected one group, the seconds of a step, or one named step_time_s or samples_per_s, "
            r"such as 'rate (?P<samples_per_s>[\d.]+)'"
        )
    return pattern


def read_report(text: str, pattern: re.Pattern[str] | None = None) -> Report | None:
    """The last report in a text; None where there is none, or its figure is no number above 0."""
    if pattern is not None:
        return _by_pattern(text, pattern)
    peaks = _PEAK.findall(text)
    peak = float(peaks[-1]) if peaks else None
    for line in reversed(text.splitlines()):
        found = _of_json(line)
        pairs = _PAIR.findall(line)
        if found is None and pairs:
            found = _report(pairs[-1][0], float(pairs[-1][1]), peak)
        if found is not None:
            return found
    return None


def _by_pattern(text: str, pattern: re.Pattern[str]) -> Report | None:
    last = None
    for match in pattern.finditer(text):
        last = match
    if last is None:
        return None
    groups = last.groupdict()
    quantity = next((name for name in QUANTITIES if groups.get(name) is not None), "step_time_s")
    written = groups.get(quantity) if quantity in groups else last[1]
    try:
        peak = float(groups.get("memory_bytes") or "nan")
        return _report(quantity, float(written or "nan"), peak if math.isfinite(peak) else None)
    except ValueError:
        return None


def _of_json(line: str) -> Report | None:
    line = line.strip()
    if not (line.startswith("{") and line.endswith("}")):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    for quantity in QUANTITIES:
        value, peak = fields.get(quantity), fields.get("memory_bytes")
        if isinstance(value, int | float) and not isinstance(value, bool):
            usable = isinstance(peak, int | float) and not isinstance(peak, bool) and math.isfinite(peak)
            return _report(quantity, float(value), float(peak) if usable else None)
    return None


def _report(quantity: str, value: float, peak: float | None) -> Report | None:
    if not (math.isfinite(value) and value > 0):
        return None
    return Report(quantity, value, peak if peak is not None and peak > 0 else None)


def ended_without_memory(code: int, text: str) -> bool:
    """Whether a run that failed did so for want of memory, by its exit code or by what it said last."""
    return code in _KILLED or _OUT_OF_MEMORY.search(text) is not None


def last_line(text: str) -> str:
    """The last line of a text that says something, shortened."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    told = lines[-1] if lines else ""
    return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 1]}…"
