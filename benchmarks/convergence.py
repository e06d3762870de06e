"""How well the law of samples against the batch predicts published points: `python benchmarks/convergence.py`.

For every benchmark of tests/data/convergence_points.csv (MLPerf Training reference convergence points): both laws
fitted to all its points, and what each predicts of a batch when all points of that batch are left out. Then the steps
that no batch goes below, and the default that follows from them.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from paleo_opt.calibration.convergence_fit import choose_law, fit, leave_one_batch_out
from paleo_opt.network.job import DEFAULT_FACTOR, LEAST_STEPS

POINTS = Path(__file__).parents[1] / "tests" / "data" / "convergence_points.csv"
#: Samples of one epoch, of the networks trained from scratch whose points are epochs: ImageNet-1k, LibriSpeech's 960
#: hours, MLPerf's subset of OpenImages, COCO's train2017. 1 where the points are samples.
FROM_SCRATCH = {
    "resnet": 1_281_167,
    "stable_diffusion": 1,
    "llama31_8b": 1,
    "maskrcnn": 118_287,
    "rnnt": 281_241,
    "retinanet": 1_170_301,
}
#: 100 epochs at small batches and 170 at 16,384: nets/inception_v3.yaml.
INCEPTION_STEPS = 100 * 1_281_167 / 23_400
#: The largest relative error of a batch left out that is accepted.
BOUNDS = {"resnet": 0.08, "gpt3": 0.08, "llama31_8b": 0.08, "llama31_405b": 0.08, "bert": 0.15}


def load_points() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Batches and means of each benchmark, without the points that the file says are left out."""
    found: dict[str, list[tuple[float, float]]] = {}
    with POINTS.open(newline="") as file:
        for row in csv.DictReader(file):
            if not row["left_out"]:
                found.setdefault(row["benchmark"], []).append((float(row["batch"]), float(row["mean"])))
    return {name: (np.array(points).T[0], np.array(points).T[1]) for name, points in found.items()}


def worst_and_rms(errors: np.ndarray) -> str:
    return f"{100 * np.abs(errors).max():>7.1f}{100 * np.sqrt(np.mean(errors**2)):>7.1f}"


def main() -> None:
    everything = load_points()
    print(f"{'':<46}{'95% of B_crit':>17}{'fit, %':>14}{'left out, %':>14}")
    columns = f"{'S_min':>11}{'B_crit':>9}{'p':>6}{'low':>9}{'high':>8}{'worst':>7}{'rms':>7}{'worst':>7}{'rms':>7}"
    print(f"{'benchmark':<18}{'law':<8}{'n':>3}{columns}")
    steps = [INCEPTION_STEPS]
    for name, (batches, means) in everything.items():
        best = choose_law(batches, means)
        for law in ("linear", "knee"):
            if law == "knee" and np.unique(batches).size < 5:
                continue
            found, errors = fit(batches, means, law), leave_one_batch_out(batches, means, law)
            low, high = found.critical_batch_interval()
            mark = "*" if law == best else " "
            bound = BOUNDS.get(name) if law == best else None
            verdict = (
                "" if bound is None else f"  within {bound:.0%}: {'yes' if np.abs(errors).max() <= bound else 'NO'}"
            )
            print(
                f"{name:<18}{law + mark:<8}{batches.size:>3}{found.least_samples:>11.4g}{found.critical_batch:>9,.0f}"
                f"{found.sharpness:>6.2f}{low:>9,.0f}{high:>8,.0f}{worst_and_rms(found.residuals)}"
                f"{worst_and_rms(errors)}{verdict}"
            )
            if law == "linear" and name in FROM_SCRATCH:
                steps.append(found.least_samples * FROM_SCRATCH[name] / found.critical_batch)
    print("* the law that predicts batches left out better by a tenth, else the linear one\n")
    mean, spread = float(np.exp(np.mean(np.log(steps)))), max(max(steps) / LEAST_STEPS, LEAST_STEPS / min(steps))
    print(
        "S_min / B_crit of networks trained from scratch, linear law: " + ", ".join(f"{s:,.0f}" for s in sorted(steps))
    )
    print(
        f"geometric mean {mean:,.0f}; all within a factor of {spread:.2f} of the default, {LEAST_STEPS:,.0f} "
        f"(its interval: a factor of {DEFAULT_FACTOR:g})"
    )


if __name__ == "__main__":
    main()
