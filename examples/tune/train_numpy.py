"""Train examples/tune/mlp.yaml with NumPy alone for a few steps and report the time of one.

Threads are those of NumPy's BLAS: OPENBLAS_NUM_THREADS=2 before the command. What is printed last is what
`paleo-opt tune` reads.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import numpy as np

SIZES = (784, 1024, 1024, 10)


def main() -> None:
    """Train, and print the median time of a step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--micro-batch", type=int, required=True)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--order", choices=["C", "F"], default="C", help="how weights lie in memory")
    parser.add_argument("--update", choices=["in_place", "new"], default="new")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: of one thread, on a busy machine"
    )
    parser.add_argument("--steps", type=int, default=5, help="timed, after one that warms up")
    args = parser.parse_args()

    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    random = np.random.default_rng(0)
    pairs = list(itertools.pairwise(SIZES))
    weights = [np.asarray(random.standard_normal(pair, dtype=np.float32) * 0.03, order=args.order) for pair in pairs]
    momentum = [np.zeros_like(weight) for weight in weights]
    inputs = random.standard_normal((args.micro_batch, SIZES[0]), dtype=np.float32)
    labels = random.integers(0, SIZES[-1], args.micro_batch)

    def gradients() -> list[np.ndarray]:
        values = [inputs]
        for weight in weights[:-1]:
            values.append(np.maximum(values[-1] @ weight, 0.0))
        scores = values[-1] @ weights[-1]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        error = scores / scores.sum(axis=1, keepdims=True)
        error[np.arange(labels.size), labels] -= 1.0
        found = []
        for index in reversed(range(len(weights))):
            found.append(values[index].T @ error)
            if index:
                error = (error @ weights[index].T) * (values[index] > 0)
        return found[::-1]

    def step() -> float:
        start = clock()
        total = gradients()
        for _ in range(args.accumulation - 1):
            total = [one + more for one, more in zip(total, gradients(), strict=True)]
        for index, gradient in enumerate(total):
            if args.update == "in_place":
                momentum[index] *= np.float32(0.9)
                momentum[index] += gradient
                weights[index] -= np.float32(1e-4) * momentum[index]
            else:
                momentum[index] = np.float32(0.9) * momentum[index] + gradient
                weights[index] = weights[index] - np.float32(1e-4) * momentum[index]
        return clock() - start

    step()
    times = [step() for _ in range(args.steps)]
    print(f"step_time_s={statistics.median(times):.6g}")


if __name__ == "__main__":
    main()
