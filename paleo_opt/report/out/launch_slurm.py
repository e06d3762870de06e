"""Slurm: a batch script for ``sbatch``."""

from __future__ import annotations

import math

from paleo_opt.quantities import format_time
from paleo_opt.report.out.launch import Launch, comments, exports, nccl_lines
from paleo_opt.report.out.launch_torchrun import PORT, command

FILE = "slurm.sbatch"
#: The limit over the expected time, and what starting and stopping takes [s].
MARGIN, START_S = 1.25, 600.0
_MOST_MINUTES = 2**31 // 60


def left_out(launch: Launch) -> str:
    """Why there is no such file for a strategy; empty where there is."""
    if launch.obstacle:
        return launch.obstacle
    if launch.platform == "gaudi":
        return f"a Slurm site has its own word for {launch.strategy.cluster.device.name} devices"
    return ""


def time_limit(seconds: float) -> str | None:
    """``days-hours:minutes:seconds`` for a job expected to run so long, in whole minutes; None where it is for ever."""
    minutes = math.ceil((seconds * MARGIN + START_S) / 60.0)
    if minutes > _MOST_MINUTES:
        return None
    days, rest = divmod(minutes, 24 * 60)
    return f"{days}-{rest // 60:02}:{rest % 60:02}:00"


def render(launch: Launch) -> str:
    """The script. The directives stand before the first command, as Slurm wants them."""
    nodes = launch.strategy.nodes
    limit = None if launch.running_s is None else time_limit(launch.running_s)
    notes = ["Submit it with: sbatch slurm.sbatch. What follows it is passed on to the training script."]
    if limit is not None and launch.running_s is not None:
        more = f"{MARGIN - 1:.0%} and {format_time(START_S)}"
        notes.append(f"The time limit is the expected {format_time(launch.running_s)} and {more} more.")
    directives = [
        f"--job-name={launch.name}",
        f"--nodes={nodes}",
        "--ntasks-per-node=1",
        f"--gpus-per-node={launch.per_node}",
        "--exclusive",
        "--mem=0",  # all of it
        *([] if limit is None else [f"--time={limit}"]),
        "--output=%x-%j.out",
    ]
    lines = ["#!/usr/bin/env bash", *comments(launch, *notes), *(f"#SBATCH {directive}" for directive in directives)]
    lines += ["# Yours to add, where your site wants them: --partition, --account, --qos", "set -euo pipefail", ""]
    lines += ["# Yours to set, here or in the environment:", ': "${TRAIN_SCRIPT:=train.py}"', "export TRAIN_SCRIPT"]
    if nodes > 1:
        lines += [f': "${{MASTER_PORT:={PORT}}}"', "export MASTER_PORT"]
    lines += ["", "# What paleo-opt chose, for the training script to read:", *exports(launch), *nccl_lines(launch), ""]
    if nodes > 1:
        lines += ['MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)', "export MASTER_ADDR"]
    step = "srun --kill-on-bad-exit=1 --cpu-bind=none "
    if launch.on_last == launch.per_node:
        lines += command(launch, str(launch.per_node), '"$SLURM_JOB_ID"', before=step)
    else:
        lines += [
            f"# {launch.per_node} processes on each node but the last, which has {launch.on_last}",
            "# shellcheck disable=SC2016  # each node expands it",
            f"{step}bash -c '",
            f"  processes={launch.per_node}",
            f'  [ "$SLURM_NODEID" -lt {nodes - 1} ] || processes={launch.on_last}',
            *command(launch, '"$processes"', '"$SLURM_JOB_ID"', indent="  ", before="exec "),
            '\' launch "$@"',
        ]
    return "\n".join(lines) + "\n"
