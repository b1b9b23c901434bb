"""What all networks for semantic segmentation share: picture in, a class for each of its pixels out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from model_zoo.models._shared.classifier import image_size
from model_zoo.utils.arguments import checked
from model_zoo.utils.draw import colour, overlay_classes
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.images import ImageSource, image_to_array, letterbox, load_image


@dataclass(frozen=True)
class Segmentation:
    """What a picture shows where.

    Args:
        mask: int32 [H, W], class indices, of the picture's size.
        labels: Names by index.
    """

    mask: np.ndarray
    labels: tuple[str, ...]

    def shares(self) -> dict[int, float]:
        """The share of the pixels by class that occurs, 0..1, largest first."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.labels)) / self.mask.size
        return {int(index): float(counts[index]) for index in np.argsort(-counts, kind="stable") if counts[index] > 0}


class SegmentationApp:
    """Tells what each pixel of a picture belongs to.

    Args:
        model: Takes RGB [1, 3, H, W] in 0..1 and gives logits [1, classes, H, W]: a model of the zoo, or one that
            `load_compiled` gave.
        labels: Names of the classes; default: the model's, or `class 0`, `class 1`, … for a model that has none.
    """

    @checked()
    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor], labels: Sequence[str] | None = None) -> None:
        self.model = model
        self.height, self.width = image_size(model, default=(256, 256))
        own = getattr(model, "labels", None)
        labels = labels if labels is not None or own is None else own()
        self.labels = tuple(labels) if labels is not None else None

    @checked()
    def predict(self, image: ImageSource) -> Segmentation:
        """Tell the classes of a picture.

        Args:
            image: A path, a PIL image of any mode, or an array; see `load_image`. It is scaled to fit the input of the
                model, and the answer back.

        Raises:
            UserError: The picture cannot be read, or the labels do not fit the model.
            ModelZooError: The model gives something other than finite logits.
        """
        picture = load_image(image)
        canvas, scale, (left, top) = letterbox(picture, self.height, self.width)
        with torch.inference_mode():
            logits = self._checked(self.model(torch.from_numpy(image_to_array(canvas))))
            inner_height, inner_width = (max(1, round(side * scale)) for side in (picture.height, picture.width))
            inner = logits[:, :, top : top + inner_height, left : left + inner_width]
            full = torch.nn.functional.interpolate(inner, (picture.height, picture.width), mode="bilinear")
        labels = self.labels or tuple(f"class {index}" for index in range(full.shape[1]))
        if len(labels) != full.shape[1]:
            raise UserError(f"{len(labels)} labels were given, the model has {full.shape[1]} classes")
        return Segmentation(full[0].argmax(dim=0).int().numpy(), labels)

    def draw(self, image: ImageSource, segmentation: Segmentation) -> Image.Image:
        """A copy of a picture with a colour for each class over it, and a legend of those that occur.

        Args:
            image: The one that was given to `predict`.
        """
        drawn = overlay_classes(load_image(image), segmentation.mask, ignored=-1)
        draw = ImageDraw.Draw(drawn)
        height = max(10, min(drawn.size) // 24)
        font = ImageFont.load_default(height)
        for row, index in enumerate(segmentation.shares()):
            top = row * (height + 4)
            width = int(draw.textlength(segmentation.labels[index], font=font))
            draw.rectangle((0, top, width + 8, top + height + 4), fill=colour(index))
            draw.text((4, top), segmentation.labels[index], fill="black", font=font)
        return drawn

    def _checked(self, logits: object) -> torch.Tensor:
        size = (self.height, self.width)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 4 or len(logits) != 1 or logits.shape[2:] != size:
            shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ModelZooError(f"a segmentation model gives logits [1, classes, {size[0]}, {size[1]}], not {shape}")
        if not bool(torch.isfinite(logits).all()):
            raise ModelZooError("the model gave NaN or infinite logits")
        return logits.float()
