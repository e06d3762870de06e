"""Stages of a pipeline on devices of different speed: the best partition, and steps as `estimate` has them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import hand_built
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.estimate import estimate
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.estimator.splits import Split
from paleo_opt.estimator.strategy import Strategy
from paleo_opt.fleet.chains import block_chain, cut_points, layer_chain
from paleo_opt.fleet.groups import check_joined
from paleo_opt.fleet.model import FleetModel, make_model
from paleo_opt.fleet.pipeline_costs import PipelineProblem, StagePlace
from paleo_opt.fleet.pipeline_way import arrangements, at_counts, solve_partition
from paleo_opt.fleet.stage_partition import best_partition
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.load import load_network


def model_of(network: str, *clusters: str, collective: str | None = "ring_all_reduce") -> FleetModel:
    net = load_network(network)
    return make_model(
        compile_network(net), [load_cluster(name) for name in clusters], usual_options(net), collective=collective
    )


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    stages, units = draw(st.integers(1, 4)), draw(st.integers(4, 7))
    size = units + 1
    values = st.lists(st.floats(0.01, 1.0), min_size=stages * size * size, max_size=stages * size * size)
    held = np.array(draw(values)).reshape(stages, size, size)
    through = np.array(draw(values)).reshape(stages, size, size)
    upwards = np.arange(size)[None, :] > np.arange(size)[:, None]
    held[:, ~upwards] = through[:, ~upwards] = np.inf
    full = np.array(draw(st.lists(st.booleans(), min_size=held.size, max_size=held.size))).reshape(held.shape)
    held[full & (held > 0.8)] = np.inf
    through[~np.isfinite(held)] = np.inf
    return held, through, draw(st.integers(1, 9))


class TestPartition:
    def test_by_hand(self) -> None:
        """Six units of 1 s on a stage twice as fast as the other: four and two of them."""
        units = np.arange(7.0)
        work = np.where(units[None] > units[:, None], units[None] - units[:, None], np.inf)
        found = best_partition(np.array([work / 2.0, work]), np.array([work / 2.0, work]), 10)
        assert found is not None
        assert found.cuts == (0, 4, 6)
        assert found.time_s == 9 * 2.0 + 4.0

    @settings(max_examples=120, deadline=None)
    @given(pipelines())
    def test_no_partition_is_faster(self, case: tuple[np.ndarray, np.ndarray, int]) -> None:
        held, through, count = case
        stages, units = held.shape[0], held.shape[1] - 1
        best = np.inf
        for inner in itertools.combinations(range(1, units), stages - 1):
            spans = list(enumerate(itertools.pairwise((0, *inner, units))))
            slowest = max(held[stage, i, j] for stage, (i, j) in spans)
            if np.isfinite(slowest):
                best = min(best, (count - 1) * slowest + sum(through[stage, i, j] for stage, (i, j) in spans))
        found = best_partition(held, through, count)
        assert (found is None) == (not np.isfinite(best))
        if found is not None:
            assert found.time_s == pytest.approx(best, rel=1e-12)

    def test_every_order_and_number_of_stages(self) -> None:
        found = list(arrangements([0, 1], [2, 1], [8, 4], 1, 20))
        shapes = {tuple((place.kind, place.nodes, place.copies) for place in places) for places in found}
        assert shapes == {
            ((0, 2, 16), (1, 1, 4)), ((1, 1, 4), (0, 2, 16)),
            ((0, 1, 8), (0, 1, 8), (1, 1, 4)), ((1, 1, 4), (0, 1, 8), (0, 1, 8)),
        }  # fmt: skip


class TestUnits:
    def test_a_network_is_cut_where_one_tensor_passes(self) -> None:
        starts, crossing = cut_points(load_network("resnet50"))
        names = [load_network("resnet50").layers[start].name for start in starts[:-1]]
        # Not inside a residual block, where its input passes too.
        assert names[:4] == ["data", "pool1", "res2a/conv1", "res2b_1/conv1"]
        assert not any(name.endswith(("conv2", "conv3", "add", "shortcut")) for name in names)
        assert crossing[0] == crossing[-1] == 0.0
        assert crossing[2] == 56 * 56 * 64

    def test_one_stage_is_data_parallel(self) -> None:
        """A single stage on all nodes: step and memory of `estimate`."""
        model = model_of("resnet50", "p4d.24xlarge")
        for passes in (1, 4):
            step = solve_partition(PipelineProblem(layer_chain(model)), [StagePlace(0, 2, 16)], 32 * 16, passes)
            known = estimate(
                model.table,
                Strategy(model.kinds[0], 16, 32, passes, precision="bf16", collective="ring_all_reduce"),
                model.options,
            )
            assert step is not None
            assert step.step_s == pytest.approx(float(known.step_time_s[0]), rel=1e-9)
            assert step.memory[0] == pytest.approx(float(known.memory_bytes[0]), rel=1e-9)

    @pytest.mark.parametrize(
        ("network", "split", "nodes", "micro_batch", "count", "exact"),
        [
            ("bert_large", Split(pipeline=2), 4, 4, 16, True),
            ("llama2_7b", Split(tensor=8, sequence_parallel=True, pipeline=4, recompute="full"), 4, 1, 8, False),
            ("gpt3_13b", Split(tensor=8, sequence_parallel=True, pipeline=4, recompute="full"), 8, 2, 32, False),
        ],
    )
    def test_stages_of_one_kind_are_those_of_estimate(
        self, network: str, split: Split, nodes: int, micro_batch: int, count: int, exact: bool
    ) -> None:
        """Where stages have as many blocks; else its average stage's all-reduce is another than the first's."""
        model = model_of(network, "p4d.24xlarge")
        gpus = 8 * nodes
        known = estimate(
            model.table,
            Strategy(
                model.kinds[0], gpus, micro_batch, count, precision="bf16", collective="ring_all_reduce", blocks=split
            ),
            model.options,
        )
        inside = Split(tensor=split.tensor, sequence_parallel=split.sequence_parallel, recompute=split.recompute)
        copies = gpus // split.model
        places = [StagePlace(0, nodes // split.pipeline, copies)] * split.pipeline
        step = solve_partition(PipelineProblem(block_chain(model, inside)), places, micro_batch * copies, count)
        assert step is not None
        assert step.step_s == pytest.approx(float(known.step_time_s[0]), rel=1e-8 if exact else 5e-3)
        assert max(step.memory) == pytest.approx(float(known.memory_bytes[0]), rel=0.03)

    def test_the_faster_devices_get_more_blocks_and_more_micro_batches_cost_as_said(self) -> None:
        model = model_of("gpt3_13b", "p4d.24xlarge", "p3dn.24xlarge")
        chain = block_chain(model, Split(tensor=8, sequence_parallel=True, recompute="full"))
        problem, places = PipelineProblem(chain), [StagePlace(1, 1, 1), StagePlace(0, 1, 1)]
        step = solve_partition(problem, places, 1, 16)
        assert step is not None
        slow, fast = step.cuts[1] - 1, chain.units - 1 - step.cuts[1]
        assert fast > 1.5 * slow
        assert step.memory[0] < 32e9 and step.memory[1] < 40e9
        again = solve_partition(problem, places, 1, 32)
        assert again is not None and again.cuts == step.cuts
        assert at_counts(step, np.array([16, 32])).tolist() == pytest.approx([step.step_s, again.step_s])

    def test_a_stage_that_does_not_fit_takes_fewer_layers(self) -> None:
        """With little memory on one device, the other takes what does not fit, however much slower the step is."""
        net = load_network("vgg16")
        small = hand_built.cluster(device=hand_built.DEVICE, name="small", per_node=1)
        options = Options(memory_reserve=0.0)
        steps = []
        for memory in (16e9, 1.2e9):
            tight = replace(small, name="tight", device=replace(small.device, name="tight", memory=memory))
            model = make_model(compile_network(net), [small, tight], options, collective="ring_all_reduce")
            step = solve_partition(
                PipelineProblem(layer_chain(model)), [StagePlace(0, 1, 1), StagePlace(1, 1, 1)], 4, 8
            )
            assert step is not None and step.memory[1] <= memory
            steps.append(step)
        assert steps[1].cuts[1] > steps[0].cuts[1]
        assert steps[1].step_s > steps[0].step_s


def test_kinds_that_nothing_joins_are_refused() -> None:
    aws, gcp = load_cluster("p4d.24xlarge"), load_cluster("a2-highgpu-8g")
    check_joined([aws, load_cluster("p3.16xlarge")], None)
    with pytest.raises(SpecError, match="no published link joins"):
        check_joined([aws, gcp], None)
    with pytest.raises(SpecError, match="no link beyond its node"):
        check_joined([aws, load_cluster("gpu_8x_a100")], None)
