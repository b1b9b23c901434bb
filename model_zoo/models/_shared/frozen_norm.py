"""Batch normalisations that transformers freezes for training, made such that an exporter folds them again."""

from __future__ import annotations

import torch
from torch import nn


def thaw(network: nn.Module) -> None:
    """Replace every frozen batch normalisation, in place, by torch's with the same numbers.

    A frozen one is a product and a sum of its own in the exported graph; torch's becomes part of the convolution.
    """
    for name, module in list(network.named_modules()):
        if type(module).__name__.endswith("FrozenBatchNorm2d"):
            norm = nn.BatchNorm2d(
                len(module.weight), eps=1e-5
            ).eval()  # which transformers has written into its forward
            norm.load_state_dict({**module.state_dict(), "num_batches_tracked": torch.tensor(0)})
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, norm)
