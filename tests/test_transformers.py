"""Transformers from their sizes: layers, shapes, parameters, FLOPs, memory and kernels."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_text import problems

from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.layer_cost import layer_passes
from paleo_opt.estimator.layer_kernels import layer_kernels
from paleo_opt.network.attention import AttentionSizes
from paleo_opt.network.graph import Network
from paleo_opt.network.job import with_target
from paleo_opt.network.load import load_network
from paleo_opt.network.transformer_sizes import TransformerSizes

GPT = {"layers": 2, "hidden": 64, "heads": 4, "ffn": 256, "vocab": 1000, "sequence_length": 32, "positions": "learned"}


def transformer_file(folder: Path, sizes: dict[str, object], after: str = "") -> Path:
    """A file ``net.yaml`` with ``transformer:`` on line 2 and one size a line from line 3 on."""
    path = folder / "net.yaml"
    text = "".join(
        f"  {name}: {str(value).lower() if isinstance(value, bool) else value}\n" for name, value in sizes.items()
    )
    path.write_text(f"name: net\ntransformer:\n{text}{after}", encoding="utf-8")
    return path


def load(folder: Path, **sizes: object) -> Network:
    return load_network(str(transformer_file(folder, GPT | sizes)))


class TestLayers:
    def test_a_decoder_by_hand(self, tmp_path: Path) -> None:
        """GPT-2's parameters: 12 h² + 13 h a block, two tables, the last normalization, and an untied head."""
        network = load(tmp_path)
        h, v, s = 64, 1000, 32
        assert network.parameters == 2 * (12 * h * h + 13 * h) + v * h + s * h + 2 * h + h * v
        assert load(tmp_path, tied_embeddings=True).parameters == network.parameters - h * v
        assert network.input_shape == (s,)
        assert network.tokens_per_sample == s
        assert [layer.name for layer in network.layers[3:12]] == [
            "block_1/attention_norm",
            "block_1/attention/query_key_value",
            "block_1/attention/scores",
            "block_1/attention/output",
            "block_1/attention_add",
            "block_1/mlp_norm",
            "block_1/mlp/up",
            "block_1/mlp/activation",
            "block_1/mlp/down",
        ]
        assert network.layer("block_2/attention/query_key_value").output_shape == (s, 3 * h)
        assert network.layer("logits").output_shape == (s, v)

    def test_model_flops_are_those_of_megatron(self, tmp_path: Path) -> None:
        """24 B S l h² (1 + S / 6h + V / 12 l h) forward (arXiv:2104.04473, equation 3 without recomputation)."""
        h, v, s, layers = 64, 1000, 32, 2
        expected = 24 * s * layers * h * h * (1 + s / (6 * h) + v / (12 * layers * h))
        products = ("InnerProduct", "Attention")
        assert sum(layer.forward_flops for layer in load(tmp_path).layers if layer.type in products) == expected

    def test_grouped_queries_gate_and_rms(self, tmp_path: Path) -> None:
        """Llama's block: h² (2 + 2 g/a) + 3 h f + 2 h."""
        network = load(
            tmp_path, kv_heads=2, ffn=100, gated=True, normalization="rms_norm", positions="rotary", layers=1
        )
        h = 64
        assert network.parameters == h * h * 2 + h * h + 3 * h * 100 + 3 * h + 2 * 1000 * h
        assert network.layer("block_1/mlp/gate_up").output_shape == (32, 200)
        assert network.layer("block_1/mlp/activation").output_shape == (32, 100)

    def test_experts_stand_where_they_are_said_to(self, tmp_path: Path) -> None:
        network = load(
            tmp_path,
            layers=6,
            experts=8,
            top_k=2,
            expert_ffn=32,
            shared_experts=1,
            first_dense_layers=1,
            expert_every=2,
        )
        where = [layer.name for layer in network.layers if layer.type == "Experts"]
        assert where == ["block_3/mlp/experts", "block_5/mlp/experts"]
        experts = network.layer("block_3/mlp/experts")
        assert experts.weights == 8 * 2 * 64 * 32
        assert experts.forward_flops == 2 * 32 * 2 * (2 * 64 * 32)
        assert network.layer("block_3/mlp/shared_up").outputs == 32

    def test_windows_alternate(self, tmp_path: Path) -> None:
        network = load(tmp_path, layers=4, sliding_window=8, global_every=2)
        scores = [layer.attention for layer in network.layers if layer.attention]
        assert [sizes.window for sizes in scores] == [8, 0, 8, 0]

    def test_an_encoder_decoder_reads_two_sequences(self, tmp_path: Path) -> None:
        network = load(tmp_path, kind="encoder_decoder", encoder_layers=3, decoder_sequence_length=8, positions="none")
        assert [layer.name for layer in network.layers if layer.type == "Input"] == ["data", "decoder_data"]
        cross = network.layer("decoder/block_2/cross_attention/scores")
        assert cross.attention is not None
        assert (cross.attention.queries, cross.attention.keys, cross.attention.causal) == (8, 32, False)
        assert network.layer("logits").output_shape == (8, 1000)
        # One table for both.
        assert network.layer("decoder/embedding").parameters == 0

    def test_a_single_size_can_be_overridden(self, tmp_path: Path) -> None:
        path = str(transformer_file(tmp_path, GPT))
        network = load_network(path, {"transformer.sequence_length": "16"})
        assert network.transformer is not None
        assert network.transformer.sequence_length == 16
        assert network.input_shape == (16,)

    @settings(max_examples=30, deadline=None)
    @given(keys=st.integers(1, 40), window=st.integers(0, 50))
    def test_pairs_are_counted_one_by_one(self, keys: int, window: int) -> None:
        sizes = AttentionSizes(1, 1, 8, 8, keys, keys, True, window)
        seen = [(q, k) for q in range(keys) for k in range(q + 1) if not window or q - k < window]
        assert sizes.computed_pairs == len(seen)
        assert sizes.computed_pairs <= sizes.visible_pairs <= keys * keys


