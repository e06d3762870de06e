"""Load software platforms from their YAML, ``hardware/platforms/NAME.yaml`` (docs/hardware.md)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from paleo_opt import catalog, quantities
from paleo_opt.errors import SpecError
from paleo_opt.hardware import bounds
from paleo_opt.hardware.constant import Constant, read_constant
from paleo_opt.hardware.device import Device
from paleo_opt.hardware.load import find_file, stamp
from paleo_opt.hardware.platform import ALGORITHMS, AT_END, CONSTANTS, EVERY_LAYER, FUSIBLE, PASSES, SERVERS, Platform
from paleo_opt.spec_file import Fields, as_text, read_spec

COLLECTIVES = (
    "auto", "one_to_all", "tree_all_reduce", "butterfly_all_reduce", "ring_all_reduce", "double_binary_tree",
    "recursive_halving_doubling", "hierarchical", "in_network",
)  # fmt: skip
#: Bytes of a gradient by its name: as the weights have, or always in fp32.
GRADIENTS: dict[str, float | None] = {"weights": None, "fp32": 4.0}
#: Of transformers: what pipelines and tensor-parallel devices run, and what most published runs were fitted on.
TRANSFORMER_PLATFORM = "megatron-core"
#: Of a device whose file names no platform.
DEFAULT_PLATFORM = "pytorch"


def load_platform(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Platform:
    """The platform of a shipped or user's name, or of a YAML file.

    ``overrides`` replace single fields: ``{"constants.memory": "0.7 ± 5%"}``.

    Raises:
        SpecError: no such platform, or all that is wrong in its file.
    """
    path = find_file("platform", name_or_path)
    return _read_platform(path, overrides) if overrides else _platform(path, stamp(path))


@cache
def _platform(path: Path, stamp: tuple[int, int]) -> Platform:
    return _read_platform(path, {})


def platform_of(device: Device) -> Platform:
    """The default platform of ``device``. Raises as `load_platform`."""
    return load_platform(device.platform or DEFAULT_PLATFORM)


def platform_for(software: str) -> Platform | None:
    """The platform that a measured table's ``software`` text names, or None; of several the most specific.

    The most specific is the one whose matching entry is longest.
    """
    text = software.casefold()
    found, longest = None, 0
    for name in catalog.names("platform"):
        platform = load_platform(name)
        for entry in platform.software:
            words = entry.casefold().split()
            if all(word in text for word in words) and (length := sum(map(len, words))) > longest:
                found, longest = platform, length
    return found


def _read_platform(path: Path, overrides: Mapping[str, str]) -> Platform:
    fields = read_spec(path, overrides)
    base = fields.value("like", _like, Platform("", "", "", algorithms=dict.fromkeys(PASSES, ("gemm",))))
    base = base or Platform("", "", "")
    given = fields.fields("constants", None)
    constants: dict[str, Constant] = dict(base.constants)
    if given is not None:
        for name, meaning in CONSTANTS.items():
            constant = read_constant(given, name, meaning)
            if constant is not None:
                constants[name] = constant
        given.finish()
    platform = Platform(
        name=bounds.stem(fields, path),
        description=fields.text("description"),
        source=fields.text("source"),
        constants=constants,
        algorithms=_algorithms(fields, base),
        fused=frozenset(fields.sequence("fused", as_text(FUSIBLE), tuple(base.fused))),
        per_image=fields.flag("per_image", base.per_image),
        bucket_bytes=fields.value("buckets", _buckets, base.bucket_bytes),
        servers=fields.text("servers", base.servers, SERVERS),
        collective=fields.text("collective", base.collective, COLLECTIVES),
        kept_products=fields.number("kept_products", base.kept_products, 0.0, 1.0),
        gradient_bytes=GRADIENTS[fields.text("gradients", _gradients(base), tuple(GRADIENTS)) or "weights"],
        sequence_parallel=fields.flag("sequence_parallel", base.sequence_parallel),
        software=fields.sequence("software", as_text(), ()),
        file=str(path),
    )
    fields.finish()
    fields.raise_problems()
    return platform


def _gradients(base: Platform) -> str:
    return next(name for name, size in GRADIENTS.items() if size == base.gradient_bytes)


def _like(node: yaml.Node) -> Platform:
    """A platform that this one differs from in what its own file gives."""
    name = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
    path = find_file("platform", name)
    if "\nlike:" in path.read_text(encoding="utf-8"):
        raise SpecError(f"is {name!r}, which is itself like another; expected one that is not")
    return load_platform(name)


def _algorithms(fields: Fields, base: Platform) -> Mapping[str, tuple[str, ...]]:
    """Of each pass; a platform that says nothing has matrix products alone."""
    given = fields.fields("algorithms", None)
    if given is None:
        return base.algorithms
    found = {}
    for step in PASSES:
        names = given.sequence(step, as_text(ALGORITHMS), ())
        found[step] = ("gemm", *(name for name in ALGORITHMS[1:] if name in names))
    given.finish()
    return found


def _buckets(node: yaml.Node) -> float:
    text = str(node.value).strip() if isinstance(node, yaml.ScalarNode) else ""
    if text == "layer":
        return EVERY_LAYER
    if text == "end":
        return AT_END
    try:
        return quantities.parse(text, "memory")
    except SpecError:
        raise SpecError(f"is {text!r}; expected a size such as 25MB, or layer, or end") from None
