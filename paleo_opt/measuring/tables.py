"""The files that a measurement leaves: ``micro.csv``, ``steps.csv``, and for a CPU its device, link and cluster.

The specs lie as in a folder of one's own (``PALEO_OPT_PATH``): ``hardware/devices/NAME.yaml`` and so on.
"""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from paleo_opt.calibration.micro_model import least_flops
from paleo_opt.calibration.micro_table import MicroRow, micro_table_text
from paleo_opt.measuring.measure import Measured
from paleo_opt.validation.measured_table import COLUMNS

#: Of one message over the loopback where no collective was measured [s].
_ASSUMED_LATENCY = 50e-6


def files_of(measured: Measured, folder: str) -> dict[str, str]:
    """The text of each file, by its path within ``folder``."""
    files = {}
    if measured.rows:
        files["micro.csv"] = micro_table_text(measured.rows)
    if measured.steps:
        files["steps.csv"] = _steps(measured, folder)
    if measured.cpu is not None:
        files[f"hardware/devices/{measured.device}.yaml"] = _device(measured)
        if measured.processes > 1:
            files[f"hardware/links/{measured.device}-loopback.yaml"] = _link(measured)
            files[f"hardware/clusters/{cluster_name(measured)}.yaml"] = _cluster(measured)
    return files


def cluster_name(measured: Measured) -> str:
    """Of the cluster of all processes."""
    return f"{measured.device}-x{measured.processes}"


def _steps(measured: Measured, folder: str) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in measured.steps:
        network = row.network
        if network.endswith((".yaml", ".yml")):  # found from the table's own folder
            network = os.path.relpath(network, folder)
        together = row.gpus > 1
        stem = Path(row.network).stem
        writer.writerow(
            {
                "id": f"{stem}-{row.gpus}-{row.micro_batch}-{row.quantity}", "family": "cnn", "network": network,
                "device": measured.device, "cluster": cluster_name(measured) if together else "", "gpus": row.gpus,
                "gpus_per_node": row.gpus if together else "", "precision": "fp32", "micro_batch": row.micro_batch,
                "global_batch": row.gpus * row.micro_batch, "software": measured.software, "quantity": row.quantity,
                "measured": f"{row.timing.seconds:.6g}", "source": measured.source,
            }
        )  # fmt: skip
    return stream.getvalue()


def attained_clock(measured: Measured) -> tuple[float, str]:
    """The device's clock, and where it is from.

    A virtual machine may hide its boost clock; then the clock is the least that explains the fastest operation.
    """
    assert measured.cpu is not None
    cpu = measured.cpu
    fastest = max(
        (
            least_flops(row, winograd=False) / row.time_s / (cpu.flops_per_cycle[row.precision] * measured.threads)
            for row in measured.rows
            if row.precision in cpu.flops_per_cycle
        ),
        default=0.0,
    )
    if fastest > cpu.clock:
        return 1.01 * fastest, f"clock: the least that explains the fastest operation; {CPUINFO} says {_mhz(cpu.clock)}"
    return cpu.clock, "clock: the highest that the system names"


CPUINFO = "/proc/cpuinfo"


def _mhz(clock: float) -> str:
    return f"{clock / 1e6:.0f}MHz"


def _device(measured: Measured) -> str:
    cpu, bandwidth = measured.cpu, measured.bandwidth
    assert cpu is not None and bandwidth is not None
    clock, said = attained_clock(measured)
    peaks = ", ".join(
        f"{precision}: {measured.threads * each * clock / 1e9:.4g}GFLOP/s"
        for precision, each in cpu.flops_per_cycle.items()
    )
    cores = f"{measured.threads} core{'s' if measured.threads > 1 else ''}"
    shared = f"one of {measured.processes} processes at once" if measured.processes > 1 else "by itself"
    return f"""\
name: {measured.device}
description: "{cores} of {cpu.model}, {shared}"
peak: {{{peaks}}}
memory: {cpu.memory / measured.processes / 1e9:.3g}GB
memory_bandwidth: {bandwidth / 1e9:.4g}GB/s
clock: {_mhz(clock)}
multiprocessors: {measured.threads}
platform: pytorch-cpu
source: "{measured.source}. Peak: cores x clock x FLOPs per cycle of {cpu.instructions}; {said}. \
Memory bandwidth: measured, the sum of two arrays into a third, the fastest of 12 to 192 MB"
"""


def _link(measured: Measured) -> str:
    smallest = min(
        (row for row in measured.rows if row.collective == "all_reduce"), key=lambda row: row.bytes, default=None
    )
    if smallest is None:
        assert measured.bandwidth is not None
        latency, bandwidth = _ASSUMED_LATENCY, measured.bandwidth / 2.0
        said = "Assumed: half of what the memory moves, as every byte is read and written, and the latency"
    else:
        # 2 (K - 1) messages of a ring.
        latency = smallest.time_s / (2.0 * (smallest.gpus - 1))
        bandwidth = max(_bus_rate(row) for row in measured.rows if row.operation == "collective")
        said = f"Bandwidth: of the fastest collective; latency: all-reduce of {smallest.bytes} bytes over its messages"
    return f"""\
name: {measured.device}-loopback
description: Loopback between {measured.processes} processes of one machine
bandwidth: {bandwidth / 1e9:.4g}GB/s
latency: {latency * 1e6:.3g}us
source: "{measured.source}. {said}"
"""


def _bus_rate(row: MicroRow) -> float:
    """Bytes/s that each process sends in a collective, as a ring would."""
    share = (row.gpus - 1.0) / row.gpus
    passes = {"all_reduce": 2.0 * share, "broadcast": 1.0}.get(row.collective, share)
    return passes * row.bytes / row.time_s


def _cluster(measured: Measured) -> str:
    return f"""\
name: {cluster_name(measured)}
description: {measured.processes} processes of one machine over its loopback
provider: on premises
device: {measured.device}
devices_per_node: {measured.processes}
levels:
  - {{name: inside the node, size: {measured.processes}, link: {measured.device}-loopback}}
max_nodes: 1
source: "{measured.source}"
"""
