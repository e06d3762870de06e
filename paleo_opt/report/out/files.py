"""The files of an answer: what each is, and those that do not suit it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paleo_opt.report.estimate import EstimateAnswer
from paleo_opt.report.json_output import dump
from paleo_opt.report.out import (
    launch_deepspeed,
    launch_megatron,
    launch_skypilot,
    launch_slurm,
    launch_torchrun,
    rerun,
)
from paleo_opt.report.out.launch import COLUMNS, Launch, clean, comments, make_launch
from paleo_opt.report.terminal import wrapped
from paleo_opt.search.tradeoff import Tradeoff

README = "README.txt"
TARGETS = (launch_torchrun, launch_deepspeed, launch_megatron, launch_skypilot, launch_slurm)
_WHAT = {
    "report.html": "the trade-off as one page for a browser, offline: front, chosen step, sensitivity, sources",
    "pareto.csv": "the front, fastest first: time, cost, energy, strategy, step",
    "pareto.json": "the front, how it moves, and what it rests on: what --json prints",
    "recommendation.json": "the recommendation, the runners-up, the proof and the inputs: what --json prints",
    "estimate.json": "the estimate, layer by layer: what --json prints",
    rerun.FILE: "the question; `paleo-opt rerun request.yaml` answers it again",
    "inputs/": "your own files that the question names",
    "launch/torchrun.sh": "starts the training with torchrun: run it on each node",
    "launch/deepspeed.json": "for deepspeed.initialize(config=...); the optimizer is your script's to give",
    "launch/megatron.args": "batch, parallelism and precision for Megatron-LM's training loop",
    "launch/skypilot.yaml": "rents the nodes and starts the training with SkyPilot",
    "launch/slurm.sbatch": "starts the training under Slurm",
}
_TO_LAUNCH = (
    "The training script is yours: each launch file starts with the variables that you set, TRAIN_SCRIPT first. It "
    "reads MICRO_BATCH, ACCUMULATION, PRECISION and the others from its environment; what each means stands beside it. "
    "The expected times are estimates: compare the first steps with them."
)

_GROUPS = "DeepSpeed's global batch counts on an mpu for deepspeed.initialize whose data-parallel groups have {} ranks."


def tradeoff_files(
    answer: Tradeoff, request: Mapping[str, bytes], command: str = "recommend"
) -> dict[str, str | bytes]:
    """The files of the answer to ``recommend`` or ``pareto``: path in the folder to content.

    Args:
        answer: To write down.
        request: The files of `rerun.request_files`.
        command: ``pareto`` adds its own JSON.
    """
    from paleo_opt.report.html.page import render_page
    from paleo_opt.report.pareto_json import pareto_csv, pareto_json
    from paleo_opt.report.recommendation_json import recommendation_json

    recommendation, problem = answer.recommendation, answer.problem
    chosen = recommendation.recommended
    altered = [] if problem.device is None else [f"--device {problem.device}"]
    altered += _altered(problem.overrides)
    launch = make_launch(problem.table, chosen.strategy, chosen.estimates, problem.options, altered)
    files: dict[str, str | bytes] = {
        "report.html": render_page(answer),
        "pareto.csv": pareto_csv(answer),
        "recommendation.json": _json(recommendation_json(recommendation)),
        **({"pareto.json": _json(pareto_json(answer))} if command == "pareto" else {}),
        **request,
    }
    return _with_launch(files, launch, recommendation.message)


def estimate_files(
    answer: EstimateAnswer,
    request: Mapping[str, bytes],
    device: str | None = None,
    overrides: Mapping[str, str] | None = None,
) -> dict[str, str | bytes]:
    """The files of the answer to ``estimate``: path in the folder to content.

    Args:
        answer: To write down.
        request: The files of `rerun.request_files`.
        device: That stands in place of the cluster's own, or None.
        overrides: Field to text, as `tradeoff_files` finds them in the problem.
    """
    altered = [] if device is None else [f"--device {device}"]
    altered += _altered(overrides or {})
    launch = make_launch(answer.table, answer.strategy, answer.estimates, answer.options, altered)
    return _with_launch({"estimate.json": _json(answer.to_json()), **request}, launch, "", answer.options.training)


def _json(value: Mapping[str, Any]) -> str:
    return dump(value) + "\n"


def _altered(overrides: Mapping[str, str]) -> list[str]:
    """The overrides that change hardware; another price or a network of another kind does not."""
    return [
        f"--set {name}={text}"
        for name, text in overrides.items()
        if name.split(".")[0] not in ("net", "space", "price", "ownership")
    ]


def launch_files(launch: Launch) -> tuple[dict[str, str], dict[str, str]]:
    """The launch files that suit a strategy, and why the others do not: path to content, path to reason."""
    files, left_out = {}, {}
    for target in TARGETS:
        reason, path = target.left_out(launch), f"launch/{target.FILE}"
        if reason:
            left_out[path] = reason
        else:
            files[path] = target.render(launch)
    return files, left_out


def _with_launch(
    files: dict[str, str | bytes], launch: Launch, message: str, training: bool = True
) -> dict[str, str | bytes]:
    """``files``, the launch files, and the README that says what they are."""
    found: dict[str, str] = {}
    if not training:
        left_out = {"launch/": "inference is not trained"}
    elif not launch.figures["fits"]:
        left_out = {"launch/": "the strategy does not fit the devices' memory"}
    else:
        found, left_out = launch_files(launch)
    if "report.html" not in files:
        left_out = {"report.html, pareto.csv": "one configuration has no front: see paleo-opt pareto", **left_out}
    whole = {**files, **found}
    return {README: _readme(list(whole), left_out, launch, message), **whole}


def _readme(paths: Sequence[str], left_out: Mapping[str, str], launch: Launch, message: str) -> str:
    """What the answer is in short, what each file is, and what was left out."""
    names = [path for path in paths if not path.startswith("inputs/")]
    names += ["inputs/"] * (len(names) < len(paths))
    lines = [*comments(launch, *([message] if message else []), marker=""), "", "Files"]
    wide = max(map(len, [*names, *left_out])) + 4
    for name in sorted(names, key=list(_WHAT).index):
        lines += wrapped(_WHAT[name], COLUMNS, " " * wide, f"  {name:<{wide - 2}}")
    if left_out:
        lines += ["", "Left out"]
        for name, reason in left_out.items():
            lines += wrapped(clean(reason), COLUMNS, " " * wide, f"  {name:<{wide - 2}}")
    if any(name.startswith("launch/") for name in names):
        lines += ["", "To launch it", *wrapped(_TO_LAUNCH, COLUMNS, "  ", "  ")]
        divided = launch.strategy.split == "model" or launch.strategy.data < launch.strategy.gpus
        if divided and "launch/deepspeed.json" in names:
            lines += wrapped(_GROUPS.format(launch.strategy.data), COLUMNS, "  ", "  ")
    return "\n".join(lines) + "\n"
