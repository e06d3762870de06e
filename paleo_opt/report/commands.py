"""Commands that a reader can run next, complete and quoted for a shell."""

from __future__ import annotations

import math
import shlex

from paleo_opt import catalog
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.reliability import IDEAL, Operations
from paleo_opt.estimator.splits import FIELDS, Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.network.graph import Network
from paleo_opt.search.problem import SearchProblem

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


def name_or_file(kind: str, name: str, file: str) -> str:
    """What names a spec on a command line: its name where that finds the same file, else the file."""
    known = catalog.names(kind).get(name)
    return name if known is not None and str(known) == file else file or name


def _where(strategy: Strategy) -> list[str]:
    """``--on`` and, where the cluster's device is not its own, ``--device``."""
    cluster = strategy.cluster
    if cluster.file in map(str, catalog.names("link").values()):
        return ["--on", name_or_file("link", cluster.file.rpartition("/")[2].removesuffix(".yaml"), cluster.file)]
    return ["--on", name_or_file("cluster", cluster.name, cluster.file)]


def estimate_command(problem: SearchProblem, strategy: Strategy, room: int) -> list[str]:
    """The command that estimates one strategy of a problem, on as many lines as it takes.

    None where the network or the cluster was made in Python, and no file can be named.
    """
    if not problem.network.file or not strategy.cluster.file:
        return []
    words = [
        ["paleo-opt", "estimate", name_or_file("net", problem.network.name, problem.network.file)],
        _where(strategy),
    ]
    if problem.device is not None:
        words.append(["--device", problem.device])
    words.append(["--gpus", str(strategy.gpus)])
    if strategy.blocks is not None:
        words += split_words(strategy.blocks)
    elif strategy.split != "data":
        words += [["--split", strategy.split], ["--tensor", str(strategy.tensor)]]
    words.append(["--micro-batch", str(strategy.micro_batch)])
    if strategy.accumulation > 1 or strategy.blocks is not None:
        words.append(["--global-batch", str(strategy.global_batch)])
    if strategy.gpus > 1 and (strategy.blocks is None or strategy.blocks.sharding == "zero0"):
        words.append(["--collective", strategy.collective])
    if strategy.precision != strategy.cluster.device.training_precision:
        words.append(["--precision", strategy.precision])
    if problem.table.conv_algorithm is not None:
        words.append(["--conv-algorithm", problem.table.conv_algorithm])
    words += target_words(problem.network)
    words += model_words(problem.options) + operation_words(problem.options)
    words += [["--set", f"{name}={text}"] for name, text in problem.overrides.items() if not name.startswith("space.")]
    return wrapped_command([shlex.join(group) for group in words], room)


def split_words(split: Split) -> list[list[str]]:
    """The options that give a transformer's split as it is."""
    always = ("tensor", "pipeline", "sharding", "recompute")
    words = [
        [f"--{name.replace('_', '-')}", str(getattr(split, name))]
        for name in FIELDS
        if name != "sequence_parallel" and (name in always or getattr(split, name) != getattr(Split(), name))
    ]
    return words if split.sequence_parallel or split.tensor == 1 else [*words, ["--no-sequence-parallel"]]


def target_words(network: Network) -> list[list[str]]:
    """``--epochs 100`` and its like, where an amount or a largest batch was given in place of the job's."""
    given = network.job.given if network.job else ()
    return [[f"--{name.replace('_', '-')}", f"{value:.15g}"] for name, value in given]


def model_words(options: Options) -> list[list[str]]:
    """The model's constants that are not the usual ones."""
    usual = Options()
    words: list[list[str]] = []
    if options.model != usual.model:
        words.append(["--model", options.model])
    if options.updates != usual.updates:
        words.append(["--updates", options.updates])
    for name in ("platform", "ppp_comp", "ppp_comm", "optimizer"):
        value = getattr(options, name)
        if value is not None:
            words.append([f"--{name.replace('_', '-')}", str(value)])
    if options.pipelined:
        words.append(["--pipelined"])
    if options.workspace_limit != usual.workspace_limit:
        words.append(["--workspace-limit", f"{options.workspace_limit:.0f}B"])
    return words


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


def wrapped_command(groups: list[str], room: int) -> list[str]:
    """Groups of words joined to lines of at most ``room`` columns, each but the last ended by a backslash."""
    lines = [f"  {groups[0]}"]
    for group in groups[1:]:
        if len(lines[-1]) + 1 + len(group) + 2 > room:
            lines[-1] += " \\"
            lines.append(f"    {group}")
        else:
            lines[-1] += f" {group}"
    return lines
