"""Training that expects quantization: weights are seen as a quantizer will round them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import parametrize


class Rounding(nn.Module):
    """Rounds the weights of each output channel to steps of its largest; gradients pass as if it did nothing.

    Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, 2018.
    """

    def __init__(self, axis: int, bits: Sequence[int]) -> None:
        super().__init__()
        self.axis, self.bits = axis, bits

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Weights of any shape in and out."""
        most = 2 ** (self.bits[int(torch.randint(len(self.bits), ()))] - 1) - 1
        others = [axis for axis in range(weight.ndim) if axis != self.axis]
        step = weight.detach().abs().amax(others, keepdim=True).clamp(min=1e-8) / most
        rounded: torch.Tensor = weight + ((weight / step).round() * step - weight).detach()
        return rounded


@contextmanager
def rounded_weights(model: nn.Module, bits: Sequence[int]) -> Iterator[None]:
    """Round the weights of every convolution inside the block; afterwards the model has its plain weights again.

    Args:
        bits: One of these is drawn for each layer and step.
    """
    layers = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]
    for layer in layers:
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        parametrize.register_parametrization(layer, "weight", Rounding(axis, bits))
    try:
        yield
    finally:
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
