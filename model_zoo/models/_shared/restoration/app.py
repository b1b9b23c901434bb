"""What all networks that restore pictures share: a picture of any size in, a better one of that size out."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from PIL import Image

from model_zoo.models._shared.classifier import image_size
from model_zoo.models._shared.tiles import in_tiles
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import ImageSource, load_image


class RestorationApp:
    """Restores a picture in tiles of the model's input size, which overlap.

    Args:
        model: Takes RGB [1, 3, H, W] in 0..1 and gives [1, 3, H, W]: a model of the zoo, or one that `load_compiled`
            gave.

    Raises:
        UserError: The input of the model is smaller than its tiles need.
    """

    #: What a tile sees beyond what is taken from it, in pixels.
    margin: ClassVar[int]

    @checked()
    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.model = model
        self.height, self.width = image_size(model, default=(256, 256))
        if min(self.height, self.width) <= 2 * self.margin:
            raise UserError(
                f"tiles of {self.height} x {self.width} are too small", f"use more than {2 * self.margin} pixels"
            )

    @checked()
    def predict(self, image: ImageSource) -> Image.Image:
        """Restore a picture.

        Args:
            image: A path, a PIL image of any mode, or an array; see `load_image`.

        Returns:
            RGB, as high and wide as the picture.

        Raises:
            UserError: The picture cannot be read.
            ModelZooError: The model gives something other than such a picture.
        """
        return in_tiles(self.model, load_image(image), (self.height, self.width), self.margin, 1)