class TestCosts:
    @pytest.mark.parametrize(("dropout", "bytes_per_element"), [(0.1, 34), (0.0, 32)])
    def test_a_block_keeps_34_sbh(self, tmp_path: Path, dropout: float, bytes_per_element: int) -> None:
        """Korthikanti et al. 2022, arXiv:2205.05198, section 4.1, without the scores; the masks are 2 s b h of it."""
        one, two = (compile_network(load(tmp_path, layers=n, dropout=dropout)).layout() for n in (1, 2))
        assert 2.0 * (two.activations - one.activations) == bytes_per_element * 32 * 64

    def test_all_blocks_are_the_same_rows(self, tmp_path: Path) -> None:
        one, many = (compile_network(load(tmp_path, layers=n)).layout() for n in (2, 50))
        assert one.replicated_kernels.rows == many.replicated_kernels.rows
        assert len(one.replicated.members) == len(many.replicated.members)
        assert many.replicated_kernels.count.max() == 2 * 50 + 1  # the normalizations

    def test_fused_attention_by_hand(self, tmp_path: Path) -> None:
        """Causal: half of the pairs and the diagonal; two products forward, five backward."""
        layer = load(tmp_path).layer("block_1/attention/scores")
        forward, backward, weights = layer_kernels(layer, 1, 1)
        (kernel,) = (each.kernel for each in forward.common if each.kernel.only == "attention")
        pairs = 32 * 33 / 2
        flops = 2 * kernel.m.per_sample * kernel.n.fixed * kernel.k.fixed * kernel.count
        assert flops == 2 * 4 * pairs * (16 + 16)
        assert kernel.elements.per_sample == 4 * 32 * 64
        (kernel,) = (each.kernel for each in backward.common if each.kernel.only == "attention")
        assert 2 * kernel.m.per_sample * kernel.n.fixed * kernel.k.fixed * kernel.count == 2.5 * flops
        assert kernel.elements.per_sample == 8 * 32 * 64
        assert not weights.common

    @pytest.mark.parametrize("dropout", [0.0, 0.1])
    def test_attention_with_scores_by_hand(self, tmp_path: Path, dropout: float) -> None:
        """Two products of all pairs forward and four backward; the scores of 4 heads go through memory between them."""
        layer = load(tmp_path, dropout=dropout).layer("block_1/attention/scores")
        passes = [
            [each.kernel for each in found.common if each.kernel.unless == "attention"]
            for found in layer_kernels(layer, 1, 1)
        ]
        scores, features = 4 * 32 * 32, 32 * 64
        mask = 2.5 * scores if dropout else 0.0
        for step, products, between in ((0, 2, 2 * scores), (1, 4, 3 * scores)):
            found = [kernel for kernel in passes[step] if kernel.count]
            for kernel in found:
                sizes = (kernel.m.per_sample + kernel.m.fixed, kernel.n.fixed, kernel.k.fixed + kernel.k.per_sample)
                assert 2 * kernel.count * sizes[0] * sizes[1] * sizes[2] == 2 * 4 * 32 * 32 * 16
                assert kernel.elements.per_sample == scores + 2 * features
            assert len(found) == products
            rest = sum(kernel.elements.per_sample for kernel in passes[step] if not kernel.count)
            assert rest == between + mask
        assert not passes[2]

    @pytest.mark.parametrize(
        ("name", "forward", "backward"),
        [("block_1/mlp_norm", 18, 34), ("block_1/mlp/activation", 5, 9), ("block_1/attention/scores", 10, 10)],
    )
    def test_steps_of_a_chain_by_hand(self, tmp_path: Path, name: str, forward: int, backward: int) -> None:
        """What each step of an RMS norm, a SwiGLU and a rotation reads and writes, of each element, on its own."""
        network = load(tmp_path, normalization="rms_norm", gated=True, positions="rotary")
        layer = network.layer(name)
        found = layer_kernels(layer, 1, 1)
        size = 32 * 2 * 64 if layer.attention else layer.output_size  # queries and keys
        for step, moved in ((0, forward), (1, backward)):
            kernels = [each.kernel for each in found[step].common]
            assert sum(kernel.unless == "pointwise" for kernel in kernels) == 1
            chain = [k.elements.per_sample for k in kernels if not k.count and k.unless in ("", "pointwise")]
            assert sum(chain) == moved * size

    def test_experts_compute_what_they_see_and_move_all_weights(self, tmp_path: Path) -> None:
        layer = load(tmp_path, experts=8, top_k=2, expert_ffn=48, gated=True).layer("block_1/mlp/experts")
        passes = layer_kernels(layer, 1, 1)
        for step, found in enumerate(passes):
            products = [each.kernel for each in found.common if each.kernel.count]
            flops = [
                2 * k.count * (k.m.fixed + k.m.per_sample) * (k.n.fixed + k.n.per_sample) * (k.k.fixed + k.k.per_sample)
                for k in products
            ]
            assert sum(flops) == pytest.approx(layer.forward_flops), step
            assert sum(k.elements.fixed for k in products) == layer.weights == 8 * 3 * 64 * 48

    def test_latent_attention_has_its_own_head_sizes(self, tmp_path: Path) -> None:
        network = load(
            tmp_path, positions="rotary", q_lora_rank=24, kv_lora_rank=16, qk_nope_head_size=8, qk_rope_head_size=4,
            value_head_size=10, bias=False,
        )  # fmt: skip
        scores = network.layer("block_1/attention/scores")
        assert scores.attention is not None
        assert (scores.attention.head_size, scores.attention.value_head_size) == (12, 10)
        assert scores.output_shape == (32, 40)
        weights = sum(layer.parameters for layer in network.layers if layer.name.startswith("block_1/attention/"))
        assert weights == 64 * 24 + 24 + 24 * 4 * 12 + 64 * 16 + 16 + 16 * 4 * 18 + 64 * 4 + 40 * 64

    @pytest.mark.parametrize("kind", ["Attention", "Experts"])
    def test_paleo_counts_all_pairs_and_weights(self, tmp_path: Path, kind: str) -> None:
        """Its arithmetic is the model FLOPs, in the forward pass and twice over in the backward passes."""
        network = load(tmp_path, experts=4, top_k=2)
        layer = next(layer for layer in network.layers if layer.type == kind)
        forward, data, weights = layer_passes(layer, 1, "gemm")
        assert forward is not None and data is not None and weights is not None
        flops = [sum(term.per_sample for term in cost.compute) for cost in (forward, data, weights)]
        assert flops[0] == layer.forward_flops
        assert flops[1] + flops[2] == 2 * layer.forward_flops
        assert sum(term.fixed for term in forward.memory) == layer.weights


