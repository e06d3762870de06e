"""What the layers of a transformer cost: kernels for the default model, and products for the PALEO model.

Attention is one fused kernel in each direction (FlashAttention, Dao et al. 2022, arXiv:2205.14135): it moves queries,
keys, values and outputs only, skips the pairs of positions that a causal mask or a window hides, and computes the
scores again in the backward pass (five products there, two forward). A normalization reads and writes its input once;
its gradient reads input and output gradient and writes once. Experts are as many products side by side, each of its
share of the tokens if the router spreads them evenly, and move the weights of all.
"""

from __future__ import annotations

from dataclasses import replace

from paleo_opt.estimator.convolution import NOTHING, Cost, Term
from paleo_opt.estimator.convolution_kernels import Kernel
from paleo_opt.network.attention import AttentionSizes
from paleo_opt.network.graph import Layer

NO_PRODUCT = Term(0.0, 0.0)
#: What runs under the default model: forward, data gradient, filter gradient.
KernelPasses = tuple[tuple[Kernel, ...], tuple[Kernel, ...], tuple[Kernel, ...]]

TYPES = (
    "Attention", "Experts", "GatedActivation", "LayerNormalization", "RMSNormalization", "PositionEmbedding",
    "ClassToken", "Gather",
)  # fmt: skip


def _traffic(per_sample: float) -> Kernel:
    return Kernel(NO_PRODUCT, NO_PRODUCT, NO_PRODUCT, 0.0, Term(0.0, per_sample), "memory", "", NO_PRODUCT)


def _products(m: Term, n: Term, k: Term, count: float, elements: Term, converted: Term | None = None) -> Kernel:
    return Kernel(m, n, k, count, elements, "products", "gemm", NO_PRODUCT, converted)


def _grouped(m: Term, n: Term, k: Term, count: float, elements: Term, converted: Term) -> Kernel:
    """The products of all experts in one kernel."""
    return Kernel(m, n, k, count, elements, "experts", "gemm", NO_PRODUCT, converted)


def _fused(m: Term, n: Term, k: Term, count: float, elements: Term) -> Kernel:
    """Attention's products in one kernel."""
    return Kernel(m, n, k, count, elements, "attention", "gemm", NO_PRODUCT, only="attention")


#: Elements moved for each one, forward and backward, by chains of pointwise steps beyond what one kernel moves, on
#: platforms that run a kernel for each step. A root mean square normalization converts to fp32 (two elements), squares,
#: averages, scales, converts back and weighs: 18 rather than 2, and 34 rather than 3 for the gradients of each of
#: these. A rotation negates and joins halves, multiplies twice and adds: 10 rather than 2. A gated activation writes
#: the activation before the product: 5 rather than 3 for each output, and 9 rather than 5.
_STEPS = {"norm": (16.0, 31.0), "rotary": (8.0, 8.0), "gate": (2.0, 4.0)}


def _in_steps(chain: str, per_sample: float) -> tuple[Kernel, Kernel]:
    """What separate kernels for the steps of a chain move besides, forward and backward."""
    forward, backward = (replace(_traffic(moved * per_sample), unless="pointwise") for moved in _STEPS[chain])
    return forward, backward


