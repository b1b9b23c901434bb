"""U-Net, which says what each pixel of a picture belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
from torch import nn

from model_zoo.base.weights import resolve_weights
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.datasets.scenes import MASK_CLASSES
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded, varied_pictures
from model_zoo.models._shared.reference import REFERENCE, WEIGHTS, reference_files
from model_zoo.models._shared.segmentation.model import SegmentationModel

FOLDER = Path(__file__).resolve().parent

#: Channels at full resolution in the reference weights; the paper has 64.
WIDTH = 16


class Model(SegmentationModel):
    """Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015.

    With padding and batch normalisation, as is usual today. The names are those of github.com/milesial/Pytorch-UNet,
    whose checkpoints (those with transposed convolutions) load as they are.

    Args:
        width: Channels at full resolution; each of four halvings doubles them.
        classes: How many there are, the ground included.
        class_names: What they are called; None if nobody says.
    """

    def __init__(self, width: int, classes: int, class_names: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self.class_names = class_names
        self.inc = DoubleConv(3, width)
        self.down1, self.down2 = Down(width, 2 * width), Down(2 * width, 4 * width)
        self.down3, self.down4 = Down(4 * width, 8 * width), Down(8 * width, 16 * width)
        self.up1, self.up2 = Up(16 * width, 8 * width), Up(8 * width, 4 * width)
        self.up3, self.up4 = Up(4 * width, 2 * width), Up(2 * width, width)
        self.outc = nn.Sequential()
        self.outc.add_module("conv", nn.Conv2d(width, classes, 1))

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the weights that come with the package, or your own of any width and with any number of classes.

        Args:
            weights: DEFAULT or `reference` (both: in the package, trained by train.py on drawn scenes), the path of a
                checkpoint, or `random`.
        """
        path = resolve_weights(weights, "unet_segmentation", reference_files(FOLDER), REFERENCE)
        if path is None:
            with seeded():
                model = cls(WIDTH, len(MASK_CLASSES), MASK_CLASSES).eval()
                estimate_batch_norm(model, varied_pictures(4, 64))
            return model
        state = read_state_dict(path)
        width = _rows(state, "inc.double_conv.0.weight", WIDTH)
        classes = _rows(state, "outc.conv.weight", len(MASK_CLASSES))
        with torch.device("meta"):
            model = cls(width, classes, MASK_CLASSES if path == FOLDER / WEIGHTS else None)
        load_strict(model.to_empty(device="cpu"), state, str(path))
        return model.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Tell the class of each pixel.

        Args:
            image: RGB [B, 3, H, W] in 0..1; height and width are multiples of 16.

        Returns:
            Logits [B, classes, H, W].
        """
        full = self.inc(image)
        half = self.down1(full)
        quarter = self.down2(half)
        eighth = self.down3(quarter)
        features = self.up1(self.down4(eighth), eighth)
        features = self.up3(self.up2(features, quarter), half)
        return self.outc(self.up4(features, full))

    def labels(self) -> list[str] | None:
        """The ground and the shapes of the drawn scenes; None for a user's own classes."""
        return list(self.class_names) if self.class_names else None

    @staticmethod
    def eval_datasets() -> list[str]:
        """Drawn scenes that were held out."""
        return ["scenes_segmentation"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """Drawn scenes that it was not trained on either."""
        return "scenes_segmentation"


class DoubleConv(nn.Module):
    """Twice a convolution of 3 x 3 with batch normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        return self.double_conv(features)


class Down(nn.Module):
    """Halves the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H / 2, W / 2]."""
        return self.maxpool_conv(features)


class Up(nn.Module):
    """Doubles the resolution and takes in what was there on the way down."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv = DoubleConv(2 * outputs, outputs)

    def forward(self, features: torch.Tensor, skipped: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] and [B, outputs, 2 H, 2 W] to the latter's shape."""
        return self.conv(torch.cat([skipped, self.up(features)], dim=1))


def _rows(state: dict[str, torch.Tensor], name: str, default: int) -> int:
    """How many filters a convolution of the checkpoint has; the default if it is not there, which is reported then."""
    weight = state.get(name)
    return weight.shape[0] if weight is not None and weight.ndim == 4 and 0 < len(weight) <= 256 else default
