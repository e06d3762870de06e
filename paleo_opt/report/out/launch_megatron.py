"""Megatron-LM: the arguments of batch, parallelism and precision."""

from __future__ import annotations

from paleo_opt.estimator.splits import Split
from paleo_opt.report.out.launch import Launch, comments

FILE = "megatron.args"
_PRECISIONS: dict[str, list[str]] = {"fp32": [], "tf32": [], "fp16": ["--fp16"], "bf16": ["--bf16"]}
#: Ours to Megatron-LM's; it has no others of ours.
_OPTIMIZERS = {
    "adam": ["--optimizer adam"],
    "sgd": ["--optimizer sgd", "--sgd-momentum 0.0"],
    "momentum": ["--optimizer sgd"],
}


#: Under tensor cores of fewer bits the rest is bf16.
_LOW_PRECISIONS = {
    "fp8": ["--bf16", "--fp8-format hybrid"],
    "mxfp8": ["--bf16", "--fp8-format e4m3", "--fp8-recipe mxfp8"],
    "nvfp4": ["--bf16", "--fp4-format e2m1", "--fp4-recipe nvfp4"],
}
_RECOMPUTES = {
    "none": [],
    "selective": ["--recompute-granularity selective"],
    "full": ["--recompute-granularity full", "--recompute-method uniform", "--recompute-num-layers 1"],
}
_WHOLE_SHARDING = ["--use-megatron-fsdp", "--no-gradient-accumulation-fusion", "--use-distributed-optimizer"]
_SHARDINGS = {
    "zero0": ["--overlap-grad-reduce"],
    "zero1": ["--use-distributed-optimizer", "--overlap-grad-reduce", "--overlap-param-gather"],
    "zero2": [*_WHOLE_SHARDING, "--data-parallel-sharding-strategy optim_grads"],
    "zero3": [*_WHOLE_SHARDING, "--data-parallel-sharding-strategy optim_grads_params"],
    "fsdp": [*_WHOLE_SHARDING, "--data-parallel-sharding-strategy optim_grads_params"],
}
#: Orders of ranks that Megatron-LM can have.
_PLACEMENTS: dict[str, list[str]] = {
    "tensor-data-pipeline": [],
    "tensor-pipeline-data": ["--use-tp-pp-dp-mapping"],
}


def left_out(launch: Launch) -> str:
    """Why there is no such file for a strategy; empty where there is."""
    strategy, split = launch.strategy, launch.strategy.blocks
    if launch.obstacle:
        return launch.obstacle
    if launch.platform != "cuda":
        return f"Megatron-LM runs on NVIDIA's devices, not on {strategy.cluster.device.name}"
    if strategy.precision not in (_PRECISIONS if split is None else _PRECISIONS | _LOW_PRECISIONS):
        return f"which of Megatron-LM's {strategy.precision} recipes is meant, the answer does not say"
    if split is not None:
        return _no_such_split(split)
    if launch.divided and strategy.split == "hybrid":
        return "Megatron-LM divides every layer over the same devices; it has no hybrid split"
    return ""


def _no_such_split(split: Split) -> str:
    """Why Megatron-LM cannot split a transformer so; empty where it can."""
    if split.schedule == "gpipe" and split.pipeline > 1:
        return "Megatron-LM's pipelines are of 1F1B, not GPipe"
    if split.sharding in ("zero2", "zero3", "fsdp") and split.pipeline > 1:
        return f"Megatron-LM has no {split.sharding} within a pipeline"
    if split.placement not in _PLACEMENTS and split.model > 1:
        return f"Megatron-LM does not order its ranks {split.placement}"
    if split.expert > 1 and split.tensor > 1 and not split.sequence_parallel:
        return "Megatron-LM's experts beside tensor parallelism need sequence parallelism"
    return ""


def _split_arguments(launch: Launch, split: Split, data: int) -> list[str]:
    """How the blocks are split."""
    found = [f"--seq-length {launch.sequence_length}"]
    if split.context > 1:
        found.append(f"--cp-comm-type {'p2p' if split.context_method == 'ring' else 'a2a'}")
    if split.sequence_parallel:
        found.append("--sequence-parallel")
    if len(set(launch.chunks)) > 1:
        layout = ["t" * count for count in launch.chunks]
        layout[0], layout[-1] = f"E{layout[0]}", f"{layout[-1]}L"
        found.append(f"--pipeline-model-parallel-layout {'|'.join(layout)}")
    elif split.virtual_stages > 1:
        found.append(f"--num-layers-per-virtual-pipeline-stage {launch.chunks[0]}")
    if split.expert > 1:
        found += [f"--expert-model-parallel-size {split.expert}", "--expert-tensor-parallel-size 1"]
    if data * split.context > 1:
        found += _SHARDINGS[split.sharding]
    if split.offload in ("optimizer", "both"):
        found.append("--optimizer-cpu-offload")
    if split.offload in ("activations", "both"):
        # All but the two blocks that are worked on and on their way.
        found.append(f"--cpu-offloading-num-layers {max(max(launch.chunks) - 2, 1)}")
    return [*found, *_RECOMPUTES[split.recompute], *(_PLACEMENTS[split.placement] if split.model > 1 else [])]


def render(launch: Launch) -> str:
    """One argument a line, with comments; the shell drops those."""
    strategy = launch.strategy
    split = strategy.to_json()
    # Megatron-LM refuses tensor parallelism without it, on devices before Blackwell.
    order = "CUDA_DEVICE_MAX_CONNECTIONS=1 " * (strategy.tensor > 1 or split["context"] > 1)
    use = f"#   {order}TRAIN_SCRIPT=pretrain.py ./torchrun.sh $(grep -v '^#' megatron.args)"
    notes = [
        "Megatron-LM ships transformers: the model, its data and the learning rate are your script's and yours.",
        "For a pretraining script that calls Megatron-LM's training loop:",
    ]
    if launch.optimizer not in _OPTIMIZERS:
        notes.insert(1, f"Megatron-LM has no {launch.optimizer}: no optimizer is set here.")
    elif launch.optimizer == "momentum":
        notes.insert(1, "The momentum is Megatron-LM's default; --sgd-momentum sets another.")
    arguments = [
        f"--micro-batch-size {strategy.micro_batch}",
        f"--global-batch-size {strategy.global_batch}",
        f"--tensor-model-parallel-size {strategy.tensor}",
        f"--pipeline-model-parallel-size {split['pipeline']}",
        f"--context-parallel-size {split['context']}",
        *([] if strategy.blocks is None else _split_arguments(launch, strategy.blocks, strategy.data)),
        *(_PRECISIONS | _LOW_PRECISIONS)[strategy.precision],
        *_OPTIMIZERS.get(launch.optimizer, []),
        *([] if launch.steps is None else [f"--train-iters {launch.steps}"]),
    ]
    return "\n".join([*comments(launch, *notes), use, *arguments]) + "\n"
