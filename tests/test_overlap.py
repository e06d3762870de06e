"""What the backward pass hides of sending gradients, against the recursion that defines it, and by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.gradient_buckets import MOST_BUCKETS, gradient_buckets
from paleo_opt.estimator.synchronization import exposed_time
from paleo_opt.network.load import load_network

SOME = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=12)


def finished(ready: list[float], sending: list[float]) -> float:
    """finish_b = max(finish_{b-1}, ready_b) + c_b."""
    finish = 0.0
    for at, takes in zip(ready, sending, strict=True):
        finish = max(finish, at) + takes
    return finish


def exposed(
    ready: list[float], sending: list[float], backward: float, overlap: float = 1.0, contention: float = 0.0
) -> float:
    tails = np.cumsum(sending[::-1])[::-1]
    leads = [np.array(backward - at) for at in ready]
    return float(exposed_time(list(tails), leads, np.array(overlap), np.array(contention)))


def test_three_buckets_by_hand() -> None:
    """Ready after 2, 5 and 10 s of a pass of 10 s, 4 s each: sent until 6, 10 and 14."""
    assert exposed([2.0, 5.0, 10.0], [4.0, 4.0, 4.0], 10.0) == pytest.approx(4.0)
    # A last bucket of 1 s that waits for the one before it: until 3, 14 and 15.
    assert exposed([2.0, 5.0, 10.0], [1.0, 9.0, 1.0], 10.0) == pytest.approx(5.0)
    # Nothing may hide; half may; what hides costs a quarter of itself.
    assert exposed([2.0, 5.0, 10.0], [4.0, 4.0, 4.0], 10.0, overlap=0.0) == pytest.approx(12.0)
    assert exposed([2.0, 5.0, 10.0], [4.0, 4.0, 4.0], 10.0, overlap=0.5) == pytest.approx(6.0)
    assert exposed([2.0, 5.0, 10.0], [4.0, 4.0, 4.0], 10.0, contention=0.25) == pytest.approx(4.0 + 2.0)


@given(SOME)
def test_what_is_exposed_is_what_the_recursion_ends_with(buckets: list[tuple[float, float]]) -> None:
    ready = sorted(at for at, _ in buckets)
    sending = [takes for _, takes in buckets]
    # The last gradients are ready when the pass ends.
    backward = ready[-1]
    assert exposed(ready, sending, backward) == pytest.approx(finished(ready, sending) - backward, abs=1e-9)


@given(SOME, st.floats(0, 1), st.floats(0, 1))
def test_exposed_is_between_nothing_and_all(
    buckets: list[tuple[float, float]], overlap: float, contention: float
) -> None:
    ready = sorted(at for at, _ in buckets)
    sending = [takes for _, takes in buckets]
    found = exposed(ready, sending, ready[-1], overlap, contention)
    assert sending[-1] * (1 - 1e-12) <= found <= sum(sending) * (1 + 1e-12)
    # What may hide less, or hides at a cost, is never faster.
    assert found >= exposed(ready, sending, ready[-1]) - 1e-9


@given(SOME, st.integers(1, 6))
def test_neighbours_sent_as_one_expose_at_most_their_own_span_more(
    buckets: list[tuple[float, float]], together: int
) -> None:
    """Grouping waits for a group's last: no less is exposed, and no more than the longest group takes to get ready."""
    ready = sorted(at for at, _ in buckets)
    sending = [takes for _, takes in buckets]
    groups = [slice(start, start + together) for start in range(0, len(ready), together)]
    late = [ready[group][-1] for group in groups]
    sums = [sum(sending[group]) for group in groups]
    exact = exposed(ready, sending, ready[-1])
    grouped = exposed(late, sums, ready[-1])
    span = max(ready[group][-1] - ready[group][0] for group in groups)
    assert exact - 1e-9 <= grouped <= exact + span + 1e-9


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "resnet50", "inception_v3"])
@pytest.mark.parametrize("size", [0.0, 1e6, 6.5e6, float("inf")])
def test_buckets_hold_every_parameter_once(name: str, size: float) -> None:
    layout = compile_network(load_network(name)).layout()
    buckets = gradient_buckets(layout, size)
    assert float((buckets.parameters * buckets.messages).sum()) == pytest.approx(layout.replicated_parameters)
    assert 1 <= buckets.messages.size <= MOST_BUCKETS
    for before, after in pairwise(buckets.replicated_done):
        assert (after >= before).all()
    if size == float("inf"):
        assert buckets.messages.tolist() == [1.0]


def test_a_bucket_is_full_when_it_has_its_size() -> None:
    """VGG16 from the back: 4,097,000 and 16,781,312 parameters reach 20 million, then 102,764,544 by themselves."""
    buckets = gradient_buckets(compile_network(load_network("vgg16")).layout(), 20e6)
    assert buckets.parameters[:2].tolist() == [4_097_000 + 16_781_312, 102_764_544]
    assert buckets.parameters.sum() == 138_357_544
