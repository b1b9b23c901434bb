"""The app of every ImageNet classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image

from model_zoo.models._shared.classifier import ClassifierApp, image_size
from model_zoo.models._shared.imagenet_classifier.labels import imagenet_labels
from model_zoo.utils.arguments import checked
from model_zoo.utils.images import image_to_array, resize_and_center_crop


class ImagenetClassifierApp(ClassifierApp):
    """Scales a picture to 256/224 of the model's input, cuts the middle out and ranks the classes.

    Args:
        model: Takes RGB [1, 3, H, W] in 0..1, gives logits [1, classes].
        labels: Names of the classes; default: the 1000 of ImageNet where they fit.
    """

    @checked()
    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor], labels: Sequence[str] | None = None) -> None:
        super().__init__(model, labels)
        self.height, self.width = image_size(model, default=(224, 224))

    def prepare(self, picture: Image.Image) -> torch.Tensor:
        """RGB [1, 3, H, W] in 0..1; the model normalises."""
        return torch.from_numpy(image_to_array(resize_and_center_crop(picture, self.height, self.width)))

    def default_labels(self) -> list[str]:
        """The 1000 names of ImageNet."""
        return imagenet_labels()
