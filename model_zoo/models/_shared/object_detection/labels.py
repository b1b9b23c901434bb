"""Names of the COCO classes."""

from __future__ import annotations


def coco_labels() -> list[str]:
    """The 80 class names, in the order of the scores, as torchvision publishes them with its detectors."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    unused = ("__background__", "N/A")
    return [name for name in FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"] if name not in unused]
