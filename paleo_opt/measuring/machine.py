"""The CPU at hand, as a device's data sheet would give it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paleo_opt.errors import SpecError

CPUINFO = Path("/proc/cpuinfo")
_FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")


@dataclass(frozen=True)
class Cpu:
    """A CPU.

    Attributes:
        model: As it calls itself.
        cores: That this process may use.
        clock: Hz, the highest that the system names.
        flops_per_cycle: Of one core, by precision.
        instructions: The vector instructions that these are of.
        memory: Bytes.
    """

    model: str
    cores: int
    clock: float
    flops_per_cycle: Mapping[str, int]
    instructions: str
    memory: int


def vector_flops(flags: Sequence[str]) -> tuple[dict[str, int], str]:
    """FLOPs per cycle and core by precision, and of which instructions; a fused multiply-add counts as two.

    Two vector units in each core, as Intel's and AMD's server cores have had since 2013 (AVX-512: since 2017).
    """
    has = set(flags)
    if "avx512f" in has:
        fp32, name = 64, "AVX-512"
    elif {"avx2", "fma"} <= has:
        fp32, name = 32, "AVX2 FMA"
    elif "avx" in has:
        fp32, name = 16, "AVX"
    else:
        fp32, name = 8, "SSE"
    found = {"fp32": fp32}
    if "amx_bf16" in has:
        found["bf16"], name = 2048, f"{name}, AMX"
    elif "avx512_bf16" in has:
        found["bf16"] = 2 * fp32
    return found, name


def read_cpu(cpuinfo: Path = CPUINFO) -> Cpu:
    """The CPU of this machine.

    Raises:
        SpecError: the system does not say (it is no Linux).
    """
    try:
        text = cpuinfo.read_text()
    except OSError:
        raise SpecError(f"{cpuinfo}: no such file; measuring a CPU needs Linux") from None
    fields: dict[str, str] = {}
    clocks = []
    for key, value in re.findall(r"^(.*?)[ \t]*:[ \t]*(.*)$", text, re.MULTILINE):
        fields.setdefault(key, value)
        if key == "cpu MHz":
            clocks.append(float(value) * 1e6)
    with contextlib.suppress(OSError, ValueError):
        clocks.append(float(_FREQUENCY.read_text()) * 1e3)
    flops, instructions = vector_flops(fields.get("flags", "").split())
    return Cpu(
        model=fields.get("model name", "CPU"),
        cores=len(os.sched_getaffinity(0)),
        clock=max(clocks, default=2e9),
        flops_per_cycle=flops,
        instructions=instructions,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )
