"""Software platforms: their constants as written, what is refused, and which one a text of software means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt import catalog
from paleo_opt.errors import SpecError
from paleo_opt.estimator.collectives import NAMED_COLLECTIVES
from paleo_opt.hardware import platform_load
from paleo_opt.hardware.constant import Constant, Meaning, format_constant, parse_constant
from paleo_opt.hardware.load import load_device
from paleo_opt.hardware.platform import ALGORITHMS, ATTAINABLE, CONSTANTS, PASSES
from paleo_opt.hardware.platform_load import load_platform, platform_for, platform_of

MEANINGS = {**ATTAINABLE, **{f"platform.{name}": meaning for name, meaning in CONSTANTS.items()}}


# -- constants --------------------------------------------------------------------------------------------------------


@given(name=st.sampled_from(sorted(MEANINGS)), where=st.floats(0.001, 0.999), percent=st.integers(0, 200))
def test_a_constant_is_read_as_it_is_written(name: str, where: float, percent: int) -> None:
    meaning = MEANINGS[name]
    value = meaning.low * (meaning.high / meaning.low) ** where
    read = parse_constant(format_constant(Constant(value, percent / 100), meaning), meaning)
    assert read.value == pytest.approx(value, rel=6e-3)  # three digits are written of a bandwidth, four of others
    assert read.deviation == pytest.approx(percent / 100)
    assert parse_constant(format_constant(read, meaning), meaning) == read


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("0.82 ± 6%", "platform.products", Constant(0.82, 0.06)),
        ("0.82 +- 6%", "platform.products", Constant(0.82, 0.06)),
        ("0.82", "memory", Constant(0.82, 0.0)),
        ("5us ± 30%", "platform.launch", Constant(5e-6, 0.3)),
        ("1.5ms±12.5%", "platform.step_overhead", Constant(1.5e-3, 0.125)),
        ("5GB/s ± 50%", "platform.server", Constant(5e9, 0.5)),
    ],
)
def test_constants_by_hand(text: str, name: str, expected: Constant) -> None:
    found = parse_constant(text, MEANINGS[name])
    assert found.value == pytest.approx(expected.value)
    assert found.deviation == pytest.approx(expected.deviation)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("1.2", "platform.products", "is '1.2'; expected from 0.01 to 1"),
        ("0", "memory", "expected from 0.01 to 1"),
        ("nan", "memory", "expected from 0.01 to 1"),
        ("fast", "vector", "is 'fast'; expected a number such as 0.82"),
        ("2s ± 5%", "platform.launch", "expected from 100ns to 1ms"),
        ("0.5 ± 300%", "tensor", "expected a deviation of at most 200%"),
    ],
)
def test_what_physics_does_not_allow_is_refused(text: str, name: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_constant(text, MEANINGS[name])
    assert message in str(error.value)


def test_quantiles_are_lognormal() -> None:
    constant = Constant(0.5, 0.2)
    assert constant.quantile(0.0) == 0.5
    assert constant.quantile(1.0) * constant.quantile(-1.0) == pytest.approx(0.25)
    assert constant.quantile(1.0) == pytest.approx(0.5 * 2.718281828**0.2)


def test_priors_lie_within_their_bounds_and_are_not_sure() -> None:
    for meaning in MEANINGS.values():
        assert isinstance(meaning, Meaning)
        assert meaning.low <= meaning.prior.value <= meaning.high
        assert 0 < meaning.prior.deviation <= 1
        assert meaning.text


# -- files ------------------------------------------------------------------------------------------------------------

GOOD = """\
name: mine
description: "My framework"
software: ["my framework 2", "mine"]
constants:
  products: 0.9 ± 3%
  launch: 8us ± 20%
algorithms:
  forward: [winograd, fft]
  backward_data: []
