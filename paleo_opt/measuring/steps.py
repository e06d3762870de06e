"""Time training steps of a network: one process, or several by data parallelism (DistributedDataParallel)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paleo_opt.errors import SpecError, nearest
from paleo_opt.measuring.processes import agreed_timing, run_together
from paleo_opt.measuring.timing import Timing, time_call, timing_of
from paleo_opt.measuring.torch_network import build_module
from paleo_opt.network.graph import Network

OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam")


@dataclass(frozen=True)
class StepTimes:
    """Of one process's step, or of all processes' together.

    Attributes:
        step: Forward and backward pass and update.
        forward: None where several processes share the step.
        backward: Likewise.
    """

    step: Timing
    forward: Timing | None = None
    backward: Timing | None = None


def optimizer_of(network: Network) -> str:
    """The network's optimizer, as `estimate` has it. Raises `SpecError` for one that PyTorch has not."""
    name = network.job.optimizer if network.job else "momentum"
    if name not in OPTIMIZERS:
        raise SpecError(f"{network.name}: optimizer {name!r} cannot be measured{nearest(name, OPTIMIZERS)}")
    return name


class Training:
    """A network in training on random images.

    Attributes:
        loss: The forward pass, to the loss.
        step: A whole step.
        backward: The backward pass behind a forward pass.
    """

    def __init__(self, torch: Any, network: Network, batch: int, kind: str, together: bool = False) -> None:
        torch.manual_seed(0)
        module = build_module(torch, network).to(kind)
        if together:
            module = torch.nn.parallel.DistributedDataParallel(module)
        height, width, channels = network.input_shape
        images = torch.randn(batch, channels, height, width, device=kind)
        images = images.contiguous(memory_format=torch.channels_last)
        optimizer = _optimizer(torch, optimizer_of(network), module.parameters())
        classes = network.layers[-1].output_shape[0]
        labels = torch.randint(0, classes, (batch,), device=kind)
        classifies = network.layers[-1].type == "Softmax" and len(network.layers[-1].output_shape) == 1

        def loss() -> Any:
            result = module(images)
            return torch.nn.functional.nll_loss(result, labels) if classifies else result.mean()

        def step() -> None:
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

        self.loss, self.step = loss, step


def _optimizer(torch: Any, name: str, parameters: Any) -> Any:
    # So small a rate keeps the weights as they are, whatever the images.
    if name == "adam":
        return torch.optim.Adam(parameters, lr=1e-6)
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=1e-6, momentum=0.9)
    return torch.optim.SGD(parameters, lr=1e-6, momentum=0.9 if name == "momentum" else 0.0)


def time_step(torch: Any, network: Network, batch: int, kind: str, limit_s: float) -> StepTimes:
    """One process's step, its forward and its backward pass; each takes at most ``limit_s``."""
    training = Training(torch, network, batch, kind)
    finish = torch.cuda.synchronize if kind == "cuda" else lambda: None
    step = time_call(training.step, finish, limit_s)
    forward = time_call(training.loss, finish, limit_s)
    # A backward pass needs a forward pass before it, which is not timed.
    kept = training.loss()
    backward = time_call(lambda: kept.backward(retain_graph=True), finish, limit_s)
    return StepTimes(step, forward, backward)


def time_step_together(
    network: Network, batch: int, processes: int, threads: int, kind: str, limit_s: float
) -> StepTimes:
    """The step of several processes, ``batch`` samples each; raises `SpecError` where one fails."""
    samples = run_together(run_steps, processes, threads, kind, (network, batch, limit_s), limit_s)
    return StepTimes(timing_of(samples))


def run_steps(torch: Any, rank: int, processes: int, kind: str, payload: Any) -> list[float]:
    """In each process: the runs of a step."""
    network, batch, limit_s = payload
    training = Training(torch, network, batch, kind, together=True)
    for _ in range(3):  # DistributedDataParallel arranges its buckets anew after the first step
        training.step()
    finish = torch.cuda.synchronize if kind == "cuda" else lambda: None
    return agreed_timing(torch, training.step, finish, limit_s)
