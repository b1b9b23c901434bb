"""YOLOX: our own implementation of the published architecture, which takes the official checkpoints."""

from __future__ import annotations

from typing import Self

import torch

from model_zoo.base.spec import InputSpec
from model_zoo.base.weights import WeightsFile, resolve_weights
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.models._shared.object_detection.model import Detections, ObjectDetector, best_class, picture_spec
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded, varied_pictures
from model_zoo.models.yolox.network import FORMS, STRIDES, Network, Variant, network_of

_RELEASE = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"

#: The authors publish no checksums: the files are taken where a user puts them, but never downloaded.
WEIGHTS = {variant: WeightsFile(f"{_RELEASE}/{variant}.pth", None, f"{variant}.pth") for variant in FORMS}


class Model(ObjectDetector):
    """YOLOX: Exceeding YOLO Series in 2021, https://arxiv.org/abs/2107.08430.

    Args:
        network: In evaluation mode.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT", variant: Variant = "yolox_s") -> Self:
        """Load an official checkpoint, or your own of the same architecture with any number of classes.

        Args:
            weights: DEFAULT, a variant's name, the path of a checkpoint, which tells its variant, or `random`.
            variant: What DEFAULT and `random` stand for.
        """
        path = resolve_weights(weights, "yolox", WEIGHTS, variant)
        if path is None:
            with seeded():
                model = cls(Network(FORMS[variant], num_classes=80)).eval()
                estimate_batch_norm(model, varied_pictures(8, 160))
                for layer in model.network.head.reg_preds:  # sizes are exponents: boxes of a few strides, as if trained
                    layer.weight.data[2:] *= 0.25
            return model
        state = {name.removeprefix("network."): tensor for name, tensor in read_state_dict(path).items()}
        network = network_of(state, str(path))
        load_strict(network, state, str(path))
        return cls(network).eval()

    @property
    def num_classes(self) -> int:
        """How many classes the scores are of."""
        return self.network.num_classes

    def forward(self, image: torch.Tensor) -> Detections:
        """Find candidates.

        Args:
            image: RGB [B, 3, H, W] in 0..1, letterboxed; H and W multiples of 32.

        Returns:
            boxes [B, N, 4] as x1, y1, x2, y2 in pixels of the input, scores [B, N] in 0..1, and class_idx [B, N] int32.
            N counts the levels of strides 8, 16 and 32, in each its rows, in each its columns.
        """
        levels = zip(self.network(image.flip(1) * 255), STRIDES, strict=True)
        boxes, scores, classes = zip(*(_detections(*level, stride) for level, stride in levels), strict=True)
        return torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(classes, 1)

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 640, width: int = 640) -> InputSpec:
        """One picture. The nano and tiny variants were trained on 416 x 416.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels, a multiple of 32.
            width: Width of the picture in pixels, a multiple of 32.
        """
        return picture_spec(batch_size, height, width)


def _detections(boxes: torch.Tensor, objectness: torch.Tensor, classes: torch.Tensor, stride: int) -> Detections:
    """Corners [B, N, 4], scores [B, N] and class indices [B, N] of one level."""
    height, width = boxes.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([x, y]).reshape(1, 2, -1).to(boxes) * stride
    centre = boxes[:, :2].flatten(2) * stride + cells
    half = boxes[:, 2:].flatten(2).exp() * (stride / 2)
    corners = torch.cat([centre - half, centre + half], 1).transpose(1, 2)
    best, index = best_class(classes.flatten(2).transpose(1, 2).sigmoid())
    return corners, objectness.flatten(1).sigmoid() * best, index
