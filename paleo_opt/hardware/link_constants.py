"""What a link attains: the constants of the default model's collectives (docs/equations.md, Communication).

A link's file gives those that were measured, each with its uncertainty; the others follow from its latency, or are
priors with a wide deviation, or do not apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from paleo_opt.hardware.constant import Constant, Meaning, read_constant
from paleo_opt.spec_file import Fields

_NONE = Constant(0.0)

#: By name. A prior of 0 is a term that a link does not have unless its file gives it.
LINK_CONSTANTS: Mapping[str, Meaning] = MappingProxyType(
    {
        "attained": Meaning(
            "share", 0.01, 1.0, Constant(0.80, 0.12), "share of the bandwidth that the largest messages attain"
        ),
        "step": Meaning("time", 0.0, 1.0, Constant(5e-6, 0.5), "one step of a collective of small messages"),
        "startup": Meaning(
            "time", 0.0, 1.0, Constant(5e-6, 0.4), "of each operation whose innermost link it is, with its launch"
        ),
        "ramp": Meaning(
            "time", 0.0, 1.0, Constant(4e-5, 0.7),
            "of filling the pipeline of the protocol for large messages; they attain half at ramp × bandwidth",
        ),
        "low_latency": Meaning(
            "share", 0.01, 1.0, Constant(0.40, 0.3), "share of what is attained by the protocol for small messages"
        ),
        "in_network": Meaning(
            "share", 0.01, 1.0, _NONE, "share of the bandwidth by reduction in the switch; without it there is none"
        ),
        "copy": Meaning(
            "bandwidth", 1e9, 1e14, _NONE, "at which a collective copies a device's own share; without it at no cost"
        ),
        "crowding": Meaning(
            "number", 0.0, 3.0, _NONE, "γ: K devices each attain (K/2)^-γ of what two do, on the host's shared lanes"
        ),
    }
)  # fmt: skip
#: Steps of small messages that fill the pipeline of large ones, where a link's file does not say: 2 to 20 measured.
STEPS_OF_RAMP = 8.0


def read_link_constants(fields: Fields) -> dict[str, Constant]:
    """The constants that a link's or a level's file gives; mistakes are noted like any other of the file."""
    found = {name: read_constant(fields, name, meaning) for name, meaning in LINK_CONSTANTS.items()}
    return {name: constant for name, constant in found.items() if constant is not None}


def link_constant(given: Mapping[str, Constant], name: str, latency: float) -> Constant:
    """A constant of `LINK_CONSTANTS`: as given, or as a link of that latency [s] has it before anything is measured."""
    if name in given:
        return given[name]
    prior = LINK_CONSTANTS[name].prior
    if name == "step":
        return Constant(latency, prior.deviation)
    if name == "ramp":
        return Constant(STEPS_OF_RAMP * link_constant(given, "step", latency).value, prior.deviation)
    return prior
