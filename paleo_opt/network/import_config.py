"""From a Hugging Face ``config.json`` to a network's YAML: `import_config`.

How each family of models names its sizes is in `paleo_opt.network.config_families`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from paleo_opt.errors import Problem, SpecError, nearest
from paleo_opt.network.config_families import FAMILIES, Sizes
from paleo_opt.network.config_json import Config, read_config
from paleo_opt.network.graph import Network
from paleo_opt.network.load import load_text
from paleo_opt.yaml_nodes import shown

#: How a config.json names what a field of the section is made of, for messages.
_NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "kv_heads": ("num_key_value_heads", "kv_n_heads"),
    "top_k": ("num_experts_per_tok", "experts_per_token"),
    "ffn": ("intermediate_size", "n_inner", "d_ff"),
    "vocab": ("vocab_size",),
    "first_dense_layers": ("first_k_dense_replace",),
    "patch_size": ("patch_size",),
    "max_positions": ("max_position_embeddings", "n_positions"),
}


@dataclass(frozen=True)
class Imported:
    """A network made of a model's configuration.

    Attributes:
        network: Loaded from the text.
        text: Its YAML.
        ignored: Fields that cost nothing as far as their names tell.
    """

    network: Network
    text: str
    ignored: tuple[str, ...]


def import_config(path: str, name: str = "", sequence_length: int | None = None) -> Imported:
    """The network of a Hugging Face ``config.json``.

    Args:
        path: Of the file.
        name: Of the network; by default the model's.
        sequence_length: Tokens of a sample; by default as many as the model has positions.

    Raises:
        SpecError: what is wrong or missing in the file, an unknown family, or fields that would change the cost.
    """
    config = read_config(Path(path), path)
    model_type = config.take("model_type")
    if model_type is None:
        raise SpecError(Problem(f"is missing; expected one of {', '.join(sorted(FAMILIES))}", path, 0, "model_type"))
    family = FAMILIES.get(str(model_type))
    if family is None:
        hint = nearest(str(model_type)[:100], FAMILIES) or f"; known: {', '.join(sorted(FAMILIES))}"
        message = f"is {shown(str(model_type))!r}{hint}"
        raise SpecError(Problem(message, path, config.line_of("model_type"), "model_type"))
    sizes = family(config)
    if sequence_length is not None:
        if sizes.get("kind") == "vision":
            raise SpecError("--sequence-length: an image has no other length than its patches")
        sizes = _at_length(sizes, sequence_length)
    ignored = config.finish()
    if config.problems:
        raise SpecError(config.problems)
    name = name or _name(config, str(model_type))
    text = _yaml(name, str(model_type), sizes)
    try:
        network = load_text(text, name, path)
    except SpecError as error:
        raise SpecError([_in_config(problem, config) for problem in error.problems]) from None
    return Imported(network, text, tuple(ignored))


def _at_length(sizes: Sizes, length: int) -> Sizes:
    """``sizes`` at another length; a table of learned positions keeps its rows."""
    if sizes.get("positions") == "learned":
        sizes = {"max_positions": sizes["sequence_length"]} | sizes
    return sizes | {"sequence_length": length}


def _name(config: Config, model_type: str) -> str:
    given = config.take("_name_or_path")
    name = re.sub(r"[^\w.-]+", "-", str(given or model_type).rstrip("/").rpartition("/")[2]).strip("-.")
    return name[:100] or "network"


def _yaml(name: str, model_type: str, sizes: Sizes) -> str:
    source = f'"imported from a Hugging Face config.json of model_type {model_type}"'
    lines = [f"name: {name}", f"source: {source}", "transformer:"]
    for field, value in sizes.items():
        lines.append(f"  {field}: {str(value).lower() if isinstance(value, bool) else value}")
    return "\n".join(lines) + "\n"


def _in_config(problem: Problem, config: Config) -> Problem:
    """A problem of the YAML, told of the field of the config that it comes from."""
    field = problem.field.removeprefix("transformer.")
    name = next((name for name in _NAMES.get(field, ()) if name in config), field)
    return replace(problem, file=config.file, line=config.line_of(name), field=name)
