"""What all networks share that tell depth from one picture: picture in, how near each of its pixels is out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageOps

from model_zoo.models._shared.classifier import image_size
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.images import ImageSource, image_to_array, letterbox, load_image

#: From far to near.
_COLOURS = ("#0d0887", "#cc4778", "#f0f921")


class DepthApp:
    """Tells how near each pixel of a picture is.

    Args:
        model: Takes RGB [1, 3, H, W] in 0..1 and gives inverse depth [1, 1, H, W]: a model of the zoo, or one that
            `load_compiled` gave.
    """

    @checked()
    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.model = model
        self.height, self.width = image_size(model, default=(256, 256))

    @checked()
    def predict(self, image: ImageSource) -> np.ndarray:
        """Tell how near things are.

        Args:
            image: A path, a PIL image of any mode, or an array; see `load_image`. It is scaled to fit the input of the
                model, and the answer back.

        Returns:
            float32 [H, W] of the picture's size: larger is nearer. Scale and shift are the picture's own, so it orders
            places but gives no metres.

        Raises:
            UserError: The picture cannot be read.
            ModelZooError: The model gives something other than finite inverse depths.
        """
        picture = load_image(image)
        canvas, scale, (left, top) = letterbox(picture, self.height, self.width)
        with torch.inference_mode():
            depth = self.model(torch.from_numpy(image_to_array(canvas)))
        wanted = (1, 1, self.height, self.width)
        if not isinstance(depth, torch.Tensor) or depth.shape != wanted:
            shape = list(depth.shape) if isinstance(depth, torch.Tensor) else type(depth).__name__
            raise ModelZooError(f"a depth model gives {list(wanted)}, this model gave {shape}")
        if not bool(torch.isfinite(depth).all()):
            raise ModelZooError("the model gave NaN or infinite depths")
        height, width = (max(1, round(side * scale)) for side in (picture.height, picture.width))
        inner = depth[:, :, top : top + height, left : left + width].float()
        size = (picture.height, picture.width)
        return torch.nn.functional.interpolate(inner, size, mode="bilinear")[0, 0].numpy()

    def draw(self, depth: np.ndarray) -> Image.Image:
        """A picture of what `predict` gave: near is yellow, far is blue."""
        low, high = float(depth.min()), float(depth.max())
        grey = (depth - low) * (255 / (high - low) if high > low else 0)
        far, middle, near = _COLOURS
        return ImageOps.colorize(Image.fromarray(grey.round().astype(np.uint8)), far, near, middle)
