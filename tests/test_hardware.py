"""The shipped devices, links and clusters, and how they are loaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paleo_opt import catalog
from paleo_opt.errors import SpecError
from paleo_opt.hardware.load import load_cluster, load_device, load_link

DEVICES = sorted(catalog.names("device"))
LINKS = sorted(catalog.names("link"))
CLUSTERS = sorted(catalog.names("cluster"))

DATA_SHEETS = """
    k20 k20x k40 k80 titan-black titan-x-maxwell m40 m60 gtx-1080 gtx-1080-ti titan-x-pascal titan-xp p100-pcie-16gb
    p100-sxm2 v100-pcie-16gb v100-sxm2-16gb v100-sxm2-32gb t4 a10 a10g l4 l40s rtx-a6000 rtx-3090 rtx-4090
    a100-pcie-40gb a100-sxm4-40gb a100-pcie-80gb a100-sxm4-80gb h100-pcie-80gb h100-sxm5-80gb h100-sxm-96gb h100-nvl
    gh200 h200-sxm-141gb b200 gb200 b300 gb300 mi250x mi300x mi325x mi355x tpu-v2 tpu-v3 tpu-v4 tpu-v5e tpu-v5p tpu-v6e
    tpu-v7x trainium1 trainium2 gaudi2 gaudi3
""".split()  # noqa: SIM905

PUBLISHED = """
    selene a100-node a100-800gbps dgx-h100 dgx-gb200 dgx-gb300 dgx-b200 dgx-b300 hgx-b200 dgx-a100 dgx-v100 h200-400gbps
    meta-h100-roce a100-1600gbps-roce hgx-h100-3200gbps meta-h100-96gb megascale-a100 jean-zay-a100 dgx1-p100 gce-k80x8
    ec2-p2.8xlarge ec2-p2.16xlarge owt-8xk20 olcf-titan uber-p100-25gbe k40-10gbe
