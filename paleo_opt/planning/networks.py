"""The networks that jobs name, and the amounts that they train."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import yaml

from paleo_opt.errors import SpecError
from paleo_opt.network.graph import Network
from paleo_opt.network.job import with_target
from paleo_opt.network.load import load_network
from paleo_opt.quantities import parse_count
from paleo_opt.spec_file import Fields
from paleo_opt.yaml_nodes import shown

AMOUNTS = ("samples", "tokens", "epochs")
MOST_SAMPLES = 10_000_000


class Networks:
    """Networks by how the file names them, each read once."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._known: dict[str, Network | None] = {}

    def get(self, fields: Fields) -> Network | None:
        """That of a job; None, with problems noted, where there is none."""
        name: str = fields.text("network")
        if not name:
            return None
        if name not in self._known:
            self._known[name] = None
            beside = Path(self._file).parent / name
            is_path = name.endswith((".yaml", ".yml")) or os.sep in name
            try:
                self._known[name] = load_network(str(beside) if is_path and beside.is_file() else name)
            except SpecError as error:
                for problem in error.problems:
                    if problem.file:
                        fields.problems.append(problem)
                    else:
                        fields.problem(problem.message, "network")
        elif self._known[name] is None:
            fields.problem("is wrong; see above", "network")
        return self._known[name]


def with_amount(fields: Fields, network: Network) -> Network:
    """The network with the job's amount and largest batch, where it gives them."""
    given = [name for name in AMOUNTS if name in fields]
    found = {name: fields.value(name, _amount(name), None) for name in AMOUNTS}
    most: int | None = fields.integer("max_global_batch", None, 1, MOST_SAMPLES)
    if len(given) > 1:
        fields.problem(f"is the same amount as {given[0]}; expected one of them", given[1])
        return network
    if not given and network.job is None:
        fields.problem("has no job of its own, so how long it is to be trained is open; give samples", "network")
        return network
    if given and found[given[0]] is None:
        return network
    try:
        return with_target(network, **found, max_global_batch=most)
    except SpecError as error:
        for problem in error.problems:
            where = given[0] if given else "network"
            fields.problem(problem.message.removeprefix(f"--{where}: ").replace("--", ""), where)
        return network


def _amount(unit: str) -> Callable[[yaml.Node], float]:
    def convert(node: yaml.Node) -> float:
        text = scalar(node)
        value, word = parse_count(text)
        if word not in ("", unit):
            raise SpecError(f"is {shown(text)!r}; expected {unit}, such as 300M")
        if not 0 < value <= 1e18:
            raise SpecError(f"is {shown(text)!r}; expected above zero")
        return value

    return convert


def scalar(node: yaml.Node) -> str:
    """The text of a single value. Raises `SpecError` where it is a list or a mapping."""
    if not isinstance(node, yaml.ScalarNode):
        raise SpecError("is no single value")
    return str(node.value)
