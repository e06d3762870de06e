"""Validation: hand-worked statistics, what rows resolve to, and the shipped published figures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import paleo_opt
from paleo_opt import Options, SpecError, Strategy, compile_network, estimate, load_cluster, load_device, load_network
from paleo_opt.hardware.cluster import single_device_cluster
from paleo_opt.validation.measured_table import QUANTITIES, MeasuredRow, read_measured_table
from paleo_opt.validation.predict import Prediction, predict
from paleo_opt.validation.resolve import shipped_device
from paleo_opt.validation.run import ASSUMPTIONS
from paleo_opt.validation.statistics import average_ranks, error_statistics, rank_correlation, regret, spearman
from paleo_opt.validation.systems import stand_in, stand_ins
from paleo_opt.validation.validate import PUBLISHED, Validation, split_groups

PALEO = Options(model="paleo")
ROW = MeasuredRow("a", "cnn", "vgg16", "k80", "step_time_s", 1.0, precision="fp32", micro_batch=32)
MLPERF = replace(
    ROW, network="resnet50", device="a100-sxm4-80gb", cluster="a-system", gpus=8, gpus_per_node=8, micro_batch=None,
    global_batch=3264, precision="", software="MLPerf v2.0 SOMEONE MXNet; NVLINK 3.0; ", quantity="samples_per_s",
)  # fmt: skip


def predicted(row: MeasuredRow, options: Options = PALEO) -> Prediction:
    """The prediction of a row that must not be refused."""
    found, refused = predict([row], options)
    assert not refused, refused
    return found[0]


def reason(row: MeasuredRow) -> str:
    """Why a row is refused."""
    found, refused = predict([row], PALEO)
    assert not found
    return refused[0].reason


def prediction(measured: float, value: float, **columns: object) -> Prediction:
    """A prediction as given, with no model behind it."""
    row = replace(ROW, measured=measured, **columns)  # type: ignore[arg-type]
    return Prediction(row, value, predicted(ROW).platform)


@pytest.fixture(scope="module")
def answer() -> Validation:
    """The shipped table under PALEO."""
    return paleo_opt.validate(options=PALEO)


class TestStatistics:
    def test_hand_worked(self) -> None:
        # Errors: +10%, -20%, 0, +50%.
        found = error_statistics(np.array([1.0, 10.0, 4.0, 2.0]), np.array([1.1, 8.0, 4.0, 3.0]))
        assert found.rows == 4
        assert found.mape == pytest.approx(0.2)
        assert found.median_ape == pytest.approx(0.15)
        # 90% of the way from the first to the last of 0, 0.1, 0.2, 0.5: 0.7 between the last two.
        assert found.p90_ape == pytest.approx(0.2 + 0.7 * 0.3)
        assert found.bias == pytest.approx(math.log(1.1 * 0.8 * 1.5) / 4)
        assert found.coverage is None

    def test_coverage_counts_the_rows_with_an_interval(self) -> None:
        ones = np.ones(4)
        assert error_statistics(ones, ones, [True, None, False, True]).coverage == pytest.approx(2 / 3)

    def test_an_interval_holds_its_ends(self) -> None:
        found = prediction(1.0, 1.1)
        assert found.covered is None
        assert replace(found, low=1.0, high=1.2).covered
        assert not replace(found, low=1.05, high=1.2).covered

    def test_equal_values_share_a_rank(self) -> None:
        assert average_ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]

    def test_spearman_hand_worked(self) -> None:
        # Ranks 1 2 3 4 5 against 2 1 4 3 5: 1 - 6 * (1 + 1 + 1 + 1) / (5 * 24) = 0.8.
        assert spearman(np.array([1.0, 2, 3, 4, 5]), np.array([20.0, 10, 40, 30, 50])) == pytest.approx(0.8)
        assert spearman(np.array([1.0, 2]), np.array([1.0, 2])) is None
        assert spearman(np.array([1.0, 2, 3]), np.ones(3)) is None

    def test_quantities_are_ranked_by_themselves(self) -> None:
        # Seconds in perfect order (3 rows), rates in reverse (3 rows).
        measured, found = np.array([1.0, 2, 3, 100, 200, 300]), np.array([1.0, 2, 3, 300, 200, 100])
        names = ["step_time_s"] * 3 + ["samples_per_s"] * 3
        assert rank_correlation(measured, found, names) == pytest.approx(0.0)

    @given(st.lists(st.floats(0.1, 10), min_size=3, max_size=30), st.randoms(use_true_random=False))
    def test_as_scipy_has_it(self, values: list[float], random: Callable[..., object]) -> None:
        from scipy.stats import spearmanr

        other = values[:]
        random.shuffle(other)  # type: ignore[attr-defined]
        found = spearman(np.array(values), np.array(other))
        if found is not None:
            assert found == pytest.approx(spearmanr(values, other).statistic, abs=1e-9)

    def test_regret_hand_worked(self) -> None:
        # The model ranks the second first; measured, that takes 1.3 and the best 1.0.
        assert regret(np.array([1.0, 1.3, 2.0]), np.array([5.0, 4.0, 6.0])) == pytest.approx(0.3)
        assert regret(np.array([1.0, 1.3]), np.array([4.0, 4.0])) == pytest.approx(0.3)  # alike: the slower counts
        assert regret(np.array([1.0, 1.3]), np.array([4.0, 5.0])) == 0.0


class TestRegretGroups:
    def of(self, *predictions: Prediction) -> Validation:
        return Validation(("table.csv",), PALEO, predictions, ())

    def test_rows_alike_in_all_but_the_split(self) -> None:
        found = self.of(
            prediction(1.0, 2.0, id="a", gpus=4, global_batch=64, micro_batch=16, data=4, source="one"),
            prediction(1.2, 1.5, id="b", gpus=4, global_batch=64, micro_batch=8, data=4, source="another"),
            prediction(9.0, 1.0, id="c", gpus=8, global_batch=64, micro_batch=8, data=8),
        )
        assert [[item.row.id for item in group] for group in split_groups(found.predictions)] == [["a", "b"]]
        assert (found.regret.groups, found.regret.mean, found.regret.max) == (1, *[pytest.approx(0.2)] * 2)

    def test_the_highest_rate_is_the_best(self) -> None:
        found = self.of(
            prediction(100.0, 90.0, quantity="samples_per_s", micro_batch=None, global_batch=64, gpus=2, tensor=1),
            prediction(80.0, 95.0, quantity="samples_per_s", micro_batch=None, global_batch=64, gpus=2, tensor=2),
        )
        assert found.regret.max == pytest.approx(0.25)

    def test_unlike_batches_are_unlike_work(self) -> None:
        found = self.of(prediction(1.0, 1.0, micro_batch=16), prediction(2.0, 2.0, micro_batch=32))
        assert (found.regret.groups, found.regret.mean, found.regret.max) == (0, None, None)

    def test_memory_has_no_fastest(self) -> None:
        rows = [prediction(1.0, 1.0, quantity="memory_bytes", global_batch=64, micro_batch=b) for b in (16, 32)]
        assert self.of(*rows).regret.groups == 0


class TestFigures:
    """Each quantity, against the estimate of the same strategy."""

    def found(self, gpus: int = 4, micro_batch: int = 16) -> paleo_opt.Estimates:
        strategy = Strategy(load_cluster("dgx1-p100"), gpus, micro_batch, collective="one_to_all")
        return estimate(compile_network(load_network("resnet50")), strategy, PALEO)

    @pytest.fixture
    def row(self) -> MeasuredRow:
        return replace(
            ROW, network="resnet50", device="p100-sxm2", cluster="dgx1-p100", gpus=4, gpus_per_node=8, micro_batch=16,
            collective="one_to_all",
        )  # fmt: skip

    @pytest.mark.parametrize("name", ["step_time_s", "forward_time_s", "backward_time_s", "samples_per_s", "mfu"])
    def test_figures_of_the_estimate(self, row: MeasuredRow, name: str) -> None:
        expected = float(getattr(self.found(), name)[0])
        assert predicted(replace(row, quantity=name)).predicted == pytest.approx(expected)

    def test_derived_figures(self, row: MeasuredRow) -> None:
        of = self.found()
        rate = float(of.samples_per_s[0])
        expected = {
            "speedup": rate / float(self.found(gpus=1).samples_per_s[0]),
            "tflops_per_gpu": of.flops_per_sample * rate / 4 / 1e12,
            "train_time_s": float(of.ideal_time_to_target_s[0]),
            "memory_bytes": float(of.memory_bytes[0]) - PALEO.memory_reserve,
        }
        for quantity, value in expected.items():
            assert predicted(replace(row, quantity=quantity)).predicted == pytest.approx(value), quantity

    def test_tokens(self, row: MeasuredRow) -> None:
        row = replace(row, quantity="tokens_per_s", sequence_length=128)
        rate = float(self.found().samples_per_s[0])
        assert predicted(row).predicted == pytest.approx(128 * rate)
        assert predicted(replace(row, quantity="tokens_per_s_per_gpu")).predicted == pytest.approx(32 * rate)
        assert reason(replace(row, sequence_length=None)) == "no sequence length"

    def test_every_quantity_of_the_contract_is_predicted(self, row: MeasuredRow) -> None:
        for quantity in QUANTITIES:
            assert predicted(replace(row, quantity=quantity, sequence_length=1)).predicted > 0

    def test_rows_together_are_as_rows_alone(self) -> None:
        rows = read_measured_table(PUBLISHED)
        together, _ = predict(rows, PALEO)
        for item in together[::16]:
            assert predicted(item.row).predicted == pytest.approx(item.predicted, rel=1e-12)

    def test_the_batch_of_each_follows_from_the_batch_of_all(self, row: MeasuredRow) -> None:
        whole = predicted(replace(row, micro_batch=None, global_batch=64))
        assert whole.predicted == predicted(row).predicted
        # Two passes of 16; and a batch that four cannot share: the step of 17 each, the rate of 65.
        twice = estimate(
            compile_network(load_network("resnet50")),
            Strategy(load_cluster("dgx1-p100"), 4, 16, 2, collective="one_to_all"),
            PALEO,
        )
        assert predicted(replace(row, global_batch=128)).predicted == pytest.approx(float(twice.step_time_s[0]))
        uneven = replace(row, micro_batch=None, global_batch=65, quantity="samples_per_s")
        assert predicted(uneven).predicted == pytest.approx(65 / float(self.found(micro_batch=17).step_time_s[0]))

    def test_hybrid_as_its_software_says(self) -> None:
        row = replace(
            ROW, network="alexnet_v2", device="k20", cluster="owt-8xk20", gpus=4, gpus_per_node=4, micro_batch=128,
            global_batch=512, data=4, software="cuda-convnet2; hybrid: data (conv) + model (fc)",
        )  # fmt: skip
        strategy = Strategy(load_cluster("owt-8xk20"), 4, 128, split="hybrid", tensor=4)
        alone = estimate(compile_network(load_network("alexnet_v2")), strategy, PALEO)
        assert predicted(row).predicted == pytest.approx(float(alone.step_time_s[0]))

    def test_one_device_by_itself(self) -> None:
        strategy = Strategy(single_device_cluster(load_device("k80")), 1, 32, precision="fp32")
        alone = estimate(compile_network(load_network("vgg16")), strategy, PALEO)
        assert predicted(ROW).predicted == pytest.approx(float(alone.step_time_s[0]))


class TestPlatforms:
    ROW = replace(ROW, device="titan-x-maxwell", software="Torch7 cuDNN 5105")

    def test_a_row_runs_on_what_its_software_names(self) -> None:
        found = predicted(self.ROW, Options())
        assert (found.platform.name, found.assumed) == ("cudnn-5.1-torch", ())
        strategy = Strategy(single_device_cluster(load_device("titan-x-maxwell")), 1, 32, precision="fp32")
        alone = estimate(compile_network(load_network("vgg16")), strategy, Options(platform="cudnn-5.1-torch"))
        assert found.predicted == pytest.approx(float(alone.step_time_s[0]))

    def test_software_that_no_platform_names_is_counted(self) -> None:
        found = predicted(replace(self.ROW, software="an own library"), Options())
        assert found.assumed == ("platform",)
        assert found.predicted == predicted(replace(self.ROW, software=""), Options()).predicted

    def test_one_for_all_rows(self) -> None:
        found = predicted(self.ROW, Options(platform="cudnn-r1-torch"))
        assert (found.platform.name, found.assumed) == ("cudnn-r1-torch", ())
        assert found.predicted == predicted(replace(self.ROW, software="CuDNN (R1)"), Options()).predicted

    def test_paleo_knows_none(self) -> None:
        assert predicted(self.ROW).predicted == predicted(replace(self.ROW, software="")).predicted
        assert predicted(replace(self.ROW, software="")).assumed == ()


class TestRefused:
    @pytest.mark.parametrize(("columns", "expected"), [
        ({"family": "transformer"}, "family transformer, but vgg16 is a network of layers"),
        ({"network": "vgg61"}, "network 'vgg61' is not known"),
        ({"network": "no/such.yaml"}, "network 'no/such.yaml' cannot be read: no/such.yaml: no such file"),
        ({"device": "k81"}, "device 'k81' is not known"),
        ({"cluster": "my-lab"}, "the cluster is not known, and what the row says of it fits none that is"),
        ({"gpus": 4}, "several GPUs, and no cluster is named"),
        ({"micro_batch": None}, "no batch size"),
        ({"global_batch": 33}, "the global batch is not a whole number of micro-batches"),
        ({"precision": "fp8"}, "k80 has no peak in fp8"),
        ({"pipeline": 2}, "pipeline: of a transformer's blocks, not of a network of layers"),
        ({"virtual_stages": 2}, "virtual stages: of a transformer's blocks, not of a network of layers"),
        ({"sharding": "fsdp"}, "sharded state: of a transformer's blocks, not of a network of layers"),
        ({"recompute": "full"}, "recomputed activations: of a transformer's blocks, not of a network of layers"),
        ({"layers": 12}, "a transformer's sizes are given beside a network of layers"),
        ({"data": 2}, "1 GPUs are not data × tensor"),
        ({"tensor": 2}, "1 GPUs are not data × tensor"),
        ({"collective": "gossip"}, "collective 'gossip' is not known"),
        ({"quantity": "speedup"}, "speedup of one GPU"),
    ])  # fmt: skip
    def test_with_the_reason(self, columns: dict[str, object], expected: str) -> None:
        assert reason(replace(ROW, **columns)) == expected  # type: ignore[arg-type]

    @pytest.mark.parametrize("columns", [{"pipeline": 2}, {"sharding": "zero1"}, {"recompute": "full"}])
    def test_what_the_paleo_model_has_none_of(self, columns: dict[str, object]) -> None:
        row = replace(ROW, family="transformer", network="bert_base", device="v100-sxm2-16gb", **columns)  # type: ignore[arg-type]
        assert reason(row).endswith(": the paleo model has none; the roofline model does")

    def test_more_devices_than_the_cluster_has(self) -> None:
        row = replace(ROW, device="k20", cluster="owt-8xk20", gpus=16)
        assert reason(row) == "owt-8xk20 has 8 GPUs, not 16"

    def test_a_time_to_target_without_a_target(self, tmp_path: Path) -> None:
        text = (Path(__file__).parents[1] / "nets" / "vgg16.yaml").read_text("utf-8")
        net = tmp_path / "vgg16.yaml"
        net.write_text(re.sub(r"^job:\n(?:[ #].*\n)+", "", text, flags=re.MULTILINE), "utf-8")
        assert predicted(replace(ROW, network=str(net))).predicted == predicted(ROW).predicted
        row = replace(ROW, network=str(net), quantity="train_time_s")
        assert reason(row) == "network 'vgg16' has no training job"

    def test_one_bad_row_leaves_the_others(self) -> None:
        found, refused = predict([ROW, replace(ROW, id="b", device="k81"), replace(ROW, id="c")], PALEO)
        assert [item.row.id for item in found] == ["a", "c"]
        assert [item.row.id for item in refused] == ["b"]


class TestStandIns:
    def test_every_rule_loads_a_cluster_with_its_device(self) -> None:
        for rule in stand_ins():
            cluster = rule.load()
            assert cluster.device.name == (rule.instead or rule.device)
            assert rule.per_node in (0, cluster.devices_per_node)
            assert rule.nodes in ("one", "many")
            assert rule.why
            assert rule.nodes == "one" or cluster.max_devices is None or cluster.max_devices > 8

    def test_a_board_with_nvlink(self) -> None:
        rule = stand_in(MLPERF)
        assert rule is not None
        assert rule.cluster == "dgx-a100"
        found = predicted(MLPERF)
        assert found.assumed == ("cluster", "precision", "collective")
        named = replace(MLPERF, cluster="dgx-a100", precision="bf16", collective="ring_all_reduce")
        assert predicted(named).predicted == pytest.approx(found.predicted)
        assert predicted(named).assumed == ()

    def test_a_name_that_says_pcie_takes_the_pcie_device(self) -> None:
        rule = stand_in(
            replace(MLPERF, cluster="box-8xa100-pcie-80gb-nvbridge", software="MLPerf v2.0 X; NVLINK BRIDGE; ")
        )
        assert rule is not None
        assert (rule.instead, rule.cluster) == ("a100-pcie-80gb", "pcie4-x16")

    @pytest.mark.parametrize("columns", [
        {"software": "MLPerf v2.0 SOMEONE MXNet; ; "},  # nothing is said of the interconnect
        {"software": "someone's notes; NVLINK 3.0; "},  # no table of MLPerf
        {"gpus": 16},  # nothing is said of the network between two nodes
        {"device": "v100-pcie-16gb"},
    ])  # fmt: skip
    def test_nothing_is_guessed(self, columns: dict[str, object]) -> None:
        assert stand_in(replace(MLPERF, **columns)) is None  # type: ignore[arg-type]


class TestPublished:
    def test_every_row_is_predicted_or_refused(self, answer: Validation) -> None:
        rows = read_measured_table(PUBLISHED)
        assert 100 <= len(rows) <= 250
        ids = [item.row.id for item in (*answer.predictions, *answer.refused)]
        assert sorted(ids) == sorted(row.id for row in rows)
        assert all(np.isfinite(item.predicted) and item.predicted > 0 for item in answer.predictions)
        # The PALEO model of 2017 has no pipelines, nor parameters or activations that are not kept.
        assert {item.row.family for item in answer.refused} == {"transformer"}
        assert set(ASSUMPTIONS) >= {name for item in answer.predictions for name in item.assumed}

    def test_every_row_says_where_it_is_from(self) -> None:
        for row in read_measured_table(PUBLISHED):
            assert row.source, row.id
            assert row.software, row.id

    def test_the_statistics_are_those_of_the_rows(self, answer: Validation) -> None:
        errors = [abs(item.predicted / item.row.measured - 1) for item in answer.predictions]
        assert answer.statistics is not None
        assert answer.statistics.mape == pytest.approx(sum(errors) / len(errors))
        for grouping in ("device", "network", "quantity", "software", "platform"):
            groups = answer.by(grouping).values()
            assert sum(of.rows for of in groups) == len(errors)
            assert sum(of.rows * of.mape for of in groups) == pytest.approx(sum(errors))

    def test_the_figures_of_the_paper_are_there(self) -> None:
        # PALEO, ICLR 2017, Table 2 (TensorFlow, ms); FireCaffe's 2,275 ms of Table 3.
        measured = {row.id: row.measured for row in read_measured_table(PUBLISHED)}
        table_2 = {id_: value for id_, value in measured.items() if id_.startswith("paleo-table2")}
        assert sorted(table_2.values()) == [0.044, 0.1551, 0.40046, 1.11748]
        assert measured["firecaffe-nin-k20x-1gpus-b256"] == pytest.approx(2.275, rel=1e-3)

    def test_a_grouping_that_is_none(self, answer: Validation) -> None:
        with pytest.raises(SpecError, match="did you mean 'device'"):
            answer.by("devices")


def test_tables_are_read_one_after_the_other(tmp_path: Path) -> None:
    lines = "id,family,network,device,micro_batch,quantity,measured\n{},cnn,vgg16,k80,32,step_time_s,1\n"
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text(lines.format(name), "utf-8")
    both = paleo_opt.validate([tmp_path / "a.csv", str(tmp_path / "b.csv")], PALEO)
    assert [item.row.id for item in both.predictions] == ["a", "b"]
    with pytest.raises(SpecError) as error:
        paleo_opt.validate([tmp_path / "c.csv", tmp_path / "d.csv"])
    assert len(error.value.problems) == 2


def test_a_network_beside_the_table(tmp_path: Path) -> None:
    net = Path(__file__).parents[1] / "nets" / "vgg16.yaml"
    (tmp_path / "mine.yaml").write_text(net.read_text("utf-8").replace("name: vgg16", "name: mine"), "utf-8")
    (tmp_path / "t.csv").write_text(
        "id,family,network,device,micro_batch,precision,quantity,measured\na,cnn,mine.yaml,k80,32,fp32,step_time_s,1\n",
        "utf-8",
    )
    assert paleo_opt.validate(tmp_path / "t.csv", PALEO).predictions[0].predicted == predicted(ROW).predicted


@pytest.mark.parametrize(
    ("name", "device"),
    [("nvidia-a30-pcie-24gb", "a30"), ("nvidia-geforce-rtx-4090", "rtx-4090"), ("nvidia-l40", "l40"), ("l40s", "l40s"),
     ("a100", "a100"), ("nvidia-l400", "nvidia-l400")],
)  # fmt: skip
def test_a_vendors_words_around_a_device_are_read_past(name: str, device: str) -> None:
    assert shipped_device(name) == device
