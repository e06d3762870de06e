"""What measured rows of transformers resolve to: their networks, their splits, and what they leave to be assumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paleo_opt import Options, Strategy, compile_network, estimate, load_cluster, load_network
from paleo_opt.estimator.splits import Split
from paleo_opt.hardware.platform_load import platform_for
from paleo_opt.validation.measured_table import QUANTITIES, MeasuredRow
from paleo_opt.validation.predict import Prediction, predict, prepare
from paleo_opt.validation.resolve import Resolver
from paleo_opt.validation.run import ASSUMPTIONS, Refused, Run
from paleo_opt.validation.sources import source_of, sources
from paleo_opt.validation.validate import Validation, split_groups

#: GPT-3 175B on 8 × 8 × 2 A100, as Megatron-LM of 2021 runs it; it says everything.
ROW = MeasuredRow(
    "a", "transformer", "gpt3_175b", "a100-sxm4-80gb", "step_time_s", 1.0, cluster="selene", gpus=128, gpus_per_node=8,
    precision="fp16", micro_batch=1, global_batch=128, tensor=8, pipeline=8, data=2, virtual_stages=1,
    sharding="zero0", recompute="full", collective="ring_all_reduce", sequence_length=2048, software="Megatron-LM",
)  # fmt: skip
SIZES = replace(ROW, network="transformer", layers=96, hidden=12288, heads=96, ffn=49152, vocab=51200)


def resolved(row: MeasuredRow) -> Run:
    """What a row that must not be refused ran."""
    return Resolver(Options()).resolve(row)


def reason(row: MeasuredRow) -> str:
    """Why a row is refused."""
    found, refused = predict([row], intervals=False)
    assert not found
    return refused[0].reason


def predicted(row: MeasuredRow) -> Prediction:
    """The prediction of a row that must not be refused."""
    found, refused = predict([row], intervals=False)
    assert not refused, refused
    return found[0]


def split_of(row: MeasuredRow) -> Split:
    blocks = resolved(row).strategy.blocks
    assert blocks is not None
    return blocks


class TestNetworks:
    def test_a_shipped_one(self) -> None:
        assert resolved(ROW).network.parameters == load_network("gpt3_175b").parameters

    def test_sizes_beside_a_name_take_the_place_of_its_own(self) -> None:
        found = resolved(replace(ROW, layers=48, global_batch=64)).network.transformer
        assert found is not None
        assert (found.layers, found.hidden) == (48, 12288)

    def test_sizes_alone_are_a_gpt(self) -> None:
        # 12 l h^2 (1 + 13 / 12h + (V + s) / 12lh), and the last normalization (Narayanan et al., equation 2).
        network = resolved(SIZES).network
        terms = 1 + 13 / (12 * 12288) + (51200 + 2048) / (12 * 96 * 12288)
        assert network.parameters == pytest.approx(12 * 96 * 12288**2 * terms, rel=1e-6)
        assert network.transformer is not None
        assert network.transformer.dropout == 0.1

    def test_software_decides_what_is_trained(self) -> None:
        mpt = resolved(replace(SIZES, software="MosaicML llm-foundry FSDP PURE")).network.transformer
        bloom = resolved(replace(SIZES, software="BLOOM-176B")).network.transformer
        assert mpt is not None
        assert bloom is not None
        assert (mpt.positions, mpt.dropout) == ("learned", 0.0)
        assert (bloom.positions, bloom.dropout) == ("alibi", 0.0)

    def test_rows_of_one_network_share_it(self) -> None:
        resolver = Resolver(Options())
        one, same, other = (resolver.resolve(replace(SIZES, hidden=size)).network for size in (12288, 12288, 6144))
        assert one is same
        assert one is not other

    @pytest.mark.parametrize(("columns", "expected"), [
        ({"network": "transformer"}, "a transformer's hidden is missing"),
        ({"network": "gpt3_176b"}, "network 'gpt3_176b' is not known"),
        ({"network": "vgg16"}, "family transformer, but vgg16 is a network of layers"),
        ({"family": "cnn", "sequence_length": None}, "family cnn, but gpt3_175b is a transformer"),
        ({"heads": 7}, "network 'gpt3_175b' cannot be read"),
    ])  # fmt: skip
    def test_what_cannot_be_read_is_refused(self, columns: dict[str, object], expected: str) -> None:
        assert reason(replace(ROW, **columns)).startswith(expected)  # type: ignore[arg-type]


class TestSplits:
    def test_as_the_columns_say(self) -> None:
        run = resolved(ROW)
        assert not run.alternatives
        assert run.strategy.blocks == Split(tensor=8, pipeline=8, recompute="full", assignment="even")
        assert (run.strategy.data, run.strategy.accumulation, run.samples) == (2, 64, 128)
        assert run.assumed == ("sequence_parallel",)

    def test_blocks_that_stages_cannot_share_are_balanced(self) -> None:
        row = replace(ROW, network="llama3.1_405b", device="h100-sxm5-80gb", cluster="dgx-h100", precision="bf16")
        assert split_of(row).assignment == "balanced"  # 126 blocks on 8 stages
        assert split_of(replace(row, pipeline=2, data=8)).assignment == "even"

    def test_parts_of_the_embedding_and_the_projection_alone(self) -> None:
        # NeMo's 16 stages of 8 parts for 126 blocks (Megatron Bridge, performance summary).
        row = replace(
            ROW, network="llama3.1_405b", device="gb200", cluster="dgx-gb200", gpus=256, precision="fp8", tensor=4,
            pipeline=16, data=4, virtual_stages=8, global_batch=1536, software="NeMo/Megatron-Bridge 26.02",
        )  # fmt: skip
        assert split_of(row).virtual_stages == 8
        assert "more parts than the 126 blocks" in reason(replace(row, virtual_stages=9))

    def test_a_blank_data_is_what_is_left(self) -> None:
        assert resolved(replace(ROW, data=None)).strategy.data == 2

    @pytest.mark.parametrize(("columns", "expected"), [
        ({"data": 4}, "128 GPUs are not data 4 × tensor 8 × pipeline 8"),
        ({"tensor": 5, "data": None}, "128 GPUs are not tensor 5 × pipeline 8"),
        ({"global_batch": 127}, "the global batch of 127 is not shared evenly by data 2"),
        ({"micro_batch": 3}, "the global batch is not a whole number of micro-batches"),
        ({"micro_batch": None, "global_batch": None}, "no batch size"),
        ({"precision": "fp8"}, "a100-sxm4-80gb has no peak in fp8"),
        ({"expert": 8}, "expert 8 divides experts, and the network has none"),
        ({"virtual_stages": 13}, "more parts than the 96 blocks"),
        ({"global_batch": 6, "virtual_stages": 2}, "virtual stages 2 need micro-batches in rounds of the 8 stages"),
        ({"sharding": "zero3"}, "sharding zero3 divides gradients"),
        ({"collective": "smoke_signals"}, "collective 'smoke_signals' is not known"),
        ({"cluster": ""}, "several GPUs, and no cluster is named"),
        ({"gpus": 128 * 64, "data": 128, "global_batch": 8192}, "selene has 4,480 GPUs"),
    ])  # fmt: skip
    def test_what_cannot_be_is_refused_with_the_reason(self, columns: dict[str, object], expected: str) -> None:
        found = reason(replace(ROW, **columns))  # type: ignore[arg-type]
        assert expected in found
        assert "\n" not in found

    def test_one_bad_row_leaves_the_others(self) -> None:
        found, refused = predict([replace(ROW, data=4), ROW], intervals=False)
        assert (len(found), len(refused)) == (1, 1)
        assert found[0].predicted == predicted(ROW).predicted


class TestAssumptions:
    def test_sequence_parallel_is_as_software_says(self) -> None:
        assert not split_of(ROW).sequence_parallel
        said = replace(ROW, software="Megatron-LM; sequence parallel")
        assert split_of(said).sequence_parallel
        assert "sequence_parallel" not in resolved(said).assumed
        selective = resolved(replace(ROW, recompute="selective"))
        assert selective.strategy.blocks is not None
        assert selective.strategy.blocks.sequence_parallel
        assert selective.assumed == ()
        later = resolved(replace(ROW, software="NeMo/Megatron-Bridge 26.02"))
        assert later.strategy.blocks is not None
        assert later.strategy.blocks.sequence_parallel
        assert later.assumed == ("sequence_parallel",)

    def test_one_device_divides_no_positions(self) -> None:
        row = replace(ROW, software="NeMo", tensor=1, data=16, pipeline=8, recompute="selective")
        assert not split_of(row).sequence_parallel
        assert resolved(row).assumed == ()

    def test_a_blank_is_what_people_would_run(self) -> None:
        blank = replace(ROW, micro_batch=None, recompute="", sharding="")
        run = resolved(blank)
        sizes = {1, 2, 4, 8, 16, 32, 64}
        assert {strategy.micro_batch for strategy in run.alternatives} == sizes
        assert len(run.alternatives) == len(sizes) * 3 * 2  # recomputations, and no or optimizer sharding of a pipeline
        assert set(run.assumed) == {"sequence_parallel", "micro_batch", "recompute", "sharding"}
        # The fastest of those with the least sharding that fit: not slower than the row that says them all.
        assert predicted(blank).predicted <= predicted(ROW).predicted

    def test_every_alternative_computes_the_same_samples(self) -> None:
        for strategy in resolved(replace(ROW, micro_batch=None)).alternatives:
            assert strategy.global_batch == 128

    def test_zero_3_where_nothing_less_fits(self) -> None:
        # Narayanan et al., table 2: 530B on 640 GPUs without model parallelism.
        row = replace(
            ROW, network="megatron_530b", gpus=640, tensor=None, pipeline=None, data=640, micro_batch=4,
            global_batch=2560, sharding="",
        )  # fmt: skip
        [told], untold = predict([row], intervals=False)
        assert not untold
        assert told.assumed == ("sharding",)
        given = predicted(replace(row, sharding="zero3"))
        assert told.predicted == given.predicted
        assert told.platform.name == "deepspeed-zero3"

    def test_what_cannot_have_been_trained_is_refused(self) -> None:
        # 405B on 32 GPUs: NVIDIA's benchmarks stand in for many more by fewer blocks, which their rows do not say.
        row = replace(
            ROW, network="llama3.1_405b", device="h100-sxm5-80gb", cluster="dgx-h100", gpus=32, precision="bf16",
            tensor=8, pipeline=1, context=2, data=2, global_batch=126, virtual_stages=None, sharding="zero1",
            recompute="", sequence_length=8192, software="NVIDIA dgxc-benchmarking v24.11.1 llama3.1",
        )  # fmt: skip
        assert reason(row).startswith("its parameters and their state need ")

    def test_interleaved_sources(self) -> None:
        # "We use interleaved pipeline-parallel schedule with six and three interleaving stages" (MegaScale, 6.1).
        assert split_of(replace(SIZES, software="MegaScale")).virtual_stages == 6
        paper = resolved(replace(ROW, software="Llama 3 herd"))
        assert {s.blocks.virtual_stages for s in paper.alternatives if s.blocks} == {2, 3, 4, 6, 12}
        assert split_of(ROW).virtual_stages == 1

    def test_a_local_batch_is_divided_by_the_pipeline(self) -> None:
        row = replace(
            ROW, network="llama_3.1_405b", device="h100-sxm-96gb", cluster="meta-h100-96gb", precision="bf16", gpus=512,
            tensor=8, pipeline=8, data=8, micro_batch=8, global_batch=64, virtual_stages=None, sharding="fsdp",
            recompute="full", software="torchtitan 4D", sequence_length=8192,
        )  # fmt: skip
        found = resolved(row).strategy
        assert (found.micro_batch, found.accumulation) == (1, 8)
        # 1F1B is torchtitan's default; a schedule that interleaves has two parts a device.
        assert split_of(row).virtual_stages == 1
        assert split_of(replace(row, software="torchtitan 3D Interleaved 1F1B")).virtual_stages == 2

    def test_assumptions_are_known(self) -> None:
        row = replace(
            ROW, micro_batch=None, recompute="", sharding="", virtual_stages=None, collective="", precision=""
        )
        assert set(resolved(row).assumed) <= set(ASSUMPTIONS)


@pytest.fixture(scope="module")
def step_s() -> float:
    """Of `ROW`."""
    blocks = Split(tensor=8, pipeline=8, recompute="full", assignment="even")
    strategy = Strategy(load_cluster("selene"), 128, 1, 64, precision="fp16", blocks=blocks)
    options = Options(platform="megatron-lm-2021")
    return float(estimate(compile_network(load_network("gpt3_175b")), strategy, options).step_time_s[0])


class TestFigures:
    """Each quantity, against the estimate of the same strategy."""

    def test_rates(self, step_s: float) -> None:
        expected = {
            "step_time_s": step_s,
            "samples_per_s": 128 / step_s,
            "tokens_per_s": 128 * 2048 / step_s,
            "tokens_per_s_per_gpu": 2048 / step_s,
        }
        for quantity, value in expected.items():
            assert predicted(replace(ROW, quantity=quantity)).predicted == pytest.approx(value), quantity

    def test_tokens_of_a_row_without_a_length(self, step_s: float) -> None:
        row = replace(ROW, quantity="tokens_per_s_per_gpu", sequence_length=None)
        assert predicted(row).predicted == pytest.approx(2048 / step_s)

    def test_flops_as_megatron_counts_them(self, step_s: float) -> None:
        # Narayanan et al., equation 3, by hand: 96 · 2048 · 96 · 12288² (1 + 2048 / 73728 + 51200 / (16 · 96 · 12288)).
        row = replace(ROW, quantity="tflops_per_gpu")
        flops = 96 * 2048 * 96 * 12288**2 * (1 + 1 / 36 + 51200 / (16 * 96 * 12288))
        assert predicted(row).predicted == pytest.approx(flops / step_s / 1e12, rel=1e-12)
        # What others call TFLOP/s leaves out the fourth of it that recomputation adds.
        own = predicted(replace(row, software="DeepSpeed"))
        assert own.predicted * predicted(replace(ROW, software="DeepSpeed")).predicted == pytest.approx(
            0.75 * flops / 1e12, rel=0.03
        )

    def test_parts_of_memory(self) -> None:
        row = replace(ROW, quantity="memory_bytes")
        whole = predicted(row).predicted
        state = predicted(replace(row, software="Selene (Megatron-LM); params+optimizer memory")).predicted
        activations = predicted(replace(row, software="Selene (Megatron-LM); activation memory")).predicted
        assert 0 < activations < state < whole
        assert state + activations <= whole

    def test_every_quantity_of_the_contract_is_predicted(self) -> None:
        for quantity in QUANTITIES:
            if quantity != "speedup":  # over one device, on which 175B parameters do not fit
                assert predicted(replace(ROW, quantity=quantity)).predicted > 0


class TestTogether:
    def rows(self) -> list[MeasuredRow]:
        splits = [(8, 8, 1), (4, 8, 2), (8, 4, 4), (2, 16, 1), (8, 16, 1)]
        return [
            replace(ROW, id=f"{n}", tensor=t, pipeline=p, data=128 // (t * p), micro_batch=m)
            for n, (t, p, m) in enumerate(splits)
        ]

    def test_rows_together_are_as_rows_alone(self) -> None:
        together, refused = predict(self.rows(), intervals=False)
        assert not refused
        for item in together:
            assert predicted(item.row).predicted == pytest.approx(item.predicted, rel=1e-12)

    def test_prepared_rows_follow_the_constants(self) -> None:
        prepared = prepare(self.rows())
        usual, _ = prepared.predict(Options(), intervals=False, features=False)
        again, _ = prepared.predict(Options(), intervals=False)
        slower, _ = prepared.predict(Options(shifts={"platform.products": -1.0}), intervals=False, features=False)
        assert [item.predicted for item in usual] == [item.predicted for item in again]
        assert all(a.predicted < b.predicted for a, b in zip(usual, slower, strict=True))

    def test_splits_of_one_step_are_a_group(self) -> None:
        found, _ = predict([*self.rows(), replace(ROW, id="x", global_batch=256)], intervals=False)
        assert [len(group) for group in split_groups(found)] == [5]
        # Measured as predicted, following the model costs nothing; with the first as the fastest, what it says it does.
        honest = [replace(item, row=replace(item.row, measured=item.predicted)) for item in found]
        assert Validation((), Options(), tuple(honest), ()).regret.max == 0.0

    def test_networks_by_their_sizes_are_told_apart(self) -> None:
        found, _ = predict([SIZES, replace(SIZES, layers=48), ROW], intervals=False)
        names = set(Validation((), Options(), found, ()).by("network"))
        assert names == {"transformer_96x12288", "transformer_48x12288", "gpt3_175b"}


class TestSources:
    def test_the_last_is_of_every_row(self) -> None:
        assert not sources()[-1].words
        assert source_of("") is sources()[-1]
        assert not any(not entry.words for entry in sources()[:-1])

    def test_every_entry_says_why(self) -> None:
        assert all(entry.why for entry in sources())

    def test_the_first_that_fits_counts(self) -> None:
        assert source_of("Llama 3 herd").interleaved
        assert not source_of("Korthikanti 2022 Megatron-LM").interleaved


@pytest.mark.parametrize(
    ("software", "name"),
    [
        ("transformer Megatron-DeepSpeed", "megatron-deepspeed"),
        ("transformer Narayanan 2021 Megatron-LM", "megatron-lm-2021"),
        ("transformer Narayanan 2021 Megatron-LM zero3", "deepspeed-zero3"),
        ("transformer NeMo/Megatron-Bridge 26.04.01", "megatron-core"),
        ("transformer NVIDIA dgxc-benchmarking v25.02 llama3.1", "megatron-core"),
        ("transformer MLPerf v5.1 Nebius", "megatron-core"),
        ("transformer MLPerf v2.0 Dell NGC MXNet 22.05 , NGC PyTorch 22.05", "ngc-pytorch"),
        ("cnn MLPerf v2.0 Dell NGC MXNet 22.05 , NGC PyTorch 22.05", "ngc-mxnet"),
        ("transformer torchtitan FSDP; compile=0", "torchtitan"),
        ("transformer torchtitan vanilla TP; compile=1", "torchtitan-compile"),
        ("transformer torchtitan 2D + AsyncTP; compile=1", "torchtitan-async"),
        ("transformer MosaicML llm-foundry FSDP PURE", "llm-foundry"),
        ("transformer MosaicML llm-foundry FSDP DEFAULT", "llm-foundry-default"),
    ],
)
def test_the_platform_of_a_text(software: str, name: str) -> None:
    found = platform_for(software)
    assert found is not None
    assert found.name == name


def test_bert_of_mlperf() -> None:
    row = MeasuredRow(
        "a", "transformer", "bert_large", "a100-sxm4-80gb", "train_time_s", 100.0, cluster="a-system", gpus=8,
        gpus_per_node=8, global_batch=448, data=8, software="MLPerf v2.0 X NGC PyTorch 22.05; NVLink 3.0 600GB/s; ",
    )  # fmt: skip
    found = predicted(row)
    assert np.isfinite(found.predicted)
    assert set(found.assumed) == {"cluster", "precision", "collective", "micro_batch", "recompute", "sharding"}
    alternatives = resolved(row).alternatives
    assert {strategy.micro_batch for strategy in alternatives} == {1, 2, 4, 7, 8, 14, 28, 56}


def test_a_network_beside_the_table(tmp_path: Path) -> None:
    net = Path(__file__).parents[1] / "nets" / "gpt3_1.3b.yaml"
    (tmp_path / "mine.yaml").write_text(net.read_text("utf-8").replace("name: gpt3_1.3b", "name: mine"), "utf-8")
    row = replace(ROW, network="mine.yaml", file=str(tmp_path / "t.csv"))
    assert resolved(row).network.name == "mine"


def test_refused_is_no_mistake_of_the_program() -> None:
    with pytest.raises(Refused, match="no batch size"):
        resolved(replace(ROW, micro_batch=None, global_batch=None))
