"""The network: a graph of layers with their shapes, and the job it is trained for.

Shapes are per sample, without the batch: ``(height, width, channels)`` for images, ``(steps, features)`` for sequences,
``(features,)`` for vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from paleo_opt.network.attention import AttentionSizes, ExpertSizes

if TYPE_CHECKING:
    from paleo_opt.network.transformer_sizes import TransformerSizes

Shape = tuple[int, ...]

#: Layer types that take time, in the words of the PALEO paper (table 1 and section 4).
TIMED_TYPES = (
    "Convolution", "Deconvolution", "InnerProduct", "Pooling", "Dropout", "Concatenate", "Elementwise", "Reshape",
    "UpSampling", "Softmax", "Sigmoid", "SimpleRNN", "GRU", "LSTM", "Embedding", "Attention", "Experts",
    "GatedActivation",
)  # fmt: skip
#: Cheap layer types: they keep or flatten their shape and cost no time under PALEO.
UNTIMED_TYPES = (
    "Input", "Activation", "BatchNormalization", "LocalResponseNormalization", "Flatten", "Identity",
    "LayerNormalization", "RMSNormalization", "PositionEmbedding", "ClassToken", "Gather",
)  # fmt: skip
RNN_GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}


@dataclass(frozen=True, slots=True)
class Layer:
    """One node of the graph, its shapes inferred.

    Attributes:
        name: Unique in the network; layers of a block are ``block/layer``.
        type: One of `TIMED_TYPES` or `UNTIMED_TYPES`.
        parents: Names of the layers it reads; a block is replaced by its endpoint.
        input_shapes: One per parent, per sample.
        output_shape: Per sample.
        kernel: Window (height, width) of a convolution, deconvolution or pooling.
        strides: (vertical, horizontal).
        padding: Rows and columns of zeros before the input, PALEO's convention for SAME (total // 2).
        padding_mode: ``VALID``, ``SAME`` or ``EXPLICIT``.
        groups: Groups of a convolution; each output channel sees input channels / groups.
        outputs: Output channels or units; 0 where the type has none.
        pool: ``max`` or ``average`` for Pooling, else empty.
        keep_probability: Of Dropout, else 1.
        vocabulary: Rows of an Embedding's table, else 0.
        recurrent_bias: A GRU or LSTM with two bias vectors (cuDNN's form) instead of one.
        bias: Whether the layer adds a bias per output.
        normalizer: ``batch_norm`` where one follows inside the layer, else empty.
        normalizer_scale: Whether that normalizer has a scale besides its shift.
        activation: The function applied to the output inside the layer, or empty.
        split: In the hybrid layout ``data`` (replicated on every worker) or ``model`` (outputs divided over them).
        line: Line of the network's file.
        attention: Of Attention, else None.
        experts: Of Experts, else None.
        tied: With the weights of an Embedding before it, which are counted there.
        kept: Elements kept for the backward pass for each element of the output; None for what the type keeps.
        high_precision: Its products stay in 16 bits where those of other layers run in fewer.
    """

    name: str
    type: str
    parents: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    padding_mode: str = "VALID"
    groups: int = 1
    outputs: int = 0
    pool: str = ""
    keep_probability: float = 1.0
    vocabulary: int = 0
    recurrent_bias: bool = False
    bias: bool = False
    normalizer: str = ""
    normalizer_scale: bool = True
    activation: str = ""
    split: str = "data"
    line: int = 0
    attention: AttentionSizes | None = None
    experts: ExpertSizes | None = None
    tied: bool = False
    kept: float | None = None
    high_precision: bool = False

    @property
    def input_size(self) -> int:
        """Elements read per sample, over all parents."""
        return sum(math.prod(shape) for shape in self.input_shapes)

    @property
    def output_size(self) -> int:
        """Elements written per sample."""
        return math.prod(self.output_shape)

    @property
    def weights(self) -> int:
        """Trained weights without biases and normalizers."""
        if self.type in ("Convolution", "Deconvolution"):
            kernel_h, kernel_w = self.kernel
            return kernel_h * kernel_w * self.input_shapes[0][-1] // self.groups * self.outputs
        if self.type == "InnerProduct":
            # Applied to every step of a sequence, and to an image flattened.
            shape = self.input_shapes[0]
            return (shape[-1] if len(shape) == 2 else math.prod(shape)) * self.outputs
        if self.type in RNN_GATES:
            return RNN_GATES[self.type] * self.outputs * (self.input_shapes[0][-1] + self.outputs)
        if self.type in ("Embedding", "PositionEmbedding"):
            return self.vocabulary * self.outputs
        if self.type == "ClassToken":
            return self.outputs
        if self.experts is not None:
            inner = (2 if self.experts.gated else 1) * self.experts.ffn
            return self.experts.experts * self.outputs * (inner + self.experts.ffn)
        return 0

    @property
    def parameters(self) -> int:
        """Trained parameters: weights, biases, and the shift and scale of normalizers."""
        count = 0 if self.tied else self.weights
        if self.attention is not None:
            return self.attention.parameters
        if self.type in ("LayerNormalization", "RMSNormalization"):
            return self.output_shape[-1] * (2 if self.bias else 1)
        if self.experts is not None:
            inner = (2 if self.experts.gated else 1) * self.experts.ffn
            return count + (self.experts.experts * (inner + self.outputs) if self.bias else 0)
        if self.bias:
            gates = RNN_GATES.get(self.type, 1)
            count += gates * self.outputs * (2 if self.recurrent_bias else 1)
        if self.type == "BatchNormalization":
            count += self.output_shape[-1] * (2 if self.normalizer_scale else 1)
        elif self.normalizer == "batch_norm":
            count += self.outputs * (2 if self.normalizer_scale else 1)
        return count

    @property
    def forward_flops(self) -> int:
        """FLOPs of the forward pass per sample, a multiply-add counting as two, convolutions as matrix products."""
        if self.type == "Convolution":
            return 2 * self.weights * self.output_shape[0] * self.output_shape[1]
        if self.type == "Deconvolution":
            return 2 * self.weights * self.input_shapes[0][0] * self.input_shapes[0][1]
        if self.type == "InnerProduct":
            shape = self.input_shapes[0]
            return 2 * self.weights * (shape[0] if len(shape) == 2 else 1)
        if self.type in RNN_GATES:
            return 2 * self.weights * self.input_shapes[0][0]
        if self.type == "Pooling":
            return 2 * self.kernel[0] * self.kernel[1] * self.output_size
        if self.type in ("Dropout", "Elementwise", "Sigmoid"):
            return self.input_size
        if self.type == "Softmax":
            return 3 * self.input_size
        if self.attention is not None:
            sizes = self.attention
            return 2 * sizes.heads * sizes.visible_pairs * (sizes.head_size + sizes.value_head_size)
        if self.experts is not None:
            return 2 * self.weights // self.experts.experts * self.experts.top_k * self.output_shape[0]
        if self.type == "GatedActivation":
            return self.output_size
        return 0


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What training the network to its target takes.

    Attributes:
        dataset: Its name; empty where only an amount is given.
        dataset_samples: Samples of one epoch; None where only an amount is given.
        optimizer: ``sgd``, ``momentum``, ``adam``, ``rmsprop`` or ``lars``; decides the optimizer state.
        samples_to_target: Samples to the target quality at a small batch (S_min), or the fixed amount.
        max_global_batch: The largest global batch with which the target was reached.
        critical_batch: B_crit of samples(B) = S_min (1 + (B / B_crit)^p)^(1/p), or None where the samples are a fixed
            amount, whatever the batch (see `paleo_opt.estimator.convergence`).
        target: The quality reached, in words.
        sources: For every number, where it was published.
        critical_batch_interval: That holds B_crit with 95%; None where there is no B_crit.
        sharpness: p.
        reference_batch: The batch at which the samples are known best; 0 for a small one.
        samples_error: Relative standard error of the samples at the reference batch.
        law_source: Where B_crit is from: ``fitted`` to points, ``cited``, ``assumed`` (the default) or ``given`` by the
            user.
        points: (global batch, samples) that the user's file gives and the law was fitted to.
        given: What took the place of the file's own, by name: ``samples``, ``tokens`` or ``epochs``, and ``max_batch``
            (see `paleo_opt.network.job.with_target`).
    """

    dataset: str
    dataset_samples: int | None
    optimizer: str
    samples_to_target: float
    max_global_batch: int
    critical_batch: float | None
    target: str
    sources: tuple[str, ...]
    critical_batch_interval: tuple[float, float] | None = None
    sharpness: float = 1.0
    reference_batch: float = 0.0
    samples_error: float = 0.0
    law_source: str = "given"
    points: tuple[tuple[int, float], ...] = ()
    given: tuple[tuple[str, float], ...] = ()

    def epochs(self, samples: float) -> float | None:
        """``samples`` in epochs of the dataset, or None where its size is not known."""
        return None if self.dataset_samples is None else samples / self.dataset_samples


@dataclass(frozen=True)
class Network:
    """A network: its layers in topological order, each after its parents.

    Attributes:
        name: As in the file.
        description: One line.
        source: The paper or code that defines it.
        file: Where it was read from, for messages.
        input_shape: Of one sample.
        layers: The first is the ``Input``, named ``data``.
        job: None where the file has none.
        transformer: The sizes that its layers were expanded from, or None where the file lists them.
    """

    name: str
    description: str
    source: str
    file: str
    input_shape: Shape
    layers: tuple[Layer, ...]
    job: TrainingJob | None
    transformer: TransformerSizes | None = None

    @cached_property
    def parameters(self) -> int:
        """Trained parameters."""
        return sum(layer.parameters for layer in self.layers)

    @cached_property
    def active_parameters(self) -> int:
        """Those that one token sees: of each layer of experts as many as its router chooses."""
        idle = (layer.parameters * (e.experts - e.top_k) // e.experts for layer in self.layers if (e := layer.experts))
        return self.parameters - sum(idle)

    @cached_property
    def forward_flops(self) -> int:
        """FLOPs of one sample's forward pass (convolutions, products and the cheap layers; a multiply-add is two)."""
        return sum(layer.forward_flops for layer in self.layers)

    @cached_property
    def tokens_per_sample(self) -> int | None:
        """Steps of a sequence (tokens, characters, frames), or None where a sample is no sequence."""
        return sequence_steps(self.input_shape, (layer.type for layer in self.layers))

    @property
    def usual_optimizer(self) -> str:
        """The optimizer of its job; without one Adam for a transformer and momentum for others."""
        if self.job is not None:
            return self.job.optimizer
        return "momentum" if self.transformer is None else "adam"

    def layer(self, name: str) -> Layer:
        """The layer called ``name``; KeyError where there is none."""
        return {layer.name: layer for layer in self.layers}[name]


def sequence_steps(input_shape: Shape, types: Iterable[str]) -> int | None:
    """Steps of a sample of ``input_shape``, [steps, features], or [steps] where a layer is an Embedding; else None."""
    if len(input_shape) == 2 or (len(input_shape) == 1 and "Embedding" in types):
        return input_shape[0]
    return None
