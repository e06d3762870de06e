"""How families of models name a transformer's sizes in a ``config.json``, and what holds where they are left out.

Each function reads a `Config` and returns fields of a network's ``transformer:`` section
(`paleo_opt.network.transformer_sizes`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paleo_opt.network.config_json import Config

Sizes = dict[str, Any]

_ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "relu": "relu", "relu2": "squared_relu", "gelu": "gelu", "gelu_new": "gelu",
    "gelu_fast": "gelu", "gelu_pytorch_tanh": "gelu", "quick_gelu": "gelu",
}  # fmt: skip


def _decoder(config: Config, **family: Any) -> Sizes:
    """What the families that are built like Llama share."""
    sizes: Sizes = {
        "layers": config.integer("num_hidden_layers"),
        "hidden": config.integer("hidden_size"),
        "heads": (heads := config.integer("num_attention_heads")),
        "kv_heads": config.integer("num_key_value_heads", default=heads),
        "ffn": config.integer("intermediate_size"),
        "vocab": config.integer("vocab_size"),
        "sequence_length": config.integer("max_position_embeddings"),
        "gated": True,
        "activation": config.word("hidden_act", "silu", _ACTIVATIONS),
        "normalization": "rms_norm",
        "positions": "rotary",
        "tied_embeddings": config.flag("tie_word_embeddings", bool(family.pop("tied", False))),
    }
    if "head_dim" in config or "head_size" in family:
        sizes["head_size"] = config.integer("head_dim", default=family.pop("head_size", None))
    if config.flag("attention_bias", False):
        sizes |= {"qkv_bias": True, "output_bias": True}
    if config.flag("mlp_bias", False):
        sizes["mlp_bias"] = True
    return sizes | family


def _windowed(config: Config, sizes: Sizes) -> Sizes:
    if "sliding_window" in config:
        sizes["sliding_window"] = config.integer("sliding_window")
    return sizes


def _experts(config: Config, counted: tuple[str, ...], ffn: str, top_k: int | None = None) -> Sizes:
    return {
        "experts": config.integer(*counted, minimum=2),
        "top_k": config.integer("num_experts_per_tok", "experts_per_token", default=top_k),
        "expert_ffn": config.integer(ffn),
    }


def _llama(config: Config) -> Sizes:
    return _decoder(config)


def _mistral(config: Config) -> Sizes:
    return _windowed(config, _decoder(config))


def _mixtral(config: Config) -> Sizes:
    return _windowed(config, _decoder(config)) | _experts(config, ("num_local_experts",), "intermediate_size")


def _qwen(config: Config, **family: Any) -> Sizes:
    config.take("sliding_window", "max_window_layers")
    config.refuse("use_sliding_window", (False,), "is true: blocks that differ so are not known")
    if set(config.words("layer_types")) - {"full_attention"}:
        config.problem("layer_types", "has blocks of other kinds than full_attention, which are not known")
    return _decoder(config, **family)


def _qwen2(config: Config) -> Sizes:
    return _qwen(config, qkv_bias=True)


def _qwen3(config: Config) -> Sizes:
    return _qwen(config, qk_norm=True, head_size=128)


def _sparse(config: Config, sizes: Sizes) -> Sizes:
    config.refuse("mlp_only_layers", ([],), "names blocks without experts, which are not known")
    sizes |= _experts(config, ("num_experts",), "moe_intermediate_size")
    if (every := config.integer("decoder_sparse_step", default=1)) > 1:
        sizes["expert_every"] = every
    return sizes


def _qwen2_moe(config: Config) -> Sizes:
    sizes = _sparse(config, _qwen2(config))
    shared = config.integer("shared_expert_intermediate_size", default=0, minimum=0)
    if shared % sizes["expert_ffn"]:
        message = f"is {shared}, no multiple of moe_intermediate_size, {sizes['expert_ffn']}"
        config.problem("shared_expert_intermediate_size", message)
    elif shared:
        sizes["shared_experts"] = shared // sizes["expert_ffn"]
    return sizes


def _qwen3_moe(config: Config) -> Sizes:
    return _sparse(config, _qwen3(config))


def _deepseek(config: Config) -> Sizes:
    config.take("num_nextn_predict_layers", "n_group", "topk_group", "head_dim", "qk_head_dim")
    sizes = _decoder(config)
    sizes.pop("head_size", None)
    if "q_lora_rank" in config:
        sizes["q_lora_rank"] = config.integer("q_lora_rank")
    sizes |= {
        "kv_lora_rank": config.integer("kv_lora_rank"),
        "qk_nope_head_size": config.integer("qk_nope_head_dim"),
        "qk_rope_head_size": config.integer("qk_rope_head_dim"),
        "value_head_size": config.integer("v_head_dim"),
    }
    if "n_routed_experts" not in config:
        config.take("n_routed_experts", "n_shared_experts", "moe_intermediate_size", "num_experts_per_tok")
        config.take("first_k_dense_replace", "moe_layer_freq")
        return sizes
    sizes |= _experts(config, ("n_routed_experts",), "moe_intermediate_size")
    sizes["shared_experts"] = config.integer("n_shared_experts", default=0, minimum=0)
    sizes["first_dense_layers"] = config.integer("first_k_dense_replace", default=0, minimum=0)
    config.refuse("moe_layer_freq", (1,), "is not 1: blocks that differ so are not known")
    return sizes


def _gpt_oss(config: Config) -> Sizes:
    sizes = _windowed(config, _decoder(config, bias=True, attention_sinks=True))
    sizes |= _experts(config, ("num_local_experts", "num_experts"), "intermediate_size")
    for name in ("qkv_bias", "output_bias", "mlp_bias"):
        sizes.pop(name, None)
    kinds = ("sliding_attention", "full_attention")
    if any(kind != kinds[index % 2] for index, kind in enumerate(config.words("layer_types"))):
        config.problem("layer_types", "does not alternate sliding_attention with full_attention")
    if "sliding_window" in sizes:
        sizes["global_every"] = 2
    return sizes


def _nemotron(config: Config) -> Sizes:
    sizes = _decoder(config)
    return sizes | {
        "gated": False,
        "activation": config.word("hidden_act", "relu2", _ACTIVATIONS),
        "normalization": "layer_norm",
        "bias": False,
    }


def _grok(config: Config) -> Sizes:
    sizes = _decoder(config, tied=True, norm_position="both")
    sizes["activation"] = "gelu"
    return sizes | _experts(config, ("num_experts", "num_local_experts"), "intermediate_size")


def _gpt2(config: Config) -> Sizes:
    hidden = config.integer("n_embd")
    config.refuse("add_cross_attention", (False,), "is true: a decoder alone has nothing to attend to")
    return {
        "layers": config.integer("n_layer"),
        "hidden": hidden,
        "heads": config.integer("n_head"),
        "ffn": config.integer("n_inner", default=4 * hidden),
        "vocab": config.integer("vocab_size"),
        "sequence_length": config.integer("n_positions", "n_ctx"),
        "activation": config.word("activation_function", "gelu_new", _ACTIVATIONS),
        "positions": "learned",
        "tied_embeddings": config.flag("tie_word_embeddings", True),
        "dropout": max(config.share("resid_pdrop"), config.share("embd_pdrop")),
    }


def _encoder(config: Config) -> Sizes:
    """What BERT and ViT share."""
    return {
        "layers": config.integer("num_hidden_layers"),
        "hidden": config.integer("hidden_size"),
        "heads": config.integer("num_attention_heads"),
        "ffn": config.integer("intermediate_size"),
        "activation": config.word("hidden_act", "gelu", _ACTIVATIONS),
        "dropout": config.share("hidden_dropout_prob"),
    }


def _bert(config: Config) -> Sizes:
    config.take("classifier_dropout", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers")
    config.take("pooler_size_per_head", "pooler_type", "directionality")
    config.refuse("is_decoder", (False,), "is true: a causal BERT is not known")
    heads = config.words("architectures")
    return {
        "kind": "encoder",
        **_encoder(config),
        "vocab": config.integer("vocab_size"),
        "sequence_length": config.integer("max_position_embeddings"),
        "norm_position": "post",
        "token_types": config.integer("type_vocab_size", default=2, minimum=0),
        "next_sentence": "BertForPreTraining" in heads,
    }


def _vit(config: Config) -> Sizes:
    labels = config.take("id2label")
    classes = len(labels) if isinstance(labels, dict) and labels else config.integer("num_labels")
    config.take("num_labels", "pooler_output_size", "pooler_act")
    return {
        "kind": "vision",
        **_encoder(config),
        "image_size": config.integer("image_size"),
        "patch_size": config.integer("patch_size"),
        "channels": config.integer("num_channels", default=3),
        "classes": classes,
        "qkv_bias": config.flag("qkv_bias", True),
    }


def _t5(config: Config) -> Sizes:
    layers = config.integer("num_layers")
    gated = config.word("feed_forward_proj", "relu", {"relu": "", "gated-gelu": "gelu", "gated-silu": "silu"})
    config.take("dense_act_fn", "is_gated_act")
    return {
        "kind": "encoder_decoder",
        "layers": config.integer("num_decoder_layers", default=layers),
        "encoder_layers": layers,
        "hidden": config.integer("d_model"),
        "heads": config.integer("num_heads"),
        "head_size": config.integer("d_kv"),
        "ffn": config.integer("d_ff"),
        "vocab": config.integer("vocab_size"),
        "sequence_length": config.integer("n_positions", default=512),
        "gated": bool(gated),
        "activation": gated or "relu",
        "normalization": "rms_norm",
        "positions": "relative",
        "position_buckets": config.integer("relative_attention_num_buckets", default=32),
        "tied_embeddings": config.flag("tie_word_embeddings", True),
        "dropout": config.share("dropout_rate"),
    }


def _mpt(config: Config) -> Sizes:
    hidden, heads = config.integer("d_model"), config.integer("n_heads")
    attention = config.take("attn_config")
    attention = attention if isinstance(attention, dict) else {}
    if attention.get("prefix_lm") or attention.get("qk_ln") or attention.get("sliding_window_size", -1) != -1:
        config.problem("attn_config", "has prefix_lm, qk_ln or a sliding window, which are not known")
    groups = {"multiquery_attention": 1, "grouped_query_attention": attention.get("kv_n_heads")}
    kv_heads = groups.get(str(attention.get("attn_type")), heads)
    if not isinstance(kv_heads, int):
        config.problem("attn_config", "has grouped_query_attention and no number of kv_n_heads")
    config.take("norm_type", "fc_type")
    ratio = config.integer("expansion_ratio", default=4)
    config.refuse("ffn_config", ({}, {"ffn_type": "mptmlp"}), "is not that of a plain MPT")
    bias = not config.flag("no_bias", False)
    alibi = bool(attention.get("alibi", False))
    learned = config.flag("learned_pos_emb", True) and not alibi
    return {
        "layers": config.integer("n_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": kv_heads,
        "ffn": hidden * ratio,
        "vocab": config.integer("vocab_size"),
        "sequence_length": config.integer("max_seq_len"),
        "bias": bias,
        "norm_bias": bias,
        "positions": "alibi" if alibi else "learned" if learned else "none",
        "tied_embeddings": config.flag("tie_word_embeddings", True),
    }


#: By ``model_type``.
FAMILIES: dict[str, Callable[[Config], Sizes]] = {
    "bert": _bert,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "gpt2": _gpt2,
    "gpt_oss": _gpt_oss,
    "grok-1": _grok,
    "kimi_k2": _deepseek,
    "llama": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "mpt": _mpt,
    "nemotron": _nemotron,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "t5": _t5,
    "vit": _vit,
}
