"""Names of the ImageNet classes."""

from __future__ import annotations


def imagenet_labels() -> list[str]:
    """The 1000 class names, in the order of the logits, as torchvision publishes them with its weights."""
    from torchvision.models import ResNet18_Weights

    return list(ResNet18_Weights.DEFAULT.meta["categories"])
