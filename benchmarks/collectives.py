"""Predicted against measured collectives: python benchmarks/collectives.py FOLDER [--fit] [--leave-out].

FOLDER holds nccl_collectives.csv, nccl_aiconfigurator.csv and allreduce_deepbench.csv; a file that is not there is left
out. Rows are of 1 MiB and more unless --all. The constants of links were fitted to the rows marked ``fit`` (one library
version of each machine, fp16); the others are held out: other versions, int8, and machines of the same links.

--fit        print the constants that fit the rows so marked best, per link, as their files have them
--leave-out  also predict each machine by constants fitted to all the others
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paleo_opt.estimator.communication import communication_time
from paleo_opt.estimator.connections import make_connections, make_routes
from paleo_opt.hardware.cluster import Cluster, Level
from paleo_opt.hardware.constant import Constant, format_constant
from paleo_opt.hardware.link_constants import LINK_CONSTANTS, link_constant
from paleo_opt.hardware.load import load_cluster, load_link

Floats = NDArray[np.float64]
MIB = 2**20

#: Words of a row's machine, all of which it must have, to its levels: units joined, link, links side by side.
MACHINES: Sequence[tuple[tuple[str, ...], str, tuple[tuple[int | None, str, int], ...]]] = (
    (("p4d",), "p4d", ((8, "nvlink3", 1), (None, "efa-v1", 4))),
    (("p5en",), "p5en", ((8, "nvlink4", 1), (None, "efa-v3", 16))),
    (("p5",), "p5", ((8, "nvlink4", 1), (None, "efa-v2", 32))),
    (("coreweave",), "hgx-h100-ndr", ((8, "nvlink4", 1), (None, "infiniband-ndr", 8))),
    (("gb200",), "gb200-nvl72", ((72, "nvlink5", 1), (None, "infiniband-ndr", 72))),
    (("gb300",), "gb300-nvl72", ((72, "nvlink5", 1), (None, "infiniband-xdr", 72))),
    (("oci", "h100"), "oci-h100", ((8, "nvlink4", 1), (None, "roce-400g", 8))),
    (("a3-high",), "a3-high", ((8, "nvlink4", 1), (None, "gcp-tcpx", 4))),
    (("a3-mega",), "a3-mega", ((8, "nvlink4", 1), (None, "gcp-tcpxo", 8))),
    (("a3-ultra",), "a3-ultra", ((8, "nvlink4", 1), (None, "gcp-rdma", 8))),
    (("b200",), "b200", ((8, "nvlink5", 1), (None, "infiniband-ndr", 8))),
    (("b300",), "b300", ((8, "nvlink5", 1), (None, "infiniband-xdr", 8))),
    (("h100",), "h100", ((8, "nvlink4", 1), (None, "infiniband-ndr", 8))),
    (("h200",), "h200", ((8, "nvlink4", 1), (None, "infiniband-ndr", 8))),
    (("a100",), "a100", ((8, "nvlink3", 1), (None, "infiniband-hdr", 8))),
    (("v100",), "v100", ((8, "nvlink2", 1), (None, "infiniband-edr", 4))),
    (("l40s",), "l40s", ((8, "pcie4-host", 1),)),
    (("rtx_pro_6000",), "rtx-pro-6000", ((8, "pcie5-x16", 1),)),
    (("nv_1080ti",), "1080ti", ((8, "pcie3-x16", 1), (None, "infiniband-fdr", 1))),
    (("nv_titanxp",), "titan-xp", ((8, "pcie3-x16", 1), (None, "infiniband-fdr", 1))),
    (("nv_",), "deepbench", ((8, "pcie3-host", 1), (None, "infiniband-fdr", 1))),
)
OPERATIONS = {"all_reduce": "auto", "alltoall": "all_to_all"}
#: What a good fit leaves in the log of a time; beyond it a row counts less, and priors weigh as one row of it.
NOISE = 0.1
#: The library version of each machine that the constants were fitted to.
#: Of links that have them: where the fit starts.
TYPICAL = {"in_network": 0.45, "copy": 1.1e12, "crowding": 0.3}
FITTED = {"2.26.2", "2.27.3", "2.29.2 rtx_pro_6000_server"}


@dataclass(frozen=True)
class Row:
    """One measured operation."""

    machine: str
    source: str
    operation: str
    gpus: int
    size: float
    seconds: float
    fitted: bool

    @property
    def levels(self) -> tuple[tuple[int | None, str, int], ...]:
        """Of its machine, from inside the node outwards: units joined, link, links side by side."""
        return next(levels for _, name, levels in MACHINES if name == self.machine)


def _machine(text: str) -> str | None:
    low = text.casefold()
    return next((name for words, name, _ in MACHINES if all(word in low for word in words)), None)


def _table(path: Path) -> Iterator[dict[str, str]]:
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


def read_rows(folder: Path) -> list[Row]:
    """The rows of the three tables whose machines are known."""
    rows: list[Row | None] = []

    def row(text: str, source: str, operation: str, gpus: str, size: str, seconds: float, fitted: bool) -> None:
        machine = _machine(text)
        if machine is None or not seconds > 0 or int(gpus) < 2:
            return
        rows.append(Row(machine, source, operation, int(gpus), float(size), seconds, fitted))

    for r in _table(folder / "nccl_collectives.csv"):
        old = "EKS" in r["notes"]  # the same machine with an older library
        odd = round(math.log2(float(r["bytes"]))) % 2 == 1
        name = f"{r['system'].split(' (')[0]} nccl-tests{' old' if old else ''}"
        operation = OPERATIONS.get(r["collective"], r["collective"])
        own = r["tool"] == "nccl-tests" and not old and "DGX" not in name
        row(r["system"], name, operation, r["n_gpus"], r["bytes"], 1e-6 * float(r["time_us"] or 0), own and odd)
    for r in _table(folder / "nccl_aiconfigurator.csv"):
        whole = r["dtype"] == "int8"  # switches reduce floating-point numbers
        operation = OPERATIONS.get(r["op_name"], r["op_name"])
        fitted = not whole and bool({r["nccl_version"], f"{r['nccl_version']} {r['system']}"} & FITTED)
        operation = "ring_all_reduce" if whole and operation == "auto" else operation
        name = f"{r['system']} NCCL {r['nccl_version']}{' int8' if whole else ''}"
        row(r["system"], name, operation, r["num_gpus"], r["bytes"], 1e-3 * float(r["latency_ms"]), fitted)
    for r in _table(folder / "allreduce_deepbench.csv"):
        # Libraries of 2017 have rings only; those of MPI are not NCCL's.
        nccl = r["algorithm"].startswith("NCCL")
        if nccl:
            row(r["device"], f"{r['device']} DeepBench", "ring_all_reduce", r["n_gpus"], r["bytes"],
                1e-3 * float(r["mean_ms"]), r["device"] in ("NV_1080Ti", "NV_TitanX"))  # fmt: skip
    return [found for found in rows if found is not None]


def predict(rows: Sequence[Row], constants: Mapping[str, Mapping[str, Constant]] | None = None) -> Floats:
    """Seconds by the model; ``constants`` of some links take the place of their files'."""
    base = load_cluster("dgx-h100")
    machines = sorted({row.machine for row in rows})
    clusters: list[Cluster] = []
    for machine in machines:
        levels = []
        for size, name, count in next(levels for _, known, levels in MACHINES if known == machine):
            link = load_link(name)
            own = link.constants
            if constants is not None:  # a link that was not fitted is as good as unknown
                own = constants.get(name, {n: Constant(v) for n, v in TYPICAL.items() if n in link.constants})
            levels.append(Level(name, size, count * link.bandwidth, link.latency, own))
        clusters.append(replace(base, levels=tuple(levels)))
    connections = make_connections(clusters)
    found = np.empty(len(rows))
    for operation in {row.operation for row in rows}:
        at = [index for index, row in enumerate(rows) if row.operation == operation]
        place = np.array([machines.index(rows[index].machine) for index in at])
        routes = make_routes(connections, place, np.array([float(rows[index].gpus) for index in at]))
        found[at] = communication_time(operation, routes, np.array([rows[index].size for index in at]))
    return found


