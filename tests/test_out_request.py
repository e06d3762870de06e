"""``request.yaml``: the question as it was given, with what it needs beside it; and what is refused when it is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from paleo_opt import __version__
from paleo_opt.cli.main import build_parser
from paleo_opt.cli.out import option_names
from paleo_opt.errors import SpecError
from paleo_opt.hardware.load import load_cluster
from paleo_opt.report.out.rerun import COMMANDS, FILE, Options, Request, read_request, request_files, shipped_digest

ROOT = Path(__file__).resolve().parent.parent
PARSERS = build_parser()[1]
KNOWN = {name: option_names(PARSERS[name]) for name in COMMANDS if name in PARSERS}
CLUSTER = """\
name: mine
description: our own
provider: on premises
device: {device}      # the device stands beside it
devices_per_node: 4
levels:
  - {{name: inside the node, size: 4, link: "{link}"}}
  - {{name: between nodes, link: ethernet-25g}}
source: made up
"""


def write(folder: Path, network: str, options: Options, command: str = "recommend") -> Path:
    """Keep a question in a folder."""
    for name, content in request_files(command, network, options).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def refusals(path: Path, text: str) -> list[str]:
    """What is wrong in a request, with the lines."""
    file = path / FILE
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as error:
        read_request(str(file), KNOWN)
    return [str(problem).removeprefix(f"{file}:") for problem in error.value.problems]


def own_device(folder: Path, name: str, memory: str = "20GB") -> Path:
    """A device file of one's own, made from a shipped one."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "hardware/devices/nvidia/l40s.yaml").read_text(encoding="utf-8")
    fields = yaml.safe_load(text) | {"name": name, "memory": memory}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    return folder / f"{name}.yaml"


