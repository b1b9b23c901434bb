"""Inputs of a torch module that nothing declares: shapes that its first layer could take, tried until one runs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from model_zoo.base.spec import TensorSpec, random_arrays
from model_zoo.utils.errors import ModelZooError
from model_zoo.workbench.explore.loaded_model import ModelInput
from model_zoo.workbench.explore.loaded_torch import forward_names

_SIDES = (224, 32, 28, 64, 128, 256, 299, 384, 512, 640)
_LENGTHS = (16000, 1024, 128)
_TOKENS = 16


def guess_ports(module: nn.Module) -> tuple[list[ModelInput], str]:
    """The first shape that a forward pass takes.

    Returns:
        The inputs, and how they were found.

    Raises:
        ModelZooError: It takes several inputs, or none of the shapes runs.
    """
    names = forward_names(module)
    give = "give --input FILE.npz with one array for each of " + (", ".join(names) or "its inputs")
    if len(names) != 1:
        raise ModelZooError(f"the model takes {len(names)} inputs, whose shapes nothing declares", give)
    first = next(
        ((n, m) for n, m in module.named_modules() if not any(m.children()) and any(True for _ in m.parameters())), None
    )
    if first is None:
        raise ModelZooError("the model has no layer with weights that would tell its input", give)
    layer, kind = first
    candidates = list(_candidates(kind, names[0]))
    reason = "no shape is known for such a layer"
    for number, port in enumerate(candidates, 1):
        spec = TensorSpec(tuple(int(size) for size in port.shape), port.dtype, value_range=(0, 1))
        sample = {name: torch.from_numpy(value) for name, value in random_arrays({port.name: spec}).items()}
        device = next(module.parameters()).device
        try:
            with torch.inference_mode():
                module(*(tensor.to(device) for tensor in sample.values()))
        except Exception as error:  # whatever the model does with a shape that is not its own
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            continue
        why = f"a trial: shape {number} of {len(candidates)} that fit the first layer, {layer} ({type(kind).__name__})"
        return [port], why
    raise ModelZooError(f"none of {len(candidates)} shapes for the first layer, {layer}, runs: {reason}", give)


def _candidates(layer: nn.Module, name: str) -> Iterator[ModelInput]:
    if isinstance(layer, nn.Conv2d):
        yield from (ModelInput(name, (1, layer.in_channels, side, side)) for side in _SIDES)
    elif isinstance(layer, nn.Conv1d):
        yield from (ModelInput(name, (1, layer.in_channels, length)) for length in _LENGTHS)
    elif isinstance(layer, nn.Conv3d):
        yield from (ModelInput(name, (1, layer.in_channels, frames, 112, 112)) for frames in (16, 8))
    elif isinstance(layer, nn.Embedding):
        yield ModelInput(name, (1, _TOKENS), "int64", layer.num_embeddings)
    elif isinstance(layer, nn.RNNBase):
        yield ModelInput(name, (1, _TOKENS, layer.input_size) if layer.batch_first else (_TOKENS, 1, layer.input_size))
    elif isinstance(layer, nn.Linear):
        yield ModelInput(name, (1, layer.in_features))
        yield ModelInput(name, (1, _TOKENS, layer.in_features))
