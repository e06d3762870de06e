"""The sizes of a transformer, and reading them from the ``transformer:`` section of a network's file.

Sizes are those of the whole network: the splits over devices are made of them later. The section is read with every
mistake noted (`paleo_opt.spec_file`); `paleo_opt.network.transformer` makes layers of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from paleo_opt.network.layer_fields import MAX_VALUE
from paleo_opt.spec_file import Fields

KINDS = ("decoder", "encoder", "encoder_decoder", "vision")
NORMALIZATIONS = ("layer_norm", "rms_norm")
NORM_POSITIONS = ("pre", "post", "both")
POSITIONS = ("learned", "rotary", "alibi", "relative", "none")
ACTIVATIONS = ("gelu", "silu", "relu", "squared_relu")
#: Beyond these a network is a mistake.
MOST_BLOCKS = 1_000
MOST_POSITIONS = 10**8

#: Fields that mean something for one kind alone.
_OF_KIND = {
    "encoder_layers": "encoder_decoder",
    "decoder_sequence_length": "encoder_decoder",
    "token_types": "encoder",
    "next_sentence": "encoder",
    "predictions": "encoder",
    "image_size": "vision",
    "patch_size": "vision",
    "channels": "vision",
    "classes": "vision",
}
_LATENT = ("kv_lora_rank", "qk_nope_head_size", "qk_rope_head_size", "value_head_size")


@dataclass(frozen=True, slots=True)
class TransformerSizes:
    """A transformer's sizes, every default filled in.

    Attributes:
        kind: ``decoder`` (causal), ``encoder``, ``encoder_decoder`` or ``vision`` (an encoder of image patches).
        layers: Blocks; of an encoder-decoder those of the decoder.
        encoder_layers: Blocks of an encoder-decoder's encoder, else 0.
        hidden: Features of the residual stream.
        heads: Of the queries.
        kv_heads: Of keys and values: ``heads`` is multi-head, 1 multi-query, between them grouped-query attention.
        head_size: Features of a query and a key.
        value_head_size: Features of a value.
        q_lora_rank: Latent attention: features that queries are projected through; 0 where they are not.
        kv_lora_rank: Likewise of keys and values; 0 without latent attention.
        qk_nope_head_size: Latent attention: features of a head without positions, else 0.
        qk_rope_head_size: Likewise with them, shared by all heads of the keys.
        ffn: Inner features of the feed-forward network of dense blocks.
        gated: Whether the inner activation is multiplied by a second projection (SwiGLU, GeGLU).
        activation: One of `ACTIVATIONS`.
        vocab: Rows of the embedding; 0 for ``vision``.
        sequence_length: Positions of a sample; of an encoder-decoder those of the encoder, of ``vision`` the patches.
        decoder_sequence_length: Positions of an encoder-decoder's decoder, else 0.
        normalization: One of `NORMALIZATIONS`.
        norm_position: ``pre`` and ``post``: before each part of a block or behind its sum; ``both``: around each part.
        norm_bias: Whether a layer normalization has a shift besides its scale.
        positions: One of `POSITIONS`.
        max_positions: Rows of the table of learned positions, else 0.
        position_buckets: Relative positions that have a trained bias, else 0.
        qkv_bias: Of the projections to queries, keys and values.
        output_bias: Of the projection behind attention.
        mlp_bias: Of the feed-forward network, its experts and router.
        head_bias: Of the projection to the vocabulary or the classes.
        tied_embeddings: The projection to the vocabulary has the embedding's weights.
        experts: Of each expert block, 0 for a dense network.
        top_k: Experts that see a token.
        expert_ffn: Inner features of one.
        shared_experts: Further ones that see every token.
        first_dense_layers: Blocks before the first with experts.
        expert_every: From there every so many-th block has them.
        sliding_window: Positions that attention sees, or 0 for all.
        global_every: Every so many-th block sees all nevertheless; 0 for none.
        qk_norm: Queries and keys are normalized.
        attention_sinks: A trained logit for each head that attends to nothing.
        dropout: Share dropped behind the embedding and each part of a block.
        token_types: Segments of an encoder's input that have an embedding.
        next_sentence: An encoder also classifies its first position into two.
        predictions: Positions that an encoder's head sees.
        image_size: Rows and columns of an image.
        patch_size: Of a patch.
        channels: Of an image.
        classes: That ``vision`` tells apart.
        line: Of the section.
    """

    kind: str
    layers: int
    encoder_layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    value_head_size: int
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope_head_size: int
    qk_rope_head_size: int
    ffn: int
    gated: bool
    activation: str
    vocab: int
    sequence_length: int
    decoder_sequence_length: int
    normalization: str
    norm_position: str
    norm_bias: bool
    positions: str
    max_positions: int
    position_buckets: int
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    head_bias: bool
    tied_embeddings: bool
    experts: int
    top_k: int
    expert_ffn: int
    shared_experts: int
    first_dense_layers: int
    expert_every: int
    sliding_window: int
    global_every: int
    qk_norm: bool
    attention_sinks: bool
    dropout: float
    token_types: int
    next_sentence: bool
    predictions: int
    image_size: int
    patch_size: int
    channels: int
    classes: int
    line: int = 0

    @property
    def latent(self) -> bool:
        """Whether attention is latent (MLA: DeepSeek-V2, arXiv:2405.04434)."""
        return self.kv_lora_rank > 0

    def has_experts(self, block: int) -> bool:
        """Whether block ``block``, counted from 1, has experts instead of a dense feed-forward network."""
        past = block - self.first_dense_layers
        return self.experts > 0 and past >= 1 and past % self.expert_every == 0

    def window(self, block: int) -> int:
        """Positions that attention of block ``block``, counted from 1, sees; 0 for all."""
        is_global = self.global_every > 0 and block % self.global_every == 0
        return 0 if is_global else self.sliding_window


def read_transformer(fields: Fields) -> TransformerSizes:
    """The sizes of a file's ``transformer:`` section; what is wrong in it is noted in ``fields``."""
    problems_before = len(fields.problems)
    kind = fields.text("kind", "decoder", KINDS)
    for name, of in _OF_KIND.items():
        if name in fields and kind != of:
            fields.problem(f"has no meaning for kind {kind}; it is of {of}", name)
            fields.node(name)

    def count(name: str, default: int | None = None, minimum: int = 1, maximum: int = MAX_VALUE) -> int:
        given = {} if default is None else {"default": default}
        value: int = fields.integer(name, **given, minimum=minimum, maximum=maximum)
        return value

    def of_kind(name: str, default: int | None = None, minimum: int = 0) -> int:
        return count(name, default, minimum) if kind == _OF_KIND[name] else 0

    hidden, heads = count("hidden"), count("heads")
    layers = count("layers", maximum=MOST_BLOCKS)
    encoder_layers = count("encoder_layers", maximum=MOST_BLOCKS) if kind == "encoder_decoder" else 0
    kv_heads, latent = count("kv_heads", heads), "kv_lora_rank" in fields
    for name in _LATENT if latent else ():
        if name not in fields:
            fields.problem("is missing: latent attention (kv_lora_rank) needs it", name)
    nope, rope = count("qk_nope_head_size", 0, 0), count("qk_rope_head_size", 0, 0)
    head_size = _head_size(fields, hidden, heads, nope + rope if latent else 0)
    if not latent:
        for name in ("q_lora_rank", "qk_nope_head_size", "qk_rope_head_size"):
            if name in fields:
                fields.problem("is of latent attention, which needs a kv_lora_rank", name)
    if kv_heads and heads % kv_heads:
        fields.problem(f"is {kv_heads}, which does not divide the {heads} heads", "kv_heads")
    elif latent and kv_heads != heads:
        fields.problem(f"is {kv_heads}; latent attention has as many as heads, {heads}", "kv_heads")
    image, patch, length = _lengths(fields, kind)
    normalization = fields.text("normalization", "layer_norm", NORMALIZATIONS)
    gated = fields.flag("gated", False)
    positions = fields.text("positions", "learned" if kind in ("encoder", "vision") else "rotary", POSITIONS)
    learned = positions == "learned"
    for name, needed in (("max_positions", "learned"), ("position_buckets", "relative")):
        if name in fields and positions != needed:
            fields.problem(f"has no meaning with positions {positions}; expected {needed}", name)
            fields.node(name)
    rows = length + 1 if kind == "vision" else length
    max_positions = count("max_positions", rows) if learned else 0
    if max_positions and max_positions < rows:
        fields.problem(f"is {max_positions}, fewer than the {rows} positions of a sample", "max_positions")
    bias = fields.flag("bias", normalization == "layer_norm")
    ffn = count("ffn")
    experts, top_k, every, first = _experts(fields, layers)
    window = count("sliding_window", 0, 0)
    if "global_every" in fields and not window:
        fields.problem("needs a sliding_window: without one every block sees all positions", "global_every")
    predictions = of_kind("predictions", length, 1)
    if predictions > length and len(fields.problems) == problems_before:
        fields.problem(f"is {predictions}, more than the {length} positions of a sample", "predictions")
    sizes = TransformerSizes(
        kind=kind,
        layers=layers,
        encoder_layers=encoder_layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        value_head_size=count("value_head_size", head_size),
        q_lora_rank=count("q_lora_rank", 0, 0),
        kv_lora_rank=count("kv_lora_rank", 0, 1) if latent else 0,
        qk_nope_head_size=nope if latent else 0,
        qk_rope_head_size=rope if latent else 0,
        ffn=ffn,
        gated=gated,
        activation=fields.text("activation", "silu" if gated else "gelu", ACTIVATIONS),
        vocab=0 if kind == "vision" else count("vocab"),
        sequence_length=length,
        decoder_sequence_length=of_kind("decoder_sequence_length", length, 1),
        normalization=normalization,
        norm_position=fields.text("norm_position", "pre", NORM_POSITIONS),
        norm_bias=fields.flag("norm_bias", True) and normalization == "layer_norm",
        positions=positions,
        max_positions=max_positions,
        position_buckets=count("position_buckets", 32) if positions == "relative" else 0,
        qkv_bias=fields.flag("qkv_bias", bias),
        output_bias=fields.flag("output_bias", bias),
        mlp_bias=fields.flag("mlp_bias", bias),
        head_bias=fields.flag("head_bias", kind in ("encoder", "vision")),
        tied_embeddings=fields.flag("tied_embeddings", kind == "encoder"),
        experts=experts,
        top_k=top_k,
        expert_ffn=count("expert_ffn", ffn) if experts else 0,
        shared_experts=count("shared_experts", 0, 0, 10_000) if experts else 0,
        first_dense_layers=first,
        expert_every=every,
        sliding_window=window,
        global_every=count("global_every", 0, 0),
        qk_norm=fields.flag("qk_norm", False),
        attention_sinks=fields.flag("attention_sinks", False),
        dropout=fields.number("dropout", 0.0, 0.0, 0.99),
        token_types=of_kind("token_types", 0),
        next_sentence=kind == "encoder" and fields.flag("next_sentence", False),
        predictions=predictions,
        image_size=image,
        patch_size=patch,
        channels=of_kind("channels", 3, 1),
        classes=of_kind("classes", None, 1),
        line=fields.line,
    )
    if kind == "vision":
        for name in ("vocab", "sequence_length"):
            if name in fields:
                fields.problem("has no meaning for kind vision, which sees the patches of an image", name)
                fields.node(name)
    fields.finish()
    return sizes