fused: [bias, update]
buckets: 10MB
collective: ring_all_reduce
source: "measured here"
"""


def written(folder: Path, text: str = GOOD) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_read(tmp_path: Path) -> None:
    platform = load_platform(written(tmp_path))
    assert platform.constants == {"products": Constant(0.9, 0.03), "launch": Constant(8e-6, 0.2)}
    assert platform.fitted_constants == 2
    assert platform.constant("memory") == CONSTANTS["memory"].prior
    assert [platform.origin(name) for name in ("products", "memory")] == ["fitted", "prior"]
    # Matrix products run anything, so every pass has them; the others stand in one order.
    assert platform.algorithms == {
        "forward": ("gemm", "fft", "winograd"),
        "backward_data": ("gemm",),
        "backward_filter": ("gemm",),
    }
    assert platform.fused == {"bias", "update"}
    assert platform.bucket_bytes == 10e6
    exact = load_platform(written(tmp_path), {"constants.launch": "3us"})
    assert (exact.constant("launch"), exact.origin("launch")) == (Constant(3e-6), "given")


def test_all_mistakes_of_a_file_are_named_with_their_lines(tmp_path: Path) -> None:
    text = (
        GOOD.replace("products: 0.9 ± 3%", "products: 1.9 ± 3%")
        .replace("launch:", "lunch:")
        .replace("[winograd, fft]", "[winogard]")
        .replace("[bias, update]", "[bais]")
        .replace("10MB", "ten")
        .replace("ring_all_reduce", "ring")
    )
    with pytest.raises(SpecError) as error:
        load_platform(written(tmp_path, text))
    found = {problem.field: (problem.line, problem.message) for problem in error.value.problems}
    assert {field: line for field, (line, _) in found.items()} == {
        "constants.products": 5,
        "constants.lunch": 6,
        "algorithms.forward": 8,
        "fused": 10,
        "buckets": 11,
        "collective": 12,
    }
    assert all(Path(problem.file).name == "mine.yaml" for problem in error.value.problems)
    assert "expected from 0.01 to 1" in found["constants.products"][1]
    assert "did you mean 'launch'?" in found["constants.lunch"][1]
    assert "did you mean 'winograd'?" in found["algorithms.forward"][1]
    assert "did you mean 'bias'?" in found["fused"][1]
    assert "expected a size such as 25MB, or layer, or end" in found["buckets"][1]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="no platform is called 'tensorflow-2'; did you mean 'tensorflow-1'"):
        load_platform("tensorflow-2")


# -- shipped ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalog.names("platform"))
def test_shipped_platforms(name: str) -> None:
    platform = load_platform(name)
    assert platform.name == name
    assert platform.description and platform.source
    # What was measured was measured with an error.
    assert all(constant.deviation > 0 for constant in platform.constants.values())
    assert all(names[0] == "gemm" and set(names) <= set(ALGORITHMS) for names in platform.algorithms.values())
    assert set(platform.algorithms) == set(PASSES)
    for text in platform.software:
        assert platform_for(text.upper()) == platform, "each of its own texts means it and no other"


@pytest.mark.parametrize("name", catalog.names("device"))
def test_every_device_has_a_platform_and_what_it_attains_is_uncertain(name: str) -> None:
    device = load_device(name)
    assert platform_of(device).name
    assert all(constant.deviation > 0 for constant in device.attainable.values())


@pytest.mark.parametrize(
    ("software", "name"),
    [
        ("Torch7 cuDNN 4007, CUDA 7.5", "cudnn-r4-torch"),
        ("cuDNN[R4]-fp32 (Torch)", "cudnn-r4-torch"),
        ("torch7 cuDNN 5105", "cudnn-5.1-torch"),
        ("FireCaffe (Caffe)", "caffe-2015"),
        ("Nervana-neon-fp16", "neon"),
        ("CUDA-ConvNet2", "cuda-convnet2"),
        ("a framework of tomorrow", None),
        ("", None),
    ],
)
def test_the_platform_of_a_text_of_software(software: str, name: str | None) -> None:
    found = platform_for(software)
    assert (found and found.name) == name


def test_the_most_specific_platform_is_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "hardware" / "platforms"
    folder.mkdir(parents=True)
    for name, entry in (("aa-general", "made up"), ("mine", "made up 2.1"), ("zz-general", "made")):
        text = GOOD.replace("name: mine", f"name: {name}").replace('["my framework 2", "mine"]', f'["{entry}"]')
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PALEO_OPT_PATH", str(tmp_path))
    for software, name in (
        ("Made up 2.1, fp32", "mine"),
        ("made up 3", "aa-general"),
        ("made elsewhere", "zz-general"),
    ):
        found = platform_for(software)
        assert found is not None and found.name == name


def test_a_platform_may_name_every_collective_there_is() -> None:
    assert set(platform_load.COLLECTIVES) == set(NAMED_COLLECTIVES)
