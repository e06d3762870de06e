"""Measuring with PyTorch: what is run is what the tables say it is; where it is missing these tests are skipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import Runner

from paleo_opt.calibration.micro_table import read_micro_table
from paleo_opt.errors import SpecError
from paleo_opt.hardware.load import load_cluster, load_device
from paleo_opt.measuring import grid
from paleo_opt.measuring.collectives import time_collectives
from paleo_opt.measuring.machine import read_cpu, vector_flops
from paleo_opt.measuring.measure import Measured, Request, check, designed, time_bound
from paleo_opt.measuring.tables import files_of
from paleo_opt.measuring.timing import LEAST_SAMPLES, settled, time_call, timing_of
from paleo_opt.measuring.torch_network import build_module, check_supported
from paleo_opt.network.load import load_network
from paleo_opt.validation.measured_table import read_measured_table

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed; pip install 'paleo-opt[measure]'")
SMALL = str(Path(__file__).parents[1] / "examples" / "small_cnn.yaml")


class TestTiming:
    def test_the_median_and_its_spread(self) -> None:
        found = timing_of([3.0, 1.0, 2.0, 100.0, 2.5])
        assert (found.seconds, found.repeats) == (2.5, 5)
        assert found.spread == pytest.approx(1.4826 * 0.5 / 2.5)

    def test_it_ends_when_the_median_is_known(self) -> None:
        assert not settled([1.0, 2.0, 3.0])
        assert settled([1.0] * 7)
        assert not settled([1.0, 2.0] * 10)
        assert settled([1.0, 2.0] * 100)

    def test_a_slow_call_is_timed_a_few_times(self) -> None:
        calls = []
        found = time_call(lambda: calls.append(1), lambda: None, 0.0)
        assert found.repeats == LEAST_SAMPLES
        assert len(calls) > LEAST_SAMPLES


class TestMachine:
    def test_vector_instructions(self) -> None:
        assert vector_flops(["sse2"]) == ({"fp32": 8}, "SSE")
        assert vector_flops(["avx", "avx2", "fma"]) == ({"fp32": 32}, "AVX2 FMA")
        assert vector_flops(["avx2", "fma", "avx512f", "avx512_bf16"])[0] == {"fp32": 64, "bf16": 128}

    def test_a_data_sheet(self, tmp_path: Path) -> None:
        path = tmp_path / "cpuinfo"
        path.write_text("model name\t: Some CPU @ 2.10GHz\ncpu MHz\t\t: 2100.5\nflags\t\t: sse2 avx avx2 fma\n")
        cpu = read_cpu(path)
        assert (cpu.model, cpu.flops_per_cycle) == ("Some CPU @ 2.10GHz", {"fp32": 32})
        assert cpu.clock >= 2100.5e6
        with pytest.raises(SpecError, match="needs Linux"):
            read_cpu(tmp_path / "none")


class TestNetworks:
    @pytest.mark.parametrize("name", [SMALL, "alexnet_v2", "nin", "resnet18", "inception_v3", "densenet121", "vgg11"])
    def test_shapes_and_parameters_are_the_networks(self, name: str) -> None:
        network = load_network(name)
        with torch.device("meta"):
            module = build_module(torch, network)
            height, width, channels = network.input_shape
            result = module(torch.empty(2, channels, height, width))
        assert tuple(result.shape[1:]) in (network.layers[-1].output_shape, network.layers[-1].output_shape[::-1])
        # A normalizer's scale is in all of PyTorch's, and not in all of the networks'.
        scales = sum(
            layer.output_shape[-1]
            for layer in network.layers
            if (layer.normalizer or layer.type == "BatchNormalization") and not layer.normalizer_scale
        )
        assert sum(parameter.numel() for parameter in module.parameters()) - scales == network.parameters

    def test_what_is_not_supported_is_named(self) -> None:
        with pytest.raises(SpecError, match="LocalResponseNormalization, which measure cannot run"):
            check_supported(load_network("alexnet"))
        with pytest.raises(SpecError, match="LSTM"):
            check_supported(load_network("lstm_ptb"))


class TestRequests:
    def test_more_processes_than_cores(self) -> None:
        if torch.cuda.is_available():
            pytest.skip("of a CPU")
        with pytest.raises(SpecError, match="cores there are"):
            check(Request(processes=64, threads=1000))

    def test_the_bound_grows_with_what_is_asked(self) -> None:
        one, two = Request(quick=True), Request()
        assert time_bound(one, "cpu", ("fp32",)) < time_bound(two, "cpu", ("fp32",)) < 300
        assert {row.operation for row in designed(Request(only=("gemm",)), "cpu", ("fp32",))} == {"gemm"}
        assert not [row for row in designed(two, "cpu", ("fp32",)) if row.operation == "collective"]


def test_a_quick_measurement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Runner(capsys)(
        "measure", "--quick", "--out", str(tmp_path), "--network", SMALL, "--micro-batch", "2", "--device-name", "here",
        "--only", "memory,network", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "at most about" in result.err
    answer = result.json
    assert {Path(name).name for name in answer["files"]} == {"micro.csv", "steps.csv", "here.yaml"}
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    rows = read_micro_table(tmp_path / "micro.csv")
    assert len(rows) == answer["rows"] == sum(answer["operations"].values())
    assert {row.operation for row in rows} >= {"add", "relu", "step"}
    steps = read_measured_table(tmp_path / "steps.csv")
    assert {row.quantity for row in steps} == {"step_time_s", "forward_time_s", "backward_time_s"}
    assert (tmp_path / steps[0].network).resolve() == Path(SMALL).resolve()
    monkeypatch.setenv("PALEO_OPT_PATH", str(tmp_path))
    device = load_device("here")
    assert (device.platform, device.multiprocessors) == ("pytorch-cpu", 1)


def test_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in grid.collectives(2, 1, quick=True) if row.bytes < 100_000]
    found = time_collectives(rows, 1, "cpu", 0.01)
    timed = [
        replace(row, device="here", link="here-loopback", time_s=timing.seconds)
        for row, timing in zip(rows, found, strict=True)
        if timing is not None
    ]
    assert {row.collective for row in timed} >= {"all_reduce", "broadcast"}
    measured = Measured("here", "torch cpu", tuple(timed), (), read_cpu(), 2e10, 2, 1, "test")
    for name, text in files_of(measured, str(tmp_path)).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_micro_table(tmp_path / "micro.csv")
    monkeypatch.setenv("PALEO_OPT_PATH", str(tmp_path))
    cluster = load_cluster("here-x2")
    assert cluster.devices_per_node == 2
    assert cluster.levels[0].latency > 0


def test_a_failing_process_is_reported() -> None:
    row = replace(grid.collectives(2, 1, quick=True)[0], collective="gossip")
    with pytest.raises(SpecError, match="measuring with several processes failed: KeyError"):
        time_collectives([row], 1, "cpu", 0.01)


def test_an_interrupted_measurement_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paleo_opt.measuring.measure.time_operations", interrupted)
    out = tmp_path / "out"
    assert Runner(capsys)("measure", "--quick", "--out", str(out), "--only", "gemm").code == 130
    assert not out.exists()
