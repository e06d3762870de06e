"""Splits by layer on real networks: as `estimate` has it, never worse than what people choose, and as published."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

import paleo_opt
from paleo_opt import InfeasibleError, LayerSplits, SpecError, Strategy, load_cluster, load_network, split_layers
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.layer_splits.costs import split_costs
from paleo_opt.layer_splits.patterns import DATA, MODEL, WEIRD_TRICK
from paleo_opt.layer_splits.step_time import OBJECTIVES, step_time

P3, P4D, K20S = (load_cluster(name) for name in ("p3.16xlarge", "p4d.24xlarge", "owt-8xk20"))
ASKED = {
    "alexnet": (P3, 16, 2048),
    "vgg16": (P4D, 16, 1024),
    "resnet50": (P3, 16, 512),
    "googlenet": (P4D, 4, 256),
    "lstm_ptb": (P3, 8, 256),
}


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], LayerSplits]:
    return {
        (name, objective): split_layers(load_network(name), *asked, objective=objective)
        for name, asked in ASKED.items()
        for objective in OBJECTIVES
    }


class TestDataParallel:
    """All by samples is the split ``data`` of `estimate`."""

    @pytest.mark.parametrize("name", ASKED)
    def test_as_estimated(self, found: dict[tuple[str, str], LayerSplits], name: str) -> None:
        cluster, gpus, batch = ASKED[name]
        mine = found[name, "hidden"]
        strategy = Strategy(cluster, gpus, batch // gpus, collective="auto", precision=mine.costs.precision)
        theirs = paleo_opt.estimate(paleo_opt.compile_network(mine.network), strategy)
        data = mine.patterns[DATA]
        layers = mine.layers(data)
        computed = float((theirs.forward_time_s + theirs.backward_time_s)[0])
        assert sum(one.compute_s for one in layers) == pytest.approx(computed, rel=1e-9)
        update = float(theirs.update_time_s[0])
        assert sum(one.update_s for one in layers) + mine.costs.fixed == pytest.approx(update)
        assert data.memory_bytes == pytest.approx(float(theirs.memory.total[0]), rel=1e-6)
        # Gradients of less than a bucket take a share of its time, where `estimate` counts the buckets.
        in_sequence = computed + update + float(theirs.all_reduce_time_s[0])
        assert data.sequence_time_s == pytest.approx(in_sequence, rel=0.015)
        assert data.hidden_time_s == pytest.approx(float(theirs.step_time_s[0]), rel=0.015)

    def test_to_the_last_digit_where_all_gradients_are_sent_by_themselves(self) -> None:
        mine = split_layers(load_network("alexnet"), K20S, 8, 1024, objective="sequence")
        strategy = Strategy(K20S, 8, 128, collective="auto", precision="fp32")
        theirs = paleo_opt.estimate(paleo_opt.compile_network(mine.network), strategy)
        total = theirs.forward_time_s + theirs.backward_time_s + theirs.update_time_s + theirs.all_reduce_time_s
        assert mine.patterns[DATA].sequence_time_s == pytest.approx(float(total[0]), rel=1e-6)

    def test_one_device_splits_nothing(self) -> None:
        mine = split_layers(load_network("alexnet"), P3, 1, 64)
        assert mine.costs.assignments == 1 and mine.solution.exact
        assert mine.best.step_time_s == mine.patterns[DATA].step_time_s == mine.patterns[MODEL].step_time_s


class TestAgainstWhatPeopleChoose:
    @pytest.mark.parametrize("objective", OBJECTIVES)
    @pytest.mark.parametrize("name", ASKED)
    def test_never_slower_and_proved(
        self, found: dict[tuple[str, str], LayerSplits], name: str, objective: str
    ) -> None:
        mine = found[name, objective]
        assert mine.solution.exact and mine.best.fits
        for pattern in mine.patterns.values():
            assert mine.best.step_time_s <= pattern.step_time_s * (1 + 1e-9)
        assert mine.best.hidden_time_s <= mine.best.sequence_time_s
        for one in mine.layers():
            assert one.degrees["copies"] * one.degrees["sample"] <= mine.costs.devices

    @pytest.mark.parametrize("name", ["alexnet", "vgg16"])
    def test_one_weird_trick_is_found(self, found: dict[tuple[str, str], LayerSplits], name: str) -> None:
        """Convolutions by samples, fully connected layers by their channels, which are never by all samples."""
        layers = {one.layer.name: one.degrees for one in found[name, "sequence"].layers()}
        gpus = ASKED[name][1]
        # Of VGG-16 the last convolutions, of 14x14 places and most weights, may be split by channels too.
        early = [layer for layer in layers if layer.startswith(("conv1", "conv2", "conv3", "conv4"))]
        assert len(early) >= 4 and all(layers[layer]["sample"] == gpus for layer in early)
        dense = [degrees for layer, degrees in layers.items() if layer.startswith("fc")]
        assert all(degrees["outputs"] * degrees["inputs"] > 1 and degrees["sample"] < gpus for degrees in dense)

    @pytest.mark.parametrize(("gpus", "measured"), [(2, 0.42836), (4, 0.44678), (8, 0.5340)])
    def test_as_krizhevsky_measured(self, gpus: int, measured: float) -> None:
        """Table 1 of arXiv:1404.5997, seconds of a step of 128 samples a K20 with his code, split his way.

        What is found is faster than his split; both within the model.
        """
        options = paleo_opt.Options(platform="cuda-convnet2")
        mine = split_layers(load_network("alexnet_v2"), K20S, gpus, 128 * gpus, options=options)
        his = mine.patterns[WEIRD_TRICK]
        assert his.hidden_time_s == pytest.approx(measured, rel=0.10)
        # `estimate` plays his scheme otherwise: each worker's samples one after the other, fetches of the next hidden.
        hybrid = Strategy(K20S, gpus, 128, split="hybrid", tensor=gpus, collective="auto", precision="fp32")
        theirs = paleo_opt.estimate(paleo_opt.compile_network(mine.network), hybrid, options)
        assert his.hidden_time_s == pytest.approx(float(theirs.step_time_s[0]), rel=0.10)
        assert 1.0 < his.step_time_s / mine.best.step_time_s < 1.4

    def test_a_network_of_convolutions_has_no_weird_trick(self) -> None:
        assert WEIRD_TRICK not in split_layers(load_network("nin"), P3, 4, 256).patterns


class TestInvariants:
    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_equal_to_trying_everything(self, objective: str) -> None:
        """A real network on two GPUs, every assignment timed."""
        mine = split_layers(load_network("dcgan_generator"), P3, 2, 64, objective=objective)
        # Of all splits, without those left out before the search.
        table = compile_network(load_network("dcgan_generator"))
        costs = split_costs(table, P3, 2, 64, mine.costs.passes, None, mine.collective)
        step = step_time(costs, objective)
        every = list(product(*(range(len(one.degrees)) for one in costs.choices)))
        assert len(every) == mine.costs.assignments
        assert min(map(step.total, every)) == pytest.approx(mine.best.step_time_s, rel=1e-9)

    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_more_bandwidth_is_never_slower(self, objective: str) -> None:
        vgg16, times = load_network("vgg16"), []
        for factor in (0.25, 1.0, 4.0, 1e6):
            levels = tuple(replace(level, bandwidth=level.bandwidth * factor) for level in P3.levels)
            times.append(split_layers(vgg16, replace(P3, levels=levels), 16, 512, objective=objective).best.step_time_s)
        assert times == sorted(times, reverse=True)

    def test_less_memory_is_never_faster_and_at_last_too_little(self) -> None:
        vgg16, times = load_network("vgg16"), []
        for capacity in (40e9, 2.15e9, 2.13e9):
            small = replace(P4D, device=replace(P4D.device, memory=capacity))
            mine = split_layers(vgg16, small, 8, 256, passes=1, objective="sequence")
            assert mine.solution.exact and mine.best.memory_bytes <= capacity
            times.append(mine.best.step_time_s)
        assert times == sorted(times) and times[0] < times[-1]
        tiny = replace(P4D, device=replace(P4D.device, memory=2e9))
        with pytest.raises(InfeasibleError, match="the one of least memory needs"):
            split_layers(vgg16, tiny, 8, 512, passes=1)
        # In several passes it fits.
        assert split_layers(vgg16, tiny, 8, 512).costs.passes > 1

    def test_experts_are_spread(self) -> None:
        """Mixtral's eight experts where memory is wide enough for an eighth of them: tokens are exchanged."""
        p5 = load_cluster("p5.48xlarge")
        wide = replace(p5, device=replace(p5.device, memory=140e9))
        mine = split_layers(load_network("mixtral_8x7b"), wide, 16, 16, passes=1, objective="sequence")
        experts = [one for one in mine.layers() if one.layer.experts is not None]
        assert len(experts) == 32 and not mine.patterns[DATA].fits and mine.best.fits
        assert all(one.degrees["outputs"] > 1 and one.exchange_s > 0.0 for one in experts)


