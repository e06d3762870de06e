"""Wrong device, link and cluster files: every mistake on one line with its file, line and field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paleo_opt.errors import SpecError
from paleo_opt.hardware.cluster import Cluster, Link
from paleo_opt.hardware.device import Device
from paleo_opt.hardware.load import load_cluster, load_device, load_link

DEVICE = """\
name: it
description: a device
year: 2024
peak: {fp32: 20TFLOP/s, bf16: 300TFLOP/s}
memory: 80GB
memory_bandwidth: 2000GB/s
clock: 1410MHz
multiprocessors: 108
power: 400W
host_link: 31GB/s
ppp_comp: {fp32: 0.6}
source: us
"""
LINK = """\
name: it
description: a link
bandwidth: 400Gb/s
latency: 5us
source: us
"""
CLUSTER = """\
name: it
description: a cluster
provider: ours
device: a100-sxm4-40gb
devices_per_node: 8
levels:
  - {name: inside the node, size: 8, link: nvlink3}
  - {name: between nodes, bandwidth: 400Gb/s, latency: 15us}
max_nodes: 128
ppp_comm: 0.8
price:
  on_demand: $21.96
  reserved_1y: $13.92
  spot: $8.00
  region: us-east-1
  date: 2026-01-21
  source: the provider
source: us
"""
TEXTS = {"device": DEVICE, "link": LINK, "cluster": CLUSTER}
LOADERS: dict[str, Callable[[str], Device | Link | Cluster]] = {
    "device": load_device,
    "link": load_link,
    "cluster": load_cluster,
}


def problems(tmp_path: Path, kind: str, text: str) -> list[str]:
    """What is said of ``text`` as a file, each without the folder."""
    path = tmp_path / "it.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        LOADERS[kind](str(path))
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems), "a problem takes more than one line"
    assert all(line.startswith(f"{tmp_path}/") for line in lines)
    return [line.removeprefix(f"{tmp_path}/") for line in lines]


def replaced(kind: str, old: str, new: str) -> str:
    assert TEXTS[kind].count(old) == 1
    return TEXTS[kind].replace(old, new)


@pytest.mark.parametrize("kind", TEXTS)
def test_the_right_file_loads(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it.yaml"
    path.write_text(TEXTS[kind], encoding="utf-8")
    assert LOADERS[kind](str(path)).name == "it"


@pytest.mark.parametrize(
    ("kind", "old", "new", "expected"),
    [
        ("device", "memory: 80GB", "memory: 80", "it.yaml:5: memory: '80' has no unit; expected memory, such as 80GiB"),
        ("device", "memory: 80GB", "memory: 80GB/s", "it.yaml:5: memory: '80GB/s' has the unit 'GB/s'"),
        ("device", "memory: 80GB", "memory: -80GB", "it.yaml:5: memory: is -80GB; expected from 64MB to 100TB"),
        ("device", "memory: 80GB", "memory: 0GB", "it.yaml:5: memory: is 0GB; expected from 64MB to 100TB"),
        ("device", "memory: 80GB", "memory: 80PB", "it.yaml:5: memory: is 80PB; expected from 64MB to 100TB"),
        ("device", "memory: 80GB", "memory: 1e999GB", "it.yaml:5: memory: "),
        ("device", "memory: 80GB", "memory: nanGB", "it.yaml:5: memory: "),
        ("device", "memory: 80GB", "memory: [80GB]", "it.yaml:5: memory: is a list; expected memory with a unit"),
        ("device", "memory: 80GB", "memory:", "it.yaml:5: memory: is empty"),
        ("device", "memory: 80GB\n", "", "it.yaml:1: memory: is missing"),
        ("device", "clock: 1410MHz", "clock: 1410GHz", "it.yaml:7: clock: is 1410GHz; expected from 10MHz to 100GHz"),
        ("device", "clock: 1410MHz", "clock: 1410W", "it.yaml:7: clock: '1410W' has the unit 'W'; expected frequency"),
        ("device", "power: 400W", "power: 400MW", "it.yaml:9: power: is 400MW; expected from 1W to 100kW"),
        ("device", "fp32: 20TFLOP/s", "fp31: 20TFLOP/s", "it.yaml:4: peak.fp31: is not a precision it has; did you"),
        ("device", "fp32: 20TFLOP/s", "fp32: 20", "it.yaml:4: peak.fp32: '20' has no unit; expected flops"),
        ("device", "{fp32: 20TFLOP/s, bf16: 300TFLOP/s}", "{}", "it.yaml:4: peak: names no precision"),
        ("device", "{fp32: 20TFLOP/s, bf16: 300TFLOP/s}", "9TFLOP/s", "it.yaml:4: peak: is '9TFLOP/s'; expected a map"),
        ("device", "ppp_comp: {fp32: 0.6}", "ppp_comp: {fp32: 60}", "it.yaml:11: ppp_comp.fp32: is 60; expected from"),
        ("device", "ppp_comp: {fp32: 0.6}", "ppp_comp: {fp8: 0.6}", "it.yaml:11: ppp_comp.fp8: is not a precision it"),
        ("device", "multiprocessors: 108", "multiprocessors: 1.5", "it.yaml:8: multiprocessors: is 1.5; expected a wh"),
        ("device", "year: 2024", "year: 20240", "it.yaml:3: year: is 20240; expected from 1990 to "),
        ("device", "year: 2024", "memory: 81GB", "it.yaml:5: memory: is given twice (first on line 3)"),
        ("device", "name: it", "name: that", "it.yaml:1: name: is 'that'; expected 'it', as the file is called"),
        ("device", "source: us", "", "it.yaml:1: source: is missing"),
        ("link", "latency: 5us", "latency: 5", "it.yaml:4: latency: '5' has no unit; expected time, such as 36h"),
        ("link", "latency: 5us", "latency: -5us", "it.yaml:4: latency: is -5us; expected from 0s to 1s"),
        ("link", "latency: 5us", "latency: 5min", "it.yaml:4: latency: is 5min; expected from 0s to 1s"),
        ("link", "bandwidth: 400Gb/s", "bandwidth: 0Gb/s", "it.yaml:3: bandwidth: is 0Gb/s; expected from 1Mb/s to "),
        ("link", "bandwidth: 400Gb/s", "bandwidth: 400Gbps", "it.yaml:3: bandwidth: '400Gbps' has the unit 'Gbps'"),
        ("link", "source: us", "source: us\nfetch_group: 1", "it.yaml:6: fetch_group: is 1; expected from 2 to "),
        ("cluster", "a100-sxm4-40gb", "a100-smx4-40gb", "it.yaml:4: device: no device is called 'a100-smx4-40gb'; did"),
        (
            "cluster",
            "link: nvlink3",
            "link: nvlnk3",
            "it.yaml:7: levels[0].link: no link is called 'nvlnk3'; did you m",
        ),
        ("cluster", "size: 8", "size: 4", "it.yaml:7: levels[0].size: is 4; expected 8, as devices_per_node"),
        ("cluster", "size: 8, ", "", "it.yaml:7: levels[0].size: is missing; only the last level may be without limit"),
        ("cluster", "size: 8", "size: eight", "it.yaml:7: levels[0].size: is 'eight'; expected a number"),
        ("cluster", "latency: 15us}", "latency: 15us, size: 9}", "it.yaml:9: max_nodes: is 128; its levels join 9 nod"),
        ("cluster", ", latency: 15us", "", "it.yaml:8: levels[1].latency: is missing"),
        ("cluster", "15us}", "15us, count: 8}", "it.yaml:8: levels[1].count: is given without a link"),
        ("cluster", "devices_per_node: 8", "devices_per_node: 0", "it.yaml:5: devices_per_node: is 0; expected from 1"),
        (
            "cluster",
            "devices_per_node: 8",
            "devices_per_node: 2.5",
            "it.yaml:5: devices_per_node: is 2.5; expected a w",
        ),
        ("cluster", "max_nodes: 128", "max_nodes: many", "it.yaml:9: max_nodes: is 'many'; expected a number"),
        ("cluster", "ppp_comm: 0.8", "ppp_comm: 1.8", "it.yaml:10: ppp_comm: is 1.8; expected from 0.001 to 1"),
        ("cluster", "  date: 2026-01-21\n", "", "it.yaml:11: price.date: is missing"),
        ("cluster", "2026-01-21", "soon", "it.yaml:16: price.date: is 'soon'; expected a date such as 2026-01-21"),
        ("cluster", "2026-01-21", "2026-13-21", "it.yaml:16: price.date: is '2026-13-21', which is no date: month"),
        ("cluster", "2026-01-21", "2099-01-21", "it.yaml:16: price.date: is '2099-01-21', in the future; expected"),
        (
            "cluster",
            "on_demand: $21.96",
            "on_demand: 21.96",
            "it.yaml:12: price.on_demand: '21.96' has no unit; expect",
        ),
        ("cluster", "on_demand: $21.96", "on_demand: $0", "it.yaml:12: price.on_demand: is $0; expected from $0.0001"),
        ("cluster", "spot: $8.00", "spto: $8.00", "it.yaml:14: price.spto: is not a known field; did you mean 'spot'?"),
        ("cluster", "source: the provider", "", "it.yaml:11: price.source: is missing"),
        ("cluster", "provider: ours", "provider:", "it.yaml:3: provider: is empty"),
    ],
)
def test_one_mistake(tmp_path: Path, kind: str, old: str, new: str, expected: str) -> None:
    [line] = problems(tmp_path, kind, replaced(kind, old, new))
    assert line.startswith(expected)


def test_misspelt_field(tmp_path: Path) -> None:
    lines = problems(tmp_path, "device", replaced("device", "memory: 80GB", "memroy: 80GB"))
    assert "it.yaml:5: memroy: is not a known field; did you mean 'memory'?" in lines


def test_empty_levels(tmp_path: Path) -> None:
    start, end = CLUSTER.index("  - {name: inside"), CLUSTER.index("max_nodes")
    text = CLUSTER[:start].rstrip() + " []\n" + CLUSTER[end:]
    assert problems(tmp_path, "cluster", text) == [
        "it.yaml:6: levels: is empty; expected at least one level, from inside the node outwards"
    ]


def test_levels_that_are_no_list(tmp_path: Path) -> None:
    start, end = CLUSTER.index("  - {name: inside"), CLUSTER.index("max_nodes")
    text = CLUSTER[:start].rstrip() + " nvlink3\n" + CLUSTER[end:]
    assert problems(tmp_path, "cluster", text) == ["it.yaml:6: levels: is 'nvlink3'; expected a list"]


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = CLUSTER.replace("a100-sxm4-40gb", "a1000").replace("size: 8", "size: 4").replace("$8.00", "8")
    text = text.replace("ppp_comm: 0.8", "ppp_com: 0.8")
    lines = problems(tmp_path, "cluster", text)
    assert [line.split(": ")[0] for line in lines] == ["it.yaml:4", "it.yaml:7", "it.yaml:10", "it.yaml:14"]
    assert [line.split(": ")[1] for line in lines] == ["device", "levels[0].size", "ppp_com", "price.spot"]


def test_mistake_in_the_device_file_of_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(DEVICE.replace("name: it", "name: mine").replace("80GB", "80"))
    text = CLUSTER.replace("a100-sxm4-40gb", "mine.yaml").replace("on_demand: $21.96", "on_demand: 21.96")
    lines = problems(tmp_path, "cluster", text)
    assert len(lines) == 2
    assert any(line.startswith("mine.yaml:5: memory: '80' has no unit") for line in lines)
    assert any(line.startswith("it.yaml:12: price.on_demand: ") for line in lines)


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("text", ["", "just words", "[1, 2]", "name: [", "a: &a [*a]", "name: \x00"])
def test_not_a_file_of_fields(tmp_path: Path, kind: str, text: str) -> None:
    assert problems(tmp_path, kind, text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("p4d.24xlarg", "no cluster is called 'p4d.24xlarg'; did you mean 'p4d.24xlarge'?"),
        ("SELENE", "no cluster is called 'SELENE'; did you mean 'selene'?"),
        ("nowhere.yaml", "nowhere.yaml: no such file"),
        ("", "no cluster is called ''"),
    ],
)
def test_unknown_cluster(name: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_cluster(name)
    assert str(caught.value).startswith(expected)


def test_unknown_device_and_link() -> None:
    with pytest.raises(SpecError, match="no device is called 'a100-sxm4-40g'; did you mean 'a100-sxm4-40gb'"):
        load_device("a100-sxm4-40g")
    with pytest.raises(SpecError, match="no link is called 'nvlink33'; did you mean 'nvlink3'"):
        load_link("nvlink33")
    with pytest.raises(SpecError, match="no device is called 'TITANX'; did you mean 'TITAN_X'"):
        load_cluster("ethernet", device="TITANX")
    with pytest.raises(SpecError, match="no cluster or link is called 'ethernet2'; did you mean 'ethernet20'"):
        load_cluster("ethernet2", device="TITAN_X")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("device.memory", "80", "--set device.memory=80: memory: '80' has no unit"),
        (
            "price.on_demnd",
            "$8",
            "--set price.on_demnd=$8: price.on_demnd: is not a known field; did you mean 'on_dema",
        ),
        ("price.on_demand", "8", "--set price.on_demand=8: price.on_demand: '8' has no unit; expected money"),
        ("levels.5.latency", "8us", "--set levels[5].latency=8us: there is no element [5]"),
        ("max_nodes", "0", "--set max_nodes=0: max_nodes: is 0; expected from 1"),
        ("device", "k2", "--set device=k2: device: no device is called 'k2'; did you mean 'k20'?"),
    ],
)
def test_wrong_override(field: str, value: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_cluster("p4d.24xlarge", overrides={field: value})
    [problem] = caught.value.problems
    assert str(problem).startswith(expected)
