"""SkyPilot: a task for ``sky launch``."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from paleo_opt.quantities import format_money, format_time
from paleo_opt.report.out.launch import Launch, clean, comments, variables
from paleo_opt.report.out.launch_torchrun import PORT, command

FILE = "skypilot.yaml"
#: Providers that SkyPilot knows: its name for each, and what the names of their instances look like.
CLOUDS = {
    "AWS": ("aws", r"(?!ec2-)[a-z]{1,3}\d[a-z]*(-[a-z0-9]+)?\.(\d*xlarge|metal)"),
    "GCP": ("gcp", r"[a-z]\d[a-z]?-[a-z]+-\d+[a-z]?"),
    "Azure": ("azure", r"Standard_\w+"),
    "Lambda": ("lambda", r"gpu_\d+x_\w+"),
    "Nebius": ("nebius", r"gpu-[a-z0-9-]+_\d+gpu-\d+vcpu-\d+gb"),
    "Oracle": ("oci", r"(BM|VM)\.GPU[\w.-]*"),
}
#: Of these SkyPilot can set up the fast network between nodes, which the estimate counts on.
_FAST_NETWORK = ("aws", "gcp", "nebius")


def left_out(launch: Launch) -> str:
    """Why there is no such file for a strategy; empty where there is."""
    cluster = launch.strategy.cluster
    if launch.obstacle:
        return launch.obstacle
    if cluster.provider not in CLOUDS or not re.fullmatch(CLOUDS[cluster.provider][1], cluster.name):
        return f"{clean(cluster.name)} is no instance of a cloud that SkyPilot knows"
    if launch.pricing == "owned":
        return "the nodes are your own"
    changed = next((text for text in launch.altered if re.match(r"--device|--set (device|levels)", text)), None)
    return f"no such instance is for rent: {clean(changed)}" if changed else ""


def render(launch: Launch) -> str:
    """The task: resources, the variables of the training script, and the command of each node."""
    strategy = launch.strategy
    cluster, nodes = strategy.cluster, strategy.nodes
    cloud, price = CLOUDS[cluster.provider][0], cluster.price
    known = price is not None and price.region != "any" and re.fullmatch(r"[\w-]+", price.region, re.ASCII)
    region = f"/{price.region}" if price is not None and known else ""
    resources: dict[str, Any] = {"infra": f"{cloud}{region}", "instance_type": cluster.name}
    resources["use_spot"] = launch.pricing == "spot"
    if nodes > 1 and cloud in _FAST_NETWORK and cluster.devices_per_node > 1:
        resources["network_tier"] = "best"
    if launch.running_s is not None:
        resources["labels"] = {"expected-minutes": str(math.ceil(launch.running_s / 60.0))}
    notes = ["Launch it from the folder of your training code with: sky launch skypilot.yaml"]
    if launch.running_s is not None:
        held = f"The nodes are held for {format_time(launch.running_s)} as estimated"
        cost = launch.figures["cost_usd"]
        notes.append(f"{held}{'' if cost is None else f', {format_money(cost)}'}; then: sky down.")
    if launch.pricing == "spot":
        notes.append("Spot nodes are taken away: sky jobs launch starts them again; save checkpoints to a bucket.")
    if launch.pricing == "reserved_1y":
        notes.append("The price is that of a reservation: SkyPilot uses one that your account has.")
    if region and price is not None:
        notes.append(f"{clean(price.region)} is where the price is from; without it SkyPilot looks in every region.")
    task = {"name": launch.name, "num_nodes": nodes, "resources": resources}
    yours = {"workdir": ".", "envs": {"TRAIN_SCRIPT": "train.py"}}
    lines = [*comments(launch, *notes), _dump(task), "# Yours to set: the code to copy to each node, and its script"]
    lines += [_dump(yours), "  # What paleo-opt chose, for the training script to read:"]
    wide = max(len(name) + len(value) for name, value, _ in variables(launch)) + 4
    for name, value, meaning in variables(launch):
        setting = _dump({name: value})
        lines.append(f"  {setting:<{wide}}  # {meaning}")
    lines += ["run: |", *(f"  {line}" for line in _script(launch))]
    return "\n".join(lines) + "\n"


def _script(launch: Launch) -> list[str]:
    """What each node runs."""
    nodes, processes = launch.strategy.nodes, str(launch.per_node)
    lines = ["set -euo pipefail"]
    if nodes > 1:
        lines += ['MASTER_ADDR=$(head -n 1 <<< "$SKYPILOT_NODE_IPS")', f"MASTER_PORT={PORT}"]
    if launch.on_last != launch.per_node:
        processes = '"$processes"'
        lines += [
            f"processes={launch.per_node}",
            f'[ "$SKYPILOT_NODE_RANK" -lt {nodes - 1} ] || processes={launch.on_last}',
        ]
    return lines + command(launch, processes, '"$SKYPILOT_TASK_ID"', script='"$TRAIN_SCRIPT"')


def _dump(value: dict[str, Any]) -> str:
    """A mapping as lines of YAML in the order given; every string quoted as it needs."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000).rstrip("\n")
