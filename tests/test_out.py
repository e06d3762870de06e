"""``--out DIR`` and ``rerun``: the answer as files, and the same answer from them again."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Runner

from paleo_opt.cli.main import parse
from paleo_opt.cli.out import asked

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = {f"launch/{name}" for name in ("torchrun.sh", "deepspeed.json", "megatron.args", "slurm.sbatch")}
RECOMMEND = ("recommend", "resnet50", "--budget", "64gpus", "--on", "p4d.24xlarge", "--trials", "5")
PARETO = ("pareto", "resnet18", "--budget=$50", "--on=p4d.24xlarge", "--on=p3.16xlarge", "--minimize=energy")
ESTIMATE = ("estimate", "resnet50", "--on", "p4d.24xlarge", "--gpus", "16", "--layers")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PALEO_OPT_PATH", raising=False)
    return Runner(capsys)


def files(folder: str) -> set[str]:
    """What an answer's folder holds."""
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()} - {".paleo-opt"}


def loaded(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def untimed(value: Any) -> Any:
    """JSON without what differs from one run to the next, and without the paths of files."""
    if isinstance(value, dict):
        return {key: untimed(item) for key, item in value.items() if key not in ("seconds", "message", "file")}
    return [untimed(item) for item in value] if isinstance(value, list) else value


class TestFiles:
    def test_recommend(self, run: Runner) -> None:
        result = run(*RECOMMEND, "--out", "report")
        assert (result.code, result.err) == (0, "wrote 10 files to report: see report/README.txt\n")
        assert "→ p4d.24xlarge · 64 GPUs" in result.out
        assert files("report") == LAUNCH | {
            "README.txt", "report.html", "pareto.csv", "recommendation.json", "request.yaml", "launch/skypilot.yaml",
        }  # fmt: skip
        assert untimed(loaded("report/recommendation.json")) == untimed(run(*RECOMMEND, "--json").json)
        strategy = loaded("report/recommendation.json")["recommended"]["strategy"]
        batches = loaded("report/launch/deepspeed.json")
        assert batches["train_batch_size"] == strategy["global_batch"]
        assert Path("report/report.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")

    def test_the_table(self, run: Runner) -> None:
        run(*RECOMMEND, "--out", "report")
        with Path("report/pareto.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        front = loaded("report/recommendation.json")["pareto"]
        assert len(rows) == len(front)
        for row, point in zip(rows, front, strict=True):
            for name in ("cluster", "device", "collective", "precision"):
                assert row[name] == point["strategy"][name]
            for name in ("gpus", "micro_batch", "global_batch"):
                assert int(row[name]) == point["strategy"][name]
            for name in ("time_to_target_s", "cost_usd", "energy_kwh", "step_time_s", "memory_bytes"):
                assert float(row[name]) == pytest.approx(point["estimate"][name])

    def test_pareto(self, run: Runner) -> None:
        result = run(*PARETO, "--json", "--out=report/")
        assert (result.code, result.err) == (0, "wrote 11 files to report/: see report/README.txt\n")
        assert files("report") == LAUNCH | {
            "README.txt", "report.html", "pareto.csv", "pareto.json", "recommendation.json", "request.yaml",
            "launch/skypilot.yaml",
        }  # fmt: skip
        assert untimed(loaded("report/pareto.json")) == untimed(result.json)
        assert loaded("report/recommendation.json")["recommended"] == result.json["recommended"]

    def test_estimate(self, run: Runner) -> None:
        result = run(*ESTIMATE, "--json", "--out", "report")
        assert result.err == "wrote 8 files to report: see report/README.txt\n"
        assert files("report") == LAUNCH | {"README.txt", "estimate.json", "request.yaml", "launch/skypilot.yaml"}
        assert loaded("report/estimate.json") == result.json

    @pytest.mark.parametrize("words", [RECOMMEND, PARETO, ESTIMATE, (*ESTIMATE, "--inference")])
    def test_the_readme_names_every_file(self, run: Runner, words: tuple[str, ...]) -> None:
        run(*words, "--out", "report")
        text = Path("report/README.txt").read_text(encoding="utf-8")
        assert all(f"\n  {name} " in text for name in files("report") - {"README.txt"})
        assert max(map(len, text.splitlines())) <= 100
        assert "None" not in text and "nan" not in text

    @pytest.mark.parametrize(("words", "reason"), [
        (("--inference",), "launch/                  inference is not trained"),
        (("--micro-batch", "100000"), "launch/                  the strategy does not fit the devices' memory"),
        (("--device", "l40s"), "launch/skypilot.yaml     no such instance is for rent: --device l40s"),
        (("--set", "device.memory=80GB"), "launch/skypilot.yaml     no such instance is for rent: --set device.memory"),
    ])  # fmt: skip
    def test_what_is_left_out_says_why(self, run: Runner, words: tuple[str, ...], reason: str) -> None:
        assert run(*ESTIMATE, *words, "--out", "report").code == 0
        text = Path("report/README.txt").read_text(encoding="utf-8")
        assert reason in text
        name = reason.split()[0]
        assert not any(file.startswith(name) for file in files("report"))

    def test_a_hybrid_split(self, run: Runner) -> None:
        run(*ESTIMATE[:1], "vgg16", *ESTIMATE[2:], "--split", "hybrid", "--tensor", "8", "--out", "report")
        assert {"launch/deepspeed.json", "launch/megatron.args"}.isdisjoint(files("report"))
        assert "\nexport SPLIT=hybrid " in Path("report/launch/torchrun.sh").read_text(encoding="utf-8")

    def test_our_own_cluster(self, run: Runner) -> None:
        run("recommend", "resnet50", "--budget", "32gpus", "--on", "dgx1-p100", "--out", "report")
        assert "launch/skypilot.yaml" not in files("report")
        text = Path("report/README.txt").read_text(encoding="utf-8")
        assert "launch/skypilot.yaml   dgx1-p100 is no instance of a cloud that SkyPilot knows" in text

    def test_a_network_without_a_job(self, run: Runner) -> None:
        text = (ROOT / "examples/my_network.yaml").read_text(encoding="utf-8")
        Path("my_network.yaml").write_text(text[: text.index("\njob:")], encoding="utf-8")
        assert run("estimate", "my_network.yaml", "--on", "g5.12xlarge", "--out", "report").code == 0
        assert "STEPS" not in Path("report/launch/torchrun.sh").read_text(encoding="utf-8")
        assert "expected-minutes" not in Path("report/launch/skypilot.yaml").read_text(encoding="utf-8")


class TestRerun:
    @pytest.mark.parametrize("words", [RECOMMEND, PARETO, ESTIMATE])
    @pytest.mark.parametrize("given", ["report", "report/", "report/request.yaml"])
    def test_the_same_answer(self, run: Runner, words: tuple[str, ...], given: str) -> None:
        first = run(*words, "--json", "--out", "report").json
        again = run("rerun", given, "--json")
        assert (again.code, again.err) == (0, "")
        assert untimed(again.json) == untimed(first)
        assert run("rerun", given).out.splitlines()[:2] == run(*words).out.splitlines()[:2]

    @pytest.mark.parametrize("words", [RECOMMEND, PARETO, ESTIMATE])
    def test_the_same_files(self, run: Runner, words: tuple[str, ...]) -> None:
        run(*words, "--out", "report")
        assert run("rerun", "report", "--out", "again").code == 0
        assert run("rerun", "report", "--out", "report").code == 0
        assert files("again") == files("report")
        for name in files("report") - {"README.txt", "report.html"}:
            pages = [Path(folder, name).read_text(encoding="utf-8") for folder in ("report", "again")]
            if name.endswith(".json"):
                pages = [untimed(json.loads(page)) for page in pages]
            assert pages[0] == pages[1], name

    def test_it_needs_nothing_but_the_folder(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        home = Path("home")
        home.mkdir()
        for name in ("my_network", "my_cluster", "my_space"):
            shutil.copy(ROOT / f"examples/{name}.yaml", home / f"{name}.yaml")
        own = home / "own/hardware/clusters"
        own.mkdir(parents=True)
        text = (ROOT / "hardware/clusters/aws/p4d.24xlarge.yaml").read_text(encoding="utf-8")
        (own / "cheap.yaml").write_text(
            text.replace("p4d.24xlarge", "cheap", 1).replace("$21.957642", "$1"), encoding="utf-8"
        )
        monkeypatch.setenv("PALEO_OPT_PATH", str(home / "own"))
        words = {
            "given": ("--on", "home/my_cluster.yaml", "--on", "cheap", "--budget", "16gpus"),
            "considered": ("--space", "home/my_space.yaml", "--set=space.clusters=priced", "--budget", "$500"),
        }
        first = {}
        for name, options in words.items():
            result = run("recommend", "home/my_network.yaml", *options, "--minimize", "cost", "--json", "--out", name)
            first[name] = result.json
            assert first[name]["recommended"]["strategy"]["cluster"] == "cheap"
        shutil.rmtree(home)
        Path("moved").mkdir()
        for name in words:
            shutil.move(name, f"moved/{name}")
            again = run("rerun", f"moved/{name}", "--json")
            assert again.err == ""
            assert untimed(again.json) == untimed(first[name])

    def test_own_folders_of_the_day_do_not_count(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        first = run(*ESTIMATE, "--json", "--out", "report").json
        own = Path("own/hardware/clusters")
        own.mkdir(parents=True)
        text = (ROOT / "hardware/clusters/aws/p4d.24xlarge.yaml").read_text(encoding="utf-8")
        (own / "p4d.24xlarge.yaml").write_text(text.replace("$21.957642", "$1"), encoding="utf-8")
        monkeypatch.setenv("PALEO_OPT_PATH", "own")
        assert run(*ESTIMATE, "--json").json != first
        assert run("rerun", "report", "--json").json == first
        assert run(*ESTIMATE, "--json").json != first

    def test_a_question_may_be_changed(self, run: Runner) -> None:
        run(*RECOMMEND, "--out", "report")
        request = Path("report/request.yaml")
        text = request.read_text(encoding="utf-8")
        request.write_text(text.replace("budget: 64gpus", "budget: [16gpus, $90]"), encoding="utf-8")
        assert run("rerun", "report", "--json").json["inputs"]["budgets"] == ["16gpus", "$90"]

    @pytest.mark.parametrize(("old", "new", "expected"), [
        ("budget: 64gpus", "budget: 64", "report/request.yaml:7: options.budget: budget '64' has no unit"),
        ("trials: '5'", "trials: many", "report/request.yaml:9: options.trials: is 'many'; expected a whole number"),
        ("'on':", "onn:", "report/request.yaml:8: options.onn: is no option of the command; did you mean 'on'?"),
        ("network: resnet50", "network: vgg61", "no net is called 'vgg61'; did you mean 'vgg16'?"),
        ("  budget: 64gpus\n", "", "--budget is missing"),
    ])  # fmt: skip
    def test_what_is_wrong_is_named(self, run: Runner, old: str, new: str, expected: str) -> None:
        run(*RECOMMEND, "--out", "report")
        request = Path("report/request.yaml")
        text = request.read_text(encoding="utf-8")
        assert old in text
        request.write_text(text.replace(old, new), encoding="utf-8")
        assert run.refusal("rerun", "report").startswith(f"paleo-opt: {expected}")

    def test_nothing_to_rerun(self, run: Runner) -> None:
        assert "nowhere: no such answer; expected a folder written by --out" in run.refusal("rerun", "nowhere")
        assert "DIR is missing" in run.refusal("rerun")

    def test_another_version_is_a_note(self, run: Runner) -> None:
        run(*ESTIMATE, "--out", "report")
        request = Path("report/request.yaml")
        request.write_text(request.read_text(encoding="utf-8").replace("0.1.0", "0.0.9"), encoding="utf-8")
        result = run("rerun", "report", "--json")
        assert result.json["strategy"]["gpus"] == 16
        assert "asked of paleo-opt 0.0.9" in result.err


class TestRefusals:
    @pytest.mark.parametrize("words", [RECOMMEND, PARETO, ESTIMATE])
    def test_before_anything_is_computed(
        self, run: Runner, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("mine").mkdir()
        Path("mine/file").write_text("x", encoding="utf-8")
        monkeypatch.setattr("paleo_opt.cli.options.network_of", lambda args: pytest.fail("computed"))
        line = run.refusal(*words, "--out", "mine")
        assert line == "paleo-opt: --out: mine is not empty and not an answer of paleo-opt; expected a new folder"
        assert files("mine") == {"file"}
        assert "there is no folder 'a'" in run.refusal(*words, "--out", "a/b")
        assert "is not a folder's name" in run.refusal(*words, "--out", "")

    def test_an_answer_is_written_over_unless_it_was_changed(self, run: Runner) -> None:
        run(*ESTIMATE, "--out", "report")
        assert run(*RECOMMEND, "--out", "report").code == 0
        assert "estimate.json" not in files("report")
        Path("report/launch/torchrun.sh").write_text("mine", encoding="utf-8")
        assert "report/launch/torchrun.sh was changed since it was written" in run.refusal(
            *RECOMMEND, "--out", "report"
        )

    def test_nothing_feasible_writes_nothing(self, run: Runner) -> None:
        result = run(*RECOMMEND, "--budget", "1s", "--out", "report")
        assert (result.code, result.err) == (1, "")
        assert list(Path().iterdir()) == []

    def test_a_failure_leaves_nothing(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(self: Path, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", fail)
        line = run.refusal(*ESTIMATE, "--out", "report")
        assert line == "paleo-opt: --out: report cannot be written: no space left on device"
        assert list(Path().iterdir()) == []


@pytest.mark.parametrize(("words", "expected"), [
    (("--gpus", "8", "--gpus=16"), {"gpus": ["8", "16"]}),
    (("--json", "--layers", "--out", "x"), {"layers": []}),
    (("--out=x", "--set", "a=b=c", "--set=d= e"), {"set": ["a=b=c", "d= e"]}),
    (("--pipelined", "--ppp-comp", ".5"), {"ppp-comp": [".5"], "pipelined": []}),
])  # fmt: skip
def test_options_are_kept_as_they_were_written(words: tuple[str, ...], expected: dict[str, list[str]]) -> None:
    assert asked(parse(("estimate", *words, "resnet50"))) == expected
    assert asked(parse(("estimate", *words, "--", "resnet50"))) == expected


def test_the_seed_is_kept_even_where_it_is_the_usual() -> None:
    assert asked(parse(("recommend", "vgg16", "--budget", "8gpus"))) == {"budget": ["8gpus"], "seed": ["0"]}
