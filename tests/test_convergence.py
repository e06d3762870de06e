"""Samples against the batch: the law, its fit to published points and to a user's own, its default, fixed amounts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner
from convergence_points import POINTS
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.calibration.convergence_fit import choose_law, fit, leave_one_batch_out
from paleo_opt.errors import SpecError
from paleo_opt.estimator.convergence import job_relative_error, job_samples, relative_error, samples, wasted_share
from paleo_opt.network.graph import Network, TrainingJob
from paleo_opt.network.job import DEFAULT_ERROR, DEFAULT_FACTOR, LEAST_STEPS, with_target
from paleo_opt.network.load import load_network

# -- the law -----------------------------------------------------------------------------------------------


def test_the_law_by_hand() -> None:
    assert samples(0, 1000.0, 500.0) == 1000.0
    assert samples(500, 1000.0, 500.0) == 2000.0
    np.testing.assert_allclose(samples(np.array([250, 1500]), 1000.0, 500.0), [1500.0, 4000.0])
    assert samples(500, 1000.0, 500.0, sharpness=2.0) == pytest.approx(1000.0 * math.sqrt(2.0))
    assert wasted_share(500, 500.0) == 0.5
    assert wasted_share(1000, 500.0, sharpness=2.0) == 0.8


@given(batch=st.floats(1, 1e6), critical=st.floats(10, 1e5), sharpness=st.floats(1, 8), least=st.floats(1e3, 1e12))
def test_the_law_lies_above_both_asymptotes_and_below_the_linear_law(
    batch: float, critical: float, sharpness: float, least: float
) -> None:
    value = float(samples(batch, least, critical, sharpness))
    assert max(least, least * batch / critical) <= value * (1 + 1e-12)
    assert value <= samples(batch, least, critical) * (1 + 1e-12)
    # More samples at a larger batch, never in more steps.
    double = float(samples(2 * batch, least, critical, sharpness))
    assert value <= double <= 2 * value * (1 + 1e-12)


@given(batch=st.floats(1, 1e6), critical=st.floats(10, 1e5), sharpness=st.floats(1, 8))
def test_the_wasted_share_is_the_elasticity(batch: float, critical: float, sharpness: float) -> None:
    step = 1e-5
    up, down = (math.log(samples(batch, 1.0, critical * math.exp(h), sharpness)) for h in (step, -step))
    assert wasted_share(batch, critical, sharpness) == pytest.approx(-(up - down) / (2 * step), abs=1e-6)


def test_many_batches_at_once_give_what_single_ones_do() -> None:
    batches = np.random.default_rng(0).integers(1, 5_000, size=(4, 10_000))
    at_once = samples(batches, 1e6, 700.0, 1.7)
    assert at_once.shape == batches.shape
    np.testing.assert_allclose(at_once, samples(batches.astype(float), 1e6, 700.0, 1.7), rtol=1e-12)


def test_the_error_is_that_of_the_reference_batch_and_grows_with_the_waste() -> None:
    interval = (100 / 3, 300)
    deviation = math.log(3) / 1.959964
    assert relative_error(0, 0.1, 100.0, interval) == pytest.approx(0.1)
    assert relative_error(100, 0.0, 100.0, interval) == pytest.approx(0.5 * deviation)
    assert relative_error(1e9, 0.1, 100.0, interval) == pytest.approx(math.hypot(0.1, deviation))
    assert relative_error(100, 0.1, 100.0, interval, reference_batch=100) == pytest.approx(0.1)
    # To first order it is the change of the law between the ends of the interval.
    low, high = (float(samples(20, 1.0, critical)) for critical in interval)
    assert relative_error(20, 0.0, 100.0, interval) == pytest.approx(math.log(low / high) / (2 * 1.959964), rel=0.2)


# -- the fit -----------------------------------------------------------------------------------------------

BATCHES = np.array([64, 256, 1024, 4096, 8192, 16384, 32768], dtype=float)


@pytest.mark.parametrize(("law", "sharpness"), [("linear", 1.0), ("knee", 1.8)])
def test_exact_points_give_their_law_back(law: str, sharpness: float) -> None:
    found = fit(BATCHES, samples(BATCHES, 5e7, 9000.0, sharpness), law)
    assert (found.least_samples, found.critical_batch, found.sharpness) == pytest.approx(
        (5e7, 9000.0, sharpness), rel=1e-4
    )
    assert found.scatter < 1e-5
    assert found.within


def test_the_linear_fit_is_the_least_squares_of_relative_residuals() -> None:
    batches, epochs = POINTS["resnet"]
    (a, b), *_ = np.linalg.lstsq(np.column_stack((1 / epochs, batches / epochs)), np.ones_like(epochs))
    found = fit(batches, epochs)
    assert (found.least_samples, found.critical_batch) == pytest.approx((a, a / b), rel=1e-5)


@pytest.mark.parametrize(("law", "sharpness"), [("linear", 1.0), ("knee", 1.8)])
def test_intervals_hold_the_truth_as_often_as_they_say(law: str, sharpness: float) -> None:
    """Of 300 noisy samples 95% hold B_crit, and the standard errors are those of the predictions."""
    random = np.random.default_rng(1)
    truth, at = samples(BATCHES, 5e7, 9000.0, sharpness), np.array([512.0, 20000.0])
    held, misses = [], []
    for _ in range(300):
        found = fit(BATCHES, truth * (1 + 0.02 * random.standard_normal(BATCHES.size)), law)
        low, high = found.critical_batch_interval()
        held.append(low <= 9000.0 <= high)
        misses.append((found.predict(at) / samples(at, 5e7, 9000.0, sharpness) - 1) / found.law_error(at))
    assert 0.91 <= np.mean(held) <= 0.99
    assert np.std(misses) == pytest.approx(1.0, abs=0.35)  # a t distribution of five or four degrees of freedom


def test_a_job_carries_the_error_of_its_fit() -> None:
    """Reference batch, error there and interval say what the covariance says, at every batch."""
    found = fit(*POINTS["resnet"])
    at = np.array([100.0, 5000.0, 60000.0])
    error = relative_error(
        at,
        float(found.relative_error(found.reference_batch)) * found.quantile / 1.959964,
        found.critical_batch,
        found.critical_batch_interval(),
        reference_batch=found.reference_batch,
    )
    np.testing.assert_allclose(error * 1.959964, found.relative_error(at) * found.quantile, rtol=1e-6)


#: Largest relative error of a batch left out; which law each follows is in docs/convergence.md.
BOUNDS = {
    ("resnet", "linear"): 0.08,
    ("gpt3", "knee"): 0.08,
    ("llama31_8b", "knee"): 0.08,
    ("llama31_405b", "linear"): 0.08,
    ("bert", "knee"): 0.15,
    # The linear law alone.
    ("gpt3", "linear"): 0.091,
    ("llama31_8b", "linear"): 0.08,
    ("bert", "linear"): 0.156,
    ("maskrcnn", "linear"): 0.08,
    ("rnnt", "linear"): 0.08,
    ("stable_diffusion", "linear"): 0.081,
    ("dlrm_dcnv2", "linear"): 0.05,
    ("rgat", "linear"): 0.05,
}


@pytest.mark.parametrize(("name", "law"), BOUNDS, ids="-".join)
def test_batches_left_out_are_predicted(name: str, law: str) -> None:
    errors = leave_one_batch_out(*POINTS[name], law)
    assert np.abs(errors).max() <= BOUNDS[name, law]


@pytest.mark.parametrize("name", ["resnet", "gpt3", "llama31_8b", "llama31_405b", "bert", "rnnt", "maskrcnn"])
def test_the_law_is_chosen_by_batches_left_out(name: str) -> None:
    assert choose_law(*POINTS[name]) == ("knee" if (name, "knee") in BOUNDS else "linear")


def test_errors_of_batches_left_out_are_as_large_as_their_standard_errors() -> None:
    scaled = []
    for name, law in (("resnet", "linear"), ("gpt3", "knee"), ("llama31_405b", "linear"), ("bert", "knee")):
        batches, means = POINTS[name]
        for left_out in np.unique(batches):
            rest = batches != left_out
            found = fit(batches[rest], means[rest], law)
            scaled += list((found.predict(batches[~rest]) / means[~rest] - 1) / found.relative_error(batches[~rest]))
    assert 0.7 < np.sqrt(np.mean(np.square(scaled))) < 1.4
    assert np.mean(np.abs(scaled) < 2) > 0.9


def test_the_points_are_the_published_ones() -> None:
    assert {name: batches.size for name, (batches, _) in POINTS.items()} == {
        "resnet": 13, "gpt3": 7, "llama31_8b": 5, "llama31_405b": 9, "bert": 15, "rnnt": 6, "retinanet": 9,
        "maskrcnn": 7, "stable_diffusion": 5, "dlrm_dcnv2": 6, "rgat": 5,
    }  # fmt: skip
    batches, means = POINTS["gpt3"]
    assert means[batches == 3072].tolist() == [1216348160.0]  # without the one that mixes units


# -- the default -------------------------------------------------------------------------------------------


def test_the_default_is_the_mean_of_networks_trained_from_scratch() -> None:
    datasets = {"resnet": 1281167, "retinanet": 1170301, "maskrcnn": 118287, "rnnt": 281241}
    fits = {name: fit(*POINTS[name]) for name in (*datasets, "stable_diffusion", "llama31_8b")}
    steps = [found.least_samples * datasets.get(name, 1) / found.critical_batch for name, found in fits.items()]
    inception = load_network("inception_v3").job
    assert inception is not None and inception.critical_batch is not None
    steps.append(inception.samples_to_target / inception.critical_batch)
    assert np.exp(np.mean(np.log(steps))) == pytest.approx(LEAST_STEPS, rel=0.05)
    assert min(steps) > LEAST_STEPS / DEFAULT_FACTOR and max(steps) < LEAST_STEPS * DEFAULT_FACTOR
    assert 1.96 * np.std(np.log(steps), ddof=1) == pytest.approx(math.log(DEFAULT_FACTOR), rel=0.1)


HEAD = """name: net
input: {input}
layers:
  {layer}
