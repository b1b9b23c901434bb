"""Random weights that behave as trained ones do."""

from __future__ import annotations

import torch
from torch import nn

from model_zoo.models._shared.random_weights import damp_branches


class Block(nn.Module):
    """A residual block; the Relu comes before the last normalisation, so that the branch ends in a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


def test_damped_blocks_add_a_quarter() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), Block()).eval()
    stem, block, x = model[:2], model[2], torch.randn(1, 4, 8, 8)
    before, added = stem(x), block(x) - x
    damp_branches(model, (Block,))
    assert torch.equal(stem(x), before)
    assert torch.allclose(block(x) - x, added / 4, atol=1e-6)
