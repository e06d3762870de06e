"""PyTorch, which measurements alone need: the optional extra ``measure``."""

from __future__ import annotations

import importlib.util
from typing import Any

from paleo_opt.errors import SpecError


def require_torch() -> Any:
    """The module ``torch``.

    Raises:
        SpecError: it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise SpecError("measuring needs PyTorch, which is not installed; pip install 'paleo-opt[measure]'")
    import torch

    return torch


def software(torch: Any, kind: str) -> str:
    """What runs, as the tables say it: ``torch 2.13.0 cpu channels_last``."""
    version = str(torch.__version__).partition("+")[0]
    if kind == "cpu":
        return f"torch {version} cpu channels_last"
    return f"torch {version} cuda {torch.version.cuda} cudnn {torch.backends.cudnn.version()} channels_last"
