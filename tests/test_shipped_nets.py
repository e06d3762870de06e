"""The shipped networks against published parameter counts, multiply-adds, and the published PALEO's layers."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from convergence_points import POINTS

from paleo_opt import catalog
from paleo_opt.calibration.convergence_fit import fit
from paleo_opt.estimator.convergence import job_samples
from paleo_opt.network.graph import Network
from paleo_opt.network.load import load_network

ROOT = Path(__file__).parents[1]
#: Transformers are in test_shipped_transformers.py.
NAMES = sorted(path.stem for path in (ROOT / "nets").glob("*.yaml") if "\ntransformer:" not in path.read_text("utf-8"))


class Published(NamedTuple):
    """A published figure: ``tolerance`` is half a unit of its last digit, 0 where it is exact."""

    net: str
    value: float
    tolerance: float
    source: str


TORCHVISION = "torchvision model documentation, num_params and GFLOPS"
PYTORCH_DCGAN = "PyTorch example dcgan, ngf = ndf = 64, nz = 100"
PALEO = "PALEO's published implementation, biases counted"

PARAMETERS = [
    Published("alexnet", 60_965_224, 0, "BVLC Caffe bvlc_alexnet"),
    Published("alexnet_v2", 50_303_912, 0, PALEO),
    # conv4 and conv5 see 128 channels fewer than alexnet_v2's on one side or the other.
    Published("alexnet_v2_1gpu", 50_303_912 - 3 * 3 * (384 * 128 + 128 * 256) - 128, 0, PALEO),
    Published("vgg11", 132_863_336, 0, TORCHVISION),
    Published("vgg16", 138_357_544, 0, TORCHVISION),
    Published("vgg19", 143_667_240, 0, TORCHVISION),
    Published("nin", 7_595_176, 0, PALEO),
    Published("overfeat", 145_704_424, 0, PALEO),
    Published("overfeat", 145e6, 1e6, "Sermanet et al. 2014, arXiv:1312.6229, table 4, fast model"),
    # PALEO's Inception v3 lacks one 3x3 convolution of 96 channels in Mixed_6a (82,944 weights, 96 shifts).
    Published("inception_v3", 23_817_352 - 3 * 3 * 96 * 96 - 96, 0, "Keras InceptionV3, trainable parameters"),
    Published("googlenet", 6_998_552, 0, "BVLC Caffe bvlc_googlenet without auxiliary heads"),
    Published("resnet18", 11_689_512, 0, TORCHVISION),
    Published("resnet34", 21_797_672, 0, TORCHVISION),
    Published("resnet50", 25_557_032, 0, TORCHVISION),
    Published("resnet101", 44_549_160, 0, TORCHVISION),
    Published("resnet152", 60_192_808, 0, TORCHVISION),
    Published("resnet200", 64_673_832, 0, "TF-slim table of models, ResNet 200 v1"),
    Published("densenet121", 7_978_856, 0, TORCHVISION),
    Published("dcgan_generator", 3_576_704, 0, PYTORCH_DCGAN),
    Published("dcgan_discriminator", 2_765_568, 0, PYTORCH_DCGAN),
    Published(
        "lstm_ptb", 66e6, 0.5e6, "Zaremba et al. 2014 (large); 66M in Zilly et al. 2017, arXiv:1607.03474, table 1"
    ),
    Published("gru_shakespeare", 4_022_850, 0, "TensorFlow tutorial, Text generation with an RNN, model summary"),
    Published("rnn_timit", 3.7e6, 0.05e6, "Graves et al. 2013, arXiv:1303.5778, table 1, CTC-3l-500h-tanh"),
]

#: Giga multiply-adds of the convolutions and products of one forward pass.
MULTIPLY_ADDS = [
    Published("alexnet", 0.727, 0.004, "Albanie, convnet-burden: AlexNet at 227 x 227"),
    Published("vgg11", 7.61, 0.005, TORCHVISION),
    Published("vgg16", 15.47, 0.005, TORCHVISION),
    Published("vgg19", 19.63, 0.005, TORCHVISION),
    Published("googlenet", 1.60, 0.02, "Caffe's GoogLeNet (7.00M parameters): 1.60 G; the paper's budget is 1.5 G"),
    Published("resnet18", 1.81, 0.005, TORCHVISION),
    Published("resnet34", 3.66, 0.005, TORCHVISION),
    Published("resnet50", 4.09, 0.005, TORCHVISION),
    Published("resnet101", 7.80, 0.005, TORCHVISION),
    Published("resnet152", 11.51, 0.005, TORCHVISION),
    Published("resnet200", 15.07, 0.15, "timm resnet200 at 224, 1% allowed"),
    Published("densenet121", 2.83, 0.005, TORCHVISION),
    # PALEO's Mixed_6a takes its stride in the convolution before the one it lacks: 51.8 M and 24.0 M fewer.
    Published("inception_v3", 5.71 - 0.0518 - 0.0240, 0.005, TORCHVISION),
]


def ids(row: Published) -> str:
    return f"{row.net}-{row.value:g}"


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    return load_network(request.param)


@pytest.mark.parametrize("row", PARAMETERS, ids=ids)
def test_parameters_are_the_published_number(row: Published) -> None:
    parameters = load_network(row.net).parameters
    assert abs(parameters - row.value) <= row.tolerance, f"{row.net}: {parameters:,}; {row.source}: {row.value:,.0f}"


@pytest.mark.parametrize("row", MULTIPLY_ADDS, ids=ids)
def test_multiply_adds_are_the_published_number(row: Published) -> None:
    network = load_network(row.net)
    timed = [layer for layer in network.layers if layer.type in ("Convolution", "InnerProduct")]
    giga = sum(layer.forward_flops for layer in timed) / 2e9
    assert abs(giga - row.value) <= row.tolerance, f"{row.net}: {giga:.3f} G; {row.source}: {row.value} G"
    # Pooling, dropout, additions and softmax are on top, and small beside them.
    assert network.forward_flops == pytest.approx(2e9 * giga, rel=0.02)


def test_every_network_is_checked_against_a_publication() -> None:
    assert {row.net for row in PARAMETERS} == set(NAMES)


def test_recurrent_flops_follow_from_the_weights() -> None:
    """Each weight of a recurrent network is used once a step; an embedding's row is only looked up."""
    for name, steps in (("lstm_ptb", 35), ("gru_shakespeare", 100), ("rnn_timit", 304)):
        network = load_network(name)
        weights = sum(layer.weights for layer in network.layers if layer.type != "Embedding")
        flops = sum(layer.forward_flops for layer in network.layers if layer.weights)
        assert flops == 2 * weights * steps


