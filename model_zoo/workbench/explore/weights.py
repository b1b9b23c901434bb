"""The tensors of a checkpoint, for the child process that needs them."""

from __future__ import annotations

from pathlib import Path

import torch

from model_zoo.utils.checkpoint import read_state_dict


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """The main state dict of a checkpoint, read as data.

    Raises:
        UserError: It cannot be read.
    """
    return read_state_dict(file)
