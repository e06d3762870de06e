"""Calibrating a device, platform and link: made-up measurements whose constants are known, and what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import paleo_opt
from paleo_opt.calibration.calibrate import Calibration, calibrate
from paleo_opt.calibration.micro_model import MicroModel, least_bytes, least_flops
from paleo_opt.calibration.micro_table import MicroRow, micro_table_text
from paleo_opt.calibration.write import calibrated_files
from paleo_opt.errors import SpecError
from paleo_opt.hardware.constant import Constant
from paleo_opt.hardware.load import load_device, load_link
from paleo_opt.hardware.platform import CONSTANTS
from paleo_opt.hardware.platform_load import load_platform
from paleo_opt.measuring import grid
from paleo_opt.validation.measured_table import COLUMNS

DEVICE, PLATFORM, LINK = "k40", "tensorflow-1", "pcie3-x16"
#: What the made-up library attains.
TRUTH = {"products": 0.85, "convolutions": 0.6, "memory": 0.65, "launch": 2e-5, "step_overhead": 4e-3}


def made_up(spread: float = 0.0, collectives: bool = False) -> list[MicroRow]:
    """Rows as a library of the constants `TRUTH` would give them."""
    device = load_device(DEVICE)
    platform = load_platform(PLATFORM)
    platform = replace(platform, constants={name: Constant(value, 0.1) for name, value in TRUTH.items()})
    device = replace(device, attainable={"vector": Constant(0.8, 0.1), "memory": Constant(0.9, 0.1)})
    rows = [
        *grid.products("fp32", large=True, quick=False),
        *grid.convolutions("fp32", large=True, quick=False),
        *grid.memory_bound("fp32", large=True, quick=False),
        *grid.empty_step("fp32"),
        *(grid.collectives(4, 1, quick=False) if collectives else ()),
    ]
    rows = [replace(row, device=DEVICE, link=LINK if row.collective else "") for row in rows]
    times = MicroModel(rows, device, platform, load_link(LINK)).predict({})
    times *= np.exp(np.random.default_rng(0).normal(0.0, spread, times.size))
    return [replace(row, time_s=float(time)) for row, time in zip(rows, times, strict=True)]


def table(folder: Path, rows: list[MicroRow]) -> Path:
    path = folder / "micro.csv"
    path.write_text(micro_table_text(rows), encoding="utf-8")
    return path


def values(answer: Calibration) -> dict[str, float]:
    return {meant.name: one.value for meant, one in zip(answer.constants, answer.fit.fitted, strict=True)}


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    return calibrate(table(tmp_path_factory.mktemp("table"), made_up(0.03)), DEVICE, PLATFORM)


class TestKnownConstants:
    def test_what_the_library_attains_is_found_again(self, answer: Calibration) -> None:
        found = values(answer)
        # Only the product of what the device and what its library attains shows in a time.
        assert found["vector"] * found["platform.products"] == pytest.approx(0.8 * 0.85, rel=0.03)
        assert found["vector"] * found["platform.convolutions"] == pytest.approx(0.8 * 0.6, rel=0.05)
        assert found["memory"] * found["platform.memory"] == pytest.approx(0.9 * 0.65, rel=0.03)
        assert found["platform.launch"] == pytest.approx(2e-5, rel=0.1)

    def test_the_errors_are_those_of_the_measurements(self, answer: Calibration) -> None:
        rows, before, after = answer.errors()["all"]
        assert rows == len(answer.ids)
        assert np.median(after) < 0.04 < np.median(before)

    def test_a_product_says_nothing_of_collectives(self, answer: Calibration) -> None:
        assert not {name for name in values(answer) if name.startswith("link.") or "communication" in name}

    def test_what_a_constant_is_known_to(self, answer: Calibration) -> None:
        for meant, one in zip(answer.constants, answer.fit.fitted, strict=True):
            assert 0 < one.deviation <= meant.prior.deviation * 1.0001
            assert meant.meaning.low <= one.value <= meant.meaning.high

    def test_its_files_hold_the_constants(
        self, answer: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, text in calibrated_files(answer).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("PALEO_OPT_PATH", str(tmp_path))
        platform, device = load_platform(PLATFORM), load_device(DEVICE)
        assert Path(platform.file).is_relative_to(tmp_path)
        assert device.platform == PLATFORM
        for name, constant in answer.written().items():
            if name.startswith("platform."):
                found = platform.constant(name.removeprefix("platform."))
                assert found.value == pytest.approx(constant.value, rel=1e-3)
                assert found.deviation == pytest.approx(constant.deviation, rel=0.01)
        # Calibrated again on the same rows, it starts from where it ended.
        again = calibrate(table(tmp_path, made_up(0.03)), DEVICE, PLATFORM)
        assert np.median(np.abs(again.fit.before)) < np.median(np.abs(answer.fit.before))

    def test_collectives_calibrate_the_link(self, tmp_path: Path) -> None:
        rows = made_up(0.0, collectives=True)
        # A link that is half as fast as its file says, and slower to start.
        slow = [replace(row, time_s=2.0 * row.time_s) if row.collective else row for row in rows]
        answer = calibrate(table(tmp_path, slow), DEVICE, PLATFORM)
        rows_of, before, after = answer.errors()["all_reduce"]
        assert rows_of == 9
        assert np.median(after) < 0.1 < 0.4 < np.median(before)
        assert answer.link is not None and answer.link.name == LINK
        assert f"hardware/links/{LINK}.yaml" in calibrated_files(answer)


class TestSteps:
    def row(self, **cells: str) -> dict[str, str]:
        return {
            "id": "a", "family": "cnn", "network": "alexnet_v2", "device": DEVICE, "micro_batch": "128",
            "precision": "fp32", "quantity": "step_time_s", "measured": "0.5", **cells,
        }  # fmt: skip

    def write(self, folder: Path, rows: list[dict[str, str]]) -> Path:
        path = folder / "steps.csv"
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        return path

    def test_steps_are_brought_nearer(self, tmp_path: Path) -> None:
        rows = [self.row(id=f"{batch}", micro_batch=f"{batch}") for batch in (32, 64, 128, 256)]
        options = paleo_opt.Options(platform=PLATFORM)
        cluster = paleo_opt.load_cluster("pcie3-x16", device=DEVICE)
        table = paleo_opt.compile_network(paleo_opt.load_network("alexnet_v2"))
        for row in rows:
            strategy = paleo_opt.Strategy(cluster, 1, int(row["micro_batch"]), precision="fp32")
            row["measured"] = str(1.4 * float(paleo_opt.estimate(table, strategy, options).step_time_s[0]))
        answer = calibrate(self.write(tmp_path, rows), DEVICE, PLATFORM)
        _, before, after = answer.errors()["step_time_s"]
        assert before.mean() == pytest.approx(1.0 - 1.0 / 1.4, rel=0.01)
        assert after.mean() < 0.3 * before.mean()

    def test_a_rate_is_read_as_a_time(self, tmp_path: Path) -> None:
        times = [self.row(id=f"{batch}", micro_batch=f"{batch}", measured=f"{batch / 300}") for batch in (64, 128)]
        rates = [{**row, "quantity": "samples_per_s", "measured": "300"} for row in times]
        found = [calibrate(self.write(tmp_path, rows), DEVICE, PLATFORM) for rows in (times, rates)]
        assert values(found[0]) == pytest.approx(values(found[1]), rel=1e-3)

    def test_rows_of_others_are_refused(self, tmp_path: Path) -> None:
        rows = [
            self.row(id="1"), self.row(id="2", micro_batch="64", measured="0.25"), self.row(id="other", device="m40"),
            self.row(id="unknown", network="alexnet_v9"), self.row(id="memory", quantity="memory_bytes"),
            self.row(id="software", software="cuDNN[R4]"),
        ]  # fmt: skip
        answer = calibrate(self.write(tmp_path, rows), DEVICE, PLATFORM)
        reasons = {row.id: row.reason for row in answer.refused}
        assert reasons["other"] == "device 'm40' is not 'k40'"
        assert "alexnet_v9" in reasons["unknown"]
        assert "says nothing" in reasons["memory"]
        assert "cudnn-r4-torch" in reasons["software"]
        assert answer.ids == ("1", "2")


class TestRefused:
    def reasons(self, folder: Path, *bad: MicroRow) -> list[str]:
        good = [row for row in made_up() if row.operation == "gemm"][:6]
        return [row.reason for row in calibrate(table(folder, [*good, *bad]), DEVICE, PLATFORM).refused]

    def test_faster_than_the_data_sheet(self, tmp_path: Path) -> None:
        # 2 × 4096³ FLOPs in 20 ms are 6.87 TFLOP/s; a K40 has 5.046 at its highest clock.
        fast = MicroRow("fast", "gemm", DEVICE, m=4096, n=4096, k=4096, time_s=0.02)
        (reason,) = self.reasons(tmp_path, fast)
        assert "6.87 TFLOP/s" in reason
        assert "data sheet" in reason
        # 3 × 67 MB in 0.5 ms are 403 GB/s, of 288.
        add = MicroRow("add", "add", DEVICE, batch=64, height=64, width=64, channels=64, time_s=5e-4)
        (reason,) = self.reasons(tmp_path, add)
        assert "403 GB/s" in reason
        assert "288" in reason

    def test_another_device_or_precision(self, tmp_path: Path) -> None:
        rows = (
            MicroRow("other", "gemm", "m40", m=64, n=64, k=64, time_s=1.0),
            MicroRow("half", "gemm", DEVICE, "bf16", m=64, n=64, k=64, time_s=1.0),
        )
        assert self.reasons(tmp_path, *rows) == ["device 'm40' is not 'k40'", "k40 has no peak in bf16"]

    def test_an_unknown_link(self, tmp_path: Path) -> None:
        row = MicroRow(
            "sum", "collective", DEVICE, collective="all_reduce", bytes=1000, gpus=2, nodes=1, link="warp", time_s=1e-4
        )
        assert self.reasons(tmp_path, row) == ["link 'warp' is not known"]

    def test_one_row_is_no_fit(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="one row can be used; expected at least 2"):
            calibrate(table(tmp_path, made_up()[:1]), DEVICE)

    def test_no_row_is_no_fit(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match=r"no row can be used(.|\n)*device 'k40' is not 'm40'"):
            calibrate(table(tmp_path, made_up()[:4]), "m40")

    def test_rows_all_alike_tell_no_constant(self, tmp_path: Path) -> None:
        row = next(row for row in made_up() if row.operation == "gemm")
        alike = [replace(row, id=f"{index}", time_s=1.1 * row.time_s) for index in range(5)]
        with pytest.raises(SpecError, match="all rows measured the same work"):
            calibrate(table(tmp_path, alike), DEVICE, PLATFORM)

    def test_all_files_are_checked_before_any_is_used(self, tmp_path: Path) -> None:
        bad = tmp_path / "bad.csv"
        bad.write_text("id,operation\n", encoding="utf-8")
        with pytest.raises(SpecError) as error:
            calibrate([bad, tmp_path / "none.csv"], DEVICE)
        assert {problem.message for problem in error.value.problems} >= {"column 'time_s' is missing"}
        assert "no such file" in str(error.value)


class TestLeastWork:
    def test_of_a_product(self) -> None:
        assert least_flops(MicroRow("", "gemm", "", m=2, n=3, k=5), winograd=True) == 60

    def test_taps_on_padding_are_none(self) -> None:
        # 3 × 3 windows on a padded 4 × 4 image: of each axis' 12 taps two are on padding.
        row = MicroRow(
            "", "convolution", "", batch=1, height=4, width=4, channels=1, filters=1, kernel_h=3, kernel_w=3, stride=1,
            padding=1, groups=1, step="forward",
        )  # fmt: skip
        assert least_flops(row, winograd=False) == 2 * 10 * 10
        assert least_flops(row, winograd=True) == 2 * 10 * 10 / 4

    def test_of_a_sum(self) -> None:
        row = MicroRow("", "add", "", batch=2, height=3, width=5, channels=7)
        assert least_bytes(row) == 3 * 2 * 3 * 5 * 7 * 4


def test_every_platform_constant_has_a_place_in_the_fit() -> None:
    assert set(TRUTH) <= set(CONSTANTS)


EXAMPLE = Path(__file__).parents[1] / "examples" / "calibration"


@pytest.mark.parametrize(("micro", "device", "nearer_than"), [
    ("micro.csv", "amd-epyc-1-core", 0.10), ("micro-2.csv", "amd-epyc-1-core-of-2", 0.10),
])  # fmt: skip
def test_operations_predict_the_steps_of_a_network(
    micro: str, device: str, nearer_than: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of docs/calibration.md: its steps are no part of the calibration."""
    monkeypatch.setenv("PALEO_OPT_PATH", str(EXAMPLE))
    before = [found for found in paleo_opt.validate(EXAMPLE / "steps.csv").predictions if found.row.device == device]
    for name, text in calibrated_files(calibrate(EXAMPLE / micro, device)).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("PALEO_OPT_PATH", f"{EXAMPLE}:{tmp_path}")
    after = [found for found in paleo_opt.validate(EXAMPLE / "steps.csv").predictions if found.row.device == device]
    assert before
    for then, now in zip(before, after, strict=True):
        assert abs(now.error) < min(nearer_than, abs(then.error))
