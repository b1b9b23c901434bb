"""Find points of interest in a picture with SuperPoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn.functional import grid_sample, normalize

from model_zoo.models._shared.classifier import image_size
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.images import ImageSource, image_to_array, letterbox, load_image

#: No points are taken this near to the edge, in pixels of the input: the network sees padding there.
_BORDER = 4


@dataclass(frozen=True)
class Points:
    """Points of interest, the surest first.

    Args:
        places: float32 [N, 2], x and y in pixels of the original picture.
        scores: float32 [N] in 0..1.
        descriptors: float32 [N, 256] of length 1: the product of two tells how alike two points look, 1 at most.
    """

    places: np.ndarray
    scores: np.ndarray
    descriptors: np.ndarray


class App:
    """`App(Model.from_pretrained()).predict("picture.jpg")`.

    Args:
        model: Takes RGB [1, 3, H, W] in 0..1, gives heatmap [1, 1, H, W] and descriptors [1, C, H / 8, W / 8].
        threshold: Points that are less probable are dropped.
        radius: Of two points that are this near in rows and in columns of the input, the less probable is dropped.
        max_points: No more are given.
    """

    @checked()
    def __init__(
        self,
        model: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
        threshold: float = 0.015,
        radius: int = 4,
        max_points: int = 1000,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise UserError(f"threshold {threshold:g}: give 0 to 1")
        if radius < 0 or max_points < 1:
            raise UserError(f"radius {radius}, max_points {max_points}: give at least 0 and at least 1")
        self.model, self.threshold, self.radius, self.max_points = model, threshold, radius, max_points
        self.height, self.width = image_size(model, default=(480, 640))

    @checked()
    def predict(self, image: ImageSource) -> Points:
        """Find the points of a picture.

        Raises:
            UserError: The picture cannot be read.
            ModelZooError: The model gives something other than a finite heatmap and descriptors.
        """
        picture = load_image(image)
        canvas, scale, (left, top) = letterbox(picture, self.height, self.width)
        with torch.inference_mode():
            outputs = self.model(torch.from_numpy(image_to_array(canvas)))
        shapes = [list(each.shape) for each in outputs]
        if len(shapes) != 2 or shapes[0] != [1, 1, self.height, self.width] or len(shapes[1]) != 4:
            raise ModelZooError(f"the model must give heatmap [1, 1, H, W] and descriptors [1, C, h, w], not {shapes}")
        if not all(bool(torch.isfinite(each).all()) for each in outputs):
            raise ModelZooError("the model gave NaN or infinite values")
        heatmap, descriptors = (each.float() for each in outputs)
        bottom, right = top + round(picture.height * scale), left + round(picture.width * scale)
        inside = torch.zeros_like(heatmap[0, 0])
        inside[top + _BORDER : max(0, bottom - _BORDER), left + _BORDER : max(0, right - _BORDER)] = 1
        y, x = torch.nonzero((heatmap[0, 0] >= self.threshold) & (inside > 0), as_tuple=True)
        order = heatmap[0, 0, y, x].argsort(descending=True, stable=True)
        kept = self._apart(y[order].numpy(), x[order].numpy())
        y, x = y[order[kept]], x[order[kept]]
        places = torch.stack([x, y], 1).float()
        # Pixels count from their middle; cells cover the whole picture.
        grid = (2 * places + 1) / places.new_tensor([self.width, self.height]) - 1
        sampled = grid_sample(descriptors, grid[None, None], align_corners=False, padding_mode="border")[0, :, 0].T
        original = (places - places.new_tensor([left, top]) + 0.5) / scale - 0.5
        return Points(original.numpy(), heatmap[0, 0, y, x].numpy(), normalize(sampled, dim=1).numpy())

    def _apart(self, y: np.ndarray, x: np.ndarray) -> list[int]:
        """Which of the points, the surest first, have no surer one beside them."""
        radius, kept = self.radius, []
        free = np.ones((self.height + 2 * radius, self.width + 2 * radius), bool)
        for number, (row, column) in enumerate(zip(y.tolist(), x.tolist(), strict=True)):
            if free[row + radius, column + radius]:
                free[row : row + 2 * radius + 1, column : column + 2 * radius + 1] = False
                kept.append(number)
                if len(kept) == self.max_points:
                    break
        return kept

    def draw(self, image: ImageSource, points: Points) -> Image.Image:
        """A copy of a picture with a circle around each point, the surer the redder."""
        picture = load_image(image)
        draw, size = ImageDraw.Draw(picture), max(2, min(picture.size) // 150)
        strongest = float(points.scores.max(initial=1e-6))
        for (x, y), score in zip(points.places[::-1].tolist(), points.scores[::-1].tolist(), strict=True):
            share = int(255 * score / strongest)
            draw.ellipse((x - size, y - size, x + size, y + size), outline=(share, 255 - share, 60))
        return picture
