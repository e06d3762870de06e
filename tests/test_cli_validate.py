"""``paleo-opt validate``: the answer, its JSON, its picture, and bad input."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import Runner

from paleo_opt.cli.validate import GROUPINGS
from paleo_opt.report.validation import figure, signed
from paleo_opt.validation import validate

EXAMPLE = str(Path(__file__).parents[1] / "examples" / "measurements.csv")
HEADER = "id,family,network,device,micro_batch,quantity,measured"
PALEO = ("--model", "paleo")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def test_the_answer_comes_first(run: Runner) -> None:
    lines = run.text("validate", *PALEO).splitlines()
    found = run("validate", *PALEO, "--json").json
    assert lines[0] == "model paleo · published figures"
    assert lines[1].startswith(f"→ {found['rows']} rows · MAPE {100 * found['mape']:.0f}% · median ")


def test_json_is_the_contract(run: Runner) -> None:
    found = run("validate", EXAMPLE, *PALEO, "--json").json
    contract = [
        "rows", "refused", "mape", "median_ape", "p90_ape", "bias", "rank_correlation", "regret", "by", "predictions",
    ]  # fmt: skip
    assert set(contract) <= set(found)
    assert found["rows"] == len(found["predictions"]) == 3
    assert found["refused"] == [{"id": "unknown-device", "reason": "device 'ascend910' is not known"}]
    assert found["regret"] == {"groups": 0, "mean": None, "max": None}
    assert set(found["by"]) == set(GROUPINGS)
    assert {name: of["rows"] for name, of in found["by"]["quantity"].items()} == {
        "samples_per_s": 2,
        "forward_time_s": 1,
    }
    errors = [abs(item["predicted"] / item["measured"] - 1) for item in found["predictions"]]
    assert found["mape"] == pytest.approx(sum(errors) / 3)


def test_refused_rows_are_named_with_their_reason(run: Runner) -> None:
    text = run.text("validate", EXAMPLE, *PALEO)
    assert "1 row refused, named below" in text
    assert "    1  device 'ascend910' is not known: unknown-device" in text.splitlines()


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_one_grouping_in_full(run: Runner, grouping: str) -> None:
    text = run.text("validate", *PALEO, "--by", grouping)
    found = run("validate", *PALEO, "--json").json["by"][grouping]
    headings = [line.split()[0] for line in text.splitlines() if " MAPE " in line and "→" not in line]
    assert headings == [grouping] * (grouping != "platform")  # PALEO knows no platforms
    if grouping == "device":
        assert all(any(line.startswith(name) for line in text.splitlines()) for name in found)


def test_the_fitted_constants_of_each_platform_are_counted(run: Runner) -> None:
    found = run("validate", "--json").json
    from paleo_opt.hardware.platform_load import load_platform

    assert sum(of["rows"] for of in found["platforms"].values()) == found["rows"]
    for name, of in found["platforms"].items():
        assert of["fitted_constants"] == load_platform(name).fitted_constants
    text = run.text("validate", "--by", "platform")
    for name, of in found["platforms"].items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        assert line.endswith(f" {of['fitted_constants']}")


def test_every_row(run: Runner) -> None:
    text = run.text("validate", EXAMPLE, *PALEO, "--rows")
    assert all(name in text for name in ("dgx1-1", "dgx1-8", "titan-forward", "unknown-device"))


def test_the_groupings_of_the_command_are_those_of_the_library() -> None:
    assert tuple(validate.GROUPINGS) == GROUPINGS


@pytest.mark.parametrize(("quantity", "value", "text"), [
    ("step_time_s", 0.041, "41 ms"), ("samples_per_s", 50_100.0, "50,100/s"), ("samples_per_s", 9.87, "9.87/s"),
    ("mfu", 0.412, "41%"), ("speedup", 56.0, "56×"), ("tflops_per_gpu", 131.2, "131 TFLOP/s"),
    ("memory_bytes", 9.8e9, "9.8 GB"), ("tokens_per_s_per_gpu", 4952.8, "4,953 tokens/s"),
])  # fmt: skip
def test_figures_as_a_person_writes_them(quantity: str, value: float, text: str) -> None:
    assert figure(quantity, value) == text


def test_signs() -> None:
    assert [signed(share) for share in (0.12, -0.034, 0.0)] == ["+12%", "−3.4%", "+0%"]


class TestPicture:
    def test_every_prediction_is_drawn(self, run: Runner, tmp_path: Path) -> None:
        place = tmp_path / "accuracy.svg"
        result = run("validate", *PALEO, "--plot", str(place))
        assert (result.code, result.err) == (0, f"wrote {place}\n")
        text = "".join(ElementTree.parse(place).getroot().itertext())
        found = run("validate", *PALEO, "--json").json
        assert f"of {found['by']['quantity']['samples_per_s']['rows']} within ±20%" in text
        for words in ("measured time", "predicted samples/s", "titan-x-maxwell", "other devices"):
            assert words in text
        again = tmp_path / "again.svg"
        run("validate", *PALEO, "--plot", str(again))
        assert again.read_bytes() == place.read_bytes()

    def test_png(self, run: Runner, tmp_path: Path) -> None:
        place = tmp_path / "accuracy.PNG"
        assert run("validate", EXAMPLE, *PALEO, "--plot", str(place)).code == 0
        assert place.read_bytes().startswith(b"\x89PNG")

    def test_another_kind_of_file(self, run: Runner) -> None:
        line = run.refusal("validate", "--plot", "accuracy.pdf")
        assert line == "paleo-opt: --plot is 'accuracy.pdf'; expected a file's name that ends in .svg or .png"

    def test_no_such_folder(self, run: Runner, tmp_path: Path) -> None:
        assert "there is no folder" in run.refusal("validate", "--plot", str(tmp_path / "no" / "a.svg"))

    def test_without_matplotlib(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("paleo_opt.report.static_charts.find_spec", lambda name: None)
        line = run.refusal("validate", "--plot", "a.svg")
        assert line == "paleo-opt: --plot needs matplotlib, which is not installed: pip install 'paleo-opt[plots]'"


class TestBadInput:
    def test_no_such_file(self, run: Runner) -> None:
        assert run.refusal("validate", "nothing.csv") == "paleo-opt: nothing.csv: no such file"

    def test_every_mistake_is_one_line(self, run: Runner, tmp_path: Path) -> None:
        table = tmp_path / "t.csv"
        table.write_text(f"{HEADER}\na,cnn,vgg16,k80,0,step_time_s,-1\na,cnn,vgg16,k80,1,speed,1\n", "utf-8")
        result = run("validate", str(table))
        assert (result.code, result.out) == (2, "")
        assert [line.removeprefix(f"paleo-opt: {table}:").split(": ")[:2] for line in result.err.splitlines()] == [
            ["2", "micro_batch"], ["2", "measured"], ["3", "quantity"],
        ]  # fmt: skip

    def test_nothing_to_predict(self, run: Runner, tmp_path: Path) -> None:
        table = tmp_path / "t.csv"
        table.write_text(f"{HEADER}\na,transformer,transformer,a100-sxm4-80gb,1,step_time_s,1\n", "utf-8")
        result = run("validate", str(table), "--plot", str(tmp_path / "a.svg"))
        assert (result.code, result.err) == (1, "")
        assert "no row can be predicted" in result.out
        assert "a transformer's hidden is missing: a" in result.out
        assert not (tmp_path / "a.svg").exists()
        found = run("validate", str(table), "--json")
        assert found.code == 1
        assert (found.json["rows"], found.json["mape"], len(found.json["refused"])) == (0, None, 1)

    def test_platforms(self, run: Runner) -> None:
        assert "no platform is called 'cudnn'" in run.refusal("validate", "--platform", "cudnn")
        line = run.refusal("validate", *PALEO, "--platform", "pytorch")
        assert line == "paleo-opt: the paleo model has no platform; expected model roofline"

    def test_misspellings(self, run: Runner) -> None:
        assert run.refusal("validate", "--by", "devices").endswith("did you mean 'device'?")
        assert run.refusal("validate", "--plots", "a.svg").endswith("unknown option '--plots'; did you mean '--plot'?")
