"""Names of the Kinetics-400 classes."""

from __future__ import annotations


def kinetics_labels() -> list[str]:
    """The 400 class names, in the order of the logits, as torchvision publishes them with its weights."""
    from torchvision.models.video import R3D_18_Weights

    return list(R3D_18_Weights.DEFAULT.meta["categories"])
