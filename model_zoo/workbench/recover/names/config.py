"""The child that builds what a checkpoint's own configuration says: classes of transformers, never code of the file."""

from __future__ import annotations

import ast
import pprint
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from model_zoo.workbench.recover.foreign import open_no_foreign_files
from model_zoo.workbench.recover.names.architecture import Architecture
from model_zoo.workbench.recover.names.describe import shapes_of
from model_zoo.workbench.recover.names.transformers_models import example_inputs, model_class
from model_zoo.workbench.recover.uninitialized import uninitialized

#: Settings that name code or files elsewhere, or how numbers are kept; none of them changes which tensors there are.
_DROPPED = frozenset(
    {"auto_map", "custom_pipelines", "dtype", "quantization_config", "torch_dtype", "transformers_version"}
    | {"_attn_implementation", "_experts_implementation", "attn_implementation", "experts_implementation"}
    | {"_name_or_path", "name_or_path", "trust_remote_code", "use_pretrained_backbone", "vision_tower_name_or_path"}
    | {"_attn_implementation_internal", "_experts_implementation_internal", "use_kernels"}
    | {"cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"}  # of timm.create_model
)
#: Texts of people; their number counts.
_LABELS = frozenset({"id2label", "label2id"})
_MOST_CLASSES = 4


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Describe the architectures that a configuration names.

    Args:
        job: `config`, the JSON of config.json.

    Returns:
        `architectures` as `Architecture.to_json` gives them, and `failures` by class.
    """
    open_no_foreign_files()
    described: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    for name in job["config"]["architectures"][:_MOST_CLASSES]:
        try:
            described.append(_describe(str(name), job["config"]).to_json())
        except Exception as error:  # foreign code, with values that anyone may have written
            failures[str(name)[:80]] = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    return {"architectures": described, "failures": failures}


def _describe(name: str, settings: Mapping[str, Any]) -> Architecture:
    made = model_class(name)
    config = made.config_class.from_dict(cleaned(settings))
    with torch.device("meta"), uninitialized(on_meta=True):
        model = made(config)
    literal = pprint.pformat(cleaned(config.to_diff_dict()), width=108, sort_dicts=False)
    ast.literal_eval(literal)  # plain values only: it becomes part of a module's text
    return Architecture(
        library="transformers",
        name=made.__name__,
        function=f"transformers.{made.__name__}",
        arguments=(f"transformers.{made.config_class.__name__}.from_dict({literal})",),
        keywords={},
        root="",
        tensors=shapes_of(model),
        options=(),
        inputs=tuple(example_inputs(model)),
    )


def cleaned(value: Any) -> Any:
    """The same without the settings that are dropped and those that could be a path or an address, at any depth."""
    if isinstance(value, Mapping):
        kept = {key: each for key, each in value.items() if key not in _DROPPED and not _is_place(each)}
        return {key: each if key in _LABELS else cleaned(each) for key, each in kept.items()}
    if isinstance(value, list | tuple):
        return [cleaned(each) for each in value]
    return value


def _is_place(value: Any) -> bool:
    """Whether a text could say where something lies, e.g. "hf-hub:someone/net" or "../net"."""
    return isinstance(value, str) and any(sign in value for sign in ":/\\")
