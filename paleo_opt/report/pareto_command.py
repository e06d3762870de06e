"""The command that asks for a front again, quoted for a shell."""

from __future__ import annotations

import shlex
from typing import Any

from paleo_opt.hardware.cluster import Cluster
from paleo_opt.report.commands import model_words, name_or_file, operation_words, target_words, wrapped_command
from paleo_opt.search.tradeoff import Tradeoff

#: Arguments of `pareto` that are options of one value, with their defaults.
_VALUES: dict[str, Any] = {
    "minimize": None,
    "conv_algorithm": None,
    "precision": None,
    "global_batch": None,
    "micro_batch": None,
    "tensor": None,
    "split": None,
    "collective": None,
    "seed": 0,
    "top": 5,
}


def pareto_words(answer: Tradeoff) -> list[list[str]]:
    """The command in groups of words that belong together; empty where it needs what was made in Python."""
    request, problem = answer.request, answer.problem
    network, space = problem.network, request["space"]
    clusters = [
        name_or_file("cluster", given.name, given.file) if isinstance(given, Cluster) else given
        for given in request["on"]
    ]
    space = space if isinstance(space, str) else space.file and name_or_file("space", space.name, space.file)
    if not network.file or not space or not all(clusters):
        return []
    words = [["paleo-opt", "pareto", name_or_file("net", network.name, network.file)]]
    words += [["--budget", text] for text in problem.budgets.texts]
    words += [["--on", name] for name in clusters]
    if request["device"] is not None:
        words.append(["--device", request["device"]])
    if space != "default":
        words.append(["--space", space])
    for name, usual in _VALUES.items():
        if request[name] != usual:
            words.append([f"--{name.replace('_', '-')}", str(request[name])])
    words += target_words(network)
    words += model_words(problem.options)
    known = {group[0] for group in words}
    words += [group for group in operation_words(problem.options) if group[0] not in known]
    words += [["--set", f"{name}={text}"] for name, text in problem.overrides.items()]
    return words


def pareto_command(answer: Tradeoff, room: int, *more: str) -> list[str]:
    """The command, with ``more`` words after it, on as many lines as it takes; none where it cannot be given."""
    words = pareto_words(answer)
    return (
        wrapped_command([shlex.join(group) for group in [*words, *([list(more)] if more else [])]], room)
        if words
        else []
    )
