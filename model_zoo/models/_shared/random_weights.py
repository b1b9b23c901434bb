"""Random weights that are the same each time and keep activations alive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Draw from a seed inside the block; the caller's random state is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def randomize_zeros(model: nn.Module) -> None:
    """Draw the weights that training starts at zero or next to it: heads of transformers, scales of residual branches.

    Without them the outputs are all equal, or whole branches count for nothing, and a check of numerics sees neither.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter.abs().max() < 1e-5:
                parameter.normal_(std=0.1)


def randomize_convolutions(model: nn.Module, slope: float) -> None:
    """Draw the weights of a plain stack of convolutions so that it neither dies out nor grows (He et al., 2015).

    Args:
        slope: Of the rectifiers on their negative side.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=slope)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def damp_branches(model: nn.Module, blocks: tuple[type[nn.Module], ...]) -> None:
    """Quarter what the residual blocks of these classes add to their input: the scale of their last normalisation.

    At full strength every block adds as much as it gets, and rounding grows with depth: half precision is left with
    35 dB behind the 32 blocks of EfficientNet-B4. Training starts such scales at 0 (https://arxiv.org/abs/1706.02677).
    """
    with torch.no_grad():
        for block in (module for module in model.modules() if isinstance(module, blocks)):
            *_, last = (module for module in block.modules() if isinstance(module, nn.BatchNorm2d))
            last.weight.mul_(0.25)


def randomize_vectors(model: nn.Module, std: float = 0.02) -> None:
    """Move every bias and every scale of a normalisation off the value that all of them start at.

    Tensors that are equal are stored once in an ONNX file, so that the bias of a linear layer and that of a
    normalisation become one. After training no two are equal.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=std)


def varied_pictures(count: int, size: int) -> torch.Tensor:
    """Random RGB pictures [count, 3, size, size] in 0..1: a quarter is plain noise, the others have structure at every
    scale, which keeps deep features as different from each other as real pictures do.
    """
    pictures = torch.full((count, 3, size, size), 0.5)
    for cells in (1, 2, 4, 8, 16, size):
        noise = torch.rand(count, 3, cells, cells) - 0.5
        pictures += torch.rand(count, 1, 1, 1) * nn.functional.interpolate(noise, (size, size), mode="bilinear")
    pictures[: count // 4] = torch.rand(count // 4, 3, size, size)
    return pictures.clamp(0, 1)


def estimate_batch_norm(model: nn.Module, *inputs: torch.Tensor) -> None:
    """Set the statistics of every batch normalisation to those of one batch, as training would have left them.

    Freshly built networks assume mean 0 and variance 1 everywhere. With random weights that is so wrong that
    activations die out or grow with depth, and a check of numerics would compare noise with noise.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    was_training, momenta = model.training, [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()
        layer.momentum = 1.0
    with torch.no_grad():
        model(*inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.zero_()
    model.train(was_training)