""".split()  # noqa: SIM905

# TFLOP/s of one precision, GB of memory and GB/s of bandwidth, each as its maker's data sheet rounds it.
SPOT_CHECKS = [
    ("k20", "fp32", 3.52, 5, 208),  # NVIDIA Tesla K20 board specification
    ("k40", "fp32", 5.04, 12, 288),  # NVIDIA Tesla K40 data sheet, GPU Boost
    ("titan-x-maxwell", "fp32", 6.6, 12, 336.5),  # NVIDIA GeForce GTX TITAN X
    ("p100-sxm2", "fp32", 10.6, 16, 732),  # NVIDIA Tesla P100 white paper
    ("v100-sxm2-16gb", "fp32", 15.7, 16, 900),  # NVIDIA V100 data sheet
    ("v100-sxm2-16gb", "fp16", 125, 16, 900),
    ("t4", "fp16", 65, 16, 320),  # NVIDIA T4 data sheet
    ("a100-sxm4-40gb", "bf16", 312, 40, 1555),  # NVIDIA A100 data sheet
    ("a100-sxm4-80gb", "tf32", 156, 80, 2039),
    ("h100-sxm5-80gb", "bf16", 989, 80, 3350),  # NVIDIA H100 data sheet, half of what it gives with sparsity
    ("h100-sxm5-80gb", "fp8", 1979, 80, 3350),
    ("h200-sxm-141gb", "bf16", 989, 141, 4800),  # NVIDIA H200 data sheet
    ("b200", "bf16", 2250, 180, 8000),  # NVIDIA HGX B200
    ("gb200", "fp4", 10000, 186, 8000),  # NVIDIA GB200 NVL72
    ("l40s", "bf16", 362, 48, 864),  # NVIDIA L40S data sheet
    ("mi300x", "bf16", 1307, 192, 5300),  # AMD Instinct MI300X data sheet
    ("tpu-v4", "bf16", 275, 32, 1200),  # Google Cloud TPU v4
    ("tpu-v5p", "bf16", 459, 95, 2765),  # Google Cloud TPU v5p
    ("trainium2", "bf16", 667, 96, 2900),  # AWS Neuron, Trainium2 architecture
    ("gaudi2", "bf16", 432, 96, 2450),  # Intel Gaudi 2 white paper
]


@pytest.mark.parametrize("name", DEVICES)
def test_device_loads_and_is_sane(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert device.source
    assert device.host_link is None or device.memory_bandwidth > 2 * device.host_link
    peak = device.peak
    for slow, fast in [("fp32", "tf32"), ("fp32", "fp16"), ("fp16", "bf16"), ("bf16", "fp8"), ("fp8", "fp4")]:
        if slow in peak and fast in peak:
            assert peak[slow] <= peak[fast], f"{fast} is slower than {slow}"
    assert device.training_precision in peak


@pytest.mark.parametrize("name", LINKS)
def test_link_loads(name: str) -> None:
    link = load_link(name)
    assert link.name == name
    assert link.source
    assert 0 <= link.latency < 1e-3


@pytest.mark.parametrize("name", CLUSTERS)
def test_cluster_loads_and_is_sane(name: str) -> None:
    cluster = load_cluster(name)
    assert cluster.name == name
    assert cluster.source
    if cluster.devices_per_node > 1:
        assert cluster.levels[0].size == cluster.devices_per_node
        assert cluster.device.memory_bandwidth > cluster.levels[0].bandwidth
    share, held = float("inf"), 1
    for level in cluster.levels:
        # Seen from one device, no level is faster than the one inside it; but of a torus more links leave a host than
        # join the chips in it.
        assert level.bandwidth / held <= share or name in ("ct4p-hightpu-4t", "ct5p-hightpu-4t")
        share, held = level.bandwidth / held, held * (level.size or 1)


@pytest.mark.parametrize("name", CLUSTERS)
def test_price_has_region_date_and_source_and_discounts(name: str) -> None:
    price = load_cluster(name).price
    if price is not None:
        assert price.region
        assert price.source
        assert "20" in price.date
        assert (price.reserved_1y or 0) < price.on_demand
        assert (price.spot or 0) < price.on_demand


def test_every_device_of_the_data_sheets_is_shipped() -> None:
    assert len(DATA_SHEETS) == 54
    assert set(DATA_SHEETS) <= set(DEVICES)


@pytest.mark.parametrize(("name", "precision", "tflops", "memory", "bandwidth"), SPOT_CHECKS)
def test_data_sheet(name: str, precision: str, tflops: float, memory: float, bandwidth: float) -> None:
    device = load_device(name)
    assert device.peak[precision] == pytest.approx(tflops * 1e12, rel=0.015)
    assert device.memory == memory * 1e9
    assert device.memory_bandwidth == pytest.approx(bandwidth * 1e9, rel=0.01)


@pytest.mark.parametrize("name", PUBLISHED)
def test_cluster_of_the_measurements_is_shipped(name: str) -> None:
    assert load_cluster(name).device.name in DEVICES


def test_published_bandwidths() -> None:
    def bandwidths(name: str) -> list[float]:
        return [level.bandwidth / 1e9 for level in load_cluster(name).levels]

    assert bandwidths("selene") == [300, 200]
    assert bandwidths("a100-node") == [300]
    assert bandwidths("dgx-h100") == [450, 400]
    assert bandwidths("dgx-gb200") == [900, 3600]
    assert bandwidths("dgx-v100") == [150, 50]
    assert bandwidths("jean-zay-a100") == [300, 50]
    assert bandwidths("uber-p100-25gbe") == [15.75, 3.125]
    assert bandwidths("meta-h100-roce")[:2] == [450, 400]
    # Pods of 384 nodes, oversubscribed 1:7 between them.
    assert bandwidths("meta-h100-roce")[2] == pytest.approx(384 * 400 / 7, rel=1e-3)


def test_sizes_of_published_clusters() -> None:
    assert load_cluster("selene").max_devices == 560 * 8
    assert load_cluster("olcf-titan").max_devices == 18688
    assert load_cluster("a100-node").max_nodes == 1
    assert load_cluster("dgx-h100").max_devices is None


def test_levels_without_limit_inside_limit_the_nodes() -> None:
    assert load_cluster("meta-h100-roce").max_nodes == 8 * 384
    assert load_cluster("ct5p-hightpu-4t").max_nodes == 3 * 1536


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("NVLink", ["nvlink1", "nvlink2", "nvlink3", "nvlink4", "nvlink5"]),
        ("PCIe", ["pcie2-x16", "pcie3-x16", "pcie4-x16", "pcie5-x16"]),
        ("InfiniBand", [f"infiniband-{rate}" for rate in ("fdr", "edr", "hdr", "ndr", "xdr")]),
        ("Ethernet", [f"ethernet-{rate}g" for rate in (10, 25, 40, 100, 200, 400)]),
        ("EFA", ["efa-v2", "efa-v3", "efa-v4"]),
    ],
)
def test_generations_get_faster(family: str, names: list[str]) -> None:
    rates = [load_link(name).bandwidth for name in names]
    assert rates == sorted(rates), family
    assert len(set(rates)) == len(rates), family


@pytest.mark.parametrize(
    ("name", "gflops", "gib", "mhz", "ppp"),
    [
        ("TITAN_X", 6144, 336.5, 1000, 0.62),
        ("K20", 3520, 208, 1000, 0.46),
        ("K20X", 3935, 250, 1000, 0.21),
        ("K40", 4290, 288, 745, 0.62),
        ("K80", 5600, 480, 560, 0.49),
        ("GEFORCE_780_TI", 5040, 336, 875, None),
    ],
)
def test_paleo_device(name: str, gflops: float, gib: float, mhz: float, ppp: float | None) -> None:
    device = load_device(name)
    assert device.peak == {"fp32": gflops * 1e9}
    assert device.memory_bandwidth == gib * 2**30
    assert device.clock == mhz * 1e6
    assert device.ppp_comp == ({} if ppp is None else {"fp32": ppp})


@pytest.mark.parametrize(
    ("name", "gigabits"), [("ethernet", 10), ("ethernet20", 20), ("infiniband", 70), ("pcie2", 64), ("pcie3", 128)]
)
def test_paleo_link_joins_single_devices(name: str, gigabits: float) -> None:
    cluster = load_cluster(name, device="TITAN_X")
    assert cluster.name == f"TITAN_X over {name}"
    assert (cluster.devices_per_node, cluster.max_nodes, cluster.price, cluster.fetch_group) == (1, None, None, 4)
    [level] = cluster.levels
    assert (level.size, level.bandwidth, level.latency) == (None, gigabits * 1e9 / 8, 0)


def test_real_link_has_no_fetch_group() -> None:
    cluster = load_cluster("infiniband-ndr", device="h100-sxm5-80gb")
    assert cluster.fetch_group is None
    assert cluster.levels[0].bandwidth == 50e9


def test_replace_the_device() -> None:
    cluster = load_cluster("p4d.24xlarge", device="h100-sxm5-80gb")
    assert cluster.device.name == "h100-sxm5-80gb"
    assert cluster.name == "p4d.24xlarge"
    assert load_cluster("p4d.24xlarge").device.name == "a100-sxm4-40gb"


def test_overrides() -> None:
    changed = load_cluster(
        "p4d.24xlarge",
        overrides={
            "price.on_demand": "$20",
            "levels.1.bandwidth": "800Gb/s",
            "levels[0].latency": "2us",
            "device.memory": "96GB",
            "device.peak.bf16": "400TFLOP/s",
            "max_nodes": "4",
        },
    )
    assert changed.price is not None
    assert changed.price.on_demand == 20
    assert [level.bandwidth for level in changed.levels] == [300e9, 100e9]
    assert changed.levels[0].latency == pytest.approx(2e-6)
    assert changed.device.memory == 96e9
    assert changed.device.peak["bf16"] == 400e12
    assert changed.max_devices == 32
    shipped = load_cluster("p4d.24xlarge")
    assert shipped.levels[1].bandwidth == 50e9
    assert shipped.device.memory == 40e9


def test_overrides_of_a_flat_cluster() -> None:
    cluster = load_cluster("ethernet", device="K20", overrides={"latency": "5us", "device.ppp_comp.fp32": "0.5"})
    assert cluster.levels[0].latency == pytest.approx(5e-6)
    assert cluster.device.ppp_comp == {"fp32": 0.5}


def test_price_can_be_added() -> None:
    price = "{on_demand: $8, region: here, date: 2026-03, source: our invoice}"
    cluster = load_cluster("dgx-a100", overrides={"price": price})
    assert cluster.price is not None
    assert (cluster.price.on_demand, cluster.price.spot, cluster.price.date) == (8, None, "2026-03")


def test_link_needs_a_device() -> None:
    with pytest.raises(SpecError, match="'ethernet20' is a link, not a cluster"):
        load_cluster("ethernet20")


OWN_DEVICE = """
name: a100-sxm4-40gb
description: ours, with more memory
peak: {bf16: 300TFLOP/s}
memory: 48GB
memory_bandwidth: 1500GB/s
clock: 1GHz
source: ours
"""
OWN_CLUSTER = """
name: lab
description: our lab
provider: on premises
device: mine.yaml
devices_per_node: 4
levels:
  - {name: inside the node, size: 4, link: pcie4-x16}
  - {name: between nodes, link: infiniband-hdr, count: 2, latency: 8us}
