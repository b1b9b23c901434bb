"""MiDaS v2.1 small, which tells how near each pixel of a picture is."""

from __future__ import annotations

import timm
import torch
from torch import nn

from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.base.weights import WeightsFile
from model_zoo.models._shared.depth.model import DepthModel
from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD, Normalize
from model_zoo.models._shared.published import PublishedModel

#: Of the backbone at a fourth, an eighth, a sixteenth and a thirty-second of the resolution; and of the decoder there.
ENCODED, DECODED = (32, 48, 136, 384), (64, 128, 256, 512)

_STRIDE = 32


class Model(PublishedModel, DepthModel):
    """Ranftl et al., Towards Robust Monocular Depth Estimation: Mixing Datasets for Zero-shot Cross-dataset Transfer,
    IEEE TPAMI 2022. The small model, on timm's EfficientNet-Lite3; names are those of `midas_v21_small_256.pt`.
    """

    model_id = "midas"
    published = WeightsFile(
        "https://github.com/isl-org/MiDaS/releases/download/v2_1/midas_v21_small_256.pt",
        None,
        "midas_v21_small_256.pt",
    )

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        backbone = timm.create_model("tf_efficientnet_lite3")
        # timm's normalisation holds the activation, which has a place of its own in the published names.
        stem, blocks = (backbone.conv_stem, backbone.bn1, nn.Identity()), backbone.blocks
        self.pretrained = nn.ModuleDict(
            {
                "layer1": nn.Sequential(*stem, *blocks[:2]),
                "layer2": nn.Sequential(*blocks[2:3]),
                "layer3": nn.Sequential(*blocks[3:5]),
                "layer4": nn.Sequential(*blocks[5:]),
            }
        )
        self.scratch = nn.ModuleDict()
        for level, (inputs, outputs) in enumerate(zip(ENCODED, DECODED, strict=True), 1):
            self.scratch[f"layer{level}_rn"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            self.scratch[f"refinenet{level}"] = Fusion(outputs, DECODED[max(level - 2, 0)])
        self.scratch["output_conv"] = nn.Sequential(
            nn.Conv2d(64, 32, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def randomize(self) -> None:
        """The last rectifier must let something through."""
        super().randomize()
        nn.init.ones_(self.scratch["output_conv"][4].bias)

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 256, width: int = 256) -> InputSpec:
        """One picture, by default of the size the weights were trained for.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels, a multiple of 32.
            width: Width of the picture in pixels, a multiple of 32.
        """
        return {"image": image_spec(height, width, batch_size, multiple_of=_STRIDE)}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Tell how near each pixel is.

        Args:
            image: RGB [B, 3, H, W] in 0..1; height and width are multiples of 32.

        Returns:
            Inverse depth [B, 1, H, W], not negative; scale and shift are unknown.
        """
        features, levels = self.normalize(image), []
        for name, layer in self.pretrained.items():
            features = layer(features)
            levels.append(self.scratch[f"{name}_rn"](features))
        fused = self.scratch["refinenet4"](levels[3])
        for level in (3, 2, 1):
            fused = self.scratch[f"refinenet{level}"](fused, levels[level - 1])
        return self.scratch["output_conv"](fused)


class Residual(nn.Module):
    """Two convolutions of rectified features, added to the features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features [B, channels, H, W] in and out."""
        return features + self.conv2(torch.relu(self.conv1(torch.relu(features))))


class Fusion(nn.Module):
    """Adds finer features to coarse ones and doubles the resolution. The coarsest level has nothing to add."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(inputs, outputs, 1)
        self.resConfUnit1, self.resConfUnit2 = Residual(inputs), Residual(inputs)

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor | None = None) -> torch.Tensor:
        """[B, inputs, H, W] twice to [B, outputs, 2 H, 2 W]."""
        if fine is not None:
            coarse = coarse + self.resConfUnit1(fine)
        larger = nn.functional.interpolate(
            self.resConfUnit2(coarse), scale_factor=2, mode="bilinear", align_corners=True
        )
        return self.out_conv(larger)
