"""What the source of a measured row says of all its runs: the entries of sources.yaml, which say where it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from paleo_opt.estimator.splits import PLACEMENTS

#: The GPT that Megatron-LM trains: plain GELU networks, layer normalization and biases, and its default dropout.
GPT: Mapping[str, Any] = MappingProxyType({"positions": "learned", "tied_embeddings": True, "dropout": 0.1})


@dataclass(frozen=True)
class Source:
    """One entry; the head of sources.yaml says what each field means."""

    words: tuple[str, ...]
    why: str
    transformer: Mapping[str, Any] = field(default_factory=lambda: GPT, hash=False)
    interleaved: bool = False
    virtual_stages: tuple[int, ...] = ()
    sequence_parallel: str = ""
    placement: str = PLACEMENTS[0]
    counts: str = ""
    batch: str = ""


@cache
def sources() -> tuple[Source, ...]:
    """The entries, in their order."""
    listed: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("sources.yaml").read_text(encoding="utf-8"))
    for entry in listed:
        entry |= {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    return tuple(Source(**entry) for entry in listed)


@cache
def source_of(software: str) -> Source:
    """The first entry whose words are all in ``software``, ignoring case; the last has none."""
    text = software.casefold()
    return next(entry for entry in sources() if all(word in text for word in entry.words))
