"""From a transformer's sizes to its layers: `transformer_layers`.

A block is called ``block_1`` (``encoder/block_1`` of an encoder-decoder) and its layers ``block_1/mlp/up`` and so on.
Projections that read the same input are one layer, as frameworks run them: queries with keys and values, the
gate with the inner projection. What a layer keeps for the backward pass adds up to the 34 s b h bytes a block of
Korthikanti et al. (arXiv:2205.05198, section 4.1) in 16 bits, without the scores, which fused attention does not keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paleo_opt.errors import Problem, SpecError
from paleo_opt.network.attention import AttentionSizes, ExpertSizes
from paleo_opt.network.graph import Layer, Shape
from paleo_opt.network.shapes import MAX_ELEMENTS, MAX_FLOPS, MAX_WEIGHTS
from paleo_opt.network.transformer_sizes import TransformerSizes

#: The network's input, and an encoder-decoder's second.
INPUT, DECODER_INPUT = "data", "decoder_data"
#: A mask of one byte for each element of two.
_MASK = 0.5


def input_shape(sizes: TransformerSizes) -> Shape:
    """Of one sample: token ids, or an image."""
    if sizes.kind == "vision":
        return sizes.image_size, sizes.image_size, sizes.channels
    return (sizes.sequence_length,)


def transformer_layers(sizes: TransformerSizes, file: str = "") -> tuple[Layer, ...]:
    """The layers in topological order, the input first.

    Args:
        sizes: Checked.
        file: For messages.

    Raises:
        SpecError: a layer beyond the limits of `paleo_opt.network.shapes`.
    """
    builder = _Builder(sizes, file)
    data = builder.add(INPUT, "Input", (), input_shape(sizes))
    if sizes.kind == "vision":
        builder.classifier(builder.stack("", builder.patches(data), sizes.layers, causal=False))
    elif sizes.kind == "encoder":
        builder.masked_head(builder.stack("", builder.embedded("", data), sizes.layers, causal=False))
    elif sizes.kind == "decoder":
        builder.head(builder.stack("", builder.embedded("", data), sizes.layers, causal=True))
    else:
        embedded = builder.embedded("encoder/", data)
        encoded = builder.stack("encoder/", embedded, sizes.encoder_layers, causal=False)
        targets = builder.add(DECODER_INPUT, "Input", (), (sizes.decoder_sequence_length,))
        embedded = builder.embedded("decoder/", targets, shared=True)
        builder.head(builder.stack("decoder/", embedded, sizes.layers, causal=True, memory=encoded))
    return tuple(builder.layers)


class _Builder:
    """The layers so far, and the shapes they write."""

    def __init__(self, sizes: TransformerSizes, file: str) -> None:
        self.sizes, self.file = sizes, file
        self.layers: list[Layer] = []
        self.shapes: dict[str, Shape] = {}
        self._checked: set[tuple[str, Shape, int]] = set()

    def add(self, name: str, kind: str, parents: Sequence[str], shape: Shape, **fields: Any) -> str:
        """Append a layer; returns its name."""
        inputs = tuple(self.shapes[parent] for parent in parents)
        layer = Layer(name, kind, tuple(parents), inputs, shape, line=self.sizes.line, **fields)
        key = (kind, shape, layer.outputs)
        if key not in self._checked:
            self._checked.add(key)
            limits = (
                (layer.output_size, MAX_ELEMENTS, "elements a sample"),
                (layer.weights, MAX_WEIGHTS, "weights"),
                (layer.forward_flops, MAX_FLOPS, "FLOPs a sample"),
            )
            for value, limit, what in limits:
                if value > limit:
                    message = f"makes {name} of {value:.3g} {what}; at most {limit:.0e}"
                    raise SpecError(Problem(message, self.file, self.sizes.line, "transformer"))
        self.layers.append(layer)
        self.shapes[name] = shape
        return name

    # -- layers of one input ---------------------------------------------------------------------------------

    def product(self, name: str, parent: str, outputs: int, bias: bool = False, **fields: Any) -> str:
        """A matrix product at every position."""
        shape = (self.shapes[parent][0], outputs)
        return self.add(name, "InnerProduct", (parent,), shape, outputs=outputs, bias=bias, **fields)

    def norm(self, name: str, parent: str) -> str:
        """The network's normalization."""
        kind = "LayerNormalization" if self.sizes.normalization == "layer_norm" else "RMSNormalization"
        return self.add(name, kind, (parent,), self.shapes[parent], bias=self.sizes.norm_bias)

    def dropout(self, name: str, parent: str) -> str:
        """A dropout where the network has one."""
        if not self.sizes.dropout:
            return parent
        keep = 1.0 - self.sizes.dropout
        return self.add(name, "Dropout", (parent,), self.shapes[parent], keep_probability=keep, kept=_MASK)

    def activation(self, name: str, parent: str, function: str) -> str:
        """The inner activation; all but a ReLU, which needs its output alone, keep input and output."""
        kept = None if function == "relu" else 1.0
        return self.add(name, "Activation", (parent,), self.shapes[parent], activation=function, kept=kept)

    def first(self, name: str, parent: str, count: int) -> str:
        """Some of the positions."""
        return self.add(name, "Gather", (parent,), (count, self.shapes[parent][1]))

    # -- ends ------------------------------------------------------------------------------------------------

    def embedded(self, prefix: str, tokens: str, shared: bool = False) -> str:
        """Token ids as features, with what is added to them; ``shared``: by a table that is counted already."""
        sizes, shape = self.sizes, (self.shapes[tokens][0], self.sizes.hidden)
        name = self.add(
            f"{prefix}embedding",
            "Embedding",
            (tokens,),
            shape,
            outputs=sizes.hidden,
            vocabulary=sizes.vocab,
            tied=shared,
        )
        name = self.positions(prefix, name)
        if sizes.token_types:
            rows = {"outputs": sizes.hidden, "vocabulary": sizes.token_types}
            name = self.add(f"{prefix}token_types", "PositionEmbedding", (name,), shape, **rows)
        if sizes.norm_position == "post":
            name = self.norm(f"{prefix}embedding_norm", name)
        return self.dropout(f"{prefix}embedding_dropout", name)

    def positions(self, prefix: str, parent: str) -> str:
        """Learned positions where the network has them."""
        if self.sizes.positions != "learned":
            return parent
        rows = {"outputs": self.sizes.hidden, "vocabulary": self.sizes.max_positions}
        return self.add(f"{prefix}positions", "PositionEmbedding", (parent,), self.shapes[parent], **rows)

    def patches(self, image: str) -> str:
        """The patches of an image as features, and the class token."""
        sizes = self.sizes
        side, window = sizes.image_size // sizes.patch_size, (sizes.patch_size, sizes.patch_size)
        name = self.add(
            "patches", "Convolution", (image,), (side, side, sizes.hidden), kernel=window, strides=window,
            outputs=sizes.hidden, bias=True,
        )  # fmt: skip
        name = self.add("sequence", "Reshape", (name,), (side * side, sizes.hidden))
        name = self.add("class_token", "ClassToken", (name,), (side * side + 1, sizes.hidden), outputs=sizes.hidden)
        return self.dropout("embedding_dropout", self.positions("", name))

    def head(self, name: str) -> None:
        """The projection to the vocabulary, of which a copy in fp32 is kept for the loss."""
        sizes = self.sizes
        name = self.product(
            "logits", name, sizes.vocab, sizes.head_bias, tied=sizes.tied_embeddings, high_precision=True
        )
        self.add("softmax", "Softmax", (name,), self.shapes[name], kept=1.0)

    def masked_head(self, encoded: str) -> None:
        """BERT's heads: the next sentence from the first position, the masked tokens from some of all."""
        sizes = self.sizes
        if sizes.next_sentence:
            first = self.first("pooler/first", encoded, 1)
            name = self.product("pooler/dense", first, sizes.hidden, True, high_precision=True)
            name = self.activation("pooler/activation", name, "tanh")
            name = self.product("next_sentence", name, 2, True, high_precision=True)
            self.add("next_sentence_softmax", "Softmax", (name,), self.shapes[name])
        name = encoded
        if sizes.predictions < sizes.sequence_length:
            name = self.first("head/masked", name, sizes.predictions)
        name = self.product("head/dense", name, sizes.hidden, True, high_precision=True)
        name = self.activation("head/activation", name, sizes.activation)
        self.head(self.norm("head/norm", name))

    def classifier(self, encoded: str) -> None:
        """The class from the class token."""
        first = self.first("class", encoded, 1)
        name = self.product("classes", first, self.sizes.classes, self.sizes.head_bias, high_precision=True)
        self.add("softmax", "Softmax", (name,), self.shapes[name], kept=1.0)

    # -- blocks ----------------------------------------------------------------------------------------------

    def stack(self, prefix: str, name: str, blocks: int, causal: bool, memory: str = "") -> str:
        """Blocks one behind the other; ``memory`` is what each also attends to (an encoder's output)."""
        for block in range(1, blocks + 1):
            at = f"{prefix}block_{block}/"
            name = self.part(at, "attention", name, self.attention(block, causal, ""))
            if memory:
                name = self.part(at, "cross_attention", name, self.attention(block, False, memory))
            name = self.part(at, "mlp", name, self.experts if self.sizes.has_experts(block) else self.dense)
        return name if self.sizes.norm_position == "post" else self.norm(f"{prefix}final_norm", name)

    def part(self, at: str, what: str, stream: str, run: Any) -> str:
        """One part of a block with its normalization and its sum with the residual stream."""
        position, name = self.sizes.norm_position, stream
        if position != "post":
            name = self.norm(f"{at}{what}_norm", name)
        outputs = run(f"{at}{what}/", name)
        if position == "both" or self.sizes.dropout:
            outputs = [self.total(f"{at}{what}/sum", outputs)]
        if position == "both":
            outputs = [self.norm(f"{at}{what}_post_norm", outputs[0])]
        if self.sizes.dropout:
            outputs = [self.dropout(f"{at}{what}_dropout", outputs[0])]
        name = self.add(f"{at}{what}_add", "Elementwise", (stream, *outputs), self.shapes[stream])
        return self.norm(f"{at}{what}_norm", name) if position == "post" else name

    def total(self, name: str, parts: list[str]) -> str:
        """The sum of several outputs, or the only one."""
        return parts[0] if len(parts) == 1 else self.add(name, "Elementwise", tuple(parts), self.shapes[parts[0]])

    def attention(self, block: int, causal: bool, memory: str) -> Any:
        """A function that adds an attention, over ``memory`` where that is given."""
        sizes = self.sizes
        # The sum, or the mask of a dropout, needs nothing of the projection behind it; a normalization does.
        kept = 1.0 if sizes.norm_position == "both" else 0.0

        def run(at: str, name: str) -> list[str]:
            length, keys = self.shapes[name][0], self.shapes[memory or name][0]
            shape = AttentionSizes(
                heads=sizes.heads,
                kv_heads=sizes.kv_heads,
                head_size=sizes.head_size,
                value_head_size=sizes.value_head_size,
                queries=length,
                keys=keys,
                causal=causal,
                window=0 if memory else sizes.window(block),
                rotary=self.rotated() if sizes.positions == "rotary" else 0,
                qk_normalization=sizes.qk_norm,
                position_buckets=sizes.position_buckets if block == 1 and not memory else 0,
                sinks=sizes.attention_sinks,
                dropout=sizes.dropout > 0.0,
            )
            sources = self.latent(at, name) if sizes.latent else self.projections(at, name, memory)
            features = sizes.heads * sizes.value_head_size
            name = self.add(f"{at}scores", "Attention", sources, (length, features), attention=shape)
            return [self.product(f"{at}output", name, sizes.hidden, sizes.output_bias, kept=kept)]

        return run

    def rotated(self) -> int:
        """Features per position of queries and keys that are rotated."""
        sizes = self.sizes
        if sizes.latent:
            return sizes.qk_rope_head_size * (sizes.heads + 1)
        return sizes.head_size * (sizes.heads + sizes.kv_heads)

    def projections(self, at: str, name: str, memory: str) -> tuple[str, ...]:
        """Queries, keys and values: of one product, or of two where keys and values are of ``memory``."""
        sizes = self.sizes
        queries = sizes.heads * sizes.head_size
        others = sizes.kv_heads * (sizes.head_size + sizes.value_head_size)
        if not memory:
            return (self.product(f"{at}query_key_value", name, queries + others, sizes.qkv_bias),)
        query = self.product(f"{at}query", name, queries, sizes.qkv_bias)
        return query, self.product(f"{at}key_value", memory, others, sizes.qkv_bias)

    def latent(self, at: str, name: str) -> tuple[str, ...]:
        """Queries, keys and values through few features (multi-head latent attention, arXiv:2405.04434)."""
        sizes = self.sizes
        query = name
        if sizes.q_lora_rank:
            query = self.product(f"{at}query_down", name, sizes.q_lora_rank, sizes.qkv_bias)
            query = self.rms(f"{at}query_norm", query)
        query = self.product(f"{at}query", query, sizes.heads * sizes.head_size)
        shared = self.rms(
            f"{at}key_value_norm", self.product(f"{at}key_value_down", name, sizes.kv_lora_rank, sizes.qkv_bias)
        )
        features = sizes.heads * (sizes.qk_nope_head_size + sizes.value_head_size)
        others = self.product(f"{at}key_value", shared, features)
        return query, others, self.product(f"{at}key_positions", name, sizes.qk_rope_head_size, sizes.qkv_bias)

    def rms(self, name: str, parent: str) -> str:
        """The normalization of latent attention, whatever that of the blocks."""
        return self.add(name, "RMSNormalization", (parent,), self.shapes[parent])

    def feed_forward(self, at: str, name: str, ffn: int) -> str:
        """A dense feed-forward network of ``ffn`` inner features."""
        sizes = self.sizes
        inner = (2 if sizes.gated else 1) * ffn
        name = self.product(f"{at}{'gate_up' if sizes.gated else 'up'}", name, inner, sizes.mlp_bias)
        if sizes.gated:
            shape = (self.shapes[name][0], ffn)
            name = self.add(f"{at}activation", "GatedActivation", (name,), shape, activation=sizes.activation)
        else:
            name = self.activation(f"{at}activation", name, sizes.activation)
        kept = 1.0 if sizes.norm_position == "both" else 0.0
        return self.product(f"{at}down", name, sizes.hidden, sizes.mlp_bias, kept=kept)

    def dense(self, at: str, name: str) -> list[str]:
        """The feed-forward network of a block without experts."""
        return [self.feed_forward(at, name, self.sizes.ffn)]

    def experts(self, at: str, name: str) -> list[str]:
        """The router, the experts it chooses, and those that see every token."""
        sizes, shape = self.sizes, self.shapes[name]
        router = self.product(f"{at}router", name, sizes.experts, sizes.mlp_bias, high_precision=True)
        chosen = ExpertSizes(sizes.experts, sizes.top_k, sizes.expert_ffn, sizes.gated)
        # Of each of top_k copies of a token: the copy itself, the inner projection and the activation.
        inner = (3 if sizes.gated else 2) * sizes.expert_ffn
        kept = sizes.top_k * (sizes.hidden + inner) / sizes.hidden
        outputs = [
            self.add(
                f"{at}experts", "Experts", (name, router), shape, outputs=sizes.hidden, bias=sizes.mlp_bias,
                activation=sizes.activation, experts=chosen, kept=kept,
            )
        ]  # fmt: skip
        if sizes.shared_experts:
            outputs.append(self.feed_forward(f"{at}shared_", name, sizes.shared_experts * sizes.expert_ffn))
        return outputs
