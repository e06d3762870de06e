"""What README.md and docs/ say is what happens: commands, their output, options, JSON fields, YAML, Python, links.

A fenced block is checked by its language:

- ``console``: every ``$ paleo-opt`` command runs and prints exactly what follows it, how long it took apart (``[...]``
  stands for any lines). Where nothing follows it must only succeed; ``$ echo $?`` after it says with what code it ends.
- ``sh``: every ``paleo-opt`` command has options that exist.
- ``yaml``: a file with a ``name`` loads; ``yaml refused`` is refused with the messages of the ``text`` block after it.
- ``python``: runs, from the checkout's folder, one block after the other; ``>>>`` lines print what is shown.

After a change of the output, ``python tests/test_docs.py`` writes the new one into the files.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from paleo_opt.cli.main import build_parser, main, parse
from paleo_opt.errors import SpecError
from paleo_opt.hardware.load import load_cluster, load_device, load_link
from paleo_opt.hardware.platform import CONSTANTS
from paleo_opt.hardware.platform_load import load_platform
from paleo_opt.network.load import load_network
from paleo_opt.search.space import load_space
from paleo_opt.validation.validate import GROUPINGS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CLI = ROOT / "docs" / "cli.md"
_FENCE = re.compile(r"^```(\S*)[ ]?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
#: What differs from one machine, or one Optuna, to the next.
_VOLATILE = re.compile(r"(?<=\bin )[\d.,]+ (?:s|ms|µs)\b|(?<=at trial )\d+")


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page; ``start`` is where its text begins."""

    page: Path
    line: int
    language: str
    info: str
    text: str
    start: int

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def fences(page: Path) -> list[Fence]:
    text = page.read_text(encoding="utf-8")
    return [
        Fence(page, text.count("\n", 0, match.start()) + 1, match[1], match[2], match[3], match.start(3))
        for match in _FENCE.finditer(text)
    ]


FENCES = [fence for page in PAGES for fence in fences(page)]


def having(language: str, info: str = "") -> list[Fence]:
    return [fence for fence in FENCES if (fence.language, fence.info) == (language, info)]


@dataclass(frozen=True)
class Command:
    """A command of a console block; the page shows its output from ``start``.

    A search that is kept is in a folder of its own, with what the commands ``before`` it in the block have kept there.
    """

    fence: Fence
    words: tuple[str, ...]
    output: str
    start: int
    code: int
    before: tuple[tuple[str, ...], ...] = ()

    def __str__(self) -> str:
        return f"{self.fence}: {shlex.join(self.words)[:60]}"


def commands(fence: Fence) -> Iterator[Command]:
    kept: list[tuple[str, ...]] = []
    for match in _COMMAND.finditer(fence.text):
        words = shlex.split(match[1].replace("\\\n", " "), comments=True)
        code = re.match(r"\$ echo \$\?\n(\d+)", fence.text[match.end() :])
        if words[0] == "paleo-opt":
            start, before = fence.start + match.start(2), tuple(kept) if "--storage" in words else ()
            yield Command(fence, tuple(words[1:]), match[2], start, int(code[1]) if code else 0, before)
            if "--storage" in words:
                kept.append(tuple(words[1:]))


COMMANDS = [command for fence in having("console") for command in commands(fence)]


@contextlib.contextmanager
def user(folder: str | Path = ROOT) -> Iterator[None]:
    """The checkout's folder, a terminal of 100 columns, and none of one's own spec files."""
    before, environment = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    os.environ["COLUMNS"] = "100"
    os.environ.pop("PALEO_OPT_PATH", None)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)


def run_command(command: Command) -> tuple[int, str]:
    """As `run`, of a command of a page."""
    if "--storage" not in command.words:
        return run(command.words)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        for words in command.before:
            assert run(words, folder)[0] == 0
        return run(command.words, folder)


