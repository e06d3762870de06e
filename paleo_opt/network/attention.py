"""The sizes of the two layers that only transformers have: attention, and experts of which a router chooses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttentionSizes:
    """Scaled dot-product attention: softmax(Q Kᵀ) V for each head.

    Attributes:
        heads: Of the queries.
        kv_heads: Of keys and values; each serves heads / kv_heads of the queries.
        head_size: Features of a query and a key.
        value_head_size: Features of a value.
        queries: Positions that attend.
        keys: Positions attended to.
        causal: A position attends to itself and those before it only.
        window: The most positions that one attends to, or 0 for all.
        rotary: Features per position of queries and keys that are rotated by their position.
        qk_normalization: Queries and keys are normalized, head by head.
        position_buckets: Of relative positions with a trained bias for each head; 0 where there are none.
        sinks: A trained logit for each head that attends to nothing.
        dropout: Some scores are dropped.
    """

    heads: int
    kv_heads: int
    head_size: int
    value_head_size: int
    queries: int
    keys: int
    causal: bool
    window: int = 0
    rotary: int = 0
    qk_normalization: bool = False
    position_buckets: int = 0
    sinks: bool = False
    dropout: bool = False

    @property
    def visible_pairs(self) -> int:
        """Pairs of positions inside the window, those behind the query too: what model FLOPs count."""
        if not self.window or self.window >= self.keys:
            return self.queries * self.keys
        return self.queries * self.window

    @property
    def computed_pairs(self) -> int:
        """Pairs of positions that attend: half of them where attention is causal, which fused kernels skip."""
        if not self.causal:
            return self.visible_pairs
        window = min(self.window or self.keys, self.keys)
        return window * (window + 1) // 2 + (self.queries - window) * window

    @property
    def parameters(self) -> int:
        """Trained parameters beside the projections."""
        norms = 2 * self.head_size if self.qk_normalization else 0
        return norms + self.position_buckets * self.heads + (self.heads if self.sinks else 0)


@dataclass(frozen=True, slots=True)
class ExpertSizes:
    """Feed-forward networks side by side, of which a router chooses some for each token.

    Attributes:
        experts: How many.
        top_k: Of them that see a token.
        ffn: Inner features of each.
        gated: Whether the inner activation is multiplied by a second projection.
    """

    experts: int
    top_k: int
    ffn: int
    gated: bool