def _share(count: int, parts: int) -> int:
    return -(-count // parts)


def transformer_passes(layer: Layer, parts: int) -> KernelPasses:
    """The kernels of a layer of one of `TYPES` on one of ``parts`` devices that divide its heads or features."""
    if layer.attention is not None:
        return _attention(layer.attention, parts)
    if layer.experts is not None:
        return _experts(layer, parts)
    read, written = layer.input_size / parts, layer.output_size / parts
    if layer.type == "LayerNormalization":
        return (_traffic(read + written),), (_traffic(3.0 * written),), ()
    if layer.type == "RMSNormalization":
        steps = _in_steps("norm", written)
        return (_traffic(read + written), steps[0]), (_traffic(3.0 * written), steps[1]), ()
    if layer.type == "GatedActivation":
        steps = _in_steps("gate", written)
        return (_traffic(read + written), steps[0]), (_traffic(2.0 * read + written), steps[1]), ()
    if layer.type == "PositionEmbedding":
        return (_traffic(read + written),), (), (_traffic(written),)
    if layer.type == "ClassToken":
        return (_traffic(read + written),), (_traffic(read + written),), ()
    # Gather: some rows forward; all of their gradient, most of it zero.
    return (_traffic(2.0 * written),), (_traffic(read + written),), ()


def _moved(sizes: AttentionSizes, parts: int) -> tuple[int, float, float]:
    """Heads of one device, and elements of its queries, keys and values and of its outputs, per sample."""
    heads, kv_heads = _share(sizes.heads, parts), _share(sizes.kv_heads, parts)
    queries = float(sizes.queries * heads * sizes.head_size)
    others = float(sizes.keys * kv_heads * (sizes.head_size + sizes.value_head_size))
    return heads, queries + others, float(sizes.queries * heads * sizes.value_head_size)


def _attention(sizes: AttentionSizes, parts: int) -> KernelPasses:
    heads, inputs, outputs = _moved(sizes, parts)
    rows, keys = Term(0.0, float(sizes.queries)), Term(sizes.computed_pairs / sizes.queries, 0.0)
    qk, v = float(sizes.head_size), float(sizes.value_head_size)
    forward = [_fused(rows, keys, Term(qk + v, 0.0), float(heads), Term(0.0, inputs + outputs))]
    # Scores again, gradients of values and scores, of queries and keys; inputs, output, its gradient, theirs.
    backward = [
        _fused(rows, keys, Term(3.0 * qk + 2.0 * v, 0.0), float(heads), Term(0.0, 2.0 * inputs + 2.0 * outputs))
    ]
    with_scores = _attention_with_scores(sizes, heads)
    forward += with_scores[0]
    backward += with_scores[1]
    before = sizes.queries * sizes.rotary / parts
    if sizes.rotary:
        steps = _in_steps("rotary", before)
        forward = [_traffic(2.0 * before), steps[0], *forward]
        backward += [_traffic(2.0 * before), steps[1]]
    if sizes.qk_normalization:
        features = _share(sizes.heads, parts) + _share(sizes.kv_heads, parts)
        size = float(sizes.queries * features * sizes.head_size)
        steps = _in_steps("norm", size)
        forward = [_traffic(2.0 * size), steps[0], *forward]
        backward += [_traffic(3.0 * size), steps[1]]
    return tuple(forward), tuple(backward), ()


def _attention_with_scores(sizes: AttentionSizes, heads: int) -> tuple[tuple[Kernel, ...], tuple[Kernel, ...]]:
    """Attention on platforms without the fused kernel: products of all pairs, and the scores in memory between them.

    Scale, mask and softmax are one kernel (Megatron-LM, arXiv:2104.04473, section 4.2), a dropout another.
    """
    rows, keys = Term(0.0, float(sizes.queries)), Term(float(sizes.keys), 0.0)
    qk, v = Term(float(sizes.head_size), 0.0), Term(float(sizes.value_head_size), 0.0)
    scores, count = float(heads * sizes.queries * sizes.keys), float(heads)
    queries_and_keys = heads * (sizes.queries + sizes.keys) * sizes.head_size
    values_and_outputs = heads * (sizes.queries + sizes.keys) * sizes.value_head_size

    def product(m: Term, n: Term, k: Term, moved: int) -> Kernel:
        elements = Term(0.0, scores + moved)
        return Kernel(m, n, k, count, elements, "products", "gemm", NO_PRODUCT, unless="attention")

    def traffic(per_sample: float) -> Kernel:
        elements = Term(0.0, per_sample)
        return Kernel(NO_PRODUCT, NO_PRODUCT, NO_PRODUCT, 0.0, elements, "memory", "", NO_PRODUCT, unless="attention")

    # Of a mask one byte for each element of two.
    dropped = (traffic(2.5 * scores),) if sizes.dropout else ()
    forward = (
        product(rows, keys, qk, queries_and_keys),
        traffic(2.0 * scores),
        *dropped,
        product(rows, v, keys, values_and_outputs),
    )
    backward = (
        product(rows, keys, v, values_and_outputs),
        product(keys, v, rows, values_and_outputs),
        *dropped,
        traffic(3.0 * scores),
        product(rows, qk, keys, queries_and_keys),
        product(keys, qk, rows, queries_and_keys),
    )
    return forward, backward


def _experts(layer: Layer, parts: int) -> KernelPasses:
    """Tokens are copied to their experts, run through them, and summed weighted by the router."""
    sizes = layer.experts
    assert sizes is not None
    tokens, hidden, ffn = layer.output_shape[0], float(layer.outputs), float(_share(sizes.ffn, parts))
    copies, count = float(tokens * sizes.top_k), float(sizes.experts)
    inner = 2.0 * ffn if sizes.gated else ffn
    each = Term(0.0, copies / count)
    moved = _traffic(2.0 * copies * hidden)
    summed = _traffic((copies + tokens) * hidden)
    steps = _in_steps("gate", copies * ffn) if sizes.gated else ()
    activation = (_traffic(copies * (inner + ffn)), *steps[:1])
    gradient = (_traffic(copies * (2.0 * inner + ffn)), *steps[1:])

    def dense(features: float, outputs: float) -> tuple[Kernel, Kernel, Kernel]:
        a, b = Term(features, 0.0), Term(outputs, 0.0)
        elements = Term(count * features * outputs, copies * (features + outputs))
        return (
            _grouped(each, b, a, count, elements, Term(0.0, copies * features)),
            _grouped(each, a, b, count, elements, Term(0.0, copies * outputs)),
            _grouped(a, b, each, count, elements, NO_PRODUCT),
        )

    up, down = dense(hidden, inner), dense(ffn, hidden)
    return (
        (moved, up[0], *activation, down[0], summed),
        (moved, down[1], *gradient, up[1], summed),
        (up[2], down[2]),
    )


# -- the PALEO model ---------------------------------------------------------------------------------------


def transformer_costs(layer: Layer, parts: int) -> tuple[Cost, Cost, Cost]:
    """The same layers under PALEO's conventions: products of all pairs with their operands, normalizations free."""
    if layer.attention is not None:
        sizes = layer.attention
        heads, inputs, outputs = _moved(sizes, parts)
        pairs = float(heads * sizes.visible_pairs)
        cost = Cost(
            compute=(Term(0.0, 2.0 * pairs * sizes.head_size), Term(0.0, 2.0 * pairs * sizes.value_head_size)),
            memory=(Term(0.0, inputs), Term(0.0, 2.0 * pairs), Term(0.0, outputs)),
        )
        twice = Cost(cost.compute * 2, cost.memory * 2)
        return cost, twice, NOTHING
    if layer.experts is not None:
        experts = layer.experts
        copies, ffn = float(layer.output_shape[0] * experts.top_k), float(_share(experts.ffn, parts))
        inner = 2.0 * ffn if experts.gated else ffn
        up = _dense(copies, float(layer.outputs), inner, experts.experts)
        down = _dense(copies, ffn, float(layer.outputs), experts.experts)
        cost = Cost(up.compute + down.compute, up.memory + down.memory)
        return cost, cost, cost
    if layer.type == "GatedActivation":
        cost = Cost(
            compute=(Term(0.0, layer.output_size / parts),),
            memory=(Term(0.0, layer.input_size / parts), Term(0.0, layer.output_size / parts)),
        )
        return cost, cost, NOTHING
    return NOTHING, NOTHING, NOTHING


def _dense(rows: float, features: float, outputs: float, experts: int) -> Cost:
    return Cost(
        compute=(Term(0.0, 2.0 * rows * features * outputs),),
        memory=(Term(0.0, rows * features), Term(experts * features * outputs, 0.0), Term(0.0, rows * outputs)),
    )