max_nodes: 3
source: ours
"""


def test_own_files_by_path_and_freshness(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(OWN_CLUSTER)
    device = tmp_path / "mine.yaml"
    device.write_text(OWN_DEVICE.replace("a100-sxm4-40gb", "mine"))
    cluster = load_cluster(str(tmp_path / "lab.yaml"))
    assert (cluster.device.memory, cluster.max_devices) == (48e9, 12)
    assert [level.bandwidth for level in cluster.levels] == [31e9, 50e9]
    assert [level.latency for level in cluster.levels] == pytest.approx([1.6e-6, 8e-6])
    # An edited device is read again, though its cluster's file did not change.
    device.write_text(device.read_text().replace("48GB", "64GB"))
    os.utime(device, ns=(1, 1))
    assert load_cluster(str(tmp_path / "lab.yaml")).device.memory == 64e9


def test_own_folder_comes_before_the_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "hardware" / "devices"
    folder.mkdir(parents=True)
    (folder / "a100-sxm4-40gb.yaml").write_text(OWN_DEVICE)
    assert load_cluster("p4d.24xlarge").device.memory == 40e9
    monkeypatch.setenv("PALEO_OPT_PATH", str(tmp_path))
    assert load_cluster("p4d.24xlarge").device.memory == 48e9
    monkeypatch.delenv("PALEO_OPT_PATH")
    assert load_cluster("p4d.24xlarge").device.memory == 40e9
