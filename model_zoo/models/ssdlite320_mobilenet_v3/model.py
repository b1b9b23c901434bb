"""SSDLite with a MobileNetV3 for COCO, as torchvision publishes it; boxes are decoded in the model."""

from __future__ import annotations

from typing import Self

import torch
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights as Published
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD

from model_zoo.base.spec import InputSpec
from model_zoo.base.weights import resolve_weights
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.models._shared.imagenet_classifier.model import Normalize, published_files
from model_zoo.models._shared.object_detection.model import (
    COCO_IDS,
    Detections,
    ObjectDetector,
    best_class,
    picture_spec,
    used_classes,
)
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded, varied_pictures

#: Where a checkpoint shows how many classes it has: rows of the first classification layer, for 6 boxes a cell.
_CLASSES_KEY, _BOXES = "head.classification_head.module_list.0.1.bias", 6


class Model(ObjectDetector):
    """SSDLite320-MobileNetV3-Large: Searching for MobileNetV3, https://arxiv.org/abs/1905.02244.

    Args:
        network: torchvision's; of its forward pass only backbone, heads, default boxes and box coder are used.
    """

    def __init__(self, network: SSD) -> None:
        super().__init__()
        self.normalize = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load a published checkpoint, or your own with any number of classes.

        Args:
            weights: DEFAULT, the name of a torchvision checkpoint (COCO_V1), the path of a checkpoint whose names are
                those of torchvision, or `random`.
        """
        path = resolve_weights(weights, "ssdlite320_mobilenet_v3", published_files(Published), Published.DEFAULT.name)
        if path is None:
            with seeded():
                model = cls(_network(COCO_IDS)).eval()
                estimate_batch_norm(model, varied_pictures(8, 320))
            return model
        state = {name.removeprefix("network."): tensor for name, tensor in read_state_dict(path).items()}
        rows = len(state[_CLASSES_KEY]) if state.get(_CLASSES_KEY, torch.tensor(0)).ndim == 1 else 0
        network = _network(rows // _BOXES or COCO_IDS)
        load_strict(network, state, str(path))
        return cls(network).eval()

    @property
    def num_classes(self) -> int:
        """How many classes the scores are of."""
        classes = self.network.head.classification_head.num_columns
        return 80 if classes == COCO_IDS else classes - 1

    def forward(self, image: torch.Tensor) -> Detections:
        """Find candidates.

        Args:
            image: RGB [B, 3, H, W] in 0..1, letterboxed.

        Returns:
            boxes [B, N, 4] as x1, y1, x2, y2 in pixels of the input, scores [B, N] in 0..1, and class_idx [B, N] int32.
            N counts six feature maps, in each its rows, its columns, and six default boxes.
        """
        maps = list(self.network.backbone(self.normalize(image)).values())
        outputs = self.network.head(maps)
        anchors = self.network.anchor_generator(ImageList(image, [tuple(image.shape[2:])]), maps)[0]
        scores = outputs["cls_logits"].softmax(2)
        classes = used_classes(scores) if scores.shape[2] == COCO_IDS else scores[..., 1:]
        return _decoded(outputs["bbox_regression"], anchors, self.network), *best_class(classes)

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 320, width: int = 320) -> InputSpec:
        """One picture.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels, a multiple of 32.
            width: Width of the picture in pixels, a multiple of 32.
        """
        return picture_spec(batch_size, height, width)


def _decoded(offsets: torch.Tensor, anchors: torch.Tensor, network: SSD) -> torch.Tensor:
    """Offsets [B, N, 4] from default boxes [N, 4] to corners [B, N, 4], as torchvision's box coder has it."""
    weights, limit = network.box_coder.weights, network.box_coder.bbox_xform_clip
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) * 0.5 + offsets[..., :2] * (size / torch.tensor(weights[:2]))
    half = (offsets[..., 2:] / torch.tensor(weights[2:])).clamp(max=limit).exp() * (size * 0.5)
    return torch.cat([centre - half, centre + half], 2)


def _network(classes: int) -> SSD:
    return ssdlite320_mobilenet_v3_large(weights_backbone=None, num_classes=classes)
