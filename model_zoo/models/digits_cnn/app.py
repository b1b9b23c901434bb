"""Read a handwritten digit."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from model_zoo.models._shared.classifier import ClassifierApp
from model_zoo.utils.images import image_to_array


class App(ClassifierApp):
    """`App(Model.from_pretrained()).predict("picture.jpg")`: one digit fills the picture, as ink on a plain ground."""

    def prepare(self, picture: Image.Image) -> torch.Tensor:
        """Grey [1, 1, 8, 8] in 0..1, ink bright on black; a picture with a bright border is inverted."""
        pixels = image_to_array(picture.convert("L").resize((8, 8), Image.Resampling.BOX))
        border = np.concatenate([pixels[0, 0, 0], pixels[0, 0, -1], pixels[0, 0, :, 0], pixels[0, 0, :, -1]])
        return torch.from_numpy(1 - pixels if np.median(border) > 0.5 else pixels)

    def default_labels(self) -> list[str]:
        """The digits."""
        return [str(digit) for digit in range(10)]
