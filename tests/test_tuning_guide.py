"""What runs teach: invariants of the guide that no number of runs may break."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paleo_opt.errors import InfeasibleError, SpecError
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.options import usual_options
from paleo_opt.hardware.load import load_cluster
from paleo_opt.network.load import load_network
from paleo_opt.search.fixed import Fixed
from paleo_opt.search.space import load_space
from paleo_opt.tuning.candidates import Candidates, make_candidates
from paleo_opt.tuning.choices import Named
from paleo_opt.tuning.guide import Guide, Observation
from paleo_opt.tuning.knobs import parse_choice
from paleo_opt.tuning.memory_belief import VETO, MemoryEvent, memory_belief, ruled_out
from paleo_opt.tuning.points import Points, objective_of
from paleo_opt.tuning.response import expected_improvement, fit_response
from paleo_opt.tuning.runs import DONE, FAILED, OUT_OF_MEMORY


def candidates(
    network: str = "vgg16", on: str = "p4d.24xlarge", names: str = "micro_batch", gpus: int | None = 8, **fixed: object
) -> Candidates:
    net = load_network(network)
    choices = fixed.pop("choices", {})
    named = Named(frozenset(names.split()), choices, gpus, None, Fixed(**fixed))  # type: ignore[arg-type]
    return make_candidates(compile_network(net), load_cluster(on), load_space("default"), named, usual_options(net))


def points(*knobs: str, **how: object) -> Points:
    found = candidates(**how)  # type: ignore[arg-type]
    return Points(found, tuple(parse_choice(knob) for knob in knobs), objective_of(found, None))


@pytest.fixture(scope="module")
def some() -> Points:
    return points("layout=NCHW,NHWC", "workers=1,2,4,8", names="micro_batch gpus", gpus=64, global_batch=1024)


class TestCandidates:
    def test_batches_follow_from_one_another(self) -> None:
        found = candidates(names="micro_batch accumulation", global_batch=512)
        each = [found.strategy(index) for index in range(len(found))]
        assert [s.micro_batch for s in each] == [1, 2, 4, 8, 16, 32, 64]  # 512 over 8 devices
        assert {s.micro_batch * s.accumulation * 8 for s in each} == {512}

    def test_what_the_command_does_not_name_is_fixed(self) -> None:
        found = candidates("llama3_8b", "p5.48xlarge", "tensor", 64, global_batch=128, micro_batch=1)
        each = [found.strategy(index).to_json() for index in range(len(found))]
        assert {row["tensor"] for row in each} == {1, 2, 4, 8}
        for name, value in {"pipeline": 1, "sharding": "zero0", "recompute": "none", "gpus": 64}.items():
            assert {row[name] for row in each} == {value}

    def test_choices_are_the_only_values(self) -> None:
        found = candidates(names="micro_batch precision", choices={"micro_batch": ("8", "16"), "precision": ("bf16",)})
        assert sorted(found.columns["micro_batch"].tolist()) == [8, 16]

    def test_estimates_are_those_of_estimate(self) -> None:
        from paleo_opt.estimator.estimate import estimate

        found = candidates("llama3_8b", "p5.48xlarge", "tensor pipeline micro_batch sharding", 64, global_batch=128)
        net = load_network("llama3_8b")
        for index in (0, len(found) // 2, len(found) - 1):
            alone = estimate(compile_network(net), found.strategy(index), usual_options(net))
            assert found.step_time_s[index] == pytest.approx(float(alone.step_time_s[0]))
            assert found.memory_bytes[index] == pytest.approx(float(alone.memory_bytes[0]))

    @pytest.mark.parametrize(("how", "message"), [
        ({"names": "pipeline", "micro_batch": 8}, "has none to split"),
        ({"names": "gpus"}, "--micro-batch is missing"),
        ({"names": "micro_batch", "choices": {"micro_batch": ("many",)}}, "expected whole numbers"),
        ({"names": "micro_batch precision", "choices": {"precision": ("fp17",)}}, "did you mean 'fp1"),
    ])  # fmt: skip
    def test_contradictions_are_refused(self, how: dict[str, object], message: str) -> None:
        with pytest.raises(SpecError, match=message):
            candidates(**how)  # type: ignore[arg-type]

    def test_nothing_left_is_infeasible(self) -> None:
        with pytest.raises(InfeasibleError):
            candidates(global_batch=512, choices={"micro_batch": ("3",)})

    def test_placeholders_must_tell_strategies_apart(self) -> None:
        found = candidates(names="data", gpus=16, tensor=2, split="hybrid", micro_batch=8)
        assert len(found) > 1
        Points(found, (), "step_time").check()
        same = points(names="nodes micro_batch split tensor")
        same.check()

    def test_objectives(self) -> None:
        assert objective_of(candidates(global_batch=512), None) == "step_time"
        assert objective_of(candidates(), None) == "time_to_target"
        assert objective_of(candidates(), "throughput") == "throughput"


class TestPoints:
    def test_numbers_and_points_are_one_to_one(self, some: Points) -> None:
        for number in range(0, len(some), 7):
            assert some.find(some.point(number)) == number

    def test_levels_are_those_of_points(self, some: Points) -> None:
        numbers = np.arange(len(some))
        levels = some.levels(numbers)
        assert len({tuple(row) for row in levels.tolist()}) == len(some)
        assert levels[13].tolist() == list(some.point(13).values())

    def test_values_fill_every_placeholder(self, some: Points) -> None:
        values = some.values(5)
        assert values["micro_batch"] * values["accumulation"] * values["gpus"] == 1024
        assert values["layout"] in ("NCHW", "NHWC") and values["workers"] in ("1", "2", "4", "8")

    def test_the_first_knobs_start(self, some: Points) -> None:
        assert some.knob_values(some.start) == {"layout": "NCHW", "workers": "1"}


def ran(points: Points, numbers: list[int], factor: float = 1.0) -> tuple[Observation, ...]:
    times = points.predicted(np.array(numbers)) * factor
    return tuple(Observation(number, DONE, float(time)) for number, time in zip(numbers, times, strict=True))


class TestGuide:
    def test_the_first_run_is_the_fastest_estimated(self, some: Points) -> None:
        proposal = Guide(some, ()).propose()
        assert proposal is not None
        assert proposal.point % some.combinations == some.start
        assert proposal.expected_step_time_s == some.candidates.step_time_s[some.candidates.step_time_s.argmin()]

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8), st.floats(0.01, 100.0))
    def test_runs_as_estimated_leave_the_ranking(self, some: Points, numbers: list[int], factor: float) -> None:
        """However much slower all are alike: the offset has a flat prior."""
        guide = Guide(some, ran(some, [number % len(some) for number in numbers], factor))
        every = np.arange(len(some))
        expected, _ = guide.expect(every)
        assert expected == pytest.approx(some.predicted(every) * factor, rel=1e-6)

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([DONE, FAILED, OUT_OF_MEMORY]),
                              st.floats(0.2, 5.0)), max_size=12))  # fmt: skip
    def test_no_point_twice_and_none_that_is_vetoed(self, some: Points, runs: list[tuple[int, str, float]]) -> None:
        seen = {}
        for number, status, factor in runs:
            time = float(some.predicted(np.array([number % len(some)]))[0]) * factor
            seen[number % len(some)] = Observation(number % len(some), status, time if status == DONE else None)
        guide = Guide(some, tuple(seen.values()))
        proposal = guide.propose()
        if proposal is not None:
            assert proposal.point not in seen
            assert not guide.vetoed(np.array([proposal.point]))[0]

    def test_all_points_are_run_in_the_end(self) -> None:
        few = points("layout=a,b", global_batch=64)
        observations: list[Observation] = []
        while (proposal := Guide(few, tuple(observations)).propose()) is not None:
            observations.append(Observation(proposal.point, DONE, 1.0 + 0.1 * (proposal.point % 3)))
        assert sorted(run.point for run in observations) == list(range(len(few)))

    def test_a_knob_that_makes_a_difference_is_learned(self, some: Points) -> None:
        numbers = list(range(0, len(some), 5))[:12]
        slow = [some.knob_values(number)["layout"] == "NHWC" for number in numbers]
        runs = [ran(some, [n], 3.0 if s else 1.0)[0] for n, s in zip(numbers, slow, strict=True)]
        every = np.arange(len(some))
        expected, _ = Guide(some, tuple(runs)).expect(every)
        ratio = expected / some.predicted(every)
        layout = np.array([some.knob_values(int(number))["layout"] for number in every])
        assert np.median(ratio[layout == "NHWC"]) / np.median(ratio[layout == "NCHW"]) == pytest.approx(3.0, rel=0.15)

    def test_a_value_with_which_all_fails_is_left_alone(self, some: Points) -> None:
        bad = [p for p in range(len(some)) if some.knob_values(p)["layout"] == "NHWC"][:3]
        good = [p for p in range(len(some)) if some.knob_values(p)["layout"] == "NCHW"][:3]
        guide = Guide(some, (*ran(some, good), *(Observation(p, FAILED) for p in bad)))
        every = np.arange(len(some))
        chance = guide.succeeds(every)
        layout = np.array([some.knob_values(int(p))["layout"] for p in every])
        assert chance[layout == "NHWC"].max() < 0.1
        assert chance[layout == "NCHW"].max() > 0.5


class TestResponse:
    def test_it_meets_its_data_and_is_unsure_elsewhere(self, some: Points) -> None:
        levels = some.levels(np.array([0, 40, 80, 100]))
        logs = np.array([0.5, -0.3, 0.1, 0.0])
        response = fit_response(some.axes, levels, logs)
        mean, deviation = response.predict(levels)
        assert mean == pytest.approx(logs, abs=0.1)
        _, elsewhere = response.predict(some.levels(np.arange(len(some))))
        assert elsewhere.max() > 2 * deviation.max()

    def test_one_run_moves_all_alike(self, some: Points) -> None:
        response = fit_response(some.axes, some.levels(np.array([3])), np.array([0.7]))
        mean, _ = response.predict(some.levels(np.arange(len(some))))
        assert mean == pytest.approx(0.7)

    def test_expected_improvement(self) -> None:
        """At the best itself it is σ / √(2π); far below it is the gap; far above it is nothing."""
        found = expected_improvement(np.array([0.0, -5.0, 9.0]), np.full(3, 0.5), 0.0)
        assert found == pytest.approx([0.5 / np.sqrt(2 * np.pi), 5.0, 0.0], abs=1e-6)


class TestMemory:
    #: Four strategies on a device of 80 GB.
    FIXED = np.array([20e9, 20e9, 20e9, 20e9])
    VARYING = np.array([10e9, 40e9, 58e9, 300e9])
    CAPACITY = np.full(4, 80e9)

    def belief(self, *events: MemoryEvent) -> np.ndarray:  # type: ignore[type-arg]
        return memory_belief(events, self.FIXED, self.VARYING, self.CAPACITY).fits

    def test_before_any_run_the_border_is_open(self) -> None:
        fits = self.belief()
        assert fits[0] > 0.95 and 0.3 < fits[2] < 0.7 and fits[3] < VETO

    def test_a_run_that_goes_through_opens_the_border(self) -> None:
        assert self.belief(MemoryEvent(1, 0, True))[2] > self.belief()[2]
        assert self.belief(MemoryEvent(2, 0, True))[2] > 0.95

    def test_a_reported_peak_tells(self) -> None:
        # Half of what was estimated varies: 20 + 0.5 · 40.
        belief = memory_belief([MemoryEvent(1, 0, True, 40e9)], self.FIXED, self.VARYING, self.CAPACITY)
        assert belief.factor == pytest.approx(0.5, rel=0.1)
        assert belief.fits[2] > 0.9

    def test_out_of_memory_closes_it(self) -> None:
        fits = self.belief(MemoryEvent(1, 0, False))
        assert fits[1] < 0.2 and fits[2] < 0.1

    def test_nothing_larger_is_tried_again_with_the_same_knobs(self) -> None:
        needed = self.FIXED + self.VARYING
        assert ruled_out([MemoryEvent(1, 3, False)], needed) == {3: 60e9}
        assert ruled_out([MemoryEvent(1, 3, False), MemoryEvent(2, 3, True)], needed) == {}

    def test_reasons_that_no_estimate_has_are_learned(self) -> None:
        small = np.array([1e9, 1.1e9, 1.2e9, 1.3e9])
        events = [MemoryEvent(3, 0, False), MemoryEvent(2, 1, False), MemoryEvent(0, 0, True)]
        belief = memory_belief(events, np.zeros(4), small, self.CAPACITY)
        assert belief.elsewhere > 0.9
        assert belief.fits[3] < VETO < 0.5 < belief.fits[0]

    def test_what_the_parameters_alone_exceed_never_fits(self) -> None:
        fits = memory_belief([], np.array([90e9, 10e9]), np.array([1.0, 1.0]), np.full(2, 80e9)).fits
        assert fits[0] == 0.0


class TestManyPoints:
    def test_the_best_as_estimated_and_what_is_beside_the_best_run_are_considered(self) -> None:
        many = points(
            *(f"{name}={','.join(map(str, range(1, 30)))}" for name in ("a", "b", "c")),
            names="micro_batch", global_batch=512,
        )  # fmt: skip
        assert len(many) > 100_000
        first = Guide(many, ()).propose()
        assert first is not None
        assert first.expected_step_time_s == many.candidates.step_time_s.min()
        guide = Guide(many, ran(many, [first.point]))
        considered = guide.considered(guide.beside_best())
        assert considered.size < 40_000
        beside = many.point(first.point) | {"b": 17}
        assert many.find(beside) in considered
        proposal = guide.propose()
        assert proposal is not None and proposal.point != first.point
