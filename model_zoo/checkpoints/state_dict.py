"""Checkpoints in, state dicts out: what the models of the zoo load their weights with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.checkpoints.contents import Format
from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.text import listed

if TYPE_CHECKING:
    import torch

_FORMATS = (Format.TORCH_ZIP, Format.TORCH_LEGACY, Format.SAFETENSORS, Format.SAFETENSORS_SHARDED, Format.TORCH_SHARDED)
_HINT = "give a .safetensors, .pt or .pth file"


@checked()
def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint by name, without importing or running anything in it.

    Takes safetensors and what torch saves, as zip or in the older format: a state dict, one nested under `ema`, `model`
    or `state_dict` (the first that holds tensors), or a pickled module. A `module.` before every name is taken off.

    Returns:
        Tensors on the CPU; half precision becomes float32. The others are mapped: the file must stay as it is.

    Raises:
        UserError: The file is missing, damaged, no checkpoint, holds no tensors, or asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is a folder, not a checkpoint" if path.is_dir() else f"no checkpoint at {path}")
    checkpoint = open_checkpoint(path)
    contents = checkpoint.contents
    if contents.calls:
        raise UserError(f"{path}: refuses to call {listed(contents.calls)}", _HINT)
    if contents.format not in _FORMATS:
        raise UserError(f"{path}: is a {contents.format} program, not a checkpoint", _HINT)
    if contents.problems:
        raise UserError(f"{path} is truncated or damaged: {contents.problems[0]}", "copy or download it again")
    if contents.main is None:
        raise UserError(f"{path}: holds no tensors", _HINT)
    if checkpoint.declared_bytes > 4 * contents.nbytes + 2**20:
        raise UserError(f"{path}: declares far more tensors than the file has bytes", _HINT)
    if odd := next((name for name in contents.tensors if not name.isprintable()), None):
        raise UserError(f"{path}: has a tensor with the name {odd[:40]!r}", _HINT)
    try:
        tensors = checkpoint.load()
    except ModelZooError as error:
        raise UserError(error.message, error.hint) from error
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    import torch

    halves = (torch.float16, torch.bfloat16)
    return {name: tensor.float() if tensor.dtype in halves else tensor for name, tensor in tensors.items()}


def load_strict(module: torch.nn.Module, state_dict: Mapping[str, torch.Tensor], source: str) -> None:
    """Load a state dict that must fit exactly.

    Args:
        source: Where the state dict came from, for the message.

    Raises:
        UserError: Lists every name that is missing, extra, has another shape or holds another kind of numbers, and
            every tensor with a NaN.
    """
    import torch

    own = module.state_dict()
    odd = {name: tensor.dtype for name, tensor in state_dict.items() if name in own and not _fits(tensor, own[name])}
    problems = {
        "missing": [name for name in own if name not in state_dict],
        "extra": [name for name in state_dict if name not in own],
        "of another shape": [
            f"{name} {list(state_dict[name].shape)} instead of {list(tensor.shape)}"
            for name, tensor in own.items()
            if name in state_dict and state_dict[name].shape != tensor.shape
        ],
        "of another kind": [
            f"{name} {_text(dtype)} instead of {_text(own[name].dtype)}" for name, dtype in odd.items()
        ],
        "not finite": [
            name for name, tensor in state_dict.items() if name not in odd and not bool(torch.isfinite(tensor).all())
        ],
    }
    lines = [f"{len(names)} {problem}: {', '.join(names)}" for problem, names in problems.items() if names]
    if lines:
        raise UserError(f"{source} does not fit {type(module).__name__}: {'; '.join(lines)}")
    module.load_state_dict(versioned(module, state_dict))


def check_weights(module: torch.nn.Module) -> None:
    """Refuse a module with tensors that no NPU build computes with: 8-bit or complex floats, or integer parameters."""
    floats = dict(module.named_parameters())
    for name, tensor in {**floats, **dict(module.named_buffers())}.items():
        if tensor.is_complex() or ((tensor.is_floating_point() or name in floats) and not _is_plain(tensor)):
            wanted = "weights are floats of 16, 32 or 64 bits"
            raise UserError(f"{name} of {type(module).__name__} is {_text(tensor.dtype)}: {wanted}", "convert it first")


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.element_size() > 1


def _fits(tensor: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether a tensor can stand for one of a module: floats of 16 bits and more for floats, integers for integers."""
    if own.is_floating_point():
        return _is_plain(tensor)
    return tensor.is_complex() == own.is_complex() and not tensor.is_floating_point()


def _text(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def versioned(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> OrderedDict[str, torch.Tensor]:
    """Tensors as a state dict of this module's own version: some modules, e.g. MNASNet, load no other."""
    state_dict = OrderedDict(tensors)
    state_dict._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]  # as torch calls it
    return state_dict