def reference_layers() -> dict[str, list[dict[str, str]]]:
    nets: dict[str, list[dict[str, str]]] = {}
    with (Path(__file__).parent / "data" / "paleo_layers.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            nets.setdefault(row["net"], []).append(row)
    return nets


REFERENCE = reference_layers()
REFERENCE_BATCH = 64
TITAN_X_FLOPS = 6144e9


@pytest.mark.parametrize("net", sorted(REFERENCE))
def test_layers_agree_with_the_published_paleo(net: str) -> None:
    """Names, order, types, shapes, parameters and arithmetic are those of PALEO's implementation, layer by layer."""
    layers = load_network(net).layers
    assert [layer.name for layer in layers] == [row["layer"] for row in REFERENCE[net]]
    for layer, row in zip(layers, REFERENCE[net], strict=True):
        expected_type = {"AvgPool": "Pooling"}.get(row["type"], row["type"])
        assert layer.type == expected_type, layer.name
        assert layer.pool == {"AvgPool": "average", "Pooling": "max"}.get(row["type"], ""), layer.name
        shape = tuple(int(size) for size in row["output"].split("x"))
        # There a softmax flattens; here it keeps its shape.
        assert layer.output_shape == ((1, 1, *shape) if layer.type == "Softmax" else shape), layer.name
        assert 4 * layer.parameters == int(row["parameters_bytes"]), layer.name
        if layer.type != "Softmax":
            milliseconds = layer.forward_flops * REFERENCE_BATCH / TITAN_X_FLOPS * 1e3
            assert milliseconds == pytest.approx(float(row["forward_compute_ms"]), rel=1e-8), layer.name


def test_the_one_gpu_alexnet_differs_in_two_layers() -> None:
    two, one = load_network("alexnet_v2"), load_network("alexnet_v2_1gpu")
    differing = [a.name for a, b in zip(two.layers, one.layers, strict=True) if a.weights != b.weights]
    assert differing == ["conv4", "conv5"]


@pytest.mark.parametrize("net", ["alexnet", "alexnet_v2", "alexnet_v2_1gpu", "vgg11", "vgg16", "vgg19", "overfeat"])
def test_the_hybrid_splits_the_two_large_products(net: str) -> None:
    split = [layer.name for layer in load_network(net).layers if layer.split == "model"]
    assert split == ["fc6", "dropout6", "fc7", "dropout7"]


def test_every_network_loads_by_name_and_by_path(network: Network) -> None:
    assert catalog.find("net", network.name) == ROOT / "nets" / f"{network.name}.yaml"
    assert load_network(str(ROOT / "nets" / f"{network.name}.yaml")) == network
    assert network.description
    assert network.source
    assert network.layers[0].type == "Input"
    assert len({layer.name for layer in network.layers}) == len(network.layers)


def test_every_job_is_complete_and_sourced(network: Network) -> None:
    job = network.job
    assert job is not None
    assert job.target
    assert job.dataset_samples > 0
    assert job.samples_to_target >= job.dataset_samples
    assert 1 < job.max_global_batch < job.dataset_samples
    text = " ".join(job.sources)
    assert len(job.sources) >= 2
    assert re.search(r"arXiv:\d{4}\.\d{5}|\b(19|20)\d\d\b", text), "no publication named"
    # Where B_crit is from is said in words, and how well it is known in numbers.
    assert "critical_batch" in text
    assert job.law_source == (
        "assumed" if "critical_batch: assumed" in text else LAW_SOURCES.get(network.name, "cited")
    )
    assert job.critical_batch is not None and job.critical_batch_interval is not None
    low, high = job.critical_batch_interval
    assert 1 < low < job.critical_batch < high
    assert 0.03 < job.samples_error < 0.15


LAW_SOURCES = {"resnet50": "fitted"}


def test_resnet50_converges_as_the_reference_runs() -> None:
    """Its law is the fit to the published points; how well it predicts those left out is in test_convergence.py."""
    job, found = load_network("resnet50").job, fit(*POINTS["resnet"])
    assert job is not None and job.critical_batch is not None and job.critical_batch_interval is not None
    assert job.epochs(job.samples_to_target) == pytest.approx(found.least_samples, rel=0.002)
    assert job.critical_batch == pytest.approx(found.critical_batch, rel=0.002)
    assert job.critical_batch_interval == pytest.approx(found.critical_batch_interval(), rel=0.002)
    assert job.samples_error == pytest.approx(found.scatter, rel=0.02)
    assert job.max_global_batch == found.batches.max()
    assert np.abs(job_samples(job, found.batches) / 1_281_167 / found.measured - 1).max() < 0.064


def test_the_other_resnets_share_its_critical_batch() -> None:
    jobs = [load_network(name).job for name in NAMES if name.startswith("resnet")]
    assert {job.critical_batch for job in jobs if job} == {47250.0}


@pytest.mark.parametrize(
    ("net", "runs"),
    [
        ("inception_v3", [(50, 100), (16384, 170)]),
        ("alexnet", [(128, 90), (32768, 100)]),
        # The tutorial's and the papers' own batches.
        ("gru_shakespeare", [(64, 20)]),
        ("lstm_ptb", [(20, 55)]),
        ("dcgan_generator", [(128, 5)]),
    ],
)
def test_laws_meet_the_published_runs(net: str, runs: list[tuple[int, float]]) -> None:
    job = load_network(net).job
    assert job is not None
    for batch, epochs in runs:
        assert job.epochs(float(job_samples(job, batch))) == pytest.approx(epochs, rel=0.005)


@pytest.mark.parametrize(
    ("net", "names"),
    [
        ("resnet50", ["res2a/conv1", "res2a/shortcut", "res2a/add", "res2b_1/conv1", "res2b_2/add", "res4b_5/conv3"]),
        ("resnet18", ["res2_1/conv1", "res2_2/add", "res3a/shortcut", "res3b/add"]),
        ("resnet200", ["res3b_23/add", "res4b_35/conv2"]),
        ("densenet121", ["dense1_6/concat", "transition1/pool", "dense4_16/conv2"]),
        ("googlenet", ["inception_3a/1x1", "inception_5b/output"]),
        ("inception_v3", ["Mixed_7c/Branch_2/concat", "Logits/Conv2d_1c_1x1"]),
        ("rnn_timit", ["rnn_1/forward", "rnn_3/backward"]),
    ],
)
def test_blocks_name_their_layers(net: str, names: list[str]) -> None:
    assert set(names) <= {layer.name for layer in load_network(net).layers}


@pytest.mark.parametrize(
    ("net", "layer", "shape"),
    [
        ("alexnet", "pool5", (6, 6, 256)),
        ("googlenet", "inception_3a/output", (28, 28, 256)),
        ("googlenet", "inception_5b/output", (7, 7, 1024)),
        ("resnet50", "res5b_2/add", (7, 7, 2048)),
        ("densenet121", "dense4_16/concat", (7, 7, 1024)),
        ("dcgan_generator", "project", (4, 4, 512)),
        ("dcgan_generator", "image", (64, 64, 3)),
        ("dcgan_discriminator", "sigmoid", (1, 1, 1)),
        ("lstm_ptb", "lstm2", (35, 1500)),
        ("gru_shakespeare", "logits", (100, 66)),
        ("rnn_timit", "rnn_3/concat", (304, 1000)),
    ],
)
def test_shapes_are_the_published_ones(net: str, layer: str, shape: tuple[int, ...]) -> None:
    assert load_network(net).layer(layer).output_shape == shape


def test_the_documented_table_is_what_the_networks_compute() -> None:
    table: dict[str, tuple[str, str]] = {}
    text = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8").partition("## Transformers")[0]
    for line in text.splitlines():
        if match := re.match(r"\| `(\w+)` \|[^|]*\| ([\d,]+) \| ([\d.]+) \|", line):
            table[match[1]] = (match[2], match[3])
    networks = {name: load_network(name) for name in NAMES}
    assert table == {
        name: (f"{network.parameters:,}", f"{network.forward_flops / 1e9:.3f}") for name, network in networks.items()
    }
