"""What a device has, needs and moves under each split, by hand and device by device; and its part of a layer."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from paleo_opt import Options, load_cluster, load_network
from paleo_opt.estimator.communication import communication_time
from paleo_opt.estimator.places import make_places
from paleo_opt.layer_splits.degrees import AXES, INPUTS, OUTPUTS, SAMPLE, all_degrees, choices, positions
from paleo_opt.layer_splits.regions import Reading, moves, reading
from paleo_opt.layer_splits.shares import halo, share_of
from paleo_opt.layer_splits.times import make_fabric

ALL = tuple(range(len(AXES)))
ALEXNET, VGG16, INCEPTION = (load_network(name) for name in ("alexnet", "vgg16", "inception_v3"))
PLAIN = Reading("inputs")


def moved(source: tuple[int, ...], target: tuple[int, ...], how: Reading, devices: int, unit: int) -> list[float]:
    """Forward and backward share that the busiest device and the busiest unit take in."""
    found = moves(devices, (1, unit), ALL, False, ALL, how)
    every = all_degrees(devices, ALL)
    i, j = (int(np.flatnonzero((every == np.array(one)).all(axis=1))[0]) for one in (source, target))
    return [float(part[level, i, j]) for part in (found.forward, found.backward) for level in (0, 1)]


class TestByHand:
    """Eight devices, four to a node; degrees of sample, height, width, copies, outputs and inputs."""

    DATA, OUTPUTS, INPUTS, COPIES = (8, 1, 1, 1, 1, 1), (1, 1, 1, 1, 8, 1), (1, 1, 1, 1, 1, 8), (1, 1, 1, 8, 1, 1)

    def test_nothing_moves_between_layers_split_alike(self) -> None:
        assert moved(self.DATA, self.DATA, PLAIN, 8, 4) == [0.0] * 4
        assert moved(self.OUTPUTS, self.OUTPUTS, Reading("channels"), 8, 4) == [0.0] * 4
        # As Megatron's pair of layers: one by outputs, the next by inputs.
        assert moved(self.OUTPUTS, self.INPUTS, PLAIN, 8, 4) == [0.0] * 4

    def test_one_weird_trick_gathers_all_samples(self) -> None:
        """Each device has 1/8 and needs all; each node has 1/2. Backward the sums are scattered the same way."""
        assert moved(self.DATA, self.OUTPUTS, PLAIN, 8, 4) == pytest.approx([7 / 8, 1 / 2, 7 / 8, 1 / 2])

    def test_samples_are_exchanged_for_channels(self) -> None:
        """All to all: a device needs 1/8 and has 1/64 of it; a node needs 1/2 and has 1/4."""
        assert moved(self.DATA, self.INPUTS, PLAIN, 8, 4) == pytest.approx([7 / 64, 1 / 4, 7 / 64, 1 / 4])

    def test_partial_sums_are_added_up_for_the_reader(self) -> None:
        """Every device has an addend of all. By samples: reduced and scattered; whole: all-reduced, twice as much."""
        scattered = moved(self.INPUTS, self.DATA, PLAIN, 8, 4)
        assert scattered == pytest.approx([7 / 8, 1 / 2, 7 / 8, 1 / 2])
        assert moved(self.INPUTS, self.COPIES, PLAIN, 8, 4)[:2] == pytest.approx([14 / 8, 1.0])

    def test_splits_inside_a_node_keep_off_the_links_between_nodes(self) -> None:
        inside = moved((2, 1, 1, 1, 4, 1), (2, 1, 1, 1, 1, 4), Reading("inputs"), 8, 4)
        assert inside == [0.0] * 4
        assert moved((2, 1, 1, 1, 4, 1), (2, 1, 1, 4, 1, 1), PLAIN, 8, 4)[1] == 0.0

    def test_groups_of_a_convolution_need_their_own_channels(self) -> None:
        two = (1, 1, 1, 1, 2, 1)
        assert moved(two, two, Reading("inputs", groups=2), 2, 1) == [0.0] * 4
        assert moved(two, two, PLAIN, 2, 1) == pytest.approx([1 / 2] * 4)

    def test_a_part_of_a_concatenation_needs_what_lies_in_it(self) -> None:
        """The tensor is the second half of the channels: the first of two devices needs nothing of it."""
        two, samples = (1, 1, 1, 1, 2, 1), (2, 1, 1, 1, 1, 1)
        second = Reading("channels", 1, 0.5, 0.5)
        assert moved(samples, two, second, 2, 1)[0] == pytest.approx(1 / 2)
        assert moved(two, two, second, 2, 1)[0] == pytest.approx(1 / 2)


def test_every_factorization_is_there_once() -> None:
    """64 = 2^6 over six axes: C(11, 5) ways; 12 = 2^2 · 3: C(7, 5) · 6."""
    assert len(all_degrees(64, ALL)) == 462
    twelve = all_degrees(12, ALL)
    assert len(twelve) == len({tuple(row) for row in twelve.tolist()}) == 21 * 6
    assert (twelve.prod(axis=1) == 12).all()


def test_devices_have_all_parts_and_neighbours_the_last_axis() -> None:
    degrees = all_degrees(8, ALL)
    part, apart = positions(degrees, 8)
    for row, of in enumerate(degrees.tolist()):
        assert len({tuple(column) for column in part[:, row].T.tolist()}) == 8
        last = max((axis for axis in ALL if of[axis] > 1), default=0)
        assert apart[last, row] == (1 if of[last] > 1 else 8)


@pytest.mark.parametrize("network", [ALEXNET, VGG16, INCEPTION])
def test_parts_make_up_the_layer(network: object) -> None:
    """Where degrees divide the sizes, parts have a share of the arithmetic and of the weights, and no more."""
    assert hasattr(network, "layers")
    for layer in network.layers[1:]:
        for degrees in choices(layer, 4, 64).degrees.tolist():
            height, width, outputs, inputs = degrees[1], degrees[2], degrees[4], degrees[5]
            part = share_of(layer, (height, width, outputs, inputs))
            assert part.weights * outputs * inputs >= layer.weights
            assert part.output_size * height * width * outputs >= layer.output_size
            if layer.weights and all(size % 4 == 0 for size in (*layer.output_shape, layer.input_shapes[0][-1])):
                assert part.weights * outputs * inputs == layer.weights
                assert part.forward_flops * prod(degrees[1:3]) * outputs * inputs == layer.forward_flops


def test_halos() -> None:
    """A 3×3 window reaches one row to each side; the outer of two parts has one neighbour, the inner of four two."""
    convolution, pooling = VGG16.layer("conv1-1"), VGG16.layer("pool1")
    assert [halo(convolution, 0, parts) for parts in (1, 2, 4)] == [0, 1, 2]
    assert halo(pooling, 0, 4) == 0
    assert halo(ALEXNET.layer("pool1"), 1, 4) == 1


def test_how_layers_read() -> None:
    assert reading(ALEXNET.layer("conv2"), 0) == Reading("inputs", groups=2)
    assert reading(VGG16.layer("pool1"), 0) == Reading("channels")
    joined = next(layer for layer in INCEPTION.layers if layer.type == "Concatenate")
    shares = [reading(joined, number) for number in range(len(joined.parents))]
    assert sum(share.size for share in shares) == pytest.approx(1.0)
    assert shares[0].start == 0.0 and shares[1].start == shares[0].size


def test_no_more_parts_than_there_are() -> None:
    """1000 classes and one place: outputs 8, not height 2; local response normalization needs all channels."""
    degrees = {name: choices(ALEXNET.layer(name), 8, 4).degrees for name in ("fc8", "norm1", "conv2")}
    assert degrees["fc8"][:, [1, 2]].max() == 1 and degrees["fc8"][:, 4].max() == 8
    assert degrees["norm1"][:, [4, 5]].max() == 1
    assert degrees["conv2"][:, 5].max() == 1
    assert all(of[:, 0].max() == 4 for of in degrees.values())


class TestTimes:
    """Redistributions that are collectives take as long as those, but for their steps of small messages."""

    SIZE = 4e9

    @pytest.mark.parametrize(("cluster", "devices"), [("p3.16xlarge", 8), ("p4d.24xlarge", 8), ("k40-10gbe", 16)])
    def test_as_the_collective(self, cluster: str, devices: int) -> None:
        """Between equal links; a ring that crosses from node to node carries more than the other nodes lack."""
        for source, target, operation, share in (
            (SAMPLE, OUTPUTS, "all_gather", 1.0),
            (SAMPLE, INPUTS, "all_to_all", 1 / devices),
            (INPUTS, SAMPLE, "reduce_scatter", 1.0),
        ):
            mine, theirs = self.times(cluster, devices, source, target, operation, share)
            assert mine == pytest.approx(theirs, rel=0.05), operation

    @pytest.mark.parametrize("cluster", ["p3.16xlarge", "p4d.24xlarge"])
    def test_each_byte_enters_a_node_once(self, cluster: str) -> None:
        mine, theirs = self.times(cluster, 16, SAMPLE, INPUTS, "all_to_all", 1 / 16)
        assert mine == pytest.approx(theirs, rel=0.05)
        # Of two nodes each lacks half; a ring takes 15/16 through the connection of each.
        mine, theirs = self.times(cluster, 16, SAMPLE, OUTPUTS, "all_gather", 1.0)
        assert mine == pytest.approx(theirs * (1 / 2) / (15 / 16), rel=0.05)

    def times(
        self, cluster: str, devices: int, source: int, target: int, operation: str, share: float
    ) -> tuple[float, float]:
        held = load_cluster(cluster)
        places = make_places([held], [held.device.training_precision], Options())
        assert places.sending is not None
        fabric = make_fabric(places.sending, devices)
        found = moves(devices, fabric.units, ALL, False, ALL, PLAIN)
        every = all_degrees(devices, ALL)
        i, j = (int(np.flatnonzero(every[:, axis] == devices)[0]) for axis in (source, target))
        mine = float(fabric.exchange_time(found.forward[:, i, j] * self.SIZE))
        routes = fabric.groups(np.array([float(devices)]), np.array([1.0]))
        return mine, float(communication_time(operation, routes, self.SIZE * share)[0])

    def test_nothing_takes_no_time(self) -> None:
        held = load_cluster("p3.16xlarge")
        places = make_places([held], ["fp16"], Options())
        assert places.sending is not None
        assert make_fabric(places.sending, 16).exchange_time(np.zeros((2, 3))).tolist() == [0.0] * 3
