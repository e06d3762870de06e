"""The command that asks for a front again, quoted for a shell."""

from __future__ import annotations

import math
import shlex
from typing import Any

from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import IDEAL, Operations
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.report.commands import _lines, _name, _options, target_words
from paleo_opt.search.tradeoff import Tradeoff

#: Arguments of `pareto` that are options of one value, with their defaults.
_VALUES: dict[str, Any] = {
    "minimize": None,
    "conv_algorithm": "gemm",
    "precision": None,
    "global_batch": None,
    "micro_batch": None,
    "tensor": None,
    "split": None,
    "collective": None,
    "seed": 0,
    "top": 5,
}
#: Fields of `Operations` and `PowerModel` that are options, with the option and how its value is written.
_OPERATIONS = {
    "device_mtbf_s": ("--mtbf", "{:.15g}s"),
    "restart_s": ("--restart-time", "{:.15g}s"),
    "checkpoint_bandwidth": ("--checkpoint-bandwidth", "{:.15g}B/s"),
    "input_rate": ("--input-rate", "{:.15g}"),
    "straggler_variation": ("--straggler-variation", "{:.15g}"),
    "spot_interruptions": ("--spot-interruptions", "{:.15g}"),
    "queue_s": ("--queue", "{:.15g}s"),
    "storage_usd_per_month": ("--storage-cost", "${:.15g}"),
    "egress_usd": ("--egress-cost", "${:.15g}"),
}
_POWER = {"pue": ("--pue", "{:.15g}"), "carbon_g_per_kwh": ("--carbon-intensity", "{:.15g}")}


def operation_words(options: Options) -> list[list[str]]:
    """The terms of rent and the constants of operations that are not the usual ones."""
    words = [] if options.pricing == Options().pricing else [["--pricing", options.pricing]]
    usual: Operations = Operations()
    if math.isinf(options.operations.device_mtbf_s):
        words.append(["--ideal"])
        usual = IDEAL
    for given, default, names in (
        (options.operations, usual, _OPERATIONS),
        (options.power, Options().power, _POWER),
    ):
        for field, (option, form) in names.items():
            value = getattr(given, field)
            if value != getattr(default, field) and value is not None:
                words.append([option, form.format(value)])
    return words


def pareto_words(answer: Tradeoff) -> list[list[str]]:
    """The command in groups of words that belong together; empty where it needs what was made in Python."""
    request, problem = answer.request, answer.problem
    network, space = problem.network, request["space"]
    clusters = [
        _name("cluster", given.name, given.file) if isinstance(given, Cluster) else given for given in request["on"]
    ]
    space = space if isinstance(space, str) else space.file and _name("space", space.name, space.file)
    if not network.file or not space or not all(clusters):
        return []
    words = [["paleo-opt", "pareto", _name("net", network.name, network.file)]]
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
    words += _options(problem.options)
    known = {group[0] for group in words}
    words += [group for group in operation_words(problem.options) if group[0] not in known]
    words += [["--set", f"{name}={text}"] for name, text in problem.overrides.items()]
    return words


def pareto_command(answer: Tradeoff, room: int, *more: str) -> list[str]:
    """The command, with ``more`` words after it, on as many lines as it takes; none where it cannot be given."""
    words = pareto_words(answer)
    return _lines([shlex.join(group) for group in [*words, *([list(more)] if more else [])]], room) if words else []
