"""What all super-resolution models share: a picture of any size in, one four times as high and wide out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from model_zoo.models._shared.classifier import image_size
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.images import ImageSource, image_to_array, load_image

SCALE = 4

#: What a tile sees beyond what is taken from it, in pixels of the small picture: more than such networks look sideways.
MARGIN = 8

#: Larger results are refused, so that a photograph does not fill the memory.
MAX_PIXELS = 2**28


class SuperResolutionApp:
    """Enlarges a picture four times in tiles of the model's input size, which overlap so that no seam shows.

    Args:
        model: Takes RGB [1, 3, H, W] in 0..1 and gives [1, 3, 4 H, 4 W]: a model of the zoo, or one that
            `load_compiled` gave.

    Raises:
        UserError: The input of the model is smaller than its tiles need.
    """

    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.model = model
        self.height, self.width = image_size(model, default=(64, 64))
        if min(self.height, self.width) <= 2 * MARGIN:
            raise UserError(
                f"tiles of {self.height} x {self.width} are too small", f"use more than {2 * MARGIN} pixels"
            )

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
        inner_height, inner_width = self.height - 2 * MARGIN, self.width - 2 * MARGIN
        beyond = [(MARGIN, MARGIN - height % -inner_height), (MARGIN, MARGIN - width % -inner_width)]
        pixels = np.pad(image_to_array(picture), [(0, 0), (0, 0), *beyond], mode="edge")
        result = np.empty((height * SCALE, width * SCALE, 3), np.uint8)
        for top in range(0, height, inner_height):
            for left in range(0, width, inner_width):
                place = result[top * SCALE : (top + inner_height) * SCALE, left * SCALE : (left + inner_width) * SCALE]
                tile = self._enlarge(pixels[:, :, top : top + self.height, left : left + self.width])
                place[:] = tile[: place.shape[0], : place.shape[1]]
        return Image.fromarray(result)

    def _enlarge(self, tile: np.ndarray) -> np.ndarray:
        """The middle of one tile, uint8 [H, W, 3]."""
        with torch.inference_mode():
            output = self.model(torch.from_numpy(np.ascontiguousarray(tile)))
        wanted = (1, 3, self.height * SCALE, self.width * SCALE)
        if not isinstance(output, torch.Tensor) or output.shape != wanted:
            found = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise ModelZooError(f"a super-resolution model gives {list(wanted)}, this model gave {found}")
        if not bool(torch.isfinite(output).all()):
            raise ModelZooError("the model gave pixels that are NaN or infinite")
        edge = MARGIN * SCALE
        inner = output[0, :, edge:-edge, edge:-edge].float().clamp(0, 1)
        return (inner * 255).round().byte().permute(1, 2, 0).numpy()
