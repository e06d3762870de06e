"""One device's share of a transformer's layers under a split, for one block of each kind and for both ends.

A projection whose outputs are divided (queries, keys and values, the inner projections, the vocabulary) is followed by
one whose inputs are (Megatron-LM, arXiv:1909.08053), so that a part of a block adds up its outputs once. Under sequence
parallelism, what stands between the parts has a share of the positions (arXiv:2205.05198). Experts that are divided
over devices are whole on theirs, and each device sees as many copies of tokens as it sends, the router choosing evenly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from paleo_opt.estimator.splits import Split
from paleo_opt.network.attention import AttentionSizes
from paleo_opt.network.graph import Layer, Shape
from paleo_opt.network.transformer import transformer_layers
from paleo_opt.network.transformer_sizes import TransformerSizes

#: Projections by the last part of their name: those whose outputs tensor parallelism divides, and whose inputs.
_BY_OUTPUTS = frozenset(
    ("query_key_value", "query", "key_value", "gate_up", "up", "shared_gate_up", "shared_up", "logits")
)
_BY_INPUTS = frozenset(("output", "down", "shared_down"))
#: What has a share of the positions under sequence parallelism; the embedding's sum is scattered to them.
_RESIDUAL = frozenset(
    ("LayerNormalization", "RMSNormalization", "Dropout", "Elementwise", "Embedding", "PositionEmbedding")
)


@dataclass(frozen=True)
class BlockKind:
    """Blocks that cost the same.

    Attributes:
        name: ``encoder``, ``decoder``, or of one stack ``block``; with ``experts`` or ``window`` where it has them.
        count: How many.
        layers: One device's share of one such block's layers.
    """

    name: str
    count: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Share:
    """What one device has of a transformer.

    Attributes:
        kinds: Of blocks, whole ones; pipeline stages share them out.
        first: Layers before the first block.
        last: Layers behind the last.
        readers: For each layer's name, how many layers read it.
    """

    kinds: tuple[BlockKind, ...]
    first: tuple[Layer, ...]
    last: tuple[Layer, ...]
    readers: Counter[str]


def block_kinds(sizes: TransformerSizes) -> dict[tuple[bool, int], int]:
    """How many decoder blocks (or of the only stack) there are of each (with experts, window)."""
    return Counter((sizes.has_experts(block), sizes.window(block)) for block in range(1, sizes.layers + 1))


def share_of(sizes: TransformerSizes, split: Split) -> Share:
    """One device's share of the layers of ``sizes`` under ``split``, whatever its pipeline and data parallelism.

    Sizes that do not divide are rounded up: the device that has most of them.
    """
    kinds: list[BlockKind] = []
    first: tuple[Layer, ...] = ()
    last: tuple[Layer, ...] = ()
    readers: Counter[str] = Counter()
    for (experts, window), count in block_kinds(sizes).items():
        one = replace(
            sizes,
            layers=1,
            encoder_layers=min(1, sizes.encoder_layers),
            experts=sizes.experts if experts else 0,
            first_dense_layers=0,
            expert_every=1,
            sliding_window=window,
            global_every=0,
        )
        layers = transformer_layers(one)
        readers |= Counter(parent for layer in layers for parent in layer.parents)
        blocks, first, last = _sections(layers)
        shares = {at: tuple(_Divider(sizes, split).layer(layer) for layer in some) for at, some in blocks.items()}
        suffix = "".join(word for word, has in ((" experts", experts), (" window", window)) if has)
        for at, some in shares.items():
            name = at.partition("/")[0] if "/" in at else "block"
            if name == "encoder" and any(kind.name == "encoder" for kind in kinds):
                continue
            kinds.append(BlockKind(name + suffix, sizes.encoder_layers if name == "encoder" else count, some))
    divider = _Divider(sizes, split)
    return Share(
        tuple(kinds),
        tuple(divider.layer(layer) for layer in first),
        tuple(divider.layer(layer) for layer in last),
        readers,
    )


def _sections(layers: tuple[Layer, ...]) -> tuple[dict[str, tuple[Layer, ...]], tuple[Layer, ...], tuple[Layer, ...]]:
    """The layers of each block by its name, those before the blocks, and those behind."""
    blocks: dict[str, list[Layer]] = {}
    first, last = [], []
    for layer in layers:
        at = _block_of(layer.name)
        if at:
            blocks.setdefault(at, []).append(layer)
        elif layer.type == "Input":
            continue
        elif blocks and not _embeds(layer):
            last.append(layer)
        else:
            first.append(layer)
    return {at: tuple(some) for at, some in blocks.items()}, tuple(first), tuple(last)


def _block_of(name: str) -> str:
    head, found, rest = name.partition("block_1/")
    return f"{head}block_1" if found and rest else ""


def _embeds(layer: Layer) -> bool:
    """Whether a layer behind the encoder's blocks belongs to the decoder's embedding."""
    return layer.name.rpartition("/")[2].startswith(("embedding", "positions"))


@dataclass(frozen=True)
class _Divider:
    """Divides layers among the devices of a split."""

    sizes: TransformerSizes
    split: Split

    def layer(self, layer: Layer) -> Layer:
        """One device's share."""
        tensor, context = self.split.tensor, self.split.context
        if layer.type in ("Convolution", "Reshape"):
            return layer  # patches of an image: little, and on every device
        if layer.attention is not None:
            return self._attention(layer, layer.attention)
        if layer.experts is not None:
            return self._experts(layer)
        rows = context
        if self.split.sequence_parallel and layer.type in _RESIDUAL:
            rows = context * tensor
        inputs = tuple(_positions(shape, rows) for shape in layer.input_shapes)
        output = _positions(layer.output_shape, rows)
        what = layer.name.rpartition("/")[2]
        if layer.type == "InnerProduct" and what in _BY_OUTPUTS:
            outputs = -(-(layer.outputs + self._copied(what)) // tensor)
            return replace(layer, input_shapes=inputs, output_shape=(*output[:-1], outputs), outputs=outputs)
        if layer.type == "InnerProduct" and what in _BY_INPUTS:
            narrow = tuple((*shape[:-1], -(-shape[-1] // tensor)) for shape in inputs)
            return replace(layer, input_shapes=narrow, output_shape=output)
        if (
            layer.type in ("Activation", "GatedActivation", "Softmax") and "/" in layer.name
        ) or layer.name == "softmax":
            if layer.name.startswith(("head/", "pooler/")):
                return replace(layer, input_shapes=inputs, output_shape=output)
            narrow = tuple((*shape[:-1], -(-shape[-1] // tensor)) for shape in inputs)
            shape = (*output[:-1], -(-output[-1] // tensor))
            return replace(layer, input_shapes=narrow, output_shape=shape)
        if layer.type == "Embedding":
            return replace(layer, input_shapes=inputs, output_shape=output, vocabulary=-(-layer.vocabulary // tensor))
        return replace(layer, input_shapes=inputs, output_shape=output)

    def _copied(self, what: str) -> int:
        """Outputs of a projection beyond its own: heads of keys and values that more than one device has."""
        if what not in ("query_key_value", "key_value"):
            return 0
        heads, tensor = self.sizes.kv_heads, self.split.tensor
        return (-(-heads // tensor) * tensor - heads) * (self.sizes.head_size + self.sizes.value_head_size)

    def _attention(self, layer: Layer, sizes: AttentionSizes) -> Layer:
        split = self.split
        heads, kv_heads, queries, keys = sizes.heads, sizes.kv_heads, sizes.queries, sizes.keys
        by_heads = split.tensor * (split.context if split.context_method == "all_to_all" else 1)
        causal, window = sizes.causal, sizes.window
        if split.context > 1 and split.context_method == "ring":
            # Libraries deal out positions so that every device has as many pairs.
            queries = -(-queries // split.context)
            keys = max(1, round(sizes.computed_pairs / sizes.queries))
            causal, window = False, 0
        share = replace(
            sizes,
            heads=-(-heads // by_heads),
            kv_heads=-(-kv_heads // by_heads),
            queries=queries,
            keys=keys,
            causal=causal,
            window=window,
            rotary=-(-sizes.rotary // by_heads),
        )
        features = share.heads * share.value_head_size
        inputs = tuple(
            (*_positions(shape, split.context)[:-1], -(-shape[-1] // split.tensor)) for shape in layer.input_shapes
        )
        return replace(layer, input_shapes=inputs, output_shape=(queries, features), attention=share)

    def _experts(self, layer: Layer) -> Layer:
        split, experts = self.split, layer.experts
        assert experts is not None
        rows = split.context
        if split.expert > 1:
            # Whole experts; each token is sent by one of the tensor-parallel devices.
            rows *= split.tensor
            share = replace(experts, experts=-(-experts.experts // split.expert))
        else:
            share = replace(experts, ffn=-(-experts.ffn // split.tensor))
        inputs = tuple(_positions(shape, rows) for shape in layer.input_shapes)
        # What is kept of each token's copies: as `transformer._Builder.experts` has it, with this share's features.
        kept = layer.kept
        if kept is not None:
            inner = (3 if experts.gated else 2) * share.ffn
            kept = experts.top_k * (layer.outputs + inner) / layer.outputs
        return replace(
            layer, input_shapes=inputs, output_shape=_positions(layer.output_shape, rows), experts=share, kept=kept
        )


def _positions(shape: Shape, parts: int) -> Shape:
    """A sequence's shape with a share of its positions."""
    if len(shape) == 1:
        return (-(-shape[0] // parts),)
    return (-(-shape[0] // parts), *shape[1:])


def exchanges(layers: tuple[Layer, ...], split: Split) -> int:
    """How often one pass over a block adds up what its tensor-parallel devices computed."""
    return len(set(_summed_parts(layers, split))) if split.tensor > 1 else 0


def _summed_parts(layers: tuple[Layer, ...], split: Split) -> Iterator[str]:
    for layer in layers:
        part, _, what = layer.name.rpartition("/")
        if (layer.type == "InnerProduct" and what in _BY_INPUTS) or (layer.experts is not None and split.expert == 1):
            yield part
