"""Launch files: each says what the strategy is in the words of its tool, and runs as it should.

Every target passes the same suite over many strategies. Options are held against lists that the tools' own parsers
gave (tests/data/launch_options.json); `benchmarks/launch_parsers.py` runs those parsers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from launch_stubs import KNOWN, Call, Stubs, known

from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.estimate import Options, estimate
from paleo_opt.estimator.reliability import IDEAL
from paleo_opt.estimator.splits import Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster, single_device_cluster
from paleo_opt.hardware.load import load_cluster, load_device
from paleo_opt.network.load import load_network
from paleo_opt.report.out import launch_deepspeed, launch_megatron, launch_skypilot, launch_slurm, launch_torchrun
from paleo_opt.report.out.files import TARGETS, launch_files
from paleo_opt.report.out.launch import Launch, make_launch, slug, variables

TABLE = compile_network(load_network("alexnet_v2"))
LLAMA, EXPERTS = (compile_network(load_network(name)) for name in ("llama3_8b", "deepseekv3"))
CHOSEN = ("MICRO_BATCH", "ACCUMULATION", "GLOBAL_BATCH", "PRECISION", "OPTIMIZER", "STEPS")


def make(
    on: str | Cluster,
    gpus: int,
    *,
    device: str | None = None,
    table: CostTable = TABLE,
    options: Options | None = None,
    altered: Sequence[str] = (),
    **changes: Any,
) -> Launch:
    """The launch of one strategy; micro-batch 32 unless said otherwise."""
    cluster = load_cluster(on, device) if isinstance(on, str) else on
    changes = {"micro_batch": 32, "precision": cluster.device.training_precision, **changes}
    strategy = Strategy(cluster, gpus, **changes)
    options = options or Options()
    return make_launch(table, strategy, estimate(table, strategy, options), options, altered)


LAUNCHES = {
    "eight nodes": make("p4d.24xlarge", 64),
    "one node": make("p4d.24xlarge", 8, accumulation=4, collective="double_binary_tree"),
    "part of a node": make("a2-highgpu-8g", 2, options=Options(pricing="spot")),
    "uneven": make("p4d.24xlarge", 13),
    "very uneven": make("Standard_ND96asr_v4", 81),
    "our own": make("dgx1-p100", 32, options=Options(optimizer="lars", operations=IDEAL)),
    "one a node": make("infiniband", 8, device="m40"),
    "one device": make(single_device_cluster(load_device("l40s")), 1),
    "hybrid": make("p5.48xlarge", 64, split="hybrid", tensor=8),
    "model": make("gpu_8x_a100", 8, split="model", tensor=2, options=Options(optimizer="adam")),
    "bare metal": make("BM.GPU.H100.8", 16, options=Options(pricing="reserved_1y")),
    "nebius": make("gpu-h100-sxm_8gpu-128vcpu-1600gb", 8, options=Options(optimizer="sgd")),
    "tpu": make("ct5p-hightpu-4t", 8),
    "trainium": make("trn1.32xlarge", 32),
    "gaudi": make("ethernet-100g", 8, device="gaudi2"),
    "two dies": make("slingshot-200", 8, device="mi250x"),
    "fp8": make("p5.48xlarge", 8, precision="fp8"),
    "blocks": make(
        "p5.48xlarge", 64, table=LLAMA, micro_batch=1, accumulation=16, precision="fp8",
        blocks=Split(tensor=4, sequence_parallel=True, pipeline=4, virtual_stages=2, sharding="zero1",
                     recompute="full", assignment="even", placement="tensor-pipeline-data"),
    ),
    "experts": make(
        "p5.48xlarge", 64, table=EXPERTS, micro_batch=2, accumulation=4,
        blocks=Split(tensor=2, sequence_parallel=True, expert=8, context=2, context_method="all_to_all",
                     sharding="fsdp", recompute="selective"),
    ),
    "balanced": make(
        "p5.48xlarge", 30, table=LLAMA, micro_batch=1, accumulation=16, blocks=Split(pipeline=5, context=2)
    ),
    "gpipe": make(
        "p5.48xlarge", 64, table=LLAMA, micro_batch=1, accumulation=16, blocks=Split(pipeline=4, schedule="gpipe")
    ),
}  # fmt: skip
every = pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    return Stubs(tmp_path)


def processes(call: Call, launch: Launch) -> int:
    """What one node starts, after checking how."""
    assert call.program == "torchrun"
    assert set(call.options) <= known("torchrun")
    assert call.arguments == ["train.py"] or call.arguments == ["train.py", "--epochs", "3 1"]
    assert int(call.options["--nnodes"]) == launch.strategy.nodes
    if launch.strategy.nodes == 1:
        assert "--standalone" in call.options
    else:
        assert call.options["--rdzv-endpoint"] == "node-0:29500"
        assert call.options["--rdzv-backend"] == "c10d"
        assert call.options["--rdzv-id"]
    strategy = launch.strategy
    environment = [call.environment.get(name) for name in CHOSEN]
    numbers = (strategy.micro_batch, strategy.accumulation, strategy.global_batch)
    assert environment == [*map(str, numbers), strategy.precision, launch.optimizer, str(launch.steps)]
    assert call.environment.get("TENSOR") == (None if strategy.tensor == 1 else str(strategy.tensor))
    return int(call.options["--nproc-per-node"])


class TestEveryTarget:
    @every
    @pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.FILE)
    def test_it_says_why_or_gives_text(self, launch: Launch, target: Any) -> None:
        reason = target.left_out(launch)
        if reason:
            assert reason == reason.strip()
            assert len(reason) < 90
            return
        text = target.render(launch)
        assert text.endswith("\n") and not text.endswith("\n\n")
        assert all(line == line.rstrip() for line in text.splitlines())
        assert text == target.render(launch)

    def test_which_are_left_out(self) -> None:
        left = {
            name: sorted(path.removeprefix("launch/") for path in launch_files(launch)[1])
            for name, launch in LAUNCHES.items()
        }
        no_cloud, tensor_only = ["skypilot.yaml"], ["deepspeed.json", "megatron.args"]
        assert {name: files for name, files in left.items() if files} == {
            "our own": no_cloud,
            "one a node": no_cloud,
            "one device": no_cloud,
            "hybrid": tensor_only,
            "fp8": tensor_only,
            "trainium": [*tensor_only, "skypilot.yaml", "slurm.sbatch", "torchrun.sh"],
            "tpu": [*tensor_only, "skypilot.yaml", "slurm.sbatch", "torchrun.sh"],
            "gaudi": ["megatron.args", "skypilot.yaml", "slurm.sbatch"],
            "blocks": ["deepspeed.json"],
            "balanced": ["deepspeed.json"],
            "gpipe": tensor_only,
            "two dies": [*tensor_only, "skypilot.yaml", "slurm.sbatch", "torchrun.sh"],
        }

    @every
    def test_the_divisions_add_up(self, launch: Launch) -> None:
        nodes, strategy = launch.strategy.nodes, launch.strategy
        assert 1 <= launch.on_last <= launch.per_node <= strategy.cluster.devices_per_node
        assert launch.per_node * (nodes - 1) + launch.on_last == strategy.gpus


class TestTorchrun:
    @every
    def test_it_starts_every_process(self, launch: Launch, stubs: Stubs) -> None:
        if launch_torchrun.left_out(launch):
            return
        script, started = launch_torchrun.render(launch), 0
        for node in range(launch.strategy.nodes):
            environment = {"MASTER_ADDR": "node-0"}
            if launch.on_last != launch.per_node and node == launch.strategy.nodes - 1:
                environment["PROCESSES"] = str(launch.on_last)
            (call,) = stubs.run(script, environment, "--epochs", "3 1")
            started += processes(call, launch)
        assert started == launch.strategy.gpus

    def test_what_is_yours_comes_first_and_can_be_set(self, stubs: Stubs) -> None:
        script = launch_torchrun.render(LAUNCHES["eight nodes"])
        assert script.index("TRAIN_SCRIPT:=") < script.index("export MICRO_BATCH")
        environment = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4000", "TRAIN_SCRIPT": "a b.py", "JOB_ID": "7"}
        (call,) = stubs.run(script, environment)
        assert call.arguments == ["a b.py"]
        assert (call.options["--rdzv-endpoint"], call.options["--rdzv-id"]) == ("10.0.0.1:4000", "7")

    def test_several_nodes_need_the_address_of_the_first(self, stubs: Stubs) -> None:
        with pytest.raises(AssertionError, match="MASTER_ADDR: set it to the name or address of the first node"):
            stubs.run(launch_torchrun.render(LAUNCHES["eight nodes"]), {})

    def test_the_collective_is_named_and_nccl_left_alone(self, stubs: Stubs) -> None:
        script = launch_torchrun.render(LAUNCHES["one node"])
        assert "# export NCCL_ALGO=Tree" in script
        (call,) = stubs.run(script, {})
        assert call.environment["COLLECTIVE"] == "double_binary_tree"
        assert "NCCL_ALGO" not in call.environment
        assert "NCCL" not in launch_torchrun.render(LAUNCHES["one device"])

    def test_divided_layers_are_named(self) -> None:
        script = launch_torchrun.render(LAUNCHES["hybrid"])
        assert re.search(r"^export SPLIT=hybrid +# divided over TENSOR neighbouring ranks: fc6, fc7$", script, re.M)

    def test_under_the_model_split_all_are(self) -> None:
        assert "neighbouring ranks: every layer\n" in launch_torchrun.render(LAUNCHES["model"])

    def test_checkpoints_are_those_that_the_time_counts_on(self) -> None:
        launch = make("g4dn.12xlarge", 4)
        assert launch.checkpoint_s is not None
        # Young's rule, the leading term of Daly's: writing takes 3 × 4 bytes a parameter at 1 GB/s.
        writing = 4.0 * 2 * TABLE.network.parameters / 1e9
        young = (2.0 * writing * 16_384 * 54 * 86_400 / 419 / 4) ** 0.5
        assert launch.checkpoint_s == pytest.approx(young, rel=0.01)
        assert f"export CHECKPOINT_EVERY_S={launch.checkpoint_s:.0f} " in launch_torchrun.render(launch)
        assert LAUNCHES["our own"].checkpoint_s is None


class TestSlurm:
    @every
    def test_it_starts_every_process(self, launch: Launch, stubs: Stubs) -> None:
        if launch_slurm.left_out(launch):
            return
        script, started, strategy = launch_slurm.render(launch), 0, launch.strategy
        for node in range(strategy.nodes):
            environment = {"SLURM_JOB_NODELIST": "node-[0-1]", "SLURM_JOB_ID": "17", "SLURM_NODEID": str(node)}
            *_, srun, call = stubs.run(script, environment, "--epochs", "3 1")
            assert srun.program == "srun"
            assert set(srun.options) <= known("srun")
            started += processes(call, launch)
        assert started == strategy.gpus

    @every
    def test_the_directives(self, launch: Launch) -> None:
        if launch_slurm.left_out(launch):
            return
        lines = launch_slurm.render(launch).splitlines()
        first = next(index for index, line in enumerate(lines) if line and not line.startswith("#"))
        directives = [line.removeprefix("#SBATCH ") for line in lines[:first] if line.startswith("#SBATCH")]
        assert not any(line.startswith("#SBATCH") for line in lines[first:])
        given = dict(line.partition("=")[::2] for line in directives)
        assert set(given) <= known("sbatch")
        assert int(given["--nodes"]) == launch.strategy.nodes
        assert int(given["--gpus-per-node"]) == launch.per_node
        assert given["--ntasks-per-node"] == "1"
        assert re.fullmatch(r"[a-z0-9-]+", given["--job-name"])
        days, hours, minutes = map(int, re.fullmatch(r"(\d+)-(\d\d):(\d\d):00", given["--time"]).groups())  # type: ignore[union-attr]
        limit = ((days * 24 + hours) * 60 + minutes) * 60
        assert launch.running_s is not None
        assert 0 <= limit - (1.25 * launch.running_s + 600) <= 60

    @pytest.mark.parametrize(("seconds", "limit"), [
        (0.0, "0-00:10:00"), (3600.0, "0-01:25:00"), (86_400.0, "1-06:10:00"), (1e12, None),
    ])  # fmt: skip
    def test_time_limits(self, seconds: float, limit: str | None) -> None:
        assert launch_slurm.time_limit(seconds) == limit

    def test_no_job_no_limit(self) -> None:
        table = compile_network(replace(load_network("alexnet_v2"), job=None))
        launch = make("p4d.24xlarge", 8, table=table)
        assert launch.steps is None
        script = launch_slurm.render(launch)
        assert "--time" not in script
        assert "STEPS" not in script


class TestSkyPilot:
    @every
    def test_it_starts_every_process(self, launch: Launch, stubs: Stubs) -> None:
        if launch_skypilot.left_out(launch):
            return
        task, started = yaml.safe_load(launch_skypilot.render(launch)), 0
        for node in range(launch.strategy.nodes):
            found = {"SKYPILOT_NODE_IPS": "node-0\nnode-1", "SKYPILOT_NODE_RANK": str(node), "SKYPILOT_TASK_ID": "t-1"}
            (call,) = stubs.run(task["run"], {**task["envs"], **found})
            started += processes(call, launch)
        assert started == launch.strategy.gpus

    @every
    def test_the_task(self, launch: Launch) -> None:
        if launch_skypilot.left_out(launch):
            return
        task = yaml.safe_load(launch_skypilot.render(launch))
        assert set(task) <= known("skypilot", "task")
        resources, cluster = task["resources"], launch.strategy.cluster
        assert set(resources) <= known("skypilot", "resources")
        assert resources["infra"].split("/")[0] in known("skypilot", "clouds")
        assert resources["instance_type"] == cluster.name
        assert resources["use_spot"] is (launch.pricing == "spot")
        assert task["num_nodes"] == launch.strategy.nodes
        assert all(isinstance(value, str) for value in task["envs"].values())
        (name,) = known("skypilot", "name")
        assert re.fullmatch(name, task["name"])
        assert launch.running_s is not None
        assert 0 <= int(resources["labels"]["expected-minutes"]) * 60 - launch.running_s < 60

    def test_where_the_price_is_from(self) -> None:
        text = launch_skypilot.render(LAUNCHES["eight nodes"])
        assert yaml.safe_load(text)["resources"]["infra"] == "aws/us-east-1"
        assert "# us-east-1 is where the price is from" in text
        assert yaml.safe_load(launch_skypilot.render(LAUNCHES["model"]))["resources"]["infra"] == "lambda"

    def test_the_fast_network_where_nodes_talk(self) -> None:
        tiers = {
            name: yaml.safe_load(launch_skypilot.render(LAUNCHES[name]))["resources"].get("network_tier")
            for name in ("eight nodes", "one node", "bare metal")
        }
        assert tiers == {"eight nodes": "best", "one node": None, "bare metal": None}

    def test_not_for_what_is_not_for_rent(self) -> None:
        launch = make("p4d.24xlarge", 8, device="l40s", altered=["--device l40s"])
        assert launch_skypilot.left_out(launch) == "no such instance is for rent: --device l40s"
        launch = make("p4d.24xlarge", 8, altered=["--set device.memory=80GB"])
        assert launch_skypilot.left_out(launch) == "no such instance is for rent: --set device.memory=80GB"
        assert launch_skypilot.left_out(make("p4d.24xlarge", 8, altered=["--set max_nodes=4"])) == ""
        own = replace(load_cluster("p4d.24xlarge"), name="my p4d")
        assert "is no instance of a cloud" in launch_skypilot.left_out(make(own, 8))
        assert "is no instance of a cloud" in launch_skypilot.left_out(make("ec2-p2.8xlarge", 8))


class TestDeepSpeed:
    @every
    def test_the_batches_multiply(self, launch: Launch) -> None:
        if launch_deepspeed.left_out(launch):
            return
        found = json.loads(launch_deepspeed.render(launch))
        assert set(found) <= known("deepspeed", "fields") | {"zero_optimization"}
        assert set(found["zero_optimization"]) <= known("deepspeed", "zero_optimization")
        passes = found["train_micro_batch_size_per_gpu"] * found["gradient_accumulation_steps"]
        assert found["train_batch_size"] == passes * launch.strategy.data
        enabled = {name for name in ("fp16", "bf16") if found[name]["enabled"]}
        assert enabled == {launch.strategy.precision} - {"fp32"}
        assert "optimizer" not in found

    def test_sharded_parameters_are_stage_3(self) -> None:
        found = json.loads(launch_deepspeed.render(LAUNCHES["experts"]))
        assert found["zero_optimization"] == {"stage": 3}


class TestMegatron:
    @every
    def test_the_arguments(self, launch: Launch) -> None:
        if launch_megatron.left_out(launch):
            return
        lines = [line for line in launch_megatron.render(launch).splitlines() if not line.startswith("#")]
        given = dict(line.partition(" ")[::2] for line in lines)
        assert set(given) <= known("megatron")
        strategy = launch.strategy
        assert int(given["--train-iters"]) == launch.steps
        # Megatron-LM's own rule: ranks = data · tensor · pipeline · context.
        divided = int(given["--tensor-model-parallel-size"]) * int(given["--pipeline-model-parallel-size"])
        data = strategy.gpus // divided // int(given["--context-parallel-size"])
        assert int(given["--global-batch-size"]) == data * strategy.accumulation * int(given["--micro-batch-size"])
        rest = "bf16" if strategy.precision == "fp8" else strategy.precision
        assert ("--bf16" in given, "--fp16" in given) == tuple(rest == name for name in ("bf16", "fp16"))

    def arguments(self, name: str) -> dict[str, str]:
        lines = [line for line in launch_megatron.render(LAUNCHES[name]).splitlines() if not line.startswith("#")]
        return dict(line.partition(" ")[::2] for line in lines)

    def test_the_split_of_blocks(self) -> None:
        found = self.arguments("blocks")
        assert found["--tensor-model-parallel-size"] == found["--pipeline-model-parallel-size"] == "4"
        # 32 blocks by 4 stages of 2 parts.
        assert found["--num-layers-per-virtual-pipeline-stage"] == "4"
        assert found["--recompute-granularity"] == "full"
        assert (found["--recompute-method"], found["--recompute-num-layers"]) == ("uniform", "1")
        assert found["--fp8-format"] == "hybrid" and "--bf16" in found
        for name in ("--sequence-parallel", "--use-distributed-optimizer", "--use-tp-pp-dp-mapping"):
            assert found[name] == ""

    def test_the_split_of_experts(self) -> None:
        found = self.arguments("experts")
        assert found["--expert-model-parallel-size"] == "8"
        assert found["--expert-tensor-parallel-size"] == "1"
        assert (found["--context-parallel-size"], found["--cp-comm-type"]) == ("2", "a2a")
        assert found["--data-parallel-sharding-strategy"] == "optim_grads_params"
        assert found["--recompute-granularity"] == "selective" and "--recompute-method" not in found

    def test_stages_that_are_not_alike_are_laid_out(self) -> None:
        stages = self.arguments("balanced")["--pipeline-model-parallel-layout"].split("|")
        assert len(stages) == 5
        assert stages[0].startswith("E") and stages[-1].endswith("L")
        assert "".join(stages).count("t") == 32
        # The projection to a vocabulary of 128,256 takes the place of blocks.
        assert stages[-1].count("t") < max(stage.count("t") for stage in stages)

    def test_optimizers(self) -> None:
        optimizers = {
            name: re.findall(r"^--(?:optimizer|sgd-momentum) .*", launch_megatron.render(LAUNCHES[name]), re.M)
            for name in ("one node", "model", "nebius", "our own")
        }
        assert optimizers == {
            "one node": ["--optimizer sgd"],
            "model": ["--optimizer adam"],
            "nebius": ["--optimizer sgd", "--sgd-momentum 0.0"],
            "our own": [],
        }
        assert "# Megatron-LM has no lars" in launch_megatron.render(LAUNCHES["our own"])


HOSTILE = (
    "x\"; touch pwned; $(touch pwned) `touch pwned` '; touch pwned; '",
    "a\n#SBATCH --nodes=999\ntouch pwned\n",
    "- {a: b}: &c *d # \u2028\x1b[2J\r\nrun: touch pwned",
    "ネット",
)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["eight nodes", "uneven", "hybrid"])
def test_names_from_files_are_only_names(name: str, kind: str, stubs: Stubs) -> None:
    tame = LAUNCHES[kind]
    cluster = replace(tame.strategy.cluster, device=replace(tame.strategy.cluster.device, name=name))
    launch = replace(
        tame, network=name, divided=(name,) * bool(tame.divided), strategy=replace(tame.strategy, cluster=cluster)
    )
    assert re.fullmatch(r"[a-z0-9-]+", launch.name)

    environment = {"MASTER_ADDR": "node-0", "SLURM_JOB_NODELIST": "n", "SLURM_JOB_ID": "1", "SLURM_NODEID": "0"}
    (call,) = stubs.run(launch_torchrun.render(launch), environment)
    processes(call, launch)
    processes(stubs.run(launch_slurm.render(launch), environment)[-1], launch)
    slurm = launch_slurm.render(launch)
    assert re.findall("^#SBATCH --nodes.*", slurm, re.M) == [f"#SBATCH --nodes={launch.strategy.nodes}"]
    for text in launch_files(launch)[0].values():
        assert all(line.isprintable() for line in text.splitlines())
    task = yaml.safe_load(launch_skypilot.render(launch))
    plain = yaml.safe_load(launch_skypilot.render(tame))
    assert (task["resources"], task["run"]) == (plain["resources"], plain["run"])
    assert not (stubs.folder / "pwned").exists()


def test_slugs() -> None:
    assert [slug(text) for text in ("vgg16", "Inception_v3", "a  b--c", "ネット", "", "-x-", "y" * 99)] == [
        "vgg16", "inception-v3", "a-b-c", "training", "training", "x", "y" * 40,
    ]  # fmt: skip


class TestDocumented:
    PAGE = (Path(__file__).resolve().parent.parent / "docs/launch.md").read_text(encoding="utf-8")

    def test_the_variables(self) -> None:
        rows = [line.split("|")[1] for line in self.PAGE.splitlines() if line.startswith("| `")]
        documented = {name for row in rows for name in re.findall("`([A-Z_]+)`", row)}
        assert documented == {name for launch in LAUNCHES.values() for name, *_ in variables(launch)}

    def test_the_files(self) -> None:
        assert set(re.findall(r"^\| `launch/([\w.]+)`", self.PAGE, re.M)) == {target.FILE for target in TARGETS}

    def test_the_versions_are_those_of_the_lists(self) -> None:
        for facts in KNOWN.values():
            name, version = facts["source"].partition(":")[0].split()
            assert f"| {name} {version.partition('+')[0]} |" in self.PAGE
