"""Commands that a reader can run next, complete and quoted for a shell."""

from __future__ import annotations

import shlex

from paleo_opt import catalog
from paleo_opt.estimator.estimate import Options
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.network.graph import Network
from paleo_opt.search.problem import SearchProblem


def _name(kind: str, name: str, file: str) -> str:
    """What names a spec on a command line: its name where that finds the same file, else the file."""
    known = catalog.names(kind).get(name)
    return name if known is not None and str(known) == file else file or name


def _where(strategy: Strategy) -> list[str]:
    """``--on`` and, where the cluster's device is not its own, ``--device``."""
    cluster = strategy.cluster
    if cluster.file in map(str, catalog.names("link").values()):
        return ["--on", _name("link", cluster.file.rpartition("/")[2].removesuffix(".yaml"), cluster.file)]
    return ["--on", _name("cluster", cluster.name, cluster.file)]


def estimate_command(problem: SearchProblem, strategy: Strategy, room: int) -> list[str]:
    """The command that estimates one strategy of a problem, on as many lines as it takes.

    None where the network or the cluster was made in Python, and no file can be named.
    """
    if not problem.network.file or not strategy.cluster.file:
        return []
    words = [["paleo-opt", "estimate", _name("net", problem.network.name, problem.network.file)], _where(strategy)]
    if problem.device is not None:
        words.append(["--device", problem.device])
    words.append(["--gpus", str(strategy.gpus)])
    if strategy.split != "data":
        words += [["--split", strategy.split], ["--tensor", str(strategy.tensor)]]
    words.append(["--micro-batch", str(strategy.micro_batch)])
    if strategy.accumulation > 1:
        words.append(["--global-batch", str(strategy.global_batch)])
    if strategy.gpus > 1:
        words.append(["--collective", strategy.collective])
    if strategy.precision != strategy.cluster.device.training_precision:
        words.append(["--precision", strategy.precision])
    if problem.table.conv_algorithm != "gemm":
        words.append(["--conv-algorithm", problem.table.conv_algorithm])
    words += target_words(problem.network)
    words += _options(problem.options)
    words += [["--set", f"{name}={text}"] for name, text in problem.overrides.items() if not name.startswith("space.")]
    return _lines([shlex.join(group) for group in words], room)


def target_words(network: Network) -> list[list[str]]:
    """``--epochs 100`` and its like, where an amount or a largest batch was given in place of the job's."""
    given = network.job.given if network.job else ()
    return [[f"--{name.replace('_', '-')}", f"{value:.15g}"] for name, value in given]


def _options(options: Options) -> list[list[str]]:
    """The model's constants that are not the usual ones."""
    usual = Options()
    words: list[list[str]] = []
    for name in ("ppp_comp", "ppp_comm", "optimizer"):
        value = getattr(options, name)
        if value is not None:
            words.append([f"--{name.replace('_', '-')}", str(value)])
    if options.pipelined:
        words.append(["--pipelined"])
    if options.workspace_limit != usual.workspace_limit:
        words.append(["--workspace-limit", f"{options.workspace_limit:.0f}B"])
    return words


def _lines(groups: list[str], room: int) -> list[str]:
    """Groups of words joined to lines of at most ``room`` columns, each but the last ended by a backslash."""
    lines = [f"  {groups[0]}"]
    for group in groups[1:]:
        if len(lines[-1]) + 1 + len(group) + 2 > room:
            lines[-1] += " \\"
            lines.append(f"    {group}")
        else:
            lines[-1] += f" {group}"
    return lines
