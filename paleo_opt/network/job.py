"""The training job of a network: its section of the file, its defaults, and fixed amounts in its place.

Samples to the target grow with the global batch (`paleo_opt.estimator.convergence`). A file gives the law by its
parameters, or by points that it is fitted to; where it gives neither B_crit nor points, B_crit is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.network.graph import Network, TrainingJob
from paleo_opt.network.layer_fields import MAX_VALUE
from paleo_opt.quantities import parse_count
from paleo_opt.spec_file import Fields, as_integer, as_number, as_text
from paleo_opt.yaml_nodes import place, shown

OPTIMIZERS = ("sgd", "momentum", "adam", "rmsprop", "lars")
LAWS = ("linear", "knee")
SOURCES = ("fitted", "cited", "assumed", "given")
#: Where B_crit is not given: no batch trains in fewer steps (S_min / B_crit) than about this. It is the geometric mean
#: of what published points of five batches and more give for networks trained from scratch (benchmarks/convergence.py),
#: and Inception v3's two runs: ResNet-50 950, Stable Diffusion 1,300, Llama 3.1 8B 1,600, Mask R-CNN 1,800, RNN-T
#: 2,700, RetinaNet 2,800, Inception v3 5,500.
LEAST_STEPS = 2_000.0
#: All seven lie within this factor, which holds about 95% of values so scattered.
DEFAULT_FACTOR = 3.0
#: Language models that see more than so many tokens have a B_crit that grows as their tokens to the power of 0.47
#: (Bergsma et al. 2025, arXiv:2505.13738; 0.46 in Zhang et al. 2024, arXiv:2410.21676), not in proportion to them.
TOKENS_IN_PROPORTION = 1e9
TOKENS_EXPONENT = 0.47
#: Relative standard error of a published number of samples where nothing says it: two tuned implementations of one
#: benchmark differ by 10% to 30% (MLPerf's BERT at 12,288, Stable Diffusion at 256 to 512, RNN-T at 1,024).
DEFAULT_ERROR = 0.1
_ASSUMED = (
    "critical_batch: assumed, for want of a source: no batch trains in fewer than about {steps:,.0f} steps, a factor "
    "of 3 either way (docs/convergence.md)"
)
_AMOUNTS = ("epochs", "samples_to_target", "tokens_to_target", "points")
_MOST_SAMPLES = 1e18
_MOST_POINTS = 1_000


def assumed_law(samples: float, tokens_per_sample: int | None = None, reference_batch: int = 0) -> tuple[float, float]:
    """S_min and B_crit where only the samples to the target at one batch are known.

    Their quotient is `LEAST_STEPS`, more for very many tokens, but at most half of the steps that the known run took.
    """
    tokens = samples * (tokens_per_sample or 0)
    steps = LEAST_STEPS * math.pow(max(1.0, tokens / TOKENS_IN_PROPORTION), 1.0 - TOKENS_EXPONENT)
    if reference_batch:
        steps = min(steps, samples / (2.0 * reference_batch))
    least = samples - steps * reference_batch
    return least, max(1.0, least / steps)


# -- the section of a file ---------------------------------------------------------------------------------


def read_job(fields: Fields, tokens_per_sample: int | None) -> TrainingJob:
    """The job of a file, every mistake in it noted in ``fields``.

    ``tokens_per_sample`` are the steps of a sequence; None where samples are none.
    """
    dataset, target = fields.text("dataset"), fields.text("target")
    # Of an amount in samples or tokens the size of the dataset need not be known.
    counted = "samples_to_target" in fields or "tokens_to_target" in fields
    optional: dict[str, Any] = {"default": None} if counted else {}
    dataset_samples = fields.integer("dataset_samples", **optional, minimum=1)
    optimizer = fields.text("optimizer", choices=OPTIMIZERS)
    epochs = fields.number("epochs", None, 1e-6, 1e6)
    samples = fields.number("samples_to_target", None, 1.0, _MOST_SAMPLES)
    tokens = fields.number("tokens_to_target", None, 1.0, _MOST_SAMPLES)
    if tokens is not None and tokens_per_sample is None:
        fields.problem("is in tokens, but a sample of this network is no sequence", "tokens_to_target")
    elif tokens is not None:
        samples = tokens / (tokens_per_sample or 1)
    points = _points(fields, dataset_samples, tokens_per_sample)
    amounts = [name for name in _AMOUNTS if name in fields]
    if len(amounts) != 1:
        given = f"{' and '.join(amounts)} are" if amounts else "none is"
        listed = "epochs, samples_to_target, tokens_to_target and points"
        fields.problem(f"needs one of {listed}; {given} given")
    largest = {"default": max((batch for batch, _ in points), default=1)} if "points" in fields else {}
    most = fields.integer("max_global_batch", **largest, minimum=1, maximum=MAX_VALUE)
    sources = fields.sequence("sources", as_text())
    if "sources" in fields and not sources:
        fields.problem("has none; expected at least one: where the numbers were published", "sources")
    job = TrainingJob(
        dataset=dataset,
        dataset_samples=dataset_samples,
        optimizer=optimizer,
        samples_to_target=samples or (epochs or 1.0) * (dataset_samples or 1),
        max_global_batch=most,
        critical_batch=None,
        target=target,
        sources=sources,
    )
    job = _with_law(fields, job, points, tokens_per_sample)
    fields.finish()
    return job


def _with_law(
    fields: Fields, job: TrainingJob, points: Sequence[tuple[int, float]], tokens_per_sample: int | None
) -> TrainingJob:
    """``job`` with the law of its samples: fixed, given, assumed, or fitted to its points."""
    law = fields.text("law", "linear", choices=LAWS)
    sharpness = fields.number("sharpness", None, 1.0, 10.0)
    critical = fields.number("critical_batch", None, 1.0, 1e12)
    interval = _interval(fields, critical)
    reference = fields.integer("reference_batch", 0, minimum=0, maximum=MAX_VALUE)
    error = fields.number("uncertainty", DEFAULT_ERROR, 0.0, 1.0)
    source = fields.text("law_source", None, choices=SOURCES)
    if law == "linear" and sharpness is not None:
        fields.problem("bends the law `knee` only", "sharpness")
    if law == "knee" and sharpness is None and "points" not in fields:
        fields.problem("is missing: the law `knee` needs it, or points to fit it to", "sharpness")
    if "points" in fields:
        for name in ("critical_batch", "critical_batch_interval", "reference_batch", "uncertainty", "law_source"):
            if name in fields:
                fields.problem("follows from the points; give one or the other", name)
        return _fitted(fields, job, points, law, sharpness)
    if source == "given" and critical is None:
        return replace(job, law_source="given")
    least = job.samples_to_target
    sources = job.sources
    if critical is None:
        (least, critical), source = assumed_law(least, tokens_per_sample, reference), "assumed"
        sources = (*sources, _ASSUMED.format(steps=least / critical))
    else:
        power = sharpness or 1.0
        least /= math.pow(1.0 + math.pow(reference / critical, power), 1.0 / power)
    if fields.file_of("critical_batch") != fields.file:
        source = "given"  # by an override: what the file says of its own does not hold
    return replace(
        job,
        samples_to_target=least,
        sources=sources,
        critical_batch=critical,
        critical_batch_interval=interval or (critical / DEFAULT_FACTOR, critical * DEFAULT_FACTOR),
        sharpness=sharpness or 1.0,
        reference_batch=float(reference),
        samples_error=error,
        law_source=source or "cited",
    )


def _interval(fields: Fields, critical: float | None) -> tuple[float, float] | None:
    """``critical_batch_interval``, None where it is not given or belongs to another value."""
    name = "critical_batch_interval"
    found: tuple[float, ...] = fields.sequence(name, as_number(1.0, 1e12), ())
    if not found or fields.file_of(name) != fields.file_of("critical_batch"):
        return None
    if critical is None:
        fields.problem("is given without a critical_batch", name)
    elif len(found) != 2 or not found[0] < found[1] or not found[0] <= critical <= found[1]:
        fields.problem(f"is no interval around {critical:g}; expected [low, high]", name)
    else:
        return found[0], found[1]
    return None


# -- points ------------------------------------------------------------------------------------------------


def _points(
    fields: Fields, dataset_samples: int | None, tokens_per_sample: int | None
) -> tuple[tuple[int, float], ...]:
    """The points as (global batch, samples), empty where there are none or one of them is wrong."""
    node = fields.node("points")
    if node is None:
        return ()
    if isinstance(node, yaml.MappingNode):
        pairs = [(key, [key, value]) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        pairs = [(item, item.value if isinstance(item, yaml.SequenceNode) else []) for item in node.value]
    else:
        fields.problem("is no list; expected [[256, 90 epochs], [8192, 95 epochs]]", "points")
        return ()
    if len(pairs) > _MOST_POINTS:
        fields.problem(f"has {len(pairs):,} points; expected at most {_MOST_POINTS:,}", "points")
        return ()
    found: list[tuple[int, float]] = []
    sound = True
    for index, (where, pair) in enumerate(pairs):
        try:
            if len(pair) != 2:
                raise SpecError("is no pair; expected [global batch, amount], such as [256, 90 epochs]")
            batch = as_integer(1, MAX_VALUE)(pair[0])
            found.append((batch, _amount(pair[1], dataset_samples, tokens_per_sample)))
            _check_growth(found)
        except SpecError as error:
            sound = False
            _note(fields, where, index, error)
    if sound and len({batch for batch, _ in found}) < 2:
        message = "has fewer than two batches, so no law follows; expected more, or epochs and a critical_batch"
        fields.problem(message, "points")
        sound = False
    return tuple(found) if sound else ()


def _note(fields: Fields, where: yaml.Node, index: int, error: SpecError) -> None:
    file, line = place(where, fields.file)
    field = f"{fields.path}.points[{index}]"
    fields.problems.extend(Problem(problem.message, file, line, field) for problem in error.problems)


def _amount(node: yaml.Node, dataset_samples: int | None, tokens_per_sample: int | None) -> float:
    """Samples, of ``90 epochs``, ``1.2M samples``, ``300G tokens``, or a number of samples."""
    if not isinstance(node, yaml.ScalarNode):
        raise SpecError("has no amount; expected epochs, samples or tokens, such as 90 epochs")
    value, unit = parse_count(node.value)
    units = {"": 1.0, "samples": 1.0, "sequences": 1.0, "images": 1.0, "epochs": float(dataset_samples or 1)}
    if tokens_per_sample is not None:
        units["tokens"] = 1.0 / tokens_per_sample
    if unit not in units:
        if unit == "tokens":
            raise SpecError("is in tokens, but a sample of this network is no sequence; expected samples or epochs")
        raise SpecError(f"is in {shown(unit)!r}{nearest(unit[:100], [name for name in units if name])}")
    if not 1.0 <= value * units[unit] <= _MOST_SAMPLES:
        raise SpecError(f"is {shown(node.value)}; expected from one sample to {_MOST_SAMPLES:g}")
    return value * units[unit]


def _check_growth(points: Sequence[tuple[int, float]]) -> None:
    """Refuse the last point where it and another one say that a larger batch needs fewer samples, noise apart."""
    from paleo_opt.calibration.convergence_fit import NOISE

    batch, samples = points[-1]
    for other, others in points[:-1]:
        (small, many), (large, few) = sorted([(batch, samples), (other, others)])
        if small < large and few < (1.0 - NOISE) * many:
            raise SpecError(
                f"decreases: {few:,.6g} samples at a batch of {large:,}, but {many:,.6g} at {small:,}; "
                "a larger batch needs no fewer"
            )


def _fitted(
    fields: Fields, job: TrainingJob, points: Sequence[tuple[int, float]], law: str, sharpness: float | None
) -> TrainingJob:
    """``job`` with the law fitted to ``points``; only this needs numpy and scipy."""
    if not points:
        return job
    from paleo_opt.calibration.convergence_fit import fit
    from paleo_opt.estimator.convergence import NORMAL_95

    batches, samples = zip(*points, strict=True)
    try:
        found = fit(batches, samples, law, sharpness)
    except SpecError as error:
        fields.problem(error.problems[0].message, "points")
        return job
    return replace(
        job,
        samples_to_target=found.least_samples,
        critical_batch=found.critical_batch,
        critical_batch_interval=found.critical_batch_interval(),
        sharpness=found.sharpness,
        reference_batch=found.reference_batch,
        # Of few points the scatter is uncertain itself: what holds 95% decides, as for the interval.
        samples_error=float(found.relative_error(found.reference_batch)) * found.quantile / NORMAL_95,
        law_source="fitted",
        points=tuple(points),
    )


# -- a fixed amount ----------------------------------------------------------------------------------------


def with_target(
    network: Network,
    *,
    samples: float | None = None,
    tokens: float | None = None,
    epochs: float | None = None,
    max_global_batch: int | None = None,
) -> Network:
    """``network`` with a job of a fixed amount in place of its own target; the amount does not depend on the batch.

    The largest batch stays the job's. A network without a job gets one of that amount: trained by momentum, or by Adam
    where it is a transformer, with a batch of at most what `assumed_law` gives for it.

    Args:
        network: With or without a job.
        samples: The amount; at most one of the three.
        tokens: The amount, where samples are sequences.
        epochs: The amount, where the job says how large the dataset is.
        max_global_batch: The largest batch to consider; also without an amount.

    Raises:
        SpecError: more than one amount, none of a network without a job, tokens of a network that reads none, or epochs
            of an unknown dataset.
    """
    amounts = {"samples": samples, "tokens": tokens, "epochs": epochs}
    names = [name for name, value in amounts.items() if value is not None]
    given = tuple((name, value) for name, value in amounts.items() if value is not None)
    if max_global_batch is not None:
        given = (*given, ("max_batch", float(max_global_batch)))
    if len(names) > 1:
        raise SpecError(f"{' and '.join(f'--{name}' for name in names)}: are the same amount; expected one of them")
    job = network.job
    if not names:
        if max_global_batch is None:
            return network
        if job is None:
            raise SpecError(
                Problem("is missing; a largest batch needs an amount: --samples", network.file, field="job")
            )
        return replace(network, job=replace(job, max_global_batch=max_global_batch, given=given))
    steps = network.tokens_per_sample
    if tokens is not None:
        if steps is None:
            raise SpecError("--tokens: a sample of this network is no sequence; expected --samples or --epochs")
        samples = tokens / steps
    elif epochs is not None:
        if job is None or job.dataset_samples is None:
            raise SpecError(
                "--epochs: the network has no job, so the size of its dataset is unknown; expected --samples"
            )
        samples = epochs * job.dataset_samples
    assert samples is not None
    samples = float(samples)
    if not 1.0 <= samples <= _MOST_SAMPLES:
        raise SpecError(f"--{names[0]}: is {samples:g} samples; expected from 1 to {_MOST_SAMPLES:g}")
    largest = min(MAX_VALUE, int(assumed_law(samples, steps)[1])) if job is None else job.max_global_batch
    fixed = TrainingJob(
        dataset="" if job is None else job.dataset,
        dataset_samples=None if job is None else job.dataset_samples,
        optimizer=network.usual_optimizer if job is None else job.optimizer,
        samples_to_target=samples,
        max_global_batch=max_global_batch or largest,
        critical_batch=None,
        target="",
        sources=() if job is None else job.sources,
        given=given,
    )
    return replace(network, job=fixed)