class TestWriting:
    def test_shipped_names_are_named(self, tmp_path: Path) -> None:
        write(tmp_path, "vgg16", {"budget": ["64gpus", "$500"], "pipelined": [], "on": ["p4d.24xlarge"], "seed": ["0"]})
        assert [path.name for path in tmp_path.iterdir()] == [FILE]
        assert yaml.safe_load((tmp_path / FILE).read_text(encoding="utf-8")) == {
            "paleo-opt": __version__,
            "specs": shipped_digest(),
            "command": "recommend",
            "network": "vgg16",
            "options": {"budget": ["64gpus", "$500"], "pipelined": True, "on": "p4d.24xlarge", "seed": "0"},
        }

    def test_the_words_come_back(self, tmp_path: Path) -> None:
        options = {
            "budget": ["64gpus", "1,000kWh"],
            "pipelined": [],
            "set": ["net.job.epochs=60", "levels.1.x=a=b: [1]"],
        }
        request = read_request(str(write(tmp_path, "vgg16", options)), KNOWN)
        assert request.words == (
            "recommend", "--budget=64gpus", "--budget=1,000kWh", "--pipelined", "--set=net.job.epochs=60",
            "--set=levels.1.x=a=b: [1]", "--", "vgg16",
        )  # fmt: skip
        assert (request.command, request.own, request.notes) == ("recommend", "", ())

    def test_files_are_copied_and_found_from_anywhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)
        folder, moved = tmp_path / "out", tmp_path / "deep" / "moved"
        moved.parent.mkdir()
        shutil.move(write(folder, "examples/my_network.yaml", {"space": ["examples/my_space.yaml"]}), moved)
        monkeypatch.chdir(tmp_path)
        words = read_request("deep/moved/request.yaml", KNOWN).words
        assert words == (
            "recommend",
            "--space=deep/moved/inputs/given/search_spaces/my_space.yaml",
            "--",
            "deep/moved/inputs/given/nets/my_network.yaml",
        )
        assert Path(words[-1]).read_bytes() == (ROOT / "examples/my_network.yaml").read_bytes()

    def test_what_a_cluster_names_is_copied(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        own_device(home / "devices", "own")
        shutil.copy(ROOT / "hardware/links/pcie/pcie4-x16.yaml", home / "pcie4-x16.yaml")
        (home / "clusters").mkdir()
        text = CLUSTER.format(device="../devices/own.yaml", link="../pcie4-x16.yaml")
        (home / "clusters/mine.yaml").write_text(text, encoding="utf-8")
        before = load_cluster(str(home / "clusters/mine.yaml"))

        request = read_request(str(write(tmp_path / "out", "vgg16", {"on": [str(home / "clusters/mine.yaml")]})), KNOWN)
        shutil.rmtree(home)
        copy = request.words[1].removeprefix("--on=")
        after = load_cluster(copy)
        assert (after.levels, after.device.memory, after.device.peak) == (
            before.levels,
            before.device.memory,
            before.device.peak,
        )
        # Nothing but the names changes.
        names = ("../devices/own.yaml", "../pcie4-x16.yaml")
        assert [line for line in Path(copy).read_text(encoding="utf-8").splitlines() if "link" not in line] == [
            line.replace(names[0], '"./../devices/own.yaml"') for line in text.splitlines() if "link" not in line
        ]

    def test_two_files_of_one_name(self, tmp_path: Path) -> None:
        paths = [own_device(tmp_path / name, "own", memory) for name, memory in (("a", "20GB"), ("b", "30GB"))]
        for folder in ("a", "b"):
            text = CLUSTER.format(device="./own.yaml", link="pcie4-x16")
            (tmp_path / folder / "mine.yaml").write_text(text, encoding="utf-8")
        given = [str(path.parent / "mine.yaml") for path in paths]
        request = read_request(str(write(tmp_path / "out", "vgg16", {"on": [*given, given[0]]})), KNOWN)
        copies = [load_cluster(word.removeprefix("--on=")) for word in request.words[1:4]]
        assert [copy.device.memory for copy in copies] == [20e9, 30e9, 20e9]
        assert len(list((tmp_path / "out").rglob("*.yaml"))) == 5

    def test_own_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = tmp_path / "own"
        own_device(own / "hardware/devices", "fast")
        (own / "hardware/clusters/deep").mkdir(parents=True)
        text = CLUSTER.format(device="fast", link="pcie4-x16")
        (own / "hardware/clusters/deep/mine.yaml").write_text(text, encoding="utf-8")
        monkeypatch.setenv("PALEO_OPT_PATH", str(own))
        request = read_request(str(write(tmp_path / "out", "vgg16", {})), KNOWN)
        assert request.own == str(tmp_path / "out/inputs/own")
        monkeypatch.setenv("PALEO_OPT_PATH", request.own)
        shutil.rmtree(own)
        assert load_cluster("mine").device.memory == 20e9

    def test_a_setting_that_names_a_file(self, tmp_path: Path) -> None:
        path = own_device(tmp_path / "home", "own")
        request = read_request(str(write(tmp_path / "out", "vgg16", {"set": [f"device={path}"]})), KNOWN)
        assert request.words[1] == f"--set=device={tmp_path}/out/inputs/given/hardware/devices/own.yaml"

    def test_a_file_that_is_gone(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match=r"gone\.yaml: no such file or directory"):
            request_files("recommend", str(tmp_path / "gone.yaml"), {})

    @pytest.mark.parametrize("text", [
        "x\"; rm -rf /; '", "a: [b, {c}]", "# no comment", "- - -", "!!python/object:os", "on", "12:30:00", "0x10", "~",
        "line\nbreak", "a\u2028b", "ネット", " spaces ", "*alias", "&anchor", "%YAML",
    ])  # fmt: skip
    def test_any_text_comes_back_as_it_was(self, tmp_path: Path, text: str) -> None:
        request = read_request(str(write(tmp_path, "vgg16", {"budget": [text, text], "optimizer": [text]})), KNOWN)
        assert request.words[1:4] == (f"--budget={text}", f"--budget={text}", f"--optimizer={text}")


class TestReading:
    HEAD = "paleo-opt: {version}\ncommand: recommend\nnetwork: vgg16\n"

    def test_not_there(self, tmp_path: Path) -> None:
        for name in ("gone", "", "x" * 5000, "a\0b"):
            with pytest.raises(SpecError, match="no such answer; expected a folder written by --out"):
                read_request(f"{tmp_path}/{name}", KNOWN)

    def test_everything_wrong_is_named_at_once(self, tmp_path: Path) -> None:
        found = refusals(
            tmp_path,
            "paleo-opt: 0.1.0\ncommand: recomend\nnetwork: vgg16\nbudgets: 64gpus\n",
        )
        assert found == [
            "2: command: is 'recomend'; did you mean 'recommend'?",
            "4: budgets: is not a known field; valid: command, network, options, paleo-opt, specs",
        ]
        found = refusals(
            tmp_path,
            self.HEAD.format(version=__version__)
            + "options:\n  buget: 64gpus\n  pipelined: maybe\n  seed: {a: 1}\n  out: here\n",
        )
        assert found[0] == "5: options.buget: is no option of the command; did you mean 'budget'?"
        assert found[1].startswith("6: options.pipelined: is 'maybe'")
        assert found[2].startswith("7: options.seed: ")
        assert found[3].startswith("8: options.out: is no option of the command")

    @pytest.mark.parametrize("text", ["", "just words", "- a\n- b\n", "a: [", "paleo-opt: 1\n" * 2])
    def test_no_request(self, tmp_path: Path, text: str) -> None:
        assert refusals(tmp_path, text)

    def test_a_flag_may_be_off(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_text(
            self.HEAD.format(version=__version__) + "options: {pipelined: false}\n", encoding="utf-8"
        )
        assert read_request(str(tmp_path), KNOWN).words == ("recommend", "--", "vgg16")

    def test_another_version_is_noted(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_text(self.HEAD.format(version="0.0.1"), encoding="utf-8")
        (note,) = read_request(str(tmp_path), KNOWN).notes
        assert note.endswith(f"asked of paleo-opt 0.0.1, answered by {__version__}: figures may differ")

    def test_other_specs_are_noted(self, tmp_path: Path) -> None:
        text = self.HEAD.format(version=__version__) + "specs: 0123456789abcdef\n"
        (tmp_path / FILE).write_text(text, encoding="utf-8")
        (note,) = read_request(str(tmp_path), KNOWN).notes
        assert note.endswith("the shipped networks and hardware have changed since: figures may differ")

    def test_what_the_parser_refuses_has_its_line(self, tmp_path: Path) -> None:
        text = self.HEAD.format(version=__version__) + "options:\n  budget: 64\n"
        (tmp_path / FILE).write_text(text, encoding="utf-8")
        request: Request = read_request(str(tmp_path), KNOWN)
        (problem,) = request.refuse("argument --budget: '64' has no unit").problems
        assert str(problem) == f"{tmp_path}{os.sep}request.yaml:5: options.budget: '64' has no unit"
        (problem,) = request.refuse("unrecognized").problems
        assert str(problem) == f"{tmp_path}{os.sep}request.yaml:4: options: unrecognized"
