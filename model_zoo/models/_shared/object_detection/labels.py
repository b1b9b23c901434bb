"""Names of the COCO classes."""

from __future__ import annotations

_UNUSED = ("__background__", "N/A")


def coco_labels() -> list[str]:
    """The 80 class names, in the order of the scores, as torchvision publishes them with its detectors."""
    return [name for name in _categories() if name not in _UNUSED]


def coco_ids() -> list[int]:
    """The number of each of the 80 classes among COCO's categories, which leave some numbers of 1 to 90 out."""
    return [number for number, name in enumerate(_categories()) if name not in _UNUSED]


def _categories() -> list[str]:
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    return list(FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"])
