"""Hugging Face config.json files as networks: parameters of the families, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Runner
from hypothesis import given, settings
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.network.import_config import import_config
from paleo_opt.network.load import load_network

LLAMA3 = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 128000,
    "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
    "max_position_embeddings": 8192, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 500000.0,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 128256,
}  # fmt: skip
MIXTRAL = {
    "model_type": "mixtral", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
    "max_position_embeddings": 32768, "num_attention_heads": 32, "num_experts_per_tok": 2, "num_hidden_layers": 32,
    "num_key_value_heads": 8, "num_local_experts": 8, "output_router_logits": False, "router_aux_loss_coef": 0.02,
    "sliding_window": None, "tie_word_embeddings": False, "vocab_size": 32000,
}  # fmt: skip
DEEPSEEK = {
    "model_type": "deepseek_v3", "attention_bias": False, "ep_size": 1, "first_k_dense_replace": 3,
    "hidden_act": "silu", "hidden_size": 7168, "intermediate_size": 18432, "kv_lora_rank": 512,
    "max_position_embeddings": 163840, "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8,
    "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": True, "num_attention_heads": 128,
    "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}, "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid", "tie_word_embeddings": False, "topk_group": 4, "topk_method": "noaux_tc",
    "v_head_dim": 128, "vocab_size": 129280,
}  # fmt: skip
QWEN3_MOE = {
    "model_type": "qwen3_moe", "attention_bias": False, "decoder_sparse_step": 1, "head_dim": 128,
    "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 6144, "max_position_embeddings": 40960,
    "max_window_layers": 48, "mlp_only_layers": [], "moe_intermediate_size": 768, "num_attention_heads": 32,
    "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4,
    "sliding_window": None, "tie_word_embeddings": False, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
GPT_OSS = {
    "model_type": "gpt_oss", "attention_bias": True, "experts_per_token": 4, "head_dim": 64, "hidden_act": "silu",
    "hidden_size": 2880, "initial_context_length": 4096, "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 18, "max_position_embeddings": 131072,
    "num_attention_heads": 64, "num_experts_per_tok": 4, "num_hidden_layers": 36, "num_key_value_heads": 8,
    "num_local_experts": 128, "sliding_window": 128, "swiglu_limit": 7.0, "tie_word_embeddings": False,
    "vocab_size": 201088,
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "activation_function": "gelu_new", "attn_pdrop": 0.1, "embd_pdrop": 0.1, "n_ctx": 1024,
    "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1,
    "task_specific_params": {"text-generation": {"max_length": 50}}, "vocab_size": 50257,
}  # fmt: skip
BERT = {
    "model_type": "bert", "architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768, "intermediate_size": 3072,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "num_attention_heads": 12, "num_hidden_layers": 12,
    "position_embedding_type": "absolute", "type_vocab_size": 2, "vocab_size": 30522,
}  # fmt: skip
T5 = {
    "model_type": "t5", "d_ff": 2048, "d_kv": 64, "d_model": 512, "decoder_start_token_id": 0, "dropout_rate": 0.1,
    "feed_forward_proj": "relu", "initializer_factor": 1.0, "is_encoder_decoder": True, "n_positions": 512,
    "num_heads": 8, "num_layers": 6, "relative_attention_num_buckets": 32, "vocab_size": 32128,
}  # fmt: skip
VIT = {
    "model_type": "vit", "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "hidden_size": 768, "image_size": 224,
    "intermediate_size": 3072, "num_attention_heads": 12, "num_channels": 3, "num_hidden_layers": 12,
    "patch_size": 16, "qkv_bias": True, "id2label": {str(label): "a" for label in range(1000)},
}  # fmt: skip
MPT = {
    "model_type": "mpt", "attn_config": {"alibi": True, "attn_type": "multihead_attention", "qk_ln": False},
    "d_model": 4096, "expansion_ratio": 4, "learned_pos_emb": True, "logit_scale": None, "max_seq_len": 2048,
    "n_heads": 32, "n_layers": 32, "no_bias": True, "norm_type": "low_precision_layernorm", "vocab_size": 50432,
}  # fmt: skip
NEMOTRON = {
    "model_type": "nemotron", "attention_bias": False, "head_dim": 192, "hidden_act": "relu2", "hidden_size": 18432,
    "intermediate_size": 73728, "max_position_embeddings": 4096, "mlp_bias": False, "norm_eps": 1e-05,
    "num_attention_heads": 96, "num_hidden_layers": 96, "num_key_value_heads": 8, "partial_rotary_factor": 0.5,
    "tie_word_embeddings": False, "vocab_size": 256000,
}  # fmt: skip
MISTRAL = {
    "model_type": "mistral", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
    "max_position_embeddings": 32768, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "sliding_window": 4096, "vocab_size": 32000,
}  # fmt: skip
QWEN2 = {
    "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 3584, "intermediate_size": 18944,
    "max_position_embeddings": 131072, "max_window_layers": 28, "num_attention_heads": 28, "num_hidden_layers": 28,
    "num_key_value_heads": 4, "sliding_window": 131072, "tie_word_embeddings": False, "use_sliding_window": False,
    "vocab_size": 152064,
}  # fmt: skip
QWEN3 = {
    "model_type": "qwen3", "attention_bias": False, "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096,
    "intermediate_size": 12288, "max_position_embeddings": 40960, "num_attention_heads": 32, "num_hidden_layers": 36,
    "num_key_value_heads": 8, "tie_word_embeddings": False, "vocab_size": 151936,
}  # fmt: skip
DEEPSEEK_V2_LITE = {
    "model_type": "deepseek_v2", "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 2048,
    "intermediate_size": 10944, "kv_lora_rank": 512, "max_position_embeddings": 163840, "moe_intermediate_size": 1408,
    "n_routed_experts": 64, "n_shared_experts": 2, "num_attention_heads": 16, "num_experts_per_tok": 6,
    "num_hidden_layers": 27, "num_key_value_heads": 16, "q_lora_rank": None, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 102400,
}  # fmt: skip

#: (config, parameters of the released checkpoint)
PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "Llama 3 8B": (LLAMA3, 8_030_261_248),
    "Mistral 7B": (MISTRAL, 7_241_732_096),
    "Mixtral 8x7B": (MIXTRAL, 46_702_792_704),
    "Qwen2.5 7B": (QWEN2, 7_615_616_512),
    "Qwen3 8B": (QWEN3, 8_190_735_360),
    "Qwen3 30B A3B": (QWEN3_MOE, 30_532_122_624),
    "DeepSeek-V2 Lite": (DEEPSEEK_V2_LITE, 15_706_484_224),
    # Less the 256 biases of each of 58 routers, which are not trained by gradients.
    "DeepSeek-V3": (DEEPSEEK, 671_026_419_200 - 58 * 256),
    "gpt-oss-120b": (GPT_OSS, 116_829_156_672),
    "GPT-2": (GPT2, 124_439_808),
    "BERT base": (BERT, 109_514_298),
    "T5 small": (T5, 60_506_624),
    "ViT-B/16": (VIT, 86_567_656),
    "MPT 7B": (MPT, 6_649_286_656),
    "Nemotron-4 340B": (NEMOTRON, 341_029_195_776),
}


def config_file(folder: Path, fields: Any) -> str:
    path = folder / "config.json"
    path.write_text(fields if isinstance(fields, str) else json.dumps(fields, indent=1), encoding="utf-8")
    return str(path)


def refusal(folder: Path, fields: Any) -> list[tuple[int, str, str]]:
    with pytest.raises(SpecError) as caught:
        import_config(config_file(folder, fields))
    for problem in caught.value.problems:
        assert problem.file.endswith("config.json")
        assert "\n" not in str(problem)
    return [(problem.line, problem.field, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize("model", PUBLISHED)
def test_parameters_are_the_published_number(tmp_path: Path, model: str) -> None:
    fields, parameters = PUBLISHED[model]
    found = import_config(config_file(tmp_path, fields), sequence_length=None)
    assert found.network.parameters == parameters
    assert not found.ignored


@pytest.mark.parametrize(
    ("fields", "net"),
    [(MIXTRAL, "mixtral_8x7b"), (DEEPSEEK, "deepseekv3"), (QWEN3_MOE, "qwen3_30b_a3b"), (GPT_OSS, "gpt_oss_120b")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_config_is_the_shipped_network(tmp_path: Path, fields: dict[str, Any], net: str) -> None:
    shipped = load_network(net)
    found = import_config(config_file(tmp_path, fields), sequence_length=shipped.input_shape[0])
    assert found.network.forward_flops == shipped.forward_flops
    assert [layer.name for layer in found.network.layers] == [layer.name for layer in shipped.layers]


def test_experts_that_every_token_sees(tmp_path: Path) -> None:
    """Qwen1.5-MoE-A2.7B: its shared expert has the features of four."""
    fields = QWEN2 | {
        "model_type": "qwen2_moe", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24,
        "num_attention_heads": 16, "num_key_value_heads": 16, "num_experts": 60, "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "decoder_sparse_step": 1,
        "vocab_size": 151936,
    }  # fmt: skip
    network = import_config(config_file(tmp_path, fields)).network
    assert network.transformer is not None
    assert network.transformer.shared_experts == 4
    # Less the gate of the shared expert.
    assert network.parameters == 14_315_784_192 - 24 * 2048


def test_grok_and_kimi(tmp_path: Path) -> None:
    grok = {
        "model_type": "grok-1", "hidden_size": 6144, "intermediate_size": 32768, "max_position_embeddings": 8192,
        "num_attention_heads": 48, "num_experts": 8, "num_experts_per_tok": 2, "num_hidden_layers": 64,
        "num_key_value_heads": 8, "vocab_size": 131072, "max_attn_value": 30.0, "attn_output_multiplier": 0.08838834,
    }  # fmt: skip
    kimi = DEEPSEEK | {
        "model_type": "kimi_k2", "first_k_dense_replace": 1, "n_routed_experts": 384, "num_attention_heads": 64,
        "num_key_value_heads": 64, "vocab_size": 163840,
    }  # fmt: skip
    for fields, net in ((grok, "grok1"), (kimi, "kimi_k2")):
        assert import_config(config_file(tmp_path, fields)).network.parameters == load_network(net).parameters


def test_the_text_is_the_network(tmp_path: Path) -> None:
    found = import_config(config_file(tmp_path, LLAMA3), "mine", 2048)
    path = tmp_path / "mine.yaml"
    path.write_text(found.text, encoding="utf-8")
    assert load_network(str(path)).layers == found.network.layers
    assert found.network.input_shape == (2048,)


def test_learned_positions_keep_their_table(tmp_path: Path) -> None:
    found = import_config(config_file(tmp_path, GPT2), sequence_length=256)
    assert found.network.input_shape == (256,)
    assert found.network.parameters == 124_439_808


REFUSED: dict[str, tuple[Any, str, str]] = {
    "no JSON": ("{'a': 1}", "", "not valid JSON"),
    "no object": ("[1]", "", "is no JSON object"),
    "no family": ({"hidden_size": 8}, "model_type", "is missing; expected one of"),
    "an unknown family": (LLAMA3 | {"model_type": "lama"}, "model_type", "did you mean 'llama'?"),
    "a missing field": ({k: v for k, v in LLAMA3.items() if k != "vocab_size"}, "vocab_size", "is missing"),
    "a wrong type": (LLAMA3 | {"hidden_size": "4096"}, "hidden_size", "expected a whole number"),
    "true for a number": (LLAMA3 | {"hidden_size": True}, "hidden_size", "expected a whole number"),
    "an unknown size": (LLAMA3 | {"mamba_state_size": 128}, "mamba_state_size", "may change what a step costs"),
    "an unknown activation": (LLAMA3 | {"hidden_act": "sillu"}, "hidden_act", "did you mean 'silu'?"),
    "heads that do not divide": (LLAMA3 | {"num_attention_heads": 24}, "num_attention_heads", "does not divide"),
    "groups that do not divide": (LLAMA3 | {"num_key_value_heads": 5}, "num_key_value_heads", "does not divide"),
    "more experts than there are": (MIXTRAL | {"num_experts_per_tok": 9}, "num_experts_per_tok", "more than the 8"),
    "windows of some blocks": (QWEN2 | {"use_sliding_window": True}, "use_sliding_window", "not known"),
    "blocks without experts": (QWEN3_MOE | {"mlp_only_layers": [0]}, "mlp_only_layers", "without experts"),
    "no list": (GPT_OSS | {"layer_types": 5}, "layer_types", "expected a list of words"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, case: str) -> None:
    fields, field, message = REFUSED[case]
    found = refusal(tmp_path, fields)
    lines = (tmp_path / "config.json").read_text(encoding="utf-8").splitlines()
    line = next((at for at, text in enumerate(lines, 1) if f'"{field}"' in text), 0)
    assert any(name == field and (at == line or not field) and message in text for at, name, text in found), found


def test_all_that_is_missing_is_named(tmp_path: Path) -> None:
    found = refusal(tmp_path, {"model_type": "deepseek_v3", "n_routed_experts": 8})
    assert {name for _, name, message in found if message == "is missing"} >= {
        "hidden_size", "kv_lora_rank", "qk_nope_head_dim", "v_head_dim", "moe_intermediate_size", "vocab_size",
    }  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_anything_in_a_field_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    fields = data.draw(st.sampled_from([LLAMA3, GPT_OSS, DEEPSEEK, MPT, VIT, BERT, QWEN3_MOE, GPT2, T5]))
    name = data.draw(st.sampled_from(sorted(fields)))
    junk = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers()),
                     st.dictionaries(st.text(max_size=5), st.integers(), max_size=2))  # fmt: skip
    path = config_file(tmp_path_factory.mktemp("junk"), fields | {name: data.draw(junk)})
    try:
        assert import_config(path).network.parameters > 0
    except SpecError as error:
        assert error.problems


class TestCommand:
    def test_writes_a_file_that_loads(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        config_file(tmp_path, LLAMA3)
        run = Runner(capsys)
        text = run.text("import", "config.json", "--sequence-length", "4096", "--out", "mine.yaml")
        assert text == "mine.yaml: 8,030,261,248 parameters\n"
        assert load_network("mine.yaml").input_shape == (4096,)
        assert "8,030,261,248" in run.text("show", "mine.yaml")

    def test_json(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        body = Runner(capsys)("import", config_file(tmp_path, LLAMA3 | {"wandb_run": "x"}), "--json").json
        assert body["parameters"] == 8_030_261_248
        assert body["ignored"] == ["wandb_run"]

    def test_refusals(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = Runner(capsys)
        assert "no such file" in run.refusal("import", str(tmp_path / "none.json"))
        file = config_file(tmp_path, LLAMA3)
        assert "ends in .yaml" in run.refusal("import", file, "--out", str(tmp_path / "x.json"))
        assert "--sequence-length" in run.refusal("import", config_file(tmp_path, VIT), "--sequence-length", "9")