class TestRefusals:
    VGG16 = load_network("vgg16")

    def test_bad_input(self) -> None:
        with pytest.raises(SpecError, match="did you mean 'sequence'"):
            split_layers(self.VGG16, P3, 8, 64, objective="sequnce")
        with pytest.raises(SpecError, match="does not divide into 3 passes"):
            split_layers(self.VGG16, P3, 8, 64, passes=3)
        with pytest.raises(SpecError, match="at most 128"):
            split_layers(self.VGG16, P3, 256, 1024)
        with pytest.raises(SpecError, match="expected at least 1 of each"):
            split_layers(self.VGG16, P3, 0, 64)
        with pytest.raises(SpecError, match="parameter server"):
            split_layers(self.VGG16, P3, 8, 64, collective="one_to_all")
        with pytest.raises(SpecError, match="no splits by layer; expected model roofline"):
            split_layers(self.VGG16, P3, 8, 64, options=paleo_opt.Options(model="paleo"))
        with pytest.raises(SpecError, match="not of inference"):
            split_layers(self.VGG16, P3, 8, 64, options=paleo_opt.Options(training=False))


class TestSearch:
    def test_the_best_of_all_places(self) -> None:
        alexnet = load_network("alexnet")
        search = paleo_opt.search_splits(alexnet, [P3, P4D], [4, 8], 512)
        times = [point.figures.step_s for point in search.points if point.figures is not None]
        assert len(times) == 4 and times == sorted(times) and search.every
        alone = [split_layers(alexnet, cluster, gpus, 512).best.step_time_s for cluster in (P3, P4D) for gpus in (4, 8)]
        assert sorted(alone) == times
        cheapest = paleo_opt.search_splits(alexnet, [P3, P4D], [4, 8], 512, minimize="cost")
        dollars = [point.figures.dollars_per_million for point in search.points if point.figures is not None]
        assert cheapest.points[0].figures is not None
        assert cheapest.points[0].figures.dollars_per_million == min(dollars)

    def test_where_nothing_is_possible(self) -> None:
        alexnet = load_network("alexnet")
        with pytest.raises(SpecError, match="no price to minimize the cost by"):
            paleo_opt.search_splits(alexnet, [K20S], [8], 512, minimize="cost")
        with pytest.raises(SpecError, match="more than owt-8xk20 have"):
            paleo_opt.search_splits(alexnet, [K20S], [64], 512)