class TestJobs:
    JOB = "job:\n  dataset: text\n  optimizer: adam\n  max_global_batch: 8\n  target: t\n  sources: [s]\n"

    def test_tokens_are_samples_of_the_length(self, tmp_path: Path) -> None:
        path = transformer_file(tmp_path, GPT, self.JOB + "  tokens_to_target: 3.2e9\n  law_source: given\n")
        job = load_network(str(path)).job
        assert job is not None
        assert (job.samples_to_target, job.dataset_samples, job.critical_batch) == (1e8, None, None)
        longer = load_network(str(path), {"transformer.sequence_length": "64"}).job
        assert longer is not None
        assert longer.samples_to_target == 5e7

    def test_images_have_no_tokens(self, tmp_path: Path) -> None:
        sizes = {"kind": "vision", "layers": 1, "hidden": 8, "heads": 2, "ffn": 8, "image_size": 32, "patch_size": 16}
        path = transformer_file(tmp_path, sizes | {"classes": 2}, self.JOB + "  tokens_to_target: 3e9\n")
        (found,) = problems(path)
        assert (found.field, found.line) == ("job.tokens_to_target", 17)
        assert "no sequence" in found.message

    def test_an_epoch_needs_the_size_of_the_dataset(self, tmp_path: Path) -> None:
        (found,) = problems(transformer_file(tmp_path, GPT, self.JOB + "  epochs: 3\n"))
        assert (found.field, found.message) == ("job.dataset_samples", "is missing")

    def test_without_a_job_it_trains_by_adam(self, tmp_path: Path) -> None:
        network = load(tmp_path)
        assert network.usual_optimizer == "adam"
        job = with_target(network, tokens=32e6).job
        assert job is not None
        assert (job.optimizer, job.samples_to_target) == ("adam", 1e6)