def _fit(rows: Sequence[Row]) -> dict[str, dict[str, Constant]]:
    """Robust least squares of log time over the constants of the links that the rows use."""
    from scipy.optimize import least_squares

    measured = np.log([row.seconds for row in rows])
    # Large messages are what training sends; small ones say what a step takes.
    weight = np.array([1.0 if row.size >= MIB else 0.35 for row in rows])
    names, start, low, high, prior, width = [], [], [], [], [], []
    for name in sorted({link for row in rows for _, link, _ in row.levels}):
        link = load_link(name)
        inner = any(levels[0][1] == name for _, _, levels in MACHINES)
        wanted = ["attained", "step", "ramp", "low_latency"] + (["startup"] if inner else [])
        wanted += [extra for extra in ("in_network", "copy", "crowding") if extra in link.constants]
        for constant in wanted:
            meaning = LINK_CONSTANTS[constant]
            value = TYPICAL.get(constant) or link_constant({}, constant, link.latency).value
            names.append((name, constant))
            start.append(math.log(value))
            low.append(math.log(max(meaning.low, 1e-8)))
            high.append(math.log(meaning.high) + 1e-9)
            prior.append(math.log(value))
            width.append(meaning.prior.deviation or 0.5)

    def built(x: Floats, deviation: Floats | None = None) -> dict[str, dict[str, Constant]]:
        found: dict[str, dict[str, Constant]] = {}
        for index, (link, constant) in enumerate(names):
            spread = 0.0 if deviation is None else float(deviation[index])
            found.setdefault(link, {})[constant] = Constant(math.exp(x[index]), spread)
        return found

    def residuals(x: Floats) -> Floats:
        error = weight * (np.log(predict(rows, built(x))) - measured)
        return np.concatenate([error, NOISE * (x - np.array(prior)) / np.array(width)])

    answer = least_squares(residuals, np.clip(start, low, high), bounds=(low, high), loss="soft_l1", f_scale=NOISE)
    # Rows of one series err together: the information of all is that of as many rows as there are series.
    series = len({(row.source, row.operation, row.gpus) for row in rows})
    error, slope = answer.fun[: len(rows)], answer.jac[: len(rows)]
    information = slope.T @ slope / float(np.mean(error**2)) * series / len(rows) + np.diag(np.array(width) ** -2.0)
    return built(answer.x, np.maximum(np.sqrt(np.diag(np.linalg.inv(information))), 0.03))


