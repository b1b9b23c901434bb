"""The child that builds architectures on the meta device, where tensors have no memory, and describes them.

What a checkpoint's own configuration says is built from classes of transformers, never from code of the file.
"""

from __future__ import annotations

import ast
import pprint
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from model_zoo.workbench.libraries import LIBRARIES, KnownLibrary, example_inputs, model_class
from model_zoo.workbench.recover.building import stay_offline, uninitialized
from model_zoo.workbench.recover.names.architecture import (
    Architecture,
    FailedArchitecture,
    SizeArgument,
    SizedBy,
    common_root,
)

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


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the function that lists a library, or describes one architecture of it.

    Args:
        job: `library`, one of `LIBRARIES`.
    """
    stay_offline()
    torch.set_num_threads(1)
    library = LIBRARIES[job["library"]]()

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if not request:
            return {"names": library.names()}
        return _described(request["name"], lambda name: describe(library, name)).model_dump(mode="json")

    return answer


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Describe the classes that a configuration names: a list of `Architecture` or `FailedArchitecture`.

    Args:
        job: `config`, the JSON of config.json.
    """
    stay_offline()
    config = job["config"]
    described = [_described(str(n), lambda n: _of_config(n, config)) for n in config["architectures"][:_MOST_CLASSES]]
    return {"architectures": [each.model_dump(mode="json") for each in described]}


def _described(name: str, describe_: Callable[[str], Architecture]) -> Architecture | FailedArchitecture:
    try:
        return describe_(name)
    except Exception as error:  # whatever a foreign constructor raises, with values that anyone may have written
        text = (str(error).strip() or "no message").splitlines()[0]
        return FailedArchitecture(name=name[:80], failure=f"{type(error).__name__}: {text}")


def describe(library: KnownLibrary, name: str) -> Architecture:
    """Build an architecture, once more for every option, and say what it has."""
    try:
        return _describe(library, name, "meta")
    except (NotImplementedError, RuntimeError):  # it computes with values: they are there, if unset, on the CPU
        return _describe(library, name, "cpu")


def _describe(library: KnownLibrary, name: str, device: str) -> Architecture:
    with torch.device(device), uninitialized(on_meta=device == "meta"):
        model = library.build(name, {})
        shapes = shapes_of(model)
        probed = [
            _probe(library, name, option, library.default(name, model, option), shapes) for option in library.options
        ]
    root = "".join(f"{part}." for part in common_root(shapes)) if library.name == "zoo" else ""
    return Architecture(
        library=library.name,
        name=name,
        **dict(library.call(name)),
        root=root,
        tensors={key.removeprefix(root): shape for key, shape in shapes.items()},
        options=tuple(option for option in probed if option),
        inputs=tuple(library.inputs(name, model)),
    )


def _probe(
    library: KnownLibrary, name: str, option: str, default: int | None, shapes: Mapping[str, tuple[int, ...]]
) -> SizeArgument | None:
    """Compare the model with one built with one class (or channel …) more; None if names change or nothing does."""
    if default is None or default <= 0:
        return None
    try:
        other = shapes_of(library.build(name, {option: default + 1}))
    except Exception:  # the constructor does not take this argument, or not this value: it is no option then
        return None
    if other.keys() != shapes.keys() or any(len(shape) != len(other[key]) for key, shape in shapes.items()):
        return None
    sizes = tuple(
        SizedBy(key, dimension, after - before, before - (after - before) * default)
        for key, shape in shapes.items()
        for dimension, (before, after) in enumerate(zip(shape, other[key], strict=True))
        if after != before
    )
    return SizeArgument(option, default, sizes) if sizes else None


def _of_config(name: str, settings: Mapping[str, Any]) -> Architecture:
    kind = model_class(name)
    config = kind.config_class.from_dict(cleaned(settings))
    with torch.device("meta"), uninitialized(on_meta=True):
        model = kind(config)
    literal = pprint.pformat(cleaned(config.to_diff_dict()), width=108, sort_dicts=False)
    ast.literal_eval(literal)  # plain values only: it becomes part of a module's text
    return Architecture(
        library="transformers",
        name=kind.__name__,
        function=f"transformers.{kind.__name__}",
        arguments=(f"transformers.{kind.config_class.__name__}.from_dict({literal})",),
        tensors=shapes_of(model),
        inputs=tuple(example_inputs(model)),
    )


def cleaned(value: Any) -> Any:
    """The same without the settings that are dropped and those that could be a path or an address, at any depth."""
    if isinstance(value, Mapping):
        kept = {key: each for key, each in value.items() if key not in _DROPPED and not _is_address(each)}
        return {key: each if key in _LABELS else cleaned(each) for key, each in kept.items()}
    if isinstance(value, list | tuple):
        return [cleaned(each) for each in value]
    return value


def _is_address(value: Any) -> bool:
    """Whether a text could say where something lies, e.g. "hf-hub:someone/net" or "../net"."""
    return isinstance(value, str) and any(sign in value for sign in ":/\\")


def shapes_of(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes by name, in the order of the state dict; entries that are no tensors are left out."""
    return {
        name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if isinstance(tensor, torch.Tensor)
    }
