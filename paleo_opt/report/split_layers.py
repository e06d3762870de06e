"""How each layer is split, as a table: neighbours alike on one line, and blocks that repeat once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paleo_opt.layer_splits.split_layers import LayerSplit, LayerSplits
from paleo_opt.quantities import format_memory, format_time
from paleo_opt.report import terminal
from paleo_opt.report.terminal import Column

_WORDS = {
    "sample": "samples", "height": "height", "width": "width", "copies": "copies", "outputs": "outputs",
    "inputs": "inputs",
}  # fmt: skip
#: Lines of a block of layers that is looked for in the lines that follow.
_LONGEST_BLOCK = 8


def split_words(split: LayerSplit) -> str:
    """``samples 8 × outputs 4``; ``whole`` on one device."""
    layer, words = split.layer, dict(_WORDS)
    if len(layer.output_shape) == 2:
        words["height"] = "steps"
    if layer.experts is not None:
        words["outputs"] = "experts"
    elif layer.attention is not None:
        words["outputs"] = "heads"
    elif len(layer.input_shapes) > 1 or layer.weights == 0:
        words["outputs"] = "channels"
    parts = [f"{words[axis]} {degree}" for axis, degree in split.degrees.items() if degree > 1]
    return " × ".join(parts) or "whole"


def _time(seconds: float) -> str:
    return format_time(seconds) if seconds > 0.0 else "–"


def _grouped(layers: Sequence[LayerSplit]) -> list[list[LayerSplit]]:
    """Neighbours with the same split."""
    groups: list[list[LayerSplit]] = []
    for one in layers:
        if groups and split_words(groups[-1][0]) == split_words(one):
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


@dataclass(frozen=True)
class _Row:
    """Layers with one split that are one line: neighbours, and those of the blocks that repeat them."""

    groups: list[list[LayerSplit]]

    @property
    def name(self) -> str:
        first = self.groups[0]
        name = first[0].layer.name
        if len(first) > 1:
            name += f" … {first[-1].layer.name} ({len(first)})"
        return name if len(self.groups) == 1 else f"{len(self.groups)} times {name}"


def _repeated(groups: list[list[LayerSplit]]) -> list[_Row]:
    """The groups as rows, each block that comes at least three times in a row only once."""

    def likeness(group: list[LayerSplit]) -> tuple[str, int]:
        return split_words(group[0]), len(group)

    looks = [likeness(group) for group in groups]
    rows, at = [], 0
    while at < len(groups):
        best, times = 1, 1
        for length in range(1, _LONGEST_BLOCK + 1):
            count = 1
            while looks[at : at + length] == looks[at + count * length : at + (count + 1) * length]:
                count += 1
            if count >= 3 and count * length > best * times:
                best, times = length, count
        rows += [_Row([groups[at + turn * best + place] for turn in range(times)]) for place in range(best)]
        at += best * times
    return rows


def layers_table(found: LayerSplits, room: int) -> list[str]:
    """The layers as lines of at most ``room`` columns."""
    columns = [
        Column("layers", right=False, shrinks_to=16, middle=True),
        Column("split", right=False),
        Column("compute"),
        Column("exchange", keep=2, constant=False),
        Column("moved in"),
        Column("sync"),
        Column("memory", keep=1),
    ]

    def row(name: str, split: str, some: Sequence[LayerSplit]) -> list[str]:
        return [
            name,
            split,
            _time(sum(one.compute_s for one in some)),
            _time(sum(one.exchange_s for one in some)),
            _time(sum(one.redistribution_s for one in some)),
            _time(sum(one.sync_s for one in some)),
            format_memory(sum(one.memory_bytes for one in some)),
        ]

    layers = found.layers()
    rows = [
        row(one.name, split_words(one.groups[0][0]), [layer for group in one.groups for layer in group])
        for one in _repeated(_grouped(layers))
    ]
    return terminal.table(columns, [*rows, row(f"all {len(layers)}", "", layers)], room, "  ")