def run(words: tuple[str, ...], folder: str | Path = ROOT) -> tuple[int, str]:
    """Exit code, and all that was printed, messages first."""
    out, err = io.StringIO(), io.StringIO()
    with user(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return code, err.getvalue().replace(f"{ROOT}{os.sep}", "") + out.getvalue().replace(f"{ROOT}{os.sep}", "")


def same(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed, what is volatile and left-out lines apart."""
    shown, printed = (_VOLATILE.sub("…", text).rstrip() for text in (shown, printed))
    pattern = re.escape(shown).replace(re.escape("[...]"), ".*")
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_command(command: Command) -> None:
    code, printed = run_command(command)
    assert code == command.code, printed
    if command.output and not same(command.output, printed):
        assert command.output == printed


@pytest.mark.parametrize("fence", having("sh"), ids=str)
def test_options_of_sketched_commands(fence: Fence) -> None:
    for line in fence.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["paleo-opt"]:
            with contextlib.redirect_stdout(io.StringIO()):
                assert parse(words[1:]).command


LOADERS = {
    "layers": load_network,
    "transformer": load_network,
    "peak": load_device,
    "devices_per_node": load_cluster,
    "latency": load_link,
    "algorithms": load_platform,
    "collective": load_space,
}


def load_text(text: str, folder: Path) -> Any:
    """Load a YAML text as the file that its name says."""
    fields = yaml.safe_load(text)
    path = folder / f"{fields['name']}.yaml"
    path.write_text(text, encoding="utf-8")
    return next(LOADERS[field] for field in LOADERS if field in fields)(path.name)


@pytest.mark.parametrize("fence", [f for f in having("yaml") if "name" in yaml.safe_load(f.text)], ids=str)
def test_yaml_loads(fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load_text(fence.text, tmp_path)


@pytest.mark.parametrize("fence", having("yaml", "refused"), ids=str)
def test_yaml_is_refused(fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    messages = FENCES[FENCES.index(fence) + 1]
    assert messages.language == "text"
    with pytest.raises(SpecError) as error:
        load_text(fence.text, tmp_path)
    assert str(error.value) == messages.text.rstrip()


@pytest.mark.parametrize("page", [page for page in PAGES if any(f.page == page for f in having("python"))], ids=str)
def test_python_runs(page: Path) -> None:
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with user(), contextlib.redirect_stdout(printed):
        for fence in (fence for fence in having("python") if fence.page == page):
            if ">>>" in fence.text:
                example = doctest.DocTestParser().get_doctest(fence.text, names, str(fence), str(page), fence.line)
                runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
                assert runner.run(example, clear_globs=False).failed == 0, printed.getvalue()
                names |= example.globs
            else:
                exec(compile(fence.text, str(fence), "exec"), names)


def anchors(page: Path) -> set[str]:
    """GitHub's anchors of a page's headings."""
    found: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        found[re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")] += 1
    return {f"{name}-{again}" if again else name for name, count in found.items() for again in range(count)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def rows(section: str) -> list[list[str]]:
    """The cells of the tables below the heading ``section`` of docs/cli.md."""
    text = CLI.read_text(encoding="utf-8")
    match = re.search(rf"^(#+) {re.escape(section)}\n(.*?)(?=^#{{1,3}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, section
    lines = [line for line in match[2].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_documented_constants_are_the_constants() -> None:
    text = (ROOT / "docs" / "hardware.md").read_text(encoding="utf-8")
    table = text.partition("| constant | unit |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \| (\w+) ", table, re.MULTILINE) == [
        (name, meaning.unit) for name, meaning in CONSTANTS.items()
    ]


COMMAND_PARSERS = build_parser()[1]


@pytest.mark.parametrize("command", COMMAND_PARSERS)
def test_documented_options_are_the_options(command: str) -> None:
    table = [row for row in rows("Options") if row[0].startswith("`--")]
    documented = {row[0].strip("`").split()[0] for row in table if command in row[1] or row[1] == "all"}
    assert documented == {name for name in COMMAND_PARSERS[command].option_names if name.startswith("--")}


def test_documented_commands_are_the_commands() -> None:
    assert [row[0].strip("`").split()[0] for row in rows("Commands")[1:]] == list(COMMAND_PARSERS)


#: Objects whose keys are names of things.
KEYED_BY_NAME = {
    "collectives",
    "errors",
    "platforms",
    "patterns",
    *("best.knobs", "next.values", "runs[].knobs"),
    *("fleet.nodes", "one_kind.nodes", "inputs.most_nodes"),
    *(f"by.{name}" for name in GROUPINGS),
}


def paths(value: Any, prefix: str = "") -> set[str]:
    """The fields of a JSON value: ``estimate.memory.parameters``, ``layers[].name``."""
    if isinstance(value, dict) and value:
        start = f"{prefix}." if prefix else ""
        return set().union(
            *(paths(item, start + ("NAME" if prefix in KEYED_BY_NAME else key)) for key, item in value.items())
        )
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(paths(item, f"{prefix}[]") for item in value))
    return {prefix}


JSON = {
    "JSON of recommend": ("recommend", "vgg16", "--budget", "64gpus"),
    "JSON of pareto": ("pareto", "vgg16", "--budget", "64gpus", "--minimize", "energy"),
    "JSON of tune": (
        *("tune", "examples/tune/mlp.yaml", "--on", "ethernet20", "--device", "k80", "--global-batch", "64"),
        *("--trials", "2", "--choice", "threads=1,2", "--choice", "micro_batch=16,32"),
        *("--command", "echo step_time_s=0.{micro_batch}{threads}"),
    ),
    "JSON of plan": ("plan", "examples/quarter.yaml"),
    "JSON where nothing is feasible": ("recommend", "vgg16", "--budget", "8gpus", "--budget", "5min"),
    "JSON of estimate": ("estimate", "vgg16", "--on", "p4d.24xlarge"),
    "JSON of calibrate": (
        "calibrate",
        "examples/calibration/micro.csv",
        "examples/calibration/micro-2.csv",
        "--device",
        "examples/calibration/hardware/devices/amd-epyc-1-core.yaml",
    ),
    "JSON of validate": ("validate", "examples/measurements.csv"),
    "JSON of split": ("split", "alexnet", "--on", "p3.16xlarge", "--gpus", "8", "--global-batch", "512"),
    "JSON of fleet": (
        *("fleet", "bert_large", "--on", "p4d.24xlarge:1", "--on", "p3dn.24xlarge:1"),
        *("--way", "data", "--knobs", "overlap"),
    ),
    "JSON of scaling": ("scaling", "vgg16", "--on", "p4d.24xlarge", "--workers", "1,2"),
    "JSON of import": ("import", "examples/config.json"),
    "JSON of sensitivity": ("sensitivity", "vgg16", "--on", "p4d.24xlarge"),
}
#: ``nearest.estimate.*`` stands for every field of that section.
WHOLE = {"strategy.*": "Strategy", "estimate.*": "Estimate", "inputs.*": "JSON of recommend"}


def documented(section: str) -> set[str]:
    """The JSON fields that a section of docs/cli.md has in the first column of its table."""
    found: set[str] = set()
    for name in (name for row in rows(section) for name in re.findall(r"`([^`]+)`", row[0])):
        whole = next((end for end in WHOLE if name.endswith(end)), None)
        if whole == "inputs.*":
            found |= {field for field in documented(WHOLE[whole]) if field.startswith("inputs.")}
        elif whole:
            found |= {name.removesuffix("*") + field for field in documented(WHOLE[whole])}
        else:
            found.add(name)
    return found


@pytest.mark.parametrize("section", JSON)
def test_documented_json_is_the_json(section: str) -> None:
    code, printed = run((*JSON[section], "--json"))
    assert code == ("nothing" in section), printed
    assert documented(section) == paths(json.loads(printed))


def refresh() -> None:
    """Write the output of every command into the pages, the last first so that the places of the others hold."""
    for command in reversed(COMMANDS):
        if not command.output.strip() or "[...]" in command.output:
            continue
        printed = run_command(command)[1]
        if not same(command.output, printed):
            page = command.fence.page
            text = page.read_text(encoding="utf-8")
            end = command.start + len(command.output)
            page.write_text(f"{text[: command.start]}{printed.rstrip()}\n{text[end:]}", encoding="utf-8")


if __name__ == "__main__":
    refresh()
