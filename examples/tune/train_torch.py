"""Train examples/small_cnn.yaml with PyTorch for a few steps and report the time of one.

The micro-batches of a step are accumulated, so that every micro-batch trains with the same global batch. What is
printed last is what `paleo-opt tune` reads: a line of JSON with step_time_s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from torch import nn


def small_cnn() -> nn.Sequential:
    """The network of examples/small_cnn.yaml."""
    layers: list[nn.Module] = []
    channels = 3
    for outputs in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU()]
            channels = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4 * 4, 256), nn.ReLU(), nn.Linear(256, 10))


def main() -> None:
    """Train, and print the median time of a step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--micro-batch", type=int, required=True)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], default="contiguous")
    parser.add_argument("--mkldnn", choices=["on", "off"], default="on", help="oneDNN's kernels, or PyTorch's own")
    parser.add_argument("--foreach", choices=["on", "off"], default="off", help="update all weights at once")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: of one thread, on a busy machine"
    )
    parser.add_argument("--steps", type=int, default=3, help="timed, after one that warms up")
    args = parser.parse_args()

    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    torch.set_num_threads(args.threads)
    torch.backends.mkldnn.set_flags(args.mkldnn == "on")
    torch.manual_seed(0)
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    model = small_cnn().to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=args.foreach == "on")
    loss_of = nn.CrossEntropyLoss()
    images = torch.randn(args.micro_batch, 3, 32, 32).contiguous(memory_format=layout)
    labels = torch.randint(0, 10, (args.micro_batch,))

    def step() -> float:
        start = clock()
        optimizer.zero_grad()
        for _ in range(args.accumulation):
            loss = loss_of(model(images), labels)
            (loss / args.accumulation).backward()
        optimizer.step()
        return clock() - start

    step()
    times = [step() for _ in range(args.steps)]
    print(json.dumps({"step_time_s": statistics.median(times)}))


if __name__ == "__main__":
    main()
