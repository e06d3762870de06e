"""Which splits a transformer can have: published ones can, impossible ones are refused with what would do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.split_refusals import check_split
from paleo_opt.estimator.split_rules import valid_splits
from paleo_opt.estimator.splits import CHOICES, Split, Splits
from paleo_opt.hardware.load import load_device
from paleo_opt.network.load import load_network


def _refusal(network: str, split: Split, gpus: int | None = None, accumulation: int | None = None) -> str:
    with pytest.raises(SpecError) as error:
        check_split(load_network(network), split, gpus, accumulation=accumulation)
    return str(error.value)


# Published: Narayanan 2021 (table 1, table 2); Korthikanti 2022; Llama 3 (table 4); DeepSeek-V3 (section 3.2).
@pytest.mark.parametrize(
    ("network", "gpus", "split"),
    [
        ("gpt3_175b", 1536, Split(tensor=8, pipeline=12, recompute="full")),
        ("gpt3_175b", 512, Split(tensor=8, pipeline=8, virtual_stages=3, sequence_parallel=True)),
        ("megatron_1t", 3072, Split(tensor=8, pipeline=64)),
        ("megatron_530b", 280, Split(tensor=8, pipeline=35, virtual_stages=3)),
        ("llama3.1_405b", 16384, Split(tensor=8, pipeline=16, sharding="fsdp")),
        ("llama3.1_405b", 16384, Split(tensor=8, pipeline=16, context=16, sharding="fsdp")),
        ("deepseekv3", 2048, Split(pipeline=16, expert=64, sharding="zero1")),
        ("mixtral_8x7b", 64, Split(expert=8)),
    ],
)
def test_published_splits_are_valid(network: str, gpus: int, split: Split) -> None:
    check_split(load_network(network), split, gpus)


@pytest.mark.parametrize(
    ("network", "gpus", "split", "accumulation", "expected"),
    [
        ("llama3_70b", 96, Split(tensor=12), None, "tensor 12 does not divide the 64 heads"),
        ("llama3_70b", 96, Split(tensor=12), None, "nearest valid: 8 and 16"),
        ("llama3_70b", 64, Split(pipeline=6), None, "does not divide 64 GPUs; the nearest numbers of GPUs: 60 and 66"),
        ("llama3_70b", 1024, Split(pipeline=128), None, "pipeline 128 is more stages than the 80 blocks; the nearest"),
        ("llama3_70b", 64, Split(pipeline=8, virtual_stages=12), None, "more parts than the 80 blocks"),
        ("llama3_70b", 64, Split(pipeline=4, virtual_stages=2), 6, "rounds of the 4 stages; a step has 6"),
        ("llama3_70b", 64, Split(expert=4), None, "every block is dense; the nearest valid: 1"),
        ("llama3_70b", 64, Split(pipeline=8, sharding="zero3"), None, "expected zero0, zero1 or fsdp"),
        ("llama3_70b", 96, Split(context=3), None, "context 3 does not divide 8,192 positions; the nearest valid: 2"),
        ("llama3_70b", 64, Split(context=16, tensor=8, context_method="all_to_all"), None, "the nearest valid: 8"),
        ("llama3_70b", 96, Split(tensor=3, sequence_parallel=True), None, "sequence parallel cannot share 8,192"),
        ("deepseekv3", 64, Split(expert=48), None, "does not divide the 256 experts"),
        ("deepseekv3", 64, Split(pipeline=2, expert=128), None, "128 does not divide the 32 GPUs of a stage"),
        ("deepseekv3", 64, Split(pipeline=8, assignment="even"), None, "61 blocks by pipeline 8"),
        ("t5_11b", 64, Split(pipeline=8), None, "this one has an encoder and a decoder"),
        ("resnet50", 64, Split(tensor=8), None, "resnet50 is no transformer"),
    ],
)
def test_impossible_splits_are_refused(
    network: str, gpus: int, split: Split, accumulation: int | None, expected: str
) -> None:
    assert expected in _refusal(network, split, gpus, accumulation)


def test_every_problem_is_named_at_once() -> None:
    text = _refusal("llama3_70b", Split(tensor=12, pipeline=100, expert=4, sharding="zero2"), 64)
    for problem in ("GPUs", "tensor 12", "pipeline 100", "expert 4", "sharding zero2"):
        assert problem in text
    assert len(text.splitlines()) == 5


def test_a_precision_that_the_device_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(SpecError, match="fp8 is not among those of a100-sxm4-80gb: fp32, tf32, fp16, bf16"):
        check_split(load_network("llama3_8b"), Split(), device=load_device("a100-sxm4-80gb"), precision="fp8")


_SMALL = st.sampled_from([1, 2, 3, 4, 8, 16, 61, 64, 80])


@settings(max_examples=150, deadline=None)
@given(
    network=st.sampled_from(["llama3_70b", "deepseekv3", "mixtral_8x7b", "t5_11b", "bert_large"]),
    tensor=_SMALL, context=_SMALL, expert=_SMALL, pipeline=_SMALL, virtual_stages=_SMALL,
    names=st.fixed_dictionaries({name: st.sampled_from(known) for name, known in CHOICES.items()}),
    sequence_parallel=st.booleans(), gpus=st.sampled_from([64, 192, 1024, 61 * 64]),
    accumulation=st.sampled_from([1, 8, 12]),
)  # fmt: skip
def test_the_mask_and_the_refusal_agree(
    network: str, gpus: int, accumulation: int, names: dict[str, str], **counts: int
) -> None:
    try:
        split = Split(**counts, **names)  # type: ignore[arg-type]
    except SpecError:
        return
    sizes = load_network(network).transformer
    assert sizes is not None
    mask = valid_splits(sizes, Splits.of([split]), gpus, np.array([accumulation]))
    try:
        check_split(load_network(network), split, gpus, accumulation=accumulation)
    except SpecError:
        assert not mask.all()
    else:
        assert mask.all()


def test_the_mask_broadcasts_splits_with_gpus() -> None:
    sizes = load_network("llama3_70b").transformer
    assert sizes is not None
    splits = Splits.of([Split(tensor=8, pipeline=pipeline) for pipeline in (1, 2, 3)])
    mask = valid_splits(sizes, splits, np.array([[8], [16], [24]]))
    assert mask.tolist() == [[True, False, False], [True, True, False], [True, False, True]]
