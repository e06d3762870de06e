"""Megatron-LM: the arguments of batch, parallelism and precision."""

from __future__ import annotations

from paleo_opt.report.out.launch import Launch, comments

FILE = "megatron.args"
_PRECISIONS: dict[str, list[str]] = {"fp32": [], "tf32": [], "fp16": ["--fp16"], "bf16": ["--bf16"]}
#: Ours to Megatron-LM's; it has no others of ours.
_OPTIMIZERS = {
    "adam": ["--optimizer adam"],
    "sgd": ["--optimizer sgd", "--sgd-momentum 0.0"],
    "momentum": ["--optimizer sgd"],
}


def left_out(launch: Launch) -> str:
    """Why there is no such file for a strategy; empty where there is."""
    strategy = launch.strategy
    if launch.obstacle:
        return launch.obstacle
    if launch.platform != "cuda":
        return f"Megatron-LM runs on NVIDIA's devices, not on {strategy.cluster.device.name}"
    if strategy.precision not in _PRECISIONS:
        return f"which of Megatron-LM's {strategy.precision} recipes is meant, the answer does not say"
    if launch.divided and strategy.split == "hybrid":
        return "Megatron-LM divides every layer over the same devices; it has no hybrid split"
    return ""


def render(launch: Launch) -> str:
    """One argument a line, with comments; the shell drops those."""
    strategy = launch.strategy
    split = strategy.to_json()
    # Megatron-LM refuses tensor parallelism without it, on devices before Blackwell.
    order = "CUDA_DEVICE_MAX_CONNECTIONS=1 " * (strategy.tensor > 1)
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
        *_PRECISIONS[strategy.precision],
        *_OPTIMIZERS.get(launch.optimizer, []),
        *([] if launch.steps is None else [f"--train-iters {launch.steps}"]),
    ]
    return "\n".join([*comments(launch, *notes), use, *arguments]) + "\n"