REFUSED: dict[str, tuple[dict[str, object], int, str, str]] = {
    "heads that do not divide": ({"heads": 5}, 5, "heads", "is 5, which does not divide the 64 of hidden"),
    "groups that do not divide": ({"kv_heads": 3}, 10, "kv_heads", "is 3, which does not divide the 4 heads"),
    "more chosen than there are": ({"experts": 8, "top_k": 9}, 11, "top_k", "is 9, more than the 8 experts"),
    "experts without a choice": ({"experts": 8}, 2, "top_k", "is missing"),
    "a choice without experts": ({"top_k": 2}, 10, "top_k", "is of a mixture of experts"),
    "experts nowhere": (
        {"experts": 4, "top_k": 1, "first_dense_layers": 2}, 12, "first_dense_layers", "leaves none of the 2 layers",
    ),
    "a misspelt field": ({"hiden": 64}, 10, "hiden", "is not a known field; did you mean 'hidden'?"),
    "a misspelt word": ({"normalization": "rmsnorm"}, 10, "normalization", "did you mean 'rms_norm'?"),
    "a field of another kind": ({"patch_size": 16}, 10, "patch_size", "has no meaning for kind decoder"),
    "latent attention in part": ({"kv_lora_rank": 8}, 2, "qk_nope_head_size", "is missing"),
    "ranks without latent attention": ({"q_lora_rank": 8}, 10, "q_lora_rank", "is of latent attention"),
    "too few positions": ({"max_positions": 16}, 10, "max_positions", "is 16, fewer than the 32 positions"),
    "a window for none": ({"global_every": 2}, 10, "global_every", "needs a sliding_window"),
    "a table of other positions": (
        {"positions": "rotary", "max_positions": 64}, 10, "max_positions", "has no meaning with positions rotary",
    ),
}  # fmt: skip


