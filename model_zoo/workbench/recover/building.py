"""For child processes that build modules from settings of others: offline, and without initializing weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

#: What weights are initialized with, beside torch.nn.init; without effect on tensors that have no memory.
_INITIALIZING = ("uniform_", "normal_", "erfinv_", "mul_", "add_", "clamp_")


def stay_offline() -> None:
    """Let the libraries fetch nothing, and unpickle nothing wherever a setting names a checkpoint."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TORCH_FORCE_WEIGHTS_ONLY_LOAD="1")


def build_function(path: Path) -> Callable[..., torch.nn.Module]:
    """`build_model` of a model.py that we wrote."""
    module: dict[str, Any] = {"__name__": "recovered_model"}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module)
    build: Callable[..., torch.nn.Module] = module["build_model"]
    return build


@contextmanager
def uninitialized(on_meta: bool = False) -> Iterator[None]:
    """Skip the initialization of weights, which takes most of the time of building a module.

    Args:
        on_meta: Tensors have no memory, so that methods of tensors that only initialize can be skipped too.
    """

    def leave(tensor: torch.Tensor, *arguments: Any, **keywords: Any) -> torch.Tensor:
        return tensor

    names = [name for name in vars(torch.nn.init) if name.endswith("_") and not name.startswith("_")]
    functions: dict[str, Any] = dict.fromkeys(names, leave)
    methods: dict[str, Any] = dict.fromkeys(_INITIALIZING, leave)
    on_tensors = patch.multiple(torch.Tensor, **methods) if on_meta else nullcontext()
    with patch.multiple(torch.nn.init, **functions), on_tensors:
        yield