job:
  dataset: photos
  dataset_samples: 50000
  optimizer: adam
  target: 90% top-1
  sources: [our runs]
"""


def job_of(
    folder: Path, fields: str, input_shape: str = "[8]", layer: str = "a: {type: Dropout}", **overrides: str
) -> TrainingJob:
    path = folder / "net.yaml"
    path.write_text(HEAD.format(input=input_shape, layer=layer) + fields, encoding="utf-8")
    job = load_network(str(path), {f"job.{name}": text for name, text in overrides.items()}).job
    assert job is not None
    return job


def refused(folder: Path, fields: str, **arguments: Any) -> list[tuple[int, str, str]]:
    with pytest.raises(SpecError) as error:
        job_of(folder, fields, **arguments)
    return [(problem.line, problem.field, problem.message) for problem in error.value.problems]


def test_without_a_critical_batch_one_is_assumed(tmp_path: Path) -> None:
    job = job_of(tmp_path, "  epochs: 80\n  max_global_batch: 512\n")
    assert job.critical_batch == 80 * 50_000 / LEAST_STEPS == 2000
    assert job.critical_batch_interval == (2000 / 3, 6000)
    assert (job.law_source, job.samples_error) == ("assumed", DEFAULT_ERROR)
    assert "assumed" in job.sources[-1] and "2,000 steps" in job.sources[-1]
    assert job_samples(job, 500) == 80 * 50_000 * 1.25
    # 20% more samples at a batch of 500 may as well be 8% or 60%.
    assert job_relative_error(job, 500) == pytest.approx(math.hypot(0.1, 0.2 * math.log(3) / 1.959964))


def test_the_assumed_law_passes_through_the_run_that_is_known(tmp_path: Path) -> None:
    job = job_of(tmp_path, "  epochs: 80\n  reference_batch: 400\n  max_global_batch: 512\n")
    assert job_samples(job, 400) == pytest.approx(80 * 50_000)
    assert job.critical_batch is not None
    assert job.samples_to_target / job.critical_batch == pytest.approx(LEAST_STEPS)
    assert job_relative_error(job, 400) == pytest.approx(DEFAULT_ERROR)
    # A run of 1,000 steps shows that half of them is not yet too few.
    job = job_of(tmp_path, "  epochs: 80\n  reference_batch: 4000\n  max_global_batch: 4096\n")
    assert (job.samples_to_target, job.critical_batch) == pytest.approx((40 * 50_000, 4000))
    assert job_samples(job, 4000) == pytest.approx(80 * 50_000)


def test_very_many_tokens_take_more_steps(tmp_path: Path) -> None:
    embedding = {"input_shape": "[1000]", "layer": "a: {type: Embedding, vocabulary: 9, outputs: 3}"}
    few = job_of(tmp_path, "  samples_to_target: 1e6\n  max_global_batch: 512\n", **embedding)
    many = job_of(tmp_path, "  samples_to_target: 1e9\n  max_global_batch: 512\n", **embedding)
    assert few.critical_batch == 1e6 / LEAST_STEPS
    assert many.critical_batch == pytest.approx(1e6 / LEAST_STEPS * 1000**0.47)


# -- fields of a file --------------------------------------------------------------------------------------


def test_a_law_of_the_file(tmp_path: Path) -> None:
    fields = (
        "  epochs: 80\n  max_global_batch: 512\n  critical_batch: 900\n  critical_batch_interval: [600, 1200]\n"
        "  law: knee\n  sharpness: 2\n  uncertainty: 0.05\n  law_source: fitted\n"
    )
    job = job_of(tmp_path, fields)
    assert (job.critical_batch, job.critical_batch_interval, job.sharpness) == (900, (600, 1200), 2)
    assert (job.samples_error, job.law_source) == (0.05, "fitted")
    assert job_samples(job, 900) == pytest.approx(80 * 50_000 * math.sqrt(2))
    # An override of B_crit alone leaves the interval, which belongs to another value.
    given = job_of(tmp_path, fields, critical_batch="5000")
    assert (given.critical_batch, given.law_source) == (5000, "given")
    assert given.critical_batch_interval == (5000 / 3, 15000)
    assert job_of(tmp_path, "  epochs: 80\n  max_global_batch: 512\n  critical_batch: 900\n").law_source == "cited"


def test_a_fixed_amount_of_the_file(tmp_path: Path) -> None:
    job = job_of(tmp_path, "  samples_to_target: 1e6\n  max_global_batch: 512\n  law_source: given\n")
    assert (job.critical_batch, job.critical_batch_interval, job.samples_error) == (None, None, 0.0)
    assert job_samples(job, np.array([1, 512])).tolist() == 1e6
    assert job_relative_error(job, 512) == 0


POINT_FIELDS = "  points:\n    - [256, 90 epochs]\n    - [1024, 4.7M samples]\n    - [8192, 6_000_000]\n"


def test_the_law_is_fitted_to_the_points_of_the_file(tmp_path: Path) -> None:
    job = job_of(tmp_path, POINT_FIELDS)
    assert job.points == ((256, 4_500_000), (1024, 4_700_000), (8192, 6_000_000))
    assert (job.law_source, job.max_global_batch) == ("fitted", 8192)
    found = fit(*zip(*job.points, strict=True))
    assert (job.samples_to_target, job.critical_batch) == (found.least_samples, found.critical_batch)
    assert 1.959964 * job_relative_error(job, 8192) == pytest.approx(found.quantile * found.relative_error(8192))
    np.testing.assert_allclose(job_samples(job, found.batches), found.measured, rtol=0.01)
    same = job_of(tmp_path, "  points: {256: 90 epochs, 1024: 4.7M, 8192: 120 epochs}\n  max_global_batch: 4096\n")
    assert replace(same, max_global_batch=8192) == job


def test_points_in_tokens(tmp_path: Path) -> None:
    job = job_of(
        tmp_path,
        "  points: [[16, 1.3B tokens], [32, 1.5B tokens]]\n",
        input_shape="[1000]",
        layer="a: {type: Embedding, vocabulary: 9, outputs: 3}",
    )
    assert job.points == ((16, 1_300_000), (32, 1_500_000))
    # As many points as parameters: the error is the default's.
    assert job.samples_error >= DEFAULT_ERROR


def test_points_may_bend(tmp_path: Path) -> None:
    rows = zip(*POINTS["llama31_8b"], strict=True)
    points = "  points: [" + ", ".join(f"[{batch:.0f}, {mean}]" for batch, mean in rows) + "]\n  law: knee\n"
    job, found = job_of(tmp_path, points), fit(*POINTS["llama31_8b"], "knee")
    assert (job.critical_batch, job.sharpness) == (found.critical_batch, found.sharpness)
    assert job_of(tmp_path, points + "  sharpness: 2\n").sharpness == 2


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            "  points:\n    - [256, 90 epochs]\n    - [8192, 70 epochs]\n",
            [(13, "job.points[1]", "decreases: 3.5e+06 samples at a batch of 8,192, but 4.5e+06 at 256")],
        ),
        (
            "  points:\n    - [8192, 70 epochs]\n    - [256, 90 epochs]\n",
            [(13, "job.points[1]", "decreases: 3.5e+06 samples at a batch of 8,192, but 4.5e+06 at 256")],
        ),
        ("  points: [[256, 90 epochs]]\n", [(11, "job.points", "has fewer than two batches")]),
        ("  points: [[256, 90], [256, 91]]\n", [(11, "job.points", "has fewer than two batches")]),
        ("  points: many\n", [(11, "job.points", "is no list; expected [[256, 90 epochs]")]),
        (
            "  points:\n    - [0, 90]\n    - 7\n    - [8, 90 epocs]\n    - [9, 3 tokens]\n    - [9, -3]\n"
            "    - [9, [1]]\n    - [9, much]\n    - [9.5, 90]\n",
            [
                (12, "job.points[0]", "is 0; expected from 1"),
                (13, "job.points[1]", "is no pair"),
                (14, "job.points[2]", "is in 'epocs'; did you mean 'epochs'?"),
                (15, "job.points[3]", "a sample of this network is no sequence"),
                (16, "job.points[4]", "is -3; expected from one sample"),
                (17, "job.points[5]", "has no amount"),
                (18, "job.points[6]", "is not a count"),
                (19, "job.points[7]", "is 9.5; expected a whole number"),
            ],
        ),
        (
            POINT_FIELDS + "  critical_batch: 900\n  epochs: 3\n",
            [
                (5, "job", "samples_to_target, tokens_to_target and points; epochs and points are given"),
                (15, "job.critical_batch", "follows from the points"),
            ],
        ),
        (POINT_FIELDS + "  law: knee\n", [(11, "job.points", "has 3 different batches; expected at least 4")]),
        ("  epochs: 3\n", [(5, "job.max_global_batch", "is missing")]),
        (
            "  epochs: 3\n  max_global_batch: 8\n  law: kneee\n  sharpness: 0.5\n  critical_batch: 0\n"
            "  critical_batch_interval: 3\n  uncertainty: 2\n  law_source: guessed\n",
            [
                (13, "job.law", "did you mean 'knee'?"),
                (14, "job.sharpness", "is 0.5; expected from 1 to 10"),
                (15, "job.critical_batch", "is 0; expected from 1"),
                (16, "job.critical_batch_interval", "expected a list"),
                (17, "job.uncertainty", "is 2; expected from 0 to 1"),
                (18, "job.law_source", "is 'guessed'"),
            ],
        ),
        (
            "  epochs: 3\n  max_global_batch: 8\n  sharpness: 2\n  critical_batch_interval: [1, 2]\n",
            [
                (13, "job.sharpness", "bends the law `knee` only"),
                (14, "job.critical_batch_interval", "is given without a critical_batch"),
            ],
        ),
        (
            "  epochs: 3\n  max_global_batch: 8\n  law: knee\n  critical_batch: 9\n  critical_batch_interval: [1, 2]\n",
            [
                (5, "job.sharpness", "the law `knee` needs it"),
                (15, "job.critical_batch_interval", "is no interval around 9"),
            ],
        ),
    ],
)
def test_bad_laws_and_points_are_named(tmp_path: Path, fields: str, expected: list[tuple[int, str, str]]) -> None:
    found = refused(tmp_path, fields)
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for (_, _, message), (_, _, part) in zip(found, expected, strict=True):
        assert part in message


# -- fixed amounts -----------------------------------------------------------------------------------------


def fixed(network: Network, **amount: Any) -> TrainingJob:
    job = with_target(network, **amount).job
    assert job is not None
    assert (job.critical_batch, job.law_source, job.target) == (None, "given", "")
    assert float(job_samples(job, 1_000_000)) == job.samples_to_target
    return job


def test_a_fixed_amount_replaces_the_target() -> None:
    network = load_network("inception_v3")
    assert network.job is not None
    job = fixed(network, epochs=100)
    assert job.samples_to_target == 100 * 1_281_167
    assert (job.dataset, job.optimizer, job.max_global_batch) == ("ImageNet-1k", "rmsprop", 16384)
    assert fixed(network, samples=5e6, max_global_batch=64).max_global_batch == 64
    assert fixed(load_network("lstm_ptb"), tokens=3.5e9).samples_to_target == 1e8
    assert fixed(load_network("rnn_timit"), tokens=304e6).samples_to_target == 1e6
    assert with_target(network) is network
    limited = with_target(network, max_global_batch=64).job
    assert limited == replace(network.job, max_global_batch=64, given=(("max_batch", 64.0),))


def test_a_network_without_a_job_gets_one_of_the_amount() -> None:
    network = replace(load_network("vgg16"), job=None)
    job = fixed(network, samples=1e8)
    assert (job.dataset, job.dataset_samples, job.optimizer) == ("", None, "momentum")
    assert job.max_global_batch == 1e8 / LEAST_STEPS
    assert job.epochs(1e8) is None
    assert fixed(network, samples=1).max_global_batch == 1


@pytest.mark.parametrize(
    ("name", "amount", "part"),
    [
        ("vgg16", {"samples": 1e6, "epochs": 3.0}, "--samples and --epochs: are the same amount"),
        ("vgg16", {"tokens": 1e6}, "--tokens: a sample of this network is no sequence"),
        ("vgg16", {"samples": 0.5}, "--samples: is 0.5 samples"),
        ("vgg16", {"epochs": 1e15}, "--epochs: is 1.28117e+21 samples"),
        ("", {"epochs": 3.0}, "--epochs: the network has no job"),
        ("", {"max_global_batch": 64}, "job: is missing"),
    ],
)
def test_impossible_amounts_are_refused(name: str, amount: dict[str, Any], part: str) -> None:
    network = load_network(name) if name else replace(load_network("vgg16"), job=None)
    with pytest.raises(SpecError) as error:
        with_target(network, **amount)
    assert part in str(error.value)


# -- on the command line -----------------------------------------------------------------------------------


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


ON = ("--on", "p4d.24xlarge")


@pytest.mark.parametrize(
    ("network", "words", "amount"),
    [
        ("vgg16", ("--epochs", "10"), 12_811_670),
        ("vgg16", ("--samples", "300M"), 3e8),
        ("vgg16", ("--samples", "1_000_000"), 1e6),
        ("lstm_ptb", ("--tokens", "3.5B"), 1e8),
        ("rnn_timit", ("--tokens", "1T"), 1e12 / 304),
    ],
)
def test_an_amount_given(run: Runner, network: str, words: tuple[str, ...], amount: float) -> None:
    answer = run("estimate", network, *ON, *words, "--json").json
    assert answer["estimate"]["samples_to_target"] == pytest.approx(amount)
    assert answer["inputs"]["critical_batch"] is None
    assert answer["inputs"]["samples_error"] == 0
    assert list(answer["inputs"]["given"]) == [words[0][2:]]
    text = run("estimate", network, *ON, *words).out
    assert "as given" in text and "critical batch" not in text
    assert run("scaling", network, *ON, *words, "--workers", "1,8").code == 0


def test_the_cheapest_within_a_day_of_a_hundred_epochs(run: Runner) -> None:
    words = ("recommend", "inception_v3", "--epochs", "100", "--budget", "24h", "--minimize", "cost")
    answer = run(*words, "--json").json
    assert answer["recommended"]["estimate"]["samples_to_target"] == 100 * 1_281_167
    assert answer["inputs"]["most_global_batch"] == 16384
    assert answer["inputs"]["given"] == {"epochs": 100}
    # The command at the end gives the same answer again.
    command = run(*words).out[-300:].partition("paleo-opt estimate")[2].replace("\\\n", " ").split()
    assert command[-2:] == ["--epochs", "100"]
    again = run("estimate", *command, "--json").json["estimate"]
    assert again["cost_usd"] == pytest.approx(answer["recommended"]["estimate"]["cost_usd"])


def test_the_batch_is_a_choice(run: Runner) -> None:
    """Money prefers a batch that wastes little, time one that keeps more devices busy."""
    words = ("recommend", "resnet50", *ON, "--budget", "256gpus", "--json", "--minimize")
    batch = {goal: run(*words, goal).json["recommended"]["strategy"]["global_batch"] for goal in ("cost", "time")}
    assert 2 * batch["cost"] < batch["time"] < 67_840


def test_a_largest_batch(run: Runner) -> None:
    words = ("recommend", "resnet50", *ON, "--budget", "64gpus", "--max-batch", "1024", "--json")
    answer = run(*words).json
    assert answer["inputs"]["most_global_batch"] == 1024
    assert answer["recommended"]["strategy"]["global_batch"] <= 1024
    assert answer["inputs"]["critical_batch_source"] == "fitted"


def test_a_network_without_a_job_and_an_amount(run: Runner, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text("name: tiny\ninput: [32, 32, 3]\nlayers:\n  a: {type: InnerProduct, outputs: 10}\n")
    answer = run("recommend", str(file), *ON, "--budget", "8gpus", "--samples", "4M", "--json").json
    assert answer["recommended"]["estimate"]["samples_to_target"] == 4e6
    assert (answer["inputs"]["most_global_batch"], answer["inputs"]["optimizer"]) == (2000, "momentum")
    for words in ((), ("--max-batch", "64")):
        text = run("recommend", str(file), *ON, "--budget", "8gpus", "--samples", "4M", *words).out
        assert "4 M samples in" in text
        assert " ".join(("--samples 4000000", *words)) in " ".join(text.replace("\\\n", " ").split())
    assert "4 M samples in" in run("estimate", str(file), *ON, "--samples", "4M").out
    assert "has no job, so the size of its dataset is unknown" in run.refusal(
        "estimate", str(file), *ON, "--epochs", "4"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--samples", "0"), "--samples is '0'; expected a number above 0, such as 90, 300M or 1T"),
        (("--samples", "-5"), "--samples"),
        (("--tokens", "1X"), "--tokens is '1X'; expected a number above 0"),
        (("--epochs", "nan"), "--epochs is 'nan'"),
        (("--epochs", "1e999"), "--epochs is '1e999'"),
        (("--max-batch", "0"), "--max-batch is '0'; expected a whole number"),
        (("--tokens", "1T"), "--tokens: a sample of this network is no sequence"),
        (("--samples", "1M", "--epochs", "3"), "--samples and --epochs: are the same amount; expected one of them"),
        (("--epochs", "3", "--inference"), "--epochs: --inference trains to no target"),
    ],
)
def test_wrong_amounts(run: Runner, words: tuple[str, ...], expected: str) -> None:
    assert expected in run.refusal("estimate", "vgg16", *ON, *words)


def test_what_is_shown_of_the_law(run: Runner, tmp_path: Path) -> None:
    text = " ".join(run("show", "resnet50").out.split())
    assert "35 epochs × (1 + B / 47,250)" in text
    assert "47,250 samples, fitted, between 42,190 and 52,920 with 95%" in text
    assert "assumed, between" in " ".join(run("show", "vgg16").out.split())
    path = tmp_path / "net.yaml"
    path.write_text(HEAD.format(input="[8]", layer="a: {type: Dropout}") + POINT_FIELDS, encoding="utf-8")
    assert "fitted to 3 points" in " ".join(run("show", str(path)).out.split())
    law = "  epochs: 9\n  critical_batch: 900\n  law: knee\n  sharpness: 2\n  max_global_batch: 512\n"
    path.write_text(HEAD.format(input="[8]", layer="a: {type: Dropout}") + law, encoding="utf-8")
    assert "9 epochs × (1 + (B / 900)^2)^(1/2)" in run("show", str(path)).out
    answer = run("estimate", "resnet50", *ON, "--micro-batch", "512").out
    assert "8.7% more samples than a small batch needs" in answer and "critical batch 47,250, fitted" in answer