def _head_size(fields: Fields, hidden: int, heads: int, latent: int) -> int:
    """Features of a query: given, those of latent attention, or hidden / heads."""
    if latent:
        if "head_size" in fields:
            fields.node("head_size")
            fields.problem("is that of qk_nope_head_size and qk_rope_head_size together; leave it out", "head_size")
        return latent
    if hidden % heads and "head_size" not in fields:
        fields.problem(f"is {heads}, which does not divide the {hidden} of hidden; or give a head_size", "heads")
    size: int = fields.integer("head_size", max(1, hidden // heads), minimum=1, maximum=MAX_VALUE)
    return size


def _lengths(fields: Fields, kind: str) -> tuple[int, int, int]:
    """Size of an image and of a patch, and positions of a sample."""
    if kind != "vision":
        length: int = fields.integer("sequence_length", minimum=1, maximum=MOST_POSITIONS)
        return 0, 0, length
    image: int = fields.integer("image_size", minimum=1, maximum=100_000)
    patch: int = fields.integer("patch_size", minimum=1, maximum=100_000)
    if image % patch:
        fields.problem(f"is {patch}, which does not divide the image's {image}", "patch_size")
    return image, patch, max(1, image // patch) ** 2


def _experts(fields: Fields, layers: int) -> tuple[int, int, int, int]:
    """(experts, top_k, expert_every, first_dense_layers), zeros and a one for a dense network."""
    experts: int = fields.integer("experts", 0, minimum=2, maximum=100_000)
    if not experts:
        for name in ("top_k", "expert_ffn", "shared_experts", "first_dense_layers", "expert_every"):
            if name in fields:
                fields.node(name)
                if "experts" not in fields:
                    fields.problem("is of a mixture of experts; how many `experts` are there?", name)
        return 0, 0, 1, 0
    top_k: int = fields.integer("top_k", minimum=1, maximum=MAX_VALUE)
    if top_k > experts:
        fields.problem(f"is {top_k}, more than the {experts} experts", "top_k")
    every: int = fields.integer("expert_every", 1, minimum=1, maximum=MAX_VALUE)
    first: int = fields.integer("first_dense_layers", 0, minimum=0, maximum=MAX_VALUE)
    if first + every > layers:
        field = "first_dense_layers" if first else "expert_every"
        fields.problem(f"leaves none of the {layers} layers with experts", field)
    return experts, top_k, every, first
