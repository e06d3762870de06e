"""Short forms of figures for the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paleo_opt.network.graph import Network, TrainingJob
from paleo_opt.report.terminal import percent

_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short_count(value: float) -> str:
    """A count in three digits: ``25.6 M``, ``1.23 G``; a dash for none."""
    if not value:
        return "–"
    for size, prefix in _SCALES:
        if value >= size * 0.9995:
            return f"{value / size:.3g} {prefix}" if value < size * 999.5 else f"{value / size:,.0f} {prefix}"
    return f"{value:,.3g}"


def shape_text(shape: Sequence[int]) -> str:
    """``56×56×256``."""
    return "×".join(map(str, shape))


def samples_word(network: Network) -> str:
    """What a network's samples are: ``images``, ``sequences`` or ``samples``."""
    return {3: "images", 2: "sequences"}.get(len(network.input_shape), "samples")


def amount_text(job: TrainingJob, samples: float) -> str:
    """``74 epochs``, or ``100 M samples`` where the size of the dataset is not known."""
    epochs = job.epochs(samples)
    return f"{short_count(samples).strip()} samples" if epochs is None else f"{epochs:,.3g} epochs"


def price_text(dollars: float) -> str:
    """A price an hour to the cent: ``$21.96``, ``$0.526``."""
    return f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.3g}"


def hidden_text(figures: dict[str, Any]) -> str:
    """`` (58% hidden)``: what of the gradients' all-reduce the backward pass hides, of an estimate's figures."""
    whole = figures["all_reduce_time_s"]
    hidden = figures["communication_time_s"] - figures["exposed_communication_time_s"]
    return f" ({percent(hidden / whole)} hidden)" if whole and hidden / whole >= 0.005 else ""
