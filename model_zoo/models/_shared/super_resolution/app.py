"""What all super-resolution models share: a picture of any size in, one four times as high and wide out."""

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

SCALE = 4

#: Larger results are refused, so that a photograph does not fill the memory.
MAX_PIXELS = 2**28


class SuperResolutionApp:
    """Enlarges a picture four times in tiles of the model's input size, which overlap against seams.

    Args:
        model: Takes RGB [1, 3, H, W] in 0..1 and gives [1, 3, 4 H, 4 W]: a model of the zoo, or one that
            `load_compiled` gave.

    Raises:
        UserError: The input of the model is smaller than its tiles need.
    """

    #: What a tile sees beyond what is taken from it, in pixels of the small picture.
    margin: ClassVar[int] = 8

    @checked()
    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.model = model
        self.height, self.width = image_size(model, default=(64, 64))
        if min(self.height, self.width) <= 2 * self.margin:
            raise UserError(
                f"tiles of {self.height} x {self.width} are too small", f"use more than {2 * self.margin} pixels"
            )

    @checked()
    def predict(self, image: ImageSource) -> Image.Image:
        """Enlarge a picture.

        Args:
            image: A path, a PIL image of any mode, or an array; see `load_image`.

        Returns:
            RGB, four times as high and wide.

        Raises:
            UserError: The picture cannot be read, or the result would have more than `MAX_PIXELS`.
            ModelZooError: The model gives something other than such a picture.
        """
        picture = load_image(image)
        width, height = picture.size
        if height * width * SCALE**2 > MAX_PIXELS:
            raise UserError(f"a picture of {width} x {height} is too large to enlarge", "give a smaller one")
        return in_tiles(self.model, picture, (self.height, self.width), self.margin, SCALE)