def _print_table(title: str, rows: Sequence[Row], predicted: Floats, keys: Sequence[str]) -> None:
    error = predicted / np.array([row.seconds for row in rows]) - 1.0
    print(f"\n{title:<44} {'rows':>5} {'median':>7} {'mean':>7} {'p90':>7} {'bias':>7}")
    for key in sorted(set(keys)):
        of = error[[index for index, each in enumerate(keys) if each == key]]
        size = np.abs(of)
        print(
            f"{key:<44} {of.size:>5} {np.median(size):>7.1%} {size.mean():>7.1%} "
            f"{np.quantile(size, 0.9):>7.1%} {of.mean():>+7.1%}"
        )


def _size_class(size: float) -> str:
    for limit, name in ((MIB, "1 below 1 MiB"), (16 * MIB, "2 1-16 MiB"), (256 * MIB, "3 16-256 MiB")):
        if size < limit:
            return name
    return "4 256 MiB and more"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="messages below 1 MiB too")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--leave-out", action="store_true")
    args = parser.parse_args()
    folder = args.folder / "micro" if (args.folder / "micro").is_dir() else args.folder
    known = read_rows(folder)
    rows = [row for row in known if args.all or row.size >= MIB]
    if not rows:
        print(f"{args.folder}: no rows of known machines", file=sys.stderr)
        return 2
    constants = None
    if args.fit:
        constants = _fit([row for row in known if row.fitted and row.size >= 4096])
        for link, own in constants.items():
            print(f"{link}: " + ", ".join(f"{n}: {format_constant(c, LINK_CONSTANTS[n])}" for n, c in own.items()))
    predicted = predict(rows, constants)
    _print_table("all", rows, predicted, ["fit" if row.fitted else "held out" for row in rows])
    _print_table("all", rows, predicted, ["all" for _ in rows])
    _print_table("operation", rows, predicted, [row.operation for row in rows])
    _print_table("size", rows, predicted, [_size_class(row.size) for row in rows])
    _print_table("machine", rows, predicted, [row.source for row in rows])
    if args.leave_out:
        left = np.empty(len(rows))
        for machine in sorted({row.machine for row in rows}):
            others = _fit([row for row in known if row.fitted and row.machine != machine and row.size >= 4096])
            at = [index for index, row in enumerate(rows) if row.machine == machine]
            left[at] = predict([rows[index] for index in at], others)
        _print_table("machine, fitted to the others", rows, left, [row.machine for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
