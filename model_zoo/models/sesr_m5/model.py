"""SESR-M5, trained with wide linear blocks that collapse into single convolutions, enlarges pictures four times."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from model_zoo.base.weights import WeightsFile
from model_zoo.models._shared.published import PublishedModel
from model_zoo.models._shared.super_resolution.model import SuperResolutionModel
from model_zoo.models._shared.super_resolution.quicksrnet import Anchor

_FILE = "sesr_m5_4x_checkpoint_float32.pth.tar"
_RELEASE = "https://github.com/quic/aimet-model-zoo/releases/download/phase_2_february_artifacts"

CHANNELS, BLOCKS = 16, 5


class Model(PublishedModel, SuperResolutionModel):
    """Bhardwaj et al., Collapsible Linear Blocks for Super-Efficient Super Resolution, MLSys 2022.

    Each block is one convolution, as it is deployed; checkpoints of blocks still in two (those of Qualcomm's AIMET
    model zoo) are collapsed when they are read. Names are those of that zoo.
    """

    model_id = "sesr_m5"
    published = WeightsFile(f"{_RELEASE}/{_FILE}", None, _FILE)

    def __init__(self) -> None:
        super().__init__()
        self.anchor = Anchor()
        self.conv_first = Block(3, CHANNELS, 5)
        self.residual_block = nn.Sequential(*(Block(CHANNELS, CHANNELS, 3) for _ in range(BLOCKS)))
        self.conv_last = Block(CHANNELS, 48, 5)
        self.depth_to_space = nn.PixelShuffle(4)

    @classmethod
    def as_deployed(cls, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Collapse the blocks that are still in two: a wide convolution and one of 1 x 1."""
        collapsed = dict(state)
        for name in [name for name in state if name.endswith(".conv_squeeze.weight")]:
            block = name.removesuffix(".conv_squeeze.weight")
            wide, narrow = state.get(f"{block}.conv_expand.weight"), state[name]
            if wide is None or wide.ndim != 4 or narrow.ndim != 4 or narrow.shape[1] != len(wide):
                continue  # the strict loader says what is wrong
            kernel = torch.einsum("oe,eihw->oihw", narrow[:, :, 0, 0].double(), wide.double()).float()
            if block.startswith("residual_block."):  # which adds its input
                kernel += nn.init.dirac_(torch.empty_like(kernel))
            del collapsed[name]
            collapsed[f"{block}.conv_expand.weight"] = kernel
            if (bias := collapsed.pop(f"{block}.conv_squeeze.bias", None)) is not None:
                collapsed[f"{block}.conv_expand.bias"] = bias
        return collapsed

    def randomize(self) -> None:
        """Residual blocks pass their input on, as those of a checkpoint do."""
        for layer in [block.conv_expand for block in self.residual_block]:
            layer.weight.data += nn.init.dirac_(torch.empty_like(layer.weight))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Enlarge pictures.

        Args:
            image: RGB [B, 3, H, W] in 0..1.

        Returns:
            RGB [B, 3, 4 H, 4 W] in 0..1.
        """
        first = torch.relu(self.conv_first(image))
        features = first
        for block in self.residual_block:
            features = torch.relu(block(features))
        pixels = self.conv_last(features + first) + self.anchor(image)
        return self.depth_to_space(pixels.clamp(0, 1))


class Block(nn.Module):
    """A collapsed linear block."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv_expand = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        return self.conv_expand(features)
