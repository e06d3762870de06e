"""How far the estimates are from published measurements of convolutional networks.

Run `python benchmarks/accuracy.py FOLDER`, where FOLDER holds measured tables in the product's schema
(``cnn_single_device.csv``, ``cnn_scaling.csv``, ``mlperf.csv``). Nothing is fitted here: the constants are the shipped
defaults, of which the two platform percents of peak are medians over these tables (see `estimator.options`). A row that
cannot be estimated is refused and counted with its reason.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

from paleo_opt import catalog
from paleo_opt.errors import PaleoOptError
from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.hardware.cluster import Cluster, single_device_cluster
from paleo_opt.hardware.load import load_cluster, load_device
from paleo_opt.network.load import load_network

FILES = ("cnn_single_device.csv", "cnn_scaling.csv", "mlperf.csv")
#: MLPerf names its submitters' systems; a reference system with the same devices stands for them.
STANDS_FOR = {
    "a100-sxm4-40gb": "selene", "a100-sxm4-80gb": "selene", "v100-sxm2-16gb": "dgx-v100", "v100-sxm2-32gb": "dgx-v100",
    "h100-sxm5-80gb": "dgx-h100", "p100-sxm2": "dgx1-p100",
}  # fmt: skip


@cache
def table_of(network: str) -> CostTable:
    return compile_network(load_network(network))


@cache
def cluster_of(cluster: str, device: str, gpus: int) -> Cluster:
    if cluster in catalog.names("cluster"):
        return load_cluster(cluster)
    if gpus == 1:
        return single_device_cluster(load_device(device))
    if device not in STANDS_FOR:
        raise PaleoOptError(f"no shipped cluster of several {device}")
    return load_cluster(STANDS_FOR[device], device)


def predict(row: dict[str, str]) -> float:
    """What the model says of the row's quantity. Raises PaleoOptError with a reason where it says nothing."""
    if row["family"] != "cnn" and row["network"] != "resnet50":
        raise PaleoOptError(f"family {row['family']}")
    gpus = int(float(row["gpus"] or 1))
    cluster = cluster_of(row["cluster"], row["device"], gpus)
    precision = row["precision"] or cluster.device.training_precision
    micro, whole = row["micro_batch"], row["global_batch"]
    if not micro and not whole:
        raise PaleoOptError("no batch size")
    micro_batch = int(float(micro)) if micro else max(1, int(float(whole)) // gpus)
    collective = row["collective"] or ("ring_all_reduce" if gpus > 1 else "one_to_all")
    strategy = Strategy(cluster, gpus, micro_batch, collective=collective, precision=precision)
    found = estimate(table_of(row["network"]), strategy, Options())
    names = {
        "forward_time_s": "forward_time_s", "backward_time_s": "backward_time_s", "step_time_s": "step_time_s",
        "samples_per_s": "samples_per_s", "train_time_s": "time_to_target_s",
    }  # fmt: skip
    if row["quantity"] == "speedup":
        alone = estimate(table_of(row["network"]), Strategy(cluster, 1, micro_batch, precision=precision), Options())
        return float(found.samples_per_s[0] / alone.samples_per_s[0])
    if row["quantity"] not in names:
        raise PaleoOptError(f"quantity {row['quantity']}")
    return float(getattr(found, names[row["quantity"]])[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of measured tables")
    folder = parser.parse_args().folder
    refused: Counter[str] = Counter()
    errors: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for name in FILES:
        path = folder / name
        if not path.is_file():
            parser.error(f"{path}: no such file")
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                try:
                    ratio = predict(row) / float(row["measured"])
                except PaleoOptError as error:
                    refused[f"{path.stem}: {str(error)[:70]}"] += 1
                    continue
                errors[path.stem, row["quantity"], row["device"]].append(ratio - 1.0)
                errors[path.stem, row["quantity"], "all"].append(ratio - 1.0)
    print(f"{'table':<19}{'quantity':<16}{'device':<17}{'rows':>5}{'MAPE':>8}{'median':>8}{'bias':>8}")
    for (name, quantity, device), found in sorted(errors.items()):
        absolute = [abs(error) for error in found]
        print(
            f"{name:<19}{quantity:<16}{device:<17}{len(found):>5}{statistics.mean(absolute):>8.0%}"
            f"{statistics.median(absolute):>8.0%}{statistics.median(found):>+8.0%}"
        )
    print(f"\nrefused: {sum(refused.values())} rows")
    for reason, count in refused.most_common(12):
        print(f"{count:>5}  {reason}")


if __name__ == "__main__":
    main()
