"""Read a Hugging Face ``config.json`` field by field, every mistake noted with its line.

Fields are of three kinds: those that a family asks for, those known to cost nothing, and others. Of the others, one
whose name says that it is a size, a number of parts or a rank is refused, since it would change what a step costs; the
rest is noted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.spec_file import read_limited
from paleo_opt.yaml_nodes import shown

#: They say how a network starts, runs or is stored, not what a step of training costs.
_COSTLESS = frozenset(
    (
        "_name_or_path", "architectures", "model_type", "auto_map", "torch_dtype", "dtype", "transformers_version",
        "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "initializer_range",
        "initializer_factor", "layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps", "norm_eps", "rope_theta",
        "rope_scaling", "rope_parameters", "pretraining_tp", "output_router_logits", "router_aux_loss_coef",
        "router_jitter_noise", "aux_loss_alpha", "seq_aux", "scoring_func", "topk_method", "routed_scaling_factor",
        "norm_topk_prob", "attn_pdrop", "attention_dropout", "attention_probs_dropout_prob", "is_encoder_decoder",
        "gradient_checkpointing", "id2label", "label2id", "task_specific_params", "quantization_config", "n_special",
        "summary_type", "summary_use_proj", "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
        "predict_special_tokens", "position_embedding_type", "output_past", "n_ctx", "ep_size", "swiglu_limit",
        "initial_context_length", "init_config", "init_device", "verbose", "emb_pdrop", "logit_scale", "resid_pdrop",
        "embedding_fraction", "tokenizer_name", "partial_rotary_factor", "layer_norm_type", "encoder_stride",
        "embedding_multiplier_scale", "output_multiplier_scale", "max_attn_value", "relative_attention_max_distance",
        "num_return_sequences", "attn_output_multiplier", "unk_token_id", "original_max_position_embeddings",
    )
)  # fmt: skip
_COSTLY = re.compile(
    r"size|dim|layer|head|expert|rank|window|hidden|intermediate|group|ssm|mamba|conv|state|ffn|vocab|num_|n_|freq|ratio"
)


class Config:
    """The fields of one ``config.json``; a getter notes what is missing or wrong and returns a stand-in."""

    def __init__(self, text: str, file: str) -> None:
        self.file, self._text = file, text
        self.problems: list[Problem] = []
        self._asked: set[str] = set()
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise SpecError(Problem(f"not valid JSON: {error.msg}", file, error.lineno)) from None
        except RecursionError:
            raise SpecError(Problem("not valid JSON: nested too deeply", file)) from None
        if not isinstance(found, dict):
            raise SpecError(Problem("is no JSON object of fields", file))
        self._fields: dict[str, Any] = found

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def line_of(self, name: str) -> int:
        """The line on which field ``name`` first stands, 0 where it does not."""
        match = re.search(rf'"{re.escape(name)}"\s*:', self._text)
        return self._text.count("\n", 0, match.start()) + 1 if match else 0

    def problem(self, name: str, message: str) -> None:
        """Note that field ``name`` is wrong."""
        self.problems.append(Problem(message, self.file, self.line_of(name), name))

    def take(self, *names: str) -> Any:
        """The first of some names that is there and not null, else None; all are marked as asked for."""
        self._asked.update(names)
        return next((self._fields[name] for name in names if name in self), None)

    def integer(self, *names: str, default: int | None = None, minimum: int = 1) -> int:
        """A whole number under the first of some names that is there; needed where there is no default."""
        value = self.take(*names)
        name = next((name for name in names if name in self), names[0])
        if value is None:
            if default is None:
                self.problem(name, "is missing")
                return minimum
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= 10**9:
            self.problem(name, f"is {shown(str(value))!r}; expected a whole number from {minimum} to 1e+09")
            return minimum
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(name, f"is {shown(str(value))!r}; expected true or false")
            return default
        return value

    def share(self, name: str) -> float:
        """A number from 0 to below 1, by default 0."""
        value = self.take(name)
        if value is None:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < 1.0:
            self.problem(name, f"is {shown(str(value))!r}; expected from 0 to below 1")
            return 0.0
        return float(value)

    def word(self, name: str, default: str, meanings: Mapping[str, str]) -> str:
        """What a word means."""
        value = self.take(name)
        word = default if value is None else str(value)
        if word not in meanings:
            self.problem(name, f"is {shown(word)!r}{nearest(word[:100], meanings)}")
            return next(iter(meanings.values()))
        return meanings[word]

    def words(self, name: str) -> tuple[str, ...]:
        """A list of words, empty where there is none."""
        value = self.take(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self.problem(name, f"is {shown(str(value))!r}; expected a list of words")
            return ()
        return tuple(value)

    def refuse(self, name: str, costless: Sequence[Any], why: str) -> None:
        """Refuse field ``name`` unless it is missing or one of some values."""
        value = self.take(name)
        if value is not None and value not in costless:
            self.problem(name, why)

    def finish(self) -> list[str]:
        """The fields that cost nothing as far as their names tell, ignored; the others are noted as problems."""
        ignored = []
        for name, value in self._fields.items():
            if name in self._asked or name in _COSTLESS or value in (None, False, 0, [], {}):
                continue
            if _COSTLY.search(name):
                self.problem(name, "is not known, and may change what a step costs")
            else:
                ignored.append(name)
        return ignored


def read_config(path: Path, file: str = "") -> Config:
    """The fields of a file; ``file`` is how messages name it.

    Raises:
        SpecError: it cannot be read, is too large, no text, no JSON, or no object.
    """
    file = file or str(path)
    try:
        text = read_limited(path, file)
    except OSError as error:
        raise SpecError(Problem(f"cannot be read: {(error.strerror or str(error)).lower()}", file)) from None
    return Config(text, file)
