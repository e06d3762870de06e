"""``paleo-opt list`` and ``show``: everything shipped is listed and described, with sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Runner, check_form

from paleo_opt import catalog
from paleo_opt.hardware.constant import format_constant
from paleo_opt.hardware.platform import ATTAINABLE, CONSTANTS

KINDS = {
    "nets": "net", "devices": "device", "clusters": "cluster", "links": "link", "platforms": "platform",
    "spaces": "space",
}  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


class TestList:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("columns", [80, 100])
    def test_every_name_has_a_line(self, run: Runner, monkeypatch: pytest.MonkeyPatch, kind: str, columns: int) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = run.text("list", kind).splitlines()
        check_form(lines, columns)
        assert [line.split()[0] for line in lines[1:]] == list(catalog.names(KINDS[kind]))

    @pytest.mark.parametrize("kind", KINDS)
    def test_as_json(self, run: Runner, kind: str) -> None:
        specs = run("list", kind, "--json").json[kind]
        assert [spec["name"] for spec in specs] == list(catalog.names(KINDS[kind]))

    def test_key_figures(self, run: Runner) -> None:
        def line(kind: str, name: str) -> list[str]:
            return next(line.split() for line in run.text("list", kind).splitlines() if line.startswith(f"{name} "))

        assert line("nets", "vgg16")[1:3] == ["138", "M"]
        assert line("devices", "v100-sxm2-16gb")[1:6] == ["15.7", "TFLOP/s", "125", "TFLOP/s", "fp16"]
        assert line("clusters", "p4d.24xlarge")[1:9] == [
            "8",
            "×",
            "a100-sxm4-40gb",
            "50",
            "GB/s",
            "$21.96",
            "$2.74",
            "2026-01-21",
        ]
        assert line("links", "pcie2")[1:4] == ["8", "GB/s", "0"]

    def test_own_folders_are_listed_and_their_mistakes_named(
        self, run: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        folder = tmp_path / "hardware" / "links"
        folder.mkdir(parents=True)
        good = 'name: mine\ndescription: "\\e[31mmine"\nbandwidth: 1GB/s\nlatency: 1us\nsource: me\n'
        (folder / "mine.yaml").write_text(good)
        (folder / "bad.yaml").write_text("name: bad\nbandwith: 1GB/s\n")
        monkeypatch.setenv("PALEO_OPT_PATH", str(tmp_path))
        result = run("list", "links")
        assert result.code == 2
        mine = next(line for line in result.lines if line.startswith("mine "))
        assert "\x1b" not in mine
        assert any(
            "bad.yaml:2: bandwith: is not a known field; did you mean 'bandwidth'?" in line
            for line in result.err.splitlines()
        )


class TestShow:
    @pytest.mark.parametrize("kind", KINDS.values())
    def test_everything_shipped_can_be_shown(self, run: Runner, kind: str) -> None:
        for name in catalog.names(kind):
            text = run.text("show", name, "--kind", kind)
            assert text.startswith(f"{name} · {kind}")
            assert run("show", name, "--kind", kind, "--json").json["name"] == name

    @pytest.mark.parametrize("columns", [80])
    @pytest.mark.parametrize("name", ["resnet50", "p4d.24xlarge", "K80", "default", "nvlink3", "ngc-mxnet"])
    def test_no_line_is_too_wide(self, run: Runner, monkeypatch: pytest.MonkeyPatch, name: str, columns: int) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        check_form(run.text("show", name).splitlines(), columns)

    def test_a_network(self, run: Runner) -> None:
        text = run.text("show", "vgg16")
        for part in ("138,357,544", "ImageNet-1k, 1,281,167 samples", "arXiv:1409.1556", "momentum", "73.0% top-1"):
            assert part in text
        answer = run("show", "vgg16", "--json").json
        assert sum(layer["parameters"] for layer in answer["layers"]) == answer["parameters"] == 138_357_544

    def test_a_cluster(self, run: Runner) -> None:
        text = run.text("show", "p4d.24xlarge")
        for part in ("500 × 8 = 4,000 devices", "300 GB/s", "50 GB/s", "$21.96", "2026-01-21", "source"):
            assert part in text
        answer = run("show", "p4d.24xlarge", "--json").json
        assert answer["kind"] == "cluster"
        assert answer["levels"][1]["bandwidth_bytes_per_s"] == 50e9
        assert answer["device"]["peak_flops_per_s"]["bf16"] == 312e12
        assert answer["price"]["on_demand_usd_per_node_hour"] == 21.957642

    def test_a_platform(self, run: Runner) -> None:
        text = run.text("show", "cudnn-r4-torch")
        for part in ("convolutions by gemm, fft, fft_tiled", "after the whole backward pass", "torch7 cudnn 4007"):
            assert part in text
        answer = run("show", "cudnn-r4-torch", "--json").json
        assert set(answer["constants"]) == set(CONSTANTS)
        for name, constant in answer["constants"].items():
            line = next(line for line in text.splitlines() if line.split()[:1] == [name])
            assert f"± {100 * constant['deviation']:.3g}%" in line
            assert constant["origin"] in line.split()
        assert answer["constants"]["launch"]["unit"] == "s"
        assert answer["bucket_bytes"] is None

    def test_what_a_device_attains(self, run: Runner, tmp_path: Path) -> None:
        shown = (catalog.find("device", "K80")).read_text(encoding="utf-8")
        lines = [line for line in shown.splitlines() if not line.startswith(("name", "attainable", "platform", " "))]
        path = tmp_path / "mine.yaml"
        path.write_text("\n".join([*lines, "name: mine", "platform: neon", "attainable: {memory: 0.7 ± 4%}"]) + "\n")
        text = run.text("show", str(path), "--kind", "device")
        assert "memory 0.7 ± 4%, measured" in text
        assert f"vector {format_constant(ATTAINABLE['vector'].prior, ATTAINABLE['vector'])}, prior" in text
        answer = run("show", str(path), "--kind", "device", "--json").json
        assert answer["platform"] == "neon"
        assert answer["attainable"]["memory"] == {
            "value": 0.7,
            "unit": "share",
            "deviation": 0.04,
            "origin": "measured",
        }

    @pytest.mark.parametrize(("path", "kind"), [
        ("nets/vgg16.yaml", "net"), ("hardware/devices/paleo/K80.yaml", "device"),
        ("search_spaces/default.yaml", "space"), ("hardware/clusters/aws/p4d.24xlarge.yaml", "cluster"),
        ("hardware/links/paleo/pcie2.yaml", "link"), ("hardware/platforms/neon.yaml", "platform"),
    ])  # fmt: skip
    def test_a_file_tells_its_kind(self, run: Runner, path: str, kind: str) -> None:
        file = catalog.shipped_folder() / path
        assert run.text("show", str(file)).startswith(f"{file.stem} · {kind} · ")

    def test_a_name_of_two_kinds(self, run: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        folder = tmp_path / "nets"
        folder.mkdir()
        (folder / "pcie2.yaml").write_text("name: pcie2\ninput: [8]\nlayers: {out: {type: InnerProduct, outputs: 2}}\n")
        monkeypatch.setenv("PALEO_OPT_PATH", str(tmp_path))
        line = run.refusal("show", "pcie2")
        assert line.endswith("'pcie2' is a net and a link; say which with --kind net or --kind link")
        assert run.text("show", "pcie2", "--kind", "net").startswith("pcie2 · net")

    def test_nothing_of_that_name(self, run: Runner) -> None:
        assert run.refusal("show", "vg16").endswith("nothing is called 'vg16'; did you mean 'vgg16'?")
        assert "see: paleo-opt list" in run.refusal("show", "zzzzzzzz")
        assert run.refusal("show", "no/such.yaml").endswith("no/such.yaml: no such file")