JUNK = (
    "", "0", "1", "2", "-1", "7", "1e9", "1.5", "true", "word", "[1]", "{a: 1}", "vision", "encoder", "encoder_decoder",
    "post", "both", "none", "relative", ".nan", "1e30", "999999999",
)  # fmt: skip


class TestBadInput:
    @pytest.mark.parametrize("case", REFUSED)
    def test_refused(self, tmp_path: Path, case: str) -> None:
        sizes, line, field, message = REFUSED[case]
        found = problems(transformer_file(tmp_path, GPT | sizes))
        assert any(
            (problem.line, problem.field) == (line, f"transformer.{field}") and message in problem.message
            for problem in found
        ), found

    def test_missing_fields_are_all_named(self, tmp_path: Path) -> None:
        found = problems(transformer_file(tmp_path, {"layers": 2, "hidden": 64}))
        missing = {problem.field.removeprefix("transformer.") for problem in found if problem.message == "is missing"}
        assert missing == {"heads", "ffn", "vocab", "sequence_length"}

    def test_a_vision_transformer_needs_its_image(self, tmp_path: Path) -> None:
        sizes = {"kind": "vision", "layers": 1, "hidden": 8, "heads": 2, "ffn": 8, "image_size": 30, "patch_size": 16}
        found = {problem.field: problem.message for problem in problems(transformer_file(tmp_path, sizes))}
        assert found == {
            "transformer.classes": "is missing",
            "transformer.patch_size": "is 16, which does not divide the image's 30",
        }

    def test_layers_beside_it(self, tmp_path: Path) -> None:
        path = transformer_file(tmp_path, GPT, "layers:\n  a: {type: Softmax}\n")
        (found,) = problems(path)
        assert (found.line, found.field) == (10, "layers")
        assert "no place beside `transformer`" in found.message

    def test_absurd_sizes(self, tmp_path: Path) -> None:
        (found,) = problems(transformer_file(tmp_path, GPT | {"ffn": 900_000_000, "hidden": 800_000_000}))
        assert "at most" in found.message

    @pytest.mark.parametrize(
        "text", ["transformer: 5", "transformer: [1, 2]", "transformer:", "transformer: {layers: {}}"]
    )
    def test_what_is_no_section(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "net.yaml"
        path.write_text(f"name: net\n{text}\n", encoding="utf-8")
        assert all(problem.field.startswith("transformer") for problem in problems(path))

    @settings(max_examples=200, deadline=None)
    @given(
        names=st.lists(st.sampled_from([field.name for field in fields(TransformerSizes)]), max_size=3),
        values=st.lists(st.sampled_from(JUNK), min_size=3, max_size=3),
    )
    def test_anything_in_a_field_is_read_or_refused(
        self, tmp_path_factory: pytest.TempPathFactory, names: list[str], values: list[str]
    ) -> None:
        path = transformer_file(tmp_path_factory.mktemp("junk"), GPT | dict(zip(names, values, strict=False)))
        try:
            assert load_network(str(path)).parameters > 0
        except SpecError as error:
            assert all("\n" not in str(problem) for problem in error.problems)
