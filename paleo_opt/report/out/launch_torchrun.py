"""PyTorch's ``torchrun``: a script to run on each node."""

from __future__ import annotations

from paleo_opt.report.out.launch import Launch, comments, exports, nccl_lines

FILE = "torchrun.sh"
PORT = 29500


def left_out(launch: Launch) -> str:
    """Why there is no such file for a strategy; empty where there is."""
    return launch.obstacle


def command(
    launch: Launch, processes: str, run: str, indent: str = "", before: str = "", script: str = '"$TRAIN_SCRIPT" "$@"'
) -> list[str]:
    """The command that starts the processes of one node, as lines of shell.

    The shell must have ``TRAIN_SCRIPT`` and, where there are several nodes, ``MASTER_ADDR`` and ``MASTER_PORT``.

    Args:
        launch: What to launch.
        processes: On this node; a number, or an expansion of the shell.
        run: What names the run, alike on all nodes, quoted for the shell.
        indent: Before each line.
        before: Words before the command.
        script: The training script and its arguments.
    """
    nodes = launch.strategy.nodes
    if nodes == 1:
        return [f"{indent}{before}torchrun --standalone --nnodes=1 --nproc-per-node={processes} {script}"]
    words = [
        f"--nnodes={nodes}",
        f"--nproc-per-node={processes}",
        "--rdzv-backend=c10d",
        '--rdzv-endpoint="$MASTER_ADDR:$MASTER_PORT"',
        f"--rdzv-id={run}",
        script,
    ]
    return f" \\\n{indent}    ".join([f"{indent}{before}torchrun", *words]).splitlines()


def render(launch: Launch) -> str:
    """The script: the same on each node, told apart by nothing but what the nodes find out themselves."""
    nodes, uneven = launch.strategy.nodes, launch.on_last != launch.per_node
    where = "Run it on the node." if nodes == 1 else f"Run it on each of the {nodes:,} nodes, at about the same time."
    lines = ["#!/usr/bin/env bash", *comments(launch, f"{where} What follows it is passed on to the training script.")]
    lines += ["set -euo pipefail", "", "# Yours to set, here or in the environment:"]
    lines += [': "${TRAIN_SCRIPT:=train.py}"']
    processes = str(launch.per_node)
    if nodes > 1:
        lines += [
            ': "${MASTER_ADDR:?set it to the name or address of the first node}"',
            f': "${{MASTER_PORT:={PORT}}}"',
            f': "${{JOB_ID:={launch.name}}}"  # alike on all nodes, another for each run',
        ]
    if uneven:
        processes = '"$PROCESSES"'
        lines += [f': "${{PROCESSES:={launch.per_node}}}"  # on this node; set {launch.on_last} on the last one']
    lines += ["", "# What paleo-opt chose, for the training script to read:", *exports(launch), *nccl_lines(launch)]
    lines += ["", *command(launch, processes, '"$JOB_ID"', before="exec ")]
    return "\n".join(lines) + "\n"
