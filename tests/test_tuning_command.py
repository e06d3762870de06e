"""The command of a tuning: its placeholders, the values they take, and what a run reports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.tuning.choices import STRATEGY_FIELDS
from paleo_opt.tuning.command import parse_command
from paleo_opt.tuning.knobs import MOST_LEVELS, parse_choice, parse_range
from paleo_opt.tuning.readings import compile_pattern, ended_without_memory, last_line, read_report


def filled(text: str, **values: object) -> str:
    return parse_command(text, STRATEGY_FIELDS, []).fill(values)


class TestTemplate:
    def test_values_are_words_of_the_shell(self) -> None:
        assert filled("run --batch {micro_batch} >{report}", micro_batch=32, report="a b") == "run --batch 32 >'a b'"

    def test_doubled_braces_are_braces(self) -> None:
        assert filled("x=${{HOME}} {{}} {gpus}", gpus=8) == "x=${HOME} {} 8"

    def test_truth_is_written_small(self) -> None:
        assert filled("{sequence_parallel}", sequence_parallel=True) == "true"

    def test_names_are_kept_once_in_order(self) -> None:
        assert parse_command("{gpus} {data} {gpus}", STRATEGY_FIELDS, []).names == ("gpus", "data")

    @pytest.mark.parametrize(("text", "message"), [
        ("run {microbatch}", "{microbatch} is no field of a strategy; did you mean 'micro_batch'?"),
        ("run {}", "{} is no field of a strategy"),
        ("run {gpus", "'{' at 5 has no partner; write {{ for it"),
        ("run gpus}", "'}' at 9 has no partner; write }} for it"),
        ("  ", "--command is empty"),
    ])  # fmt: skip
    def test_what_is_wrong_is_named(self, text: str, message: str) -> None:
        with pytest.raises(SpecError) as error:
            parse_command(text, STRATEGY_FIELDS, [])
        assert message in str(error.value)

    def test_a_knob_that_the_command_does_not_take_is_refused(self) -> None:
        with pytest.raises(SpecError, match=r"--command has no \{threads\}"):
            parse_command("run {gpus}", STRATEGY_FIELDS, ["threads"])

    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30))
    def test_any_value_comes_out_of_the_shell_as_it_was(self, value: str) -> None:
        import shlex

        assert shlex.split(filled("{gpus}", gpus=value)) == [value]


class TestKnobs:
    def test_numbers_lie_on_a_logarithmic_scale(self) -> None:
        knob = parse_choice("threads=1,2,4,16")
        assert knob.levels == ("1", "2", "4", "16")
        assert knob.positions == pytest.approx((0.0, 0.25, 0.5, 1.0))

    def test_with_zero_the_scale_is_even(self) -> None:
        assert parse_choice("workers=0,2,8").positions == pytest.approx((0.0, 0.25, 1.0))

    def test_names_have_no_scale(self) -> None:
        assert parse_choice("layout=NCHW,NHWC").positions == ()

    def test_whole_numbers_of_a_range(self) -> None:
        assert parse_range("workers=0:4").levels == ("0", "1", "2", "3", "4")

    def test_a_long_range_has_few_levels(self) -> None:
        knob = parse_range("bucket=1:1000000:log")
        assert len(knob.levels) <= MOST_LEVELS
        assert (knob.levels[0], knob.levels[-1]) == ("1", "1000000")
        assert all(level.isdigit() for level in knob.levels)

    def test_fractions(self) -> None:
        knob = parse_range("share=0.1:0.9")
        assert (knob.levels[0], knob.levels[-1], len(knob.levels)) == ("0.1", "0.9", MOST_LEVELS)

    @pytest.mark.parametrize("text", ["x", "x=", "=1,2", "x=1,,2", "x=a,a", "1x=a,b"])
    def test_bad_choices(self, text: str) -> None:
        with pytest.raises(SpecError, match=r"^--choice"):
            parse_choice(text)

    @pytest.mark.parametrize("text", ["x=1", "x=2:1", "x=a:b", "x=0:8:log", "x=1:8:linear", "x=1:inf", "x=1:2:log:3"])
    def test_bad_ranges(self, text: str) -> None:
        with pytest.raises(SpecError, match=r"^--range"):
            parse_range(text)


class TestReports:
    @pytest.mark.parametrize(("text", "step_time_s"), [
        ("step_time_s=0.25", 0.25),
        ("epoch 1 step_time_s: 1e-1, loss 3", 0.1),
        ("step_time_s=0.5\nstep_time_s=0.25\nbye", 0.25),
        ("samples_per_s=512", 0.25),
        ('{"step_time_s": 0.25, "loss": 1}', 0.25),
        ('{"samples_per_s": 512}', 0.25),
        ('noise\n{"loss": 1}\n{"step_time_s": 0.25}\n{"loss": 2}', 0.25),
    ])  # fmt: skip
    def test_the_last_counts(self, text: str, step_time_s: float) -> None:
        report = read_report(text)
        assert report is not None
        assert report.step_time_s(128) == pytest.approx(step_time_s)

    @pytest.mark.parametrize("text", [
        "", "done", "step_time_s=", "step_time_s=-1", "step_time_s=0", '{"step_time_s": "fast"}', "my_step_time_s=3",
        '{"step_time_s": true}', '{"step_time_s": NaN}', "step_time_s=1e999", "{" * 2000 + "}" * 2000,
    ])  # fmt: skip
    def test_nothing_else_is_a_report(self, text: str) -> None:
        assert read_report(text) is None

    def test_memory_comes_with_it(self) -> None:
        report = read_report('{"step_time_s": 0.25, "memory_bytes": 3e9}')
        assert report is not None and report.memory_bytes == 3e9
        report = read_report("memory_bytes=2e9\nstep_time_s=0.25")
        assert report is not None and report.memory_bytes == 2e9

    def test_ones_own_pattern(self) -> None:
        report = read_report("rate 100/s\nrate 256/s", compile_pattern(r"rate (?P<samples_per_s>\d+)/s"))
        assert report is not None and report.step_time_s(128) == 0.5
        report = read_report("took 7.5 s", compile_pattern(r"took ([\d.]+) s"))
        assert report is not None and report.step_time_s(128) == 7.5
        assert read_report("took long", compile_pattern(r"took (\w+)")) is None

    @pytest.mark.parametrize("text", ["(", "nothing", "(a)(b)", "(?P<seconds>a)(b)"])
    def test_bad_patterns(self, text: str) -> None:
        with pytest.raises(SpecError, match=r"^--report-regex"):
            compile_pattern(text)

    @given(st.text(max_size=200))
    def test_no_text_is_a_traceback(self, text: str) -> None:
        report = read_report(text)
        assert report is None or report.value > 0

    def test_why_a_run_ended(self) -> None:
        assert ended_without_memory(1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")
        assert ended_without_memory(137, "") and ended_without_memory(-9, "")
        assert not ended_without_memory(1, "AssertionError")
        assert last_line("Traceback\n  File x\nValueError: no\n\n") == "ValueError: no"
