"""The shipped transformers against published parameter counts, and their jobs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from convergence_points import POINTS

from paleo_opt.estimator.convergence import job_samples
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.network.graph import Network
from paleo_opt.network.load import load_network

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "nets").glob("*.yaml") if "\ntransformer:" in path.read_text("utf-8"))


class Published(NamedTuple):
    """``tolerance`` is half a unit of the last digit published, 0 where the count is exact."""

    net: str
    value: float
    tolerance: float
    source: str


HF = "parameters of the released checkpoint (Hugging Face)"
GPT3 = "Brown et al. 2020, arXiv:2005.14165, table 2.1"
MEGATRON = "Narayanan et al. 2021, arXiv:2104.04473, table 1"
LLAMA3 = "Grattafiori et al. 2024, arXiv:2407.21783"

PARAMETERS = [
    Published("gpt3_1.3b", 1.3e9, 0.05e9, GPT3),
    Published("gpt3_5b", 5e9, 0.5e9, "NVIDIA NeMo, GPT-3 5B"),
    Published("gpt3_13b", 13.0e9, 0.15e9, f"{GPT3}, of 5,140 features"),
    Published("gpt3_20b", 20e9, 0.5e9, "NVIDIA NeMo, GPT-3 20B"),
    Published("gpt3_175b", 174.6e9, 0.05e9, f"{GPT3} and table D.1: 174,600 M"),
    Published("megatron_1.7b", 1.7e9, 0.05e9, MEGATRON),
    Published("megatron_3.6b", 3.6e9, 0.05e9, MEGATRON),
    Published("megatron_7.5b", 7.5e9, 0.05e9, MEGATRON),
    Published("megatron_18b", 18.4e9, 0.05e9, MEGATRON),
    Published("megatron_39b", 39.1e9, 0.05e9, MEGATRON),
    Published("megatron_76b", 76.1e9, 0.05e9, MEGATRON),
    Published("megatron_145b", 145.6e9, 0.05e9, MEGATRON),
    Published("megatron_310b", 310.1e9, 0.05e9, MEGATRON),
    Published("megatron_530b", 529.6e9, 0.05e9, MEGATRON),
    Published("megatron_1t", 1008.0e9, 0.05e9, MEGATRON),
    Published("bert_base", 110_106_428, 0, "BertForPreTraining of bert-base-uncased; 110 M in arXiv:1810.04805"),
    Published("bert_large", 336_226_108, 0, "BertForPreTraining of bert-large-uncased; 340 M in arXiv:1810.04805"),
    Published("t5_base", 222_903_552, 0, HF),
    Published("t5_large", 737_668_096, 0, HF),
    Published("t5_3b", 2_851_598_336, 0, HF),
    Published("t5_11b", 11_307_321_344, 0, HF),
    Published("llama2_7b", 6_738_415_616, 0, HF),
    Published("llama2_13b", 13_015_864_320, 0, HF),
    Published("llama2_70b", 68_976_648_192, 0, HF),
    Published("llama3_8b", 8_030_261_248, 0, HF),
    Published("llama3_70b", 70_553_706_496, 0, HF),
    Published("llama3.1_405b", 405_853_388_800, 0, HF),
    Published("llama_3.1_8b", 8_030_261_248, 0, HF),
    Published("llama_3.1_70b", 70_553_706_496, 0, HF),
    Published("llama_3.1_405b", 405_853_388_800, 0, HF),
    Published("mixtral_8x7b", 46_702_792_704, 0, HF),
    Published("mixtral_8x22b", 140_620_634_112, 0, HF),
    Published("deepseekv3", 671e9, 0.5e9, "DeepSeek-AI 2024, arXiv:2412.19437"),
    Published("kimi_k2", 1e12, 0.05e12, "Kimi Team 2025, arXiv:2507.20534, abstract; 1.04 T inside"),
    Published("qwen3_30b_a3b", 30_532_122_624, 0, HF),
    Published("qwen3_235b_a22b", 235_093_634_560, 0, HF),
    Published("gpt_oss_120b", 116_829_156_672, 0, "116.83 B in arXiv:2508.10925, table 1"),
    Published("grok1", 314e9, 3.14e9, "xAI 2024, open release of Grok-1"),
    Published("nemotron4_15b", 15.6e9, 0.05e9, "arXiv:2402.16819: 3.2 B of embeddings and 12.5 B others"),
    Published("nemotron4_340b", 341.0e9, 0.1e9, "arXiv:2406.11704: 9.4 B of embeddings and 331.6 B others"),
    Published("nemotron_340b", 341.0e9, 0.1e9, "arXiv:2406.11704"),
    Published("nemotron_22b", 22e9, 1e9, "NVIDIA NeMo's name for it"),
    Published("mpt-1b", 1.3e9, 0.05e9, "MosaicML, mpt-1b-redpajama-200b"),
    Published("mpt-7b", 6_649_286_656, 0, HF),
    Published("mpt-13b", 13e9, 0.5e9, "MosaicML llm-foundry"),
    Published("mpt-30b", 29.96e9, 0.005e9, HF),
    Published("mpt-70b", 65e9, 0.5e9, "80 blocks of 12 · 8,192² weights; llm-foundry calls it 70B"),
    Published("vit_base", 86_567_656, 0, "torchvision vit_b_16"),
    Published("vit_large", 304_326_632, 0, "torchvision vit_l_16"),
    Published("vit_huge", 632_045_800, 0, "torchvision vit_h_14 at 224"),
]

#: Parameters that a token sees.
ACTIVE = [
    Published("mixtral_8x7b", 12.9e9, 0.05e9, "Jiang et al. 2024, arXiv:2401.04088"),
    Published("mixtral_8x22b", 39e9, 0.5e9, "Mistral AI 2024"),
    Published("deepseekv3", 37e9, 0.6e9, "arXiv:2412.19437"),
    Published("qwen3_30b_a3b", 3.3e9, 0.06e9, "Qwen3-30B-A3B model card"),
    Published("qwen3_235b_a22b", 22e9, 0.5e9, "Qwen3-235B-A22B model card"),
    Published(
        "gpt_oss_120b", 5.13e9 + 0.58e9, 0.01e9, "arXiv:2508.10925, table 1, which leaves out one table of 0.58 B"
    ),
]


def ids(row: Published) -> str:
    return row.net


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    return load_network(request.param)


@pytest.mark.parametrize("row", PARAMETERS, ids=ids)
def test_parameters_are_the_published_number(row: Published) -> None:
    parameters = load_network(row.net).parameters
    assert abs(parameters - row.value) <= row.tolerance, f"{row.net}: {parameters:,}; {row.source}: {row.value:,.0f}"


@pytest.mark.parametrize("row", ACTIVE, ids=ids)
def test_active_parameters_are_the_published_number(row: Published) -> None:
    active = load_network(row.net).active_parameters
    assert abs(active - row.value) <= row.tolerance, f"{row.net}: {active:,}; {row.source}: {row.value:,.0f}"


def test_every_transformer_is_checked_against_a_publication() -> None:
    assert {row.net for row in PARAMETERS} == set(NAMES)


def test_it_loads_in_order(network: Network) -> None:
    assert network.description
    assert network.source
    assert network.transformer is not None
    seen: set[str] = set()
    for layer in network.layers:
        assert layer.name not in seen
        assert seen.issuperset(layer.parents)
        seen.add(layer.name)


def test_tables_stay_small(network: Network) -> None:
    """The blocks are alike, so there are few distinct layers however many blocks."""
    assert compile_network(network).layout().replicated_kernels.rows <= 40
    assert len(compile_network(network).layout().replicated.members) <= 40


def test_model_flops_are_six_times_the_parameters_and_attention() -> None:
    """Training takes 6 N + 12 L H Q T a token (PaLM, arXiv:2204.02311, appendix B), N without the looked-up table."""
    network = load_network("llama2_7b")
    sizes = network.transformer
    assert sizes is not None
    parameters = network.parameters - sizes.vocab * sizes.hidden
    expected = 6 * parameters + 12 * sizes.layers * sizes.heads * sizes.head_size * sizes.sequence_length
    assert 3 * network.forward_flops / sizes.sequence_length == pytest.approx(expected, rel=0.001)


def test_every_job_is_complete_and_sourced(network: Network) -> None:
    job = network.job
    if job is None:
        return
    assert job.target
    assert job.samples_to_target > job.max_global_batch > 1
    text = " ".join(job.sources)
    assert len(job.sources) >= 2
    assert re.search(r"arXiv:\d{4}\.\d{5}|\b(19|20)\d\d\b", text), "no publication named"
    if job.law_source != "given":
        assert "critical_batch" in text
        assert job.critical_batch_interval is not None


@pytest.mark.parametrize(
    ("net", "points", "within"),
    [
        ("gpt3_175b", "gpt3", 0.014),
        ("llama3_8b", "llama31_8b", 0.013),
        ("llama3.1_405b", "llama31_405b", 0.031),
        ("bert_large", "bert", 0.102),
    ],
)
def test_jobs_converge_as_the_reference_runs(net: str, points: str, within: float) -> None:
    """Their laws are the fits of docs/convergence.md."""
    network = load_network(net)
    batches, samples = POINTS[points]
    unit = 2048 if net == "gpt3_175b" else 1  # tokens there
    assert network.job is not None
    assert abs(job_samples(network.job, batches) * unit / samples - 1).max() < within
    assert network.job.max_global_batch == batches.max()


@pytest.mark.parametrize(("net", "tokens"), [("llama2_70b", 2e12), ("gpt3_13b", 3e11), ("deepseekv3", 14.8e12)])
def test_fixed_amounts_do_not_grow_with_the_batch(net: str, tokens: float) -> None:
    network = load_network(net)
    assert network.job is not None
    assert network.job.critical_batch is None
    assert network.job.samples_to_target * network.tokens_per_sample == pytest.approx(tokens)


def test_the_documented_table_is_what_the_networks_compute() -> None:
    text = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8").partition("## Transformers")[2]
    found = re.findall(r"^\| `([\w.-]+)` \|[^|]*\| ([\d,]+) \| ([\d.,]+) \|", text, re.MULTILINE)
    networks = {name: load_network(name) for name in NAMES}
    assert {name: rest for name, *rest in found} == {
        name: [f"{network.parameters:,}", f"{network.forward_flops / 1e12:,.3f}"] for name, network in networks.items()
    }
