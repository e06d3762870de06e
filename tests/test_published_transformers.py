"""Every shipped published figure of a transformer, each within the error that its source is met with.

What a source leaves out (interleaving, micro-batches, sharding) is assumed as `validation/sources.yaml` says.
"""

from __future__ import annotations

import numpy as np
import pytest

from paleo_opt.validation.measured_table import MeasuredRow, read_measured_table
from paleo_opt.validation.predict import Prediction, predict
from paleo_opt.validation.validate import PUBLISHED

#: Largest error of a row, by the start of its id: the largest that is reached, rounded up.
TOLERANCES = {
    "korthikanti-memory": 0.15,  # of a device on average; here of the fullest, which has an end of the network besides
    "korthikanti": 0.10,
    "narayanan": 0.10,
    "megascale": 0.10,
    "mt-nlg": 0.30,  # whether its 35 stages interleave, and what was recomputed, is not published
    "bloom": 0.25,
    "llama3": 0.20,
    "dgxc": 0.15,
    "megatron-bridge": 0.30,
    "llm-foundry": 0.15,
    "torchtitan": 0.20,
    "vtrain": 0.20,
}
ROWS = {row.id: row for row in read_measured_table(PUBLISHED) if row.family == "transformer"}


def source_of(row: MeasuredRow) -> str:
    return next(name for name in TOLERANCES if row.id.startswith(f"{name}-"))


@pytest.fixture(scope="module")
def predictions() -> dict[str, Prediction]:
    found, refused = predict(list(ROWS.values()), intervals=False)
    assert not refused, refused
    return {item.row.id: item for item in found}


@pytest.mark.parametrize("name", ROWS)
def test_a_published_figure_is_met(predictions: dict[str, Prediction], name: str) -> None:
    found = predictions[name]
    assert abs(found.error) <= TOLERANCES[source_of(found.row)], (found.predicted, found.row.measured)


@pytest.mark.parametrize("source", TOLERANCES)
def test_a_source_is_met_on_average(predictions: dict[str, Prediction], source: str) -> None:
    errors = [abs(found.error) for found in predictions.values() if source_of(found.row) == source]
    assert errors
    assert np.mean(errors) <= TOLERANCES[source] * (0.75 if len(errors) > 2 else 1.0)


def test_recomputing_attention_alone_saves_as_much_time_as_published(predictions: dict[str, Prediction]) -> None:
    # Korthikanti et al., table 5: 29% to 32% more throughput than where everything is computed again.
    for size in ("22b", "175b", "530b", "1t"):
        full, selective = (predictions[f"korthikanti-{size}-{name}"] for name in ("full", "selective"))
        published = full.row.measured / selective.row.measured
        assert full.predicted / selective.predicted == pytest.approx(published, rel=0.1)
