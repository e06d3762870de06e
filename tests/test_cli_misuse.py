"""Bad usage and bad input: one line on stderr that names the nearest valid word, exit code 2, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Runner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from paleo_opt.cli import options
from paleo_opt.cli.main import build_parser
from paleo_opt.cli.question import MOST_ALTERNATIVES, MOST_SEED, MOST_TRIALS

ESTIMATE = ("estimate", "resnet50", "--on", "p4d.24xlarge")
COMMANDS = (
    "recommend",
    "pareto",
    "estimate",
    "fleet",
    "split",
    "scaling",
    "sensitivity",
    "plan",
    "validate",
    "calibrate",
    "measure",
    "import",
    "rerun",
    "list",
    "show",
    "studies",
    "tune",
    "worker",
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def dropped(word: str) -> list[str]:
    """Every misspelling of ``word`` with one letter too few."""
    start = len(word) - len(word.lstrip("-"))
    return [word[:i] + word[i + 1 :] for i in range(start, len(word))]


class TestMisspellings:
    def test_as_the_readme_has_it(self, run: Runner) -> None:
        expected = "paleo-opt: error: unknown option '--buget'; did you mean '--budget'?"
        assert run.refusal("recommend", "vgg16", "--buget", "64gpus") == expected
        assert run.refusal("recommend", "vgg16", "--buget=64gpus") == expected

    @pytest.mark.parametrize("command", COMMANDS)
    def test_commands(self, run: Runner, command: str) -> None:
        for word in (*dropped(command), command + "x", command.upper()):
            assert run.refusal(word).endswith(f"unknown command {word!r}; did you mean {command!r}?")

    def test_every_option_of_every_command(self, run: Runner) -> None:
        parser, commands = build_parser()
        for command, its in commands.items():
            for place, name in enumerate(its.option_names):
                if len(name) < 6:
                    continue
                words = (name[:-2] + name[-1], f"{name}s", name.replace("-", "_").replace("__", "--", 1))
                # In turn: each run makes all parsers anew. Of one command all.
                for word in words if command == "recommend" else (words[place % 3],):
                    if word not in its.option_names:
                        line = run.refusal(command, word)
                        assert line.startswith(f"paleo-opt: error: unknown option {word!r}; did you mean '--"), line
        assert set(commands) == set(COMMANDS)
        assert "--help" in parser.option_names

    def test_no_abbreviations(self, run: Runner) -> None:
        assert "did you mean '--layers'?" in run.refusal(*ESTIMATE, "--layer")
        assert "did you mean '--ppp-comp'?" in run.refusal(*ESTIMATE, "--ppp-com", "0.5")

    @pytest.mark.parametrize(("option", "value", "meant"), [
        ("--model", "pale", "paleo"),
        ("--conv-algorithm", "winogrd", "winograd"),
        ("--precision", "fp61", "fp16"),
        ("--split", "hybird", "hybrid"),
        ("--collective", "ring_allreduce", "ring_all_reduce"),
        ("--optimizer", "adm", "adam"),
        ("--on", "p4d", "p4d.24xlarge"),
        ("--device", "v100-sxm2", "v100-sxm2-16gb"),
    ])  # fmt: skip
    def test_values(self, run: Runner, option: str, value: str, meant: str) -> None:
        words = ("estimate", "resnet50") if option == "--on" else ESTIMATE
        line = run.refusal(*words, option, value)
        assert f"did you mean {meant!r}?" in line
        assert repr(value) in line

    def test_names_of_specs(self, run: Runner) -> None:
        assert "did you mean 'resnet50'?" in run.refusal("estimate", "resnet5", "--on", "p4d.24xlarge")
        assert "did you mean 'nets'?" in run.refusal("list", "net")
        assert "did you mean 'cluster'?" in run.refusal("show", "vgg16", "--kind", "clusters")
        assert "did you mean 'strong'?" in run.refusal("scaling", "vgg16", "--on", "p4d.24xlarge", "--scaling", "stong")
        assert "did you mean 'cost'?" in run.refusal("recommend", "vgg16", "--budget", "8gpus", "--minimize", "costs")

    @pytest.mark.parametrize(("setting", "named"), [
        ("prise.on_demand=$3", "did you mean 'price'?"),
        ("price.on_demnd=$3", "did you mean 'on_demand'?"),
        ("device.memroy=96GB", "did you mean 'memory'?"),
        ("net.job.optimiser=adam", "did you mean 'optimizer'?"),
        ("net.layers.conv1.outputs=0", "outputs"),
        ("device.memory=96", "'96' has no unit; expected memory"),
    ])  # fmt: skip
    def test_settings(self, run: Runner, setting: str, named: str) -> None:
        line = run.refusal(*ESTIMATE, "--set", setting)
        assert named in line
        assert "--set" in line


class TestValues:
    @pytest.mark.parametrize(("words", "expected"), [
        (("--gpus", "0"), "--gpus is '0'; expected a whole number from 1 to 1,000,000"),
        (("--gpus", "-4"), "--gpus is '-4'; expected"),
        (("--gpus", "2.5"), "--gpus is '2.5'"),
        (("--gpus", "64gpus"), "--gpus is '64gpus'"),
        (("--gpus", "9" * 5000), "--gpus is '999"),
        (("--micro-batch", "1e3"), "--micro-batch is '1e3'"),
        (("--micro-batch", "٣"), "--micro-batch is '٣'"),
        (("--global-batch", "nan"), "--global-batch is 'nan'"),
        (("--tensor", "100000"), "--tensor is '100000'; expected a whole number from 1 to 256"),
        (("--ppp-comp", "62"), "--ppp-comp is '62'; expected a share above 0 and at most 1"),
        (("--ppp-comp", "0"), "--ppp-comp is '0'"),
        (("--ppp-comm", "nan"), "--ppp-comm is 'nan'"),
        (("--ppp-comm", "fast"), "--ppp-comm is 'fast'"),
        (("--workspace-limit", "1"), "--workspace-limit: '1' has no unit; expected memory, such as 80GiB"),
        (("--workspace-limit", "1Gi"), "--workspace-limit: '1Gi' has the unit 'Gi'"),
        (("--set", "price"), "--set is 'price'; expected field=value"),
        (("--set", "=3"), "--set is '=3'"),
        (("--gpus",), "--gpus: expected one argument"),
        (("--json=yes",), "--json: ignored explicit argument 'yes'"),
        (("resnet101",), "unexpected argument 'resnet101'"),
        (("--gpus", "5000"), "has 4,000 GPUs, not 5,000"),
        (("--gpus", "4000", "--split", "model"), "tensor 4,000 under the split model; expected at most 256"),
        (("--tensor", "3", "--split", "model"), "tensor 3 does not divide 8 GPUs"),
        (("--tensor", "4", "--split", "data"), "expected the split hybrid or model"),
        (("--split", "hybrid"), "resnet50 marks no layer `split: model`"),
        (("--precision", "fp8"), "a100-sxm4-40gb has no peak in fp8; it has"),
        (("--on", "p3.16xlarge"), "--on: 2 clusters given; estimate takes one"),
    ])  # fmt: skip
    def test_estimate(self, run: Runner, words: tuple[str, ...], expected: str) -> None:
        assert expected in run.refusal(*ESTIMATE, *words)

    @pytest.mark.parametrize(("words", "expected"), [
        ((), "--budget is missing; expected at least one: 64gpus, '$5000', 36h or 200kWh"),
        (("--budget", "64"), "--budget: budget '64' has no unit"),
        (("--budget", "0gpus"), "--budget: budget '0gpus' must be above zero"),
        (("--budget", "64gpu s"), "--budget"),
        (("--budget", "36hurs"), "unknown unit 'hurs'"),
        (("--budget", "8gpus", "--trials", "-1"), "--trials is '-1'; expected a whole number from 0 to"),
        (("--budget", "8gpus", "--seed", "x"), "--seed is 'x'"),
        (("--budget", "8gpus", "--top", "9999"), "--top is '9999'"),
        (("--budget", "8gpus", "--inference"), "unknown option '--inference'"),
    ])  # fmt: skip
    def test_recommend(self, run: Runner, words: tuple[str, ...], expected: str) -> None:
        assert expected in run.refusal("recommend", "vgg16", *words)

    @pytest.mark.parametrize("workers", ["", "1,,2", "0", "1;2", "1,x", ",".join(["1"] * 2000)])
    def test_workers(self, run: Runner, workers: str) -> None:
        assert "--workers" in run.refusal("scaling", "vgg16", "--on", "p4d.24xlarge", "--workers", workers)

    @pytest.mark.parametrize(("words", "expected"), [
        ((), "no command; expected one of recommend, "),
        (("estimate",), "NET is missing (see: paleo-opt estimate --help)"),
        (("list",), "KIND is missing"),
        (("show",), "NAME is missing"),
        (("--josn",), "unknown option '--josn'"),
        (("", ""), "unknown command ''"),
    ])  # fmt: skip
    def test_nothing_said(self, run: Runner, words: tuple[str, ...], expected: str) -> None:
        assert expected in run.refusal(*words)

    def test_one_device_has_no_cluster_to_set(self, run: Runner) -> None:
        line = run.refusal("estimate", "vgg16", "--device", "k80", "--set", "price.on_demand=$3")
        assert "--set price.on_demand: there is no cluster to set it in" in line

    def test_a_link_needs_a_device(self, run: Runner) -> None:
        assert "is a link, not a cluster" in run.refusal("estimate", "vgg16", "--on", "ethernet")

    def test_every_problem_of_a_file_has_its_line(self, run: Runner, tmp_path: Path) -> None:
        file = tmp_path / "wrong.yaml"
        file.write_text(
            "name: wrong\ninput: [8, 8, 3]\nlayers:\n"
            "  a: {type: Convolutoin, outputs: 4}\n  b: {type: Pooling, kernel: 0}\n"
        )
        result = run("estimate", str(file), "--on", "p4d.24xlarge")
        assert result.code == 2
        lines = result.err.splitlines()
        assert len(lines) == 2
        assert all(line.startswith(f"paleo-opt: {file}:{number}: ") for line, number in zip(lines, (4, 5), strict=True))

    @pytest.mark.parametrize("name", ["", "no/such.yaml", "x" * 10_000, "a\x1b[31mb", "../..", "/", "\udcff"])
    def test_a_file_that_is_not_there(self, run: Runner, name: str) -> None:
        for command in (("estimate", name, "--device", "k80"), ("estimate", "vgg16", "--on", name), ("show", name)):
            line = run.refusal(*command)
            assert "\x1b" not in line


class TestListsOfNames:
    """The copies for ``--help`` are the estimator's own lists."""

    def test_they_are_the_same(self) -> None:
        from paleo_opt.cli.scaling import KINDS
        from paleo_opt.estimator import collectives, configuration, cost_table, estimate, memory, scaling
        from paleo_opt.hardware.device import ELEMENT_BYTES
        from paleo_opt.search.space import SPLITS, load_space

        assert options.COLLECTIVES == collectives.NAMED_COLLECTIVES
        assert options.CONV_ALGORITHMS == cost_table.CONV_ALGORITHMS
        for name in options.MODELS:
            assert estimate.Options(model=name).model == name
        assert set(options.OPTIMIZERS) == set(memory.OPTIMIZER_STATES)
        assert tuple(ELEMENT_BYTES) == options.PRECISIONS
        assert options.SPLITS == SPLITS
        assert KINDS == scaling.KINDS
        assert options.MOST_TENSOR == configuration.MOST_TENSOR
        assert set(configuration.COMMON_COLLECTIVES) == set(load_space("default").collective)

    def test_every_list_is_in_the_help(self, run: Runner) -> None:
        text = run("estimate", "--help").out
        for name in (*options.COLLECTIVES, *options.CONV_ALGORITHMS, *options.PRECISIONS, *options.OPTIMIZERS):
            assert name in text

    def test_help_is_within_its_width(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        for columns in ("80", "300"):
            monkeypatch.setenv("COLUMNS", columns)
            for words in ((), *((command,) for command in COMMANDS)):
                result = run(*words, "--help")
                assert (result.code, result.err) == (0, "")
                assert max(map(len, result.lines)) <= 98

    def test_limits_are_said_in_refusals(self) -> None:
        assert (MOST_TRIALS, MOST_ALTERNATIVES, MOST_SEED) == (1_000_000, 1_000, 4_294_967_295)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from((
    *COMMANDS, "resnet50", "--on", "p4d.24xlarge", "--gpus", "8", "--json", "--set", "a=b", "--", "-", "-1", "", "nets",
    "--kind", "--help", "--workers", "1,2", "--budget", "--split", "model", "--layers", "--device", "k80", "--version",
)), max_size=6))  # fmt: skip
@example(["estimate", "--", "--on"])
def test_any_words_end_in_an_exit_code(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    run = Runner(capsys)
    if "--help" not in words:
        # What takes long, and measuring, which says so.
        words = [word for word in words if word not in ("recommend", "measure")]
    result = run(*words)
    assert result.code in (0, 2)
    assert "Traceback" not in result.err
    assert (result.code == 0) == (result.err == "")
